// The training, and its results when it is not disturbed: the oracle of every simulation.
import type { GiveUpCause } from '../../coordinator/scheduler/outcome.ts';
import { combine, hashOf, nextWeights, sumUnder } from './symbols.ts';
import type { Value } from './symbols.ts';

/** The shape of a training. */
export interface Training {
  readonly numEpochs: number;
  readonly stepsPerEpoch: number;
  readonly numBuckets: number;
  /** Rows of the shards of each step of an epoch. */
  readonly shardRows: readonly (readonly number[])[];
  /** Rows of the shards of an evaluation. */
  readonly evaluationRows: readonly number[];
  readonly divergesAt: number | undefined;
}

/** The position of a training; the content of a checkpoint. */
export interface Progress {
  /** Steps taken. */
  readonly step: number;
  readonly weights: readonly Value[];
  /** Result of every round so far. */
  readonly chain: readonly Value[];
}

/** How a training ended. */
export type Outcome = 'finished' | 'diverged' | 'starved' | GiveUpCause;

/** Before the first step. */
export function startOf({ numBuckets }: Training): Progress {
  return {
    step: 0,
    weights: Array.from({ length: numBuckets }, (_, bucket) => hashOf(7, bucket)),
    chain: [],
  };
}

/** True if the round after this many results is the evaluation after an epoch. */
export function isEvaluation({ stepsPerEpoch }: Training, numResults: number): boolean {
  return numResults % (stepsPerEpoch + 1) === stepsPerEpoch;
}

/** The results of every round, computed without any worker. */
export function faultFree(training: Training): readonly Value[] {
  let { weights } = startOf(training);
  const chain: Value[] = [];
  for (let step = 0; step < training.numEpochs * training.stepsPerEpoch; step++) {
    const rows = training.shardRows[step % training.stepsPerEpoch] as readonly number[];
    const root = { level: Math.ceil(Math.log2(rows.length)), index: 0 };
    const key = { step, weights: combine(weights), divergesAt: undefined };
    const work = { ...key, kind: 'train', numShards: rows.length } as const;
    const sums = weights.map((_, bucket) => sumUnder(work, root, bucket));
    chain.push(combine(sums));
    weights = weights.map((value, bucket) => nextWeights(value, sums[bucket] as Value));
    if (!isEvaluation(training, chain.length)) continue;
    const shards = { kind: 'evaluate', numShards: training.evaluationRows.length } as const;
    const evaluation = { ...key, ...shards, step: step + 1, weights: combine(weights) };
    const values = training.evaluationRows.map((_, index) => sumUnder(evaluation, { level: 0, index }, 0));
    chain.push(combine(values));
  }
  return chain;
}
