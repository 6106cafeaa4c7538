/** What a lift gives: a layers model, what became of each node, and the way back into the graph. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { table, withText } from '../../src/report';
import type { Graph } from './graph';

/** How a convolution and its BatchNorm stood in the graph. */
export type ConvForm =
  /** Conv and bias, the BN (if there ever was one) folded into both. */
  | 'folded'
  /** Conv, then Mul with a constant, then Add with a constant: s is known, so it is lifted as a real BN. */
  | 'affine'
  /** Conv, then a FusedBatchNorm node with its four constants. */
  | 'batchNorm'
  /** Conv without bias. */
  | 'plain';

/** The constants that a BN is in the graph, in either form. */
export interface BatchNormConstants {
  /** affine: s, and β − s·μ (or its negative, where the graph subtracts it). */
  scale?: string;
  offset?: string;
  offsetNegated?: boolean;
  /** batchNorm. */
  gamma?: string;
  beta?: string;
  mean?: string;
  variance?: string;
}

/** A layer with a kernel, and the constants of the graph that its weights are. */
export interface LiftedProduct {
  /** Name of the graph's node. */
  node: string;
  op: string;
  form: ConvForm;
  /** Name of the layer in the model: a convolution or a Dense. */
  layer: string;
  /** Name of the BatchNormalization behind it, or null. */
  batchNorm: string | null;
  constants: BatchNormConstants & {
    kernel: string;
    /** MatMul with transpose_b: [units, inputs] instead of [inputs, units]. */
    kernelTransposed?: boolean;
    bias?: string;
  };
}

/** Weights that are no product's. */
export interface LiftedParameter {
  node: string;
  op: string;
  layer: string;
  /**
   * `alpha`: of a PReLU. `affine`: Mul and Add with constants that follow no product, lifted as a BN whose s is `scale` and
   * whose β − s·μ is `offset`. `batchNorm`: a FusedBatchNorm that follows no product.
   */
  kind: 'alpha' | 'affine' | 'batchNorm';
  constants: BatchNormConstants & { alpha?: string };
}

export interface NodeReport {
  node: string;
  op: string;
  /** The layers that compute it; empty for constants and for what another node's layer took in. */
  layers: string[];
  /** `lifted`; `constant`: read while lifting; `left`: not a part of the model. */
  state: 'lifted' | 'constant' | 'left';
  /** Why it was left, or null. */
  reason: string | null;
}

export interface LiftReport {
  nodes: NodeReport[];
  products: LiftedProduct[];
  /** Layers of this package's class `GraphOperation`, by name: a program that loads the saved model has to import it. */
  ownLayers: string[];
  /** A table for people. */
  toString(): string;
}

export interface LiftedModel {
  /**
   * Plain Keras layers wherever one exists, in Tune mode where there are BatchNormalizations. Its batch is dynamic.
   * Dispose it when done.
   */
  model: LayersModel;
  /** Graph tensors that are the model's inputs and outputs, in their order. */
  inputs: string[];
  outputs: string[];
  report: LiftReport;
  products: LiftedProduct[];
  parameters: LiftedParameter[];
  /** The graph that it came from, for `toGraphModel`. Only read. */
  graph: Graph;
}

export function makeLiftReport(nodes: NodeReport[], products: LiftedProduct[], ownLayers: string[]): LiftReport {
  return withText({ nodes, products, ownLayers }, render);
}

function render({ nodes, products, ownLayers }: Omit<LiftReport, 'toString'>): string {
  const count = (state: NodeReport['state']) => nodes.filter((node) => node.state === state).length;
  const lines = [
    `lifted ${count('lifted')} of ${nodes.length} nodes (${count('constant')} constants, ${count('left')} left to the graph)`,
  ];
  if (products.length > 0) {
    lines.push(
      '',
      table(
        ['layer', 'form', 'batch norm', 'op', 'node'],
        products.map(({ layer, form, batchNorm, op, node }) => [layer, form, batchNorm ?? '-', op, node]),
      ),
    );
  }
  const left = new Map<string, { count: number; reason: string }>();
  for (const { op, state, reason } of nodes) {
    if (state !== 'left') continue;
    const known = left.get(op);
    left.set(op, { count: (known?.count ?? 0) + 1, reason: known?.reason ?? reason ?? '' });
  }
  if (left.size > 0) {
    lines.push(
      '',
      'left to the graph',
      table(
        ['op', 'nodes', 'reason (of the first)'],
        [...left].map(([op, { count, reason }]) => [op, String(count), reason]),
      ),
    );
  }
  if (ownLayers.length > 0) {
    lines.push('', `layers of this package (class GraphOperation): ${ownLayers.map((name) => `'${name}'`).join(', ')}`);
  }
  return lines.join('\n');
}
