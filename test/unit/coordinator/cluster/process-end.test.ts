// How the end of a worker process is read: what is for lack of memory, and what is not.
import { describe, expect, it } from 'vitest';
import { ProcessEnds } from '../../../../coordinator/cluster/local-workers.ts';

describe('the end of a process', () => {
  it('is for lack of memory where V8 aborted it', () => {
    const ends = new ProcessEnds(() => 0);
    expect(ends.isOutOfMemory(null, 'SIGABRT')).toBe(true);
    expect(ends.isOutOfMemory(134, null)).toBe(true);
    expect(ends.isOutOfMemory(1, null)).toBe(false);
    expect(ends.isOutOfMemory(null, 'SIGTERM')).toBe(false);
  });

  it('by SIGKILL is so where the kernel has counted one more, and no other end has been told for it', () => {
    let numKilled = 5;
    const ends = new ProcessEnds(() => numKilled);
    expect(ends.isOutOfMemory(null, 'SIGKILL')).toBe(false);
    numKilled += 2;
    const told = [1, 2, 3].map(() => ends.isOutOfMemory(null, 'SIGKILL'));
    expect(told).toEqual([true, true, false]);
  });
});
