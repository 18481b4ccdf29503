// Every message, by direction. The contents of a body are described with its message;
// other messages have no body. All integers are safe integers. `HexN` stands for N
// lower-case hexadecimal digits.
import type { RowLayout } from '../data/dataset/packed-dataset.ts';
import type { Numerics } from '../kernels/kernels.ts';
import type { LayerSpec } from '../layers/registry.ts';
import type { LossSpec } from '../losses/registry.ts';
import type { Extent } from './shared-file.ts';

/** The task that a result belongs to. A result of a round that is over is late, and is dropped. */
export interface TaskKey {
  readonly run: string;
  /**
   * Number of the round: training steps and parts of evaluations, restarts
   * included, counted over the run.
   */
  readonly round: number;
  /** Number of the task, counted over the run. */
  readonly task: number;
}

/** A build of the kernels, and what it computes. */
export interface KernelIdentity {
  /** SHA-256 of the kernels' WebAssembly. */
  readonly sha256: string;
  /** SHA-256 of the gradients of a built-in shard. */
  readonly knownAnswer: string;
}

/**
 * The builds that a worker has: without relaxed SIMD it lacks the fused one, and
 * may still join strict runs.
 */
export interface KernelIdentities {
  readonly strict: KernelIdentity;
  readonly fused?: KernelIdentity | undefined;
}

/** The first message of a worker: what it is, and proof that its kernels compute the same bits. */
export interface HelloMessage {
  readonly type: 'hello';
  readonly protocol: number;
  readonly version: string;
  readonly kernels: KernelIdentities;
  /** Compute threads, 1 to 256. */
  readonly threads: number;
  /** The program that runs it, and its version: `Node.js v22.2.0`, or `Chrome 141` for a tab. */
  readonly runtime: string;
  readonly platform: string;
  /** The name that its user has given it; its host's stands for it otherwise. */
  readonly name?: string | undefined;
  /** Host and process id are for people: containers share both, and a tab has neither. */
  readonly host: string;
  readonly pid: number;
  /** True of a tab of a browser, which sees no pings, and so is to get `alive` instead. */
  readonly isTab?: boolean | undefined;
  /** `Hex64`, the name of the process's `Instance`: a worker that comes back is known by it. */
  readonly instance: string;
  /** The port at which it may take workers of its own, at `host` or the address that it comes from. */
  readonly listen?:
    | {
        readonly host?: string | undefined;
        readonly port: number;
        /** Set if it speaks TLS. */
        readonly isSecure?: boolean | undefined;
      }
    | undefined;
  /** The aggregator that it was sent on to and could not stay with: it is to be taken here. */
  readonly unreachable?: string | undefined;
}

/** Asks for `length` bytes of the dataset; at most one body's worth. */
export interface FetchMessage {
  readonly type: 'fetch';
  readonly sha256: string;
  readonly offset: number;
  readonly length: number;
}

/** The worker has the dataset and takes work from now on. */
export interface ReadyMessage {
  readonly type: 'ready';
  /** `Hex128`: the instance of `hello` has signed the run and the nonce of `welcome`. */
  readonly proof: string;
  /** `Hex64`, read in the file of results that `welcome` offered: from now on both sides use the files. */
  readonly sharedNonce?: string | undefined;
}

/** A body that lies in a file which both sides have open, and so does not come with its message. */
interface SharedBody {
  readonly extent?: Extent | undefined;
}

/** One bucket of the sum of gradients under one node of the tree. Body: f32, or packed (`GradientSums`). */
export interface GradientMessage extends TaskKey, SharedBody {
  readonly type: 'gradient';
  readonly level: number;
  readonly index: number;
  readonly bucket: number;
  /** Fingerprint of the weights that it was computed with. */
  readonly weightsFingerprint: string;
  /** Fingerprint of the f32. */
  readonly fingerprint: string;
  /** Sent once per node. May be NaN or infinite: a diverged loss must reach the coordinator. */
  readonly lossSum?: number | undefined;
}

/** Model outputs for the rows of one shard of an evaluation. Body: f32. */
export interface EvaluationMessage extends TaskKey, SharedBody {
  readonly type: 'evaluation';
  readonly shard: number;
  /** May be NaN or infinite. */
  readonly lossSum: number;
  readonly weightsFingerprint: string;
  readonly fingerprint: string;
}

/** A task is done, and all its results are sent. */
export interface FinishedMessage extends TaskKey {
  readonly type: 'finished';
  readonly computeMs: number;
  readonly sendMs: number;
  readonly residentBytes: number;
}

/** A task could not be computed. */
export interface FailureMessage extends TaskKey {
  readonly type: 'failure';
  readonly message: string;
}

/** An aggregator's report of the workers below it, whenever these have changed. */
export interface MembersMessage {
  readonly type: 'members';
  /** `Hex64` each. */
  readonly instances: readonly string[];
}

/** Messages about tasks. */
export type ResultMessage = GradientMessage | EvaluationMessage | FinishedMessage | FailureMessage;

/** A polite goodbye; nothing follows. */
export interface LeaveMessage {
  readonly type: 'leave';
}

/**
 * Files in memory by which a worker on the coordinator's machine may get weights and leave results,
 * by their descriptors in the coordinator's process.
 */
export interface SharedMemoryOffer {
  readonly pid: number;
  readonly weights: number;
  readonly results: number;
  /** SHA-256 of the nonce at the start of the file of results. */
  readonly sha256: string;
}

/** Answers `hello`: the run, the model and the dataset. Weights follow with the first work. */
export interface WelcomeMessage {
  readonly type: 'welcome';
  readonly run: string;
  /** The session's number among those of its coordinator or aggregator. */
  readonly worker: number;
  /** `Hex16`, drawn for this connection. */
  readonly nonce: string;
  readonly layers: readonly LayerSpec[];
  /** True where weights and gradients travel in small buckets: workers are on other machines. */
  readonly smallBuckets?: boolean | undefined;
  readonly seed: number;
  readonly loss: LossSpec;
  readonly batchSize: number;
  readonly shards: number;
  /** Most groups of shards whose sums are rounded, and travel as bfloat16; absent where all are f32. */
  readonly groups?: number | undefined;
  /** The build of the kernels that computes. */
  readonly numerics: Numerics;
  readonly layout: RowLayout;
  /** True where the worker is to fetch no dataset: each task brings its rows. */
  readonly isStreamed?: boolean | undefined;
  readonly datasetSha256: string;
  readonly sharedMemory?: SharedMemoryOffer | undefined;
  /** Workers that this one may take itself before it sends others on; undefined where it is to take none. */
  readonly fanIn?: number | undefined;
}

/** Answers `hello` of a worker that another one is to take; the connection is closed after it. */
export interface RedirectMessage {
  readonly type: 'redirect';
  /** `ws://HOST:PORT` of that worker. */
  readonly url: string;
}

/** Answers `hello` of a worker that cannot take part; the connection is closed after it. */
export interface RefuseMessage {
  readonly type: 'refuse';
  readonly code: string;
  readonly message: string;
}

/** Answers `fetch`. Body: bytes of the dataset. */
export interface ChunkMessage {
  readonly type: 'chunk';
  readonly sha256: string;
  readonly offset: number;
}

/**
 * Rows of a task of a streamed dataset, packed as a dataset of their own: all of them, in order, before
 * the task. Body: as many bytes of them as a message holds.
 */
export interface RowsMessage extends TaskKey {
  readonly type: 'rows';
  /** CRC-32 of the body. */
  readonly checksum: number;
}

/** One bucket of the weights. Encoded once and sent to all. Body: f32. */
export interface WeightsMessage extends SharedBody {
  readonly type: 'weights';
  readonly run: string;
  /** Number of changes of the weights so far: optimizer steps and replacements by other weights. */
  readonly version: number;
  readonly bucket: number;
  /** Fingerprint of the body. */
  readonly fingerprint: string;
}

/**
 * A contiguous task of shards to compute. Body: u32, the rows of all its shards,
 * one shard after the other.
 */
interface TaskMessage extends TaskKey {
  /** Version of the weights to use, which were sent before. */
  readonly version: number;
  /** Fingerprint of all those weights. */
  readonly weightsFingerprint: string;
  /** Shards of the whole tree. */
  readonly numShards: number;
  /** Shard `firstShard + i` is rows `[bounds[i], bounds[i + 1])` of the body; no shard is empty. */
  readonly firstShard: number;
  readonly bounds: readonly number[];
}

/** A task of shards: forward and backward pass. */
export interface TrainMessage extends TaskMessage {
  readonly type: 'train';
  /** Optimizer steps taken before: keys random draws. */
  readonly step: number;
}

/** A task of shards of an evaluation: forward pass only. */
export interface EvaluateMessage extends TaskMessage {
  readonly type: 'evaluate';
}

/** The coordinator is there: sent now and then to a tab, whose socket does not show pings. */
export interface AliveMessage {
  readonly type: 'alive';
}

/** The run is over; the worker need not come back. */
export interface StopMessage {
  readonly type: 'stop';
  readonly reason: string;
}

/** A message that a worker sends. */
export type WorkerMessage =
  | HelloMessage
  | FetchMessage
  | ReadyMessage
  | GradientMessage
  | EvaluationMessage
  | FinishedMessage
  | FailureMessage
  | MembersMessage
  | LeaveMessage;

/** A message that the coordinator sends. */
export type CoordinatorMessage =
  | WelcomeMessage
  | RedirectMessage
  | RefuseMessage
  | ChunkMessage
  | WeightsMessage
  | RowsMessage
  | TrainMessage
  | EvaluateMessage
  | AliveMessage
  | StopMessage;

/** Any message. */
export type Message = WorkerMessage | CoordinatorMessage;

/** A message and the bytes that came with it. */
export interface Received<M> {
  readonly message: M;
  /** A view into the received buffer, at any alignment. */
  readonly body: Uint8Array;
}

/** The numbers of the types that a coordinator sends begin here; those of a worker's are below. */
export const FIRST_COORDINATOR_CODE = 101;

/** The number of each type in the envelope; numbers are never reused. */
export const TYPE_CODES: { readonly [Type in Message['type']]: number } = {
  hello: 1,
  fetch: 2,
  ready: 3,
  gradient: 4,
  evaluation: 5,
  finished: 6,
  failure: 7,
  leave: 8,
  members: 9,
  welcome: 101,
  refuse: 102,
  chunk: 103,
  weights: 104,
  train: 105,
  evaluate: 106,
  stop: 107,
  redirect: 108,
  rows: 109,
  alive: 110,
};
