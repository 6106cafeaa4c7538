/**
 * What the block's op promises beside right numbers: no work that nobody asked for, nothing kept longer than needed, and
 * nothing freed that somebody still holds.
 *
 * Freeing early must not change a bit. Inside a gradient of higher order the op frees nothing, so the same gradients
 * taken there are what to compare with: exactly. Against Eval, whose rounding differs, `ROUNDING` holds.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { type Mode, setMode } from '../../src';
import { useBackend } from '../helpers/backends';
import { kernelsOf, livePeak } from '../helpers/blocks';
import { random } from '../helpers/random';

/**
 * At most 3 blocks of 27 terms forward, backward to x and, over 50 positions, to the kernel: some 300 roundings of
 * 2⁻²⁴, of terms up to 10 times as large as their sum.
 */
const ROUNDING = 300 * 2 ** -24 * 10;

const SIDE = 5;
const CHANNELS = 3;
const SHAPE = [1, SIDE, SIDE, CHANNELS];
const rng = random(11);
const noise = (shape = SHAPE) => tf.tensor(rng.array(shape.reduce((a, b) => a * b, 1)), shape);

type ActivationName = 'relu' | 'tanh' | null;

/** A block that keeps the shape of its input. */
function addBlock(input: tfl.SymbolicTensor, activation: ActivationName): tfl.SymbolicTensor {
  const channels = input.shape[3] as number;
  const conv = tfl.layers.conv2d({ filters: channels, kernelSize: 3, padding: 'same' });
  const bn = tfl.layers.batchNormalization();
  const y = bn.apply(conv.apply(input)) as tfl.SymbolicTensor;
  for (const layer of [conv, bn]) {
    const draw = random(101 + layer.weights.length + layer.id);
    tf.tidy(() => {
      layer.setWeights(
        layer.weights.map(({ name, shape }) => {
          const low = name.includes('variance') ? 0.2 : -0.5;
          const size = (shape as number[]).reduce((a, b) => a * b, 1);
          return tf.tensor(
            draw.array(size, () => draw.uniform(low, 0.7)),
            shape as number[],
          );
        }),
      );
    });
  }
  if (activation === null) return y;
  return tfl.layers.activation({ activation }).apply(y) as tfl.SymbolicTensor;
}

function chain(length: number, activation: ActivationName, side = SIDE, channels = CHANNELS): tfl.LayersModel {
  const input = tfl.input({ shape: [side, side, channels] });
  let output: tfl.SymbolicTensor = input;
  for (let i = 0; i < length; i++) output = addBlock(output, activation);
  return tfl.model({ inputs: input, outputs: output });
}

const run = (model: tfl.LayersModel, x: tf.Tensor) => model.apply(x, { training: true }) as tf.Tensor;
const weightsOf = (model: tfl.LayersModel) => model.trainableWeights.map((weight) => weight.read() as tf.Variable);
const numbers = (tensors: tf.Tensor[]) => tensors.map((tensor) => tensor.dataSync().slice());

/** Gradients of f with respect to xs, as numbers. */
function gradientsOf(f: () => tf.Tensor, xs: tf.Tensor[]): ArrayLike<number>[] {
  tf.engine().startScope();
  try {
    return numbers(tf.grads(() => f())(xs));
  } finally {
    tf.engine().endScope();
  }
}

/** The same on the tape of an outer gradient, where nothing may be freed before its time. */
function gradientsKeepingAll(f: () => tf.Tensor, xs: tf.Tensor[]): ArrayLike<number>[] {
  let found: ArrayLike<number>[] = [];
  tf.tidy(() => {
    tf.grad((unrelated) => {
      found = numbers(tf.grads(() => f())(xs));
      return tf.square(unrelated);
    })(tf.scalar(1));
  });
  return found;
}

function expectClose(actual: ArrayLike<number>[], expected: ArrayLike<number>[]): void {
  expect(actual).toHaveLength(expected.length);
  actual.forEach((values, i) => {
    const largest = Math.max(...Array.from(expected[i], Math.abs));
    const worst = Math.max(...Array.from(values, (value, j) => Math.abs(value - expected[i][j])));
    expect(worst).toBeLessThanOrEqual(ROUNDING * largest);
  });
  expect(expected.some((values) => Array.from(values).some((value) => value !== 0))).toBe(true);
}

/**
 * Tune's gradients equal those of a pass that frees nothing, and Eval's to rounding. Nothing stays alive. The former to the
 * bit, but for wasm: there a first-order pass has kernels of its own (src/own-op.ts), which round otherwise.
 */
function expectRightGradients(models: tfl.LayersModel[], f: () => tf.Tensor, xs: tf.Tensor[]): void {
  for (const model of models) setMode(model, 'eval');
  const ofEval = gradientsOf(f, xs);
  for (const model of models) expect(setMode(model, 'tune').pairs.length).toBeGreaterThan(0);
  const before = tf.memory().numTensors;
  const ofTune = gradientsOf(f, xs);
  expect(tf.memory().numTensors).toBe(before);
  const keepingAll = gradientsKeepingAll(f, xs);
  if (tf.getBackend() === 'wasm') expectClose(keepingAll, ofTune);
  else expect(keepingAll).toEqual(ofTune);
  expect(gradientsOf(f, xs)).toEqual(ofTune);
  expectClose(ofTune, ofEval);
}

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  let before = 0;
  let models: tfl.LayersModel[] = [];
  const tracked = (model: tfl.LayersModel) => {
    models.push(model);
    return model;
  };

  beforeEach(() => {
    before = tf.memory().numTensors;
    models = [];
    tf.engine().startScope();
  });

  afterEach(() => {
    for (const model of models) model.dispose();
    tf.engine().endScope();
    expect(tf.memory().numTensors).toBe(before);
  });

  describe('work', () => {
    const FILTER = 'Conv2DBackpropFilter';
    const INPUT = 'Conv2DBackpropInput';
    const count = (kernels: string[], name: string) => kernels.filter((kernel) => kernel === name).length;

    test('for x alone: no gradient of kernels or biases', async () => {
      const model = tracked(chain(2, 'relu'));
      setMode(model, 'tune');
      const x = noise();
      const kernels = await kernelsOf(() => tf.grad((input) => tf.sum(run(model, input)))(x));
      expect(count(kernels, INPUT)).toBe(2);
      expect(count(kernels, FILTER)).toBe(0);
      expect(count(kernels, 'Sum')).toBe(1); // the loss; a bias's gradient is a Sum too
    });

    test('for the weights alone: no gradient of the input of the first block', async () => {
      const model = tracked(chain(2, 'relu'));
      setMode(model, 'tune');
      const x = noise();
      const kernels = await kernelsOf(() =>
        tf.variableGrads(() => tf.sum(run(model, x)) as tf.Scalar, weightsOf(model)),
      );
      expect(count(kernels, FILTER)).toBe(2);
      expect(count(kernels, INPUT)).toBe(1);
    });

    test('for the last block alone: none in the blocks before it', async () => {
      const model = tracked(chain(3, 'relu'));
      setMode(model, 'tune');
      const x = noise();
      const last = weightsOf(model).slice(-4);
      const kernels = await kernelsOf(() => tf.variableGrads(() => tf.sum(run(model, x)) as tf.Scalar, last));
      expect(count(kernels, FILTER)).toBe(1);
      expect(count(kernels, INPUT)).toBe(0);
    });

    test('in training, for frozen layers: none', async () => {
      const model = tracked(chain(3, 'relu'));
      for (const layer of model.layers.slice(0, -3)) layer.trainable = false;
      setMode(model, 'tune');
      model.compile({ optimizer: tf.train.sgd(0.01), loss: 'meanSquaredError' });
      const x = noise();
      const info = await tf.profile(async () => {
        await model.trainOnBatch(x, x);
        return x;
      });
      const kernels = info.kernels.map(({ name }) => name);
      expect(count(kernels, FILTER)).toBe(1);
      expect(count(kernels, INPUT)).toBe(0);
      model.optimizer.dispose();
    });

    test('a separable block: each of its two kernels by itself', async () => {
      const input = tfl.input({ shape: SHAPE.slice(1) });
      const separable = tfl.layers.separableConv2d({ filters: 3, kernelSize: 2, name: 'separable' });
      const bn = tfl.layers.batchNormalization();
      const model = tracked(
        tfl.model({ inputs: input, outputs: bn.apply(separable.apply(input)) as tfl.SymbolicTensor }),
      );
      expect(setMode(model, 'tune').pairs).toHaveLength(1);
      const x = noise();
      const [depthwise, pointwise] = separable.trainableWeights.map((weight) => weight.read() as tf.Variable);
      const loss = () => tf.sum(run(model, x)) as tf.Scalar;
      const forDepthwise = await kernelsOf(() => tf.variableGrads(loss, [depthwise]));
      expect(forDepthwise).toContain('DepthwiseConv2dNativeBackpropFilter');
      expect(forDepthwise).not.toContain(FILTER);
      const forPointwise = await kernelsOf(() => tf.variableGrads(loss, [pointwise]));
      expect(forPointwise).toContain(FILTER);
      expect(forPointwise.filter((name) => name.startsWith('DepthwiseConv2dNativeBackprop'))).toEqual([]);
    });
  });

  describe('memory of a chain of blocks', () => {
    const LENGTH = 8;
    const LARGE = 32;
    const WIDTH = 2;
    const LARGE_SHAPE = [1, LARGE, LARGE, WIDTH];
    /** Bytes of one feature map. */
    const MAP = 4 * LARGE * LARGE * WIDTH;
    /**
     * Bytes of a block's weights, well rounded up: kernel-sized are w, w′, dw′, dw and two temporaries; the vectors of
     * γ, β, μ, σ², s, b′ and their gradients are smaller.
     */
    const WEIGHTS = 4 * (6 * 9 * WIDTH * WIDTH + 30 * WIDTH);

    const step = (model: tfl.LayersModel, x: tf.Tensor) => () =>
      tf.tidy(() => {
        tf.variableGrads(() => tf.sum(run(model, x)) as tf.Scalar, weightsOf(model));
      });

    const peakOf = (mode: Mode, length: number, activation: ActivationName) => {
      const model = tracked(chain(length, activation, LARGE, WIDTH));
      setMode(model, mode);
      return livePeak(step(model, noise(LARGE_SHAPE)));
    };

    // Scratch memory inside of the wasm kernels is not the op's: it does not grow with the chain.
    if (backend === 'cpu') {
      test.each(['relu', 'tanh', null] as const)('bytes alive, activation %s', (activation) => {
        const ofTune = peakOf('tune', LENGTH, activation);
        // The output of every block, each the next one's input; dy, dz and two temporaries of the activation's gradient;
        // and one map more for the output, which the loss keeps to the end.
        expect(ofTune).toBeLessThanOrEqual((LENGTH + 5) * MAP + LENGTH * WEIGHTS);
        expect(ofTune).toBeLessThanOrEqual(0.5 * peakOf('eval', LENGTH, activation));
      });
    }

    test.each(['relu', 'tanh', null] as const)('what a further block costs, activation %s', (activation) => {
      // cpu: its output. On wasm a clone is a copy (4.22.0), so that every tensor that is kept for the backward pass costs a
      // map beside the output itself, as long as the forward pass runs.
      const maps = backend === 'cpu' ? 1 : activation === null ? 2 : 3;
      const perBlock = (mode: Mode) =>
        (peakOf(mode, LENGTH + 4, activation) - peakOf(mode, LENGTH - 4, activation)) / LENGTH;
      const ofTune = perBlock('tune');
      expect(ofTune).toBeLessThanOrEqual(maps * MAP + WEIGHTS);
      // Eval keeps the conv's output and the BN's, and all gradients.
      expect(ofTune).toBeLessThanOrEqual(0.5 * perBlock('eval'));
    });

    test.each(['relu', 'tanh', null] as const)('profiled by tfjs, activation %s', async (activation) => {
      const model = tracked(chain(LENGTH, activation, LARGE, WIDTH));
      const x = noise(LARGE_SHAPE);
      const profile = async (mode: Mode) => {
        setMode(model, mode);
        const alive = tf.memory().numBytes;
        const { peakBytes, kernels } = await tf.profile(() => {
          step(model, x)();
          return x;
        });
        return { peak: peakBytes - alive, last: kernels[kernels.length - 1].totalBytesSnapshot - alive };
      };
      const ofEval = await profile('eval');
      const ofTune = await profile('tune');
      // tfjs counts a clone as if it had data of its own. At the end of the forward pass: y, the clone of x and, with an
      // activation, the clone of y of every block; and one map more for the loss.
      const perBlock = activation === null ? 2 : 3;
      expect(ofTune.peak).toBeLessThanOrEqual((perBlock * LENGTH + 2) * MAP + 3 * LENGTH * WEIGHTS);
      expect(ofTune.peak).toBeLessThanOrEqual(0.5 * ofEval.peak);
      // At the very end the gradients of all maps are gone, but for the ones in use; the loss still keeps its input.
      expect(ofTune.last).toBeLessThanOrEqual(4 * MAP + 3 * LENGTH * WEIGHTS);
    });
  });

  describe.each(['relu', 'tanh', null] as const)('gradients, activation %s', (activation) => {
    test('of a chain', () => {
      const model = tracked(chain(3, activation));
      const x = noise();
      const r = noise();
      expectRightGradients([model], () => tf.sum(tf.mul(run(model, x), r)), [x, ...weightsOf(model)]);
    });

    test('given a dy of the user: it stays theirs', () => {
      const model = tracked(chain(1, activation));
      setMode(model, 'tune');
      const x = noise();
      const dy = noise();
      const values = dy.dataSync().slice();
      const grad = tf.grad((input) => run(model, input));
      const first = grad(x, dy);
      expect(dy.isDisposed).toBe(false);
      expect(dy.dataSync()).toEqual(values);
      // A dy made in the same scope as the gradients, and one that is used again.
      const again = tf.tidy(() => {
        const own = tf.mul(dy, 1);
        const once = grad(x, own);
        const twice = grad(x, own);
        expect(own.isDisposed).toBe(false);
        return tf.sub(once, twice);
      });
      expect(tf.max(tf.abs(again)).dataSync()[0]).toBe(0);
      expectClose(numbers([first]), numbers([tf.grad((input) => tf.sum(tf.mul(run(model, input), dy)))(x)]));
    });

    test('with respect to an interior: the gradient at a cut, and the chain rule across it', () => {
      const bottom = tracked(chain(1, activation));
      const top = tracked(chain(2, activation));
      const x = noise();
      const r = noise();
      setMode(bottom, 'tune');
      const middle = bottom.predict(x) as tf.Tensor;
      const topLoss = (input: tf.Tensor) => tf.sum(tf.mul(run(top, input), r));
      expectRightGradients([top], () => topLoss(middle), [middle]);
      const dMiddle = tf.grad(topLoss)(middle);
      const dx = tf.grad((input) => run(bottom, input))(x, dMiddle);
      const atOnce = tf.grad((input) => topLoss(run(bottom, input)))(x);
      expect(atOnce.dataSync()).toEqual(dx.dataSync());
      expect(dMiddle.isDisposed).toBe(false);
    });

    test('with respect to an interior of the tape itself', () => {
      const bottom = tracked(chain(1, activation));
      const top = tracked(chain(1, activation));
      const x = noise();
      setMode(bottom, 'tune');
      setMode(top, 'tune');
      const seen = tf.grad((unrelated) => {
        const middle = run(bottom, x);
        const [dx, dMiddle] = tf.grads((_x, m) => tf.sum(run(top, m)))([x, middle]);
        expect(dMiddle.dataSync().every(Number.isFinite)).toBe(true);
        expect(dx.dataSync()).toEqual(
          tf
            .grad((input) => run(bottom, input))(x, dMiddle)
            .dataSync(),
        );
        return tf.square(unrelated);
      });
      seen(tf.scalar(1));
    });

    test('through a residual connection', () => {
      const input = tfl.input({ shape: SHAPE.slice(1) });
      const inner = addBlock(addBlock(input, activation), activation);
      const sum = tfl.layers.add().apply([input, inner]) as tfl.SymbolicTensor;
      const model = tracked(tfl.model({ inputs: input, outputs: addBlock(sum, activation) }));
      const x = noise();
      expectRightGradients([model], () => tf.sum(tf.square(run(model, x))), [x, ...weightsOf(model)]);
    });

    test('of a residual connection of blocks in a row, in which every map has two consumers', () => {
      const input = tfl.input({ shape: SHAPE.slice(1) });
      let output: tfl.SymbolicTensor = input;
      for (let i = 0; i < 3; i++) {
        output = tfl.layers.add().apply([output, addBlock(output, activation)]) as tfl.SymbolicTensor;
      }
      const model = tracked(tfl.model({ inputs: input, outputs: output }));
      const x = noise();
      expectRightGradients([model], () => tf.sum(tf.square(run(model, x))), [x, ...weightsOf(model)]);
    });

    test('of one tensor that two blocks use', () => {
      const input = tfl.input({ shape: SHAPE.slice(1) });
      const trunk = addBlock(input, activation);
      const both = [addBlock(trunk, activation), addBlock(trunk, activation)];
      const output = tfl.layers.multiply().apply(both) as tfl.SymbolicTensor;
      const model = tracked(tfl.model({ inputs: input, outputs: output }));
      const x = noise();
      expectRightGradients([model], () => tf.sum(tf.square(run(model, x))), [x, ...weightsOf(model)]);
    });

    test("behind a user's custom gradient that returns one tensor for two inputs", () => {
      const a = tracked(chain(1, activation));
      const b = tracked(chain(1, activation));
      const sum = tf.customGrad((u, v) => ({
        value: tf.add(u as tf.Tensor, v as tf.Tensor),
        gradFunc: (dy: tf.Tensor) => [dy, dy],
      }));
      const x = noise();
      const loss = () => tf.sum(tf.square(sum(run(a, x), run(b, x))));
      expectRightGradients([a, b], loss, [x, ...weightsOf(a), ...weightsOf(b)]);
    });

    test("behind a user's custom gradient that returns its dy itself, with another consumer beside it", () => {
      const a = tracked(chain(1, activation));
      const b = tracked(chain(1, activation));
      const same = tf.customGrad((u) => ({
        value: tf.mul(u as tf.Tensor, 1),
        gradFunc: (dy: tf.Tensor) => dy,
      }));
      const x = noise();
      const loss = () => {
        const middle = run(a, x);
        return tf.sum(tf.square(tf.mul(run(b, same(middle)), middle)));
      };
      expectRightGradients([a, b], loss, [x, ...weightsOf(a), ...weightsOf(b)]);
    });

    test("behind a user's registered gradient that returns one tensor for two inputs", () => {
      const kernelName = `AliasingAdd-${backend}-${activation}`;
      tf.registerKernel({
        kernelName,
        backendName: backend,
        kernelFunc: ({ inputs }) => tf.add(inputs.u as tf.Tensor, inputs.v as tf.Tensor),
      });
      tf.registerGradient({
        kernelName,
        gradFunc: (dy) => ({ u: () => dy as tf.Tensor, v: () => dy as tf.Tensor }),
      });
      const a = tracked(chain(1, activation));
      const b = tracked(chain(1, activation));
      const x = noise();
      const loss = () =>
        tf.sum(tf.square(tf.engine().runKernel(kernelName, { u: run(a, x), v: run(b, x) }) as tf.Tensor));
      try {
        expectRightGradients([a, b], loss, [x, ...weightsOf(a), ...weightsOf(b)]);
      } finally {
        tf.unregisterKernel(kernelName, backend);
        tf.unregisterGradient(kernelName);
      }
    });

    test('of second order, such as a penalty on the gradient: as in Eval', () => {
      const model = tracked(chain(2, activation));
      const x = noise();
      const penalty = () => {
        const dx = tf.grad((input) => tf.sum(tf.square(run(model, input))))(x);
        return tf.sum(tf.square(dx));
      };
      const kernels = model.layers.flatMap((layer) => layer.trainableWeights.slice(0, 1));
      expectRightGradients([model], penalty, [x, ...kernels.map((weight) => weight.read() as tf.Variable)]);
    });

    test('when a backward pass has failed before: the next one knows nothing of it', () => {
      const bottom = tracked(chain(2, activation));
      const top = tracked(chain(2, activation));
      const x = noise();
      let fail = true;
      const trap = tf.customGrad((u) => ({
        value: tf.mul(u as tf.Tensor, 1),
        gradFunc: (dy: tf.Tensor) => {
          if (fail) throw new Error('trap');
          return tf.mul(dy, 1);
        },
      }));
      const loss = () => tf.sum(tf.square(run(top, trap(run(bottom, x)))));
      const xs = [x, ...weightsOf(bottom), ...weightsOf(top)];
      // What tfjs saved for a backward pass that ends early stays alive, in Eval too. Tune must not leave more bytes.
      const leak = (mode: Mode) => {
        setMode(bottom, mode);
        setMode(top, mode);
        const alive = tf.memory();
        expect(() => gradientsOf(loss, xs)).toThrow('trap');
        const after = tf.memory();
        before += after.numTensors - alive.numTensors;
        return { bytes: after.numBytes - alive.numBytes, tensors: after.numTensors - alive.numTensors };
      };
      const ofEval = leak('eval');
      const ofTune = leak('tune');
      expect(ofTune.bytes).toBeLessThanOrEqual(ofEval.bytes);
      fail = false;
      const alive = tf.memory().numTensors;
      const next = gradientsOf(loss, xs);
      // The next pass may free what the failed one had left to it, and no more.
      const freed = alive - tf.memory().numTensors;
      before -= freed;
      expect(freed).toBeGreaterThanOrEqual(0);
      expect(freed).toBeLessThanOrEqual(ofTune.tensors);
      expectRightGradients([bottom, top], loss, xs);
      expect(gradientsOf(loss, xs)).toEqual(next);
    });
  });

  test('a NaN in dy spreads as in Eval', () => {
    const model = tracked(chain(1, 'relu'));
    const x = noise();
    const xs = [x, ...weightsOf(model)];
    setMode(model, 'tune');
    const poison = tf.where(tf.equal(run(model, x), 0), tf.fill(SHAPE, Number.NaN), tf.ones(SHAPE));
    const nans = (mode: Mode) => {
      setMode(model, mode);
      const grads = numbers(tf.grads(() => run(model, x))(xs, poison));
      return grads.map((values) => Array.from(values, Number.isNaN));
    };
    expect(nans('tune')).toEqual(nans('eval'));
  });

  test('a gradient that does not reach a block leaves nothing alive', () => {
    const model = tracked(chain(2, 'relu'));
    setMode(model, 'tune');
    const x = noise();
    const alive = tf.memory().numTensors;
    tf.tidy(() => {
      tf.grad((input) => {
        run(model, x);
        return tf.square(input);
      })(tf.scalar(2));
    });
    expect(tf.memory().numTensors).toBe(alive);
  });
});
