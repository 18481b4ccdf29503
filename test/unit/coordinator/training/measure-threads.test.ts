// The choice of the number of threads by steps that are tried: with made-up times, so that each test knows
// which number is the fastest.
import { expect, it } from 'vitest';
import { measureThreads } from '../../../../coordinator/training/measure-threads.ts';

/** Numbers of threads in the order in which they were tried, and what the trials result in. */
async function tried(
  stepMs: (numThreads: number, numSteps: number) => number,
  { mostThreads, maxSteps = 1_000_000 }: { readonly mostThreads: number; readonly maxSteps?: number },
): Promise<{ readonly fastest: number | undefined; readonly trials: readonly number[] }> {
  const trials: number[] = [];
  const timeStep = (numThreads: number): Promise<number> => {
    trials.push(numThreads);
    return Promise.resolve(stepMs(numThreads, trials.length));
  };
  const [fastest] = await measureThreads({ mostThreads, maxSteps, timeStep });
  return { fastest: fastest?.numThreads, trials };
}

it('the number of threads with the shortest steps is the fastest', async () => {
  const times = new Map([
    [8, 1.2],
    [4, 1],
    [2, 1.1],
    [1, 2],
  ]);
  expect((await tried((count) => times.get(count) as number, { mostThreads: 8 })).fastest).toBe(4);
});

it('of two numbers of threads that are about as fast the smaller one is taken', async () => {
  expect((await tried((count) => (count === 2 ? 0.98 : 1), { mostThreads: 2 })).fastest).toBe(1);
  expect((await tried((count) => (count === 2 ? 0.96 : 1), { mostThreads: 2 })).fastest).toBe(2);
});

it('steps that are slow because the program is still being compiled decide nothing', async () => {
  const stepMs = (count: number, numSteps: number): number => (numSteps < 20 ? 50 / numSteps : 0.5 * count);
  expect((await tried(stepMs, { mostThreads: 2 })).fastest).toBe(1);
});

it('numbers of threads below one that is clearly slower are not tried', async () => {
  const { fastest, trials } = await tried((count) => 16 / count, { mostThreads: 16 });
  expect({ fastest, trials: new Set(trials) }).toEqual({ fastest: 16, trials: new Set([16, 8]) });
});

it('a step that takes seconds is tried once with each number of threads, after one to warm up', async () => {
  const { fastest, trials } = await tried((count) => 4000 / count, { mostThreads: 2 });
  expect({ fastest, trials }).toEqual({ fastest: 2, trials: [2, 2, 1] });
});

it('a short run is not tried for longer than it is worth', async () => {
  const { trials } = await tried(() => 1, { mostThreads: 2, maxSteps: 6 });
  expect(trials.slice(0, 5)).toEqual([2, 2, 2, 2, 1]);
  expect(trials.length).toBeLessThan(6 + 2 * 5);
});
