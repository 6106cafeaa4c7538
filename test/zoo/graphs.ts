/** A MobileNet of two convolutions, with the names and the shapes that `@tensorflow-models/mobilenet` expects. */
import type { io } from '@tensorflow/tfjs-core';
import { GraphBuilder } from '../adapters/graph-model/graphs';

const SCOPE = 'module_apply_default/MobilenetV1';

export function tinyMobileNet(seed = 1): io.ModelArtifacts {
  const g = new GraphBuilder(seed);
  const x = g.placeholder('images', [null, 224, 224, 3]);
  const scaled = g.node('Mul', `${SCOPE}/Mul`, [x, g.constant('two', [], [2])]);
  const shifted = g.node('Sub', `${SCOPE}/Sub`, [scaled, g.constant('one', [], [1])]);
  const fused = { op: '_FusedConv2D', fused_ops: ['BiasAdd', 'Relu6'], num_args: 1 };
  const first = g.conv(`${SCOPE}/Conv2d_0/Relu6`, shifted, [5, 5, 3, 6], { ...fused, strides: [1, 16, 16, 1] }, [
    g.constant('bias_0', [6]),
  ]);
  const depthwise = g.conv(`${SCOPE}/Conv2d_1/depthwise`, first, [3, 3, 6, 1], { op: 'DepthwiseConv2dNative' });
  g.node('BiasAdd', `${SCOPE}/Conv2d_1/BiasAdd`, [depthwise, g.constant('bias_1', [6])], { data_format: 'NHWC' });
  const second = g.node('Relu6', `${SCOPE}/Conv2d_1/Relu6`, [`${SCOPE}/Conv2d_1/BiasAdd`]);
  const pooled = g.node('Mean', `${SCOPE}/Logits/global_pool`, [second, g.ints('axes', [1, 2])], { keep_dims: true });
  const logits = g.conv(
    `${SCOPE}/Logits/Conv2d_1c_1x1/BiasAdd`,
    pooled,
    [1, 1, 6, 1001],
    { op: '_FusedConv2D', fused_ops: ['BiasAdd'], num_args: 1 },
    [g.constant('biases', [1001])],
  );
  g.node('Squeeze', `${SCOPE}/Logits/SpatialSqueeze`, [logits], { squeeze_dims: [1, 2] });
  return g.artifacts();
}

const WINDOW = { fused_ops: ['BiasAdd'], num_args: 1 };

/**
 * A detector of coco-ssd's form with a known result: four cells of a picture, one anchor each; where a cell is brighter
 * than half, there is a person (class 1), and its box is the cell. The picture passes a tensor list on its way in, as in
 * the real ones, and that cannot be lifted.
 */
export function tinyDetector(): io.ModelArtifacts {
  const g = new GraphBuilder(1);
  const image = g.placeholder('image_tensor', [1, null, null, 3], 'int32');
  g.node('Cast', 'ToFloat', [image], { DstT: { type: 'float32' }, SrcT: { type: 'int32' } });
  const size = { align_corners: false, half_pixel_centers: false };
  g.node('ResizeBilinear', 'Preprocessor/resize', ['ToFloat', g.ints('Preprocessor/size', [16, 16])], size);
  const element = g.ints('Preprocessor/element', [16, 16, 3]);
  const list = { element_dtype: { type: 'float32' as const } };
  g.node('TensorListFromTensor', 'Preprocessor/list', ['Preprocessor/resize', element], list);
  g.node('TensorListStack', 'Preprocessor/stack', ['Preprocessor/list', element], { ...list, num_elements: 1 });
  const scaled = g.node('Mul', 'Preprocessor/mul', ['Preprocessor/stack', g.constant('per_255', [], [1 / 255])]);

  // Means of 8 × 8 pixels and of the channels, in every one of two features.
  const mean = new Array(8 * 8 * 3 * 2).fill(1 / (8 * 8 * 3));
  const features = g.node(
    '_FusedConv2D',
    'FeatureExtractor/Conv/Relu6',
    [
      scaled,
      g.constant('FeatureExtractor/weights', [8, 8, 3, 2], mean),
      g.constant('FeatureExtractor/bias', [2], [0, 0]),
    ],
    {
      strides: [1, 8, 8, 1],
      dilations: [1, 1, 1, 1],
      padding: 'VALID',
      data_format: 'NHWC',
      explicit_paddings: [],
      fused_ops: ['BiasAdd', 'Relu6'],
      num_args: 1,
    },
  );
  const predictor = (name: string, channels: number, kernel: number[], bias: number[]) => {
    const point = { strides: [1, 1, 1, 1], dilations: [1, 1, 1, 1], padding: 'SAME', data_format: 'NHWC', ...WINDOW };
    const inputs = [
      features,
      g.constant(`${name}/weights`, [1, 1, 2, channels], kernel),
      g.constant(`${name}/bias`, [channels], bias),
    ];
    return g.node('_FusedConv2D', `${name}/BiasAdd`, inputs, point);
  };
  const boxes = predictor('BoxPredictor', 4, new Array(8).fill(0), [0, 0, 0, 0]);
  // Logits of the background, a person and a bicycle: 20 · (brightness − ½) for the person.
  const logits = predictor('ClassPredictor', 3, [0, 10, 0, 0, 10, 0], [0, -10, -20]);
  g.node('Reshape', 'BoxPredictor/Reshape', [boxes, g.ints('BoxPredictor/shape', [1, -1, 1, 4])]);
  g.node('Squeeze', 'Squeeze', ['BoxPredictor/Reshape'], { squeeze_dims: [2] });
  g.node('Reshape', 'concat_1', [logits, g.ints('ClassPredictor/shape', [1, -1, 3])]);

  g.node('Sigmoid', 'Postprocessor/convert_scores', ['concat_1']);
  const slice = [g.ints('Postprocessor/begin', [0, 0, 1]), g.ints('Postprocessor/size', [-1, -1, -1])];
  g.node('Slice', 'Postprocessor/Slice', ['Postprocessor/convert_scores', ...slice]);
  const cells = [0, 0, 0.5, 0.5, 0, 0.5, 0.5, 1, 0.5, 0, 1, 0.5, 0.5, 0.5, 1, 1];
  const anchors = g.constant('Postprocessor/anchors', [4, 4], cells);
  const turn = g.ints('Postprocessor/perm', [1, 0]);
  const centred = g.node('Transpose', 'Postprocessor/Decode/get_center_coordinates_and_sizes/transpose', [
    anchors,
    turn,
  ]);
  // Not the real decoding: boxes are the anchors, moved by a tenth of the encodings. Known anyway.
  g.node('Transpose', 'Postprocessor/Decode/back', [centred, turn]);
  g.node('Shape', 'Postprocessor/Shape', ['Squeeze']);
  g.node('Reshape', 'Postprocessor/encodings', ['Squeeze', g.ints('Postprocessor/flat', [-1, 4])]);
  g.node('Mul', 'Postprocessor/tenth', ['Postprocessor/encodings', g.constant('tenth', [], [0.1])]);
  g.node('AddV2', 'Postprocessor/decoded', ['Postprocessor/Decode/back', 'Postprocessor/tenth']);
  g.node('Reshape', 'Postprocessor/ExpandDims_1', [
    'Postprocessor/decoded',
    g.ints('Postprocessor/final', [1, -1, 1, 4]),
  ]);
  return g.artifacts({ outputs: ['Postprocessor/Slice', 'Postprocessor/ExpandDims_1'] });
}
