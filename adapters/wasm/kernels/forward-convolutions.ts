/**
 * Repair of the four forward convolutions of the wasm backend (4.22.0), which XNNPACK computes.
 *
 * The backend tells XNNPACK only "same padding" and lets it work out the zeros. Where on some axis the last window ends
 * before the input does, (out − 1)·stride + kernel < input with kernel > 1, XNNPACK's unsigned difference underflows, it
 * gives up, and the result is all zeros (a warning goes to the console). And where tfjs rounds the number of outputs in
 * another way than XNNPACK does (`dimRoundingMode: 'ceil'`, or one number as padding for a filter that is not square),
 * XNNPACK writes fewer or more rows than the output tensor has.
 *
 * Both are cured by saying the padding in numbers: zeros before as tfjs has them, zeros after so that exactly the wanted
 * number of windows fits. Where even without zeros after more windows than wanted would fit, x is padded and cut to what
 * the wanted windows see.
 *
 * Where the activation is a clamp, a pointwise convolution of many pixels and a depthwise one without multiplier are our
 * own, and NaN stays NaN: 1.2 to 1.6 and, for 3 × 3 filters, 0.9 to 2.1 times as fast as XNNPACK's on MobileNet's shapes
 * (bench/wasm-kernels.ts, without and with --stock).
 */
import {
  backend_util,
  engine,
  FusedConv2D,
  FusedDepthwiseConv2D,
  type KernelFunc,
  type NamedAttrMap,
  PadV2,
  Slice,
  type TensorInfo,
  util,
} from '@tensorflow/tfjs-core';
import {
  type ConvAttrs,
  type ConvGeometry,
  type ConvInfo,
  geometryOfInfo,
  isPointwise,
  outputShape,
  refuseChannelsFirst,
  windowOf,
} from '../conv-geometry';
import { addressOf, heapOf, kernel, runKernel, unwritten, type WasmBackend, zeros } from '../heap';
import { multiplyInto } from '../pointwise';
import { simd } from '../simd';

interface Inputs {
  x: TensorInfo;
  filter: TensorInfo;
  [others: string]: TensorInfo;
}

interface FusedAttrs extends ConvAttrs {
  activation?: string;
}

export function repairedConvolution(kernelName: string, depthwise: boolean, native: KernelFunc): KernelFunc {
  return kernel<Inputs, FusedAttrs>((given, backend, attrs) => {
    refuseChannelsFirst(kernelName, attrs.dataFormat);
    const { x, filter } = given;
    const info = backend_util.computeConv2DInfo(
      x.shape as [number, number, number, number],
      filter.shape as [number, number, number, number],
      attrs.strides,
      attrs.dilations ?? 1,
      attrs.pad,
      attrs.dimRoundingMode,
      depthwise,
    );
    const inputs =
      given.bias == null ? given : { ...given, bias: biasOfChannels(given.bias, info.outChannels, backend) };
    const fused = kernelName === FusedConv2D || kernelName === FusedDepthwiseConv2D;
    const clamp = clampOf(inputs, fused ? attrs.activation : undefined);
    const g = geometryOfInfo(info);
    if (clamp !== undefined && depthwise && isPlainDepthwise(info)) return depthwiseOf(inputs, backend, g, clamp);
    if (clamp !== undefined && !depthwise && isProduct(g)) return productOf(inputs, backend, g, clamp);
    const run = (changed: object, input: TensorInfo) =>
      native({
        inputs: { ...inputs, x: input },
        backend,
        attrs: { ...attrs, ...changed } as unknown as NamedAttrMap,
      }) as TensorInfo;
    if (util.sizeFromShape(info.outShape) === 0) return zeros(info.outShape);
    if (isUnderstood(info)) return run({}, x);
    const { top, left } = info.padInfo;
    const height = (info.outHeight - 1) * info.strideHeight + info.effectiveFilterHeight;
    const width = (info.outWidth - 1) * info.strideWidth + info.effectiveFilterWidth;
    const bottom = height - info.inHeight - top;
    const right = width - info.inWidth - left;
    const paddings = [
      [0, 0],
      [top, Math.max(0, bottom)],
      [left, Math.max(0, right)],
      [0, 0],
    ];
    // What is left over is too little for another window.
    if (bottom > -info.strideHeight && right > -info.strideWidth) {
      return run({ pad: paddings, dimRoundingMode: undefined }, x);
    }
    const padded = runKernel(PadV2, { x }, { paddings, constantValue: 0 });
    const size = [info.batchSize, height, width, info.inChannels];
    const seen = runKernel(Slice, { x: padded }, { begin: [0, 0, 0, 0], size });
    padded.dispose();
    return run({ pad: 'valid', dimRoundingMode: undefined }, seen);
  });
}

/**
 * With fewer pixels packing the filter shows: XNNPACK keeps packed filters for as long as they live. In a training step
 * every filter is new.
 */
const MANY_PIXELS = 256;

/** Whether the convolution is one matrix product of x as it lies, large enough to be worth it. */
function isProduct(g: ConvGeometry): boolean {
  const trains = engine().state.gradientDepth > 0;
  return isPointwise(g) && (trains || g.batch * g.h.size * g.w.size >= MANY_PIXELS);
}

/**
 * The bias as [channels], the only form that the backend takes: tfjs also gives [1, 1, 1, channels] and one number. A
 * copy, since the backend asks for the shape with which the memory was allocated.
 */
function biasOfChannels(bias: TensorInfo, channels: number, backend: WasmBackend): TensorInfo {
  const size = util.sizeFromShape(bias.shape);
  const { shape } = backend.dataIdMap.get(bias.dataId);
  if ((shape.length === 1 && size === channels) || (size !== channels && size !== 1)) return bias;
  const copy = unwritten([channels], backend);
  const values = heapOf(backend, bias);
  if (size === channels) heapOf(backend, copy).set(values);
  else heapOf(backend, copy).fill(values[0]);
  return copy;
}

/** Without multiplier and dilation; with fewer than four channels, or narrow filters, XNNPACK is faster. */
function isPlainDepthwise(info: ConvInfo): boolean {
  const plain = info.outChannels === info.inChannels && info.dilationHeight === 1 && info.dilationWidth === 1;
  return plain && info.inChannels >= 4 && info.filterWidth >= 3;
}

function depthwiseOf(inputs: Inputs, backend: WasmBackend, g: ConvGeometry, { low, high }: Clamp): TensorInfo {
  const y = unwritten(outputShape(g), backend);
  simd(backend).depthwiseConv2d(
    addressOf(backend, inputs.x),
    addressOf(backend, inputs.filter),
    inputs.bias == null ? 0 : addressOf(backend, inputs.bias),
    addressOf(backend, y),
    g.batch,
    g.h.size,
    g.w.size,
    g.inChannels,
    g.h.out,
    g.w.out,
    ...windowOf(g),
    low,
    high,
  );
  return y;
}

function productOf(inputs: Inputs, backend: WasmBackend, g: ConvGeometry, clamp: Clamp): TensorInfo {
  const y = unwritten(outputShape(g), backend);
  multiplyInto(backend, y, {
    a: inputs.x,
    b: inputs.filter,
    transposed: false,
    bias: inputs.bias ?? null,
    rows: g.batch * g.h.size * g.w.size,
    inner: g.inChannels,
    columns: g.outChannels,
    ...clamp,
  });
  return y;
}

interface Clamp {
  low: number;
  high: number;
}

/** What the fused activation clamps to, if it is a clamp. */
function clampOf(inputs: Inputs, activation: string | undefined): Clamp | undefined {
  if (inputs.preluActivationWeights != null) return undefined;
  switch (activation ?? 'linear') {
    case 'linear':
      return { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };
    case 'relu':
      return { low: 0, high: Number.POSITIVE_INFINITY };
    case 'relu6':
      return { low: 0, high: 6 };
    default:
      return undefined;
  }
}

/** Whether XNNPACK, given what the backend tells it, computes the windows that tfjs counted. */
function isUnderstood(info: ConvInfo): boolean {
  const { padInfo: pad } = info;
  const h = { used: info.inHeight + pad.top + pad.bottom, kernel: info.effectiveFilterHeight };
  const w = { used: info.inWidth + pad.left + pad.right, kernel: info.effectiveFilterWidth };
  if (pad.type === 'SAME') {
    return (
      (info.outHeight - 1) * info.strideHeight + h.kernel >= info.inHeight &&
      (info.outWidth - 1) * info.strideWidth + w.kernel >= info.inWidth
    );
  }
  return (
    Math.floor((h.used - h.kernel) / info.strideHeight) + 1 === info.outHeight &&
    Math.floor((w.used - w.kernel) / info.strideWidth) + 1 === info.outWidth
  );
}
