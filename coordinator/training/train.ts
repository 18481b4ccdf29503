// The training loop: epochs of steps, a validation after each, one test on the best weights at the end. Everything that
// it remembers from step to step is in its progress, so that it can go on from a checkpoint.
import type { Config, EarlyStoppingConfig } from '../../src/config/schema.ts';
import { totalSampleWeight } from '../../src/data/dataset/packed-dataset.ts';
import { epochOrder, numBatches } from '../../src/data/dataset/split.ts';
import type { LoadedData } from '../../src/data/load.ts';
import { combineFingerprints } from '../../src/engine/fingerprint.ts';
import { LockstepError } from '../../src/errors.ts';
import { failpoint } from '../../src/failpoint.ts';
import type { HostMath } from '../../src/kernels/host-math.ts';
import type { SplitMetrics } from '../../src/metrics/split-metrics.ts';
import { cutBatch } from '../../src/model/shards.ts';
import { plateauAfter } from '../../src/schedule/plateau.ts';
import type { PlateauState } from '../../src/schedule/plateau.ts';
import { learningRateAt } from '../../src/schedule/schedule.ts';
import type { Compute, StepResult } from './compute.ts';
import { afterEpoch, monitoredValue } from './early-stopping.ts';
import type { Improvement } from './early-stopping.ts';
import { measureSplit } from './measure.ts';
import type { MeasuredSplit } from './measure.ts';
import { FIRST_PROGRESS, stepsDone, stoppedEarly } from './training-progress.ts';
import type { EpochLosses, TrainingProgress } from './training-progress.ts';
import { helpForDivergence } from './training-state.ts';
import type { ShownWeights, TrainingState } from './training-state.ts';

/** One optimizer step, as it is logged. */
export interface StepRecord {
  /** Steps so far, from 1. */
  readonly step: number;
  readonly epoch: number;
  /** Mean loss of the batch, before the step. */
  readonly loss: number;
  /** Of the mean gradient, before clipping. */
  readonly gradNorm: number;
  readonly learningRate: number;
  /** Of the epoch so far. */
  readonly samplesPerSecond: number;
  readonly workers: number;
  /** Fingerprint of the weights that the step came to. */
  readonly fingerprint: string;
  /** Of the fingerprints of all steps so far: two runs with the same one took the same way. */
  readonly chain: string;
}

/** One epoch, as it is logged. */
export interface EpochRecord {
  readonly epoch: number;
  readonly step: number;
  /** Mean loss over the epoch's samples, each before its step. */
  readonly trainLoss: number;
  readonly validation: SplitMetrics | undefined;
  readonly samplesPerSecond: number;
  readonly workers: number;
  /** Of the weights that were validated. */
  readonly weightsSha256: string;
}

/** Is told what happens, as it happens. A promise is awaited before the training goes on; its rejection ends it. */
export interface TrainingObserver {
  onStep(record: StepRecord): unknown;
  onEpoch(record: EpochRecord): unknown;
}

/** Is told where the training stands, between two steps: the state may then be copied. */
export interface ProgressKeeper {
  afterStep(progress: TrainingProgress): void;
  /** Validation included; `isBest` if its weights are the best so far. */
  afterEpoch(progress: TrainingProgress, isBest: boolean): void;
}

/** Knows when steps were wrong that are taken already. */
export interface TrainingRollback {
  readonly isNeeded: boolean;
  /** Puts the state back to where the progress stood that it returns. */
  goBack(): Promise<TrainingProgress>;
}

/** What a run trains, with what, and who watches. */
export interface TrainingRun {
  readonly config: Config;
  readonly data: LoadedData;
  readonly state: TrainingState;
  readonly compute: Compute;
  readonly math: HostMath;
  readonly observer: TrainingObserver;
  readonly keeper?: ProgressKeeper | undefined;
  readonly rollback?: TrainingRollback | undefined;
  /** Aborting stops the run between two steps. */
  readonly signal: AbortSignal;
}

/** What came of a run; the state then holds the best weights. */
export interface TrainingResult {
  readonly history: readonly EpochLosses[];
  readonly best: EpochLosses;
  /** The epoch after which early stopping ended the run. */
  readonly stoppedEarly: number | undefined;
  readonly validation: MeasuredSplit | undefined;
  readonly test: MeasuredSplit | undefined;
  readonly steps: number;
  readonly samplesSeen: number;
  readonly trainSeconds: number;
  /** Most workers at one time. */
  readonly workers: number;
}

/**
 * Trains from where `start` stands, which the state must have reached, to the end.
 * @throws LockstepError for a diverged run, for lack of workers, or the signal's reason.
 */
export async function train(
  run: TrainingRun,
  start: TrainingProgress = FIRST_PROGRESS,
): Promise<TrainingResult> {
  let progress = start;
  for (;;) {
    if (run.rollback?.isNeeded) {
      progress = await run.rollback.goBack();
      run.compute.weightsReplaced();
    }
    const result = isOver(run, progress) ? await measureResult(run, progress) : undefined;
    // Its rounds, too, may find out that steps were wrong.
    if (result && !run.rollback?.isNeeded) return result;
    if (!result) progress = await goOn(run, progress);
  }
}

function isOver({ config }: TrainingRun, progress: TrainingProgress): boolean {
  return progress.history.length >= config.epochs || stoppedEarly(config, progress) !== undefined;
}

/** The rest of an epoch. What diverges in a run that has to go back says nothing: its weights may be a liar's. */
async function goOn(run: TrainingRun, start: TrainingProgress): Promise<TrainingProgress> {
  try {
    const progress = await trainEpoch(run, start);
    const isWhole = progress.batchesDone === stepsPerEpoch(run) && run.rollback?.isNeeded !== true;
    return isWhole ? await judgeEpoch(run, progress) : progress;
  } catch (error) {
    const hasDiverged = error instanceof LockstepError && error.category === 'diverged';
    if (hasDiverged && run.rollback?.isNeeded === true) return start;
    throw error;
  }
}

async function measureResult(run: TrainingRun, progress: TrainingProgress): Promise<TrainingResult> {
  const { config, data } = run;
  show(run, 'best');
  const { history, trainSeconds, maxWorkers } = progress;
  return {
    history,
    best: progress.best as EpochLosses,
    stoppedEarly: stoppedEarly(config, progress),
    validation: await measureSplit('validation', run),
    test: await measureSplit('test', run),
    steps: stepsDone(progress, stepsPerEpoch(run)),
    samplesSeen: history.length * data.splits.train.length,
    trainSeconds,
    workers: maxWorkers,
  };
}

/** Steps of an epoch; one whose samples all weigh nothing is counted, though it changes nothing. */
export function stepsPerEpoch({ config, data }: Pick<TrainingRun, 'config' | 'data'>): number {
  return numBatches(data.splits.train.length, config.batchSize);
}

/** The rest of the epoch under way, or less of it: until steps are found to be wrong. */
async function trainEpoch(run: TrainingRun, start: TrainingProgress): Promise<TrainingProgress> {
  const { config, data, keeper, signal } = run;
  const { batchSize, seed } = config;
  const epoch = start.history.length;
  const order = epochOrder(data.splits.train, { seed, epoch, shuffle: config.data.shuffle });
  const startedMs = performance.now();
  let progress = start;
  show(run, 'live');
  while (progress.batchesDone * batchSize < order.length) {
    signal.throwIfAborted();
    const first = progress.batchesDone * batchSize;
    const indices = order.subarray(first, first + batchSize);
    const stepped = await trainBatch(run, indices, progress);
    const epochSeconds = start.epochSeconds + (performance.now() - startedMs) / 1000;
    const batchesDone = progress.batchesDone + 1;
    progress = { ...progress, batchesDone, epochSeconds };
    if (stepped) {
      const { lossSum, weight } = stepped;
      progress.lossSum += lossSum;
      progress.weightSum += weight;
      progress.chain = combineFingerprints([progress.chain, run.state.fingerprint]);
      progress.maxWorkers = Math.max(progress.maxWorkers, run.compute.numWorkers);
    }
    try {
      if (stepped) await observeStep(run, progress, stepped);
    } finally {
      // The step is taken, whatever the observer says of it: a checkpoint that lacks it would take it again.
      keeper?.afterStep(progress);
    }
    failpoint('coordinator.afterStep', { step: stepsDone(progress, stepsPerEpoch(run)) });
    if (run.rollback?.isNeeded) return progress;
  }
  return progress;
}

interface TrainedBatch extends StepResult {
  readonly weight: number;
}

/** Undefined if nothing in the batch counts: there is nothing to learn then, and no mean. */
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
  const { compute, config, data, observer, state } = run;
  const numSamples = Math.min(progress.batchesDone * config.batchSize, data.splits.train.length);
  await observer.onStep({
    step: stepsDone(progress, stepsPerEpoch(run)),
    epoch: progress.history.length + 1,
    loss: stepped.lossSum / stepped.weight,
    gradNorm: stepped.gradNorm,
    learningRate: state.learningRate,
    samplesPerSecond: numSamples / progress.epochSeconds,
    workers: compute.numWorkers,
    fingerprint: state.fingerprint,
    chain: progress.chain,
  });
}

/** Validates an epoch whose steps are done, and ends it. */
async function judgeEpoch(run: TrainingRun, progress: TrainingProgress): Promise<TrainingProgress> {
  const { config, data, keeper, observer, signal, state } = run;
  signal.throwIfAborted();
  const { lossSum, weightSum, epochSeconds, improvement } = progress;
  show(run, 'average');
  const validation = (await measureSplit('validation', run))?.metrics;
  const record: EpochRecord = {
    epoch: progress.history.length + 1,
    step: stepsDone(progress, stepsPerEpoch(run)),
    trainLoss: lossSum / weightSum,
    validation,
    samplesPerSecond: data.splits.train.length / epochSeconds,
    workers: progress.maxWorkers,
    weightsSha256: state.weightsSha256(),
  };
  requireFinite(record, config);
  const { epoch, trainLoss } = record;
  const losses: EpochLosses = { epoch, trainLoss, validationLoss: validation?.loss };
  const judged = judge(improvement, validation, config.earlyStopping);
  if (judged.isBest) state.keepBest();
  const next: TrainingProgress = {
    ...progress,
    history: [...progress.history, losses],
    batchesDone: 0,
    lossSum: 0,
    weightSum: 0,
    epochSeconds: 0,
    trainSeconds: progress.trainSeconds + epochSeconds,
    improvement: judged.state,
    plateau: plateauAfterEpoch(config, progress.plateau, validation),
    best: judged.isBest ? losses : progress.best,
  };
  await observer.onEpoch(record);
  keeper?.afterEpoch(next, judged.isBest);
  failpoint('coordinator.afterEpoch', { epoch });
  return next;
}

/** Makes these weights the current ones, everywhere. */
function show({ state, compute }: TrainingRun, weights: ShownWeights): void {
  if (state.show(weights)) compute.weightsReplaced();
}

/** Without validation, and where the best weights are not wanted, the later epoch is the best. */
function judge(
  improvement: Improvement,
  validation: SplitMetrics | undefined,
  earlyStopping: EarlyStoppingConfig | undefined,
): { readonly state: Improvement; readonly isBest: boolean } {
  if (!validation) return { state: improvement, isBest: true };
  const judged = afterEpoch(improvement, monitoredValue(validation, earlyStopping), earlyStopping);
  return { state: judged.state, isBest: judged.isBest || earlyStopping?.restoreBest === false };
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
