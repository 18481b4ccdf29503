// The protocol of leases under a virtual clock: processes stop before any operation, for as long as they
// like, die, and have clocks of other speeds; the operations of others come in between.
import { describe, expect, it } from 'vitest';
import { takeLock } from '../../../../src/checkpoint/lease.ts';
import type { Contender, Lease, LockDisk, LockFile, Protocol } from '../../../../src/checkpoint/lease.ts';
import { describeSelf } from '../../../../src/checkpoint/lock-owner.ts';
import type { LockOwner } from '../../../../src/checkpoint/lock-owner.ts';
import { seededRandom } from '../../../helpers/seeded-random.ts';

const LEASE_S = 5;
const LEASE_MS = 1000 * LEASE_S;
const NUM_SEEDS = 500;
const NUM_OPERATIONS = 1500;

interface Inode {
  content: string;
  isLinked: boolean;
}

/** A directory whose files live on without a name for those who have them open. */
class Directory {
  readonly names = new Map<string, Inode>();

  link(name: string, inode: Inode): boolean {
    if (this.names.has(name)) return false;
    this.names.set(name, inode);
    return true;
  }

  remove(name: string): void {
    const inode = this.names.get(name);
    if (inode) inode.isLinked = false;
    this.names.delete(name);
  }

  /** Gives a name to what had another; false if nothing had that. */
  rename(from: string, to: string): boolean {
    const inode = this.names.get(from);
    if (!inode) return false;
    this.names.delete(from);
    this.remove(to);
    this.names.set(to, inode);
    return true;
  }
}

/** One process: at first a standby, then perhaps the leader, and a standby again under another token. */
class Process {
  isAlive = true;
  pausedUntil = 0;
  lease: Lease | undefined;
  readonly name: string;
  readonly host: string;
  readonly #world: World;
  readonly #rate: number;
  #suspendedMs = 0;
  #life: Protocol<void>;

  constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
    this.host = `host${Math.floor(world.random() * 2)}`;
    this.#rate = 0.9 + 0.2 * world.random();
    this.#life = this.#live();
  }

  advance(): void {
    if (this.#life.next().done) this.#life = this.#live();
  }

  /** Stops it for a while; where machines are suspended, its clock stands still too. */
  pause(ms: number): void {
    this.pausedUntil = this.#world.nowMs + ms;
    if (this.#world.suspends) this.#suspendedMs += ms;
  }

  get #nowMs(): number {
    return (this.#world.nowMs - this.#suspendedMs) * this.#rate;
  }

  *#live(): Protocol<void> {
    const self = { ...describeSelf({ lease: LEASE_S }), host: this.host, startedAt: this.name };
    const contender: Contender = {
      self,
      disk: this.#world.disk,
      standingOf: (owner) => this.#world.standingOf(owner, this),
      clocks: [() => this.#nowMs],
    };
    let seen = { text: '', sinceMs: 0 };
    const isExpired = (_owner: LockOwner, text: string): boolean => {
      if (seen.text !== text) seen = { text, sinceMs: this.#nowMs };
      return this.#nowMs - seen.sinceMs >= LEASE_MS;
    };
    for (;;) {
      const attempt = yield* takeLock(contender, isExpired);
      if ('lease' in attempt) {
        this.lease = attempt.lease;
        this.#world.numTaken++;
        if (attempt.predecessor?.isDead === false) this.#world.numExpired++;
        yield* this.#lead(attempt.lease);
        this.lease = undefined;
        return;
      }
      this.pausedUntil = this.#world.nowMs + 250;
      yield;
    }
  }

  /** Fences earlier leaders off; then gives signs of life, appends and renames, until the lease is lost. */
  *#lead(lease: Lease): Protocol<void> {
    const { directory, random } = this.#world;
    const temporaries = [...directory.names.keys()].filter((name) => name.endsWith('.tmp'));
    for (const name of temporaries) {
      yield;
      directory.remove(name);
    }
    yield;
    const records: Inode = { content: directory.names.get('records')?.content ?? '', isLinked: true };
    if (!(yield* this.#replace('records', records, lease)) || !(yield* lease.hold(true))) return;
    this.#world.leader = this;
    while (random() > 0.01) {
      const draw = random();
      if (draw < 0.5) yield* this.#giveSign(lease);
      else if (draw < 0.8) {
        if (!(yield* lease.hold())) return;
        yield;
        records.content += `${this.name}\n`;
        if (directory.names.get('records') === records) this.#world.wrote(this);
      } else {
        const inode = { content: this.name, isLinked: true };
        if (!(yield* this.#replace('checkpoint', inode, lease))) return;
        this.#world.wrote(this);
      }
      this.pausedUntil = this.#world.nowMs + 400 * random();
      yield;
    }
    yield* lease.release();
  }

  *#giveSign(lease: Lease): Protocol<void> {
    if (!lease.isTimely) return;
    const { position, text, written } = lease.nextSign();
    const isSlow = this.#world.random() < 0.1;
    if (isSlow) this.pausedUntil = this.#world.nowMs + LEASE_MS * this.#world.random();
    yield;
    lease.file.write(text, position);
    yield;
    written();
  }

  /** Writes a file under a name that the next leader removes, and gives it its own. */
  *#replace(name: string, inode: Inode, lease: Lease): Protocol<boolean> {
    const { directory, random } = this.#world;
    const temporary = `${name}.${random()}.tmp`;
    if (!(yield* lease.hold(true))) return false;
    yield;
    directory.link(temporary, inode);
    if (!(yield* lease.hold(true))) {
      directory.remove(temporary);
      return false;
    }
    yield;
    return directory.rename(temporary, name);
  }
}

/** Everything that processes share, and what must be true of them. */
class World {
  nowMs = 0;
  /** Clocks of processes that are paused stand still: leases may then overlap, but nobody writes twice. */
  readonly suspends: boolean;
  numTaken = 0;
  numExpired = 0;
  numWritten = 0;
  readonly directory = new Directory();
  readonly disk: LockDisk;
  readonly random: () => number;
  /** The process that fenced the others off last. */
  leader: Process | undefined;
  readonly #processes: Process[];

  constructor(seed: number) {
    this.random = seededRandom(seed);
    this.suspends = seed % 4 === 0;
    const { directory } = this;
    const hasLinks = this.random() < 0.5;
    const tellsRemoval = this.random() < 0.5;
    this.disk = {
      read: (name) => directory.names.get(name)?.content,
      create: (name, text) => {
        const inode: Inode = { content: text, isLinked: true };
        if (!directory.link(name, inode)) return undefined;
        if (!hasLinks && this.random() < 0.3) this.#fillLater(inode);
        return fileOf(inode, tellsRemoval);
      },
      remove: (name) => directory.remove(name),
      list: () => [...directory.names.keys()],
    };
    this.#processes = ['a', 'b', 'c'].slice(0, 2 + (seed % 2)).map((name) => new Process(this, name));
  }

  standingOf(owner: LockOwner, judge: Process): 'dead' | 'alive' | 'unknown' {
    if (owner.host !== judge.host) return 'unknown';
    return this.#processes.some(({ isAlive, name }) => isAlive && name === owner.startedAt)
      ? 'alive'
      : 'dead';
  }

  run(): void {
    for (let count = 0; count < NUM_OPERATIONS; count++) {
      const awake = this.#processes.filter(
        ({ isAlive, pausedUntil }) => isAlive && pausedUntil <= this.nowMs,
      );
      const next = awake[Math.floor(this.random() * awake.length)];
      next?.advance();
      const timely = this.#processes.filter(({ isAlive, lease }) => isAlive && lease?.isTimely === true);
      if (timely.length > 1 && !this.suspends)
        throw new Error(`two leases hold: ${timely.map(({ name }) => name).join()}`);
      this.nowMs += next ? 30 * this.random() : 100;
      if (next && this.random() < 0.02) next.pause(3 * LEASE_MS * this.random());
      if (next && this.random() < 0.005) this.#die(next);
    }
  }

  /** Takes note of what others can see. */
  wrote(process: Process): void {
    this.numWritten++;
    if (process !== this.leader) throw new Error(`${process.name} writes, ${this.leader?.name} leads`);
  }

  #die(process: Process): void {
    process.isAlive = false;
    // Another process takes its place, under another name.
    this.#processes.push(new Process(this, `${process.name}'`));
  }

  /** A file of a system without hard links is there before its content. */
  #fillLater(inode: Inode): void {
    const { content } = inode;
    inode.content = '';
    const untilMs = this.nowMs + 50;
    Object.defineProperty(inode, 'content', {
      get: () => (this.nowMs < untilMs ? '' : filled),
      set: (text: string) => (filled = text),
    });
    let filled = content;
  }
}

/** A file system of a network may not tell that an open file was removed. */
function fileOf(inode: Inode, tellsRemoval: boolean): LockFile {
  return {
    get isLinked() {
      return inode.isLinked || !tellsRemoval;
    },
    write: (text, position) => {
      inode.content = inode.content.slice(0, position) + text + inode.content.slice(position + text.length);
    },
    close: () => undefined,
  };
}

describe('the lease on a run directory', () => {
  it(`never holds for two processes at once, and none writes after another has taken over (${NUM_SEEDS} seeds)`, () => {
    let [numTaken, numExpired, numWritten] = [0, 0, 0];
    for (let seed = 1; seed <= NUM_SEEDS; seed++) {
      const world = new World(seed);
      try {
        world.run();
      } catch (error) {
        throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
      }
      numTaken += world.numTaken;
      numExpired += world.numExpired;
      numWritten += world.numWritten;
    }
    expect(numTaken).toBeGreaterThan(2 * NUM_SEEDS);
    expect(numExpired).toBeGreaterThan(NUM_SEEDS / 10);
    expect(numWritten).toBeGreaterThan(20 * NUM_SEEDS);
  });
});
