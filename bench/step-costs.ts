// The costs of a training step's parts, measured here: steps are taken by hand in this process, with the
// code that coordinator and workers run, and their messages pass through a socket.
import { listen } from '../coordinator/cluster/listener.ts';
import { PartialSums } from '../coordinator/cluster/partial-sums.ts';
import { Round } from '../coordinator/cluster/round.ts';
import { initialState } from '../coordinator/training/prepare.ts';
import type { PreparedRun } from '../coordinator/training/prepare.ts';
import type { TrainingState } from '../coordinator/training/training-state.ts';
import { shardsBetween, wholeTask } from '../src/engine/engine.ts';
import type { TaskRows } from '../src/engine/engine.ts';
import { fingerprintOf } from '../src/engine/fingerprint.ts';
import { LocalEngine } from '../src/engine/local-engine.ts';
import { createLogger } from '../src/log.ts';
import type { Connection } from '../src/protocol/connection.ts';
import { encodeMessage } from '../src/protocol/envelope.ts';
import type { GradientMessage } from '../src/protocol/message-types.ts';
import { parseCoordinatorMessage, parseWorkerMessage } from '../src/protocol/messages.ts';
import { lift, maximalNodes, nodeKey } from '../src/tree.ts';
import { connect } from '../worker/connection.ts';
import type { BucketCosts, SimulationCosts, TimedSum } from './step-simulation.ts';
import { batchOf } from './workloads.ts';

const RUN = 'bench';
/** Time for the steps by hand, and for the passes of each kind of task. */
const MEASURING_MS = { steps: 2000, passes: 400 } as const;
const LEAST_REPEATS = 5;

/** The lower quartile: what else the machine does only ever adds to a time. */
function usualMs(times: readonly number[]): number {
  const sorted = times.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 4)] ?? 0;
}

/** The parts of a step whose time depends on the bucket. */
type Part = keyof Omit<BucketCosts, 'bytes'>;

/** Times by part and bucket. */
class Times {
  readonly #all = new Map<string, number[]>();

  add(part: string, ms: number): void {
    const known = this.#all.get(part);
    if (known) known.push(ms);
    else this.#all.set(part, [ms]);
  }

  /** Makes a call, and notes the time that it takes. */
  time<T>(part: string, call: () => T): T {
    const startedMs = performance.now();
    const result = call();
    this.add(part, performance.now() - startedMs);
    return result;
  }

  of(part: string): number {
    return usualMs(this.#all.get(part) ?? []);
  }
}

/** One end of a connection, whose messages are awaited one at a time. */
class End {
  readonly #connection: Connection;
  #resolve: ((data: Buffer) => void) | undefined;
  #reject: ((error: Error) => void) | undefined;

  constructor(connection: Connection) {
    this.#connection = connection;
    connection.onMessage((data) => this.#resolve?.(data));
    connection.onClose((_code, reason) => this.#reject?.(new Error(`the connection is lost: ${reason}`)));
  }

  send(data: Buffer): void {
    this.#connection.send(data);
  }

  receive(): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }
}

/** The costs of the steps of a run, of one thread each. */
export class StepCosts implements SimulationCosts {
  readonly numShards: number;
  readonly numRows: number;
  readonly clipsNorm: boolean;
  readonly packMs: number;
  readonly sendNoteMs: number;
  readonly receiveNoteMs: number;
  readonly buckets: readonly BucketCosts[];
  readonly #engine: LocalEngine;
  readonly #rows: TaskRows;
  readonly #sums = new Map<string, readonly TimedSum[]>();

  private constructor(engine: LocalEngine, rows: TaskRows, times: Times, clipsNorm: boolean) {
    this.clipsNorm = clipsNorm;
    this.#engine = engine;
    this.#rows = rows;
    this.numShards = rows.numShards;
    this.numRows = rows.indices.length;
    this.packMs = times.of('pack');
    this.sendNoteMs = times.of('sendNote');
    this.receiveNoteMs = times.of('receiveNote');
    this.buckets = engine.model.buckets.map(({ length }, bucket) => {
      const of = (part: Part): number => times.of(`${part} ${bucket}`);
      return {
        bytes: 4 * length,
        sendSumMs: of('sendSumMs'),
        receiveSumMs: of('receiveSumMs'),
        checkSumMs: of('checkSumMs'),
        addMs: of('addMs'),
        updateMs: of('updateMs'),
        encodeWeightsMs: of('encodeWeightsMs'),
        sendWeightsMs: of('sendWeightsMs'),
        receiveWeightsMs: of('receiveWeightsMs'),
      };
    });
  }

  /** Takes steps for a few seconds. */
  static async measure(prepared: PreparedRun): Promise<StepCosts> {
    const { config, data, kernelModule, model } = prepared;
    const { batchSize, loss, seed, shards } = config;
    const { dataset } = data;
    const engine = await LocalEngine.create({ kernelModule, model, loss, seed, dataset, batchSize, shards });
    const { bounds, indices } = batchOf(prepared, 0);
    const rows = wholeTask(indices, bounds);
    const times = new Times();
    const listener = await listen({
      host: '127.0.0.1',
      port: 0,
      maxWorkers: 1,
      log: createLogger({ level: 'error' }),
    });
    try {
      const accepted = new Promise<Connection>((resolve) => listener.admit(resolve));
      const worker = new End(await connect({ url: `ws://127.0.0.1:${listener.port}` }));
      const coordinator = new End(await accepted);
      const state = await initialState(prepared);
      const step = new HandMadeStep({ state, engine, rows, worker, coordinator, times });
      const endMs = performance.now() + MEASURING_MS.steps;
      for (let count = 0; count < LEAST_REPEATS || performance.now() < endMs; count++) await step.take();
    } finally {
      await listener.close();
    }
    return new StepCosts(engine, rows, times, config.clip.norm !== undefined);
  }

  /** The sums that a task of shards [from, to) results in, as one thread completes them. */
  sumsOf(from: number, to: number): readonly TimedSum[] {
    const nodes = maximalNodes(from, to, this.numShards);
    const kind = nodes.map(({ level }) => level).join();
    let known = this.#sums.get(kind);
    if (!known) this.#sums.set(kind, (known = this.#measureSums(from, to)));
    const order = [...new Set(known.map(({ node }) => nodeKey(node)))];
    return known.map((sum) => ({ ...sum, node: nodes[order.indexOf(nodeKey(sum.node))] ?? sum.node }));
  }

  /** Milliseconds of forward and backward passes of the largest task of so many equal workers. */
  computeMs(workers: number): number {
    const to = Math.ceil(this.numShards / workers);
    return this.packMs + this.sumsOf(0, to).reduce((total, { ms }) => total + ms, 0);
  }

  #measureSums(from: number, to: number): TimedSum[] {
    const rows = shardsBetween(this.#rows, from, to);
    const runs: TimedSum[][] = [];
    const endMs = performance.now() + MEASURING_MS.passes;
    while (runs.length < LEAST_REPEATS || performance.now() < endMs) {
      const sums: TimedSum[] = [];
      let sinceMs = performance.now();
      this.#engine.trainTask(rows, 0, ({ node, bucket }) => {
        const nowMs = performance.now();
        sums.push({ node, bucket, ms: nowMs - sinceMs });
        sinceMs = nowMs;
      });
      runs.push(sums);
    }
    return (runs[0] as TimedSum[]).map((sum, index) => ({
      ...sum,
      ms: usualMs(runs.map((run) => (run[index] as TimedSum).ms)),
    }));
  }
}

/** The parts of a step that one process takes alone. */
interface HandMadeStepParts {
  readonly state: TrainingState;
  readonly engine: LocalEngine;
  readonly rows: TaskRows;
  readonly worker: End;
  readonly coordinator: End;
  readonly times: Times;
}

/** Steps in which this process is the coordinator and two workers. */
class HandMadeStep {
  readonly #parts: HandMadeStepParts;
  readonly #sums: PartialSums;
  /** Address of the worker's copy of the weights. */
  readonly #flat: number;

  constructor(parts: HandMadeStepParts) {
    const { engine, state } = parts;
    this.#parts = parts;
    this.#sums = new PartialSums({ state, groups: undefined, evaluationWidth: 1 });
    this.#flat = engine.memory.allocate(4 * state.model.numParameters, 'weights');
    state.model.buckets.forEach((_, bucket) => this.#store(bucket, state.currentBucket(bucket).bytes));
  }

  async take(): Promise<void> {
    const { engine, rows, state, times } = this.#parts;
    times.time('pack', () => engine.setWeights(this.#flat));
    await this.#sendNote();
    const computed: { bucket: number; address: number; lossSum: number | undefined }[] = [];
    engine.trainTask(rows, state.step, (sum) => computed.push(sum));
    for (const sum of computed) {
      const { bucket } = sum;
      const slots = [0, 1];
      for (const slot of slots) await this.#sendSum(sum, slot);
      const merge = { left: 0, right: 1, node: { level: 1, index: 0 } };
      times.time(`addMs ${bucket}`, () => this.#sums.merge(bucket, merge, 2));
      const { address } = this.#sums.get(0);
      times.time(`updateMs ${bucket}`, () => state.finishBucket(bucket, address, 2 * rows.indices.length));
      this.#sums.free(0);
    }
    // Where the norm is clipped, no bucket is finished before all are.
    for (const { bucket } of computed) await this.#sendWeights(bucket);
    state.commit();
  }

  /** Sends a task, whose message is small: there is also one when it is done. */
  async #sendNote(): Promise<void> {
    const { coordinator, rows, state, times, worker } = this.#parts;
    const round = new Round('train', rows, NO_RESULTS);
    const arrived = worker.receive();
    times.time('sendNote', () => {
      const { message } = round.task(RUN, state, { id: 1, worker: 1, from: 0, to: rows.numShards });
      coordinator.send(encodeMessage(message, new Uint8Array(rows.indices.buffer)));
    });
    await this.#receive('receiveNote', arrived, (data) => parseCoordinatorMessage(data));
  }

  async #sendSum(
    sum: { bucket: number; address: number; lossSum: number | undefined },
    slot: number,
  ): Promise<void> {
    const { coordinator, engine, rows, state, times, worker } = this.#parts;
    const { address, bucket, lossSum } = sum;
    const { length } = state.model.buckets[bucket] as { length: number };
    const { weightsFingerprint } = state;
    const arrived = coordinator.receive();
    times.time(`sendSumMs ${bucket}`, () => {
      const node = lift({ level: 0, index: 0 }, rows.numShards);
      const fingerprint = fingerprintOf(engine.kernels, address, length);
      const key = { type: 'gradient', run: RUN, round: 1, task: 1, ...node, bucket } as const;
      const message: GradientMessage = { ...key, weightsFingerprint, fingerprint, lossSum };
      worker.send(encodeMessage(message, engine.memory.bytes(address, 4 * length)));
    });
    const { message, body } = await this.#receive(`receiveSumMs ${bucket}`, arrived, parseWorkerMessage);
    times.time(`checkSumMs ${bucket}`, () => {
      const round = new Round('train', rows, NO_RESULTS);
      const checked = this.#sums.check(round, message as GradientMessage, body, 'fast');
      if ('refusal' in checked) throw new Error(`a sum of the benchmark is refused: ${checked.refusal}`);
      checked.keep(slot);
    });
  }

  async #sendWeights(bucket: number): Promise<void> {
    const { coordinator, state, times, worker } = this.#parts;
    const next = state.nextBucket(bucket);
    if (!next) throw new Error(`bucket ${bucket} of the benchmark is not finished`);
    const { bytes, fingerprint } = next;
    const version = state.version + 1;
    const data = times.time(`encodeWeightsMs ${bucket}`, () =>
      encodeMessage({ type: 'weights', run: RUN, version, bucket, fingerprint }, bytes),
    );
    const arrived = worker.receive();
    times.time(`sendWeightsMs ${bucket}`, () => coordinator.send(data));
    await this.#receive(`receiveWeightsMs ${bucket}`, arrived, (received) => {
      this.#store(bucket, parseCoordinatorMessage(received).body);
    });
  }

  #store(bucket: number, bytes: Uint8Array): void {
    const { engine, state } = this.#parts;
    const { offset, length } = state.model.buckets[bucket] as { offset: number; length: number };
    const address = this.#flat + 4 * offset;
    engine.memory.bytes(address, 4 * length).set(bytes);
    fingerprintOf(engine.kernels, address, length);
  }

  /** Takes a message that has just been sent; all the time since then is the receiver's. */
  async #receive<T>(part: string, arrived: Promise<Buffer>, take: (data: Buffer) => T): Promise<T> {
    const startedMs = performance.now();
    const result = take(await arrived);
    this.#parts.times.add(part, performance.now() - startedMs);
    return result;
  }
}

const NO_RESULTS = { takeSum: () => [], takeShard: () => undefined, restart: () => undefined } as const;
