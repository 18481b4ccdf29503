// The training loop: epochs of steps, a validation after each, one test with the best weights at
// the end. Everything that it remembers from step to step is in its progress, so that it can
// resume from a checkpoint.
import type { Config, EarlyStoppingConfig } from '../../src/config/schema.ts';
import { totalSampleWeight } from '../../src/data/dataset/packed-dataset.ts';
import { epochOrder, numBatches } from '../../src/data/dataset/split.ts';
import type { LoadedData } from '../../src/data/load.ts';
import { combineFingerprints } from '../../src/engine/fingerprint.ts';
import { LockstepError } from '../../src/errors.ts';
import { failpoint } from '../../src/failpoint.ts';
import type { HostMath } from '../../src/kernels/host-math.ts';
import type { SplitMetrics } from '../../src/metrics/definitions.ts';
import { cutBatch } from '../../src/model/shards.ts';
import { learningRateAt, plateauAfter } from '../../src/schedule/schedule.ts';
import type { PlateauState } from '../../src/schedule/schedule.ts';
import type { Compute, StepResult } from './compute.ts';
import type { CustomMetrics } from './custom-metrics.ts';
import { afterEpoch, monitoredValue } from './early-stopping.ts';
import type { Improvement } from './early-stopping.ts';
import { measureSplit } from './measure.ts';
import type { MeasuredSplit } from './measure.ts';
import { FIRST_PROGRESS, stepsDone, stoppedEarly } from './training-progress.ts';
import type { EpochLosses, TrainingProgress } from './training-progress.ts';
import { helpForDivergence } from './training-state.ts';
import type { CurrentWeights, TrainingState } from './training-state.ts';

/** One optimizer step, as it is logged. */
export interface StepRecord {
  /** Steps so far, from 1. */
  readonly step: number;
  /** The epoch that it is part of, from 1. */
  readonly epoch: number;
  /** Mean loss of the batch, before the step. */
  readonly loss: number;
  /** Norm of the mean gradient, before clipping. */
  readonly gradNorm: number;
  /** The learning rate of the step. */
  readonly learningRate: number;
  /** Samples per second of the epoch so far. */
  readonly samplesPerSecond: number;
  /** Workers that take part; 0 where this process computes. */
  readonly workers: number;
  /** Fingerprint of the weights after the step. */
  readonly fingerprint: string;
  /** Fingerprint of the fingerprints of all steps so far: equal for two runs that took the same path. */
  readonly chain: string;
}

/** One epoch, as it is logged. */
export interface EpochRecord<Metrics = SplitMetrics> {
  /** Epochs so far, from 1. */
  readonly epoch: number;
  /** Steps so far. */
  readonly step: number;
  /** Mean loss over the epoch's samples, each before its step. */
  readonly trainLoss: number;
  /** Metrics of the validation split; undefined if it is empty. */
  readonly validation: Metrics | undefined;
  /** Samples per second of the epoch's steps. */
  readonly samplesPerSecond: number;
  /** Most workers at one time so far. */
  readonly workers: number;
  /** SHA-256 of the weights that were validated. */
  readonly weightsSha256: string;
}

/**
 * Observer of a training. A promise that it returns is awaited before the next step; a
 * rejection ends the training.
 */
export interface TrainingObserver {
  onStep(record: StepRecord): unknown;
  onEpoch(record: EpochRecord): unknown;
}

/** A request that a training end before its last epoch, and yet with a result. */
export class StopRequest {
  #by: string | undefined;
  #step: number | undefined;

  /** Ends the training after the step at hand, or after the first one. `by` says who asks. */
  make(by: string): void {
    this.#by ??= by;
  }

  /** The name of the first to ask; undefined while nobody has. */
  get by(): string | undefined {
    return this.#by;
  }

  /** Tells whether the training ends after this step: a run that is rolled back ends where it would have. */
  isDue(step: number): boolean {
    if (this.#by === undefined || step === 0) return false;
    this.#step ??= step;
    return step >= this.#step;
  }
}

/** Saves checkpoints: it hears of the progress between two steps, when the state may be copied. */
export interface TrainingCheckpointer {
  afterStep(progress: TrainingProgress): void;
  /** Takes the progress after an epoch and its validation; `isBest` if its weights are the best so far. */
  afterEpoch(progress: TrainingProgress, isBest: boolean): void;
  /** Saves a state within an epoch, before that epoch is cut short. */
  beforeCut(progress: TrainingProgress): void;
}

/** Rolls back steps that turn out to be wrong after they are taken. */
export interface TrainingRollback {
  readonly isNeeded: boolean;
  /** Restores an earlier state, and returns its progress. */
  rollBack(): Promise<TrainingProgress>;
}

/** The parts of a training. */
export interface TrainingRun {
  readonly config: Config;
  readonly data: LoadedData;
  readonly state: TrainingState;
  readonly compute: Compute;
  readonly math: HostMath;
  readonly observer: TrainingObserver;
  readonly checkpointer?: TrainingCheckpointer | undefined;
  readonly rollback?: TrainingRollback | undefined;
  /** Aborting it stops the training between two steps. */
  readonly signal: AbortSignal;
  readonly stop?: StopRequest | undefined;
  /** Metrics that a program has brought along. */
  readonly customMetrics?: CustomMetrics | undefined;
}

/** The result of a training; the state then holds the best weights. */
export interface TrainingResult {
  readonly history: readonly EpochLosses[];
  readonly best: EpochLosses;
  /** The epoch after which early stopping or a request ended the run. */
  readonly stoppedEarly: number | undefined;
  /** The name of the one that ended it then: `earlyStopping`, or of the maker of the request. */
  readonly stoppedBy: string | undefined;
  readonly validation: MeasuredSplit | undefined;
  readonly test: MeasuredSplit | undefined;
  readonly steps: number;
  readonly samplesSeen: number;
  readonly trainSeconds: number;
  /** Most workers at one time. */
  readonly workers: number;
}

/**
 * Trains from `start`, which the state must have reached, to the end.
 * @throws LockstepError for a run that diverged or lacks workers, or the signal's reason.
 */
export async function train(
  run: TrainingRun,
  start: TrainingProgress = FIRST_PROGRESS,
): Promise<TrainingResult> {
  let progress = start;
  for (;;) {
    const reached = await trainUntil(run, progress, Infinity);
    progress = await cutEpoch(run, reached);
    if (isToRollBack(run)) continue;
    const result = await measureResult(run, progress, stepsDone(reached, stepsPerEpoch(run)));
    // The rounds of that, too, may reveal that steps were wrong.
    if (!isToRollBack(run)) return result;
  }
}

function isToRollBack({ rollback }: TrainingRun): boolean {
  return rollback?.isNeeded === true;
}

/**
 * Takes the steps from `start` until the training is over or has taken `lastStep`, and
 * returns the progress there.
 */
export async function trainUntil(
  run: TrainingRun,
  start: TrainingProgress,
  lastStep: number,
): Promise<TrainingProgress> {
  const perEpoch = stepsPerEpoch(run);
  let progress = start;
  for (;;) {
    // Asked before a rollback, so that a request is due here, and not where the run goes back to.
    const isEnd = isOver(run, progress) || stepsDone(progress, perEpoch) >= lastStep;
    if (run.rollback?.isNeeded) {
      progress = await run.rollback.rollBack();
      run.compute.weightsReplaced();
    } else if (isEnd) return progress;
    else progress = await advance(run, progress, lastStep);
  }
}

function isOver(run: TrainingRun, progress: TrainingProgress): boolean {
  const { config } = run;
  const isComplete = progress.history.length >= config.epochs;
  return isStopped(run, progress) || isComplete || stoppedEarly(config, progress) !== undefined;
}

/** Tells whether a request ends the training here. An epoch in which nothing counted yet has no loss. */
function isStopped(run: TrainingRun, progress: TrainingProgress): boolean {
  if (progress.batchesDone > 0 && progress.weightSum === 0) return false;
  return run.stop?.isDue(stepsDone(progress, stepsPerEpoch(run))) === true;
}

/** Finishes the current epoch, unless something ends it before. */
async function advance(
  run: TrainingRun,
  start: TrainingProgress,
  lastStep: number,
): Promise<TrainingProgress> {
  return startIfRolledBack(run, start, async () => {
    const progress = await trainEpoch(run, start, lastStep);
    const perEpoch = stepsPerEpoch(run);
    const isHere = isToRollBack(run) || stepsDone(progress, perEpoch) >= lastStep;
    return progress.batchesDone < perEpoch || isHere ? progress : await validateEpoch(run, progress);
  });
}

/** A divergence in a run to be rolled back means nothing: its weights may be a liar's. */
async function startIfRolledBack(
  run: TrainingRun,
  start: TrainingProgress,
  action: () => Promise<TrainingProgress>,
): Promise<TrainingProgress> {
  try {
    return await action();
  } catch (error) {
    const hasDiverged = error instanceof LockstepError && error.category === 'diverged';
    if (hasDiverged && isToRollBack(run)) return start;
    throw error;
  }
}

/** Cuts the epoch short that a request has ended: its steps so far count as one. */
async function cutEpoch(run: TrainingRun, progress: TrainingProgress): Promise<TrainingProgress> {
  if (progress.batchesDone === 0) return progress;
  // A run that resumes takes the rest of the epoch, as if nobody had asked.
  run.checkpointer?.beforeCut(progress);
  const cut = { ...run, checkpointer: undefined };
  return startIfRolledBack(run, progress, () => validateEpoch(cut, progress));
}

async function measureResult(
  run: TrainingRun,
  progress: TrainingProgress,
  steps: number,
): Promise<TrainingResult> {
  const { config, data } = run;
  setCurrent(run, 'best');
  const { history, trainSeconds, maxWorkers } = progress;
  const perEpoch = stepsPerEpoch(run);
  const wholeEpochs = Math.floor(steps / perEpoch);
  const isShort = steps < config.epochs * perEpoch;
  const isEarlyStopping = stoppedEarly(config, progress) !== undefined;
  return {
    history,
    best: progress.best as EpochLosses,
    stoppedEarly: isShort || isEarlyStopping ? history.length : undefined,
    stoppedBy: isEarlyStopping ? 'earlyStopping' : isShort ? run.stop?.by : undefined,
    validation: await measureSplit('validation', run),
    test: await measureSplit('test', run),
    steps,
    samplesSeen: wholeEpochs * data.splits.train.length + samplesIn(run, steps - wholeEpochs * perEpoch),
    trainSeconds,
    workers: maxWorkers,
  };
}

/** Number of samples in the first batches of an epoch. */
function samplesIn({ config, data }: TrainingRun, numBatches: number): number {
  return Math.min(numBatches * config.batchSize, data.splits.train.length);
}

/** Number of steps in an epoch. A step whose samples all weigh nothing counts, though it changes nothing. */
export function stepsPerEpoch({ config, data }: Pick<TrainingRun, 'config' | 'data'>): number {
  return numBatches(data.splits.train.length, config.batchSize);
}

/**
 * Takes the remaining steps of the current epoch; fewer if some turn out to be wrong, or
 * `lastStep` is among them.
 */
async function trainEpoch(
  run: TrainingRun,
  start: TrainingProgress,
  lastStep: number,
): Promise<TrainingProgress> {
  const { config, data, checkpointer, signal } = run;
  const { batchSize, seed } = config;
  const perEpoch = stepsPerEpoch(run);
  const epoch = start.history.length;
  const order = epochOrder(data.splits.train, { seed, epoch, shuffle: config.data.shuffle });
  const startedMs = performance.now();
  let progress = start;
  setCurrent(run, 'live');
  while (progress.batchesDone < perEpoch && stepsDone(progress, perEpoch) < lastStep) {
    signal.throwIfAborted();
    const first = progress.batchesDone * batchSize;
    const stepped = await trainBatch(run, order.subarray(first, first + batchSize), progress);
    const epochSeconds = start.epochSeconds + (performance.now() - startedMs) / 1000;
    progress = afterBatch(run, progress, stepped, epochSeconds);
    try {
      if (stepped) await observeStep(run, progress, stepped);
    } finally {
      // The step is taken, whatever the observer says of it: a checkpoint without it would take it again.
      checkpointer?.afterStep(progress);
    }
    failpoint('coordinator.afterStep', { step: stepsDone(progress, perEpoch) });
    if (isToRollBack(run) || isStopped(run, progress)) break;
  }
  return progress;
}

function afterBatch(
  { compute, state }: TrainingRun,
  progress: TrainingProgress,
  stepped: TrainedBatch | undefined,
  epochSeconds: number,
): TrainingProgress {
  const next = { ...progress, batchesDone: progress.batchesDone + 1, epochSeconds };
  if (!stepped) return next;
  return {
    ...next,
    lossSum: progress.lossSum + stepped.lossSum,
    weightSum: progress.weightSum + stepped.weight,
    chain: combineFingerprints([progress.chain, state.fingerprint]),
    maxWorkers: Math.max(progress.maxWorkers, compute.numWorkers),
  };
}

interface TrainedBatch extends StepResult {
  readonly weight: number;
}

/**
 * Takes the step of one batch; undefined if nothing in it counts, for then there is
 * nothing to learn, and no mean.
 */
async function trainBatch(
  run: TrainingRun,
  indices: Uint32Array,
  progress: TrainingProgress,
): Promise<TrainedBatch | undefined> {
  const { compute, config, data, math, state } = run;
  const perEpoch = stepsPerEpoch(run);
  state.learningRate =
    progress.plateau.factor *
    learningRateAt(stepsDone(progress, perEpoch), {
      schedule: config.schedule,
      learningRate: config.optimizer.learningRate,
      math,
      stepsPerEpoch: perEpoch,
      totalSteps: config.epochs * perEpoch,
    });
  const weight = totalSampleWeight(data.dataset, indices);
  if (weight === 0) return undefined;
  const bounds = cutBatch(indices.length, config);
  return { ...(await compute.trainStep({ indices, bounds, weight })), weight };
}

async function observeStep(
  run: TrainingRun,
  progress: TrainingProgress,
  stepped: TrainedBatch,
): Promise<void> {
  const { compute, observer, state } = run;
  await observer.onStep({
    step: stepsDone(progress, stepsPerEpoch(run)),
    epoch: progress.history.length + 1,
    loss: stepped.lossSum / stepped.weight,
    gradNorm: stepped.gradNorm,
    learningRate: state.learningRate,
    samplesPerSecond: samplesIn(run, progress.batchesDone) / progress.epochSeconds,
    workers: compute.numWorkers,
    fingerprint: state.fingerprint,
    chain: progress.chain,
  });
}

/** Validates an epoch whose steps are done, and ends it. */
async function validateEpoch(run: TrainingRun, progress: TrainingProgress): Promise<TrainingProgress> {
  const { config, checkpointer, observer, signal, state } = run;
  signal.throwIfAborted();
  const { lossSum, weightSum, epochSeconds, improvement } = progress;
  setCurrent(run, 'average');
  const validation = (await measureSplit('validation', run))?.metrics;
  const record: EpochRecord = {
    epoch: progress.history.length + 1,
    step: stepsDone(progress, stepsPerEpoch(run)),
    trainLoss: lossSum / weightSum,
    validation,
    samplesPerSecond: samplesIn(run, progress.batchesDone) / epochSeconds,
    workers: progress.maxWorkers,
    weightsSha256: state.weightsSha256(),
  };
  requireFinite(record, config);
  const { epoch, trainLoss } = record;
  const losses: EpochLosses = { epoch, trainLoss, validationLoss: validation?.loss };
  const updated = updateBest(improvement, validation, config.earlyStopping);
  if (updated.isBest) state.keepBest();
  const next: TrainingProgress = {
    ...progress,
    history: [...progress.history, losses],
    batchesDone: 0,
    lossSum: 0,
    weightSum: 0,
    epochSeconds: 0,
    trainSeconds: progress.trainSeconds + epochSeconds,
    improvement: updated.state,
    plateau: plateauAfterEpoch(config, progress.plateau, validation),
    best: updated.isBest ? losses : progress.best,
  };
  await observer.onEpoch(record);
  checkpointer?.afterEpoch(next, updated.isBest);
  failpoint('coordinator.afterEpoch', { epoch });
  return next;
}

/** Makes these weights the current ones, here and on the workers. */
function setCurrent({ state, compute }: TrainingRun, weights: CurrentWeights): void {
  if (state.setCurrent(weights)) compute.weightsReplaced();
}

/**
 * Decides whether an epoch is the best so far. Without validation, or
 * `restoreBest`, the latest always is.
 */
function updateBest(
  improvement: Improvement,
  validation: SplitMetrics | undefined,
  earlyStopping: EarlyStoppingConfig | undefined,
): { readonly state: Improvement; readonly isBest: boolean } {
  if (!validation) return { state: improvement, isBest: true };
  const updated = afterEpoch(improvement, monitoredValue(validation, earlyStopping), earlyStopping);
  return { state: updated.state, isBest: updated.isBest || earlyStopping?.restoreBest === false };
}

function plateauAfterEpoch(
  { schedule, optimizer }: Config,
  plateau: PlateauState,
  validation: SplitMetrics | undefined,
): PlateauState {
  if (schedule.kind !== 'plateau' || !validation) return plateau;
  return plateauAfter(schedule, optimizer.learningRate, plateau, validation.loss);
}

function requireFinite({ epoch, trainLoss, validation }: EpochRecord, config: Config): void {
  const losses = [trainLoss, validation?.loss ?? 0];
  if (losses.every(Number.isFinite)) return;
  throw new LockstepError({
    category: 'diverged',
    code: 'E_DIVERGED',
    message: `diverged in epoch ${epoch}: training loss ${trainLoss}, validation loss ${validation?.loss ?? 'not measured'}`,
    help: helpForDivergence(config),
  });
}
