/**
 * Switching modes: at any time, in the middle of training, forth and back, without a trace.
 *
 * Tolerances: as in modes.test.ts, 10 · rounding(model) for each step of training; everything else is exact.
 */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode, getMode, inspect, type Mode, setMode } from 'tfjs-tune-mode';
import { useBackend } from '../helpers/backends';
import {
  changes,
  inputsFor,
  largestDifference,
  movingStatistics,
  predictions,
  randomise,
  rounding,
  snapshot,
  targetsFor,
  weightValues,
} from '../helpers/models';
import { bn, chain, conv, input, L, merge, relu } from './table';

beforeAll(() => useBackend('cpu'));

/** Nested, shared, residual, with a BN that is no pair, dropout and a head. */
function build(seed = 1): tfl.LayersModel {
  const inner = tfl.sequential({ name: 'inner' });
  for (const layer of [conv('ic', { inputShape: [6, 6, 3], useBias: false }), bn('in'), relu('ir', 6)])
    inner.add(layer);
  const x = input();
  const shared = [conv('c1'), bn('n1'), relu('r1')];
  const y = chain(chain(x, ...shared), ...shared, inner as unknown as tfl.layers.Layer);
  const sum = merge(L.add({ name: 'sum' }), y, x);
  const features = chain(
    sum,
    bn('alone'),
    L.depthwiseConv2d({ kernelSize: 3, strides: 2, name: 'c2' }),
    bn('n2'),
    relu('r2'),
  );
  const head = chain(
    features,
    L.flatten({ name: 'flat' }),
    L.dropout({ rate: 0.3, seed: 11, name: 'drop' }),
    L.dense({ units: 4, name: 'head', activation: 'softmax' }),
  );
  const model = tfl.model({ inputs: x, outputs: head });
  randomise(model, seed);
  return model;
}

const BATCHES = 4;
const BATCH = 3;

function data(model: tfl.LayersModel) {
  const [x] = inputsFor(model, 21, BATCH * BATCHES);
  const [y] = targetsFor(model, 22, BATCH * BATCHES);
  return { x, y };
}

async function fitOn(
  model: tfl.LayersModel,
  epochs: number,
  onBatchEnd: (step: number) => void | Promise<void> = () => {},
): Promise<number[]> {
  const { x, y } = data(model);
  let step = 0;
  const history = await model.fit(x, y, {
    epochs,
    batchSize: BATCH,
    shuffle: false,
    verbose: 0,
    callbacks: { onBatchEnd: async () => onBatchEnd(step++) },
  });
  tf.dispose([x, y]);
  return history.history.loss as number[];
}

const compile = (model: tfl.LayersModel, optimizer: tf.Optimizer = tf.train.adam(0.01, 0.9, 0.999, 1e-3)) =>
  model.compile({ optimizer, loss: 'meanSquaredError' });

const slots = async (model: tfl.LayersModel) =>
  (await model.optimizer.getWeights()).map(({ name, tensor }) => {
    const entry = [name, Array.from(tensor.dataSync())];
    if (name === 'iter') tensor.dispose(); // made for the caller; the others are the optimizer's own
    return entry;
  });

const values = (record: Record<string, number[]>) => Object.values(record);

describe('train mode after tune', () => {
  test('is as if never touched: predictions, training, weights, tensors, properties, wiring', async () => {
    const [untouched, touched] = [build(), build()];
    for (const model of [untouched, touched]) compile(model);
    const before = snapshot(touched);
    const json = JSON.stringify(touched.toJSON());
    for (const mode of ['tune', 'eval', 'tune', 'train'] as const) {
      setMode(touched, mode);
      const x = inputsFor(touched, 5);
      predictions(touched, x);
      tf.dispose(x);
    }
    expect(changes(before, snapshot(touched))).toEqual([]);
    expect(JSON.stringify(touched.toJSON())).toBe(json);

    const x = inputsFor(untouched, 6);
    expect(predictions(touched, x)).toEqual(predictions(untouched, x));
    expect(await fitOn(touched, 2)).toEqual(await fitOn(untouched, 2));
    expect(values(weightValues(touched))).toEqual(values(weightValues(untouched)));
    expect(predictions(touched, x)).toEqual(predictions(untouched, x));
    // And it did train as tfjs-layers does.
    expect(movingStatistics(touched)).not.toEqual(movingStatistics(build()));
  });

  test('the optimizer’s variables and the tensors alive are those from before, even after training in tune', async () => {
    const model = build();
    compile(model);
    await fitOn(model, 1);
    const before = snapshot(model);
    enableTuneMode(model);
    await fitOn(model, 1);
    setMode(model, 'train');
    expect(changes(before, snapshot(model))).toEqual([]);
  });

  test('a hundred switches leave nothing behind', () => {
    const model = build();
    const before = snapshot(model);
    for (let i = 0; i < 100; i++)
      setMode(model, (['tune', 'eval', 'train'] as const)[i % 3], { fuseActivation: i % 2 === 0 });
    setMode(model, 'train');
    expect(changes(before, snapshot(model))).toEqual([]);
  });
});

describe('fit, fitDataset, trainOnBatch and evaluate', () => {
  const dataset = (model: tfl.LayersModel) => ({
    size: BATCHES,
    iterator: async () => {
      let next = 0;
      return {
        next: async () => {
          if (next === BATCHES) return { value: null, done: true };
          const [[xs], [ys]] = [inputsFor(model, 31 + next), targetsFor(model, 41 + next)];
          next++;
          return { value: { xs, ys }, done: false };
        },
      };
    },
  });
  const WAYS: Record<string, (model: tfl.LayersModel) => Promise<unknown>> = {
    fit: (model) => fitOn(model, 2),
    'fit with validation': async (model) => {
      const { x, y } = data(model);
      await model.fit(x, y, { batchSize: BATCH, shuffle: false, verbose: 0, validationSplit: 0.25, epochs: 2 });
    },
    fitDataset: (model) => model.fitDataset(dataset(model) as never, { epochs: 2, verbose: 0 }),
    trainOnBatch: async (model) => {
      const { x, y } = data(model);
      for (let i = 0; i < 4; i++) await model.trainOnBatch(x, y);
    },
  };

  test.each(Object.entries(WAYS))(
    '%s: the same weights in eval and in tune, moving statistics never written',
    async (_, run) => {
      const results = [];
      for (const mode of ['eval', 'tune'] as const) {
        const model = build();
        compile(model);
        setMode(model, mode);
        const statistics = movingStatistics(model);
        await run(model);
        expect(movingStatistics(model)).toEqual(statistics);
        results.push(values(weightValues(model)));
      }
      const start = values(weightValues(build()));
      expect(largestDifference(results[0], start)).toBeGreaterThan(1e-2);
      expect(largestDifference(results[1], results[0])).toBeLessThan(10 * 2 * BATCHES * rounding(build()));
    },
  );

  test('evaluate gives one loss in all modes and changes nothing', () => {
    const model = build();
    compile(model);
    const { x, y } = data(model);
    const weights = weightValues(model);
    const losses = (['train', 'eval', 'tune'] as const).map((mode) => {
      setMode(model, mode);
      return (model.evaluate(x, y, { batchSize: BATCH }) as tf.Scalar).dataSync()[0];
    });
    expect(losses[1]).toBeCloseTo(losses[0], 6);
    expect(losses[2]).toBeCloseTo(losses[0], 6);
    expect(weightValues(model)).toEqual(weights);
  });

  test('50 steps in tune leave no tensor behind', async () => {
    const model = build();
    compile(model);
    enableTuneMode(model);
    const { x, y } = data(model);
    await model.trainOnBatch(x, y);
    const alive = tf.memory().numTensors;
    for (let i = 0; i < 50; i++) await model.trainOnBatch(x, y);
    const seen = inputsFor(model, 2);
    for (let i = 0; i < 10; i++) predictions(model, seen);
    tf.dispose(seen);
    expect(tf.memory().numTensors).toBe(alive);
  });
});

describe('in the middle of training', () => {
  test('eval and tune in turn, switched in onBatchEnd, train as eval alone does', async () => {
    const [plain, switching] = [build(), build()];
    for (const model of [plain, switching]) {
      compile(model);
      setMode(model, 'eval');
    }
    const optimizer = switching.optimizer;
    await fitOn(plain, 2);
    await fitOn(switching, 2, (step) => void setMode(switching, step % 2 === 0 ? 'tune' : 'eval'));
    expect(switching.optimizer).toBe(optimizer);
    const tolerance = 10 * 2 * BATCHES * rounding(plain);
    expect(largestDifference(values(weightValues(switching)), values(weightValues(plain)))).toBeLessThan(tolerance);
  });

  test('all three in turn: tune steps are eval steps, train steps go on writing moving statistics', async () => {
    const order: Mode[] = ['train', 'tune', 'eval', 'train', 'tune', 'tune', 'train', 'eval'];
    const results = [];
    for (const tuneAs of ['eval', 'tune'] as const) {
      const model = build();
      compile(model);
      const seen: Mode[] = [];
      await fitOn(model, 2, (step) => {
        seen.push(getMode(model));
        const next = order[(step + 1) % order.length];
        setMode(model, next === 'tune' ? tuneAs : next);
      });
      expect(seen).toEqual(order.map((mode) => (mode === 'tune' ? tuneAs : mode)));
      expect(movingStatistics(model)).not.toEqual(movingStatistics(build()));
      results.push(values(weightValues(model)));
    }
    // The moving statistics of train steps carry a difference on, once a step.
    expect(largestDifference(results[1], results[0])).toBeLessThan(10 * 2 * BATCHES * rounding(build()));
  });

  test.each([
    ['train', 'eval'],
    ['eval', 'tune'],
    ['tune', 'train'],
    ['train', 'tune'],
    ['tune', 'eval'],
    ['eval', 'train'],
  ] as const)('%s → %s keeps the optimizer: its object, its slots bit by bit, its step count', async (from, to) => {
    const model = build();
    compile(model);
    setMode(model, from);
    await fitOn(model, 1);
    const [optimizer, before] = [model.optimizer, await slots(model)];
    expect(before.length).toBeGreaterThan(10);
    const alive = tf.memory().numTensors;
    setMode(model, to);
    expect(model.optimizer).toBe(optimizer);
    expect(await slots(model)).toEqual(before);
    expect(tf.memory().numTensors).toBe(alive);
    await fitOn(model, 1);
    const after = await slots(model);
    expect(after.map(([name]) => name)).toEqual(before.map(([name]) => name));
    expect(after).not.toEqual(before);
    expect(tf.memory().numTensors).toBe(alive);
  });

  test('weights set from outside are taken up by the next pass', () => {
    const [model, other] = [build(1), build(2)];
    enableTuneMode(model);
    const x = inputsFor(model, 3);
    const old = predictions(model, x);
    model.setWeights(other.getWeights());
    setMode(other, 'eval');
    expect(largestDifference(predictions(model, x), predictions(other, x))).toBeLessThan(rounding(model));
    expect(largestDifference(predictions(model, x), old)).toBeGreaterThan(1e-3);
  });
});

describe('getMode', () => {
  test('follows every switch, and nothing but a switch', () => {
    const model = build();
    expect(getMode(model)).toBe('train');
    for (const mode of ['eval', 'tune', 'eval', 'train', 'tune', 'tune', 'train', 'train'] as const) {
      expect(setMode(model, mode).mode).toBe(mode);
      expect([getMode(model), inspect(model).mode]).toEqual([mode, mode]);
      compile(model);
      expect(getMode(model)).toBe(mode);
    }
  });

  test('belongs to the layers: a nested model is switched with the outer one, and alone', () => {
    const model = build();
    const inner = model.getLayer('inner') as unknown as tfl.LayersModel;
    enableTuneMode(inner);
    expect([getMode(inner), getMode(model)]).toEqual(['tune', 'tune']);
    setMode(inner, 'train');
    expect([getMode(inner), getMode(model)]).toEqual(['train', 'train']);
    setMode(model, 'eval');
    setMode(inner, 'tune');
    expect([getMode(inner), getMode(model)]).toEqual(['tune', 'tune']);
    setMode(inner, 'train');
    expect([getMode(inner), getMode(model)]).toEqual(['train', 'eval']);
  });

  test('another model built from the same layer classes is another model', () => {
    const [one, other] = [build(), build()];
    const before = snapshot(other);
    enableTuneMode(one);
    expect(getMode(other)).toBe('train');
    expect(changes(before, snapshot(other))).toEqual([]);
  });

  test('a model without any BN remembers its mode too', () => {
    const x = input();
    const model = tfl.model({ inputs: x, outputs: chain(x, conv('c'), relu('r')) });
    const before = snapshot(model);
    expect(getMode(model)).toBe('train');
    expect(enableTuneMode(model)).toMatchObject({ mode: 'tune', pairs: [], skipped: [] });
    expect(getMode(model)).toBe('tune');
    expect(changes(before, snapshot(model))).toEqual([]);
    setMode(model, 'train');
    expect(getMode(model)).toBe('train');
  });

  test('tune with every block excluded is tune, and computes as eval', () => {
    const model = build();
    const x = inputsFor(model, 8);
    setMode(model, 'eval');
    const evaluated = predictions(model, x);
    const report = enableTuneMode(model, { include: () => false });
    expect(report.pairs).toEqual([]);
    expect(getMode(model)).toBe('tune');
    expect(predictions(model, x)).toEqual(evaluated);
  });
});

describe('switching again', () => {
  test('to tune with other options replaces the blocks', () => {
    const model = build();
    const x = inputsFor(model, 8);
    setMode(model, 'eval');
    const evaluated = predictions(model, x);
    const before = snapshot(model);
    for (const options of [{}, { fuseActivation: false }, { include: ({ bn }: { bn: string }) => bn === 'n1' }, {}]) {
      enableTuneMode(model, options);
      expect(largestDifference(predictions(model, x), evaluated)).toBeLessThan(rounding(model));
    }
    setMode(model, 'eval');
    expect(predictions(model, x)).toEqual(evaluated);
    expect(changes(before, snapshot(model)).filter((label) => !label.endsWith(': call'))).toEqual([]);
  });

  test('takes in what was attached to the model meanwhile, and lets go of what was removed', () => {
    const model = tfl.sequential();
    for (const layer of [conv('c1', { inputShape: [6, 6, 3] }), bn('n1'), relu('r1')]) model.add(layer);
    randomise(model, 4);
    enableTuneMode(model);
    for (const layer of [conv('c2'), bn('n2'), relu('r2')]) model.add(layer);
    randomise(model, 5);
    const x = inputsFor(model, 9);
    const mixed = predictions(model, x);
    expect(inspect(model).pairs).toHaveLength(2);
    enableTuneMode(model);
    expect(largestDifference(predictions(model, x), mixed)).toBeLessThan(rounding(model));
    setMode(model, 'train');
    expect(largestDifference(predictions(model, x), mixed)).toBeLessThan(rounding(model));

    enableTuneMode(model);
    model.pop();
    model.build(); // pop alone goes on predicting with the layer that it removed (tfjs-layers 4.22.0)
    expect(inspect(model).pairs.map(({ activation }) => activation)).toEqual(['r1', null]);
    const popped = predictions(model, x);
    expect(Math.min(...popped[0])).toBeLessThan(0);
    setMode(model, 'train');
    expect(largestDifference(predictions(model, x), popped)).toBeLessThan(rounding(model));
    expect(predictions(model, x)[0].some((y) => y < 0)).toBe(true);
  });
});

describe('must not', () => {
  test('forget a call that somebody else has put on a BN', () => {
    const model = build();
    const layer = model.getLayer('n1');
    const frozen = layer.call;
    layer.call = function (inputs, kwargs) {
      return frozen.call(this, inputs, { ...kwargs, training: false });
    };
    const own = layer.call;
    enableTuneMode(model);
    setMode(model, 'train');
    expect(layer.call).toBe(own);
    expect(getMode(model)).toBe('train');
  });

  test('leave the executor’s sort cache at another size than the user gave it', () => {
    const flag = 'TOPOLOGICAL_SORT_CACHE_MAX_ENTRIES';
    const entries = tf.env().getNumber(flag);
    tf.env().set(flag, 7);
    enableTuneMode(build());
    expect(tf.env().getNumber(flag)).toBe(7);
    tf.env().set(flag, entries);
  });

  test('run a stale order from before the switch: outputs are right with a warm cache in every mode', () => {
    const model = build();
    const x = inputsFor(model, 12);
    const first = predictions(model, x);
    for (const mode of ['tune', 'eval', 'tune', 'train', 'tune'] as const) {
      setMode(model, mode);
      for (let i = 0; i < 3; i++) expect(largestDifference(predictions(model, x), first)).toBeLessThan(rounding(model));
    }
  });
});
