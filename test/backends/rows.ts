/** The table of all backends. It runs in Node and, bundled, in a page. */
import { BLOCK_ROWS } from './block-rows';
import { NET_ROWS } from './net-rows';
import { switchTo, withDeviceErrors } from './numbers';
import { refusalOf } from './refusals';

const ROWS = [...BLOCK_ROWS, ...NET_ROWS];

/** The rows by name, and what is to be seen there on a backend, for the titles of tests. */
export function rowsOn(backend: string): { name: string; title: string }[] {
  return ROWS.map(({ name }) => {
    const refusal = refusalOf(name, backend);
    return { name, title: refusal === undefined ? name : `refused, since ${refusal.reason}: ${name}` };
  });
}

/** Checks a row on a backend; throws where it is not as it should be. */
export async function checkRow(name: string, backend: string): Promise<void> {
  const row = ROWS.find((candidate) => candidate.name === name);
  if (row === undefined) throw new Error(`no row '${name}'`);
  const refusal = refusalOf(name, backend);
  await switchTo(backend);
  try {
    await withDeviceErrors(() => row.check(backend));
  } catch (error) {
    if (refusal?.says.test((error as Error).message)) return;
    throw error;
  }
  if (refusal !== undefined) throw new Error(`works on ${backend}, and is listed as refused: ${refusal.reason}`);
}
