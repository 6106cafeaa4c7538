import * as tfl from '@tensorflow/tfjs-layers';
import { checkKeptHead, withNewHead } from '../../src/fine-tune/head';
import { useBackend } from '../helpers/backends';
import { asLayer, dense, functional, SHAPE } from './classifiers';
import { blocks, conv, gap, line, net, thrown } from './toy';

beforeAll(() => useBackend('cpu'));

const L = tfl.layers;

describe('names', () => {
  test.each([
    [['head']],
    [['head', 'head_new']],
    [['head_pool', 'head_dropout', 'head']],
    [['head', 'head_new', 'head_new_new', 'head_dropout_new', 'head_dropout']],
  ])('%p are taken: others are found', (taken) => {
    const own = taken.map((name) => L.activation({ activation: 'linear', name }));
    const source = line(SHAPE, [...blocks(), ...own]);
    const { model } = withNewHead(source, 2, 0.1);
    const names = model.layers.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toEqual(expect.arrayContaining(taken));
    expect(names.length).toBe(source.layers.length + 3);
  });

  // tfjs names a model that is made by a counter, without looking at the layers around it: 'model7'.
  test('the name that tfjs would give to the cut nested model is taken', () => {
    const probe = tfl.input({ shape: [1] });
    const next = Number(/\d+$/.exec(tfl.model({ inputs: probe, outputs: probe }).name)?.[0]);
    const taken = Array.from({ length: 20 }, (_, i) =>
      L.activation({ activation: 'linear', name: `model${next + i}` }),
    );
    const source = functional('outer', [...taken, asLayer(functional('base', [...blocks(), gap(), dense('old')]))]);
    expect(() => withNewHead(source, 2, 0.1)).not.toThrow();
  });
});

describe('a head that is kept', () => {
  test.each([[2], [4], [6]])('of 5 classes, for %i: refused naming both counts', (count) => {
    const model = net();
    const error = thrown(() =>
      checkKeptHead(
        model,
        Array.from({ length: count }, (_, i) => `${i}`),
      ),
    );
    expect(error?.code).toBe('unsupported');
    expect(error?.message).toContain('[batch, 5]');
    expect(error?.message).toContain(`${count} classes`);
  });

  test('of 5 classes, for 5: taken', () => {
    expect(checkKeptHead(net(), ['a', 'b', 'c', 'd', 'e'])).toContain('5 classes');
  });

  test('a feature map is no head, even with as many channels as classes', () => {
    const model = line(SHAPE, [conv('c', 5)]);
    expect(thrown(() => checkKeptHead(model, ['a', 'b', 'c', 'd', 'e']))?.code).toBe('unsupported');
  });
});
