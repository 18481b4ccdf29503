// The rule by which a search stops trials that fall behind.
import { describe, expect, it } from 'vitest';
import { isBehind } from '../../../../coordinator/commands/tune.ts';
import type { Trial } from '../../../../coordinator/output/trials.ts';

describe('the early stop of a search', () => {
  it('a trial is stopped once it is worse than half of the others at the same epoch', () => {
    const trial = (best: number[]): Trial => ({ trial: 1, values: {}, state: 'finished', best, seconds: 1 });
    const done = [[5, 4, 3], [5, 3, 2], [5, 2, 1], [5]].map(trial);
    const at = (best: number[], others = done): boolean =>
      isBehind(best, 10, { done: others, direction: 'min' as const });
    const four = [...done.slice(0, 3), trial([9, 9, 9])];
    expect(at([9, 3.4], four)).toBe(false);
    expect(at([9, 3.6], four)).toBe(true);
    // Three others say too little, and so does the first epoch of ten.
    expect([at([9, 9]), at([99], four)]).toEqual([false, false]);
  });
});
