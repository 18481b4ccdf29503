// The roster: how many are there, who replaces itself, who has to wait, and who may not come back.
import { describe, expect, test } from 'vitest';
import type { RosterCommand } from '../../coordinator/machine/events.ts';
import { RosterMachine } from '../../coordinator/machine/roster-machine.ts';

const STEADY = { address: '10.0.0.2' };

/** A machine, and short ways to tell it things. */
class Driver {
  readonly machine: RosterMachine;
  #lastWorker = 0;

  constructor({ minWorkers = 1, waitMs = 100_000 } = {}) {
    this.machine = new RosterMachine({ minWorkers, waitMs }, 0);
  }

  /** A session is ready; of a process of its own unless told otherwise. */
  join(nowMs: number, who: { pid?: number; address?: string; step?: number } = {}): RosterCommand[] {
    const worker = ++this.#lastWorker;
    const { pid = 100 + worker, address = '10.0.0.1', step = 0 } = who;
    const process = { host: 'host', pid };
    const event = { worker, process, instance: String(pid), address, threads: 1, step };
    return this.machine.handle({ type: 'sessionReady', ...event }, nowMs);
  }

  lose(
    worker: number,
    nowMs: number,
    how: { isPolite?: boolean; hasAnswered?: boolean } = {},
  ): RosterCommand[] {
    const { isPolite = false, hasAnswered = false } = how;
    return this.machine.handle({ type: 'sessionLost', worker, isPolite, hasAnswered }, nowMs);
  }

  /** Workers that come and vanish without an answer. */
  visit(count: number, nowMs: number): void {
    for (let visitor = 0; visitor < count; visitor++) {
      this.join(nowMs);
      this.lose(this.#lastWorker, nowMs);
    }
  }
}

describe('the number of workers', () => {
  test('is waited for at the start, and has to be there in the middle', () => {
    const driver = new Driver({ minWorkers: 2 });
    expect(driver.machine.handle({ type: 'workersRequired', count: 3 }, 0)).toEqual([]);
    driver.join(1);
    driver.join(2);
    expect(driver.join(3)).toEqual([{ type: 'admit', worker: 3 }, { type: 'gathered' }]);
    expect(driver.lose(1, 4)).toEqual([]);
    expect(driver.machine.hasEnough).toBe(true);
    expect(driver.lose(2, 5)).toEqual([{ type: 'waiting', have: 1, need: 2, waitedMs: 0 }]);
    expect(driver.machine.hasEnough).toBe(false);
  });

  test('that is too small is mentioned now and then, and too long', () => {
    const driver = new Driver({ minWorkers: 2, waitMs: 60_000 });
    driver.join(0);
    const told = [9_999, 10_000, 10_050, 40_000, 59_999, 60_000].map((nowMs) => driver.machine.tick(nowMs));
    const missing = { have: 1, need: 2 };
    expect(told).toEqual([
      [],
      [{ type: 'waiting', ...missing, waitedMs: 10_000 }],
      [],
      [{ type: 'waiting', ...missing, waitedMs: 40_000 }],
      [],
      [{ type: 'starved', ...missing }],
    ]);
  });

  test('has the whole time again once there were enough', () => {
    const driver = new Driver({ waitMs: 60_000 });
    driver.join(50_000);
    driver.lose(1, 55_000);
    expect(driver.machine.tick(114_000)).not.toContainEqual({ type: 'starved', have: 0, need: 1 });
    expect(driver.machine.tick(115_000)).toContainEqual({ type: 'starved', have: 0, need: 1 });
  });
});

describe('a worker that comes back', () => {
  test('replaces what is left of it', () => {
    const driver = new Driver();
    driver.join(0, { pid: 7 });
    expect(driver.join(1, { pid: 7 })).toEqual([
      { type: 'supersede', worker: 1 },
      { type: 'admit', worker: 2 },
    ]);
    expect(driver.lose(1, 2)).toEqual([]);
    expect(driver.machine.hasEnough).toBe(true);
  });

  test('is not two workers', () => {
    const driver = new Driver({ minWorkers: 2 });
    driver.join(0, { pid: 7 });
    driver.join(1, { pid: 7 });
    expect(driver.machine.hasEnough).toBe(false);
  });

  test('is refused if it was wrong, and what it may have touched is known', () => {
    const driver = new Driver();
    driver.join(0, { pid: 7, step: 3 });
    driver.lose(1, 1);
    driver.join(2, { pid: 7, step: 9 });
    const banned = { type: 'banned', worker: 2, process: 'host pid 7', reason: 'lies', joinedAtStep: 3 };
    expect(driver.machine.ban(2, 'lies', 3)[0]).toEqual(banned);
    expect(driver.machine.banOf({ host: 'host', pid: 7 })).toBe('lies');
    expect(driver.machine.banOf({ host: 'host', pid: 8 })).toBe(undefined);
    expect(driver.join(4, { pid: 7 })).toEqual([{ type: 'refuse', worker: 3, reason: 'lies' }]);
  });

  test('counts no more once it is banned', () => {
    const driver = new Driver({ minWorkers: 2 });
    driver.join(0);
    driver.join(0);
    driver.machine.ban(2, 'lies', 1);
    expect(driver.machine.hasEnough).toBe(false);
  });

  test('is found out though its session is over', () => {
    const driver = new Driver();
    driver.join(0, { pid: 7 });
    driver.lose(1, 1);
    expect(driver.machine.ban(1, 'lies', 2)).toMatchObject([{ type: 'banned', worker: 1 }]);
  });
});

describe('an address whose workers keep vanishing', () => {
  test('has to wait from the fourth one on, and ever longer', () => {
    const driver = new Driver();
    driver.join(0, STEADY);
    driver.visit(3, 1);
    expect(driver.join(2)).toEqual([{ type: 'rest', worker: 5, restMs: 1_000 }]);
    expect(driver.machine.tick(1_001)).toEqual([]);
    expect(driver.machine.tick(1_002)).toEqual([{ type: 'admit', worker: 5 }]);
    driver.lose(5, 1_003);
    expect(driver.join(1_004)).toEqual([{ type: 'rest', worker: 6, restMs: 2_000 }]);
    expect(driver.join(1_005, { address: '10.0.0.3' })).toEqual([{ type: 'admit', worker: 7 }]);
  });

  test('never waits for longer than 30 s, and is forgiven after a minute', () => {
    const driver = new Driver();
    driver.join(0, STEADY);
    driver.visit(40, 1);
    expect(driver.join(2)).toEqual([{ type: 'rest', worker: 42, restMs: 30_000 }]);
    expect(driver.join(60_002)).toEqual([{ type: 'admit', worker: 43 }]);
  });

  test('does not wait where it is needed', () => {
    const driver = new Driver();
    driver.visit(5, 0);
    expect(driver.join(1)).toEqual([{ type: 'admit', worker: 6 }]);
    driver.lose(6, 2);
    driver.join(3, STEADY);
    driver.join(4);
    expect(driver.lose(7, 5)).toContainEqual({ type: 'admit', worker: 8 });
  });

  test('is not blamed for workers that have answered, or said goodbye', () => {
    const driver = new Driver();
    driver.join(0, STEADY);
    for (let count = 0; count < 6; count++) {
      const nowMs = count + 1;
      driver.join(nowMs);
      driver.lose(count + 2, nowMs, count % 2 === 0 ? { hasAnswered: true } : { isPolite: true });
    }
    expect(driver.join(9)).toEqual([{ type: 'admit', worker: 8 }]);
  });
});
