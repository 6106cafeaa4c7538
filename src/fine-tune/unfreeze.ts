/** Which layers train. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../errors';
import { isModel, type Layer, unwrapTimeDistributed } from '../internals';
import type { TuneReport } from '../report';
import { collectUses } from '../walker/uses';

/**
 * Lets only the last layers train, and the rest stay as it is.
 * @param from a layer's path or name: it and all that comes after it; or a number of ConvBN blocks, counted from the
 *   output: they and all that comes after them; 0 leaves only what comes after the last block's BatchNorm.
 * @returns the undoing: every layer's `trainable` as it was. Call `compile` after this, and after undoing.
 * @throws TuneModeError `invalid-option` for a name that no layer has, or more blocks than there are.
 */
export function unfreeze(model: LayersModel, from: string | number, { pairs }: TuneReport): () => void {
  const { nodes, pathOf } = collectUses(model);
  const order: Layer[] = [];
  for (const { outboundLayer } of nodes) if (!order.includes(outboundLayer)) order.push(outboundLayer);
  const indexOf = (name: string) => order.findIndex((layer) => pathOf(layer) === name || layer.name === name);

  const first = typeof from === 'string' ? indexOf(from) : firstOfBlocks(from);
  if (first < 0) {
    throw new TuneModeError(
      'invalid-option',
      `unfreeze: the model '${model.name}' has no layer '${from}'. Its last ones: ` +
        `${order
          .slice(-8)
          .map((layer) => `'${pathOf(layer)}'`)
          .join(', ')}.`,
    );
  }
  // A nested model is no layer of its own here: frozen, it would freeze what comes after the cut, too.
  const frozen = order
    .slice(0, first)
    .filter((layer) => !isModel(unwrapTimeDistributed(layer).layer) && layer.weights.length > 0);
  // A layer's `trainable` overwrites those of its weights (tfjs-layers 4.22.0).
  const before = frozen.map(({ trainable, weights }) => ({
    trainable,
    weights: weights.map((weight) => ({ weight, trainable: weight.trainable })),
  }));
  for (const layer of frozen) layer.trainable = false;
  return () => {
    frozen.forEach((layer, index) => {
      layer.trainable = before[index].trainable;
      for (const { weight, trainable } of before[index].weights) weight.trainable = trainable;
    });
  };

  function firstOfBlocks(count: number): number {
    if (count > pairs.length) {
      throw new TuneModeError(
        'invalid-option',
        `unfreeze: the model has ${pairs.length} ConvBN blocks, fewer than ${count}.`,
      );
    }
    const byPlace = pairs.map(({ conv, bn }) => ({ conv: indexOf(conv), bn: indexOf(bn) })).sort((a, b) => a.bn - b.bn);
    if (count === 0) return (byPlace.at(-1)?.bn ?? -1) + 1;
    return byPlace[byPlace.length - count].conv;
  }
}
