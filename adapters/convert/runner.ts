/** Something that computes outputs of inputs: a layers model, or a graph. */

import { type GraphModel, loadGraphModelSync } from '@tensorflow/tfjs-converter';
import { engine, io, keep, type Tensor, tidy } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../src/errors';
import { classOf, nodesOf } from '../../src/internals';
import { inputRangeOf } from '../graph-model/input-range';
import type { LiftedModel } from '../graph-model/lifted';
import { disposeWeights } from '../layers-model';
import { checkActivations } from './activations';
import { reasonOf } from './failures';

export interface RunnerInput {
  name: string;
  /** The batch first; null where a size is open. */
  shape: readonly (number | null)[];
  dtype: string;
  /** Where the values are indices (an Embedding): how many there are. */
  indices?: number;
}

export interface Runner {
  inputs: RunnerInput[];
  outputs: string[];
  /** Whether it is to be given one sample at a time: many graphs have the batch size 1 written into them. */
  oneAtATime?: boolean;
  /** What black and white are, where the model itself tells. */
  inputRange?: readonly [number, number];
  run(inputs: Tensor[]): Promise<Tensor[]>;
  dispose(): void;
}

/**
 * @param place the file that it is of, for messages.
 * @param ownsModel whether `dispose` disposes the model.
 */
export function layersRunner(place: string, model: LayersModel, ownsModel = false): Runner {
  return {
    inputs: model.inputs.map(({ sourceLayer, shape, dtype }) => ({
      name: sourceLayer.name,
      shape: shape.map((size) => size ?? null),
      dtype,
      indices: indicesOf(sourceLayer),
    })),
    outputs: model.outputs.map(({ sourceLayer }) => sourceLayer.name), // outputNames is empty in a Sequential
    inputRange: inputRangeOf(model),
    run: (inputs) =>
      naming(place, async () => {
        checkActivations(
          model,
          inputs.map(({ shape }) => shape),
        );
        return tidy(() => asList(model.predict(inputs.length === 1 ? inputs[0] : inputs)));
      }),
    dispose: () => {
      if (ownsModel) disposeWeights(model);
    },
  };
}

/** What tfjs cannot run, it refuses in words of its own, and without saying of what it speaks. */
async function naming(place: string, run: () => Promise<Tensor[]>): Promise<Tensor[]> {
  try {
    return await run();
  } catch (error) {
    const [code, reason] =
      error instanceof TuneModeError
        ? [error.code, error.message]
        : (['invalid-model-file', `it cannot be run: ${reasonOf(error)}`] as const);
    throw new TuneModeError(code, `'${place}': ${reason.replace(/\.$/, '')}.`, { cause: error });
  }
}

function indicesOf(layer: LayersModel['layers'][number]): number | undefined {
  const calls = layer.outboundNodes as unknown as { outboundLayer: typeof layer }[];
  for (const { outboundLayer } of calls) {
    const { inputDim } = outboundLayer as unknown as { inputDim?: number };
    if (classOf(outboundLayer) === 'Embedding' && nodesOf(outboundLayer).length > 0) return inputDim;
  }
  return undefined;
}

/**
 * A graph from its own inputs to the tensors at which its lifted part ends, which are in front of whatever chooses the
 * best boxes: there a rounding may change the order, and with it every number.
 * @param from `own`: the graph's own inputs; `lifted`: those of the lifted part.
 */
export async function graphRunner(
  place: string,
  artifacts: io.ModelArtifacts,
  lifted: Ends,
  from: 'own' | 'lifted',
): Promise<Runner> {
  let graph: GraphModel<io.IOHandlerSync>;
  try {
    graph = load(artifacts);
  } catch (error) {
    throw new TuneModeError('invalid-model-file', `tfjs cannot load the graph in '${place}': ${reasonOf(error)}.`, {
      cause: error,
    });
  }
  const own = graph.inputs.map(({ name, shape, dtype }) => ({
    name,
    shape: (shape ?? []).map((size) => (size < 0 ? null : size)),
    dtype,
  }));
  return {
    inputs: from === 'lifted' ? lifted.shapes : own,
    outputs: [...lifted.outputs],
    oneAtATime: true,
    inputRange: lifted.range,
    run: (inputs) =>
      naming(place, async () => {
        if (from === 'lifted') lifted.check(inputs);
        const names = from === 'own' ? own : lifted.inputs.map((name) => ({ name }));
        return execute(graph, namedInputs(names, inputs), lifted.outputs);
      }),
    dispose: () => graph.dispose(),
  };
}

/** tfjs leaves the weights in memory where it fails behind them. */
function load(artifacts: io.ModelArtifacts): GraphModel<io.IOHandlerSync> {
  engine().startScope();
  try {
    const graph = loadGraphModelSync(io.fromMemorySync(artifacts));
    for (const tensor of Object.values(graph.weights).flat()) keep(tensor);
    return graph;
  } finally {
    engine().endScope();
  }
}

/** `execute` refuses loops, and `executeAsync` complains on stderr where there are none. */
async function execute(
  graph: GraphModel<io.IOHandlerSync>,
  inputs: Record<string, Tensor>,
  outputs: string[],
): Promise<Tensor[]> {
  try {
    return asList(graph.execute(inputs, outputs));
  } catch (error) {
    if (!/executeAsync/.test((error as Error).message)) throw error;
    return withoutLeftovers(async () => asList(await graph.executeAsync(inputs, outputs)));
  }
}

/** tfjs-converter 4.22.0 keeps a tensor for each list of a loop, for ever. Nothing else computes meanwhile. */
async function withoutLeftovers(run: () => Promise<Tensor[]>): Promise<Tensor[]> {
  engine().startScope();
  let results: Tensor[] = [];
  try {
    results = await run();
    return results;
  } finally {
    const made = engine().state.activeScope.track as Tensor[];
    for (const tensor of made) if (tensor.kept && !results.includes(tensor)) tensor.dispose();
    engine().endScope(results);
  }
}

function namedInputs(inputs: readonly { name: string }[], tensors: readonly Tensor[]): Record<string, Tensor> {
  return Object.fromEntries(inputs.map(({ name }, index) => [name, tensors[index]]));
}

function asList(result: Tensor | Tensor[]): Tensor[] {
  return Array.isArray(result) ? result : [result];
}

/** What `graphRunner` needs to know of a lifted graph, without its weights. */
export interface Ends extends Pick<LiftedModel, 'inputs' | 'outputs'> {
  shapes: RunnerInput[];
  range?: readonly [number, number];
  /** @throws TuneModeError where the lifted part would get too large. */
  check(inputs: readonly Tensor[]): void;
}

export function endsOf({ model, inputs, outputs }: LiftedModel): Ends {
  const { inputs: shapes, inputRange: range } = layersRunner('', model);
  const check = (tensors: readonly Tensor[]) =>
    checkActivations(
      model,
      tensors.map(({ shape }) => shape),
    );
  return { inputs, outputs, shapes, range, check };
}
