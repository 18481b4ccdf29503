// What `import ... from 'lockstep'` gives: docs/api.md shows how to use it.
export { LockstepError } from '../src/errors.ts';
export type { ConfigInput } from '../src/config/schema.ts';
export type { LayerInput } from '../src/layers/registry.ts';
export type { EpochRecord, StepRecord } from '../coordinator/train.ts';
export type { Summary } from '../coordinator/output/summary.ts';
export type { FinishedRun } from '../coordinator/run.ts';
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
export { train } from './train.ts';
export type { TrainOptions } from './train.ts';
