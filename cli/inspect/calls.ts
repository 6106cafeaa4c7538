/**
 * A model as what one prediction runs: every call of every layer, nested models opened once for each of their calls, with
 * the sizes that its tensors have for one picture.
 */
import type { LayersModel, Shape, SymbolicTensor } from '@tensorflow/tfjs-layers';
import { classOf, type GraphNode, isModel, type Layer, nodeOf, unwrapTimeDistributed } from '../../src/internals';
import { collectUses } from '../../src/walker/uses';

/** Height and width, for inputs that leave them open. */
export type InputSize = readonly [height: number, width: number];

/** What most nets were made for; and what halves eight times, as a U-Net has to. */
const DEFAULT_SIZES: readonly InputSize[] = [
  [224, 224],
  [256, 256],
];

/** A nested model, at one of its calls. */
export interface Group {
  path: string;
  /** How often it runs for one picture: the steps of a TimeDistributed around it. */
  steps: number;
  parent: Group | null;
}

export interface Value {
  call: Call;
  shape: Shape;
}

export interface Call {
  path: string;
  /** The layer as it stands in the model, and without the TimeDistributed around it. */
  standing: Layer;
  layer: Layer;
  /** Which call of this layer it is, from 0, counted in the order of the list. */
  use: number;
  group: Group | null;
  /** How often a layer's own function runs for one picture beyond what its shapes show: > 1 in a repeated model. */
  steps: number;
  inputs: Value[];
  outputs: Value[];
}

export interface ModelCalls {
  calls: Call[];
  inputs: { name: string; shape: Shape; counted: Shape }[];
  outputs: { name: string; shape: Shape; counted: Shape }[];
  /** The calls that make the model's outputs. */
  ends: Set<Call>;
  usesOf(layer: Layer): number;
  /** Path of a layer whose inputs do not fit together at this input size, or null. */
  misfit: string | null;
}

/**
 * Sizes that cannot be worked out stay open (null).
 * @param size Of inputs that leave it open. Default: 224 × 224, or 256 × 256 where that fits and the former does not.
 */
export function callsOf(model: LayersModel, size?: InputSize): ModelCalls {
  if (size !== undefined) return callsWith(model, size);
  const [first, ...others] = DEFAULT_SIZES;
  const usual = callsWith(model, first);
  if (usual.misfit === null || model.inputs.every(({ shape }) => isKnown(shape.slice(1)))) return usual;
  return others.map((other) => callsWith(model, other)).find(({ misfit }) => misfit === null) ?? usual;
}

function callsWith(model: LayersModel, size: InputSize): ModelCalls {
  const { pathOf } = collectUses(model);
  const calls: Call[] = [];
  const used = new Map<Layer, number>();

  const add = (standing: Layer, group: Group | null, inputs: Value[], shapes: Shape[]): Call => {
    const { layer } = unwrapTimeDistributed(standing);
    const use = used.get(layer) ?? 0;
    used.set(layer, use + 1);
    const steps = group?.steps ?? 1;
    const call: Call = { path: pathOf(standing), standing, layer, use, group, steps, inputs, outputs: [] };
    call.outputs = shapes.map((shape) => ({ call, shape }));
    calls.push(call);
    return call;
  };

  const run = (container: LayersModel, given: (index: number) => Value, outer: Group | null): Value[] => {
    const values = new Map<SymbolicTensor, Value>(container.inputs.map((tensor, i) => [tensor, given(i)]));
    const groupOf = wiredGroups(container, outer, pathOf);
    for (const node of nodesBetween(container)) {
      const standing = node.outboundLayer;
      const group = groupOf(standing);
      const inputs = node.inputTensors.map((tensor) => values.get(tensor) as Value);
      const shapes = outputShapes(node, inputs);
      const { layer, timeDistributed } = unwrapTimeDistributed(standing);
      let outputs: Value[];
      if (isModel(layer)) {
        const [first] = inputs;
        const steps = (group?.steps ?? 1) * (timeDistributed ? (first.shape[1] ?? 1) : 1);
        const inner: Group = { path: pathOf(standing), steps, parent: group };
        const part = ({ call, shape }: Value): Value => ({ call, shape: [shape[0], ...shape.slice(2)] });
        const results = run(layer, (i) => (timeDistributed ? part(inputs[i]) : inputs[i]), inner);
        outputs = timeDistributed ? results.map(({ call }, i) => ({ call, shape: shapes[i] })) : results;
      } else {
        outputs = add(standing, group, inputs, shapes).outputs;
      }
      node.outputTensors.forEach((tensor, i) => {
        values.set(tensor, outputs[i]);
      });
    }
    return container.outputs.map((tensor) => values.get(tensor) as Value);
  };

  const counted = model.inputs.map(({ shape }) => closed(shape, size));
  const ends = run(model, (i) => add(model.inputs[i].sourceLayer, null, [], [counted[i]]).outputs[0], null);
  return {
    calls,
    inputs: model.inputs.map(({ shape }, i) => ({
      name: model.inputs[i].sourceLayer.name,
      shape,
      counted: counted[i],
    })),
    outputs: model.outputs.map(({ shape }, i) => ({
      name: model.outputs[i].sourceLayer.name,
      shape,
      counted: ends[i].shape,
    })),
    ends: new Set(ends.map(({ call }) => call)),
    usesOf: (layer) => used.get(layer) ?? 0,
    misfit: calls.find(isMisfit)?.path ?? null,
  };
}

/** A batch of one; spatial sizes that are open become `size`, an open number of channels 3. */
function closed([batch, ...rest]: Shape, [height, width]: InputSize): Shape {
  const isPicture = rest.length === 3;
  const first = isPicture && rest[0] !== null && rest[2] === null;
  return [
    batch ?? 1,
    ...rest.map((length, i) => {
      if (length !== null) return length;
      if (!isPicture) return height;
      if (i === (first ? 0 : 2)) return 3;
      return i === (first ? 1 : 0) ? height : width;
    }),
  ];
}

/** What the layer says of itself; where that leaves sizes open, worked out from the sizes that come in. */
function outputShapes(node: GraphNode, inputs: Value[]): Shape[] {
  const declared = node.outputTensors.map(({ shape }): Shape => [shape[0] ?? 1, ...shape.slice(1)]);
  if (declared.every(isKnown) || isModel(node.outboundLayer) || !inputs.every(({ shape }) => isKnown(shape))) {
    return declared;
  }
  try {
    const shapes = inputs.map(({ shape }) => shape);
    const found = node.outboundLayer.computeOutputShape(shapes.length === 1 ? shapes[0] : shapes);
    const list = (Array.isArray(found[0]) ? found : [found]) as Shape[];
    return declared.map((shape, i) => list[i]?.map((length, axis) => (axis === 0 ? (length ?? 1) : length)) ?? shape);
  } catch {
    // Layers such as an RNN with states as inputs need more than shapes: their sizes stay as open as they are.
    return declared;
  }
}

/** A Concatenate whose parts differ in more than the axis that it joins: tfjs-layers finds that out when it runs. */
function isMisfit({ layer, inputs }: Call): boolean {
  if (classOf(layer) !== 'Concatenate') return false;
  const shapes = inputs.map(({ shape }) => shape);
  const axis = shapes[0].length + (layer as Layer & { axis: number }).axis;
  return shapes[0].some((length, i) => i !== axis % shapes[0].length && shapes.some((shape) => shape[i] !== length));
}

/** 0 where a size is open. */
export const elementsOf = (shape: Shape): number => shape.reduce<number>((all, length) => all * (length ?? 0), 1);

export const isKnown = (shape: Shape): shape is number[] => shape.every((length) => length !== null);

/**
 * The groups of layers that stand in a nested model but are wired into the container directly: a Sequential that is the
 * first layer of another one is never called (tfjs-layers 4.22.0).
 */
function wiredGroups(container: LayersModel, outer: Group | null, pathOf: (layer: Layer) => string) {
  const groups = new Map<Layer, Group>();
  const enter = (nested: LayersModel, parent: Group | null): void => {
    for (const layer of nested.layers) {
      if (parent !== outer && parent !== null) groups.set(layer, parent);
      if (isModel(layer)) enter(layer, { path: pathOf(layer), steps: outer?.steps ?? 1, parent });
    }
  };
  enter(container, outer);
  return (layer: Layer): Group | null => groups.get(layer) ?? outer;
}

/** The calls between a model's inputs and its outputs, inputs first; without recursion, since chains can be long. */
function nodesBetween(container: LayersModel): GraphNode[] {
  const given = new Set(container.inputs);
  const done = new Set<GraphNode>();
  const order: GraphNode[] = [];
  const stack: { node: GraphNode; expanded: boolean }[] = [];
  const push = (tensors: SymbolicTensor[]): void => {
    for (const tensor of [...tensors].reverse()) {
      if (!given.has(tensor)) stack.push({ node: nodeOf(tensor), expanded: false });
    }
  };
  push(container.outputs);
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    if (top.expanded || done.has(top.node)) {
      stack.pop();
      if (!top.expanded || done.has(top.node)) continue;
      done.add(top.node);
      order.push(top.node);
    } else {
      top.expanded = true;
      if (classOf(top.node.outboundLayer) !== 'InputLayer') push(top.node.inputTensors);
    }
  }
  return order;
}
