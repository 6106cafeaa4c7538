/**
 * A run in the middle of its way, as artifacts that any tfjs IOHandler can save and load: the model's topology, and as
 * weights the model's own, the best epoch's and the optimizer's moments. What is no tensor is in `userDefinedMetadata`.
 */
import { io as coreIo, dispose, type io, tensor } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../errors';
import type { EpochRecord, RatePoint } from './history';
import type { OptimizerState } from './optimizer';
import type { EpochSums } from './steps';
import type { Snapshot } from './weights';

/** Where a run stands. Plain data. */
export interface RunState {
  /** Epochs that are over. */
  epoch: number;
  /** Of the epoch that has begun. */
  sums: EpochSums;
  /** Milliseconds of the epoch that has begun: in steps, and waiting for pictures. */
  spent: { steps: number[]; waiting: number };
  history: EpochRecord[];
  bestEpoch: number;
  learningRate: number;
  rateTest: RatePoint[] | null;
  headSeconds: number;
  peakBytes: number | null;
}

/** Plain data. */
export type Settings = Record<string, unknown>;

export interface Checkpoint {
  /** What must be the same for the run to go on. */
  settings: Settings;
  state: RunState;
  weights: Snapshot;
  best: Snapshot;
  optimizer: OptimizerState;
}

const KEY = 'tfjs-tune-mode fineTune';

export async function saveCheckpoint(handler: io.IOHandler, model: LayersModel, checkpoint: Checkpoint): Promise<void> {
  const { settings, state, weights, best, optimizer } = checkpoint;
  const shapes = model.weights.map(({ shape }) => shape as number[]);
  const named = [
    ...weights.map((values, i) => ({ name: `model/${i}`, tensor: tensor(values, shapes[i]) })),
    ...best.map((values, i) => ({ name: `best/${i}`, tensor: tensor(values, shapes[i]) })),
    ...optimizer.moments.map(({ values, shape }, i) => ({ name: `moment/${i}`, tensor: tensor(values, shape) })),
  ];
  try {
    const { data, specs } = await coreIo.encodeWeights(named);
    const { iterations, products, moments } = optimizer;
    // A copy: the run goes on changing its state, and a handler may keep what it is given.
    const plain = structuredClone({
      settings,
      state,
      optimizer: { iterations, products, names: moments.map(({ name }) => name) },
    });
    await (handler.save as io.SaveHandler)({
      modelTopology: model.toJSON(null, false) as object,
      format: 'layers-model',
      weightSpecs: specs,
      weightData: data,
      userDefinedMetadata: { [KEY]: plain },
    });
  } finally {
    dispose(named.map((each) => each.tensor));
  }
}

/** How `fileIO`, IndexedDB and local storage (tfjs-core 4.22.0) say that nothing is there. */
function saysNothingThere(error: unknown): boolean {
  if (error instanceof TuneModeError) return error.code === 'not-found';
  return error instanceof Error && /cannot find model|there is no model with name/i.test(error.message);
}

/**
 * @param settings what it must agree with; a function where that depends on what it was.
 * @returns undefined where the handler holds nothing yet.
 * @throws TuneModeError `invalid-data` for something that is no checkpoint, or one of another run: it says what differs.
 */
export async function loadCheckpoint(
  handler: io.IOHandler,
  model: LayersModel,
  settings: Settings | ((before: Settings) => Promise<Settings>),
): Promise<Checkpoint | undefined> {
  const artifacts = await (handler.load as io.LoadHandler)().catch((error: unknown) => {
    if (saysNothingThere(error)) return undefined;
    throw error;
  });
  if (artifacts === undefined) return undefined;
  const kept = (artifacts.userDefinedMetadata as Record<string, unknown> | undefined)?.[KEY] as
    | {
        settings: Record<string, unknown>;
        state: RunState;
        optimizer: { iterations: number; products: number[]; names: string[] };
      }
    | undefined;
  if (kept === undefined) {
    throw new TuneModeError(
      'invalid-data',
      "What 'checkpoint' holds was not written by fineTune: it cannot be resumed.",
    );
  }
  checkSame(kept.settings, typeof settings === 'function' ? await settings(kept.settings) : settings);
  const byName = coreIo.decodeWeights(
    coreIo.CompositeArrayBuffer.join(artifacts.weightData as ArrayBuffer),
    artifacts.weightSpecs as io.WeightsManifestEntry[],
  );
  try {
    const read = (prefix: string) =>
      Object.keys(byName)
        .filter((name) => name.startsWith(prefix))
        .map((name) => byName[name]);
    const [weights, best, moments] = ['model/', 'best/', 'moment/'].map(read);
    const shapes = (list: readonly { shape: (number | null)[] }[]) => JSON.stringify(list.map(({ shape }) => shape));
    if (shapes(weights) !== shapes(model.weights) || shapes(best) !== shapes(model.weights)) {
      throw new TuneModeError('invalid-data', 'The checkpoint is one of another model: its weights have other shapes.');
    }
    const values = async (list: typeof weights) =>
      Promise.all(list.map(async (each) => (await each.data()).slice() as Float32Array));
    const { iterations, products, names } = kept.optimizer;
    const momentValues = await values(moments);
    return {
      settings: kept.settings,
      state: structuredClone(kept.state),
      weights: await values(weights),
      best: await values(best),
      optimizer: {
        iterations,
        products,
        moments: moments.map(({ shape }, i) => ({ name: names[i], shape, values: momentValues[i] })),
      },
    };
  } finally {
    dispose(byName);
  }
}

function checkSame(before: Settings, now: Settings): void {
  const differing = [...new Set([...Object.keys(before), ...Object.keys(now)])].filter(
    (name) => JSON.stringify(before[name]) !== JSON.stringify(now[name]),
  );
  if (differing.length === 0) return;
  const list = differing.map(
    (name) => `'${name}' was ${JSON.stringify(before[name])} and is ${JSON.stringify(now[name])}`,
  );
  throw new TuneModeError(
    'invalid-data',
    `The run to go on with was another one: ${list.join('; ')}. Use the same model, pictures and options, or begin anew.`,
  );
}
