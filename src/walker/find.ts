/**
 * Finds the ConvBN blocks of a model: every BatchNormalization ends up in `pairs` or in `skipped`, exactly once.
 */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { blockActivation } from '../activations';
import type { Block } from '../block';
import { TuneModeError } from '../errors';
import { type BatchNormLayer, classOf, type GraphNode, type Layer, unwrapTimeDistributed } from '../internals';
import { type Candidate, EXCLUDED, type Refusal, whyNot } from './check';
import { collectUses, type ModelUses } from './uses';
import { NOTHING_RECOMPUTABLE, type Recomputable, recomputableOf } from './wiring';

/** A block as the report shows it. */
export interface BlockReport {
  /** Path of the conv layer. */
  conv: string;
  /** Path of the BatchNormalization layer. */
  bn: string;
  /** Path of the activation layer that the block computes too, or null. */
  activation: string | null;
  /** Class name of the conv layer, such as `Conv2D`. */
  kind: string;
}

export interface Analysis {
  uses: ModelUses;
  pairs: { bn: BatchNormLayer; block: Block; report: BlockReport }[];
  skipped: { bn: BatchNormLayer; path: string; refusal: Refusal }[];
  /** Every BatchNormalization, without the TimeDistributed around it. */
  batchNorms: BatchNormLayer[];
  /** Outputs of blocks that the backward pass computes anew; none without the option `recompute`. */
  recomputable: Recomputable;
}

export interface AnalysisOptions {
  /** Which blocks to take. Default: all. @throws TuneModeError `invalid-option` for an answer that is no boolean. */
  include?: (block: BlockReport) => boolean;
  /** Whether blocks take in the activation after the BN. Default true. */
  fuseActivation?: boolean;
  /** Whether cheap blocks' outputs are recomputed in the backward pass. Default false. */
  recompute?: boolean;
}

export function analyse(model: LayersModel, options: AnalysisOptions = {}): Analysis {
  const { include, fuseActivation = true, recompute = false } = options;
  const uses = collectUses(model);
  const analysis: Analysis = { uses, pairs: [], skipped: [], batchNorms: [], recomputable: NOTHING_RECOMPUTABLE };
  for (const bn of batchNormsOf(uses)) {
    analysis.batchNorms.push(bn);
    const bnUses = uses.usesOf(bn);
    const standing = bnUses[0].outboundLayer;
    const source = bnUses[0].inputTensors[0].sourceLayer;
    const candidate: Candidate = { uses, bn, bnUses, source, conv: unwrapTimeDistributed(source).layer };
    const path = uses.pathOf(standing);
    let refusal = whyNot(candidate);
    if (refusal === null) {
      const activation = fuseActivation ? onlyActivationAfter(uses, bnUses) : null;
      const block: Block = { conv: source, bn: standing, activation };
      const report: BlockReport = {
        conv: uses.pathOf(source),
        bn: path,
        activation: activation === null ? null : uses.pathOf(activation),
        kind: classOf(candidate.conv),
      };
      if (isIncluded(report, include)) {
        analysis.pairs.push({ bn, block, report });
        continue;
      }
      refusal = EXCLUDED;
    }
    analysis.skipped.push({ bn, path, refusal });
  }
  if (recompute) {
    const blocks = analysis.pairs.map(({ block }) => block);
    analysis.recomputable = recomputableOf(uses, blocks);
  }
  return analysis;
}

/**
 * What the option `include` says of a block; true without it.
 * @throws TuneModeError `invalid-option` for an answer that is neither true nor false, such as a promise.
 */
export function isIncluded(report: BlockReport, include: AnalysisOptions['include']): boolean {
  if (include === undefined) return true;
  const answer: unknown = include({ ...report });
  if (typeof answer === 'boolean') return answer;
  throw new TuneModeError(
    'invalid-option',
    `'include' must return true or false, found ${answer instanceof Promise ? 'a Promise' : String(answer)} for '${report.bn}'.`,
  );
}

function batchNormsOf(uses: ModelUses): Set<BatchNormLayer> {
  const found = new Set<BatchNormLayer>();
  for (const node of uses.nodes) {
    const { layer } = unwrapTimeDistributed(node.outboundLayer);
    if (classOf(layer) === 'BatchNormalization') found.add(layer as BatchNormLayer);
  }
  return found;
}

/** The activation layer that is the BN's only consumer at each of its uses, if a block can take it in. */
function onlyActivationAfter(uses: ModelUses, bnUses: GraphNode[]): Layer | null {
  let found: Layer | null = null;
  for (const use of bnUses) {
    const [output] = use.outputTensors;
    const consumers = uses.consumersOf(output);
    if (consumers.length !== 1 || uses.isOutput(output)) return null;
    const layer = consumers[0].outboundLayer;
    if (blockActivation(unwrapTimeDistributed(layer).layer) === null) return null;
    if (found !== null && found !== layer) return null;
    found = layer;
  }
  return found;
}
