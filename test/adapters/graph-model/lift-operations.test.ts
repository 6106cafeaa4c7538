/** The layer class of ours by itself. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { GraphOperation } from '../../../adapters/graph-model';
import { OPERATIONS, sliceBounds } from '../../../adapters/graph-model/operations';
import { useBackend } from '../../helpers/backends';

beforeAll(() => useBackend('cpu'));

type Config = ConstructorParameters<typeof GraphOperation>[0];

test('an operation that this version does not know is refused by name', () => {
  for (const operation of ['fft', 'toString', '__proto__']) {
    const make = () => new GraphOperation({ name: 'own', operation: operation as never, settings: {} });
    expect(make).toThrow(`Layer 'own' (GraphOperation): unknown operation '${operation}'`);
    expect(make).toThrow(expect.objectContaining({ code: 'unsupported' }));
  }
});

test('a saved model with an unknown operation is refused by the same words', async () => {
  const config = { name: 'own', operation: 'fft', settings: {}, trainable: true };
  const modelTopology = {
    class_name: 'Sequential',
    config: {
      name: 'net',
      layers: [
        { class_name: 'InputLayer', config: { name: 'in', batch_input_shape: [null, 2], dtype: 'float32' } },
        { class_name: 'GraphOperation', config },
      ],
    },
  };
  const load = tfl.loadLayersModel(
    tf.io.fromMemory({ modelTopology, weightSpecs: [], weightData: new ArrayBuffer(0) }),
  );
  await expect(load).rejects.toThrow("unknown operation 'fft'");
});

const CONFIGS: Config[] = [
  { operation: 'binary', settings: { operator: 'maximum', constantFirst: true }, constantShape: [3] },
  { operation: 'mean', settings: { axes: [1, 3], keepDims: true } },
  {
    operation: 'pad',
    settings: {
      paddings: [
        [0, 0],
        [1, 2],
        [0, 1],
        [2, 0],
      ],
      value: -1.5,
    },
  },
  {
    operation: 'mirrorPad',
    settings: {
      paddings: [
        [0, 0],
        [1, 2],
        [0, 1],
        [0, 0],
      ],
      offset: 1,
    },
  },
  { operation: 'reshape', settings: { sizes: [-1, 3] } },
  { operation: 'squeeze', settings: { axes: [] } },
  { operation: 'expandDims', settings: { axis: 2 } },
  { operation: 'transpose', settings: { perm: [0, 3, 1, 2] } },
  { operation: 'concat', settings: { axis: 1 } },
  { operation: 'stack', settings: { axis: 1 } },
  { operation: 'split', settings: { sizes: [1, 2], axis: 3 } },
  {
    operation: 'stridedSlice',
    settings: { begin: [0, 1], end: [0, 4], strides: [1, 2], wholeBegin: [0], wholeEnd: [0], dropped: [] },
  },
  { operation: 'resizeBilinear', settings: { height: 3, width: 7, alignCorners: false, halfPixelCenters: true } },
  { operation: 'resizeNearest', settings: { height: 3, width: 7, alignCorners: true, halfPixelCenters: false } },
];

test('every operation has a configuration here', () => {
  expect(CONFIGS.map(({ operation }) => operation).sort()).toEqual(Object.keys(OPERATIONS).sort());
});

describe.each(CONFIGS)('$operation', (config) => {
  const isMerge = config.operation === 'concat' || config.operation === 'stack';
  const inputOf = (shape: (number | null)[]) => tfl.input({ batchShape: shape });
  const apply = (layer: GraphOperation, shape: (number | null)[]) =>
    [layer.apply(isMerge ? [inputOf(shape), inputOf(shape)] : inputOf(shape))].flat() as tfl.SymbolicTensor[];

  test('its configuration comes back from JSON as it was', () => {
    const layer = new GraphOperation({ name: 'own', ...config });
    const again = new GraphOperation(JSON.parse(JSON.stringify(layer.getConfig())));
    expect(again.getConfig()).toEqual(layer.getConfig());
    expect(layer.getConfig()).toMatchObject(config);
    // What a caller does with it afterwards changes nothing in the layer.
    (layer.getConfig().settings as Record<string, unknown>).axis = 99;
    expect(layer.getConfig().settings).toEqual(config.settings);
  });

  test.each([
    ['a known picture size', [null, 6, 5, 3]],
    ['an open one', [null, null, null, 3]],
  ])('the shapes that it states for %s are those of what it computes', (_what, shape) => {
    const before = tf.memory().numTensors;
    const layer = new GraphOperation({ name: 'own', ...config });
    const stated = apply(layer, shape).map((each) => each.shape);
    const x = tf.randomUniform(shape.map((size, axis) => size ?? [2, 6, 5][axis]));
    const computed = [layer.call(isMerge ? [x, x] : [x])].flat();
    expect(stated).toHaveLength(computed.length);
    stated.forEach((sizes, i) => {
      expect(sizes).toHaveLength(computed[i].shape.length);
      expect(sizes[0]).toBeNull();
      // A size is left open, or right.
      expect(sizes.map((size, axis) => size ?? computed[i].shape[axis])).toEqual(computed[i].shape);
      if (shape[1] !== null) expect(sizes.slice(1)).not.toContain(null);
    });
    for (const weight of layer.weights) weight.dispose();
    tf.dispose([x, computed]);
    expect(tf.memory().numTensors).toBe(before);
  });
});

test('no batch of pictures is computed where only a shape is asked for', async () => {
  const before = tf.memory().numBytes;
  const [height, width] = [256, 256];
  const layer = new GraphOperation({
    operation: 'resizeNearest',
    settings: { height, width, alignCorners: false, halfPixelCenters: false },
  });
  const { peakBytes, newTensors } = await tf.profile(() => {
    expect((layer.apply(tfl.input({ shape: [32, 32, 4] })) as tfl.SymbolicTensor).shape).toEqual([null, 256, 256, 4]);
    return tf.scalar(0);
  });
  expect(newTensors).toBe(1);
  // Two maps of one picture: resized along one axis, then along the other.
  expect(peakBytes - before).toBeLessThan(2 * 4 * height * width * 4);
});

test.each([
  // size, begin, end, stride → the indices, as Python has them
  [5, 1, 4, 1, [1, 2, 3]],
  [5, -2, null, 1, [3, 4]],
  [5, null, null, 2, [0, 2, 4]],
  [5, null, null, -2, [4, 2, 0]],
  [5, 4, 0, -1, [4, 3, 2, 1]],
  [5, 4, -6, -1, [4, 3, 2, 1, 0]],
  [5, 3, 3, 1, []],
  [5, 4, 1, 1, []],
  [5, -100, 100, 3, [0, 3]],
] as const)('of %d values from %p to %p by %d', (size, begin, end, stride, expected) => {
  const { first, count } = sliceBounds(size, begin, end, stride);
  expect(Array.from({ length: count }, (_, i) => first + i * stride)).toEqual(expected);
});
