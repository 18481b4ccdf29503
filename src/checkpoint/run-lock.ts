// One coordinator per run directory. The file `lock` names its owner. It is created only where no file is,
// so one process has it; a lock whose owner is dead is removed first.
//
// Removing by name could hit the live lock of a process that was faster, so only one process at a time may
// remove the lock of a dead owner: the one that has `lock.TOKEN`, a lock of the same kind on that dead
// owner's token. If its holder dies too, it is itself a lock to be removed in the same way.
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeSelf, isAlive, isEarlierStart, parseOwner, type LockOwner } from './lock-owner.ts';
import { LockstepError, systemErrorCode } from '../errors.ts';
import { readRegularFileSync } from '../regular-file.ts';

/** A run directory that is ours. */
export interface RunLock {
  readonly owner: LockOwner;
  /** Frees the directory. Does nothing if the lock is not ours any more. */
  release(): void;
}

const REMOVAL_LOCK = /^lock\.[0-9a-f]{24}$/;
/** Maximum size of a lock: several times the size of an owner. */
const MAX_LOCK_BYTES = 16 * 1024;
/**
 * Number of attempts to read a lock: on a file system without hard links, it is created before it is
 * written.
 */
const READ_ATTEMPTS = 20;
const READ_PAUSE_MS = 50;
/** Maximum number of rounds, each lost to a process that was faster; only a bug loses this many. */
const MAX_ROUNDS = 100;

/**
 * Takes `directory` for this process.
 *
 * @throws LockstepError (E_RUN_IN_USE, exit 2) if another process has it, or may
 * have it; E_RUN_LOCK (exit 1) if it cannot be taken
 */
export async function lockRunDirectory(directory: string): Promise<RunLock> {
  try {
    return await takeLock(directory);
  } catch (error) {
    if (systemErrorCode(error) === undefined || error instanceof LockstepError) throw error;
    const message = `cannot lock ${directory}: ${(error as Error).message}`;
    throw new LockstepError({ category: 'failure', code: 'E_RUN_LOCK', message, cause: error });
  }
}

async function takeLock(directory: string): Promise<RunLock> {
  const file = path.join(directory, 'lock');
  const owner = describeSelf();
  await acquire(file, owner);
  removeLeftovers(directory);
  return { owner, release: () => removeIfOwned(file, owner) };
}

/** Creates `file` with `owner` in it; the lock of a dead owner makes way. */
async function acquire(file: string, owner: LockOwner): Promise<void> {
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const other = await readOwner(file);
    if (other) {
      refuseUnlessDead(file, other, owner);
      await removeDead(file, other, owner);
    } else if (publish(file, owner)) {
      return;
    }
  }
  throw inUse(`${file} changes faster than it can be read`, 'try again');
}

/**
 * Removes the lock of `dead`. Nobody else does so meanwhile: it cannot become another's between the check
 * and the removal.
 */
async function removeDead(file: string, dead: LockOwner, owner: LockOwner): Promise<void> {
  const removal = path.join(path.dirname(file), `lock.${dead.token}`);
  await acquire(removal, owner);
  removeIfOwned(file, dead);
  fs.rmSync(removal, { force: true });
}

function removeIfOwned(file: string, owner: LockOwner): void {
  try {
    if (parseOwner(readLock(file))?.token === owner.token) fs.rmSync(file, { force: true });
  } catch {
    // Something else is there now, and is left alone; an error here must not hide how the run ended.
  }
}

/**
 * Removes locks on removal that dead processes left. A live process that has one finds that the run has an
 * owner.
 */
function removeLeftovers(directory: string): void {
  const names = fs.readdirSync(directory).filter((name) => REMOVAL_LOCK.test(name));
  for (const name of names) fs.rmSync(path.join(directory, name), { force: true });
}

/**
 * Tells whether a run directory has an owner that may be alive: false only where it is certain that it
 * has none. Takes and changes nothing.
 */
export function hasLiveOwner(directory: string): boolean {
  try {
    const file = path.join(directory, 'lock');
    const owner = parseOwner(readLock(file));
    if (owner) refuseUnlessDead(file, owner, describeSelf());
    return false;
  } catch {
    return true;
  }
}

/** Creates a file together with its content; returns false if it exists. */
function publish(file: string, owner: LockOwner): boolean {
  const temporary = writeTemporary(file, owner);
  try {
    fs.linkSync(temporary, file);
    return true;
  } catch (error) {
    // Over NFS an answer may be lost, and that to the request sent again says EEXIST: a second name tells.
    if (fs.statSync(temporary, { throwIfNoEntry: false })?.nlink === 2) return true;
    const code = systemErrorCode(error);
    // ENOENT: another process took the temporary file for a stale one; the caller tries once more.
    if (code === 'EEXIST' || code === 'ENOENT') return false;
    // Some file systems have no hard links; there, others may see the file before its content.
    if (code === 'EPERM' || code === 'ENOTSUP' || code === 'EOPNOTSUPP' || code === 'ENOSYS') {
      return publishInTwoSteps(file, owner);
    }
    throw error;
  } finally {
    fs.rmSync(temporary, { force: true });
  }
}

function publishInTwoSteps(file: string, owner: LockOwner): boolean {
  try {
    fs.writeFileSync(file, JSON.stringify(owner), { flag: 'wx' });
    return true;
  } catch (error) {
    if (systemErrorCode(error) === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Writes a synced file, so that a power cut leaves no empty lock; its name is one that a start of the run
 * removes.
 */
function writeTemporary(file: string, owner: LockOwner): string {
  const name = `.${path.basename(file)}.${randomBytes(6).toString('hex')}.tmp`;
  const temporary = path.join(path.dirname(file), name);
  fs.writeFileSync(temporary, `${JSON.stringify(owner)}\n`, { flag: 'wx', flush: true });
  return temporary;
}

/**
 * The owner that a file names; undefined if there is no file.
 *
 * @throws LockstepError if it names none
 */
async function readOwner(file: string): Promise<LockOwner | undefined> {
  for (let attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
    const text = readLock(file);
    if (text === undefined) return undefined;
    const owner = parseOwner(text);
    if (owner) return owner;
    await sleep(READ_PAUSE_MS);
  }
  throw saysNothing(file, '');
}

function saysNothing(file: string, why: string): LockstepError {
  const help = `if no coordinator runs in this directory, remove ${file}`;
  return inUse(`${file} does not say who uses the run${why}`, help);
}

/**
 * The text of a lock; undefined if there is none.
 *
 * @throws LockstepError where something other than a lock has its name
 */
function readLock(file: string): string | undefined {
  try {
    return readRegularFileSync(file, MAX_LOCK_BYTES).toString();
  } catch (error) {
    const isMissing = systemErrorCode(error) === 'ENOENT' && !isLink(file);
    if (isMissing) return undefined;
    throw saysNothing(file, isLink(file) ? ': it is a link' : `: ${(error as Error).message}`);
  }
}

function isLink(file: string): boolean {
  return fs.lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink() ?? false;
}

/**
 * Refuses the lock of an owner that may be alive.
 *
 * @throws LockstepError unless the owner is certain to be dead
 */
function refuseUnlessDead(file: string, owner: LockOwner, self: LockOwner): void {
  if (isEarlierStart(owner, self)) return;
  const who = `run is in use by pid ${owner.pid} on host ${owner.host}`;
  const since = `${path.dirname(file)}: ${who}, since ${owner.startedAt}`;
  if (owner.host !== self.host) throw inUse(since, ifItIsGone(file, 'this host cannot tell'));
  // The machine has restarted since: no earlier process is left.
  if (owner.bootId !== self.bootId) return;
  if (owner.pidNamespace !== self.pidNamespace) {
    throw inUse(since, ifItIsGone(file, 'it is or was in another container, so this one cannot tell'));
  }
  if (isAlive(owner)) throw inUse(since, 'wait for it to end, or choose another --run-dir');
}

function ifItIsGone(file: string, cause: string): string {
  return `${cause} whether it is still running; if you know that it is not, remove ${file}`;
}

function inUse(message: string, help: string): LockstepError {
  return new LockstepError({ category: 'usage', code: 'E_RUN_IN_USE', message, help });
}
