/** A new classifier head in the place of a graph's own: its last convolution or MatMul. */
import { reshape, tidy, transpose } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../src/errors';
import { classOf, type DenseLayer, type Layer, nodeOf } from '../../src/internals';
import { texts } from './attributes';
import { constantNode, type Edge, type Graph, type GraphNode, nodeBehind } from './graph';
import { finiteValues, type GraphEditor } from './graph-editor';
import type { LiftedModel, LiftedProduct } from './lifted';
import { isActivation } from './ops/activations';
import { descendants } from './region';

/** The Dense that a model ends in and a lifted model does not have. */
export function findHead(model: LayersModel, known: ReadonlyMap<string, Layer>): DenseLayer | undefined {
  const last = nodeOf(model.outputs[0]).outboundLayer;
  return classOf(last) === 'Dense' && !known.has(last.name) ? (last as DenseLayer) : undefined;
}

/**
 * @param layers The layers of the model that ends in the head, by name.
 * @returns the product whose place it took.
 * @throws TuneModeError `unsupported` where the graph has no single last product, one for other features, or more than
 *     that one in the head's place; or where it goes on with an activation that the head was not trained for.
 */
export async function putHead(
  lifted: LiftedModel,
  editor: GraphEditor,
  head: DenseLayer,
  layers: ReadonlyMap<string, Layer>,
): Promise<LiftedProduct> {
  const { graph, products } = lifted;
  const behind = (product: LiftedProduct) => descendants(graph, [graph.byName.get(product.node) as GraphNode]);
  const last = products.filter((product) => {
    const after = behind(product);
    return !products.some((other) => after.has(graph.byName.get(other.node) as GraphNode));
  });
  const [classifier] = last;
  if (last.length !== 1) {
    throw new TuneModeError(
      'unsupported',
      `toGraphModel: the graph ends in ${last.length} convolutions or MatMuls (${last.map(({ node }) => `'${node}'`).join(', ')}); a new head can only take the place of a single one.`,
    );
  }
  const { constants } = classifier;
  const [features, classes] = head.kernel.read().shape;
  const before = editor.constant(constants.kernel);
  const shape = [...before.shape];
  const [inAxis, outAxis] = constants.kernelTransposed ? [1, 0] : [shape.length - 2, shape.length - 1];
  const old = shape[outAxis];
  shape[outAxis] = classes;
  const positions = shape.length === 4 ? shape[0] * shape[1] : 1;
  if (shape[inAxis] !== features || positions !== 1 || /Depthwise|Backprop/.test(classifier.op)) {
    throw new TuneModeError(
      'unsupported',
      `toGraphModel: the new head '${head.name}' takes ${features} features, and the graph's own, node ` +
        `'${classifier.node}' (${classifier.op}), has a kernel of [${before.shape.join(', ')}]. It cannot take its place.`,
    );
  }
  if (classifier.batchNorm !== null || (constants.bias === undefined && head.bias !== null)) {
    throw new TuneModeError(
      'unsupported',
      `toGraphModel: the graph's own head, node '${classifier.node}' (${classifier.op}), ${
        classifier.batchNorm === null ? 'has no bias' : 'has a BatchNorm'
      }; the new head '${head.name}' cannot take its place.`,
    );
  }
  checkPlace(lifted, classifier, head, layers);
  checkActivation(graph, classifier, head);
  const users = editor.nodesOf(classifier);
  const kernel = tidy(() => {
    const values = head.kernel.read();
    return reshape(constants.kernelTransposed ? transpose(values) : values, shape);
  });
  try {
    const values = await finiteValues(head.name, kernel);
    editor.set(constants.kernel, { ...before, shape, values }, users, head.name);
  } finally {
    kernel.dispose();
  }
  if (constants.bias !== undefined) {
    const values = head.bias === null ? new Float32Array(classes) : await finiteValues(head.name, head.bias.read());
    editor.set(constants.bias, { ...editor.constant(constants.bias), shape: [classes], values }, users, head.name);
  }
  resizeBehind(graph, editor, classifier, old, classes);
  return classifier;
}

/** The head must stand where the classifier stood, and nowhere else. */
function checkPlace(
  { products }: LiftedModel,
  classifier: LiftedProduct,
  head: DenseLayer,
  layers: ReadonlyMap<string, Layer>,
): void {
  const refuse = (why: string) => new TuneModeError('unsupported', `toGraphModel: the new head '${head.name}' ${why}.`);
  if (layers.has(classifier.layer)) {
    throw refuse(`stands behind the graph's last layer '${classifier.layer}', and the graph has no node for it`);
  }
  const dropped = products.find((product) => product !== classifier && !layers.has(product.layer));
  if (dropped === undefined) return;
  throw refuse(
    `takes the place of more than the graph's last layer: '${dropped.layer}', node '${dropped.node}' (${dropped.op}), ` +
      'is not in the model either, and would go on computing in the graph',
  );
}

/** What a head's own activation may find in the graph behind it; it is left to the graph. */
const LEFT_TO_THE_GRAPH: Record<string, readonly string[]> = {
  linear: ['Softmax', 'Sigmoid'],
  softmax: ['Softmax'],
  sigmoid: ['Sigmoid'],
};

function checkActivation(graph: Graph, { node }: LiftedProduct, head: DenseLayer): void {
  const own = head.activation?.getClassName() ?? 'linear';
  const classifier = graph.byName.get(node) as GraphNode;
  for (const each of [classifier, ...descendants(graph, [classifier])]) {
    const found = [each.op, ...texts(each, 'fused_ops')].find((op) => isActivation(op));
    if (found === undefined || LEFT_TO_THE_GRAPH[own]?.includes(found)) continue;
    throw new TuneModeError(
      'unsupported',
      `toGraphModel: behind the graph's own head stands the activation ${found} (node '${each.name}'), and the new head ` +
        `'${head.name}' was trained with '${own}': the graph would give something else than the model.`,
    );
  }
}

/** Constants that say how many classes there are: in the shape of a Reshape behind the head. */
function resizeBehind(graph: Graph, editor: GraphEditor, { node }: LiftedProduct, old: number, classes: number): void {
  if (old === classes) return;
  for (const reader of descendants(graph, [graph.byName.get(node) as GraphNode])) {
    if (reader.op !== 'Reshape') continue;
    const { name, by } = lastSizeOf(graph, reader);
    const constant = name === undefined ? undefined : graph.constants.get(name);
    if (constant === undefined || Array.from(constant.values as ArrayLike<number>).at(-1) !== old) continue;
    const values = Int32Array.from(constant.values as ArrayLike<number>);
    values[values.length - 1] = classes;
    editor.set(name as string, { ...constant, values }, new Set([by]), `${classes}`);
  }
}

/** The constant in which the last size of a Reshape is, and the node that reads it: itself, or the Pack of its sizes. */
function lastSizeOf(graph: Graph, reshape: GraphNode): { name: string | undefined; by: string } {
  const behind = (edge: Edge | undefined) => constantNode(graph, edge)?.name;
  const pack = nodeBehind(graph, reshape.inputs[1]);
  return pack?.op === 'Pack'
    ? { name: behind(pack.inputs.at(-1)), by: pack.name }
    : { name: behind(reshape.inputs[1]), by: reshape.name };
}
