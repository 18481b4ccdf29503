import { beforeEach, describe, expect, test } from 'vitest';
import { Pace } from '../../../../coordinator/scheduler/pace.ts';

let pace: Pace;

beforeEach(() => {
  pace = new Pace();
});

describe('the speed of a worker', () => {
  test('the speed of a worker counts the time that it computed, not the time that a task waited in its queue', () => {
    pace.join(1, 0);
    pace.deliver(1, 100, 0, 100);
    // Given at the same time, begun when the first one was done.
    pace.deliver(1, 200, 0, 150);
    expect(pace.speedOf(1)).toBe(4);
    expect(pace.beganMs(1, 20)).toBe(150);
    expect(pace.beganMs(1, 170)).toBe(170);
  });

  test('the speed of a worker forgets the first task, and follows later ones slowly', () => {
    pace.join(1, 0);
    pace.deliver(1, 10, 0, 1_000);
    expect(pace.speedOf(1)).toBe(0.01);
    pace.deliver(1, 10, 1_000, 1_010);
    expect(pace.speedOf(1)).toBe(1);
    pace.deliver(1, 10, 1_010, 1_015);
    expect(pace.speedOf(1)).toBeCloseTo(1.3, 12);
    pace.deliver(1, 10, 1_015, 1_115);
    expect(pace.speedOf(1)).toBeCloseTo(0.94, 12);
  });

  test('the speed of a worker that has delivered nothing is the mean of the others', () => {
    for (const worker of [1, 2, 3]) pace.join(worker, 0);
    expect(pace.expectedMs(3, 12)).toBe(undefined);
    expect(pace.speedOf(3)).toBe(pace.speedOf(1));
    pace.deliver(1, 40, 0, 10);
    pace.deliver(2, 140, 0, 10);
    expect(pace.speedOf(3)).toBe(9);
    expect(pace.expectedMs(3, 18)).toBe(2);
    pace.leave(2);
    expect(pace.speedOf(3)).toBe(4);
  });

  test('the speed of a worker falls only if it gives up a task after the time in which it would have delivered it', () => {
    pace.join(1, 0);
    pace.deliver(1, 100, 0, 10);
    pace.giveUp(1, 100, 10, 15);
    expect(pace.speedOf(1)).toBe(10);
    // It was free from then on: 1 row a millisecond at most.
    pace.giveUp(1, 100, 15, 115);
    expect(pace.speedOf(1)).toBeCloseTo(7.3, 12);
    expect(pace.beganMs(1, 0)).toBe(115);
  });

  test('a worker that gives up a task before it has delivered any remains unproven', () => {
    pace.join(1, 0);
    pace.giveUp(1, 100, 0, 10);
    expect(pace.isProven(1)).toBe(false);
  });

  test('the speed of a worker is finite even if the clock did not move', () => {
    pace.join(1, 5);
    pace.deliver(1, 10, 5, 5);
    expect(pace.speedOf(1)).toBe(1_000);
  });
});

describe('a late joiner', () => {
  test('a worker that has delivered nothing is a late joiner if another had delivered when it joined or when the round began', () => {
    for (const worker of [1, 2]) pace.join(worker, 0);
    pace.deliver(1, 1, 0, 1);
    pace.join(3, 2);
    const newcomers = (roundBeganMs: number): number[] =>
      [1, 2, 3].filter((worker) => pace.isLateJoiner(worker, roundBeganMs));
    expect(newcomers(0)).toEqual([3]);
    expect(newcomers(2)).toEqual([2, 3]);
    pace.deliver(3, 1, 2, 3);
    expect(newcomers(2)).toEqual([2]);
  });
});
