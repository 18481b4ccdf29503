// A convolution layer forward and backward, made from the other twins, in the order of additions of its
// runners.
import type { Conv2dLayer } from '../../../src/layers/conv2d/conv2d.ts';
import { sizeOf } from '../../../src/shape.ts';
import { activate, slope } from './activation.ts';
import type { Arithmetic, Values } from './arithmetic.ts';
import * as image from './image.ts';
import { multiply, transpose } from './matrix.ts';
import { addValues, at, combineAlongTree } from './tree.ts';

export interface Conv2dTwin {
  readonly arithmetic: Arithmetic;
  readonly layer: Conv2dLayer;
  /** Weights, then biases. */
  readonly weights: ArrayLike<number>;
}

/** The kernels' record with named fields. */
function geometryOf({ window }: Conv2dLayer): image.Geometry {
  const [height = 0, width = 0, kernelHeight = 0, kernelWidth = 0, strideY = 0, strideX = 0] =
    window.geometry;
  const [padTop = 0, padLeft = 0, dilationY = 0, dilationX = 0, outHeight = 0, outWidth = 0] =
    window.geometry.slice(6);
  // prettier-ignore
  return { height, width, kernelHeight, kernelWidth, strideY, strideX, padTop, padLeft, dilationY, dilationX, outHeight, outWidth };
}

/** Group `index` of an array that the groups divide evenly. */
function part(arithmetic: Arithmetic, values: ArrayLike<number>, index: number, length: number): Values {
  return arithmetic.from(Array.from({ length }, (_, i) => at(values, index * length + i)));
}

function samplesOf(arithmetic: Arithmetic, values: ArrayLike<number>, length: number): Values[] {
  return Array.from({ length: values.length / length }, (_, sample) =>
    part(arithmetic, values, sample, length),
  );
}

/** y[rows, filters, outHeight, outWidth] */
export function forward(twin: Conv2dTwin, x: ArrayLike<number>): Values {
  const { arithmetic, layer, weights } = twin;
  const { bias, spec, window } = layer;
  const samples = samplesOf(arithmetic, x, sizeOf(layer.inputShape)).map((sample) => linear(twin, sample));
  const y = arithmetic.from(samples.flatMap((sample) => Array.from(sample)));
  return y.map((value, i) => {
    const filter = Math.floor(i / window.positions) % spec.filters;
    const shift = bias ? at(weights, bias.offset + filter) : 0;
    return activate(arithmetic, spec.activation, arithmetic.round(value + shift));
  });
}

/** W patches of one sample. */
function linear({ arithmetic, layer, weights }: Conv2dTwin, x: Values): Values {
  const { group, spec, window, isDepthwise } = layer;
  const { filters, depth, channels } = group;
  const geometry = geometryOf(layer);
  if (isDepthwise) {
    const twin = { geometry, channels: window.channels, multiplier: filters, weights };
    return image.depthwise(arithmetic, twin, x);
  }
  const outputs = Array.from({ length: spec.groups }, (_, index) => {
    const input = part(arithmetic, x, index, channels * window.planeLength);
    const a = part(arithmetic, weights, index, filters * depth);
    const b = image.patchesOf(arithmetic, geometry, channels, input);
    return Array.from(multiply(arithmetic, { m: filters, n: window.positions, k: depth, a, b }));
  });
  return arithmetic.from(outputs.flat());
}

/** Gradients of a batch; `bounds` are the bounds of its shards. */
export function backward(
  twin: Conv2dTwin,
  x: ArrayLike<number>,
  dY: ArrayLike<number>,
  bounds: ArrayLike<number>,
): { gradient: Values; dX: Values } {
  const { arithmetic, layer } = twin;
  const y = forward(twin, x);
  const d = arithmetic.from(
    Array.from(dY, (value, i) =>
      arithmetic.round(value * slope(arithmetic, layer.spec.activation, at(y, i))),
    ),
  );
  const inputs = samplesOf(arithmetic, x, sizeOf(layer.inputShape));
  const errors = samplesOf(arithmetic, d, sizeOf(layer.outputShape));
  const shards = Array.from({ length: bounds.length - 1 }, (_, shard) => {
    let sum: Values | undefined;
    for (let s = at(bounds, shard); s < at(bounds, shard + 1); s++) {
      sum = addSample(twin, sum, inputs[s] as Values, errors[s] as Values);
    }
    return sum as Values;
  });
  return {
    gradient: combineAlongTree(shards, (left, right) => addValues(arithmetic, left, right)),
    dX: arithmetic.from(errors.flatMap((error) => Array.from(inputGradient(twin, error)))),
  };
}

/** Weight and bias gradient with one more sample. */
function addSample(twin: Conv2dTwin, sum: Values | undefined, x: Values, d: Values): Values {
  const { arithmetic, layer } = twin;
  const { weight, bias, spec, window } = layer;
  const result = arithmetic.zeros(weight.length + (bias?.length ?? 0));
  result.set(addWeightGradient(twin, sum?.subarray(0, weight.length), x, d));
  if (!bias) return result;
  const sums = image.channelSums(arithmetic, spec.filters, window.positions, d);
  result.set(sum ? addValues(arithmetic, sum.subarray(weight.length), sums) : sums, weight.length);
  return result;
}

function addWeightGradient(
  { arithmetic, layer }: Conv2dTwin,
  sum: Values | undefined,
  x: Values,
  d: Values,
): Values {
  const { group, spec, window, isDepthwise } = layer;
  const { filters, depth, channels } = group;
  const geometry = geometryOf(layer);
  if (isDepthwise) {
    const twin = { geometry, channels: window.channels, multiplier: filters, weights: [] };
    const dW = image.depthwiseWeightGradient(arithmetic, twin, x, d);
    return sum ? addValues(arithmetic, sum, dW) : dW;
  }
  const parts = Array.from({ length: spec.groups }, (_, index) => {
    const input = part(arithmetic, x, index, channels * window.planeLength);
    const patches = image.patchesOf(arithmetic, geometry, channels, input);
    const product = {
      m: filters,
      n: depth,
      k: window.positions,
      a: part(arithmetic, d, index, filters * window.positions),
      b: transpose(patches, depth, window.positions),
    };
    const before = sum && part(arithmetic, sum, index, filters * depth);
    return Array.from(multiply(arithmetic, product, before));
  });
  return arithmetic.from(parts.flat());
}

/** dX of one sample. */
function inputGradient({ arithmetic, layer, weights }: Conv2dTwin, d: Values): Values {
  const { group, spec, window, isDepthwise } = layer;
  const { filters, depth, channels } = group;
  const geometry = geometryOf(layer);
  if (isDepthwise) {
    const twin = { geometry, channels: window.channels, multiplier: filters, weights };
    return image.depthwiseInputGradient(arithmetic, twin, d);
  }
  const parts = Array.from({ length: spec.groups }, (_, index) => {
    const a = transpose(part(arithmetic, weights, index, filters * depth), filters, depth);
    const b = part(arithmetic, d, index, filters * window.positions);
    const patches = multiply(arithmetic, { m: depth, n: window.positions, k: filters, a, b });
    return Array.from(image.fold(arithmetic, geometry, channels, patches));
  });
  return arithmetic.from(parts.flat());
}
