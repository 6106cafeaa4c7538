/**
 * The whole package for a page without a bundler, as the global `tuneMode`. tfjs is taken from its own global, `tf`, into
 * which all of its scripts put themselves: core, layers, backends.
 */
export * from '../../src';
export * from '../../src/fine-tune';
export * from '../graph-model';
export * from '../wasm';
