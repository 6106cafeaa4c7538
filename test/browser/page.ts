/** Runs inside the browser: the package as a user's bundler sees it, on the backends a page has. */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-webgl';
import '@tensorflow/tfjs-backend-webgpu';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { registerWasmTrainingKernels } from 'tfjs-tune-mode/wasm';
import { switchTo } from '../backends/numbers';
import { checkRow } from '../backends/rows';
import { tune } from './tune';

setWasmPaths('/root/node_modules/@tensorflow/tfjs-backend-wasm/wasm-out/');
registerWasmTrainingKernels();

/** Starts a backend. @returns Whether it is wasm with threads. */
async function start(backend: string): Promise<boolean> {
  await switchTo(backend);
  return backend === 'wasm' && tf.env().getBool('WASM_HAS_MULTITHREAD_SUPPORT');
}

Object.assign(globalThis, { start, checkRow, tune });
