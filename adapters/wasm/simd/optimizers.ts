/** One update of an optimizer over `count` numbers, operation by operation as tfjs's optimizers have it (4.22.0). */

/**
 * m′ = β₁·m + (1 − β₁)·g;  v′ = β₂·v + (1 − β₂)·g²;  value′ = (m′/c₁) / (sqrt(v′/c₂) + ε) · (−rate) + value.
 * @param corrections1,corrections2 Addresses of c₁ = 1 − β₁ᵗ and c₂ = 1 − β₂ᵗ.
 */
export function adam(
  value: usize,
  m: usize,
  v: usize,
  gradient: usize,
  newValue: usize,
  newM: usize,
  newV: usize,
  count: usize,
  corrections1: usize,
  corrections2: usize,
  beta1: f32,
  rest1: f32,
  beta2: f32,
  rest2: f32,
  epsilon: f32,
  negativeRate: f32,
): void {
  const c1 = load<f32>(corrections1);
  const c2 = load<f32>(corrections2);
  const bytes = count << 2;
  let at: usize = 0;
  for (; at + 16 <= bytes; at += 16) {
    const g = v128.load(gradient + at);
    const m1 = f32x4.add(f32x4.mul(v128.load(m + at), f32x4.splat(beta1)), f32x4.mul(g, f32x4.splat(rest1)));
    const v1 = f32x4.add(
      f32x4.mul(v128.load(v + at), f32x4.splat(beta2)),
      f32x4.mul(f32x4.mul(g, g), f32x4.splat(rest2)),
    );
    v128.store(newM + at, m1);
    v128.store(newV + at, v1);
    const deviation = f32x4.add(f32x4.sqrt(f32x4.div(v1, f32x4.splat(c2))), f32x4.splat(epsilon));
    const step = f32x4.mul(f32x4.div(f32x4.div(m1, f32x4.splat(c1)), deviation), f32x4.splat(negativeRate));
    v128.store(newValue + at, f32x4.add(step, v128.load(value + at)));
  }
  for (; at < bytes; at += 4) {
    const g = load<f32>(gradient + at);
    const m1 = load<f32>(m + at) * beta1 + g * rest1;
    const v1 = load<f32>(v + at) * beta2 + g * g * rest2;
    store<f32>(newM + at, m1);
    store<f32>(newV + at, v1);
    const deviation = sqrt<f32>(v1 / c2) + epsilon;
    store<f32>(newValue + at, (m1 / c1 / deviation) * negativeRate + load<f32>(value + at));
  }
}

/** a′ = μ·a + g;  value′ = (−rate)·(g + a′·μ) + value with Nesterov's momentum, (−rate)·a′ + value without. */
export function momentum(
  value: usize,
  accumulation: usize,
  gradient: usize,
  newValue: usize,
  newAccumulation: usize,
  count: usize,
  mu: f32,
  negativeRate: f32,
  nesterov: bool,
): void {
  const bytes = count << 2;
  let at: usize = 0;
  for (; at + 16 <= bytes; at += 16) {
    const g = v128.load(gradient + at);
    const a = f32x4.add(f32x4.mul(f32x4.splat(mu), v128.load(accumulation + at)), g);
    v128.store(newAccumulation + at, a);
    const direction = nesterov ? f32x4.add(g, f32x4.mul(a, f32x4.splat(mu))) : a;
    v128.store(newValue + at, f32x4.add(f32x4.mul(f32x4.splat(negativeRate), direction), v128.load(value + at)));
  }
  for (; at < bytes; at += 4) {
    const g = load<f32>(gradient + at);
    const a = mu * load<f32>(accumulation + at) + g;
    store<f32>(newAccumulation + at, a);
    const direction = nesterov ? g + a * mu : a;
    store<f32>(newValue + at, negativeRate * direction + load<f32>(value + at));
  }
}
