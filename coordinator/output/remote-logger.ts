// Sends a run to a service that records runs, over the network. The service may be slow, wrong or away:
// `metrics.jsonl` is the queue of what it has not got yet, every request has a deadline, and no step waits.
import { setTimeout as delay } from 'node:timers/promises';
import { JsonlTail } from '../../src/line-file.ts';
import { formatCount } from '../../src/printable.ts';
import { Refused, type HttpClient } from './http-client.ts';
import { recordOf, resultValues, type MetricLogger, type MetricRecord } from './metric-logger.ts';
import type { RunResult } from './metric-logger.ts';

/** A run at a service. Every method may be called again where it failed. */
export interface RemoteRun {
  /** The service, as messages call it. */
  readonly service: string;
  readonly http: HttpClient;
  /** Most records that are sent at a time. */
  readonly maxRecords: number;
  /** Time to wait for further records, of a run that is so old. */
  pauseMs(ageMs: number): number;
  /** Makes the run, or enters the one that this directory had. Returns words for where it is. */
  open(): Promise<string>;
  /** Sends records, `place` of which come before them; none now and then, as a sign of life. */
  send(records: readonly MetricRecord[], place: number): Promise<void>;
  /** Prepares for the records after this step to be sent again. */
  goBack?(step: number): void;
  /**
   * Sends the result and the files of a finished run, and says that the run is over. Returns the number of
   * files.
   */
  finish(end: RunEnd): Promise<number>;
}

/** The end of a run. */
export interface RunEnd {
  /** The last record; undefined of a run that did not finish. */
  readonly result: MetricRecord | undefined;
  /** The number of records before it. */
  readonly place: number;
}

/** Settings of a `RemoteLogger`. */
export interface RemoteLoggerOptions {
  /** The records, as a file that grows. */
  readonly metricsPath: string;
  /** Command that sends what is missing later. */
  readonly later: string;
  readonly info: (message: string) => void;
  readonly warn: (message: string) => void;
  /** Longest wait at the end for the last records. Default 10 s. */
  readonly endDeadlineMs?: number | undefined;
  /** Longest wait after that for the result and the files. Default 70 s. */
  readonly filesDeadlineMs?: number | undefined;
}

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 30_000;
/** A run that says nothing for some minutes counts as crashed at some services. */
const SIGN_OF_LIFE_MS = 30_000;
/** A service that fails so often in a row is not waited for at the end. */
const MAX_FAILURES_AT_END = 3;

/** Feeds a service from the file of the records, while the run lasts and at its end. */
export class RemoteLogger implements MetricLogger {
  readonly #run: RemoteRun;
  readonly #options: RemoteLoggerOptions;
  readonly #work: Promise<void>;
  readonly #startedMs = performance.now();
  #sentMs = performance.now();
  #tail: JsonlTail;
  #numSent = 0;
  #last: MetricRecord | undefined;
  #hasLogged = false;
  /** The records that hold, where the run has gone back since records were last read. */
  #kept: { readonly numRecords: number; readonly step: number } | undefined;
  #wake: () => void = () => undefined;
  #numFailures = 0;
  #hasWarned = false;
  #isEnding = false;
  #isOver = false;
  #isComplete = false;

  constructor(run: RemoteRun, options: RemoteLoggerOptions) {
    this.#run = run;
    this.#options = options;
    this.#tail = new JsonlTail(options.metricsPath);
    this.#work = this.#sendRecords().catch((error: unknown) => this.#giveUp(error));
  }

  /** True once the service has everything. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** The number of records that the service has. */
  get numSent(): number {
    return this.#numSent;
  }

  /** Does not take the record, which is read from the file. */
  log(): void {
    this.#hasLogged = true;
  }

  /** Has the records sent again from those on that hold; a run that resumes has sent none yet. */
  restart(records: Iterable<MetricRecord>): void {
    if (!this.#hasLogged) return;
    let [numRecords, step] = [0, 0];
    for (const { _step } of records) {
      numRecords += 1;
      step = _step;
    }
    // It may have gone back further before, and replaced what comes after that.
    const { numRecords: most, step: last } = this.#kept ?? { numRecords, step };
    this.#kept = { numRecords: Math.min(numRecords, most), step: Math.min(step, last) };
  }

  async finish(summary: RunResult | undefined): Promise<void> {
    if (this.#isOver) return;
    const { endDeadlineMs = 10_000, filesDeadlineMs = 70_000 } = this.#options;
    this.#isEnding = true;
    this.#wake();
    await this.#within(endDeadlineMs, this.#work, 'the last records');
    if (this.#isOver) return;
    const end = { result: summary && this.#resultOf(summary), place: this.#numSent };
    const finished = this.#untilTaken(() => this.#run.finish(end)).then(
      (numFiles) => this.#complete(numFiles),
      (error: unknown) => this.#giveUp(error),
    );
    await this.#within(filesDeadlineMs, finished, 'the files of the run');
    this.#isOver = true;
  }

  /** Stops sending at once, without a word. */
  abandon(): void {
    this.#isOver = true;
    this.#run.http.close();
    this.#wake();
  }

  #complete(numFiles: number): void {
    this.#isComplete = true;
    const has = `${formatCount(this.#numSent)} records and ${formatCount(numFiles)} files are there`;
    this.#options.info(`${this.#run.service}: ${has}`);
  }

  async #within(milliseconds: number, work: Promise<unknown>, what: string): Promise<void> {
    const timer = new AbortController();
    const late = delay(milliseconds, 'late', { signal: timer.signal }).catch(() => undefined);
    if ((await Promise.race([work, late])) === 'late') {
      this.#giveUp(new Error(`${what} were not taken within ${milliseconds / 1000} s`));
    }
    timer.abort();
  }

  async #sendRecords(): Promise<void> {
    const place = await this.#untilTaken(() => this.#run.open());
    this.#options.info(`${this.#run.service}: recording ${place}`);
    while (!this.#isOver) {
      const records = this.#next();
      if (records.length === 0 && this.#isEnding) return;
      if (records.length > 0 || performance.now() - this.#sentMs > SIGN_OF_LIFE_MS) {
        await this.#untilTaken(async () => {
          if (!this.#kept) await this.#run.send(records, this.#numSent);
        });
        if (!this.#kept) this.#numSent += records.length;
        this.#sentMs = performance.now();
      }
      if (!this.#isEnding && records.length < this.#run.maxRecords) {
        await this.#pause(this.#run.pauseMs(performance.now() - this.#startedMs));
      }
    }
  }

  /** The next records to send, from the first that changed on if the run went back. */
  #next(): MetricRecord[] {
    const { metricsPath } = this.#options;
    if (this.#kept) {
      this.#numSent = Math.min(this.#numSent, this.#kept.numRecords);
      this.#run.goBack?.(this.#kept.step);
      this.#kept = undefined;
      this.#tail = new JsonlTail(metricsPath);
      this.#skip(this.#numSent);
    }
    const records: MetricRecord[] = [];
    for (const record of this.#tail.read()) {
      if (records.push(recordOf(record)) === this.#run.maxRecords) break;
    }
    this.#last = records.at(-1) ?? this.#last;
    return records;
  }

  #skip(count: number): void {
    if (count === 0) return;
    for (const record of this.#tail.read()) {
      this.#last = recordOf(record);
      if (--count === 0) return;
    }
  }

  /** The same whenever it is sent: its time is that of the last record and what the run took after it. */
  #resultOf(summary: RunResult): MetricRecord {
    const { _step, _runtime, _timestamp } = this.#last ?? {
      _step: 0,
      _runtime: summary.wallSeconds,
      _timestamp: Date.now() / 1000,
    };
    const times = {
      _runtime: summary.wallSeconds,
      _timestamp: _timestamp + summary.wallSeconds - _runtime,
    };
    return { _step, ...times, ...resultValues(summary) };
  }

  /** Asks again where that may help: during the run for ever, at the end a few times. */
  async #untilTaken<Answer>(request: () => Promise<Answer>): Promise<Answer> {
    for (;;) {
      try {
        const answer = await request();
        this.#numFailures = 0;
        return answer;
      } catch (error) {
        this.#numFailures += 1;
        const isEnough = this.#isEnding && this.#numFailures >= MAX_FAILURES_AT_END;
        if (error instanceof Refused || this.#isOver || isEnough) throw error;
        this.#warnOnce(`${causeOf(error)}; it is asked again, and metrics are in the run directory`);
        const longestMs = this.#isEnding ? FIRST_RETRY_MS : LONGEST_RETRY_MS;
        await this.#pause(Math.min(FIRST_RETRY_MS * 2 ** (this.#numFailures - 1), longestMs));
      }
    }
  }

  /** Waits, but not beyond the end. */
  async #pause(milliseconds: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds).unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #giveUp(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#run.http.close();
    const { warn, later } = this.#options;
    warn(`${this.#run.service}: ${causeOf(error)}; nothing more is sent; to send the rest later: ${later}`);
  }

  #warnOnce(reason: string): void {
    if (!this.#hasWarned) this.#options.warn(`${this.#run.service}: ${reason}`);
    this.#hasWarned = true;
  }
}

function causeOf(error: unknown): string {
  const { message, cause } = error as Error;
  const isRoot = message === 'fetch failed' && cause instanceof Error && cause.message !== '';
  return isRoot ? `${message}: ${cause.message}` : message;
}
