/** The layout of `model.weights.h5` in a `.keras` file, and of `.weights.h5` files: groups as the model is nested. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import type { H5File } from './h5-file';
import { Mismatches } from './mismatches';
import { type ModelWeight, type Part, partsOf, snakeCase } from './model-parts';
import { type StoredWeight, storedWeight } from './stored-weight';

/** A group that holds weights, or groups that do. */
export interface V3Node {
  path: string;
  /** The layer's name, which Keras writes since 3.8. */
  name: string | undefined;
  weights: StoredWeight[];
  /** What Keras calls by an attribute: `cell`, `forward_layer` … */
  slots: Map<string, V3Node>;
  /** What Keras counts in a list: the layers of a model, the cells of a stack. */
  items: Map<string, V3Node>;
}

/** Lists that Keras walks through, by the names of their attributes; Keras 2.12 to 2.15 call the first one theirs. */
const LISTS = ['_layer_checkpoint_dependencies', 'layers', 'cells', '_layers', '_self_tracked_trackables'];
/** What an optimizer, metrics and random numbers leave behind, beside copies that Keras does not read either. */
const IGNORED = ['optimizer', 'metrics', 'compile_metrics', '_compile_metrics', 'seed_generator', 'random_generator'];
const DEEPEST = 40;
const MOST_GROUPS = 20_000;

/** Whether the file's own group looks like this layout. */
export function isV3(file: H5File): boolean {
  return LISTS.slice(0, 2).some((name) => file.find(name)?.kind === 'group');
}

export function readV3(file: H5File): V3Node {
  return readNode(file, '', { left: MOST_GROUPS }, 0);
}

function readNode(file: H5File, path: string, budget: { left: number }, depth: number): V3Node {
  if (budget.left-- <= 0) throw file.damaged(`it has more than ${MOST_GROUPS} groups`);
  if (depth > DEEPEST) throw file.damaged(`its groups are nested deeper than ${DEEPEST} levels`);
  const node: V3Node = { path, name: undefined, weights: [], slots: new Map(), items: new Map() };
  for (const child of file.childrenOf(path)) {
    const at = path === '' ? child : `${path}/${child}`;
    if (IGNORED.includes(child) || file.find(at)?.kind !== 'group') continue;
    if (child === 'vars') {
      node.weights = readVars(file, at);
      node.name = file.texts(at, 'name')?.[0];
    } else if (LISTS.includes(child)) {
      for (const item of file.childrenOf(at)) {
        if (file.find(`${at}/${item}`)?.kind !== 'group') continue;
        const held = readNode(file, `${at}/${item}`, budget, depth + 1);
        if (holds(held)) node.items.set(item, node.items.get(item) ?? held);
      }
    } else {
      const held = readNode(file, at, budget, depth + 1);
      if (holds(held)) node.slots.set(child, held);
    }
  }
  return node;
}

function holds(node: V3Node): boolean {
  return node.weights.length > 0 || node.slots.size > 0 || node.items.size > 0;
}

function readVars(file: H5File, path: string): StoredWeight[] {
  const names = [...file.childrenOf(path)];
  names.sort((a, b) => Number(a) - Number(b));
  names.forEach((name, i) => {
    if (name !== String(i)) throw file.damaged(`expected the weight '${path}/${i}', found '${path}/${name}'`);
  });
  return names.map((name) => storedWeight(file, `${path}/${name}`, `${path}/${name}`));
}

/**
 * @param config the file's own description of the model, if it has one: by its classes and its order the groups were named.
 * @throws TuneModeError `invalid-model-file` naming what does not fit.
 */
export function matchV3(
  place: string,
  root: V3Node,
  model: LayersModel,
  config?: unknown,
): Map<ModelWeight, StoredWeight> {
  const into: Into = { wrong: new Mismatches(place), matched: new Map(), described: new Map() };
  describe(config, '', into.described);
  matchItems(partsOf(model), [...root.items], '', into);
  into.wrong.refuse();
  return into.matched;
}

interface Into {
  matched: Map<ModelWeight, StoredWeight>;
  wrong: Mismatches;
  /** What the file's configuration says of a layer, by the names that lead to it. */
  described: Map<string, { snakeName: string; position: number }>;
}

function describe(model: unknown, outer: string, described: Into['described']): void {
  const layers = (model as { config?: { layers?: unknown } } | undefined)?.config?.layers;
  if (!Array.isArray(layers)) return;
  for (const [position, layer] of layers.entries()) {
    const name = layer?.config?.name ?? layer?.name;
    if (typeof name !== 'string' || typeof layer.class_name !== 'string') continue;
    const className = layer.class_name.slice(layer.class_name.lastIndexOf('>') + 1); // 'package>Class'
    const snakeName = className === 'Model' ? 'functional' : snakeCase(className);
    described.set(`${outer}${name}`, { snakeName, position });
    describe(layer, `${outer}${name}/`, described);
  }
}

function matchItems(modelParts: Part[], items: [string, V3Node][], outer: string, into: Into): void {
  const saidOf = (part: Part) => into.described.get(`${outer}${part.name}`);
  const parts = modelParts.map((part) => ({ ...part, snakeName: saidOf(part)?.snakeName ?? part.snakeName }));
  if (parts.every(saidOf)) parts.sort((a, b) => saidOf(a)!.position - saidOf(b)!.position);
  const found = pair(parts, items, into.described);
  const used = new Set(found.values());
  for (const part of parts) {
    const node = found.get(part);
    if (node) matchPart(part, node, outer, into);
    else into.wrong.add(`layer '${outer}${part.name}' is missing`);
  }
  for (const [, node] of items) if (!used.has(node)) into.wrong.add(`'${node.path}' is one too many`);
}

/**
 * Which group is which layer's. Keras names groups by class and counts them (`conv2d`, `conv2d_1` …), so that files fit
 * models whose layers are named otherwise. Some count what has no weights too, so it is the order that tells, not the
 * number. Names count where the file has them all, as Keras writes them since 3.8, or where the groups are no classes.
 */
function pair(parts: Part[], items: [string, V3Node][], described: Into['described']): Map<Part, V3Node> {
  const names = new Map(items.flatMap(([, node]) => (node.name === undefined ? [] : [[node.name, node] as const])));
  const nameOf = (part: Part) => names.get(part.name) ?? modelByItem(part, items, names);
  if (names.size > 0 && parts.every((part) => nameOf(part) !== undefined)) {
    return new Map(parts.map((part) => [part, nameOf(part)!]));
  }
  const byClass = pairByClass(parts, items);
  const byKey = new Map(items);
  const areKeys = parts.every(({ name }) => byKey.has(name)) && parts.length === items.length;
  if (areKeys && !(byClass.size === parts.length && parts.every((part) => fits(part, byClass.get(part)!, described)))) {
    return new Map(parts.map((part) => [part, byKey.get(part.name)!]));
  }
  return byClass;
}

/** A nested model has no weights of its own, and in some versions no name: the one group of its class that is left. */
function modelByItem(part: Part, items: [string, V3Node][], names: Map<string, V3Node>): V3Node | undefined {
  if (part.trainableWeights.length + part.fixedWeights.length > 0) return undefined;
  const nameless = items.filter(([, node]) => node.name === undefined);
  const twins = [...pairByClass([part], nameless).values()];
  return nameless.filter(([key]) => baseOf(key) === part.snakeName).length === 1 && !names.has(part.name)
    ? twins[0]
    : undefined;
}

function pairByClass(parts: Part[], items: [string, V3Node][]): Map<Part, V3Node> {
  const found = new Map<Part, V3Node>();
  for (const snakeName of new Set(parts.map((part) => part.snakeName))) {
    const groups = items.filter(([key]) => key === snakeName || (baseOf(key) === snakeName && countOf(key) > 0));
    groups.sort(([a], [b]) => (a === snakeName ? 0 : countOf(a)) - (b === snakeName ? 0 : countOf(b)));
    parts
      .filter((part) => part.snakeName === snakeName)
      .forEach((part, i) => {
        if (i < groups.length) found.set(part, groups[i][1]);
      });
  }
  return found;
}

function baseOf(key: string): string {
  return key.replace(/_\d+$/, '');
}

function countOf(key: string): number {
  return Number(/_(\d+)$/.exec(key)?.[1] ?? 0);
}

function fits(part: Part, node: V3Node, described: Into['described']): boolean {
  const trial: Into = { matched: new Map(), wrong: new Mismatches(''), described };
  matchPart(part, node, '', trial);
  return trial.wrong.isEmpty;
}

function matchPart(part: Part, node: V3Node, outer: string, into: Into): void {
  const { matched, wrong } = into;
  const name = `${outer}${part.name}`;
  const own = [...part.trainableWeights, ...part.fixedWeights];
  if (own.length !== node.weights.length) {
    wrong.add(`layer '${name}' has ${node.weights.length} weights at '${node.path}', expected ${own.length}`);
    return;
  }
  own.forEach((weight, i) => {
    wrong.shape(name, node.weights[i], weight);
    matched.set(weight, node.weights[i]);
  });
  const listed = part.parts.filter(({ slot }) => slot === undefined);
  if (listed.length > 0) matchItems(listed, [...node.items], `${name}/`, into);
  for (const held of part.parts) {
    if (held.slot === undefined) continue;
    const inner = node.slots.get(held.slot);
    if (inner) matchPart(held, inner, `${name}/`, into);
    else wrong.add(`layer '${name}' has nothing at '${node.path}/${held.slot}'`);
  }
}
