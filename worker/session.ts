// A worker's side of one connection: introduces itself, loads the dataset, then computes what it is sent,
// one range after the other, until it is told to stop or the connection ends.
import os from 'node:os';
import { blobByteLength } from '../src/data/dataset.ts';
import { failpoint } from '../src/failpoint.ts';
import type { Logger } from '../src/log.ts';
import type { Connection } from '../src/protocol/connection.ts';
import { encodeMessage } from '../src/protocol/envelope.ts';
import type { Instance } from '../src/protocol/instance.ts';
import { MAX_BODY_BYTES, PROTOCOL_VERSION } from '../src/protocol/limits.ts';
import type {
  ChunkMessage,
  CoordinatorMessage,
  EvaluateMessage,
  TrainMessage,
  WeightsMessage,
  WelcomeMessage,
  WorkerMessage,
} from '../src/protocol/message-types.ts';
import { parseCoordinatorMessage } from '../src/protocol/messages.ts';
import { CLOSE, ProtocolError } from '../src/protocol/protocol-error.ts';
import { VERSION } from '../src/version.ts';
import type { KernelBuilds } from './kernel-builds.ts';
import { RangeAnswer } from './range-answer.ts';
import { Replica } from './replica.ts';

/** What a session works with. `replica` is what an earlier session of the same run left behind. */
export interface SessionOptions {
  readonly connection: Connection;
  readonly instance: Instance;
  readonly kernelBuilds: KernelBuilds;
  readonly numThreads: number;
  readonly replica: Replica | undefined;
  readonly log: Logger;
}

/** How a session ended, and what the next one may use. */
export interface SessionEnd {
  readonly kind: 'stopped' | 'refused' | 'lost' | 'failed';
  readonly reason: string;
  readonly replica: Replica | undefined;
  readonly rangesDone: number;
}

interface Job {
  readonly message: TrainMessage | EvaluateMessage;
  readonly indices: Uint32Array;
}

/** Chunks of the dataset asked for ahead, so that the line is never idle. */
const CHUNKS_IN_FLIGHT = 4;

/** Runs a session to its end. Never rejects: the end says what happened. */
export function runSession(options: SessionOptions, signal: AbortSignal): Promise<SessionEnd> {
  return new Promise((resolve) => {
    const leave = (): void => session.leave();
    const session = new Session(options, (end) => {
      signal.removeEventListener('abort', leave);
      resolve(end);
    });
    signal.addEventListener('abort', leave, { once: true });
  });
}

class Session {
  readonly #connection: Connection;
  readonly #options: SessionOptions;
  readonly #onEnd: (end: SessionEnd) => void;
  #replica: Replica | undefined;
  #end: { kind: SessionEnd['kind']; reason: string } | undefined;
  #jobs: Job[] = [];
  #latestRound = 0;
  #isComputing = false;
  #welcome: WelcomeMessage | undefined;
  #bytesAsked = 0;
  #bytesLoaded = 0;
  #rangesDone = 0;

  constructor(options: SessionOptions, onEnd: (end: SessionEnd) => void) {
    this.#options = options;
    this.#connection = options.connection;
    this.#onEnd = onEnd;
    this.#replica = options.replica;
    this.#connection.onMessage((data) => void this.#receive(data));
    this.#connection.onClose((code, reason) => this.#closed(code, reason));
    this.#sayHello();
  }

  /** Says goodbye; the coordinator gives open ranges to others. */
  leave(): void {
    this.#end ??= { kind: 'stopped', reason: 'this worker was told to leave' };
    this.#send({ type: 'leave' });
    this.#connection.close(CLOSE.normal, 'leaving');
  }

  #send(message: WorkerMessage, body?: Uint8Array): void {
    this.#connection.send(encodeMessage(message, body));
  }

  #sayHello(): void {
    const { instance, kernelBuilds, numThreads } = this.#options;
    this.#send({
      type: 'hello',
      protocol: PROTOCOL_VERSION,
      version: VERSION,
      kernels: kernelBuilds.identities,
      threads: numThreads,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      host: os.hostname().slice(0, 255),
      pid: process.pid,
      instance: instance.name,
    });
  }

  async #receive(data: Buffer): Promise<void> {
    if (this.#end) return;
    try {
      const { message, body } = parseCoordinatorMessage(data);
      await this.#dispatch(message, body);
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    const isProtocolError = error instanceof ProtocolError;
    const reason = error instanceof Error ? error.message : String(error);
    this.#end ??= { kind: 'failed', reason };
    this.#connection.close(isProtocolError ? error.closeCode : CLOSE.goingAway, reason.slice(0, 120));
  }

  async #dispatch(message: CoordinatorMessage, body: Uint8Array): Promise<void> {
    switch (message.type) {
      case 'welcome':
        return this.#startLoading(message);
      case 'refuse':
        this.#end = { kind: 'refused', reason: message.message };
        return this.#connection.close(CLOSE.normal, 'refused');
      case 'chunk':
        return this.#storeChunk(message, body);
      case 'weights':
        return this.#storeWeights(message, body);
      case 'train':
      case 'evaluate':
        this.#enqueue(message, body);
        return this.#computeNext();
      case 'stop':
        this.#end = { kind: 'stopped', reason: message.reason };
        return this.#connection.close(CLOSE.normal, 'stopping');
      default:
        return message satisfies never;
    }
  }

  #storeWeights(message: WeightsMessage, body: Uint8Array): void {
    const replica = this.#requireReplica(message.type);
    const { version, piece } = message;
    if (failpoint('worker.stale', { worker: this.#number, version, piece }) === 'skip') return;
    replica.storeWeights(message, body);
  }

  #requireReplica(type: string): Replica {
    if (this.#replica) return this.#replica;
    throw new ProtocolError('E_UNEXPECTED_MESSAGE', `"${type}" came before the dataset`, CLOSE.protocol);
  }

  async #startLoading(welcome: WelcomeMessage): Promise<void> {
    if (this.#welcome)
      throw new ProtocolError('E_UNEXPECTED_MESSAGE', 'a second "welcome" came', CLOSE.protocol);
    this.#welcome = welcome;
    const kept = this.#replica;
    if (kept?.run === welcome.run && kept.isLoaded) {
      await kept.whenIdle();
      return this.#sayReady(welcome);
    }
    this.#replica = undefined;
    await kept?.close();
    const { kernelBuilds, numThreads } = this.#options;
    const kernelModule = kernelBuilds.modules.get(welcome.numerics);
    if (!kernelModule) {
      const reason = `the run wants ${welcome.numerics} kernels, which "hello" did not name`;
      throw new ProtocolError('E_UNEXPECTED_MESSAGE', reason, CLOSE.protocol);
    }
    const replica = await Replica.create(welcome, kernelModule, numThreads);
    if (this.#end) return void (await replica.close());
    this.#replica = replica;
    for (let chunk = 0; chunk < CHUNKS_IN_FLIGHT; chunk++) this.#askForChunk(welcome);
  }

  #askForChunk({ layout, datasetSha256 }: WelcomeMessage): void {
    const length = Math.min(MAX_BODY_BYTES, blobByteLength(layout) - this.#bytesAsked);
    if (length === 0) return;
    this.#send({ type: 'fetch', sha256: datasetSha256, offset: this.#bytesAsked, length });
    this.#bytesAsked += length;
  }

  #storeChunk(message: ChunkMessage, body: Uint8Array): void {
    const replica = this.#requireReplica(message.type);
    const welcome = this.#welcome as WelcomeMessage;
    if (message.offset !== this.#bytesLoaded || this.#bytesLoaded + body.byteLength > this.#bytesAsked) {
      throw new ProtocolError(
        'E_MESSAGE_BODY',
        `chunk at ${message.offset} was not asked for`,
        CLOSE.protocol,
      );
    }
    replica.storeChunk(message.offset, body);
    this.#bytesLoaded += body.byteLength;
    this.#askForChunk(welcome);
    const total = blobByteLength(welcome.layout);
    if (this.#bytesLoaded < total) return;
    replica.finishLoading(total);
    this.#sayReady(welcome);
  }

  #sayReady(welcome: WelcomeMessage): void {
    this.#send({ type: 'ready', proof: this.#options.instance.prove(welcome) });
  }

  /** Queues a range. Ranges of earlier rounds, which are over, are given up when their turn comes. */
  #enqueue(message: TrainMessage | EvaluateMessage, body: Uint8Array): void {
    const replica = this.#requireReplica(message.type);
    // Copied, because the body's alignment within the received buffer is arbitrary.
    const indices = new Uint32Array(new Uint8Array(body).buffer);
    if (!replica.hasRows(indices)) {
      throw new ProtocolError(
        'E_MESSAGE_BODY',
        `"${message.type}" names a row outside the dataset`,
        CLOSE.protocol,
      );
    }
    this.#jobs.push({ message, indices });
    this.#latestRound = Math.max(this.#latestRound, message.round);
  }

  async #computeNext(): Promise<void> {
    if (this.#isComputing) return;
    this.#isComputing = true;
    for (let job = this.#jobs.shift(); job && !this.#end; job = this.#jobs.shift()) await this.#compute(job);
    this.#isComputing = false;
  }

  async #compute({ message, indices }: Job): Promise<void> {
    const replica = this.#requireReplica(message.type);
    const { type: kind, round, version, weights, numLeaves, firstLeaf } = message;
    const send = (data: Buffer): void => this.#connection.send(data);
    const answer = new RangeAnswer({ work: message, replica, worker: this.#number, send });
    if (round < this.#latestRound || replica.isSuperseded(version)) return answer.finish(0);
    if (!replica.hasWeights(version, weights)) {
      const reason = `round ${round} wants weights version ${version}, which did not arrive as named`;
      throw new ProtocolError('E_UNEXPECTED_MESSAGE', reason, CLOSE.protocol);
    }
    const range = { numLeaves, firstLeaf, bounds: Uint32Array.from(message.bounds), indices };
    const step = message.type === 'train' ? message.step : 0;
    try {
      failpoint('worker.beforeCompute', answer.facts);
      const computeMs = await replica.compute({ kind, step, version, range }, answer);
      this.#rangesDone++;
      answer.finish(computeMs);
      failpoint('worker.afterSend', answer.facts);
    } catch (error) {
      answer.fail(error instanceof Error ? error.message : String(error));
      throw error;
    }
  }

  /** The coordinator's number for this worker. */
  get #number(): number {
    return this.#welcome?.worker ?? 0;
  }

  #closed(code: number, reason: string): void {
    // Kept, for a replica that is still being made must know that nobody will use it.
    this.#end ??= { kind: endOf(code), reason: reason || `connection closed (code ${code})` };
    this.#jobs = [];
    this.#onEnd({ ...this.#end, replica: this.#replica, rangesDone: this.#rangesDone });
  }
}

/** What it means that the coordinator ended the connection: whether to come back, and with what. */
function endOf(code: number): SessionEnd['kind'] {
  // A message that this side could not read, since the versions differ, may have said so before.
  if (code === CLOSE.incompatible) return 'refused';
  // We sent what we should not have, or nothing: what made it is not to be trusted.
  if (code === CLOSE.malformed || code === CLOSE.protocol || code === CLOSE.stuck) return 'failed';
  return 'lost';
}
