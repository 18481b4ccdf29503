// Destinations of metrics during a run: always `metrics.jsonl`, and whatever else the user asked for.
import { type BeforeChange, JsonlFile, readRecords } from '../../src/line-file.ts';
import { scalarMetrics } from '../../src/metrics/definitions.ts';
import type { Summary } from './summary.ts';

/**
 * One point of every metric's curve, such as `train/loss`, `val/r2`, `lr`, `gradNorm`,
 * `samplesPerSecond`.
 */
export interface MetricRecord {
  /** Optimizer steps taken so far. */
  readonly _step: number;
  /** Seconds since the run started, by the monotonic clock. */
  readonly _runtime: number;
  /** Seconds since 1970, by the wall clock. */
  readonly _timestamp: number;
  readonly [name: string]: number;
}

/** A destination of metrics. */
export interface MetricLogger {
  log(record: MetricRecord): void;
  /**
   * Begins again with these records, which are all that hold so far: when a run resumes, before
   * anything is logged, and when it goes back.
   */
  restart?(records: Iterable<MetricRecord>): void;
  /** Closes the log; without a summary if the run failed or was interrupted. Returns within a deadline. */
  finish(summary: Summary | undefined): Promise<void>;
  /** Ends without a word, where that differs from a run that failed: the run goes on in another process. */
  abandon?(): unknown;
}

/** Metrics as one JSON object a line, on disk as soon as they are logged. */
export class JsonlMetricLogger implements MetricLogger {
  readonly #path: string;
  readonly #file: JsonlFile;

  constructor(path: string, beforeChange?: BeforeChange) {
    this.#path = path;
    this.#file = new JsonlFile(path, beforeChange);
  }

  /** All records so far, read from the disk. */
  *records(): Generator<MetricRecord, void, undefined> {
    for (const record of readRecords(this.#path)) yield recordOf(record);
  }

  /** Drops all records from the first one that fails `isKept`: they will be written again. */
  keepLeading(isKept: (record: Record<string, unknown>) => boolean): void {
    this.#file.keepLeading(isKept);
  }

  log(record: MetricRecord): void {
    this.#file.append(record);
  }

  finish(): Promise<void> {
    this.#file.close();
    return Promise.resolve();
  }
}

/**
 * Fans out to several loggers. One that fails is warned about once, and never stops the run or the
 * others.
 */
export class MultiLogger implements MetricLogger {
  readonly #loggers: ReadonlyMap<string, MetricLogger>;
  readonly #warn: (message: string) => void;
  readonly #warned = new Set<string>();

  /** Takes loggers by the name that a warning gives them. */
  constructor(loggers: ReadonlyMap<string, MetricLogger>, warn: (message: string) => void) {
    this.#loggers = loggers;
    this.#warn = warn;
  }

  log(record: MetricRecord): void {
    for (const [name, logger] of this.#loggers) {
      try {
        logger.log(record);
      } catch (error) {
        this.#warnOnce(name, error);
      }
    }
  }

  /** Has those begin again that can; each gets an iteration of its own. */
  restartAll(records: () => Iterable<MetricRecord>): void {
    for (const [name, logger] of this.#loggers) {
      try {
        logger.restart?.(records());
      } catch (error) {
        this.#warnOnce(name, error);
      }
    }
  }

  async finish(summary: Summary | undefined): Promise<void> {
    const endings = [...this.#loggers].map(async ([name, logger]) => {
      try {
        await logger.finish(summary);
      } catch (error) {
        this.#warnOnce(name, error);
      }
    });
    await Promise.all(endings);
  }

  async abandon(): Promise<void> {
    const endings = [...this.#loggers.values()].map((logger) =>
      logger.abandon ? logger.abandon() : logger.finish(undefined),
    );
    await Promise.allSettled(endings);
  }

  #warnOnce(name: string, error: unknown): void {
    if (this.#warned.has(name)) return;
    this.#warned.add(name);
    const reason = error instanceof Error ? error.message : String(error);
    this.#warn(`${name}: records are lost there: ${reason}`);
  }
}

/** A line of `metrics.jsonl`, where numbers that are not finite are strings. */
export function recordOf(line: Readonly<Record<string, unknown>>): MetricRecord {
  const values = Object.entries(line).map(([name, value]) => [name, Number(value)]);
  return Object.fromEntries(values) as MetricRecord;
}

/** The fields of a summary that trackers get. */
export type RunResult = Pick<Summary, 'test' | 'best' | 'wallSeconds' | 'trainSeconds'>;

/** The numbers of the result that are not in the curves, named in the same way. */
export function resultValues({ test, best, wallSeconds, trainSeconds }: RunResult): Record<string, number> {
  const named = (prefix: string, values: Readonly<Record<string, number>>): [string, number][] =>
    Object.entries(values).map(([key, value]) => [`${prefix}/${key}`, value]);
  return {
    wallSeconds,
    trainSeconds,
    ...Object.fromEntries([...named('best', best), ...(test ? named('test', scalarMetrics(test)) : [])]),
  };
}
