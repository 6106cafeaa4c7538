/** What is called alike in Keras and in tfjs-layers, and is not the same. */
import * as tfc from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { toKerasConfig } from '../../../adapters/keras/topology';
import {
  chain2,
  functional3,
  input3,
  KERAS3,
  layer3,
  map,
  mapAndBuild,
  refusal,
  tensor3,
  topologyOf,
} from './topology-models';

async function output(model: LayersModel, shape: number[]) {
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i);
  const result = model.predict(tfc.tensor(values, shape)) as tfc.Tensor;
  return { shape: result.shape, values: [...(await result.data())] };
}

describe('global pooling that keeps its dimensions', () => {
  test('as at the end of MobileNet', async () => {
    const model = await mapAndBuild(
      chain2([
        ['GlobalAveragePooling2D', { name: 'pool', keepdims: true, data_format: 'channels_last' }],
        ['Dropout', { name: 'dropout', rate: 0.1 }],
        ['Conv2D', { name: 'preds', filters: 5, kernel_size: [1, 1], padding: 'same' }],
        ['Reshape', { name: 'flat', target_shape: [5] }],
      ]),
      KERAS3,
    );
    expect(model.layers.map(({ name }) => name)).toEqual(['in', 'pool', 'pool_keepdims', 'dropout', 'preds', 'flat']);
    expect(model.outputs[0].shape).toEqual([null, 5]);
  });

  test.each([
    ['GlobalAveragePooling2D', {}, [1, 2, 2, 2], [1, 1, 1, 2], [3, 4]],
    ['GlobalMaxPooling2D', { data_format: 'channels_first' }, [1, 2, 2, 2], [1, 2, 1, 1], [3, 7]],
    ['GlobalMaxPooling1D', {}, [1, 3, 2], [1, 1, 2], [4, 5]],
  ])('%s %j, the last layer of a model and of a Sequential', async (className, config, given, shape, values) => {
    const batchShape = [null, ...given.slice(1)];
    const layer = { name: 'pool', keepdims: true, ...config };
    const inputConfig = { batch_input_shape: batchShape, ...layer };
    const sequential = { class_name: 'Sequential', config: [{ class_name: className, config: inputConfig }] };
    for (const model of [chain2([[className, layer]], batchShape), sequential]) {
      expect(await output(await mapAndBuild(model, '2.15.0'), given)).toEqual({ shape, values });
    }
  });

  test('called twice, beside a layer that has the name of its Reshape', async () => {
    const pool = layer3('GlobalMaxPooling1D', 'pool', { keepdims: true }, tensor3('a'), tensor3('pool', 0));
    const add = layer3('Add', 'pool_keepdims', {}, [tensor3('pool', 0), tensor3('pool', 1)]);
    const net = functional3('net', [input3('a', [null, 2, 2]), pool, add], ['a', 0, 0], ['pool_keepdims', 0, 0]);
    expect(await output(await mapAndBuild(net, KERAS3), [1, 2, 2])).toEqual({ shape: [1, 1, 2], values: [4, 6] });
  });

  test('is refused within a wrapper', () => {
    const layer = { class_name: 'GlobalMaxPooling1D', config: { keepdims: true } };
    expect(refusal(() => map(chain2([['TimeDistributed', { name: 'td', layer }]]))).message).toContain(
      "'td' (TimeDistributed): its layer has keepdims = true",
    );
  });
});

describe('operations of Keras 3 are no layers', () => {
  const operation = (name: string, config: object, ...args: unknown[]) => ({
    ...layer3(name, 'op', config),
    module: 'keras.src.ops.numpy',
    registered_name: name,
    inbound_nodes: [{ args, kwargs: {} }],
  });
  const net = (layer: object) => functional3('net', [input3('a'), layer], ['a', 0, 0], ['op', 0, 0]);

  test.each([
    ['Reshape', { newshape: [-1, 2] }],
    ['Softmax', {}],
    ['Dot', {}],
    ['Concatenate', {}],
  ])('%s', (name, config) => {
    expect(refusal(() => map(net(operation(name, config, tensor3('a'))), KERAS3)).message).toContain(
      `'op' (keras.ops.${name}): no layer class of tfjs-layers`,
    );
  });

  test('nor are they in .h5 files, which have no modules', () => {
    const { module: _, ...reshape } = operation('Reshape', { newshape: [-1, 2] }, tensor3('a'));
    expect(refusal(() => map(net(reshape), KERAS3)).message).toContain("'op' (keras.ops.Reshape)");
    const { module: _none, ...dot } = operation('Dot', {}, tensor3('a'), tensor3('a'));
    expect(refusal(() => map(net(dot), KERAS3)).message).toContain("Dot without 'axes'");
  });

  test('but a sum of two tensors is that of the layer', async () => {
    const model = await mapAndBuild(net(operation('Add', {}, tensor3('a'), tensor3('a'))), KERAS3);
    expect((await output(model, [1, 4])).values).toEqual([0, 2, 4, 6]);
    expect(refusal(() => map(net(operation('Add', {}, tensor3('a'), 3)), KERAS3)).message).toContain('is called on 3');
  });
});

test("Softmax without an axis takes the last one, not tfjs-layers' default", async () => {
  const { values } = await output(await mapAndBuild(chain2([['Softmax', {}]], [null, 2, 2])), [1, 2, 2]);
  expect(values[0] + values[1]).toBeCloseTo(1);
});

test('GlobalAveragePooling1D of masked steps is refused, of others not', () => {
  const net = (maskZero: boolean) =>
    chain2(
      [
        ['Embedding', { input_dim: 4, output_dim: 2, mask_zero: maskZero }],
        ['GlobalAveragePooling1D', { name: 'pool' }],
      ],
      [null, 3],
    );
  expect(refusal(() => map(net(true), '2.15.0')).message).toContain('tfjs-layers averages the masked steps too');
  map(net(false), '2.15.0');
  map(net(true), 'tfjs-layers 4.22.0');
});

test('a convolution between masks and a recurrent layer is refused, as Keras ends the masks there', () => {
  const net = (maskZero: boolean, last: [string, object]) =>
    chain2(
      [
        ['Embedding', { input_dim: 4, output_dim: 2, mask_zero: maskZero }],
        ['Conv1D', { name: 'conv', filters: 2, kernel_size: 1 }],
        last,
      ],
      [null, 3],
    );
  const rnn: [string, object] = ['SimpleRNN', { units: 1 }];
  expect(refusal(() => map(net(true, rnn), '2.15.0')).message).toContain(
    "'conv' (Conv1D): tfjs-layers passes masks on",
  );
  map(net(true, ['Flatten', {}]), '2.15.0');
  map(net(false, rnn), '2.15.0');
  map(net(true, rnn), 'tfjs-layers 4.22.0');
});

describe('BatchNormalization of another axis than the last', () => {
  const bn = (axis: number): [string, object] => ['BatchNormalization', { name: 'bn', axis: [axis] }];
  const first: [string, object] = ['MaxPooling2D', { name: 'p', pool_size: 2, data_format: 'channels_first' }];
  const refused = 'axis = 1, tfjs normalizes the last axis only on some of its backends';

  test('is refused where a layer or its build says so', () => {
    expect(refusal(() => map(chain2([first, bn(1)]), '2.4.0')).message).toContain(refused);
    const built = chain2([bn(1)]);
    Object.assign(built.config.layers[1], { build_config: { input_shape: [null, 8, 8, 2] } });
    expect(refusal(() => map(built, '2.15.0')).message).toContain(refused);
    expect(refusal(() => map(chain2([bn(-3)]), '2.15.0')).message).toContain('axis = -3');
  });

  test('is kept of vectors, in files of tfjs-layers, and on the way to Keras', async () => {
    map(chain2([bn(1)], [null, 4]), '2.4.0');
    const { topology } = map(chain2([first, bn(1)]), 'tfjs-layers 4.22.0');
    const text = JSON.stringify(toKerasConfig('m.h5', topologyOf(await mapAndBuild(topology, 'tfjs-layers 4.22.0'))));
    expect(text).toContain('"axis":1');
  });
});

test('the spelling of Keras 3 counts, whatever version the file of the weights has', () => {
  const layer = layer3('Activation', 'act', { activation: 'hard_sigmoid' }, tensor3('a'));
  const net = functional3('net', [input3('a'), layer], ['a', 0, 0], ['act', 0, 0]);
  for (const version of [undefined, '2.15.0', KERAS3]) {
    expect(refusal(() => map(net, version)).message).toContain("'hard_sigmoid' is x / 6 + 0.5 in Keras 3");
  }
});
