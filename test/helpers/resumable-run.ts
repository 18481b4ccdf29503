// A run that saves often, for tests of resuming, and everything that must be equal afterwards.
import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { runCli } from './cli.ts';
import type { CliResult } from './cli.ts';
import { hashTrainingState, listCheckpoints, readBits } from './run-records.ts';
import { tableRun } from './table-run.ts';

/** 4 epochs of 10 steps, with averages and clipping. */
export const RESUMABLE = {
  batchSize: 80,
  epochs: 4,
  clip: { norm: 0.5 },
  ema: { decay: 0.9 },
  checkpoint: { everySteps: 3, keep: 4 },
};

/** Trains `table.yaml` in `cwd` into its directory `run`, in one process unless told otherwise. */
export function trainResumable(
  cwd: string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<CliResult> {
  return runCli(['train', 'table.yaml', '--run-dir', 'run', '--workers', '0', ...args], { cwd, env });
}

/** Trains like `trainResumable`, but the process kills itself at the failpoint. */
export async function trainUntilKilled(
  cwd: string,
  failpoint: string,
  args: readonly string[] = [],
): Promise<void> {
  const result = await trainResumable(cwd, args, { LOCKSTEP_FAILPOINT: `${failpoint}:kill` });
  expect(result).toMatchObject({ exitCode: null });
}

type Outcome = ReturnType<typeof outcomeOf>;

let undisturbed: Promise<Outcome> | undefined;

/** Asserts that weights, optimizer state and records in `cwd` are those of an undisturbed run. */
export async function expectUndisturbed(cwd: string): Promise<void> {
  undisturbed ??= trainUndisturbed();
  expect(outcomeOf(cwd)).toEqual(await undisturbed);
}

/** Like `expectUndisturbed`, for the run in `directory`, whose records begin where it resumed. */
export async function expectUndisturbedState(directory: string): Promise<void> {
  undisturbed ??= trainUndisturbed();
  expect(hashTrainingState(directory)).toBe((await undisturbed).state);
}

async function trainUndisturbed(): Promise<Outcome> {
  const cwd = tableRun(RESUMABLE);
  expect(await trainResumable(cwd)).toMatchObject({ exitCode: 0 });
  return outcomeOf(cwd);
}

function outcomeOf(cwd: string): ReturnType<typeof readBits> & { readonly state: string } {
  const directory = path.join(cwd, 'run');
  return { ...readBits(directory), state: hashTrainingState(directory) };
}

/** All files that are kept of the run, by name. */
export function readFiles(cwd: string): ReadonlyMap<string, string> {
  const directory = path.join(cwd, 'run');
  const names = fs.readdirSync(directory, { recursive: true, encoding: 'utf8' });
  const files = names.filter(
    (name) => fs.statSync(path.join(directory, name)).isFile() && !isOfOneProcess(name),
  );
  return new Map(files.map((name) => [name, fs.readFileSync(path.join(directory, name), 'latin1')]));
}

/** The log, the lock, and half-written files of a killed process. */
function isOfOneProcess(name: string): boolean {
  return name === 'output.log' || name === 'lock' || path.basename(name).startsWith('.');
}

/**
 * Asserts that a run whose coordinator is killed at a failpoint resumes to the outcome of a run that was
 * not disturbed.
 */
export async function expectSameAfterKill(place: string): Promise<void> {
  const cwd = tableRun(RESUMABLE);
  await trainUntilKilled(cwd, place);
  const isSaved = listCheckpoints(path.join(cwd, 'run')).some((name) => name.endsWith('.safetensors'));
  // Before its first checkpoint a run has nothing to lose and is started again.
  if (!isSaved) fs.rmSync(path.join(cwd, 'run'), { recursive: true });
  expect(await trainResumable(cwd, isSaved ? ['--resume', 'last'] : [])).toMatchObject({ exitCode: 0 });
  await expectUndisturbed(cwd);
}
