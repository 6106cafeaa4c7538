/** Which part of a graph is lifted: where it begins, and where it ends. */
import type { Shape } from '@tensorflow/tfjs-layers';
import { shape as shapeAttribute } from './attributes';
import { constantNode, type Edge, edgeName, type Graph, type GraphNode } from './graph';
import type { Lifting } from './lifting';
import { opOf } from './ops';

/** The nodes with a kernel that is a constant: what training is about. */
export function productsOf(graph: Graph): GraphNode[] {
  return graph.nodes.filter(
    (node) =>
      opOf(node.op)?.product === true && node.inputs.length > 1 && constantBehind(graph, node.inputs[1]) !== undefined,
  );
}

/**
 * The tensors at which the trainable part begins: backwards from every product, the placeholders and what comes out of
 * nodes that cannot be lifted (a loop that resizes pictures one by one, say), unless there is a product before them.
 * @param blocked nodes that turned out to be impossible to lift, though their op is known.
 */
export function findInputs(graph: Graph, blocked: ReadonlySet<GraphNode>): Edge[] {
  const products = productsOf(graph);
  const behindProduct = descendants(graph, products);
  const found = new Map<string, Edge>();
  const seen = new Set<GraphNode>();
  const stack = [...products];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    for (const edge of dataInputs(node)) {
      const source = graph.byName.get(edge.node) as GraphNode;
      if (source.op === 'Const') continue;
      const isStart = source.op.startsWith('Placeholder') || opOf(source.op) === undefined || blocked.has(source);
      if (!isStart) stack.push(source);
      else if (!behindProduct.has(source)) found.set(edgeName(edge), edge);
    }
  }
  return graph.nodes.flatMap(({ name }) => [...found.values()].filter((edge) => edge.node === name));
}

/** The inputs through which pictures flow. */
export function dataInputs(node: GraphNode): Edge[] {
  return opOf(node.op)?.data?.(node) ?? node.inputs;
}

/** The nodes whose values depend on some of these. */
export function descendants(graph: Graph, from: readonly GraphNode[]): Set<GraphNode> {
  const found = new Set<GraphNode>();
  const stack = [...from];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    for (const consumer of graph.consumersOf(node.name)) {
      if (!found.has(consumer)) {
        found.add(consumer);
        stack.push(consumer);
      }
    }
  }
  return found;
}

/** What the graph says of a tensor's shape; the batch is always open, and the channels are those that a kernel asks for. */
export function shapeOf(graph: Graph, edge: Edge): Shape | undefined {
  const node = graph.byName.get(edge.node) as GraphNode;
  const channels = channelsAskedFor(graph, node);
  const stated = statedShape(graph, node);
  if (stated === undefined) return channels === undefined ? undefined : [null, null, null, channels];
  const inner = stated.slice(1);
  if (inner.length === 3) inner[2] ??= channels ?? null;
  return [null, ...inner];
}

function statedShape(graph: Graph, node: GraphNode): (number | null)[] | undefined {
  if (node.op.startsWith('Placeholder')) return shapeAttribute(node, 'shape');
  if (node.op === 'TensorArrayGatherV3') {
    const element = shapeAttribute(node, 'element_shape');
    return element && [null, ...element];
  }
  if (node.op === 'TensorListStack') {
    const element = constantBehind(graph, node.inputs[1]);
    return element && [null, ...Array.from(element as ArrayLike<number>, (size) => (size < 0 ? null : size))];
  }
  return undefined;
}

/** Input channels of the first convolution behind a tensor, on a way on which nothing else changes them. */
function channelsAskedFor(graph: Graph, from: GraphNode): number | undefined {
  for (let node = from, steps = 0; steps < 20; steps++) {
    const consumers = graph.consumersOf(node.name);
    const conv = consumers.find((each) => /Conv2[dD]/.test(each.op) && each.inputs[0]?.node === node.name);
    const kernel = conv && constantNode(graph, conv.inputs[1]);
    if (kernel !== undefined) return graph.constants.get(kernel.name)?.shape[2];
    const next = consumers.find(({ op }) =>
      /^(Cast|Identity|Mul|Sub|AddV?2?|RealDiv|Pad|PadV2|Relu6?|BiasAdd)$/.test(op),
    );
    if (next === undefined) return undefined;
    node = next;
  }
  return undefined;
}

function constantBehind(graph: Graph, edge: Edge | undefined) {
  const node = constantNode(graph, edge);
  return node && graph.constants.get(node.name)?.values;
}

/**
 * The tensors at which the lifted part ends: outputs of the graph that were lifted, and whatever a node takes that was
 * not; where there are none, what nobody takes. Of those only what depends on a product.
 */
export function findOutputs(lifting: Lifting): Edge[] {
  const { graph } = lifting;
  const products = productsOf(graph).filter((node) => lifting.isComputed(node));
  const trained = descendants(graph, products);
  for (const node of products) trained.add(node);
  const edges = graph.nodes
    .filter((node) => trained.has(node) && !lifting.begins.has(node))
    .flatMap((node) => lifting.outputsOf(node));
  const asked = new Set(graph.outputs);
  const ends = edges.filter((edge) => asked.has(edgeName(edge)) || isCut(lifting, edge));
  const unused = edges.filter(({ node }) => graph.consumersOf(node).length === 0);
  // By tensor: an Identity gives the same one once more.
  const found = new Map((ends.length > 0 ? ends : unused).map((edge) => [lifting.tensorOf(edge), edge]));
  return [...found.values()];
}

/** Whether the graph goes on from here with something that was not lifted. */
function isCut(lifting: Lifting, edge: Edge): boolean {
  const isLifted = (node: GraphNode) => lifting.isComputed(node) && !lifting.begins.has(node);
  return lifting.graph
    .consumersOf(edge.node)
    .some((node) => !isLifted(node) && dataInputs(node).some((each) => edgeName(each) === edgeName(edge)));
}
