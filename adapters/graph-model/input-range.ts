/** What black and white are to a net that prepares its pictures by itself. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { classOf, nodesOf } from '../../src/internals';

/** Every net of these families computes on [−1, 1] in the end. */
const INSIDE: [number, number] = [-1, 1];

/**
 * From the rescalings that stand before everything else: x ↦ scale·x + offset, so that [−1, 1] comes out.
 * @returns undefined where there are none, and the net takes what it is given.
 */
export function inputRangeOf({ inputs }: LayersModel): [black: number, white: number] | undefined {
  let [scale, offset] = [1, 0];
  let found = false;
  for (let layer = inputs[0].sourceLayer; ; ) {
    const calls = layer.outboundNodes as unknown as { outboundLayer: typeof layer }[];
    const next = calls.length === 1 ? calls[0].outboundLayer : undefined;
    if (next === undefined || classOf(next) !== 'Rescaling' || nodesOf(next).length !== 1) break;
    const { scale: by, offset: plus } = next as unknown as { scale: number; offset: number };
    [scale, offset] = [scale * by, offset * by + plus];
    found = true;
    layer = next;
  }
  if (!found || !(scale > 0)) return undefined;
  // 2 / 255 and the like are no whole numbers of the binary system: 254.99998 is meant to be 255.
  const [black, white] = INSIDE.map((value) => Math.round(((value - offset) / scale) * 1000) / 1000);
  return [black, white];
}
