// The messages of simulated workers and coordinators, and the connection that carries them: ordered in each
// direction, delayed by its link, and lost as a whole.
import type { TreeNode } from '../../src/tree.ts';
import type { Value } from './symbols.ts';
import type { Chance, VirtualClock } from './virtual-time.ts';

/** A message from a worker. */
export type Upward =
  | { readonly type: 'hello'; readonly pid: number; readonly address: string }
  | { readonly type: 'ready' }
  | {
      readonly type: 'sum';
      readonly round: number;
      readonly task: number;
      readonly node: TreeNode;
      readonly bucket: number;
      readonly weights: Value;
      readonly value: Value;
    }
  | {
      readonly type: 'finished';
      readonly round: number;
      readonly task: number;
      readonly computeMs: number;
    }
  | {
      readonly type: 'failure';
      readonly round: number;
      readonly task: number;
      readonly isOutOfMemory: boolean;
    }
  | { readonly type: 'leave' };

/** A task to compute. */
export interface TaskOrder {
  readonly type: 'task';
  readonly kind: 'train' | 'evaluate';
  readonly round: number;
  readonly task: number;
  readonly from: number;
  readonly to: number;
  readonly rows: number;
  readonly numShards: number;
  readonly step: number;
  readonly version: number;
  /** Version of the weights to use. */
  readonly weights: Value;
}

/** A message from the coordinator. */
export type Downward =
  | { readonly type: 'welcome'; readonly run: number; readonly numBuckets: number }
  | { readonly type: 'weights'; readonly version: number; readonly bucket: number; readonly value: Value }
  | TaskOrder
  | { readonly type: 'refuse' }
  | { readonly type: 'stop' };

/** An end of a connection. */
export interface End<Incoming> {
  receive: (message: Incoming) => void;
  /** Called once, when this end notices the loss. */
  closed: () => void;
}

/** The delays and duplicates of a link. */
export interface LinkQuality {
  readonly latencyMs: number;
  readonly jitterMs: number;
  /** Probability that a message of a worker arrives twice. */
  readonly duplicates: number;
}

/** Heartbeats find a silent connection after this time at the coordinator, and at the worker. */
const SILENCE_MS = { coordinator: 15_000, worker: 30_000 } as const;

class Direction<Message> {
  isDead = false;
  /** Nothing arrives before this time. */
  earliestMs = 0;
  end: End<Message> | undefined;
}

/** One connection. */
export class Wire {
  readonly #clock: VirtualClock;
  readonly #chance: Chance;
  readonly #quality: LinkQuality;
  readonly #up = new Direction<Upward>();
  readonly #down = new Direction<Downward>();

  constructor(clock: VirtualClock, chance: Chance, quality: LinkQuality) {
    this.#clock = clock;
    this.#chance = chance;
    this.#quality = quality;
  }

  attach(coordinator: End<Upward>, worker: End<Downward>): void {
    this.#up.end = coordinator;
    this.#down.end = worker;
  }

  sendUp(message: Upward): void {
    this.#carry(this.#up, message);
    if (this.#chance.isLucky(this.#quality.duplicates) && message.type === 'sum')
      this.#carry(this.#up, message);
  }

  sendDown(message: Downward): void {
    this.#carry(this.#down, message);
  }

  /** Both ends notice at once, except for the latency; messages in flight may be lost. */
  break(): void {
    this.#endOf(this.#up, this.#quality.latencyMs);
    this.#endOf(this.#down, this.#quality.latencyMs);
  }

  /** The worker's process is gone: its messages arrive up to some point, then the end. */
  hangUp(): void {
    this.#down.isDead = true;
    this.#down.end = undefined;
    this.#endOf(this.#up, this.#quality.latencyMs);
  }

  /** The coordinator disconnects the worker. */
  drop(): void {
    this.#up.end = undefined;
    this.#endOf(this.#down, this.#quality.latencyMs);
  }

  /** Nothing arrives any more, without notice: each end finds out by the silence. */
  fallSilent(directions: 'both' | 'up' | 'down'): void {
    if (directions !== 'down') this.#up.isDead = true;
    if (directions !== 'up') this.#down.isDead = true;
    // Without pings there are no pongs: either way the coordinator hears nothing.
    this.#endOf(this.#up, SILENCE_MS.coordinator);
    this.#endOf(this.#down, SILENCE_MS.worker);
  }

  /** Delays everything by this much, once. */
  stall(ms: number): void {
    for (const direction of [this.#up, this.#down]) {
      direction.earliestMs = Math.max(direction.earliestMs, this.#clock.nowMs + ms);
    }
    if (ms > SILENCE_MS.coordinator) this.#endOf(this.#up, SILENCE_MS.coordinator);
    if (ms > SILENCE_MS.coordinator) this.#endOf(this.#down, ms);
  }

  #carry<Message>(direction: Direction<Message>, message: Message): void {
    if (direction.isDead) return;
    const { latencyMs, jitterMs } = this.#quality;
    const arrivalMs = this.#clock.nowMs + latencyMs + this.#chance.between(0, jitterMs);
    direction.earliestMs = Math.max(direction.earliestMs, arrivalMs);
    this.#clock.after(direction.earliestMs - this.#clock.nowMs, () => direction.end?.receive(message));
  }

  /** The end of one direction sees the connection closed after a while, and hears nothing after that. */
  #endOf<Message>(direction: Direction<Message>, afterMs: number): void {
    direction.isDead = true;
    const delayMs = this.#chance.between(0, afterMs);
    this.#clock.after(afterMs === SILENCE_MS.coordinator ? afterMs : delayMs, () => {
      const { end } = direction;
      direction.end = undefined;
      end?.closed();
    });
  }
}
