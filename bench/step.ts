// `lockstep bench step`: a few steps as a timeline of all processes and threads, in Chrome's trace
// format, and what they spent their time on.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { printText, printJson } from '../coordinator/output/results.ts';
import { writeFileDurably } from '../src/durable-write.ts';
import { Screen } from '../src/screen.ts';
import { countOf } from '../src/printable.ts';
import { collectMessageBuffers } from '../src/protocol/buffer-garbage.ts';
import { nameInTrace, readTrace, startTrace } from '../src/trace-file.ts';
import type { TraceEvent } from '../src/trace-file.ts';
import { newTable } from './report.ts';
import { Contestant, preparerOf } from './scale.ts';

/** Arguments of `lockstep bench step`. */
export interface StepArguments {
  readonly set: readonly string[];
  readonly workload: string;
  readonly workers: number;
  readonly threads: number;
  readonly steps: number;
  readonly output: string;
  readonly json?: boolean;
}

/** The time of all spans of one name in one process or thread. */
interface SpanTotal {
  readonly where: string;
  readonly name: string;
  /** Milliseconds of a step; spans inside it included. */
  readonly msPerStep: number;
}

/** Records steps after a warm-up, writes the timeline, and prints the totals. */
export async function benchStep(config: string | undefined, args: StepArguments): Promise<void> {
  const { output, steps, threads, workers } = args;
  collectMessageBuffers();
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-trace-'));
  try {
    startTrace(directory);
    nameInTrace('process', workers === 0 ? 'lockstep' : 'coordinator');
    const setting = { workers, threads };
    const prepare = await preparerOf(config, args);
    const contestant = await Contestant.start(setting, await prepare(setting));
    let firstUs: number;
    try {
      firstUs = 1000 * (performance.timeOrigin + performance.now());
      await contestant.takeTurn(steps);
    } finally {
      await contestant.close();
    }
    const events = readTrace(directory).filter(({ ts }) => ts === undefined || ts >= firstUs);
    await writeFileDurably(path.resolve(output), JSON.stringify({ traceEvents: events }));
    const totals = totalsOf(events, steps);
    await (args.json ? printJson(totals) : printText(formatTotals(totals, steps)));
    new Screen().write(`timeline in ${output}: open it in https://ui.perfetto.dev or chrome://tracing\n`);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

function totalsOf(events: readonly TraceEvent[], steps: number): SpanTotal[] {
  const names = new Map<string, string>();
  for (const { args, name, pid, tid } of events) {
    if (args) names.set(name === 'process_name' ? `${pid}` : `${pid} ${tid}`, args.name);
  }
  const totals = new Map<string, SpanTotal>();
  for (const { dur, name, pid, tid } of events) {
    if (dur === undefined) continue;
    const where = [names.get(`${pid}`) ?? `process ${pid}`, names.get(`${pid} ${tid}`)]
      .filter((part) => part !== undefined)
      .join(', ');
    const key = `${where} ${name}`;
    const msPerStep = (totals.get(key)?.msPerStep ?? 0) + dur / 1000 / steps;
    totals.set(key, { where, name, msPerStep });
  }
  return [...totals.values()].sort((a, b) => a.where.localeCompare(b.where) || b.msPerStep - a.msPerStep);
}

function formatTotals(totals: readonly SpanTotal[], steps: number): string {
  const table = newTable(['where', 'what', 'ms a step']);
  for (const { where, name, msPerStep } of totals) table.push([where, name, msPerStep.toFixed(3)]);
  return `${table.toString()}\nmeans of ${countOf(steps, 'step')}\n`;
}
