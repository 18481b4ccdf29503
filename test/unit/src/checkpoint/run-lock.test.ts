// The lock of a run directory: which processes are refused, whose lock is taken over, and who may release it.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { LockOwner } from '../../../../src/checkpoint/lock-owner.ts';
import { Candidate, lockRunDirectory, type RunLock } from '../../../../src/checkpoint/run-lock.ts';
import { LockstepError } from '../../../../src/errors.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

const isLinux = process.platform === 'linux';
const needs = isLinux ? '' : ' (skipped: needs Linux)';

let directory: string;
let file: string;

beforeEach(() => {
  directory = temporaryDirectory();
  file = path.join(directory, 'lock');
});

async function refusal(run = directory): Promise<Pick<LockstepError, 'message' | 'help'>> {
  const error: unknown = await lockRunDirectory(run).catch((reason: unknown) => reason);
  if (!(error instanceof LockstepError)) throw new Error(`no refusal but ${String(error)}`);
  expect(error).toMatchObject({ code: 'E_RUN_IN_USE', exitCode: 2 });
  return { message: error.message, help: error.help };
}

/** Writes a lock file whose owner differs from this process in the given fields. */
async function lockedBy(changes: Partial<LockOwner>): Promise<LockOwner> {
  const { owner, release } = await lockRunDirectory(directory);
  release();
  const other = { ...owner, token: 'ab'.repeat(12), ...changes };
  fs.writeFileSync(file, JSON.stringify(other));
  return other;
}

function pidOfEnded(): number {
  return spawnSync(process.execPath, ['-e', '']).pid;
}

async function expectTakenOver(): Promise<void> {
  const { owner, release } = await lockRunDirectory(directory);
  expect(JSON.parse(fs.readFileSync(file, 'utf8'))).toEqual(owner);
  expect(owner.pid).toBe(process.pid);
  expect(fs.readdirSync(directory)).toEqual(['lock']);
  release();
  expect(fs.readdirSync(directory)).toEqual([]);
}

describe('the lock of a run directory', () => {
  test('a run directory is locked once, by a file that names the process, until it is released', async () => {
    const lock = await lockRunDirectory(directory);
    expect(JSON.parse(fs.readFileSync(file, 'utf8'))).toMatchObject({
      pid: process.pid,
      host: os.hostname(),
    });
    expect(await refusal()).toEqual({
      message: `${directory}: run is in use by pid ${process.pid} on host ${os.hostname()}, since ${lock.owner.startedAt}`,
      help: 'wait for it to end, or choose another --run-dir',
    });
    lock.release();
    await expectTakenOver();
  });

  test('a run directory whose lock is not a file is refused, and a release does not touch that lock', async () => {
    const refused = (why: string) => ({
      message: `${file} does not say who uses the run: ${why}`,
      help: `if no coordinator runs in this directory, remove ${file}`,
    });
    fs.mkdirSync(file);
    expect(await refusal()).toEqual(refused('it is a directory'));
    fs.rmdirSync(file);
    fs.symlinkSync('nowhere', file);
    expect(await refusal()).toEqual(refused('it is a link'));
    fs.rmSync(file);
    spawnSync('mkfifo', [file]);
    expect(await refusal()).toEqual(refused('it is a pipe, not a regular file'));
    fs.rmSync(file);
    const lock = await lockRunDirectory(directory);
    fs.rmSync(file);
    fs.mkdirSync(file);
    // A throw from here would hide how the run ended.
    lock.release();
    expect(fs.statSync(file).isDirectory()).toBe(true);
  });

  test('a process that has lost its lock does not release the lock of another', async () => {
    const lost = await lockRunDirectory(directory);
    fs.rmSync(file);
    const { owner } = await lockRunDirectory(directory);
    lost.release();
    expect(JSON.parse(fs.readFileSync(file, 'utf8'))).toEqual(owner);
    fs.rmSync(file);
    lost.release();
  });

  test('a run directory locked by another host is refused with advice on removing the lock', async () => {
    await lockedBy({ host: 'far', pid: 17, startedAt: 'yesterday' });
    expect(await refusal()).toEqual({
      message: `${directory}: run is in use by pid 17 on host far, since yesterday`,
      help: `this host cannot tell whether it is still running; if you know that it is not, remove ${file}`,
    });
  });

  test.skipIf(!isLinux)(
    `a run directory locked by another container is refused with advice on removing the lock${needs}`,
    async () => {
      await lockedBy({ pidNamespace: 'pid:[1]' });
      expect((await refusal()).help).toMatch(
        /^it is or was in another container, so this one cannot tell whether .* remove /,
      );
    },
  );

  test('a run directory whose lock names no process is refused with advice on removing the lock', async () => {
    const hostile = { ...(await lockedBy({})), host: '\u001b[2J' };
    const texts = ['', 'null', '{"pid":1', JSON.stringify(hostile)];
    const attempts = texts.map(async (text, index) => {
      const other = path.join(directory, `${index}`);
      fs.mkdirSync(other);
      fs.writeFileSync(path.join(other, 'lock'), text);
      expect(await refusal(other)).toEqual({
        message: `${other}/lock does not say who uses the run`,
        help: `if no coordinator runs in this directory, remove ${other}/lock`,
      });
    });
    await Promise.all(attempts);
  });
});

describe('a lock with a lease', () => {
  test('the lock of another host is taken over once its owner has given no sign of life for its lease', async () => {
    const { token } = await lockedBy({ host: 'far', lease: 1 });
    const startedMs = performance.now();
    const lock = await lockRunDirectory(directory);
    expect(performance.now() - startedMs).toBeGreaterThan(1000);
    expect(lock.predecessor).toMatchObject({ host: 'far', token, isDead: false });
    lock.release();
    expect(fs.readdirSync(directory)).toEqual([]);
  });

  test('the lock of another host is refused as soon as its owner gives a sign of life', async () => {
    const owner = await lockedBy({ host: 'far', lease: 3600, pid: 17, startedAt: 'yesterday' });
    let count = 0;
    const timer = setInterval(() => fs.writeFileSync(file, `${JSON.stringify(owner)}\n${++count}\n`), 100);
    try {
      expect(await refusal()).toEqual({
        message: `${directory}: run is in use by pid 17 on host far, since yesterday`,
        help: 'it gives signs of life: wait for it to end, choose another --run-dir, or add --standby',
      });
    } finally {
      clearInterval(timer);
    }
  });

  test('an owner on this machine that is alive keeps its lock, however long it is silent, unless a standby asks', async () => {
    await lockedBy({ lease: 0.2 });
    const candidate = new Candidate(directory, { lease: 2 });
    for (let look = 0; look < 5; look++) {
      expect(candidate.tryToLead(() => false)).toMatchObject({ owner: { pid: process.pid } });
      await sleep(100);
    }
    expect((await refusal()).help).toBe('wait for it to end, or choose another --run-dir');
    const lock = candidate.tryToLead(() => true) as RunLock;
    expect(lock.owner.lease).toBe(2);
    lock.release();
  });

  test('a lock gives signs of life, and an owner whose lock was taken learns it at its next line', async () => {
    const lock = await lockRunDirectory(directory, { lease: 1 });
    const lost: string[] = [];
    lock.onLost = ({ code }) => lost.push(code);
    const first = fs.readFileSync(file, 'utf8');
    await expect.poll(() => fs.readFileSync(file, 'utf8')).not.toBe(first);
    expect(fs.readFileSync(file, 'utf8').split('\n', 1)).toEqual(first.split('\n', 1));
    lock.requireHeld();
    lock.requireSurely();
    fs.rmSync(file);
    await lockedBy({ pid: 17, host: 'far' });
    const before = fs.readFileSync(file, 'utf8');
    const message = `${directory}: this process no longer has the run: pid 17 on host far has taken it over`;
    expect(() => lock.requireHeld()).toThrow(message);
    expect(() => lock.requireSurely()).toThrow(message);
    expect(lost).toEqual(['E_LEASE_LOST']);
    await sleep(300);
    lock.release();
    expect(fs.readFileSync(file, 'utf8')).toBe(before);
  });

  test('an owner that was held up for longer than its lease goes on where nobody has taken its lock', async () => {
    const lock = await lockRunDirectory(directory, { lease: 0.4 });
    const before = fs.readFileSync(file, 'utf8');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
    lock.requireHeld();
    // It has won the lock anew.
    expect(fs.readFileSync(file, 'utf8')).not.toBe(before);
    expect(fs.readdirSync(directory)).toEqual(['lock']);
    lock.release();
  });
});

describe('the lock of a dead process', () => {
  test('a lock is taken over if no process has its number', async () => {
    await lockedBy({ pid: pidOfEnded() });
    await expectTakenOver();
  });

  test.skipIf(!isLinux)(`a lock is taken over if another process has got its number${needs}`, async () => {
    await lockedBy({ pid: process.pid, startTicks: '1' });
    await expectTakenOver();
  });

  test.skipIf(!isLinux)(`a lock is taken over if the machine has restarted since${needs}`, async () => {
    await lockedBy({ bootId: 'before' });
    await expectTakenOver();
  });

  test('a lock from another host is taken over if Slurm has started the same again, and only then', async () => {
    vi.stubEnv('SLURM_CLUSTER_NAME', 'west');
    vi.stubEnv('SLURM_JOB_ID', '17');
    vi.stubEnv('SLURM_RESTART_COUNT', '1');
    onTestFinished(() => void vi.unstubAllEnvs());
    for (const slurm of [{ id: 'west/17', restarts: 1 }, { id: 'east/17', restarts: 0 }, null]) {
      await lockedBy({ host: 'far', slurm });
      expect((await refusal()).message).toContain('on host far');
      fs.rmSync(file);
    }
    await lockedBy({ host: 'far', slurm: { id: 'west/17', restarts: 0 } });
    await expectTakenOver();
  });

  test('a lock is taken over if its number is free and the system does not tell when a process started', async () => {
    await lockedBy({ pid: pidOfEnded(), startTicks: null });
    await expectTakenOver();
    await lockedBy({ startTicks: null });
    await refusal();
  });

  test.skipIf(!isLinux)(
    `a lock is taken over if its process has ended and its parent has not noticed${needs}`,
    async () => {
      // The shell's child ends, and the program that takes the shell's place never waits for it.
      const script = 'sleep 0.5 & echo $!; exec sleep 20';
      const parent: ChildProcess = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'] });
      try {
        const pid = await new Promise<number>((resolve) =>
          parent.stdout?.once('data', (text: Buffer) => resolve(Number(text.toString()))),
        );
        const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
        const startTicks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
        await lockedBy({ pid, startTicks });
        await refusal();
        await expect
          .poll(() => fs.readFileSync(`/proc/${pid}/stat`, 'latin1'), { timeout: 5000 })
          .toContain(') Z ');
        await expectTakenOver();
      } finally {
        parent.kill('SIGKILL');
      }
    },
  );

  test('a lock is taken over even if several processes died one after the other while removing it', async () => {
    const pid = pidOfEnded();
    const head = await lockedBy({ pid });
    const remover = { ...head, token: 'cd'.repeat(12) };
    fs.writeFileSync(`${file}.${head.token}`, JSON.stringify(remover));
    fs.writeFileSync(`${file}.${remover.token}`, JSON.stringify({ ...head, token: 'ef'.repeat(12) }));
    await expectTakenOver();
  });

  test('a lock is not taken over while a live process is removing it', async () => {
    const { token } = await lockedBy({ pid: pidOfEnded() });
    const { owner, release } = await lockRunDirectory(fs.mkdtempSync(path.join(directory, 'other-')));
    fs.writeFileSync(`${file}.${token}`, JSON.stringify(owner));
    expect((await refusal()).message).toContain(`in use by pid ${process.pid} `);
    release();
  });

  test('a leftover lock on the removal of an earlier lock is cleaned up', async () => {
    await lockedBy({ pid: pidOfEnded() });
    fs.writeFileSync(`${file}.${'00'.repeat(12)}`, '');
    await expectTakenOver();
  });
});

describe('a file server whose answer was lost', () => {
  /** Makes a link report EEXIST: a made one, as a request that reaches a server twice, or one that was not made. */
  function loseAnswer({ isMade }: { readonly isMade: boolean }): void {
    const { linkSync } = fs;
    const spy = vi.spyOn(fs, 'linkSync').mockImplementationOnce((from, to) => {
      if (isMade) linkSync(from, to);
      throw Object.assign(new Error('EEXIST: file already exists, link'), { code: 'EEXIST' });
    });
    onTestFinished(() => spy.mockRestore());
  }

  test('a lock that was made, and then reported as there already, is held', async () => {
    loseAnswer({ isMade: true });
    await expectTakenOver();
  });

  test('a lock that was not made is made again', async () => {
    loseAnswer({ isMade: false });
    await expectTakenOver();
  });
});
