/** The physical limits that a training step is held against: bytes that must be kept, products that must be made. */
import { matMul, randomNormal, type Tensor2D, tidy } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { unwrapTimeDistributed } from '../src/internals';
import { kindOf } from '../src/kinds';
import { collectUses } from '../src/walker/uses';

export interface Floor {
  /** Bytes of all conv inputs for a batch, plus weights and their gradients. */
  bytes: number;
  /** Floating-point operations of one step: forward, kernel gradients, and input gradients but the first. */
  flop: number;
}

const product = (shape: (number | null)[]) => shape.reduce<number>((a, b) => a * (b ?? 1), 1);

export function floorOf(model: LayersModel, batch: number): Floor {
  const uses = collectUses(model);
  let inputs = 0;
  let flop = 0;
  let first = true;
  for (const node of uses.nodes) {
    const { layer } = unwrapTimeDistributed(node.outboundLayer);
    const kind = kindOf(layer);
    if (kind === undefined) continue;
    inputs += batch * product(node.inputTensors[0].shape.slice(1)) * 4;
    const outputs = batch * product(node.outputTensors[0].shape.slice(1));
    const stages = kind.stages(layer);
    const filters = kindOutputs(kind.className, stages[stages.length - 1].kernel.read().shape);
    stages.forEach(({ kernel }, i) => {
      const shape: number[] = kernel.read().shape;
      // A separable conv's depthwise stage has in · multiplier channels, not the layer's own.
      const depthwise = kind.className === 'SeparableConv2D' && i === 0;
      const here = depthwise ? (outputs / filters) * shape[2] * shape[3] : outputs;
      const perOutput = product(shape) / (depthwise ? shape[2] * shape[3] : filters);
      flop += 2 * here * perOutput * (first ? 2 : 3);
      first = false;
    });
  }
  const weights = model.countParams() * 4;
  return { bytes: inputs + 2 * weights, flop };
}

/** Output channels of a kernel, by its layout. */
function kindOutputs(className: string, shape: number[]): number {
  if (className === 'DepthwiseConv2D') return shape[2] * shape[3];
  return shape[shape.length - (className.endsWith('Transpose') ? 2 : 1)];
}

/** The best FLOP/s of matMul in this process, over a few shapes of pointwise convolutions. */
export async function matMulRate(): Promise<number> {
  let best = 0;
  for (const [rows, inner, columns] of [
    [1024, 1024, 1024],
    [12544, 64, 128],
  ]) {
    const a = randomNormal([rows, inner]) as Tensor2D;
    const b = randomNormal([inner, columns]) as Tensor2D;
    for (let i = 0; i < 5; i++) {
      const start = performance.now();
      const c = tidy(() => matMul(a, b));
      await c.data();
      best = Math.max(best, (2 * rows * inner * columns) / ((performance.now() - start) / 1000));
      c.dispose();
    }
    a.dispose();
    b.dispose();
  }
  return best;
}
