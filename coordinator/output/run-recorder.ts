// Passes what happens in a run to everything that keeps or shows it: metrics, events, and the progress bar.
import path from 'node:path';
import type { SavedCheckpoint } from '../../src/checkpoint/checkpoint-store.ts';
import type { Config } from '../../src/config/schema.ts';
import { numBatches } from '../../src/data/dataset/split.ts';
import type { LoadedData } from '../../src/data/load.ts';
import type { Numerics } from '../../src/kernels/kernels.ts';
import type { Logger } from '../../src/log.ts';
import type { Screen } from '../../src/screen.ts';
import { LOSS, metricNamed, scalarMetrics } from '../../src/metrics/definitions.ts';
import type { RosterEvent } from '../cluster/roster-log.ts';
import type { FetchedObject } from '../object-storage/fetch-objects.ts';
import type { EpochRecord, StepRecord, TrainingObserver } from '../training/train.ts';
import { JsonlFile } from '../../src/line-file.ts';
import { JsonlMetricLogger, MultiLogger } from './metric-logger.ts';
import type { MetricLogger, MetricRecord } from './metric-logger.ts';
import { createProgress } from './progress.ts';
import type { Progress } from './progress.ts';
import type { RunDirectory } from './run-directory.ts';
import type { Summary } from './summary.ts';
import { openTrackers } from './trackers.ts';

/** A line of `events.jsonl`, without its time. */
export type RunEvent =
  | RosterEvent
  | {
      readonly type: 'runStarted';
      readonly name: string;
      readonly seed: number;
      readonly numerics: Numerics;
      readonly datasetSha256: string;
      /** Objects from which data and weights came; undefined where there were none. */
      readonly objects?: readonly Pick<FetchedObject, 'url' | 'etag' | 'byteLength'>[] | undefined;
    }
  | {
      readonly type: 'runResumed';
      readonly step: number;
      /** A checkpoint's file. */
      readonly from: string;
    }
  | ({ readonly type: 'runTakenOver'; readonly step: number } & Takeover)
  /** Steps after this one are taken again, since they were wrong or may have been. */
  | { readonly type: 'runRolledBack'; readonly step: number; readonly from: string }
  | {
      readonly type: 'stepDone';
      readonly step: number;
      /** Fingerprint of the weights after the step. */
      readonly weights: string;
      /** Fingerprint of all fingerprints so far. */
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
      /** Time that writing it took. */
      readonly seconds: number;
    }
  /** The training has ended before its last epoch: by `earlyStopping`, or by who asked for it. */
  | { readonly type: 'trainingStopped'; readonly step: number; readonly epoch: number; readonly by: string }
  | { readonly type: 'runFinished'; readonly weightsSha256: string }
  /** Told at once: who asks twice leaves no time for `runEnded`. */
  | ({ readonly type: 'stopRequested' } & UnfinishedEnd)
  | ({ readonly type: 'runEnded' } & UnfinishedEnd);

/** The end of a run that did not finish. */
export interface UnfinishedEnd {
  /** The code of an error, or words. */
  readonly reason: string;
  /** The exit code of the command. */
  readonly exitCode: number;
}

/** The taking over of a run by a standby. */
export interface Takeover {
  /** The process that led the run. */
  readonly leader: string;
  /** It has died, has given no sign of life for as long as its lease, or has ended and left the run. */
  readonly reason: 'died' | 'silent' | 'ended';
  /** Time since it was last known to be alive. */
  readonly silentSeconds: number;
}

/** The run that a recorder writes about, and its destinations. */
export interface RunRecorderOptions {
  readonly config: Config;
  readonly data: LoadedData;
  readonly directory: RunDirectory;
  /** The objects that data and weights were copied from. */
  readonly objects?: readonly FetchedObject[] | undefined;
  readonly screen: Screen;
  readonly log: Logger;
  /** The point that the run resumes from, if it was interrupted. */
  readonly resumed?: ResumePoint | undefined;
  /** The leader from whom it was taken over, if so. */
  readonly takeover?: Takeover | undefined;
}

/** The point from which an interrupted run resumes. */
export interface ResumePoint {
  readonly step: number;
  /** A checkpoint's file, or words for it. */
  readonly from: string;
  /** Epochs that were finished. */
  readonly epochs: number;
  /** Time that the run had taken. */
  readonly wallSeconds: number;
}

/** Writes `metrics.jsonl` and `events.jsonl`, feeds trackers, and draws progress. */
export class RunRecorder implements TrainingObserver {
  #metrics: MultiLogger;
  readonly #metricsFile: JsonlMetricLogger;
  readonly #events: JsonlFile;
  readonly #log: Logger;
  #hasLostEvents = false;
  readonly #monitor: string | undefined;
  /** Metrics that the user has been warned of as not finite. */
  readonly #notFinite = new Set<string>();
  readonly #screen: Screen;
  readonly #progressSize: { epochs: number; steps: number };
  readonly #startedMs: number;
  #progress: Progress | undefined;

  constructor({ config, data, directory, objects = [], screen, log, resumed, takeover }: RunRecorderOptions) {
    this.#metricsFile = new JsonlMetricLogger(directory.metricsPath, directory.requireHeld);
    if (resumed) this.#metricsFile.keepLeading(wasLoggedBefore(resumed));
    this.#events = new JsonlFile(directory.eventsPath, directory.requireHeld);
    this.#log = log;
    this.#metrics = this.#logTo(new Map());
    this.#monitor = config.earlyStopping?.monitor;
    this.#screen = screen;
    const { epochs, batchSize } = config;
    this.#progressSize = { epochs, steps: epochs * numBatches(data.splits.train.length, batchSize) };
    this.#startedMs = performance.now() - 1000 * (resumed?.wallSeconds ?? 0);
    if (takeover) this.event({ type: 'runTakenOver', step: resumed?.step ?? 0, ...takeover });
    if (resumed) this.event({ type: 'runResumed', step: resumed.step, from: resumed.from });
    this.event({
      type: 'runStarted',
      name: config.name,
      seed: config.seed,
      numerics: config.numerics,
      datasetSha256: data.dataset.sha256,
      objects:
        objects.length === 0
          ? undefined
          : objects.map(({ url, etag, byteLength }) => ({ url, etag, byteLength })),
    });
  }

  /** Opens the trackers that the user asked for, with the records of a run that resumes. */
  async openTrackers({
    status,
    ...run
  }: Pick<RunRecorderOptions, 'config' | 'directory' | 'resumed'> & {
    readonly status?: MetricLogger | undefined;
  }): Promise<void> {
    const records = (): Iterable<MetricRecord> => this.#metricsFile.records();
    const trackers = await openTrackers({ ...run, log: this.#log, records });
    if (status) trackers.set('/status', status);
    this.#metrics = this.#logTo(trackers);
    if (run.resumed) this.#metrics.restartAll(records);
  }

  /** The file comes first: others read it. */
  #logTo(trackers: ReadonlyMap<string, MetricLogger>): MultiLogger {
    const loggers = new Map<string, MetricLogger>([['metrics.jsonl', this.#metricsFile], ...trackers]);
    return new MultiLogger(loggers, (message) => this.#log.warn(message));
  }

  /** Appends to `events.jsonl`. A full disk causes one warning, and stops nothing. */
  readonly event = (event: RunEvent): void => {
    try {
      this.#events.append({ time: new Date().toISOString(), ...event });
    } catch (error) {
      if (!this.#hasLostEvents) this.#log.warn(`events.jsonl: events are lost: ${(error as Error).message}`);
      this.#hasLostEvents = true;
    }
  };

  /** Records that a checkpoint is on the disk. */
  saved({ step, path: file, isBest, seconds }: SavedCheckpoint): void {
    this.event({ type: 'checkpointSaved', step, file: path.basename(file), isBest, seconds });
  }

  /** Drops the metrics of the steps after this point, which are taken again. */
  wentBack(point: ResumePoint): void {
    this.event({ type: 'runRolledBack', step: point.step, from: point.from });
    this.#metricsFile.keepLeading(wasLoggedBefore(point));
    this.#metrics.restartAll(() => this.#metricsFile.records());
  }

  onStep(record: StepRecord): void {
    const { step, epoch, loss, learningRate, gradNorm, samplesPerSecond, workers, fingerprint, chain } =
      record;
    this.event({ type: 'stepDone', step, weights: fingerprint, chain });
    this.#record(step, { epoch, 'train/stepLoss': loss, lr: learningRate, gradNorm });
    this.#progress ??= createProgress(this.#screen, { ...this.#progressSize, stepsDone: step - 1 });
    this.#progress.stepDone({ step, epoch, loss, samplesPerSecond, workers });
  }

  onEpoch(record: EpochRecord): void {
    const { step, epoch, trainLoss, validation, samplesPerSecond, workers, weightsSha256 } = record;
    const measured = Object.entries(validation ? scalarMetrics(validation) : {});
    const named = (values: typeof measured): Record<string, number> => ({
      'train/loss': trainLoss,
      ...Object.fromEntries(values.map(([name, value]) => [`val/${name}`, value])),
    });
    this.#record(step, { epoch, ...named(measured), samplesPerSecond, workers });
    this.event({ type: 'epochDone', epoch, step, trainLoss, weightsSha256 });
    // An epoch's line on the screen has no room for all.
    const shown = measured.filter(([name]) => name === this.#monitor || metricNamed(name)?.isShown === true);
    const place = (name: string): number => (name === LOSS.name ? 0 : name === this.#monitor ? 1 : 2);
    shown.sort(([a], [b]) => place(a) - place(b));
    this.#progress?.epochDone({ epoch, metrics: named(shown), samplesPerSecond, workers });
    this.#warnOfNotFinite(`the validation of epoch ${epoch}`, measured, this.#monitor);
  }

  /** Removes the progress bar; may be called again. */
  endProgress(): void {
    this.#progress?.close();
    this.#progress = undefined;
  }

  /** Closes all records of a run that finished, or did not. */
  async close(end: Summary | UnfinishedEnd): Promise<void> {
    const summary = 'reason' in end ? undefined : end;
    if (summary?.test) this.#warnOfNotFinite('the test', Object.entries(scalarMetrics(summary.test)));
    if ('reason' in end) this.event({ type: 'runEnded', ...end });
    else this.event({ type: 'runFinished', weightsSha256: end.weightsSha256 });
    this.#events.close();
    await this.#metrics.finish(summary);
  }

  /** Closes the records of a run that goes on in another process: there is no end to tell anybody. */
  async abandon(): Promise<void> {
    this.#events.close();
    await this.#metrics.abandon();
  }

  /**
   * Warns once for each metric: the records have every value. `monitor` is the metric that decides
   * the best epoch.
   */
  #warnOfNotFinite(
    where: string,
    measured: readonly [name: string, value: number][],
    monitor?: string,
  ): void {
    const found = measured.filter(([name, value]) => !Number.isFinite(value) && !this.#notFinite.has(name));
    if (found.length === 0) return;
    for (const [name] of found) this.#notFinite.add(name);
    const list = found.map(([name, value]) => `${name} ${value}`).join(', ');
    const decides = found.some(([name]) => name === monitor)
      ? `; an epoch whose ${monitor} is not finite does not count as an improvement, and its weights are kept only until an epoch has a finite one`
      : '';
    this.#log.warn(`${where} gives ${list}${decides}`);
  }

  #record(step: number, values: Readonly<Record<string, number>>): void {
    const runtime = (performance.now() - this.#startedMs) / 1000;
    this.#metrics.log({ _step: step, _runtime: runtime, _timestamp: Date.now() / 1000, ...values });
  }
}

/** Selects the records to keep: the epoch under way has logged its steps, and will log its end again. */
function wasLoggedBefore({ step, epochs }: ResumePoint): (record: Record<string, unknown>) => boolean {
  return ({ epoch, _step, 'train/loss': trainLoss }) => {
    if (typeof epoch !== 'number' || typeof _step !== 'number') return false;
    return epoch <= epochs || (_step <= step && trainLoss === undefined);
  };
}
