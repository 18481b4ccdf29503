// A coordinator that is killed, interrupted or ended by an error, and resumes to the weights, the optimizer
// state and the records of an undisturbed run.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { train, type TrainConfig } from 'lockstep';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { CliProcess, runCli } from '../helpers/cli.ts';
import { RESUMABLE, expectUndisturbed, trainResumable, trainUntilKilled } from '../helpers/resumable-run.ts';
import { listCheckpoints, readEvents, readRecords, untilEpoch } from '../helpers/run-records.ts';
import { tableRun } from '../helpers/table-run.ts';

describe('a run whose coordinator is killed', () => {
  it('a run whose coordinator is killed again and again, with workers or without, ends with the same result', async () => {
    const cwd = tableRun(RESUMABLE);
    // By then the first checkpoint is on the disk, however slow that is.
    await trainUntilKilled(cwd, 'checkpoint.rename#2', ['--workers', '2']);
    await trainUntilKilled(cwd, 'coordinator.afterEpoch@epoch=2', ['--resume', 'last']);
    await trainUntilKilled(cwd, 'coordinator.afterStep@step=37', ['--resume', 'last', '--workers', '1']);
    const last = await trainResumable(cwd, ['--resume', 'last', '--workers', '2']);
    expect(last).toMatchObject({ exitCode: 0 });
    await expectUndisturbed(cwd);
    expect(readEvents(path.join(cwd, 'run')).filter((event) => event === 'runResumed')).toHaveLength(3);
  });
});

describe('repeated signals for one request to stop', () => {
  const LONG = { ...RESUMABLE, epochs: 400, checkpoint: { everyEpochs: 1000 } };
  const ARGS = ['train', 'table.yaml', '--run-dir', 'run', '--workers'];

  /** Asserts that the checkpoint is there, that no process holds the run, and that it resumes. */
  async function expectOrderlyEnd(
    command: CliProcess,
    cwd: string,
    ...exitCodes: readonly (number | null)[]
  ): Promise<void> {
    const result = await command.finished;
    expect(exitCodes).toContain(result.exitCode);
    await command.untilTreeIsGone();
    expect(result.stderr.match(/stopping; press Ctrl-C again to stop at once/g)).toHaveLength(1);
    // Local workers do not take it for a request to leave on their own.
    expect(result.stderr).not.toContain('WARN: worker');
    const directory = path.join(cwd, 'run');
    const lastStep = readRecords(directory, 'events.jsonl').findLast(({ type }) => type === 'stepDone')?.[
      'step'
    ];
    expect(listCheckpoints(directory).at(-1)).toMatch(new RegExp(`^step-0*${lastStep}\\D`));
    expect(fs.readdirSync(directory)).not.toContain('lock');
    const resumed = await runCli([...ARGS, '0', '--resume', 'last', '--dry-run'], { cwd });
    expect(resumed).toMatchObject({ exitCode: 0 });
    expect(resumed.stdout).toContain(`after step ${lastStep?.toLocaleString('en-US')}, from`);
  }

  it.each([0, 2])(
    'several signals within a moment end a run once, in an orderly way (%i workers)',
    async (workers) => {
      const cwd = tableRun(LONG);
      const command = CliProcess.start([...ARGS, String(workers)], { cwd });
      await untilEpoch(command, path.join(cwd, 'run'), 2);
      command.signalTree('SIGINT');
      command.signal('SIGINT');
      await sleep(50);
      command.signalTree('SIGTERM');
      // Without workers the run may be over by then: a signal then kills a process that is ending anyway.
      await expectOrderlyEnd(command, cwd, 130, ...(workers === 0 ? [null] : []));
    },
  );

  it('timeout, which signals the command and its group, ends a run once, in an orderly way', async () => {
    const cwd = tableRun(LONG);
    const through = ['timeout', '--preserve-status', '100'];
    const command = CliProcess.start([...ARGS, '2'], { cwd, through });
    await untilEpoch(command, path.join(cwd, 'run'), 2);
    command.signal('SIGTERM');
    await expectOrderlyEnd(command, cwd, 143);
  });

  it('npm, which passes on a signal that the terminal sends to the whole group, ends a run once, in an orderly way', async () => {
    const cwd = tableRun(LONG);
    fs.writeFileSync(
      path.join(cwd, 'package.json'),
      JSON.stringify({ scripts: { start: process.execPath } }),
    );
    const through = ['npm', 'start', '--silent', '--'];
    const command = CliProcess.start([...ARGS, '1'], { cwd, through, node: [] });
    await untilEpoch(command, path.join(cwd, 'run'), 2);
    command.signalTree('SIGINT');
    // npm exits as its command did, or by the signal.
    await expectOrderlyEnd(command, cwd, 130, null);
  });
});

describe('Ctrl-C', () => {
  it('Ctrl-C saves a checkpoint, says how to resume, and exits with 130', async () => {
    const cwd = tableRun({ ...RESUMABLE, epochs: 400, checkpoint: { everyEpochs: 1000 } });
    const directory = path.join(cwd, 'run');
    const args = ['train', 'table.yaml', '--run-dir', 'run'];
    const command = CliProcess.start([...args, '--workers', '2'], { cwd });
    await untilEpoch(command, directory, 3);
    command.signalTree('SIGINT');
    const { exitCode, stderr } = await command.finished;
    expect(exitCode).toBe(130);
    expect(stderr).toContain('to resume, give the same command with --resume last --run-dir run');
    // Workers that are told to leave are not blamed for it.
    expect(stderr).not.toContain('WARN: worker');
    await command.untilTreeIsGone();
    const other = CliProcess.start([...args, '--workers', '0', '--resume', 'last'], { cwd });
    await untilEpoch(other, directory, 6);
    other.signal('SIGTERM');
    expect((await other.finished).exitCode).toBe(143);
  });
});

/** Places where no caller awaits the error. */
const UNAWAITED = {
  'thrown while a message of a worker is handled': ['coordinator.receive@type=gradient@step=13:throw', '2'],
  'that nothing catches in a run with workers': ['coordinator.afterStep@step=13:uncaught', '2'],
  'that nothing catches in a run without workers': ['coordinator.afterStep@step=13:uncaught', '0'],
} as const;

describe('an error', () => {
  for (const [where, [failpoint, workers]] of Object.entries(UNAWAITED)) {
    it(`an error ${where} ends the run with its checkpoint, its records and its stack`, async () => {
      const cwd = tableRun(RESUMABLE);
      const directory = path.join(cwd, 'run');
      const env = { LOCKSTEP_FAILPOINT: failpoint };
      const { exitCode, stderr } = await trainResumable(cwd, ['--workers', workers], env);
      expect(exitCode).toBe(70);
      const bug = /^lockstep \S+ has a bug: Error: error made by failpoint \S+\n {4}at /m;
      expect(stderr).toMatch(bug);
      expect(stderr).toContain('to resume, give the same command with --resume last --run-dir run');
      // Workers are not blamed for what they send meanwhile.
      expect(stderr).not.toMatch(/WARN: worker .* left/);
      expect(fs.existsSync(path.join(directory, 'lock'))).toBe(false);
      expect(readEvents(directory).at(-1)).toBe('runEnded');
      // No checkpoint was due there.
      expect(listCheckpoints(directory).at(-1)).toMatch(/step-0+1[34]\./);
      expect(await trainResumable(cwd, ['--resume', 'last'])).toMatchObject({ exitCode: 0 });
      await expectUndisturbed(cwd);
    });
  }

  it('an error in a listener ends the run between two steps, from which it resumes', async () => {
    const cwd = tableRun(RESUMABLE);
    const config = parse(fs.readFileSync(path.join(cwd, 'table.yaml'), 'utf8')) as TrainConfig;
    const options = { baseDirectory: cwd, runDirectory: path.join(cwd, 'run'), logLevel: 'silent' } as const;
    const onStep = ({ step }: { readonly step: number }): void => {
      if (step === 13) throw new Error('no room for a plot');
    };
    await expect(train(config, { ...options, onStep })).rejects.toThrow('no room for a plot');
    expect(await trainResumable(cwd, ['--resume', 'last'])).toMatchObject({ exitCode: 0 });
    await expectUndisturbed(cwd);
  });

  it('an uncaught error in a worker costs only its task', async () => {
    const cwd = tableRun(RESUMABLE);
    const env = { LOCKSTEP_FAILPOINT: 'worker.beforeCompute@worker=1#5:uncaught' };
    const { exitCode, stderr } = await trainResumable(cwd, ['--workers', '2'], env);
    expect(stderr).toMatch(/worker \d+: lockstep \S+ has a bug: Error: error made by failpoint/);
    expect(stderr).toMatch(/worker \d+ \(pid \d+\) ended: exit code 70; starting it again/);
    expect(exitCode).toBe(0);
    await expectUndisturbed(cwd);
  });
});
