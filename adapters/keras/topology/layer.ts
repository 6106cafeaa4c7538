/** One layer's class and arguments. */
import { serialization } from '@tensorflow/tfjs-core';
import type { Findings } from './findings';
import { fromKeras1, isKeras1 } from './keras1';
import type { Argument } from './kinds';
import { isForeign, splitName } from './objects';
import { isPlain, own, type Plain, show } from './plain';
import { ALIASES, COMMON, LAYERS, MODELS, RECURRENT, REQUIRED } from './table';

const DEEPEST_NEST = 100;
/** 2 GiB of float32, more than tfjs holds in one tensor on most backends. */
const LARGEST_WEIGHT = 2 ** 29;

export interface MappedLayer {
  class_name: string;
  config: Plain;
}

export interface Scope {
  findings: Findings;
  /** '' or 'outer/' */
  prefix: string;
  depth: number;
  /** An enclosing model is frozen, and with it every layer; tfjs-layers does not read that of models. */
  frozen: boolean;
}

/** How models map their layers; passed in, since models hold layers and wrappers hold models. */
type MapModel = (className: string, config: unknown, path: string, scope: Scope) => MappedLayer;

export interface LayerHead {
  className: string;
  config: Plain | unknown[];
  name: string | undefined;
  /** Of a package that is not Keras. */
  foreign: boolean;
  entry: Plain;
}

/** @throws TuneModeError `invalid-model-file` unless the entry has a class and a configuration. */
export function readHead(entry: unknown, path: string, findings: Findings): LayerHead {
  if (!isPlain(entry)) throw findings.invalid(path, `found ${show(entry)}, expected an object with 'class_name'.`);
  const given = own(entry, 'class_name');
  const config = own(entry, 'config');
  if (typeof given !== 'string' || given === '') {
    throw findings.invalid(path, `its 'class_name' is ${show(given)}, expected the name of a layer class.`);
  }
  const list = given === 'Sequential' && Array.isArray(config);
  if (!isPlain(config) && !list) throw findings.invalid(path, `its 'config' is ${show(config)}, expected an object.`);
  const split = splitName(isOperation(entry) ? `keras.ops.${given}` : given);
  const foreign = split.foreign || isOperation(entry) || isForeign(entry);
  // A class of somebody's own that is called like one of Keras keeps its package: it must not become that one.
  const bare = foreign && (LAYERS.has(split.name) || MODELS.has(split.name)) ? given : split.name;
  const name = own(entry, 'name') ?? (isPlain(config) ? own(config, 'name') : undefined);
  if (name !== undefined && name !== null && typeof name !== 'string') {
    throw findings.invalid(path, `its name is ${show(name)}, expected text.`);
  }
  if (typeof name === 'string' && name in {}) {
    findings.unsupported(name, bare, `tfjs-layers cannot hold a layer with the name '${name}'; rename it`);
  }
  const className = foreign ? bare : (ALIASES.get(bare) ?? bare);
  return { className, config: config as Plain | unknown[], name: name ?? undefined, foreign, entry };
}

/** Of two tensors they are what the layers of these names compute. */
const LIKE_LAYERS = ['Add', 'Multiply', 'Maximum', 'Minimum'];

/** Keras 3 writes `keras.ops.reshape` as a class 'Reshape', which is no layer, and has arguments of its own. */
function isOperation({ module, class_name: className, config }: Plain): boolean {
  if (LIKE_LAYERS.includes(className as string)) return false;
  if (typeof module === 'string') return /^keras(\.src)?\.ops(\.|$)/.test(module);
  // In .h5 files it writes no modules.
  return className === 'Reshape' && isPlain(config) && Object.hasOwn(config, 'newshape');
}

export const isModel = (head: LayerHead) => !head.foreign && MODELS.has(head.className);

export function mapLayer(head: LayerHead, path: string, scope: Scope, mapModel: MapModel): MappedLayer {
  const { findings } = scope;
  if (scope.depth > DEEPEST_NEST) {
    throw findings.invalid('', `models or wrappers lie more than ${DEEPEST_NEST} deep in each other.`);
  }
  if (isModel(head)) return mapModel(head.className, head.config, path, scope);
  let { className } = head;
  let config = { ...(head.config as Plain) };
  if (!head.foreign && isKeras1(className, config, findings.writer.major)) {
    const renamed = fromKeras1(path, className, config, findings);
    if (renamed === undefined) return { class_name: className, config };
    ({ className, config } = renamed);
  }
  if (head.name !== undefined) config.name = head.name;
  if (scope.frozen) config.trainable = false;
  renameArguments(className, config);
  const table = head.foreign ? undefined : LAYERS.get(className);
  const inner = innerMapper(path, { ...scope, frozen: config.trainable === false }, mapModel);
  const at = (name: string): Argument => ({ layer: path, className, name, findings, mapInner: inner });
  if (table === undefined) {
    if (LAYERS.has(className) || !isRegistered(className))
      findings.unknown(path, className, 'no layer class of tfjs-layers');
    return { class_name: className, config: mapCommonOnly(config, at) };
  }
  const mapped: Plain = {};
  for (const name of Object.keys(config)) {
    const kind = own(table as unknown as Plain, name) ?? own(COMMON as unknown as Plain, name);
    if (typeof kind !== 'function') {
      findings.unknown(path, className, `${name} = ${show(config[name])}, an argument unknown to tfjs-layers`);
      if (findings.allowCustom) mapped[name] = config[name];
      continue;
    }
    const value = kind(config[name], at(name));
    if (value !== undefined) mapped[name] = value;
  }
  checkWhole(className, config, mapped, at('padding'));
  if (className === 'BatchNormalization') checkAxis(head.entry, mapped, at('axis'));
  return { class_name: className, config: mapped };
}

/** Whether somebody has made a class of their own known to tfjs-layers, as this package does. */
function isRegistered(className: string): boolean {
  return Object.hasOwn(serialization.SerializationMap.getMap().classNameMap, className);
}

function mapCommonOnly(config: Plain, at: (name: string) => Argument): Plain {
  const mapped = { ...config };
  for (const name of ['dtype', 'batch_input_shape']) {
    if (Object.hasOwn(mapped, name)) mapped[name] = COMMON[name](mapped[name], at(name)) ?? null;
  }
  return mapped;
}

function innerMapper(path: string, scope: Scope, mapModel: MapModel): Argument['mapInner'] {
  return (value, at) => {
    const head = readHead(value, `${path} (${at.name})`, scope.findings);
    const inner: Scope = { ...scope, depth: scope.depth + 1, prefix: `${path}/` };
    const mapped = mapLayer(head, `${path}/${head.name ?? at.name}`, inner, mapModel);
    if (mapped.config.keepdims === true) {
      scope.findings.unsupported(path, at.className, `its ${at.name} has keepdims = true`);
    }
    return mapped;
  };
}

/** The same thing under other names, in any version. */
function renameArguments(className: string, config: Plain): void {
  const move = (from: string, to: string, change: (value: unknown) => unknown = (value) => value) => {
    const value = own(config, from);
    if (value === undefined) return;
    delete config[from];
    if (value !== null && (own(config, to) ?? null) === null) config[to] = change(value);
  };
  move('batch_shape', 'batch_input_shape');
  move('batchInputShape', 'batch_input_shape');
  const batch = own(config, 'batch_size') ?? null;
  const withBatch = (value: unknown) => (Array.isArray(value) ? [batch, ...value] : value);
  move('input_shape', 'batch_input_shape', withBatch);
  if (className === 'InputLayer') move('shape', 'batch_input_shape', withBatch);
  delete config.batch_size;
  move('input_dtype', 'dtype');
  if (className !== 'Embedding') {
    const length = own(config, 'input_length');
    move('input_dim', 'batch_input_shape', (value) =>
      className === 'Dense' ? [null, value] : [null, length ?? null, value],
    );
    delete config.input_length;
  }
  if (className === 'LeakyReLU') move('negative_slope', 'alpha');
  const cell = own(config, 'cell');
  if (className === 'RNN' && isPlain(cell) && isPlain(cell.config)) {
    // tfjs-layers writes the cell's arguments beside the cell once more.
    for (const name of Object.keys(cell.config)) {
      if (!Object.hasOwn(LAYERS.get('RNN')!, name) && !Object.hasOwn(COMMON, name)) delete config[name];
    }
  }
}

const MASK_ENDS = ['Conv1D', 'MaxPooling1D', 'AveragePooling1D'];

/** What concerns several arguments at once. */
function checkWhole(className: string, given: Plain, mapped: Plain, at: Argument): void {
  const { findings, layer } = at;
  for (const name of REQUIRED.get(className) ?? []) {
    if (!Object.hasOwn(mapped, name) && (own(given, name) ?? null) === null) {
      throw findings.invalid(layer, `${className} without '${name}'. The file is damaged.`);
    }
  }
  const factors = [mapped.kernel_size, mapped.filters, mapped.depth_multiplier].flat();
  if (className === 'Embedding') factors.push(mapped.input_dim, mapped.output_dim);
  const elements = factors.reduce((product: number, n) => product * (typeof n === 'number' ? n : 1), 1);
  if (elements > LARGEST_WEIGHT) {
    throw findings.invalid(layer, `${className} with a weight of ${elements} numbers or more. The file is damaged.`);
  }
  if (className === 'SeparableConv2D' && mapped.data_format === 'channels_first' && mapped.use_bias !== false) {
    findings.unsupported(layer, className, 'data_format = channels_first, with which tfjs-layers misplaces the bias');
  }
  if (mapped.data_format === 'channels_first') findings.channelsFirst = true;
  if (className === 'Softmax' && mapped.axis === undefined) mapped.axis = -1; // tfjs-layers' default is 1
  if (className === 'GlobalAveragePooling1D' && !findings.writer.tfjs) {
    findings.unsupportedIfMasked(layer, className, 'tfjs-layers averages the masked steps too');
  }
  if (RECURRENT.has(className)) findings.recurrent = true;
  if (MASK_ENDS.includes(className) && !findings.writer.tfjs) {
    findings.unsupportedIfMaskedRecurrent(layer, className, 'tfjs-layers passes masks on, which end here in Keras');
  }
  if (className === 'Masking') findings.masked = true;
  if (className === 'Bidirectional') {
    checkBackward(given, mapped, at);
    takePrefix(mapped);
  }
}

/** Of other axes than the last one, tfjs's CPU and WASM backends take each channel's numbers for another one's. */
function checkAxis(entry: Plain, mapped: Plain, { findings, layer, className }: Argument): void {
  const axis = (mapped.axis ?? -1) as number;
  if (axis === -1 || findings.writer.tfjs || findings.forKeras) return;
  const build = own(entry, 'build_config');
  const shape = isPlain(build) ? own(build, 'input_shape') : undefined;
  const text = `axis = ${axis}, tfjs normalizes the last axis only on some of its backends`;
  if (Array.isArray(shape)) {
    if ((axis < 0 ? axis + shape.length : axis) < shape.length - 1) findings.unsupported(layer, className, text);
  } else if (axis < 1) findings.unsupported(layer, className, text);
  else if (axis === 1) findings.unsupportedIfChannelsFirst(layer, className, text);
}

/** Keras 3 calls the inner layer 'forward_lstm', to which tfjs-layers would add another 'forward_'. */
function takePrefix(mapped: Plain): void {
  const config = isPlain(mapped.layer) && isPlain(mapped.layer.config) ? mapped.layer.config : {};
  if (mapped.layer !== undefined && typeof config.name === 'string') config.name = config.name.replace(/^forward_/, '');
}

/** tfjs-layers makes the backward layer itself, as the mirror of the forward one. */
function checkBackward(given: Plain, mapped: Plain, at: Argument): void {
  const backward = own(mapped, 'backward_layer') ?? null;
  delete mapped.backward_layer;
  if (backward === null) return;
  const plain = (value: unknown) => {
    const config = { ...((isPlain(value) && isPlain(value.config) ? value.config : {}) as Plain) };
    const backwards = config.go_backwards === true;
    delete config.name;
    delete config.go_backwards;
    return { text: JSON.stringify(config), backwards };
  };
  const forward = plain(given.layer);
  const other = plain(backward);
  if (forward.text !== other.text || forward.backwards === other.backwards) {
    at.findings.unsupported(at.layer, at.className, 'a backward layer that is not the mirror of the forward layer');
  }
}
