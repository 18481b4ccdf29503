// Who may write in a run directory: the protocol of locks and leases, on four operations of a file system.
//
// The file `lock` names the owner. It is created only where no file is, so one process has it. An owner with
// a lease counts in the file; when the count stands still for as long as the lease, another process may take
// the lock away. The owner stops writing earlier (`HELD_SHARE`), measured from before it wrote, so that it
// has stopped by then, by any clock that runs at about the right speed.
//
// `lock` is removed, or revived after its owner was late, only by the process that has `lock.TOKEN`, a lock
// on that owner's token: removing by name could otherwise hit the lock of a process that was faster. A lock
// on a removal has no lease. If its holder is certain to be dead, it is removed in the same way.
import { newToken, parseOwner, type LockOwner } from './lock-owner.ts';

/**
 * A procedure that stops wherever another process may come in between: before each operation on a file. The
 * simulator in the tests goes on with other processes there.
 */
export type Protocol<Result> = Generator<undefined, Result, undefined>;

/** Runs a procedure to its end. */
export function run<Result>(procedure: Protocol<Result>): Result {
  for (;;) {
    const { done, value } = procedure.next();
    if (done) return value;
  }
}

/** The files of locks in one directory. */
export interface LockDisk {
  /** The text of a file as others have left it, not as it was cached; undefined if there is none. */
  read(name: string): string | undefined;
  /** Creates a file with its text; undefined if there is one. */
  create(name: string, text: string): LockFile | undefined;
  /** Removes a file, if there is one. */
  remove(name: string): void;
  list(): string[];
}

/** A lock that this process has created: writing to it never reaches the file of another. */
export interface LockFile {
  /** False once the file is known to have been removed, whatever has its name now. */
  readonly isLinked: boolean;
  /** Writes over the text from a position on, through to where others read it. */
  write(text: string, position: number): void;
  close(): void;
}

/** The state of an owner as far as it is certain, whatever its lease says. */
export type Standing = 'dead' | 'alive' | 'unknown';

/** The process that is about to take a lock, and how it judges others. */
export interface Contender {
  readonly disk: LockDisk;
  readonly self: LockOwner;
  readonly standingOf: (owner: LockOwner) => Standing;
  /** Clocks in milliseconds, of which the first is monotonic. */
  readonly clocks: readonly (() => number)[];
}

/** The name of the lock on a run directory. */
export const LOCK = 'lock';
const REMOVAL_LOCK = /^lock\.[0-9a-f]{24}$/;
/** Share of its lease for which an owner writes; the rest is for clocks that differ and writes under way. */
const HELD_SHARE = 0.75;
/** Maximum number of rounds, each lost to a process that was faster; only a bug loses this many. */
const MAX_ROUNDS = 100;
const COUNT_DIGITS = 12;
/** Attempts of an owner that is late to be in time again; a disk that takes longer is of no use. */
const MAX_LATE = 3;

/** The one because of whom a lock was not taken: its owner, or a process that is removing it. */
export interface Incumbent {
  /** The name of its file. */
  readonly name: string;
  /** Undefined where the file does not say. */
  readonly owner: LockOwner | undefined;
}

/** The last owner, where its lock was taken away. */
export type Predecessor = LockOwner & { readonly isDead: boolean };

/** The outcome of an attempt to take a lock. */
export type Attempt =
  | { readonly lease: Lease; readonly predecessor: Predecessor | undefined }
  | { readonly incumbent: Incumbent };

/**
 * Tries to take the lock. `isExpired` tells whether a text of it has stood still for as long as its lease.
 */
export function* takeLock(
  contender: Contender,
  isExpired: (owner: LockOwner, text: string) => boolean,
): Protocol<Attempt> {
  const { clocks, disk, self, standingOf } = contender;
  let predecessor: Predecessor | undefined;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    yield;
    const text = disk.read(LOCK);
    if (text === undefined) {
      const takenAt = clocks.map((clock) => clock());
      yield;
      const file = disk.create(LOCK, textOf(self));
      if (!file) continue;
      const lease = new Lease(contender, file, takenAt);
      yield* removeLeftovers(disk, self);
      return { lease, predecessor };
    }
    const owner = ownerIn(text);
    const isDead = owner && standingOf(owner) === 'dead';
    if (!owner || !(isDead || isExpired(owner, text))) return { incumbent: { name: LOCK, owner } };
    const remover = yield* removeLock(contender, LOCK, owner, text);
    if (remover) return { incumbent: remover };
    predecessor = { ...owner, isDead: isDead === true };
  }
  return { incumbent: { name: LOCK, owner: undefined } };
}

/**
 * Removes the lock of an owner, unless its text has changed; returns the process that may be about to, if
 * there is one.
 */
function* removeLock(
  contender: Contender,
  name: string,
  { token }: LockOwner,
  text: string,
): Protocol<Incumbent | undefined> {
  const { disk } = contender;
  const removal = `${LOCK}.${token}`;
  const holder = yield* takeRemoval(contender, removal);
  if (holder) return holder;
  yield;
  if (disk.read(name) === text) {
    yield;
    disk.remove(name);
  }
  yield;
  disk.remove(removal);
  return undefined;
}

/** Takes the lock on a removal; returns the process that has it, if one has that may be alive. */
function* takeRemoval(contender: Contender, name: string): Protocol<Incumbent | undefined> {
  const { disk, self, standingOf } = contender;
  for (let round = 0; round < MAX_ROUNDS; round++) {
    yield;
    // A token of its own: if this process dies now, its other lock has to be told from this one.
    const file = disk.create(name, textOf({ ...self, lease: null, token: newToken() }));
    file?.close();
    if (file) return undefined;
    yield;
    const text = disk.read(name);
    if (text === undefined) continue;
    const owner = ownerIn(text);
    if (!owner || standingOf(owner) !== 'dead') return { name, owner };
    const remover = yield* removeLock(contender, name, owner, text);
    if (remover) return remover;
  }
  return { name, owner: undefined };
}

/**
 * Removes locks on removals that dead processes left. A live process that has one finds that the run has
 * another owner; but the one on our own token may be about to be used.
 */
function* removeLeftovers(disk: LockDisk, { token }: LockOwner): Protocol<void> {
  yield;
  for (const name of disk.list()) {
    if (!REMOVAL_LOCK.test(name) || name === `${LOCK}.${token}`) continue;
    yield;
    disk.remove(name);
  }
}

/** A sign of life to write to the lock. */
export interface Sign {
  readonly text: string;
  readonly position: number;
  /** Takes note that it is where others read it. */
  readonly written: () => void;
}

/** The lock of a run directory in the hands of its owner. */
export class Lease {
  readonly file: LockFile;
  readonly #contender: Contender;
  /** The clocks just before the owner last made sure that it owns the lock. */
  #heldAt: readonly number[];
  #numSigns = 0;
  #numRegained = 0;
  #isLost = false;

  constructor(contender: Contender, file: LockFile, heldAt: readonly number[]) {
    this.#contender = contender;
    this.file = file;
    this.#heldAt = heldAt;
  }

  /** True while nobody else can have taken the lock. */
  get isTimely(): boolean {
    const { clocks, self } = this.#contender;
    if (this.#isLost || self.lease === null) return !this.#isLost;
    const mostMs = HELD_SHARE * 1000 * self.lease;
    return clocks.every((clock, index) => clock() - (this.#heldAt[index] as number) < mostMs);
  }

  /**
   * The next sign of life. It counts only if it is written while the lease still holds: one that comes later
   * may come after another process has looked for it.
   */
  nextSign(): Sign {
    const { clocks, self } = this.#contender;
    const now = clocks.map((clock) => clock());
    const written = (): void => {
      if (this.isTimely) this.#heldAt = now;
    };
    return { text: countText(++this.#numSigns), position: ownerText(self).length, written };
  }

  /**
   * Makes sure that the lock is ours, and stays so for a while: an owner that was late has to win it anew
   * against those who may be taking it. Returns false if it cannot write any more. `isSure`: does not rely
   * on time alone.
   */
  *hold(isSure = false): Protocol<boolean> {
    if (!this.file.isLinked) this.#isLost = true;
    if (isSure && this.isTimely) yield* this.#look();
    for (let round = 0; round < MAX_LATE && !this.#isLost && !this.isTimely; round++) yield* this.#regain();
    return this.isTimely;
  }

  *#look(): Protocol<void> {
    const { disk, self } = this.#contender;
    yield;
    this.#isLost = ownerIn(disk.read(LOCK))?.token !== self.token;
  }

  /** Nobody who has the lock on our removal is at work, so none has looked before this and removes after it. */
  *#regain(): Protocol<void> {
    const { clocks, disk, self } = this.#contender;
    const now = clocks.map((clock) => clock());
    const removal = `${LOCK}.${self.token}`;
    this.#isLost = (yield* takeRemoval(this.#contender, removal)) !== undefined;
    if (this.#isLost) return;
    try {
      yield* this.#look();
      if (this.#isLost) return;
      yield;
      // Not where signs are written: an earlier one that is still under way would undo this one.
      const position = ownerText(self).length + countText(0).length;
      this.file.write(countText(++this.#numRegained), position);
      this.#heldAt = now;
    } finally {
      yield;
      disk.remove(removal);
    }
  }

  /** Gives the lock back, unless it is not ours any more. */
  *release(): Protocol<void> {
    const { disk, self } = this.#contender;
    this.file.close();
    if (this.#isLost) return;
    this.#isLost = true;
    yield;
    const text = disk.read(LOCK);
    if (text !== undefined && ownerIn(text)?.token === self.token) {
      yield* removeLock(this.#contender, LOCK, self, text);
    }
  }
}

/** The text of a lock: its owner and, with a lease, how often it has given a sign of life and regained it. */
function textOf(owner: LockOwner): string {
  return ownerText(owner) + (owner.lease === null ? '' : countText(0) + countText(0));
}

/** Owners are described in ASCII, so positions in the file are those in the text. */
function ownerText(owner: LockOwner): string {
  return `${JSON.stringify(owner).replace(/[^\x20-\x7e]/g, escaped)}\n`;
}

function escaped(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

function countText(count: number): string {
  return `${String(count).padStart(COUNT_DIGITS, '0')}\n`;
}

/** The owner that the text of a lock names; undefined if it names none. */
export function ownerIn(text: string | undefined): LockOwner | undefined {
  return parseOwner(text?.split('\n', 1)[0]);
}
