import { describe, expect, it } from 'vitest';
import { AwakeClock } from '../../../../coordinator/cluster/awake-clock.ts';

describe('AwakeClock', () => {
  it('the awake clock counts the time between readings, but leaves out standstills of the process', () => {
    let readMs = 5_000;
    const clock = new AwakeClock(() => readMs);
    const lived = [50, 1_000, 1_001, 50, 600_000, 0, 20].map((passedMs) => {
      readMs += passedMs;
      return clock.now();
    });
    expect(lived).toEqual([5_050, 6_050, 6_050, 6_100, 6_100, 6_100, 6_120]);
  });
});
