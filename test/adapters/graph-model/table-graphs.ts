/** The table of graph ops × forms: `rows()` as graphs, with what is expected of each. */
import type { io } from '@tensorflow/tfjs-core';
import { ARITHMETIC } from './arithmetic-graphs';
import { GraphBuilder, type Style } from './graphs';
import { NORMALISED } from './norm-graphs';
import { PRODUCTS, type Row } from './product-graphs';
import { MOVED } from './shape-graphs';

export interface TableRow extends Row {
  artifacts: io.ModelArtifacts;
  outputs: string[];
  forms: NonNullable<Row['forms']>;
}

/** Before what has no kernel itself stands a convolution: there would be nothing to train. */
function stem(g: GraphBuilder, x: string, row: Row): { x: string; layers: string[] } {
  const map = g.conv('stem', x, [2, 3, 3, 4]);
  // Not where the graph is to be linear.
  return row.linear
    ? { x: map, layers: ['Conv2D'] }
    : { x: g.node('Tanh', 'stem/tanh', [map]), layers: ['Conv2D', 'Activation'] };
}

function made(row: Row, index: number, behindStem: boolean): TableRow {
  // Converters of both times have written each half of these graphs.
  const style: Style = index % 2 === 0 ? 'names' : 'codes';
  const g = new GraphBuilder(index + 1, style);
  const input = g.placeholder('input', [null, 6, 5, 3]);
  const before = behindStem ? stem(g, input, row) : { x: input, layers: [] };
  const outputs = [row.build(g, before.x)].flat();
  return {
    ...row,
    outputs,
    artifacts: g.artifacts({ outputs }),
    layers: ['InputLayer', ...before.layers, ...row.layers],
    forms: row.forms ?? ['plain'],
  };
}

export const TABLE: TableRow[] = [
  ...[...PRODUCTS, ...NORMALISED].map((row, i) => made(row, i, false)),
  ...[...ARITHMETIC, ...MOVED].map((row, i) => made(row, i, true)),
];
