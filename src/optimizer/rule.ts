// The parts of an optimizer that its kind decides: which vectors of state it keeps, and the kernel that moves a slice of
// the parameters.
import type { Memory } from '../memory.ts';

/** A slice of the flat vector at one step. All vectors are f32; the state is read from one copy and written to another. */
export interface SliceStep {
  readonly length: number;
  /** Address of the sum of gradients. */
  readonly gradientSum: number;
  /** Number that the sum is divided by. */
  readonly divisor: number;
  /** Factor of the mean: below 1 where its norm is clipped. */
  readonly scale: number;
  /** The largest magnitude of an element after that; others are clipped to it. */
  readonly limit: number;
  /** Addresses of the committed copy: of the parameters, then of the rule's vectors, 0 for one that it does not keep. */
  readonly current: readonly number[];
  /** Addresses of the copy to write, in the same order. */
  readonly next: readonly number[];
  readonly learningRate: number;
  /** 0 for parameters that are exempt. */
  readonly weightDecay: number;
  /** Counts from 1. */
  readonly step: number;
}

/** One kind of optimizer with its settings. */
export interface UpdateRule {
  readonly kernel: 'adamStep' | 'sgdStep' | 'momentumStep' | 'rmspropStep' | 'lionStep';
  /**
   * Names of the kernel's vectors of state, each as long as the parameters; undefined for one that these settings do not
   * keep. All start as zeros.
   */
  readonly vectorNames: readonly (string | undefined)[];
  /** The kernel's own coefficients, in the order of its record. */
  coefficients(slice: Pick<SliceStep, 'learningRate' | 'weightDecay' | 'step'>): readonly number[];
}

/** f32 of the longest record of a step. */
export const STEP_LENGTH = 22;

/** Writes the record of a step (assembly/optimizer/step.ts) for the rule's kernel. */
export function writeStep(memory: Memory, record: number, rule: UpdateRule, slice: SliceStep): void {
  const integers = memory.u32(record, STEP_LENGTH);
  const floats = memory.f32(record, STEP_LENGTH);
  integers.fill(0);
  integers.set([slice.length, slice.gradientSum]);
  floats.set([slice.divisor, slice.scale, slice.limit], 2);
  integers.set(slice.current, 5);
  integers.set(slice.next, 9);
  floats.set(rule.coefficients(slice), 13);
}
