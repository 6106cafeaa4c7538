/** From a pretrained model and pictures to a tuned model: the head first, then the whole net in Tune mode. */
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { checkModel } from '../check-model';
import { getMode, setMode } from '../modes';
import type { FineTuneData } from './data';
import type { FineTuneResult } from './history';
import { type FineTuneOptions, resolveFineTuneOptions } from './options';
import { disposeAllBut, prepare } from './prepare';
import { Run } from './run';
import { restoreSnapshot, takeSnapshot } from './weights';

/**
 * Fine-tunes an image classifier on few pictures, with defaults that need no tuning: a new head is trained on the frozen
 * net's features; then all layers train in Tune mode with a warm-up and a cosine schedule, label smoothing and changed
 * pictures; the best epoch is kept, so that the result is never worse on `val` than the head alone.
 *
 * ```ts
 * const pictures = await loadPictureFolder('flowers', { batchSize: 16 });
 * const { model, history } = await fineTune(pretrained, pictures, { epochs: 10 });
 * ```
 *
 * The layers of `model` below the head are **the ones of the given model** (a copy only where the pictures have another
 * size than its input): their weights change, and they are in the mode of the options. After an error both are as they
 * were, and nothing is left over.
 *
 * @param source one input [batch, height, width, channels], one output.
 * @throws TuneModeError `invalid-option`; `not-a-layers-model`, `model-not-built`, `model-disposed`; `invalid-data` for
 * fewer than two classes, empty sets or a checkpoint of another run; `unsupported` for a model without features, a head
 * that cannot be kept, or a backend that cannot train.
 */
export async function fineTune(
  source: LayersModel,
  data: FineTuneData,
  options?: FineTuneOptions,
): Promise<FineTuneResult> {
  const resolved = resolveFineTuneOptions(options);
  checkModel('fineTune', source);
  const prepared = await prepare(source, data, resolved);
  const { model } = prepared;
  const before = await takeSnapshot(model);
  const mode = getMode(model);
  const run = new Run(prepared, resolved);
  try {
    return await run.go();
  } catch (error) {
    // First: the order of a model's weights depends on which layers are frozen.
    run.close();
    restoreSnapshot(model, before);
    setMode(model, mode);
    // What this run has made, nobody will get.
    disposeAllBut(model, source);
    throw error;
  } finally {
    run.close();
  }
}
