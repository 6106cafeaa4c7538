/** What is saved is what is loaded, bit for bit; what belongs to another run, or is no checkpoint, is refused. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { type FineTuneOptions, fineTune } from '../../src/fine-tune';
import { type Checkpoint, loadCheckpoint, saveCheckpoint } from '../../src/fine-tune/checkpoint';
import { disposeOptimizer, makeOptimizer, OPTIMIZER_NAMES, readOptimizer } from '../../src/fine-tune/optimizer';
import { compile, trainStep } from '../../src/fine-tune/steps';
import { takeSnapshot } from '../../src/fine-tune/weights';
import { useBackend } from '../helpers/backends';
import { predictions, savedArtifacts, weightValues } from '../helpers/models';
import { disposeLayers, disposeToy, memoryIO, net, pictures, refusal, tinyNet, toy } from './toy';

const SETTINGS = { mode: 'tune', epochs: 3, classNames: ['a', 'b'], input: [8, 8, 3], seed: 0 };

async function checkpointOf(
  model: tfl.LayersModel,
  name: (typeof OPTIMIZER_NAMES)[number],
  steps = 2,
): Promise<Checkpoint> {
  const best = await takeSnapshot(model);
  const optimizer = makeOptimizer(name, 0.01);
  compile(model, optimizer);
  const set = pictures(4, { size: 8 });
  for (let step = 0; step < steps; step++) await trainStep(model, { xs: set.xs.clone(), ys: set.ys.clone() }, 0.1);
  tf.dispose([set.xs, set.ys]);
  const checkpoint: Checkpoint = {
    settings: SETTINGS,
    state: {
      epoch: 1,
      sums: { steps: 2, pictures: 8, loss: 0.1 + 0.2, right: 3 },
      spent: { steps: [1.5, 2 / 3], waiting: 1e-9 },
      history: [],
      bestEpoch: 0,
      learningRate: 1 / 3,
      rateTest: [{ learningRate: 1e-7, loss: Math.PI }],
      headSeconds: 4,
      peakBytes: null,
    },
    weights: await takeSnapshot(model),
    best,
    optimizer: await readOptimizer(optimizer),
  };
  disposeOptimizer(optimizer);
  return checkpoint;
}

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each(OPTIMIZER_NAMES.flatMap((name) => [0, 2].map((steps) => [name, steps] as const)))(
    '%s after %i steps: what is saved is what is loaded, bit for bit, and no tensor is left',
    async (name, steps) => {
      const model = tinyNet();
      const checkpoint = await checkpointOf(model, name, steps);
      const copy = structuredClone(checkpoint);
      const io = memoryIO();
      const before = tf.memory().numTensors;
      await saveCheckpoint(io, model, checkpoint);
      const other = tinyNet(7);
      const untouched = weightValues(other);
      const tensors = tf.memory().numTensors;
      expect(await loadCheckpoint(io, other, SETTINGS)).toEqual(copy);
      expect(tf.memory().numTensors).toBe(tensors);
      expect(weightValues(other)).toEqual(untouched);
      expect(checkpoint).toEqual(copy);
      disposeLayers(other);
      expect(tf.memory().numTensors).toBe(before);
      disposeLayers(model);
    },
  );

  test('weights that are no ordinary numbers keep their bits', async () => {
    const model = tinyNet();
    const checkpoint = await checkpointOf(model, 'adam', 0);
    checkpoint.weights[0].set([Number.NaN, Number.POSITIVE_INFINITY, -0, 1e-45]);
    const io = memoryIO();
    await saveCheckpoint(io, model, checkpoint);
    const loaded = await loadCheckpoint(io, model, SETTINGS);
    expect(Array.from(loaded?.weights[0].subarray(0, 4) ?? [])).toEqual([
      Number.NaN,
      Number.POSITIVE_INFINITY,
      -0,
      Math.fround(1e-45),
    ]);
    disposeLayers(model);
  });
});

describe('on cpu', () => {
  beforeAll(() => useBackend('cpu'));

  test('weights may come in several buffers, as some handlers give them', async () => {
    const model = tinyNet();
    const checkpoint = await checkpointOf(model, 'sgd');
    const io = memoryIO();
    await saveCheckpoint(io, model, checkpoint);
    const split = {
      load: async () => {
        const artifacts = await io.load();
        const whole = artifacts.weightData as ArrayBuffer;
        return { ...artifacts, weightData: [whole.slice(0, 100), whole.slice(100)] };
      },
    };
    expect(await loadCheckpoint(split, model, SETTINGS)).toEqual(checkpoint);
    disposeLayers(model);
  });

  test('where nothing is kept yet, there is nothing to go on with', async () => {
    const model = tinyNet();
    expect(await loadCheckpoint(memoryIO(), model, SETTINGS)).toBeUndefined();
    disposeLayers(model);
  });

  test('any other trouble of the handler is not taken for an empty one', async () => {
    const model = tinyNet();
    const trouble = new Error('the disk is on fire');
    const load = async () => {
      throw trouble;
    };
    await expect(loadCheckpoint({ load }, model, SETTINGS)).rejects.toBe(trouble);
    disposeLayers(model);
  });

  const DIFFERENCES: [string, Record<string, unknown>, RegExp[]][] = [
    ['another mode', { ...SETTINGS, mode: 'eval' }, [/'mode' was "tune" and is "eval"/]],
    ['other classes', { ...SETTINGS, classNames: ['a', 'c'] }, [/'classNames' was \["a","b"\] and is \["a","c"\]/]],
    ['classes in another order', { ...SETTINGS, classNames: ['b', 'a'] }, [/'classNames'/]],
    ['two differences', { ...SETTINGS, epochs: 4, seed: 1 }, [/'epochs' was 3 and is 4/, /'seed' was 0 and is 1/]],
    ['something that was not given', { ...SETTINGS, unfreeze: 2 }, [/'unfreeze' was undefined and is 2/]],
    ['something that is not given any more', { ...SETTINGS, seed: undefined }, [/'seed' was 0 and is undefined/]],
  ];

  test.each(DIFFERENCES)('of another run: %s; the difference is named, and nothing else', async (_name, now, named) => {
    const model = tinyNet();
    const io = memoryIO();
    await saveCheckpoint(io, model, await checkpointOf(model, 'adam'));
    const tensors = tf.memory().numTensors;
    // As fineTune does it: through JSON, which leaves out what is undefined.
    const error = await refusal(loadCheckpoint(io, model, JSON.parse(JSON.stringify(now))));
    expect(error.code).toBe('invalid-data');
    for (const each of named) expect(error.message).toMatch(each);
    expect(error.message.match(/ was /g)).toHaveLength(named.length + 1); // "The run to go on with was another one"
    expect(tf.memory().numTensors).toBe(tensors);
    disposeLayers(model);
  });

  test('of another model: other shapes', async () => {
    const [model, other] = [tinyNet(), net()];
    const io = memoryIO();
    await saveCheckpoint(io, model, await checkpointOf(model, 'adam'));
    const tensors = tf.memory().numTensors;
    const error = await refusal(loadCheckpoint(io, other, SETTINGS));
    expect(error.code).toBe('invalid-data');
    expect(error.message).toContain('another model');
    expect(tf.memory().numTensors).toBe(tensors);
    disposeLayers(model, other);
  });

  test('no checkpoint: a model that was saved', async () => {
    const model = tinyNet();
    const artifacts = await savedArtifacts(model);
    const error = await refusal(loadCheckpoint({ load: async () => artifacts }, model, SETTINGS));
    expect(error.code).toBe('invalid-data');
    expect(error.message).toContain('not written by fineTune');
    disposeLayers(model);
  });

  test('a checkpoint is a model, too: it loads with tfjs and predicts as the net did then', async () => {
    const model = tinyNet();
    const io = memoryIO();
    const checkpoint = await checkpointOf(model, 'adam');
    await saveCheckpoint(io, model, checkpoint);
    const artifacts = await io.load();
    expect(artifacts.format).toBe('layers-model');
    const loaded = await tfl.models.modelFromJSON({ modelTopology: artifacts.modelTopology } as never);
    tf.tidy(() =>
      loaded.setWeights(loaded.weights.map(({ shape }, i) => tf.tensor(checkpoint.weights[i], shape as number[]))),
    );
    const { xs, ys } = pictures(3, { size: 8 });
    expect(predictions(loaded, [xs])).toEqual(predictions(model, [xs]));
    tf.dispose([xs, ys]);
    disposeLayers(model, loaded);
  });
});

describe('what fineTune compares', () => {
  beforeAll(() => useBackend('wasm'));
  const given: FineTuneOptions = {
    epochs: 1,
    batchSize: 4,
    learningRate: 0.01,
    dropout: 0.1,
    labelSmoothing: 0.1,
    patience: 3,
  };

  const OTHER: [string, FineTuneOptions][] = [
    ['mode', { mode: 'eval' }],
    ['epochs', { epochs: 2 }],
    ['learningRate', { learningRate: 0.02 }],
    ['optimizer', { optimizer: 'sgd' }],
    ['unfreeze', { unfreeze: 1 }],
    ['dropout', { dropout: 0.3 }],
    ['labelSmoothing', { labelSmoothing: 0 }],
    ['augment', { augment: false }],
    ['patience', { patience: 4 }],
    ['seed', { seed: 1 }],
    ['trainBatches', { batchSize: 2 }],
    ['learningRate', { learningRate: undefined }],
    ['batchSize', { batchSize: 5 }],
    ['inputRange', { inputRange: [0, 1] }],
  ];

  test.each(OTHER)('%s: %p is another run', async (name, changed) => {
    const io = memoryIO();
    const [source, data] = [tinyNet(), toy({ train: 8, val: 4, size: 8 })];
    const { model } = await fineTune(source, data, { ...given, checkpoint: io });
    const other = tinyNet();
    const before = weightValues(other);
    const error = await refusal(fineTune(other, data, { ...given, ...changed, checkpoint: io, resume: true }));
    expect(error.code).toBe('invalid-data');
    expect(error.message).toContain(`'${name}' was`);
    expect(weightValues(other)).toEqual(before);
    disposeLayers(source, other, model);
    disposeToy(data);
  });

  test('callbacks and the signal are not part of the run', async () => {
    const io = memoryIO();
    const [source, data] = [tinyNet(), toy({ train: 8, val: 4, size: 8 })];
    const first = await fineTune(source, data, { ...given, checkpoint: io });
    const signal = new AbortController().signal;
    const again = await fineTune(tinyNet(), data, {
      ...given,
      checkpoint: io,
      resume: true,
      signal,
      onProgress: () => {},
    });
    expect(again.history).toEqual(first.history);
    disposeLayers(source, first.model, again.model);
    disposeToy(data);
  });
});
