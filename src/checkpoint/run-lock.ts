// One coordinator a run directory. The file `lock` names its owner: a process, by what tells it from a later one that
// got its number. The lock of a dead process is taken over without a moment in which two could have it:
//
//   lock {D, dead}  <-  lock.<token of D> {A}      A made this file, which only one process can: A is the heir of D.
//                                                  A moves its own record over `lock`, then removes the file.
//
// An heir that dies at once may have an heir itself, so a taker follows the chain to its end, appends itself there and
// looks again whether the chain still starts where it did: only the heir at the end ever changes `lock`.
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LockstepError, systemErrorCode } from '../errors.ts';
import { parseJson } from '../json.ts';
import { readRegularFileSync } from '../regular-file.ts';

/** Who has a run directory. */
export interface LockOwner {
  readonly pid: number;
  readonly host: string;
  /** Of the last start of the machine; null where the system does not tell (only Linux does). */
  readonly bootId: string | null;
  /** The set of processes that `pid` counts in: a container has its own. Null as above. */
  readonly pidNamespace: string | null;
  /** When the process started, in ticks since the machine did. Null as above. */
  readonly startTicks: string | null;
  /** For people; no decision depends on a clock. */
  readonly startedAt: string;
  /** Different for every lock. */
  readonly token: string;
}

/** A run directory that is ours. */
export interface RunLock {
  readonly owner: LockOwner;
  /** Gives the directory free. Does nothing if the lock is not ours any more. */
  release(): void;
}

const TOKEN = /^[0-9a-f]{24}$/;
const HEIRS = /^lock\.[0-9a-f]{24}$/;
/** Several times what an owner takes. */
const MAX_LOCK_BYTES = 16 * 1024;

/** A file without hard links is written after it is made: a reader may come in between. */
const READ_ATTEMPTS = 20;
const READ_PAUSE_MS = 50;

/** Each round is lost to another process that came first; so many are lost to none but a bug. */
const MAX_ROUNDS = 100;

/**
 * Takes `directory` for this process. @throws LockstepError (E_RUN_IN_USE, exit 2) if another process has it, or may
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
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const head = await readOwner(file);
    const isOurs = head ? await inherit(file, head, owner) : publish(file, owner);
    if (!isOurs) continue;
    removeHeirs(directory);
    return { owner, release: () => release(file, owner) };
  }
  throw inUse(`${file} changes faster than it can be read`, 'try again');
}

function release(file: string, owner: LockOwner): void {
  try {
    if (parseOwner(readLock(file))?.token === owner.token) fs.rmSync(file, { force: true });
  } catch {
    // Something else stands there now: it is not ours, and how the run ended is what counts.
  }
}

/** Follows the chain of dead owners from `head`, and takes its end. Returns whether that went through. */
async function inherit(file: string, head: LockOwner, owner: LockOwner): Promise<boolean> {
  for (let last: LockOwner | undefined = head; last;) {
    refuseUnlessDead(file, last, owner);
    const heirs = `${file}.${last.token}`;
    if (publish(heirs, owner)) return takeOver(file, heirs, { head, owner });
    last = await readOwner(heirs);
  }
  return false;
}

/** Of a chain from `head` to `heirs`, which is ours. */
function takeOver(
  file: string,
  heirs: string,
  { head, owner }: Record<'head' | 'owner', LockOwner>,
): boolean {
  if (parseOwner(readLock(file))?.token === head.token) {
    fs.renameSync(writeTemporary(file, owner), file);
    return true;
  }
  // Another was faster: ours is the end of a chain that is no more.
  fs.rmSync(heirs, { force: true });
  return false;
}

/** Every chain that starts from an owner before us is over. */
function removeHeirs(directory: string): void {
  const names = fs.readdirSync(directory).filter((name) => HEIRS.test(name));
  for (const name of names) fs.rmSync(path.join(directory, name), { force: true });
}

/** Makes a file that did not exist, with its content. Returns false if it did. */
function publish(file: string, owner: LockOwner): boolean {
  const temporary = writeTemporary(file, owner);
  try {
    fs.linkSync(temporary, file);
    return true;
  } catch (error) {
    const code = systemErrorCode(error);
    // Without its temporary file, which another process may have taken for a stale one: once more.
    if (code === 'EEXIST' || code === 'ENOENT') return false;
    // Some file systems have no hard links. There, others may see the file before its content.
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

/** Synced, so that a power cut leaves no empty lock. Its name is one that a start of the run removes. */
function writeTemporary(file: string, owner: LockOwner): string {
  const name = `.${path.basename(file)}.${randomBytes(6).toString('hex')}.tmp`;
  const temporary = path.join(path.dirname(file), name);
  fs.writeFileSync(temporary, `${JSON.stringify(owner)}\n`, { flag: 'wx', flush: true });
  return temporary;
}

/** The owner a file names; undefined if there is no file. @throws LockstepError if it names none */
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

/** Undefined if there is none. @throws LockstepError where something else than a lock has its name */
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

function readText(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function parseOwner(text: string | undefined): LockOwner | undefined {
  try {
    const value = parseJson(text ?? '') as Partial<Record<keyof LockOwner, unknown>>;
    // It may be shown on a terminal.
    const isText = (field: unknown): boolean => typeof field === 'string' && /^\P{Cc}{1,255}$/u.test(field);
    const isTextOrNull = (field: unknown): boolean => field === null || isText(field);
    const { pid, host, bootId, pidNamespace, startTicks, startedAt, token } = value;
    const isWhole =
      Number.isSafeInteger(pid) &&
      (pid as number) > 0 &&
      [host, startedAt, token].every(isText) &&
      [bootId, pidNamespace, startTicks].every(isTextOrNull) &&
      TOKEN.test(token as string);
    return isWhole ? (value as LockOwner) : undefined;
  } catch {
    return undefined;
  }
}

function describeSelf(): LockOwner {
  return {
    pid: process.pid,
    host: os.hostname(),
    bootId: readText('/proc/sys/kernel/random/boot_id')?.trim() ?? null,
    pidNamespace: readPidNamespace(),
    startTicks: readProcess(process.pid)?.startTicks ?? null,
    startedAt: new Date().toISOString(),
    token: randomBytes(12).toString('hex'),
  };
}

function readPidNamespace(): string | null {
  try {
    return fs.readlinkSync('/proc/self/ns/pid');
  } catch {
    return null;
  }
}

/** From /proc/PID/stat; undefined if there is no such process, or no such file system. */
function readProcess(pid: number): { readonly state: string; readonly startTicks: string } | undefined {
  // A process that ends while it is read gives ESRCH.
  let stat: string | undefined;
  try {
    stat = readText(`/proc/${pid}/stat`);
  } catch {
    stat = undefined;
  }
  // pid (name) state ...; the name may hold anything. The start is field 22, the state field 3.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, startTicks] = [fields?.[0], fields?.[19]];
  return state !== undefined && startTicks !== undefined ? { state, startTicks } : undefined;
}

/** @throws LockstepError unless it is certain that the owner is no more */
function refuseUnlessDead(file: string, owner: LockOwner, self: LockOwner): void {
  const who = `run is in use by pid ${owner.pid} on host ${owner.host}`;
  const since = `${path.dirname(file)}: ${who}, since ${owner.startedAt}`;
  if (owner.host !== self.host) throw inUse(since, ifItIsGone(file, 'from here nobody can tell'));
  // The machine has started anew: no process of before is left.
  if (owner.bootId !== self.bootId) return;
  if (owner.pidNamespace !== self.pidNamespace) {
    throw inUse(since, ifItIsGone(file, 'it runs, or ran, in another container'));
  }
  if (isAlive(owner)) throw inUse(since, 'wait for it to end, or choose another --run-dir');
}

function isAlive({ pid, startTicks }: LockOwner): boolean {
  if (startTicks === null) return answersToSignals(pid);
  const found = readProcess(pid);
  // A zombie has ended; another start time is another process.
  return found !== undefined && found.startTicks === startTicks && !/[ZX]/.test(found.state);
}

function answersToSignals(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return systemErrorCode(error) === 'EPERM';
  }
}

function ifItIsGone(file: string, cause: string): string {
  return `${cause} whether it still lives; if you know that it does not, remove ${file}`;
}

function inUse(message: string, help: string): LockstepError {
  return new LockstepError({ category: 'usage', code: 'E_RUN_IN_USE', message, help });
}
