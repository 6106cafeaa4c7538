/**
 * A model as the calls of its layers: nested models opened, layers named by their paths.
 *
 * Uses (nodes), not layers, are what a match must look at: a layer called at two places is one layer with two uses, and
 * what follows it may differ.
 */
import type { LayersModel, SymbolicTensor } from '@tensorflow/tfjs-layers';
import { classOf, type GraphNode, isModel, type Layer, nodeOf, unwrapTimeDistributed } from '../internals';

export interface ModelUses {
  /** Every call in the model and in the models nested in it, inputs before what consumes them. */
  nodes: GraphNode[];
  /** The calls of a layer, looked up by the layer itself or by the one inside its TimeDistributed. */
  usesOf(layer: Layer): GraphNode[];
  /** The calls that take a tensor as input, once for each time they take it. */
  consumersOf(tensor: SymbolicTensor): GraphNode[];
  /** Whether a tensor is an output of the model or of a nested model. */
  isOutput(tensor: SymbolicTensor): boolean;
  /** The layer's path: its name, behind the names of the models that it is nested in: `outer/inner/conv1`. */
  pathOf(layer: Layer): string;
}

export function collectUses(model: LayersModel): ModelUses {
  const paths = new Map<Layer, string>();
  const outputs = new Set<SymbolicTensor>();
  const consumers = new Map<SymbolicTensor, GraphNode[]>();
  const byLayer = new Map<Layer, GraphNode[]>();
  const nodes: GraphNode[] = [];
  const seen = new Set<GraphNode | LayersModel>();

  // Paths follow `layers`, not the calls: a Sequential that is the first layer of another one is never called, its
  // layers are wired into the outer graph directly (tfjs-layers 4.22.0).
  const nameLayers = (container: LayersModel, prefix: string): void => {
    for (const layer of container.layers) {
      if (paths.has(layer)) continue;
      const path = `${prefix}${layer.name}`;
      paths.set(layer, path);
      const { layer: inner, timeDistributed } = unwrapTimeDistributed(layer);
      if (isModel(inner)) nameLayers(inner, timeDistributed ? `${path}/${inner.name}/` : `${path}/`);
    }
  };

  const visitModel = (container: LayersModel): void => {
    if (seen.has(container)) return;
    seen.add(container);
    for (const output of container.outputs) outputs.add(output);
    for (const output of container.outputs) visitFrom(output);
    for (const layer of container.layers) {
      const { layer: inner } = unwrapTimeDistributed(layer);
      if (isModel(inner)) visitModel(inner);
    }
  };

  // Depth first without recursion: a chain of thousands of layers must not overflow the stack.
  const visitFrom = (output: SymbolicTensor): void => {
    const stack: { node: GraphNode; expanded: boolean }[] = [{ node: nodeOf(output), expanded: false }];
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      if (top.expanded || seen.has(top.node)) {
        stack.pop();
        if (top.expanded) finish(top.node);
        continue;
      }
      seen.add(top.node);
      top.expanded = true;
      if (classOf(top.node.outboundLayer) === 'InputLayer') continue; // it names itself as its input
      for (let i = top.node.inputTensors.length - 1; i >= 0; i--) {
        stack.push({ node: nodeOf(top.node.inputTensors[i]), expanded: false });
      }
    }
  };

  const finish = (node: GraphNode): void => {
    nodes.push(node);
    const { layer } = unwrapTimeDistributed(node.outboundLayer);
    append(byLayer, layer, node);
    if (classOf(layer) !== 'InputLayer') for (const input of node.inputTensors) append(consumers, input, node);
    if (isModel(layer)) visitModel(layer);
  };

  nameLayers(model, '');
  visitModel(model);
  return {
    nodes,
    usesOf: (layer) => byLayer.get(layer) ?? [],
    consumersOf: (tensor) => consumers.get(tensor) ?? [],
    isOutput: (tensor) => outputs.has(tensor),
    pathOf: (layer) => paths.get(layer) ?? layer.name,
  };
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}
