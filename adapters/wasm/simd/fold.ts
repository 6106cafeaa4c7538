/**
 * A BatchNorm folded into the kernel and bias before it, and the way back of the gradients (formulas: src/fold.ts). The
 * kernel is seen as [outer, channels, inner]: s belongs to the middle axis.
 */

/** s = γ / sqrt(σ² + ε); w′ = s·w; b′ = s·(b − μ) + β. `bias`, `gamma` and `beta` may be 0: absent. */
export function foldBatchNorm(
  kernel: usize,
  bias: usize,
  gamma: usize,
  beta: usize,
  mean: usize,
  variance: usize,
  epsilon: f32,
  foldedKernel: usize,
  foldedBias: usize,
  scale: usize,
  outer: usize,
  channels: usize,
  inner: usize,
): void {
  for (let k: usize = 0; k < channels << 2; k += 4) {
    const inverse: f32 = 1 / sqrt<f32>(load<f32>(variance + k) + epsilon);
    const s = gamma == 0 ? inverse : load<f32>(gamma + k) * inverse;
    const shift: f32 = s * ((bias == 0 ? 0 : load<f32>(bias + k)) - load<f32>(mean + k));
    store<f32>(scale + k, s);
    store<f32>(foldedBias + k, beta == 0 ? shift : shift + load<f32>(beta + k));
  }
  let at: usize = 0;
  if (inner == 1) {
    const row = channels << 2;
    for (let o: usize = 0; o < outer; o++) {
      let k: usize = 0;
      for (; k + 16 <= row; k += 16, at += 16) {
        v128.store(foldedKernel + at, f32x4.mul(v128.load(kernel + at), v128.load(scale + k)));
      }
      for (; k < row; k += 4, at += 4) store<f32>(foldedKernel + at, load<f32>(kernel + at) * load<f32>(scale + k));
    }
    return;
  }
  for (let o: usize = 0; o < outer; o++) {
    for (let k: usize = 0; k < channels; k++) {
      const s = load<f32>(scale + (k << 2));
      for (let i: usize = 0; i < inner; i++, at += 4) store<f32>(foldedKernel + at, load<f32>(kernel + at) * s);
    }
  }
}

/**
 * From dw′ and db′: dw = s·dw′, db = s·db′, dγ = (Σ dw′·w + db′·(b − μ)) / sqrt(σ² + ε). `bias` may be 0: absent.
 * @param totals Doubles [channels] that are 0: scratch.
 */
export function foldBatchNormGradient(
  dFoldedKernel: usize,
  dFoldedBias: usize,
  kernel: usize,
  bias: usize,
  mean: usize,
  variance: usize,
  epsilon: f32,
  scale: usize,
  dKernel: usize,
  dBias: usize,
  dGamma: usize,
  totals: usize,
  outer: usize,
  channels: usize,
  inner: usize,
): void {
  let at: usize = 0;
  for (let o: usize = 0; o < outer; o++) {
    for (let k: usize = 0; k < channels; k++) {
      const s = load<f32>(scale + (k << 2));
      let sum: f64 = 0;
      for (let i: usize = 0; i < inner; i++, at += 4) {
        const d = load<f32>(dFoldedKernel + at);
        sum += <f64>d * load<f32>(kernel + at);
        store<f32>(dKernel + at, d * s);
      }
      store<f64>(totals + (k << 3), load<f64>(totals + (k << 3)) + sum);
    }
  }
  for (let k: usize = 0; k < channels; k++) {
    const c = k << 2;
    const d = load<f32>(dFoldedBias + c);
    store<f32>(dBias + c, d * load<f32>(scale + c));
    const b: f32 = bias == 0 ? 0 : load<f32>(bias + c);
    const dScale = load<f64>(totals + (k << 3)) + <f64>d * (b - load<f32>(mean + c));
    store<f32>(dGamma + c, <f32>(dScale / sqrt<f64>(load<f32>(variance + c) + epsilon)));
  }
}
