// The training loop: epochs of steps, a validation after each, one test on the best weights at the end.
import type { Config } from '../src/config/schema.ts';
import { epochOrder, numBatches, shardBounds } from '../src/data/batches.ts';
import { totalWeight } from '../src/data/dataset.ts';
import type { HostMath } from '../src/data/host-math.ts';
import type { LoadedData } from '../src/data/load.ts';
import { LockstepError } from '../src/errors.ts';
import type { SplitMetrics } from '../src/metrics/split-metrics.ts';
import type { Compute } from './compute.ts';
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
  const epochs: EpochRecord[] = [];
  let best: EpochRecord | undefined;
  let trainSeconds = 0;
  for (let epoch = 1; epoch <= config.epochs; epoch++) {
    const trained = await trainEpoch(run, epoch);
    trainSeconds += trained.seconds;
    const validation = await measureSplit('validation', run);
    const record = { ...trained.record, validation: validation?.metrics };
    requireFinite(record);
    epochs.push(record);
    if (isBetter(record, best)) {
      best = record;
      state.keepBest();
    }
    observer.onEpoch(record);
  }
  state.restoreBest();
  compute.weightsReplaced();
  return {
    epochs,
    best: best as EpochRecord,
    validation: await measureSplit('validation', run),
    test: await measureSplit('test', run),
    steps: config.epochs * numBatches(data.splits.train.length, config.batchSize),
    samplesSeen: config.epochs * data.splits.train.length,
    trainSeconds,
    workers: Math.max(...epochs.map((record) => record.workers)),
  };
}

async function trainEpoch(
  run: TrainingRun,
  epoch: number,
): Promise<{ record: Omit<EpochRecord, 'validation'>; seconds: number }> {
  const { compute, config, data, observer, signal, state } = run;
  const { batchSize, seed, shards } = config;
  const order = epochOrder(data.splits.train, { seed, epoch: epoch - 1, shuffle: config.data.shuffle });
  const stepsBefore = (epoch - 1) * numBatches(order.length, batchSize);
  const startedMs = performance.now();
  const seconds = (): number => (performance.now() - startedMs) / 1000;
  let lossSum = 0;
  let weightSum = 0;
  let workers = 0;
  let step = stepsBefore;
  for (let start = 0; start < order.length; start += batchSize) {
    signal.throwIfAborted();
    const indices = order.subarray(start, start + batchSize);
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

/** Lower validation loss; without a validation split, the later epoch. */
function isBetter(record: EpochRecord, best: EpochRecord | undefined): boolean {
  if (!best || !record.validation || !best.validation) return true;
  return record.validation.loss < best.validation.loss;
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
