/** The table of all backends on those that Node has by itself. */
import { useBackend } from '../helpers/backends';
import { checkRow, rowsOn } from './rows';

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));
  test.each(rowsOn(backend))('$title', ({ name }) => checkRow(name, backend));
});
