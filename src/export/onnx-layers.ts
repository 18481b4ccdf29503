// The layers of a model as nodes of an ONNX graph. Letters: N samples, T positions, D units, H heads.
import type { Activation } from '../layers/activation.ts';
import type { AttentionSpec } from '../layers/attention.ts';
import type { AugmentLayer, AugmentSpec } from '../layers/augment.ts';
import type { LayerSpec } from '../layers/registry.ts';
import type { Layer, ParameterTensor } from '../layers/layer.ts';
import type { ColumnEmbeddingsLayer } from '../layers/column-embeddings.ts';
import type { Conv2dLayer, Conv2dSpec } from '../layers/conv2d/conv2d.ts';
import type { Pool2dLayer, Pool2dSpec } from '../layers/pool-2d.ts';
import type { ResidualLayer } from '../layers/residual.ts';
import type { Stack } from '../layers/stack.ts';
import type { Window } from '../layers/window.ts';
import type { Shape } from '../shape.ts';
import type { Attribute, OnnxGraph } from './onnx-graph.ts';

/** A slope below zero, and the constants of the two forms of gelu, as in assembly/activation.ts. */
const LEAK = 0.01;
const GELU_CUBE = 0.044715;

/** A layer's place in a graph. */
interface Place {
  readonly graph: OnnxGraph;
  /** The flat parameter vector. */
  readonly weights: Float32Array;
}

/** A layer whose input is the value `x`. */
interface LayerNode<Spec = LayerSpec, L = Layer> extends Place {
  readonly spec: Spec;
  readonly layer: L;
  readonly x: string;
}

/** Adds layers one after the other; returns the name of the last one's output [N, outputShape]. */
export function addLayers(specs: readonly LayerSpec[], stack: Stack, input: string, place: Place): string {
  return specs.reduce((x, spec, index) => {
    const layer = stack.layers[index] as Layer;
    return addLayer({ ...place, spec, layer, x });
  }, input);
}

function addLayer(node: LayerNode): string {
  const { graph, spec, layer, x } = node;
  switch (spec.kind) {
    case 'dense':
      return activate(graph, spec.activation, addDense(node));
    case 'activation':
      return spec.function === 'softmax'
        ? graph.node('Softmax', [x], { attributes: { axis: { int: -1 } } })
        : activate(graph, spec.function, x);
    case 'layerNorm':
      return graph.node('LayerNormalization', [x, ...tensorsOf(node)], {
        attributes: { axis: { int: -1 }, epsilon: { float: spec.epsilon } },
      });
    case 'batchNorm':
      return graph.node('BatchNormalization', [x, ...tensorsOf(node)], {
        attributes: { epsilon: { float: spec.epsilon } },
      });
    case 'dropout':
      return x;
    case 'augment':
      return addCrop({ ...node, spec, layer: layer as AugmentLayer });
    case 'embedding':
      return graph.node('Gather', [...tensorsOf(node), x]);
    case 'columnEmbeddings':
      return addColumnEmbeddings({ ...node, layer: layer as ColumnEmbeddingsLayer });
    case 'positionalEmbedding':
      return graph.node('Add', [x, ...tensorsOf(node)]);
    case 'attention':
      return addAttention({ ...node, spec });
    case 'residual':
      return addResidual({ ...node, spec, layer: layer as ResidualLayer });
    case 'conv2d':
      return activate(graph, spec.activation, addConvolution({ ...node, spec, layer: layer as Conv2dLayer }));
    case 'maxPool2d':
    case 'avgPool2d':
      return addPool({ ...node, spec, layer: layer as Pool2dLayer });
    case 'globalAvgPool2d':
      return graph.node('Flatten', [graph.node('GlobalAveragePool', [x])]);
    case 'flatten':
    case 'reshape':
      return reshape(graph, x, layer.outputShape);
    case 'lstm':
    case 'gru':
      return addRecurrent({ ...node, spec });
    default:
      return spec satisfies never;
  }
}

/** The middle of each image, as at evaluation. */
function addCrop({ graph, layer: { crop, outputShape }, x }: LayerNode<AugmentSpec, AugmentLayer>): string {
  if (!crop) return x;
  const [top, left] = crop;
  const [, height = 0, width = 0] = outputShape;
  const bounds = [
    [top, left],
    [top + height, left + width],
    [2, 3],
  ] as const;
  return graph.node('Slice', [x, ...bounds.map((values) => graph.ints(values))]);
}

/** Ids at some places are looked up, each in its table; what lies between is passed on. */
function addColumnEmbeddings(node: LayerNode<LayerSpec, ColumnEmbeddingsLayer>): string {
  const { graph, layer, x } = node;
  const parts = layer.passedOn.map(({ from, to, length }) => {
    const bounds = [[from], [from + length], [1]].map((values) => graph.ints(values));
    return { to, value: graph.node('Slice', [x, ...bounds]) };
  });
  const vectors = layer.columns.map(({ place, to, table }) => {
    const column = graph.node('Gather', [x, graph.int(place)], { attributes: { axis: { int: 1 } } });
    return { to, value: graph.node('Gather', [addTensor(node, table), graph.cast(column, 'int64')]) };
  });
  const inOrder = [...parts, ...vectors].sort((a, b) => a.to - b.to);
  return graph.concat(inOrder.map(({ value }) => value));
}

type KindOf<Kind extends LayerSpec['kind']> = Extract<LayerSpec, { readonly kind: Kind }>;

/** Adds all tensors of the layer, by their names. */
function tensorsOf(node: LayerNode<unknown>): string[] {
  return node.layer.tensors.map((tensor) => addTensor(node, tensor));
}

function addTensor({ graph, weights }: Place, { name, shape, offset, length }: ParameterTensor): string {
  return graph.floats(name, weights.subarray(offset, offset + length), shape);
}

/** Adds values of `tensor` as `read` arranges them, under a name of its own. */
function addArranged(
  { graph, weights }: Place,
  { name, shape }: Pick<ParameterTensor, 'name' | 'shape'>,
  blocks: readonly (readonly [offset: number, length: number])[],
): string {
  const arranged = new Float32Array(blocks.reduce((sum, [, length]) => sum + length, 0));
  let filled = 0;
  for (const [offset, length] of blocks) {
    arranged.set(weights.subarray(offset, offset + length), filled);
    filled += length;
  }
  return graph.floats(name, arranged, shape);
}

/** Keeps the number of samples, which stands as 0. */
function reshape(graph: OnnxGraph, x: string, shape: Shape): string {
  return graph.node('Reshape', [x, graph.ints([0, ...shape])]);
}

function transpose(graph: OnnxGraph, x: string, ...axes: readonly number[]): string {
  return graph.node('Transpose', [x], { attributes: { perm: { ints: axes } } });
}

function activate(graph: OnnxGraph, activation: Activation, x: string): string {
  const multiply = (value: string, factor: number): string => graph.node('Mul', [value, graph.float(factor)]);
  switch (activation) {
    case 'linear':
      return x;
    case 'relu':
      return graph.node('Relu', [x]);
    case 'leakyRelu':
      return graph.node('LeakyRelu', [x], { attributes: { alpha: { float: LEAK } } });
    case 'tanh':
      return graph.node('Tanh', [x]);
    case 'sigmoid':
      return graph.node('Sigmoid', [x]);
    case 'elu':
      return graph.node('Elu', [x]);
    case 'silu':
      return graph.node('Mul', [x, graph.node('Sigmoid', [x])]);
    case 'gelu': {
      const density = graph.node('Erf', [multiply(x, Math.sqrt(0.5))]);
      return multiply(graph.node('Mul', [x, graph.node('Add', [density, graph.float(1)])]), 0.5);
    }
    case 'geluTanh': {
      const cube = graph.node('Mul', [graph.node('Mul', [x, x]), x]);
      const sum = graph.node('Add', [x, multiply(cube, GELU_CUBE)]);
      const curve = graph.node('Tanh', [multiply(sum, Math.sqrt(2 / Math.PI))]);
      return multiply(graph.node('Mul', [x, graph.node('Add', [curve, graph.float(1)])]), 0.5);
    }
    default:
      return activation satisfies never;
  }
}

/** x W^T + b over the last axis. */
function addLinear(node: Place, x: string, [weight, bias]: readonly ParameterTensor[]): string {
  const { graph } = node;
  const matrix = transpose(graph, addTensor(node, weight as ParameterTensor), 1, 0);
  const product = graph.node('MatMul', [x, matrix]);
  return bias ? graph.node('Add', [product, addTensor(node, bias)]) : product;
}

function addDense(node: LayerNode): string {
  const { graph, layer, x } = node;
  const { inputShape, tensors } = layer;
  const isSequence = inputShape.length === 2;
  if (isSequence) return addLinear(node, x, tensors);
  const flat = inputShape.length > 2 ? graph.node('Flatten', [x]) : x;
  return graph.node('Gemm', [flat, ...tensorsOf(node)], { attributes: { transB: { int: 1 } } });
}

function addAttention(node: LayerNode<AttentionSpec>): string {
  const { graph, spec, layer, x } = node;
  const [positions, units] = layer.inputShape as [number, number];
  const { heads } = spec;
  const headSize = units / heads;
  const [inWeight, inBias, outWeight, outBias] = layer.tensors as [
    ParameterTensor,
    ParameterTensor,
    ParameterTensor,
    ParameterTensor,
  ];
  const projected = addLinear(node, x, [inWeight, inBias]);
  const parts = graph.nodes('Split', [projected], 3, { attributes: { axis: { int: -1 } } });
  const [q, k, v] = parts.map((part) => reshape(graph, part, [positions, heads, headSize])) as [
    string,
    string,
    string,
  ];
  const products = graph.node('MatMul', [transpose(graph, q, 0, 2, 1, 3), transpose(graph, k, 0, 2, 3, 1)]);
  const scores = graph.node('Mul', [products, graph.float(1 / Math.sqrt(headSize))]);
  const seen = spec.causal ? graph.node('Add', [scores, causalMask(graph, positions)]) : scores;
  const probabilities = graph.node('Softmax', [seen], { attributes: { axis: { int: -1 } } });
  const mixed = graph.node('MatMul', [probabilities, transpose(graph, v, 0, 2, 1, 3)]);
  const joined = reshape(graph, transpose(graph, mixed, 0, 2, 1, 3), [positions, units]);
  return addLinear(node, joined, [outWeight, outBias]);
}

/** [T, T]: minus infinity where a position would see a later one, made by the graph to keep the file small. */
function causalMask(graph: OnnxGraph, positions: number): string {
  const full = graph.node('Expand', [graph.float(-Infinity), graph.ints([positions, positions])]);
  return graph.node('Trilu', [full, graph.int(1)], { attributes: { upper: { int: 1 } } });
}

function addResidual(node: LayerNode<KindOf<'residual'>, ResidualLayer>): string {
  const { graph, weights, spec, layer, x } = node;
  const place = { graph, weights };
  const body = addLayers(spec.layers, layer.body as Stack, x, place);
  const shortcut = spec.shortcut ? addLayers(spec.shortcut, layer.shortcut as Stack, x, place) : x;
  return graph.node('Add', [body, shortcut]);
}

function addConvolution(node: LayerNode<Conv2dSpec, Conv2dLayer>): string {
  const { graph, spec, layer, x } = node;
  const attributes = { ...windowAttributes(layer.window), group: { int: spec.groups } };
  return graph.node('Conv', [x, ...tensorsOf(node)], { attributes });
}

function addPool({ graph, spec, layer, x }: LayerNode<Pool2dSpec, Pool2dLayer>): string {
  const attributes = windowAttributes(layer.window);
  if (spec.kind === 'maxPool2d') return graph.node('MaxPool', [x], { attributes });
  const { dilations: _, ...window } = attributes;
  return graph.node('AveragePool', [x], { attributes: { ...window, count_include_pad: { int: 1 } } });
}

function windowAttributes({ geometry }: Window) {
  const [height, width, kernelHeight, kernelWidth, strideY, strideX, top, left, ...rest] =
    geometry as number[];
  const [dilationY, dilationX, , , paddedHeight, paddedWidth] = rest;
  const after = (padded: number | undefined, before: number | undefined, side: number | undefined): number =>
    (padded as number) - (before as number) - (side as number);
  const pads = [top, left, after(paddedHeight, top, height), after(paddedWidth, left, width)];
  return {
    kernel_shape: { ints: [kernelHeight, kernelWidth] },
    strides: { ints: [strideY, strideX] },
    dilations: { ints: [dilationY, dilationX] },
    pads: { ints: pads },
  } as Record<'kernel_shape' | 'strides' | 'dilations' | 'pads', Attribute>;
}

/** The order of ONNX's gates among those of the tensors: i o f c of i f g o, and z r h of r z n. */
const GATES = { lstm: [0, 3, 1, 2], gru: [1, 0, 2] } as const;

function addRecurrent(node: LayerNode<KindOf<'lstm' | 'gru'>>): string {
  const { graph, spec, layer, x } = node;
  const [inputWeight, recurrentWeight, inputBias, recurrentBias] = layer.tensors as [
    ParameterTensor,
    ParameterTensor,
    ParameterTensor,
    ParameterTensor,
  ];
  const gates = GATES[spec.kind];
  const blocksOf = ({ offset, length }: ParameterTensor): [number, number][] => {
    const part = length / gates.length;
    return gates.map((gate) => [offset + gate * part, part]);
  };
  const weight = (tensor: ParameterTensor): string =>
    addArranged(node, { name: `${tensor.name}/gates`, shape: [1, ...tensor.shape] }, blocksOf(tensor));
  const biasName = inputBias.name.replace(/bias_ih_l0$/, 'bias/gates');
  const biases = addArranged(node, { name: biasName, shape: [1, 2 * inputBias.length] }, [
    ...blocksOf(inputBias),
    ...blocksOf(recurrentBias),
  ]);
  const inputs = [transpose(graph, x, 1, 0, 2), weight(inputWeight), weight(recurrentWeight), biases];
  const size = { hidden_size: { int: spec.units } };
  // The candidate of a GRU takes the state through the reset gate after the product, as in PyTorch.
  const attributes = spec.kind === 'gru' ? { ...size, linear_before_reset: { int: 1 } } : size;
  const [all, last] = graph.nodes(spec.kind.toUpperCase(), inputs, 2, { attributes }) as [string, string];
  if (!spec.returnSequences) return graph.node('Squeeze', [last, graph.ints([0])]);
  return transpose(graph, graph.node('Squeeze', [all, graph.ints([1])]), 1, 0, 2);
}
