// The blame for a shard that cannot be computed: the worker's or its own.
import { describe, expect, test } from 'vitest';
import { ShardFailures } from '../../../../coordinator/scheduler/shard-failures.ts';
import type { HopelessShards } from '../../../../coordinator/scheduler/outcome.ts';
import { SHARD, RoundDriver, assign, ofType } from '../../../helpers/round-driver.ts';
import type { Step } from '../../../helpers/round-driver.ts';

/** Reports that a process failed on shards while `others` were present. */
function fail(
  failures: ShardFailures,
  [from, to]: readonly [number, number],
  instance: string,
  others: readonly string[],
): HopelessShards | undefined {
  return failures.fail({ from, to }, { instance, others, message: 'trap', isOutOfMemory: false });
}

test('a single worker that fails repeatedly is blamed for it while another might succeed', () => {
  const failures = new ShardFailures();
  const verdicts = Array.from({ length: 10 }, () => fail(failures, [0, 1], 'a', ['a', 'b']));
  expect(verdicts).toEqual(Array(10).fill(undefined));
});

test('only the shards that every worker failed on are named', () => {
  const failures = new ShardFailures();
  expect(fail(failures, [0, 4], 'a', ['a', 'b', 'c'])).toBe(undefined);
  expect(fail(failures, [2, 6], 'b', ['a', 'b', 'c'])).toBe(undefined);
  expect(fail(failures, [1, 3], 'c', ['a', 'b', 'c'])).toMatchObject({ from: 2, to: 3, cause: 'failed' });
});

describe('shards that no worker can compute', () => {
  /** Has a worker fail on its task, and reconnect. */
  const failAndReturn = (driver: RoundDriver, worker: number, task: number): Step[] => {
    const commands = driver.fail(worker, task);
    expect(commands).toContainEqual({ type: 'evict', worker, reason: 'failed on a task' });
    return [...commands, ...driver.join(worker)];
  };
  const hopeless = { type: 'hopeless', from: 0, to: 1 };
  const message = 'trap; nor can the coordinator: trap';

  test('the coordinator tries shards that three different workers failed on, and then gives them up', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(1);
    expect(driver.fail(1, 1)).toContainEqual(assign(2, 2, 0, 1));
    expect(driver.fail(2, 2)).toContainEqual(assign(3, 3, 0, 1));
    expect(ofType(driver.fail(3, 3), 'assign')).toEqual([assign(0, 4, 0, 1)]);
    expect(driver.fail(0, 4)).toEqual([{ ...hopeless, cause: 'failed', message }]);
  });

  test('the coordinator tries shards that the only worker failed on three times', () => {
    const driver = new RoundDriver({ workers: 1 });
    driver.start(1);
    expect(failAndReturn(driver, 1, 1)).toContainEqual(assign(1, 2, 0, 1));
    expect(failAndReturn(driver, 1, 2)).toContainEqual(assign(1, 3, 0, 1));
    expect(failAndReturn(driver, 1, 3)).toContainEqual(assign(0, 4, 0, 1));
    // A worker that has failed on the shard is not asked again, however long that takes.
    driver.nowMs = 30_000;
    expect(driver.tick()).toEqual([]);
    expect(ofType(driver.fail(0, 4), 'hopeless')).toHaveLength(1);
  });

  test('shards are given up at once when two processes ran out of memory, which could end the coordinator too', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(6);
    driver.lose(1);
    expect(driver.runOutOfMemory('process 1')).toEqual([]);
    driver.lose(2);
    expect(driver.runOutOfMemory('process 2')).toEqual([
      { ...hopeless, cause: 'outOfMemory', message: 'the worker process ended for lack of memory' },
    ]);
  });

  test('the coordinator tries shards at the second report of a lack of memory', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(6);
    driver.fail(1, 1, { isOutOfMemory: true });
    driver.answerAll(assign(2, 2, 2, 4), 6);
    driver.finish(2, 2);
    expect(ofType(driver.fail(2, 4, { isOutOfMemory: true }), 'assign')).toContainEqual(assign(0, 6, 0, 1));
    expect(driver.fail(0, 6)).toEqual([{ ...hopeless, cause: 'outOfMemory', message }]);
  });

  test('the coordinator tries shards that eight processes were lost with, but not those of one that reconnects', () => {
    const driver = new RoundDriver({ workers: 0 });
    driver.start(1);
    for (let worker = 1; worker <= 20; worker++) {
      driver.join(worker, 'the same');
      expect(driver.lose(worker)).toEqual([]);
    }
    for (let worker = 21; worker <= 26; worker++) {
      driver.join(worker);
      expect(driver.lose(worker)).toEqual([]);
    }
    driver.join(27);
    expect(driver.lose(27)).toEqual([assign(0, 28, 0, 1)]);
    const lost = '8 workers were lost while they had them; nor can the coordinator: trap';
    expect(driver.fail(0, 28)).toEqual([{ ...hopeless, cause: 'lost', message: lost }]);
  });

  test('shards that the coordinator can compute complete the round', () => {
    const driver = new RoundDriver({ workers: 1 });
    driver.start(3);
    driver.fail(1, 1, { isOutOfMemory: true });
    expect(driver.join(2)).toEqual([assign(2, 2, 0, 3)]);
    expect(ofType(driver.fail(2, 2, { isOutOfMemory: true }), 'assign')).toEqual(
      [3, 4, 5].map((id) => assign(0, id, id - 3, id - 2)),
    );
    expect(driver.join(3)).toEqual([]);
    expect(ofType(driver.answer(0, 3, SHARD(0)), 'store')).toHaveLength(1);
    driver.answer(0, 4, SHARD(1));
    expect(ofType(driver.answer(0, 5, { level: 1, index: 1 }), 'complete')).toHaveLength(1);
  });

  test('the error names the very shards that the coordinator cannot compute', () => {
    const driver = new RoundDriver({ workers: 1 });
    driver.start(3);
    driver.fail(1, 1, { isOutOfMemory: true });
    driver.join(2);
    driver.fail(2, 2, { isOutOfMemory: true });
    driver.answer(0, 3, SHARD(0));
    driver.finish(0, 3);
    expect(driver.fail(0, 4)).toEqual([{ type: 'hopeless', from: 1, to: 2, cause: 'outOfMemory', message }]);
  });

  test('the coordinator does not try shards that a worker has delivered', () => {
    const driver = new RoundDriver({ workers: 3, share: 1 });
    driver.start(2);
    driver.answer(1, 1, SHARD(0));
    driver.fail(2, 2, { isOutOfMemory: true });
    expect(
      ofType(driver.fail(3, 3, { isOutOfMemory: true }), 'assign').map(
        (given) => 'worker' in given && given.worker,
      ),
    ).not.toContain(0);
  });
});

describe('a process that fails on every task', () => {
  /** Has the process join a round that waits for it, and fail on the task that it gets. */
  const failOnce = (driver: RoundDriver, worker: number, instance: string): Step[] => {
    driver.start(1);
    const [given] = ofType(driver.join(worker, instance), 'assign');
    return driver.fail(worker, given?.task ?? 0);
  };

  test('a process that fails is evicted each time, and banned at the fifth failure in a row without the run going back', () => {
    const driver = new RoundDriver({ workers: 0 });
    for (let worker = 1; worker <= 4; worker++) {
      const sentAway = { type: 'evict', worker, reason: 'failed on a task' };
      expect(failOnce(driver, worker, 'unfit')).toEqual([sentAway]);
    }
    const reason = 'failed on 5 tasks in a row: trap';
    expect(failOnce(driver, 5, 'unfit')).toEqual([
      { type: 'ban', worker: 5, name: 'unfit', reason, trustedSteps: undefined, mayReturn: false },
    ]);
  });

  test('a process that fails only now and then is not banned', () => {
    const driver = new RoundDriver({ workers: 0 });
    for (let worker = 1; worker <= 12; worker++) {
      expect(ofType(failOnce(driver, worker, 'fit'), 'ban')).toEqual([]);
      const [given] = ofType(driver.join(worker, 'fit'), 'assign');
      if (given && worker % 4 === 0) driver.answerAll(given, 1);
      driver.lose(worker);
    }
  });

  test('a worker that reports a failure on a task of an earlier round is evicted, and gets no more tasks', () => {
    const driver = new RoundDriver();
    driver.endWithoutSecond();
    driver.start(2);
    expect(driver.fail(2, 2, { round: 1 })).toContainEqual({
      type: 'evict',
      worker: 2,
      reason: 'failed on a task',
    });
    expect(ofType(driver.start(8), 'assign').map((given) => 'worker' in given && given.worker)).toEqual([1]);
  });
});
