/** From the configuration of a model as Keras 1, 2 or 3 saved it to what tfjs-layers 4.22.0 reads, and back. */
import { Findings, writerOf } from './findings';
import { isModel, readHead, type Scope } from './layer';
import { mapModel } from './model';
import { copyPlain, isPlain, own, type Plain, show } from './plain';

export { toKerasConfig } from './to-keras';

interface MappedTopology {
  /** As tfjs-layers reads it in 'modelTopology'. */
  topology: { class_name: string; config: object; keras_version?: string; backend?: string };
  /** What was left out or changed with a possible effect on results or training, one sentence each. */
  notes: string[];
}

const ADVICE =
  'Replace these layers in Keras and save the model again. Classes and arguments that you have added to tfjs-layers ' +
  'yourself pass with allowCustom: true.';

/**
 * Maps {class_name, config}, {model_config: …} around it, or the bare list of layers of a Keras 1 Sequential. The input
 * is not changed.
 *
 * Counts (units, filters, strides …) up to 1e6 are taken, weights up to 2^29 numbers as far as a layer's own arguments
 * tell, models up to 100 deep in each other.
 *
 * @param place names the file in messages.
 * @param kerasVersion as the file says ('1.2.2', '2.4.0', '3.9.2', 'tfjs-layers 4.22.0'); without it, what the
 * configuration itself says.
 * @throws TuneModeError `unsupported` naming every layer and argument that tfjs-layers cannot compute, all at once.
 * @throws TuneModeError `invalid-model-file` for a configuration that no Keras wrote.
 */
export function mapTopology(
  place: string,
  config: unknown,
  kerasVersion: string | undefined,
  options: { allowCustom: boolean },
): MappedTopology {
  const root = unwrap(place, copyPlain(place, config));
  const version = kerasVersion ?? root.version;
  const findings = new Findings(place, writerOf(version, root.model), options.allowCustom);
  const head = readHead(root.model, '', findings);
  const subclass = !isModel(head) && isFunctional(head.config);
  if (!isModel(head) && !subclass) {
    findings.unsupported(head.name ?? head.className, head.className, 'no Sequential or functional model');
    findings.finish(ADVICE);
  }
  if (subclass) findings.unknown(head.name ?? head.className, head.className, 'a model class that Keras does not have');
  const scope: Scope = { findings, prefix: '', depth: -1, frozen: false };
  const mapped = mapModel(subclass ? 'Functional' : head.className, head.config, '', scope);
  findings.finish(ADVICE);
  return {
    topology: {
      ...mapped,
      ...(version === undefined ? {} : { keras_version: version }),
      ...(root.backend === undefined ? {} : { backend: root.backend }),
    },
    notes: [...findings.notes],
  };
}

const isFunctional = (config: unknown) =>
  isPlain(config) && Array.isArray(own(config, 'layers')) && own(config, 'input_layers') !== undefined;

interface Root {
  model: unknown;
  version: string | undefined;
  backend: string | undefined;
}

function unwrap(place: string, given: unknown): Root {
  if (Array.isArray(given))
    return { model: { class_name: 'Sequential', config: given }, version: undefined, backend: undefined };
  if (!isPlain(given)) {
    const findings = new Findings(place, writerOf(undefined), false);
    throw findings.invalid('', `found ${show(given)}, expected the model's configuration as an object.`);
  }
  const held = own(given, 'model_config');
  const inner: Plain = isPlain(held) ? held : given;
  const text = (key: string) => {
    const value = own(given, key) ?? own(inner, key);
    return typeof value === 'string' ? value : undefined;
  };
  return {
    model: held === undefined || held === null ? given : held,
    version: text('keras_version'),
    backend: text('backend'),
  };
}
