/** A process that loads a model over http again and again, every third time anew. @see download-cache.test.ts */

import { nodePlatform } from '../../zoo/node-platform';
import { modelHandler } from '../../zoo/source';
import { weightBytes } from './models';

async function main([url, cache, times]: string[]): Promise<void> {
  const seen = new Set<number>();
  for (let i = 0; i < Number(times); i++) {
    const handler = modelHandler(nodePlatform, { where: 'test' }, url, { cache, refresh: i % 3 === 0 });
    seen.add(weightBytes(await handler.load!()).reduce((sum, byte) => (sum * 31 + byte) % 1_000_003, 0));
  }
  console.log([...seen].join());
}

void main(process.argv.slice(2));
