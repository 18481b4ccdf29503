// The exports of the package `lockstep`; docs/api.md shows how to use them. Layers are typed calls:
// `dense({ units: 64, activation: 'relu' })` is the mapping that a config file would hold, with its fields
// completed and checked by an editor.
import type { LayerInput } from '../src/layers/registry.ts';

export { LockstepError } from '../src/errors.ts';
export type { ConfigInput } from '../src/config/schema.ts';
export type { LayerInput } from '../src/layers/registry.ts';
export type { EpochRecord, StepRecord } from '../coordinator/training/train.ts';
export type { Summary } from '../coordinator/output/summary.ts';
export type { CustomMetric, MetricInfo } from '../coordinator/training/custom-metrics.ts';
export type { FinishedRun, StartedRun } from '../coordinator/commands/run.ts';
export { evaluate, loadModel } from './model.ts';
export type { EvaluateOptions } from './model.ts';
export { TrainedModel } from '../src/predict/trained-model.ts';
export type { LoadModelOptions } from '../src/predict/trained-model.ts';
export type { PredictInput } from '../src/predict/samples.ts';
export type { Cell, Row } from '../src/predict/samples.ts';
export type {
  ClassPrediction,
  PositionsPrediction,
  Prediction,
  ValuesPrediction,
} from '../src/predict/predictions.ts';
export type { SplitMetrics } from '../src/metrics/definitions.ts';
export type { ClassificationMetrics } from '../src/metrics/classification.ts';
export type { RegressionMetrics } from '../src/metrics/regression.ts';
export type { SequenceMetrics } from '../src/metrics/sequence.ts';
export type { Numbers, Samples } from '../src/data/array/arrays.ts';
export type { Rows } from './waiting.ts';
export { train } from './train.ts';
export type { MetricsOf, RunningTraining, TrainConfig, TrainData, TrainOptions } from './train.ts';

type InputOf<Kind extends LayerInput['kind']> = Extract<LayerInput, { kind: Kind }>;
type OptionsOf<Kind extends LayerInput['kind']> = Omit<InputOf<Kind>, 'kind'>;
/** Arguments of a builder: the options can be omitted if none is required. */
type Arguments<Options> = Record<never, never> extends Options ? [options?: Options] : [options: Options];

/** A call that makes a layer of one kind. */
type Builder<Kind extends LayerInput['kind']> = (...args: Arguments<OptionsOf<Kind>>) => InputOf<Kind>;

function builder<Kind extends LayerInput['kind']>(kind: Kind): Builder<Kind> {
  return (...[options]) => ({ kind, ...options }) as InputOf<Kind>;
}

/** Layers one after the other, as `model` of a config. */
export function sequential(layers: readonly LayerInput[]): { layers: LayerInput[] } {
  return { layers: [...layers] };
}

/** Fully connected: y = activation(x W^T + b). */
export const dense = builder('dense');
/** A function of every value, or softmax over the last axis. */
export const activation = builder('activation');
/** Normalization over the last axis. */
export const layerNorm = builder('layerNorm');
/** Normalization of each feature or channel over the samples of a shard. */
export const batchNorm = builder('batchNorm');
/** Values dropped at random in training. */
export const dropout = builder('dropout');
/** Images mirrored, moved and cropped at random in training. */
export const augment = builder('augment');
/** A learned vector for each token. */
export const embedding = builder('embedding');
/** A learned vector for each position, added. */
export const positionalEmbedding = builder('positionalEmbedding');
/** Multi-head self-attention. */
export const attention = builder('attention');
/** Layers whose output is added to their input. */
export const residual = builder('residual');

/** Convolution over images [channels, height, width], weights and options as PyTorch's Conv2d. */
export const conv2d = builder('conv2d');
/** The largest value of each window of an image. */
export const maxPool2d = builder('maxPool2d');
/** The mean of each window of an image. */
export const avgPool2d = builder('avgPool2d');
/** The mean of each channel of an image. */
export const globalAvgPool2d = builder('globalAvgPool2d');
/** All values of a sample as one row. */
export const flatten = builder('flatten');
/** Another shape for the same values. */
export const reshape = builder('reshape');
/** Long short-term memory over [positions, features]: PyTorch's `nn.LSTM`. */
export const lstm = builder('lstm');
/** Gated recurrent units over [positions, features]: PyTorch's `nn.GRU`. */
export const gru = builder('gru');
