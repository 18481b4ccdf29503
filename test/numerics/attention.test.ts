// Attention of one head against its twin: to the bit in float32, by central differences in float64.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { TILE_LENGTH, packedLeftLength, packedRightLength } from '../../src/kernels/kernels.ts';
import { ATTENTION_LENGTH, writeAttention } from '../../src/layers/attention.ts';
import { double, single } from '../helpers/twins/arithmetic.ts';
import { attentionBackward, attentionOutput, attentionProbabilities } from '../helpers/twins/attention.ts';
import type { Head, HeadSizes } from '../helpers/twins/attention.ts';
import { centralDifferences, inner, relativeError } from '../helpers/twins/central-differences.ts';
import { randomValues } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

/** Columns [offset, offset + H) of a matrix with rows of `stride` values. */
function columnsOf(matrix: Float32Array, stride: number, offset: number, width: number): Float32Array {
  return Float32Array.from({ length: (matrix.length / stride) * width }, (_, i) => {
    return matrix[Math.floor(i / width) * stride + offset + (i % width)] as number;
  });
}

/**
 * q, k and v side by side in rows of 3D + 1, with the head in the middle: strides are not the head's width.
 */
function runHead(sizes: HeadSizes): void {
  const { positions, headSize, isCausal } = sizes;
  const name = `${positions} x ${headSize}${isCausal ? ' causal' : ''}`;
  const stride = 3 * headSize + 2;
  const outStride = headSize + 3;
  const { kernels } = arena;
  const rows = randomValues(positions, positions * stride).map((value) => 3 * value);
  const dRows = randomValues(headSize, positions * outStride);
  const at = arena.put(rows);
  const [q, k, v] = [at + 4, at + 4 * (1 + headSize), at + 4 * (1 + 2 * headSize)] as const;
  const probabilities = arena.room(4 * positions * positions);
  const left = arena.room(4 * packedLeftLength(positions, Math.max(positions, headSize)));
  const right = arena.room(
    4 * Math.max(packedRightLength(headSize, positions), packedRightLength(positions, headSize)),
  );
  const tile = arena.room(4 * TILE_LENGTH);
  const out = arena.put(new Float32Array(positions * outStride));
  const dScores = arena.room(4 * positions * positions);
  const record = arena.room(4 * ATTENTION_LENGTH);
  writeAttention(arena.memory, record, { ...sizes, stride, outStride, left, right, tile, dScores });
  kernels.attentionProbabilities(record, q, k, probabilities);
  kernels.attentionOutput(record, probabilities, v, out);
  const head: Head = {
    q: columnsOf(rows, stride, 1, headSize),
    k: columnsOf(rows, stride, 1 + headSize, headSize),
    v: columnsOf(rows, stride, 1 + 2 * headSize, headSize),
  };
  const expected = attentionProbabilities(single, head, sizes);
  expectSameBits(arena.f32(probabilities, positions * positions), expected, `probabilities of ${name}`);
  const output = arena.f32(out, positions * outStride);
  expectSameBits(
    columnsOf(output, outStride, 0, headSize),
    attentionOutput(single, expected, head.v, sizes),
    `output of ${name}`,
  );
  expect(columnsOf(output, outStride, headSize, 3).every((value) => value === 0)).toBe(true);
  const dOut = arena.put(dRows);
  const dAt = arena.put(new Float32Array(positions * stride));
  const [dQ, dK, dV] = [dAt + 4, dAt + 4 * (1 + headSize), dAt + 4 * (1 + 2 * headSize)] as const;
  kernels.attentionBackwardScores(record, v, dOut, probabilities, dV);
  kernels.attentionBackwardInputs(record, q, k, dQ, dK);
  const gradients = attentionBackward(single, head, columnsOf(dRows, outStride, 0, headSize), sizes);
  const actual = arena.f32(dAt, positions * stride);
  expectSameBits(columnsOf(actual, stride, 1, headSize), gradients.q, `dQ of ${name}`);
  expectSameBits(columnsOf(actual, stride, 1 + headSize, headSize), gradients.k, `dK of ${name}`);
  expectSameBits(columnsOf(actual, stride, 1 + 2 * headSize, headSize), gradients.v, `dV of ${name}`);
  arena.reset();
}

describe.each([false, true])('attention (causal: %s)', (isCausal) => {
  it('attention matches its twin bit for bit at every size, forward and backward', () => {
    for (const positions of [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33]) {
      for (const headSize of [1, 3, 4, 5, 8, 9, 16, 17]) runHead({ positions, headSize, isCausal });
    }
  });

  it('attention matches its twin bit for bit beyond the blocks of the matrix product', () => {
    runHead({ positions: 259, headSize: 3, isCausal });
    runHead({ positions: 3, headSize: 259, isCausal });
  });

  it('attention has the gradients of central differences', () => {
    const sizes: HeadSizes = { positions: 4, headSize: 3, isCausal };
    const [q, k, v, dOut] = [1, 2, 3, 4].map((seed) => Float64Array.from(randomValues(seed, 12))) as [
      Float64Array,
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    const head: Head = { q, k, v };
    const loss = (): number =>
      inner(attentionOutput(double, attentionProbabilities(double, head, sizes), v, sizes), dOut);
    const gradients = attentionBackward(double, head, dOut, sizes);
    expect(relativeError(gradients.q, centralDifferences(q, loss))).toBeLessThan(1e-7);
    expect(relativeError(gradients.k, centralDifferences(k, loss))).toBeLessThan(1e-7);
    expect(relativeError(gradients.v, centralDifferences(v, loss))).toBeLessThan(1e-7);
  });
});
