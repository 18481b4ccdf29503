// Learning rates against those of PyTorch 1.13.1, which scripts/golden/optimizers.py wrote,
// and at the ends of runs.
import fs from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { hostMath, integerPower, power } from '../../../../src/kernels/host-math.ts';
import type { HostMath } from '../../../../src/kernels/host-math.ts';
import { instantiateKernels } from '../../../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../../../src/kernels/load-kernels.ts';
import { Memory } from '../../../../src/memory.ts';
import {
  FIRST_PLATEAU,
  learningRateAt,
  plateauAfter,
  scheduleSchema,
} from '../../../../src/schedule/schedule.ts';
import type { ScheduleOf } from '../../../../src/schedule/schedule.ts';

interface Recorded {
  readonly learningRate: number;
  readonly stepsPerEpoch: number;
  readonly totalSteps: number;
  readonly schedules: readonly { readonly schedule: object; readonly rates: readonly number[] }[];
  readonly plateaus: readonly {
    readonly schedule: object;
    readonly losses: readonly number[];
    readonly rates: readonly number[];
  }[];
}

const GOLDEN = path.resolve(import.meta.dirname, '../../../golden/schedules.json');
const recorded = JSON.parse(fs.readFileSync(GOLDEN, 'utf8')) as Recorded;
/** PyTorch multiplies from step to step, some 84 times, while Lockstep computes each rate by itself. */
const TOLERANCE = 1e-12;

let math: HostMath;
beforeAll(async () => {
  const kernelModule = await loadKernelModule();
  math = hostMath(await instantiateKernels(kernelModule, new Memory().wasm));
});

function ratesOf(schedule: object, run: Partial<Recorded> = {}): number[] {
  const { learningRate, stepsPerEpoch, totalSteps } = { ...recorded, ...run };
  const options = { schedule: scheduleSchema.parse(schedule), learningRate, stepsPerEpoch, totalSteps, math };
  return Array.from({ length: totalSteps }, (_, step) => learningRateAt(step, options));
}

function expectNear(actual: readonly number[], expected: readonly number[]): void {
  expect(actual.length).toBe(expected.length);
  actual.forEach((rate, step) => {
    const wanted = expected[step] as number;
    expect(Math.abs(rate - wanted), `step ${step}: ${rate}, not ${wanted}`).toBeLessThan(TOLERANCE * 0.1);
  });
}

describe('the learning rate', () => {
  it.each(
    recorded.schedules.map(({ schedule, rates }) => [JSON.stringify(schedule), schedule, rates] as const),
  )('the learning rate agrees with PyTorch for %s', (_, schedule, rates) =>
    expectNear(ratesOf(schedule), rates),
  );

  it.each(recorded.plateaus.map((entry) => [JSON.stringify(entry.schedule), entry] as const))(
    'the learning rate agrees with PyTorch after each epoch of %s',
    (_, { schedule, losses, rates }) => {
      const config = scheduleSchema.parse(schedule) as ScheduleOf<'plateau'>;
      let state = FIRST_PLATEAU;
      const actual = losses.map((loss) => {
        state = plateauAfter(config, recorded.learningRate, state, loss);
        return recorded.learningRate * state.factor;
      });
      expectNear(actual, rates);
      expect(new Set(rates).size).toBeGreaterThan(2);
    },
  );
});

describe('a schedule', () => {
  it('a schedule starts at the share that the warm-up names, and reaches the learning rate right after it', () => {
    const rates = ratesOf({ warmup: { steps: 4, from: 0 } });
    expect(rates.slice(0, 6)).toEqual([0, 0.1 * 0.25, 0.1 * 0.5, 0.1 * 0.75, 0.1, 0.1]);
  });

  it('a schedule rounds a warm-up of epochs to whole steps, at least one', () => {
    const countBelow = (epochs: number): number =>
      ratesOf({ warmup: { epochs } }).filter((rate) => rate < 0.1).length;
    expect([0.01, 0.5, 1, 1.5].map(countBelow)).toEqual([1, 4, 7, 11]);
  });

  it('a schedule of one cycle peaks at the end of its first phase, and is lowest at its last step', () => {
    const rates = ratesOf({ kind: 'oneCycle', pctStart: 0.5 });
    expect(rates.indexOf(Math.max(...rates))).toBe(recorded.totalSteps / 2 - 1);
    expect(rates.at(-1)).toBeCloseTo(0.1 / 25 / 10_000, 15);
  });

  it.each(['cosine', 'oneCycle', 'polynomial', 'step', 'exponential'])(
    'a schedule of kind %s has finite rates above 0 in a run of one step, of two, and of nothing but warm-up',
    (kind) => {
      const settings = kind === 'step' ? { kind, every: 1 } : { kind };
      for (const totalSteps of [1, 2, 3]) {
        for (const schedule of [settings, { ...settings, warmup: { steps: 9 } }]) {
          const rates = ratesOf(schedule, { stepsPerEpoch: 1, totalSteps });
          expect(rates.every((rate) => rate > 0 && rate <= 0.1)).toBe(true);
        }
      }
    },
  );
});

describe('integerPower', () => {
  it('integerPower agrees with a product of factors within its rounding, for every exponent to 3000', () => {
    let product = 1;
    for (let exponent = 0; exponent <= 3000; exponent++) {
      expect(Math.abs(integerPower(0.999, exponent) / product - 1)).toBeLessThan(3000 * 2 ** -52);
      product *= 0.999;
    }
  });

  it('integerPower is exact for powers of two, and reaches 0 for huge exponents', () => {
    expect(integerPower(2, 1000)).toBe(2 ** 1000);
    expect(integerPower(0.9, 2 ** 52)).toBe(0);
    expect(integerPower(0, 0)).toBe(1);
    expect(integerPower(0, 5)).toBe(0);
  });
});

describe('power', () => {
  it('power agrees with the host within a few ulp for fractional exponents, and is 0 for a base of 0', () => {
    for (const base of [1e-6, 0.1, 0.5, 0.99, 1, 3]) {
      for (const exponent of [0.5, 1.5, 2.7]) {
        expect(Math.abs(power(base, exponent, math) / base ** exponent - 1)).toBeLessThan(64 * 2 ** -53);
      }
    }
    expect(power(0, 0.5, math)).toBe(0);
  });
});
