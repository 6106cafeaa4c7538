/** The layout of `.h5` files that Keras 1 and 2 write, and Keras 3 still: a group for each layer, with a list of names. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import type { H5File } from './h5-file';
import { Mismatches } from './mismatches';
import {
  lastName,
  type ModelWeight,
  type NamedWeight,
  type Part,
  partsOf,
  sameShape,
  type WeightOrder,
  weightsOf,
} from './model-parts';
import { type StoredWeight, storedWeight } from './stored-weight';

interface LegacyLayer {
  name: string;
  weights: StoredWeight[];
}

/** The layers that have weights, in the order of the file. @param root the group, `''` for the file's own. */
export function readLegacy(file: H5File, root: string): LegacyLayer[] {
  const inside = (name: string) => (root === '' ? name : `${root}/${name}`);
  file.group(root);
  const names = file.list(root, 'layer_names') ?? numbered(file, root);
  const found: LegacyLayer[] = [];
  for (const name of names) {
    const group = inside(pathName(file, name));
    file.group(group);
    const weightNames = file.list(group, 'weight_names') ?? parameters(file, group);
    const weights = weightNames
      .filter((weight) => lastName(weight) !== 'seed_generator_state') // of a dropout's random numbers
      .map((weight) => storedWeight(file, `${group}/${pathName(file, weight)}`, weight));
    if (weights.length > 0) found.push({ name, weights });
  }
  if (new Set(found.map(({ name }) => name)).size < found.length) {
    throw file.damaged('two of its layers have the same name');
  }
  return found;
}

/** A name is a path below its group, and leads nowhere else. */
function pathName(file: H5File, name: string): string {
  const steps = name.split('/').filter((step) => step !== '' && step !== '.');
  if (steps.length === 0) throw file.damaged(`it names a layer or weight '${name}'`);
  return steps.join('/');
}

/** By the number after `layer_` or `param_`. */
const byNumber = (a: string, b: string) => Number(a.slice(6)) - Number(b.slice(6));

/** Keras before 1.0: `layer_0`, `layer_1` … with `param_0`, `param_1` … */
function numbered(file: H5File, root: string): string[] {
  const names = [...file.childrenOf(root)].filter((name) => /^layer_\d+$/.test(name));
  if (names.length === 0) throw file.damaged("it has no attribute 'layer_names'");
  return names.sort(byNumber);
}

function parameters(file: H5File, group: string): string[] {
  const children = [...file.childrenOf(group)];
  const names = children.filter((name) => /^param_\d+$/.test(name));
  if (names.length < children.length) throw file.damaged(`the layer '${group}' has no attribute 'weight_names'`);
  return names.sort(byNumber);
}

/**
 * Which stored weight belongs to which weight of the model: layers by their names, or in their order where the file
 * was saved from a model that names them otherwise; in a layer by names, or in the order in which Keras saves.
 * @throws TuneModeError `invalid-model-file` naming what does not fit.
 */
export function matchLegacy(place: string, layers: LegacyLayer[], model: LayersModel): Map<ModelWeight, StoredWeight> {
  const parts = partsOf(model);
  const byName = new Map(layers.map((layer) => [layer.name, layer]));
  const wrong = new Mismatches(place);
  const matched = new Map<ModelWeight, StoredWeight>();
  const named = parts.filter(({ name }) => byName.has(name));
  // Some names in common are chance ('dense_1'): then either all are, or the order counts.
  const isByName = named.length === parts.length || parts.length !== layers.length;
  if (isByName) {
    const known = new Set(parts.map(({ name }) => name));
    for (const { name } of parts) if (!byName.has(name)) wrong.add(`layer '${name}' is missing`);
    for (const { name } of layers) if (!known.has(name)) wrong.add(`layer '${name}' is one too many`);
  }
  parts.forEach((part, i) => {
    const layer = isByName ? byName.get(part.name) : layers[i];
    if (layer) matchLayer(part, layer, matched, wrong);
  });
  wrong.refuse();
  return matched;
}

function matchLayer(part: Part, layer: LegacyLayer, matched: Map<ModelWeight, StoredWeight>, wrong: Mismatches): void {
  const { weights } = layer;
  const expected = weightsOf(part);
  const put = (found: NamedWeight[]) => {
    for (const [i, { weight }] of found.entries()) matched.set(weight, weights[i]);
  };
  const checkShapes = (found: NamedWeight[]) => {
    for (const [i, { weight }] of found.entries()) wrong.shape(part.name, weights[i], weight);
  };
  if (weights.length !== expected.length) {
    wrong.add(`layer '${part.name}' has ${weights.length} weights in the file, expected ${expected.length}`);
    return;
  }
  const byNames = arrangeByName(expected, weights);
  if (byNames) {
    checkShapes(byNames);
    put(byNames);
    return;
  }
  // Nested weights lie in an order that depends on what was trainable when they were saved.
  const orders: WeightOrder[] = ['as configured', 'all trainable', 'layer by layer'];
  const fitting = orders
    .map((order) => weightsOf(part, order))
    .filter((found) => found.every(({ weight }, i) => sameShape(weight.shape, weights[i].shape)));
  if (fitting.length === 0) {
    checkShapes(expected);
    return;
  }
  const agreeing = fitting.find((found) => found.every(({ weight }, i) => agree(weight.originalName, weights[i].name)));
  if (agreeing) put(agreeing);
  else if (fitting.every((found) => found.every(({ weight }, i) => weight === fitting[0][i].weight))) {
    if (contradict(fitting[0], weights)) {
      wrong.add(
        `layer '${part.name}' has the weights ${weights.map(({ name }) => `'${name}'`).join(', ')} in the file`,
      );
    } else put(fitting[0]);
  } else {
    wrong.add(`layer '${part.name}': neither names nor shapes tell which of its weights is which`);
  }
}

/** The model's weights in the order of the file's, where the names leave no doubt. */
function arrangeByName(expected: NamedWeight[], stored: StoredWeight[]): NamedWeight[] | undefined {
  const isSingle = expected.every(({ path }) => path.length === 1);
  const left = new Set(expected);
  const found: NamedWeight[] = [];
  for (const { name } of stored) {
    const steps = name.split('/');
    const fits = (candidate: NamedWeight) => {
      if (!agree(candidate.weight.originalName, name)) return false;
      // In a layer of a nested model, that layer's name must be among the stored name's.
      return isSingle || steps.slice(0, -1).includes(candidate.path[candidate.path.length - 1]);
    };
    const candidates = expected.filter(fits);
    const deeper = candidates.filter(({ path }) => path.slice(1, -1).every((step) => steps.includes(step)));
    const [first, ...others] = candidates.length > 1 ? deeper : candidates;
    if (first === undefined || others.length > 0 || !left.delete(first)) return undefined;
    found.push(first);
  }
  return found;
}

const SYNONYMS: Record<string, string> = {
  w: 'kernel',
  b: 'bias',
  running_mean: 'moving_mean',
  running_std: 'moving_variance',
};

function canonical(name: string): string {
  const last = lastName(name);
  const old = /_([Wb])$/.exec(last)?.[1] ?? last; // Keras 1: dense_1_W
  return SYNONYMS[old.toLowerCase()] ?? old;
}

function agree(ours: string, theirs: string): boolean {
  return canonical(ours) === canonical(theirs);
}

const KNOWN = [
  'kernel',
  'bias',
  'gamma',
  'beta',
  'moving_mean',
  'moving_variance',
  'depthwise_kernel',
  'pointwise_kernel',
];

/** Whether both sides use Keras's own names, and they say something else. */
function contradict(expected: NamedWeight[], stored: StoredWeight[]): boolean {
  return stored.some(({ name }, i) => {
    const [ours, theirs] = [canonical(expected[i].weight.originalName), canonical(name)];
    return ours !== theirs && KNOWN.includes(ours) && KNOWN.includes(theirs) && stored.length > 1;
  });
}
