// What the machines of the coordinator are told, and what they want done. Plain data: no event holds a socket, a
// clock or a tensor. Workers are named by the numbers of their sessions, values by slots that the driver keeps.
import type { TreeNode } from '../../src/tree.ts';

/** What a round is about. */
export interface RoundPlan {
  /** `sum` adds neighbours up to one result a bucket; `collect` keeps every shard by itself. */
  readonly mode: 'sum' | 'collect';
  readonly numBuckets: number;
  /** Rows of each shard; its length is the number of shards. */
  readonly shardRows: readonly number[];
  /** Optimizer steps that are committed when it begins. */
  readonly step: number;
}

/** The coordinator itself, as far as it computes: for what nobody else can, or says so. */
export const COORDINATOR = { worker: 0, process: 'coordinator' } as const;

/** Sums of one bucket that there is memory for. */
export interface SumRoom {
  /** In the coordinator, 1 or more, beside one that has just come. */
  readonly here: number;
  /** In a worker, of one task; a task that comes back as a single sum is always given out. */
  readonly ofTask: number;
}

/** Names a task that was given out. */
export interface TaskName {
  readonly round: number;
  readonly task: number;
}

/** Names a result: which sum it is, and which task it answers. */
export interface SumName extends TaskName {
  readonly node: TreeNode;
  readonly bucket: number;
}

/** Something that happened in a round. */
export type RoundEvent =
  | { readonly type: 'roundStarted'; readonly plan: RoundPlan }
  | {
      readonly type: 'workerReady';
      readonly worker: number;
      /** Its instance, which tells processes apart: sessions of one process are one witness. */
      readonly process: string;
    }
  | { readonly type: 'workerLost'; readonly worker: number }
  /** The process of a worker, whose session may be over by now, ended for lack of memory. */
  | { readonly type: 'outOfMemory'; readonly process: string }
  | {
      readonly type: 'sumReceived';
      readonly worker: number;
      readonly sum: SumName;
      /** Of the kind that `inspect` asked for: sums with equal digests are equal. */
      readonly digest: string;
      readonly isFinite: boolean;
    }
  /** It is owed, but `inspect` found nobody who waits for it. */
  | { readonly type: 'sumUnwanted'; readonly worker: number; readonly sum: SumName }
  | {
      readonly type: 'taskFinished';
      readonly worker: number;
      readonly round: number;
      readonly task: number;
    }
  | {
      readonly type: 'taskFailed';
      readonly worker: number;
      readonly round: number;
      readonly task: number;
      readonly message: string;
      readonly isOutOfMemory: boolean;
    }
  /** The coordinator has computed a node itself. */
  | {
      readonly type: 'judged';
      readonly round: number;
      readonly node: TreeNode;
      /** By bucket, of the kind that `judge` asked for. */
      readonly digests: readonly string[];
    }
  /** The sum over all shards of a bucket just completed is not finite, though its parts were. */
  | { readonly type: 'sumNotFinite'; readonly round: number }
  | { readonly type: 'tick' };

/** Why nobody can compute some shards. */
export type GiveUpCause = 'failed' | 'outOfMemory' | 'lost' | 'dishonest';

/** Something to do about a round. */
export type RoundCommand =
  /** A round begins, or begins again: then all sums and buckets of it so far are void. */
  | { readonly type: 'begin'; readonly round: number; readonly again: string | undefined }
  | {
      readonly type: 'assign';
      readonly worker: number;
      readonly task: number;
      readonly from: number;
      readonly to: number;
    }
  /** Keep the value of the sum just received under this slot. */
  | { readonly type: 'store'; readonly slot: number }
  /** left += right, then forget right. */
  | { readonly type: 'merge'; readonly bucket: number; readonly left: number; readonly right: number }
  | { readonly type: 'forget'; readonly slot: number }
  /** The bucket's sum over all shards is in the slot. */
  | { readonly type: 'bucketCompleted'; readonly bucket: number; readonly slot: number }
  | { readonly type: 'roundCompleted'; readonly round: number }
  /** Compute the node in this process, and say what its digests are. */
  | { readonly type: 'judge'; readonly round: number; readonly node: TreeNode; readonly digest: DigestKind }
  /** The worker's sum is not what its shards give, or it never sends any: its process is to be kept out. */
  | {
      readonly type: 'ban';
      readonly worker: number;
      readonly process: string;
      readonly reason: string;
      /** The newest state that no sum is part of which rests on its word alone, in optimizer steps; undefined: all are so. */
      readonly trustedSteps: number | undefined;
    }
  /** A sum that is not finite is what its shards give. */
  | { readonly type: 'diverged' }
  /** The worker broke the protocol of this round, or failed: it may come back, to begin afresh. */
  | { readonly type: 'evict'; readonly worker: number; readonly reason: string }
  /** The worker has been at so many rows for long: a user should know. Once for a task. */
  | { readonly type: 'overdue'; readonly worker: number; readonly rows: number; readonly owedMs: number }
  /** It has been for so long that it must be stuck: it is to be sent away, and may come back. At every tick. */
  | { readonly type: 'stuck'; readonly worker: number; readonly rows: number; readonly owedMs: number }
  /** No worker can compute these shards. */
  | {
      readonly type: 'giveUp';
      readonly from: number;
      readonly to: number;
      readonly cause: GiveUpCause;
      readonly message: string;
    };

/** `fast` guards against accidents; `strong` against a worker that looks for a second sum of the same digest. */
export type DigestKind = 'fast' | 'strong';

/** Something that happened to the roster. */
export type RosterEvent =
  | {
      readonly type: 'sessionReady';
      readonly worker: number;
      /** Names its process, and is proven: a worker that comes back has the same, and nobody else. */
      readonly instance: string;
      /** As people know it. */
      readonly name: string;
      /** Where it comes from. */
      readonly address: string;
    }
  | {
      readonly type: 'sessionLost';
      readonly worker: number;
      /** Whether anything has come from it but failures. */
      readonly hasAnswered: boolean;
    }
  /** Somebody waits for this many workers. */
  | { readonly type: 'workersRequired'; readonly count: number };

/** Why the next worker of an address has to wait. */
export type RestCause = 'vanishing' | 'bans';

/** Something to do about the roster. */
export type RosterCommand =
  /** The worker takes part from now on: it needs the weights. */
  | { readonly type: 'admit'; readonly worker: number }
  /** It takes part after this time, since workers of its address vanish without an answer, or were banned. */
  | { readonly type: 'rest'; readonly worker: number; readonly restMs: number; readonly cause: RestCause }
  /** The worker has come back in another session, and this one is what is left of it. */
  | { readonly type: 'supersede'; readonly worker: number }
  | { readonly type: 'refuse'; readonly worker: number; readonly reason: string }
  | {
      readonly type: 'banned';
      readonly worker: number;
      /** As people know it. */
      readonly name: string;
      readonly reason: string;
      /** See `ban`. */
      readonly trustedSteps: number | undefined;
    }
  | { readonly type: 'waiting'; readonly have: number; readonly need: number; readonly waitedMs: number }
  /** As many workers as were asked for are there. */
  | { readonly type: 'gathered' }
  | { readonly type: 'starved'; readonly have: number; readonly need: number };
