/**
 * One ConvBN block: its layers, and what it computes in Tune mode.
 *
 * A pass reads the weights anew, folds them under autodiff and runs the conv's op on the folded ones; nothing of it is
 * kept between passes.
 */
import { cast, engine, getBackend, getKernel, type Tensor, tidy } from '@tensorflow/tfjs-core';
import type { SymbolicTensor } from '@tensorflow/tfjs-layers';
import { type BlockActivation, blockActivation } from './activations';
import { TuneModeError } from './errors';
import { type BatchNormWeights, fold } from './fold';
import type { Geometry } from './geometry';
import { type BatchNormLayer, classOf, type DenseLayer, type Layer, nodeOf, unwrapTimeDistributed } from './internals';
import { channelAxisOf, type Kind, kindOf, type Stage } from './kinds';
import type { ZeroPadding } from './kinds/geometries';
import { withLeadingAxesAsBatch } from './kinds/views';
import { convOp } from './op';
import { isStock } from './stock';

export interface Block {
  /** The conv as it stands in the model, perhaps inside a TimeDistributed. */
  readonly conv: Layer;
  readonly bn: Layer;
  /** The activation layer that the block takes in, or null. */
  readonly activation: Layer | null;
}

/** The weights of a BatchNormalization, as they are now. */
export function weightsOf(bn: BatchNormLayer): BatchNormWeights {
  return {
    gamma: bn.gamma?.read() ?? null,
    beta: bn.beta?.read() ?? null,
    mean: bn.movingMean.read(),
    variance: bn.movingVariance.read(),
    epsilon: bn.epsilon,
  };
}

/** The core of a block without TimeDistributed around its layers. */
export function coreOf(block: Block): { conv: Layer; kind: Kind; bn: BatchNormLayer; timeDistributed: boolean } {
  const { layer: conv, timeDistributed } = unwrapTimeDistributed(block.conv);
  const kind = kindOf(conv);
  if (kind === undefined) throw new Error(`'${conv.name}' is no conv`);
  return { conv, kind, bn: unwrapTimeDistributed(block.bn).layer as BatchNormLayer, timeDistributed };
}

interface ZeroPadding2D extends Layer {
  padding: ZeroPadding;
  dataFormat: 'channelsFirst' | 'channelsLast';
}

/**
 * A ZeroPadding2D right before the conv, as Keras's MobileNets have it before every strided one: the conv can pad by itself,
 * and the padded copy of the feature map is neither made nor kept.
 * @param input What the conv takes.
 * @returns The tensors that the padding takes, and the conv's stages with it; null where there is nothing to take in.
 */
export function paddingBefore(
  block: Block,
  input: SymbolicTensor,
): { inputs: SymbolicTensor[]; stages: Stage[] } | null {
  const { conv, kind, timeDistributed } = coreOf(block);
  const layer = input.sourceLayer as ZeroPadding2D;
  if (timeDistributed || layer === undefined || classOf(layer) !== 'ZeroPadding2D' || !isStock(layer)) return null;
  if (layer.dataFormat !== 'channelsLast') return null;
  const stages = kind.padded?.(conv, layer.padding) ?? null;
  return stages === null ? null : { inputs: nodeOf(input).inputTensors, stages };
}

/** @param training Whether it runs in a training step, as tfjs-layers tells a layer. */
export type Pass = (x: Tensor, training?: boolean) => Tensor;

export interface PassExtras {
  /** Stages that pad x by themselves, from `paddingBefore`. Default: the conv's own. */
  stages?: Stage[];
  /** What x goes through before the conv. Default: nothing. */
  before?: Pass;
  /** Whether outputs are computed once more in the backward pass instead of being kept. Default false. */
  recompute?: boolean;
}

/**
 * The block's function in Tune mode: `act(conv(x; s·w, s·(b − μ) + β))`.
 * @param withActivation Whether to apply the block's activation: someone may ask for the BN's own output.
 */
export function tunePass(block: Block, withActivation: boolean, extras: PassExtras = {}): Pass {
  const { before, recompute = false } = extras;
  const { conv, kind, bn, timeDistributed } = coreOf(block);
  const wrap = (geometry: Geometry): Geometry =>
    timeDistributed ? withLeadingAxesAsBatch(geometry, () => 2) : geometry;
  const stages: Stage[] = (extras.stages ?? kind.stages(conv)).map(({ geometry, kernel }) => ({
    geometry: wrap(geometry),
    kernel,
  }));
  const last = stages.pop() as Stage;
  let activation: BlockActivation | null = null;
  if (withActivation && block.activation !== null) {
    activation = blockActivation(unwrapTimeDistributed(block.activation).layer);
  }
  return (given, training) =>
    tidy(() => {
      const recorded = engine().state.gradientDepth > 0;
      if (training && recorded && isTrained(conv, bn)) requireGradientKernels(conv, stages, last);
      const values = before === undefined ? given : before(given, training);
      // Kernels called by name take the bits as they are. Dense casts; the convolutions refuse, in their own words.
      if (values.dtype !== 'float32' && kind.className !== 'Dense') conv.call(values, {});
      const x = values.dtype === 'float32' ? values : cast(values, 'float32');
      const axis = channelAxisOf(conv, timeDistributed, x.rank);
      const kernel = last.kernel.read();
      const bias = (conv as DenseLayer).bias?.read() ?? null;
      const folded = fold(kernel, bias, weightsOf(bn), kind.scaleShape(kernel.shape));
      const input = stages.reduce(
        (t, stage) => convOp(stage.geometry, t, stage.kernel.read(), null, null, axis, recompute),
        x,
      );
      return convOp(last.geometry, input, folded.kernel, folded.bias, activation, axis, recompute);
    });
}

function isTrained(...layers: Layer[]): boolean {
  return layers.some(({ trainableWeights }) => trainableWeights.length > 0);
}

/**
 * Before anything is computed for a training step that would fail at its end.
 * @throws TuneModeError `unsupported` for a kernel that the active backend lacks.
 */
function requireGradientKernels(conv: Layer, stages: Stage[], last: Stage): void {
  const backend = getBackend();
  for (const { geometry } of [...stages, last]) {
    const missing = geometry.gradientKernels.find((name) => getKernel(name, backend) == null);
    if (missing === undefined) continue;
    const wayOut =
      backend === 'wasm'
        ? "Call registerWasmTrainingKernels() from 'tfjs-tune-mode/wasm' once, or in Node useBestBackend() from 'tfjs-tune-mode/node', which does."
        : "Use another backend, such as 'webgl' in a page or 'wasm' with registerWasmTrainingKernels() from 'tfjs-tune-mode/wasm'.";
    throw new TuneModeError(
      'unsupported',
      `Layer '${conv.name}' cannot be trained on the backend '${backend}', which has no kernel '${missing}'. ${wayOut}`,
    );
  }
}
