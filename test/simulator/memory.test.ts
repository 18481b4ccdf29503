// Rounds whose sums do not all fit in memory: with many shards, and workers that are lost in the middle of
// their tasks.
import { expect, test } from 'vitest';
import { scenarioOf } from './scenarios.ts';
import type { Scenario } from './scenarios.ts';
import { simulate } from './simulate.ts';
import { Chance } from './virtual-time.ts';

/** The scenario of a seed with up to 48 shards, half again as many workers, and room for one to six sums. */
function crampedScenario(seed: number): Scenario {
  const scenario = scenarioOf(seed);
  const chance = new Chance(seed);
  const { training, workers } = scenario;
  const shardRows = training.shardRows.map(() => Array<number>(chance.integer(13, 48)).fill(2));
  const others = workers.slice(0, 2);
  return {
    ...scenario,
    training: { ...training, shardRows },
    workers: [...workers, ...others, ...others],
    faultEveryMs: 100,
    room: { here: chance.integer(1, 6), ofTask: chance.pick([1, 2, 3, Infinity]) },
  };
}

test('rounds in cramped memory give the same results as without faults and never exceed their room', () => {
  const problems = Array.from({ length: 60 }, (_, seed) => simulate(crampedScenario(seed)).problems);
  expect(problems.flat()).toEqual([]);
}, 60_000);
