// The settings that `lockstep bench scale` measures.
import { describe, expect, it } from 'vitest';
import { settingsOf } from '../../../bench/scale.ts';

/** Settings as `workers x threads`. */
function settings(lists: { readonly workers?: string; readonly threads?: string }, cores = 2): string[] {
  return settingsOf(lists, cores).map(({ workers, threads }) => `${workers}x${threads}`);
}

describe('the settings of bench scale', () => {
  it('without lists they are those that may pay on the cores of the machine', () => {
    expect(settings({}, 1)).toEqual(['0x1', '1x1']);
    expect(settings({}, 2)).toEqual(['0x1', '0x2', '1x1', '2x1', '1x2']);
    expect(settings({}, 6)).toEqual([
      ...['0x1', '0x2', '0x4', '0x6'],
      ...['1x1', '2x1', '4x1', '6x1'],
      '1x6',
    ]);
  });

  it('lists are paired, each with all of the other', () => {
    expect(settings({ workers: '0, 2', threads: '1,3' })).toEqual(['0x1', '0x3', '2x1', '2x3']);
    expect(settings({ workers: '1,4,1' })).toEqual(['1x1', '4x1']);
    expect(settings({ threads: '2' })).toEqual(['0x2']);
  });

  it.each([
    [{ workers: '1,,2' }, '--workers 1,,2: expected whole numbers from 0 to 1024, separated by commas'],
    [{ workers: '2000' }, '--workers 2000: expected whole numbers from 0 to 1024, separated by commas'],
    [{ threads: '0' }, '--threads 0: expected whole numbers from 1 to 256, separated by commas'],
  ])('a list that is none is refused: %o', (lists, message) => {
    expect(() => settings(lists)).toThrow(message);
  });
});
