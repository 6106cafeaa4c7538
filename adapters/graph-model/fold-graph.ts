/** A graph for inference: BatchNorms that still stand in it, as Mul and Add or as nodes of their own, folded away. */
import { type io, sub, type Tensor, tidy, transpose } from '@tensorflow/tfjs-core';
import { foldedWeights } from '../../src/deploy/weights';
import type { BatchNormLayer, Layer } from '../../src/internals';
import type { GraphNode } from './graph';
import { finiteValues, GraphEditor, type NodeJson } from './graph-editor';
import type { LiftedModel, LiftedProduct } from './lifted';
import type { NamedValues } from './weight-encoding';
import { layersByName, scaleAndOffset } from './write-back';

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
  const reduced = new Set<string>();
  const folded: string[] = [];
  for (const product of lifted.products) {
    if (product.form !== 'affine' && product.form !== 'batchNorm') continue;
    const ends = endsOf(lifted, editor, product);
    if (ends === undefined) continue;
    await setFolded(editor, product, layers, ends);
    for (const { node, behind } of ends) {
      if (product.form === 'affine') around.set(node.name, behind);
      else reduced.add(node.name);
      folded.push(product.node);
    }
  }
  const { modelTopology, constants } = editor.result();
  const topology = modelTopology as { node: NodeJson[] };
  for (const node of topology.node) {
    if (reduced.has(node.name)) becomeBiasAdd(node);
    node.input = node.input?.map((input) => passed(input, around));
  }
  const gone = goneNodes(topology.node, lifted);
  topology.node = topology.node.filter(({ name }) => !gone.has(name));
  for (const name of constantsElsewhere(lifted.graph.artifacts)) gone.delete(name);
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
    const { offset } = scaleAndOffset(bn);
    const turned = constants.kernelTransposed ? transpose(kernel) : kernel.clone();
    const found: { name: string; value: Tensor; readers: string[] }[] = [
      { name: constants.kernel, value: turned, readers: [...editor.nodesOf(product)] },
    ];
    // The bias before it is scaled, what the BN adds by itself stays: both are adds now. They may be one constant, of
    // which each has its own readers.
    if (product.form === 'batchNorm') {
      const value = constants.bias === undefined ? all.clone() : offset.clone();
      found.push({ name: constants.beta as string, value, readers: ends.map(({ node }) => node.name) });
    }
    if (constants.bias !== undefined) {
      const value = sub(all, offset);
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
  let name = nodeOf(input);
  if (!around.has(name)) return input;
  while (around.has(name)) name = around.get(name) as string;
  return control + name;
}

/**
 * The nodes that nobody takes any more, though somebody took them before: a graph may have ends that no signature names,
 * and those stay.
 */
function goneNodes(nodes: readonly NodeJson[], { graph }: LiftedModel): Set<string> {
  const outputs = new Set(graph.outputs.map(nodeOf));
  const gone = new Set<string>();
  for (let before = -1; before < gone.size; ) {
    before = gone.size;
    const read = new Set(nodes.flatMap(({ name, input }) => (gone.has(name) ? [] : (input ?? []).map(nodeOf))));
    for (const { name } of nodes) {
      const tookPart = graph.consumersOf(name).length > 0;
      if (!read.has(name) && !outputs.has(name) && tookPart) gone.add(name);
    }
  }
  return gone;
}

/** The node that an input names: `^name` is a control input, `name:1` its second output. */
function nodeOf(input: string): string {
  return input.replace(/^\^/, '').split(':')[0];
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
    let input = byName.get(nodeOf(node.input?.[1] ?? ''));
    while (input?.op === 'Identity') input = byName.get(nodeOf(input.input?.[0] ?? ''));
    if (input?.op === 'Const') kernels.set(input.name, (kernels.get(input.name) ?? new Set()).add(node.op));
  }
  return kernels;
}
