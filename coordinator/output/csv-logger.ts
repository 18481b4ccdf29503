// Metrics as a table, `metrics.csv`: a row for each record of `metrics.jsonl`, a column for each name in
// the order in which names first appear.
import fs from 'node:fs';
import { temporaryFor } from '../../src/durable-write.ts';
import { type BeforeChange, LineFile } from '../../src/line-file.ts';
import type { MetricLogger, MetricRecord } from './metric-logger.ts';

export class CsvMetricLogger implements MetricLogger {
  readonly #path: string;
  readonly #all: () => Iterable<MetricRecord>;
  readonly #beforeChange: BeforeChange | undefined;
  #file: LineFile;
  readonly #columns = new Set<string>();

  /** `all` gives every record so far, the one that is being logged included. */
  constructor(path: string, all: () => Iterable<MetricRecord>, beforeChange?: BeforeChange) {
    this.#path = path;
    this.#all = all;
    this.#beforeChange = beforeChange;
    this.#file = new LineFile(path, beforeChange);
  }

  /** A name that is new, such as that of the first validation, adds a column, and the file is written anew. */
  log(record: MetricRecord): void {
    const isKnown = Object.keys(record).every((name) => this.#columns.has(name));
    if (isKnown) this.#file.append(this.#row(record));
    else this.restart();
  }

  /** Goes through all records twice, for their names and for their values: a long run has too many to hold. */
  restart(): void {
    this.#columns.clear();
    for (const record of this.#all()) for (const name of Object.keys(record)) this.#columns.add(name);
    const anew = temporaryFor(this.#path);
    const file = new LineFile(anew, this.#beforeChange);
    try {
      if (this.#columns.size > 0) file.append(`${[...this.#columns].map(quoted).join(',')}\n`);
      for (const record of this.#all()) file.append(this.#row(record));
      this.#beforeChange?.();
      fs.renameSync(anew, this.#path);
    } catch (error) {
      file.close();
      fs.rmSync(anew, { force: true });
      throw error;
    }
    this.#file.close();
    this.#file = file;
  }

  finish(): Promise<void> {
    this.#file.close();
    return Promise.resolve();
  }

  #row(record: MetricRecord): string {
    return `${[...this.#columns].map((name) => record[name] ?? '').join(',')}\n`;
  }
}

function quoted(name: string): string {
  return /[",\n\r]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name;
}
