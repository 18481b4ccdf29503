// Single decisions of the round scheduler. The simulator tests what many of them result in together.
import { describe, expect, test } from 'vitest';
import { COORDINATOR } from '../../../../coordinator/scheduler/outcome.ts';
import { RoundDriver, SHARD, assign, ofType } from '../../../helpers/round-driver.ts';
import type { Step } from '../../../helpers/round-driver.ts';

const tasksOf = (commands: readonly Step[]): unknown[][] =>
  commands.flatMap((command) =>
    command.type === 'assign' ? [[command.worker, command.from, command.to]] : [],
  );

describe('tasks under a memory limit', () => {
  test('shards are given out in tasks just large enough that there is room for their sums', () => {
    const tasksFor = (maxSums: number): number[][] =>
      tasksOf(new RoundDriver({ workers: 8, maxSums }).start(8)).map(([, from, to]) => [
        from as number,
        to as number,
      ]);
    const pairs = [0, 2, 4, 6].map((from) => [from, from + 2]);
    expect(tasksFor(4)).toEqual(Array.from({ length: 8 }, (_, shard) => [shard, shard + 1]));
    expect(tasksFor(3)).toEqual(pairs);
    expect(tasksFor(2)).toEqual(pairs);
    expect(tasksFor(1)).toEqual([
      [0, 4],
      [4, 8],
    ]);
  });

  test('the cut between two workers is at a subtree if memory is short', () => {
    const driver = new RoundDriver({ workers: 3, maxSums: 1 });
    expect(tasksOf(driver.start(6))).toEqual([
      [1, 0, 4],
      [2, 4, 6],
    ]);
  });

  test('a task results in no more sums than its worker has room for', () => {
    const tasksFor = (maxSumsOfTask: number): number[][] =>
      tasksOf(new RoundDriver({ workers: 3, maxSumsOfTask }).start(8)).map(([, from, to]) => [
        from as number,
        to as number,
      ]);
    expect(tasksFor(2)).toEqual([
      [0, 3],
      [3, 6],
      [6, 8],
    ]);
    expect(tasksFor(1)).toEqual([
      [0, 4],
      [4, 6],
      [6, 8],
    ]);
  });

  test('an arrived part of a lost task waits for its neighbours, and is not computed again', () => {
    const driver = new RoundDriver({ workers: 3, maxSums: 3 });
    expect(tasksOf(driver.start(8))).toEqual([
      [1, 0, 3],
      [2, 3, 6],
      [3, 6, 8],
    ]);
    driver.answer(2, 2, SHARD(3));
    expect(tasksOf(driver.lose(2))).toEqual([[1, 4, 6]]);
  });

  test('an evaluation, whose sums wait for no neighbours, is given out regardless of the memory limit', () => {
    expect(tasksOf(new RoundDriver({ workers: 4, maxSums: 1 }).start(4, 'evaluate'))).toHaveLength(4);
  });
});

describe('assignment of tasks', () => {
  test('shards of a lost worker are given to the others at once', () => {
    const driver = new RoundDriver();
    expect(driver.start(4)).toEqual([
      { type: 'begin', round: 1, again: undefined },
      assign(1, 1, 0, 2),
      assign(2, 2, 2, 4),
    ]);
    expect(driver.lose(2)).toEqual([assign(1, 3, 2, 4)]);
  });

  test('a late task is also given to an idle worker, and to only one', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(3);
    driver.nowMs = 30;
    driver.answer(1, 1, SHARD(0));
    driver.answer(2, 2, SHARD(1));
    // A shard takes 30 ms, so its task is late after 100 ms.
    driver.nowMs = 90;
    expect(driver.tick()).toEqual([]);
    driver.nowMs = 110;
    expect(driver.tick()).toEqual([assign(1, 4, 2, 3)]);
    expect(driver.tick()).toEqual([]);
    const node = { level: 1, index: 1 };
    expect(ofType(driver.answer(1, 4, node), 'complete')).toHaveLength(1);
    // The straggler's sum arrives after all, and is ignored.
    expect(driver.answer(3, 3, node)).toEqual([]);
  });

  test('a worker that still owes a task gets nothing more until it reports', () => {
    const driver = new RoundDriver();
    driver.start(2);
    driver.nowMs = 10;
    driver.answer(1, 1, SHARD(0));
    driver.nowMs = 1_000;
    expect(driver.tick()).toEqual([assign(1, 3, 1, 2)]);
    driver.answer(1, 3, SHARD(1));
    expect(driver.start(2)).toContainEqual(assign(1, 4, 0, 2));
    driver.finish(2, 2, 1);
    expect(driver.start(2)).toContainEqual(assign(2, 5, 0, 2));
  });

  test('a worker that reports on a late copy between two rounds gets a task in the next', () => {
    const driver = new RoundDriver();
    driver.endWithoutSecond();
    driver.answer(2, 2, SHARD(1));
    driver.finish(2, 2, 1);
    expect(
      ofType(driver.start(8), 'assign').map((command) => 'worker' in command && command.worker),
    ).toContain(1);
    driver.nowMs = 10_000;
    expect(driver.lose(1)).toContainEqual(assign(2, 5, 0, 8));
  });

  test('a shard whose copy is late too is given to a third worker', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(3);
    driver.nowMs = 30;
    driver.answer(1, 1, SHARD(0));
    driver.nowMs = 10_000;
    const copies = ofType(driver.tick(), 'assign');
    expect(copies).toEqual([assign(1, 4, 1, 3)]);
    driver.join(4);
    expect(ofType(driver.tick(), 'assign')).toEqual([]);
    driver.nowMs = 20_000;
    expect(ofType(driver.tick(), 'assign')).toEqual([assign(4, 5, 1, 3)]);
  });

  test('a worker counts as late with all its tasks once it is late with the oldest', () => {
    const driver = new RoundDriver({ workers: 4 });
    driver.start(8);
    driver.nowMs = 10;
    driver.answer(2, 2, { level: 1, index: 1 });
    driver.nowMs = 20;
    expect(driver.lose(4)).toEqual([assign(2, 5, 6, 8)]);
    driver.nowMs = 30;
    expect(driver.lose(3)).toEqual([assign(1, 6, 4, 5), assign(2, 7, 5, 6)]);
    driver.answer(2, 5, { level: 1, index: 3 });
    driver.answer(2, 7, SHARD(5));
    driver.nowMs = 110;
    expect(driver.tick()).toEqual([assign(2, 8, 0, 2), assign(2, 9, 4, 5)]);
  });

  /** Runs a round of 64 shards on two workers; returns how many the second one got. */
  const roundOf = (driver: RoundDriver, msPerShard: number): number => {
    const given = ofType(driver.start(64), 'assign');
    const startMs = driver.nowMs;
    const takesMs = ({ worker, from = 0, to = 0 }: Step): number =>
      (to - from) * (worker === 1 ? 1 : msPerShard);
    for (const task of given.sort((a, b) => takesMs(a) - takesMs(b))) {
      driver.nowMs = startMs + takesMs(task);
      driver.answerAll(task, 64);
    }
    return given
      .filter(({ worker }) => worker === 2)
      .reduce((sum, { from = 0, to = 0 }) => sum + to - from, 0);
  };

  test('a worker with a tenth of the speed gets a tenth of the shards', () => {
    const driver = new RoundDriver();
    for (let warmUp = 0; warmUp < 4; warmUp++) roundOf(driver, 10);
    expect(roundOf(driver, 10)).toBeGreaterThanOrEqual(4);
    expect(roundOf(driver, 10)).toBeLessThanOrEqual(7);
  });

  test('a worker that turns slow gets less, and its full share again once it is fast', () => {
    const driver = new RoundDriver();
    for (let round = 0; round < 4; round++) roundOf(driver, 1);
    expect(roundOf(driver, 1)).toBe(32);
    for (let round = 0; round < 12; round++) roundOf(driver, 3);
    expect(roundOf(driver, 3)).toBeLessThanOrEqual(20);
    for (let round = 0; round < 12; round++) roundOf(driver, 1);
    expect(roundOf(driver, 1)).toBe(32);
  });

  test('the first task of a worker, which includes its start, does not count once there is a second', () => {
    const driver = new RoundDriver();
    roundOf(driver, 4);
    roundOf(driver, 1);
    expect(roundOf(driver, 1)).toBe(32);
  });

  test('a worker that gives up a task long after it was due gets less in the next round', () => {
    const driver = new RoundDriver();
    for (let round = 0; round < 4; round++) roundOf(driver, 1);
    const [first, second] = ofType(driver.start(64), 'assign') as [Step, Step];
    driver.nowMs += 32;
    driver.answerAll(first, 64);
    driver.nowMs += 1_000;
    const [copy] = driver.tick() as [Step];
    driver.nowMs += 32;
    driver.answerAll(copy, 64);
    const { task = 0 } = second;
    driver.finish(2, task);
    expect(roundOf(driver, 1)).toBe(24);
  });

  test('the unproven workers that have waited longest get tasks first', () => {
    const driver = new RoundDriver({ workers: 0 });
    for (const worker of [1, 2, 3]) driver.join(worker);
    expect(ofType(driver.start(2), 'assign')).toEqual([assign(1, 1, 0, 1), assign(2, 2, 1, 2)]);
    driver.join(4);
    expect(driver.lose(1)).toEqual([assign(3, 3, 0, 1)]);
    expect(driver.lose(2)).toEqual([assign(4, 4, 1, 2)]);
  });

  test('the coordinator tries a shard that eight workers had when they left', () => {
    const driver = new RoundDriver({ workers: 8 });
    driver.start(1);
    for (let worker = 1; worker < 8; worker++)
      expect(driver.lose(worker)).toEqual([assign(worker + 1, worker + 1, 0, 1)]);
    expect(driver.lose(8)).toEqual([assign(COORDINATOR.worker, 9, 0, 1)]);
  });

  test('the coordinator tries a shard if every worker that does not hang has failed on it', () => {
    const driver = new RoundDriver({ workers: 2 });
    driver.start(2);
    driver.nowMs = 1;
    driver.answer(1, 1, SHARD(0));
    driver.finish(1, 1);
    driver.nowMs = 20_000;
    // Worker 2 hangs with shard 1, and worker 1 fails on it each time it reconnects.
    let commands = driver.tick();
    for (const worker of [1, 3, 4]) {
      const [copy] = ofType(commands, 'assign');
      expect(copy).toMatchObject({ worker, from: 1, to: 2 });
      commands = driver.fail(worker, copy?.task ?? 0);
      if (worker < 4) commands = driver.join(Math.max(3, worker + 1), 'process 1');
    }
    expect(commands).toContainEqual(expect.objectContaining({ type: 'assign', worker: COORDINATOR.worker }));
  });

  test('a worker that joins late proves itself on a copy of a shard, and gets its share after that', () => {
    const driver = new RoundDriver({ workers: 1 });
    const [alone] = ofType(driver.start(16), 'assign') as [Step];
    driver.nowMs = 16;
    driver.answerAll(alone, 16);
    for (const worker of [2, 3]) driver.join(worker);
    const given = ofType(driver.start(16), 'assign');
    expect(given).toEqual([assign(1, 2, 0, 16), assign(2, 3, 15, 16), assign(3, 4, 14, 15)]);
    driver.nowMs = 17;
    driver.answer(2, 3, SHARD(15));
    driver.nowMs = 32;
    expect(ofType(driver.answer(1, 2, { level: 4, index: 0 }), 'complete')).toHaveLength(1);
    // Worker 3 hangs.
    expect(ofType(driver.start(16), 'assign')).toEqual([assign(1, 5, 0, 8), assign(2, 6, 8, 16)]);
  });

  test('a worker that is too slow for a single shard gets a copy of one now and then', () => {
    const driver = new RoundDriver();
    driver.start(2);
    driver.nowMs = 1;
    driver.answer(1, 1, SHARD(0));
    driver.nowMs = 90;
    driver.answer(2, 2, SHARD(1));
    expect(driver.start(2)).toEqual([{ type: 'begin', round: 2, again: undefined }, assign(1, 3, 0, 2)]);
    driver.answer(1, 3, { level: 1, index: 0 });
    driver.nowMs = 5_000;
    expect(driver.start(2)).toContainEqual(assign(2, 5, 1, 2));
  });

  test('workers that are too slow for a single shard get copies in turn, one at a time', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(3);
    driver.nowMs = 1;
    driver.answer(1, 1, SHARD(0));
    driver.nowMs = 80;
    driver.answer(2, 2, SHARD(1));
    driver.nowMs = 90;
    driver.answer(3, 3, { level: 1, index: 1 });
    driver.nowMs = 5_000;
    expect(ofType(driver.start(2), 'assign')).toEqual([assign(1, 4, 0, 2), assign(2, 5, 1, 2)]);
    driver.nowMs = 5_079;
    driver.answer(2, 5, SHARD(1));
    driver.answer(1, 4, { level: 1, index: 0 });
    expect(ofType(driver.start(2), 'assign')).toEqual([assign(1, 6, 0, 2), assign(3, 7, 1, 2)]);
  });
});

const EVICT: unknown = expect.objectContaining({ type: 'evict' });

describe('a worker that breaks the protocol', () => {
  test('a worker is evicted for finishing a task without its sums', () => {
    const driver = new RoundDriver({ workers: 1 });
    driver.start(1);
    const reason = 'finished a task without sending all of its sums';
    expect(driver.report(1, { round: 1, task: 1 })).toEqual([{ type: 'evict', worker: 1, reason }]);
  });

  test('a worker is evicted for a sum outside its task, or outside the tree', () => {
    const driver = new RoundDriver();
    driver.start(2);
    const evict = (reason: string): Step[] => [{ type: 'evict', worker: 1, reason }];
    expect(driver.answer(1, 1, SHARD(1))).toEqual(evict('sent a sum it was not asked for'));
    expect(driver.answer(1, 1, { level: 5, index: 7 })).toEqual(evict('sent a sum that does not exist'));
  });

  test('a sum that a worker sends for the task of another is ignored', () => {
    const driver = new RoundDriver();
    driver.start(2);
    const sum = { round: 1, task: 2, node: SHARD(1), bucket: 0 };
    expect(driver.rounds.inspect(1, sum)).toBe(undefined);
    expect(driver.answer(1, 2, SHARD(1))).toEqual([]);
    expect(driver.rounds.inspect(2, sum)).toBe('fast');
  });

  test('a sum that names another round is ignored', () => {
    const driver = new RoundDriver();
    driver.start(2);
    const sum = { round: 2, task: 1, node: SHARD(0), bucket: 0 };
    expect(driver.rounds.inspect(1, sum)).toBe(undefined);
    expect(driver.accept(1, sum)).toEqual([]);
  });

  test('a sum that arrives after its round is over is ignored', () => {
    const driver = new RoundDriver({ workers: 1 });
    driver.start(1);
    driver.answer(1, 1, SHARD(0));
    expect(driver.rounds.inspect(1, { round: 1, task: 1, node: SHARD(0), bucket: 0 })).toBe(undefined);
    expect(driver.answer(1, 1, SHARD(0), 'other')).toEqual([]);
  });

  test('a worker owes only tasks of its own and of their round, and only until it has reported on them', () => {
    const driver = new RoundDriver();
    driver.start(2);
    const owes = (worker: number, round: number, task: number): boolean =>
      driver.rounds.owes(worker, { round, task });
    expect([owes(1, 1, 1), owes(1, 1, 2), owes(2, 1, 1), owes(3, 1, 1), owes(1, 2, 1)]).toEqual([
      true,
      false,
      false,
      false,
      false,
    ]);
    driver.finish(1, 1);
    driver.answer(1, 1, SHARD(0));
    driver.finish(1, 1);
    expect(owes(1, 1, 1)).toBe(false);
  });

  test('a worker owes a task until it has reported on it, even if its round is over', () => {
    const driver = new RoundDriver({ workers: 1 });
    driver.start(1);
    driver.answer(1, 1, SHARD(0));
    driver.start(1);
    const owes = (round: number, task: number): boolean => driver.rounds.owes(1, { round, task });
    // The worker owes tasks in the order in which it got them.
    expect([owes(1, 1), owes(2, 2)]).toEqual([true, false]);
    driver.finish(1, 1, 1);
    expect([owes(1, 1), owes(2, 2)]).toEqual([false, true]);
  });

  test('a worker may send a sum three times, and is evicted for the fourth', () => {
    const driver = new RoundDriver();
    driver.start(2);
    for (let time = 0; time < 3; time++) expect(driver.answer(1, 1, SHARD(0))).not.toContainEqual(EVICT);
    const reason = 'sent the same sums again and again';
    expect(driver.answer(1, 1, SHARD(0))).toEqual([{ type: 'evict', worker: 1, reason }]);
  });

  test('a worker is evicted for a sum of an earlier round that it was not asked for', () => {
    const driver = new RoundDriver();
    driver.start(2);
    driver.answer(1, 1, SHARD(0));
    driver.finish(1, 1);
    driver.nowMs = 20_000;
    driver.tick();
    driver.answer(1, 3, SHARD(1));
    driver.start(2);
    const sum = { round: 1, task: 2, node: SHARD(0), bucket: 0 };
    const reason = 'sent a sum it was not asked for';
    expect(driver.drop(2, sum)).toEqual([{ type: 'evict', worker: 2, reason }]);
  });

  test('a report that a worker makes for another is ignored', () => {
    const driver = new RoundDriver();
    driver.endWithoutSecond();
    driver.start(2);
    driver.answer(1, 4, { level: 1, index: 0 });
    driver.report(1, { round: 1, task: 2 });
    expect(ofType(driver.start(2), 'assign')).toEqual([assign(1, 5, 0, 2)]);
  });

  test('a worker is not evicted for sending a sum twice', () => {
    const driver = new RoundDriver({ workers: 1 });
    driver.start(3);
    driver.answer(1, 1, { level: 2, index: 0 });
    expect(driver.answer(1, 1, { level: 2, index: 0 })).toEqual([]);
  });
});

describe('a round of some of the shards', () => {
  test('its shards alone are given out, and the sums of their maximal nodes are passed on', () => {
    const driver = new RoundDriver({ workers: 2 });
    expect(driver.start(8, 'train', { from: 1, to: 4 })).toEqual([
      { type: 'begin', round: 1, again: undefined },
      assign(1, 1, 1, 3),
      assign(2, 2, 3, 4),
    ]);
    expect(ofType(driver.answer(1, 1, SHARD(1)), 'passOn')).toMatchObject([{ level: 0, index: 1 }]);
    expect(ofType(driver.answer(2, 2, SHARD(3)), 'passOn')).toEqual([]);
    const last = driver.answer(1, 1, SHARD(2));
    expect(ofType(last, 'passOn')).toMatchObject([{ level: 1, index: 1 }]);
    expect(ofType(last, 'complete')).toHaveLength(1);
  });

  test('a round that is abandoned gives out nothing more, and its tasks are still reported on', () => {
    const driver = new RoundDriver({ workers: 2 });
    driver.start(2);
    driver.abandon();
    driver.nowMs = 1e6;
    expect(ofType(driver.tick(), 'assign')).toEqual([]);
    expect(ofType(driver.lose(2), 'assign')).toEqual([]);
    expect(driver.finish(1, 1)).toEqual([]);
    expect(ofType(driver.start(2), 'assign')).toEqual([assign(1, 3, 0, 2)]);
  });
});
