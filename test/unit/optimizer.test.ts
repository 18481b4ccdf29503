// The life of an Adam step: piece by piece, committed or abandoned. Its arithmetic is tested with the kernels.
import { beforeEach, describe, expect, it } from 'vitest';
import { instantiateKernels, loadKernelModule } from '../../src/kernels/kernels.ts';
import type { Kernels } from '../../src/kernels/kernels.ts';
import { Memory } from '../../src/memory.ts';
import { Adam, integerPower, optimizerBytes } from '../../src/optimizer.ts';
import { adam, adamConstants } from '../helpers/twins/adam.ts';
import { single } from '../helpers/twins/arithmetic.ts';
import { randomValues } from '../helpers/twins/samples.ts';

const CONFIG = { kind: 'adam' as const, learningRate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
const LENGTH = 11;
const PIECES = [
  { offset: 5, length: 6, firstLayer: 1, fromRow: 0, toRow: 1 },
  { offset: 0, length: 5, firstLayer: 0, fromRow: 0, toRow: 1 },
];

let kernels: Kernels;
let memory: Memory;
let optimizer: Adam;
let gradient: number;

beforeEach(async () => {
  memory = new Memory();
  kernels = await instantiateKernels((await loadKernelModule()).module, memory.wasm);
  optimizer = new Adam(kernels, memory, LENGTH, CONFIG);
  gradient = memory.allocate(4 * LENGTH, 'gradients');
  memory.f32(optimizer.parameters, LENGTH).set(randomValues(1, LENGTH));
});

/** Applies pieces of a gradient drawn from `seed`, without committing. */
function apply(seed: number, pieces = PIECES): void {
  memory.f32(gradient, LENGTH).set(randomValues(seed, LENGTH));
  for (const piece of pieces) optimizer.applyPiece(piece, gradient + 4 * piece.offset, 16);
}

function parameters(): Float32Array {
  return memory.f32(optimizer.parameters, LENGTH).slice();
}

/** What the twin makes of gradients drawn from `seeds`, a step each. */
function expectedAfter(seeds: readonly number[]): Float32Array {
  let states = Array.from(randomValues(1, LENGTH), (p) => ({ p, m: 0, v: 0 }));
  seeds.forEach((seed, step) => {
    const sums = randomValues(seed, LENGTH);
    states = states.map((state, i) =>
      adam(single, sums[i] as number, 16, state, adamConstants(step + 1, CONFIG)),
    );
  });
  return Float32Array.from(states, ({ p }) => p);
}

describe('Adam', () => {
  it('takes steps piece by piece, in any order, to the bits of its twin', () => {
    for (const seed of [10, 11, 12]) {
      apply(seed, seed === 11 ? PIECES.toReversed() : PIECES);
      optimizer.commit();
    }
    expect(parameters()).toEqual(expectedAfter([10, 11, 12]));
    expect(optimizer.numSteps).toBe(3);
  });

  it('shows the next parameters of the pieces applied, and keeps the committed ones until commit', () => {
    const before = parameters();
    apply(10);
    expect(parameters()).toEqual(before);
    const next = memory.f32(optimizer.nextParameters, LENGTH).slice();
    optimizer.commit();
    expect(parameters()).toEqual(next);
  });

  it('forgets an abandoned step, whole or in part', () => {
    apply(10);
    optimizer.commit();
    apply(99, PIECES.slice(0, 1));
    apply(98);
    apply(11);
    optimizer.commit();
    expect(parameters()).toEqual(expectedAfter([10, 11]));
  });

  it('forgets an abandoned step of NaN', () => {
    apply(10);
    memory.f32(gradient, LENGTH).fill(Number.NaN);
    for (const piece of PIECES) optimizer.applyPiece(piece, gradient + 4 * piece.offset, 16);
    apply(10);
    optimizer.commit();
    expect(parameters()).toEqual(expectedAfter([10]));
  });

  it('allocates what optimizerBytes says, but for alignment', () => {
    const before = memory.usedBytes;
    new Adam(kernels, memory, 1600, CONFIG);
    expect(memory.usedBytes - before).toBe(optimizerBytes(1600));
  });
});

describe('integerPower', () => {
  it('agrees with a product of factors within its rounding, for every exponent to 3000', () => {
    let product = 1;
    for (let exponent = 0; exponent <= 3000; exponent++) {
      expect(Math.abs(integerPower(0.999, exponent) / product - 1)).toBeLessThan(3000 * 2 ** -52);
      product *= 0.999;
    }
  });

  it('is exact for powers of two, and reaches 0 for huge exponents', () => {
    expect(integerPower(2, 1000)).toBe(2 ** 1000);
    expect(integerPower(0.9, 2 ** 52)).toBe(0);
    expect(integerPower(0, 0)).toBe(1);
    expect(integerPower(0, 5)).toBe(0);
  });
});
