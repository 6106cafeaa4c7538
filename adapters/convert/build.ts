/** A model from its topology: no random start, which takes tfjs-layers a minute for a large net, and no more memory than its weights need. */
import { type DataType, engine, type io, serialization, type Tensor, util, zeros } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../src/errors';
import { buildLayersModel } from '../layers-model';
import { shown } from './failures';

type Json = Record<string, unknown>;

/** Values that the model under construction may still ask for; a topology may lie about its sizes. */
let budget = Number.POSITIVE_INFINITY;
/** One model after the other: the budget is one, and so is the list of what has been made. */
let underWay: Promise<unknown> = Promise.resolve();
/** So many values too many, 64 MiB, are allocated all the same: then the weights that are missing can be named. */
const MOST_MISSING = 2 ** 24;

/** Zeros, as long as the budget lasts. In configs it is called Zeros, so that no saved model ever names it. */
class Waiting extends serialization.Serializable {
  static className = 'TuneModeWaiting';

  constructor(private readonly config: { layer?: unknown } = {}) {
    super();
  }

  override getClassName(): string {
    return 'Zeros';
  }

  getConfig(): serialization.ConfigDict {
    return {};
  }

  apply(shape: number[], dtype?: DataType): Tensor {
    const size = util.sizeFromShape(shape);
    budget -= size;
    if (!(budget >= 0)) {
      throw new TuneModeError(
        'invalid-model-file',
        `its layer '${shown(this.config.layer)}' asks for a weight of shape [${shape.join(', ')}], more than the file has weights for`,
      );
    }
    return zeros(shape, dtype);
  }
}

/** What each layer of tfjs-layers starts from; other layers ignore what they do not know. */
const STARTS = [
  'kernel',
  'bias',
  'depthwise',
  'pointwise',
  'recurrent',
  'embeddings',
  'alpha',
  'gamma',
  'beta',
  'moving_mean',
  'moving_variance',
].map((name) => `${name}_initializer`);

/** As tfjs-layers reads them, `kernelInitializer` is one too. Others are a custom layer's own. */
const isStart = (key: string) => STARTS.includes(key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));

/**
 * Builds a model whose weights are all 0.
 * @param values how many values its weights may have together.
 * @throws TuneModeError `invalid-model-file` where it asks for more, or tfjs-layers refuses it. Nothing is left over then.
 */
export function buildEmpty(place: string, topology: object, values: number): Promise<LayersModel> {
  const building = underWay.then(() => build(place, topology, values));
  underWay = building.catch(() => undefined);
  return building;
}

async function build(place: string, topology: object, values: number): Promise<LayersModel> {
  serialization.registerClass(Waiting as unknown as Parameters<typeof serialization.registerClass>[0]);
  const before = new Set(Object.values(engine().registeredVariables));
  budget = values + MOST_MISSING;
  try {
    return await buildLayersModel(place, { modelTopology: waiting(topology) as io.ModelArtifacts['modelTopology'] });
  } catch (error) {
    for (const variable of Object.values(engine().registeredVariables)) {
      if (!before.has(variable)) variable.dispose();
    }
    throw error;
  } finally {
    budget = Number.POSITIVE_INFINITY;
  }
}

/** A copy in which every layer starts from zeros. */
function waiting(value: unknown, className?: unknown): unknown {
  if (Array.isArray(value)) return value.map((each) => waiting(each));
  if (value === null || typeof value !== 'object') return value;
  const copy: Json = {};
  for (const [key, each] of Object.entries(value)) {
    if (isStart(key)) continue;
    copy[key] = waiting(each, key === 'config' ? (value as Json).class_name : undefined);
  }
  // Containers have layers of their own.
  if (typeof className === 'string' && className !== 'InputLayer' && !('layers' in copy)) {
    for (const start of STARTS) copy[start] = { class_name: Waiting.className, config: { layer: copy.name } };
    // tfjs-layers refuses it there.
    if (className.startsWith('Separable')) delete copy.kernel_initializer;
  }
  return copy;
}

/**
 * Gives the layers of a config back the starts that they had in the topology from which its model was built.
 * @param config what tfjs-layers writes for a model that `buildEmpty` made, or for one made of it. Changed in place.
 */
export function restoreStarts(config: unknown, topology: unknown): void {
  const known = new Map<string, Json>();
  visitLayers(topology, '', (path, layer) => known.set(path, layer));
  visitLayers(config, '', (path, layer) => {
    const source = known.get(path);
    for (const [key, value] of Object.entries(source ?? {})) {
      if (/_initializer$/.test(key) && layer[key] != null) layer[key] = structuredClone(value);
    }
  });
}

/** @param slot what stands for the name of what its holder has only one of: tfjs-layers names StackedRNNCells anew. */
function visitLayers(value: unknown, path: string, visit: (path: string, config: Json) => void, slot?: string): void {
  if (Array.isArray(value)) {
    for (const each of value) visitLayers(each, path, visit);
    return;
  }
  if (value === null || typeof value !== 'object') return;
  const { config } = value as Json;
  const isLayer = 'class_name' in value && config !== null && typeof config === 'object' && !Array.isArray(config);
  if (!isLayer) {
    for (const each of Object.values(value)) visitLayers(each, path, visit);
    return;
  }
  const name = `${path}/${slot ?? String((config as Json).name ?? '')}`;
  visit(name, config as Json);
  for (const [key, each] of Object.entries(config as Json)) {
    if (/^(layers|cells)$/.test(key)) visitLayers(each, name, visit);
    else if (/^(layer|cell|forward_layer|backward_layer)$/.test(key)) visitLayers(each, name, visit, `(${key})`);
  }
}
