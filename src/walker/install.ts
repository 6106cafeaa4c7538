/**
 * What a mode swaps into a model, and how it is taken out again.
 *
 * Nothing that a model is saved, listed or built upon is touched: no layer, no node, no weight. Two things are:
 *
 * 1. `call` of a BN layer is overridden by Eval's normalisation (an own property, deleted to undo).
 * 2. For a pair, the executor is led past the conv. It reads two fields of a symbolic tensor, `inputs` and
 *    `sourceLayer` (tfjs-layers 4.22.0). The BN's output tensor gets `inputs = [S]`, where S is a *shadow*: a symbolic
 *    tensor that takes the conv's inputs and is computed by the whole block. Its value is marked as "already
 *    normalised, for this BN", and the BN's `apply`, seeing the mark, lets it pass. So the conv's own tensor stays what
 *    it was for whoever asks for it, and so does the BN's, whose source layer is still the BN. An absorbed activation
 *    is the same once more on its output tensor, with a shadow that applies the activation too.
 */
import { env, type Tensor } from '@tensorflow/tfjs-core';
import { SymbolicTensor } from '@tensorflow/tfjs-layers';
import { type Block, type Pass, weightsOf } from '../block';
import { frozenBatchNorm } from '../frozen-batch-norm';
import { axisOf, type BatchNormLayer, type Inputs, type Kwargs, type Layer, nodesOf } from '../internals';
import { isStock, markOurCall } from '../stock';
import { type Recomputable, type Wiring, wiringOf } from './wiring';

/** An undoing; run in the reverse order of the doing. */
export type Undo = () => void;

/** Values that a shadow has computed and that only its consumer may take, by the layer that may. */
const marked = new WeakMap<Tensor, Layer>();

/** The shadows that this package has made, to tell them from a model's own tensors. */
const shadows = new WeakSet<SymbolicTensor>();

export function isShadow(tensor: SymbolicTensor): boolean {
  return shadows.has(tensor);
}

/** Layers that let marked tensors pass: how many blocks want it, and the undoing. */
const passing = new WeakMap<Layer, { count: number; undo: Undo }>();

/** Puts a BN into Eval mode: moving statistics always, never written. A BN with a `call` of its own keeps that. */
export function installFrozen(bn: BatchNormLayer): Undo {
  if (!isStock(bn)) return () => {};
  const call = (inputs: Inputs) => {
    const x = Array.isArray(inputs) ? inputs[0] : inputs;
    return frozenBatchNorm(x, weightsOf(bn), axisOf(bn, x.rank));
  };
  markOurCall(call);
  return override(bn, 'call', call);
}

/** Leads the executor past a block's conv, at every place where conv and BN (and activation) stand together. */
export function installBlock(block: Block, recomputable: Recomputable): Undo {
  const undos: Undo[] = [];
  for (const bnNode of nodesOf(block.bn)) {
    const [convOutput] = bnNode.inputTensors;
    if (convOutput.sourceLayer !== block.conv) continue;
    const [bnOutput] = bnNode.outputTensors;
    const wiring = wiringOf(block, convOutput, recomputable);
    undos.push(redirect(bnOutput, block.bn, wiring, wiring.pass(false)));
    if (block.activation === null) continue;
    const activated = wiring.pass(true);
    for (const node of nodesOf(block.activation)) {
      if (node.inputTensors[0] !== bnOutput) continue;
      undos.push(redirect(node.outputTensors[0], block.activation, wiring, activated));
    }
  }
  undos.push(letPass(block.bn));
  if (block.activation !== null) undos.push(letPass(block.activation));
  return () => {
    for (const undo of undos.reverse()) undo();
  };
}

/**
 * Empties the executor's cache of sorted graphs: after a rewiring it would dispose inputs before their new consumers
 * ran. The flag's hook evicts entries when the maximum falls (tfjs-layers 4.22.0).
 */
export function forgetSortedGraphs(): void {
  const flag = 'TOPOLOGICAL_SORT_CACHE_MAX_ENTRIES';
  const entries = env().getNumber(flag);
  // Up first: the hook evicts as many entries as the maximum falls by, and with a maximum of 0 there can be one.
  env().set(flag, entries + 1);
  env().set(flag, 0);
  env().set(flag, entries);
}

/** Makes `output`, a tensor of `consumer`, depend on a shadow of the block instead of on its own inputs. */
function redirect(output: SymbolicTensor, consumer: Layer, wiring: Wiring, pass: Pass): Undo {
  // Declared readonly, and written by nobody but us: nodes keep their own list of input tensors.
  const tensor = output as { inputs: SymbolicTensor[] };
  const original = tensor.inputs;
  tensor.inputs = [shadowOf(output, wiring, consumer, pass)];
  return () => {
    tensor.inputs = original;
  };
}

/** What tfjs-layers checks before it calls a layer. */
interface Guarded {
  assertNotDisposed(): void;
  assertInputCompatibility(inputs: Inputs): void;
}

function shadowOf(output: SymbolicTensor, { inputs, first }: Wiring, consumer: Layer, pass: Pass): SymbolicTensor {
  const guarded = first as unknown as Guarded;
  // All that the executor asks of a source layer.
  const source = {
    name: `${consumer.name}/tune`,
    stateful: false,
    supportsMasking: first.supportsMasking,
    computeMask: (x: Inputs, mask?: Inputs) => first.computeMask(x, mask),
    inboundNodes: [] as object[],
    output: undefined as SymbolicTensor | undefined,
    apply: (values: Tensor[], kwargs?: Kwargs) => {
      guarded.assertNotDisposed();
      guarded.assertInputCompatibility(values);
      const y = pass(values[0], kwargs?.training === true);
      marked.set(y, consumer);
      return y;
    },
  };
  const shadow = new SymbolicTensor(output.dtype, output.shape, source as unknown as Layer, inputs, {}, source.name);
  source.inboundNodes.push({ outputTensors: [shadow] });
  source.output = shadow;
  shadows.add(shadow);
  return shadow;
}

function letPass(layer: Layer): Undo {
  const entry = passing.get(layer);
  if (entry !== undefined) entry.count++;
  else passing.set(layer, { count: 1, undo: overrideApply(layer) });
  return () => {
    const current = passing.get(layer);
    if (current === undefined || --current.count > 0) return;
    passing.delete(layer);
    current.undo();
  };
}

function overrideApply(layer: Layer): Undo {
  const original = layer.apply;
  return override(layer, 'apply', (inputs: Inputs, kwargs?: Kwargs) => {
    const x = Array.isArray(inputs) ? inputs[0] : inputs;
    if (marked.get(x) !== layer) return original.call(layer, inputs, kwargs);
    marked.delete(x);
    // Outside training the executor disposes a layer's input after its last consumer, so it must get a clone. In training
    // nothing is disposed, and a clone would pin the gradient of every block's output by an alias on the tape.
    return kwargs?.training ? x : x.clone();
  });
}

/** Sets an own property on a layer; the undoing leaves the layer exactly as it was. */
function override(layer: Layer, name: 'call' | 'apply', value: (...args: never[]) => unknown): Undo {
  const before = Object.getOwnPropertyDescriptor(layer, name);
  Object.defineProperty(layer, name, { value, configurable: true, writable: true, enumerable: false });
  return () => {
    if (before === undefined) delete (layer as unknown as Record<string, unknown>)[name];
    else Object.defineProperty(layer, name, before);
  };
}
