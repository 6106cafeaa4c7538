/** A GraphDef as nodes, edges and constants, checked before anything is built of it. */
import type { io, TypedArray } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { type Attribute, attributesProblem } from './attributes';

/** One output of a node. */
export interface Edge {
  node: string;
  index: number;
}

export interface GraphNode {
  name: string;
  op: string;
  /** Control dependencies are left out: they order what runs, and compute nothing. */
  inputs: Edge[];
  attributes: Record<string, Attribute>;
}

export interface Constant {
  shape: number[];
  dtype: string;
  values: TypedArray | string[];
  /** How it is stored; its values here are float32 all the same. */
  quantization?: NonNullable<io.WeightsManifestEntry['quantization']>;
}

export interface Graph {
  /** The artifacts without their weights: topology, signature, metadata. Only read. */
  artifacts: io.ModelArtifacts;
  /** In topological order; what NextIteration leads back into a loop is no edge in this sense. */
  nodes: GraphNode[];
  byName: ReadonlyMap<string, GraphNode>;
  constants: ReadonlyMap<string, Constant>;
  placeholders: GraphNode[];
  /** Names of the tensors that the signature names as outputs; without one, of the nodes that nothing consumes. */
  outputs: string[];
  /** The nodes that take any output of a node, once for each time they do. */
  consumersOf(name: string): GraphNode[];
}

interface NodeDef {
  name?: unknown;
  op?: unknown;
  input?: unknown;
  attr?: unknown;
}

/**
 * @param artifacts its `modelTopology` is a GraphDef.
 * @throws TuneModeError `invalid-model-file` for nodes without a name, twice the same name, inputs that do not exist,
 *     cycles that are no loops, and constants without a value.
 */
export function makeGraph(artifacts: io.ModelArtifacts, constants: ReadonlyMap<string, Constant>): Graph {
  const definitions = (artifacts.modelTopology as { node?: NodeDef[] } | undefined)?.node;
  if (!Array.isArray(definitions)) {
    throw invalid("it has no list of nodes ('modelTopology.node'). Expected the model.json of a tfjs GraphModel");
  }
  const byName = new Map<string, GraphNode>();
  for (const definition of definitions) {
    const node = parseNode(definition);
    if (byName.has(node.name)) throw invalid(`it has two nodes '${node.name}'`);
    byName.set(node.name, node);
  }
  const consumers = new Map<string, GraphNode[]>();
  for (const node of byName.values()) {
    for (const edge of node.inputs) {
      if (!byName.has(edge.node))
        throw invalid(`node '${node.name}' (${node.op}) takes '${edge.node}', which is missing`);
      consumers.set(edge.node, [...(consumers.get(edge.node) ?? []), node]);
    }
    if (node.op === 'Const' && !constants.has(node.name)) {
      throw invalid(`the constant '${node.name}' has no value: it is not in the weights`);
    }
  }
  const nodes = sorted(byName);
  return {
    artifacts,
    nodes,
    byName,
    constants,
    placeholders: nodes.filter(({ op }) => op.startsWith('Placeholder')),
    outputs: outputsOf(artifacts, nodes, consumers),
    consumersOf: (name) => consumers.get(name) ?? [],
  };
}

/** `name`, `name:1` or, from function bodies, `name:output:1`. */
export function parseEdge(input: string): Edge {
  const [node, ...rest] = input.split(':');
  const index = Number(rest.at(-1) ?? 0);
  return { node, index: Number.isInteger(index) ? index : 0 };
}

/** The name of a tensor as graphs write it: the first output of a node has the node's own name. */
export function edgeName({ node, index }: Edge): string {
  return index === 0 ? node : `${node}:${index}`;
}

/** The node behind an edge, through any Identity. */
export function nodeBehind({ byName }: Pick<Graph, 'byName'>, edge: Edge | undefined): GraphNode | undefined {
  let node = edge && byName.get(edge.node);
  while (node?.op === 'Identity') node = byName.get(node.inputs[0]?.node);
  return node;
}

/** The constant behind an edge, through any Identity. */
export function constantNode(graph: Pick<Graph, 'byName'>, edge: Edge | undefined): GraphNode | undefined {
  const node = nodeBehind(graph, edge);
  return node?.op === 'Const' ? node : undefined;
}

function parseNode(definition: NodeDef): GraphNode {
  const { name, op, input, attr } = definition ?? {};
  if (typeof name !== 'string' || name === '' || typeof op !== 'string') {
    throw invalid(`a node has no name or no op: ${JSON.stringify({ name, op })}`);
  }
  const inputs = input ?? [];
  if (!Array.isArray(inputs) || !inputs.every((each) => typeof each === 'string')) {
    throw invalid(`the inputs of node '${name}' are no list of names`);
  }
  const attributes = (attr ?? {}) as GraphNode['attributes'];
  const problem = attributesProblem(attributes);
  if (problem !== undefined) throw invalid(`${problem} of node '${name}' (${op})`);
  return {
    name,
    op,
    inputs: inputs.filter((each) => !each.startsWith('^')).map(parseEdge),
    attributes,
  };
}

function sorted(byName: ReadonlyMap<string, GraphNode>): GraphNode[] {
  const order: GraphNode[] = [];
  const state = new Map<GraphNode, 'open' | 'done'>();
  // Depth first without recursion: a chain of thousands of nodes must not overflow the stack.
  for (const root of byName.values()) {
    const stack = [root];
    while (stack.length > 0) {
      const node = stack[stack.length - 1];
      const before = state.get(node);
      if (before === 'done') stack.pop();
      else if (before === 'open') {
        stack.pop();
        state.set(node, 'done');
        order.push(node);
      } else {
        state.set(node, 'open');
        for (const edge of node.inputs) {
          const input = byName.get(edge.node) as GraphNode;
          if (input.op === 'NextIteration') continue;
          if (state.get(input) === 'open') throw invalid(`node '${input.name}' (${input.op}) takes its own output`);
          if (!state.has(input)) stack.push(input);
        }
      }
    }
  }
  return order;
}

function outputsOf(
  { signature, userDefinedMetadata }: io.ModelArtifacts,
  nodes: readonly GraphNode[],
  consumers: ReadonlyMap<string, GraphNode[]>,
): string[] {
  type Signature = { outputs?: Record<string, { name?: string }> };
  const given = ((userDefinedMetadata?.signature ?? signature) as Signature | undefined)?.outputs ?? {};
  // tfjs-converter 4.22.0 passes over what is not in the graph, too.
  const known = new Set(nodes.map(({ name }) => name));
  const named = Object.entries(given)
    .map(([key, info]) => parseEdge(typeof info?.name === 'string' ? info.name : key))
    .filter(({ node }) => known.has(node))
    .map(edgeName);
  if (named.length > 0) return named;
  const ends = nodes.filter(({ name, op }) => !consumers.has(name) && op !== 'Const' && op !== 'NoOp');
  return ends.map(({ name }) => name);
}

function invalid(what: string): TuneModeError {
  return new TuneModeError('invalid-model-file', `The graph cannot be read: ${what}.`);
}
