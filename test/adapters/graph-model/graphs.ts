/** Writes GraphDefs as TensorFlow's converter does: nodes, constants with seeded values, artifacts with their weights. */
import { io } from '@tensorflow/tfjs-core';
import { type Random, random } from '../../helpers/random';
import { type Quantisation, quantise } from './quantised-graphs';

/** What an attribute says; in the graph it stands in the form of the converter's time. */
export type Given =
  | number
  | string
  | boolean
  | number[]
  | string[]
  | { float: number }
  | { type: Dtype }
  | { shape: (number | null)[] | null };

export type Dtype = 'float32' | 'int32' | 'uint8' | 'bool' | 'string';

/** `names`: base64 and DT_FLOAT, as converters since 1.2; `codes`: lists of character codes and 1, as those before. */
export type Style = 'names' | 'codes';

export interface NodeDef {
  name: string;
  op: string;
  input: string[];
  attr: Record<string, unknown>;
}

export interface ArtifactOptions {
  /** Tensors that the signature names; absent: there is none, as in graphs of TensorFlow 1. */
  outputs?: string[];
  quantisation?: Quantisation;
}

const TYPES: Record<Dtype, [string, number]> = {
  float32: ['DT_FLOAT', 1],
  int32: ['DT_INT32', 3],
  uint8: ['DT_UINT8', 4],
  string: ['DT_STRING', 7],
  bool: ['DT_BOOL', 10],
};

export class GraphBuilder {
  readonly random: Random;
  readonly nodes: NodeDef[] = [];
  readonly weights: { spec: io.WeightsManifestEntry; bytes: Uint8Array }[] = [];

  constructor(
    seed = 1,
    readonly style: Style = 'names',
  ) {
    this.random = random(seed);
  }

  placeholder(name: string, shape: (number | null)[] | null, dtype: Dtype = 'float32'): string {
    return this.node('Placeholder', name, [], { dtype: { type: dtype }, shape: { shape } });
  }

  /** A float32 constant; its values are uniform in [−1, 1) unless told. */
  constant(name: string, shape: number[], values?: ArrayLike<number>): string {
    const length = shape.reduce((product, size) => product * size, 1);
    const given = Float32Array.from(values ?? this.random.array(length));
    if (given.length !== length) throw new Error(`${name}: ${given.length} values for [${shape}]`);
    return this.stored(name, { name, shape, dtype: 'float32' }, new Uint8Array(given.buffer));
  }

  /** An int32 constant: a vector, or a scalar of one number. */
  ints(name: string, values: number | number[], shape = Array.isArray(values) ? [values.length] : []): string {
    const given = Int32Array.from([values].flat());
    return this.stored(name, { name, shape, dtype: 'int32' }, new Uint8Array(given.buffer));
  }

  strings(name: string, values: string[]): string {
    const parts = values.flatMap((value) => {
      const bytes = Buffer.from(value);
      return [new Uint8Array(new Uint32Array([bytes.length]).buffer), new Uint8Array(bytes)];
    });
    return this.stored(name, { name, shape: [values.length], dtype: 'string' }, new Uint8Array(Buffer.concat(parts)));
  }

  private stored(name: string, spec: io.WeightsManifestEntry, bytes: Uint8Array): string {
    this.weights.push({ spec, bytes });
    const dtype = spec.dtype as Dtype;
    const [typeName, code] = TYPES[dtype];
    const value = {
      tensor: {
        dtype: this.style === 'names' ? typeName : code,
        tensorShape: { dim: spec.shape.map((size) => ({ size: String(size) })) },
      },
    };
    this.nodes.push({ name, op: 'Const', input: [], attr: { value, dtype: this.attribute({ type: dtype }) } });
    return name;
  }

  node(op: string, name: string, inputs: string[], attributes: Record<string, Given> = {}): string {
    const attr = Object.fromEntries(Object.entries(attributes).map(([key, given]) => [key, this.attribute(given)]));
    this.nodes.push({ name, op, input: inputs, attr });
    return name;
  }

  private attribute(given: Given): unknown {
    if (typeof given === 'boolean') return { b: given };
    if (typeof given === 'number') return { i: String(given) };
    if (typeof given === 'string') return { s: this.text(given) };
    if (Array.isArray(given)) {
      if (typeof given[0] === 'string') return { list: this.list({ s: (given as string[]).map((s) => this.text(s)) }) };
      return { list: this.list(given.length === 0 ? {} : { i: given.map(String) }) };
    }
    if ('float' in given) return { f: given.float };
    if ('type' in given) return { type: TYPES[given.type][this.style === 'names' ? 0 : 1] };
    if (given.shape === null) return { shape: { unknownRank: true } };
    return { shape: { dim: given.shape.map((size) => ({ size: String(size ?? -1) })) } };
  }

  private text(value: string): string | number[] {
    return this.style === 'names' ? btoa(value) : [...value].map((character) => character.charCodeAt(0));
  }

  /** The converters before 1.2 wrote every kind of list, most of them empty. */
  private list(given: object): object {
    return this.style === 'names' ? given : { s: [], i: [], f: [], b: [], type: [], shape: [], tensor: [], ...given };
  }

  artifacts({ outputs, quantisation }: ArtifactOptions = {}): io.ModelArtifacts {
    const stored = this.weights.map((weight) => (quantisation ? quantise(weight, quantisation) : weight));
    const bytes = new Uint8Array(Buffer.concat(stored.map((weight) => weight.bytes)));
    const named = outputs?.map((name) => [name, { name: name.includes(':') ? name : `${name}:0` }]);
    return {
      format: 'graph-model',
      modelTopology: { node: this.nodes, versions: { producer: 1 } },
      weightSpecs: stored.map(({ spec }) => spec),
      weightData: bytes.buffer as ArrayBuffer,
      ...(named ? { signature: { inputs: {}, outputs: Object.fromEntries(named) } } : {}),
    };
  }

  // What many graphs have.

  conv(
    name: string,
    x: string,
    kernel: number[],
    attributes: Record<string, Given> = {},
    inputs: string[] = [],
  ): string {
    const { op = 'Conv2D', ...rest } = attributes as Record<string, Given> & { op?: string };
    return this.node(op, name, [x, this.kernel(`${name}/weights`, kernel), ...inputs], { ...WINDOW, ...rest });
  }

  /** Values such that a product keeps the size of what comes in. */
  kernel(name: string, shape: number[]): string {
    const terms = shape.slice(0, -1).reduce((product, size) => product * size, 1);
    const span = Math.sqrt(3 / terms);
    const length = terms * shape[shape.length - 1];
    return this.constant(
      name,
      shape,
      this.random.array(length, () => this.random.uniform(-span, span)),
    );
  }

  /** One value a channel, far from 0 and of either sign: s, γ, α. */
  scales(name: string, channels: number, shape = [channels]): string {
    const value = (i: number) => this.random.uniform(0.4, 2) * (i % 3 === 2 ? -1 : 1);
    return this.constant(name, shape, this.random.array(channels, value));
  }

  /** γ, β, mean and variance of a BN, none of them near its default. */
  statistics(name: string, channels: number): string[] {
    const variances = this.random.array(channels, () => this.random.uniform(0.05, 4));
    const means = this.random.array(channels, () => this.random.uniform(0.1, 0.9));
    return [
      this.scales(`${name}/gamma`, channels),
      this.constant(`${name}/beta`, [channels]),
      this.constant(`${name}/mean`, [channels], means),
      this.constant(`${name}/variance`, [channels], variances),
    ];
  }
}

const WINDOW: Record<string, Given> = {
  strides: [1, 1, 1, 1],
  dilations: [1, 1, 1, 1],
  padding: 'SAME',
  data_format: 'NHWC',
  explicit_paddings: [],
};

/** A graph as what `loadGraphModel` and `liftGraphModel` take. */
export function handlerOf(artifacts: io.ModelArtifacts): io.IOHandler {
  return io.fromMemory(artifacts);
}
