import fs from 'node:fs';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs'; // tfjs-layers' Orthogonal calls methods that only this adds to tensors
import * as tfc from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { mapTopology } from '../../../adapters/keras/topology';
import { TuneModeError } from '../../../src/errors';

// Silences tfjs's advertisement of its node backend.
tfc.env().set('PROD', true);

export const KERAS3 = '3.9.2';

export async function build(topology: object): Promise<tfl.LayersModel> {
  await tfc.setBackend('cpu');
  return tfl.loadLayersModel(tfc.io.fromMemory({ modelTopology: topology as never }));
}

export const map = (config: unknown, version?: string, allowCustom = false) =>
  mapTopology('model.json', config, version, { allowCustom });

export async function mapAndBuild(config: unknown, version?: string): Promise<tfl.LayersModel> {
  return build(map(deepFreeze(config), version).topology);
}

/** Names and shapes of the weights, without the counters that tfjs-layers appends to names in use. */
export const weightsOf = (model: tfl.LayersModel) =>
  model.weights.map((weight) => `${weight.originalName} ${JSON.stringify(weight.shape)}`);

export const topologyOf = (model: tfl.LayersModel) => model.toJSON(undefined, false) as unknown as object;

/** structuredClone's arrays are none for tfjs-layers: jest runs it in another realm. */
export const copy = <T>(value: T): T => JSON.parse(JSON.stringify(value));

export function deepFreeze<T>(value: T): T {
  if (value !== null && typeof value === 'object') {
    Object.values(value).forEach(deepFreeze);
    Object.freeze(value);
  }
  return value;
}

export function refusal(action: () => unknown): TuneModeError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(TuneModeError);
    return error as TuneModeError;
  }
  throw new Error('expected a refusal');
}

export const readJson = (file: string) => JSON.parse(fs.readFileSync(file, 'utf8'));

/** A tensor and a layer in the spelling of Keras 3. */
export const tensor3 = (layer: string, node = 0, tensor = 0) => ({
  class_name: '__keras_tensor__',
  config: { shape: [null, 4], dtype: 'float32', keras_history: [layer, node, tensor] },
});

export const policy3 = (name = 'float32') => ({
  module: 'keras',
  class_name: 'DTypePolicy',
  config: { name },
  registered_name: null,
});

export function layer3(class_name: string, name: string, config: object, ...calls: unknown[]) {
  return {
    module: 'keras.layers',
    class_name,
    registered_name: null,
    build_config: { input_shape: [null, 4] },
    name,
    config: { name, trainable: true, dtype: policy3(), ...config },
    inbound_nodes: calls.map((args) => ({ args: [args], kwargs: {} })),
  };
}

export const input3 = (name: string, shape: unknown[] = [null, 4]) =>
  layer3('InputLayer', name, { batch_shape: shape });

export const functional3 = (name: string, layers: unknown[], inputs: unknown, outputs: unknown) => ({
  module: 'keras',
  class_name: 'Functional',
  registered_name: 'Functional',
  config: { name, trainable: true, layers, input_layers: inputs, output_layers: outputs },
  compile_config: { optimizer: 'adam' },
});

/** A functional model of Keras 2 around one layer, or a chain of them. */
export function chain2(layers: [string, object][], shape: unknown[] = [null, 8, 8, 2]) {
  const names = layers.map(([, config], index) => (config as { name?: string }).name ?? `layer${index}`);
  return {
    class_name: 'Model',
    config: {
      name: 'chain',
      layers: [
        {
          class_name: 'InputLayer',
          name: 'in',
          config: { name: 'in', batch_input_shape: shape, dtype: 'float32' },
          inbound_nodes: [],
        },
        ...layers.map(([class_name, config], index) => ({
          class_name,
          name: names[index],
          config: { ...config, name: names[index] },
          inbound_nodes: [[[index === 0 ? 'in' : names[index - 1], 0, 0, {}]]],
        })),
      ],
      input_layers: [['in', 0, 0]],
      output_layers: [[names[names.length - 1] ?? 'in', 0, 0]],
    },
  };
}
