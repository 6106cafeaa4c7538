/**
 * A block takes in the ZeroPadding2D right before its conv, and what must keep it from doing so.
 *
 * Tolerances: Eval and Tune differ by the fold, `rounding(model)` for outputs and `gradientRounding` for gradients (derived
 * there). With a copy of the map padded first or without it, a sum has the same terms in the same order and zeros besides,
 * so the cpu kernels give the same numbers exactly.
 */
import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode, inspect, setMode, type TuneOptions } from 'tfjs-tune-mode';
import { useBackend } from '../helpers/backends';
import {
  applied,
  changes,
  inputsFor,
  largestDifference,
  predictions,
  randomise,
  rounding,
  savedArtifacts,
  snapshot,
} from '../helpers/models';
import { countsOf, gradientRounding, gradients, type Wanted } from './gradients';
import { bn, chain, conv, input, L, merge, relu } from './table';

type Layer = tfl.layers.Layer;
type Symbolic = tfl.SymbolicTensor;
type Padding = number | [number, number] | [[number, number], [number, number]];

const BATCH = 2;
/** The largest padded map of the models here. */
const POSITIONS = BATCH * 15 * 15;

const padding = (name: string, zeros: Padding, args: object = {}): Layer =>
  L.zeroPadding2d({ padding: zeros, name, ...args });
const valid = (name: string, args: object = {}): Layer => conv(name, { padding: 'valid', ...args });
const depthwise = (name: string, args: object = {}): Layer =>
  L.depthwiseConv2d({ kernelSize: 3, padding: 'valid', name, ...args });
const model = (inputs: Symbolic | Symbolic[], outputs: Symbolic | Symbolic[], name?: string) =>
  tfl.model({ inputs, outputs, name });
const block = (x: Symbolic, layer: Layer, activation: Layer | null = relu(`${layer.name}_act`)): Symbolic =>
  chain(x, layer, bn(`${layer.name}_bn`), ...(activation === null ? [] : [activation]));

const ASYMMETRIC: Padding = [
  [0, 1],
  [0, 1],
];
const UNEVEN: Padding = [
  [1, 0],
  [2, 1],
];
/** More zeros than the kernel has taps: whole windows see nothing else. */
const WIDE: Padding = [
  [4, 3],
  [0, 5],
];

interface Row {
  name: string;
  build: () => tfl.LayersModel;
  /** How many padded copies a forward pass makes in Tune mode. */
  copies: number;
  options?: TuneOptions;
  /** Whether Eval has no gradient, since tfjs has none. */
  onlyTuneTrains?: boolean;
}

const CONVS: Record<string, (args: object) => Layer> = {
  Conv2D: (args) => valid('c', { filters: 4, ...args }),
  DepthwiseConv2D: (args) => depthwise('c', args),
  'DepthwiseConv2D, multiplier 2': (args) => depthwise('c', { depthMultiplier: 2, ...args }),
};

const SHAPES: Row[] = Object.entries(CONVS).flatMap(([kind, layer]) =>
  [ASYMMETRIC, UNEVEN, WIDE, 1, [0, 2] as Padding].flatMap((zeros, i) =>
    ([1, 2] as const).map((strides): Row => {
      // Every second one without an activation, without a bias, and with a kernel that is not square.
      const odd = (i + strides) % 2 === 1;
      const args = { strides, useBias: !odd, kernelSize: odd ? [3, 2] : 3 };
      return {
        name: `${kind}, padding ${JSON.stringify(zeros)}, strides ${strides}, ${odd ? 'no activation' : 'ReLU(6)'}`,
        build: () => {
          const x = input();
          return model(x, block(chain(x, padding('pad', zeros)), layer(args), odd ? null : relu('r', 6)));
        },
        copies: 0,
      };
    }),
  ),
);

const ABSORBED: Row[] = [
  {
    name: 'one tap, all of whose outermost windows see zeros alone',
    build: () => {
      const x = input();
      return model(x, block(chain(x, padding('pad', UNEVEN)), valid('c', { kernelSize: 1, strides: 2 })));
    },
    copies: 0,
  },
  {
    name: 'a padding that two convs take',
    build: () => {
      const x = input();
      const padded = chain(x, padding('pad', 1));
      return model(x, merge(L.add({ name: 'sum' }), block(padded, valid('c')), block(padded, depthwise('d'))));
    },
    copies: 0,
  },
  {
    name: 'one padding layer at two places',
    build: () => {
      const x = input();
      const pad = padding('pad', ASYMMETRIC);
      return model(x, block(chain(block(chain(x, pad), valid('c', { strides: 2 })), pad), depthwise('d')));
    },
    copies: 0,
  },
  {
    name: 'one conv block twice, once behind a padding and once without it',
    build: () => {
      const x = input();
      const shared = [valid('c'), bn('n'), relu('r')];
      return model(x, [chain(x, padding('pad', UNEVEN), ...shared), chain(x, ...shared)]);
    },
    copies: 0,
  },
  {
    name: 'one conv block twice, behind two different paddings',
    build: () => {
      const x = input();
      const shared = [depthwise('d', { strides: 2 }), bn('n'), relu('r')];
      const ways = [ASYMMETRIC, WIDE].map((zeros, i) => chain(x, padding(`pad${i}`, zeros), ...shared));
      return model(x, ways);
    },
    copies: 0,
  },
  {
    name: 'two paddings in a row: the second one',
    build: () => {
      const x = input();
      return model(x, block(chain(x, padding('first', ASYMMETRIC), padding('second', UNEVEN)), valid('c')));
    },
    copies: 1,
  },
  {
    name: 'a padded tensor that is itself an output',
    build: () => {
      const x = input();
      const padded = chain(x, padding('pad', UNEVEN));
      return model(x, [block(padded, depthwise('d', { strides: 2 })), padded]);
    },
    copies: 1,
  },
  {
    name: 'a padded tensor that another layer takes too',
    build: () => {
      const x = input();
      const padded = chain(x, padding('pad', UNEVEN));
      const pooled = chain(padded, L.maxPooling2d({ poolSize: 3, strides: 2, name: 'pool' }));
      return model(x, merge(L.add({ name: 'sum' }), block(padded, valid('c', { strides: 2 })), pooled));
    },
    copies: 1,
  },
  {
    name: 'a padded tensor that a conv takes which is no block',
    build: () => {
      const x = input();
      const padded = chain(x, padding('pad', 1));
      return model(x, merge(L.add({ name: 'sum' }), block(padded, valid('c')), chain(padded, valid('alone'))));
    },
    copies: 1,
  },
  {
    name: 'inside a nested model that is used twice',
    build: () => {
      const i = input('inner_in');
      const inner = model(i, block(chain(i, padding('pad', 1)), valid('c')), 'inner') as unknown as Layer;
      const x = input();
      return model(x, chain(x, inner, inner));
    },
    copies: 0,
  },
  {
    name: 'a Sequential, and one in it',
    build: () =>
      tfl.sequential({
        layers: [
          padding('pad1', ASYMMETRIC, { inputShape: [7, 7, 3] }),
          valid('c1', { strides: 2 }),
          bn('n1'),
          relu('r1'),
          tfl.sequential({
            name: 'inner',
            layers: [padding('pad2', 1, { inputShape: [3, 3, 3] }), depthwise('d'), bn('n2'), relu('r2', 6)],
          }) as unknown as Layer,
        ],
      }),
    copies: 0,
  },
  {
    name: 'pictures of any size',
    build: () => {
      const x = tfl.input({ shape: [null, null, 3], name: 'any' });
      const y = block(chain(x, padding('pad', ASYMMETRIC)), depthwise('d', { strides: 2 }));
      return model(x, chain(y, L.globalAveragePooling2d({ dataFormat: 'channelsLast', name: 'pool' })));
    },
    copies: 0,
  },
  {
    name: 'activations left to themselves',
    build: () => {
      const x = input();
      return model(x, block(chain(x, padding('pad', UNEVEN)), valid('c')));
    },
    options: { fuseActivation: false },
    copies: 0,
  },
];

const ZeroPadding2D = L.zeroPadding2d({ name: 'sample' }).constructor as new (args: object) => Layer;

/** Of the same class name, and pads with ones. */
class OnePadding extends ZeroPadding2D {
  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    const x = (Array.isArray(inputs) ? inputs[0] : inputs) as tf.Tensor4D;
    return tf.pad(
      x,
      [
        [0, 0],
        [1, 1],
        [1, 1],
        [0, 0],
      ],
      1,
    );
  }
}

const LEFT_ALONE: Row[] = [
  {
    name: 'a conv that pads itself',
    build: () => {
      const x = input();
      return model(x, block(chain(x, padding('pad', UNEVEN)), conv('c', { strides: 2 })));
    },
    copies: 1,
  },
  {
    name: 'a depthwise conv that pads itself',
    build: () => {
      const x = input();
      return model(x, block(chain(x, padding('pad', UNEVEN)), depthwise('d', { padding: 'same' })));
    },
    copies: 1,
  },
  {
    name: 'a dilated conv',
    build: () => {
      const x = input();
      return model(x, block(chain(x, padding('pad', 2)), valid('c', { dilationRate: 2 })));
    },
    copies: 1,
    onlyTuneTrains: true,
  },
  {
    name: 'a depthwise conv with a dilation, which tfjs-layers ignores',
    build: () => {
      const x = input();
      return model(x, block(chain(x, padding('pad', 2)), depthwise('d', { dilationRate: 2 })));
    },
    copies: 1,
  },
  {
    name: 'channels first, padding and conv',
    build: () => {
      const x = input('in', [3, 6, 6]);
      const first = { dataFormat: 'channelsFirst' };
      const y = chain(x, padding('pad', UNEVEN, first), valid('c', first), bn('n', { axis: 1 }), relu('r'));
      return model(x, y);
    },
    copies: 1,
  },
  {
    name: 'a padding of rows and channels before a conv with its channels first',
    build: () => {
      const x = input('in', [3, 6, 6]);
      const y = chain(x, padding('pad', 1), valid('c', { dataFormat: 'channelsFirst' }), bn('n', { axis: 1 }));
      return model(x, y);
    },
    copies: 1,
  },
  {
    name: 'a padding of columns and channels before a conv with its channels last',
    build: () => {
      const x = input();
      return model(x, block(chain(x, padding('pad', 1, { dataFormat: 'channelsFirst' })), valid('c')));
    },
    copies: 1,
  },
  {
    name: 'a separable conv, a transposed one, and a Dense layer',
    build: () => {
      const x = input();
      const layers = [
        L.separableConv2d({ filters: 3, kernelSize: 3, name: 'separable' }),
        L.conv2dTranspose({ filters: 3, kernelSize: 3, name: 'transposed' }),
        L.dense({ units: 3, name: 'dense' }),
      ];
      return model(
        x,
        layers.map((layer) => block(chain(x, padding(`${layer.name}_pad`, 1)), layer)),
      );
    },
    copies: 3,
  },
  {
    name: 'something between padding and conv',
    build: () => {
      const x = input();
      return model(x, block(chain(x, padding('pad', 1), L.averagePooling2d({ poolSize: 2, name: 'p' })), valid('c')));
    },
    copies: 1,
  },
  {
    name: 'a conv in a nested model, with the padding outside',
    build: () => {
      const i = input('inner_in', [8, 8, 3]);
      const inner = model(i, block(i, valid('c')), 'inner') as unknown as Layer;
      const x = input();
      return model(x, chain(x, padding('pad', 1), inner));
    },
    copies: 1,
  },
  {
    name: 'a TimeDistributed conv behind a TimeDistributed padding',
    build: () => {
      const x = input('clip', [2, 6, 6, 3]);
      const td = (layer: Layer) => L.timeDistributed({ layer, name: `td_${layer.name}` });
      return model(x, chain(x, ...[padding('pad', 1), valid('c'), bn('n'), relu('r')].map(td)));
    },
    // One for each of the two steps in time.
    copies: 2,
  },
  {
    name: 'a layer that inherits the name ZeroPadding2D and pads with ones',
    build: () => {
      const x = input();
      return model(x, block(chain(x, new OnePadding({ padding: 1, name: 'pad' })), valid('c')));
    },
    copies: 1,
  },
  {
    name: 'a padding whose call somebody has replaced',
    build: () => {
      const x = input();
      const pad = padding('pad', 1);
      pad.call = (inputs) => OnePadding.prototype.call.call(pad, inputs);
      return model(x, block(chain(x, pad), depthwise('d')));
    },
    copies: 1,
  },
  {
    name: 'a block that is left out',
    build: () => {
      const x = input();
      return model(
        x,
        block(chain(block(chain(x, padding('p1', 1)), valid('c1')), padding('p2', 1)), valid('c2'), null),
      );
    },
    options: { include: ({ conv }) => conv === 'c1' },
    copies: 1,
  },
];

/** A kind of transposed copy counts as none: `Transpose` is another kernel. */
const copiesIn = async (run: () => unknown) => (await countsOf(['PadV2'], run)).PadV2;

function inputOf(net: tfl.LayersModel): tf.Tensor[] {
  const { shape } = net.inputs[0];
  return shape[1] === null ? [tf.randomUniform([BATCH, 7, 6, 3], -1, 1, 'float32', 5)] : inputsFor(net, 2, BATCH);
}

function numbersOf(net: tfl.LayersModel, x: tf.Tensor[], wanted: readonly Wanted[] = ['all', 'weights', 'x']) {
  const alive = tf.memory().numTensors;
  const outputs = [predictions(net, x), applied(net, x, false), applied(net, x, true)];
  const grads = wanted.map((which) => gradients(net, x, which));
  return { outputs, grads, leaked: tf.memory().numTensors - alive };
}

function expectClose(
  found: ReturnType<typeof numbersOf>,
  expected: ReturnType<typeof numbersOf>,
  net: tfl.LayersModel,
): void {
  expect(found.leaked).toBe(0);
  found.outputs.forEach((numbers, i) => {
    expect(largestDifference(numbers, expected.outputs[i])).toBeLessThan(rounding(net));
  });
  expected.grads.forEach((numbers, i) => {
    expect(largestDifference(found.grads[i], numbers)).toBeLessThan(gradientRounding(net, POSITIONS));
    expect(Math.max(...numbers.flat().map(Math.abs))).toBeGreaterThan(1e-3);
  });
}

describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));

  test.each([...SHAPES, ...ABSORBED, ...LEFT_ALONE])('$name', async ({ build, options, copies, onlyTuneTrains }) => {
    const net = build();
    randomise(net, 1);
    const x = inputOf(net);
    // A Sequential is wired by its first pass.
    const untouched = predictions(net, x);
    const before = snapshot(net);
    setMode(net, 'eval', options);
    const ofEval = numbersOf(net, x, onlyTuneTrains ? [] : undefined);
    const report = enableTuneMode(net, options);
    expect(report.pairs.length).toBeGreaterThan(0);
    expectClose(numbersOf(net, x), ofEval, net);
    // Of a dilated conv's gradients some are padded by themselves.
    if (!onlyTuneTrains) expect(await copiesIn(() => gradients(net, x))).toBe(copies);
    expect(await copiesIn(() => predictions(net, x))).toBe(copies);
    setMode(net, 'train');
    expect(changes(before, snapshot(net))).toEqual([]);
    expect(predictions(net, x)).toEqual(untouched);
  });

  test('a step of training makes no padded copy, where one in Eval does', async () => {
    const x = input();
    const y = block(chain(x, padding('pad', ASYMMETRIC)), depthwise('d', { strides: 2 }));
    const net = model(x, chain(y, L.flatten({ name: 'flat' }), L.dense({ units: 2, name: 'head' })));
    randomise(net, 1);
    net.compile({ optimizer: tf.train.sgd(0.01), loss: 'meanSquaredError' });
    const [tensors, target] = [inputsFor(net, 2), tf.ones([3, 2])];
    const copies = async (mode: 'eval' | 'tune') => {
      setMode(net, mode);
      return copiesIn(() => net.trainOnBatch(tensors, target));
    };
    expect(await copies('eval')).toBe(1);
    expect(await copies('tune')).toBe(0);
    net.optimizer.dispose();
  });
});

describe('who asks for the padded tensor', () => {
  beforeAll(() => useBackend('cpu'));

  const build = () => {
    const x = input();
    const padded = chain(block(x, conv('c0')), padding('pad', UNEVEN));
    return model(x, block(block(padded, depthwise('d', { strides: 2 })), conv('c1')));
  };
  const CUTS: Record<string, (at: (name: string) => Symbolic, net: tfl.LayersModel) => tfl.LayersModel> = {
    alone: (at, net) => model(net.inputs, at('pad')),
    'beside the end': (at, net) => model(net.inputs, [at('pad'), net.outputs[0]]),
    'beside conv, BN and activation': (at, net) => model(net.inputs, [at('d_act'), at('pad'), at('d'), at('d_bn')]),
    'through a layer of its own': (at, net) =>
      model(net.inputs, chain(at('pad'), L.globalAveragePooling2d({ dataFormat: 'channelsLast' }))),
    'through another conv': (at, net) => model(net.inputs, chain(at('pad'), net.getLayer('d'))),
  };

  test.each(Object.entries(CUTS))('gets it: %s, cut before enabling or after it', (_name, cut) => {
    const net = build();
    randomise(net, 1);
    const at = (name: string) => net.getLayer(name).getOutputAt(0) as Symbolic;
    const early = cut(at, net);
    const x = inputsFor(net, 2, BATCH);
    setMode(net, 'eval');
    const ofEval = numbersOf(early, x);
    enableTuneMode(net);
    expectClose(numbersOf(early, x), ofEval, early);
    const late = cut(at, net);
    expectClose(numbersOf(late, x), ofEval, late);
    enableTuneMode(late);
    expectClose(numbersOf(late, x), ofEval, late);
    expect(predictions(net, x)[0].every(Number.isFinite)).toBe(true);
  });

  test('it is zeros around the map, in every mode', () => {
    const net = build();
    randomise(net, 1);
    const cut = model(net.inputs, net.getLayer('pad').output as Symbolic);
    const [x] = inputsFor(net, 2, 1);
    for (const mode of ['train', 'eval', 'tune'] as const) {
      setMode(net, mode);
      tf.tidy(() => {
        const y = cut.predict(x) as tf.Tensor4D;
        expect(y.shape).toEqual([1, 7, 9, 3]);
        const inner = tf.slice(y, [0, 1, 2, 0], [1, 6, 6, 3]);
        expect(tf.sum(tf.abs(y)).dataSync()[0]).toBe(tf.sum(tf.abs(inner)).dataSync()[0]);
        expect(tf.max(inner).dataSync()[0]).toBeGreaterThan(0);
      });
    }
  });

  test('the report does not mention it, and what is saved is what was saved before', async () => {
    const net = build();
    randomise(net, 1);
    const saved = async () => {
      const { weightData, ...rest } = await savedArtifacts(net);
      return [JSON.stringify(rest), Buffer.from(weightData as ArrayBuffer).toString('base64')];
    };
    const before = await saved();
    expect(JSON.stringify(enableTuneMode(net))).not.toContain('pad');
    expect(await saved()).toEqual(before);
    expect(inspect(net).pairs).toHaveLength(3);
  });

  test('an input of the wrong shape is refused as the conv refuses it', () => {
    const x = input('in', [6, 6, 3]);
    const net = model(x, block(chain(x, padding('pad', 1)), valid('c')));
    const alive = tf.memory().numTensors;
    const wrong = tf.zeros([1, 6, 6, 4]);
    for (const mode of ['eval', 'tune'] as const) {
      setMode(net, mode);
      expect(() => net.apply(wrong)).toThrow(/incompatible with layer c: expected axis 3 .* to have value 3/);
    }
    wrong.dispose();
    expect(tf.memory().numTensors).toBe(alive);
  });
});

describe("tfjs-node's stand-in, whose depthwise convolution knows 'same' and 'valid' alone", () => {
  beforeAll(async () => {
    await useBackend('cpu');
    tf.registerBackend('tensorflow', () => new MathBackendCPU(), 3);
    for (const kernel of tf.getKernelsForBackend('cpu')) {
      tf.registerKernel({
        ...kernel,
        backendName: 'tensorflow',
        kernelFunc: (args) => {
          const { pad } = (args.attrs ?? {}) as { pad?: unknown };
          if (/Depthwise/.test(kernel.kernelName) && pad !== 'same' && pad !== 'valid')
            throw new Error(`${kernel.kernelName}: pad ${JSON.stringify(pad)}`);
          return kernel.kernelFunc(args);
        },
      });
    }
  });

  afterAll(async () => {
    await tf.setBackend('cpu');
    tf.removeBackend('tensorflow');
    for (const { kernelName } of tf.getKernelsForBackend('tensorflow')) tf.unregisterKernel(kernelName, 'tensorflow');
  });

  test.each([...SHAPES, ...ABSORBED])('pads a copy, with the same numbers exactly: $name', async (row) => {
    const { build, options, copies } = row;
    await tf.setBackend('cpu');
    const net = build();
    randomise(net, 1);
    const x = inputOf(net);
    enableTuneMode(net, options);
    const onCpu = numbersOf(net, x);
    await tf.setBackend('tensorflow');
    // Nothing was installed anew: the backend is asked in each pass.
    const onStandIn = numbersOf(net, x);
    expect(onStandIn.leaked).toBe(0);
    onCpu.outputs.forEach((numbers, i) => {
      expect(largestDifference(onStandIn.outputs[i], numbers)).toBe(0);
    });
    onCpu.grads.forEach((numbers, i) => {
      expect(largestDifference(onStandIn.grads[i], numbers)).toBe(0);
    });
    expect(await copiesIn(() => predictions(net, x))).toBeGreaterThan(copies);
    await tf.setBackend('cpu');
    expect(await copiesIn(() => predictions(net, x))).toBe(copies);
  });
});
