/** From a saved layers model's artifacts to the model, with readable refusals of everything else. */
import { dispose, io, type Tensor } from '@tensorflow/tfjs-core';
import { type LayersModel, loadLayersModel } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../src/errors';
import { indexOfNonFinite } from './finite';

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
    if (error instanceof TuneModeError) {
      throw new TuneModeError(error.code, `'${place}': ${error.message}.`, { cause: error });
    }
    // Of tensors it shows what JavaScript makes of them.
    const line = (error as Error).message.split('\n')[0].replace(/ ?Input received: .*\[object Object\].*$/, '');
    const reason = line.length > LONGEST_REASON ? `${line.slice(0, LONGEST_REASON)}…` : line;
    const keras3 = /"(batch_shape|registered_name)"|"DTypePolicy"|"keras_version":"3/.test(
      JSON.stringify(artifacts.modelTopology),
    );
    const reasonIs = `tfjs-layers cannot build the model in '${place}': ${reason.replace(/\.$/, '')}.`;
    throw new TuneModeError(
      'invalid-model-file',
      keras3
        ? `${reasonIs} It looks like an export of Keras 3, which tfjs-layers 4.22.0 does not read. ` +
            `Convert it first: tfjs-tune-mode convert '${place}' <folder>.`
        : reasonIs,
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
    const bad = indexOfNonFinite(values);
    if (bad >= 0) {
      throw new TuneModeError(
        'invalid-model-file',
        `'${place}': the weight '${weight.originalName}' has ${values[bad]} at position ${bad}. ` +
          'The weight file is damaged; copy the model again.',
      );
    }
  }
}

/** Not model.dispose(): it counts a layer's uses, and keeps the weights of a shared one, or of Sequentials in Sequentials, alive (tfjs-layers 4.22.0). */
export function disposeWeights(model: LayersModel): void {
  for (const weight of new Set(model.weights)) weight.dispose();
  disposeStates(model);
}

type Held = Partial<Record<'layer' | 'forwardLayer' | 'backwardLayer', object>>;

/** What stateful RNNs remember, which tfjs-layers 4.22.0 never lets go of. */
function disposeStates(layer: object): void {
  const { layers = [], layer: wrapped, forwardLayer, backwardLayer } = layer as Held & { layers?: object[] };
  for (const each of [...layers, wrapped, forwardLayer, backwardLayer]) if (each) disposeStates(each);
  const { states_, keptStates } = layer as { states_?: Tensor[]; keptStates?: Tensor[][] };
  dispose([states_ ?? [], keptStates ?? []]);
}
