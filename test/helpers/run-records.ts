// The files of a run, read back: for tests of the command line.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Summary } from '../../coordinator/output/summary.ts';
import { decodeSafetensors } from '../../src/safetensors.ts';
import type { CliProcess } from './cli.ts';

/** A line of `metrics.jsonl` or `events.jsonl`. */
export type LoggedRecord = Readonly<Record<string, string | number | null>>;

const POLL_MS = 10;

/** Records that differ between two runs of one config. */
const OF_ONE_RUN = new Set(['_runtime', '_timestamp', 'samplesPerSecond', 'workers']);

export function readSummary(directory: string): Summary {
  return JSON.parse(fs.readFileSync(path.join(directory, 'summary.json'), 'utf8')) as Summary;
}

/** The whole lines of a JSONL file so far; none if it does not exist yet. */
export function readRecords(directory: string, name: 'metrics.jsonl' | 'events.jsonl'): LoggedRecord[] {
  const file = path.join(directory, name);
  if (!fs.existsSync(file)) return [];
  const lines = fs.readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as LoggedRecord);
}

/** Types of the events so far, with the worker's number if any: `workerJoined 1`. */
export function readEvents(directory: string): string[] {
  return readRecords(directory, 'events.jsonl').map(({ type, worker }) =>
    worker === undefined ? String(type) : `${String(type)} ${String(worker)}`,
  );
}

/** Events of workers that joined or left so far. */
export function readRosterEvents(directory: string): string[] {
  return readEvents(directory).filter((event) => event.startsWith('worker'));
}

/**
 * Everything that must be equal between runs of one config: the hash of the weights, and every logged value.
 */
export function readBits(directory: string): { weightsSha256: string; metrics: LoggedRecord[] } {
  const metrics = readRecords(directory, 'metrics.jsonl').map((record) =>
    Object.fromEntries(Object.entries(record).filter(([name]) => !OF_ONE_RUN.has(name))),
  );
  return { weightsSha256: readSummary(directory).weightsSha256, metrics };
}

/** SHA-256 over the tensors of the saved model, in the order of the file. */
export function hashSavedWeights(directory: string): string {
  return hashTensors(path.join(directory, 'model/model.safetensors'));
}

/** SHA-256 over the newest checkpoint's weights, optimizer state, averages and best weights. */
export function hashTrainingState(directory: string): string {
  const newest = listCheckpoints(directory).at(-1);
  return `${newest} ${hashTensors(path.join(directory, 'checkpoints', newest))}`;
}

/** Names of the checkpoints, the oldest first. */
export function listCheckpoints(directory: string): string[] {
  const folder = path.join(directory, 'checkpoints');
  return fs.existsSync(folder) ? fs.readdirSync(folder).sort() : [];
}

function hashTensors(file: string): string {
  const hash = createHash('sha256');
  for (const { values } of decodeSafetensors(fs.readFileSync(file), file).tensors.values()) {
    hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  return hash.digest('hex');
}

/** Epochs that the run has trained for. */
export function countEpochs(directory: string): number {
  return readEvents(directory).filter((event) => event === 'epochDone').length;
}

/** Resolves once the run in `directory` has trained for this many epochs. */
export function untilEpoch(command: CliProcess, directory: string, epoch: number): Promise<void> {
  return until(() => countEpochs(directory) >= epoch, command, `epoch ${epoch}`);
}

/** Resolves once a checkpoint of the run in `directory` is saved. */
export function untilSaved(command: CliProcess, directory: string): Promise<void> {
  return until(() => readEvents(directory).includes('checkpointSaved'), command, 'its first checkpoint');
}

/** Resolves to the process id of a worker once the records say that it joined. */
export async function untilJoined(command: CliProcess, directory: string, worker: number): Promise<number> {
  await until(() => workerPids(directory).has(worker), command, `worker ${worker} joined`);
  return workerPids(directory).get(worker) as number;
}

/** Resolves once something is so; throws if the command ends before. */
export async function until(isSo: () => boolean, command: CliProcess, what: string): Promise<void> {
  while (!isSo()) {
    if (command.hasEnded) throw new Error(`ended before ${what}:\n${command.stderr}`);
    await sleep(POLL_MS);
  }
}

/** Process ids of the workers that have joined so far, by worker number. */
export function workerPids(directory: string): Map<number, number> {
  const joined = readRecords(directory, 'events.jsonl').filter(({ type }) => type === 'workerJoined');
  return new Map(
    joined.map(({ worker, name }) => [Number(worker), Number(/pid (\d+)/.exec(String(name))?.[1])]),
  );
}
