/** A saved layers model without its weights: enough to look at its structure. */
import { io } from '@tensorflow/tfjs-core';
import { type LayersModel, loadLayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../../src/errors';
import { toFilePath } from './model-path';
import { readModelJson } from './model-reader';

const LONGEST_REASON = 300;

/**
 * Builds the model that a folder, or a model.json, describes. Its weights are not read, and need not be there.
 * @throws TuneModeError `not-found`, `invalid-model-file`; `not-a-layers-model` for a GraphModel.
 */
export async function loadTopology(path: string): Promise<LayersModel> {
  const place = toFilePath(path);
  const { modelTopology, format } = await readModelJson(place);
  if (format === 'graph-model' || 'node' in modelTopology) {
    throw new TuneModeError(
      'not-a-layers-model',
      `'${place}' is a GraphModel: tfjs can run it, not train it, and its BatchNorms are folded away. Expected a layers model.`,
    );
  }
  try {
    return await loadLayersModel(io.fromMemory({ modelTopology }));
  } catch (error) {
    const [line] = (error as Error).message.split('\n');
    const reason = line.length > LONGEST_REASON ? `${line.slice(0, LONGEST_REASON)}…` : line;
    const keras3 = /"(batch_shape|registered_name)"|"DTypePolicy"|"keras_version":"3/.test(
      JSON.stringify(modelTopology),
    );
    const hint = keras3 ? ' It looks like an export of Keras 3, which tfjs-layers 4.22.0 does not read.' : '';
    throw new TuneModeError(
      'invalid-model-file',
      `tfjs-layers cannot build the model in '${place}': ${reason}${hint}`,
      {
        cause: error,
      },
    );
  }
}
