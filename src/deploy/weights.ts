/** The folded weights of a conv in Deploy. */
import { add, mul, sub, type Tensor } from '@tensorflow/tfjs-core';
import { weightsOf } from '../block';
import { channelScale, fold } from '../fold';
import type { BatchNormLayer, DenseLayer, Layer } from '../internals';
import { type Kind, kindOf } from '../kinds';

/**
 * The conv's weights, in the order of its `weights`: its kernels, then its bias, which every fold gives it.
 * @param before A BN whose output the conv takes, or undefined.
 * @param after A BN that takes the conv's output, or undefined.
 */
export function foldedWeights(conv: Layer, before?: BatchNormLayer, after?: BatchNormLayer): Tensor[] {
  const kind = kindOf(conv) as Kind;
  let kernels: Tensor[] = kind.stages(conv).map((stage) => stage.kernel.read());
  let bias: Tensor | null = (conv as DenseLayer).bias?.read() ?? null;
  if (before !== undefined && kind.before !== undefined) {
    const bn = weightsOf(before);
    const s = channelScale(bn);
    const t = bn.beta === null ? mul(s, mul(bn.mean, -1)) : sub(bn.beta, mul(s, bn.mean));
    const folded = kind.before.fold(kernels, s, t);
    kernels = folded.kernels;
    bias = bias === null ? folded.shift : add(bias, folded.shift);
  }
  if (after !== undefined) {
    const last = kernels[kernels.length - 1];
    const folded = fold(last, bias, weightsOf(after), kind.scaleShape(last.shape));
    kernels = [...kernels.slice(0, -1), folded.kernel];
    bias = folded.bias;
  }
  return [...kernels, bias as Tensor];
}
