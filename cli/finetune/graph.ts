/** A GraphModel in `finetune`: its BatchNorms put back before, its graph written again after. */
import fs from 'node:fs/promises';
import path from 'node:path';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import type { LiftedModel } from '../../adapters/graph-model/lifted';
import { type RestoredLiftedModel, restoreBatchNorm } from '../../adapters/graph-model/restore';
import { saveGraphModel } from '../../adapters/graph-model/write-back';
import { fileIO, type PictureFolder } from '../../adapters/node';
import { TuneModeError } from '../../src';
import { withInputShape } from '../../src/fine-tune/input-size';
import type { PictureForm } from '../picture-form';
import type { ProgressLine } from '../progress';

/** Where the graph is written, beside the layers models. */
export const GRAPH = 'graph';

/**
 * Restores the BatchNorms on the training pictures, in their size, and says what was done.
 * @throws TuneModeError `unsupported`, `invalid-data`.
 */
export async function restoreOnPictures(
  lifted: LiftedModel,
  { train }: PictureFolder,
  { imageSize, channels }: PictureForm,
  progress: ProgressLine,
): Promise<RestoredLiftedModel> {
  progress.show('restoring the BatchNorms', 0, '');
  const model = await withInputShape(lifted.model, [...imageSize, channels]);
  try {
    const restored = await restoreBatchNorm({ ...lifted, model }, train);
    const { convs, pictures, calibration } = restored.restored;
    const count = (state: string) => convs.filter((conv) => conv.state === state).length;
    const lost = count('restored');
    const known = count('recalibrated');
    const on = calibration === 'none' ? '' : `, with the statistics of ${pictures} training pictures`;
    progress.note(
      `The model is a GraphModel: ${lifted.report.nodes.filter(({ state }) => state === 'lifted').length} nodes lifted to layers; ` +
        `BatchNorm put back behind ${lost} convolution${lost === 1 ? '' : 's'}${known > 0 ? `, and ${known} that were still there as Mul and Add measured anew` : ''}${on}.`,
    );
    return restored;
  } finally {
    progress.clear();
    if (model !== lifted.model) model.dispose();
    lifted.model.dispose();
  }
}

/**
 * Writes the graph with the tuned weights and the new head beside the layers models.
 * @returns why it was not written, or null.
 */
export async function writeGraph(
  folder: string,
  { lifted, restored }: { lifted: LiftedModel; restored: RestoredLiftedModel },
  model: LayersModel,
): Promise<string | null> {
  const [own, used] = [lifted, restored].map((each) => each.model.inputs[0].shape.join(' × '));
  if (own !== used) return 'it takes pictures of another size';
  try {
    const target = path.join(folder, GRAPH);
    await saveGraphModel(restored, fileIO(target), { model });
    await fs.copyFile(path.join(folder, 'metadata.json'), path.join(target, 'metadata.json'));
    return null;
  } catch (error) {
    if (error instanceof TuneModeError && error.code === 'unsupported') return error.message;
    throw error;
  }
}
