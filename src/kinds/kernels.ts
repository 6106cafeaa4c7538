/**
 * Calls to the backend's own kernels, by name: below autodiff, and fused where the backend has a fused kernel.
 * `tf.fused.conv2d` and `tf.fused.matMul` cannot be used here: under a gradient tape they fall back to separate ops for
 * every activation but linear (tfjs-core 4.22.0).
 */
import {
  _FusedMatMul,
  add,
  engine,
  FusedConv2D,
  FusedDepthwiseConv2D,
  getBackend,
  getKernel,
  matMul,
  type NamedAttrMap,
  type NamedTensorMap,
  reshape,
  type Tensor,
} from '@tensorflow/tfjs-core';
import type { BlockActivation } from '../activations';

export function runKernel(name: string, inputs: NamedTensorMap, attrs: object): Tensor {
  return engine().runKernel(name, inputs, attrs as NamedAttrMap) as Tensor;
}

function has(kernel: string): boolean {
  return getKernel(kernel, getBackend()) != null;
}

/** act(z + b) by separate kernels, for where no fused one exists. */
export function biasAndActivation(z: Tensor, b: Tensor | null, activation: BlockActivation | null): Tensor {
  const biased = b === null ? z : add(z, atRankOf(z, b));
  return activation === null ? biased : activation.apply(biased);
}

/** b along z's last axis, and of z's rank: webgpu gives wrong numbers, with a warning, for rank 1 + rank 5 (tfjs 4.22.0). */
function atRankOf(z: Tensor, b: Tensor): Tensor {
  return z.rank > 4 ? reshape(b, [...Array(z.rank - 1).fill(1), -1]) : b;
}

const FUSED = { Conv2D: FusedConv2D, DepthwiseConv2dNative: FusedDepthwiseConv2D } as const;

/** The activations that every backend's fused kernels know (tfjs 4.22.0); others follow as a kernel of their own. */
const FUSABLE: ReadonlySet<BlockActivation['name']> = new Set(['relu', 'relu6', 'leakyrelu', 'elu', 'sigmoid']);

/** act(conv(x; w) + b) on [batch, height, width, channels]. */
export function fusedConv(
  kernel: keyof typeof FUSED,
  x: Tensor,
  filter: Tensor,
  bias: Tensor | null,
  activation: BlockActivation | null,
  attrs: object,
): Tensor {
  const inputs = { x, filter };
  return fuse(FUSED[kernel], inputs, attrs, bias, activation, () => runKernel(kernel, inputs, attrs));
}

/** act(x · w + b) on [rows, in] · [in, out]. */
export function fusedMatMul(x: Tensor, w: Tensor, bias: Tensor | null, activation: BlockActivation | null): Tensor {
  // The fused kernel itself knows batched matrices only.
  const inputs = { a: reshape(x, [1, ...x.shape]), b: reshape(w, [1, ...w.shape]) };
  const attrs = { transposeA: false, transposeB: false };
  const y = fuse(_FusedMatMul, inputs, attrs, bias, activation, () => matMul(inputs.a, inputs.b));
  return reshape(y, [x.shape[0], w.shape[1] as number]);
}

function fuse(
  kernel: string,
  inputs: NamedTensorMap,
  attrs: object,
  bias: Tensor | null,
  activation: BlockActivation | null,
  plain: () => Tensor,
): Tensor {
  if ((bias === null && activation === null) || !has(kernel)) return biasAndActivation(plain(), bias, activation);
  const fusable = activation !== null && FUSABLE.has(activation.name) ? activation : null;
  const y = runKernel(kernel, bias === null ? inputs : { ...inputs, bias }, {
    ...attrs,
    activation: fusable?.name ?? 'linear',
    leakyreluAlpha: fusable?.alpha,
  });
  return activation === fusable ? y : biasAndActivation(y, null, activation);
}
