import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { useBestBackend } from '../../../adapters/node';

/** Stand-ins for the two native packages, which this project does not install. What loading each one does: */
const native: { gpu: () => object; node: () => object } = { gpu: missing('gpu'), node: missing('node') };
// Getters, so that each test decides anew what a package that jest has loaded once does.
jest.mock('@tensorflow/tfjs-node-gpu', () => native.gpu(), { virtual: true });
jest.mock('@tensorflow/tfjs-node', () => native.node(), { virtual: true });

function missing(which: 'gpu' | 'node') {
  const name = which === 'gpu' ? '@tensorflow/tfjs-node-gpu' : '@tensorflow/tfjs-node';
  return () => {
    throw Object.assign(new Error(`Cannot find module '${name}'\nRequire stack:\n- x.js`), {
      code: 'MODULE_NOT_FOUND',
    });
  };
}

const fails = (message: string, code?: string) => () => {
  throw Object.assign(new Error(message), { code });
};

/** What tfjs-node does as it loads, with the cpu backend's kernels under its name. */
const works = () => {
  tf.registerBackend('tensorflow', () => new MathBackendCPU(), 3);
  for (const kernel of tf.getKernelsForBackend('cpu')) {
    if (!tf.getKernel(kernel.kernelName, 'tensorflow')) tf.registerKernel({ ...kernel, backendName: 'tensorflow' });
  }
  return { Tensor: tf.Tensor };
};

/** It loads, but nothing can be computed. */
const doesNotCompute = () => {
  tf.registerBackend('tensorflow', () => {
    throw new TypeError('isNullOrUndefined is not a function\nmore');
  });
  return { Tensor: tf.Tensor };
};

/** Native backends do not say. Several threads: threads.test.ts. */
const threadsOf = (backend: string) => (backend === 'tensorflow' ? {} : { threads: 1 });

beforeEach(async () => {
  jest.resetModules(); // so that a package is loaded anew; tfjs keeps its engine in a global, which stays
  jest.spyOn(console, 'warn').mockImplementation(() => {});
  Object.assign(native, { gpu: missing('gpu'), node: missing('node') });
  await tf.setBackend('cpu');
});

afterEach(async () => {
  await tf.setBackend('cpu');
  if (tf.findBackendFactory('tensorflow')) tf.removeBackend('tensorflow');
  jest.restoreAllMocks();
});

describe('without options', () => {
  test.each<[string, typeof native, string, string]>([
    [
      'nothing installed',
      { gpu: missing('gpu'), node: missing('node') },
      'wasm',
      'Using wasm: @tensorflow/tfjs-node-gpu is not installed; @tensorflow/tfjs-node is not installed.',
    ],
    [
      'a native library that does not load',
      { gpu: missing('gpu'), node: fails('libtensorflow.so.2: cannot open shared object file.\n  at x') },
      'wasm',
      'Using wasm: @tensorflow/tfjs-node-gpu is not installed; @tensorflow/tfjs-node is installed but fails to load ' +
        '(libtensorflow.so.2: cannot open shared object file).',
    ],
    [
      'a package that misses one of its own',
      { gpu: missing('gpu'), node: fails("Cannot find module '@mapbox/node-pre-gyp'", 'MODULE_NOT_FOUND') },
      'wasm',
      'Using wasm: @tensorflow/tfjs-node-gpu is not installed; @tensorflow/tfjs-node is installed but fails to load ' +
        "(Cannot find module '@mapbox/node-pre-gyp').",
    ],
    [
      'tfjs-node',
      { gpu: missing('gpu'), node: works },
      'tensorflow',
      'Using tfjs-node: @tensorflow/tfjs-node-gpu is not installed.',
    ],
    [
      'tfjs-node-gpu',
      { gpu: works, node: works },
      'tensorflow',
      'Using tfjs-node-gpu: it is the fastest, and it is installed.',
    ],
    [
      'a gpu that does not compute, and tfjs-node',
      { gpu: doesNotCompute, node: works },
      'tensorflow',
      'Using tfjs-node: tfjs-node-gpu does not work here (see the warning above).',
    ],
    [
      'a package with another tfjs-core',
      { gpu: missing('gpu'), node: () => ({ ...works(), Tensor: class {} }) },
      'wasm',
      'Using wasm: @tensorflow/tfjs-node-gpu is not installed; @tensorflow/tfjs-node is installed but brings a second copy of ' +
        '@tensorflow/tfjs-core (install version 4.22.0 of both).',
    ],
    [
      'a package that registers nothing',
      { gpu: () => ({}), node: missing('node') },
      'wasm',
      'Using wasm: @tensorflow/tfjs-node-gpu is installed but registers no backend; @tensorflow/tfjs-node is not installed.',
    ],
  ])('%s', async (_, packages, backend, why) => {
    Object.assign(native, packages);
    expect(await useBestBackend()).toEqual({ backend, why, ...threadsOf(backend) });
    expect(tf.getBackend()).toBe(backend);
    expect(tf.tidy(() => tf.matMul([[2]], [[3]]).dataSync()[0])).toBe(6);
  });

  test('twice is the same as once', async () => {
    const first = await useBestBackend();
    const tensors = tf.memory().numTensors;
    expect(await useBestBackend()).toEqual(first);
    expect(tf.memory().numTensors).toBe(tensors);
  });
});

describe('a forced backend', () => {
  test.each([
    ['wasm', 'wasm', 'Using wasm, as asked for.'],
    ['cpu', 'cpu', 'Using cpu, as asked for.'],
    ['tfjs-node', 'tensorflow', 'Using tfjs-node, as asked for.'],
    ['tensorflow', 'tensorflow', 'Using tfjs-node, as asked for.'],
  ])('%s', async (backend, name, why) => {
    native.node = works;
    expect(await useBestBackend({ backend })).toEqual({ backend: name, why, ...threadsOf(name) });
    expect(tf.getBackend()).toBe(name);
  });

  test('does not even load the native packages where it is another one', async () => {
    native.gpu = native.node = jest.fn();
    await useBestBackend({ backend: 'wasm' });
    await useBestBackend({ backend: 'cpu' });
    expect(native.node).not.toHaveBeenCalled();
  });

  test.each<[string, RegExp]>([
    [
      'tfjs-node',
      /The backend 'tfjs-node' cannot be used here: @tensorflow\/tfjs-node is not installed\. Call useBestBackend\(\)/,
    ],
    ['tfjs-node-gpu', /'tfjs-node-gpu' cannot be used here: @tensorflow\/tfjs-node-gpu is not installed/],
    ['tensorflow', /tfjs-node-gpu is not installed; @tensorflow\/tfjs-node is not installed/],
  ])('%s that is not there is refused, and the one before stays active', async (backend, message) => {
    const forced = useBestBackend({ backend });
    await expect(forced).rejects.toThrow(message);
    await expect(forced).rejects.toMatchObject({ name: 'TuneModeError', code: 'backend-unavailable' });
    expect(tf.getBackend()).toBe('cpu');
  });

  test('that fails as it starts is refused, and the one before stays active', async () => {
    native.node = doesNotCompute;
    await expect(useBestBackend({ backend: 'tfjs-node' })).rejects.toMatchObject({ code: 'backend-unavailable' });
    expect(tf.getBackend()).toBe('cpu');
    expect(tf.tidy(() => tf.add(1, 2).dataSync()[0])).toBe(3);
  });

  test.each<[object, string, RegExp]>([
    [
      { backend: 'webgl' },
      'unknown-backend',
      /There is no backend 'webgl'. Valid backends: 'tfjs-node-gpu', 'tensorflow', 'tfjs-node', 'wasm', 'cpu'/,
    ],
    [{ backend: '' }, 'unknown-backend', /There is no backend ''/],
    [{ backend: 7 }, 'invalid-option', /'backend' must be a string; found 7/],
    [{ backend: null }, 'invalid-option', /found null/],
    [{ backends: 'wasm' }, 'invalid-option', /unknown option 'backends'. Valid options: 'backend'/],
  ])('%j is refused', async (options, code, message) => {
    const forced = useBestBackend(options as { backend?: string });
    await expect(forced).rejects.toThrow(message);
    await expect(forced).rejects.toMatchObject({ name: 'TuneModeError', code });
    expect(tf.getBackend()).toBe('cpu');
  });
});

test.each([
  ['tfjs-node', 'takes the cores that it wants by itself'],
  ['cpu', 'always computes on one thread'],
])('threads on %s, where it is the best there is: no effect, and why says so', async (name, reason) => {
  if (name === 'cpu') jest.doMock('@tensorflow/tfjs-backend-wasm', fails('no such file'));
  else native.node = works;
  const { why } = await useBestBackend({ threads: 2 });
  jest.dontMock('@tensorflow/tfjs-backend-wasm');
  expect(why.startsWith(`Using ${name} ('threads' has no effect: it ${reason}): `)).toBe(true);
});

describe('in a process of its own', () => {
  const root = path.resolve(__dirname, '../../..');
  const run = (type: 'module' | 'commonjs', source: string) =>
    execFileSync(process.execPath, ['--import', 'tsx', `--input-type=${type}`, '-e', source], {
      cwd: root,
      encoding: 'utf8',
      stdio: 'pipe',
    });
  const body = `
    useBestBackend().then(({ backend }) => {
      console.log(backend, process.listenerCount('uncaughtException'), process.listenerCount('unhandledRejection'));
    });`;

  test.each<['module' | 'commonjs', string]>([
    ['module', "import { useBestBackend } from './adapters/node/index.ts';"],
    ['commonjs', "const { useBestBackend } = require('./adapters/node/index.ts');"],
  ])('%s: wasm finds its files and leaves no crash listeners behind', (type, head) => {
    expect(run(type, head + body).trim()).toBe('wasm 0 0');
  });

  test('importing the entry alone loads no backend', () => {
    const source =
      "require('./adapters/node/index.ts'); console.log(require('@tensorflow/tfjs-core').engine().backendNames().length)";
    expect(run('commonjs', source).trim()).toBe('0');
  });

  test("an uncaught error is printed without the wasm loader's source", () => {
    const source = `const { useBestBackend } = require('./adapters/node/index.ts');
      useBestBackend({ backend: 'wasm' }).then(() => { throw new Error('mine'); });`;
    let output = '';
    try {
      run('commonjs', source);
    } catch (error) {
      output = (error as { stderr: string }).stderr;
    }
    expect(output).toMatch(/Error: mine/);
    expect(output.length).toBeLessThan(3000);
  });
});
