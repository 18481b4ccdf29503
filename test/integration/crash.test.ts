// A coordinator that is killed or interrupted, and goes on: to the weights, the optimizer state and the records of a
// run to which nothing happened.
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { CliProcess } from '../helpers/cli.ts';
import { RESUMABLE, expectUndisturbed, trainResumable, trainUntilKilled } from '../helpers/resumable-run.ts';
import { readEvents, untilEpoch } from '../helpers/run-records.ts';
import { tableRun } from '../helpers/table-run.ts';

describe('a run whose coordinator is killed', () => {
  it('again and again, with workers or without, comes to the same outcome', async () => {
    const cwd = tableRun(RESUMABLE);
    await trainUntilKilled(cwd, 'coordinator.afterStep@step=13', ['--workers', '2']);
    await trainUntilKilled(cwd, 'coordinator.afterEpoch@epoch=2', ['--resume', 'last']);
    await trainUntilKilled(cwd, 'coordinator.afterStep@step=37', ['--resume', 'last', '--workers', '1']);
    const last = await trainResumable(cwd, ['--resume', 'last', '--workers', '2']);
    expect(last).toMatchObject({ exitCode: 0 });
    await expectUndisturbed(cwd);
    expect(readEvents(path.join(cwd, 'run')).filter((event) => event === 'runResumed')).toHaveLength(3);
  });
});

describe('Ctrl-C', () => {
  it('saves a checkpoint, says how to go on, and ends with 130', async () => {
    const cwd = tableRun({ ...RESUMABLE, epochs: 400, checkpoint: { everyEpochs: 1000 } });
    const directory = path.join(cwd, 'run');
    const args = ['train', 'table.yaml', '--run-dir', 'run'];
    const command = CliProcess.start([...args, '--workers', '2'], { cwd });
    await untilEpoch(command, directory, 3);
    command.signalTree('SIGINT');
    const { exitCode, stderr } = await command.finished;
    expect(exitCode).toBe(130);
    expect(stderr).toContain('to go on, give the same command with --resume last --run-dir run');
    // Workers that are told to go are not blamed for it.
    expect(stderr).not.toContain('WARN: worker');
    await command.untilTreeIsGone();
    const other = CliProcess.start([...args, '--workers', '0', '--resume', 'last'], { cwd });
    await untilEpoch(other, directory, 6);
    other.signal('SIGTERM');
    expect((await other.finished).exitCode).toBe(143);
  });
});
