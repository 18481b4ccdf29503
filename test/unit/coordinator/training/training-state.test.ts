// The effect of steps, clipping, averages and the best weights on the current weights.
import { beforeAll, describe, expect, it } from 'vitest';
import { TrainingState } from '../../../../coordinator/training/training-state.ts';
import type { TrainingStateOptions } from '../../../../coordinator/training/training-state.ts';
import { instantiateKernels } from '../../../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../../../src/kernels/load-kernels.ts';
import type { KernelModule } from '../../../../src/kernels/kernels.ts';
import { Memory } from '../../../../src/memory.ts';
import { optimizerSchema } from '../../../../src/optimizer/registry.ts';
import { flatModel } from '../../../helpers/flat-model.ts';
import { randomValues } from '../../../helpers/twins/samples.ts';

const TENSORS = [{ name: '0.weight', role: 'weight', length: 12 }] as const;
const MODEL = flatModel(TENSORS, [5, 4, 3]);
const LENGTH = MODEL.numParameters;

let kernelModule: KernelModule;
beforeAll(async () => {
  kernelModule = await loadKernelModule();
});

interface Training {
  readonly state: TrainingState;
  /** Finishes buckets of a gradient of these values; returns the buckets that each call reported ready. */
  finish(buckets: readonly number[], gradient: Float32Array, weight?: number): (readonly number[])[];
  weights(): number[];
}

async function start(config: Partial<TrainingStateOptions['config']> = {}, model = MODEL): Promise<Training> {
  const memory = new Memory();
  const kernels = await instantiateKernels(kernelModule, memory.wasm);
  const optimizer = optimizerSchema.parse({ kind: 'sgd', learningRate: 1 });
  const initialize = (address: number): void => memory.f32(address, LENGTH).set(randomValues(1, LENGTH));
  const state = new TrainingState({
    kernels,
    memory,
    model,
    config: { optimizer, clip: {}, ema: undefined, ...config },
    initialize,
  });
  const address = memory.allocate(4 * LENGTH, 'gradients');
  return {
    state,
    finish(buckets, gradient, weight = 1) {
      memory.f32(address, LENGTH).set(gradient);
      return buckets.map((bucket) => {
        const { offset } = model.buckets[bucket] ?? { offset: Number.NaN };
        return state.finishBucket(bucket, address + 4 * offset, weight);
      });
    },
    weights: () => [...memory.f32(state.parameters, LENGTH)],
  };
}

const ONES = new Float32Array(LENGTH).fill(1);

describe('a bucket', () => {
  it('a bucket is ready as soon as its gradient has arrived', async () => {
    const { state, finish } = await start();
    expect(finish([1, 0], ONES)).toEqual([[1], [0]]);
    expect(state.nextBucket(2)).toBeUndefined();
    expect(state.nextBucket(1)?.bytes.byteLength).toBe(16);
  });

  it('every bucket waits for the last one if the norm is clipped', async () => {
    const { state, finish } = await start({ clip: { norm: 1 } });
    expect(finish([1, 0], ONES)).toEqual([[], []]);
    expect(state.nextBucket(1)).toBeUndefined();
    expect(finish([2], ONES)).toEqual([[0, 1, 2]]);
    expect([0, 1, 2].map((bucket) => state.nextBucket(bucket)?.bytes.byteLength)).toEqual([20, 16, 12]);
  });
});

describe('a bucket that is a part of a block', () => {
  const SMALL = flatModel(TENSORS, [5, 4, 3], [2, 2, 1, 4, 1, 2]);
  const ORDER = [1, 5, 0, 3, 2, 4];

  it('a small bucket is ready as soon as its gradient has arrived', async () => {
    const { finish } = await start({}, SMALL);
    expect(finish(ORDER, ONES)).toEqual(ORDER.map((bucket) => [bucket]));
  });

  it.each([{}, { norm: 0.5 }])('small buckets take the same step as blocks, with clip %j', async (clip) => {
    const gradient = randomValues(9, LENGTH);
    const [whole, small] = await Promise.all([start({ clip }), start({ clip }, SMALL)]);
    whole.finish([0, 1, 2], gradient, 7);
    small.finish(ORDER, gradient, 7);
    const [expected, step] = [whole, small].map(({ state, weights }) => {
      return { ...state.commit(), weights: weights(), fingerprint: state.fingerprint };
    });
    expect(step).toEqual(expected);
    expect(small.state.weightsFingerprint).not.toBe(whole.state.weightsFingerprint);
  });

  it.each([0, 2, 11])('a small bucket with NaN at %i stops the step and leaves no trace', async (at) => {
    const { state, finish } = await start({}, SMALL);
    expect(() => finish(ORDER, ONES.with(at, Number.NaN))).toThrow(
      'diverged at step 1: the gradient of 0.weight is not finite',
    );
    expect(SMALL.buckets.map((_, bucket) => state.nextBucket(bucket))).toEqual(
      SMALL.buckets.map(() => undefined),
    );
  });
});

describe('a step', () => {
  it('a step gives the same bits in whatever order its buckets arrive', async () => {
    const gradient = randomValues(9, LENGTH);
    const results = [
      [0, 1, 2],
      [2, 1, 0],
      [1, 2, 0],
    ].map(async (order) => {
      const { state, finish, weights } = await start({ clip: { norm: 0.5 } });
      finish(order, gradient, 7);
      return { ...state.commit(), weights: weights(), fingerprint: state.fingerprint };
    });
    const [first, ...others] = await Promise.all(results);
    expect(others).toEqual([first, first]);
  });

  it('a step reports the norm of the mean gradient before clipping, and clips to the norm asked for', async () => {
    const { state, finish, weights } = await start({ clip: { norm: 0.5 } });
    const before = weights();
    finish([0, 1, 2], ONES, 2);
    expect(state.commit().gradNorm).toBe(Math.sqrt(LENGTH / 4));
    const moved = Math.sqrt(
      weights().reduce((sum, value, i) => sum + (value - (before[i] as number)) ** 2, 0),
    );
    expect(Math.abs(moved - 0.5)).toBeLessThan(2e-6);
  });

  it('a step with a norm below the limit is not clipped', async () => {
    const clipped = await start({ clip: { norm: 100 } });
    const free = await start();
    for (const { state, finish } of [clipped, free]) {
      finish([0, 1, 2], ONES);
      state.commit();
    }
    expect(clipped.weights()).toEqual(free.weights());
  });

  it('a step divides the gradient by a weight that is no whole number', async () => {
    const { state, finish, weights } = await start();
    const before = weights();
    finish([0, 1, 2], ONES, 2.5);
    state.commit();
    expect(weights()).toEqual(before.map((value) => Math.fround(value - Math.fround(0.4))));
  });

  it.each([{ norm: 1 }, {}])('a step that is not finite leaves no trace, with clip %j', async (clip) => {
    const broken = await start({ clip });
    const undisturbed = await start({ clip });
    const gradient = ONES.with(0, Number.NaN);
    expect(() => broken.finish([0, 1, 2], gradient)).toThrow(
      'diverged at step 1: the gradient of 0.weight is not finite',
    );
    expect([0, 1, 2].map((bucket) => broken.state.nextBucket(bucket))).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(broken.state.version).toBe(0);
    const outcomes = [broken, undisturbed].map(({ state, finish, weights }) => {
      const ready = finish([0, 1, 2], ONES);
      return { ready, ...state.commit(), weights: weights() };
    });
    expect(outcomes[0]).toEqual(outcomes[1]);
  });
});

describe('averaged weights', () => {
  const ema = { decay: 0.5, warmup: false };

  it('averaged weights are shown as a version of their own, and training continues with the live ones', async () => {
    const averaged = await start({ ema });
    const plain = await start();
    const first = averaged.weights();
    for (const seed of [5, 6]) {
      for (const { state, finish } of [averaged, plain]) {
        finish([0, 1, 2], randomValues(seed, LENGTH));
        state.commit();
      }
      const live = averaged.weights();
      expect(live).toEqual(plain.weights());
      const { fingerprint, version } = averaged.state;
      expect(averaged.state.setCurrent('average')).toBe(true);
      expect(averaged.state.version).toBe(version + 1);
      expect(averaged.state.fingerprint).not.toBe(fingerprint);
      if (seed === 5) {
        const middle = live.map((value, i) => ((first[i] as number) + value) / 2);
        averaged
          .weights()
          .forEach((value, i) => expect(Math.abs(value - (middle[i] as number))).toBeLessThan(2e-7));
      }
      expect(averaged.state.setCurrent('live')).toBe(true);
      expect(averaged.weights()).toEqual(live);
      expect(averaged.state.fingerprint).toBe(fingerprint);
    }
  });

  it('averaged weights are kept as the best, and can be restored', async () => {
    const { state, finish, weights } = await start({ ema });
    finish([0, 1, 2], ONES);
    state.commit();
    state.setCurrent('average');
    const best = weights();
    state.keepBest();
    state.setCurrent('live');
    finish([0, 1, 2], ONES);
    state.commit();
    const live = weights();
    expect(state.setCurrent('best')).toBe(true);
    expect(weights()).toEqual(best);
    expect(state.setCurrent('live')).toBe(true);
    expect(weights()).toEqual(live);
  });

  it('averaged weights do not exist unless asked for', async () => {
    const { state } = await start();
    expect(state.setCurrent('average')).toBe(false);
    expect(state.version).toBe(0);
  });
});
