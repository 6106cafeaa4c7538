/** The invariants of a model after a switch of modes, checked every time: cheap, and it saves a silent wrong model. */
import type { SymbolicTensor } from '@tensorflow/tfjs-layers';
import { TuneModeError } from '../errors';
import type { GraphNode } from '../internals';
import type { Mode } from '../modes';
import { isOurCall, isStock } from '../stock';
import type { Analysis } from './find';
import { isShadow } from './install';
import { wiringOf } from './wiring';

/**
 * - Every BN is overridden, unless in `train` (or with a `call` of its own).
 * - In `tune` every use of a pair leads to a shadow that takes exactly the conv's inputs, or those of
 *   what the block takes in before it (wiring.ts); nothing else leads to a shadow.
 * @throws TuneModeError `broken-invariant`, naming the layer.
 */
export function verifyInstalled({ uses, pairs, batchNorms, recomputable }: Analysis, mode: Mode): void {
  for (const bn of batchNorms) {
    if (isOurCall(bn.call) !== (mode !== 'train' && isStock(bn)))
      fail(uses.pathOf(bn), `its call does not fit mode '${mode}'`);
  }
  const redirected = new Map<GraphNode, SymbolicTensor[]>();
  if (mode === 'tune') {
    for (const { bn, block } of pairs) {
      for (const use of uses.usesOf(bn)) {
        const { inputs } = wiringOf(block, use.inputTensors[0], recomputable);
        redirected.set(use, inputs);
        if (block.activation === null) continue;
        for (const next of uses.consumersOf(use.outputTensors[0])) redirected.set(next, inputs);
      }
    }
  }
  for (const node of uses.nodes) {
    const taken = redirected.get(node);
    for (const output of node.outputTensors) {
      const [input] = output.inputs;
      const shadowed = input !== undefined && isShadow(input);
      const right =
        taken === undefined ? !shadowed : shadowed && input.inputs.every((tensor, i) => tensor === taken[i]);
      if (!right) fail(uses.pathOf(node.outboundLayer), 'its output is wired wrongly');
    }
  }
}

function fail(layer: string, what: string): never {
  throw new TuneModeError(
    'broken-invariant',
    `After switching modes, layer '${layer}' is not as it must be: ${what}. The model was put back as it was. Please report this with the model's topology.`,
  );
}
