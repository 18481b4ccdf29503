// The ends of a worker process that count as a lack of memory.
import { describe, expect, it } from 'vitest';
import { ProcessEnds } from '../../../../coordinator/cluster/local-workers.ts';

describe('ProcessEnds', () => {
  it('a worker process that V8 aborted counts as out of memory', () => {
    const ends = new ProcessEnds(() => 0);
    expect(ends.isOutOfMemory(null, 'SIGABRT')).toBe(true);
    expect(ends.isOutOfMemory(134, null)).toBe(true);
    expect(ends.isOutOfMemory(1, null)).toBe(false);
    expect(ends.isOutOfMemory(null, 'SIGTERM')).toBe(false);
  });

  it('a SIGKILL counts as out of memory only while the kernel has counted more such kills than were reported', () => {
    let numKilled = 5;
    const ends = new ProcessEnds(() => numKilled);
    expect(ends.isOutOfMemory(null, 'SIGKILL')).toBe(false);
    numKilled += 2;
    const told = [1, 2, 3].map(() => ends.isOutOfMemory(null, 'SIGKILL'));
    expect(told).toEqual([true, true, false]);
  });
});
