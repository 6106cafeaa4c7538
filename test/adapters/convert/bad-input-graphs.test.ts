/** GraphModels that are damaged, or made to do harm. */
import fs from 'node:fs';
import path from 'node:path';
import type { TuneModeErrorCode } from 'tfjs-tune-mode';
import { useBackend } from '../../helpers/backends';
import { GraphBuilder } from '../graph-model/graphs';
import { temporaryFolder } from '../node/temporary-folder';
import { refused } from './attempt';
import { editJson, type Json, nodeIn, specIn, writeGraph } from './small-files';

const at = temporaryFolder();
beforeAll(() => useBackend('cpu'));

const BIN = 'group1-shard1of1.bin';
type Row = [name: string, damage: (folder: string) => void, code: TuneModeErrorCode, says: RegExp];
const json = (edit: (json: Json) => void) => (folder: string) => editJson(folder, edit);
const spec = (name: string, change: Json) => json((it) => Object.assign(specIn(it, name), change));
const node = (name: string, change: Json) => json((it) => Object.assign(nodeIn(it, name), change));
const bytes = (edit: (bytes: Buffer) => Uint8Array) => (folder: string) =>
  fs.writeFileSync(path.join(folder, BIN), edit(fs.readFileSync(path.join(folder, BIN))));
const shape = (...sizes: number[]) => ({ shape: { shape: { dim: sizes.map((size) => ({ size: String(size) })) } } });

const ROWS: Row[] = [
  ['no weights', json((it) => delete it.weightsManifest), 'invalid-model-file', /has no weights/],
  ['no nodes', json((it) => (it.modelTopology.node = [])), 'unsupported', /./],
  ['nodes that are text', json((it) => (it.modelTopology.node = 'x')), 'invalid-model-file', /list of nodes/],
  ['a node that is null', json((it) => it.modelTopology.node.unshift(null)), 'invalid-model-file', /no name or no op/],
  ['a cycle', node('conv', { input: ['relu', 'conv/weights'] }), 'invalid-model-file', /takes its own output/],
  ['a node that takes itself', node('relu', { input: ['relu'] }), 'invalid-model-file', /takes its own output/],
  ['a node that takes nobody', node('relu', { input: ['nobody'] }), 'invalid-model-file', /'nobody', which is missing/],
  ['two nodes of one name', node('relu', { name: 'scaled' }), 'invalid-model-file', /two nodes 'scaled'/],
  [
    'nothing that can be trained',
    json((it) => (it.modelTopology.node = it.modelTopology.node.slice(0, 1))),
    'unsupported',
    /./,
  ],
  ['bytes cut off', bytes((b) => b.subarray(1)), 'invalid-model-file', /were found .*cut off/],
  ['bytes too many', bytes((b) => Buffer.concat([b, b])), 'invalid-model-file', /too long/],
  [
    'NaN',
    bytes((b) => (b.writeFloatLE(Number.NaN, 4) > 0 ? b : b)),
    'invalid-model-file',
    /conv\/(weights|kernel)' has NaN/,
  ],
  ['a path out', json((it) => (it.weightsManifest[0].paths = ['../x.bin'])), 'invalid-model-file', /not inside/],
  [
    'a constant of 1e9 × 1e9',
    spec('shift', { shape: [1e9, 1e9] }),
    'invalid-model-file',
    /need 40000000000000\d* bytes/,
  ],
  ['1e9 texts', spec('shift', { dtype: 'string', shape: [1e9] }), 'invalid-model-file', /need 40000\d* bytes/],
  ['a few texts', spec('shift', { dtype: 'string', shape: [2] }), 'invalid-model-file', /./],
  ['another shape', spec('shift', { shape: [2, 2] }), 'invalid-model-file', /./],
  ['a kernel of another shape', spec('conv/weights', { shape: [27, 4] }), 'unsupported', /./],
  ['a weight twice', json((it) => (specIn(it, 'shift').name = 'scale')), 'invalid-model-file', /./],
  ['a dtype of Object', spec('shift', { dtype: 'valueOf' }), 'invalid-model-file', /unknown dtype/],
  [
    'an input of 1e5 × 1e5',
    node('input', { attr: { dtype: { type: 'DT_FLOAT' }, ...shape(1, 1e5, 1e5, 3) } }),
    'invalid-model-file',
    /too large to be tried/,
  ],
  [
    'an input of 2^40',
    node('input', { attr: { dtype: { type: 'DT_FLOAT' }, ...shape(1, 2 ** 40, 8, 3) } }),
    'invalid-model-file',
    /./,
  ],
];

describe.each(['layers', 'graph'] as const)('a graph, to %s', (to) => {
  test.each(ROWS)('%s', async (_name, damage, code, says) => {
    writeGraph(at('in'));
    damage(at('in'));
    const error = await refused(at(), at('in'), at('out'), { to });
    expect([error.code, error.message]).toEqual([code, expect.stringMatching(says)]);
    expect(error.message).toContain(at('in'));
  });
});

/** A constant that says how large something is to be, in a graph of a few hundred bytes. */
function growing(make: (g: GraphBuilder, x: string) => string): (folder: string) => void {
  return (folder) => {
    const g = new GraphBuilder(3);
    let x = g.placeholder('input', [1, 6, 6, 3]);
    x = make(g, x);
    x = g.conv('conv', x, [3, 3, 3, 4]);
    x = g.node('Mean', 'mean', [x, g.ints('axes', [1, 2])], { keep_dims: false });
    x = g.node('MatMul', 'out', [x, g.kernel('matrix', [4, 3])], { transpose_a: false, transpose_b: false });
    writeGraph(folder, g.artifacts({ outputs: [x] }));
  };
}
const HUGE = 3e4;
const GROWING: [string, (folder: string) => void][] = [
  [
    'ResizeBilinear',
    growing((g, x) =>
      g.node('ResizeBilinear', 'grown', [x, g.ints('size', [HUGE, HUGE])], {
        align_corners: false,
        half_pixel_centers: false,
      }),
    ),
  ],
  [
    'ResizeNearestNeighbor',
    growing((g, x) =>
      g.node('ResizeNearestNeighbor', 'grown', [x, g.ints('size', [HUGE, HUGE])], {
        align_corners: false,
        half_pixel_centers: false,
      }),
    ),
  ],
  ['Tile', growing((g, x) => g.node('Tile', 'grown', [x, g.ints('times', [1, HUGE, HUGE, 1])], {}))],
  [
    'Pad',
    growing((g, x) => g.node('Pad', 'grown', [x, g.ints('pads', [0, 0, HUGE, HUGE, HUGE, HUGE, 0, 0], [4, 2])], {})),
  ],
  [
    'MirrorPad',
    growing((g, x) =>
      g.node('MirrorPad', 'grown', [x, g.ints('pads', [0, 0, HUGE, HUGE, HUGE, HUGE, 0, 0], [4, 2])], {
        mode: 'REFLECT',
      }),
    ),
  ],
  [
    'BroadcastTo',
    growing((g, x) =>
      g.node(
        'BroadcastTo',
        'grown',
        [g.node('Mean', 'one', [x, g.ints('all', [1, 2])], { keep_dims: true }), g.ints('size', [1, HUGE, HUGE, 3])],
        {},
      ),
    ),
  ],
  [
    'Fill',
    growing((g, x) =>
      g.node('AddV2', 'grown', [
        x,
        g.node('Fill', 'filled', [g.ints('size', [1, HUGE, HUGE, 1]), g.constant('value', [])], {}),
      ]),
    ),
  ],
  [
    'RandomUniform',
    growing((g, x) =>
      g.node('AddV2', 'grown', [
        x,
        g.node('RandomUniform', 'filled', [g.ints('size', [1, HUGE, HUGE, 1])], {
          dtype: { type: 'float32' },
          seed: 1,
          T: { type: 'int32' },
        }),
      ]),
    ),
  ],
  [
    'Range',
    growing((g, x) =>
      g.node('AddV2', 'grown', [
        x,
        g.node('Range', 'filled', [g.constant('a', [], [0]), g.constant('b', [], [2e9]), g.constant('c', [], [1])], {}),
      ]),
    ),
  ],
  [
    'LinSpace',
    growing((g, x) =>
      g.node('AddV2', 'grown', [
        x,
        g.node('LinSpace', 'filled', [g.constant('a', [], [0]), g.constant('b', [], [1]), g.ints('c', 2e9)], {}),
      ]),
    ),
  ],
  [
    'OneHot',
    growing((g, x) =>
      g.node('AddV2', 'grown', [
        x,
        g.node(
          'OneHot',
          'filled',
          [g.ints('a', [1, 2, 3]), g.ints('b', 1e9), g.constant('on', [], [1]), g.constant('off', [], [0])],
          { axis: -1 },
        ),
      ]),
    ),
  ],
  ['Reshape', growing((g, x) => g.node('Reshape', 'grown', [x, g.ints('size', [1, HUGE, HUGE, 3])], {}))],
  [
    'a convolution with pads',
    growing((g, x) =>
      g.conv('grown', x, [1, 1, 3, 3], {
        padding: 'EXPLICIT',
        explicit_paddings: [0, 0, HUGE, HUGE, HUGE, HUGE, 0, 0],
      }),
    ),
  ],
  ['DepthToSpace', growing((g, x) => g.node('DepthToSpace', 'grown', [x], { block_size: 1e6, data_format: 'NHWC' }))],
  [
    'BatchToSpaceND',
    growing((g, x) =>
      g.node('BatchToSpaceND', 'grown', [x, g.ints('block', [HUGE, HUGE]), g.ints('crops', [0, 0, 0, 0], [2, 2])], {}),
    ),
  ],
  [
    'SpaceToBatchND',
    growing((g, x) =>
      g.node(
        'SpaceToBatchND',
        'grown',
        [x, g.ints('block', [1, 1]), g.ints('pads', [HUGE, HUGE, HUGE, HUGE], [2, 2])],
        {},
      ),
    ),
  ],
];

/** What cannot be run; a model of layers is made of what lies behind it. */
const GRAPHS_ALONE = ['Reshape', 'DepthToSpace', 'BatchToSpaceND'];

describe.each(['layers', 'graph'] as const)('a graph that gets too large, to %s', (to) => {
  test.each(GROWING.filter(([name]) => to === 'graph' || !GRAPHS_ALONE.includes(name)))('%s', async (_name, make) => {
    make(at('in'));
    const error = await refused(at(), at('in'), at('out'), { to });
    expect(error.message).toContain(at('in'));
    expect(error.code).not.toBe('broken-invariant');
  });
});
