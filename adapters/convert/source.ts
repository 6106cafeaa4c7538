/** What a conversion starts from, whatever the format: a model of layers, or a graph. */
import type { io } from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import type { LiftedModel } from '../graph-model/lifted';
import type { StoredWeight } from './stored-weight';

export type ModelFormat = 'tfjs-layers' | 'tfjs-graph' | 'keras-h5' | 'keras-weights' | 'keras-zip';

/** As a person would call them. */
export const FORMAT_NAMES: Record<ModelFormat, string> = {
  'tfjs-layers': 'tfjs LayersModel',
  'tfjs-graph': 'tfjs GraphModel',
  'keras-h5': 'Keras HDF5 (.h5)',
  'keras-weights': 'Keras weights (HDF5)',
  'keras-zip': 'Keras 3 (.keras)',
};

/** Called while weights are read. */
export type Reading = (done: number, total: number) => void;

interface SourceBase {
  format: ModelFormat;
  /** The file that was recognised: a model.json, an .h5 … */
  place: string;
  /** What wrote it, such as `Keras 3.9.2`; null where the file does not tell. */
  producer: string | null;
  /** Of all its files. */
  bytes: number;
  userDefinedMetadata: object | undefined;
  /** Releases files; idempotent. */
  close(): Promise<void>;
}

export interface LayersSource extends SourceBase {
  kind: 'layers';
  /** As tfjs-layers reads it. */
  topology: object;
  /** How it was compiled when tfjs saved it; it is so again where it is to be trained. */
  trainingConfig?: object;
  /** What was changed to make it so, as sentences. */
  notes: string[];
  /** Builds the model and reads its weights one at a time. Dispose it when done. */
  load(reading?: Reading, signal?: AbortSignal): Promise<LayersModel>;
  /** Which stored weight each of the model's weights is. @throws TuneModeError `invalid-model-file`. */
  match(model: LayersModel): readonly StoredWeight[];
  /** Whether the topology has layers that tfjs-layers does not know, so that it cannot be built here. */
  hasCustom: boolean;
  /** Builds the model without weights (all are 0). */
  build(): Promise<LayersModel>;
  /** The weights by the names of the file, without a model; undefined where only a model tells what they are. */
  rawWeights: readonly StoredWeight[] | undefined;
}

export interface GraphFileSource extends SourceBase {
  kind: 'graph';
  /** Whole, with its weights. */
  artifacts: io.ModelArtifacts;
  lift(): Promise<LiftedModel>;
}

export type Source = LayersSource | GraphFileSource;
