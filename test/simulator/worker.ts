// A simulated worker process: it joins, computes its tasks, and comes back when the connection is lost; and
// it fails, lies, stalls or dies according to its character.
import { isRoot, lift, maximalNodes } from '../../src/tree.ts';
import { HUGE, combine, hashOf, sumUnder } from './symbols.ts';
import type { Value } from './symbols.ts';
import type { Chance, VirtualClock } from './virtual-time.ts';
import type { Downward, LinkQuality, TaskOrder, Upward } from './wire.ts';
import { Wire } from './wire.ts';

/** The behaviour of a worker. */
export interface Character {
  readonly link: LinkQuality;
  /** Rows per millisecond. */
  readonly speed: number;
  /** Probability that a sum is a lie, and the kind of lie. */
  readonly lies: number;
  readonly lie: 'bit' | 'nan' | 'huge';
  /** Number of tasks on which it still has to fail with an exception. */
  numFailures: number;
  /** Drops its connection this long after it has joined, again and again; undefined: never. */
  readonly flapMs: number | undefined;
  /** SIGSTOP and SIGCONT; undefined: never. */
  readonly stops: { readonly afterMs: number; readonly forMs: number } | undefined;
  /** The process ends right after it has sent this many messages; undefined: never. */
  readonly diesAfter: number | undefined;
  /** Joins, and never answers. */
  readonly isIdle: boolean;
  /** Probability that it sends messages about a task that it does not owe when it has finished one. */
  readonly unowed: number;
  /** How often it comes back although it was refused. */
  numReturns: number;
  /** Its message or action instead of computing a task; undefined: it computes. */
  readonly unfit: 'failure' | 'outOfMemory' | 'vanishing' | undefined;
  /**
   * Time after which it returns as another process once banned or vanished; undefined: by chance, or never.
   */
  readonly rejoinMs: number | undefined;
  /** Its address; undefined: one of two places. */
  readonly address: string | undefined;
}

/** A shard that no worker can compute: one that tries reports a failure, or its process ends. */
export interface Poison {
  readonly shard: number;
  readonly isOutOfMemory: boolean;
  readonly isFatal: boolean;
  /** True if the coordinator can compute it. */
  readonly sparesCoordinator: boolean;
  /** The only step at which it is poisonous; undefined: every step. */
  readonly step: number | undefined;
}

/** The surroundings that workers share. */
export interface World {
  readonly clock: VirtualClock;
  readonly chance: Chance;
  readonly divergesAt: number | undefined;
  readonly poison: Poison | undefined;
  /** A worker died of the poison. */
  readonly onPoisoned: (worker: SimulatedWorker) => void;
  /** A worker is gone with a task that it had been given. */
  readonly onVanished: (worker: SimulatedWorker) => void;
  /** The coordinator's end of a new connection; undefined while it is down. */
  readonly accept: (wire: Wire) => { receive: (message: Upward) => void; closed: () => void } | undefined;
  /** An honest worker was sent a message that no coordinator may send. */
  readonly complain: (what: string) => void;
}

const OVERHEAD_MS = 1;
const RETRY_MS = 250;
const MAX_RETRY_MS = 10_000;

/** A simulated worker. */
export class SimulatedWorker {
  readonly pid: number;
  readonly #world: World;
  readonly character: Character;
  #wire: Wire | undefined;
  #queue: TaskOrder[] = [];
  readonly #inbox: (() => void)[] = [];
  #weights = new Map<number, (Value | undefined)[]>();
  #numBuckets = 0;
  #latestRound = 0;
  #isComputing = false;
  #isGone = false;
  #stoppedUntilMs = 0;
  #numSent = 0;
  #numRetries = 0;
  #hasLied = false;

  constructor(pid: number, world: World, character: Character) {
    this.pid = pid;
    this.#world = world;
    this.character = character;
    const { stops } = character;
    if (stops) world.clock.after(stops.afterMs, () => this.stop(stops.forMs));
    this.#connect();
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  /** Messages sent so far. */
  get numSent(): number {
    return this.#numSent;
  }

  get isFlooding(): boolean {
    return this.character.unowed > 0;
  }

  get isLiar(): boolean {
    return this.character.lies > 0;
  }

  /** True if it may fail on any task. */
  get isUnfit(): boolean {
    return this.character.unfit !== undefined || this.#world.poison !== undefined;
  }

  /** True if it has sent a wrong sum that looks right. */
  get hasLied(): boolean {
    return this.#hasLied;
  }

  /** SIGKILL. */
  kill(): void {
    this.#isGone = true;
    this.#wire?.hangUp();
    this.#wire = undefined;
  }

  /** SIGSTOP, and SIGCONT after a while. */
  stop(ms: number): void {
    this.hang(ms);
    this.#wire?.stall(ms);
  }

  /** The engine is stuck, but the connection is not: pings are answered as usual. */
  hang(ms: number): void {
    this.#stoppedUntilMs = Math.max(this.#stoppedUntilMs, this.#world.clock.nowMs + ms);
  }

  breakConnection(): void {
    this.#wire?.break();
  }

  fallSilent(directions: 'both' | 'up' | 'down'): void {
    this.#wire?.fallSilent(directions);
  }

  stallConnection(ms: number): void {
    this.#wire?.stall(ms);
  }

  /** SIGTERM. */
  leave(): void {
    this.#send({ type: 'leave' });
    this.#isGone = true;
  }

  #connect(): void {
    if (this.#isGone) return;
    const { clock, chance, accept } = this.#world;
    const wire = new Wire(clock, chance, this.character.link);
    const end = accept(wire);
    if (!end) {
      const ceilingMs = Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** this.#numRetries++);
      return clock.after(chance.between(ceilingMs / 2, ceilingMs), () => this.#connect());
    }
    this.#numRetries = 0;
    this.#wire = wire;
    wire.attach(end, {
      receive: (message) => this.#receive(message, wire),
      closed: () => this.#lost(wire),
    });
    const address = this.character.address ?? `address ${this.pid % 2}`;
    this.#send({ type: 'hello', pid: this.pid, address });
  }

  #lost(wire: Wire): void {
    if (this.#wire !== wire) return;
    this.#wire = undefined;
    this.#queue = [];
    this.#latestRound = 0;
    const { clock, chance } = this.#world;
    clock.after(chance.between(RETRY_MS / 2, RETRY_MS), () => this.#connect());
  }

  #send(message: Upward): void {
    this.#wire?.sendUp(message);
    if (++this.#numSent === this.character.diesAfter) this.kill();
  }

  /** Messages wait in order while the process is stopped. */
  #receive(message: Downward, wire: Wire): void {
    this.#inbox.push(() => this.#obey(message, wire));
    if (this.#inbox.length === 1) this.#whenAwake(0, () => this.#readInbox());
  }

  #readInbox(): void {
    for (let read = this.#inbox[0]; read; read = this.#inbox[0]) {
      read();
      this.#inbox.shift();
    }
  }

  #obey(message: Downward, wire: Wire): void {
    const { clock } = this.#world;
    if (this.#isGone || this.#wire !== wire) return;
    switch (message.type) {
      case 'welcome':
        this.#weights.clear();
        this.#numBuckets = message.numBuckets;
        return clock.after(OVERHEAD_MS, () => this.#join(wire));
      case 'weights':
        return this.#storeWeights(message);
      case 'task':
        if (this.character.isIdle) return;
        this.#latestRound = Math.max(this.#latestRound, message.round);
        this.#queue.push(message);
        return this.#computeNext();
      case 'refuse':
        if (this.character.numReturns-- > 0) return wire.break();
        return this.kill();
      case 'stop':
        return this.kill();
      default:
        return message satisfies never;
    }
  }

  #join(wire: Wire): void {
    if (this.#wire !== wire || this.#isGone) return;
    this.#send({ type: 'ready' });
    const { flapMs } = this.character;
    if (flapMs !== undefined) this.#world.clock.after(flapMs, () => wire.break());
  }

  /** Two versions at a time, as a replica has them. */
  #storeWeights({ version, bucket, value }: Extract<Downward, { readonly type: 'weights' }>): void {
    for (const old of this.#weights.keys()) {
      if (old !== version && old % 2 === version % 2) this.#weights.delete(old);
    }
    const buckets = this.#weights.get(version) ?? [];
    buckets[bucket] = value;
    this.#weights.set(version, buckets);
  }

  #computeNext(): void {
    if (this.#isComputing) return;
    const order = this.#queue.shift();
    if (!order || this.#isGone) return;
    const wire = this.#wire;
    const isOver =
      order.round < this.#latestRound ||
      [...this.#weights.keys()].some((version) => version > order.version + 1);
    if (!isOver && !this.#hasSampleWeights(order)) {
      return this.#world.complain(
        `worker ${this.pid} lacks weights ${order.version} for round ${order.round}`,
      );
    }
    const computeMs = isOver ? 0 : OVERHEAD_MS + order.rows / this.character.speed;
    this.#isComputing = true;
    this.#whenAwake(computeMs, () => {
      this.#isComputing = false;
      if (this.#wire === wire && !this.#isGone) this.#answer(order, computeMs);
      this.#computeNext();
    });
  }

  #hasSampleWeights({ version, weights }: TaskOrder): boolean {
    const known = this.#weights.get(version);
    const buckets = Array.from({ length: this.#numBuckets }, (_, bucket) => known?.[bucket]);
    return !buckets.includes(undefined) && combine(buckets as Value[]) === weights;
  }

  #whenAwake(delayMs: number, action: () => void): void {
    const { clock } = this.#world;
    clock.after(delayMs, () => {
      const asleepMs = this.#stoppedUntilMs - clock.nowMs;
      if (asleepMs > 0) this.#whenAwake(asleepMs, action);
      else action();
    });
  }

  #answer(order: TaskOrder, computeMs: number): void {
    const { round, task, from, to } = order;
    if (computeMs === 0) return this.#send({ type: 'finished', round, task, computeMs });
    const { unfit } = this.character;
    if (unfit === 'vanishing') return this.#world.onVanished(this);
    if (unfit) return this.#send({ type: 'failure', round, task, isOutOfMemory: unfit === 'outOfMemory' });
    const { poison } = this.#world;
    const isItsStep = poison?.step === undefined || poison.step === order.step;
    const isPoisoned =
      order.kind === 'train' && poison && isItsStep && from <= poison.shard && poison.shard < to;
    if (isPoisoned && poison.isFatal) return this.#world.onPoisoned(this);
    if (isPoisoned || this.character.numFailures-- > 0) {
      const isOutOfMemory = poison?.isOutOfMemory ?? false;
      return this.#send({ type: 'failure', round, task, isOutOfMemory });
    }
    for (const sum of this.#sumsOf(order)) this.#send(sum);
    this.#send({ type: 'finished', round, task, computeMs });
    if (this.#world.chance.isLucky(this.character.unowed)) this.#flood(order);
  }

  /** Unexpected results of every kind: for tasks that it has finished, and for tasks that it never had. */
  #flood(order: TaskOrder): void {
    const { round, task } = order;
    const isOld = this.#world.chance.isLucky(0.5);
    const name = isOld ? { round, task } : { round: round + 1, task: task + 1000 };
    const sums = this.#sumsOf(order).map((sum) => ({ ...sum, ...name }));
    const reports: Upward[] = [
      { type: 'finished', ...name, computeMs: 1 },
      { type: 'failure', ...name, isOutOfMemory: true },
    ];
    for (let count = 0; count < 3; count++) this.#send(this.#world.chance.pick([...sums, ...reports]));
  }

  #sumsOf(order: TaskOrder): Upward[] {
    const { round, task, from, to, kind, numShards, weights, step } = order;
    const { divergesAt } = this.#world;
    const shards = Array.from({ length: to - from }, (_, shard) =>
      lift({ level: 0, index: from + shard }, numShards),
    );
    const nodes = kind === 'train' ? maximalNodes(from, to, numShards) : shards;
    const numBuckets = kind === 'train' ? this.#numBuckets : 1;
    const work = { kind, step, weights, numShards, divergesAt };
    return nodes.flatMap((node) =>
      Array.from({ length: numBuckets }, (_, bucket): Upward => {
        const value = sumUnder(work, node, bucket);
        const canBeHuge = kind === 'train' && !isRoot(node, numShards);
        return {
          type: 'sum',
          round,
          task,
          node,
          bucket,
          weights,
          value: this.#distorted(value, canBeHuge),
        };
      }),
    );
  }

  #distorted(value: Value, canBeHuge: boolean): Value {
    const { lies, lie } = this.character;
    if (lies === 0 || !this.#world.chance.isLucky(lies)) return value;
    if (lie === 'nan') return Number.NaN;
    if (lie === 'bit') {
      this.#hasLied = true;
      return hashOf(6, value, this.pid);
    }
    return canBeHuge ? HUGE : value;
  }
}
