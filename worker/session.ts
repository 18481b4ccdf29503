// A worker's side of one connection: introduces itself, loads the dataset, then computes its tasks
// one after the other, until it is told to stop or the connection ends.
import { setTimeout as sleep } from 'node:timers/promises';
import type { DatasetCache } from '../src/data/dataset/dataset-cache.ts';
import type { RowSource } from '../src/data/dataset/packed-dataset.ts';
import { streamedRoundBytes } from '../src/engine/samples.ts';
import { failpoint } from '../src/failpoint.ts';
import { reportWidth } from '../src/kernels/kernels.ts';
import { isLoopback } from '../src/protocol/connection.ts';
import type { Connection } from '../src/protocol/connection.ts';
import { encodeMessage } from '../src/protocol/envelope.ts';
import type { Instance } from '../src/protocol/instance.ts';
import { MAX_UNREAD_BYTES, PROTOCOL_VERSION } from '../src/protocol/limits.ts';
import type {
  ChunkMessage,
  CoordinatorMessage,
  EvaluateMessage,
  HelloMessage,
  RowsMessage,
  TaskKey,
  TrainMessage,
  WeightsMessage,
  WelcomeMessage,
  WorkerMessage,
} from '../src/protocol/message-types.ts';
import { parseCoordinatorMessage } from '../src/protocol/messages.ts';
import { CLOSE, ProtocolError } from '../src/protocol/protocol-error.ts';
import type { Extent, FileBody } from '../src/protocol/shared-file.ts';
import { VERSION } from '../src/version.ts';
import type { KernelBuilds } from '../src/known-answer.ts';
import type { Aggregator } from './aggregator.ts';
import type { Progress } from './progress.ts';
import { DatasetLoader } from './dataset-loader.ts';
import { TaskResults } from './task-results.ts';
import { Replica } from './replica.ts';
import { SharedMemory } from './shared-memory.ts';

/** The parts that a worker has in all its sessions. */
export interface WorkerParts {
  /** Its identity. */
  readonly instance: Pick<Instance, keyof Instance>;
  /** Words of `hello` about the program and the machine that run it. */
  readonly facts: Pick<HelloMessage, 'runtime' | 'platform' | 'host' | 'pid' | 'isTab'>;
  /** The name by which people are to know it; by default that of its host. */
  readonly name?: string | undefined;
  readonly kernelBuilds: KernelBuilds;
  readonly numThreads: number;
  /** True where the thread that has the socket computes all: the only one of a tab's worker. */
  readonly computesHere?: boolean | undefined;
  /** The port for workers of its own; undefined if it takes none. */
  readonly aggregator?: Aggregator | undefined;
  /** A directory in which the dataset may be, and is kept. */
  readonly datasetCache?: DatasetCache | undefined;
  readonly log: WorkerLog;
  /** Told what this worker is doing. */
  readonly progress: Progress;
}

/** The log of a worker. */
export interface WorkerLog {
  debug(line: string): void;
  info(line: string): void;
  warn(line: string): void;
}

/** The parts of a session. `replica` is left from an earlier session of the same run. */
export interface SessionOptions extends WorkerParts {
  readonly connection: Connection;
  readonly replica: Replica | undefined;
  /** Takes the offer of files: not after a session that failed, since they may be why. */
  readonly takesFiles: boolean;
  /** The aggregator that this worker was sent on to and could not stay with. */
  readonly unreachable?: string | undefined;
}

/** The end of a session, and what the next one may use. */
export interface SessionEnd {
  readonly kind: 'stopped' | 'refused' | 'redirected' | 'lost' | 'failed';
  readonly reason: string;
  /** The address to which it was redirected. */
  readonly url?: string | undefined;
  readonly replica: Replica | undefined;
  readonly tasksDone: number;
}

interface QueuedTask {
  readonly message: TrainMessage | EvaluateMessage;
  /** Dataset rows of the task; emptied once its round is over. */
  indices: Uint32Array;
  /** The rows, of a streamed dataset. */
  source: RowSource | undefined;
}

/** Rows that have come for a task which has not. */
interface ArrivingRows extends TaskKey {
  readonly parts: readonly Uint8Array[];
  readonly byteLength: number;
}

const NO_ROWS = new Uint32Array(0);
const NO_ROW_BYTES = new Uint8Array(0);
/** Deadline for the answer to `hello`; a healthy coordinator answers at once. */
const WELCOME_DEADLINE_MS = 30_000;
/** Time between two chunks of the dataset: others may be served first. */
const CHUNK_DEADLINE_MS = 300_000;
/**
 * Most tasks that wait, of a round of at most 1,024 shards: each may come as a task of its
 * own, and again as a copy.
 */
const MAX_QUEUED_TASKS = 4096;
/**
 * Most rows of them all: two of the largest batches. Rows of earlier rounds, which
 * are given up, do not count.
 */
const MAX_QUEUED_ROWS = 2 ** 21;
/** Time for a coordinator to read some of the results that wait for it; 4 MiB take 34 s at 1 Mbit/s. */
const READING_DEADLINE_MS = 60_000;
const READING_CHECK_MS = 50;

const CHUNK_WANTED = 'sent the part of the dataset that it was asked for';

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
  #end: Pick<SessionEnd, 'kind' | 'reason' | 'url'> | undefined;
  #queue: QueuedTask[] = [];
  /** Runs while the coordinator has to answer. */
  #answerTimer: ReturnType<typeof setTimeout> | undefined;
  #latestRound = 0;
  #arriving: ArrivingRows | undefined;
  #isComputing = false;
  #welcome: WelcomeMessage | undefined;
  #files: SharedMemory | undefined;
  #loader: DatasetLoader | undefined;
  #tasksDone = 0;

  constructor(options: SessionOptions, onEnd: (end: SessionEnd) => void) {
    this.#options = options;
    this.#connection = options.connection;
    this.#onEnd = onEnd;
    this.#replica = options.replica;
    this.#connection.onMessage((data) => void this.#receive(data));
    this.#connection.onClose((code, reason) => this.#closed(code, reason));
    this.#sayHello();
  }

  /** Says goodbye; the coordinator gives open tasks to others. */
  leave(): void {
    this.#end ??= { kind: 'stopped', reason: 'this worker was told to leave' };
    this.#send({ type: 'leave' });
    this.#connection.close(CLOSE.normal, 'leaving');
  }

  #send(message: WorkerMessage, body?: Uint8Array): void {
    const bytes = encodeMessage(message, body);
    this.#connection.send(bytes);
    this.#options.progress.sent(bytes.byteLength);
  }

  #sayHello(): void {
    const { aggregator, facts, instance, kernelBuilds, name, numThreads, unreachable } = this.#options;
    this.#send({
      type: 'hello',
      protocol: PROTOCOL_VERSION,
      version: VERSION,
      kernels: kernelBuilds.identities,
      threads: numThreads,
      ...facts,
      name,
      instance: instance.name,
      listen: aggregator?.listen,
      unreachable,
    });
    this.#awaitAnswer('answered "hello"', WELCOME_DEADLINE_MS);
  }

  /** Gives up on the coordinator unless it does this in time. */
  #awaitAnswer(what: string, deadlineMs: number): void {
    clearTimeout(this.#answerTimer);
    const reason = `the coordinator has not ${what} for ${deadlineMs / 1000} s`;
    this.#answerTimer = setTimeout(() => this.#giveUp(reason), deadlineMs);
  }

  /** Ends the session so that this worker tries again: the coordinator may recover. */
  #giveUp(reason: string): void {
    this.#end ??= { kind: 'lost', reason };
    this.#connection.terminate(reason);
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
      case 'redirect':
        this.#end = { kind: 'redirected', reason: `sent on to ${message.url}`, url: message.url };
        return this.#connection.close(CLOSE.normal, 'redirected');
      case 'refuse':
        this.#end = { kind: 'refused', reason: message.message };
        return this.#connection.close(CLOSE.normal, 'refused');
      case 'chunk':
        return this.#storeChunk(message, body);
      case 'weights':
        return this.#storeWeights(message, body);
      case 'rows':
        return this.#storeRows(message, body);
      case 'train':
      case 'evaluate':
        this.#enqueue(message, body);
        return this.#computeNext();
      case 'alive':
        // Its connection has noticed.
        return;
      case 'stop':
        this.#end = { kind: 'stopped', reason: message.reason };
        this.#options.aggregator?.close(message.reason, true);
        return this.#connection.close(CLOSE.normal, 'stopping');
      default:
        return message satisfies never;
    }
  }

  #storeWeights(message: WeightsMessage, body: Uint8Array): void {
    const replica = this.#requireReplica(message.type);
    const { version, bucket } = message;
    if (failpoint('worker.stale', { worker: this.#number, version, bucket }) === 'skip') return;
    replica.storeWeights(message, message.extent ? this.#weightsAt(message.extent) : body);
    this.#options.aggregator?.passOnWeights(version, bucket);
  }

  #weightsAt(extent: Extent): FileBody {
    if (this.#files) return this.#files.weightsAt(extent);
    throw new ProtocolError(
      'E_UNEXPECTED_MESSAGE',
      '"weights" names a file that is not shared',
      CLOSE.protocol,
    );
  }

  #requireReplica(type: string): Replica {
    if (this.#replica?.isLoaded === (type !== 'chunk')) return this.#replica;
    const when = type === 'chunk' ? 'when no dataset was wanted' : 'before the dataset';
    throw new ProtocolError('E_UNEXPECTED_MESSAGE', `"${type}" came ${when}`, CLOSE.protocol);
  }

  async #startLoading(welcome: WelcomeMessage): Promise<void> {
    if (this.#welcome)
      throw new ProtocolError('E_UNEXPECTED_MESSAGE', 'a second "welcome" came', CLOSE.protocol);
    this.#welcome = welcome;
    clearTimeout(this.#answerTimer);
    this.#openFiles(welcome);
    const kept = this.#replica;
    if (kept?.isOf(welcome)) {
      await kept.whenIdle();
      kept.join(welcome);
      return this.#sayReady(welcome);
    }
    this.#replica = undefined;
    await kept?.close();
    const { computesHere = false, kernelBuilds, log, numThreads, progress } = this.#options;
    progress.waits('the dataset');
    const kernelModule = kernelBuilds.modules.get(welcome.numerics);
    if (!kernelModule) {
      const reason = `the run wants ${welcome.numerics} kernels, which "hello" did not name`;
      throw new ProtocolError('E_UNEXPECTED_MESSAGE', reason, CLOSE.protocol);
    }
    reportWidth(kernelModule, log);
    const replica = await Replica.create(welcome, kernelModule, { numThreads, computesHere });
    if (this.#end) return void (await replica.close());
    this.#replica = replica;
    if (welcome.isStreamed || (await this.#readCached(welcome, replica))) return this.#sayReady(welcome);
    if (this.#end) return;
    this.#loader = new DatasetLoader({ welcome, replica, send: (message) => this.#send(message) });
    this.#awaitAnswer(CHUNK_WANTED, CHUNK_DEADLINE_MS);
  }

  /** Reads the dataset from the cache; returns false if it has to be fetched, or the session is over. */
  async #readCached({ layout, datasetSha256: sha256 }: WelcomeMessage, replica: Replica): Promise<boolean> {
    const store = (offset: number, bytes: Uint8Array): boolean => {
      replica.storeChunk(offset, bytes);
      return !this.#end;
    };
    const isRead = await this.#options.datasetCache?.read({ layout, sha256, store });
    if (!isRead || this.#end) return false;
    replica.finishLoading();
    return true;
  }

  /** Opens the files that a coordinator on this machine offers; without them all comes by the socket. */
  #openFiles({ sharedMemory }: WelcomeMessage): void {
    if (!sharedMemory || !this.#options.takesFiles || !isLoopback(this.#connection.remoteAddress)) return;
    try {
      this.#files = new SharedMemory(sharedMemory);
    } catch (error) {
      this.#options.log.debug(`cannot share memory with the coordinator: ${(error as Error).message}`);
    }
  }

  #storeChunk(message: ChunkMessage, body: Uint8Array): void {
    const replica = this.#requireReplica(message.type);
    this.#options.progress.loads(message.offset + body.byteLength, this.#welcome?.layout);
    if (!this.#loader?.store(message, body)) return this.#awaitAnswer(CHUNK_WANTED, CHUNK_DEADLINE_MS);
    clearTimeout(this.#answerTimer);
    void this.#options.datasetCache?.keep(replica.dataset);
    this.#sayReady(this.#welcome as WelcomeMessage);
  }

  #sayReady(welcome: WelcomeMessage): void {
    this.#options.progress.waits('the coordinator, which has sent no task yet');
    this.#send({
      type: 'ready',
      proof: this.#options.instance.prove(welcome),
      sharedNonce: this.#files?.nonce,
    });
    this.#aggregate(welcome);
  }

  /** Takes workers from now on, if the coordinator wants that. */
  #aggregate(welcome: WelcomeMessage): void {
    const { aggregator, instance, kernelBuilds } = this.#options;
    const { fanIn, numerics } = welcome;
    const kernelModule = kernelBuilds.modules.get(numerics);
    const kernels = kernelBuilds.identities[numerics];
    const replica = this.#replica;
    if (fanIn === undefined || !replica || !kernelModule || !kernels) return;
    aggregator?.open({
      welcome,
      fanIn,
      kernelModule,
      kernels,
      replica,
      instance: instance.name,
      sharesMemory: this.#files !== undefined || !isLoopback(this.#connection.remoteAddress),
      onMembers: (instances) => this.#send({ type: 'members', instances }),
    });
  }

  /** Stores rows for the task that is to follow them. */
  #storeRows({ run, round, task }: RowsMessage, body: Uint8Array): void {
    this.#requireReplica('rows');
    const { batchSize, isStreamed, layout } = this.#welcome as WelcomeMessage;
    const last = this.#arriving;
    const earlier = last?.round === round && last.task === task ? last.parts : [];
    // Copied, because the body is a view of a buffer that is used again.
    const parts = [...earlier, Uint8Array.from(body)];
    const byteLength = parts.reduce((total, part) => total + part.byteLength, 0);
    const most = isStreamed ? streamedRoundBytes(layout, batchSize) : 0;
    if (byteLength > most) {
      const reason = `"rows" brought ${byteLength} bytes for a task, at most ${most} are wanted`;
      throw new ProtocolError('E_MESSAGE_BODY', reason, CLOSE.protocol);
    }
    this.#arriving = { run, round, task, parts, byteLength };
  }

  /** The rows that came for a task. */
  #takeRows({ round, task }: TaskKey): Uint8Array {
    const rows = this.#arriving;
    this.#arriving = undefined;
    return rows?.round === round && rows.task === task ? Buffer.concat(rows.parts) : NO_ROW_BYTES;
  }

  /** Queues a task. Tasks of earlier rounds, which are over, are given up when their turn comes. */
  #enqueue(message: TrainMessage | EvaluateMessage, body: Uint8Array): void {
    const replica = this.#requireReplica(message.type);
    // Copied, because the body's alignment within the received buffer is arbitrary.
    const indices = new Uint32Array(new Uint8Array(body).buffer);
    replica.requireTask(message, indices);
    const source = this.#welcome?.isStreamed
      ? replica.sourceOf(this.#takeRows(message), indices.length)
      : undefined;
    if (message.round > this.#latestRound) this.#options.aggregator?.abandon();
    this.#latestRound = Math.max(this.#latestRound, message.round);
    this.#queue.push({ message, indices, source });
    for (const task of this.#queue) {
      if (task.message.round < this.#latestRound) [task.indices, task.source] = [NO_ROWS, undefined];
    }
    const numRows = this.#queue.reduce((total, task) => total + task.indices.length, 0);
    if (this.#queue.length <= MAX_QUEUED_TASKS && numRows <= MAX_QUEUED_ROWS) return;
    const reason = `${this.#queue.length} tasks of ${numRows} rows are waiting: more than any round has`;
    throw new ProtocolError('E_UNEXPECTED_MESSAGE', reason, CLOSE.protocol);
  }

  async #computeNext(): Promise<void> {
    if (this.#isComputing) return;
    this.#isComputing = true;
    for (let task = this.#queue.shift(); task && !this.#end; task = this.#queue.shift()) {
      await this.#compute(task);
    }
    this.#isComputing = false;
  }

  /** True while the coordinator reads about as fast as results are sent. */
  get #isKeepingUp(): boolean {
    return this.#connection.bufferedBytes <= MAX_UNREAD_BYTES;
  }

  /** Sends the sums that still wait, as fast as the coordinator reads; gives up when the session ends. */
  async #sendRest(results: TaskResults): Promise<void> {
    await this.#untilDrained();
    while (!results.sendSums() && !this.#end) await this.#untilDrained();
  }

  /** Waits while the coordinator lags behind in reading. */
  async #untilDrained(): Promise<void> {
    let least = Infinity;
    let sinceMs = performance.now();
    while (!this.#isKeepingUp && !this.#end) {
      const { bufferedBytes } = this.#connection;
      if (bufferedBytes < least) sinceMs = performance.now();
      least = Math.min(least, bufferedBytes);
      if (performance.now() - sinceMs >= READING_DEADLINE_MS) {
        const reason = `the coordinator has not read for ${READING_DEADLINE_MS / 1000} s: ${bufferedBytes} bytes wait for it`;
        return this.#giveUp(reason);
      }
      await sleep(READING_CHECK_MS);
    }
  }

  async #compute({ message, indices, source }: QueuedTask): Promise<void> {
    const replica = this.#requireReplica(message.type);
    const { type: kind, round, version, weightsFingerprint, numShards, firstShard } = message;
    const isKeepingUp = (): boolean => this.#isKeepingUp;
    const store = (bytes: Uint8Array): Extent | undefined => this.#files?.store(bytes);
    const results = new TaskResults({
      task: message,
      replica,
      worker: this.#number,
      send: (result, body) => this.#send(result, body),
      flush: () => this.#connection.flush(),
      store,
      isKeepingUp,
    });
    if (round < this.#latestRound || replica.isSuperseded(version)) return results.finish(0);
    if (!replica.hasWeights(version, weightsFingerprint)) {
      const reason = `round ${round} wants weights version ${version}, which is incomplete or has another fingerprint`;
      throw new ProtocolError('E_UNEXPECTED_MESSAGE', reason, CLOSE.protocol);
    }
    const rows = { numShards, firstShard, bounds: Uint32Array.from(message.bounds), indices, source };
    try {
      this.#options.progress.computes(message.type === 'train' ? message.step + 1 : undefined);
      failpoint('worker.beforeCompute', results.facts);
      let computeMs = 0;
      const { aggregator } = this.#options;
      const numWorkers = aggregator?.numWorkers ?? 1;
      // What an abandoned round left running comes first.
      await replica.whenIdle();
      for (const part of replica.partsOf(kind, rows, numWorkers)) {
        computeMs +=
          aggregator && numWorkers > 1
            ? await aggregator.compute(message, part, results)
            : await replica.compute(message, part, { reports: results, mayBlock: true });
        await this.#sendRest(results);
        // Whoever has the next session may have work for the replica.
        if (this.#end) return;
        // The round is over: its weights may be replaced from now on.
        if (round < this.#latestRound) break;
      }
      this.#tasksDone++;
      results.finish(computeMs);
      this.#options.progress.computed(indices.length);
      failpoint('worker.afterSend', results.facts);
    } catch (error) {
      results.fail(error instanceof Error ? error.message : String(error));
      throw error;
    }
  }

  /** The coordinator's number for this worker. */
  get #number(): number {
    return this.#welcome?.worker ?? 0;
  }

  #closed(code: number, reason: string): void {
    // Kept so that a replica still being created can see that the session has ended.
    this.#end ??= { kind: endOf(code), reason: reason || `connection closed (code ${code})` };
    this.#queue = [];
    clearTimeout(this.#answerTimer);
    this.#files?.close();
    this.#options.aggregator?.close(this.#end.reason, false);
    this.#onEnd({ ...this.#end, replica: this.#replica, tasksDone: this.#tasksDone });
  }
}

/** The meaning of the coordinator's close code: whether to come back, and with what. */
function endOf(code: number): SessionEnd['kind'] {
  // A message that this side could not read, since the versions differ, may have said so before.
  if (code === CLOSE.incompatible) return 'refused';
  // We broke the protocol or hung, so our state cannot be trusted.
  if (code === CLOSE.malformed || code === CLOSE.protocol || code === CLOSE.stuck) return 'failed';
  return 'lost';
}
