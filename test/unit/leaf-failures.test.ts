// Whose fault it is that a leaf cannot be computed.
import { expect, test } from 'vitest';
import { LeafFailures } from '../../coordinator/machine/leaf-failures.ts';
import type { Hopeless } from '../../coordinator/machine/leaf-failures.ts';

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
