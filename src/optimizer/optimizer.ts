// Steps over the flat parameter vector, bucket by bucket. The state exists twice: a
// step reads one copy and writes the other, and becomes real only at `commit`, so an
// abandoned step leaves no trace.
import type { Kernels } from '../kernels/kernels.ts';
import type { Memory } from '../memory.ts';
import { createRule, STEP_LENGTH, writeStep } from './registry.ts';
import type { OptimizerConfig, UpdateRule } from './registry.ts';
import type { ParameterTensor } from '../layers/layer.ts';

/** The part of a model that an optimizer needs to know. */
export interface OptimizedModel {
  readonly numParameters: number;
  /** Tensors in order of offset. */
  readonly tensors: readonly RangeTensor[];
  readonly blocks: readonly Slice[];
  readonly buckets: readonly Slice[];
}

/** A part of the flat vector; offset and length count f32. */
export interface Slice {
  readonly offset: number;
  readonly length: number;
}

/** A slice, in ranges of parameters that are treated alike. */
interface CutSlice {
  readonly offset: number;
  readonly ranges: readonly ParameterRange[];
}

/** Everything that an optimizer is made from. */
export interface OptimizerOptions {
  readonly kernels: Kernels;
  readonly memory: Memory;
  readonly model: OptimizedModel;
  readonly config: OptimizerConfig;
  /** The largest magnitude of an element of the mean gradient; default: none. */
  readonly clipValue?: number | undefined;
  /** Vectors of another optimizer of the same kind, which this one moves too; default: its own. */
  readonly vectors?: OptimizerVectors | undefined;
}

/** Addresses of the parameters and of the rule's vectors of state, 0 for one that it does not keep. */
export interface OptimizerVectors {
  readonly current: readonly number[];
  readonly next: readonly number[];
}

/** The gradient of a bucket. */
export interface BucketGradient {
  /** Address of the sum over samples, f32. */
  readonly sum: number;
  /** Divisor of the sum: the total weight of the samples, rounded to f32. */
  readonly divisor: number;
  /** Divisor of a sum of statistics: samples count alike there; default `divisor`. */
  readonly numSamples?: number | undefined;
  /** Factor of the mean; default 1. */
  readonly scale?: number | undefined;
}

/** Bytes of parameters and optimizer state, both twice. */
export function optimizerBytes(numParameters: number, config: OptimizerConfig): number {
  const numVectors = createRule(config).vectorNames.filter((name) => name !== undefined).length;
  return 2 * 4 * numParameters * (1 + numVectors);
}

/** The term that PyTorch's clip_grad_norm_ adds to the norm before it divides by it. */
const NORM_EPSILON = 1e-6;
/** f32 of a slice: a multiple of every vector's width, and small enough for a share of each thread. */
const SLICE_LENGTH = 8_192;

/** The norm of a gradient: the root of its blocks' sums of squares, added in the order of blocks. */
export function normOf(squares: Iterable<number>): number {
  let total = 0;
  for (const own of squares) total += own;
  return Math.sqrt(total);
}

/** The scale by which a gradient of this norm is clipped, as PyTorch's clip_grad_norm_ computes it. */
export function clipScale(norm: number, maxNorm: number | undefined): number {
  return maxNorm === undefined ? 1 : Math.min(1, maxNorm / (norm + NORM_EPSILON));
}

/** Any kind of optimizer; state starts at zero, steps count from 1. */
export class Optimizer {
  /** Learning rate of the step in progress. */
  learningRate: number;
  readonly #kernels: Kernels;
  readonly #memory: Memory;
  readonly #rule: UpdateRule;
  readonly #weightDecay: number;
  readonly #limit: number;
  readonly #blocks: readonly CutSlice[];
  readonly #buckets: readonly CutSlice[];
  readonly #slices: readonly ParameterRange[];
  /** Address of the record of a step. */
  readonly #record: number;
  #current: OptimizerVectors['current'];
  #next: OptimizerVectors['next'];
  #numSteps = 0;

  constructor({ kernels, memory, model, config, clipValue, vectors }: OptimizerOptions) {
    this.learningRate = config.learningRate;
    this.#kernels = kernels;
    this.#memory = memory;
    this.#rule = createRule(config);
    this.#weightDecay = config.weightDecay;
    this.#limit = clipValue ?? Infinity;
    const isDecayed = (role: RangeTensor['role']): boolean =>
      config.weightDecay > 0 && (config.decay === 'all' || role === 'weight');
    const cut = (slice: Slice): CutSlice => ({
      offset: slice.offset,
      ranges: cutRanges(slice, model.tensors, isDecayed),
    });
    this.#blocks = model.blocks.map(cut);
    this.#buckets = model.buckets.map(cut);
    this.#slices = this.#blocks.flatMap(({ ranges }) => ranges.flatMap(cutSlices));
    const bytes = 4 * model.numParameters;
    const allocate = (): number[] => [
      memory.allocate(bytes, 'weights'),
      ...this.#rule.vectorNames.map((name) =>
        name === undefined ? 0 : memory.allocate(bytes, 'optimizer state'),
      ),
    ];
    this.#current = vectors?.current ?? allocate();
    this.#next = vectors?.next ?? allocate();
    this.#record = memory.allocate(4 * STEP_LENGTH, 'optimizer state');
  }

  /** Address of the committed parameters, f32 [numParameters]. */
  get parameters(): number {
    return this.#current[0] as number;
  }

  get vectors(): OptimizerVectors {
    return { current: this.#current, next: this.#next };
  }

  /** Address of the parameters of the step in progress: valid for the buckets applied so far. */
  get nextParameters(): number {
    return this.#next[0] as number;
  }

  /** Steps committed. */
  get numSteps(): number {
    return this.#numSteps;
  }

  /** Addresses of the committed vectors of state by name, f32 [numParameters] each. */
  get stateVectors(): ReadonlyMap<string, number> {
    return new Map(
      this.#rule.vectorNames.flatMap((name, index) =>
        name === undefined ? [] : [[name, this.#current[1 + index] as number]],
      ),
    );
  }

  /** Resumes after so many steps, whose outcome the caller has put at `parameters` and `stateVectors`. */
  resumeAfter(numSteps: number): void {
    this.#numSteps = numSteps;
  }

  /**
   * Sum of squares, in f64, of a block's gradient (f32 at `sum`) without its statistics, range after range.
   * Undefined if it, or a statistic, holds a value that is not finite.
   */
  sumSquares(index: number, sum: number): number | undefined {
    const { offset, ranges } = elementOf(this.#blocks, index);
    let squares = 0;
    for (const range of ranges) {
      const own = this.#kernels.sumSquares(sum + 4 * (range.offset - offset), range.length);
      if (!Number.isFinite(own)) return undefined;
      if (range.momentum === undefined) squares += own;
    }
    return squares;
  }

  /** Updates one bucket. Every bucket, once a step, in any order. */
  applyBucket(index: number, gradient: BucketGradient): void {
    const { offset, ranges } = elementOf(this.#buckets, index);
    for (const range of ranges) this.#apply(range, { ...gradient, sum: gradient.sum - 4 * offset });
  }

  /** Slices of the parameters that threads can move at the same time. */
  get numSlices(): number {
    return this.#slices.length;
  }

  /** Updates one slice; `gradient.sum` is the address of the whole flat sum. */
  applySlice(index: number, gradient: BucketGradient): void {
    this.#apply(this.#slices[index] as ParameterRange, gradient);
  }

  /** Prepares to move the parameters at this address, after `numSteps` steps that others have committed. */
  follow(parameters: number, numSteps: number, learningRate: number): void {
    if (this.parameters !== parameters) [this.#current, this.#next] = [this.#next, this.#current];
    this.#numSteps = numSteps;
    this.learningRate = learningRate;
  }

  /** Makes the step real, once all buckets are applied. */
  commit(): void {
    [this.#current, this.#next] = [this.#next, this.#current];
    this.#numSteps++;
  }

  /** Updates a range; `gradient.sum` is the address at which the flat sum would start. */
  #apply(range: ParameterRange, gradient: BucketGradient): void {
    const sum = gradient.sum + 4 * range.offset;
    if (range.momentum === undefined) this.#moveRange(range, { ...gradient, sum });
    else this.#moveStatistic(range, range.momentum, { ...gradient, sum });
  }

  #moveRange(
    { offset, length, isDecayed }: ParameterRange,
    { sum, divisor, scale = 1 }: BucketGradient,
  ): void {
    const at = (address: number): number => (address === 0 ? 0 : address + 4 * offset);
    writeStep(this.#memory, this.#record, this.#rule, {
      length,
      gradientSum: sum,
      divisor,
      scale,
      limit: this.#limit,
      current: this.#current.map(at),
      next: this.#next.map(at),
      learningRate: this.learningRate,
      weightDecay: isDecayed ? this.#weightDecay : 0,
      step: this.#numSteps + 1,
    });
    this.#kernels[this.#rule.kernel](this.#record);
  }

  /** Neither scaled nor clipped, and without state: the next copy of the state is not read for it. */
  #moveStatistic(
    { offset, length }: ParameterRange,
    momentum: number,
    { sum, divisor, numSamples = divisor }: BucketGradient,
  ): void {
    const [from, to] = [this.parameters + 4 * offset, this.nextParameters + 4 * offset];
    this.#kernels.moveTowardsMean(length, from, sum, numSamples, momentum, to);
  }
}

function elementOf(slices: readonly CutSlice[], index: number): CutSlice {
  const slice = slices[index];
  if (!slice) throw new RangeError(`the model has only ${slices.length} of these slices, no number ${index}`);
  return slice;
}

// Buckets are cut by size and may hold parts of several tensors; the optimizer treats tensors by their
// role. So each bucket is cut once more, into ranges whose parameters are all treated alike.

/** Parameters that are treated alike. */
export interface ParameterRange extends Slice {
  readonly isDecayed: boolean;
  /**
   * Statistics only: the share of the way that a step takes them to the batch's mean. Undefined for
   * parameters that gradients move.
   */
  readonly momentum: number | undefined;
}

/** The part of a tensor that ranges depend on. */
export type RangeTensor = Pick<ParameterTensor, 'offset' | 'length' | 'role' | 'momentum'>;

/**
 * Cuts a slice of the flat vector; neighbours that are treated alike stay together.
 * `tensors` are in order of offset.
 */
export function cutRanges(
  slice: Slice,
  tensors: readonly RangeTensor[],
  isDecayed: (role: ParameterTensor['role']) => boolean,
): ParameterRange[] {
  const end = slice.offset + slice.length;
  const ranges: ParameterRange[] = [];
  for (const tensor of tensors) {
    const from = Math.max(tensor.offset, slice.offset);
    const to = Math.min(tensor.offset + tensor.length, end);
    if (from >= to) continue;
    const isStatistic = tensor.role === 'statistic';
    const range = {
      offset: from,
      length: to - from,
      isDecayed: !isStatistic && isDecayed(tensor.role),
      momentum: isStatistic ? (tensor.momentum ?? 0) : undefined,
    };
    const last = ranges.at(-1);
    if (last && last.isDecayed === range.isDecayed && last.momentum === range.momentum) {
      ranges[ranges.length - 1] = { ...last, length: last.length + range.length };
    } else ranges.push(range);
  }
  return ranges;
}

/** Cuts a range into slices. */
function cutSlices(range: ParameterRange): ParameterRange[] {
  return Array.from({ length: Math.ceil(range.length / SLICE_LENGTH) }, (_, index) => {
    const from = index * SLICE_LENGTH;
    const length = Math.min(SLICE_LENGTH, range.length - from);
    return { ...range, offset: range.offset + from, length };
  });
}
