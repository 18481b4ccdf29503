import { beforeEach, describe, expect, test } from 'vitest';
import { assign, SHARD, RoundDriver } from '../../../helpers/round-driver.ts';
import type { Step } from '../../../helpers/round-driver.ts';

let driver: RoundDriver;

beforeEach(() => {
  driver = new RoundDriver({ workers: 1 });
});

function tickAt(nowMs: number): Step[] {
  driver.nowMs = nowMs;
  return driver.tick();
}

const overdue = (owedMs: number): Step => ({ type: 'overdue', worker: 1, rows: 4, owedMs });
const stuck = (owedMs: number): Step => ({ type: 'stuck', worker: 1, rows: 4, owedMs });

describe('a worker that takes too long for a task', () => {
  test('an overdue worker is reported once, and reported stuck after an hour if no time has been measured', () => {
    driver.start(1);
    expect(tickAt(59_999)).toEqual([]);
    expect(tickAt(60_000)).toEqual([overdue(60_000)]);
    expect(tickAt(120_000)).toEqual([]);
    expect(tickAt(3_599_999)).toEqual([]);
    expect(tickAt(3_600_000)).toEqual([stuck(3_600_000)]);
  });

  test('a worker is reported stuck after ten minutes if its tasks take milliseconds', () => {
    driver.start(1);
    driver.nowMs = 10;
    driver.answer(1, 1, SHARD(0));
    driver.start(1);
    expect(tickAt(60_010)).toEqual([overdue(60_000)]);
    expect(tickAt(600_009)).toEqual([]);
    expect(tickAt(600_010)).toEqual([stuck(600_000)]);
    expect(tickAt(600_060)).toEqual([stuck(600_050)]);
  });

  test('a worker has a hundred times the measured time if its tasks take minutes', () => {
    driver.start(1);
    driver.nowMs = 100_000;
    driver.answer(1, 1, SHARD(0));
    driver.start(1);
    expect(tickAt(100_000 + 1_999_999)).toEqual([]);
    expect(tickAt(100_000 + 2_000_000)).toEqual([overdue(2_000_000)]);
    expect(tickAt(100_000 + 9_999_999)).toEqual([]);
    expect(tickAt(100_000 + 10_000_000)).toEqual([stuck(10_000_000)]);
  });

  test('a worker is also reported overdue and stuck for a task of an earlier round', () => {
    driver.join(2);
    expect(driver.start(2)).toContainEqual(assign(1, 1, 0, 1));
    driver.nowMs = 100;
    driver.answer(2, 2, SHARD(1));
    expect(tickAt(15_000)).toEqual([assign(2, 3, 0, 1)]);
    driver.answer(2, 3, SHARD(0));
    driver.start(2);
    driver.answerAll(assign(2, 4, 0, 2), 2);
    expect(tickAt(60_000)).toEqual([overdue(60_000)]);
    expect(tickAt(600_000)).toEqual([stuck(600_000)]);
    expect(driver.lose(1)).toEqual([]);
    expect(tickAt(700_000)).toEqual([]);
  });
});

describe('shards on which every idle worker has failed', () => {
  test('shards on which every idle worker has failed go to a busy one that has not', () => {
    driver.join(2);
    driver.start(2);
    expect(driver.fail(1, 1)).toContainEqual(assign(2, 3, 0, 1));
  });
});
