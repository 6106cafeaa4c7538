/**
 * The table of all backends on webgpu in Node: the npm package `webgpu` (Dawn's bindings) with the Vulkan loader and the
 * SwiftShader driver that come with Debian's Chromium.
 */
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { rowsOn } from './rows';

const ROOT = path.resolve(__dirname, '../..');
const DRIVER = '/usr/lib/chromium/vk_swiftshader_icd.json';
const present = fs.existsSync(DRIVER);
if (!present) console.warn(`skipped: no ${DRIVER} (Debian: apt-get install chromium)`);

(present ? describe : describe.skip)('webgpu in Node', () => {
  const errors = new Map<string, string | null>();
  let ending = '';

  beforeAll(async () => {
    const env = { ...process.env, VK_ICD_FILENAMES: DRIVER, LD_LIBRARY_PATH: path.dirname(DRIVER) };
    const program = path.join(__dirname, 'webgpu-process.ts');
    const child = spawn(process.execPath, ['--import', 'tsx', program], { cwd: ROOT, env });
    let printed = '';
    let complaints = '';
    child.stdout.on('data', (chunk) => {
      printed += chunk;
    });
    child.stderr.on('data', (chunk) => {
      complaints += chunk;
    });
    const [code, signal] = await new Promise<[number | null, string | null]>((resolve) => {
      child.on('close', (...how) => resolve(how));
    });
    for (const line of printed.split('\n').filter((text) => text.startsWith('{'))) {
      const { name, error } = JSON.parse(line) as { name: string; error: string | null };
      errors.set(name, error);
    }
    ending = `The process ended with ${signal ?? code}. ${complaints.slice(-2000)}`;
  });

  test.each(rowsOn('webgpu'))('$title', ({ name }) => {
    const error = errors.get(name);
    if (error === undefined) throw new Error(`no result. ${ending}`);
    expect(error).toBeNull();
  });
});
