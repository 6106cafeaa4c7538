/** The calls of a functional model: every one leads somewhere, and tfjs-layers will make them in this order. */
import type { Call, TensorRef } from './calls';
import type { Findings } from './findings';

export interface GraphLayer {
  name: string;
  path: string;
  className: string;
  /** Of a nested model, which tfjs-layers and Keras 2 count as a call of its own, before all others. */
  isModel: boolean;
  isInput: boolean;
  /** How many tensors a call gives; undefined where that is unknown. */
  outputs: number | undefined;
  calls: Call[];
}

export interface Graph {
  layers: GraphLayer[];
  inputs: TensorRef[];
  outputs: TensorRef[];
}

/**
 * Keras 3 counts the calls of a nested model from 0 where it names the inputs of layers, and from 1 (Sequential: 0)
 * where it names those of the model. tfjs-layers and Keras 2 count from 1 everywhere, so that a 0 tells Keras 3.
 */
export function countFromOne(graph: Graph, keras3: boolean): void {
  const models = new Map(graph.layers.filter((layer) => layer.isModel).map((layer) => [layer.name, layer]));
  if (models.size === 0) return;
  const called = graph.layers.flatMap((layer) => layer.calls.flatMap((call) => call.inputs));
  const ends = [...graph.inputs, ...graph.outputs];
  const shift = (refs: TensorRef[], always: (layer: GraphLayer) => boolean) => {
    const fromZero = new Set(refs.filter((ref) => ref.node === 0).map((ref) => ref.layer));
    for (const ref of refs) {
      const layer = models.get(ref.layer);
      if (layer !== undefined && (always(layer) || fromZero.has(ref.layer))) ref.node += 1;
    }
  };
  shift(called, () => keras3);
  shift(ends, (layer) => keras3 && layer.className === 'Sequential');
}

const base = (layer: GraphLayer) => (layer.isModel || layer.isInput ? 1 : 0);

/** @throws TuneModeError `invalid-model-file` for an input that does not exist. */
export function checkRefs(graph: Graph, findings: Findings): void {
  const byName = new Map(graph.layers.map((layer) => [layer.name, layer]));
  const check = (ref: TensorRef, path: string, what: string) => {
    const layer = byName.get(ref.layer);
    if (layer === undefined) throw findings.invalid(path, `${what} '${ref.layer}' is no layer of this model.`);
    const nodes = base(layer) + layer.calls.length;
    if (ref.node >= nodes) {
      throw findings.invalid(path, `${what} '${ref.layer}' is call ${ref.node}, but there are only ${nodes}.`);
    }
    if (layer.outputs !== undefined && ref.tensor >= layer.outputs) {
      throw findings.invalid(path, `${what} '${ref.layer}' is output ${ref.tensor}, but it has only ${layer.outputs}.`);
    }
  };
  for (const layer of graph.layers) {
    for (const call of layer.calls) for (const ref of call.inputs) check(ref, layer.path, 'its input');
  }
  for (const ref of graph.inputs) check(ref, '', "in 'input_layers'");
  for (const ref of graph.outputs) check(ref, '', "in 'output_layers'");
}

const MOST_ROUNDS = 20;

/**
 * tfjs-layers numbers the calls of a layer in the order in which it comes to make them, which for a shared layer can be
 * another than that of the file; the inputs of others would then be wrong without a word. So the order is played
 * through here, and the calls renumbered, until it is the one of the file. A cycle shows as well; tfjs-layers would
 * never end.
 */
export function settleOrder(graph: Graph, findings: Findings): void {
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const order = playThrough(graph, findings);
    if (order.every((made) => made.every((call, index) => call === index))) return;
    renumber(graph, order);
  }
  const shared = graph.layers.find((layer) => layer.calls.length > 1);
  findings.unsupported(shared?.path ?? '', shared?.className ?? 'Model', 'tfjs-layers cannot make its calls in order');
}

/** For every layer the indices of its calls, in the order in which tfjs-layers makes them. */
function playThrough(graph: Graph, findings: Findings): number[][] {
  const position = new Map(graph.layers.map((layer, index) => [layer.name, index]));
  const done = graph.layers.map((layer) => layer.calls.map(() => false));
  const order: number[][] = graph.layers.map(() => []);
  const pending = graph.layers.map((layer) => layer.calls.map((_call, index) => index));
  const ready = (ref: TensorRef) => {
    const at = position.get(ref.layer)!;
    const call = ref.node - base(graph.layers[at]);
    return call < 0 || done[at][call];
  };
  let left = pending.reduce((sum, calls) => sum + calls.length, 0);
  while (left > 0) {
    const before = left;
    graph.layers.forEach((layer, at) => {
      if (pending[at].length === 0) return;
      pending[at] = pending[at].filter((index) => {
        if (!layer.calls[index].inputs.every(ready)) return true;
        done[at][index] = true;
        order[at].push(index);
        left--;
        return false;
      });
    });
    if (left === before) throw cyclic(graph, pending, findings);
  }
  return order;
}

function cyclic(graph: Graph, pending: number[][], findings: Findings): Error {
  const names = graph.layers.filter((_layer, at) => pending[at].length > 0).map((layer) => `'${layer.name}'`);
  const listed = names.slice(0, 5).join(', ') + (names.length > 5 ? ` and ${names.length - 5} more` : '');
  return findings.invalid('', `the model runs in a circle: ${listed} wait for each other. The file is damaged.`);
}

function renumber(graph: Graph, order: number[][]): void {
  const position = new Map(graph.layers.map((layer, index) => [layer.name, index]));
  const refs = graph.layers.flatMap((layer) => layer.calls.flatMap((call) => call.inputs));
  for (const ref of [...refs, ...graph.inputs, ...graph.outputs]) {
    const at = position.get(ref.layer)!;
    const from = base(graph.layers[at]);
    if (ref.node >= from) ref.node = from + order[at].indexOf(ref.node - from);
  }
  graph.layers.forEach((layer, at) => {
    layer.calls = order[at].map((index) => layer.calls[index]);
  });
}
