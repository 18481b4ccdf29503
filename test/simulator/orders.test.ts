// Cases that seeds might miss: every order in which few results can arrive, and the end of a worker at every
// message.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Outcome } from '../../coordinator/scheduler/outcome.ts';
import type { Task } from '../../coordinator/scheduler/outcome.ts';
import { RoundScheduler } from '../../coordinator/scheduler/round-scheduler.ts';
import { maximalNodes } from '../../src/tree.ts';
import { HONEST, scenarioOf } from './scenarios.ts';
import type { Scenario } from './scenarios.ts';
import { simulate } from './simulate.ts';
import type { Character } from './worker.ts';
import { add, sumUnder } from './symbols.ts';
import type { Value, Work } from './symbols.ts';

const WORK = { kind: 'train', step: 0, weights: 1, divergesAt: undefined } as const;
const MAX_SHARDS = 6;

/** The sum of a round in which each worker has one shard, and whose results arrive in this order. */
function sumInOrder(order: readonly number[]): Value | undefined {
  const numShards = order.length;
  const work: Work = { ...WORK, numShards };
  const room = { here: Infinity, ofTask: Infinity };
  const rounds = new RoundScheduler({ share: 0, random: () => 0 }, room, () => undefined);
  for (const worker of order.keys()) rounds.addWorker(worker, String(worker), new Outcome(0));
  const shardRows = Array<number>(numShards).fill(1);
  const begun = new Outcome(0);
  rounds.begin({ kind: 'train', numBuckets: 1, shardRows, step: 0 }, begun);
  const slots = new Map<number, Value>();
  let result: Value | undefined;
  for (const index of order) {
    const { worker, id: task, from, to } = begun.tasks[index] as Task;
    for (const node of maximalNodes(from, to, numShards)) {
      const value = sumUnder(work, node, 0);
      const outcome = new Outcome(1);
      const digest = { digest: String(value), isFinite: true };
      rounds.acceptSum(worker, { round: 1, task, node, bucket: 0 }, digest, outcome);
      const { sum } = outcome;
      if (!sum) continue;
      slots.set(sum.slot, value);
      for (const { left, right } of sum.merges) {
        slots.set(left, add(slots.get(left) as Value, slots.get(right) as Value));
      }
      if (sum.completed) result = slots.get(sum.completed.slot);
    }
  }
  return result;
}

function expectedSum(numShards: number): Value {
  const [root] = maximalNodes(0, numShards, numShards);
  return sumUnder({ ...WORK, numShards }, root ?? { level: 0, index: 0 }, 0);
}

function permutations(items: readonly number[]): number[][] {
  if (items.length <= 1) return [[...items]];
  return items.flatMap((first) =>
    permutations(items.filter((item) => item !== first)).map((rest) => [first, ...rest]),
  );
}

for (let numShards = 1; numShards <= MAX_SHARDS; numShards++) {
  test(`the results of ${numShards} shards add up to the right sum in every order`, () => {
    const expected = expectedSum(numShards);
    const orders = permutations(Array.from({ length: numShards }, (_, index) => index));
    expect(orders.filter((order) => sumInOrder(order) !== expected)).toEqual([]);
  });
}

test('the results of up to 64 shards add up to the right sum in any order', () => {
  const order = fc
    .integer({ min: MAX_SHARDS + 1, max: 64 })
    .chain((length) => fc.shuffledSubarray([...Array(length).keys()], { minLength: length }));
  fc.assert(fc.property(order, (indices) => sumInOrder(indices) === expectedSum(indices.length)));
});

/** Two workers without faults, of which the first ends after this many messages, or never. */
function twoWorkers(diesAfter: number | undefined, auditShare: number): Scenario {
  const rows = [3, 4, 4, 4, 2];
  const training = {
    numEpochs: 2,
    stepsPerEpoch: 3,
    numBuckets: 2,
    shardRows: [rows, rows, rows],
    evaluationRows: [4, 4, 1],
    divergesAt: undefined,
  };
  const workers = [{ ...HONEST, diesAfter }, HONEST];
  const quiet = {
    minWorkers: 1,
    room: { here: Infinity, ofTask: Infinity },
    judgeMs: 1,
    coordinatorCrashes: 0,
    faultEveryMs: undefined,
    poison: undefined,
    desertedAtStep: undefined,
    waitMs: 60_000,
  };
  return { seed: 1, training, workers, auditShare, checkpointEvery: 1, expected: 'finished', ...quiet };
}

for (const auditShare of [0, 1]) {
  test(`killing a worker after any of its messages does not change the result (audit ${auditShare})`, () => {
    const { numSent } = simulate(twoWorkers(undefined, auditShare));
    expect(numSent[0]).toBeGreaterThan(30);
    const results = Array.from({ length: numSent[0] as number }, (_, index) =>
      simulate(twoWorkers(index + 1, auditShare)),
    );
    expect(results.flatMap(({ problems }) => problems)).toEqual([]);
  });
}

/** Milliseconds that a training of a hundred steps takes these workers; the first steps only measure them. */
function millisecondsOf(workers: readonly Character[]): number {
  const base = twoWorkers(undefined, 0);
  const shardRows = [Array<number>(8).fill(16)];
  const training = {
    ...base.training,
    numEpochs: 1,
    stepsPerEpoch: 100,
    shardRows: Array(100).fill(shardRows[0]),
  };
  const { endMs, problems } = simulate({ ...base, training, workers });
  expect(problems).toEqual([]);
  return endMs;
}

test('a worker at a tenth of the speed does not delay three others', () => {
  const healthy = millisecondsOf(Array<Character>(4).fill(HONEST));
  const withStraggler = millisecondsOf([
    ...Array<Character>(3).fill(HONEST),
    { ...HONEST, speed: HONEST.speed / 10 },
  ]);
  expect(withStraggler / healthy).toBeLessThan(1.5);
});

test('a worker that stops for ten seconds in the middle delays the others for half a second at most', () => {
  const others = Array<Character>(3).fill(HONEST);
  const whole = millisecondsOf([...others, HONEST]);
  const stopped = millisecondsOf([...others, { ...HONEST, stops: { afterMs: whole / 2, forMs: 10_000 } }]);
  // After the stop three workers do the work of four.
  expect(stopped).toBeLessThan(whole + whole / 4 + 500);
});

test.each([40, 1000])(
  '%i workers that never answer and join before the only honest one delay the run by one wait in total',
  (numIdle) => {
    const idle = Array<Character>(numIdle).fill({ ...HONEST, isIdle: true });
    // 15 s, in which a first task might be computed, and copies that double every tick of 0.1 s.
    expect(millisecondsOf([...idle, HONEST]) - millisecondsOf([HONEST])).toBeLessThan(18_000);
  },
);

test('hanging newcomers do not keep shards from the worker that has delivered results', () => {
  const idle = Array<Character>(40).fill({ ...HONEST, isIdle: true });
  const alone = millisecondsOf([HONEST]);
  // They join when the first has delivered: nothing is late for longer than three times its usual duration.
  expect(millisecondsOf([HONEST, ...idle]) / alone).toBeLessThan(6);
});

/** A training of 1,600 steps by two workers, which a bad machine keeps joining. */
function underAttack(bad: Partial<Character>, auditShare: number): Scenario {
  const base = twoWorkers(undefined, auditShare);
  const shardRows = Array<number[]>(1_600).fill([3, 3, 3, 3]);
  const training = { ...base.training, numEpochs: 1, stepsPerEpoch: 1_600, shardRows };
  const link = { latencyMs: 0.1, jitterMs: 0.1, duplicates: 0 };
  const attacker = { ...HONEST, link, ...bad, rejoinMs: 1_200, address: 'a bad place' };
  return { ...base, training, workers: [HONEST, HONEST, attacker], checkpointEvery: 100 };
}

test('a bad machine that rejoins every 1.2 s and is caught in its first task each time causes no step to be taken twice', () => {
  const { numBanned, numWentBack, problems } = simulate(underAttack({ lies: 1, lie: 'nan' }, 0));
  expect({ problems, numWentBack }).toEqual({ problems: [], numWentBack: 0 });
  // One ban for each doubling of its wait.
  expect(numBanned).toBeGreaterThan(2);
  expect(numBanned).toBeLessThan(12);
});

const UNFIT = ['failure', 'outOfMemory', 'vanishing'] as const;
test.each(UNFIT)('workers of a bad machine that show nothing but "%s" do not end a run', (unfit) => {
  const { endMs, problems } = simulate(underAttack({ unfit }, 0));
  expect(problems).toEqual([]);
  expect(endMs).toBeLessThan(2 * simulate(underAttack({}, 0)).endMs);
});

test('a run with a bad machine whose lies audits find sooner or later repeats steps and finishes', () => {
  const results = Array.from({ length: 4 }, (_, seed) =>
    simulate({ ...underAttack({ lies: 1, lie: 'bit' }, 0.3), seed }),
  );
  expect(results.flatMap(({ problems }) => problems)).toEqual([]);
  expect(results.some(({ numWentBack }) => numWentBack > 0)).toBe(true);
});

test('the seeded scenarios contain faults of every kind', () => {
  const results = Array.from({ length: 100 }, (_, seed) => simulate(scenarioOf(seed)));
  const total = (count: (result: (typeof results)[number]) => number): number =>
    results.reduce((sum, result) => sum + count(result), 0);
  expect(total(({ numFaults }) => numFaults)).toBeGreaterThan(500);
  expect(total(({ numBanned }) => numBanned)).toBeGreaterThan(10);
  expect(total(({ numUnowed }) => numUnowed)).toBeGreaterThan(5);
  expect(total(({ numWentBack }) => numWentBack)).toBeGreaterThan(1);
  expect(total(({ numComputedHere }) => numComputedHere)).toBeGreaterThan(1);
  expect(new Set(results.map(({ outcome }) => outcome))).toEqual(
    new Set(['finished', 'diverged', 'failed', 'outOfMemory', 'lost', 'starved']),
  );
});
