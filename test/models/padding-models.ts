/** Small models with a ZeroPadding2D that a block takes in, and with one that must be left alone. */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import type { TuneOptions } from 'tfjs-tune-mode';
import { bn, chain, conv, input, L, merge, relu } from './table';

type Layer = tfl.layers.Layer;
export type Symbolic = tfl.SymbolicTensor;
type Padding = number | [number, number] | [[number, number], [number, number]];

export const BATCH = 2;
/** The largest padded map of the models here. */
export const POSITIONS = BATCH * 15 * 15;

export const padding = (name: string, zeros: Padding, args: object = {}): Layer =>
  L.zeroPadding2d({ padding: zeros, name, ...args });
export const valid = (name: string, args: object = {}): Layer => conv(name, { padding: 'valid', ...args });
export const depthwise = (name: string, args: object = {}): Layer =>
  L.depthwiseConv2d({ kernelSize: 3, padding: 'valid', name, ...args });
export const model = (inputs: Symbolic | Symbolic[], outputs: Symbolic | Symbolic[], name?: string) =>
  tfl.model({ inputs, outputs, name });
export const block = (x: Symbolic, layer: Layer, activation: Layer | null = relu(`${layer.name}_act`)): Symbolic =>
  chain(x, layer, bn(`${layer.name}_bn`), ...(activation === null ? [] : [activation]));

export const ASYMMETRIC: Padding = [
  [0, 1],
  [0, 1],
];
export const UNEVEN: Padding = [
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

export const SHAPES: Row[] = Object.entries(CONVS).flatMap(([kind, layer]) =>
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

export const ABSORBED: Row[] = [
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

export const LEFT_ALONE: Row[] = [
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
