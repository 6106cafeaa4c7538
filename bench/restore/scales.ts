/** How near the s that a rule gives is to the true one, layer by layer, for a net whose true BNs are known. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { channelNorms, effectiveScale, layoutOf, median } from '../../adapters/graph-model/restore/algebra';
import type { CalibrationData } from '../../adapters/graph-model/restore/calibration';
import { restoreLayers } from '../../adapters/graph-model/restore/restore-layers';
import type { ScaleRule } from '../../adapters/graph-model/restore/rules';
import { toDeploy } from '../../src';
import type { BatchNormLayer, Layer } from '../../src/internals';
import { type Kind, kindOf } from '../../src/kinds';
import { analyse } from '../../src/walker/find';

export interface LayerScales {
  conv: string;
  kind: string;
  /** Medians over channels of the true ‖w_c‖, the true |s|, and the rule's s. */
  norm: number;
  trueScale: number;
  scale: number;
  /** Correlations over channels of log s and of s; null where one of them is constant. */
  ofLogs: number | null;
  ofScales: number | null;
}

/** @param model In any mode; only read. */
export async function compareScales(
  model: LayersModel,
  pictures: CalibrationData | undefined,
  rule: ScaleRule,
): Promise<LayerScales[]> {
  const deployed = toDeploy(model);
  const { model: result, report } = await restoreLayers(deployed, pictures, { rule });
  const restored = new Map(analyse(result).pairs.map((pair) => [pair.report.conv, pair]));
  const layers: LayerScales[] = [];
  for (const { bn, block, report: found } of analyse(model).pairs) {
    const own = report.convs.find(({ conv, state }) => conv === found.conv && state === 'restored');
    const pair = restored.get(found.conv);
    if (own === undefined || pair === undefined) continue;
    const trueScales = scalesOf(bn).map(Math.abs);
    const scales = scalesOf(pair.bn);
    // Channels that pretraining has switched off, whose σ² or γ is about 0, have no s to speak of.
    const variance = bn.movingVariance.read().dataSync();
    const alive = [...trueScales.keys()].filter(
      (c) => variance[c] > bn.epsilon && trueScales[c] > 1e-3 * median(trueScales),
    );
    const [a, b] = [trueScales, scales].map((values) => alive.map((c) => values[c]));
    layers.push({
      conv: found.conv,
      kind: found.kind,
      norm: median(normsOf(block.conv)),
      trueScale: median(trueScales),
      scale: median(scales),
      ofLogs: correlation(a.map(Math.log), b.map(Math.log)),
      ofScales: correlation(a, b),
    });
  }
  for (const { weights } of [deployed, result]) for (const weight of weights) weight.dispose();
  return layers;
}

function scalesOf(bn: BatchNormLayer): Float64Array {
  const variance = bn.movingVariance.read().dataSync() as Float32Array;
  const gamma = (bn.gamma?.read().dataSync() as Float32Array | undefined) ?? variance.map(() => 1);
  return effectiveScale({ gamma, variance }, bn.epsilon);
}

function normsOf(conv: Layer): Float64Array {
  const kind = kindOf(conv) as Kind;
  const kernel = (
    kind.stages(conv).at(-1) as { kernel: { read(): { shape: number[]; dataSync(): unknown } } }
  ).kernel.read();
  return channelNorms(kernel.dataSync() as Float32Array, layoutOf(kernel.shape, kind.scaleShape(kernel.shape)));
}

/** What float32 leaves of numbers that are meant to be equal is no variation. */
const LEAST = 1e-5;

/** Pearson's; null where b is constant. */
function correlation(a: readonly number[], b: readonly number[]): number | null {
  const centred = (values: readonly number[]) => {
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return values.map((value) => value - mean);
  };
  const [u, v] = [centred(a), centred(b)];
  const dot = (p: readonly number[], q: readonly number[]) => p.reduce((sum, value, i) => sum + value * q[i], 0);
  return Math.max(...b) - Math.min(...b) > LEAST ? dot(u, v) / Math.sqrt(dot(u, u) * dot(v, v)) : null;
}
