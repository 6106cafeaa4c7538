/**
 * Einsum, which the wasm backend lacks (4.22.0) and `tf.image.rgbToGrayscale` asks for: every factor is laid out over all
 * the labels of the equation, the output's first; their product is summed over the labels that the output has not.
 */
import {
  backend_util,
  type EinsumAttrs,
  Identity,
  Multiply,
  Reshape,
  Sum,
  type Tensor,
  type TensorInfo,
  Transpose,
} from '@tensorflow/tfjs-core';
import { kernel, runKernel } from '../heap';

export const einsum = kernel<TensorInfo[], EinsumAttrs>((inputs, _backend, { equation }) => {
  const factors = Object.values(inputs);
  const { allDims, summedDims, idDims } = backend_util.decodeEinsumEquation(equation, factors.length);
  backend_util.checkEinsumDimSizes(allDims.length, idDims, factors as Tensor[]);
  const product = factors
    .map((factor, k) => laidOut(factor, allDims.length, idDims[k]))
    .reduce((a, b) => runKernel(Multiply, { a, b }, {}));
  if (summedDims.length > 0) return runKernel(Sum, { x: product }, { axis: summedDims, keepDims: false });
  // Never an input itself: the engine would dispose it with the output.
  return runKernel(Identity, { x: product }, {});
});

/** One axis for each label, in their order; of length 1 where the factor has not that label. */
function laidOut(factor: TensorInfo, labels: number, dims: number[]): TensorInfo {
  const { permutationIndices: perm, expandDims } = backend_util.getEinsumPermutation(labels, dims);
  const x = backend_util.isIdentityPermutation(perm) ? factor : runKernel(Transpose, { x: factor }, { perm });
  const shape = x.shape.slice();
  for (const axis of expandDims) shape.splice(axis, 0, 1);
  return runKernel(Reshape, { x }, { shape });
}
