/** Initialisers, regularizers, constraints, activations and dtypes, in every spelling that Keras has written. */
import { isPlain, own, type Plain, show } from './plain';

/** An object of the file: its class without package prefix, and whether it is somebody's own. */
interface Named {
  name: string;
  foreign: boolean;
  config: Plain;
}

const OWN_PACKAGES = new Set(['keras', 'Keras', 'tf', 'tensorflow', 'tf_keras']);
const OWN_MODULE = /^(keras|tensorflow|tf_keras|builtins)(\.|$)/;

/** 'Custom>Dense' is no Keras Dense, even though its bare name says so. */
export function splitName(text: string): { name: string; foreign: boolean } {
  const at = text.lastIndexOf('>');
  if (at < 0) return { name: text, foreign: false };
  return { name: text.slice(at + 1), foreign: !OWN_PACKAGES.has(text.slice(0, at)) };
}

export function isForeign(object: Plain): boolean {
  const { module, registered_name: registered } = object;
  if (typeof module === 'string' && !OWN_MODULE.test(module)) return true;
  return typeof registered === 'string' && splitName(registered).foreign;
}

function readNamed(value: unknown): Named | undefined {
  if (typeof value === 'string') return { ...splitName(value), config: {} };
  if (!isPlain(value)) return undefined;
  const className = own(value, 'class_name') ?? own(value, 'className') ?? own(value, 'name'); // 'name': Keras 1
  if (typeof className !== 'string') return undefined;
  const { name, foreign } = splitName(className);
  const config = own(value, 'config');
  if (typeof config === 'string') return { ...splitName(config), foreign: foreign || isForeign(value), config: {} };
  return { name, foreign: foreign || isForeign(value), config: isPlain(config) ? config : value };
}

/** 'lecun_uniform', 'LecunUniform' and 'LeCunUniform' are one. */
const flat = (name: string) => name.replaceAll('_', '').toLowerCase();

function picked(config: Plain, names: readonly string[]): Plain {
  const result: Plain = {};
  for (const name of names) {
    const value = own(config, name);
    // A generator object in place of a seed means nothing here.
    if (typeof value === 'number' || typeof value === 'string' || typeof value === 'boolean') result[name] = value;
  }
  return result;
}

const INITIALIZERS = new Map<string, [string, ...string[]]>([
  ['zeros', ['Zeros']],
  ['zero', ['Zeros']],
  ['ones', ['Ones']],
  ['one', ['Ones']],
  ['constant', ['Constant', 'value']],
  ['randomuniform', ['RandomUniform', 'minval', 'maxval', 'seed']],
  ['uniform', ['RandomUniform', 'minval', 'maxval', 'seed']],
  ['randomnormal', ['RandomNormal', 'mean', 'stddev', 'seed']],
  ['normal', ['RandomNormal', 'mean', 'stddev', 'seed']],
  ['truncatednormal', ['TruncatedNormal', 'mean', 'stddev', 'seed']],
  ['identity', ['Identity', 'gain']],
  ['variancescaling', ['VarianceScaling', 'scale', 'mode', 'distribution', 'seed']],
  ['glorotuniform', ['GlorotUniform', 'seed']],
  ['glorotnormal', ['GlorotNormal', 'seed']],
  ['henormal', ['HeNormal', 'seed']],
  ['heuniform', ['HeUniform', 'seed']],
  ['lecunnormal', ['LeCunNormal', 'seed']],
  ['lecununiform', ['LeCunUniform', 'seed']],
  ['orthogonal', ['Orthogonal', 'gain', 'seed']],
]);

/** The weights come from the file, so an initialiser that tfjs-layers lacks may be any other. */
export function mapInitializer(value: unknown): Plain {
  const named = readNamed(value);
  const known = named?.foreign ? undefined : INITIALIZERS.get(flat(named?.name ?? '').replace(/v[12]$/, ''));
  if (named === undefined || known === undefined) return { class_name: 'Zeros', config: {} };
  const [className, ...names] = known;
  const config = picked(named.config, names);
  if (className === 'Constant' && typeof config.value !== 'number') return { class_name: 'Zeros', config: {} };
  if (className === 'VarianceScaling' && config.distribution === 'untruncated_normal') {
    config.distribution = 'truncated_normal';
  }
  if (className === 'VarianceScaling') {
    // tfjs-layers refuses others; nothing of an initializer is in what a trained model computes.
    if (!/^(normal|uniform|truncated_?normal)$/i.test(String(config.distribution))) delete config.distribution;
    if (!/^fan_?(in|out|avg)$/i.test(String(config.mode))) delete config.mode;
    if (!(typeof config.scale === 'number' && config.scale > 0)) delete config.scale;
  }
  return { class_name: className, config };
}

/** undefined where tfjs-layers has no such regularizer. */
export function mapRegularizer(value: unknown): Plain | undefined {
  const named = readNamed(value);
  if (named === undefined || named.foreign) return undefined;
  const kind = flat(named.name).replace(/^(weight|activity|l1l2)regularizer$/, 'l1l2');
  if (kind !== 'l1' && kind !== 'l2' && kind !== 'l1l2') return undefined;
  // Bare names mean Keras' default; an absent or null penalty in a config means none, where tfjs-layers would take 0.01.
  const absent = typeof value === 'string' ? 0.01 : 0;
  const { config } = named;
  const penalty = (key: string) => {
    const given = own(config, key) ?? own(config, 'l'); // 'l' in some versions of L1 and L2
    return typeof given === 'number' ? given : absent;
  };
  return {
    class_name: 'L1L2',
    config: { l1: kind === 'l2' ? 0 : penalty('l1'), l2: kind === 'l1' ? 0 : penalty('l2') },
  };
}

const CONSTRAINTS = new Map<string, [string, ...string[]]>([
  ['maxnorm', ['MaxNorm', 'max_value', 'axis']],
  ['unitnorm', ['UnitNorm', 'axis']],
  ['nonneg', ['NonNeg']],
  ['minmaxnorm', ['MinMaxNorm', 'min_value', 'max_value', 'rate', 'axis']],
]);

export function mapConstraint(value: unknown): Plain | undefined {
  const named = readNamed(value);
  const known = named?.foreign ? undefined : CONSTRAINTS.get(flat(named?.name ?? ''));
  if (named === undefined || known === undefined) return undefined;
  const [className, ...names] = known;
  const config = picked(named.config, names);
  const { config: given } = named;
  if (Array.isArray(own(given, 'axis'))) config.axis = given.axis;
  const m = own(given, 'm'); // Keras 1
  if (className === 'MaxNorm' && typeof m === 'number' && config.max_value === undefined) config.max_value = m;
  return { class_name: className, config };
}

const ACTIVATIONS = new Set(
  'elu selu relu relu6 linear sigmoid hard_sigmoid softplus softsign tanh softmax log_softmax gelu mish swish'.split(
    ' ',
  ),
);

/** The activation's name in tfjs-layers, or why it has none. */
export function mapActivation(value: unknown, kerasMajor: number | undefined): { name: string } | { reason: string } {
  if (value === null || value === undefined) return { name: 'linear' };
  const named = readNamed(value);
  if (named === undefined || named.foreign) return { reason: `${show(value)} is an activation of somebody's own` };
  if (named.name === 'ReLU') return reluName(named.config);
  let name = named.name === 'silu' ? 'swish' : named.name;
  if (name === 'hardSigmoid') name = 'hard_sigmoid';
  if (name === 'hard_sigmoid' && kerasMajor !== undefined && kerasMajor >= 3) {
    return { reason: "'hard_sigmoid' is x / 6 + 0.5 in Keras 3, 0.2 x + 0.5 in tfjs-layers" };
  }
  return ACTIVATIONS.has(name) ? { name } : { reason: `tfjs-layers has no activation ${show(named.name)}` };
}

function reluName(config: Plain): { name: string } | { reason: string } {
  const plain = !(own(config, 'negative_slope') || own(config, 'threshold'));
  const top = own(config, 'max_value') ?? null;
  if (plain && top === null) return { name: 'relu' };
  if (plain && top === 6) return { name: 'relu6' };
  return { reason: `a ReLU layer with ${show(config)} as activation` };
}

const DTYPES = new Set(['float32', 'int32', 'bool', 'complex64', 'string']);
const FLOATS = /^(mixed_(b?float16)|float16|bfloat16|float64)$/;
const INTEGERS = /^u?int(8|16|32|64)$/;

/** @returns the dtype of tfjs, with a note where it is another; undefined where tfjs has none. */
export function mapDtype(value: unknown): { dtype: string; note?: string } | undefined {
  const policy = isPlain(value) ? value : undefined;
  const config = policy === undefined ? undefined : own(policy, 'config');
  const name = isPlain(config) ? own(config, 'name') : value;
  if (policy !== undefined && !['DTypePolicy', 'Policy', 'PolicyV1'].includes(policy.class_name as string)) {
    return undefined;
  }
  if (typeof name !== 'string') return undefined;
  const bare = name === '_infer' || name === 'infer' ? 'float32' : name;
  if (DTYPES.has(bare)) return { dtype: bare };
  if (FLOATS.test(bare)) return { dtype: 'float32', note: `${bare} computes in float32 here.` };
  if (INTEGERS.test(bare)) return { dtype: 'int32', note: `${bare} is int32 here.` };
  return undefined;
}
