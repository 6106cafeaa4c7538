/** A graph for inference: BatchNorms that still stand in it, as Mul and Add or as nodes of their own, folded away. */
import { type io, sub, type Tensor, tidy, transpose } from '@tensorflow/tfjs-core';
import { foldedWeights } from '../../src/deploy/weights';
import type { BatchNormLayer, Layer } from '../../src/internals';
import type { GraphNode } from './graph';
import { finiteValues, GraphEditor, type NodeJson } from './graph-editor';
import type { LiftedModel, LiftedProduct } from './lifted';
import type { NamedValues } from './weight-encoding';
import { batchNormValues, layersByName } from './write-back';

export interface FoldedGraph {
  artifacts: io.ModelArtifacts;
  constants: NamedValues[];
  /** The convolutions into which a BN went, by the graph's names. */
  folded: string[];
  /** The constants that are kernels, with the ops that take them. */
  kernels: ReadonlyMap<string, ReadonlySet<string>>;
}

/**
 * Folds each BN that follows a convolution or MatMul into its kernel: the Mul is gone, the Add stays as the bias; of a
 * FusedBatchNorm a BiasAdd is left. Same inputs, outputs and names otherwise. BNs that follow no product stay.
 * @param lifted Not restored. Only read.
 * @throws TuneModeError `invalid-data` where a folded weight is no finite number.
 */
export async function foldGraph(lifted: LiftedModel): Promise<FoldedGraph> {
  const editor = new GraphEditor(lifted);
  const layers = layersByName(lifted.model);
  const around = new Map<string, string>();
  const reduced: string[] = [];
  const folded: string[] = [];
  for (const product of lifted.products) {
    if (product.form !== 'affine' && product.form !== 'batchNorm') continue;
    const ends = endsOf(lifted, editor, product);
    if (ends === undefined) continue;
    await setFolded(editor, product, layers, ends);
    for (const { node, behind } of ends) {
      if (product.form === 'affine') around.set(node.name, behind);
      else reduced.push(node.name);
      folded.push(product.node);
    }
  }
  const { modelTopology, constants } = editor.result();
  const topology = modelTopology as { node: NodeJson[] };
  for (const node of topology.node) {
    if (reduced.includes(node.name)) becomeBiasAdd(node);
    node.input = node.input?.map((input) => passed(input, around));
  }
  const used = usedNodes(topology.node, lifted);
  const gone = new Set(topology.node.map(({ name }) => name).filter((name) => !used.has(name)));
  for (const name of constantsElsewhere(lifted.graph.artifacts)) gone.delete(name);
  topology.node = topology.node.filter(({ name }) => used.has(name));
  return {
    artifacts: { ...lifted.graph.artifacts, modelTopology: topology },
    constants: constants.filter(({ name }) => !gone.has(name)),
    folded,
    kernels: kernelsOf(topology.node, lifted),
  };
}

interface End {
  /** The Mul, or the FusedBatchNorm. */
  node: GraphNode;
  /** What it takes. */
  behind: string;
}

/** The node behind each call of a product that scales it; undefined where one has none of its own. */
function endsOf({ graph }: LiftedModel, editor: GraphEditor, product: LiftedProduct): End[] | undefined {
  const scaling = product.form === 'affine' ? /^Mul$/ : /^FusedBatchNorm/;
  const ends: End[] = [];
  for (const name of editor.nodesOf(product)) {
    if (graph.byName.get(name)?.op !== product.op) continue;
    let behind = name;
    for (let node = graph.consumersOf(name)[0]; ; node = graph.consumersOf(node.name)[0]) {
      if (node === undefined || graph.consumersOf(behind).length !== 1) return undefined;
      if (scaling.test(node.op)) {
        ends.push({ node, behind });
        break;
      }
      if (!/^(Add|AddV2|BiasAdd)$/.test(node.op)) return undefined;
      behind = node.name;
    }
  }
  return ends.length > 0 ? ends : undefined;
}

async function setFolded(
  editor: GraphEditor,
  product: LiftedProduct,
  layers: ReadonlyMap<string, Layer>,
  ends: readonly End[],
): Promise<void> {
  const { constants } = product;
  const bn = layers.get(product.batchNorm as string) as BatchNormLayer;
  const values = tidy(() => {
    const [kernel, all] = foldedWeights(layers.get(product.layer) as Layer, undefined, bn);
    const turned = constants.kernelTransposed ? transpose(kernel) : kernel.clone();
    const found: { name: string; value: Tensor; readers: string[] }[] = [
      { name: constants.kernel, value: turned, readers: [...editor.nodesOf(product)] },
    ];
    // The bias before it is scaled, what the BN adds by itself stays: both are adds now. They may be one constant, of
    // which each has its own readers.
    if (product.form === 'batchNorm') {
      const value = constants.bias === undefined ? all.clone() : offsetOf(bn, constants);
      found.push({ name: constants.beta as string, value, readers: ends.map(({ node }) => node.name) });
    }
    if (constants.bias !== undefined) {
      const value = sub(all, offsetOf(bn, constants));
      found.push({ name: constants.bias, value, readers: ends.map(({ behind }) => behind) });
    }
    return found;
  });
  try {
    for (const { name, value, readers } of values) {
      const { layer } = product;
      const found = await finiteValues(layer, value, blame(layer));
      editor.set(name, { ...editor.constant(name), values: found }, new Set(readers), layer);
    }
  } finally {
    for (const { value } of values) value.dispose();
  }
}

function blame(layer: string): (found: number) => string {
  return (found) =>
    `folding the BatchNorm behind '${layer}' gives ${found}: its variance is negative, or its weights are far too large. They are damaged`;
}

/** β − s·μ */
function offsetOf(bn: BatchNormLayer, constants: LiftedProduct['constants']): Tensor {
  const { offset } = batchNormValues({ ...constants, scale: 'scale', offset: 'offset', offsetNegated: false }, bn);
  return offset;
}

/** FusedBatchNorm(x, γ, β, μ, σ²) → BiasAdd(x, β) */
function becomeBiasAdd(node: NodeJson): void {
  const [x, , beta, , , ...control] = node.input as string[];
  node.op = 'BiasAdd';
  node.input = [x, beta, ...control];
  node.attr = Object.fromEntries(
    Object.entries(node.attr ?? {}).filter(([name]) => name === 'T' || name === 'data_format'),
  );
}

/** An input, led past the nodes that are gone. */
function passed(input: string, around: ReadonlyMap<string, string>): string {
  const control = input.startsWith('^') ? '^' : '';
  let name = input.slice(control.length).split(':')[0];
  if (!around.has(name)) return input;
  while (around.has(name)) name = around.get(name) as string;
  return control + name;
}

/** The nodes on which an output of the graph depends; all where it names none. */
function usedNodes(nodes: readonly NodeJson[], { graph }: LiftedModel): Set<string> {
  const read = new Set(
    nodes.flatMap(({ input }) => input ?? []).map((input) => input.replace(/^\^/, '').split(':')[0]),
  );
  // Only what nobody takes any more, and somebody took before, goes: a graph may have ends that no signature names.
  const outputs = new Set(graph.outputs.map((output) => output.split(':')[0]));
  const gone = new Set<string>();
  for (let changed = true; changed; ) {
    changed = false;
    for (const { name } of nodes) {
      const tookPart = graph.consumersOf(name).length > 0;
      if (gone.has(name) || read.has(name) || outputs.has(name) || !tookPart) continue;
      gone.add(name);
      changed = true;
    }
    read.clear();
    for (const { name, input } of nodes) {
      if (gone.has(name)) continue;
      for (const each of input ?? []) read.add(each.replace(/^\^/, '').split(':')[0]);
    }
  }
  return new Set(nodes.map(({ name }) => name).filter((name) => !gone.has(name)));
}

/** The constants of functions and of the initializer, whose values lie among the graph's own. */
function constantsElsewhere({ modelTopology, modelInitializer }: io.ModelArtifacts): string[] {
  const { library } = modelTopology as { library?: { function?: { nodeDef?: NodeJson[] }[] } };
  const { node } = (modelInitializer ?? {}) as { node?: NodeJson[] };
  const nodes = [...(library?.function ?? []).map(({ nodeDef }) => nodeDef), node].flatMap((each) => each ?? []);
  return nodes.map(({ name }) => name);
}

/** The constants that products take as kernels, under the names that they have now. */
function kernelsOf(nodes: readonly NodeJson[], { products }: LiftedModel): Map<string, Set<string>> {
  const byName = new Map(nodes.map((node) => [node.name, node]));
  const ops = new Set(products.map(({ op }) => op));
  const kernels = new Map<string, Set<string>>();
  for (const node of nodes) {
    if (!ops.has(node.op)) continue;
    let input = byName.get((node.input?.[1] ?? '').split(':')[0]);
    while (input?.op === 'Identity') input = byName.get((input.input?.[0] ?? '').split(':')[0]);
    if (input?.op === 'Const') kernels.set(input.name, (kernels.get(input.name) ?? new Set()).add(node.op));
  }
  return kernels;
}
