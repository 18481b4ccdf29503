// Metrics for TensorBoard: event files in the folder `tensorboard/` of the run, TFRecords of protobuf
// messages `Event` (tensorflow/core/util/event.proto). The few fields that are needed are written by hand.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import crc32c from 'crc-32/crc32c.js';
import { type BeforeChange, LineFile } from '../../src/line-file.ts';
import { resultValues, type MetricLogger, type MetricRecord } from './metric-logger.ts';
import type { Summary } from './summary.ts';

/** Settings of a `TensorboardLogger`. */
export interface TensorboardOptions {
  readonly folder: string;
  /** The config as YAML, shown among the texts. */
  readonly config: string;
  readonly beforeChange?: BeforeChange | undefined;
  /** The wall clock, in milliseconds; default: `Date.now`. */
  readonly nowMs?: (() => number) | undefined;
}

export class TensorboardLogger implements MetricLogger {
  readonly #options: TensorboardOptions;
  #file: LineFile;
  #numFiles = 0;
  #lastStep = 0;

  constructor(options: TensorboardOptions) {
    this.#options = options;
    fs.mkdirSync(options.folder, { recursive: true });
    this.#file = this.#begin();
  }

  log({ _step, _runtime, _timestamp, ...values }: MetricRecord): void {
    this.#lastStep = _step;
    const summary = Object.entries(values).map(([name, value]) => bytesField(1, scalar(name, value)));
    this.#append(_timestamp, [varintField(2, _step), bytesField(5, Buffer.concat(summary))]);
  }

  /** Begins a file that tells readers to forget the earlier ones, and removes those. */
  restart(records: Iterable<MetricRecord>): void {
    const earlier = fs.readdirSync(this.#options.folder).filter((name) => name.startsWith(PREFIX));
    this.#file.close();
    this.#file = this.#begin();
    for (const record of records) this.log(record);
    for (const name of earlier) fs.rmSync(path.join(this.#options.folder, name), { force: true });
  }

  finish(summary: Summary | undefined): Promise<void> {
    if (summary) {
      const _timestamp = this.#nowSeconds();
      this.log({
        _step: this.#lastStep,
        _runtime: summary.wallSeconds,
        _timestamp,
        ...resultValues(summary),
      });
    }
    this.#file.close();
    return Promise.resolve();
  }

  #begin(): LineFile {
    const seconds = String(Math.floor(this.#nowSeconds())).padStart(10, '0');
    const name = `${PREFIX}${seconds}.${os.hostname()}.${process.pid}.${this.#numFiles++}`;
    this.#file = new LineFile(path.join(this.#options.folder, name), this.#options.beforeChange);
    this.#append(this.#nowSeconds(), [bytesField(3, 'brain.Event:2')]);
    // A session that starts at step 0 makes readers drop whatever they have read of that run.
    this.#append(this.#nowSeconds(), [varintField(2, 0), bytesField(7, varintField(1, SESSION_START))]);
    // Four spaces make Markdown show the config as it is.
    const shown = this.#options.config.replace(/^/gm, '    ');
    this.#append(this.#nowSeconds(), [
      varintField(2, 0),
      bytesField(5, bytesField(1, text('config', shown))),
    ]);
    return this.#file;
  }

  #append(seconds: number, fields: readonly Buffer[]): void {
    this.#file.append(record(Buffer.concat([doubleField(1, seconds), ...fields])));
  }

  #nowSeconds(): number {
    return (this.#options.nowMs?.() ?? Date.now()) / 1000;
  }
}

const PREFIX = 'events.out.tfevents.';
/** `SessionLog.START` */
const SESSION_START = 1;
/** `DataType.DT_STRING` */
const STRING_TYPE = 7;

/** `Summary.Value` of a number. */
function scalar(tag: string, value: number): Buffer {
  return Buffer.concat([bytesField(1, tag), floatField(2, value)]);
}

/** `Summary.Value` of a text, as the text plugin expects it. */
function text(tag: string, value: string): Buffer {
  const plugin = bytesField(1, bytesField(1, 'text'));
  const tensor = Buffer.concat([varintField(1, STRING_TYPE), bytesField(2, ''), bytesField(8, value)]);
  return Buffer.concat([bytesField(1, `${tag}/text_summary`), bytesField(9, plugin), bytesField(8, tensor)]);
}

/** A TFRecord: length, its checksum, data, their checksum. */
function record(data: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return Buffer.concat([length, checksum(length), data, checksum(data)]);
}

/** CRC-32C, rotated and shifted: records may hold checksums themselves. */
function checksum(data: Buffer): Buffer {
  const crc = crc32c.buf(data) >>> 0;
  const masked = (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(masked);
  return bytes;
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Buffer.from([...bytes, rest]);
}

function varintField(number: number, value: number): Buffer {
  return Buffer.concat([varint(number * 8), varint(value)]);
}

function doubleField(number: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([varint(number * 8 + 1), bytes]);
}

function bytesField(number: number, value: Buffer | string): Buffer {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

function floatField(number: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([varint(number * 8 + 5), bytes]);
}
