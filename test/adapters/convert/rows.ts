/** Every way that `convert` has from a saved model, each checked against tfjs's own loader. */
import fs from 'node:fs';
import path from 'node:path';
import { type GraphModel, loadGraphModel } from '@tensorflow/tfjs-converter';
import * as tf from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { type ConvertOptions, type ConvertReport, convert } from 'tfjs-tune-mode/convert';
import { fileIO } from 'tfjs-tune-mode/node';
import { runPython } from '../keras/h5-python';

export interface Row {
  name: string;
  /** The file or folder to start from; made of the model where it is none of its own. */
  from: 'source' | 'h5' | 'weights' | 'keras' | 'quantised';
  output: 'folder' | 'h5' | 'graph';
  options: ConvertOptions;
}

const MODES = ['tune', 'deploy'] as const;

/** Wide on purpose for uint8: with 255 levels a small net may see another class; that each weight is off by half a step is checked by `convert` all the same. */
const QUANTISED = [
  ['float16', undefined],
  ['uint16', undefined],
  ['uint8', 2],
] as const;

export const LAYERS_ROWS: Row[] = [
  ...MODES.map(
    (mode): Row => ({ name: `as it is → layers, ${mode}`, from: 'source', output: 'folder', options: { mode } }),
  ),
  ...MODES.map((mode): Row => ({ name: `as it is → h5, ${mode}`, from: 'source', output: 'h5', options: { mode } })),
  ...QUANTISED.map(
    ([quantize, tolerance]): Row => ({
      name: `as it is → layers, deploy, ${quantize}`,
      from: 'source',
      output: 'folder',
      options: { mode: 'deploy', quantize, tolerance },
    }),
  ),
  { name: 'quantised → layers, tune', from: 'quantised', output: 'folder', options: { mode: 'tune' } },
  { name: 'quantised → h5, deploy', from: 'quantised', output: 'h5', options: { mode: 'deploy' } },
  ...MODES.map((mode): Row => ({ name: `h5 → layers, ${mode}`, from: 'h5', output: 'folder', options: { mode } })),
  { name: 'weights alone → layers, tune', from: 'weights', output: 'folder', options: { mode: 'tune' } },
  ...MODES.map(
    (mode): Row => ({ name: `keras → layers, ${mode}`, from: 'keras', output: 'folder', options: { mode } }),
  ),
];

export const GRAPH_ROWS: Row[] = [
  ...MODES.map((mode): Row => ({ name: `→ layers, ${mode}`, from: 'source', output: 'folder', options: { mode } })),
  { name: '→ graph', from: 'source', output: 'graph', options: { to: 'graph' } },
  ...QUANTISED.map(
    ([quantize, tolerance]): Row => ({
      name: `→ graph, ${quantize}`,
      from: 'source',
      output: 'graph',
      options: { to: 'graph', quantize, tolerance },
    }),
  ),
  {
    name: '→ layers, deploy, float16',
    from: 'source',
    output: 'folder',
    options: { mode: 'deploy', quantize: 'float16' },
  },
];

/** What rows start from besides the source itself. */
export class Sources {
  constructor(
    private readonly source: string,
    private readonly folder: string,
  ) {}

  async place(from: Row['from']): Promise<{ place: string; topology?: string }> {
    const [h5, weights, keras, quantised] = ['model.h5', 'weights.h5', 'model.keras', 'quantised'].map((name) =>
      path.join(this.folder, name),
    );
    if (from === 'source') return { place: this.source };
    if (from === 'quantised') {
      if (!fs.existsSync(quantised)) await convert(this.source, quantised, { quantize: 'uint16', verify: false });
      return { place: quantised };
    }
    if (!fs.existsSync(h5)) await convert(this.source, h5, { verify: false });
    if (from === 'h5') return { place: h5 };
    if (!fs.existsSync(keras)) runPython('../convert/to_keras.py', h5, weights, keras);
    return from === 'keras' ? { place: keras } : { place: weights, topology: h5 };
  }
}

/**
 * Converts, and loads the result by tfjs's own loader, or, of an .h5, by the way back.
 * @returns what `convert` reports, and the file sizes.
 */
export async function runRow(
  row: Row,
  sources: Sources,
  out: string,
  options: ConvertOptions = {},
): Promise<ConvertReport> {
  const { place, topology } = await sources.place(row.from);
  const output = path.join(out, row.output === 'h5' ? 'model.h5' : 'model');
  const before = tf.memory();
  const report = await convert(place, output, { topology, ...row.options, ...options });
  const after = tf.memory();
  expect([after.numTensors, after.numDataBuffers]).toEqual([before.numTensors, before.numDataBuffers]);
  expect(report.verification).not.toBeNull();
  expect(report.output.bytes).toBe(bytesIn(output));
  expect(fs.readdirSync(out)).toEqual([path.basename(output)]); // and nothing beside it
  if (row.output === 'h5') await expectBack(output, path.join(out, 'back'), report);
  else await expectLoads(output, row.output);
  return report;
}

/** A second conversion checks itself; what it must find is the same number of weights. */
async function expectBack(h5: string, folder: string, { output }: ConvertReport): Promise<void> {
  const back = await convert(h5, folder);
  expect(back.input.format).toBe('keras-h5');
  expect(back.verification?.maxDifference).toBe(0);
  expect(output.format).toBe('h5');
}

async function expectLoads(folder: string, kind: Row['output']): Promise<void> {
  const model: tfl.LayersModel | GraphModel =
    kind === 'graph' ? await loadGraphModel(fileIO(folder)) : await tfl.loadLayersModel(fileIO(folder));
  expect(model.inputs.length).toBeGreaterThan(0);
  model.dispose();
}

function bytesIn(place: string): number {
  if (fs.statSync(place).isFile()) return fs.statSync(place).size;
  const names = fs.readdirSync(place).filter((name) => name !== 'metadata.json');
  return names.reduce((sum, name) => sum + fs.statSync(path.join(place, name)).size, 0);
}
