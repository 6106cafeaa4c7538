/** What has to stand before the first spec is read: jasmine's globals, our kernels on the wasm backend, and who was called. */
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops';
import '@tensorflow/tfjs-core/dist/register_all_gradients';
import { setTestEnvs } from '@tensorflow/tfjs-core/dist/jasmine_util';
import { registerWasmTrainingKernels } from '../../../adapters/wasm/register';

declare const require: (name: string) => never;

/** As much of jasmine-core as is used; its types would clash with jest's. */
interface Jasmine {
  DEFAULT_TIMEOUT_INTERVAL: number;
  getEnv(): JasmineEnv;
}
interface JasmineEnv {
  configure(options: { random: boolean }): void;
  addReporter(reporter: object): void;
  execute(): Promise<unknown>;
}
const jasmineRequire: { core(all: unknown): Jasmine; interface(jasmine: Jasmine, env: JasmineEnv): object } =
  require('jasmine-core/lib/jasmine-core/jasmine.js');

const jasmine = jasmineRequire.core(jasmineRequire);
export const env = jasmine.getEnv();
// Some specs lean on those before them, so their order is the file's.
env.configure({ random: false });
jasmine.DEFAULT_TIMEOUT_INTERVAL = 60000;
Object.assign(globalThis, jasmineRequire.interface(jasmine, env), { jasmine });

/** How often each kernel of ours was called. */
export const calls: Record<string, number> = {};

const stock = new Map(tf.getKernelsForBackend('wasm').map((k) => [k.kernelName, k.kernelFunc]));
registerWasmTrainingKernels();
for (const config of tf.getKernelsForBackend('wasm')) {
  const { kernelName, kernelFunc } = config;
  // Kernels that no gradient of tfjs's own knows have no spec there.
  if (stock.get(kernelName) === kernelFunc || kernelName.startsWith('Tune')) continue;
  calls[kernelName] = 0;
  tf.unregisterKernel(kernelName, 'wasm');
  tf.registerKernel({
    ...config,
    kernelFunc: (args) => {
      calls[kernelName]++;
      return kernelFunc(args);
    },
  });
}

setWasmPaths(process.env.WASM_FOLDER!);
setTestEnvs([{ name: 'test-wasm', backendName: 'wasm', isDataSync: true }]);
