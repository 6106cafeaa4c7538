/** A program to be killed: saves made-up models into one folder until then. Run by file-io-atomic.test.ts. */
import { fileIO } from '../../../adapters/node/file-io';
import { madeUpModel } from './models';

async function main(): Promise<void> {
  for (let value = 1; ; value++) {
    await fileIO(process.argv[2]).save(madeUpModel(value, 300000));
    if (value === 1) process.stdout.write('started\n');
  }
}

void main();
