/** How the file writes that a layer is called on tensors: as lists (Keras 1 and 2) or with keyword arguments (Keras 3). */
import type { Findings } from './findings';
import { isPlain, own, type Plain, show } from './plain';
import { RECURRENT } from './table';

/** Output `tensor` of call number `node` of `layer`. */
export interface TensorRef {
  layer: string;
  node: number;
  tensor: number;
}

export interface Call {
  inputs: TensorRef[];
  /** Only of layers that tfjs-layers does not know. */
  kwargs: Plain;
}

export interface Caller {
  path: string;
  className: string;
  custom: boolean;
  /** Whether it computes something else in training. */
  hasModes: boolean;
  findings: Findings;
}

/** The names under which layers take their first argument. */
const FIRST = new Set(['inputs', 'x', 'sequences', 'sequence', 'input']);

function ref(value: unknown[], caller: Caller): TensorRef {
  const [layer, node, tensor] = value;
  const index = (n: unknown) => Number.isSafeInteger(n) && (n as number) >= 0;
  if (value.length < 3 || typeof layer !== 'string' || !index(node) || !index(tensor)) {
    throw caller.findings.invalid(caller.path, `found the input ${show(value)}, expected ["layer", node, tensor].`);
  }
  return { layer, node: node as number, tensor: tensor as number };
}

/** ["name", 0, 0] in whatever lists and objects they lie. */
export function flattenRefs(value: unknown, caller: Caller, depth = 0): TensorRef[] {
  if (depth > 100) throw caller.findings.invalid(caller.path, 'lists are nested more than 100 deep.');
  if (Array.isArray(value)) {
    if (typeof value[0] === 'string') return [ref(value, caller)];
    return value.flatMap((item) => flattenRefs(item, caller, depth + 1));
  }
  if (isPlain(value)) return Object.values(value).flatMap((item) => flattenRefs(item, caller, depth + 1));
  throw caller.findings.invalid(
    caller.path,
    `found ${show(value)}, expected ["layer", node, tensor] or a list of them.`,
  );
}

export function readCall(node: unknown, caller: Caller): Call | undefined {
  if (Array.isArray(node)) return readListCall(typeof node[0] === 'string' ? [node] : node, caller);
  if (!isPlain(node)) {
    throw caller.findings.invalid(
      caller.path,
      `found ${show(node)} among 'inbound_nodes', expected a list or an object.`,
    );
  }
  const call: Call = { inputs: [], kwargs: {} };
  if (!Object.hasOwn(node, 'args') && !Object.hasOwn(node, 'kwargs')) {
    refuse(caller, 'takes its inputs by name; tfjs-layers takes a list');
    return call; // though empty, so that the calls of others are counted right
  }
  const args = own(node, 'args') ?? [];
  if (!Array.isArray(args))
    throw caller.findings.invalid(caller.path, `its 'args' are ${show(args)}, expected a list.`);
  for (const arg of args) call.inputs.push(...tensorsOf(arg, caller));
  takeKeywords(own(node, 'kwargs'), call, caller);
  if (call.inputs.length === 0 && caller.className === 'InputLayer') return undefined;
  if (call.inputs.length === 0) refuse(caller, 'is called without a tensor');
  return call;
}

function readListCall(node: unknown[], caller: Caller): Call | undefined {
  const call: Call = { inputs: [], kwargs: {} };
  for (const item of node) {
    if (!Array.isArray(item)) {
      throw caller.findings.invalid(caller.path, `found the input ${show(item)}, expected ["layer", node, tensor].`);
    }
    if (item[0] === '_CONSTANT_VALUE') {
      refuse(caller, 'is called on a constant');
      return call;
    }
    call.inputs.push(ref(item, caller));
  }
  if (node.length === 0) return undefined;
  // Every input repeats them; tfjs-layers reads those of the last.
  takeKeywords((node[node.length - 1] as unknown[])[3], call, caller);
  return call;
}

function refuse(caller: Caller, text: string): void {
  caller.findings.unsupported(caller.path, caller.className, text);
}

const isTensor = (value: unknown): value is Plain => isPlain(value) && value.class_name === '__keras_tensor__';

function tensorsOf(value: unknown, caller: Caller, depth = 0): TensorRef[] {
  if (depth > 100) throw caller.findings.invalid(caller.path, 'its inputs are nested more than 100 deep.');
  if (value === null) return [];
  if (isTensor(value)) {
    const config = isPlain(value.config) ? value.config : {};
    const history = own(config, 'keras_history') ?? own(config, '_keras_history');
    if (!Array.isArray(history)) {
      throw caller.findings.invalid(
        caller.path,
        "an input tensor has no 'keras_history' that says where it comes from.",
      );
    }
    return [ref(history, caller)];
  }
  if (Array.isArray(value)) return value.flatMap((item) => tensorsOf(item, caller, depth + 1));
  refuse(caller, `is called on ${show(value)}; tfjs-layers takes tensors and lists of them`);
  return [];
}

function takeKeywords(given: unknown, call: Call, caller: Caller): void {
  if (given === undefined || given === null) return;
  if (!isPlain(given))
    throw caller.findings.invalid(caller.path, `its 'kwargs' are ${show(given)}, expected an object.`);
  for (const name of Object.keys(given)) {
    const value = given[name];
    if (isNothing(value)) continue;
    if (name === 'training' && value === false) {
      // Keras 3 writes it for every recurrent layer.
      if (!caller.hasModes) continue;
      caller.findings.note(
        `'${caller.path}' is called with training = false in Keras; here it follows the mode of the whole model, which ` +
          'makes a difference in training only.',
      );
    } else if (name === 'initial_state' && RECURRENT.has(caller.className)) {
      call.inputs.push(...stateRefs(value, caller));
    } else if (FIRST.has(name) && call.inputs.length === 0) {
      call.inputs.push(...tensorsOf(value, caller));
    } else if (caller.custom && !holdsTensor(value)) {
      call.kwargs[name] = value;
    } else {
      refuse(caller, `is called with ${name} = ${holdsTensor(value) ? 'a tensor' : show(value)}`);
    }
  }
}

/** tfjs-layers takes the states of a recurrent layer as further inputs. */
function stateRefs(value: unknown, caller: Caller): TensorRef[] {
  return holdsTensor(value) ? tensorsOf(value, caller) : flattenRefs(value, caller);
}

/** Keras 3 writes one mask for each input, mostly none. */
const isNothing = (value: unknown): boolean => value === null || (Array.isArray(value) && value.every(isNothing));

const holdsTensor = (value: unknown): boolean => isTensor(value) || (Array.isArray(value) && value.some(holdsTensor));
