/** A lift under way: what of the graph has become a tensor of the new model, and by which layers. */
import { type Tensor, tensor, tidy } from '@tensorflow/tfjs-core';
import { layers, type SymbolicTensor } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../src/errors';
import type { Buildable, Layer } from '../../src/internals';
import { type Constant, constantNode, type Edge, edgeName, type Graph, type GraphNode } from './graph';
import { GraphOperation } from './graph-operation';
import type { LiftedParameter, LiftedProduct } from './lifted';
import { LayerNames } from './names';
import { type Sizes, sizesOf } from './sizes';

/** Why a node cannot be lifted. It and what depends on it are left to the graph. */
export class Unliftable extends Error {}

/** tfjs-layers 4.22.0 counts the calls of a layer, and frees its weights when as many models have been disposed. */
interface Counted {
  _refCount: number;
}

export interface NamedConstant {
  name: string;
  constant: Constant;
}

export class Lifting {
  readonly products: LiftedProduct[] = [];
  readonly parameters: LiftedParameter[] = [];
  /** Every layer made, with the names of the nodes that it computes. */
  readonly layers = new Map<Layer, Set<string>>();
  /** Adds of a constant that a convolution further up has taken in as its bias. */
  readonly passedThrough = new Set<GraphNode>();
  /** Nodes that a layer of another node computes, and whose own output nobody else takes. */
  readonly absorbed = new Set<GraphNode>();
  /** The nodes whose outputs are the model's inputs. */
  readonly begins = new Set<GraphNode>();
  readonly refused = new Map<GraphNode, string>();
  readonly names: LayerNames;
  private readonly tensors = new Map<string, SymbolicTensor>();
  private readonly given = new Map<string, Edge[]>();
  private readonly sizes = new Map<string, Sizes>();
  private readonly shared = new Map<string, Layer>();

  /**
   * @param wanted names of tensors that must be there by themselves, and not only within a layer.
   * @param apart Adds of a constant that are not to be taken for a bias further up.
   */
  constructor(
    readonly graph: Graph,
    private readonly wanted: ReadonlySet<string>,
    readonly apart: ReadonlySet<GraphNode> = new Set(),
  ) {
    this.names = new LayerNames(graph);
  }

  tensorOf(edge: Edge): SymbolicTensor | undefined {
    return this.tensors.get(edgeName(edge));
  }

  /** The tensor that a node takes. @throws Unliftable where it is none of the model's. */
  input(node: GraphNode, index = 0): SymbolicTensor {
    const edge = node.inputs[index];
    if (edge === undefined) throw new Unliftable(`it has no input ${index}`);
    const found = this.tensorOf(edge);
    if (found !== undefined) return found;
    const constant = this.constantOf(edge);
    const what = constant ? 'a constant' : 'not a part of the model';
    throw new Unliftable(`its input '${edgeName(edge)}' is ${what}`);
  }

  /** The constant behind an edge, through any Identity. */
  constantOf(edge: Edge | undefined): NamedConstant | undefined {
    const node = constantNode(this.graph, edge);
    const constant = node && this.graph.constants.get(node.name);
    return constant && { name: node.name, constant };
  }

  /** @throws Unliftable where the input is no constant. */
  constantInput(node: GraphNode, index: number): NamedConstant {
    const found = this.constantOf(node.inputs[index]);
    if (found === undefined) throw new Unliftable(`its input ${index} is not a constant`);
    return found;
  }

  /** The whole numbers of a constant input. @throws Unliftable where there are others, or it is no constant. */
  numbersOf(node: GraphNode, index: number): number[] {
    const values = Array.from<unknown>(this.constantInput(node, index).constant.values);
    if (!values.every(Number.isInteger)) throw new Unliftable(`its input ${index} is [${values}], no whole numbers`);
    return values as number[];
  }

  /** The one whole number that an input is. @throws Unliftable where it is not. */
  numberOf(node: GraphNode, index: number): number {
    const values = this.numbersOf(node, index);
    if (values.length !== 1) throw new Unliftable(`its input ${index} is [${values}], not one number`);
    return values[0];
  }

  sizesOf(edge: Edge | undefined): Sizes | undefined {
    if (edge === undefined) return undefined;
    const known = this.sizes.get(edgeName(edge));
    if (known !== undefined) return known;
    const found = this.constantOf(edge)?.constant;
    if (found === undefined || found.shape.length > 1 || found.dtype === 'string') return undefined;
    const values = Array.from(found.values as ArrayLike<number>);
    return { values, rank: found.shape.length as 0 | 1 };
  }

  /** Does the arithmetic of sizes that a node is, if it is any. */
  takeSizes(node: GraphNode): boolean {
    const first = node.inputs[0];
    const shaped = node.op === 'Shape' && first ? this.tensorOf(first) : undefined;
    const found: Sizes | undefined = shaped
      ? { values: shaped.shape.map((size, axis) => (axis === 0 ? 'batch' : size)), rank: 1 }
      : sizesOf(node, (edge) => this.sizesOf(edge));
    if (found !== undefined) this.sizes.set(node.name, found);
    return found !== undefined;
  }

  /** Whether what a node computes is in the model: as a tensor, as sizes, or within a layer of another node. */
  isComputed(node: GraphNode): boolean {
    return this.absorbed.has(node) || this.sizes.has(node.name) || this.outputsOf(node).length > 0;
  }

  outputsOf(node: GraphNode): Edge[] {
    return this.given.get(node.name) ?? [];
  }

  /** Says what a node's outputs are. */
  give(node: GraphNode, result: SymbolicTensor | SymbolicTensor[]): void {
    const list = Array.isArray(result) ? result : [result];
    list.forEach((each, index) => {
      this.giveEdge({ node: node.name, index }, each);
    });
  }

  /** Makes a tensor an input of the model. */
  begin(edge: Edge, made: SymbolicTensor): void {
    this.giveEdge(edge, made);
    this.begins.add(this.graph.byName.get(edge.node) as GraphNode);
  }

  private giveEdge(edge: Edge, result: SymbolicTensor): void {
    this.tensors.set(edgeName(edge), result);
    this.given.set(edge.node, [...(this.given.get(edge.node) ?? []), edge]);
  }

  /** Calls a layer for a node. The first call builds it; then it takes the values of its weights. */
  apply(
    node: GraphNode,
    layer: Layer,
    inputs: SymbolicTensor | SymbolicTensor[],
    weights: () => Tensor[] = () => [],
  ): SymbolicTensor {
    const isNew = !this.layers.has(layer);
    if (isNew) {
      this.layers.set(layer, new Set());
      // Every weight is set just below; random ones would only cost time.
      (layer as unknown as Buildable).setFastWeightInitDuringBuild(true);
    }
    this.layers.get(layer)?.add(node.name);
    const result = layer.apply(Array.isArray(inputs) ? this.distinct(node, inputs) : inputs) as SymbolicTensor;
    (layer as unknown as Counted)._refCount = 1;
    if (isNew && layer.weights.length > 0) tidy(() => layer.setWeights(weights()));
    return result;
  }

  /**
   * tfjs-layers 4.22.0 frees a tensor too early that a layer takes more than once: its executor counts layers, and then
   * counts down uses. Each further one is a copy.
   */
  private distinct(node: GraphNode, inputs: SymbolicTensor[]): SymbolicTensor[] {
    return inputs.map((each, i) => {
      if (inputs.indexOf(each) === i) return each;
      const name = this.names.of(node.name, '_copy');
      return this.apply(node, layers.activation({ name, activation: 'linear' }) as Layer, each);
    });
  }

  /** One layer for all nodes that compute the same with the same constants. */
  sharedLayer<L>(key: unknown[], make: () => L): L {
    const name = JSON.stringify(key);
    const known = (this.shared.get(name) as L | undefined) ?? make();
    this.shared.set(name, known as unknown as Layer);
    return known;
  }

  /** The one node that takes a node's output, if nobody else needs it, and its own output is not given. */
  onlyConsumer(node: GraphNode): GraphNode | undefined {
    if (this.wanted.has(node.name)) return undefined;
    const [only, ...others] = this.graph.consumersOf(node.name);
    return only === undefined || others.length > 0 || this.isComputed(only) ? undefined : only;
  }

  ownLayers(): string[] {
    return [...this.layers.keys()]
      .filter((layer) => (layer as unknown) instanceof GraphOperation)
      .map(({ name }) => name);
  }

  /** Frees the weights of the layers that a model does not have; of all without one. */
  disposeAllBut(kept: ReadonlySet<Layer> = new Set()): void {
    for (const layer of this.layers.keys()) {
      if (kept.has(layer)) continue;
      for (const weight of layer.weights) weight.dispose();
      this.layers.delete(layer);
    }
  }
}

/** The values of a constant as a tensor, in its own or another shape. */
export function asTensor({ constant }: NamedConstant, shape = constant.shape): Tensor {
  const length = shape.reduce((product, size) => product * size, 1);
  if (length !== constant.values.length) {
    throw new TuneModeError(
      'invalid-model-file',
      `A constant of shape [${constant.shape.join(', ')}] cannot be read as [${shape.join(', ')}].`,
    );
  }
  return tensor(Float32Array.from(constant.values as ArrayLike<number>), shape);
}
