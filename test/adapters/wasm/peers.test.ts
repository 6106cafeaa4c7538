/**
 * The peers' own tests: every spec that tfjs-core ships, on the wasm backend with our kernels.
 *
 * The specs import tfjs-core's ES sources by relative paths, another copy than the one that `require` finds. So esbuild
 * bundles specs, backend and our table into one program in which there is one copy of everything, and a child runs it.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { KNOWN, type Known } from './peers-known';
import type { Report, Spec } from './peers-run';

const root = path.resolve(__dirname, '../../..');
const modules = path.join(root, 'node_modules/@tensorflow');
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'tune-peers-'));

/** In a process of its own too: esbuild checks its realm's Uint8Array, which jest replaces. */
function build(): string[] {
  const options = {
    entryPoints: [path.join(__dirname, 'peers-run.ts')],
    outfile: path.join(folder, 'specs.cjs'),
    bundle: true,
    platform: 'node',
    format: 'cjs',
    mainFields: ['module', 'main'],
    // tfjs-core says that its specs have no side effects; they would be shaken off.
    ignoreAnnotations: true,
    metafile: true,
    logLevel: 'error',
  };
  const program = `require('esbuild').build(${JSON.stringify(options)}).then((r) =>
    require('fs').writeFileSync(${JSON.stringify(path.join(folder, 'meta.json'))}, JSON.stringify(r.metafile)))`;
  execFileSync(process.execPath, ['-e', program], { cwd: root });
  return Object.keys(JSON.parse(fs.readFileSync(path.join(folder, 'meta.json'), 'utf8')).inputs);
}

function runSpecs(): Report {
  const report = path.join(folder, 'report.json');
  const WASM_FOLDER = `${path.join(modules, 'tfjs-backend-wasm/dist')}/`;
  execFileSync(process.execPath, [path.join(folder, 'specs.cjs')], {
    cwd: folder,
    env: { ...process.env, WASM_FOLDER, REPORT: report },
    // The specs print much, and some on purpose errors.
    stdio: 'ignore',
    timeout: 300_000,
  });
  return JSON.parse(fs.readFileSync(report, 'utf8'));
}

// While jest collects, for each spec is to be a test of its own.
const inputs = build();
const { specs, calls } = runSpecs();
fs.rmSync(folder, { recursive: true });

const isKnown = (known: Known, { name, messages }: Spec) =>
  (known.name?.test(name) ?? true) && messages.some((message) => known.message.test(message));
const failed = specs.filter(({ status }) => status === 'failed');
const expected = specs.filter((spec) => spec.status !== 'pending' && !KNOWN.some((known) => isKnown(known, spec)));

test('one copy of tfjs-core and of the backend, from their sources', () => {
  expect(inputs.filter((file) => /tfjs-(core|backend-\w+)\/dist\/tf-/.test(file))).toEqual([]);
  expect(inputs.filter((file) => file.endsWith('tfjs-core/dist/engine.js'))).toHaveLength(1);
  expect(inputs.some((file) => file.endsWith('adapters/wasm/register.ts'))).toBe(true);
});

test('all specs of tfjs-core 4.22.0 have run', () => {
  expect(specs).toHaveLength(4230);
  expect(specs.filter(({ status }) => status === 'pending')).toHaveLength(5);
});

test.each(Object.keys(calls))('%s was called by the specs', (kernel) => {
  expect(calls[kernel]).toBeGreaterThan(0);
});

test.each(expected.map((spec): [string, Spec] => [spec.name, spec]))('%s', (_name, { status, messages }) => {
  expect({ status, messages }).toEqual({ status: 'passed', messages: [] });
});

test.each(KNOWN)('known to fail: $reason', (known) => {
  expect(failed.filter((spec) => isKnown(known, spec)).map(({ name }) => name)).toHaveLength(known.count);
});
