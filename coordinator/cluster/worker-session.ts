// One connected worker, from hello to goodbye: checks that it may take part, sends it the dataset,
// then passes its results on. Knows nothing of rounds.
import { randomBytes } from 'node:crypto';
import { isLoopback } from '../../src/protocol/connection.ts';
import type { Connection } from '../../src/protocol/connection.ts';
import { encodeHead, encodeMessage } from '../../src/protocol/envelope.ts';
import { isProof } from '../../src/protocol/instance.ts';
import { CHUNK_FRAGMENT_BYTES, MAX_BODY_BYTES, PROTOCOL_VERSION } from '../../src/protocol/limits.ts';
import type {
  CoordinatorMessage,
  FetchMessage,
  HelloMessage,
  KernelIdentity,
  MembersMessage,
  ReadyMessage,
  ResultMessage,
  SharedMemoryOffer,
  WorkerMessage,
} from '../../src/protocol/message-types.ts';
import { parseWorkerMessage } from '../../src/protocol/messages.ts';
import { CLOSE, ProtocolError } from '../../src/protocol/protocol-error.ts';
import type { Body, SharedFile } from '../../src/protocol/shared-file.ts';
import { VERSION } from '../../src/version.ts';
import { streamedRoundBytes } from '../../src/engine/samples.ts';
import type { CommonWelcome } from '../training/run-descriptions.ts';
import type { Placement } from './placement.ts';
import { SharedResults } from './shared-results.ts';

/** The end of a session. */
export interface SessionEnd {
  readonly reason: string;
  /** True if we told it to stop, or it said goodbye. */
  readonly isPolite: boolean;
}

/** The facts that a worker must match or is told, and the receivers of its messages. */
export interface SessionContext {
  /** The kernel build that the run computes with. */
  readonly kernels: KernelIdentity;
  /** Sent to workers from where it lies. */
  readonly dataset: Uint8Array;
  readonly welcome: CommonWelcome;
  /** The file of weights that is offered to workers of this machine. */
  readonly weightsFile: SharedFile | undefined;
  /** The places of workers; undefined where all of them have theirs here. */
  readonly placement?: Placement | undefined;
  /** A worker with more unread bytes than this is disconnected. */
  readonly maxQueuedBytes: number;
  /** The reason why an instance may not take part; undefined if it may. */
  readonly banOf: (instance: string) => string | undefined;
  /** The number by which people know an instance, in all its sessions. */
  readonly numberOf: (instance: string) => number;
  readonly onReady: (session: WorkerSession) => void;
  /** The workers below it, by instance, have changed. */
  readonly onMembers: (session: WorkerSession, instances: readonly string[]) => void;
  readonly onResult: (session: WorkerSession, message: ResultMessage, body: Body) => void;
  /**
   * Once, whatever the reason: from then on the worker is not heard, though its connection
   * may take a moment to end.
   */
  readonly onGone: (session: WorkerSession, end: SessionEnd) => void;
  /** Runs handlers of sockets and timers, as `Cluster.guard` does. */
  readonly guard: (work: () => void) => void;
}

/** A worker greets at once. */
const GREETING_DEADLINE_MS = 30_000;
/**
 * Time between two steps of loading: the welcome, a request for a chunk, a chunk taken.
 * Nobody waits for the worker meanwhile; and where 1,000 share a line of 20 Mbit/s, 256
 * KiB for each take 105 s.
 */
const LOADING_DEADLINE_MS = 120_000;
/** Time between two signs of life for a tab, which waits for twelve. */
const ALIVE_MS = 5000;
/** Chunks that a worker may wait for at a time; ours asks for four, so that the line is never idle. */
const MAX_CHUNKS_AHEAD = 8;

/** Most bytes queued for a worker that does not read, besides two versions of the weights and streamed rows. */
const MAX_QUEUED_BYTES = 64 * 2 ** 20;

/** The number of unread bytes beyond which a worker is disconnected. */
export function maxQueuedBytes(numParameters: number, welcome: CommonWelcome): number {
  const { batchSize, isStreamed, layout } = welcome;
  const streamed = isStreamed ? 2 * streamedRoundBytes(layout, batchSize) : 0;
  return MAX_QUEUED_BYTES + 2 * 4 * numParameters + streamed;
}

/** The bytes that workers may fetch of a streamed dataset. */
export const NO_DATASET = new Uint8Array(0);

/** The coordinator's side of one connection. */
export class WorkerSession {
  readonly id: number;
  #connection: Connection;
  #context: SessionContext;
  #state: 'greeting' | 'loading' | 'ready' | 'gone' = 'greeting';
  #joinTimer: NodeJS.Timeout;
  #aliveTimer: NodeJS.Timeout | undefined;
  #bytesAsked = 0;
  /** Chunks that it has asked for and not taken yet. */
  #numChunksAhead = 0;
  readonly #nonce = randomBytes(8).toString('hex');
  #results: SharedResults | undefined;
  #sharesMemory = false;
  #hello: HelloMessage | undefined;
  #goodbye: string | undefined;
  #isPolite = false;
  #hasAnswered = false;

  constructor(id: number, connection: Connection, context: SessionContext) {
    this.id = id;
    this.#connection = connection;
    this.#context = context;
    this.#joinTimer = this.#startTimer(GREETING_DEADLINE_MS, 'did not say hello');
    connection.onMessage((data) => context.guard(() => this.#receive(data)));
    connection.onClose((code, reason) =>
      context.guard(() => this.#end(this.#goodbye ?? (reason || `connection closed (code ${code})`))),
    );
  }

  /** Names the worker's process; proven once the session is ready. */
  get instance(): string {
    return this.#hello?.instance ?? '';
  }

  get remoteAddress(): string {
    return this.#connection.remoteAddress;
  }

  /** True once it has delivered anything but failures. */
  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /** Threads it computes with. */
  get threads(): number {
    return this.#hello?.threads ?? 1;
  }

  /** True if weights and results travel in files, where these have room. */
  get sharesMemory(): boolean {
    return this.#sharesMemory;
  }

  /** The number by which people know the worker, also when it has come back; 0 before it has said hello. */
  get number(): number {
    return this.#hello ? this.#context.numberOf(this.#hello.instance) : 0;
  }

  /** The worker as people know it; by what it says itself, which may be true of several. */
  get name(): string {
    if (!this.#hello) return `a worker of ${this.#connection.remoteAddress}`;
    const { name, host, isTab, pid, runtime } = this.#hello;
    const who = this.#connection.tokenName ?? name ?? host;
    return `worker ${this.number} (${who} ${isTab ? `browser ${runtime}` : `pid ${pid}`})`;
  }

  /** Queues an encoded message; drops a worker that has stopped reading. */
  send(data: Buffer): void {
    if (this.#isLeaving) return;
    const { bufferedBytes } = this.#connection;
    if (bufferedBytes > this.#context.maxQueuedBytes + data.byteLength) {
      // Not `close`: it would wait for the peer to read.
      this.#connection.terminate();
      return this.#dismiss(`does not read: ${bufferedBytes} bytes are queued for it`);
    }
    this.#connection.send(data);
  }

  /**
   * Ends the session: its work is free at once, however long the goodbye takes. `onGone` is called
   * only after the caller is done with what it is doing.
   */
  evict(code: number, reason: string): void {
    if (this.#isLeaving) return;
    this.#connection.dropQueued();
    this.#connection.close(code, reason);
    this.#dismiss(reason);
  }

  /** Sends the worker away for good: it need not come back. */
  ban(reason: string): void {
    if (this.#isLeaving) return;
    this.#connection.dropQueued();
    this.#sendMessage({ type: 'refuse', ...banned(reason) });
    this.#connection.close(CLOSE.banned, reason);
    this.#dismiss(reason);
  }

  /**
   * Says goodbye: for good if the run is over, else until the coordinator is there again. Weights
   * that the worker has not got yet, nobody needs any more.
   */
  finish(reason: string, isOver: boolean): void {
    if (this.#isLeaving) return;
    this.#connection.dropQueued();
    if (isOver) this.#sendMessage({ type: 'stop', reason });
    this.#isPolite = true;
    this.#goodbye = reason;
    this.#connection.close(isOver ? CLOSE.normal : CLOSE.goingAway, reason);
  }

  get #isLeaving(): boolean {
    return this.#state === 'gone' || this.#goodbye !== undefined;
  }

  #dismiss(reason: string): void {
    this.#goodbye = reason;
    queueMicrotask(() => this.#context.guard(() => this.#end(reason)));
  }

  #sendMessage(message: CoordinatorMessage): void {
    this.send(encodeMessage(message));
  }

  #startTimer(deadlineMs: number, what: string): NodeJS.Timeout {
    const evict = (): void => this.evict(CLOSE.timeout, `${what} for ${deadlineMs / 1000} s`);
    return setTimeout(() => this.#context.guard(evict), deadlineMs).unref();
  }

  #receive(data: Buffer): void {
    if (this.#isLeaving) return;
    try {
      const { message, body } = parseWorkerMessage(data);
      this.#dispatch(message, body);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.evict(error.closeCode, error.message);
    }
  }

  #dispatch(message: WorkerMessage, body: Uint8Array): void {
    switch (message.type) {
      case 'hello':
        this.#requireState('greeting', message.type);
        return this.#answerHello(message);
      case 'fetch':
        this.#requireState('loading', message.type);
        return this.#takeFetch(message);
      case 'ready':
        this.#requireState('loading', message.type);
        return this.#becomeReady(message);
      case 'members':
        this.#requireState('ready', message.type);
        return this.#takeMembers(message);
      case 'leave':
        this.#isPolite = true;
        return this.evict(CLOSE.normal, 'it said goodbye');
      case 'gradient':
      case 'evaluation':
      case 'finished':
      case 'failure':
        this.#requireState('ready', message.type);
        return this.#takeResult(message, body);
      default:
        return message satisfies never;
    }
  }

  #takeMembers({ instances }: MembersMessage): void {
    const { placement } = this.#context;
    if (placement?.fanInOf(this.instance) === undefined)
      throw unexpected('"members" came from a worker that is to take none');
    placement.noteMembers(this, instances.length);
    this.#context.onMembers(this, instances);
  }

  #takeResult(message: ResultMessage, body: Uint8Array): void {
    const extent = 'extent' in message ? message.extent : undefined;
    if (extent && !this.#sharesMemory) throw unexpected(`"${message.type}" names a file that is not shared`);
    this.#context.onResult(this, message, (extent && this.#results?.at(extent)) ?? body);
    if (extent) this.#results?.noteTaken();
    this.#hasAnswered ||= message.type !== 'failure' && !this.#isLeaving;
  }

  #requireState(state: 'greeting' | 'loading' | 'ready', type: string): void {
    if (this.#state === state) return;
    throw unexpected(`"${type}" came while ${this.#state}`);
  }

  #answerHello(hello: HelloMessage): void {
    this.#hello = hello;
    const mismatch = this.#findMismatch(hello);
    const ban = this.#context.banOf(hello.instance);
    if (ban !== undefined) return this.ban(ban);
    if (mismatch) {
      this.#sendMessage({ type: 'refuse', code: mismatch.code, message: mismatch.message });
      return this.evict(CLOSE.incompatible, mismatch.message);
    }
    if (hello.isTab)
      this.#aliveTimer = setInterval(() => this.#sendMessage({ type: 'alive' }), ALIVE_MS).unref();
    const { placement, welcome } = this.#context;
    const url = placement?.place(this, hello);
    if (url !== undefined) return this.#sendOn(url);
    this.#state = 'loading';
    this.#awaitLoading();
    const sharedMemory = this.#offerFiles();
    const fanIn = placement?.fanInOf(hello.instance);
    this.#sendMessage({ ...welcome, worker: this.id, nonce: this.#nonce, sharedMemory, fanIn });
  }

  /** Sends the worker on to an aggregator. */
  #sendOn(url: string): void {
    this.#sendMessage({ type: 'redirect', url });
    this.#isPolite = true;
    this.evict(CLOSE.normal, `sent on to ${url}`);
  }

  /** Makes a file for the results of a worker that may be of this machine. */
  #offerFiles(): SharedMemoryOffer | undefined {
    const { weightsFile } = this.#context;
    if (!weightsFile || this.#hello?.isTab || !isLoopback(this.remoteAddress)) return undefined;
    try {
      this.#results = new SharedResults(weightsFile);
    } catch {
      // There is no memory, or no descriptor, for one more file.
    }
    return this.#results?.offer;
  }

  /** Compares the builds of both sides: equal bits need equal kernels that compute equal results. */
  #findMismatch(hello: HelloMessage): { code: string; message: string } | undefined {
    const { kernels, welcome } = this.#context;
    const own = hello.kernels[welcome.numerics];
    const install = `install the same version on both (worker ${hello.version}, coordinator ${VERSION})`;
    if (hello.protocol !== PROTOCOL_VERSION) {
      const message = `worker speaks protocol ${hello.protocol}, coordinator ${PROTOCOL_VERSION}: ${install}`;
      return { code: 'E_PROTOCOL_VERSION', message };
    }
    if (!own) {
      const message = `worker has no ${welcome.numerics} kernels, because it has no relaxed SIMD (${hello.runtime}, ${hello.platform}): use Node.js 22 or newer there, or set numerics: strict`;
      return { code: 'E_NO_RELAXED_SIMD', message };
    }
    if (own.sha256 !== kernels.sha256) {
      const message = `worker has ${welcome.numerics} kernels ${short(own.sha256)}, coordinator ${short(kernels.sha256)}: ${install}`;
      return { code: 'E_KERNEL_MISMATCH', message };
    }
    if (own.knownAnswer !== kernels.knownAnswer) {
      const message = `worker's ${welcome.numerics} kernels give ${short(own.knownAnswer)} for the known-answer shard, not ${short(kernels.knownAnswer)}: its machine (${hello.platform}, ${hello.runtime}) computes other bits`;
      return { code: 'E_KNOWN_ANSWER', message };
    }
    return undefined;
  }

  /**
   * Serves a request. Each byte is served once: a worker asks for the chunks in their
   * order, and for none again.
   */
  #takeFetch({ sha256, offset, length }: FetchMessage): void {
    const { welcome, dataset } = this.#context;
    const expected = Math.min(MAX_BODY_BYTES, dataset.byteLength - this.#bytesAsked);
    if (sha256 !== welcome.datasetSha256 || offset !== this.#bytesAsked || length !== expected) {
      const end = this.#bytesAsked + expected;
      throw unexpected(
        `asked for bytes ${offset} to ${offset + length} of dataset ${short(sha256)}, not for ${this.#bytesAsked} to ${end} of ${short(welcome.datasetSha256)}`,
      );
    }
    if (this.#numChunksAhead === MAX_CHUNKS_AHEAD) {
      throw unexpected(`asked for more than ${MAX_CHUNKS_AHEAD} chunks of the dataset ahead`);
    }
    this.#bytesAsked += length;
    this.#numChunksAhead++;
    this.#awaitLoading();
    this.#sendChunk(sha256, offset, length);
  }

  /**
   * Sends a chunk in fragments, one in flight at a time: so all workers load at once, however many
   * of them do not read, and none waits for another.
   */
  #sendChunk(sha256: string, offset: number, length: number): void {
    const { buffer, byteOffset } = this.#context.dataset;
    const fragments = [encodeHead({ type: 'chunk', sha256, offset })];
    for (let start = 0; start < length; start += CHUNK_FRAGMENT_BYTES) {
      const size = Math.min(CHUNK_FRAGMENT_BYTES, length - start);
      fragments.push(Buffer.from(buffer, byteOffset + offset + start, size));
    }
    this.#connection.send(fragments, (isWhole) => {
      if (isWhole) this.#numChunksAhead--;
      this.#awaitLoading();
    });
  }

  /** Gives a worker that is not done with loading its time for the next step. */
  #awaitLoading(): void {
    clearTimeout(this.#joinTimer);
    const hasUntaken = this.#state === 'ready' && this.#numChunksAhead > 0;
    if (this.#state !== 'loading' && !hasUntaken) return;
    this.#joinTimer = this.#startTimer(LOADING_DEADLINE_MS, 'stopped loading the dataset');
  }

  #becomeReady({ proof, sharedNonce }: ReadyMessage): void {
    if (!isProof(proof, this.instance, { run: this.#context.welcome.run, nonce: this.#nonce })) {
      throw unexpected('"ready" does not prove the instance of "hello" on this connection');
    }
    if (sharedNonce !== undefined && !this.#results?.isProvenBy(sharedNonce)) {
      throw unexpected('"ready" does not prove that it has the file of results');
    }
    this.#sharesMemory = sharedNonce !== undefined;
    this.#state = 'ready';
    this.#awaitLoading();
    this.#context.onReady(this);
  }

  #end(reason: string): void {
    if (this.#state === 'gone') return;
    this.#state = 'gone';
    clearTimeout(this.#joinTimer);
    clearInterval(this.#aliveTimer);
    this.#results?.close();
    this.#context.placement?.remove(this);
    this.#context.onGone(this, { reason, isPolite: this.#isPolite });
  }
}

function banned(reason: string): { code: string; message: string } {
  return { code: 'E_BANNED', message: `banned from this run: ${reason}` };
}

function unexpected(message: string): ProtocolError {
  return new ProtocolError('E_UNEXPECTED_MESSAGE', message, CLOSE.protocol);
}

function short(sha256: string): string {
  return sha256.slice(0, 12);
}
