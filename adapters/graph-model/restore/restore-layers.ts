/** A layers model with its BatchNormalizations put back: plan, build, measure, set. */

import { dispose, fill, ones, type serialization, type Tensor, tensor, tidy, zeros } from '@tensorflow/tfjs-core';
import { type LayersModel, layers } from '@tensorflow/tfjs-layers';
import { checkModel } from '../../../src/check-model';
import { rebuild } from '../../../src/deploy/rebuild';
import { type BatchNormLayer, type ConvLayer, classOf, type Layer } from '../../../src/internals';
import { type Kind, kindOf } from '../../../src/kinds';
import { setMode } from '../../../src/modes';
import { collectUses } from '../../../src/walker/uses';
import { disposeWeights } from '../../layers-model';
import { inputRangeOf } from '../input-range';
import {
  type BatchNormArrays,
  type ChannelLayout,
  channelNorms,
  effectiveScale,
  layoutOf,
  median,
  recalibrate,
  unfold,
} from './algebra';
import { type CalibrationData, calibrationBatches, noiseBatches } from './calibration';
import { type ResolvedRestoreOptions, type RestoreOptions, resolveRestoreOptions } from './options';
import { isTarget, planRestore, type RestorePlan, type Target } from './plan';
import { makeRestoreReport, type RestoredConv, type RestoreReport } from './report';
import { channelScales } from './rules';
import { Watch } from './statistics';

/** What `restoreBatchNorm` makes of a layers model. */
export interface Restored {
  /** A new model, in Tune mode, that shares no weights with the source. Dispose it when done. */
  model: LayersModel;
  report: RestoreReport;
}

export interface RestoredLayers extends Restored {
  /** Names in the new model, by the conv's path in the source. */
  restored: Map<string, { conv: string; bn: string }>;
}

type Facts = Pick<RestoredConv, 'dead' | 'scale'>;

/** A restored conv while it is being made. */
interface Block {
  target: Target;
  conv: ConvLayer;
  bn: BatchNormLayer;
}

/**
 * @param known BNs (by name, in a model without nested ones) whose s and β − s·μ are right, but not their statistics.
 * @throws TuneModeError as `restoreBatchNorm`. The source stays as it is; after an error no tensor is left.
 */
export async function restoreLayers(
  source: LayersModel,
  data?: CalibrationData,
  given?: RestoreOptions,
  known: ReadonlySet<string> = new Set(),
): Promise<RestoredLayers> {
  const options = resolveRestoreOptions(given);
  checkModel('restoreBatchNorm', source);
  const plan = planRestore(source, options.include);
  const { model, blocks, made } = build(source, plan, options.epsilon);
  try {
    for (const [from, to] of made) copyWeights(from, to, blocks);
    // Whatever else is in the model computes as in prediction, and can be computed on maps of any rank.
    setMode(model, 'eval');
    const kept = [...made.values()].filter(({ name }) => known.has(name)) as BatchNormLayer[];
    const measured = new Map(kept.map((bn) => [bn, bn.name]));
    for (const { bn, target } of blocks) measured.set(bn, target.path);
    const { watch, pictures, calibration } = await measure(model, measured, data, options);
    const facts = new Map<BatchNormLayer, Facts>();
    for (const block of blocks) facts.set(block.bn, await setRestored(block, watch, options));
    for (const bn of kept) facts.set(bn, await setRecalibrated(bn, watch));
    setMode(model, 'tune');
    const report = makeRestoreReport({
      rule: options.rule,
      pictures,
      calibration,
      convs: describe(plan, model, blocks, kept, facts),
    });
    const restored = new Map(blocks.map(({ target, conv, bn }) => [target.path, { conv: conv.name, bn: bn.name }]));
    return { model, report, restored };
  } catch (error) {
    disposeWeights(model);
    throw error;
  }
}

function build(source: LayersModel, plan: RestorePlan, epsilon: number) {
  const targets = new Map(plan.convs.filter(isTarget).map((target) => [target.conv as Layer, target]));
  const taken = new Set(plan.uses.nodes.map(({ outboundLayer }) => outboundLayer.name));
  const free = (name: string): string => {
    const result = taken.has(name) ? free(`${name}_`) : name;
    taken.add(result);
    return result;
  };
  const renamed = new Map<Layer, string>();
  for (const { conv, isModelOutput } of targets.values())
    if (isModelOutput) renamed.set(conv, free(`${conv.name}_conv`));
  const batchNorms = new Map<Layer, BatchNormLayer>();
  const { model, made } = rebuild(source, {
    where: 'restoreBatchNorm',
    removed: new Set(),
    renamed,
    config: (layer, config) => (targets.has(layer) ? unfoldedConfig(config) : config),
    after: (layer) => {
      const target = targets.get(layer);
      if (target === undefined) return [];
      const { conv, isModelOutput } = target;
      const { name, trainable } = conv;
      // The last layer behind a conv that was an output of the model takes its name.
      const activated = conv.activation !== null && conv.activation.getClassName() !== 'linear';
      const bnName = isModelOutput && !activated ? name : free(`${name}_bn`);
      const bn = layers.batchNormalization({ name: bnName, epsilon, trainable }) as unknown as BatchNormLayer;
      batchNorms.set(layer, bn);
      return activated ? [bn, activationLayer(conv, isModelOutput ? name : free(`${name}_act`))] : [bn];
    },
  });
  const blocks: Block[] = [...targets].map(([layer, target]) => ({
    target,
    conv: made.get(layer) as ConvLayer,
    bn: batchNorms.get(layer) as BatchNormLayer,
  }));
  return { model, made, blocks };
}

/** The bias goes into β and the activation into a layer of its own; constraints and regularizers were about w′, not w. */
function unfoldedConfig(config: serialization.ConfigDict): serialization.ConfigDict {
  const result: serialization.ConfigDict = { ...config, useBias: false, activation: 'linear' };
  for (const name of Object.keys(result)) if (/(Constraint|Regularizer)$/.test(name)) result[name] = null;
  return result;
}

function activationLayer(conv: ConvLayer, name: string): Layer {
  const activation = conv.activation?.getClassName() ?? 'linear';
  if (activation === 'relu') return layers.reLU({ name });
  if (activation === 'relu6') return layers.reLU({ name, maxValue: 6 });
  return layers.activation({ name, activation: conv.getConfig().activation as 'elu' }) as Layer;
}

/** New blocks begin as the fold itself, with s = 1: what the BN takes in is conv(x; w′) without bias. */
function copyWeights(from: Layer, to: Layer, blocks: readonly Block[]): void {
  if (from.weights.length === 0 || to.weights.length === 0) return;
  const block = blocks.find(({ target }) => target.conv === from);
  if (block === undefined) {
    to.setWeights(from.getWeights());
    return;
  }
  const { target, bn } = block;
  const bias = biasOf(target.conv);
  to.setWeights((kindOf(target.conv) as Kind).stages(target.conv).map(({ kernel }) => kernel.read()));
  tidy(() => bn.setWeights([ones(bias.shape), bias, zeros(bias.shape), fill(bias.shape, 1 - bn.epsilon)]));
}

const biasOf = (conv: ConvLayer) => (conv.bias as NonNullable<ConvLayer['bias']>).read();

async function measure(
  model: LayersModel,
  batchNorms: ReadonlyMap<BatchNormLayer, string>,
  data: CalibrationData | undefined,
  { pictures: limit, inputRange }: ResolvedRestoreOptions,
): Promise<{ watch: Watch; pictures: number; calibration: RestoreReport['calibration'] }> {
  const watch = new Watch(batchNorms);
  if (batchNorms.size === 0) return { watch, pictures: 0, calibration: 'none' };
  let pictures = 0;
  try {
    const batches =
      data === undefined
        ? noiseBatches(model, limit, inputRange ?? inputRangeOf(model) ?? [-1, 1])
        : calibrationBatches(model, data, limit);
    for await (const inputs of batches) {
      try {
        dispose(tidy(() => model.predictOnBatch(inputs.length === 1 ? inputs[0] : inputs)));
        pictures += inputs[0].shape[0];
        await watch.collect();
      } finally {
        dispose(inputs);
      }
    }
  } finally {
    watch.stop();
  }
  return { watch, pictures, calibration: data === undefined ? 'noise' : 'given' };
}

async function setRestored({ target, conv, bn }: Block, watch: Watch, options: ResolvedRestoreOptions) {
  const kind = kindOf(conv) as Kind;
  const last = (kind.stages(conv).at(-1) as ReturnType<Kind['stages']>[number]).kernel;
  const kernelShape = last.read().shape;
  const layout: ChannelLayout = layoutOf(kernelShape, kind.scaleShape(kernelShape));
  const kernel = (await last.read().data()) as Float32Array;
  const bias = (await biasOf(target.conv).data()) as Float32Array;
  const statistics = watch.statisticsOf(bn);
  const { s, dead } = channelScales(options.rule, {
    kind: classOf(conv),
    kernelShape,
    norms: channelNorms(kernel, layout),
    deviations: statistics.variance.map(Math.sqrt),
  });
  const unfolded = unfold({ kernel, layout, bias, statistics }, s, options.epsilon);
  const scaled = tensor(unfolded.kernel, kernelShape);
  last.read().assign(scaled);
  scaled.dispose();
  setBatchNorm(bn, unfolded.batchNorm);
  return { dead, scale: median(s) };
}

async function setRecalibrated(bn: BatchNormLayer, watch: Watch) {
  const read = async (variable: BatchNormLayer['movingMean']) => (await variable.read().data()) as Float32Array;
  const [mean, variance] = [await read(bn.movingMean), await read(bn.movingVariance)];
  const gamma = bn.gamma === undefined ? mean.map(() => 1) : await read(bn.gamma);
  const beta = bn.beta === undefined ? mean.map(() => 0) : await read(bn.beta);
  const s = effectiveScale({ gamma, variance }, bn.epsilon);
  const t = s.map((value, c) => beta[c] - value * mean[c]);
  const statistics = watch.statisticsOf(bn);
  setBatchNorm(bn, recalibrate(s, t, statistics, bn.epsilon));
  const dead = statistics.variance.filter((value, c) => value === 0 || s[c] === 0).length;
  return { dead, scale: median(s.map(Math.abs)) };
}

function setBatchNorm(bn: BatchNormLayer, { gamma, beta, mean, variance }: BatchNormArrays): void {
  const tensors: Tensor[] = [gamma, beta, mean, variance].map((values) => tensor(values));
  bn.setWeights(tensors);
  dispose(tensors);
}

function describe(
  { convs }: RestorePlan,
  model: LayersModel,
  blocks: readonly Block[],
  kept: readonly BatchNormLayer[],
  facts: ReadonlyMap<BatchNormLayer, Facts>,
): RestoredConv[] {
  const uses = collectUses(model);
  const nothing = { bn: null, dead: null, scale: null };
  return convs.map((found): RestoredConv => {
    const of = (bn: BatchNormLayer) => ({ bn: uses.pathOf(bn), ...(facts.get(bn) as Facts) });
    if (isTarget(found)) {
      const { bn } = blocks.find(({ target }) => target === found) as Block;
      return { conv: found.path, kind: classOf(found.conv), state: 'restored', reason: null, ...of(bn) };
    }
    const own = kept.find((bn) => uses.usesOf(bn).some((use) => use.inputTensors[0].sourceLayer.name === found.conv));
    return own === undefined ? { ...found, ...nothing } : { ...found, state: 'recalibrated', ...of(own) };
  });
}
