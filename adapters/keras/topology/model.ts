/** Functional and Sequential models, and models within them. */
import { type Call, type Caller, flattenRefs, readCall } from './calls';
import type { Findings } from './findings';
import { checkRefs, countFromOne, type Graph, type GraphLayer, settleOrder } from './graph';
import { type Entry, keepDims } from './keep-dims';
import { isModel, type MappedLayer, mapLayer, readHead, type Scope } from './layer';
import { isPlain, own, type Plain, show } from './plain';
import { LAYERS, RECURRENT } from './table';

export function mapModel(className: string, config: unknown, path: string, outer: Scope): MappedLayer {
  const { findings } = outer;
  const bare = Array.isArray(config) ? { layers: config } : config;
  if (!isPlain(bare)) throw findings.invalid(path, `its 'config' is ${show(config)}, expected an object.`);
  const layers = own(bare, 'layers');
  if (!Array.isArray(layers)) throw findings.invalid(path, `its 'layers' are ${show(layers)}, expected a list.`);
  if (layers.length === 0) throw findings.invalid(path, 'it has no layers.');
  const scope: Scope = {
    findings,
    prefix: path === '' ? '' : `${path}/`,
    depth: outer.depth + 1,
    frozen: outer.frozen || own(bare, 'trainable') === false,
  };
  const entries = layers.map((entry, index) => mapEntry(entry, index, scope));
  checkNames(entries, scope);
  const name = own(bare, 'name');
  const named: Plain = typeof name === 'string' ? { name } : {};
  const built = className === 'Sequential' ? sequential(bare, entries, scope) : functional(bare, entries, scope);
  return { class_name: className, config: { ...named, ...built } };
}

function mapEntry(entry: unknown, index: number, scope: Scope): Entry {
  const head = readHead(entry, `${scope.prefix}layers[${index}]`, scope.findings);
  const path = scope.prefix + (head.name ?? `layers[${index}]`);
  return { head, path, mapped: mapLayer(head, path, scope, mapModel) };
}

function checkNames(entries: Entry[], scope: Scope): void {
  const seen = new Set<string>();
  for (const { head, path } of entries) {
    if (head.name === undefined) continue;
    if (seen.has(head.name)) throw scope.findings.invalid(path, 'two layers have this name.');
    seen.add(head.name);
  }
}

function sequential(config: Plain, entries: Entry[], scope: Scope): Plain {
  const [first] = entries;
  const isNested = isModel(first.head);
  const own_ = first.mapped.config;
  // Without a shape tfjs-layers cannot begin; tf.keras keeps it beside the layers.
  if (!isNested && first.mapped.class_name !== 'Embedding' && !own_.batch_input_shape) {
    const build = own(first.head.entry, 'build_config');
    const shape = own(config, 'build_input_shape') ?? (isPlain(build) ? own(build, 'input_shape') : undefined);
    if (Array.isArray(shape) && shape.every((n) => n === null || (Number.isSafeInteger(n) && (n as number) >= 0))) {
      own_.batch_input_shape = shape;
    } else {
      scope.findings.unsupported(
        first.path,
        first.mapped.class_name,
        'the first layer of a Sequential without a shape',
      );
    }
  }
  const sources = entries.map((_, index) => (index === 0 ? [] : [index - 1]));
  const reshapeAfter = keepDims(entries, sources, scope.findings);
  return {
    layers: entries.flatMap(({ mapped }, index) => {
      const reshape = reshapeAfter(index);
      return reshape === undefined ? [mapped] : [mapped, reshape];
    }),
  };
}

function functional(config: Plain, entries: Entry[], scope: Scope): Plain {
  const { findings } = scope;
  let keras3 = false;
  const layers = entries.map((entry): GraphLayer => {
    const nodes = own(entry.head.entry, 'inbound_nodes') ?? [];
    if (!Array.isArray(nodes)) {
      throw findings.invalid(entry.path, `its 'inbound_nodes' are ${show(nodes)}, expected a list.`);
    }
    if (nodes.some((node) => isPlain(node) && Object.hasOwn(node, 'args'))) keras3 = true;
    return graphLayer(entry, nodes, scope);
  });
  const caller = (name: string): Caller => ({
    path: `${scope.prefix}${name}`,
    className: 'Model',
    custom: false,
    hasModes: true,
    findings,
  });
  const graph: Graph = {
    layers,
    inputs: flattenRefs(own(config, 'input_layers'), caller('input_layers')),
    outputs: flattenRefs(own(config, 'output_layers'), caller('output_layers')),
  };
  if (graph.inputs.length === 0 || graph.outputs.length === 0) {
    throw findings.invalid(scope.prefix, 'the model has no inputs or no outputs.');
  }
  countFromOne(graph, keras3);
  checkRefs(graph, findings);
  const written = insertReshapes(entries, graph, findings);
  settleOrder(graph, findings);
  return {
    layers: written.map(({ name, mapped }, index) => ({
      name,
      ...mapped,
      inbound_nodes: graph.layers[index].calls.map(writeCall),
    })),
    input_layers: graph.inputs.map(({ layer, node, tensor }) => [layer, node, tensor]),
    output_layers: graph.outputs.map(({ layer, node, tensor }) => [layer, node, tensor]),
  };
}

/** @returns the layers of the graph, which then has a Reshape behind each pooling that keeps its dimensions. */
function insertReshapes(entries: Entry[], graph: Graph, findings: Findings): { name?: string; mapped: MappedLayer }[] {
  const { layers } = graph;
  const at = new Map(layers.map((layer, index) => [layer.name, index]));
  const sources = layers.map(({ calls }) => (calls[0]?.inputs ?? []).map((ref) => at.get(ref.layer)!));
  const reshapeAfter = keepDims(entries, sources, findings);
  const renamed = new Map<string, string>();
  const written: { name?: string; mapped: MappedLayer }[] = [];
  graph.layers = [];
  entries.forEach((entry, index) => {
    const layer = layers[index];
    graph.layers.push(layer);
    written.push({ name: entry.head.name, mapped: entry.mapped });
    const reshape = reshapeAfter(index);
    if (reshape === undefined) return;
    const name = reshape.config.name as string;
    renamed.set(layer.name, name);
    const calls = layer.calls.map((_, node) => ({ inputs: [{ layer: layer.name, node, tensor: 0 }], kwargs: {} }));
    graph.layers.push({ ...layer, name, className: 'Reshape', calls });
    written.push({ name, mapped: reshape });
  });
  const refs = layers.flatMap(({ calls }) => calls.flatMap(({ inputs }) => inputs));
  for (const ref of [...refs, ...graph.outputs]) ref.layer = renamed.get(ref.layer) ?? ref.layer;
  return written;
}

const writeCall = ({ inputs, kwargs }: Call) =>
  inputs.map(({ layer, node, tensor }) => [layer, node, tensor, { ...kwargs }]);

/** Layers that compute something else in training, or hold such. */
const MODES = /"class_name":"(\w*Dropout\w*|\w*Noise|BatchNormalization|Random\w*)"|"(recurrent_)?dropout":(?!0[,}])/;

function graphLayer({ head, path, mapped }: Entry, nodes: unknown[], { findings }: Scope): GraphLayer {
  const { name } = head;
  if (name === undefined) throw findings.invalid(path, 'it has no name.');
  const inner = own(head.config as Plain, 'name');
  if (typeof inner === 'string' && inner !== name) {
    throw findings.invalid(path, `its configuration calls it '${inner}'.`);
  }
  const className = mapped.class_name;
  const nested = isModel(head);
  const custom = !nested && !LAYERS.has(className);
  const hasModes = nested || custom || MODES.test(JSON.stringify(mapped));
  const caller: Caller = { path, className, custom, hasModes, findings };
  const calls = nodes.map((node) => readCall(node, caller)).filter((call) => call !== undefined);
  return {
    name,
    path,
    className,
    isModel: nested,
    isInput: className === 'InputLayer',
    outputs: outputsOf(mapped, nested, custom),
    calls,
  };
}

function outputsOf(mapped: MappedLayer, nested: boolean, custom: boolean): number | undefined {
  if (nested) return mapped.class_name === 'Sequential' ? 1 : (mapped.config.output_layers as unknown[]).length;
  return custom || RECURRENT.has(mapped.class_name) ? undefined : 1;
}
