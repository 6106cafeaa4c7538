/**
 * Weights for the topologies of `@tensorflow-models/coco-ssd` (lite v2 and v1), of which only the graphs are at hand: what
 * TensorFlow's Object Detection API has in every constant that says a size, an axis or an anchor, and seeded random values
 * in the rest.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { io } from '@tensorflow/tfjs-core';
import { type Random, random } from '../../helpers/random';

/** Side of each feature map of a picture of 300 × 300, and anchors at each position. */
const MAPS = [
  { side: 19, anchors: 3 },
  { side: 10, anchors: 6 },
  { side: 5, anchors: 6 },
  { side: 3, anchors: 6 },
  { side: 2, anchors: 6 },
  { side: 1, anchors: 6 },
];
export const COCO_SSD_BOXES = MAPS.reduce((sum, { side, anchors }) => sum + side * side * anchors, 0);
/** The background and 90 numbers for the 80 classes. */
export const COCO_SSD_LOGITS = 91;

/** Heights and widths of the anchors of one map, as fractions of the picture (`ssd_anchor_generator`). */
function anchorSizes(map: number): { height: number; width: number }[] {
  const scaleOf = (i: number) => (i < MAPS.length ? 0.2 + (0.75 * i) / (MAPS.length - 1) : 1);
  const sized = (scale: number, ratio: number) => ({
    height: scale / Math.sqrt(ratio),
    width: scale * Math.sqrt(ratio),
  });
  if (map === 0) return [sized(0.1, 1), sized(0.2, 2), sized(0.2, 0.5)];
  const between = Math.sqrt(scaleOf(map) * scaleOf(map + 1));
  return [...[1, 2, 0.5, 3, 1 / 3].map((ratio) => sized(scaleOf(map), ratio)), sized(between, 1)];
}

/** [y, x] of the anchors' centres of one map, each as often as there are anchors. */
function centres(map: number): number[] {
  const { side, anchors } = MAPS[map];
  return Array.from({ length: side * side * anchors }, (_, i) => {
    const at = Math.floor(i / anchors);
    return [(Math.floor(at / side) + 0.5) / side, ((at % side) + 0.5) / side];
  }).flat();
}

/** [ymin, xmin, ymax, xmax] of all anchors. */
export function cocoSsdAnchors(): number[] {
  return MAPS.flatMap(({ anchors }, map) => {
    const sizes = anchorSizes(map);
    const yx = centres(map);
    return Array.from({ length: yx.length / 2 }, (_, i) => {
      const { height, width } = sizes[i % anchors];
      const [y, x] = [yx[2 * i], yx[2 * i + 1]];
      return [y - height / 2, x - width / 2, y + height / 2, x + width / 2];
    }).flat();
  });
}

const anchorsOf = (map: number) => MAPS[map].side ** 2 * MAPS[map].anchors;

/** Name of a constant → its values. The first pattern that fits counts. */
const KNOWN: [RegExp, (match: RegExpMatchArray) => number[]][] = [
  // Loops and slices of shapes.
  [/\/range\/start$|Concatenate\/concat\/axis$|ResizeImage\/ExpandDims\/dim$/, () => [0]],
  [/\/range\/delta$|\/concat\/axis$|while\/add\/y$/, () => [1]],
  [/(BoxPredictor_4|Postprocessor)\/strided_slice\/stack$/, () => [0]],
  [/BoxPredictor_4\/strided_slice\/stack_1$|^strided_slice_6\/stack$/, () => [1]],
  [/^strided_slice_6\/stack_1$/, () => [2]],
  [/^strided_slice_7\/stack_1$/, () => [3]],
  // TF-Hub's MobileNet: pictures from 0 … 1 to −1 … 1, and a mean over height and width.
  [/hub_input\/Mul\/y$/, () => [2]],
  [/hub_input\/Sub\/y$/, () => [1]],
  [/global_pool\/reduction_indices$/, () => [1, 2]],
  // The picture: 300 × 300, from 0 … 255 to −1 … 1.
  [/ResizeImage\/(stack|size)$/, () => [300, 300]],
  [/Preprocessor\/mul\/x$/, () => [2 / 255]],
  [/Postprocessor\/scale_logits\/y$|^MultipleGridAnchorGenerator\/strided_slice$/, () => [1]],
  // Shapes of what the predictors give.
  [/BoxPredictor_(\d)\/stack\/1$/, ([, map]) => [anchorsOf(Number(map))]],
  [/BoxPredictor_\d\/stack_1\/2$/, () => [COCO_SSD_LOGITS]],
  [/BoxPredictor_\d\/stack\/3$|Postprocessor\/stack\/2$/, () => [4]],
  [/Postprocessor\/stack\/1$|assert_equal\/x$/, () => [COCO_SSD_BOXES]],
  [/Postprocessor\/Reshape(_1)?\/shape$/, () => [-1, 4]],
  [/Postprocessor\/ExpandDims_1\/dim$/, () => [2]],
  [/Postprocessor\/Slice\/begin$/, () => [0, 0, 1]],
  [/Postprocessor\/Slice\/size$/, () => [-1, -1, -1]],
  [/transpose(_1)?\/sub_1/, () => [1, 0]],
  // Decoding: boxes are coded 10 and 5 times as large.
  [/Decode\/get_center_coordinates_and_sizes\/div_recip$|mul_19\/x$/, () => [0.5]],
  [/Decode\/div_recip$/, () => [0.1]],
  [/Decode\/div_2_recip$/, () => [0.2]],
  // Anchors: whole in lite v2, made from centres and sizes in v1.
  [/^Postprocessor\/ExpandDims\//, cocoSsdAnchors],
  [/AnchorGenerator\/Reshape(_\d+)?$/, ([, at]) => centres(Number(at?.slice(1) ?? 0) / 2)],
  [/AnchorGenerator\/div_1([4-9])$/, ([, at]) => anchorSizes(Number(at) - 4).map(({ height }) => height)],
  [/AnchorGenerator\/mul_(\d+)$/, ([, at]) => anchorSizes((Number(at) - 15) / 8).map(({ width }) => width)],
  [/AnchorGenerator\/Reshape_1\/shape$/, () => [-1, 2]],
  [/Meshgrid_(\d+)\/ExpandedShape\/concat$/, ([, at]) => [1, 1, at === '2' ? 3 : 6]],
  [/Meshgrid_(\d+)\/ExpandedShape_1\/concat$/, ([, at]) => sidesOf((Number(at) - 2) / 3)],
];

function sidesOf(map: number): number[] {
  return [MAPS[map].side, MAPS[map].side, 1];
}

export type CocoSsdBase = 'lite_mobilenet_v2' | 'mobilenet_v1';

/** The graph with float32 weights, as an IOHandler gives it. @param shared the folder with the models. */
export function cocoSsdArtifacts(shared: string, base: CocoSsdBase, seed = 1): io.ModelArtifacts {
  return graphTopologyArtifacts(shared, `coco_ssd_${base}`, seed);
}

/** The same for any of the graphs of which only the topology is at hand. */
export function graphTopologyArtifacts(shared: string, name: string, seed = 1): io.ModelArtifacts {
  const file = path.join(shared, 'models/topology_only', name, 'model.json');
  const json = JSON.parse(fs.readFileSync(file, 'utf8')) as io.ModelJSON;
  const { node: nodes } = json.modelTopology as { node: { op: string; input?: string[] }[] };
  const consumers = new Map(nodes.flatMap(({ op, input = [] }) => input.map((name) => [name, op])));
  const numbers = random(seed);
  const specs = json.weightsManifest.flatMap(({ weights }) => weights);
  const values = specs.map((spec) => valuesOf(spec, consumers.get(spec.name) ?? '', numbers));
  const stored = specs.map(({ dtype }, i) => (dtype === 'int32' ? Int32Array : Float32Array).from(values[i]));
  const { weightsManifest: _manifest, ...rest } = json;
  return {
    ...rest,
    weightSpecs: specs.map(({ name, shape, dtype }) => ({ name, shape, dtype })),
    weightData: new Uint8Array(Buffer.concat(stored.map(({ buffer }) => new Uint8Array(buffer)))).buffer,
  };
}

function valuesOf({ name, shape, dtype }: io.WeightsManifestEntry, consumer: string, numbers: Random): number[] {
  const length = shape.reduce((product, size) => product * size, 1);
  for (const [pattern, make] of KNOWN) {
    const match = name.match(pattern);
    if (match === null) continue;
    const known = make(match);
    if (known.length !== length) throw new Error(`'${name}' [${shape}] is not ${known.length} numbers`);
    return known;
  }
  if (dtype !== 'float32' || shape.length === 0) throw new Error(`'${name}' (${dtype}) is not known`);
  return Array.from(randomValues(shape, length, consumer, numbers));
}

/** Activations keep their size from layer to layer: ReLU6 takes half of what comes, hence the 6 instead of 3. */
function randomValues(shape: number[], length: number, consumer: string, numbers: Random): Float32Array {
  const [height, width, inputs] = shape;
  if (shape.length === 4 && /Conv2[dD]/.test(consumer)) {
    const span = Math.sqrt(6 / (height * width * (/Depthwise/.test(consumer) ? 1 : inputs)));
    return numbers.array(length, () => numbers.uniform(-span, span));
  }
  // s of a BN, of either sign; else a bias or an offset.
  if (consumer === 'Mul') return numbers.array(length, (i) => numbers.uniform(0.4, 1.6) * (i % 4 === 3 ? -1 : 1));
  return numbers.array(length, () => numbers.uniform(-0.2, 0.4));
}
