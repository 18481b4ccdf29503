// From a model spec and an input width to shapes, parameter layout and pieces.
//
// The parameters are one flat f32 vector, layer after layer, weight [out, in] before bias [out]. That
// vector is what is hashed, sent and saved; names and shapes are offsets into it.
import { TILE_ROWS } from '../kernels/tile.ts';
import type { Activation, DenseSpec, Initializer, ModelSpec } from './spec.ts';

/** A named part of the flat parameter vector; offset and length count f32. */
export interface ParameterTensor {
  /** PyTorch's name in a Sequential where each activation is a module of its own: `0.weight`. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly length: number;
}

/** A dense layer with all sizes known: y[B, outputs] = activation(x[B, inputs] W^T + b). */
export interface DenseLayer {
  readonly kind: 'dense';
  readonly inputs: number;
  readonly outputs: number;
  readonly activation: Activation;
  readonly initializer: Initializer;
  readonly weight: ParameterTensor;
  readonly bias: ParameterTensor | undefined;
}

/** A contiguous slice of the flat vector that travels as one message; never larger than 4 MiB. */
export interface Piece {
  readonly offset: number;
  readonly length: number;
  /** The piece's gradient is final once the backward pass has done these rows of this layer's weight. */
  readonly firstLayer: number;
  readonly fromRow: number;
  readonly toRow: number;
}

/** A model with all shapes resolved. */
export interface Model {
  readonly layers: readonly DenseLayer[];
  readonly inputWidth: number;
  readonly outputWidth: number;
  readonly numParameters: number;
  readonly tensors: readonly ParameterTensor[];
  /** In the order in which the backward pass completes them: the last layer's first. */
  readonly pieces: readonly Piece[];
}

/** f32 of the largest piece: 4 MiB, the most that a message may carry. */
export const MAX_PIECE_LENGTH = 1_048_576;
/** Larger layers are cut to about this: 512 KiB, so that one piece is computed while another travels. */
const PIECE_LENGTH = 131_072;
/** Smaller layers are sent together: below 64 KiB a message costs more than its bytes. */
const MIN_PIECE_LENGTH = 16_384;

/** Resolves shapes, parameter offsets, default initialisers and pieces for samples of `inputWidth` values. */
export function resolveModel(spec: ModelSpec, inputWidth: number): Model {
  const layers: DenseLayer[] = [];
  let offset = 0;
  let moduleIndex = 0;
  let width = inputWidth;
  for (const layerSpec of spec.layers) {
    const layer = resolveDense(layerSpec, width, offset, moduleIndex);
    layers.push(layer);
    offset = layerEnd(layer);
    moduleIndex += layer.activation === 'linear' ? 1 : 2;
    width = layer.outputs;
  }
  const tensors = layers.flatMap((layer) => (layer.bias ? [layer.weight, layer.bias] : [layer.weight]));
  return {
    layers,
    inputWidth,
    outputWidth: width,
    numParameters: offset,
    tensors,
    pieces: cutPieces(layers),
  };
}

function resolveDense(spec: DenseSpec, inputs: number, offset: number, moduleIndex: number): DenseLayer {
  const outputs = spec.units;
  const weight = {
    name: `${moduleIndex}.weight`,
    shape: [outputs, inputs],
    offset,
    length: outputs * inputs,
  };
  const biasOffset = offset + weight.length;
  const isRectifier = spec.activation === 'relu' || spec.activation === 'leakyRelu';
  return {
    kind: 'dense',
    inputs,
    outputs,
    activation: spec.activation,
    initializer: spec.initializer ?? (isRectifier ? 'heUniform' : 'glorotUniform'),
    weight,
    bias: spec.bias
      ? { name: `${moduleIndex}.bias`, shape: [outputs], offset: biasOffset, length: outputs }
      : undefined,
  };
}

function layerEnd(layer: DenseLayer): number {
  const last = layer.bias ?? layer.weight;
  return last.offset + last.length;
}

function cutPieces(layers: readonly DenseLayer[]): Piece[] {
  const pieces: Piece[] = [];
  let end: number | undefined;
  for (let index = layers.length - 1; index >= 0; index--) {
    const layer = layers[index] as DenseLayer;
    end ??= layerEnd(layer);
    const length = end - layer.weight.offset;
    const nextLength = index > 0 ? layer.weight.offset - (layers[index - 1] as DenseLayer).weight.offset : 0;
    if (index > 0 && length < MIN_PIECE_LENGTH && length + nextLength <= MAX_PIECE_LENGTH) continue;
    pieces.push(...cutLayer(layer, index, end));
    end = undefined;
  }
  return pieces;
}

/** Cuts [start of the layer, end) at rows of its weight, whole tiles each; what follows it goes with the last rows. */
function cutLayer(layer: DenseLayer, firstLayer: number, end: number): Piece[] {
  const { inputs, outputs, weight } = layer;
  const tileLength = TILE_ROWS * inputs;
  if (tileLength > PIECE_LENGTH) return cutWideLayer(layer, firstLayer, end);
  const rowsPerPiece = Math.floor(PIECE_LENGTH / tileLength) * TILE_ROWS;
  const pieces: Piece[] = [];
  for (let fromRow = 0; fromRow < outputs; fromRow += rowsPerPiece) {
    const isLast = fromRow + rowsPerPiece >= outputs;
    const toRow = isLast ? outputs : fromRow + rowsPerPiece;
    const offset = weight.offset + fromRow * inputs;
    const pieceEnd = isLast ? end : weight.offset + toRow * inputs;
    pieces.push({ offset, length: pieceEnd - offset, firstLayer, fromRow, toRow });
  }
  return pieces;
}

/** A layer whose rows are too long to cut between: its pieces are all final when all rows are done. */
function cutWideLayer({ outputs, weight }: DenseLayer, firstLayer: number, end: number): Piece[] {
  const pieces: Piece[] = [];
  for (let offset = weight.offset; offset < end; offset += MAX_PIECE_LENGTH) {
    const length = Math.min(MAX_PIECE_LENGTH, end - offset);
    pieces.push({ offset, length, firstLayer, fromRow: pieces.length === 0 ? 0 : outputs, toRow: outputs });
  }
  return pieces;
}

/** One line a layer: what a shape error and `--dry-run` show. */
export function describeModel(model: Model): string[] {
  return model.layers.map((layer, index) => {
    const parameters = layer.weight.length + (layer.bias?.length ?? 0);
    const activation = layer.activation === 'linear' ? '' : ` ${layer.activation}`;
    return `layer ${index}: dense ${layer.inputs} -> ${layer.outputs}${activation} (${parameters.toLocaleString('en-US')} parameters)`;
  });
}
