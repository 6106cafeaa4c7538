/** @type {import('jest').Config} */
module.exports = {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' }, module: { type: 'commonjs' } },
    ],
  },
  moduleNameMapper: {
    '^tfjs-tune-mode$': '<rootDir>/src/index.ts',
    '^tfjs-tune-mode/node$': '<rootDir>/adapters/node/index.ts',
    '^tfjs-tune-mode/wasm$': '<rootDir>/adapters/wasm/index.ts',
    '^tfjs-tune-mode/fine-tune$': '<rootDir>/src/fine-tune/index.ts',
    '^tfjs-tune-mode/graph-model$': '<rootDir>/adapters/graph-model/index.ts',
    '^tfjs-tune-mode/convert$': '<rootDir>/adapters/convert/index.ts',
    '^tfjs-tune-mode/zoo$': '<rootDir>/zoo/index.ts',
  },
  // jest runs each file in a context of its own, where every look at a global is slow: tfjs's loops over weights look at
  // these for each value.
  sandboxInjectedGlobals: ['Math', 'Number', 'Array', 'Float32Array'],
  // Convolutions on the cpu backend are slow; a test that needs longer says so itself.
  testTimeout: 120000,
};
