// Bias, activations and their slopes, bias gradients and vector addition against their twins, to the bit.
// The distance of the curved ones from the exact functions is measured in transcendental.test.ts.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ACTIVATIONS, needsActivationInput } from '../../src/layers/activation.ts';
import type { Activation } from '../../src/layers/activation.ts';
import { activate, slope, slopeFromInput } from '../helpers/twins/activation.ts';
import { double, single } from '../helpers/twins/arithmetic.ts';
import type { Arithmetic } from '../helpers/twins/arithmetic.ts';
import { columnSum } from '../helpers/twins/matrix.ts';
import { EXTREMES, randomValues } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';

const LENGTHS = [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 255, 256, 257];
const FROM_INPUT = ACTIVATIONS.filter(needsActivationInput);
const IN_PLACE = ACTIVATIONS.filter((kind) => !needsActivationInput(kind));
const LEAST_NORMAL = 2 ** -126;

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

function forward(kind: Activation, x: Float32Array, bias: Float32Array): Float32Array {
  const y = arena.put(x);
  const rows = x.length / bias.length;
  arena.kernels.biasActivationForward(ACTIVATIONS.indexOf(kind), y, arena.put(bias), rows, bias.length);
  return arena.f32(y, x.length);
}

/** `saved` is y, or x where the derivative needs it. */
function backward(kind: Activation, dY: Float32Array, saved: Float32Array): Float32Array {
  const address = arena.put(dY);
  arena.kernels.activationBackward(ACTIVATIONS.indexOf(kind), address, arena.put(saved), dY.length);
  return arena.f32(address, dY.length);
}

function twinForward(
  arithmetic: Arithmetic,
  kind: Activation,
  x: Float32Array,
  bias: Float32Array,
): number[] {
  return Array.from(x, (value, i) =>
    activate(arithmetic, kind, arithmetic.round(value + (bias[i % bias.length] as number))),
  );
}

/** Each extreme value next to each other one. */
const PAIRS = EXTREMES.flatMap((a) => EXTREMES.map((b) => [a, b] as const));

describe('biasActivationForward', () => {
  it.each(IN_PLACE)('biasActivationForward matches its twin bit for bit for %s at every width', (kind) => {
    for (const columns of LENGTHS) {
      for (const rows of [1, 2, 5]) {
        const x = randomValues(columns, rows * columns);
        const bias = randomValues(columns + 1, columns);
        expectSameBits(forward(kind, x, bias), twinForward(single, kind, x, bias), `${rows} x ${columns}`);
        arena.reset();
      }
    }
  });

  it.each(IN_PLACE)('biasActivationForward treats extreme values as its twin does for %s', (kind) => {
    const x = Float32Array.from(PAIRS, ([a]) => a);
    const bias = Float32Array.from(PAIRS, ([, b]) => b);
    expectSameBits(forward(kind, x, bias), twinForward(single, kind, x, bias), 'extremes');
  });

  // The vector body and the scalar tail of one row must not differ: a value's bits would depend on its
  // column.
  it.each(IN_PLACE)(
    'biasActivationForward gives a value the same bits in the wide loop and in the tail for %s',
    (kind) => {
      const x = randomValues(3, 256).map((value) => 8 * value);
      const whole = forward(kind, x, new Float32Array(256));
      for (let i = 0; i < 256; i++) {
        const alone = forward(kind, x.slice(i, i + 1), new Float32Array(1));
        expectSameBits(alone, whole.slice(i, i + 1), `value ${i}`);
      }
    },
  );
});

function forwardApart(kind: Activation, x: Float32Array): Float32Array {
  const y = arena.room(x.byteLength);
  arena.kernels.activationForward(ACTIVATIONS.indexOf(kind), arena.put(x), y, x.length);
  return arena.f32(y, x.length);
}

describe('activationForward', () => {
  it.each(ACTIVATIONS)('activationForward matches its twin bit for bit for %s at every length', (kind) => {
    for (const length of LENGTHS) {
      const x = randomValues(length, length).map((value) => 16 * value);
      const expected = x.map((value) => activate(single, kind, value));
      expectSameBits(forwardApart(kind, x), expected, `length ${length}`);
      arena.reset();
    }
  });

  it.each(ACTIVATIONS)('activationForward treats extreme values as its twin does for %s', (kind) => {
    const x = Float32Array.from([...EXTREMES, -0.34, -0.35, 14, -14, 13.2, -13.2, 100, -100, 1e20, -1e20]);
    expectSameBits(
      forwardApart(kind, x),
      x.map((value) => activate(single, kind, value)),
      'extremes',
    );
  });

  it('activationForward can work in place', () => {
    const x = randomValues(1, 9);
    const address = arena.put(x);
    arena.kernels.activationForward(ACTIVATIONS.indexOf('gelu'), address, address, 9);
    expectSameBits(arena.f32(address, 9), forwardApart('gelu', x), 'in place');
  });
});

/** f'(x) as the backward kernels have it: from y where that is enough. */
function slopeAt(kind: Activation, saved: number): number {
  return needsActivationInput(kind) ? slopeFromInput(single, kind, saved) : slope(single, kind, saved);
}

describe('activationBackward', () => {
  it.each(ACTIVATIONS)('activationBackward matches its twin bit for bit for %s at every length', (kind) => {
    for (const length of LENGTHS) {
      const dY = randomValues(length, length);
      const x = randomValues(length + 1, length).map((value) => 4 * value);
      const saved = needsActivationInput(kind) ? x : forwardApart(kind, x);
      const expected = dY.map((d, i) => d * slopeAt(kind, saved[i] as number));
      expectSameBits(backward(kind, dY, saved), expected, `length ${length}`);
      arena.reset();
    }
  });

  it.each(ACTIVATIONS)('activationBackward treats extreme values as its twin does for %s', (kind) => {
    const dY = Float32Array.from(PAIRS, ([d]) => d);
    const saved = Float32Array.from(PAIRS, ([, value]) => value);
    const expected = dY.map((d, i) => d * slopeAt(kind, saved[i] as number));
    expectSameBits(backward(kind, dY, saved), expected, 'extremes');
  });

  it.each(ACTIVATIONS)(
    'activationBackward is the derivative of the forward pass for %s by central differences',
    (kind) => {
      const h = 1e-6;
      for (let x = -6.005; x < 6; x += 0.01) {
        const difference = activate(double, kind, x + h) - activate(double, kind, x - h);
        // h^2 f''' / 6 is below 1e-12, and cancellation leaves 2^-53 / h = 1e-10. The constants of both
        // forms of gelu are float32 in float64 too: 2^-25 of their part.
        const tolerance = FROM_INPUT.includes(kind) ? 1e-7 : 1e-9;
        expect(Math.abs(difference / (2 * h) - slopeFromInput(double, kind, x))).toBeLessThan(tolerance);
      }
    },
  );

  it('activationBackward has the same slope at zero as PyTorch', () => {
    const dY = Float32Array.of(1, 1);
    const zeros = Float32Array.of(0, -0);
    expectSameBits(backward('relu', dY, zeros), [0, 0], 'relu');
    expectSameBits(backward('leakyRelu', dY, zeros), [0.01, 0.01], 'leakyRelu');
    expectSameBits(backward('elu', dY, zeros), [1, 1], 'elu');
    for (const kind of FROM_INPUT) expectSameBits(backward(kind, dY, zeros), [0.5, 0.5], kind);
  });
});

describe('columnSumTree', () => {
  function checkColumnSum(columns: number, bounds: Uint32Array): void {
    const rows = bounds.at(-1);
    const x = randomValues(columns + rows, rows * columns);
    const out = arena.room(4 * columns);
    const slots = arena.room(4 * 11 * columns);
    arena.kernels.columnSumTree(arena.put(x), columns, arena.put(bounds), bounds.length - 1, out, slots);
    expectSameBits(
      arena.f32(out, columns),
      columnSum(single, x, columns, bounds),
      `${columns}: ${bounds.join()}`,
    );
    arena.reset();
  }

  it('columnSumTree matches its twin bit for bit at every width', () => {
    for (const columns of LENGTHS) checkColumnSum(columns, Uint32Array.of(0, 3, 5, 6, 10, 12, 13));
  });

  it('columnSumTree sums 1 to 40 shards along the tree', () => {
    for (let numShards = 1; numShards <= 40; numShards++) {
      checkColumnSum(
        5,
        Uint32Array.from({ length: numShards + 1 }, (_, s) => s + Math.floor(s / 3)),
      );
    }
  });

  it('columnSumTree sums 1024 shards, the most that a batch may have', () => {
    for (const numShards of [1023, 1024]) {
      checkColumnSum(
        3,
        Uint32Array.from({ length: numShards + 1 }, (_, s) => s),
      );
    }
  });

  it('columnSumTree keeps the sign of zero in a column of -0, since nothing is added to the first row', () => {
    const out = arena.room(4);
    arena.kernels.columnSumTree(
      arena.put(Float32Array.of(-0)),
      1,
      arena.put(Uint32Array.of(0, 1)),
      1,
      out,
      0,
    );
    expectSameBits(arena.f32(out, 1), [-0], 'one row');
  });
});

describe('addInto', () => {
  it('addInto matches its twin bit for bit at every length', () => {
    for (const length of LENGTHS) {
      const left = randomValues(length, length);
      const right = randomValues(length + 1, length);
      const address = arena.put(left);
      arena.kernels.addInto(address, arena.put(right), length);
      expectSameBits(
        arena.f32(address, length),
        left.map((value, i) => value + (right[i] as number)),
        `${length}`,
      );
      arena.reset();
    }
  });

  it('addInto treats extreme values as its twin does', () => {
    const address = arena.put(Float32Array.from(PAIRS, ([a]) => a));
    arena.kernels.addInto(address, arena.put(Float32Array.from(PAIRS, ([, b]) => b)), PAIRS.length);
    expectSameBits(
      arena.f32(address, PAIRS.length),
      PAIRS.map(([a, b]) => Math.fround(a + b)),
      'extremes',
    );
  });

  it('addInto does not flush denormals', () => {
    const address = arena.put(new Float32Array(17).fill(LEAST_NORMAL / 4));
    arena.kernels.addInto(address, arena.put(new Float32Array(17).fill(LEAST_NORMAL / 8)), 17);
    expectSameBits(arena.f32(address, 17), new Float32Array(17).fill((3 * LEAST_NORMAL) / 8), 'denormals');
  });
});
