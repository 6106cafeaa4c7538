/**
 * Which BatchNormalizations Deploy folds away: those of every pair into the conv before them, and of the rest those that
 * stand directly before a conv without padding, or a Dense, into that.
 */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import type { Block } from '../block';
import { TuneModeError } from '../errors';
import { axisOf, type BatchNormLayer, classOf, type Layer, unwrapTimeDistributed } from '../internals';
import { channelAxisOf, type Kind, kindOf } from '../kinds';
import type { SkippedReport } from '../report';
import { isStock } from '../stock';
import { EXCLUDED } from '../walker/check';
import { type AnalysisOptions, analyse, type BlockReport, isIncluded } from '../walker/find';
import type { ModelUses } from '../walker/uses';

export interface DeployPlan {
  /** BN after a conv, by the conv without TimeDistributed. */
  after: Map<Layer, BatchNormLayer>;
  /** BN before a conv, by the conv without TimeDistributed. */
  before: Map<Layer, BatchNormLayer>;
  /** The BN layers, as they stand in the model, that are gone afterwards. */
  removed: Set<Layer>;
  /** The conv that takes the name of a removed BN, since that names an output of the model. */
  renamed: Map<Layer, string>;
  reports: { after: BlockReport[]; before: BlockReport[]; kept: SkippedReport[] };
}

export function planDeploy(model: LayersModel, options: AnalysisOptions = {}): DeployPlan {
  const { uses, pairs, skipped } = analyse(model, options);
  const plan: DeployPlan = {
    after: new Map(),
    before: new Map(),
    removed: new Set(),
    renamed: new Map(),
    reports: { after: [], before: [], kept: [] },
  };
  for (const { bn, block, report } of pairs) {
    const conv = unwrapTimeDistributed(block.conv).layer;
    const why = brokenOnceFolded(conv);
    if (why !== null) {
      throw new TuneModeError(
        'unsupported',
        `Layer '${report.conv}' cannot be deployed: folded it has a bias, and ${why}. Build the model with dataFormat 'channelsLast'.`,
      );
    }
    plan.after.set(conv, bn);
    plan.removed.add(block.bn);
    plan.reports.after.push(report);
    const output = outputNameOf(model, uses, bn, block);
    if (output !== null) plan.renamed.set(block.conv, output);
  }
  for (const { bn, path, refusal } of skipped) {
    const foldable = refusal !== EXCLUDED && isStock(bn);
    const found = foldable ? convAfter(uses, bn) : null;
    if (found === null || typeof found === 'string') {
      const reason = found === null ? refusal.reason : `${refusal.reason}; and ${found}`;
      plan.reports.kept.push({ bn: path, code: refusal.code, reason });
      continue;
    }
    const conv = unwrapTimeDistributed(found).layer;
    const report = { conv: uses.pathOf(found), bn: path, activation: null, kind: classOf(conv) };
    if (!isIncluded(report, options.include)) {
      plan.reports.kept.push({ bn: path, ...EXCLUDED });
      continue;
    }
    plan.before.set(conv, bn);
    plan.removed.add(uses.usesOf(bn)[0].outboundLayer);
    plan.reports.before.push(report);
  }
  return plan;
}

/** Why tfjs-layers cannot run a conv once it has the bias that a fold gives it, or null. */
function brokenOnceFolded(conv: Layer): string | null {
  return kindOf(conv)?.broken?.(Object.create(conv, { useBias: { value: true } })) ?? null;
}

/** The name of the model's output that a BN makes, or null. */
function outputNameOf(model: LayersModel, uses: ModelUses, bn: BatchNormLayer, block: Block): string | null {
  const makesOutput = uses.usesOf(bn).some((use) => use.outputTensors.some((output) => model.outputs.includes(output)));
  return makesOutput ? block.bn.name : null;
}

/** The conv into which a BN before it folds exactly, or why there is none. */
function convAfter(uses: ModelUses, bn: BatchNormLayer): Layer | string {
  const bnUses = uses.usesOf(bn);
  const consumers = bnUses.flatMap((use) => uses.consumersOf(use.outputTensors[0]));
  if (bnUses.some((use) => uses.isOutput(use.outputTensors[0]))) return 'its own output is an output of a model';
  const [first] = consumers;
  if (first === undefined) return 'nothing consumes it';
  const standing = first.outboundLayer;
  const named = `'${uses.pathOf(standing)}'`;
  const { layer: conv, timeDistributed } = unwrapTimeDistributed(standing);
  const kind = kindOf(conv) as Kind | undefined;
  if (kind !== undefined && !isStock(conv)) return `${named}, which follows, has a 'call' of its own`;
  if (kind?.before === undefined) return `what follows, ${named} (${classOf(conv)}), cannot take it in`;
  if (!kind.before.exact(conv)) return `${named}, which follows, pads with zeros that it would shift`;
  const why = brokenOnceFolded(conv);
  if (why !== null) return `in ${named}, which follows, ${why}`;
  if (bnUses.some((use) => uses.consumersOf(use.outputTensors[0]).length !== 1)) {
    return `it goes to more than ${named}`;
  }
  const convUses = uses.usesOf(conv);
  const alwaysTogether =
    consumers.every((consumer) => consumer.outboundLayer === standing) &&
    convUses.every((use) => bnUses.some((bnUse) => bnUse.outputTensors[0] === use.inputTensors[0]));
  if (!alwaysTogether) return `it and ${named} are not always used together`;
  const rank = first.inputTensors[0].shape.length;
  const axis = axisOf(bn, rank, bnUses[0].outboundLayer !== bn);
  if (axis !== channelAxisOf(conv, timeDistributed, rank)) return `it normalises another axis than ${named} convolves`;
  return standing;
}
