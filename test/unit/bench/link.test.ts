// Links as the options of benchmarks describe them.
import { describe, expect, it } from 'vitest';
import { isUnlimited, parseLink } from '../../../bench/link.ts';

describe('a link of a benchmark', () => {
  it.each([
    ['8mbit', '1ms', 1000, 1],
    ['100mbit', '500us', 12_500, 0.5],
    ['2.5gbit', '0ms', 312_500, 0],
    ['2000kbit', '1s', 250, 1000],
    ['unlimited', '0.5ms', Infinity, 0.5],
  ])('%s and %s are bytes a millisecond and milliseconds', (bandwidth, latency, bytesPerMs, latencyMs) => {
    expect(parseLink({ bandwidth, latency })).toEqual({ bytesPerMs, latencyMs });
  });

  it.each([
    ['100', '1ms', '--bandwidth 100: expected a speed from 1mbit on'],
    ['100mb', '1ms', '--bandwidth 100mb: expected'],
    ['999kbit', '1ms', '--bandwidth 999kbit: expected'],
    ['-1gbit', '1ms', '--bandwidth -1gbit: expected'],
    ['1gbit', '5', '--latency 5: expected a time up to 1s'],
    ['1gbit', '2s', '--latency 2s: expected'],
  ])('%s with %s is refused', (bandwidth, latency, message) => {
    expect(() => parseLink({ bandwidth, latency })).toThrow(message);
  });

  it('only one without limit and latency needs no relay', () => {
    expect(isUnlimited(parseLink({ bandwidth: 'unlimited', latency: '0ms' }))).toBe(true);
    expect(isUnlimited(parseLink({ bandwidth: 'unlimited', latency: '1ms' }))).toBe(false);
    expect(isUnlimited(parseLink({ bandwidth: '1gbit', latency: '0ms' }))).toBe(false);
  });
});
