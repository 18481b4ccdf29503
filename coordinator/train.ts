// The training loop: epochs of steps, a validation after each, one test on the best weights at the end.
import type { Config, EarlyStoppingConfig } from '../src/config/schema.ts';
import { epochOrder, numBatches, shardBounds } from '../src/data/batches.ts';
import { totalWeight } from '../src/data/dataset.ts';
import type { LoadedData } from '../src/data/load.ts';
import { LockstepError } from '../src/errors.ts';
import type { HostMath } from '../src/kernels/host-math.ts';
import type { SplitMetrics } from '../src/metrics/split-metrics.ts';
import { FIRST_PLATEAU, plateauAfter } from '../src/schedule/plateau.ts';
import type { PlateauState } from '../src/schedule/plateau.ts';
import { learningRateAt } from '../src/schedule/schedule.ts';
import type { Compute } from './compute.ts';
import { NO_IMPROVEMENT, afterEpoch, monitoredValue } from './early-stopping.ts';
import type { Improvement } from './early-stopping.ts';
import { measureSplit } from './measure.ts';
import type { MeasuredSplit } from './measure.ts';
import type { TrainingState } from './training-state.ts';

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
}

/** Is told what happens, as it happens. */
export interface TrainingObserver {
  onStep(record: StepRecord): void;
  onEpoch(record: EpochRecord): void;
}

/** What a run trains, with what, and who watches. */
export interface TrainingRun {
  readonly config: Config;
  readonly data: LoadedData;
  readonly state: TrainingState;
  readonly compute: Compute;
  readonly math: HostMath;
  readonly observer: TrainingObserver;
  /** Aborting stops the run between two steps. */
  readonly signal: AbortSignal;
}

/** What came of a run; the state then holds the best weights. */
export interface TrainingResult {
  readonly epochs: readonly EpochRecord[];
  readonly best: EpochRecord;
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

/** Trains to the end. @throws LockstepError for a diverged run, for lack of workers, or the signal's reason. */
export async function train(run: TrainingRun): Promise<TrainingResult> {
  const { config, compute, data, observer, state } = run;
  const { earlyStopping } = config;
  const stepsPerEpoch = numBatches(data.splits.train.length, config.batchSize);
  const epochs: EpochRecord[] = [];
  let best: EpochRecord | undefined;
  let trainSeconds = 0;
  let improvement = NO_IMPROVEMENT;
  let plateau = FIRST_PLATEAU;
  let stoppedEarly: number | undefined;
  await requireMonitor(run);
  for (let epoch = 1; epoch <= config.epochs && stoppedEarly === undefined; epoch++) {
    show(run, 'live');
    const trained = await trainEpoch(run, epoch, stepsPerEpoch, plateau.factor);
    trainSeconds += trained.seconds;
    show(run, 'average');
    const validation = (await measureSplit('validation', run))?.metrics;
    const record = { ...trained.record, validation };
    requireFinite(record);
    epochs.push(record);
    const { state: after, isBest } = judgeEpoch(improvement, validation, earlyStopping);
    improvement = after;
    if (isBest) {
      best = record;
      state.keepBest();
    }
    plateau = plateauAfterEpoch(config, plateau, validation);
    if (earlyStopping && improvement.numWithout >= earlyStopping.patience) stoppedEarly = epoch;
    observer.onEpoch(record);
  }
  state.restoreBest();
  compute.weightsReplaced();
  return {
    epochs,
    best: best as EpochRecord,
    stoppedEarly,
    validation: await measureSplit('validation', run),
    test: await measureSplit('test', run),
    steps: epochs.length * stepsPerEpoch,
    samplesSeen: epochs.length * data.splits.train.length,
    trainSeconds,
    workers: Math.max(...epochs.map((record) => record.workers)),
  };
}

async function trainEpoch(
  run: TrainingRun,
  epoch: number,
  stepsPerEpoch: number,
  rateFactor: number,
): Promise<{ record: Omit<EpochRecord, 'validation'>; seconds: number }> {
  const { compute, config, data, math, observer, signal, state } = run;
  const { batchSize, schedule, seed, shards } = config;
  const { learningRate } = config.optimizer;
  const totalSteps = config.epochs * stepsPerEpoch;
  const order = epochOrder(data.splits.train, { seed, epoch: epoch - 1, shuffle: config.data.shuffle });
  const startedMs = performance.now();
  const seconds = (): number => (performance.now() - startedMs) / 1000;
  let lossSum = 0;
  let weightSum = 0;
  let workers = 0;
  let step = (epoch - 1) * stepsPerEpoch;
  for (let start = 0; start < order.length; start += batchSize) {
    signal.throwIfAborted();
    const indices = order.subarray(start, start + batchSize);
    const length = { stepsPerEpoch, totalSteps };
    state.learningRate = rateFactor * learningRateAt(step, { schedule, learningRate, math, ...length });
    step++;
    const weight = totalWeight(data.dataset, indices);
    // Nothing in the batch counts, so there is nothing to learn from, and no mean: the weights stay as they are.
    if (weight === 0) continue;
    const result = await compute.trainStep({ indices, bounds: shardBounds(indices.length, shards), weight });
    lossSum += result.lossSum;
    weightSum += weight;
    workers = Math.max(workers, compute.numWorkers);
    observer.onStep({
      step,
      epoch,
      loss: result.lossSum / weight,
      gradNorm: result.gradNorm,
      learningRate: state.learningRate,
      samplesPerSecond: (start + indices.length) / seconds(),
      workers: compute.numWorkers,
    });
  }
  const elapsed = seconds();
  const samplesPerSecond = order.length / elapsed;
  return {
    record: { epoch, step, trainLoss: lossSum / weightSum, samplesPerSecond, workers },
    seconds: elapsed,
  };
}

/** Makes these weights the current ones, everywhere. */
function show({ state, compute }: TrainingRun, weights: 'live' | 'average'): void {
  if (state.show(weights)) compute.weightsReplaced();
}

/** A metric that validation lacks is found before the first epoch, not after it. */
async function requireMonitor(run: TrainingRun): Promise<void> {
  const { earlyStopping } = run.config;
  if (!earlyStopping || earlyStopping.monitor === 'loss') return;
  const validation = await measureSplit('validation', run);
  if (validation) monitoredValue(validation.metrics, earlyStopping);
}

/** Without validation, and where the best weights are not wanted, the later epoch is the best. */
function judgeEpoch(
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

function requireFinite({ epoch, trainLoss, validation }: EpochRecord): void {
  const losses = [trainLoss, validation?.loss ?? 0];
  if (losses.every(Number.isFinite)) return;
  throw new LockstepError({
    category: 'diverged',
    code: 'E_DIVERGED',
    message: `diverged in epoch ${epoch}: training loss ${trainLoss}, validation loss ${validation?.loss ?? 'not measured'}`,
    help: 'lower optimizer.learningRate',
  });
}
