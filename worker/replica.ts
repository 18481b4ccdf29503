// A worker's share of one run: the dataset, the weights of two versions, and the compute threads.
// It outlives a lost connection, so that a worker that comes back need not load anything again.
//
// Version v lies in flat[v mod 2]: buckets of the next version arrive while the current one is in use.
import { blobByteLength, taskRowSource } from '../src/data/dataset/packed-dataset.ts';
import type { PackedDataset, RowSource } from '../src/data/dataset/packed-dataset.ts';
import { partsOf } from '../src/engine/engine.ts';
import type { EvaluatedShard, PartialSum, TaskRows } from '../src/engine/engine.ts';
import { combineFingerprints, fingerprintOf } from '../src/engine/fingerprint.ts';
import { planEngine } from '../src/engine/plan.ts';
import type { EnginePlan } from '../src/engine/plan.ts';
import { placeRows } from '../src/engine/samples.ts';
import type { Samples } from '../src/engine/samples.ts';
import { instantiateKernels } from '../src/kernels/kernels.ts';
import type { KernelModule, Kernels } from '../src/kernels/kernels.ts';
import { Memory } from '../src/memory.ts';
import { GradientSums } from '../src/model/gradient-sums.ts';
import { resolveModel } from '../src/model/model.ts';
import type { Bucket, Model } from '../src/model/model.ts';
import type {
  EvaluateMessage,
  TrainMessage,
  WeightsMessage,
  WelcomeMessage,
} from '../src/protocol/message-types.ts';
import { CLOSE, ProtocolError } from '../src/protocol/protocol-error.ts';
import { copyBody, FileBody } from '../src/protocol/shared-file.ts';
import type { Body } from '../src/protocol/shared-file.ts';
import { requireAgreement, requireLabels, requireTask } from './bounds.ts';
import type { RunBounds } from './bounds.ts';
import { ComputePool } from './compute-pool.ts';
import type { TaskReports, WorkerTask } from './compute-pool.ts';
import { layOutTeam } from '../src/threads/team.ts';

interface FlatWeights {
  readonly address: number;
  version: number;
  readonly fingerprints: (string | undefined)[];
  /** Buckets in whose place in the file there were other bytes already. */
  readonly overwritten: Set<number>;
}

/** A bucket of weights: a view, valid until the version after the next one comes. */
export interface StoredBucket {
  readonly bytes: Uint8Array;
  readonly fingerprint: string;
}

/** The dataset, weights and threads of a worker for one run. */
export class Replica {
  readonly memory: Memory;
  readonly kernels: Kernels;
  readonly model: Model;
  readonly plan: EnginePlan;
  /** Number of f32 that result from each row of an evaluation. */
  readonly evaluationWidth: number;
  #bounds: RunBounds;
  readonly #samples: Samples;
  readonly #sums: GradientSums;
  readonly #flats: readonly [FlatWeights, FlatWeights];
  readonly #pool: ComputePool;
  #packedVersion = -1;
  #isLoaded = false;

  private constructor(
    welcome: WelcomeMessage,
    parts: Omit<RunBounds, 'welcome'> & {
      memory: Memory;
      kernels: Kernels;
      model: Model;
      samples: Samples;
      flats: readonly [FlatWeights, FlatWeights];
      pool: ComputePool;
    },
  ) {
    this.memory = parts.memory;
    this.kernels = parts.kernels;
    this.model = parts.model;
    this.plan = parts.plan;
    this.evaluationWidth = parts.sizes.evaluationWidth;
    this.#bounds = { welcome, plan: parts.plan, sizes: parts.sizes };
    this.#samples = parts.samples;
    this.#sums = new GradientSums(parts.kernels, parts.model, parts.plan.groups);
    this.#flats = parts.flats;
    this.#pool = parts.pool;
    this.#isLoaded = welcome.isStreamed === true;
  }

  /**
   * Lays out memory and, last of all, starts the threads; none where this one `computesHere`.
   * @throws LockstepError where 4 GiB do not suffice.
   */
  static async create(
    welcome: WelcomeMessage,
    kernelModule: KernelModule,
    { numThreads, computesHere }: { readonly numThreads: number; readonly computesHere: boolean },
  ): Promise<Replica> {
    const memory = new Memory();
    const kernels = await instantiateKernels(kernelModule, memory.wasm);
    const { layers, smallBuckets } = welcome;
    const model = resolveModel({ layers, smallBuckets }, welcome.layout.featureShape);
    requireAgreement(welcome, model);
    const plan = planEngine(model, welcome);
    const flat = (): FlatWeights => ({
      address: memory.allocate(4 * model.numParameters, 'weights'),
      version: -1,
      fingerprints: [],
      overwritten: new Set(),
    });
    const setup = layOutTeam({ ...welcome, kernelModule, memory, model, plan, numThreads });
    const flats = [flat(), flat()] as const;
    const pool = await ComputePool.start(setup, model, computesHere);
    const { samples, sizes } = setup;
    return new Replica(welcome, { memory, kernels, model, plan, samples, flats, pool, sizes });
  }

  get isLoaded(): boolean {
    return this.#isLoaded;
  }

  /** Stores a part of the dataset. */
  storeChunk(offset: number, bytes: Uint8Array): void {
    this.memory.bytes(this.#samples.address + offset, bytes.byteLength).set(bytes);
  }

  /** Tells whether it was made for such a run, so that nothing has to be loaded again. */
  isOf(welcome: WelcomeMessage): boolean {
    const what = ({
      run: _run,
      worker: _worker,
      nonce: _nonce,
      sharedMemory: _files,
      fanIn: _fanIn,
      ...rest
    }: WelcomeMessage): string => JSON.stringify(rest);
    return this.#isLoaded && what(welcome) === what(this.#bounds.welcome);
  }

  /** Works for this run from now on, which may be another one: a run that resumes counts versions anew. */
  join(welcome: WelcomeMessage): void {
    if (welcome.run !== this.#bounds.welcome.run) {
      for (const flat of this.#flats) {
        flat.version = -1;
        flat.fingerprints.length = 0;
        flat.overwritten.clear();
      }
      this.#packedVersion = -1;
    }
    this.#bounds = { ...this.#bounds, welcome };
  }

  /**
   * Takes the stored dataset, of which the hash is right, for complete.
   * @throws ProtocolError if it holds what no kernel takes.
   */
  finishLoading(): void {
    const { layout, blob } = this.dataset;
    requireLabels(layout, blob);
    this.#isLoaded = true;
  }

  /**
   * Stores a bucket of a version's weights. Other bytes in a file are those of a newer version,
   * and no error: this one is superseded.
   * @throws ProtocolError if the bytes of the message are not the ones named
   */
  storeWeights(message: WeightsMessage, body: Body): void {
    if (message.run !== this.#bounds.welcome.run)
      throw new ProtocolError('E_MESSAGE_FIELD', 'the weights are of another run', CLOSE.protocol);
    const bucket = this.model.buckets[message.bucket];
    if (!bucket || body.byteLength !== 4 * bucket.length) {
      throw new ProtocolError(
        'E_MESSAGE_BODY',
        `weights bucket ${message.bucket} has ${body.byteLength} bytes`,
      );
    }
    const flat = this.#flatOf(message.version);
    if (flat.version !== message.version) {
      flat.version = message.version;
      flat.fingerprints.length = 0;
      flat.overwritten.clear();
    }
    const address = flat.address + 4 * bucket.offset;
    copyBody(body, this.memory.bytes(address, body.byteLength));
    const isIntact = fingerprintOf(this.kernels, address, bucket.length) === message.fingerprint;
    if (!isIntact && !(body instanceof FileBody)) {
      throw new ProtocolError('E_MESSAGE_BODY', `weights bucket ${message.bucket} arrived damaged`);
    }
    flat.fingerprints[message.bucket] = isIntact ? message.fingerprint : undefined;
    if (isIntact) flat.overwritten.delete(message.bucket);
    else flat.overwritten.add(message.bucket);
  }

  /** True when the weights of the version are complete and are the ones named. */
  hasWeights(version: number, fingerprint: string): boolean {
    const flat = this.#flatOf(version);
    const known = this.model.buckets.map((_, bucket) => flat.fingerprints[bucket]);
    const isComplete = (list: readonly (string | undefined)[]): list is string[] => !list.includes(undefined);
    return flat.version === version && isComplete(known) && combineFingerprints(known) === fingerprint;
  }

  /** True when newer weights have taken the place of the version's: its round is over. */
  isSuperseded(version: number): boolean {
    const flat = this.#flatOf(version);
    return flat.version > version || (flat.version === version && flat.overwritten.size > 0);
  }

  /**
   * Cuts an evaluation into parts whose outputs fit in the memory of so many workers; the memory for
   * sums of gradients is laid out already.
   */
  partsOf(kind: WorkerTask['kind'], rows: TaskRows, numWorkers = 1): Iterable<TaskRows> {
    return kind === 'train' ? [rows] : partsOf(rows, numWorkers * this.#bounds.sizes.maxEvaluatedRows);
  }

  /** The dataset. */
  get dataset(): PackedDataset {
    const { address, layout } = this.#samples;
    const blob = this.memory.bytes(address, blobByteLength(layout));
    return { layout, blob, sha256: this.#bounds.welcome.datasetSha256 };
  }

  /** Address of the flat f32 vector of a version of the weights. */
  addressOf(version: number): number {
    return this.#flatOf(version).address;
  }

  /** A bucket of a version of the weights; undefined where it is not stored. */
  storedBucket(version: number, index: number): StoredBucket | undefined {
    const flat = this.#flatOf(version);
    const fingerprint = flat.version === version ? flat.fingerprints[index] : undefined;
    const bucket = this.model.buckets[index];
    if (fingerprint === undefined || !bucket) return undefined;
    return { bytes: this.memory.bytes(flat.address + 4 * bucket.offset, 4 * bucket.length), fingerprint };
  }

  /** Computes a part of a task; resolves with the milliseconds of the slowest thread. */
  compute(
    message: TrainMessage | EvaluateMessage,
    rows: TaskRows,
    { reports, mayBlock }: Pick<WorkerTask, 'mayBlock'> & { readonly reports: TaskReports },
  ): Promise<number> {
    const { type: kind, version } = message;
    const flatToPack = this.#packedVersion === version ? 0 : this.#flatOf(version).address;
    this.#packedVersion = version;
    const step = message.type === 'train' ? message.step : 0;
    const placed = placeRows(this.memory, this.#samples, rows);
    return this.#pool.run({ kind, step, rows: placed, mayBlock, flatToPack }, reports);
  }

  /** Resolves once nothing is being computed: a session that was lost may have left a task running. */
  whenIdle(): Promise<void> {
    return this.#pool.whenIdle();
  }

  /** The f32 of a reported partial sum; a view, valid until it is packed. */
  sumValues({ bucket, address }: PartialSum): Float32Array {
    return this.memory.f32(address, this.#bucket(bucket).length);
  }

  /**
   * Packs a reported partial sum of a tree of `numShards`, once. Returns its bytes, a view, valid until the
   * next task, and the fingerprint of its values.
   */
  packSum(
    { node, bucket, address }: PartialSum,
    numShards: number,
  ): { bytes: Uint8Array; fingerprint: string } {
    const slice = { ...this.#bucket(bucket), node, numShards };
    const fingerprint = fingerprintOf(this.kernels, address, slice.length);
    this.#sums.pack(address, slice);
    return { bytes: this.memory.bytes(address, this.#sums.byteLength(slice)), fingerprint };
  }

  #bucket(index: number): Bucket {
    return this.model.buckets[index] as Bucket;
  }

  /** The bytes of a shard's outputs, and their fingerprint. */
  outputBytes({ outputs }: EvaluatedShard): { bytes: Uint8Array; fingerprint: string } {
    const bytes = new Uint8Array(outputs.buffer, outputs.byteOffset, outputs.byteLength);
    return { bytes, fingerprint: fingerprintOf(this.kernels, outputs.byteOffset, outputs.length) };
  }

  /** @throws ProtocolError for a task that the run was not planned for: kernels do not check. */
  requireTask(message: TrainMessage | EvaluateMessage, indices: Uint32Array): void {
    requireTask(this.#bounds, message, indices);
  }

  /**
   * The source of rows that came for a task of `numRows`.
   * @throws ProtocolError if they are not so many, or hold what no kernel takes
   */
  sourceOf(blob: Uint8Array, numRows: number): RowSource {
    const layout = { ...this.#bounds.welcome.layout, numRows };
    if (blob.byteLength !== blobByteLength(layout)) {
      const reason = `a task of ${numRows} rows came with ${blob.byteLength} bytes of them, not ${blobByteLength(layout)}`;
      throw new ProtocolError('E_MESSAGE_BODY', reason, CLOSE.protocol);
    }
    requireLabels(layout, blob);
    return taskRowSource({ layout, blob });
  }

  close(): Promise<void> {
    return this.#pool.close();
  }

  #flatOf(version: number): FlatWeights {
    return this.#flats[version % 2] as FlatWeights;
  }
}
