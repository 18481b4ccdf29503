// The vocabulary of the scheduler: the facts that it is told about a round, and the outcome with
// which it answers every event. Plain data: nothing here holds a socket, a clock or a tensor.
// Workers are named by the numbers of their sessions, values by slots that the driver keeps.
import type { Merge, ShardRange, TreeNode } from '../../src/tree.ts';

/** The shape of a round. */
export interface RoundPlan {
  /** `train` adds neighbours up to one sum a bucket; `evaluate` keeps every shard by itself. */
  readonly kind: 'train' | 'evaluate';
  readonly numBuckets: number;
  /** Rows of each shard; its length is the number of shards. */
  readonly shardRows: readonly number[];
  /** The shards to compute, where others are computed elsewhere; all by default. */
  readonly shards?: ShardRange | undefined;
  /**
   * Shards of the groups at whose borders tasks are to be cut: those whose sums are rounded, and so
   * take half the bytes, or the shares of aggregators. Default: no border is better than others.
   */
  readonly groupShards?: number | undefined;
  /** Optimizer steps committed before the round. */
  readonly step: number;
}

/** The coordinator itself, which computes shards that no worker can, or claims it cannot. */
export const COORDINATOR = { worker: 0, instance: 'coordinator' } as const;

/** Partial sums of one bucket that fit in memory. */
export interface SumRoom {
  /** Sums that fit in the coordinator, 1 or more, beside one that has just arrived. */
  readonly here: number;
  /** Sums of one task that fit in a worker; a task that results in a single sum is always given out. */
  readonly ofTask: number;
}

/** The name of a task that was given out. */
export interface TaskName {
  readonly round: number;
  readonly task: number;
}

/** The name of a partial sum, and of the task that it belongs to. */
export interface SumName extends TaskName {
  readonly node: TreeNode;
  readonly bucket: number;
}

/**
 * `fast` guards against accidents; `strong` against a worker that searches for a
 * second sum of the same digest.
 */
export type DigestKind = 'fast' | 'strong';

/** The facts about a sum's values that the scheduler needs. */
export interface SumDigest {
  /** Equal for equal sums, and of the kind that `inspect` asked for. */
  readonly digest: string;
  /** True when the values are finite and the loss is one that samples can have. */
  readonly isFinite: boolean;
}

/** A session that is ready to take part. */
export interface ReadySession {
  readonly worker: number;
  /** The proven identity of its process: unique, and the same after it reconnects. */
  readonly instance: string;
  /** The name that people know it by. */
  readonly name: string;
  readonly address: string;
}

/** A worker's report that it cannot compute a task. */
export interface TaskFailure {
  readonly message: string;
  readonly isOutOfMemory: boolean;
}

/** Neighbouring shards that are given to a worker or, as worker 0, to the coordinator itself. */
export interface Task extends ShardRange {
  readonly id: number;
  readonly worker: number;
}

/** A task that is not given out yet. */
export type PlannedTask = Omit<Task, 'id'>;

/** A node for the referee to compute, with digests of this kind. */
export interface DoubtedNode {
  readonly round: number;
  readonly node: TreeNode;
  readonly digestKind: DigestKind;
}

/** The place of an accepted sum, and the additions that it makes possible. */
export interface StoredSum {
  readonly slot: number;
  /** Slots that the sum made superfluous. */
  readonly freed: readonly number[];
  /** Additions, in order: left += right, then right is freed. */
  readonly merges: readonly Merge<number>[];
  readonly bucket: number;
  /** The sum of the bucket to which nothing more is added now; undefined while it lacks shards. */
  readonly completed: { readonly slot: number; readonly node: TreeNode } | undefined;
}

/** A worker kept out from now on, because its results were wrong or it keeps failing. */
export interface BannedWorker {
  readonly worker: number;
  readonly name: string;
  readonly reason: string;
  /**
   * Optimizer steps of the newest state that does not rest on its word alone;
   * undefined if all states qualify.
   */
  readonly trustedSteps: number | undefined;
  /**
   * True for an aggregator, which may have been told wrong: it may come back, and it and those that
   * were below it are to work alone.
   */
  readonly mayReturn: boolean;
}

/** A worker that takes part from now on. */
export type AdmittedWorker = Pick<ReadySession, 'worker' | 'instance'>;

/** The reason why the next worker of an address has to wait. */
export type RestCause = 'vanishing' | 'bans';

/**
 * A worker that takes part only later, because workers of its address vanished without
 * a result or were banned.
 */
export interface RestingWorker {
  readonly worker: number;
  readonly restMs: number;
  readonly cause: RestCause;
}

/** A worker to be sent away: it broke the protocol or failed, and may come back. */
export interface EvictedWorker {
  readonly worker: number;
  readonly reason: string;
}

/** A worker that has been at so many rows for a long time. */
export interface SlowWorker {
  readonly worker: number;
  readonly rows: number;
  readonly owedMs: number;
}

/** Workers present and workers needed. */
export interface Shortage {
  readonly have: number;
  readonly need: number;
}

/** The reason why nobody can compute some shards. */
export type GiveUpCause = 'failed' | 'outOfMemory' | 'lost' | 'dishonest';

/** Shards that no worker can compute, nor the coordinator. */
export interface HopelessShards extends ShardRange {
  readonly cause: GiveUpCause;
  readonly message: string;
}

/** The reason why a round, or the run, cannot continue. */
export type RoundFailure =
  | ({ readonly type: 'starved' } & Shortage)
  | ({ readonly type: 'hopeless' } & HopelessShards)
  /** A sum that is not finite is really what its shards give. */
  | { readonly type: 'diverged' };

/** Everything that follows from one event. Empty lists mean that nothing of the kind is to be done. */
export class Outcome {
  /** The time of the event, in monotonic milliseconds. */
  readonly nowMs: number;
  /** Sessions that are replaced because their worker reconnected. */
  readonly superseded: number[] = [];
  readonly banned: BannedWorker[] = [];
  /** Sessions of processes that are banned already. */
  readonly refused: EvictedWorker[] = [];
  readonly evicted: EvictedWorker[] = [];
  /** Workers so slow that they must hang: they are sent away, and may come back. */
  readonly stuck: SlowWorker[] = [];
  /** Workers that a user should hear of, once for a task. */
  readonly overdue: SlowWorker[] = [];
  /** Workers that take part from now on. */
  readonly admitted: AdmittedWorker[] = [];
  readonly resting: RestingWorker[] = [];
  /** A round begins, or restarts for the reason `again`: then all its sums and buckets so far are void. */
  begun: { readonly round: number; readonly again: string | undefined } | undefined;
  /** The place of the sum just received; undefined if it is of no use. */
  sum: StoredSum | undefined;
  readonly tasks: Task[] = [];
  readonly doubted: DoubtedNode[] = [];
  /** All buckets are complete, and every audit agrees. */
  isComplete = false;
  /** Workers are missing, and have been for `waitedMs`. */
  shortage: (Shortage & { readonly waitedMs: number }) | undefined;
  /** All workers that were asked for are present. */
  isGathered = false;
  failure: RoundFailure | undefined;

  constructor(nowMs: number) {
    this.nowMs = nowMs;
  }
}

/** The part of a driver that deals with workers as such. */
export interface MembershipDriver {
  supersede(worker: number): void;
  ban(worker: BannedWorker): void;
  refuse(worker: EvictedWorker): void;
  evict(worker: EvictedWorker): void;
  evictStuck(worker: SlowWorker): void;
  warnOverdue(worker: SlowWorker): void;
  admit(worker: number): void;
  rest(worker: RestingWorker): void;
  finishGathering(): void;
}

/** The part of a driver that deals with the values of a round. */
export interface RoundDriver {
  begin(round: number, again: string | undefined): void;
  merge(bucket: number, merge: Merge<number>): void;
  free(slot: number): void;
  /** Passes a complete sum of a bucket on, as to the optimizer; returns false if it is not finite. */
  passOn(bucket: number, slot: number, node: TreeNode): boolean;
  sendTask(task: Task): void;
  judge(node: DoubtedNode): void;
  completeRound(): void;
  warnShortage(shortage: Shortage & { readonly waitedMs: number }): void;
  /** Ends the round, or the run, that cannot continue. */
  endRound(failure: RoundFailure): void;
}

/**
 * Carries out an outcome in the required order: who goes, who comes, the sum at hand, the work that
 * follows. Returns false if that completed a bucket which is not finite: then the caller must have
 * the scheduler doubt the round.
 */
export function carryOut(outcome: Outcome, members: MembershipDriver, round: RoundDriver): boolean {
  for (const worker of outcome.superseded) members.supersede(worker);
  for (const worker of outcome.banned) members.ban(worker);
  for (const worker of outcome.refused) members.refuse(worker);
  for (const worker of outcome.evicted) members.evict(worker);
  for (const worker of outcome.stuck) members.evictStuck(worker);
  for (const worker of outcome.overdue) members.warnOverdue(worker);
  for (const { worker } of outcome.admitted) members.admit(worker);
  for (const worker of outcome.resting) members.rest(worker);
  if (outcome.begun) round.begin(outcome.begun.round, outcome.begun.again);
  const isFinite = outcome.sum ? keepSum(outcome.sum, round) : true;
  for (const task of outcome.tasks) round.sendTask(task);
  for (const node of outcome.doubted) round.judge(node);
  if (outcome.shortage) round.warnShortage(outcome.shortage);
  if (outcome.isGathered) members.finishGathering();
  if (outcome.isComplete && isFinite) round.completeRound();
  if (outcome.failure) round.endRound(outcome.failure);
  return isFinite;
}

/**
 * Adds the sum just stored to its neighbours; returns false if that completed a
 * bucket that is not finite.
 */
function keepSum({ bucket, completed, freed, merges }: StoredSum, round: RoundDriver): boolean {
  for (const slot of freed) round.free(slot);
  for (const merge of merges) round.merge(bucket, merge);
  return completed === undefined || round.passOn(bucket, completed.slot, completed.node);
}
