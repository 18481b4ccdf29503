// Losses and their gradients against their twins: gradients to the bit, losses to within the last bits of a
// logarithm.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { double, single } from '../helpers/twins/arithmetic.ts';
import { centralDifferences } from '../helpers/twins/central-differences.ts';
import {
  binaryCrossEntropy,
  huber,
  labelRanks,
  meanAbsoluteError,
  meanSquaredError,
  softmaxCrossEntropy,
} from '../helpers/twins/loss.ts';
import type { CrossEntropyOptions, RowLosses, Weights } from '../helpers/twins/loss.ts';
import { EXTREMES, randomValues, randomWords } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';

const WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 255, 256, 257];
const ROWS = [1, 2, 5];
/** 0 leaves a row out, 1 changes nothing, the others scale. */
const WEIGHTS = Float32Array.of(0.7, 0, 1, 3.3, 0.01, 1.5, 0, 2);

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

interface Batch {
  readonly y: Float32Array;
  readonly targets: Float32Array | Uint32Array;
  readonly sampleWeights?: Weights;
  /** Default: a gradient of its own. */
  readonly isInPlace?: boolean;
}

type Call = (
  address: Record<'y' | 'targets' | 'sampleWeights' | 'dY' | 'losses', number>,
  rows: number,
) => void;

/** Runs a kernel on a batch of rows of `width` outputs. */
function run({ y, targets, sampleWeights, isInPlace = false }: Batch, width: number, call: Call): RowLosses {
  const rows = y.length / width;
  const yPtr = arena.put(y);
  const dY = isInPlace ? yPtr : arena.room(4 * y.length);
  const losses = arena.room(8 * rows);
  const weightsPtr = sampleWeights ? arena.put(Float32Array.from(sampleWeights)) : 0;
  call({ y: yPtr, targets: arena.put(targets), sampleWeights: weightsPtr, dY, losses }, rows);
  return { losses: arena.f64(losses, rows), dY: arena.f32(dY, y.length) };
}

/** Losses of values: the kernel on rows of `columns` outputs, and its twin. */
const VALUE_LOSSES = [
  {
    name: 'mseForwardBackward',
    twin: meanSquaredError,
    kernel: (batch: Batch, columns: number) =>
      run(batch, columns, ({ y, targets, sampleWeights, dY, losses }, rows) =>
        arena.kernels.mseForwardBackward(y, targets, sampleWeights, rows, columns, dY, losses),
      ),
  },
  {
    name: 'maeForwardBackward',
    twin: meanAbsoluteError,
    kernel: (batch: Batch, columns: number) =>
      run(batch, columns, ({ y, targets, sampleWeights, dY, losses }, rows) =>
        arena.kernels.maeForwardBackward(y, targets, sampleWeights, rows, columns, dY, losses),
      ),
  },
  {
    name: 'huberForwardBackward',
    twin: huber(0.625),
    kernel: (batch: Batch, columns: number) =>
      run(batch, columns, ({ y, targets, sampleWeights, dY, losses }, rows) =>
        arena.kernels.huberForwardBackward(y, targets, sampleWeights, rows, columns, 0.625, dY, losses),
      ),
  },
  {
    name: 'binaryCrossEntropyForwardBackward',
    twin: binaryCrossEntropy,
    kernel: (batch: Batch, columns: number) =>
      run(batch, columns, ({ y, targets, sampleWeights, dY, losses }, rows) =>
        arena.kernels.binaryCrossEntropyForwardBackward(y, targets, sampleWeights, rows, columns, dY, losses),
      ),
  },
];

function runCrossEntropy(batch: Batch, classes: number, options: CrossEntropyOptions = {}): RowLosses {
  const { positions = 1, smoothing = 0 } = options;
  return run(batch, positions * classes, ({ y, targets, sampleWeights, dY, losses }, rows) =>
    arena.kernels.softmaxCrossEntropyForwardBackward(
      y,
      targets,
      sampleWeights,
      rows,
      positions,
      classes,
      smoothing,
      dY,
      losses,
    ),
  );
}

/** Gradient of the summed losses by central differences of the float64 twin. */
function slopesOf(lossesAt: (y: Float64Array) => Float64Array, y: Float32Array): Float64Array {
  const at = Float64Array.from(y);
  return centralDifferences(at, () => lossesAt(at).reduce((sum, value) => sum + value, 0), 1e-6);
}

function largestDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  return Math.max(...Array.from(actual, (value, i) => Math.abs(value - (expected[i] as number))));
}

/** Gradients to the bit; a loss is a sum of a few dozen float64 terms of its own size, each with an ulp. */
function expectTwin(actual: RowLosses, expected: RowLosses, what: string): void {
  expectSameBits(actual.dY as Float32Array, expected.dY, `dY ${what}`);
  expect(actual.losses.length).toBe(expected.losses.length);
  actual.losses.forEach((loss, row) => {
    const wanted = expected.losses[row] as number;
    if (Object.is(loss, wanted)) return;
    expect(Math.abs(loss - wanted), what).toBeLessThan(64 * 2 ** -53 * Math.max(1, Math.abs(wanted)));
  });
}

describe.each(VALUE_LOSSES)('$name', ({ name, kernel, twin }) => {
  const isBinary = name.startsWith('binary');
  const scale = isBinary ? 12 : 1;
  const batchOf = (seed: number, length: number): { y: Float32Array; targets: Float32Array } => ({
    y: randomValues(seed, length).map((value) => scale * value),
    targets: randomValues(seed + 1, length).map((value) => (isBinary ? Math.abs(value) : value)),
  });

  it(`${name} matches its twin bit for bit at every width, with weights and without`, () => {
    for (const columns of WIDTHS) {
      for (const rows of ROWS) {
        const { y, targets } = batchOf(columns, rows * columns);
        for (const sampleWeights of [undefined, WEIGHTS.subarray(0, rows)]) {
          const expected = twin(single, y, targets, columns, sampleWeights);
          expectTwin(kernel({ y, targets, sampleWeights }, columns), expected, `${rows} x ${columns}`);
          arena.reset();
        }
      }
    }
  });

  it(`${name} treats extreme values as its twin does`, () => {
    const targets = isBinary ? [0, 1, 0.5] : EXTREMES;
    const y = Float32Array.from(EXTREMES.flatMap((a) => targets.map(() => a)));
    const batch = { y, targets: Float32Array.from(EXTREMES.flatMap(() => targets)) };
    for (const columns of [1, y.length]) {
      expectTwin(kernel(batch, columns), twin(single, y, batch.targets, columns), `${columns} columns`);
    }
  });

  it(`${name} has the gradient of its loss by central differences`, () => {
    const { y, targets } = batchOf(1, 15);
    const sampleWeights = [0.5, 2, 1];
    const expected = slopesOf((at) => twin(double, at, targets, 5, sampleWeights).losses, y);
    // Cancellation leaves 2^-53 / h = 1e-10 of a loss of about 1 (12 for binary cross-entropy).
    const { dY } = twin(double, y, targets, 5, sampleWeights);
    expect(largestDifference(dY, expected)).toBeLessThan(2e-8);
  });

  it(`${name} gives a row of weight 1 the same bits as without weights`, () => {
    const { y, targets } = batchOf(3, 3 * 7);
    const plain = kernel({ y, targets }, 7);
    const weighted = kernel({ y, targets, sampleWeights: [1, 1, 1] }, 7);
    expectSameBits(weighted.dY as Float32Array, plain.dY, 'dY');
    expect(weighted.losses).toEqual(plain.losses);
  });

  it(`${name} leaves out a row of weight 0, even one that is not finite`, () => {
    const y = Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, 0.5, 0.25);
    const targets = Float32Array.of(0, 1, 0, 1);
    const { losses, dY } = kernel({ y, targets, sampleWeights: [0, 1] }, 2);
    expect(losses[0]).toBe(0);
    expectSameBits((dY as Float32Array).subarray(0, 2), [0, 0], 'dY');
    expect(losses[1]).toBeGreaterThan(0);
  });

  it(`${name} can write its gradient over the outputs`, () => {
    const batch = batchOf(5, 14);
    const expected = kernel(batch, 7);
    const actual = kernel({ ...batch, isInPlace: true }, 7);
    expectSameBits(actual.dY as Float32Array, expected.dY, 'dY in place');
    expect(actual.losses).toEqual(expected.losses);
  });
});

describe('maeForwardBackward', () => {
  it('maeForwardBackward has no slope where the target is met', () => {
    const [, mae] = VALUE_LOSSES;
    const { dY } = mae!.kernel({ y: Float32Array.of(2, 0, -0), targets: Float32Array.of(2, -0, 0) }, 1);
    expectSameBits(dY as Float32Array, [0, 0, 0], 'dY');
  });
});

describe('binaryCrossEntropyForwardBackward', () => {
  it('binaryCrossEntropyForwardBackward neither overflows nor cancels for large logits', () => {
    const y = Float32Array.of(3e38, -3e38, 3e38, -3e38, 100, -100);
    const targets = Float32Array.of(1, 0, 0, 1, 1, 0);
    const { losses, dY } = VALUE_LOSSES[3]!.kernel({ y, targets }, 1);
    const large = Math.fround(3e38);
    // Below e^-87.3 the kernels' exp is 0.
    expect([...losses]).toEqual([0, 0, large, large, 0, 0]);
    expectSameBits(dY as Float32Array, [0, 0, 1, -1, 0, 0], 'dY');
  });
});

describe('softmaxCrossEntropyForwardBackward', () => {
  const OPTIONS: CrossEntropyOptions[] = [
    {},
    { smoothing: 0.1 },
    { positions: 3 },
    { positions: 3, smoothing: 0.25 },
  ];
  const batchOf = (rows: number, classes: number, positions = 1): Batch => ({
    y: randomValues(classes, rows * positions * classes).map((value) => 10 * value),
    targets: randomWords(classes, rows * positions).map((word) => word % classes),
  });

  it.each(OPTIONS)(
    'softmaxCrossEntropyForwardBackward matches its twin bit for bit at every width with %o',
    (options) => {
      const { positions = 1 } = options;
      for (const classes of WIDTHS) {
        for (const rows of [1, 2]) {
          const batch = batchOf(rows, classes, positions);
          for (const sampleWeights of [undefined, WEIGHTS.subarray(0, rows * positions)]) {
            const actual = runCrossEntropy({ ...batch, sampleWeights }, classes, options);
            const expected = softmaxCrossEntropy(single, batch.y, batch.targets, classes, {
              ...options,
              sampleWeights,
            });
            expectTwin(actual, expected, `${rows} x ${classes}`);
            arena.reset();
          }
        }
      }
    },
  );

  it('softmaxCrossEntropyForwardBackward agrees with its float64 twin at every width', () => {
    for (const classes of WIDTHS) {
      const batch = batchOf(5, classes);
      const actual = runCrossEntropy(batch, classes);
      const expected = softmaxCrossEntropy(double, batch.y, batch.targets, classes);
      // The argument's rounding (up to 20 x 2^-24), exp (1 ulp), a sum of up to 257 / 4 + 3 additions, the
      // reciprocal and a product: each term is below 1, so the sum bounds the absolute error.
      const tolerance = (20 + 2 + 68 + 2) * 2 ** -24;
      expect(largestDifference(actual.dY, expected.dY)).toBeLessThan(tolerance);
      expect(largestDifference(actual.losses, expected.losses)).toBeLessThan(tolerance);
      arena.reset();
    }
  });

  it.each(OPTIONS)(
    'softmaxCrossEntropyForwardBackward has the gradient of its loss by central differences with %o',
    (options) => {
      const positions = options.positions ?? 1;
      const y = randomValues(1, 2 * positions * 5).map((value) => 3 * value);
      const labels = Uint32Array.of(0, 4, 2, 2, 1, 3).subarray(0, 2 * positions);
      const weighted = { ...options, sampleWeights: WEIGHTS };
      const expected = slopesOf((at) => softmaxCrossEntropy(double, at, labels, 5, weighted).losses, y);
      const { dY } = softmaxCrossEntropy(double, y, labels, 5, weighted);
      expect(largestDifference(dY, expected)).toBeLessThan(1e-8);
    },
  );

  it('softmaxCrossEntropyForwardBackward gives a position of weight 1 the same bits as without weights', () => {
    const batch = batchOf(2, 7, 2);
    const plain = runCrossEntropy(batch, 7, { positions: 2, smoothing: 0.1 });
    const sampleWeights = [1, 1, 1, 1];
    const weighted = runCrossEntropy({ ...batch, sampleWeights }, 7, { positions: 2, smoothing: 0.1 });
    expectSameBits(weighted.dY as Float32Array, plain.dY, 'dY');
    expect(weighted.losses).toEqual(plain.losses);
  });

  it('softmaxCrossEntropyForwardBackward leaves out a position of weight 0, even one that is not finite', () => {
    const y = Float32Array.of(Number.NaN, 1, Number.POSITIVE_INFINITY, 1, 2, 3);
    const batch = { y, targets: Uint32Array.of(0, 2), sampleWeights: [0, 1] };
    const { losses, dY } = runCrossEntropy(batch, 3, { positions: 2 });
    expect([...losses]).toEqual([
      ...runCrossEntropy({ y: y.slice(3), targets: Uint32Array.of(2) }, 3).losses,
    ]);
    expectSameBits((dY as Float32Array).subarray(0, 3), [0, 0, 0], 'dY');
  });

  it('softmaxCrossEntropyForwardBackward does not overflow for large logits, whose difference is the loss', () => {
    const { losses, dY } = runCrossEntropy(
      { y: Float32Array.of(3e38, -3e38), targets: Uint32Array.of(1) },
      2,
    );
    expect(losses[0]).toBe(Math.fround(3e38) * 2);
    expectSameBits(dY as Float32Array, [1, -1], 'dY');
  });

  it('softmaxCrossEntropyForwardBackward gives NaN, never a plausible loss, for a row with NaN or +Infinity', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      for (let column = 0; column < 7; column++) {
        const y = randomValues(1, 7);
        y[column] = bad;
        const { losses, dY } = runCrossEntropy({ y, targets: Uint32Array.of(3) }, 7);
        expect(losses[0]).toBeNaN();
        expect(dY.every(Number.isNaN)).toBe(true);
        arena.reset();
      }
    }
  });

  it('softmaxCrossEntropyForwardBackward treats a logit of -Infinity as impossible', () => {
    const y = Float32Array.of(0, Number.NEGATIVE_INFINITY, 0);
    const possible = runCrossEntropy({ y, targets: Uint32Array.of(0) }, 3);
    expect(possible.losses[0]).toBeCloseTo(Math.LN2, 7);
    expectSameBits(possible.dY as Float32Array, [-0.5, 0, 0.5], 'dY');
    const impossible = runCrossEntropy({ y, targets: Uint32Array.of(1) }, 3);
    expect(impossible.losses[0]).toBe(Number.POSITIVE_INFINITY);
  });

  it('softmaxCrossEntropyForwardBackward can write its gradient over the outputs', () => {
    const batch = batchOf(2, 7);
    const expected = runCrossEntropy(batch, 7, { smoothing: 0.1 });
    const actual = runCrossEntropy({ ...batch, isInPlace: true }, 7, { smoothing: 0.1 });
    expectSameBits(actual.dY as Float32Array, expected.dY, 'dY in place');
    expect(actual.losses).toEqual(expected.losses);
  });
});

describe('labelRanks', () => {
  function ranksOf(y: Float32Array, labels: Uint32Array, classes: number): Float32Array {
    const ranks = arena.room(4 * labels.length);
    arena.kernels.labelRanks(arena.put(y), arena.put(labels), labels.length, classes, ranks);
    return arena.f32(ranks, labels.length);
  }

  it('labelRanks gives the ranks of its twin at every width, including equal logits', () => {
    for (const classes of WIDTHS) {
      // Few distinct values, so that many are equal.
      const y = randomValues(classes, 9 * classes).map((value) => Math.round(3 * value));
      const labels = randomWords(classes, 9).map((word) => word % classes);
      expectSameBits(ranksOf(y, labels, classes), labelRanks(y, labels, classes), `${classes} classes`);
      arena.reset();
    }
  });

  it('labelRanks lets the lowest class win a tie', () => {
    const y = Float32Array.of(3, 3, 3, 3, 3, 3, 3, 3, 3);
    expectSameBits(ranksOf(y, Uint32Array.of(0), 9), [0], 'first');
    expectSameBits(ranksOf(y, Uint32Array.of(8), 9), [8], 'last');
  });

  it('labelRanks never counts a label as right when it or another logit is NaN', () => {
    const y = Float32Array.of(1, Number.NaN, 0, 0, 0, Number.NaN, 1, 1, 1, 1);
    expectSameBits(ranksOf(y, Uint32Array.of(0, 0), 5), [1, 4], 'ranks');
  });
});
