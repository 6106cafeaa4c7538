/** From a saved layers model's artifacts to the model, with readable refusals of everything else. */
import { io } from '@tensorflow/tfjs-core';
import { type LayersModel, loadLayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../src/errors';

const LONGEST_REASON = 300;

/** @throws TuneModeError `not-a-layers-model` for a GraphModel, naming what takes one. */
export function checkFormat(place: string, topology: object, format: string | undefined): void {
  if (format === 'graph-model' || 'node' in topology) {
    throw new TuneModeError(
      'not-a-layers-model',
      `'${place}' is a GraphModel: tfjs can run it, not train it, and its BatchNorms are folded away. Expected a layers ` +
        "model; liftGraphModel of 'tfjs-tune-mode/graph-model' makes one of it, and loadMobileNet and loadCocoSsd of " +
        "'tfjs-tune-mode/zoo' do so for the models they are named after.",
    );
  }
}

/**
 * @param strict whether a weight too many or too few is an error.
 * @throws TuneModeError `invalid-model-file` with tfjs-layers' reason.
 */
export async function buildLayersModel(
  place: string,
  artifacts: io.ModelArtifacts,
  strict = true,
): Promise<LayersModel> {
  try {
    return await loadLayersModel(io.fromMemory(artifacts), { strict });
  } catch (error) {
    const [line] = (error as Error).message.split('\n');
    const reason = line.length > LONGEST_REASON ? `${line.slice(0, LONGEST_REASON)}…` : line;
    const keras3 = /"(batch_shape|registered_name)"|"DTypePolicy"|"keras_version":"3/.test(
      JSON.stringify(artifacts.modelTopology),
    );
    const hint = keras3 ? ' It looks like an export of Keras 3, which tfjs-layers 4.22.0 does not read.' : '';
    throw new TuneModeError(
      'invalid-model-file',
      `tfjs-layers cannot build the model in '${place}': ${reason}${hint}`,
      { cause: error },
    );
  }
}

/**
 * A damaged weight file of the right length shows, if at all, in numbers that no training would leave.
 * @throws TuneModeError `invalid-model-file`.
 */
export async function checkFinite(place: string, model: LayersModel): Promise<void> {
  for (const weight of model.weights) {
    const values = await weight.read().data();
    const bad = values.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0) {
      throw new TuneModeError(
        'invalid-model-file',
        `'${place}': the weight '${weight.originalName}' has ${values[bad]} at position ${bad}. ` +
          'The weight file is damaged; copy the model again.',
      );
    }
  }
}
