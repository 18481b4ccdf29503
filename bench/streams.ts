// The elementwise kernels of `lockstep bench kernels`, on vectors that no cache holds.
import { activationNumber } from '../src/layers/activation.ts';
import type { Kernels } from '../src/kernels/kernels.ts';
import type { Memory } from '../src/memory.ts';

/** One pass over vectors. Bytes of an element include the reading of lines that are written whole. */
export interface Stream {
  readonly name: string;
  readonly bytes: number;
  readonly run: () => void;
}

/** Divisor, scale and limit of the gradient. */
const MEAN = [256, 1, Infinity] as const;
/** Coefficients of an early step, from the decay of the weights to epsilon. */
const COEFFICIENTS = [0, 1, 0.9, 0.1, 0.999, 0.001, 0.01, 0.1, 1e-8] as const;

/** Number of f32 in each vector: 32 MiB. */
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
  const relu = activationNumber('relu');
  const stream = (name: string, bytesOfElement: number, run: () => void): Stream => ({
    name,
    bytes: bytesOfElement * LENGTH,
    run,
  });
  return {
    triad: stream('triad', 16, () => kernels.streamTriad(a, b, c, LENGTH)),
    kernels: [
      stream('Adam step', 40, () => kernels.adamStep(LENGTH, a, ...MEAN, b, c, d, e, f, g, ...COEFFICIENTS)),
      stream('sum of two gradients', 12, () => kernels.addInto(a, b, LENGTH)),
      stream('bias and relu', 8, () => kernels.biasActivationForward(relu, a, b, LENGTH / COLUMNS, COLUMNS)),
      stream('relu, backward', 12, () => kernels.activationBackward(relu, a, b, LENGTH)),
    ],
  };
}
