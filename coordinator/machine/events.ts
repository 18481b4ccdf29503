// What the machines of the coordinator are told, and what they want done. Plain data: no event holds a socket, a
// clock or a tensor. Workers are named by the numbers of their sessions, values by slots that the driver keeps.
import type { TreeNode } from '../../src/tree.ts';

/** What a round is about. */
export interface RoundPlan {
  /** `sum` adds neighbours up to one result a piece; `collect` keeps every leaf by itself. */
  readonly mode: 'sum' | 'collect';
  readonly numPieces: number;
  /** Rows of each leaf; its length is the number of leaves. */
  readonly leafRows: readonly number[];
}

/** Sums of one piece that there is memory for. */
export interface SumRoom {
  /** In the coordinator, 1 or more, beside one that has just come. */
  readonly here: number;
  /** In a worker, of one range; a range that comes back as a single sum is always given out. */
  readonly ofRange: number;
}

/** Names a range that was given out. */
export interface RangeName {
  readonly round: number;
  readonly attempt: number;
}

/** Names a result: which sum it is, and which attempt it answers. */
export interface SumName extends RangeName {
  readonly node: TreeNode;
  readonly piece: number;
}

/** Something that happened in a round. */
export type RoundEvent =
  | { readonly type: 'roundStarted'; readonly plan: RoundPlan }
  | {
      readonly type: 'workerReady';
      readonly worker: number;
      /** Tells processes apart: sessions of one process are one witness. */
      readonly process: string;
      readonly threads: number;
    }
  | { readonly type: 'workerLost'; readonly worker: number; readonly isPolite: boolean }
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
      readonly type: 'rangeFinished';
      readonly worker: number;
      readonly round: number;
      readonly attempt: number;
    }
  | {
      readonly type: 'rangeFailed';
      readonly worker: number;
      readonly round: number;
      readonly attempt: number;
      readonly message: string;
      readonly isOutOfMemory: boolean;
    }
  /** The coordinator has computed a node itself. */
  | {
      readonly type: 'judged';
      readonly round: number;
      readonly node: TreeNode;
      /** By piece, of the kind that `judge` asked for. */
      readonly digests: readonly string[];
    }
  /** The sum over all leaves of a piece just completed is not finite, though its parts were. */
  | { readonly type: 'sumNotFinite'; readonly round: number }
  | { readonly type: 'tick' };

/** Why nobody can compute some leaves. */
export type GiveUpCause = 'failed' | 'outOfMemory' | 'lost' | 'dishonest';

/** Something to do about a round. */
export type RoundCommand =
  /** A round begins, or begins again: then all sums and pieces of it so far are void. */
  | { readonly type: 'begin'; readonly round: number; readonly again: string | undefined }
  | {
      readonly type: 'assign';
      readonly worker: number;
      readonly attempt: number;
      readonly from: number;
      readonly to: number;
    }
  /** Keep the value of the sum just received under this slot. */
  | { readonly type: 'store'; readonly slot: number }
  /** left += right, then forget right. */
  | { readonly type: 'merge'; readonly piece: number; readonly left: number; readonly right: number }
  | { readonly type: 'forget'; readonly slot: number }
  /** The piece's sum over all leaves is in the slot. */
  | { readonly type: 'pieceCompleted'; readonly piece: number; readonly slot: number }
  | { readonly type: 'roundCompleted'; readonly round: number }
  /** Compute the node in this process, and say what its digests are. */
  | { readonly type: 'judge'; readonly round: number; readonly node: TreeNode; readonly digest: DigestKind }
  /** The worker's sum is not what its leaves give. */
  | { readonly type: 'ban'; readonly worker: number; readonly reason: string }
  /** A sum that is not finite is what its leaves give. */
  | { readonly type: 'diverged' }
  /** The worker broke the protocol of this round. */
  | { readonly type: 'evict'; readonly worker: number; readonly reason: string }
  /** The worker has been at so many rows for long: a user should know. Once for a range. */
  | { readonly type: 'overdue'; readonly worker: number; readonly rows: number; readonly owedMs: number }
  /** It has been for so long that it must be stuck: it is to be sent away, and may come back. At every tick. */
  | { readonly type: 'stuck'; readonly worker: number; readonly rows: number; readonly owedMs: number }
  /** No worker can compute these leaves. */
  | {
      readonly type: 'giveUp';
      readonly from: number;
      readonly to: number;
      readonly cause: GiveUpCause;
      readonly message: string;
    };

/** `fast` guards against accidents; `strong` against a worker that looks for a second sum of the same digest. */
export type DigestKind = 'fast' | 'strong';

/** Who a worker is beyond its session: a process of a machine, as it says itself. */
export interface WorkerProcess {
  readonly host: string;
  readonly pid: number;
}

/** Something that happened to the roster. */
export type RosterEvent =
  | {
      readonly type: 'sessionReady';
      readonly worker: number;
      readonly process: WorkerProcess;
      /** Names the process to itself: a worker that comes back shows the same. */
      readonly instance: string;
      /** Where it comes from. */
      readonly address: string;
      readonly threads: number;
      /** Optimizer steps committed by now. */
      readonly step: number;
    }
  | {
      readonly type: 'sessionLost';
      readonly worker: number;
      readonly isPolite: boolean;
      /** Whether any result has come from it. */
      readonly hasAnswered: boolean;
    }
  /** Somebody waits for this many workers. */
  | { readonly type: 'workersRequired'; readonly count: number };

/** Something to do about the roster. */
export type RosterCommand =
  /** The worker takes part from now on: it needs the weights. */
  | { readonly type: 'admit'; readonly worker: number }
  /** Workers of its address keep vanishing: it takes part after this time. */
  | { readonly type: 'rest'; readonly worker: number; readonly restMs: number }
  /** The worker has come back in another session, and this one is what is left of it. */
  | { readonly type: 'supersede'; readonly worker: number }
  | { readonly type: 'refuse'; readonly worker: number; readonly reason: string }
  | {
      readonly type: 'banned';
      readonly worker: number;
      readonly process: string;
      readonly reason: string;
      /** Steps that were committed when its process first joined. */
      readonly joinedAtStep: number;
    }
  | { readonly type: 'waiting'; readonly have: number; readonly need: number; readonly waitedMs: number }
  /** As many workers as were asked for are there. */
  | { readonly type: 'gathered' }
  | { readonly type: 'starved'; readonly have: number; readonly need: number };
