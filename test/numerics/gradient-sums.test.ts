// Sums of gradients in bfloat16: their rounding, the form in which they travel, and which of them the
// engine rounds.
import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { LocalEngine } from '../../src/engine/local-engine.ts';
import { layerSchema } from '../../src/layers/registry.ts';
import type { LayerInput } from '../../src/layers/registry.ts';
import { loadKernelModule } from '../../src/kernels/load-kernels.ts';
import { GradientSums } from '../../src/model/gradient-sums.ts';
import { resolveModel } from '../../src/model/model.ts';
import type { Bucket } from '../../src/model/model.ts';
import { Golden } from '../helpers/golden.ts';
import { roundToBf16 } from '../helpers/twins/bf16.ts';
import { EXTREMES, packSamples, randomSamples, randomValues } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

const LENGTHS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33];
/** The lower half below, at and above the middle between two neighbours, and its ends. */
const LOWER_HALVES = [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff];

/** float32 with every upper half, and one lower half. */
function withLower(lower: number): Float32Array {
  return new Float32Array(
    Uint32Array.from({ length: 2 ** 16 }, (_, upper) => upper * 2 ** 16 + lower).buffer,
  );
}

function rounded(values: Float32Array): Float32Array {
  const address = arena.put(values);
  arena.kernels.roundToBf16(address, values.length);
  return arena.f32(address, values.length);
}

describe('roundToBf16', () => {
  it.each(LOWER_HALVES)(
    'roundToBf16 equals its twin for every upper half above the lower half %i',
    (lower) => {
      const values = withLower(lower);
      expectSameBits(rounded(values), values.map(roundToBf16), 'rounded');
    },
  );

  it('roundToBf16 equals its twin at every length, and writes nowhere else', () => {
    for (const length of LENGTHS) {
      const values = randomValues(length, length);
      expectSameBits(rounded(values), values.map(roundToBf16), `${length} values`);
    }
  });

  it('roundToBf16 makes every NaN the same bits', () => {
    const words = Uint32Array.of(0x7f800001, 0x7fffffff, 0xff800001, 0xffffffff, 0x7fc00000, 0xffc00000);
    const bits = new Uint32Array(rounded(new Float32Array(words.buffer)).buffer);
    expect([...bits]).toEqual(Array(6).fill(0x7fc00000));
  });

  it('roundToBf16 gives the values of PyTorch', () => {
    const golden = new Golden('bf16');
    expectSameBits(rounded(golden.values('x')), golden.values('y'), 'rounded');
  });
});

describe('addIntoBf16', () => {
  it('addIntoBf16 rounds the rounded sum of two float32, at every length and for extreme values', () => {
    for (const length of [...LENGTHS, EXTREMES.length ** 2]) {
      const isExtreme = length === EXTREMES.length ** 2;
      const at = (i: number): number => EXTREMES[i % EXTREMES.length] as number;
      const [left, right] = [0, 1].map((side) =>
        randomValues(side, length).map((value, i) => {
          if (!isExtreme) return value;
          return at(side === 0 ? i : Math.floor(i / EXTREMES.length));
        }),
      ) as [Float32Array, Float32Array];
      const expected = left.map((value, i) => roundToBf16(Math.fround(value + (right[i] as number))));
      const [to, from] = [arena.put(left), arena.put(right)];
      arena.kernels.addIntoBf16(to, from, length);
      expectSameBits(arena.f32(to, length), expected, `${length} values`);
      expectSameBits(arena.f32(from, length), right, 'the right side');
    }
  });
});

describe('packBf16 and unpackBf16', () => {
  it('what packBf16 writes in place, unpackBf16 reads from the end of another place, at every length', () => {
    for (const length of [...LENGTHS, 2 ** 16]) {
      const values = length === 2 ** 16 ? withLower(0) : rounded(randomValues(length, length));
      const numBytes = 4 * Math.ceil(length / 2);
      const packed = arena.put(values);
      arena.kernels.packBf16(packed, length, packed);
      const bytes = arena.memory.bytes(packed, numBytes);
      if (length % 2 === 1) expect([...bytes.slice(-2)]).toEqual([0, 0]);
      const address = arena.room(4 * length);
      arena.memory.bytes(address + 4 * length - numBytes, numBytes).set(bytes);
      arena.kernels.unpackBf16(address + 4 * length - numBytes, length, address);
      expect(arena.u32(address, length)).toEqual(new Uint32Array(values.buffer));
    }
  });
});

const NORMED: readonly LayerInput[] = [
  { kind: 'dense', units: 5 },
  { kind: 'batchNorm' },
  { kind: 'dense', units: 3, activation: 'tanh' },
  { kind: 'batchNorm' },
  { kind: 'dense', units: 1 },
];
const MODEL = resolveModel({ layers: NORMED.map((layer) => layerSchema.parse(layer)) }, [3]);
const STATISTICS = MODEL.tensors.filter(({ role }) => role === 'statistic');
const isStatistic = (place: number): boolean =>
  STATISTICS.some(({ offset, length }) => offset <= place && place < offset + length);

describe('GradientSums', () => {
  const slices = fc
    .tuple(fc.nat(MODEL.numParameters - 1), fc.nat(MODEL.numParameters - 1))
    .map(([a, b]): Bucket => ({ offset: Math.min(a, b), length: 1 + Math.abs(a - b) }));

  it('GradientSums rounds, adds, packs and unpacks any slice of a group, but for statistics', () => {
    const sums = new GradientSums(arena.kernels, MODEL, 4);
    const rule = (slice: Bucket) => (value: number, i: number) =>
      isStatistic(slice.offset + i) ? value : roundToBf16(value);
    fc.assert(
      fc.property(slices, fc.nat(), (bucket, seed) => {
        const [left, right] = [randomValues(seed, bucket.length), randomValues(seed + 1, bucket.length)];
        const slice = { ...bucket, node: { level: 1, index: 0 }, numShards: 8 };
        const [to, from] = [arena.put(left), arena.put(right)];
        sums.round(from, slice);
        const roundedRight = right.map(rule(bucket));
        expectSameBits(arena.f32(from, bucket.length), roundedRight, 'rounded');
        sums.add(to, from, slice);
        const sum = left
          .map((value, i) => Math.fround(value + (roundedRight[i] as number)))
          .map(rule(bucket));
        expectSameBits(arena.f32(to, bucket.length), sum, 'added');
        const numExact = sum.filter((_, i) => isStatistic(bucket.offset + i)).length;
        const numBytes = sums.byteLength(slice);
        expect(numBytes).toBeGreaterThanOrEqual(2 * (sum.length + numExact));
        // At most one odd part before, between and after the statistics of two layers.
        expect(numBytes).toBeLessThanOrEqual(2 * (sum.length + numExact) + 6);
        sums.pack(to, slice);
        const place = arena.room(4 * bucket.length);
        const end = place + 4 * bucket.length;
        arena.memory.bytes(end - numBytes, numBytes).set(arena.memory.bytes(to, numBytes));
        sums.unpack(place, slice);
        expectSameBits(arena.f32(place, bucket.length), sum, 'unpacked');
        arena.reset();
      }),
    );
  });

  it.each([
    ['below a group', 4, { level: 0, index: 0 }],
    ['of a run that rounds no sum', undefined, { level: 3, index: 0 }],
  ])('GradientSums leaves a sum %s as it is, and it travels as float32', (_, groups, node) => {
    const sums = new GradientSums(arena.kernels, MODEL, groups);
    const values = randomValues(1, MODEL.numParameters);
    const address = arena.put(values);
    const slice = { offset: 0, length: MODEL.numParameters, node, numShards: 8 };
    sums.round(address, slice);
    sums.pack(address, slice);
    expect(sums.byteLength(slice)).toBe(4 * MODEL.numParameters);
    expectSameBits(arena.f32(address, MODEL.numParameters), values, 'sum');
  });

  it('of a batch whose groups are single shards, whoever computes one rounds it', () => {
    const sums = new GradientSums(arena.kernels, MODEL, 4);
    const length = MODEL.numParameters;
    for (const [node, numShards, isRounded] of [
      [{ level: 0, index: 3 }, 4, true],
      [{ level: 0, index: 3 }, 5, false],
      // Shard 4 of 5, lifted.
      [{ level: 2, index: 1 }, 5, true],
      [{ level: 0, index: 0 }, 1, true],
    ] as const) {
      expect(sums.byteLength({ offset: 0, length, node, numShards }) < 4 * length).toBe(isRounded);
    }
  });
});

describe('a batch of a model with batchNorm', () => {
  /** The sum over the batch of 70 rows, which has two shards. */
  async function sumWith(groups: number | undefined): Promise<Float32Array> {
    const dataset = packSamples(
      randomSamples(5, { numRows: 70, featureWidth: 3, outputWidth: 1, isClassification: false }),
    );
    const kernelModule = await loadKernelModule();
    const parts = { kernelModule, model: MODEL, loss: 'mse' as const, seed: 3, dataset };
    const engine = await LocalEngine.create({ ...parts, batchSize: 70, shards: 2, groups });
    const flat = engine.memory.allocate(4 * MODEL.numParameters, 'weights');
    engine.memory.f32(flat, MODEL.numParameters).set(randomValues(2, MODEL.numParameters).map(Math.abs));
    engine.setWeights(flat);
    const indices = Uint32Array.from({ length: 70 }, (_, row) => row);
    let sum = new Float32Array();
    engine.trainBatch(indices, 0, ({ address }) => {
      sum = engine.memory.f32(address, MODEL.numParameters).slice();
    });
    return sum;
  }

  it('the sums of statistics of a batch are not rounded, those of gradients are', async () => {
    const exact = await sumWith(undefined);
    // One group is the whole batch, rounded once.
    const expected = exact.map((value, i) => (isStatistic(i) ? value : roundToBf16(value)));
    expectSameBits(await sumWith(1), expected, 'one group');
    const ofTwo = await sumWith(2);
    expectSameBits(
      ofTwo.filter((_, i) => isStatistic(i)),
      exact.filter((_, i) => isStatistic(i)),
      'statistics',
    );
    expectSameBits(
      ofTwo,
      ofTwo.map((value, i) => (isStatistic(i) ? value : roundToBf16(value))),
      'two groups',
    );
    expect(ofTwo).not.toEqual(expected);
  });
});
