// A trained model in a program: loaded to predict, or measured again.
import path from 'node:path';
import type { DataSource } from '../src/config/data-kind.ts';
import { resolveSource } from '../src/config/paths.ts';
import type { SplitMetrics } from '../src/metrics/split-metrics.ts';
import { TrainedModel, type LoadModelOptions } from '../src/predict/trained-model.ts';
import { evaluateRun } from '../coordinator/evaluate-run.ts';

/**
 * Loads the model in the directory of a run, or in its `model` directory.
 * @throws LockstepError (category `checkpoint`) where it is missing, damaged or not of Lockstep's.
 */
export function loadModel(directory: string, options: LoadModelOptions = {}): Promise<TrainedModel> {
  return TrainedModel.load(directory, options);
}

/** What to measure on, and who is told of oddities. */
export interface EvaluateOptions {
  /** A split of the run's own data, which must still be where it was; default `test`. */
  readonly split?: 'train' | 'validation' | 'test' | undefined;
  /** New labelled samples instead, of the same kind: a path, or `{ images, labels }`. All are measured. */
  readonly data?: DataSource | undefined;
  /** What paths in `data` are relative to; default: the process's working directory. */
  readonly baseDirectory?: string | undefined;
  /** Default: a warning of the process. */
  readonly warn?: ((message: string) => void) | undefined;
}

/**
 * Measures a finished run again, by the metrics of the run. For a split of its own the figures are those of
 * `summary.json`, bit for bit; new samples are encoded by what training has learnt, and nothing is fitted to them.
 *
 * @param run the directory of the run, or a model that was loaded from it
 * @throws LockstepError for a run without a model, or data that do not fit it
 */
export function evaluate(run: string | TrainedModel, options: EvaluateOptions = {}): Promise<SplitMetrics> {
  const { split, data, baseDirectory = process.cwd() } = options;
  return evaluateRun(typeof run === 'string' ? run : run.directory, {
    split,
    data: data && resolveSource(data, path.resolve(baseDirectory)),
    warn: options.warn ?? ((message) => process.emitWarning(message)),
  });
}
