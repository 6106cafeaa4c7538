/** What `inspect` says of a model: the data, the tables, and the page with its picture. */
import '@tensorflow/tfjs-backend-cpu';
import path from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { inspect } from 'tfjs-tune-mode';
import { planRestore } from '../../adapters/graph-model/restore/plan';
import { loadModel, loadTopology } from '../../adapters/node/load-model';
import { inspectData, inspectHtml, inspectText, restoreStates } from '../../cli/inspect';
import { changes, snapshot, weightValues } from '../helpers/models';
import { describeShared } from '../helpers/shared';
import { MODELS } from '../models/table';

const L = tfl.layers;
const SOURCE = { format: 'layers-model', size: 12_345, producer: 'a test' };

beforeAll(() => tf.setBackend('cpu'));

function unescaped(text: string): string {
  return text
    .replace(/&lt;/g, '<')
    .replace(/&gt;/g, '>')
    .replace(/&quot;/g, '"')
    .replace(/&#39;/g, "'")
    .replace(/&amp;/g, '&');
}

/** The boxes of a picture: their state, and what their tooltip says, line by line. */
function boxesOf(html: string): { state: string; paths: string[]; lines: string[] }[] {
  return [...html.matchAll(/data-state="(\w+)"[^>]*><title>([^<]*)</g)].map(([, state, title]) => {
    const lines = unescaped(title).split('\n');
    return { state, paths: lines[0].split(' + '), lines };
  });
}

function expectSound(html: string): void {
  expect(html).not.toMatch(/NaN|undefined|Infinity|\[object/);
  expect(html).not.toMatch(/<script|<link rel="stylesheet|https?:(?!\/\/www\.w3\.org\/2000\/svg)/);
  expect(html).toMatch(/role="img" aria-labelledby="graph-title"/);
}

describe.each(MODELS)('the page of $name', ({ build }) => {
  test('shows every BN in exactly one state, the one that the report says, and leaves the model as it was', () => {
    const model = build();
    const { pairs, skipped } = inspect(model);
    const [before, weights] = [snapshot(model), weightValues(model)];
    let data: ReturnType<typeof inspectData>;
    try {
      data = inspectData(model, SOURCE);
    } catch (error) {
      // A conv that tfjs-layers cannot run once it is folded: `inspectDeploy` refuses it as a whole.
      expect(error).toMatchObject({ code: 'unsupported' });
      return;
    }
    const html = inspectHtml(data, model);
    expect(inspectText(data)).not.toMatch(/NaN|undefined/);
    expect(changes(before, snapshot(model))).toEqual([]);
    expect(weightValues(model)).toEqual(weights);
    expectSound(html);
    const boxes = boxesOf(html);
    const statesOf = (bn: string) => new Set(boxes.filter(({ paths }) => paths.includes(bn)).map(({ state }) => state));
    for (const { bn, conv } of pairs) {
      expect([...statesOf(bn)]).toEqual(['block']);
      expect(boxes.filter(({ paths }) => paths.includes(bn)).every(({ paths }) => paths[0] === conv)).toBe(true);
    }
    for (const { bn, reason } of skipped) {
      expect([...statesOf(bn)]).toEqual(['alone']);
      expect(boxes.filter(({ paths }) => paths.includes(bn)).every(({ lines }) => lines.includes(reason))).toBe(true);
      expect(unescaped(html.slice(html.indexOf('BatchNorms left alone</h2>')))).toContain(reason);
    }
  });
});

function small(): tfl.LayersModel {
  const model = tfl.sequential({
    name: 'net',
    layers: [
      L.conv2d({ inputShape: [8, 8, 3], filters: 4, kernelSize: 3, useBias: false }),
      L.batchNormalization(),
      L.reLU({ name: 'relu' }),
      L.maxPooling2d({ name: 'pool' }),
      L.batchNormalization({ name: 'alone' }),
      L.flatten({ name: 'flat' }),
      L.dense({ name: 'head', units: 2 }),
    ],
  });
  // tfjs-layers refuses such names when it builds a layer, but nothing keeps them out afterwards.
  model.layers[0].name = '<script>alert(1)</script>';
  model.layers[1].name = '"&bn';
  return model;
}

test('the data is what JSON can carry, with the names that it has had', () => {
  const data = inspectData(small(), SOURCE);
  expect(JSON.parse(JSON.stringify(data))).toEqual(data);
  expect(data).toMatchObject({
    ...SOURCE,
    inputs: [{ shape: [null, 8, 8, 3] }],
    outputs: [{ name: 'head', shape: [null, 2] }],
    weights: { count: 11, parameters: 108 + 16 + 16 + 74 },
    blocks: [{ kind: 'Conv2D', count: 1 }],
    pairs: [{ conv: '<script>alert(1)</script>', bn: '"&bn', activation: 'relu', kind: 'Conv2D' }],
    skipped: [{ bn: 'alone', code: 'not-after-conv' }],
    deploy: {
      after: [{ bn: '"&bn' }],
      before: [],
      kept: [{ bn: 'alone' }],
      savings: { difference: { parameters: 12, multiplyAdds: 144, activationBytes: 576 } },
    },
  });
});

test('names are escaped, and shown', () => {
  const model = small();
  const html = inspectHtml(inspectData(model, SOURCE), model, { name: '<b>"net"' });
  expectSound(html);
  expect(html).not.toContain('<b>"net"');
  expect(html).toContain('&lt;b&gt;&quot;net&quot;');
  expect(html).toContain('&lt;script&gt;alert(1)&lt;/script&gt; + &quot;&amp;bn + relu');
  expect(boxesOf(html).map(({ state }) => state)).toEqual(['other', 'block', 'other', 'alone', 'other', 'bare']);
});

test('the text has the facts, every BN and the savings', () => {
  const text = inspectText(inspectData(small(), SOURCE));
  expect(text).toMatch(/^1\/2 BatchNorms can be tuned with a conv/);
  expect(text).toMatch(/Inputs +\S+ 8×8×3/);
  expect(text).toMatch(/alone +not-after-conv +\S/);
  expect(text).toMatch(/parameters +214 +202 +12 +5.61%/);
});

test('states that are given take precedence, with their reasons', () => {
  const model = small();
  const states = new Map([['alone', { state: 'affine' as const, reason: 'a Mul and an Add' }]]);
  const found = boxesOf(inspectHtml(inspectData(model, SOURCE), model, { states }));
  expect(found.find(({ paths }) => paths[0] === 'alone')).toMatchObject({ state: 'affine' });
  expect(found.find(({ paths }) => paths[0] === 'alone')?.lines).toContain('a Mul and an Add');
});

test('a graph beyond what can be read is told in tables only', () => {
  const x = tfl.input({ shape: [2] });
  let y = x;
  for (let i = 0; i < 3001; i++) y = L.activation({ activation: 'relu' }).apply(y) as tfl.SymbolicTensor;
  const model = tfl.model({ inputs: x, outputs: y });
  const html = inspectHtml(inspectData(model, SOURCE), model);
  expect(html).not.toContain('<svg class="graph"');
  expect(html).toContain('The graph has 3,002 boxes.');
});

test('a long chain is folded into columns; no box lies upon another', () => {
  const layers = Array.from({ length: 60 }, (_, i) =>
    L.conv2d({ filters: 1, kernelSize: 1, ...(i === 0 ? { inputShape: [4, 4, 1] } : {}) }),
  );
  const model = tfl.sequential({ layers });
  const html = inspectHtml(inspectData(model, SOURCE), model);
  const [, width, height] = /width="(\d+)" height="(\d+)" viewBox/.exec(html)?.map(Number) ?? [];
  expect(width / height).toBeGreaterThan(0.9);
  expect(width / height).toBeLessThan(2.5);
  const places = [...html.matchAll(/class="(?:box|port)[^"]*"[^>]* transform="translate\(([\d.-]+) ([\d.-]+)\)"/g)];
  expect(places.length).toBeGreaterThanOrEqual(61);
  expect(new Set(places.map(([, x, y]) => `${x} ${y}`)).size).toBe(places.length);
});

describeShared('real models', (shared) => {
  test('nested models are framed, each BN is in its block', async () => {
    const model = await loadTopology(path.join(shared, 'models/layers_tm_food_mobilenetv2_035'));
    const html = inspectHtml(inspectData(model, SOURCE), model);
    expectSound(html);
    expect(html).toMatch(/<title>Nested model sequential_9\/model3</);
    expect(boxesOf(html).filter(({ state }) => state === 'block')).toHaveLength(52);
    model.dispose();
  });

  test('a GraphModel: which convolutions get their BatchNorm back', async () => {
    const { model } = await loadModel(path.join(shared, 'models/graph_mobilenet_v1_025_224'));
    const restore = planRestore(model, () => true);
    const data = inspectData(model, { ...SOURCE, restore });
    const html = inspectHtml(data, model, { states: restoreStates(restore) });
    expectSound(html);
    expect(boxesOf(html).filter(({ state }) => state === 'restorable')).toHaveLength(27);
    expect(unescaped(html)).toContain('it makes predictions');
    expect(inspectText(data)).toMatch(/^27\/28 convolutions can get their BatchNorm back/);
    model.dispose();
  });
});
