/**
 * AvgPoolGrad and AvgPool3DGrad: dx[n, p, c] = Σ dy[n, o, c] / window size over the windows o that see p. Replaces the
 * backend's own kernels (4.22.0), which take thirty times as long.
 *
 * The division is by the size of the whole window, also at the borders of `same` padding, where the forward pass divides by
 * what the window sees of x: so do all of tfjs's backends, and its own tests ask for it, though it is not the gradient
 * there (0.444 instead of 0.694 at the corner of a 3 × 3 pooling).
 */
import type { AvgPool3DGradAttrs, AvgPoolGradAttrs, Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { addressOf, kernel, type WasmBackend, zeros } from '../heap';
import { isEmpty, type PoolInfo, poolInfo2d, poolInfo3d, windowsOf, withWindowsOf } from '../pool-geometry';
import { simd } from '../simd';

interface Inputs {
  dy: TensorInfo;
  input: TensorInfo;
}

export const averagePoolGradient = kernel<Inputs, AvgPoolGradAttrs>(({ dy, input }, backend, attrs) =>
  gradient('AvgPoolGrad', poolInfo2d(input.shape, attrs as never), dy, input, backend),
);

export const averagePool3dGradient = kernel<Inputs, AvgPool3DGradAttrs>(({ dy, input }, backend, attrs) =>
  gradient('AvgPool3DGrad', poolInfo3d(input.shape, attrs), dy, input, backend),
);

function gradient(name: string, stated: PoolInfo, dy: TensorInfo, input: TensorInfo, backend: WasmBackend): Tensor {
  const g = withWindowsOf(name, stated, dy);
  const dx = zeros(input.shape);
  if (!isEmpty(g)) simd(backend).averagePoolGradient(addressOf(backend, dy), addressOf(backend, dx), ...windowsOf(g));
  return dx;
}
