// exp and the activations made from it: errors in ulp over a dense sweep of all float32, and special values.
// The reference is the host's float64, whose own error (about 1 ulp of float64) is 2^-29 ulp here.
import { createHash } from 'node:crypto';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ACTIVATIONS } from '../../src/layers/activation.ts';
import type { Activation } from '../../src/layers/activation.ts';
import { activate, slopeFromInput } from '../helpers/twins/activation.ts';
import { double } from '../helpers/twins/arithmetic.ts';
import { compileExp } from '../helpers/twins/exp-probe.ts';
import { Arena, expectSameBits } from './arena.ts';

const LEAST_NORMAL = 2 ** -126;
const INFINITY = Number.POSITIVE_INFINITY;

let arena: Arena;
let exp: (x: Float32Array) => void;
beforeAll(async () => {
  arena = await Arena.create();
  exp = await compileExp();
});
afterEach(() => arena.reset());

type Function = (x: Float32Array) => Float32Array;

function activation(kind: Activation): Function {
  return (x) => {
    const y = arena.put(x);
    arena.kernels.activationForward(ACTIVATIONS.indexOf(kind), y, y, x.length);
    const result = arena.f32(y, x.length);
    arena.reset();
    return result;
  };
}

const expOf: Function = (x) => {
  const result = x.slice();
  exp(result);
  return result;
};

/** One value, as the first of four. */
function single(f: Function, x: number): number {
  return f(Float32Array.of(x, 0, 0, 0))[0] as number;
}

/** The distance between float32 neighbours at a value. */
function ulp(value: number): number {
  const exponent = Math.floor(Math.log2(Math.max(Math.abs(value), LEAST_NORMAL)));
  return 2 ** (exponent - 23);
}

/** About 2 million float32 of both signs with magnitude in [low, high], evenly over their bit patterns. */
function sweep(low: number, high: number): Float32Array {
  const bits = new Uint32Array(Float32Array.of(low, high).buffer);
  const [first, last] = [bits[0] as number, bits[1] as number];
  const step = Math.max(1, Math.floor((last - first) / 1_000_003));
  const length = Math.floor((last - first) / step) + 1;
  const magnitudes = new Float32Array(Uint32Array.from({ length }, (_, i) => first + i * step).buffer);
  const values = new Float32Array(Math.ceil((2 * length) / 4) * 4).fill(high);
  values.set(magnitudes);
  values.set(
    magnitudes.map((value) => -value),
    length,
  );
  return values;
}

/** The largest error in ulp over those `x` whose exact value is at least `least`. */
function largestError(
  f: Function,
  exact: (x: number) => number,
  x: Float32Array,
  least = LEAST_NORMAL,
): number {
  let largest = 0;
  f(x).forEach((value, i) => {
    const expected = exact(x[i] as number);
    if (Math.abs(expected) < least) return;
    largest = Math.max(largest, Math.abs(value - expected) / ulp(expected));
  });
  return largest;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

describe('exp', () => {
  it('the error of exp is below 1 ulp wherever the result is normal', () => {
    expect(largestError(expOf, Math.exp, sweep(2 ** -149, 87.33654))).toBeLessThan(1);
    expect(largestError(expOf, Math.exp, sweep(0.25, 87.33654))).toBeLessThan(1);
    expect(largestError(expOf, Math.exp, Float32Array.of(88, 88.5, 88.7, 88.72283))).toBeLessThan(1);
  });

  it('exp is 1 at zero, 0 below its range, infinity above it, and NaN for NaN', () => {
    const x = Float32Array.of(
      0,
      -0,
      -87.33656,
      -1000,
      -INFINITY,
      88.72284,
      1000,
      INFINITY,
      Number.NaN,
      0,
      0,
      0,
    );
    expectSameBits(
      expOf(x),
      [1, 1, 0, 0, 0, INFINITY, INFINITY, INFINITY, Number.NaN, 1, 1, 1],
      'special values',
    );
  });

  it('exp neither overflows nor flushes one step inside its range', () => {
    expect(single(expOf, 88.72283)).toBeGreaterThan(3.4e38);
    expect(single(expOf, 88.72283)).toBeLessThan(INFINITY);
    expect(single(expOf, -87.33654)).toBeGreaterThan(LEAST_NORMAL);
  });
});

describe('tanh', () => {
  const tanh = activation('tanh');

  it('the error of tanh is below 1.5 ulp everywhere', () => {
    expect(largestError(tanh, Math.tanh, sweep(2 ** -149, 3e38), 0)).toBeLessThan(1.5);
    expect(largestError(tanh, Math.tanh, sweep(2 ** -13, 10), 0)).toBeLessThan(1.5);
  });

  it('tanh is odd to the bit, never beyond 1, and 1 far from zero', () => {
    const x = sweep(2 ** -149, 100);
    const y = tanh(x);
    expectSameBits(
      tanh(x.map((value) => -value)),
      y.map((value) => -value),
      'odd',
    );
    expect(y.every((value) => Math.abs(value) <= 1)).toBe(true);
    expect(single(tanh, 10)).toBe(1);
  });

  it('tanh keeps zeros and denormals, and has its limits at infinities and NaN', () => {
    const denormal = 2 ** -140;
    const x = Float32Array.of(0, -0, denormal, -denormal, INFINITY, -INFINITY, Number.NaN, 0);
    expectSameBits(tanh(x), [0, -0, denormal, -denormal, 1, -1, Number.NaN, 0], 'special values');
  });
});

describe('sigmoid', () => {
  const kernel = activation('sigmoid');

  it('the error of sigmoid is below 2.5 ulp where the result is normal', () => {
    expect(largestError(kernel, sigmoid, sweep(2 ** -149, 87.3))).toBeLessThan(2.5);
    expect(largestError(kernel, sigmoid, sweep(2 ** -6, 87.3))).toBeLessThan(2.5);
  });

  it('sigmoid stays within [0, 1] and is off by less than the least normal number where the result is smaller', () => {
    const x = sweep(80, 200);
    const y = kernel(x);
    expect(y.every((value) => value >= 0 && value <= 1)).toBe(true);
    expect(y.every((value, i) => Math.abs(value - sigmoid(x[i] as number)) < 2 ** -126)).toBe(true);
  });

  it('sigmoid is 1/2 at zero, 0 and 1 at the infinities, and NaN for NaN', () => {
    const x = Float32Array.of(0, -0, INFINITY, -INFINITY, Number.NaN, 0, 0, 0);
    expectSameBits(kernel(x), [0.5, 0.5, 1, 0, Number.NaN, 0.5, 0.5, 0.5], 'special values');
  });
});

/** f' by the backward kernel, from dY of ones. */
function slopes(kind: Activation): Function {
  return (x) => {
    const dY = arena.put(new Float32Array(x.length).fill(1));
    arena.kernels.activationBackward(ACTIVATIONS.indexOf(kind), dY, arena.put(x), x.length);
    const result = arena.f32(dY, x.length);
    arena.reset();
    return result;
  };
}

describe('elu', () => {
  it('the error of elu is below 1.75 ulp everywhere, since nothing cancels near zero', () => {
    const elu = (x: number): number => (x > 0 ? x : Math.expm1(x));
    expect(largestError(activation('elu'), elu, sweep(2 ** -149, 3e38), 0)).toBeLessThan(1.75);
    expect(largestError(activation('elu'), elu, sweep(2 ** -4, 4), 0)).toBeLessThan(1.75);
  });
});

// The gates of geluTanh and silu are sigmoids, which the kernels flush where they are not normal: the sweeps
// end earlier.
describe.each([
  { kind: 'gelu', end: 13, ulps: 8, slopeError: 4e-7 },
  // From an exponent 2u of up to 67, with a relative error of 2^-23.
  { kind: 'geluTanh', end: 9, ulps: 140, slopeError: 2.5e-6 },
  { kind: 'silu', end: 87, ulps: 3, slopeError: 1.2e-6 },
] as const)('$kind', ({ kind, end, ulps, slopeError }) => {
  it(`the error of ${kind} is below ${ulps} ulp, far into its tail`, () => {
    const exact = (x: number): number => activate(double, kind, x);
    expect(largestError(activation(kind), exact, sweep(2 ** -20, end))).toBeLessThan(ulps);
  });

  // 1 - s of a gate s near 1 has an error of 2^-25, which x (or x times the cubic's slope) multiplies.
  it(`the slope of ${kind} is within ${slopeError} of the exact one`, () => {
    const x = sweep(2 ** -20, end);
    const worst = slopes(kind)(x).reduce(
      (largest, value, i) =>
        Math.max(largest, Math.abs(value - slopeFromInput(double, kind, x[i] as number))),
      0,
    );
    expect(worst).toBeLessThan(slopeError);
  });

  it(`${kind} is the identity far above zero and -0 far below`, () => {
    const f = activation(kind);
    expectSameBits(f(Float32Array.of(100, -100, 1e6, -1e6)), [100, -0, 1e6, -0], 'far out');
  });
});

function sha256(values: Float32Array | Float64Array): string {
  return createHash('sha256').update(new Uint8Array(values.buffer)).digest('hex');
}

// Errors below 1 ulp leave room for other roundings, which would change the weights: the bits are pinned too.
describe('the bits', () => {
  it.each([
    ['exp', expOf, '4e5c56d34fe7409c6a61f9e7a8c761d4f4ebb153051591fb1eecf8ff078faafa'],
    ['tanh', activation('tanh'), '8786a741db9198b172d572e6063cf6f772c469c93ccadae03bd2ddbb3a9215cf'],
    ['sigmoid', activation('sigmoid'), 'c38dfff175bdaef7422571b932a76923afde62bbcca0183b95e1072ba3d44705'],
    ['elu', activation('elu'), 'a85bb12b1fffe1065c62125800adbdcc07b732d3610989143257786ba9c92956'],
    ['gelu', activation('gelu'), '2d1ea7df124a44c938a2f392e731998ca304fb9adb1349272b9cb72d83321b30'],
    ['geluTanh', activation('geluTanh'), 'e2123d36f8f0ec48687e8bc18fae33099ceda24d8a0fc6a7c08c440f18362f3f'],
    ['silu', activation('silu'), 'fa51318d1ab0b0f18cb1557c78b775aaf14342973ccd9a13f7485b8b88a54667'],
  ] as const)('the bits of %s over the sweep are the recorded ones', (_, f, expected) => {
    expect(sha256(f(sweep(2 ** -20, 87)))).toBe(expected);
  });

  it('the bits of logF64 and expF64 are the recorded ones', () => {
    const x = Float64Array.from({ length: 20_000 }, (_, i) => (i + 1) / 64);
    expect(sha256(x.map((value) => arena.kernels.logF64(value)))).toBe(
      '1986bf7f25468070abe89b3de42ed768394bf176bcb61a3ad2559a422f3cb1d3',
    );
    expect(sha256(x.map((value) => arena.kernels.expF64(value)))).toBe(
      'f4d7665ff09988e0028624fd4616eac5277f0c13dc6e55d9d8494cdadbfac4ba',
    );
  });
});

describe('logF64 and expF64', () => {
  const values = Float64Array.from({ length: 20_000 }, (_, i) => 10 ** (i / 1000 - 10));

  it('logF64 and expF64 are within 1 ulp of the host in float64', () => {
    const ulp64 = (x: number): number => 2 ** (Math.floor(Math.log2(Math.abs(x) || 1)) - 52);
    for (const x of values) {
      expect(Math.abs(arena.kernels.logF64(x) - Math.log(x))).toBeLessThanOrEqual(ulp64(Math.log(x)));
      const y = Math.log(x) * 10;
      expect(Math.abs(arena.kernels.expF64(y) - Math.exp(y))).toBeLessThanOrEqual(ulp64(Math.exp(y)));
    }
  });

  it('logF64 and expF64 have the limits of IEEE 754', () => {
    const { logF64, expF64 } = arena.kernels;
    expect([logF64(0), logF64(-1), logF64(1), logF64(INFINITY)]).toEqual([
      -INFINITY,
      Number.NaN,
      0,
      INFINITY,
    ]);
    expect([expF64(-INFINITY), expF64(0), expF64(710), expF64(Number.NaN)]).toEqual([
      0,
      1,
      INFINITY,
      Number.NaN,
    ]);
  });
});
