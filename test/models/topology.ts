/**
 * ConvBN pairs counted in a `model.json` as it lies on disk: an opinion of its own, on names in JSON, without tfjs.
 *
 * A BN counts if the layer before it is a conv of a known class without activation, whose output nothing else takes and
 * which ends no model. Layers shared by several places do not occur in these files.
 */
type Reference = [layer: string, ...unknown[]];
interface LayerConfig {
  class_name: string;
  name?: string;
  config: { name: string; activation?: string; layers?: LayerConfig[]; output_layers?: Reference[] };
  inbound_nodes?: Reference[][];
}

const CONVS = /^(Conv[123]D|Conv[23]DTranspose|DepthwiseConv2D|SeparableConv2D|Dense)$/;

export interface Counts {
  batchNorms: number;
  /** Paired BNs by the class of their conv. */
  pairs: Record<string, number>;
}

export function countPairs(topology: object): Counts {
  const root = (topology as { model_config?: LayerConfig }).model_config ?? (topology as LayerConfig);
  const counts: Counts = { batchNorms: 0, pairs: {} };
  visit(root, counts);
  return counts;
}

/** Old files give a Sequential's layers as its config. */
function layersOf({ config }: LayerConfig): LayerConfig[] | undefined {
  return Array.isArray(config) ? config : config.layers;
}

function visit(model: LayerConfig, counts: Counts): void {
  const layers = layersOf(model) as LayerConfig[];
  const nameOf = (layer: LayerConfig) => layer.name ?? layer.config.name;
  const byName = new Map(layers.map((layer) => [nameOf(layer), layer]));
  const sequential = model.class_name === 'Sequential';
  const inputsOf = (layer: LayerConfig, i: number) =>
    sequential ? (i === 0 ? [] : [nameOf(layers[i - 1])]) : (layer.inbound_nodes ?? []).flat().map(([name]) => name);
  const consumers = new Map<string, number>();
  const consume = (name: string) => consumers.set(name, (consumers.get(name) ?? 0) + 1);
  layers.forEach((layer, i) => {
    inputsOf(layer, i).forEach(consume);
  });
  if (sequential) consume(nameOf(layers[layers.length - 1]));
  for (const [name] of model.config.output_layers ?? []) consume(name);

  layers.forEach((layer, i) => {
    if (layersOf(layer) !== undefined) visit(layer, counts);
    if (layer.class_name !== 'BatchNormalization') return;
    counts.batchNorms++;
    const before = byName.get(inputsOf(layer, i)[0]);
    if (before === undefined || !CONVS.test(before.class_name) || consumers.get(nameOf(before)) !== 1) return;
    const { activation = 'linear' } = before.config;
    if (activation !== 'linear') return;
    counts.pairs[before.class_name] = (counts.pairs[before.class_name] ?? 0) + 1;
  });
}
