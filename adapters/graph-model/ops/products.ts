/** Convolutions and MatMul: the ops with a kernel, each with its bias, BatchNorm and activation. */
import { type Tensor, transpose } from '@tensorflow/tfjs-core';
import { layers, type SymbolicTensor } from '@tensorflow/tfjs-layers';
import type { Layer } from '../../../src/internals';
import { flag, numbers, text } from '../attributes';
import type { GraphNode } from '../graph';
import type { LiftedProduct } from '../lifted';
import { asTensor, type Lifting, type NamedConstant, Unliftable } from '../lifting';
import { activate } from './activations';
import { normalise } from './normalisations';
import { firstInput, type Op, requireChannelsLast, requireRank, requireSizes } from './op';
import { type Tail, tailOf } from './tail';

interface Product {
  kernel: NamedConstant;
  /** Output channels. */
  channels: number;
  x: SymbolicTensor;
  /** The layer's class and arguments; two nodes with the same ones and the same constants are one layer. */
  make(name: string, useBias: boolean): Layer;
  arguments: unknown;
  /** The kernel as the layer has it. */
  kernelTensor(): Tensor;
  kernelTransposed?: boolean;
}

type Window = { strides: number[]; dilations: number[]; padding: 'same' | 'valid'; x: SymbolicTensor };

function lift(node: GraphNode, lifting: Lifting, product: Product): void {
  const { channels } = product;
  const tail = tailOf(node, lifting, channels);
  const key = [node.op, product.kernel.name, product.arguments, constantsOf(tail)];
  const { layer, batchNorm } = lifting.sharedLayer(key, () => makeLayers(node, lifting, product, tail));
  let y = lifting.apply(node, layer, product.x, () => [
    product.kernelTensor(),
    ...(tail.bias ? [asTensor(tail.bias, [channels])] : []),
  ]);
  if (batchNorm !== null) y = lifting.apply(tail.end, batchNorm.layer, y, batchNorm.weights);
  if (tail.activation !== undefined) {
    y = activate(node, lifting, tail.activation, y, 3);
  }
  for (const each of [...tail.within, tail.end, ...(tail.biasBehind ? [tail.biasBehind] : [])]) {
    lifting.layers.get(layer)?.add(each.name);
  }
  // The nodes in between have no tensor of their own: nobody but the next one takes what they give.
  lifting.give(tail.end, y);
  for (const each of tail.within) lifting.absorbed.add(each);
}

function makeLayers(node: GraphNode, lifting: Lifting, product: Product, tail: Tail) {
  const name = lifting.names.of(node.name);
  const layer = product.make(name, tail.bias !== undefined);
  const batchNorm = normalise(lifting, tail, product.channels, name);
  lifting.products.push({
    node: node.name,
    op: node.op,
    form: batchNorm?.form ?? (tail.bias === undefined ? 'plain' : 'folded'),
    layer: name,
    batchNorm: batchNorm?.layer.name ?? null,
    constants: {
      kernel: product.kernel.name,
      ...(product.kernelTransposed ? { kernelTransposed: true } : {}),
      ...(tail.bias ? { bias: tail.bias.name } : {}),
      ...batchNorm?.constants,
    },
  } satisfies LiftedProduct);
  return { layer, batchNorm };
}

function constantsOf({ bias, scale, offset, batchNorm }: Tail): unknown[] {
  return [bias?.name, scale?.name, offset?.name, offset?.negated, batchNorm?.inputs.slice(1)];
}

function convolution(
  describe: (kernelShape: number[], window: Window) => Omit<Product, 'kernel' | 'x' | 'kernelTensor'>,
): Op {
  return {
    product: true,
    data: firstInput,
    lift: (node, lifting) => {
      const x = lifting.input(node);
      const kernel = lifting.constantInput(node, 1);
      requireRank(x.shape, 4);
      requireRank(kernel.constant.shape, 4);
      requireChannelsLast(node);
      const [, , inputs] = kernel.constant.shape;
      if (x.shape[3] !== inputs) {
        throw new Unliftable(
          `its kernel takes ${inputs} channels of ${x.shape[3]}: grouped convolutions are not lifted`,
        );
      }
      const window = windowOf(node, lifting, x);
      lift(node, lifting, {
        ...describe(kernel.constant.shape, window),
        kernel,
        x: window.x,
        kernelTensor: () => asTensor(kernel),
      });
    },
  };
}

function windowOf(node: GraphNode, lifting: Lifting, x: SymbolicTensor): Window {
  const spatial = (name: string) => {
    const all = numbers(node, name);
    const found = all.length === 4 ? all.slice(1, 3) : [1, 1];
    requireSizes(name, found);
    return found;
  };
  const strides = spatial('strides');
  const dilations = spatial('dilations');
  if (Math.max(...strides) > 1 && Math.max(...dilations) > 1) {
    throw new Unliftable('it has strides and dilations, which tfjs cannot compute together');
  }
  const padding = text(node, 'padding', 'VALID');
  if (padding === 'SAME' || padding === 'VALID') {
    return { strides, dilations, padding: padding === 'SAME' ? 'same' : 'valid', x };
  }
  if (padding !== 'EXPLICIT') throw new Unliftable(`its padding '${padding}' is not known`);
  const [, , top, bottom, left, right] = numbers(node, 'explicit_paddings');
  const pad = layers.zeroPadding2d({
    name: lifting.names.of(node.name, '_pad'),
    padding: [
      [top, bottom],
      [left, right],
    ],
  }) as Layer;
  return { strides, dilations, padding: 'valid', x: lifting.apply(node, pad, x) };
}

const conv2d = convolution(([height, width, , filters], { strides, dilations, padding }) => {
  const config = { filters, kernelSize: [height, width], strides, dilationRate: dilations, padding };
  return {
    channels: filters,
    arguments: config,
    make: (name, useBias) => layers.conv2d({ ...config, name, useBias } as never) as Layer,
  };
});

const depthwise = convolution(([height, width, inputs, multiplier], window) => {
  const { strides, dilations, padding } = window;
  if (Math.max(...dilations) > 1) {
    throw new Unliftable('it is dilated, and the DepthwiseConv2D of tfjs-layers 4.22.0 ignores dilations');
  }
  const config = { kernelSize: [height, width], depthMultiplier: multiplier, strides, padding };
  return {
    channels: inputs * multiplier,
    arguments: config,
    make: (name, useBias) => layers.depthwiseConv2d({ ...config, name, useBias } as never) as Layer,
  };
});

const transposed: Op = {
  product: true,
  data: (node) => node.inputs.slice(2, 3),
  lift: (node, lifting) => {
    const x = lifting.input(node, 2);
    const kernel = lifting.constantInput(node, 1);
    requireRank(x.shape, 4);
    requireRank(kernel.constant.shape, 4);
    requireChannelsLast(node);
    const [height, width, filters] = kernel.constant.shape;
    const { strides, dilations, padding } = windowOf(node, lifting, x);
    if (Math.max(...dilations) > 1) throw new Unliftable('it is dilated');
    if (text(node, 'padding', '') === 'EXPLICIT') throw new Unliftable('it has explicit paddings');
    const asked = lifting.sizesOf(node.inputs[0])?.values;
    if (asked === undefined) throw new Unliftable('the size that it is to give cannot be told before it runs');
    if (asked.length !== 4 || (asked[3] ?? filters) !== filters) {
      throw new Unliftable(`its output is to be [${asked.join(', ')}], and its kernel gives ${filters} channels`);
    }
    [height, width].forEach((size, i) => {
      const from = x.shape[i + 1];
      if (from === null) return;
      const to = from * strides[i] + (padding === 'valid' ? Math.max(size - strides[i], 0) : 0);
      const wanted = asked[i + 1] ?? null;
      if (wanted !== null && wanted !== to) {
        throw new Unliftable(
          `its output is to have ${wanted} positions along axis ${i + 1}, and Keras makes ${to} of ${from}`,
        );
      }
    });
    const config = { filters, kernelSize: [height, width], strides, padding };
    lift(node, lifting, {
      kernel,
      channels: filters,
      x,
      arguments: config,
      make: (name, useBias) => layers.conv2dTranspose({ ...config, name, useBias } as never) as Layer,
      kernelTensor: () => asTensor(kernel),
    });
  },
};

const matMul: Op = {
  product: true,
  data: firstInput,
  lift: (node, lifting) => {
    const x = lifting.input(node);
    requireRank(x.shape, 2);
    if (flag(node, 'transpose_a')) throw new Unliftable('it transposes its input');
    const kernel = lifting.constantInput(node, 1);
    requireRank(kernel.constant.shape, 2);
    const kernelTransposed = flag(node, 'transpose_b');
    const units = kernel.constant.shape[kernelTransposed ? 0 : 1];
    lift(node, lifting, {
      kernel,
      channels: units,
      x,
      arguments: { units, kernelTransposed },
      kernelTransposed,
      make: (name, useBias) => layers.dense({ name, units, useBias }) as Layer,
      kernelTensor: () => (kernelTransposed ? transpose(asTensor(kernel)) : asTensor(kernel)),
    });
  },
};

export const products: Record<string, Op> = {
  Conv2D: conv2d,
  _FusedConv2D: conv2d,
  DepthwiseConv2dNative: depthwise,
  FusedDepthwiseConv2dNative: depthwise,
  Conv2DBackpropInput: transposed,
  MatMul: matMul,
  _FusedMatMul: matMul,
};
