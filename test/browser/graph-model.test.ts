/**
 * The zoo's graphs in a real page: bundled from `dist` beside the packages that they come from, lifted, tuned and handed
 * back, on the backends of a page.
 *
 * Tolerance: two blocks, lifted or restored, differ from their graph by the order of a few roundings of numbers of up to 2,
 * 2⁻²⁴ of them each; 1.2e-7 was seen, and 2e-6 leaves a factor of 16. Of probabilities and scores of at most 1: 1e-6. A
 * wrong fold, range or resizing is off by 1e-2 or more.
 */
import type { BuildOptions, Metafile } from 'esbuild';
import type { Page } from 'playwright-core';
import { useBackend } from '../helpers/backends';
import { tinyDetector, tinyMobileNet } from '../zoo/graphs';
import { graphFiles, under } from '../zoo/models';
import { type Server, startServer } from '../zoo/server';
import { bundle, describeBrowser, type Site, startSite } from './chromium';

const PAGE = 'graph-model-page.ts';
const ROUNDING = 2e-6;
const OF_ONE = 1e-6;
const FORMS = ['canvas', 'img', 'data', 'bitmap', 'small'];

/** What `graph-model-page.ts` puts into the page. */
type Name = 'mobileNet' | 'tunedMobileNet' | 'detector' | 'lifted' | 'writtenBack' | 'alone';
// biome-ignore lint/suspicious/noExplicitAny: data out of a page, which the expectations name field by field
type Found = any;
type InPage = Record<Name, (...args: unknown[]) => Promise<Found>>;

interface Detected {
  bbox: number[];
  class: string;
  score: number;
}

/**
 * coco-ssd's `module` is CommonJS in fact, and what is required esbuild takes from `main`, which is Node's build. With
 * this order, that of other bundlers, it takes the ES modules for everyone.
 */
const MODULES: BuildOptions = { mainFields: ['browser', 'module', 'main'] };

describeBrowser('graphs of the zoo in Chromium', () => {
  let site: Site;
  let server: Server;
  let page: Page;
  let plain: Awaited<ReturnType<typeof bundle>>;
  let modules: Awaited<ReturnType<typeof bundle>>;
  const complaints: string[] = [];

  beforeAll(async () => {
    await useBackend('cpu');
    [plain, modules] = await Promise.all([bundle(PAGE), bundle(PAGE, MODULES)]);
    const html = (name: string) => `<!doctype html><title>test</title><script src="/${name}.js"></script>`;
    site = await startSite(
      { zoo: html('plain'), 'zoo-of-modules': html('modules') },
      { 'plain.js': plain.code, 'modules.js': modules.code },
    );
  });
  afterAll(() => site?.close());
  beforeEach(async () => {
    const graphs = { '/net': tinyMobileNet(), '/detector': tinyDetector() };
    const pages = Object.entries(graphs).map(([folder, artifacts]) => under(folder, graphFiles(artifacts)));
    server = await startServer(Object.assign({}, ...pages));
    complaints.length = 0;
    page = await site.open('zoo', complaints);
  });
  afterEach(async () => {
    await page.close();
    await server.close();
  });

  const call = (name: Name, ...args: unknown[]) =>
    page.evaluate(([n, given]) => (globalThis as unknown as InPage)[n](...given), [name, args] as const);
  const net = () => `${server.address}/net/model.json`;
  const detector = () => `${server.address}/detector/model.json`;
  /** All but what Chromium says of reading pixels, and tfjs of a detector without the loop that real ones have. */
  const complained = () =>
    complaints.filter((text) => !/willReadFrequently|ReadPixels|did not contain any nodes with control/.test(text));
  const inCache = () => page.evaluate(async () => (await (await caches.open('tfjs-tune-mode')).keys()).length);

  function expectAlike([mine, theirs]: Detected[][]): void {
    expect(mine.map((each) => each.class)).toEqual(theirs.map((each) => each.class));
    mine.forEach(({ bbox, score }, i) => {
      expect(Math.abs(score - theirs[i].score)).toBeLessThan(OF_ONE);
      // In pixels, of at most 80.
      for (const at of [0, 1, 2, 3]) expect(Math.abs(bbox[at] - theirs[i].bbox[at])).toBeLessThan(80 * OF_ONE);
    });
  }

  test('all packages of a bundle share one tfjs-core', () => {
    const core = (inputs: Metafile['inputs']) => {
      const imports = Object.values(inputs).flatMap((each) => each.imports);
      return new Set(imports.filter(({ original }) => original === '@tensorflow/tfjs-core').map((each) => each.path));
    };
    const nodes = ({ inputs }: typeof plain) => Object.keys(inputs).filter((file) => file.endsWith('.node.js'));
    expect(core(plain.inputs).size).toBe(1);
    expect(core(modules.inputs).size).toBe(1);
    expect(nodes(modules)).toEqual([]);
    // Nothing of ours is for Node alone; its builds that esbuild takes by itself are tfjs's.
    expect(nodes(plain).filter((file) => !file.includes('@tensorflow'))).toEqual([]);
    for (const { inputs } of [plain, modules]) {
      expect(Object.keys(inputs).filter((file) => /dist\/(zoo|node)\.|jpeg-js|pngjs/.test(file))).toEqual([]);
    }
  });

  describe.each(['cpu', 'wasm', 'webgl'])('on %s', (backend) => {
    test('MobileNet names and gives what the package does, for every form of picture', async () => {
      const { found, pairs, mode, left } = await call('mobileNet', backend, net());
      expect({ pairs, mode, left }).toEqual({ pairs: 2, mode: 'tune', left: 0 });
      expect(Object.keys(found)).toEqual(FORMS);
      for (const form of FORMS) {
        const { shape, logits, embedding, mine, theirs, probability } = found[form];
        expect(shape).toEqual([1, 1000]);
        expect(logits).toBeLessThan(ROUNDING);
        expect(embedding).toBeLessThan(ROUNDING);
        expect(probability).toBeLessThan(OF_ONE);
        expect(mine).toHaveLength(5);
        expect(mine).toEqual(theirs);
      }
      expect(complained()).toEqual([]);
    });

    test('MobileNet fine-tuned: the package takes it from IndexedDB, and gives the tuned embedding', async () => {
      const found = await call('tunedMobileNet', backend, net());
      expect(found).toMatchObject({ accuracy: 1, labels: ['bright', 'dark'], first: 'bright', left: 0 });
      expect(found.bestEpoch).toBeGreaterThan(0); // else only the head had been trained
      expect(found.handedOver).toBeLessThan(ROUNDING);
      expect(found.changed).toBeGreaterThan(1e-2);
      // Its two classes are not ImageNet's: it is not taken for what it was.
      expect(await call('alone', 'mobilenet', 'indexeddb://tuned')).toMatchObject({ code: 'unsupported', left: 0 });
      expect(complained()).toEqual([]);
    });

    test('coco-ssd finds what the package finds, before and after some steps', async () => {
      const { both, dark, losses, left, backend: after } = await call('detector', backend, detector());
      expect({ left, after, dark }).toEqual({ left: 0, after: backend, dark: [] });
      for (const form of FORMS) expectAlike(both[form]);
      const [{ score, ...person }] = both.canvas[0];
      expect(person).toEqual({ bbox: [0, 0, 40, 40], class: 'person' });
      expect(Math.abs(score - 1 / (1 + Math.exp(-20 * (240 / 255 - 0.5))))).toBeLessThan(1e-5);
      expect(losses.at(-1)).toBeLessThan(0.97 * losses[0]);
      // What was trained is in the graph that was handed over, and what had been loaded before is as it was.
      expectAlike(both.tuned);
      expect(both.untuned[0]).toEqual(both.untuned[1]);
      expect(Math.abs(both.tuned[0][0].score - both.untuned[0][0].score)).toBeGreaterThan(1e-3);
      expect(complained()).toEqual([]);
    });

    test.each([
      ['MobileNet', net, [2, 224, 224, 3], undefined],
      ['the detector', detector, [1, 16, 16, 3], ['Squeeze', 'concat_1']],
    ])('%s lifted, restored, and written back: the outputs of the graph', async (_, url, shape, outputs) => {
      const found = await call('lifted', backend, url(), shape, outputs);
      expect(found.left).toBe(0);
      expect(found.largest).toBeGreaterThan(0.1);
      expect(found.batchNorms).toBe(shape[1] === 224 ? 2 : 1);
      for (const name of ['plain', 'restored', 'written']) {
        expect(found.differences[name]).toBeLessThan(ROUNDING * Math.max(1, found.largest / 2));
      }
      expect(complained()).toEqual([]);
    });
  });

  test('the same from a bundle of ES modules alone', async () => {
    await page.close();
    page = await site.open('zoo-of-modules', complaints);
    const { found, left } = await call('mobileNet', 'wasm', net());
    expect(left).toBe(0);
    for (const form of FORMS) expect(found[form].logits).toBeLessThan(ROUNDING);
    const { both } = await call('detector', 'wasm', detector());
    for (const form of FORMS) expectAlike(both[form]);
    expectAlike(both.tuned);
    expect(complained()).toEqual([]);
  });

  test('an untouched net goes to IndexedDB and back again and again, and stays what it is', async () => {
    const { classes, left } = await call('writtenBack', net());
    expect(left).toBe(0);
    expect(classes).toHaveLength(3);
    for (const each of classes) {
      each.forEach(({ className, probability }: Found, i: number) => {
        expect(className).toBe(classes[0][i].className);
        expect(Math.abs(probability - classes[0][i].probability)).toBeLessThan(OF_ONE);
      });
    }
    expect(complained()).toEqual([]);
  });

  test.each([
    ['mobilenet', net],
    ['coco-ssd', detector],
  ])('%s: the second load asks the server nothing, and works offline', async (kind, url) => {
    const first = await call('alone', kind, url());
    expect(first.left).toBe(0);
    expect(first.found.length).toBeGreaterThan(0);
    expect(first.progress.at(-1)).toBe(1);
    expect(server.asked).toHaveLength(3);
    expect(await inCache()).toBe(4); // with the index
    expect(await call('alone', kind, url())).toEqual({ ...first, progress: [0, 1] });
    expect(server.asked).toHaveLength(3);
    await server.close();
    expect(await call('alone', kind, url())).toEqual({ ...first, progress: [0, 1] });
    expect(complained()).toEqual([]);
  });

  test('what is refused says why, and leaves nothing', async () => {
    const refusals: [string, string, string, RegExp][] = [
      ['mobilenet', detector(), 'unsupported', /cannot be lifted/],
      ['coco-ssd', net(), 'unsupported', /expected a detector/],
      ['layers', net(), 'not-a-layers-model', /liftGraphModel.*loadMobileNet/],
      ['mobilenet', 'indexeddb://nothing', 'not-found', /There is no 'indexeddb:\/\/nothing'/],
      ['coco-ssd', `${server.address}/none/`, 'download-failed', /none\/model.json' answers with status 404/],
    ];
    for (const [kind, url, code, message] of refusals) {
      const found = await call('alone', kind, url);
      expect(found).toEqual({ code, message: expect.stringMatching(message), left: 0 });
    }
    await page.evaluate(() => caches.delete('tfjs-tune-mode'));
    await server.close();
    const offline = await call('alone', 'mobilenet', net());
    expect(offline.message).toMatch(/net\/model.json' cannot be downloaded .*pass the URL of another copy.*'modelUrl'/);
    expect(await inCache()).toBe(0);
  });
});
