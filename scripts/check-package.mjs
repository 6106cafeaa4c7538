/**
 * Checks the package as a user gets it: packs it, installs the tarball with its peers into an empty folder, and imports it
 * from ESM, CommonJS and TypeScript; runs the command; lints the package's own description.
 *
 * Prints one line a check, and last `N passed, N failed, 0 skipped`.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { publint } from 'publint';

const root = path.resolve(import.meta.dirname, '..');
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'package-'));
let passed = 0;
let failed = 0;

async function check(name, run) {
  try {
    await run();
    passed++;
    console.log(`ok      ${name}`);
  } catch (error) {
    failed++;
    console.log(`FAILED  ${name}\n${[error.message, error.stdout, error.stderr].filter(Boolean).join('\n')}`);
  }
}

const run = (command, args, cwd) =>
  execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
const expect = (found, wanted) => {
  if (!found.includes(wanted)) throw new Error(`expected output with ${JSON.stringify(wanted)}, found:\n${found}`);
};

const [{ filename, files }] = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', work], root));
const tarball = path.join(work, filename);
const { version, peerDependencies, devDependencies, unpkg, jsdelivr } = JSON.parse(
  fs.readFileSync(path.join(root, 'package.json'), 'utf8'),
);

await check('holds what it needs and nothing else', () => {
  const paths = files.map((file) => file.path);
  for (const wanted of [
    'dist/index.js',
    'dist/index.cjs',
    'dist/index.d.ts',
    'dist/node.js',
    'dist/fine-tune.js',
    'dist/wasm.js',
    'dist/graph-model.js',
    'dist/convert.js',
    'dist/zoo.js',
    'dist/zoo-browser.js',
    'dist/tfjs-tune-mode.min.js',
    'dist/picture-worker.js',
    'dist/cli.js',
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
  ]) {
    if (!paths.includes(wanted)) throw new Error(`${wanted} is missing`);
  }
  // What a CDN serves for a script tag that names nothing but the package.
  if (unpkg !== jsdelivr || !paths.includes(path.posix.normalize(unpkg))) throw new Error(`no '${unpkg}' for CDNs`);
  const stray = paths.filter((file) => !/^(dist\/|README|LICENSE|CHANGELOG|ARCHITECTURE|package\.json)/.test(file));
  if (stray.length > 0) throw new Error(`should not be packed: ${stray.join(', ')}`);
});

await check('publint finds nothing', async () => {
  const { messages } = await publint({ pkgDir: root, strict: true });
  if (messages.length > 0) throw new Error(JSON.stringify(messages, null, 2));
});

await check('types resolve in every mode (arethetypeswrong)', async () => {
  const data = new Uint8Array(fs.readFileSync(tarball));
  const { problems = [] } = await checkPackage(createPackageFromTarballData(data));
  // Node 10 knows no `exports` map; the package asks for Node 20.
  const real = problems.filter((problem) => problem.resolutionKind !== 'node10');
  if (real.length > 0) throw new Error(JSON.stringify(real, null, 2));
});

fs.writeFileSync(path.join(work, 'package.json'), '{ "private": true }');
const peers = ['@tensorflow/tfjs-core', '@tensorflow/tfjs-layers'].map((name) => `${name}@${peerDependencies[name]}`);
await check('installs into an empty folder, without a native build', () => {
  run(
    'npm',
    [
      'install',
      '--no-audit',
      '--no-fund',
      '--ignore-scripts',
      tarball,
      ...peers,
      `typescript@${devDependencies.typescript}`,
      '@types/node@20',
    ],
    work,
  );
  if (fs.existsSync(path.join(work, 'node_modules', '@tensorflow', 'tfjs-node')))
    throw new Error('tfjs-node was installed unasked');
  const copies = run('npm', ['ls', '@tensorflow/tfjs-core', '--parseable'], work)
    .trim()
    .split('\n')
    .filter((line) => line.endsWith('tfjs-core'));
  if (new Set(copies).size !== 1) throw new Error(`more than one tfjs-core: ${copies.join(', ')}`);
});

const program = `
  const { backend } = await useBestBackend();
  const model = tfl.sequential({ layers: [
    tfl.layers.conv2d({ inputShape: [8, 8, 3], filters: 4, kernelSize: 3 }),
    tfl.layers.batchNormalization(),
    tfl.layers.reLU(),
  ] });
  const report = enableTuneMode(model);
  let code = '';
  try { await fileIO('does-not-exist').load(); } catch (error) { code = error instanceof TuneModeError ? error.code : 'another class'; }
  console.log('backend', backend, 'pairs', report.pairs.length, 'mode', getMode(model), 'code', code);
`;
const expected = 'backend wasm pairs 1 mode tune code not-found';

await check('imports from ESM', () => {
  fs.writeFileSync(
    path.join(work, 'esm.mjs'),
    `import * as tfl from '@tensorflow/tfjs-layers';
     import { enableTuneMode, getMode, TuneModeError } from 'tfjs-tune-mode';
     import { fileIO, useBestBackend } from 'tfjs-tune-mode/node';
     ${program}`,
  );
  expect(run('node', ['esm.mjs'], work), expected);
});

await check('imports from CommonJS', () => {
  fs.writeFileSync(
    path.join(work, 'cjs.cjs'),
    `const tfl = require('@tensorflow/tfjs-layers');
     const { enableTuneMode, getMode, TuneModeError } = require('tfjs-tune-mode');
     const { fileIO, useBestBackend } = require('tfjs-tune-mode/node');
     (async () => { ${program} })();`,
  );
  expect(run('node', ['cjs.cjs'], work), expected);
});

await check('exports the same names to ESM and CommonJS', () => {
  const script = `
    const names = (m) => Object.keys(m).filter((n) => n !== 'default' && n !== 'module.exports').sort().join();
    (async () => {
      for (const entry of ['', '/node', '/fine-tune', '/wasm', '/graph-model', '/convert', '/zoo'].map((name) => 'tfjs-tune-mode' + name)) {
        const [cjs, esm] = [names(require(entry)), names(await import(entry))];
        if (cjs !== esm) throw new Error(entry + ': ' + cjs + ' against ' + esm);
      }
      console.log(names(require('tfjs-tune-mode/zoo')));
    })();`;
  fs.writeFileSync(path.join(work, 'names.cjs'), script);
  const inNode = run('node', ['names.cjs'], work);
  // With the condition that bundlers for pages set; the names are the same, the files are not.
  expect(run('node', ['--conditions=browser', 'names.cjs'], work), inNode);
});

for (const [kind, file] of [
  ['ESM', 'typed.mts'],
  ['CommonJS', 'typed.cts'],
]) {
  await check(`type-checks from TypeScript (${kind})`, () => {
    fs.writeFileSync(
      path.join(work, file),
      `import type { LayersModel } from '@tensorflow/tfjs-layers';
       import { enableTuneMode, type Mode, setMode, type SkipCode, toDeploy, type TuneReport } from 'tfjs-tune-mode';
       import { type ConvertOptions, type ConvertReport, convert } from 'tfjs-tune-mode/convert';
       import { type EpochRecord, fineTune } from 'tfjs-tune-mode/fine-tune';
       import { fileIO, loadPictureFolder, useBestBackend } from 'tfjs-tune-mode/node';
       import { registerWasmTrainingKernels } from 'tfjs-tune-mode/wasm';
       import { type LoadOptions, loadLayers, loadTeachableMachine, type Prediction } from 'tfjs-tune-mode/zoo';
       export async function ask(options: LoadOptions): Promise<Prediction[]> {
         const { model, dispose } = await loadLayers('model', { ...options, tune: { recompute: true } });
         dispose();
         const machine = await loadTeachableMachine('machine', { labels: ['a', 'b'] }, options);
         console.log(model.name, machine.report.pairs.length);
         return machine.predict({ width: 1, height: 1, data: new Uint8Array(4) }, 2);
       }
       export const deploy = (options: ConvertOptions): Promise<ConvertReport> => convert('a.h5', 'b', { ...options, mode: 'deploy' });
       export async function use(model: LayersModel): Promise<TuneReport> {
         const mode: Mode = 'eval';
         const codes: SkipCode[] = setMode(model, mode).skipped.map((skipped) => skipped.code);
         const { why } = await useBestBackend({ backend: 'cpu' });
         registerWasmTrainingKernels();
         const { train, val } = await loadPictureFolder('pictures', { batchSize: 4 });
         await model.fitDataset(train, { epochs: 1, validationData: val });
         const records: EpochRecord[] = [];
         const tuned = await fineTune(model, { train, val, classNames: ['a', 'b'] }, {
           unfreeze: 3,
           checkpoint: fileIO('checkpoint'),
           onEpochEnd: (record) => void records.push(record),
         });
         await toDeploy(tuned.model).save(fileIO('out'));
         console.log(codes, why);
         return enableTuneMode(model, { fuseActivation: false, include: (block) => block.kind !== 'Dense' });
       }`,
    );
    const options = [
      '--noEmit',
      '--strict',
      '--skipLibCheck',
      '--target',
      'es2022',
      '--module',
      'nodenext',
      '--types',
      'node',
    ];
    run('npx', ['--no-install', 'tsc', ...options, file], work);
  });
}

await check('the command runs', () => {
  expect(run('npx', ['--no-install', 'tfjs-tune-mode', '--version'], work), version);
  const help = run('npx', ['--no-install', 'tfjs-tune-mode', '--help'], work);
  for (const name of ['finetune', 'predict', 'convert', 'inspect', 'verify']) expect(help, name);
});

// The threads that decode pictures must find their program in the package, and the entries one another's modules.
await check('the command fine-tunes and predicts', () => {
  const shipped = path.join(root, 'examples', 'assets', 'shapes-model');
  const pictures = path.join(work, 'pictures');
  const draw = path.join(work, 'draw.mts');
  fs.writeFileSync(
    draw,
    `import { drawPictures } from ${JSON.stringify(path.join(root, 'examples', 'draw-pictures.ts'))};
     await drawPictures(${JSON.stringify(pictures)}, { shapes: ['ring', 'star'], count: 12, size: 64, seed: 1 });`,
  );
  run('npx', ['--no-install', 'tsx', draw], root);
  const argv = ['--model', shipped, '--data', pictures, '--out', 'tuned', '--epochs', '1'];
  expect(run('npx', ['--no-install', 'tfjs-tune-mode', 'finetune', ...argv], work), 'validation pictures right');
  const picture = path.join(pictures, 'star', '000.png');
  expect(run('npx', ['--no-install', 'tfjs-tune-mode', 'predict', '--model', 'tuned', picture], work), ' %');
});

// HDF5 runs in a thread whose library must be found from the package, in both formats.
await check('the command converts to Keras, and CommonJS back', () => {
  const shipped = path.join(root, 'examples', 'assets', 'shapes-model');
  const command = (...argv) => run('npx', ['--no-install', 'tfjs-tune-mode', ...argv], work);
  expect(command('convert', shipped, 'model.h5', '--mode', 'deploy'), 'Keras HDF5');
  expect(command('inspect', 'model.h5', '--html', 'model.html'), 'Keras HDF5');
  fs.writeFileSync(
    path.join(work, 'back.cjs'),
    `const { convert } = require('tfjs-tune-mode/convert');
     const { useBestBackend } = require('tfjs-tune-mode/node');
     useBestBackend().then(() => convert('model.h5', 'back')).then((report) => console.log(report.toString()));`,
  );
  expect(run('node', ['back.cjs'], work), 'max |Δ| 0 ');
  expect(command('verify', shipped, 'back'), 'the same');
});

fs.rmSync(work, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed, 0 skipped`);
process.exitCode = failed === 0 ? 0 : 1;
