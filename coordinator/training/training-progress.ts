// The progress of a training between two steps: plain data that, with the training state, is
// everything needed to resume.
import { z } from 'zod';
import type { Config } from '../../src/config/schema.ts';
import { FIRST_PLATEAU } from '../../src/schedule/schedule.ts';
import { NO_IMPROVEMENT } from './early-stopping.ts';

const count = z.int().min(0);
/** A number, infinite and NaN included: a run may get there, and must then be able to resume. */
const double = z.custom<number>((value) => typeof value === 'number', 'not a number');

/** An epoch that is over. */
const epochLosses = z.strictObject({
  epoch: z.int().min(1),
  /** Mean loss over the epoch's samples, each before its step. */
  trainLoss: double,
  /** Undefined without validation. */
  validationLoss: double.optional(),
});

/** The format of the progress in a checkpoint. */
export const trainingProgressSchema = z.strictObject({
  /** Epochs that are over, their validation included. */
  history: z.array(epochLosses),
  /** Batches of the current epoch that are done, their sums of losses and weights, and the time they took. */
  batchesDone: count,
  lossSum: double,
  weightSum: double,
  epochSeconds: double,
  /** Spent in the steps of epochs that are over. */
  trainSeconds: double,
  /** Most workers at one time, so far. */
  maxWorkers: count,
  improvement: z.strictObject({
    best: double.optional(),
    reference: double.optional(),
    numWithout: count,
  }),
  plateau: z.strictObject({
    factor: double,
    best: double.optional(),
    numBad: count,
    cooldown: count,
  }),
  /**
   * Fingerprint of the fingerprints of the weights after each step so far, in order, as
   * `combineFingerprints` gives it.
   */
  chain: z.string().regex(/^[0-9a-f]{16}$/),
  /** The epoch whose weights are the best so far. */
  best: epochLosses.optional(),
});

export type EpochLosses = z.output<typeof epochLosses>;

/** The progress of a training between two steps. */
export type TrainingProgress = z.output<typeof trainingProgressSchema>;

/** The progress before the first step. */
export const FIRST_PROGRESS: TrainingProgress = {
  history: [],
  batchesDone: 0,
  lossSum: 0,
  weightSum: 0,
  epochSeconds: 0,
  trainSeconds: 0,
  maxWorkers: 0,
  improvement: NO_IMPROVEMENT,
  plateau: FIRST_PLATEAU,
  chain: '0'.repeat(16),
};

/** Batches so far, of all epochs: what `metrics.jsonl` counts as steps. */
export function stepsDone({ history, batchesDone }: TrainingProgress, stepsPerEpoch: number): number {
  return history.length * stepsPerEpoch + batchesDone;
}

/** The epoch after which early stopping ends the run, if it does. */
export function stoppedEarly(
  { earlyStopping }: Pick<Config, 'earlyStopping'>,
  { history, improvement }: TrainingProgress,
): number | undefined {
  const isStopped = earlyStopping !== undefined && improvement.numWithout >= earlyStopping.patience;
  return isStopped ? history.length : undefined;
}
