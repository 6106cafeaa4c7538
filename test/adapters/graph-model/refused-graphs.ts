/** A lift that must fail, and leave nothing. */
import * as tf from '@tensorflow/tfjs-core';
import { TuneModeError } from 'tfjs-tune-mode';
import { liftGraphModel } from '../../../adapters/graph-model';

export async function refusal(artifacts: unknown, options?: object): Promise<TuneModeError> {
  const before = tf.memory();
  const source = { load: async () => artifacts as tf.io.ModelArtifacts };
  const error = await liftGraphModel(source, options).then(
    () => new Error('it was lifted'),
    (thrown: Error) => thrown,
  );
  expect(error).toBeInstanceOf(TuneModeError);
  expect(tf.memory()).toMatchObject({ numTensors: before.numTensors, numBytes: before.numBytes });
  return error as TuneModeError;
}
