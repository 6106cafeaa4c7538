/**
 * Builds a model anew, layer by layer, with some layers left out, some changed and some added. Nesting, sharing and
 * Sequentials stay what they were; the source is only read.
 */
import type { serialization } from '@tensorflow/tfjs-core';
import {
  input,
  type LayersModel,
  layers,
  model as makeModel,
  Sequential,
  SymbolicTensor,
  sequential,
} from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../errors';
import {
  type Buildable,
  classOf,
  type GraphNode,
  isModel,
  type Kwargs,
  type Layer,
  nodeOf,
  unwrapTimeDistributed,
} from '../internals';
import { isPatched } from '../stock';

export interface Changes {
  /** The function that was called, for messages. */
  where: string;
  /** Layers, as they stand in the model, that hand their input on. */
  removed: ReadonlySet<Layer>;
  /** Changes the config of a layer (not a model, not a TimeDistributed) before it is made anew. */
  config(layer: Layer, config: serialization.ConfigDict): serialization.ConfigDict;
  /** Another name for a layer as it stands in the model. */
  renamed: ReadonlyMap<Layer, string>;
  /**
   * New layers to come behind every call of a layer (as it stands in the model; not a model): asked once for each layer,
   * so that all its calls share them. Default: none.
   */
  after?(layer: Layer): Layer[];
}

export interface Rebuilt {
  model: LayersModel;
  /** Old layer → new layer; not the models and TimeDistributed layers, whose weights are those of what they hold. */
  made: Map<Layer, Layer>;
}

export function rebuild(source: LayersModel, changes: Changes): Rebuilt {
  const made = new Map<Layer, Layer>();
  const wrappers = new Map<Layer, Layer>();
  const models = new Map<LayersModel, LayersModel>();
  const added = new Map<Layer, Layer[]>();

  const addedAfter = (layer: Layer): Layer[] => {
    let result = added.get(layer);
    if (result === undefined) {
      result = isModel(layer) ? [] : (changes.after?.(layer) ?? []);
      for (const each of result) (each as unknown as Buildable).setFastWeightInitDuringBuild(true);
      added.set(layer, result);
    }
    return result;
  };

  const rebuildModel = (container: LayersModel): LayersModel => {
    let result = models.get(container);
    if (result === undefined) {
      result = container instanceof Sequential ? rebuildSequential(container) : rebuildFunctional(container);
      result.trainable = container.trainable;
      models.set(container, result);
    }
    return result;
  };

  const remake = (layer: Layer, name?: string): Layer => {
    if (isModel(layer)) return rebuildModel(layer) as unknown as Layer;
    const known = made.get(layer) ?? wrappers.get(layer);
    if (known !== undefined) return known;
    const wrapper = classOf(layer) === 'TimeDistributed';
    const result = wrapper ? remakeTimeDistributed(layer, name) : remakeLeaf(layer, name);
    (wrapper ? wrappers : made).set(layer, result);
    return result;
  };

  const remakeLeaf = (layer: Layer, name = layer.name): Layer => {
    if (isPatched(layer)) {
      throw new TuneModeError(
        'unsupported',
        `${changes.where}: someone has replaced 'call' of layer '${layer.name}', and a layer made anew would not have that. Make it a layer class of its own, or put the original back.`,
      );
    }
    const make = layer.constructor as unknown as serialization.SerializableConstructor<Layer> & {
      fromConfig: serialization.FromConfigMethod<Layer>;
    };
    const config = changes.config(layer, { ...layer.getConfig(), name });
    // SeparableConv2D forgets it in its config (tfjs-layers 4.22.0).
    const { depthMultiplier } = layer as Layer & { depthMultiplier?: number };
    if (depthMultiplier !== undefined) config.depthMultiplier = depthMultiplier;
    const result = make.fromConfig(make, config);
    // Every weight is set afterwards; random ones would only cost time (orthogonal initialisers, much of it).
    (result as unknown as Buildable).setFastWeightInitDuringBuild(true);
    return result;
  };

  const remakeTimeDistributed = (layer: Layer, name = layer.name): Layer => {
    const inner = remake(unwrapTimeDistributed(layer).layer);
    const { batchInputShape, dtype, trainable } = layer;
    // Only a layer that was first in a Sequential has a batchInputShape.
    const first = batchInputShape == null ? {} : { batchInputShape, dtype };
    return layers.timeDistributed({ layer: inner, name, trainable, ...first });
  };

  const rebuildSequential = (container: LayersModel): LayersModel => {
    const kept = container.layers.filter((layer) => !changes.removed.has(layer));
    const remade = kept.flatMap((layer) => [remake(layer, changes.renamed.get(layer)), ...addedAfter(layer)]);
    if (kept[0] !== container.layers[0] || changes.renamed.has(kept[0])) {
      // The first layer, which named the input, is gone or renamed: the input keeps its name as a layer of its own.
      const [first] = container.inputs;
      remade.unshift(
        layers.inputLayer({ batchInputShape: first.shape, dtype: first.dtype, name: first.sourceLayer.name }) as Layer,
      );
    }
    return sequential({ name: container.name, layers: remade });
  };

  const rebuildFunctional = (container: LayersModel): LayersModel => {
    const tensors = new Map<SymbolicTensor, SymbolicTensor>();
    const inputs = container.inputs.map((old) => {
      const made = input({ batchShape: old.shape, dtype: old.dtype, name: old.sourceLayer.name });
      tensors.set(old, made);
      return made;
    });
    const newOf = (old: SymbolicTensor) => tensors.get(old) as SymbolicTensor;
    for (const node of callsOf(container)) {
      const layer = node.outboundLayer;
      const taken = node.inputTensors.map(newOf);
      let given: SymbolicTensor | SymbolicTensor[] = taken;
      if (!changes.removed.has(layer)) {
        const made = remake(layer, changes.renamed.get(layer));
        given = made.apply(taken.length === 1 ? taken[0] : taken, plainArgs(node.callArgs)) as typeof given;
        for (const each of addedAfter(layer)) given = each.apply(given) as SymbolicTensor;
      }
      const list = Array.isArray(given) ? given : [given];
      node.outputTensors.forEach((old, i) => {
        tensors.set(old, list[i]);
      });
    }
    return makeModel({ inputs, outputs: container.outputs.map(newOf), name: container.name });
  };

  try {
    return { model: rebuildModel(source), made };
  } catch (error) {
    for (const layer of [...made.values(), ...added.values()].flat()) {
      for (const weight of layer.weights) weight.dispose();
    }
    throw error;
  }
}

/** The calls between a functional model's inputs and its outputs, inputs first. */
function callsOf(container: LayersModel): GraphNode[] {
  const given = new Set(container.inputs);
  const done = new Set<GraphNode>();
  const calls: GraphNode[] = [];
  const stack: { node: GraphNode; expanded: boolean }[] = [];
  const push = (tensor: SymbolicTensor) => {
    if (!given.has(tensor)) stack.push({ node: nodeOf(tensor), expanded: false });
  };
  for (const output of [...container.outputs].reverse()) push(output);
  while (stack.length > 0) {
    const top = stack[stack.length - 1];
    if (top.expanded || done.has(top.node)) {
      stack.pop();
      if (top.expanded && !done.has(top.node)) {
        done.add(top.node);
        calls.push(top.node);
      }
      continue;
    }
    top.expanded = true;
    for (const tensor of [...top.node.inputTensors].reverse()) push(tensor);
  }
  return calls;
}

/** Call arguments without the symbolic tensors of the old graph: those are among the call's inputs already. */
function plainArgs(callArgs: Kwargs | null): Kwargs {
  const isSymbolic = (value: unknown) => value instanceof SymbolicTensor;
  return Object.fromEntries(
    Object.entries(callArgs ?? {}).filter(
      ([, value]) => !(Array.isArray(value) ? value.some(isSymbolic) : isSymbolic(value)),
    ),
  );
}
