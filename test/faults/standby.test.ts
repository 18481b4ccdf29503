// A second coordinator that stands by: it takes over from one that dies, stops or leaves, never beside it.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { MISSING_FAKETIME, fakeTime } from '../helpers/fake-time.ts';
import { CliProcess, runCli } from '../helpers/cli.ts';
import { isInstalled } from '../helpers/namespaces.ts';
import { readEvents, readRecords, untilEpoch } from '../helpers/run-records.ts';
import { missingForDisks, SmallDisk } from '../helpers/small-disk.ts';
import {
  killLeaders,
  outagesMs,
  standbyRun,
  startCandidate,
  startFollower,
  takeovers,
  untilLeading,
  untilStandingBy,
} from '../helpers/standby-run.ts';
import type { StandbyRun } from '../helpers/standby-run.ts';
import { missingForTracing } from '../helpers/traced.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

/** 4,500 steps, of which every twentieth is saved. */
const CONFIG = { epochs: 300, checkpoint: { everySteps: 20 } };
/** Longer than any test. */
const ENDLESS = { ...CONFIG, epochs: 100_000 };
const isRoot = process.getuid?.() === 0;
const tracing = missingForTracing();
const disks = missingForDisks();
/** The command that follows, as another user, who sees no processes but its own. */
const AS_ANOTHER = [
  ...['unshare', '-m', 'sh', '-c'],
  'mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"',
  'sh',
];
const hiding = isRoot ? ['unshare', 'setpriv'].find((program) => !isInstalled(program)) : 'root';

/** A leader, a standby and a worker, once some epochs are over. */
async function startPair(
  config: typeof CONFIG,
  flags: readonly string[] = [],
  cli: Parameters<typeof startCandidate>[2] = {},
): Promise<{ run: StandbyRun; leader: CliProcess; standby: CliProcess; worker: CliProcess }> {
  const run = await standbyRun(config);
  const leader = startCandidate(run, 0, { flags, ...cli });
  await leader.untilStderr(/listening on/);
  const worker = startFollower(run);
  const standby = startCandidate(run, 1, { flags, ...cli });
  await untilStandingBy(standby);
  await untilEpoch(leader, run.directory, 3);
  return { run, leader, standby, worker };
}

/** Ends processes that would run on. */
async function end(...commands: readonly CliProcess[]): Promise<void> {
  for (const command of commands) command.signal('SIGKILL');
  await Promise.all(commands.map(({ finished }) => finished));
}

function hashFiles(directory: string): Record<string, string> {
  const names = fs.readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort();
  const files = names.filter((name) => fs.statSync(path.join(directory, name)).isFile());
  const hashOf = (name: string): string =>
    createHash('sha256')
      .update(fs.readFileSync(path.join(directory, name)))
      .digest('hex');
  return Object.fromEntries(files.map((name) => [name, hashOf(name)]));
}

async function statusOf({ ports }: StandbyRun, place: number, page: string): Promise<string> {
  const headers = { Authorization: 'Bearer a-token-for-the-tests-of-the-network' };
  const answer = await fetch(`http://127.0.0.1:${ports[place]}/${page}`, { headers });
  return `${answer.status} ${await answer.text()}`;
}

describe('a standby', () => {
  it('a run whose leader is killed three times ends as one to which nothing happened', async () => {
    const run = await standbyRun(CONFIG, { deadlineMs: 120_000 });
    const worker = startFollower(run);
    const leader = await killLeaders(run, 3);
    await expectUndisturbedEnd({ command: leader, directory: run.directory }, CONFIG);
    expect((await worker.finished).exitCode).toBe(0);
    expect(takeovers(run).map(({ reason }) => reason)).toEqual(['died', 'died', 'died']);
    expect(Math.max(...outagesMs(run))).toBeLessThan(10_000);
    expect(fs.readdirSync(run.directory).filter((name) => /^lock|^\./.test(name))).toEqual([]);
  });

  it('two that are started at once begin a run together, and a standby tells workers and people who leads', async () => {
    const run = await standbyRun(ENDLESS);
    const pair = [0, 1].map((place) => startCandidate(run, place));
    const places = await Promise.race(
      pair.map(async (command, place) => {
        await command.untilStderr(/standing by at/);
        return { leads: 1 - place, standsBy: place };
      }),
    );
    const [leader, standby] = [pair[places.leads], pair[places.standsBy]] as [CliProcess, CliProcess];
    await leader.untilStderr(/listening on/);
    expect(await statusOf(run, places.standsBy, 'readyz')).toBe(
      `503 standby: 127.0.0.1:${run.ports[places.leads]} leads\n`,
    );
    await expect
      .poll(async () => JSON.parse((await statusOf(run, places.standsBy, 'status')).slice(4)) as object)
      .toMatchObject({
        state: 'standby',
        standby: { address: `127.0.0.1:${run.ports[places.leads]}`, leaseSeconds: 5 },
      });
    const worker = startFollower(run);
    await untilEpoch(leader, run.directory, 1);
    expect(standby.stderr).not.toContain('taking over');
    expect(worker.stderr).toContain(`connected to ws://127.0.0.1:${run.ports[places.leads]}`);
    await end(leader, standby, worker);
  });

  it('of two standbys one takes over, and the death of the other changes nothing', async () => {
    const run = await standbyRun(ENDLESS, { numPorts: 3 });
    const leader = startCandidate(run, 0);
    await leader.untilStderr(/listening on/);
    const worker = startFollower(run);
    const standbys = [startCandidate(run, 1), startCandidate(run, 2)];
    await Promise.all(standbys.map(untilStandingBy));
    await untilEpoch(leader, run.directory, 3);
    leader.signal('SIGKILL');
    const next = await Promise.race(
      standbys.map(async (standby) => {
        await untilLeading(run, standby);
        return standby;
      }),
    );
    const other = standbys.find((standby) => standby !== next) as CliProcess;
    await other.untilStderr(new RegExp(`standing by at .*: pid ${next.pid} on host`));
    other.signal('SIGKILL');
    await sleep(500);
    expect(takeovers(run)).toHaveLength(1);
    expect(next.hasEnded).toBe(false);
    await end(next, worker);
  });

  it('a leader that is stopped for longer than its lease writes nothing when it goes on, and says why it ends', async () => {
    const { run, leader, standby, worker } = await startPair(CONFIG, ['--lease', '2']);
    leader.signal('SIGSTOP');
    await expectUndisturbedEnd({ command: standby, directory: run.directory }, CONFIG);
    expect((await worker.finished).exitCode).toBe(0);
    expect(takeovers(run)).toMatchObject([{ reason: 'silent' }]);
    const before = hashFiles(run.directory);
    leader.signal('SIGCONT');
    const { exitCode, stderr } = await leader.finished;
    expect(exitCode).toBe(1);
    expect(stderr).toContain('error[E_LEASE_LOST]: ');
    expect(stderr).toContain('this process no longer has the run: its lock was removed');
    expect(hashFiles(run.directory)).toEqual(before);
  });

  it('a leader that goes on after another has taken over spoils nothing of what that one writes', async () => {
    const { run, leader, standby, worker } = await startPair(CONFIG, ['--lease', '2']);
    leader.signal('SIGSTOP');
    await untilLeading(run, standby);
    leader.signal('SIGCONT');
    const { exitCode, stderr } = await leader.finished;
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`no longer has the run: pid ${standby.pid} on host`);
    await expectUndisturbedEnd({ command: standby, directory: run.directory }, CONFIG);
    await worker.finished;
    // Nothing of the first one stands after the takeover: its next step would have been another one.
    const events = readRecords(run.directory, 'events.jsonl');
    const steps = events.slice(events.findIndex(({ type }) => type === 'runTakenOver'));
    const numbers = steps.flatMap(({ step, type }) => (type === 'stepDone' ? Number(step) : []));
    expect(numbers).toEqual(numbers.map((_, index) => Number(numbers[0]) + index));
  });

  it('a leader that is told to terminate hands over at once, with every step that it has taken', async () => {
    const { run, leader, standby, worker } = await startPair(CONFIG);
    leader.signal('SIGTERM');
    expect((await leader.finished).exitCode).toBe(143);
    await expectUndisturbedEnd({ command: standby, directory: run.directory }, CONFIG);
    expect((await worker.finished).exitCode).toBe(0);
    expect(takeovers(run)).toMatchObject([{ reason: 'ended' }]);
    const steps = readRecords(run.directory, 'events.jsonl').filter(({ type }) => type === 'stepDone');
    expect(steps).toHaveLength(4500);
  });

  it.each([
    ['waits for', false],
    ['kills at once', true],
  ])(
    'a run that a person stops and %s is not taken up by its standby, nor by one that comes later',
    async (_, isKilled) => {
      const { run, leader, standby, worker } = await startPair(ENDLESS);
      leader.signal('SIGINT');
      await leader.untilStderr(/SIGINT: stopping/);
      if (isKilled) leader.signal('SIGKILL');
      expect([130, null]).toContain((await leader.finished).exitCode);
      const message = `error[E_RUN_STOPPED]: run: the run has ended (interrupted by SIGINT), and a standby does not take it up`;
      for (const command of [standby, startCandidate(run, 0)]) {
        const { exitCode, stderr } = await command.finished;
        expect(exitCode).toBe(130);
        expect(stderr).toContain(message);
      }
      expect(takeovers(run)).toEqual([]);
      await end(worker);
    },
  );

  it('a run that diverges is not taken up by its standby', async () => {
    const run = await standbyRun({
      ...CONFIG,
      optimizer: { kind: 'sgd', learningRate: 1e9 },
      clip: { norm: 1e30 },
    });
    const leader = startCandidate(run, 0);
    await leader.untilStderr(/listening on/);
    const standby = startCandidate(run, 1);
    await untilStandingBy(standby);
    const worker = startFollower(run);
    expect((await leader.finished).exitCode).toBe(6);
    const { exitCode, stderr } = await standby.finished;
    expect(exitCode).toBe(6);
    expect(stderr).toContain('error[E_RUN_STOPPED]: run: the run has ended (E_DIVERGED), and');
    await worker.finished;
  });

  it('a standby of a run that is finished prints the result, and ends well', async () => {
    const { run, leader, standby, worker } = await startPair({ ...CONFIG, epochs: 60 });
    expect((await leader.finished).exitCode).toBe(0);
    const late = startCandidate(run, 0);
    for (const command of [standby, late]) {
      const { exitCode, stderr } = await command.finished;
      expect(exitCode, stderr).toBe(0);
      expect(stderr).toContain('table: 60 epochs');
    }
    expect(takeovers(run)).toEqual([]);
    expect(readEvents(run.directory).at(-1)).toBe('runFinished');
    await worker.finished;
  });

  it('a standby with a config of other bits is refused while the leader goes on', async () => {
    const { run, leader, standby, worker } = await startPair(ENDLESS);
    const other = startCandidate(run, 0, { flags: ['--set', 'seed=8', '--listen', '127.0.0.1:0'] });
    const { exitCode, stderr } = await other.finished;
    expect(exitCode).toBe(4);
    expect(stderr).toContain('error[E_RESUME_MISMATCH]');
    expect(leader.hasEnded).toBe(false);
    await end(leader, standby, worker);
  });

  it.skipIf(hiding !== undefined)(
    `a leader whose process another user cannot see is alive, and a standby that cannot write is refused${hiding ? ` (not here: ${hiding} missing)` : ''}`,
    async () => {
      const run = await standbyRun(ENDLESS);
      const leader = CliProcess.start(['train', 'table.yaml', '--run-dir', 'run'], { cwd: run.cwd });
      await untilEpoch(leader, run.directory, 3);
      for (const folder of [os.tmpdir(), run.cwd]) fs.chmodSync(folder, fs.statSync(folder).mode | 0o055);
      const follow = ['train', 'table.yaml', '--run-dir', 'run', '--standby'];
      const refused = await runCli(follow, { cwd: run.cwd, through: AS_ANOTHER });
      expect(refused.stderr).toContain('error[E_RUN_DIR]: cannot write run: permission denied');
      expect(refused.exitCode).toBe(1);
      for (const name of ['.', ...fs.readdirSync(run.directory, { recursive: true, encoding: 'utf8' })])
        fs.chmodSync(path.join(run.directory, name), 0o777);
      const standby = CliProcess.start(follow, { cwd: run.cwd, through: AS_ANOTHER });
      await standby.untilStderr(/standing by/);
      await sleep(1000);
      expect(takeovers(run)).toEqual([]);
      expect(standby.hasEnded || leader.hasEnded).toBe(false);
      await end(standby, leader);
    },
  );

  it('a leader whose lock is removed ends, and its standby takes over', async () => {
    const { run, leader, standby, worker } = await startPair(CONFIG);
    fs.rmSync(path.join(run.directory, 'lock'));
    const { exitCode, stderr } = await leader.finished;
    expect(exitCode).toBe(1);
    expect(stderr).toContain('error[E_LEASE_LOST]');
    await expectUndisturbedEnd({ command: standby, directory: run.directory }, CONFIG);
    await worker.finished;
  });

  it.skipIf(tracing !== undefined)(
    `a leader that cannot renew its lease ends, and its standby takes over${tracing ? ` (not here: ${tracing} missing)` : ''}`,
    async () => {
      const run = await standbyRun(CONFIG);
      const flags = ['--lease', '3'];
      const through = [
        'strace',
        '-f',
        '-o',
        '/dev/null',
        '-e',
        'trace=fdatasync',
        '-e',
        'inject=fdatasync:error=EIO:when=2+',
      ];
      const leader = startCandidate(run, 0, { flags, through });
      const worker = startFollower(run);
      await leader.untilStderr(/listening on/);
      const standby = startCandidate(run, 1, { flags });
      const { exitCode, stderr } = await leader.finished;
      expect(exitCode).toBe(1);
      expect(stderr).toContain('its lease could not be renewed (EIO: i/o error, fdatasync)');
      await expectUndisturbedEnd({ command: standby, directory: run.directory }, CONFIG);
      await worker.finished;
    },
  );

  it.skipIf(tracing !== undefined)(
    `a standby takes over on a file system without hard links${tracing ? ` (not here: ${tracing} missing)` : ''}`,
    async () => {
      const through = [
        'strace',
        '-f',
        '-o',
        '/dev/null',
        '-e',
        'trace=link,linkat',
        '-e',
        'inject=link,linkat:error=EPERM:when=1+',
      ];
      const { run, leader, standby, worker } = await startPair(CONFIG, [], { through });
      // The tracer dies with it.
      process.kill(
        Number(/"pid":(\d+)/.exec(fs.readFileSync(path.join(run.directory, 'lock'), 'utf8'))?.[1]),
        'SIGKILL',
      );
      await leader.finished;
      await expectUndisturbedEnd({ command: standby, directory: run.directory }, CONFIG);
      await worker.finished;
    },
  );

  it.skipIf(!isRoot)(
    `a standby on another host waits for the lease of a leader that has died${isRoot ? '' : ' (not here: root missing)'}`,
    async () => {
      const run = await standbyRun(CONFIG);
      const elsewhere = ['unshare', '--uts', 'sh', '-c', 'hostname elsewhere && exec "$@"', 'sh'];
      const flags = ['--lease', '3'];
      const leader = startCandidate(run, 0, { flags, through: elsewhere });
      await leader.untilStderr(/listening on/);
      const worker = startFollower(run);
      const standby = startCandidate(run, 1, { flags });
      await untilStandingBy(standby);
      expect(standby.stderr).toContain('on host elsewhere leads');
      await untilEpoch(leader, run.directory, 3);
      leader.signal('SIGKILL');
      await expectUndisturbedEnd({ command: standby, directory: run.directory }, CONFIG);
      await worker.finished;
      expect(takeovers(run)).toMatchObject([{ reason: 'silent' }]);
      expect(Number(takeovers(run)[0]?.['silentSeconds'])).toBeGreaterThan(2.9);
    },
  );

  it.skipIf(!isRoot)(
    `a standby that cannot reach the leader over the network leaves it alone, since it reads its signs of life${isRoot ? '' : ' (not here: root missing)'}`,
    async () => {
      const run = await standbyRun(ENDLESS);
      const flags = ['--lease', '2'];
      const leader = startCandidate(run, 0, { flags });
      await leader.untilStderr(/listening on/);
      const worker = startFollower(run);
      const island = ['unshare', '--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];
      const standby = startCandidate(run, 1, { flags, through: island });
      await untilStandingBy(standby);
      await sleep(5000);
      expect(takeovers(run)).toEqual([]);
      expect(standby.hasEnded || leader.hasEnded).toBe(false);
      await end(leader, standby, worker);
    },
  );

  it.skipIf(disks !== undefined)(
    `a leader on a full disk keeps its lease${disks ? ` (not here: ${disks} missing)` : ''}`,
    async () => {
      const run = await standbyRun(ENDLESS);
      const disk = new SmallDisk(24 * 2 ** 20);
      fs.mkdirSync(path.join(disk.path, 'run'));
      fs.symlinkSync(path.join(disk.path, 'run'), run.directory);
      const flags = ['--lease', '2'];
      const leader = startCandidate(run, 0, { flags });
      await leader.untilStderr(/listening on/);
      const worker = startFollower(run);
      const standby = startCandidate(run, 1, { flags });
      await untilStandingBy(standby);
      await untilEpoch(leader, run.directory, 1);
      // The run writes meanwhile, and soon fills the rest.
      disk.fill(2 ** 18);
      await leader.untilStderr(/events are lost/);
      await sleep(5000);
      expect(standby.stderr).not.toContain('taking over');
      expect(leader.hasEnded).toBe(false);
      await end(leader, standby, worker);
    },
  );

  it.skipIf(MISSING_FAKETIME !== '')(
    `clocks that jump an hour back and 400 days ahead cause no takeover${MISSING_FAKETIME}`,
    async () => {
      const { file, env } = fakeTime();
      const { run, leader, standby, worker } = await startPair(ENDLESS, ['--lease', '2'], { env });
      for (const jump of ['-1h', '+400d', '+0']) {
        fs.writeFileSync(file, jump);
        await sleep(1500);
      }
      const numSteps = (): number => readEvents(run.directory).filter((event) => event === 'stepDone').length;
      const before = numSteps();
      await expect.poll(numSteps).toBeGreaterThan(before);
      expect(takeovers(run)).toEqual([]);
      expect(standby.hasEnded || leader.hasEnded).toBe(false);
      await end(leader, standby, worker);
    },
  );
});
