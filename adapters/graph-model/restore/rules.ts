/**
 * How large s is taken in each channel of a folded convolution: one line a rule.
 *
 * Every s > 0 gives the same outputs (algebra.ts). What s decides is how far training goes: as ∂L/∂w = s · ∂L/∂w′, a step
 * of SGD with rate η moves the folded kernel by η·s²·∂L/∂w′ where the folded model's own step would be η·∂L/∂w′; a step
 * of Adam, which is about η in each weight, moves it by η·s. Relative to the kernel that is η / (RMS of w_c).
 *
 * Within a layer all the rules by norms are alike, and near the truth: in pretrained nets ‖w_c‖ hardly differs from
 * channel to channel, so that log s and log ‖w′_c‖ go together (correlation 0.88 in the median layer of MobileNet v1, 0.90
 * of V2; with `unitVariance` 0.63). What differs is the level. The default takes twice the usual norm, since a step that
 * is too large ends a training, and one that is too small only makes it slower. MobileNet v1 0.25 on ants and bees, three
 * epochs of SGD with momentum and rate 3e-4, mean of three seeds (`npm run bench:restore`, docs/restore.svg): doubleNorm
 * 79 %, usualNorm 72, unit 62, unitVariance 58, none 64; with its true BNs 74, folded 64. MobileNetV2 0.35, not looked at
 * for the choice, with rate 1e-3: doubleNorm 76 %, true and folded at chance.
 */
import { median } from './algebra';

/** What is known of a folded convolution. */
export interface FoldedConv {
  /** Keras class name. */
  kind: string;
  /** Of the kernel that takes the fold. */
  kernelShape: readonly number[];
  /** ‖w′_c‖ of each channel. */
  norms: Float64Array;
  /** Standard deviation of each channel's output. */
  deviations: Float64Array;
}

type Rule = (conv: FoldedConv) => Float64Array;

export const RULES = {
  /** s = 1: w is w′; nothing but the parametrisation changes. */
  none: ({ norms }) => norms.map(() => 1),
  /** s = std(y): σ² = 1. */
  unitVariance: ({ deviations }) => deviations,
  /** s = ‖w′_c‖: ‖w_c‖ = 1. */
  unit: ({ norms }) => norms,
  /** ‖w_c‖ as in pretrained nets. */
  usualNorm: (conv) => withNorm(conv, usualNorm(conv)),
  /** ‖w_c‖ twice as large as in pretrained nets. */
  doubleNorm: (conv) => withNorm(conv, 2 * usualNorm(conv)),
} satisfies Record<string, Rule>;

export type ScaleRule = keyof typeof RULES;
export const SCALE_RULES = Object.keys(RULES) as ScaleRule[];
export const DEFAULT_RULE: ScaleRule = 'doubleNorm';

/**
 * ‖w_c‖ in a pretrained net. It keeps the pattern of Glorot's initialisation, √(2·in / (in + out)) for a convolution and
 * √(2 / (in + multiplier)) for a depthwise one, with a factor. The factors are fitted to MobileNet v1 0.25, where the s that
 * this gives is 0.98 of the true one in convolutions and 1.18 in depthwise ones (medians over layers, `npm run bench:restore`);
 * MobileNetV2 0.35, not looked at for that, has 0.57 and 0.93. A net that kept another initialisation has other norms: a
 * MobileNet that began with weights uniform in [−1, 1] has 3.9 and 0.47.
 */
function usualNorm({ kind, kernelShape }: FoldedConv): number {
  const [a, b] = kernelShape.slice(-2);
  if (kind === 'DepthwiseConv2D') return 28 * Math.sqrt(2 / (a + b));
  const inputs = kind === 'Conv2DTranspose' ? b : a;
  return 1.4 * Math.sqrt((2 * inputs) / (a + b));
}

/** s = ‖w′_c‖ / k, so that ‖w_c‖ = k. */
function withNorm({ norms }: FoldedConv, k: number): Float64Array {
  return norms.map((norm) => norm / k);
}

/** Below this share of the layer's median a channel's kernel, or the deviation of its output, counts as zero. */
const DEAD = 1e-3;

/**
 * s of every channel: finite and positive. Dead channels, whose kernel or whose output's deviation is (nearly) zero, say
 * nothing about s: they get the median of the others.
 */
export function channelScales(rule: ScaleRule, conv: FoldedConv): { s: Float64Array; dead: number } {
  const changing = isLive(conv.deviations);
  const live = isLive(conv.norms).map((alive, c) => alive && changing[c]);
  const s = RULES[rule](conv);
  const usual = median(s.filter((_, c) => live[c]));
  const spare = usual > 0 ? usual : 1;
  return { s: s.map((value, c) => (live[c] ? value : spare)), dead: live.filter((alive) => !alive).length };
}

function isLive(values: Float64Array): boolean[] {
  const least = DEAD * median(values.filter((value) => value > 0));
  return Array.from(values, (value) => value > 0 && value >= least);
}
