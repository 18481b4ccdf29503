// What an optimizer is to the rest: which vectors of state it keeps, and how it moves a slice of the parameters.
import type { Kernels } from '../kernels/kernels.ts';

/** A slice of the flat vector at one step. All vectors are f32; the state is read from one copy and written to another. */
export interface SliceStep {
  readonly length: number;
  /** Address of the sum of gradients. */
  readonly gradientSum: number;
  /** What the sum is divided by. */
  readonly divisor: number;
  /** What the mean is multiplied by: below 1 where its norm is clipped. */
  readonly scale: number;
  /** The largest magnitude of an element after that; others are clipped to it. */
  readonly limit: number;
  /** Addresses of the committed copy: of the parameters, then of each vector of state. */
  readonly current: readonly number[];
  /** Addresses of the copy to write, in the same order. */
  readonly next: readonly number[];
  readonly learningRate: number;
  /** 0 for what is exempt. */
  readonly weightDecay: number;
  /** Counts from 1. */
  readonly step: number;
}

/** One kind of optimizer with its settings. */
export interface UpdateRule {
  /** Names of the vectors of state, each as long as the parameters. All start as zeros. */
  readonly vectorNames: readonly string[];
  /** Writes the next parameters and state of the slice. */
  apply(kernels: Kernels, slice: SliceStep): void;
}
