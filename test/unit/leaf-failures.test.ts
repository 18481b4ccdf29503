// Whose fault it is that a leaf cannot be computed.
import { describe, expect, test } from 'vitest';
import type { RoundCommand } from '../../coordinator/machine/events.ts';
import { LeafFailures } from '../../coordinator/machine/leaf-failures.ts';
import type { Hopeless } from '../../coordinator/machine/leaf-failures.ts';
import { RoundDriver, assign, ofType } from '../helpers/round-driver.ts';

/** A process fails on leaves while these are there. */
function fail(
  failures: LeafFailures,
  [from, to]: readonly [number, number],
  process: string,
  others: readonly string[],
): Hopeless | undefined {
  return failures.fail({ from, to }, { process, others, message: 'trap', isOutOfMemory: false });
}

test('one worker that fails again and again is to blame itself while another one might not', () => {
  const failures = new LeafFailures();
  const verdicts = Array.from({ length: 10 }, () => fail(failures, [0, 1], 'a', ['a', 'b']));
  expect(verdicts).toEqual(Array(10).fill(undefined));
});

test('only the leaves are named that all failed on', () => {
  const failures = new LeafFailures();
  expect(fail(failures, [0, 4], 'a', ['a', 'b', 'c'])).toBe(undefined);
  expect(fail(failures, [2, 6], 'b', ['a', 'b', 'c'])).toBe(undefined);
  expect(fail(failures, [1, 3], 'c', ['a', 'b', 'c'])).toMatchObject({ from: 2, to: 3, cause: 'failed' });
});

describe('leaves that nobody can compute', () => {
  const fail = (
    driver: RoundDriver,
    worker: number,
    attempt: number,
    isOutOfMemory = false,
  ): RoundCommand[] => {
    const { round } = driver;
    return driver.tell({ type: 'rangeFailed', worker, round, attempt, message: 'trap', isOutOfMemory });
  };

  test('are given up when three different workers failed on them', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(1);
    expect(fail(driver, 1, 1)).toEqual([assign(2, 2, 0, 1)]);
    expect(fail(driver, 2, 2)).toEqual([assign(3, 3, 0, 1)]);
    expect(fail(driver, 3, 3)).toEqual([
      { type: 'giveUp', from: 0, to: 1, cause: 'failed', message: 'trap' },
    ]);
  });

  test('are given up when the only worker failed three times', () => {
    const driver = new RoundDriver({ workers: 1 });
    driver.start(1);
    expect(fail(driver, 1, 1)).toEqual([assign(1, 2, 0, 1)]);
    expect(fail(driver, 1, 2)).toEqual([assign(1, 3, 0, 1)]);
    expect(ofType(fail(driver, 1, 3), 'giveUp')).toHaveLength(1);
  });

  test('are given up at the second lack of memory, naming the leaf that both had', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(6);
    driver.lose(1);
    expect(driver.tell({ type: 'outOfMemory', process: 'process 1' })).toEqual([]);
    driver.answerAll(assign(2, 2, 2, 4), 6);
    driver.finish(2, 2);
    expect(ofType(fail(driver, 2, 4, true), 'giveUp')).toEqual([
      { type: 'giveUp', from: 0, to: 1, cause: 'outOfMemory', message: 'trap' },
    ]);
  });

  test('are given up when eight processes were lost with them, but not for one that comes and goes', () => {
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
    expect(driver.lose(27)).toEqual([
      { type: 'giveUp', from: 0, to: 1, cause: 'lost', message: '8 workers were lost while they had them' },
    ]);
  });
});
