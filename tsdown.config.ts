import { defineConfig } from 'tsdown';

// The entries are built together, so that they share their modules: one TuneModeError, one state of modes.
const shared = {
  target: 'es2022',
  platform: 'node' as const,
  clean: false,
  fixedExtension: false,
  checks: { pluginTimings: false },
};
const library = {
  index: 'src/index.ts',
  node: 'adapters/node/index.ts',
  wasm: 'adapters/wasm/index.ts',
  'fine-tune': 'src/fine-tune/index.ts',
  'graph-model': 'adapters/graph-model/index.ts',
  convert: 'adapters/convert/index.ts',
  zoo: 'zoo/index.ts',
  'zoo-browser': 'zoo/browser.ts',
};

// What registers something with tfjs when it is loaded: package.json's sideEffects names it, so that no bundler drops it.
const registering = { name: 'register-layers', test: /graph-model[/\\]graph-operation\.ts$/ };

export default defineConfig([
  {
    ...shared,
    entry: { ...library, cli: 'cli/main.ts' },
    format: ['esm'],
    dts: true,
    outputOptions: { codeSplitting: { groups: [registering] } },
  },
  {
    ...shared,
    entry: library,
    format: ['cjs'],
    dts: true,
    // The helpers of the CommonJS format in a chunk of their own: in an entry they would be exported to the user.
    outputOptions: { codeSplitting: { groups: [{ name: 'runtime', test: /rolldown[:/\\]runtime/ }, registering] } },
  },
  // The program of a decoding thread, for both formats: in one file, so that nothing of tfjs can come along.
  { ...shared, entry: { 'picture-worker': 'adapters/node/picture-worker.ts' }, format: ['esm'], dts: false },
  // One file for a script tag: all that runs in a page, with tfjs left to tfjs's own script.
  {
    ...shared,
    platform: 'browser',
    entry: { 'tfjs-tune-mode': 'adapters/script-tag/index.ts' },
    format: ['iife'],
    globalName: 'tuneMode',
    minify: true,
    dts: false,
    outputOptions: {
      entryFileNames: '[name].min.js',
      globals: {
        '@tensorflow/tfjs-core': 'tf',
        '@tensorflow/tfjs-layers': 'tf',
        '@tensorflow/tfjs-backend-wasm': 'tf.wasm',
      },
    },
  },
]);
