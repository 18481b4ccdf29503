// What `--resume` finds and refuses, and how `replay` checks a run afterwards.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkpointManifestSchema } from '../../coordinator/persistence/checkpointer.ts';
import type { CheckpointManifest } from '../../coordinator/persistence/checkpointer.ts';
import { encodeCheckpoint, readCheckpoint } from '../../src/checkpoint/checkpoint-file.ts';
import { writeFileDurably } from '../../src/durable-write.ts';
import { CliProcess, runCli } from '../helpers/cli.ts';
import type { CliResult } from '../helpers/cli.ts';
import {
  RESUMABLE,
  expectUndisturbed,
  expectUndisturbedState,
  readFiles,
  trainResumable,
  trainUntilKilled,
} from '../helpers/resumable-run.ts';
import { listCheckpoints, readBits, readEvents, untilEpoch } from '../helpers/run-records.ts';
import { tableRun } from '../helpers/table-run.ts';

const AUTO = ['--resume', 'auto'];

describe('--resume', () => {
  it('--resume refuses and names every change that would change the bits, and leaves the run as it was', async () => {
    const cwd = tableRun(RESUMABLE);
    await trainResumable(cwd);
    const before = readFiles(cwd);
    const refused = async (args: readonly string[]): Promise<string> => {
      const { exitCode, stderr } = await trainResumable(cwd, [...args, '--resume', 'last']);
      expect(exitCode).toBe(4);
      expect(readFiles(cwd)).toEqual(before);
      return stderr;
    };
    const others = ['optimizer.learningRate=0.01', 'shards=4', 'wire.gradients=bf16', 'epochs=3'].flatMap(
      (value) => ['--set', value],
    );
    const stderr = await refused(others);
    expect(stderr).toContain('optimizer.learningRate: 0.01 now, 0.003 then');
    expect(stderr).toContain('shards: 4 now, 8 then');
    expect(stderr).toContain('wire.gradients: "bf16" now, "f32" then');
    expect(stderr).toContain('epochs: 3 now, 4 then');
    fs.appendFileSync(path.join(cwd, 'table.csv'), `${Array(9).fill('0.5').join()}\n`);
    expect(await refused([])).toMatch(/E_RESUME_MISMATCH.*data: "\w{12}" now, "\w{12}" then/);
  });

  it('--resume refuses a damaged checkpoint and takes an older one only with --allow-older', async () => {
    const cwd = tableRun(RESUMABLE);
    await trainResumable(cwd);
    const folder = path.join(cwd, 'run/checkpoints');
    const [older, newest] = listCheckpoints(path.join(cwd, 'run')).slice(-2) as [string, string];
    fs.truncateSync(path.join(folder, newest), 1000);
    const [lost, kept] = [newest, older].map((name) => Number(/\d+/.exec(name)?.[0]));
    const { exitCode, stderr } = await trainResumable(cwd, ['--resume', 'last']);
    expect(exitCode).toBe(4);
    expect(stderr).toContain(
      `step ${lost} is lost; the checkpoint of step ${kept} is whole: add --allow-older`,
    );
    const resumed = await trainResumable(cwd, ['--resume', 'last', '--allow-older']);
    expect(resumed).toMatchObject({ exitCode: 0 });
    expect(resumed.stderr).toContain(`resuming after step ${kept}`);
    await expectUndisturbed(cwd);
  });

  it('--resume auto begins a run, begins it again before its first checkpoint, resumes it, and keeps its end', async () => {
    const cwd = tableRun(RESUMABLE);
    const plan = await trainResumable(cwd, [...AUTO, '--dry-run']);
    expect(plan.stdout).toContain('\nresume   nothing: there is no checkpoint yet\n');
    await trainUntilKilled(cwd, 'coordinator.afterStep@step=2', AUTO);
    expect(listCheckpoints(path.join(cwd, 'run'))).toEqual([]);
    await trainUntilKilled(cwd, 'coordinator.afterStep@step=2', AUTO);
    expect(readEvents(path.join(cwd, 'run'))).toContain('runResumed');
    await trainUntilKilled(cwd, 'coordinator.afterStep@step=25', AUTO);
    const { exitCode, stderr } = await trainResumable(cwd, AUTO);
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(/resuming after step [1-9]\d*, from .*run\/checkpoints\/step-/);
    await expectUndisturbed(cwd);
    expect(await trainResumable(cwd, AUTO)).toMatchObject({ exitCode: 0 });
    await expectUndisturbed(cwd);
  });

  it('--resume starts from the best epoch, from a file, and for more epochs', async () => {
    const cwd = tableRun(RESUMABLE);
    expect(await trainResumable(cwd, ['--set', 'epochs=2'])).toMatchObject({ exitCode: 0 });
    expect(await trainResumable(cwd, ['--resume', 'best'])).toMatchObject({ exitCode: 0 });
    await expectUndisturbed(cwd);
    const [first] = listCheckpoints(path.join(cwd, 'run')) as [string];
    const branch = ['--resume', `run/checkpoints/${first}`, '--run-dir', 'branch'];
    expect(await trainResumable(cwd, branch)).toMatchObject({ exitCode: 0 });
    const [whole, rest] = ['run', 'branch'].map((directory) => readBits(path.join(cwd, directory)));
    expect(rest?.weightsSha256).toBe(whole?.weightsSha256);
    expect(rest?.metrics.length).toBeGreaterThan(0);
    expect(whole?.metrics.slice(-(rest?.metrics.length ?? 0))).toEqual(rest?.metrics);
  });

  it('--resume continues a run, or a file outside any run, in another directory', async () => {
    const cwd = tableRun(RESUMABLE);
    expect(await trainResumable(cwd, ['--set', 'epochs=2'])).toMatchObject({ exitCode: 0 });
    const before = readFiles(cwd);
    fs.mkdirSync(path.join(cwd, 'backup'));
    const newest = listCheckpoints(path.join(cwd, 'run')).at(-1);
    fs.copyFileSync(path.join(cwd, 'run/checkpoints', newest), path.join(cwd, 'backup', newest));
    const train = (...args: readonly string[]): Promise<CliResult> =>
      runCli(['train', 'table.yaml', '--workers', '0', ...args], { cwd });
    expect(await train('--resume', 'run', '--run-dir', 'branch')).toMatchObject({ exitCode: 0 });
    expect(await train('--resume', `backup/${newest}`)).toMatchObject({ exitCode: 0 });
    for (const name of ['branch', 'runs/latest']) await expectUndisturbedState(path.join(cwd, name));
    expect(readFiles(cwd)).toEqual(before);
    expect(fs.readdirSync(path.join(cwd, 'backup'))).toEqual([newest]);
    const planned = await train('--resume', `backup/${newest}`, '--dry-run');
    expect(planned.stdout).toMatch(/\nresume {3}after step 20, from .*backup/);
    const refused = await train('--resume', `backup/${newest}`, '--dry-run', '--set', 'seed=9');
    expect(refused).toMatchObject({ exitCode: 4, stdout: '' });
    // The new directory has no records of the steps before.
    const replayed = await runCli(['replay', 'branch', '--step', '21'], { cwd });
    expect(replayed.stderr).toMatch(/step 21, taken again from the beginning: the same weights/);
  });

  it('--resume refuses a checkpoint that no run can reach', async () => {
    const cwd = tableRun({ ...RESUMABLE, epochs: 2 });
    await trainResumable(cwd);
    const newest = path.join(cwd, 'run/checkpoints', listCheckpoints(path.join(cwd, 'run')).at(-1) ?? '');
    const whole = await readCheckpoint(newest);
    const manifest = checkpointManifestSchema.parse(whole.manifest);
    const { progress } = manifest;
    const [first, second] = progress.history;
    const refusalOf = async (
      changes: Partial<CheckpointManifest>,
      step: number = whole.step,
    ): Promise<string | undefined> => {
      const tensors = [...whole.tensors].map(([name, tensor]) => ({ name, ...tensor }));
      const content = { step, isBest: false, tensors, manifest: { ...manifest, ...changes } };
      await writeFileDurably(path.join(cwd, 'made.safetensors'), encodeCheckpoint(content).slices());
      const args = ['train', 'table.yaml', '--dry-run', '--resume', 'made.safetensors'];
      const { exitCode, stdout, stderr } = await runCli(args, { cwd });
      expect([exitCode, stdout]).toEqual([4, '']);
      return /^error\[E_CHECKPOINT_FORMAT\]: .*made\.safetensors: (.*)\n {2}help: no run can reach this state/.exec(
        stderr,
      )?.[1];
    };
    const batchesDone = 1e15;
    expect(await refusalOf({ progress: { ...progress, batchesDone } })).toBe(
      'progress.batchesDone is 1000000000000000, an epoch has 10 steps',
    );
    expect(await refusalOf({ progress: { ...progress, batchesDone: 3 } })).toBe(
      'its step is 20, its progress 23 steps',
    );
    expect(await refusalOf({}, 999_999)).toBe('its step is 999999, its progress 20 steps');
    expect(await refusalOf({ optimizerSteps: 21 })).toBe('optimizerSteps is 21, after 20 steps');
    const history = [second, first] as typeof progress.history;
    expect(await refusalOf({ progress: { ...progress, history } })).toBe(
      'progress.history.0.epoch is 2, not 1',
    );
  });

  it('--resume finds the newest run of the name, or says that there is none', async () => {
    const cwd = tableRun({ ...RESUMABLE, epochs: 1 });
    const train = (...args: readonly string[]): Promise<CliResult> =>
      runCli(['train', 'table.yaml', '--workers', '0', ...args], { cwd });
    const { exitCode, stderr } = await train('--resume', 'last');
    expect(exitCode).toBe(4);
    expect(stderr).toContain('no run of table with a checkpoint in runs');
    expect(await train()).toMatchObject({ exitCode: 0 });
    expect((await train('--resume', 'last')).stderr).toMatch(
      /resuming after step 10, from .*step-000000010-best/,
    );
  });
});

describe('a second coordinator in a run directory', () => {
  it('a second coordinator in a run directory is refused while the first one is alive', async () => {
    const cwd = tableRun({ ...RESUMABLE, epochs: 1000 });
    const args = ['train', 'table.yaml', '--run-dir', 'run', '--workers', '0'];
    const first = CliProcess.start(args, { cwd });
    await untilEpoch(first, path.join(cwd, 'run'), 1);
    const second = await runCli([...args, '--resume', 'last'], { cwd });
    expect(second.exitCode).not.toBe(0);
    expect(second.stderr).toMatch(new RegExp(`E_RUN_IN_USE.*pid ${first.pid}`));
    first.signal('SIGTERM');
    expect((await first.finished).exitCode).toBe(143);
  });
});

describe('replay', () => {
  it('replay takes a step again to the same weights and notices a changed record', async () => {
    const cwd = tableRun(RESUMABLE);
    await trainResumable(cwd, ['--workers', '2']);
    const replay = (step: number): Promise<CliResult> =>
      runCli(['replay', 'run', '--step', String(step)], { cwd });
    expect((await replay(1)).stderr).toMatch(
      /step 1, taken again from the beginning: the same weights, \w{16}/,
    );
    expect((await replay(36)).stderr).toMatch(
      /step 36, taken again from the checkpoint of step \d+: the same/,
    );
    expect(await replay(41)).toMatchObject({ exitCode: 2 });
    const file = path.join(cwd, 'run/events.jsonl');
    const events = fs.readFileSync(file, 'utf8');
    fs.writeFileSync(
      file,
      events.replace(/("step":39,"weights":")./, (_, start: string) => `${start}x`),
    );
    const { exitCode, stderr } = await replay(39);
    expect(exitCode).toBe(1);
    expect(stderr).toContain('the first step that differs is 39');
  });
});
