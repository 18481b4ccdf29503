// One coordinator per run directory: the locks of lease.ts as files, and their owners' signs of life.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type Lease, LOCK, run, takeLock, ownerIn } from './lease.ts';
import type { Contender, Incumbent, LockDisk, LockFile, Predecessor, Sign } from './lease.ts';
import { describeSelf, stateOfOwner, type LockOwner } from './lock-owner.ts';
import { temporaryFor } from '../durable-write.ts';
import { LockstepError, systemErrorCode } from '../errors.ts';
import { readRegularFileSync } from '../regular-file.ts';

/** A run directory that is ours. */
export interface RunLock {
  readonly owner: LockOwner;
  /** The owner whose lock was taken away; undefined where the directory was free. */
  readonly predecessor: Predecessor | undefined;
  /**
   * Makes sure of it by time, before a line is appended to a file that only we have open.
   * @throws LockstepError (E_LEASE_LOST, exit 1) if another process may have the directory
   */
  readonly requireHeld: () => void;
  /** Looks at the lock itself, before something gets a name or loses it. Throws the same. */
  readonly requireSurely: () => void;
  /** Called once with that error. */
  onLost: (error: LockstepError) => void;
  /** That error, once the lock is lost. */
  readonly loss: LockstepError | undefined;
  /** Frees the directory. Does nothing if the lock is not ours any more. */
  readonly release: () => void;
}

/** The settings of a lock; without a lease it is its owner's for as long as that may be alive. */
export interface LockOptions {
  /** Seconds without a sign of life after which another process may take the directory. */
  readonly lease?: number | undefined;
  /** The address at which this process takes workers. */
  readonly address?: string | undefined;
}

/** Maximum size of a lock: several times the size of an owner. */
const MAX_LOCK_BYTES = 16 * 1024;
/**
 * Number of attempts to read a lock: on a file system without hard links, it is created before it is
 * written.
 */
const READ_ATTEMPTS = 20;
const READ_PAUSE_MS = 50;
/** Pause between two looks at a lock whose lease may be running out. */
const WATCH_MS = 250;
/** Signs of life in the time of a lease. */
const SIGNS_PER_LEASE = 5;
/** A process that did not look for longer was not awake, and has not seen that a lock stood still. */
const MAX_GAP_MS = 1000;

/**
 * Takes `directory` for this process; waits for the lease of an owner that this one cannot judge.
 *
 * @throws LockstepError (E_RUN_IN_USE, exit 2) if another process has it, or may
 * have it; E_RUN_LOCK (exit 1) if it cannot be taken
 */
export async function lockRunDirectory(directory: string, options: LockOptions = {}): Promise<RunLock> {
  const candidate = new Candidate(directory, options);
  let numUnreadable = 0;
  for (;;) {
    const outcome = candidate.tryToLead(({ unknown }) => unknown !== undefined);
    if ('release' in outcome) return outcome;
    const { owner } = outcome;
    if (!owner) {
      if (++numUnreadable === READ_ATTEMPTS) throw saysNothing(outcome.file, '');
      await sleep(READ_PAUSE_MS);
    } else if (owner.lease === null || outcome.unknown === undefined || outcome.hasMoved) {
      throw inUse(directory, owner, outcome);
    } else {
      await sleep(WATCH_MS);
    }
  }
}

/** Another process that has a run directory, as far as is known. */
export interface Occupant {
  /** Its lock. */
  readonly file: string;
  /** Undefined where its lock does not say. */
  readonly owner: LockOwner | undefined;
  /** The reason why this process cannot tell whether it is alive; undefined where it is certain to be. */
  readonly unknown: string | undefined;
  /** Seconds since it was seen to give a sign of life. */
  readonly silentSeconds: number;
  /** True once it has given one while this process looked. */
  readonly hasMoved: boolean;
}

/** A process that wants to have a run directory. It measures the silence of the owner by its own clock. */
export class Candidate {
  readonly #directory: string;
  readonly #contender: Contender;
  #seen = { text: '', token: '', silentMs: 0, hasMoved: false, lookedMs: 0 };

  constructor(directory: string, options: LockOptions) {
    this.#directory = directory;
    const self = describeSelf(options);
    this.#contender = {
      self,
      disk: new LockFiles(directory),
      standingOf: (owner) => {
        const state = stateOfOwner(owner, self);
        return typeof state === 'string' ? state : 'unknown';
      },
      // The monotonic clock stands still while the machine is suspended; the other one shows that.
      clocks: [() => performance.now(), () => Date.now()],
    };
  }

  /**
   * Tries once. The lock of an owner whose lease is over is taken only if `mayExpire` says so.
   * @throws LockstepError (E_RUN_IN_USE, exit 2) where something other than a lock has its name; E_RUN_LOCK
   * (exit 1) if the directory cannot be used
   */
  tryToLead(mayExpire: (occupant: Occupant) => boolean): RunLock | Occupant {
    try {
      const attempt = run(
        takeLock(this.#contender, (owner, text) => {
          this.#look(owner, text);
          const occupant = this.#occupant({ name: LOCK, owner });
          return owner.lease !== null && occupant.silentSeconds >= owner.lease && mayExpire(occupant);
        }),
      );
      if ('incumbent' in attempt) return this.#occupant(attempt.incumbent);
      return new OwnedLock({ ...attempt, contender: this.#contender, directory: this.#directory });
    } catch (error) {
      if (systemErrorCode(error) === undefined || error instanceof LockstepError) throw error;
      const message = `cannot lock ${this.#directory}: ${(error as Error).message}`;
      throw new LockstepError({ category: 'failure', code: 'E_RUN_LOCK', message, cause: error });
    }
  }

  #look({ token }: LockOwner, text: string): void {
    const now = performance.now();
    const { silentMs, lookedMs, ...seen } = this.#seen;
    if (seen.text !== text) {
      this.#seen = { text, token, silentMs: 0, hasMoved: seen.token === token, lookedMs: now };
    } else {
      this.#seen = { ...seen, silentMs: silentMs + Math.min(MAX_GAP_MS, now - lookedMs), lookedMs: now };
    }
  }

  #occupant({ name, owner }: Incumbent): Occupant {
    const state = owner && stateOfOwner(owner, this.#contender.self);
    const { silentMs, hasMoved } = this.#seen;
    const unknown = typeof state === 'object' ? state.unknown : undefined;
    return {
      file: path.join(this.#directory, name),
      owner,
      unknown,
      silentSeconds: silentMs / 1000,
      hasMoved,
    };
  }
}

/** The lock of this process, with signs of life if it has a lease. */
class OwnedLock implements RunLock {
  readonly owner: LockOwner;
  readonly predecessor: Predecessor | undefined;
  readonly #lease: Lease;
  readonly #directory: string;
  readonly #file: OpenLockFile;
  #timer: NodeJS.Timeout | undefined;
  #loss: LockstepError | undefined;
  #onLost: ((error: LockstepError) => void) | undefined;
  /** The failure of the last sign of life. */
  #failure: unknown;

  constructor({
    contender,
    directory,
    lease,
    predecessor,
  }: {
    readonly contender: Contender;
    readonly directory: string;
    readonly lease: Lease;
    readonly predecessor: Predecessor | undefined;
  }) {
    this.owner = contender.self;
    this.predecessor = predecessor;
    this.#directory = directory;
    this.#lease = lease;
    this.#file = lease.file as OpenLockFile;
    if (this.owner.lease !== null) this.#wait(this.owner.lease);
  }

  set onLost(onLost: (error: LockstepError) => void) {
    this.#onLost = onLost;
    if (this.#loss) onLost(this.#loss);
  }

  get loss(): LockstepError | undefined {
    return this.#loss;
  }

  readonly requireHeld = (): void => this.#require(false);

  readonly requireSurely = (): void => this.#require(true);

  readonly release = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    try {
      run(this.#lease.release());
    } catch {
      // Something else is there now, and is left alone; an error here must not hide how the run ended.
    }
  };

  #wait(lease: number): void {
    const next = (): void => {
      void this.#giveSign().finally(() => this.#timer && this.#wait(lease));
    };
    this.#timer = setTimeout(next, (1000 * lease) / SIGNS_PER_LEASE).unref();
  }

  /** Writes a sign of life, without holding up the event loop; or finds out whether it is too late for one. */
  async #giveSign(): Promise<void> {
    try {
      if (!this.#lease.isTimely) return this.requireHeld();
      await this.#file.writeSoon(this.#lease.nextSign());
      this.#failure = undefined;
    } catch (error) {
      this.#failure = error;
      if (error === this.#loss || this.#lease.isTimely) return;
      // A disk that is full, and does not even overwrite, may have room again.
      if (!['ENOSPC', 'EDQUOT'].includes(systemErrorCode(error) ?? '')) this.#lose();
    }
  }

  #require(isSure: boolean): void {
    if (this.#loss) throw this.#loss;
    if (!isSure && this.#lease.isTimely && this.#file.isLinked) return;
    if (!run(this.#lease.hold(isSure))) throw this.#lose();
  }

  #lose(): LockstepError {
    const isFirst = this.#loss === undefined;
    this.#loss ??= this.#describeLoss();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (isFirst) this.#onLost?.(this.#loss);
    return this.#loss;
  }

  #describeLoss(): LockstepError {
    let other: LockOwner | undefined;
    try {
      other = ownerIn(readLock(path.join(this.#directory, LOCK)));
    } catch {
      // Whatever is there, it is not ours.
    }
    const cause = this.#failure;
    const failed = cause instanceof Error ? `its lease could not be renewed (${cause.message})` : undefined;
    const is =
      !other || other.token === this.owner.token
        ? 'its lock was removed'
        : `pid ${other.pid} on host ${other.host} has taken it over`;
    return new LockstepError({
      category: 'failure',
      code: 'E_LEASE_LOST',
      message: `${this.#directory}: this process no longer has the run: ${failed ?? is}`,
      help: 'nothing more is written here; start this one with --standby, to take over again',
      cause,
    });
  }
}

/** The locks of a directory. */
class LockFiles implements LockDisk {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  read(name: string): string | undefined {
    return readLock(path.join(this.#directory, name));
  }

  create(name: string, text: string): LockFile | undefined {
    const file = path.join(this.#directory, name);
    const temporary = temporaryFor(file);
    const created = new OpenLockFile(temporary, text);
    try {
      fs.linkSync(temporary, file);
      return created;
    } catch (error) {
      // Over NFS an answer may be lost, and that to the request sent again says EEXIST: a second name tells.
      if (fs.statSync(temporary, { throwIfNoEntry: false })?.nlink === 2) return created;
      created.close();
      const code = systemErrorCode(error);
      // ENOENT: another process took the temporary file for a stale one; the caller tries once more.
      if (code === 'EEXIST' || code === 'ENOENT') return undefined;
      // Some file systems have no hard links; there, others may see the file before its content.
      if (code === 'EPERM' || code === 'ENOTSUP' || code === 'EOPNOTSUPP' || code === 'ENOSYS') {
        return createInTwoSteps(file, text);
      }
      throw error;
    } finally {
      fs.rmSync(temporary, { force: true });
    }
  }

  remove(name: string): void {
    fs.rmSync(path.join(this.#directory, name), { force: true });
  }

  list(): string[] {
    return fs.readdirSync(this.#directory);
  }
}

function createInTwoSteps(file: string, text: string): LockFile | undefined {
  try {
    return new OpenLockFile(file, text);
  } catch (error) {
    if (systemErrorCode(error) === 'EEXIST') return undefined;
    throw error;
  }
}

const writeSoon = promisify(fs.write) as (
  descriptor: number,
  bytes: Uint8Array,
  offset: number,
  length: number,
  position: number,
) => Promise<unknown>;
const syncSoon = promisify(fs.fdatasync);

/** A new file, kept open: what is written to it later reaches no file that has its name by then. */
class OpenLockFile implements LockFile {
  #descriptor: number | undefined;
  #isWriting = false;

  constructor(file: string, text: string) {
    this.#descriptor = fs.openSync(file, 'wx');
    try {
      this.write(text, 0);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get isLinked(): boolean {
    try {
      return this.#descriptor !== undefined && fs.fstatSync(this.#descriptor).nlink > 0;
    } catch {
      // A file system of the network says that the file is gone.
      return false;
    }
  }

  write(text: string, position: number): void {
    if (this.#descriptor === undefined) throw new Error('the lock is closed');
    fs.writeSync(this.#descriptor, text, position);
    // Where the file system is one of the network, only now do others read it. A power cut leaves no empty lock.
    fs.fdatasyncSync(this.#descriptor);
  }

  async writeSoon({ text, position, written }: Sign): Promise<void> {
    const descriptor = this.#descriptor;
    if (descriptor === undefined) return;
    const bytes = Buffer.from(text);
    this.#isWriting = true;
    try {
      await writeSoon(descriptor, bytes, 0, bytes.length, position);
      await syncSoon(descriptor);
    } finally {
      this.#isWriting = false;
      if (this.#descriptor === undefined) fs.closeSync(descriptor);
    }
    written();
  }

  close(): void {
    const descriptor = this.#descriptor;
    this.#descriptor = undefined;
    if (descriptor !== undefined && !this.#isWriting) fs.closeSync(descriptor);
  }
}

/**
 * Tells whether a run directory has an owner that may be alive: false only where it is certain that it
 * has none, or where it is of an earlier start of this machine. Takes and changes nothing.
 */
export function hasLiveOwner(directory: string): boolean {
  try {
    const text = readLock(path.join(directory, LOCK));
    if (text === undefined) return false;
    const owner = ownerIn(text);
    const self = describeSelf();
    if (!owner) return true;
    const isOfEarlierStart = owner.host === self.host && owner.bootId !== self.bootId;
    return !isOfEarlierStart && stateOfOwner(owner, self) !== 'dead';
  } catch {
    return true;
  }
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

function saysNothing(file: string, why: string): LockstepError {
  const help = `if no coordinator runs in this directory, remove ${file}`;
  return refusal(`${file} does not say who uses the run${why}`, help);
}

function inUse(
  directory: string,
  { host, pid, startedAt }: LockOwner,
  { file, hasMoved, unknown }: Occupant,
): LockstepError {
  const help =
    unknown === undefined
      ? 'wait for it to end, or choose another --run-dir'
      : hasMoved
        ? 'it gives signs of life: wait for it to end, choose another --run-dir, or add --standby'
        : `${unknown} whether it is still running; if you know that it is not, remove ${file}`;
  return refusal(`${directory}: run is in use by pid ${pid} on host ${host}, since ${startedAt}`, help);
}

function refusal(message: string, help: string): LockstepError {
  return new LockstepError({ category: 'usage', code: 'E_RUN_IN_USE', message, help });
}
