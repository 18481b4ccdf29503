// A loss that a program brings along: a function of outputs and targets, called for the rows of each shard
// where the kernel of a built-in loss would be.
import { LockstepError, quoteValue } from '../src/errors.ts';
import { hostMath, type HostMath } from '../src/kernels/host-math.ts';
import type { Kernels } from '../src/kernels/kernels.ts';
import type { Loss, LossOperands } from '../src/losses/registry.ts';
import type { Memory } from '../src/memory.ts';
import { countOf } from '../src/printable.ts';
import { sizeOf } from '../src/shape.ts';
import type { ShardRange } from '../src/tree.ts';

/** A built-in loss that a loss of your own can be like. */
export type LikeLoss = 'mse' | 'binaryCrossEntropy' | 'crossEntropy';

/** The rows that a loss of your own is called for. A position of a sequence of classes counts as a row. */
export interface LossRows {
  /** Number of rows: those of one shard in training, any rows together in an evaluation. */
  readonly numRows: number;
  /** Outputs of a row. */
  readonly outputWidth: number;
  /** Exponential, logarithm and cosine in float64, which have the same bits on every platform. */
  readonly math: HostMath;
}

/** Losses and gradients of rows, before their weights: of each row by itself, so nothing is averaged. */
export interface LossResult {
  /** The loss of each row, float64 [numRows]. */
  readonly losses: ArrayLike<number>;
  /** The gradient of each row's loss by the row's outputs, [numRows, outputWidth]; rounded to float32. */
  readonly gradient: ArrayLike<number>;
}

/**
 * A loss of your own. It is called in this process, once for each shard. The bits are the same in every run
 * and on every platform if `compute` is a function of its arguments alone, and uses only `+ - * /`,
 * comparisons, those functions of Math that are exact (`abs`, `sqrt`, `fround`, `min`, `max`, `sign`, `floor`,
 * `ceil`, `round`, `trunc`), and `math` for exponentials and logarithms.
 */
export interface LossLike<Like extends LikeLoss> {
  /**
   * The loss that outputs and targets are as for. `mse`: targets are numbers, as many as outputs.
   * `binaryCrossEntropy`: these are from 0 to 1, outputs are logits. `crossEntropy`: targets are indices of
   * classes, outputs are their logits. Decides what `evaluate` measures, and how a saved model predicts.
   */
  readonly like: Like;
  /**
   * Computes the loss of each row and its gradient, at once: no promise.
   * @param outputs outputs of the last layer, [numRows, outputWidth]; a copy
   * @param targets numbers [numRows, outputWidth] or, like `crossEntropy`, classes [numRows]; a copy
   */
  compute(
    outputs: Float32Array,
    targets: Like extends 'crossEntropy' ? Uint32Array : Float32Array,
    rows: LossRows,
  ): LossResult;
}

/** A loss of your own, like any of the built-in ones. */
export type CustomLoss = LossLike<'mse' | 'binaryCrossEntropy'> | LossLike<'crossEntropy'>;

/** A loss of a program's own in the place of a kernel. */
export class OwnLoss implements Loss {
  readonly #loss: CustomLoss;
  readonly #memory: Memory;

  constructor(loss: CustomLoss, memory: Memory) {
    this.#loss = loss;
    this.#memory = memory;
  }

  /** @throws LockstepError E_LOSS for a function that throws, or returns anything but numbers for each row */
  run(kernels: Kernels, operands: LossOperands): void {
    const { bounds } = operands;
    const math = hostMath(kernels);
    for (let shard = 0; shard + 1 < bounds.length; shard++) {
      this.#runShard(operands, { from: bounds[shard] as number, to: bounds[shard + 1] as number, math });
    }
  }

  /** Runs the samples [from, to), each of which is one row or, of a sequence of classes, several. */
  #runShard(operands: LossOperands, { from, to, math }: ShardRange & Pick<LossRows, 'math'>): void {
    const memory = this.#memory;
    const areClasses = this.#loss.like === 'crossEntropy';
    const sampleWidth = sizeOf(operands.shape);
    const outputWidth = areClasses ? (operands.shape.at(-1) as number) : sampleWidth;
    const rowsOfSample = sampleWidth / outputWidth;
    const [first, numRows] = [from * rowsOfSample, (to - from) * rowsOfSample];
    const view = (address: number, width: number): Float32Array =>
      memory.f32(address + 4 * first * width, numRows * width);
    const targets = areClasses
      ? memory.u32(operands.targets + 4 * first, numRows)
      : view(operands.targets, outputWidth);
    const outputs = view(operands.outputs, outputWidth).slice();
    const rows = { numRows, outputWidth, math };
    const { losses, gradient } = this.#call(outputs, targets.slice(), rows);
    const weights = view(operands.sampleWeights, 1);
    const dY = view(operands.dY, outputWidth);
    dY.set(gradient);
    const sampleLosses = memory.f64(operands.rowLosses + 8 * from, to - from).fill(0);
    for (let row = 0; row < numRows; row++) {
      const weight = weights[row] as number;
      const sample = Math.floor(row / rowsOfSample);
      sampleLosses[sample] = (sampleLosses[sample] as number) + weigh(losses[row] as number, weight);
      for (let i = row * outputWidth; i < (row + 1) * outputWidth; i++)
        dY[i] = weigh(dY[i] as number, weight);
    }
  }

  #call(outputs: Float32Array, targets: Float32Array | Uint32Array, rows: LossRows): LossResult {
    let result: unknown;
    try {
      result = (this.#loss as LossLike<LikeLoss>).compute(outputs, targets, rows);
    } catch (error) {
      throw lossError(
        `loss.compute failed: ${error instanceof Error ? error.message : String(error)}`,
        error,
      );
    }
    const { losses, gradient } = (result ?? {}) as Partial<LossResult>;
    const counts = `${countOf(rows.numRows, 'row')} of ${countOf(rows.outputWidth, 'output')}`;
    const required = { losses: [losses, rows.numRows], gradient: [gradient, outputs.length] } as const;
    for (const [name, [values, length]] of Object.entries(required)) {
      if (values?.length === length) continue;
      const got = values?.length === undefined ? quoteValue(result) : countOf(values.length, 'value');
      throw lossError(`loss.compute: expected ${name} of ${length} for ${counts}, got ${got}`);
    }
    return { losses, gradient } as LossResult;
  }
}

/** A weight of 0 leaves a row out, whatever its loss. */
function weigh(value: number, weight: number): number {
  return weight === 0 ? 0 : value * weight;
}

function lossError(message: string, cause?: unknown): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_LOSS',
    message,
    help: 'return { losses: [a number for each row], gradient: [a number for each output] }',
    cause,
  });
}
