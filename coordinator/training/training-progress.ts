// Where a training stands between two steps: plain data that, with the training state, is all it takes to go on.
import { z } from 'zod';
import type { Config } from '../../src/config/schema.ts';
import { FIRST_PLATEAU } from '../../src/schedule/plateau.ts';
import { NO_IMPROVEMENT } from './early-stopping.ts';

const count = z.int().min(0);
/** Of the infinite and not-a-number too: a run may come to them, and must then be able to go on. */
const double = z.custom<number>((value) => typeof value === 'number', 'not a number');

/** An epoch that is over. */
const epochLosses = z.strictObject({
  epoch: z.int().min(1),
  /** Mean loss over the epoch's samples, each before its step. */
  trainLoss: double,
  /** Undefined without validation. */
  validationLoss: double.optional(),
});

/** As a checkpoint holds it. */
export const trainingProgressSchema = z.strictObject({
  /** Epochs that are over, their validation included. */
  history: z.array(epochLosses),
  /** Of the epoch under way: batches that are done, their sums of losses and weights, and the time they took. */
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
  /** Of the fingerprints of the weights after each step so far, in order: see `combineFingerprints`. */
  chain: z.string().regex(/^[0-9a-f]{16}$/),
  /** The epoch whose weights are the best so far. */
  best: epochLosses.optional(),
});

export type EpochLosses = z.output<typeof epochLosses>;

/** See the head of this file. */
export type TrainingProgress = z.output<typeof trainingProgressSchema>;

/** Before the first step. */
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
