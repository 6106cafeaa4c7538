/**
 * The entry `tfjs-tune-mode/wasm`: what the wasm backend needs to train, in pages and wherever tfjs runs. (In Node,
 * `useBestBackend()` from `tfjs-tune-mode/node` does all of it.)
 */
export { registerWasmTrainingKernels } from './register';
