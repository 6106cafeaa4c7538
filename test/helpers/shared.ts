import fs from 'node:fs';
import path from 'node:path';

const beside = path.resolve(__dirname, '../../../shared');

/** The folder with real models and pictures, which lies beside the repository; undefined where there is none. */
export const sharedDir: string | undefined = fs.existsSync(path.join(beside, 'models')) ? beside : undefined;

/** A `describe` for tests that need that folder: where it is absent they are skipped, and the output says so. */
export function describeShared(name: string, fn: (shared: string) => void): void {
  if (sharedDir !== undefined) {
    const found = sharedDir;
    describe(name, () => fn(found));
    return;
  }
  describe.skip(name, () => {
    test('needs ../shared', () => {});
  });
  console.warn(`Skipped "${name}": the folder 'shared' with models and pictures is not beside the repository.`);
}
