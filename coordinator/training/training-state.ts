// The weights and everything that changes them: the coordinator is their only writer. A step
// reaches them bucket by bucket, as reductions finish, and becomes real when all buckets have; a
// bucket that is not finite stops it before anything is kept. With clipping by norm the buckets
// wait for the last one, whose squares it needs.
import type { Config } from '../../src/config/schema.ts';
import { combineFingerprints, fingerprintOf, formatFingerprint } from '../../src/engine/fingerprint.ts';
import { LockstepError } from '../../src/errors.ts';
import type { Kernels } from '../../src/kernels/kernels.ts';
import type { Memory } from '../../src/memory.ts';
import type { Model, Bucket } from '../../src/model/model.ts';
import { sha256Of } from '../../src/sha256.ts';
import { WeightAverage } from '../../src/optimizer/average.ts';
import { clipScale, normOf, Optimizer } from '../../src/optimizer/optimizer.ts';
import type { ThreadOptimizer } from '../../src/threads/compute-thread.ts';
import type { SharedTask } from '../../src/threads/shared-task.ts';

/** The parts of a training state; `initialize` fills the flat vector at the given address. */
export interface TrainingStateOptions {
  readonly kernels: Kernels;
  readonly memory: Memory;
  readonly model: Model;
  readonly config: Pick<Config, 'optimizer' | 'clip' | 'ema'> & Partial<Pick<Config, 'data' | 'loss'>>;
  readonly initialize: (address: number) => void;
}

/** A bucket of the weights of one version, and the fingerprint of its bytes. */
export interface WeightsBucket {
  /** A view: valid until the next step finishes the same bucket. */
  readonly bytes: Uint8Array;
  readonly fingerprint: string;
}

/** The weights that may be the current ones: those that training moves, their average, or the best so far. */
export type CurrentWeights = 'live' | 'average' | 'best';

/** Addresses of f32 vectors as long as the parameters. */
export interface StateVectors {
  /** The parameters that training moves. */
  readonly parameters: number;
  readonly optimizer: ReadonlyMap<string, number>;
  /** The average of the parameters, if one is kept. */
  readonly average: number | undefined;
  /** The best parameters, once an epoch is done. */
  readonly best: number | undefined;
}

/** The gradient of a bucket that has arrived. */
interface ArrivedBucket {
  /** Address of the sum, f32. */
  readonly sum: number;
  readonly divisor: number;
  readonly numSamples: number;
}

/** Weights, optimizer state, their moving average if there is one, and the best weights so far. */
export class TrainingState {
  readonly kernels: Kernels;
  readonly memory: Memory;
  readonly model: Model;
  readonly #config: TrainingStateOptions['config'];
  readonly #optimizer: Optimizer;
  readonly #average: WeightAverage | undefined;
  readonly #best: number;
  /** Room in which the sums of small buckets are gathered, f32 [numParameters]: a block's squares are one sum. */
  readonly #gathered: number | undefined;
  /** The buckets of each block. */
  readonly #bucketsOf: readonly (readonly number[])[];
  #current: CurrentWeights = 'live';
  /** Fingerprints of the current version by bucket, where somebody has asked for them. */
  #fingerprints: (string | undefined)[] = [];
  #fingerprint: string | undefined;
  #weightsFingerprint: string | undefined;
  #nextFingerprints: string[] = [];
  /** Gradients of the step in progress, by bucket. */
  #arrived: ArrivedBucket[] = [];
  /** Sums of squares of the mean gradient of the step in progress, by block. */
  #squares: number[] = [];
  #version = 0;
  #hasBest = false;

  constructor({ kernels, memory, model, config, initialize }: TrainingStateOptions) {
    this.kernels = kernels;
    this.memory = memory;
    this.model = model;
    this.#config = config;
    const { optimizer, clip, ema } = config;
    this.#optimizer = new Optimizer({ kernels, memory, model, config: optimizer, clipValue: clip.value });
    this.#average = ema && new WeightAverage(kernels, memory, model, ema);
    this.#best = memory.allocate(4 * model.numParameters, 'best weights');
    this.#bucketsOf = model.blocks.map((block) =>
      [...model.buckets.keys()].filter((index) => isWithin(block, this.#bucket(index))),
    );
    if (model.buckets !== model.blocks) {
      this.#gathered = memory.allocate(4 * model.numParameters, 'sums of gradients');
    }
    initialize(this.#optimizer.parameters);
    this.#average?.start(this.#optimizer.parameters);
  }

  /** Number of changes of the weights so far: the name of the weights that a worker computes with. */
  get version(): number {
    return this.#version;
  }

  /** Steps committed. */
  get step(): number {
    return this.#optimizer.numSteps;
  }

  /** Fingerprint of the whole vector of the current version, by which it is known in the records of a run. */
  get fingerprint(): string {
    const { blocks, buckets } = this.model;
    if (blocks === buckets) return this.weightsFingerprint;
    return (this.#fingerprint ??= combineFingerprints(
      blocks.map(({ offset, length }) => fingerprintOf(this.kernels, this.parameters + 4 * offset, length)),
    ));
  }

  /** Fingerprint of the same vector, by which it is known in messages: that of the buckets in which it travels. */
  get weightsFingerprint(): string {
    return (this.#weightsFingerprint ??= combineFingerprints(
      this.model.buckets.map((_, index) => this.#fingerprintOf(index)),
    ));
  }

  /** Address of the flat f32 vector of the current version. */
  get parameters(): number {
    if (this.#current === 'best') return this.#best;
    return this.#current === 'average' && this.#average
      ? this.#average.parameters
      : this.#optimizer.parameters;
  }

  /** The learning rate of the next step. */
  get learningRate(): number {
    return this.#optimizer.learningRate;
  }

  set learningRate(value: number) {
    this.#optimizer.learningRate = value;
  }

  /** A bucket of the current version. */
  currentBucket(index: number): WeightsBucket {
    return this.#weightsBucket(this.parameters, index, this.#fingerprintOf(index));
  }

  /** A bucket of the version that the step in progress makes; undefined until it is finished. */
  nextBucket(index: number): WeightsBucket | undefined {
    const fingerprint = this.#nextFingerprints[index];
    return fingerprint === undefined
      ? undefined
      : this.#weightsBucket(this.#optimizer.nextParameters, index, fingerprint);
  }

  /**
   * Takes the sum of gradients for one bucket (f32 at `gradientSum`), of samples with this total
   * weight (their number divides statistics), and returns the buckets of the next weights that are
   * finished now: this one or, where the norm is clipped, none before the last one has arrived, and
   * then all. Until then the sum must stay where it is.
   * @throws LockstepError (exit 6) where it is not finite; the step is then abandoned.
   */
  finishBucket(index: number, gradientSum: number, weight: number, numSamples = weight): readonly number[] {
    this.#arrived[index] = { sum: this.#gather(index, gradientSum), divisor: weight, numSamples };
    if (!this.#noteSquares(index)) {
      this.abandonStep();
      throw this.divergence(index, gradientSum);
    }
    const maxNorm = this.#config.clip.norm;
    if (maxNorm === undefined) return this.#applyBuckets([index], 1);
    const all = Object.keys(this.#arrived).map(Number);
    if (all.length < this.model.buckets.length) return [];
    return this.#applyBuckets(all, clipScale(this.#gradientNorm(), maxNorm));
  }

  /** The optimizer, for threads that take its steps in place of `finishBucket`. */
  get threadOptimizer(): ThreadOptimizer {
    const { optimizer: config, clip } = this.#config;
    return { config, clipValue: clip.value, clipNorm: clip.norm, vectors: this.#optimizer.vectors };
  }

  /**
   * Takes note of a step that threads have taken: by block, the sums of squares of the mean
   * gradient and the fingerprints of the next parameters. The flat sum is f32 at `gradientSum`.
   * @throws LockstepError (exit 6) where one is not finite; the step is then abandoned.
   */
  takeStep({ squares, fingerprints }: SharedTask, gradientSum: number): void {
    const { blocks, buckets } = this.model;
    blocks.forEach(({ offset }, index) => {
      const own = squares[index] as number;
      if (Number.isFinite(own)) {
        this.#squares[index] = own;
        if (buckets === blocks)
          this.#nextFingerprints[index] = formatFingerprint(fingerprints[index] as bigint);
        return;
      }
      this.abandonStep();
      throw this.divergence(index, gradientSum + 4 * offset);
    });
  }

  /** Forgets the buckets of the step in progress: it may restart, or never happen. */
  abandonStep(): void {
    this.#nextFingerprints = [];
    this.#arrived = [];
    this.#squares = [];
  }

  /** The error for a bucket's sum of gradients (f32 at `gradientSum`), or its loss, that is not finite. */
  divergence(index: number, gradientSum: number): LockstepError {
    const bucket = this.#bucket(index);
    const values = this.memory.f32(gradientSum, bucket.length);
    const first = values.findIndex((value) => !Number.isFinite(value));
    const at = bucket.offset + first;
    const tensor = this.model.tensors.find(({ offset, length }) => at >= offset && at < offset + length);
    const what = first < 0 ? 'the loss' : `the gradient of ${tensor?.name ?? 'the model'}`;
    return new LockstepError({
      category: 'diverged',
      code: 'E_DIVERGED',
      message: `diverged at step ${this.#optimizer.numSteps + 1}: ${what} is not finite`,
      help: helpForDivergence(this.#config),
    });
  }

  /** Makes the step real; returns the norm of its mean gradient, before clipping. */
  commit(): { gradNorm: number } {
    const gradNorm = this.#gradientNorm();
    this.#optimizer.commit();
    this.#average?.update(this.#optimizer.parameters, this.#optimizer.numSteps);
    const fingerprints = this.#nextFingerprints;
    this.abandonStep();
    this.#replaced(fingerprints);
    return { gradNorm };
  }

  /**
   * Makes other weights the current ones, as a new version: those that training moves, their
   * average (if there is one) or the best. Returns whether that changed anything. Steps are taken
   * only while the live ones are current.
   */
  setCurrent(weights: CurrentWeights): boolean {
    const wanted = weights === 'average' && !this.#average ? 'live' : weights;
    if (wanted === this.#current) return false;
    this.#current = wanted;
    this.#replaced([]);
    return true;
  }

  /** The vectors that steps and epochs change, f32 [numParameters] each, by name. */
  get vectors(): StateVectors {
    return {
      parameters: this.#optimizer.parameters,
      optimizer: this.#optimizer.stateVectors,
      average: this.#average?.parameters,
      best: this.#hasBest ? this.#best : undefined,
    };
  }

  /**
   * Resumes after `step` steps, whose results `write` puts into the vectors; the best weights are
   * among them if `hasBest`. A step in progress is forgotten.
   */
  resumeAfter(step: number, hasBest: boolean, write: (vectors: StateVectors) => void): void {
    this.abandonStep();
    this.#hasBest = hasBest;
    this.#optimizer.resumeAfter(step);
    write(this.vectors);
    this.#current = 'live';
    this.#replaced([]);
  }

  /** True once `keepBest` was called: an epoch is done. */
  get hasBest(): boolean {
    return this.#hasBest;
  }

  /** Remembers the current weights as the best. */
  keepBest(): void {
    this.#hasBest = true;
    const { numParameters } = this.model;
    this.kernels.copyValues(this.parameters, numParameters, this.#best);
  }

  /** SHA-256 over the little-endian f32 bytes of the current flat vector. */
  weightsSha256(): string {
    const bytes = this.memory.bytes(this.parameters, 4 * this.model.numParameters);
    return sha256Of(bytes);
  }

  /** Moves the sum of a small bucket to the rest of its block; returns its address. */
  #gather(index: number, sum: number): number {
    if (this.#gathered === undefined) return sum;
    const { offset, length } = this.#bucket(index);
    const address = this.#gathered + 4 * offset;
    this.kernels.copyValues(sum, length, address);
    return address;
  }

  /**
   * Notes the squares of the block of a bucket that has arrived, if the block is complete; returns
   * false where the bucket is not finite.
   */
  #noteSquares(index: number): boolean {
    const block = this.#bucketsOf.findIndex((indices) => indices.includes(index));
    const indices = this.#bucketsOf[block] as readonly number[];
    const { sum, divisor } = this.#arrived[index] as ArrivedBucket;
    if (!indices.every((each) => this.#arrived[each]))
      return this.kernels.allFinite(sum, this.#bucket(index).length);
    // A block is cut from its end, so its last bucket lies at its start.
    const first = this.#arrived[indices.at(-1) as number] as ArrivedBucket;
    const squares = this.#optimizer.sumSquares(block, first.sum);
    if (squares === undefined) return false;
    this.#squares[block] = squares / (divisor * divisor);
    return true;
  }

  #applyBuckets(indices: readonly number[], scale: number): readonly number[] {
    for (const index of indices) {
      this.#optimizer.applyBucket(index, { ...(this.#arrived[index] as ArrivedBucket), scale });
      const { offset, length } = this.#bucket(index);
      const address = this.#optimizer.nextParameters + 4 * offset;
      this.#nextFingerprints[index] = fingerprintOf(this.kernels, address, length);
    }
    return indices;
  }

  /** The norm of the mean gradient: the root of the blocks' sums of squares, added in the order of blocks. */
  #gradientNorm(): number {
    return normOf(this.#squares);
  }

  #replaced(fingerprints: (string | undefined)[]): void {
    this.#fingerprints = fingerprints;
    this.#fingerprint = undefined;
    this.#weightsFingerprint = undefined;
    this.#version++;
  }

  #weightsBucket(base: number, index: number, fingerprint: string): WeightsBucket {
    const bucket = this.#bucket(index);
    const bytes = this.memory.bytes(base + 4 * bucket.offset, 4 * bucket.length);
    return { bytes, fingerprint };
  }

  #bucket(index: number): Bucket {
    const bucket = this.model.buckets[index];
    if (!bucket) throw new RangeError(`the model has no bucket ${index}`);
    return bucket;
  }

  #fingerprintOf(index: number): string {
    const { offset, length } = this.#bucket(index);
    return (this.#fingerprints[index] ??= fingerprintOf(this.kernels, this.parameters + 4 * offset, length));
  }
}

function isWithin(block: Bucket, { offset }: Bucket): boolean {
  return offset >= block.offset && offset < block.offset + block.length;
}

/**
 * Advice for smaller steps: a lower learning rate or, where the scale of the target makes them
 * large, a standardized target.
 */
export function helpForDivergence({ data, loss, optimizer }: TrainingStateOptions['config']): string {
  const rate = `lower optimizer.learningRate (now ${optimizer.learningRate})`;
  const hasValues = loss?.kind === 'mse' || loss?.kind === 'mae' || loss?.kind === 'huber';
  if (!data || !hasValues || data.targetTransform.includes('standardize')) return rate;
  return `${rate}, or scale the target: data.targetTransform: [${[...data.targetTransform, 'standardize'].join(', ')}]`;
}
