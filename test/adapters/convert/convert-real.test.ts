/**
 * Every real model through every row of the table. Tolerances are `convert`'s own (1e-3 of the largest output in float32),
 * which it checks itself; where nothing is folded and nothing quantised, the result must be equal to the last bit.
 */
import fs from 'node:fs';
import path from 'node:path';
import { useBackend } from '../../helpers/backends';
import { describeShared } from '../../helpers/shared';
import { describeWithH5py } from '../keras/h5-python';
import { temporaryFolder } from '../node/temporary-folder';
import { GRAPH_ROWS, LAYERS_ROWS, runRow, Sources } from './rows';

beforeAll(() => useBackend('wasm'));

/** BNs that Deploy folds, as ../shared/models/README.md says. */
const LAYERS: Record<string, number> = {
  layers_mobilenet_v1_025_224: 27,
  layers_facecls_emotion_mobilenet_v1: 27,
  layers_tm_food_mobilenetv2_035: 52,
  layers_emosense_separable: 9,
  layers_crepe_tiny: 0,
  layers_catdog_cnn_bn: 0,
  layers_catmood_mobilenetv2_keras3: 52,
};

/** BNs that Deploy folds. */
const GRAPHS: Record<string, number> = {
  graph_mobilenet_v1_025_224: 0,
  graph_alphabet_conv_mul_add: 3,
  graph_handtrack_ssd320fpnlite_mobilenetv2_uint8: 0,
};

/** BNs that are put back on photographs, of the graphs that are for such. */
const RESTORED: Record<string, number> = {
  graph_mobilenet_v1_025_224: 27,
  graph_handtrack_ssd320fpnlite_mobilenetv2_uint8: 79,
};

const sourcesOf = temporarySources();

/** One folder for a model's rows, so that what they start from is made once. */
function temporarySources() {
  const folders = new Map<string, string>();
  const { mkdtempSync, rmSync } = fs;
  afterAll(() => {
    for (const folder of folders.values()) rmSync(folder, { recursive: true, force: true });
  });
  return (shared: string, name: string): Sources => {
    let folder = folders.get(name);
    if (folder === undefined) {
      folder = mkdtempSync(path.join(require('node:os').tmpdir(), 'tune-mode-rows-'));
      folders.set(name, folder);
    }
    return new Sources(path.join(shared, 'models', name), folder);
  };
}

describeShared('real layers models', (shared) => {
  const place = temporaryFolder();
  describeWithH5py('every row', () => {
    describe.each(Object.keys(LAYERS))('%s', (name) => {
      test.each(LAYERS_ROWS)('$name', async (row) => {
        const report = await runRow(row, sourcesOf(shared, name), fs.mkdtempSync(place('out')));
        const { mode, quantize } = row.options;
        expect(report.folded).toBe(mode === 'deploy' ? LAYERS[name] : 0);
        // Kept by Deploy: only what cannot be folded.
        if (mode === 'deploy') expect(report.kept.length === 0).toBe(LAYERS[name] > 0);
        if (mode === 'tune' && quantize === undefined) expect(report.verification?.maxDifference).toBe(0);
        if (quantize !== undefined) expect(report.output.bytes).toBeLessThan(0.75 * report.input.bytes);
      });
    });
  });
});

describeShared('real graphs', (shared) => {
  const place = temporaryFolder();
  describe.each(Object.keys(GRAPHS))('%s', (name) => {
    test.each(GRAPH_ROWS)('$name', async (row) => {
      const report = await runRow(row, sourcesOf(shared, name), fs.mkdtempSync(place('out')));
      expect(report.folded).toBe(report.output.mode === 'deploy' ? GRAPHS[name] : 0);
    });
  });

  test.each(Object.entries(RESTORED))(
    '%s → layers, tune, restored on pictures',
    async (name, restored) => {
      const row = { name: '', from: 'source', output: 'folder', options: { mode: 'tune' } } as const;
      const options = { restore: path.join(shared, 'data/imagenet_samples') };
      const report = await runRow(row, sourcesOf(shared, name), fs.mkdtempSync(place('out')), options);
      expect(report.restored).toBe(restored);
      expect(report.notes.join()).not.toMatch(/folded away/);
    },
    300_000,
  );
});

describeShared('deployed models see in imagenet_samples what their sources see', (shared) => {
  const place = temporaryFolder();
  const pictures = path.join(shared, 'data/imagenet_samples');
  test.each([
    ['layers_mobilenet_v1_025_224', {}],
    ['layers_tm_food_mobilenetv2_035', {}],
    ['layers_catmood_mobilenetv2_keras3', {}],
    ['layers_facecls_emotion_mobilenet_v1', {}],
    ['layers_emosense_separable', {}],
    ['graph_mobilenet_v1_025_224', { inputRange: [0, 1] as const }],
  ])('%s', async (name, options) => {
    const row = { name: '', from: 'source', output: 'folder', options: { mode: 'deploy', pictures } } as const;
    const { verification } = await runRow(row, sourcesOf(shared, name), fs.mkdtempSync(place('out')), options);
    expect(verification?.pictures).toBeGreaterThan(20);
    expect(verification?.top1).toEqual({ agreed: verification?.pictures, of: verification?.pictures });
  });
});
