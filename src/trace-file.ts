// Records the spans of a process and its threads for `lockstep bench step`, as events of Chrome's trace
// format (https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU), where
// LOCKSTEP_TRACE names a directory.
import fs from 'node:fs';
import path from 'node:path';
import { threadId } from 'node:worker_threads';
import { recordSpans } from './trace.ts';

/** A complete event, or a name for a process or thread; times in microseconds. */
export interface TraceEvent {
  readonly name: string;
  readonly ph: 'X' | 'M';
  readonly pid: number;
  readonly tid: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly args?: { readonly name: string };
}

const VARIABLE = 'LOCKSTEP_TRACE';

/** Events that wait for `flushTrace`; more are written at once. */
const MOST_WAITING = 10_000;

let directory = process.env[VARIABLE];

let events: TraceEvent[] = [];

/** Names this process or this thread in the trace. */
export function nameInTrace(kind: 'process' | 'thread', name: string): void {
  if (directory !== undefined) record({ name: `${kind}_name`, ph: 'M', args: { name } });
}

function record(event: Omit<TraceEvent, 'pid' | 'tid'>): void {
  events.push({ ...event, pid: process.pid, tid: threadId });
  if (events.length >= MOST_WAITING) flushTrace();
}

/** Writes the recorded events: where no span is open, for it takes a while. */
export function flushTrace(): void {
  if (directory === undefined || events.length === 0) return;
  const lines = events.map((event) => `${JSON.stringify(event)}\n`);
  events = [];
  fs.appendFileSync(path.join(directory, `${process.pid}-${threadId}.jsonl`), lines.join(''));
}

/** Lets this process, and those and the threads that it starts from now on, record into a directory. */
export function startTrace(into: string): void {
  process.env[VARIABLE] = into;
  directory = into;
  beginRecording();
}

function beginRecording(): void {
  recordSpans((name, startedMs, endedMs) => {
    const ts = 1000 * (performance.timeOrigin + startedMs);
    record({ name, ph: 'X', ts, dur: 1000 * (endedMs - startedMs) });
  });
  process.once('exit', flushTrace);
}

/** Every event in a directory, in the order of time; those of this process, too. */
export function readTrace(from: string): TraceEvent[] {
  flushTrace();
  return fs
    .readdirSync(from)
    .flatMap((file) => fs.readFileSync(path.join(from, file), 'utf8').trimEnd().split('\n'))
    .map((line) => JSON.parse(line) as TraceEvent)
    .sort((a, b) => (a.ts ?? 0) - (b.ts ?? 0));
}

if (directory !== undefined) beginRecording();
