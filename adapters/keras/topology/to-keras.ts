/** From a topology of tfjs-layers to what Keras reads in an .h5 file. */
import { Findings, writerOf } from './findings';
import { readHead } from './layer';
import { mapModel } from './model';
import { copyPlain, isPlain, own, type Plain } from './plain';

/** Two classes of initialisers that tfjs-layers spells in its own way. */
const KERAS_INITIALIZERS = new Map([
  ['LeCunNormal', 'LecunNormal'],
  ['LeCunUniform', 'LecunUniform'],
]);

/**
 * What Keras 2, and Keras 3's loader for .h5 files of Keras 2, read as `model_config`. Nested models are numbered as
 * Keras 2 and tfjs-layers do, from 1, where Keras 3's loader for .h5 counts from 0 and refuses them. `depth_multiplier` of SeparableConv2D, which tfjs-layers' toJSON forgets, must be
 * in the topology.
 *
 * @param topology model.toJSON(undefined, false), or the topology of mapTopology.
 * @throws TuneModeError `unsupported` naming every layer that Keras does not have or computes differently.
 */
export function toKerasConfig(place: string, topology: object): { class_name: string; config: object } {
  const copy = copyPlain(place, topology) as Plain;
  const model = isPlain(own(copy, 'model_config')) ? copy.model_config : copy;
  const root = model as Plain;
  dropWrittenTwice(root);
  // Judged as a file of Keras 2: what tfjs-layers computes in its own way has no equal there.
  const findings = new Findings(place, writerOf('2.15.0'), false);
  findings.forKeras = true;
  const head = readHead(root, '', findings);
  if (!['Functional', 'Model', 'Sequential'].includes(head.className)) {
    throw findings.invalid('', `its class is '${head.className}', expected Sequential, Model or Functional.`);
  }
  const mapped = mapModel(head.className, head.config, '', { findings, prefix: '', depth: -1, frozen: false });
  findings.finish('Keras has no equal of these; a Keras model cannot be written of this one.');
  return kerasModel(mapped as unknown as Plain) as { class_name: string; config: object };
}

/** See `depthwiseConstraint` of kinds.ts. */
function dropWrittenTwice(value: unknown): void {
  if (value === null || typeof value !== 'object') return;
  const constraint = isPlain(value) ? own(value, 'depthwise_constraint') : undefined;
  if (isPlain(constraint) && constraint.class_name === 'L1L2') (value as Plain).depthwise_constraint = null;
  for (const item of Object.values(value)) dropWrittenTwice(item);
}

const isModelClass = (name: unknown) => name === 'Model' || name === 'Functional' || name === 'Sequential';

function kerasModel(model: Plain): Plain {
  const config = model.config as Plain;
  const layers = (config.layers as Plain[]).map(kerasLayer);
  const sequential = model.class_name === 'Sequential';
  const shape = (config.layers as Plain[])[0].config as Plain;
  const [first] = layers;
  // Keras 3 takes the shape of another first layer for one without batch size.
  if (sequential && !isModelClass(first.class_name) && first.class_name !== 'InputLayer' && shape.batch_input_shape) {
    const name = typeof shape.name === 'string' ? { name: `${shape.name}_input` } : {};
    const input = {
      batch_input_shape: shape.batch_input_shape,
      dtype: shape.dtype ?? 'float32',
      sparse: false,
      ...name,
    };
    layers.unshift({ class_name: 'InputLayer', config: input });
  }
  // 'Functional' is unknown to Keras before 2.4, 'Model' is known to all.
  return { ...model, class_name: sequential ? 'Sequential' : 'Model', config: { ...config, layers } };
}

function kerasLayer(layer: Plain): Plain {
  if (isModelClass(layer.class_name)) return kerasModel(layer);
  const config = kerasArguments(layer.config as Plain);
  if (layer.class_name !== 'InputLayer') delete config.batch_input_shape;
  // The default of Keras is another variant with other weights.
  if (layer.class_name === 'GRU' || layer.class_name === 'GRUCell') config.reset_after = false;
  return { ...layer, config };
}

function kerasArguments(given: Plain): Plain {
  const config: Plain = {};
  for (const key of Object.keys(given)) config[key] = kerasValue(key, given[key]);
  return config;
}

function kerasValue(key: string, value: unknown): unknown {
  // Keras 3 finds a wrapped layer by its module only; others do not mind.
  if (key === 'layer' || key === 'cell') {
    return { module: 'keras.layers', registered_name: null, ...kerasLayer(value as Plain) };
  }
  if (key === 'cells') return (value as Plain[]).map(kerasLayer);
  if (!key.endsWith('_initializer') || !isPlain(value)) return value;
  const config = { ...(value.config as Plain) };
  // The same under both names in tfjs-layers; Keras 3 knows only this one.
  if (config.distribution === 'normal') config.distribution = 'truncated_normal';
  return { class_name: KERAS_INITIALIZERS.get(value.class_name as string) ?? value.class_name, config };
}
