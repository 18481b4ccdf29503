// Passes what happens in a run to everything that keeps or shows it: metrics, events, and the progress bar.
import path from 'node:path';
import type { SavedCheckpoint } from '../../src/checkpoint/checkpoint-store.ts';
import type { Config } from '../../src/config/schema.ts';
import { numBatches } from '../../src/data/batches.ts';
import type { LoadedData } from '../../src/data/load.ts';
import type { Numerics } from '../../src/kernels/numerics.ts';
import type { Logger, Screen } from '../../src/log.ts';
import { scalarMetrics } from '../../src/metrics/split-metrics.ts';
import type { RosterEvent } from '../start-compute.ts';
import type { EpochRecord, StepRecord, TrainingObserver } from '../train.ts';
import { JsonlFile } from './jsonl-file.ts';
import { JsonlMetricLogger, MultiLogger } from './metric-logger.ts';
import type { MetricLogger } from './metric-logger.ts';
import { createProgress } from './progress.ts';
import type { Progress } from './progress.ts';
import type { RunDirectory } from './run-directory.ts';
import type { Summary } from './summary.ts';
import { WandbLogger, wandbIntent } from './wandb-logger.ts';

/** A line of `events.jsonl`, without its time. */
export type RunEvent =
  | RosterEvent
  | {
      readonly type: 'runStarted';
      readonly name: string;
      readonly seed: number;
      readonly numerics: Numerics;
      readonly datasetSha256: string;
    }
  | {
      readonly type: 'runResumed';
      /** Of the checkpoint. */
      readonly step: number;
      readonly checkpoint: string;
    }
  | {
      readonly type: 'stepDone';
      readonly step: number;
      /** Fingerprint of the weights that the step came to. */
      readonly weights: string;
      /** Of all of them so far. */
      readonly chain: string;
    }
  | {
      readonly type: 'epochDone';
      readonly epoch: number;
      readonly step: number;
      readonly trainLoss: number;
      readonly weightsSha256: string;
    }
  | {
      readonly type: 'checkpointSaved';
      readonly step: number;
      readonly file: string;
      readonly isBest: boolean;
      /** That writing it took. */
      readonly seconds: number;
    }
  | { readonly type: 'runFinished'; readonly weightsSha256: string }
  | { readonly type: 'runEnded' };

/** What a recorder writes about, and where. */
export interface RunRecorderOptions {
  readonly config: Config;
  readonly data: LoadedData;
  readonly directory: RunDirectory;
  readonly screen: Screen;
  readonly log: Logger;
  /** Where the run goes on, if it was interrupted. */
  readonly resumed?: ResumePoint | undefined;
}

/** Where an interrupted run goes on. */
export interface ResumePoint {
  readonly step: number;
  /** The checkpoint's file. */
  readonly checkpoint: string;
  /** Epochs that were over. */
  readonly epochs: number;
  /** Time that the run had taken. */
  readonly wallSeconds: number;
}

/** What an epoch's line on the screen has room for; `metrics.jsonl` has all. */
const SHOWN_METRICS = [
  'train/loss',
  'val/loss',
  'val/r2',
  'val/transformed/r2',
  'val/accuracy',
  'val/perplexity',
];

/** Writes `metrics.jsonl` and `events.jsonl`, feeds trackers, and draws progress. */
export class RunRecorder implements TrainingObserver {
  readonly #metrics: MetricLogger;
  readonly #events: JsonlFile;
  readonly #log: Logger;
  #hasLostEvents = false;
  readonly #screen: Screen;
  readonly #progressSize: { epochs: number; steps: number };
  readonly #startedMs: number;
  #progress: Progress | undefined;

  constructor({ config, data, directory, screen, log, resumed }: RunRecorderOptions) {
    const loggers = new Map<string, MetricLogger>([
      ['metrics.jsonl', new JsonlMetricLogger(directory.metricsPath, resumed && wasLoggedBefore(resumed))],
    ]);
    const wandb = wandbIntent(config, config.name);
    if (wandb.kind === 'disabled') log.info(`Weights & Biases: ${wandb.reason}`);
    if (wandb.kind === 'on') {
      const say = {
        info: (message: string) => log.info(message),
        warn: (message: string) => log.warn(message),
      };
      loggers.set('Weights & Biases', new WandbLogger(wandb.run, say));
    }
    this.#metrics = new MultiLogger(loggers, (message) => log.warn(message));
    this.#events = new JsonlFile(directory.eventsPath);
    this.#log = log;
    this.#screen = screen;
    const { epochs, batchSize } = config;
    this.#progressSize = { epochs, steps: epochs * numBatches(data.splits.train.length, batchSize) };
    this.#startedMs = performance.now() - 1000 * (resumed?.wallSeconds ?? 0);
    if (resumed) this.event({ type: 'runResumed', step: resumed.step, checkpoint: resumed.checkpoint });
    this.event({
      type: 'runStarted',
      name: config.name,
      seed: config.seed,
      numerics: config.numerics,
      datasetSha256: data.dataset.sha256,
    });
  }

  /** Appends to `events.jsonl`. A full disk is warned about once, and stops nothing. */
  readonly event = (event: RunEvent): void => {
    try {
      this.#events.append({ time: new Date().toISOString(), ...event });
    } catch (error) {
      if (!this.#hasLostEvents) this.#log.warn(`events.jsonl: events are lost: ${(error as Error).message}`);
      this.#hasLostEvents = true;
    }
  };

  /** A checkpoint is on the disk. */
  saved({ step, path: file, isBest, seconds }: SavedCheckpoint): void {
    this.event({ type: 'checkpointSaved', step, file: path.basename(file), isBest, seconds });
  }

  onStep(record: StepRecord): void {
    const { step, epoch, loss, learningRate, gradNorm, samplesPerSecond, workers, fingerprint, chain } =
      record;
    this.event({ type: 'stepDone', step, weights: fingerprint, chain });
    this.#record(step, { epoch, 'train/stepLoss': loss, lr: learningRate, gradNorm });
    this.#progress ??= createProgress(this.#screen, this.#progressSize);
    this.#progress.stepDone({ step, epoch, loss, samplesPerSecond, workers });
  }

  onEpoch(record: EpochRecord): void {
    const { step, epoch, trainLoss, validation, samplesPerSecond, workers, weightsSha256 } = record;
    const measured = Object.entries(validation ? scalarMetrics(validation) : {});
    const metrics: Record<string, number> = {
      'train/loss': trainLoss,
      ...Object.fromEntries(measured.map(([name, value]) => [`val/${name}`, value])),
    };
    this.#record(step, { epoch, ...metrics, samplesPerSecond, workers });
    this.event({ type: 'epochDone', epoch, step, trainLoss, weightsSha256 });
    const shown = Object.fromEntries(
      SHOWN_METRICS.flatMap((name) => (name in metrics ? [[name, metrics[name] as number]] : [])),
    );
    this.#progress?.epochDone({ epoch, metrics: shown, samplesPerSecond, workers });
  }

  /** Takes the progress bar away; may be called again. */
  endProgress(): void {
    this.#progress?.close();
    this.#progress = undefined;
  }

  /** Ends all records; without a summary if the run did not finish. */
  async close(summary: Summary | undefined): Promise<void> {
    const end = summary
      ? { type: 'runFinished' as const, weightsSha256: summary.weightsSha256 }
      : { type: 'runEnded' as const };
    this.event(end);
    this.#events.close();
    await this.#metrics.finish(summary);
  }

  #record(step: number, values: Readonly<Record<string, number>>): void {
    const runtime = (performance.now() - this.#startedMs) / 1000;
    this.#metrics.log({ _step: step, _runtime: runtime, _timestamp: Date.now() / 1000, ...values });
  }
}

/** Which records stay: the epoch under way has logged its steps, and is to log its end again. */
function wasLoggedBefore({ step, epochs }: ResumePoint): (record: Record<string, unknown>) => boolean {
  return ({ epoch, _step, 'train/loss': trainLoss }) => {
    if (typeof epoch !== 'number' || typeof _step !== 'number') return false;
    return epoch <= epochs || (_step <= step && trainLoss === undefined);
  };
}
