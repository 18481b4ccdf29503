// The elementwise kernels of `lockstep bench kernels`, on vectors that no cache holds.
import { activationNumber } from '../src/layers/activation.ts';
import type { Kernels } from '../src/kernels/kernels.ts';
import type { Memory } from '../src/memory.ts';
import { createRule, optimizerSchema, STEP_LENGTH, writeStep } from '../src/optimizer/registry.ts';
import type { SliceStep } from '../src/optimizer/registry.ts';

/** One pass over vectors. Bytes of an element include the reading of lines that are written whole. */
export interface Stream {
  readonly name: string;
  readonly bytes: number;
  readonly run: () => void;
}

/** f32 of each vector: 32 MiB. */
const LENGTH = 2 ** 23;
const COLUMNS = 1024;

/** The triad that measures the bandwidth, and the kernels that are compared with it. */
export function streamsOf(kernels: Kernels, memory: Memory): { triad: Stream; kernels: readonly Stream[] } {
  const vectors = Array.from({ length: 7 }, () => {
    const address = memory.allocate(4 * LENGTH, 'the benchmark');
    memory.f32(address, LENGTH).fill(0.5);
    return address;
  });
  const [a, b, c, d, e, f, g] = vectors as [number, number, number, number, number, number, number];
  const adam = recordOfAdam(memory, { gradientSum: a, current: [b, c, d], next: [e, f, g] });
  const relu = activationNumber('relu');
  const stream = (name: string, bytesOfElement: number, run: () => void): Stream => ({
    name,
    bytes: bytesOfElement * LENGTH,
    run,
  });
  return {
    triad: stream('triad', 16, () => kernels.streamTriad(a, b, c, LENGTH)),
    kernels: [
      stream('Adam step', 40, () => kernels.adamStep(adam)),
      stream('sum of two gradients', 12, () => kernels.addInto(a, b, LENGTH)),
      stream('bias and relu', 8, () => kernels.biasActivationForward(relu, a, b, LENGTH / COLUMNS, COLUMNS)),
      stream('relu, backward', 12, () => kernels.activationBackward(relu, a, b, LENGTH)),
    ],
  };
}

/** The record of an early step of Adam. */
function recordOfAdam(
  memory: Memory,
  addresses: Pick<SliceStep, 'gradientSum' | 'current' | 'next'>,
): number {
  const record = memory.allocate(4 * STEP_LENGTH, 'the benchmark');
  const gradient = { length: LENGTH, divisor: 256, scale: 1, limit: Infinity };
  const settings = { learningRate: 0.001, weightDecay: 0, step: 1 };
  const rule = createRule(optimizerSchema.parse({ kind: 'adam' }));
  writeStep(memory, record, rule, { ...gradient, ...addresses, ...settings });
  return record;
}
