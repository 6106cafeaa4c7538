/**
 * Builds the SIMD kernels in adapters/wasm/simd (AssemblyScript) and writes them, with their types, into one TypeScript
 * module: bundlers, pages and Node then load them alike, without a file to be found at run time. The same sources give
 * the same bytes on every machine.
 *
 *   node scripts/build-simd.mjs
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import asc from 'assemblyscript/asc';

const root = fileURLToPath(new URL('..', import.meta.url));
const sources = path.join(root, 'adapters/wasm/simd');
const target = path.join(root, 'adapters/wasm/simd.generated.ts');

/** Nothing of the module lies in memory but what it is told: no runtime, no data, no stack. */
const OPTIONS = [
  '-O3',
  '--converge',
  '--runtime',
  'stub',
  '--noAssert',
  '--use',
  'abort=',
  '--importMemory',
  '--enable',
  'simd',
];
/** Vectors passed between files of the module, which the compiler takes for exports to JavaScript. */
const ALLOWED = ['--disableWarning', '112'];
const SHARED = ['--sharedMemory', '--maximumMemory', '65536', '--enable', 'threads'];

const plain = await compile([]);
const shared = await compile(SHARED);
const functions = [...plain.types.matchAll(/export function (\w+)\(([^)]*)\): (\w+);/g)];
const text = `// Made by scripts/build-simd.mjs from adapters/wasm/simd.

/** Addresses and sizes are numbers of bytes where the sources do not say otherwise. */
export interface SimdKernels {
${functions.map(([, name, parameters, result]) => `  ${name}(${parameters}): ${result};`).join('\n')}
}

/** For a backend whose memory is its own, and for one whose memory is shared among threads; base64. */
export const SIMD_BINARY = {
  own: '${plain.binary}',
  shared: '${shared.binary}',
};
`;
fs.writeFileSync(`${target}.tmp`, text);
fs.renameSync(`${target}.tmp`, target);

async function compile(options) {
  const files = new Map();
  const messages = [];
  const { error } = await asc.main(
    ['index.ts', '--outFile', 'k.wasm', '--bindings', 'raw', ...OPTIONS, ...ALLOWED, ...options],
    {
      readFile: (name) => {
        const file = path.join(sources, name);
        return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : null;
      },
      writeFile: (name, contents) => files.set(name, contents),
      listFiles: () => [],
      stdout: { write: () => {} },
      stderr: { write: (chunk) => messages.push(chunk) },
    },
  );
  if (error || messages.length > 0)
    throw new Error(`${messages.join('').slice(0, 4000)}\n${error ?? 'warnings count as errors here'}`);
  return { binary: Buffer.from(files.get('k.wasm')).toString('base64'), types: files.get('k.d.ts') };
}
