import { readMetadataBeside } from '../node/metadata';
import type { ModelMetadata } from '../picture-metadata';
import type { SampleOptions } from './samples';
import type { Source } from './source';

/** What lies beside a source and says how its pictures must look. */
export async function metadataOfSource({ format, place, userDefinedMetadata }: Source): Promise<ModelMetadata> {
  return format.startsWith('tfjs') ? readMetadataBeside(place, userDefinedMetadata) : {};
}

/** The options, else the metadata. */
export function sampleOptions(given: SampleOptions, metadata: ModelMetadata): SampleOptions {
  return {
    pictures: given.pictures,
    imageSize: given.imageSize ?? metadata.imageSize,
    inputRange: given.inputRange ?? metadata.inputRange,
  };
}
