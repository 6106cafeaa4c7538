/** GraphModel → LayersModel. */
import { input, type LayersModel, model as makeModel, type Shape, type SymbolicTensor } from '@tensorflow/tfjs-layers';
import { checkOptionNames, TuneModeError } from '../../src/errors';
import type { Layer } from '../../src/internals';
import { setMode } from '../../src/modes';
import { type Edge, edgeName, type Graph, type GraphNode, parseEdge } from './graph';
import { type LiftedModel, makeLiftReport, type NodeReport } from './lifted';
import { Lifting, Unliftable } from './lifting';
import { LIFTED_OPS, opOf } from './ops';
import { type GraphSource, readGraph } from './read';
import { dataInputs, findInputs, findOutputs, productsOf, shapeOf } from './region';

export interface LiftOptions {
  /**
   * Tensors of the graph at which the model begins, as names, or as names and shapes ([batch, …], null for an open size).
   * Default: the placeholders, or where the pictures come out of what cannot be lifted (a loop, say).
   */
  inputs?: readonly string[] | Readonly<Record<string, Shape>>;
  /** Tensors of the graph at which the model ends. Default: as far as it can be lifted. */
  outputs?: readonly string[];
  /**
   * What to do where the graph goes on with something that cannot be lifted: `cut` (default) ends the model there; the
   * graph itself can go on from there. `error` refuses.
   */
  onUnsupported?: 'cut' | 'error';
}

/**
 * Makes a trainable layers model of a GraphModel.
 *
 * ```ts
 * const { model, report } = await liftGraphModel(await tf.loadGraphModel(url));
 * console.log(report.toString());
 * ```
 *
 * Nodes become plain Keras layers wherever one exists, else layers of this package's class `GraphOperation`. A BN of which
 * the scale s is still in the graph becomes a BatchNormalization; of one that is folded into a convolution nothing is left
 * but its bias: `restoreBatchNorm` puts it back. The model gives what the graph gives, to float32 rounding, and is in Tune
 * mode: in Train mode the BNs would need statistics that no graph has, which `restoreBatchNorm` measures.
 *
 * @param source A GraphModel (which stays as it is), an IOHandler, or a URL.
 * @throws TuneModeError `unsupported`, naming node and op, where an asked-for output cannot be lifted, or nothing with a
 *     kernel can; `invalid-option`; `not-a-graph-model`; `invalid-model-file`. Nothing is left over then.
 */
export async function liftGraphModel(source: GraphSource, options: LiftOptions = {}): Promise<LiftedModel> {
  checkLiftOptions(options);
  const graph = await readGraph('liftGraphModel', source);
  return liftGraph(graph, options);
}

/** The same for a graph that is read already. */
export function liftGraph(graph: Graph, options: LiftOptions = {}): LiftedModel {
  const given = options.inputs && namedInputs(graph, options.inputs);
  const wanted = (options.outputs ?? []).map((name) => edgeOf(graph, name, 'outputs'));
  const products = productsOf(graph);
  const blocked = new Set<GraphNode>();
  const apart = new Set<GraphNode>();
  for (;;) {
    const lifting = new Lifting(graph, new Set([...wanted.map(edgeName), ...graph.outputs]), apart);
    try {
      const starts = given ?? findInputs(graph, blocked).map((edge) => ({ edge, shape: shapeOf(graph, edge) }));
      const tensors = new Map(starts.map(({ edge, shape }) => [edgeName(edge), makeInput(lifting, edge, shape)]));
      liftNodes(lifting);
      // A bias has been taken in over a sum that could not be lifted: the model would end between the two.
      const severed = [...lifting.passedThrough].filter((node) => !lifting.isComputed(node));
      if (severed.length > 0) {
        for (const node of severed) apart.add(node);
        lifting.disposeAllBut();
        continue;
      }
      // A node whose op is known may still be impossible; then the model begins behind it.
      const stuck =
        given || products.some((node) => lifting.isComputed(node)) ? undefined : firstRefused(lifting, blocked);
      if (stuck === undefined) {
        const lifted = finish(lifting, tensors, wanted, options);
        if (given) checkAllUsed(lifting, tensors, lifted);
        return lifted;
      }
      blocked.add(stuck);
      lifting.disposeAllBut();
    } catch (error) {
      lifting.disposeAllBut();
      throw error;
    }
  }
}

function checkLiftOptions(options: LiftOptions): void {
  checkOptionNames('liftGraphModel', options, ['inputs', 'outputs', 'onUnsupported']);
  const { onUnsupported = 'cut', inputs, outputs } = options;
  if (onUnsupported !== 'cut' && onUnsupported !== 'error') {
    throw invalidOption(`onUnsupported must be 'cut' or 'error', found ${JSON.stringify(onUnsupported)}`);
  }
  if (outputs !== undefined && !areNames(outputs)) {
    throw invalidOption(`outputs must be different names of tensors, at least one, found ${JSON.stringify(outputs)}`);
  }
  if (inputs !== undefined && !areNames(inputs) && !areShapes(inputs)) {
    throw invalidOption(
      'inputs must be different names of tensors, at least one, or an object of names and shapes ([batch, …], null for an ' +
        `open size), found ${JSON.stringify(inputs)}`,
    );
  }
}

function areNames(value: unknown): value is readonly string[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((each) => typeof each === 'string') &&
    new Set(value).size === value.length
  );
}

function areShapes(value: unknown): value is Readonly<Record<string, Shape>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const isSize = (size: unknown) => size === null || (Number.isInteger(size) && (size as number) > 0);
  const shapes = Object.values(value);
  return shapes.length > 0 && shapes.every((shape) => Array.isArray(shape) && shape.length > 1 && shape.every(isSize));
}

function invalidOption(what: string): TuneModeError {
  return new TuneModeError('invalid-option', `liftGraphModel: ${what}.`);
}

/** @throws TuneModeError for an input that the caller has named, and that the model would not have. */
function checkAllUsed(lifting: Lifting, tensors: ReadonlyMap<string, unknown>, { inputs, outputs }: LiftedModel): void {
  const unused = [...tensors.keys()].find((name) => !inputs.includes(name));
  if (unused === undefined) return;
  const refused = lifting.graph.consumersOf(parseEdge(unused).node).find((node) => lifting.refused.has(node));
  const why = refused ? `: '${refused.name}' (${refused.op}) is not lifted, ${lifting.refused.get(refused)}` : '';
  throw invalidOption(`'inputs' names '${unused}', and no output ('${outputs.join("', '")}') depends on it${why}`);
}

function edgeOf(graph: Graph, name: string, option: string): Edge {
  const edge = parseEdge(String(name));
  if (graph.byName.has(edge.node)) return edge;
  throw invalidOption(`'${option}' names '${name}', and no node is called that`);
}

function namedInputs(graph: Graph, inputs: NonNullable<LiftOptions['inputs']>) {
  const named: [string, Shape | undefined][] = Array.isArray(inputs)
    ? inputs.map((name) => [name, undefined])
    : Object.entries(inputs as Record<string, Shape>);
  return named.map(([name, shape]) => {
    const edge = edgeOf(graph, name, 'inputs');
    return { edge, shape: shape ?? shapeOf(graph, edge) };
  });
}

function makeInput(lifting: Lifting, edge: Edge, shape: Shape | undefined): SymbolicTensor {
  if (shape === undefined || shape.slice(1).at(-1) == null) {
    const found = shape === undefined ? 'nothing' : `[${shape.map((size) => size ?? 'open').join(', ')}]`;
    throw new TuneModeError(
      'invalid-option',
      `liftGraphModel: of the shape of '${edgeName(edge)}', where the model is to begin, the graph says ${found}. ` +
        `Give it: inputs: { '${edgeName(edge)}': [null, height, width, channels] }.`,
    );
  }
  const made = input({ batchShape: [null, ...shape.slice(1)], name: lifting.names.of(edge.node) });
  lifting.begin(edge, made);
  return made;
}

function liftNodes(lifting: Lifting): void {
  for (const node of lifting.graph.nodes) {
    if (node.op === 'Const' || lifting.isComputed(node)) continue;
    if (lifting.takeSizes(node)) continue;
    const op = opOf(node.op);
    try {
      if (op === undefined) throw new Unliftable(noLayer(node));
      op.lift(node, lifting);
    } catch (error) {
      if (!(error instanceof Unliftable)) throw failedLayer(node, error as Error);
      lifting.refused.set(node, error.message);
    }
  }
}

function noLayer({ op }: GraphNode): string {
  return op.startsWith('Placeholder')
    ? 'it is an input of the graph, and the model begins elsewhere'
    : `there is no layer for ${op}`;
}

/** tfjs-layers refuses shapes that do not fit: the graph is broken. */
function failedLayer(node: GraphNode, error: Error): TuneModeError {
  if (error instanceof TuneModeError) return error;
  const [line] = error.message.split('\n');
  return new TuneModeError(
    'invalid-model-file',
    `The graph cannot be lifted: node '${node.name}' (${node.op}) does not fit what it takes: ${line}`,
    { cause: error },
  );
}

/** A node of a known op that was refused though all its inputs were there. */
function firstRefused(lifting: Lifting, blocked: ReadonlySet<GraphNode>): GraphNode | undefined {
  return [...lifting.refused.keys()].find(
    (node) => opOf(node.op) !== undefined && !opOf(node.op)?.product && !blocked.has(node) && hasTensors(lifting, node),
  );
}

function hasTensors(lifting: Lifting, node: GraphNode): boolean {
  return dataInputs(node).some((edge) => lifting.tensorOf(edge) !== undefined);
}

function finish(
  lifting: Lifting,
  inputs: ReadonlyMap<string, SymbolicTensor>,
  wanted: readonly Edge[],
  { onUnsupported = 'cut' }: LiftOptions,
): LiftedModel {
  const { graph } = lifting;
  const asked = wanted.length > 0 ? wanted : onUnsupported === 'error' ? graph.outputs.map(parseEdge) : [];
  for (const edge of asked) {
    if (lifting.tensorOf(edge) === undefined) throw impossible(lifting, edge);
  }
  const outputs = asked.length > 0 ? asked : findOutputs(lifting);
  if (outputs.length === 0) throw nothingToTrain(lifting);
  const made = outputs.map((edge) => lifting.tensorOf(edge) as SymbolicTensor);
  const used = new Set(ancestorInputs(made));
  const taken = [...inputs].filter(([, tensor]) => used.has(tensor));
  const model = makeModel({ inputs: taken.map(([, tensor]) => tensor), outputs: made });
  lifting.disposeAllBut(new Set(model.layers));
  const inModel = new Set(model.layers.map(({ name }) => name));
  const products = lifting.products.filter(({ layer }) => inModel.has(layer));
  setMode(model, 'tune');
  return {
    model,
    inputs: taken.map(([name]) => name),
    outputs: outputs.map(edgeName),
    report: makeLiftReport(
      nodeReports(lifting, model, outputs),
      products,
      lifting.ownLayers().filter((name) => inModel.has(name)),
    ),
    products,
    parameters: lifting.parameters.filter(({ layer }) => inModel.has(layer)),
    graph,
  };
}

function ancestorInputs(outputs: readonly SymbolicTensor[]): SymbolicTensor[] {
  const found = new Set<SymbolicTensor>();
  const seen = new Set<SymbolicTensor>();
  const stack = [...outputs];
  for (let tensor = stack.pop(); tensor !== undefined; tensor = stack.pop()) {
    if (seen.has(tensor)) continue;
    seen.add(tensor);
    if (tensor.inputs.length === 0) found.add(tensor);
    stack.push(...tensor.inputs);
  }
  return [...found];
}

/** Why a tensor could not be lifted: the first node on the way to it that could not. */
function impossible(lifting: Lifting, edge: Edge): TuneModeError {
  const { graph } = lifting;
  const seen = new Set<GraphNode>();
  let node = graph.byName.get(edge.node) as GraphNode;
  for (;;) {
    seen.add(node);
    const before = node.inputs
      .map((each) => graph.byName.get(each.node) as GraphNode)
      .find((each) => lifting.refused.has(each) && !seen.has(each));
    if (before === undefined) break;
    node = before;
  }
  const reason = lifting.refused.get(node) ?? whyNoTensor(lifting, node, edge);
  return new TuneModeError(
    'unsupported',
    `The graph's '${edgeName(edge)}' cannot be lifted: node '${node.name}' (${node.op}): ${reason}. ` +
      "liftGraphModel takes other 'inputs' and 'outputs', to lift another part.",
  );
}

/** Why a node that was not refused has no tensor of that name. */
function whyNoTensor(lifting: Lifting, node: GraphNode, { index }: Edge): string {
  const outputs = lifting.outputsOf(node).length;
  if (outputs > 0) return `it has ${outputs} outputs, and none with the number ${index}`;
  if (node.op === 'Const') return 'it is a constant';
  return lifting.absorbed.has(node)
    ? 'another layer computes it together with what follows'
    : 'it computes sizes, and layers give none';
}

function nothingToTrain(lifting: Lifting): TuneModeError {
  const [product] = productsOf(lifting.graph);
  if (product !== undefined) return impossible(lifting, { node: product.name, index: 0 });
  return new TuneModeError(
    'unsupported',
    'The graph has no convolution and no MatMul with a constant kernel: there is nothing to train. ' +
      `Ops that are lifted: ${LIFTED_OPS.join(', ')}.`,
  );
}

function nodeReports(lifting: Lifting, model: LayersModel, outputs: readonly Edge[]): NodeReport[] {
  const needed = ancestors(lifting, outputs);
  const layersOf = new Map<string, string[]>();
  const kept = new Set<Layer>(model.layers);
  for (const [layer, nodes] of lifting.layers) {
    if (kept.has(layer)) for (const node of nodes) layersOf.set(node, [...(layersOf.get(node) ?? []), layer.name]);
  }
  return lifting.graph.nodes.map((node): NodeReport => {
    const { name, op } = node;
    const layers = layersOf.get(name) ?? [];
    if (op === 'Const') return { node: name, op, layers, state: 'constant', reason: null };
    if (lifting.begins.has(node) && !op.startsWith('Placeholder')) {
      return { node: name, op, layers, state: 'left', reason: 'the model begins with what it gives' };
    }
    if (needed.has(node) && lifting.isComputed(node)) return { node: name, op, layers, state: 'lifted', reason: null };
    return { node: name, op, layers, state: 'left', reason: lifting.refused.get(node) ?? null };
  });
}

/** The nodes that some tensors depend on, so far as they have been lifted. */
function ancestors(lifting: Lifting, edges: readonly Edge[]): Set<GraphNode> {
  const nodeOf = ({ node }: Edge) => lifting.graph.byName.get(node) as GraphNode;
  const found = new Set<GraphNode>();
  const stack = edges.map(nodeOf);
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (found.has(node) || !lifting.isComputed(node)) continue;
    found.add(node);
    stack.push(...node.inputs.map(nodeOf));
  }
  return found;
}
