// The coordinator's decisions under thousands of seeded disasters. `npm run simulate -- --seed N`
// runs one seed again, `npm run simulate -- --seeds N` the first N.
import { expect, test } from 'vitest';
import { scenarioOf } from './scenarios.ts';
import { simulate } from './simulate.ts';

const seeds = process.env['LOCKSTEP_SIMULATOR_SEEDS'] ?? '1-1000';
const [first = 1, last = first] = seeds.split('-').map(Number);
const MS_PER_SEED = 100;

test(
  `trainings of seeds ${seeds} give the same results as without faults`,
  () => {
    const failed: string[] = [];
    for (let seed = first; seed <= last && failed.length < 10; seed++) {
      const { problems } = simulate(scenarioOf(seed));
      if (problems.length > 0) failed.push(problems.join('; '));
    }
    expect(failed).toEqual([]);
  },
  30_000 + MS_PER_SEED * (last - first),
);
