/** New values for the constants of a graph, without changing what anybody else reads. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { TuneModeError } from '../../src/errors';
import { indexOfNonFinite } from '../finite';
import { type Constant, type Graph, parseEdge } from './graph';
import type { LiftedModel, LiftedParameter, LiftedProduct } from './lifted';
import type { NamedValues } from './weight-encoding';

/** A node as its JSON has it. */
export interface NodeJson {
  name: string;
  op: string;
  input?: string[];
  attr?: Record<string, unknown>;
}

interface Write {
  constant: Constant;
  /** Names of the nodes that are to read the new value. */
  users: ReadonlySet<string>;
  /** Tells the new constants of one old one apart. */
  label: string;
}

export class GraphEditor {
  private readonly graph: Graph;
  private readonly writes = new Map<string, Write[]>();
  private readonly layersOf: Map<string, readonly string[]>;

  constructor({ graph, report }: LiftedModel) {
    this.graph = graph;
    this.layersOf = new Map(report.nodes.map(({ node, layers }) => [node, layers]));
  }

  constant(name: string): Constant {
    return this.graph.constants.get(name) as Constant;
  }

  /** The nodes that a product's, or a parameter's, layer computes. */
  nodesOf({ layer, node }: LiftedProduct | LiftedParameter): Set<string> {
    const found = [...this.layersOf].filter(([, layers]) => layers.includes(layer)).map(([name]) => name);
    return new Set([node, ...found]);
  }

  set(name: string, constant: Constant, users: ReadonlySet<string>, label: string): void {
    this.writes.set(name, [...(this.writes.get(name) ?? []), { constant, users, label }]);
  }

  result(): { modelTopology: object; constants: NamedValues[] } {
    const modelTopology = structuredClone(this.graph.artifacts.modelTopology) as { node: NodeJson[] };
    const constants = new Map(this.graph.constants);
    const byName = new Map(modelTopology.node.map((node) => [node.name, node]));
    for (const [name, writes] of this.writes) {
      const readers = this.readersOf(name);
      const first = writes[0];
      const isAlone =
        writes.every((write) => sameValues(write.constant, first.constant)) &&
        readers.every((reader) => writes.some(({ users }) => users.has(reader)));
      if (isAlone) {
        constants.set(name, first.constant);
        setShape(byName.get(name) as NodeJson, first.constant.shape);
        continue;
      }
      for (const write of writes) {
        const made = freeName(`${name}/${write.label}`, byName);
        const node: NodeJson = { name: made, op: 'Const', attr: structuredClone(byName.get(name)?.attr ?? {}) };
        setShape(node, write.constant.shape);
        // In front: some readers take the nodes in the order in which they are listed.
        modelTopology.node.unshift(node);
        byName.set(made, node);
        constants.set(made, write.constant);
        for (const reader of readers) {
          if (write.users.has(reader)) this.lead(byName.get(reader) as NodeJson, name, made);
        }
      }
    }
    return { modelTopology, constants: [...constants].map(([name, constant]) => ({ name, constant })) };
  }

  /** The nodes that take a constant, through any Identity. */
  private readersOf(name: string): string[] {
    return this.graph
      .consumersOf(name)
      .flatMap((node) => (node.op === 'Identity' ? this.readersOf(node.name) : [node.name]));
  }

  /** Lets a node read another constant. */
  private lead(node: NodeJson, from: string, to: string): void {
    node.input = node.input?.map((input) => (this.isBehind(input, from) ? to : input));
  }

  private isBehind(input: string, constant: string): boolean {
    if (input.startsWith('^')) return false;
    let name = parseEdge(input).node;
    while (name !== constant) {
      const node = this.graph.byName.get(name);
      if (node?.op !== 'Identity') return false;
      name = node.inputs[0].node;
    }
    return true;
  }
}

/**
 * @param blame what is told of a number that is not finite.
 * @throws TuneModeError `invalid-data` naming the layer where a value is no finite number.
 */
export async function finiteValues(
  layer: string,
  tensor: Tensor,
  blame = (found: number) =>
    `toGraphModel: a weight of layer '${layer}' is ${found}: the training diverged. Nothing was written.`,
): Promise<Float32Array> {
  const data = (await tensor.data()).slice() as Float32Array;
  const bad = indexOfNonFinite(data);
  if (bad < 0) return data;
  throw new TuneModeError('invalid-data', blame(data[bad]));
}

function sameValues(a: Constant, b: Constant): boolean {
  if (a === b) return true;
  return (
    a.values.length === b.values.length && Array.from<unknown>(a.values).every((value, i) => value === b.values[i])
  );
}

function setShape(node: NodeJson, shape: readonly number[]): void {
  const value = (node.attr?.value as { tensor?: { tensorShape?: object } } | undefined)?.tensor;
  if (value !== undefined) value.tensorShape = { dim: shape.map((size) => ({ size: String(size) })) };
}

function freeName(name: string, taken: ReadonlyMap<string, unknown>): string {
  let free = name;
  for (let i = 1; taken.has(free); i++) free = `${name}_${i}`;
  return free;
}
