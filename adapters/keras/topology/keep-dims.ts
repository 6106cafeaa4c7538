/** Global pooling that keeps its dimensions, as at the end of MobileNet: tfjs-layers does not, so a Reshape follows. */
import type { Findings } from './findings';
import type { LayerHead, MappedLayer } from './layer';
import { isPlain, own } from './plain';

export interface Entry {
  head: LayerHead;
  path: string;
  mapped: MappedLayer;
}

/**
 * @param sources for each layer the indices of those that its first call takes.
 * @returns what gives the layer that follows another one, if that is such a pooling.
 */
export function keepDims(
  entries: Entry[],
  sources: number[][],
  findings: Findings,
): (index: number) => MappedLayer | undefined {
  const used = new Set(entries.map(({ head }) => head.name));
  const nameFor = (base: string) => {
    let name = base;
    for (let i = 1; used.has(name); i++) name = `${base}_${i}`;
    used.add(name);
    return name;
  };
  const counts = { first: new Channels(entries, sources, true), last: new Channels(entries, sources, false) };
  return (index) => {
    const { head, mapped, path } = entries[index];
    const { class_name: className, config } = mapped;
    if (config.keepdims !== true) return undefined;
    delete config.keepdims;
    const isFirst = config.data_format === 'channels_first';
    const channels = builtChannels(head, isFirst) ?? counts[isFirst ? 'first' : 'last'].before(index, 0);
    if (channels === undefined) {
      const text = 'keepdims = true, where nothing in front of it tells the number of channels';
      findings.unsupported(path, className, text);
      return undefined;
    }
    const ones = className.endsWith('1D') ? [1] : [1, 1];
    const name = nameFor(`${head.name ?? 'pooling'}_keepdims`);
    // With -1 tfjs-layers would not know the number of channels that follow.
    const shape = isFirst ? [channels, ...ones] : [...ones, channels];
    return { class_name: 'Reshape', config: { name, target_shape: shape } };
  };
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;

function builtChannels({ entry }: LayerHead, isFirst: boolean): number | undefined {
  const build = own(entry, 'build_config');
  const shape = isPlain(build) ? own(build, 'input_shape') : undefined;
  const size = Array.isArray(shape) && shape.length > 2 ? shape[isFirst ? 1 : shape.length - 1] : undefined;
  return isCount(size) ? size : undefined;
}

/** Layers in a row without a convolution; more would overflow the stack. */
const LONGEST_WAY = 1000;

/** Layers that give as many channels as they take. */
const ALIKE = new Set(
  (
    'BatchNormalization Activation ReLU LeakyReLU PReLU ELU ThresholdedReLU Softmax Dropout SpatialDropout1D ' +
    'GaussianNoise GaussianDropout AlphaDropout LayerNormalization ZeroPadding2D Cropping2D UpSampling2D ' +
    'MaxPooling1D MaxPooling2D AveragePooling1D AveragePooling2D'
  ).split(' '),
);
const FILTERS = new Set(['Conv1D', 'Conv2D', 'Conv2DTranspose', 'SeparableConv2D']);
const MERGES = new Set(['Add', 'Multiply', 'Average', 'Maximum', 'Minimum']);

/** How many channels a layer gives, as far as classes and arguments tell. */
class Channels {
  private readonly known = new Map<number, number | undefined>();

  constructor(
    private readonly entries: Entry[],
    private readonly sources: number[][],
    private readonly isFirst: boolean,
  ) {}

  before(index: number, depth: number): number | undefined {
    const [source] = this.sources[index];
    return source === undefined ? this.given(index) : this.after(source, depth + 1);
  }

  private given(index: number): number | undefined {
    const { batch_input_shape: shape } = this.entries[index].mapped.config;
    const size = Array.isArray(shape) && shape.length > 2 ? shape[this.isFirst ? 1 : shape.length - 1] : undefined;
    return isCount(size) ? size : undefined;
  }

  private after(index: number, depth: number): number | undefined {
    if (depth > LONGEST_WAY) return undefined;
    if (!this.known.has(index)) {
      this.known.set(index, undefined); // in a circle nothing is known
      this.known.set(index, this.find(index, depth));
    }
    return this.known.get(index);
  }

  private find(index: number, depth: number): number | undefined {
    const { class_name: className, config } = this.entries[index].mapped;
    if (className === 'InputLayer') return this.given(index);
    if (FILTERS.has(className)) return isCount(config.filters) ? config.filters : undefined;
    if (ALIKE.has(className)) return this.before(index, depth);
    const multiplier = config.depth_multiplier ?? 1;
    if (className === 'DepthwiseConv2D' && isCount(multiplier)) {
      const channels = this.before(index, depth);
      return channels === undefined ? undefined : channels * multiplier;
    }
    if (!MERGES.has(className)) return undefined;
    const counts = this.sources[index].map((source) => this.after(source, depth + 1));
    return counts.includes(undefined) ? undefined : Math.max(...(counts as number[]));
  }
}
