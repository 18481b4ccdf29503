// The Adam kernel against its twin: to the bit in float32, and the formula itself in float64.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { adam, adamConstants } from '../helpers/twins/adam.ts';
import type { AdamState } from '../helpers/twins/adam.ts';
import { double, single } from '../helpers/twins/arithmetic.ts';
import { FINITE_EXTREMES, randomValues } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';

const LENGTHS = [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 255, 256, 257];
const CONFIG = { learningRate: 0.001, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

interface Vectors {
  readonly gradientSum: Float32Array;
  readonly p: Float32Array;
  readonly m: Float32Array;
  readonly v: Float32Array;
}

type State = Omit<Vectors, 'gradientSum'>;

/** Runs the kernel and asserts that it left the state it read untouched. */
function runKernel(vectors: Vectors, count: number, t: number): State {
  const { gradientSum, p, m, v } = vectors;
  const length = p.length;
  const before = [arena.put(p), arena.put(m), arena.put(v)] as const;
  const after = [arena.room(4 * length), arena.room(4 * length), arena.room(4 * length)] as const;
  const c = adamConstants(t, CONFIG);
  const constants = [
    c.beta1,
    c.oneMinusBeta1,
    c.beta2,
    c.oneMinusBeta2,
    c.stepSize,
    c.rootCorrection2,
    c.epsilon,
  ] as const;
  arena.kernels.adamStep(length, arena.put(gradientSum), count, ...before, ...after, ...constants);
  [p, m, v].forEach((values, i) =>
    expectSameBits(arena.f32(before[i] as number, length), values, 'state before'),
  );
  const [pNext, mNext, vNext] = after;
  return { p: arena.f32(pNext, length), m: arena.f32(mNext, length), v: arena.f32(vNext, length) };
}

function checkStep(vectors: Vectors, count: number, t: number, what: string): State {
  const next = runKernel(vectors, count, t);
  const expected = Array.from(vectors.p, (_, i) =>
    adam(single, vectors.gradientSum[i] as number, count, stateAt(vectors, i), adamConstants(t, CONFIG)),
  );
  for (const part of ['p', 'm', 'v'] as const)
    expectSameBits(
      next[part],
      expected.map((s) => s[part]),
      `${what}: ${part}`,
    );
  arena.reset();
  return next;
}

function stateAt({ p, m, v }: State, i: number): AdamState {
  return { p: p[i] as number, m: m[i] as number, v: v[i] as number };
}

function randomVectors(length: number): Vectors {
  return {
    gradientSum: randomValues(length, length).map((value) => 100 * value),
    p: randomValues(length + 1, length),
    m: randomValues(length + 2, length),
    v: randomValues(length + 3, length).map(Math.abs),
  };
}

describe('adamStep', () => {
  it('gives the bits of its twin at every length', () => {
    for (const length of LENGTHS) checkStep(randomVectors(length), 37, 3, `length ${length}`);
  });

  it('gives the bits of its twin over 100 steps from moments of zero', () => {
    let state: State = { p: randomValues(1, 37), m: new Float32Array(37), v: new Float32Array(37) };
    for (let t = 1; t <= 100; t++) {
      state = checkStep({ gradientSum: randomValues(100 + t, 37), ...state }, 64, t, `step ${t}`);
    }
  });

  it('treats extreme gradients as its twin does', () => {
    const length = FINITE_EXTREMES.length;
    const zeros = new Float32Array(length);
    checkStep(
      { gradientSum: Float32Array.from(FINITE_EXTREMES), p: zeros, m: zeros, v: zeros },
      1,
      1,
      'extremes',
    );
  });

  it('leaves parameters without gradient and moments as they are', () => {
    const p = randomValues(1, 9);
    const zeros = new Float32Array(9);
    expectSameBits(runKernel({ gradientSum: zeros, p, m: zeros, v: zeros }, 8, 1).p, p, 'parameters');
  });

  it('moves each parameter by the learning rate in the first step, whatever the gradient', () => {
    const gradientSum = Float32Array.of(1e-3, -1, 1e3, -1e10, 5);
    const zeros = new Float32Array(5);
    const { p } = runKernel({ gradientSum, p: zeros, m: zeros, v: zeros }, 1, 1);
    p.forEach((value, i) => {
      const expected = -CONFIG.learningRate * Math.sign(gradientSum[i] as number);
      // Epsilon is 1e-5 of the smallest gradient; float32 rounds about 8 times.
      expect(Math.abs(value / expected - 1)).toBeLessThan(1e-5 + 8 * 2 ** -24);
    });
  });

  it('follows the float64 formula over 100 steps', () => {
    const exact = Array.from(randomValues(1, 16), (p) => ({ p, m: 0, v: 0 }));
    let state: State = {
      p: Float32Array.from(exact, ({ p }) => p),
      m: new Float32Array(16),
      v: new Float32Array(16),
    };
    for (let t = 1; t <= 100; t++) {
      const gradientSum = randomValues(100 + t, 16);
      exact.forEach(
        (s, i) => (exact[i] = adam(double, gradientSum[i] as number, 64, s, adamConstants(t, CONFIG))),
      );
      state = runKernel({ gradientSum, ...state }, 64, t);
      arena.reset();
    }
    // A step rounds the parameter once (2^-25 of about 1) and its own 0.001 a few times: 100 x 2^-25.
    state.p.forEach((value, i) =>
      expect(Math.abs(value - (exact[i] as AdamState).p)).toBeLessThan(100 * 2 ** -25),
    );
  });
});
