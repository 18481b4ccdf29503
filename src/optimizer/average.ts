// The moving average of the weights, which is measured, kept and saved in place of the
// weights that training moves.
import { z } from 'zod';
import type { Kernels } from '../kernels/kernels.ts';
import type { Memory } from '../memory.ts';
import { cutRanges } from './optimizer.ts';
import type { OptimizedModel, ParameterRange } from './optimizer.ts';

export const emaSchema = z.strictObject({
  decay: z.number().min(0).lt(1).default(0.999).describe('Share of the average that a step keeps'),
  warmup: z
    .boolean()
    .default(true)
    .describe(
      'Step t keeps (1 + t) / (10 + t) as long as that is smaller, so that the first weights are soon forgotten',
    ),
});

export type EmaConfig = z.output<typeof emaSchema>;

/**
 * Share of the average that step `step` (from 1) keeps. The warm-up is that of TensorFlow's
 * ExponentialMovingAverage.
 */
export function emaDecay({ decay, warmup }: EmaConfig, step: number): number {
  return warmup ? Math.min(decay, (1 + step) / (10 + step)) : decay;
}

/** An averaged copy of the parameters. Statistics of batches, averages already, are copied as they are. */
export class WeightAverage {
  /** Address of the averaged parameters, f32 [numParameters]. */
  readonly parameters: number;
  readonly #kernels: Kernels;
  readonly #memory: Memory;
  readonly #config: EmaConfig;
  readonly #ranges: readonly ParameterRange[];

  constructor(kernels: Kernels, memory: Memory, model: OptimizedModel, config: EmaConfig) {
    this.parameters = memory.allocate(4 * model.numParameters, 'averaged weights');
    this.#kernels = kernels;
    this.#memory = memory;
    this.#config = config;
    this.#ranges = cutRanges({ offset: 0, length: model.numParameters }, model.tensors, () => false);
  }

  /** Starts from the parameters at this address. */
  start(parameters: number): void {
    for (const range of this.#ranges) this.#copy(range, parameters);
  }

  /** Takes in the parameters (f32 at this address) that step `step` (from 1) results in. */
  update(parameters: number, step: number): void {
    const share = 1 - emaDecay(this.#config, step);
    for (const range of this.#ranges) {
      const [from, to] = [parameters + 4 * range.offset, this.parameters + 4 * range.offset];
      if (range.momentum === undefined) this.#kernels.moveTowardsMean(range.length, to, from, 1, share, to);
      else this.#copy(range, parameters);
    }
  }

  #copy({ offset, length }: ParameterRange, parameters: number): void {
    const from = this.#memory.f32(parameters + 4 * offset, length);
    this.#memory.f32(this.parameters + 4 * offset, length).set(from);
  }
}
