// A whole model of dense layers forward and backward, made from the other twins. In float32 with
// mse its gradients are the engine's bits; in float64 it is the exact answer. Letters: B rows, I
// inputs and O outputs of a layer.
import type { DenseLayer } from '../../../src/layers/dense.ts';
import type { Model } from '../../../src/model/model.ts';
import type { LossInput } from '../../../src/losses/registry.ts';
import { needsActivationInput } from '../../../src/layers/activation.ts';
import { activate, slope, slopeFromInput } from './activation.ts';
import { denseLayers } from './engines.ts';
import type { Arithmetic, Values } from './arithmetic.ts';
import { runLoss } from './loss.ts';
import { columnSum, multiply, multiplyTree, transpose } from './matrix.ts';
import { at, combineAlongTree } from './tree.ts';

export interface TwinBatch {
  /** [B, inputWidth] */
  readonly features: ArrayLike<number>;
  /** [B, outputWidth] values, or [B] class indices. */
  readonly targets: ArrayLike<number>;
  /** [B]; default all 1. */
  readonly sampleWeights?: ArrayLike<number> | undefined;
  /** Shards: rows [bounds[i], bounds[i + 1]). */
  readonly bounds: ArrayLike<number>;
}

export interface TwinResult {
  readonly outputs: Values;
  readonly lossSum: number;
  /** Sum over rows, in the layout of the model's flat vector. */
  readonly gradient: Values;
}

interface Twin {
  readonly arithmetic: Arithmetic;
  readonly model: Model;
  readonly loss: LossInput;
}

/** Outputs, sum of losses and sum of gradients of a batch. */
export function runNetwork(twin: Twin, weights: ArrayLike<number>, batch: TwinBatch): TwinResult {
  const { arithmetic, model, loss } = twin;
  const rows = at(batch.bounds, batch.bounds.length - 1);
  const activations = [arithmetic.from(batch.features)];
  const sums: Values[] = [];
  const layers = denseLayers(model);
  for (const layer of layers) {
    const { z, y } = forwardLayer(arithmetic, layer, weights, activations.at(-1), rows);
    sums.push(z);
    activations.push(y);
  }
  const outputs = activations.at(-1);
  const { losses, dY } = runLoss(arithmetic, loss, {
    y: outputs,
    targets: batch.targets,
    columns: model.outputWidth,
    sampleWeights: batch.sampleWeights,
  });
  const gradient = arithmetic.zeros(model.numParameters);
  let error = dY;
  for (let index = layers.length - 1; index >= 0; index--) {
    const layer = layers[index] as DenseLayer;
    const { activation } = layer.spec;
    const saved = (needsActivationInput(activation) ? sums[index] : activations[index + 1]) as Values;
    const derivative = needsActivationInput(activation) ? slopeFromInput : slope;
    const d = error.map((value, i) =>
      arithmetic.round(value * derivative(arithmetic, activation, at(saved, i))),
    ) as Values;
    gradient.set(
      weightGradient(arithmetic, layer, d, activations[index] as Values, batch.bounds),
      layer.weight.offset,
    );
    if (layer.bias) gradient.set(columnSum(arithmetic, d, layer.outputs, batch.bounds), layer.bias.offset);
    error = inputGradient(arithmetic, layer, weights, d, rows);
  }
  return { outputs, lossSum: sumLosses(losses, batch.bounds), gradient };
}

/** z = x[B, I] W^T + b and y[B, O] = f(z). A layer without bias adds zeros, as the kernel does. */
function forwardLayer(
  arithmetic: Arithmetic,
  layer: DenseLayer,
  weights: ArrayLike<number>,
  x: Values,
  rows: number,
): { z: Values; y: Values } {
  const { inputs, outputs, bias, spec } = layer;
  const w = weightMatrix(arithmetic, layer, weights);
  const b = transpose(w, outputs, inputs);
  const z = multiply(arithmetic, { m: rows, n: outputs, k: inputs, a: x, b }).map((value, i) =>
    arithmetic.round(value + (bias ? at(weights, bias.offset + (i % outputs)) : 0)),
  );
  return { z, y: z.map((value) => activate(arithmetic, spec.activation, value)) };
}

/** dW[O, I] = d^T x, shard by shard along the tree. */
function weightGradient(
  arithmetic: Arithmetic,
  { inputs, outputs }: DenseLayer,
  d: Values,
  x: Values,
  bounds: ArrayLike<number>,
): Values {
  const rows = at(bounds, bounds.length - 1);
  const a = transpose(d, rows, outputs);
  return multiplyTree(arithmetic, { m: outputs, n: inputs, k: rows, a, b: x }, bounds);
}

/** dX[B, I] = d[B, O] W. */
function inputGradient(
  arithmetic: Arithmetic,
  layer: DenseLayer,
  weights: ArrayLike<number>,
  d: Values,
  rows: number,
): Values {
  const b = weightMatrix(arithmetic, layer, weights);
  return multiply(arithmetic, { m: rows, n: layer.inputs, k: layer.outputs, a: d, b });
}

function weightMatrix(arithmetic: Arithmetic, { weight }: DenseLayer, weights: ArrayLike<number>): Values {
  return arithmetic.from(Array.from({ length: weight.length }, (_, i) => at(weights, weight.offset + i)));
}

/** Rows in order within a shard, shards along the tree; always in float64. */
function sumLosses(losses: Float64Array, bounds: ArrayLike<number>): number {
  const shards = Array.from({ length: bounds.length - 1 }, (_, s) =>
    losses.subarray(at(bounds, s), at(bounds, s + 1)).reduce((sum, value) => sum + value, 0),
  );
  return combineAlongTree(shards, (left, right) => left + right);
}
