/** How large a model's layers get when it runs: their arguments may ask for gigabytes of which no file tells. */
import { util } from '@tensorflow/tfjs-core';
import type { LayersModel, Shape, SymbolicTensor } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../src/errors';
import { type GraphNode, isModel } from '../../src/internals';
import { shown } from './failures';

/** Values of one tensor: 512 MiB. The nets for pictures have 1e5 to 1e7. */
export const MOST_VALUES = 2 ** 27;
/** Of all tensors together: far more than a net needs, and what keeps a machine busy for minutes. */
const MOST_IN_ALL = 2 ** 32;

/**
 * @param inputs shapes as they are about to be run, the batch first.
 * @throws TuneModeError `invalid-model-file` naming the layer whose output is larger than any that is believed.
 */
export function checkActivations(model: LayersModel, inputs: readonly Shape[]): void {
  walk(model, inputs, { left: MOST_IN_ALL });
}

function walk(model: LayersModel, inputs: readonly Shape[], budget: { left: number }): Shape[] {
  const known = new Map<SymbolicTensor, Shape>(model.inputs.map((tensor, index) => [tensor, inputs[index]]));
  const { nodesByDepth } = model as unknown as { nodesByDepth: Record<string, GraphNode[]> };
  const depths = Object.keys(nodesByDepth).sort((a, b) => Number(b) - Number(a));
  for (const node of depths.flatMap((depth) => nodesByDepth[depth])) {
    const { outboundLayer: layer, inputTensors, outputTensors } = node;
    if (outputTensors.every((tensor) => known.has(tensor))) continue;
    const given = inputTensors.map((tensor) => known.get(tensor) ?? tensor.shape);
    const one = given.length === 1 ? given[0] : given;
    const shapes = isModel(layer) ? walk(layer, given, budget) : listOf(layer.computeOutputShape(one));
    outputTensors.forEach((tensor, index) => {
      const shape = shapes[index] ?? tensor.shape;
      const size = util.sizeFromShape(shape.map((each) => each ?? 1));
      budget.left -= size;
      if (!(size <= MOST_VALUES && budget.left >= 0)) throw tooLarge(layer.name, shape);
      known.set(tensor, shape);
    });
  }
  return model.outputs.map((tensor) => known.get(tensor) ?? tensor.shape);
}

function listOf(shapes: Shape | Shape[]): Shape[] {
  return Array.isArray(shapes[0]) ? (shapes as Shape[]) : [shapes as Shape];
}

function tooLarge(layer: string, shape: Shape): TuneModeError {
  return new TuneModeError(
    'invalid-model-file',
    `the layer '${shown(layer)}' gives [${shape.join(', ')}], which is too large to be tried; ` +
      "if that is meant, leave the comparison out ('verify', --no-verify)",
  );
}
