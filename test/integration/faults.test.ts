// Processes that are killed, stopped and interrupted in the middle of a run: the weights stay the same bits,
// the exit code says what happened, and no process is left behind.
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { CliProcess } from '../helpers/cli.ts';
import {
  readEvents,
  readRecords,
  readRosterEvents,
  untilEpoch,
  untilJoined,
  workerPids,
} from '../helpers/run-records.ts';
import { expectUndisturbedEnd, longRun } from '../helpers/undisturbed.ts';
import type { Run } from '../helpers/undisturbed.ts';

/** A run with local workers that has trained for an epoch. */
async function startRun(workers: number): Promise<Run> {
  const cwd = longRun();
  const directory = path.join(cwd, 'run');
  const args = ['train', 'table.yaml', '--workers', String(workers), '--run-dir', directory];
  const command = CliProcess.start(args, { cwd });
  await untilEpoch(command, directory, 1);
  return { command, directory };
}

describe('a run with threads in one process', () => {
  it('a compute thread that fails ends the run with its own error', async () => {
    const cwd = longRun();
    const env = { LOCKSTEP_FAILPOINT: 'worker.thread@thread=1@step=50:trap' };
    const args = ['train', 'table.yaml', '--workers', '0', '--threads', '2', '--run-dir', 'run'];
    const { exitCode, stderr } = await CliProcess.start(args, { cwd, env }).finished;
    expect(exitCode).toBe(70);
    expect(stderr).toContain('memory access out of bounds');
  });
});

describe('a run whose workers fail', () => {
  it('killing one of two workers does not change the weights', async () => {
    const run = await startRun(2);
    process.kill(workerPids(run.directory).get(1) as number, 'SIGKILL');
    await expectUndisturbedEnd(run);
    expect(run.command.stderr).toMatch(/worker \d+ \(pid \d+\) ended: SIGKILL; starting it again/);
    expect(readRosterEvents(run.directory)[2]).toBe('workerLeft 1');
  });

  it('killing the only worker twice does not change the weights', async () => {
    const run = await startRun(1);
    process.kill(workerPids(run.directory).get(1) as number, 'SIGKILL');
    process.kill(await untilJoined(run.command, run.directory, 2), 'SIGKILL');
    await expectUndisturbedEnd(run);
    expect(run.command.stderr).toContain('0 of 1 workers, waiting');
    const joinedAndLeft = [1, 2].flatMap((worker) => [`workerJoined ${worker}`, `workerLeft ${worker}`]);
    expect(readRosterEvents(run.directory).slice(0, 5)).toEqual([...joinedAndLeft, 'workerJoined 3']);
  });

  it('a worker that is stopped for a while loses its tasks to the other, and the weights do not change', async () => {
    const run = await startRun(2);
    const numSteps = (): number => readRecords(run.directory, 'metrics.jsonl').length;
    const pid = workerPids(run.directory).get(2) as number;
    process.kill(pid, 'SIGSTOP');
    const stepsBefore = numSteps();
    await sleep(2000);
    const stepsMeanwhile = numSteps() - stepsBefore;
    process.kill(pid, 'SIGCONT');
    await expectUndisturbedEnd(run);
    expect(stepsMeanwhile).toBeGreaterThan(1);
    // Neither was disconnected before the end.
    const events = readEvents(run.directory);
    expect(events.indexOf('workerLeft 2')).toBeGreaterThan(events.lastIndexOf('epochDone'));
  });
});

describe('a run that a signal ends', () => {
  it('Ctrl-C ends a run and its workers with exit code 130', async () => {
    const { command, directory } = await startRun(2);
    command.signalTree('SIGINT');
    const { exitCode, stderr } = await command.finished;
    expect(exitCode).toBe(130);
    expect(stderr).toContain('SIGINT: stopping; press Ctrl-C again to stop at once');
    expect(stderr).not.toContain('\n    at ');
    expect(readEvents(directory).at(-1)).toBe('runEnded');
  });

  it('SIGTERM to the coordinator ends a run and its workers with exit code 143', async () => {
    const { command } = await startRun(2);
    command.signal('SIGTERM');
    expect(await command.finished).toMatchObject({ exitCode: 143, stdout: '' });
  });

  it('SIGKILL to the coordinator leaves no worker running', async () => {
    const { command } = await startRun(2);
    command.signal('SIGKILL');
    expect((await command.finished).exitCode).toBe(null);
    await command.untilTreeIsGone();
  }, 15_000);
});
