// The script for Slurm as it is shipped, in a real Slurm with two nodes: the weights are those of a run on
// one machine, whatever happens to its workers, and to the job.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROGRAM, ROOT, runCli } from '../helpers/cli.ts';
import { countEpochs, listCheckpoints, readBits, readEvents, workerPids } from '../helpers/run-records.ts';
import { isInstalled } from '../helpers/namespaces.ts';
import { missingForSlurm, SlurmCluster } from '../helpers/slurm.ts';
import { longRun } from '../helpers/undisturbed.ts';

const SCRIPT = path.join(ROOT, 'deploy/slurm/lockstep.sbatch');
/** 3,000 steps: enough to be disturbed. */
const LONG = { epochs: 200 };
const DEADLINE_MS = 120_000;
const POLL_MS = 100;
const missing = missingForSlurm();

/** A job, and the directory of its run. */
interface Submitted {
  readonly cwd: string;
  readonly directory: string;
  readonly id: string;
}

it.skipIf(!isInstalled('shellcheck'))('the script for Slurm has no finding of shellcheck', () => {
  expect(spawnSync('shellcheck', [SCRIPT], { encoding: 'utf8' })).toMatchObject({ status: 0, stdout: '' });
});

describe.skipIf(missing !== undefined)(
  `a job of Slurm${missing === undefined ? '' : ` (not here: ${missing} missing)`}`,
  () => {
    let cluster: SlurmCluster;
    beforeAll(async () => {
      cluster = await SlurmCluster.start();
    });
    afterAll(() => cluster.stop());

    const submit = (cwd = longRun(LONG), flags: readonly string[] = [], runDirectory?: string): Submitted => {
      const env = { LOCKSTEP: PROGRAM, ...(runDirectory === undefined ? {} : { RUN_DIR: runDirectory }) };
      const id = cluster.submit(cwd, env, ['--cpus-per-task=1', SCRIPT, 'table.yaml', ...flags]);
      return { cwd, directory: path.join(cwd, runDirectory ?? `runs/slurm-${id}`), id };
    };
    const logOf = ({ cwd }: Submitted): string => fs.readFileSync(path.join(cwd, 'job.log'), 'utf8');
    const untilInJob = async (job: Submitted, isSo: () => boolean): Promise<void> => {
      while (!isSo()) {
        const { isOver, state } = cluster.job(job.id);
        if (isOver) throw new Error(`the job is ${state}:\n${logOf(job)}`);
        await sleep(POLL_MS);
      }
    };
    const expectDone = async (job: Submitted, restarts = 0): Promise<void> => {
      const ended = await cluster.untilOver(job.id);
      expect(ended, logOf(job)).toMatchObject({ state: 'COMPLETED', exitCode: 0, restarts });
      expect(readBits(job.directory)).toEqual(await undisturbed());
    };

    it(
      'a job on two nodes results in the weights and metrics of a run on one machine',
      async () => {
        const job = submit();
        await untilInJob(job, () => fs.existsSync(path.join(job.directory, 'token.txt')));
        expect(fs.statSync(path.join(job.directory, 'token.txt')).mode & 0o777).toBe(0o600);
        await untilInJob(job, () => workerPids(job.directory).size === 2);
        await expectDone(job);
      },
      DEADLINE_MS,
    );

    it(
      'a job goes on to the same weights when one of its workers is killed',
      async () => {
        const job = submit();
        await untilInJob(job, () => workerPids(job.directory).size === 2 && countEpochs(job.directory) > 1);
        const [worker, pid] = [...workerPids(job.directory)][0] as [number, number];
        process.kill(pid, 'SIGKILL');
        await untilInJob(job, () => readEvents(job.directory).includes(`workerLeft ${worker}`));
        await expectDone(job);
      },
      DEADLINE_MS,
    );

    it(
      'a job that is told that its time is nearly up saves, starts again and results in the same weights',
      async () => {
        const job = submit();
        await untilInJob(job, () => countEpochs(job.directory) > 1);
        // What `--signal=TERM@60` sends.
        cluster.tell('scancel', '--signal=TERM', job.id);
        await expectDone(job, 1);
        expect(readEvents(job.directory)).toContain('runResumed');
      },
      DEADLINE_MS,
    );

    it(
      'a job goes on to the same weights when one of its nodes is lost',
      async () => {
        const job = submit();
        await untilInJob(job, () => workerPids(job.directory).size === 2 && countEpochs(job.directory) > 1);
        cluster.tell('scontrol', 'update', 'NodeName=node2', 'State=DOWN', 'Reason=test');
        await untilInJob(job, () =>
          readEvents(job.directory).some((event) => event.startsWith('workerLeft')),
        );
        await expectDone(job);
      },
      DEADLINE_MS,
    );

    it(
      'a job that is cancelled saves its run and stays cancelled, and another one ends the run',
      async () => {
        const cwd = longRun(LONG);
        const job = submit(cwd, [], 'run');
        await untilInJob(job, () => countEpochs(job.directory) > 1);
        cluster.tell('scancel', job.id);
        expect(await cluster.untilOver(job.id)).toMatchObject({ state: 'CANCELLED', restarts: 0 });
        expect(listCheckpoints(job.directory)).not.toEqual([]);
        await expectDone(submit(cwd, [], 'run'));
        expect(readEvents(job.directory)).toContain('runResumed');
      },
      DEADLINE_MS,
    );

    it(
      'a job has the exit code of its run, and leaves no worker behind',
      async () => {
        const job = submit(longRun(), ['--set', 'epochs=none']);
        const { state, exitCode } = await cluster.untilOver(job.id);
        expect({ state, exitCode }, logOf(job)).toEqual({ state: 'FAILED', exitCode: 2 });
        expect(logOf(job)).toContain('error[E_CONFIG_INVALID]: epochs: ');
      },
      DEADLINE_MS,
    );
  },
);

let trained: Promise<ReturnType<typeof readBits>> | undefined;

/** What the same config results in without Slurm and without workers. */
function undisturbed(): Promise<ReturnType<typeof readBits>> {
  trained ??= (async () => {
    const cwd = longRun(LONG);
    const alone = await runCli(['train', 'table.yaml', '--workers', '0', '--run-dir', 'run'], { cwd });
    expect(alone).toMatchObject({ exitCode: 0 });
    return readBits(path.join(cwd, 'run'));
  })();
  return trained;
}
