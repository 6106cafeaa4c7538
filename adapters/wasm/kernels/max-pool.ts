/**
 * Max pooling, as far as the backend's own kernels (4.22.0) are wrong: MaxPool3D, MaxPoolGrad and MaxPool3DGrad take the
 * smallest positive number for the smallest of all, so a window of negative numbers has the maximum 1.2e−38 and passes no
 * gradient on. After a ReLU nobody sees it, after a leaky one training goes wrong. (MaxPool is in forward-pooling.ts.)
 *
 *   y[n, o, c] = max over the window of x;   dx[n, p, c] = Σ dy[n, o, c] over the windows o whose first maximum is p.
 *
 * NaN is no maximum, as on the cpu backend.
 */
import type { MaxPool3DAttrs, MaxPool3DGradAttrs, MaxPoolGradAttrs, Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { addressOf, kernel, unwritten, type WasmBackend, zeros } from '../heap';
import { isEmpty, type PoolInfo, poolInfo2d, poolInfo3d, windowsOf, withWindowsOf } from '../pool-geometry';
import { simd } from '../simd';

export const maxPool3d = kernel<{ x: TensorInfo }, MaxPool3DAttrs>(({ x }, backend, attrs) => {
  const g = poolInfo3d(x.shape, attrs);
  const y = unwritten(g.outShape, backend);
  if (!isEmpty(g)) simd(backend).maxPool(addressOf(backend, x), addressOf(backend, y), 0, 0, ...windowsOf(g));
  return y;
});

interface GradInputs {
  dy: TensorInfo;
  input: TensorInfo;
}

export const maxPoolGrad = kernel<GradInputs, MaxPoolGradAttrs>(({ dy, input }, backend, attrs) =>
  gradient('MaxPoolGrad', poolInfo2d(input.shape, attrs), dy, input, backend),
);

export const maxPool3dGrad = kernel<GradInputs, MaxPool3DGradAttrs>(({ dy, input }, backend, attrs) =>
  gradient('MaxPool3DGrad', poolInfo3d(input.shape, attrs), dy, input, backend),
);

function gradient(name: string, stated: PoolInfo, dy: TensorInfo, input: TensorInfo, backend: WasmBackend): Tensor {
  const g = withWindowsOf(name, stated, dy);
  const dx = zeros(input.shape);
  if (isEmpty(g)) return dx;
  const [from, by, to] = [input, dy, dx].map((tensor) => addressOf(backend, tensor));
  simd(backend).maxPool(from, 0, by, to, ...windowsOf(g));
  return dx;
}
