/** The config of a layers model as files have it. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { classOf, isModel, type Layer } from '../../src/internals';
import { restoreStarts } from './build';

/**
 * The topology of a model that was built by `buildEmpty`, or made of one that was.
 * @param source the topology that it was built from, which has the initializers.
 */
export function topologyOf(model: LayersModel, source?: object): object {
  const config = structuredClone(model.toJSON(undefined, false)) as Record<string, unknown>;
  putMultipliers(config, model);
  if (source !== undefined) restoreStarts(config, source);
  return config;
}

/** tfjs-layers 4.22.0 leaves `depth_multiplier` out of a SeparableConv2D's config. */
function putMultipliers(config: unknown, model: LayersModel): void {
  const { layers } = (config as { config: { layers: { config: Record<string, unknown> }[] } }).config;
  model.layers.forEach((layer) => {
    const own = layers.find((each) => each.config.name === layer.name);
    if (own === undefined) return;
    if (isModel(layer)) putMultipliers(own, layer);
    const { depthMultiplier } = layer as Layer & { depthMultiplier?: number };
    if (classOf(layer) === 'SeparableConv2D' && depthMultiplier !== undefined) {
      own.config.depth_multiplier = depthMultiplier;
    }
  });
}
