// One connected worker, from hello to goodbye: checks that it may take part, gives it the dataset, then
// passes its results on. Knows nothing of rounds.
import type { Connection } from '../src/protocol/connection.ts';
import { encodeMessage } from '../src/protocol/envelope.ts';
import { MAX_BODY_BYTES, PROTOCOL_VERSION } from '../src/protocol/limits.ts';
import type {
  CoordinatorMessage,
  EvaluationMessage,
  FailureMessage,
  FetchMessage,
  FinishedMessage,
  GradientMessage,
  HelloMessage,
  KernelIdentity,
  WelcomeMessage,
  WorkerMessage,
} from '../src/protocol/message-types.ts';
import { parseWorkerMessage } from '../src/protocol/messages.ts';
import { CLOSE, ProtocolError } from '../src/protocol/protocol-error.ts';
import { VERSION } from '../src/version.ts';
import type { WorkerProcess } from './machine/events.ts';

/** Messages about rounds, which the cluster handles. */
export type ResultMessage = GradientMessage | EvaluationMessage | FinishedMessage | FailureMessage;

/** How a session ended. */
export interface SessionEnd {
  readonly reason: string;
  /** True if the worker took part; false if it never got that far. */
  readonly wasReady: boolean;
  /** True if we told it to stop, or it said goodbye. */
  readonly isPolite: boolean;
}

/** What a worker must match, and what it is told. */
export interface SessionContext {
  /** Of the build that the run computes with. */
  readonly kernels: KernelIdentity;
  readonly datasetBlob: Uint8Array;
  readonly welcome: Omit<WelcomeMessage, 'worker'>;
  /** Why a process may not take part; undefined if it may. */
  readonly banOf: (process: WorkerProcess) => string | undefined;
  readonly onReady: (session: WorkerSession) => void;
  readonly onResult: (session: WorkerSession, message: ResultMessage, body: Uint8Array) => void;
  /** After the connection is gone, whatever the reason. */
  readonly onGone: (session: WorkerSession, end: SessionEnd) => void;
}

/** A worker must greet, and while it loads the dataset ask for more, within this time. */
const JOIN_DEADLINE_MS = 30_000;
/** Bytes queued for a worker that does not read: beyond this it is dropped. */
const MAX_QUEUED_BYTES = 64 * 2 ** 20;

/** See the head of this file. */
export class WorkerSession {
  readonly id: number;
  #connection: Connection;
  #context: SessionContext;
  #state: 'greeting' | 'loading' | 'ready' | 'gone' = 'greeting';
  #joinTimer: NodeJS.Timeout;
  #hello: HelloMessage | undefined;
  #goodbye: string | undefined;
  #isPolite = false;

  constructor(id: number, connection: Connection, context: SessionContext) {
    this.id = id;
    this.#connection = connection;
    this.#context = context;
    this.#joinTimer = this.#startJoinTimer();
    connection.onMessage((data) => this.#receive(data));
    connection.onClose((code, reason) => this.#closed(code, reason));
  }

  /** Threads it computes with. */
  get threads(): number {
    return this.#hello?.threads ?? 1;
  }

  /** As it says itself. */
  get process(): WorkerProcess {
    return { host: this.#hello?.host ?? this.#connection.remoteAddress, pid: this.#hello?.pid ?? 0 };
  }

  /** The worker as people know it. */
  get name(): string {
    const who = this.#hello ? `${this.#hello.host} pid ${this.#hello.pid}` : this.#connection.remoteAddress;
    return `worker ${this.id} (${who})`;
  }

  /** Queues an encoded message; drops a worker that has stopped reading. */
  send(data: Buffer): void {
    if (this.#state === 'gone') return;
    if (this.#connection.bufferedBytes > MAX_QUEUED_BYTES + data.byteLength) {
      this.#goodbye = `does not read: ${this.#connection.bufferedBytes} bytes are queued for it`;
      this.#connection.terminate();
      return;
    }
    this.#connection.send(data);
  }

  /** Ends the session for a fault of the worker's. */
  evict(code: number, reason: string): void {
    if (this.#state === 'gone') return;
    this.#goodbye = reason;
    this.#connection.close(code, reason.slice(0, 120));
  }

  /** Sends the worker away for good: it need not come back. */
  ban(reason: string): void {
    this.#sendMessage({ type: 'refuse', ...banned(reason) });
    this.evict(CLOSE.banned, reason);
  }

  /** Tells the worker that the run is over. */
  stop(reason: string): void {
    this.#sendMessage({ type: 'stop', reason });
    this.#isPolite = true;
    this.#goodbye = reason;
    this.#connection.close(CLOSE.normal, reason.slice(0, 120));
  }

  #sendMessage(message: CoordinatorMessage, body?: Uint8Array): void {
    this.send(encodeMessage(message, body));
  }

  #startJoinTimer(): NodeJS.Timeout {
    return setTimeout(() => {
      const what = this.#state === 'greeting' ? 'did not say hello' : 'stopped loading the dataset';
      this.evict(CLOSE.timeout, `${what} for ${JOIN_DEADLINE_MS / 1000} s`);
    }, JOIN_DEADLINE_MS).unref();
  }

  #receive(data: Buffer): void {
    if (this.#state === 'gone') return;
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
        return this.#greet(message);
      case 'fetch':
        this.#requireState('loading', message.type);
        return this.#sendChunk(message);
      case 'ready':
        this.#requireState('loading', message.type);
        return this.#becomeReady();
      case 'leave':
        this.#isPolite = true;
        this.#goodbye = 'it said goodbye';
        return this.#connection.close(CLOSE.normal, 'goodbye');
      case 'gradient':
      case 'evaluation':
      case 'finished':
      case 'failure':
        this.#requireState('ready', message.type);
        return this.#context.onResult(this, message, body);
      default:
        return message satisfies never;
    }
  }

  #requireState(state: 'greeting' | 'loading' | 'ready', type: string): void {
    if (this.#state === state) return;
    throw new ProtocolError('E_UNEXPECTED_MESSAGE', `"${type}" came while ${this.#state}`, CLOSE.protocol);
  }

  #greet(hello: HelloMessage): void {
    this.#hello = hello;
    const mismatch = this.#findMismatch(hello);
    const ban = this.#context.banOf(hello);
    if (ban !== undefined) return this.ban(ban);
    if (mismatch) {
      this.#sendMessage({ type: 'refuse', code: mismatch.code, message: mismatch.message });
      return this.evict(CLOSE.incompatible, mismatch.message);
    }
    this.#state = 'loading';
    this.#joinTimer.refresh();
    this.#sendMessage({ ...this.#context.welcome, worker: this.id });
  }

  /** Equal bits need equal kernels that give equal answers; each is named on both sides. */
  #findMismatch(hello: HelloMessage): { code: string; message: string } | undefined {
    const { kernels, welcome } = this.#context;
    const own = hello.kernels[welcome.numerics];
    const install = `install the same version on both (worker ${hello.version}, coordinator ${VERSION})`;
    if (hello.protocol !== PROTOCOL_VERSION) {
      const message = `worker speaks protocol ${hello.protocol}, coordinator ${PROTOCOL_VERSION}: ${install}`;
      return { code: 'E_PROTOCOL_VERSION', message };
    }
    if (!own) {
      const message = `worker has no ${welcome.numerics} kernels, because its Node.js (${hello.node}, ${hello.platform}) has no relaxed SIMD: use Node.js 22 or newer there, or set numerics: strict`;
      return { code: 'E_NO_RELAXED_SIMD', message };
    }
    if (own.sha256 !== kernels.sha256) {
      const message = `worker has ${welcome.numerics} kernels ${short(own.sha256)}, coordinator ${short(kernels.sha256)}: ${install}`;
      return { code: 'E_KERNEL_MISMATCH', message };
    }
    if (own.knownAnswer !== kernels.knownAnswer) {
      const message = `worker's ${welcome.numerics} kernels give ${short(own.knownAnswer)} for the known-answer shard, not ${short(kernels.knownAnswer)}: its machine (${hello.platform}, Node.js ${hello.node}) computes other bits`;
      return { code: 'E_KNOWN_ANSWER', message };
    }
    return undefined;
  }

  #sendChunk(fetch: FetchMessage): void {
    const { welcome, datasetBlob } = this.#context;
    const end = fetch.offset + fetch.length;
    if (
      fetch.sha256 !== welcome.datasetSha256 ||
      end > datasetBlob.byteLength ||
      fetch.length > MAX_BODY_BYTES
    ) {
      const message = `asked for bytes ${fetch.offset} to ${end} of dataset ${short(fetch.sha256)}`;
      throw new ProtocolError('E_UNEXPECTED_MESSAGE', message, CLOSE.protocol);
    }
    this.#joinTimer.refresh();
    const body = datasetBlob.subarray(fetch.offset, end);
    this.#sendMessage({ type: 'chunk', sha256: fetch.sha256, offset: fetch.offset }, body);
  }

  #becomeReady(): void {
    this.#state = 'ready';
    clearTimeout(this.#joinTimer);
    this.#context.onReady(this);
  }

  #closed(code: number, reason: string): void {
    const wasReady = this.#state === 'ready';
    this.#state = 'gone';
    clearTimeout(this.#joinTimer);
    const why = this.#goodbye ?? (reason || `connection closed (code ${code})`);
    this.#context.onGone(this, { reason: why, wasReady, isPolite: this.#isPolite });
  }
}

function banned(reason: string): { code: string; message: string } {
  return { code: 'E_BANNED', message: `banned from this run: ${reason}` };
}

function short(sha256: string): string {
  return sha256.slice(0, 12);
}
