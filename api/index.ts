// The exports of the package `lockstep`; docs/api.md shows how to use them.
export { LockstepError } from '../src/errors.ts';
export type { ConfigInput } from '../src/config/schema.ts';
export type { LayerInput } from '../src/layers/registry.ts';
export type { EpochRecord, StepRecord } from '../coordinator/training/train.ts';
export type { Summary } from '../coordinator/output/summary.ts';
export type { FinishedRun } from '../coordinator/commands/run.ts';
export {
  activation,
  attention,
  avgPool2d,
  batchNorm,
  conv2d,
  dense,
  dropout,
  embedding,
  flatten,
  globalAvgPool2d,
  gru,
  layerNorm,
  lstm,
  maxPool2d,
  positionalEmbedding,
  reshape,
  residual,
  sequential,
} from './layers.ts';
export { evaluate, loadModel } from './model.ts';
export type { EvaluateOptions } from './model.ts';
export { TrainedModel } from '../src/predict/trained-model.ts';
export type { LoadModelOptions } from '../src/predict/trained-model.ts';
export type { PredictInput } from '../src/predict/samples.ts';
export type { Cell, Row } from '../src/predict/samples.ts';
export type { ClassPrediction, Prediction, ValuesPrediction } from '../src/predict/predictions.ts';
export type { SplitMetrics } from '../src/metrics/definitions.ts';
export type { Numbers, Samples } from '../src/data/array/arrays.ts';
export type { TrainConfig, TrainData } from './samples.ts';
export { train } from './train.ts';
export type { TrainOptions } from './train.ts';
