// Steps and evaluations on connected workers: carries out what the round machine decides, and moves the
// bytes. A piece of the next weights goes out as soon as its gradient is complete, while others still come in.
import { leafBounds } from '../src/data/batches.ts';
import { ByteFingerprinter, fingerprintOf } from '../src/engine/fingerprint.ts';
import { LockstepError, quoteValue } from '../src/errors.ts';
import { encodeMessage } from '../src/protocol/envelope.ts';
import type { EvaluationMessage, GradientMessage } from '../src/protocol/message-types.ts';
import { CLOSE } from '../src/protocol/protocol-error.ts';
import { lift, treeSum } from '../src/tree.ts';
import { evaluationLeafRows } from './compute.ts';
import type { Batch, Compute, CutRows, Evaluation, StepResult } from './compute.ts';
import { RoundMachine } from './round-machine.ts';
import type { RoundCommand, RoundEvent, SumName } from './round-machine.ts';
import { SumSlots } from './sum-slots.ts';
import type { TrainingState } from './training-state.ts';
import type { ResultMessage, WorkerSession } from './worker-session.ts';
import { WorkerWaits } from './worker-waits.ts';
import type { WaitOptions } from './worker-waits.ts';

/** What a cluster is made from. */
export interface ClusterOptions extends WaitOptions {
  readonly run: string;
  readonly state: TrainingState;
  /** f32 that come back for each row of an evaluation. */
  readonly evaluationWidth: number;
}

/** Figures of the rounds so far, for benchmarks and the log. */
export interface ClusterCounters {
  bytesSent: number;
  bytesReceived: number;
  /** Milliseconds that workers reported as computing, summed over workers. */
  computeMs: number;
  /** Largest resident memory that a worker reported. */
  workerResidentBytes: number;
}

/** A round under way: what it computes, and who waits for it. */
interface ActiveRound {
  readonly round: number;
  readonly kind: 'train' | 'evaluate';
  readonly batch: CutRows;
  /** Divides the sum of gradients; 1 in an evaluation, which has none. */
  readonly weight: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  /** Losses by leaf, of an evaluation. */
  readonly leafLosses: Float64Array;
  readonly outputs: Float32Array;
  lossSum: number;
}

/** A message with a piece of the weights. */
interface EncodedPiece {
  readonly version: number;
  readonly data: WeakRef<Buffer>;
}

/** The sum that is being handled: its bytes are copied, checked, and kept if the machine says so. */
interface ReceivedSum {
  readonly name: SumName;
  readonly address: number;
  readonly lossSum: number;
}

const TICK_MS = 100;
/** Most leaves of an evaluation round: keeps its messages small. */
const MAX_EVALUATION_LEAVES = 1024;

/** See the head of this file. */
export class Cluster implements Compute {
  readonly counters: ClusterCounters = {
    bytesSent: 0,
    bytesReceived: 0,
    computeMs: 0,
    workerResidentBytes: 0,
  };
  readonly #options: ClusterOptions;
  readonly #state: TrainingState;
  readonly #machine = new RoundMachine();
  readonly #slots: SumSlots;
  readonly #waits: WorkerWaits;
  readonly #outputsFingerprinter: ByteFingerprinter;
  readonly #sessions = new Map<number, WorkerSession>();
  readonly #ticker: NodeJS.Timeout;
  #active: ActiveRound | undefined;
  #numRounds = 0;
  #fatal: Error | undefined;
  readonly #closers: (() => Promise<void>)[] = [];
  /** Encoded weights by piece, for as long as somebody waits for them. */
  readonly #encodedPieces: (EncodedPiece | undefined)[] = [];

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#waits = new WorkerWaits(options, performance.now());
    this.#state = options.state;
    this.#slots = new SumSlots(options.state.memory, options.state.model);
    this.#outputsFingerprinter = new ByteFingerprinter(options.state.kernels, options.state.memory);
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
  }

  get numWorkers(): number {
    return this.#sessions.size;
  }

  /** Resolves once `count` workers are ready. @throws LockstepError (exit 7) when they do not come in time. */
  async waitForWorkers(count: number): Promise<void> {
    if (this.#fatal) throw this.#fatal;
    await this.#waits.waitFor(count);
  }

  /** A worker has joined: it gets the weights, and work at once if some is open. */
  addWorker(session: WorkerSession): void {
    this.#sessions.set(session.id, session);
    const numPieces = this.#state.model.pieces.length;
    for (let piece = 0; piece < numPieces; piece++) this.#sendPiece([session], piece, 'current');
    if (this.#active?.kind === 'train') {
      for (let piece = 0; piece < numPieces; piece++) this.#sendPiece([session], piece, 'next');
    }
    this.#handle({ type: 'workerReady', worker: session.id, threads: session.threads });
    this.#waits.rosterChanged(this.#sessions.size, performance.now());
  }

  /** A worker is gone: its unfinished leaves go to others. */
  removeWorker(session: WorkerSession): void {
    if (!this.#sessions.delete(session.id)) return;
    this.#waits.rosterChanged(this.#sessions.size, performance.now());
    if (this.#sessions.size === 0 && this.#active) {
      this.#options.log.warn('0 workers left, waiting for one to join');
    }
    this.#handle({ type: 'workerLost', worker: session.id });
  }

  /** Ends the round under way and every later one: nothing can compute any more. */
  fail(error: Error): void {
    this.#fatal ??= error;
    this.#active?.reject(error);
    this.#active = undefined;
    this.#waits.rejectAll(error);
  }

  async trainStep(batch: Batch): Promise<StepResult> {
    const { weight } = batch;
    const { lossSum } = await this.#runRound('train', batch, this.#state.model.pieces.length, weight);
    this.#slots.forgetAll();
    return { lossSum, ...this.#state.commit() };
  }

  async evaluate(indices: Uint32Array): Promise<Evaluation> {
    const { evaluationWidth } = this.#options;
    const leafRows = evaluationLeafRows(evaluationWidth);
    const outputs = new Float32Array(indices.length * evaluationWidth);
    const leafLosses: number[] = [];
    const roundRows = leafRows * MAX_EVALUATION_LEAVES;
    for (let start = 0; start < indices.length; start += roundRows) {
      const slice = indices.subarray(start, start + roundRows);
      const bounds = leafBounds(slice.length, leafRows);
      const round = await this.#runRound('evaluate', { indices: slice, bounds }, 1);
      outputs.set(round.outputs, start * evaluationWidth);
      leafLosses.push(...round.leafLosses);
    }
    return { lossSum: treeSum(leafLosses), outputs };
  }

  weightsReplaced(): void {
    for (let piece = 0; piece < this.#state.model.pieces.length; piece++) {
      this.#sendPiece([...this.#sessions.values()], piece, 'current');
    }
  }

  /** Has `close` end what belongs to the cluster, in the order of these calls. */
  onClose(closer: () => Promise<void>): void {
    this.#closers.push(closer);
  }

  async close(reason: string): Promise<void> {
    clearInterval(this.#ticker);
    for (const session of this.#sessions.values()) session.stop(reason);
    for (const closer of this.#closers.splice(0)) await closer();
  }

  /** Handles a message about a round. */
  receive(session: WorkerSession, message: ResultMessage, body: Uint8Array): void {
    this.counters.bytesReceived += body.byteLength;
    const { run, round, attempt } = message;
    if (run !== this.#options.run)
      return session.evict(CLOSE.protocol, `answered for another run, ${quoteValue(run)}`);
    switch (message.type) {
      case 'gradient':
        return this.#receiveGradient(session, message, body);
      case 'evaluation':
        return this.#receiveEvaluation(session, message, body);
      case 'finished':
        this.counters.computeMs += message.computeMs;
        this.counters.workerResidentBytes = Math.max(
          this.counters.workerResidentBytes,
          message.residentBytes,
        );
        return this.#handle({ type: 'rangeFinished', worker: session.id, round, attempt });
      case 'failure':
        this.#options.log.warn(`${session.name} failed on a range: ${message.message}`);
        return this.#handle({
          type: 'rangeFailed',
          worker: session.id,
          round,
          attempt,
          message: message.message,
        });
      default:
        return message satisfies never;
    }
  }

  #runRound(kind: 'train' | 'evaluate', batch: CutRows, numPieces: number, weight = 1): Promise<ActiveRound> {
    if (this.#fatal) return Promise.reject(this.#fatal);
    const round = ++this.#numRounds;
    const numLeaves = batch.bounds.length - 1;
    const leafRows = Array.from(
      { length: numLeaves },
      (_, leaf) => (batch.bounds[leaf + 1] as number) - (batch.bounds[leaf] as number),
    );
    return new Promise((resolve, reject) => {
      const active: ActiveRound = {
        round,
        kind,
        batch,
        weight,
        resolve: () => resolve(active),
        reject,
        leafLosses: new Float64Array(kind === 'evaluate' ? numLeaves : 0),
        outputs: new Float32Array(
          kind === 'evaluate' ? batch.indices.length * this.#options.evaluationWidth : 0,
        ),
        lossSum: Number.NaN,
      };
      this.#active = active;
      const mode = kind === 'train' ? 'sum' : 'collect';
      this.#handle({ type: 'roundStarted', plan: { round, mode, numPieces, leafRows } });
    });
  }

  #receiveGradient(session: WorkerSession, message: GradientMessage, body: Uint8Array): void {
    if (this.#active?.kind !== 'train' || message.round !== this.#active.round) return;
    const piece = this.#state.model.pieces[message.piece];
    const isLastPiece = message.piece === this.#state.model.pieces.length - 1;
    if (!piece || body.byteLength !== 4 * piece.length || isLastPiece !== (message.lossSum !== undefined)) {
      return session.evict(CLOSE.protocol, `sent ${body.byteLength} bytes for piece ${message.piece}`);
    }
    if (message.weights !== this.#state.fingerprint) {
      return session.evict(CLOSE.protocol, `computed round ${message.round} with other weights`);
    }
    const address = this.#slots.take(message.piece);
    this.#state.memory.bytes(address, body.byteLength).set(body);
    if (fingerprintOf(this.#state.kernels, address, piece.length) !== message.fingerprint) {
      this.#slots.giveBack(message.piece, address);
      return session.evict(CLOSE.protocol, `sent a damaged piece ${message.piece}`);
    }
    const { round, attempt, level, index } = message;
    const name = { round, attempt, node: { level, index }, piece: message.piece };
    this.#offer(session, { name, address, lossSum: message.lossSum ?? 0 });
  }

  /** Lets the machine judge a sum whose bytes are in memory; gives the buffer back unless it was kept. */
  #offer(session: WorkerSession, sum: ReceivedSum): void {
    const commands = this.#machine.handle(
      { type: 'sumReceived', worker: session.id, sum: sum.name },
      performance.now(),
    );
    const isKept = commands.some((command) => command.type === 'store');
    if (!isKept) this.#slots.giveBack(sum.name.piece, sum.address);
    this.#carryOut(commands, (slot) => this.#slots.store(slot, sum.name.piece, sum.address, sum.lossSum));
  }

  #receiveEvaluation(session: WorkerSession, message: EvaluationMessage, body: Uint8Array): void {
    const active = this.#active;
    if (active?.kind !== 'evaluate' || message.round !== active.round) return;
    const { evaluationWidth } = this.#options;
    const start = active.batch.bounds[message.leaf];
    const end = active.batch.bounds[message.leaf + 1];
    if (start === undefined || end === undefined || body.byteLength !== 4 * (end - start) * evaluationWidth) {
      return session.evict(
        CLOSE.protocol,
        `sent ${body.byteLength} bytes for evaluation leaf ${message.leaf}`,
      );
    }
    if (message.weights !== this.#state.fingerprint) {
      return session.evict(CLOSE.protocol, `evaluated round ${message.round} with other weights`);
    }
    if (this.#outputsFingerprinter.fingerprint(body) !== message.fingerprint) {
      return session.evict(CLOSE.protocol, `sent damaged outputs of evaluation leaf ${message.leaf}`);
    }
    const node = lift({ level: 0, index: message.leaf }, active.leafLosses.length);
    const sum = { round: message.round, attempt: message.attempt, node, piece: 0 };
    this.#handle({ type: 'sumReceived', worker: session.id, sum }, () => {
      active.leafLosses[message.leaf] = message.lossSum;
      const target = active.outputs.subarray(start * evaluationWidth, end * evaluationWidth);
      new Uint8Array(target.buffer, target.byteOffset, target.byteLength).set(body);
    });
  }

  #handle(event: RoundEvent, store?: (slot: number) => void): void {
    this.#carryOut(this.#machine.handle(event, performance.now()), store);
  }

  #carryOut(commands: readonly RoundCommand[], store?: (slot: number) => void): void {
    for (const command of commands) {
      try {
        this.#carryOutOne(command, store);
      } catch (error) {
        // A diverged step, a full memory: the round cannot end well, and whoever waits for it must know.
        return this.fail(error instanceof Error ? error : new Error(String(error)));
      }
    }
  }

  #carryOutOne(command: RoundCommand, store?: (slot: number) => void): void {
    switch (command.type) {
      case 'assign':
        return this.#assign(command);
      case 'store':
        return store?.(command.slot);
      case 'merge':
        return this.#merge(command);
      case 'forget':
        return this.#active?.kind === 'train' ? this.#slots.forget(command.slot) : undefined;
      case 'pieceCompleted':
        return this.#completePiece(command);
      case 'roundCompleted':
        this.#active?.resolve();
        this.#active = undefined;
        return;
      case 'evict':
        return this.#sessions.get(command.worker)?.evict(CLOSE.protocol, command.reason);
      case 'giveUp':
        throw this.#unable(command);
      default:
        return command satisfies never;
    }
  }

  #assign({ worker, attempt, from, to }: Extract<RoundCommand, { type: 'assign' }>): void {
    const { batch, kind, round } = this.#active as ActiveRound;
    const firstRow = batch.bounds[from] as number;
    const bounds = Array.from(batch.bounds.subarray(from, to + 1), (bound) => bound - firstRow);
    const indices = batch.indices.slice(firstRow, batch.bounds[to]);
    const { version, fingerprint } = this.#state;
    const range = {
      run: this.#options.run,
      round,
      attempt,
      version,
      weights: fingerprint,
      numLeaves: batch.bounds.length - 1,
      firstLeaf: from,
      bounds,
    };
    const message =
      kind === 'train'
        ? ({ type: kind, ...range, step: this.#state.step } as const)
        : ({ type: kind, ...range } as const);
    this.#send([this.#sessions.get(worker)], encodeMessage(message, new Uint8Array(indices.buffer)));
  }

  #merge({ piece, left, right }: Extract<RoundCommand, { type: 'merge' }>): void {
    const leftSum = this.#slots.get(left);
    const rightSum = this.#slots.get(right);
    this.#state.kernels.addInto(
      leftSum.address,
      rightSum.address,
      this.#state.model.pieces[piece]?.length ?? 0,
    );
    leftSum.lossSum += rightSum.lossSum;
    this.#slots.forget(right);
  }

  #completePiece({ piece, slot }: Extract<RoundCommand, { type: 'pieceCompleted' }>): void {
    const active = this.#active as ActiveRound;
    const { address, lossSum } = this.#slots.get(slot);
    const finished = this.#state.finishPiece(piece, address, active.weight, active.batch.indices.length);
    if (piece === this.#state.model.pieces.length - 1) active.lossSum = lossSum;
    for (const next of finished) this.#sendPiece([...this.#sessions.values()], next, 'next');
  }

  /** Sends the same bytes to all: those that are still queued for others, or encoded anew. */
  #sendPiece(sessions: readonly WorkerSession[], index: number, which: 'current' | 'next'): void {
    const state = this.#state;
    const piece = which === 'current' ? state.currentPiece(index) : state.nextPiece(index);
    if (!piece || sessions.length === 0) return;
    const version = which === 'current' ? state.version : state.version + 1;
    const known = this.#encodedPieces[index];
    let data = known?.version === version ? known.data.deref() : undefined;
    if (!data) {
      const { fingerprint, bytes } = piece;
      const message = {
        type: 'weights',
        run: this.#options.run,
        version,
        piece: index,
        fingerprint,
      } as const;
      data = encodeMessage(message, bytes);
      this.#encodedPieces[index] = { version, data: new WeakRef(data) };
    }
    this.#send(sessions, data);
  }

  #send(sessions: readonly (WorkerSession | undefined)[], data: Buffer): void {
    for (const session of sessions) {
      session?.send(data);
      this.counters.bytesSent += data.byteLength;
    }
  }

  #tick(): void {
    this.#handle({ type: 'tick' });
    if (this.#fatal) return;
    const starved = this.#waits.tick(performance.now());
    if (starved) this.fail(starved);
  }

  #unable({ from, to, message }: Extract<RoundCommand, { type: 'giveUp' }>): LockstepError {
    const { batch, kind } = this.#active as ActiveRound;
    const rows = batch.indices.subarray(batch.bounds[from], batch.bounds[to]);
    return new LockstepError({
      category: 'failure',
      code: 'E_POISON_SHARD',
      message: `no worker can ${kind} shards ${from} to ${to - 1} (dataset rows ${rows[0]}, ... ${rows[rows.length - 1]}): ${message}`,
      help: 'look at these rows of the data, and at the memory of the workers',
    });
  }
}
