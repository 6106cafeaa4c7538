/** scratch */
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { enableTuneMode, setMode } from 'tfjs-tune-mode';
import { useBackend } from '../helpers/backends';
import { inputsFor, largestDifference, predictions, randomise, rounding, applied } from '../helpers/models';
import { countsOf, gradients } from './gradients';
import { bn, chain, conv, input, L, merge, relu } from './table';
const dw = (name: string, args: object = {}) => L.depthwiseConv2d({ kernelSize: 3, padding: 'same', name, ...args });
const pw = (name: string, filters: number) => conv(name, { filters, kernelSize: 1 });
const block = (x: tfl.SymbolicTensor, c: tfl.layers.Layer, max?: number) => chain(x, c, bn(`${c.name}_bn`), relu(`${c.name}_r`, max));
const FORWARD = ['FusedConv2D', 'FusedDepthwiseConv2D'];
describe.each(['cpu', 'wasm'] as const)('%s', (backend) => {
  beforeAll(() => useBackend(backend));
  test('bottleneck counts', async () => {
    const x = input();
    const y = block(block(x, pw('expand', 12), 6), dw('dw'), 6);
    const p = chain(y, pw('project', 3), bn('project_bn'));
    const model = tfl.model({ inputs: x, outputs: merge(L.add({ name: 'sum' }), p, x) });
    randomise(model, 1);
    const xs = inputsFor(model, 2);
    enableTuneMode(model);
    const g = gradients(model, xs);
    console.log(await countsOf(FORWARD, () => gradients(model, xs)));
    enableTuneMode(model, { recompute: true });
    console.log(await countsOf(FORWARD, () => gradients(model, xs)));
    expect(gradients(model, xs)).toEqual(g);
    console.log(await countsOf(FORWARD, () => gradients(model, xs, 'x')));
    console.log(await countsOf(FORWARD, () => gradients(model, xs, 'weights')));
  });
  test('shared relu', () => {
    const x = input();
    const r = relu('r');
    const y = chain(x, dw('dw'), bn('n1'), r, conv('c2'), bn('n2'), r, conv('c3'), bn('n3'));
    const model = tfl.model({ inputs: x, outputs: y });
    randomise(model, 1);
    const xs = inputsFor(model, 2);
    setMode(model, 'eval');
    const p = predictions(model, xs);
    console.log(enableTuneMode(model, { recompute: true }).toString());
    expect(largestDifference(predictions(model, xs), p)).toBeLessThan(rounding(model));
  });
  test('relu first on the input', () => {
    const x = input();
    const r = relu('r');
    const y = chain(x, r, conv('c2'), bn('n2'), conv('c3'), bn('n3'), dw('dw'), bn('n1'), r, conv('c4'), bn('n4'));
    const model = tfl.model({ inputs: x, outputs: y });
    randomise(model, 1);
    const xs = inputsFor(model, 2);
    setMode(model, 'eval');
    const p = predictions(model, xs);
    console.log(enableTuneMode(model, { recompute: true }).toString());
    expect(largestDifference(predictions(model, xs), p)).toBeLessThan(rounding(model));
  });
  test('train on a cut', () => {
    const x = input();
    const y = block(x, dw('dw'));
    const p = chain(y, pw('project', 3), bn('project_bn'));
    const model = tfl.model({ inputs: x, outputs: p });
    const cut = tfl.model({ inputs: x, outputs: y });
    randomise(model, 1);
    const xs = inputsFor(model, 2);
    const out = [false, true].map((recompute) => {
      enableTuneMode(model, { recompute });
      setMode(cut, 'train');
      randomise(model, 1);
      return applied(model, xs, true);
    });
    expect(largestDifference(out[1], out[0])).toBeLessThan(rounding(model));
  });
  test('grads inside of grads, forward outside', () => {
    const x = input();
    const y = block(x, pw('expand', 12));
    const p = chain(y, pw('project', 3), bn('project_bn'));
    const model = tfl.model({ inputs: x, outputs: p });
    randomise(model, 1);
    const [xs] = inputsFor(model, 2);
    const kernel = model.getLayer('project').trainableWeights[1].read() as tf.Variable;
    const run = (which: 'x' | 'k') => { tf.engine().startScope(); try { return Array.from(tf.grad((xx) => {
      const out = tf.sum(tf.square(model.apply(xx, { training: true }) as tf.Tensor));
      const [g] = tf.grads(() => out)([which === 'x' ? xx : kernel]);
      return tf.sum(tf.square(g));
    })(xs).dataSync()); } finally { tf.engine().endScope(); } };
    for (const which of ['x', 'k'] as const) {
    setMode(model, 'eval');
    let e: number[][];
    try { e = [run(which)]; } catch (error) { console.log(which, 'eval', (error as Error).message); continue; }
    for (const recompute of [false, true]) {
      enableTuneMode(model, { recompute });
      try { console.log(which, recompute, largestDifference([run(which)], e)); } catch (error) { console.log(which, recompute, (error as Error).message); }
    } }
  });
});
