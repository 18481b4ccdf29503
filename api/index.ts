/**
 * Runs from a program: training, and the models that come of it. docs/api.md shows how to use it.
 * @module lockstep
 */
export { LockstepError } from '../src/errors.ts';
export type { ErrorCategory, SourceLocation } from '../src/errors.ts';
export type { Shape } from '../src/shape.ts';
export type { ConfigInput } from '../src/config/schema.ts';
export type { LossInput, LossKind } from '../src/losses/registry.ts';
export type { DataSource } from '../src/config/data-sources.ts';
export type { LayerInput, LayerSpec } from '../src/layers/registry.ts';
export type { EpochRecord, StepRecord } from '../coordinator/training/train.ts';
export type { Summary } from '../coordinator/output/summary.ts';
export type { Baseline, MajorityBaseline, MeanBaseline } from '../coordinator/training/baseline.ts';
export type {
  CustomMetric,
  CustomMetrics,
  MetricColumn,
  MetricInfo,
} from '../coordinator/training/custom-metrics.ts';
export type { FinishedRun, StartedRun } from '../coordinator/commands/run.ts';
export { evaluate } from './model.ts';
export { loadModel } from '../src/predict/load-model.ts';
export type { EvaluateOptions } from './model.ts';
export { TrainedModel } from '../src/predict/trained-model.ts';
export type { LoadModelOptions } from '../src/predict/load-model.ts';
export type { PredictInput } from '../src/predict/samples.ts';
export type { Cell, Row } from '../src/predict/samples.ts';
export type {
  ClassPrediction,
  PositionsPrediction,
  Prediction,
  ValuesPrediction,
} from '../src/predict/predictions.ts';
export type { SplitMetrics } from '../src/metrics/definitions.ts';
export type {
  ClassificationMetrics,
  ClassMetrics,
  ClassRatios,
  TopK,
} from '../src/metrics/classification.ts';
export type { RegressionErrors, RegressionMetrics } from '../src/metrics/regression.ts';
export type { SequenceMetrics } from '../src/metrics/sequence.ts';
export type { Numbers } from '../src/data/array/numbers.ts';
export type { Samples } from '../src/data/array/arrays.ts';
export type { Rows } from './waiting.ts';
export { train } from './train.ts';
export type { MetricsOf, RunningTraining, TrainConfig, TrainData, TrainOptions } from './train.ts';
export {
  activation,
  attention,
  augment,
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
