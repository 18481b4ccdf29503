// The roster: how many workers there are, which supersede an old session, which have to
// wait, and which are banned.
import { describe, expect, test } from 'vitest';
import { Outcome } from '../../../../coordinator/scheduler/outcome.ts';
import { Roster } from '../../../../coordinator/scheduler/roster.ts';
import { stepsOf } from '../../../helpers/round-driver.ts';
import type { Step } from '../../../helpers/round-driver.ts';

/** The steps of an outcome. */
function listed(nowMs: number, event: (outcome: Outcome) => void): Step[] {
  const outcome = new Outcome(nowMs);
  event(outcome);
  return stepsOf(outcome);
}

const STEADY = { address: '10.0.0.2' };

/** A roster with shorthands for its events. */
class Driver {
  readonly roster: Roster;
  #lastWorker = 0;

  constructor({ minWorkers = 1, waitMs = 100_000 } = {}) {
    this.roster = new Roster({ minWorkers, waitMs }, 0);
  }

  /** Adds a session, with a process of its own unless told otherwise. */
  join(nowMs: number, who: { instance?: string; address?: string } = {}): Step[] {
    const worker = ++this.#lastWorker;
    const { instance = `instance of ${worker}`, address = '10.0.0.1' } = who;
    const event = { worker, instance, name: `worker ${worker} (host pid 1)`, address };
    return listed(nowMs, (outcome) => this.roster.addSession(event, outcome));
  }

  ban(worker: number, nowMs: number, instance = `instance of ${worker}`): Step[] {
    const offender = { worker, reason: 'lies', trustedSteps: 3 };
    return listed(nowMs, (outcome) => this.roster.ban(instance, offender, outcome));
  }

  lose(worker: number, nowMs: number, how: { hasAnswered?: boolean } = {}): Step[] {
    const { hasAnswered = false } = how;
    return listed(nowMs, (outcome) => this.roster.lose(worker, hasAnswered, outcome));
  }

  tell(worker: number, members: readonly string[], nowMs: number): Step[] {
    return listed(nowMs, (outcome) => this.roster.setMembers(worker, members, outcome));
  }

  require(count: number, nowMs: number): Step[] {
    return listed(nowMs, (outcome) => this.roster.require(count, outcome));
  }

  tick(nowMs: number): Step[] {
    return listed(nowMs, (outcome) => this.roster.tick(outcome));
  }

  /** Adds workers that vanish without delivering anything. */
  visit(count: number, nowMs: number): void {
    for (let visitor = 0; visitor < count; visitor++) {
      this.join(nowMs);
      this.lose(this.#lastWorker, nowMs);
    }
  }
}

describe('the number of workers', () => {
  test('a run starts with all the workers that it asks for, and continues with the minimum', () => {
    const driver = new Driver({ minWorkers: 2 });
    expect(driver.require(3, 0)).toEqual([]);
    driver.join(1);
    driver.join(2);
    expect(driver.join(3)).toEqual([{ type: 'admit', worker: 3 }, { type: 'gathered' }]);
    expect(driver.lose(1, 4)).toEqual([]);
    expect(driver.roster.hasEnough).toBe(true);
    expect(driver.lose(2, 5)).toEqual([{ type: 'waiting', have: 1, need: 2, waitedMs: 0 }]);
    expect(driver.roster.hasEnough).toBe(false);
  });

  test('a lack of workers is mentioned now and then, and starves the run when it lasts too long', () => {
    const driver = new Driver({ minWorkers: 2, waitMs: 60_000 });
    driver.join(0);
    const told = [9_999, 10_000, 10_050, 40_000, 59_999, 60_000].map((nowMs) => driver.tick(nowMs));
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

  test('the waiting time starts over each time there were enough workers', () => {
    const driver = new Driver({ waitMs: 60_000 });
    driver.join(50_000);
    driver.lose(1, 55_000);
    expect(driver.tick(114_000)).not.toContainEqual({ type: 'starved', have: 0, need: 1 });
    expect(driver.tick(115_000)).toContainEqual({ type: 'starved', have: 0, need: 1 });
  });
});

describe('an aggregator', () => {
  test('the workers below an aggregator count as long as it takes part', () => {
    const driver = new Driver({ minWorkers: 2 });
    driver.require(4, 0);
    driver.join(1);
    expect(driver.tell(1, ['b', 'c'], 2)).toEqual([]);
    expect(driver.tell(1, ['b', 'c', 'd'], 3)).toEqual([{ type: 'gathered' }]);
    expect(driver.roster.numActive).toBe(4);
    expect(driver.tell(1, [], 4)).toEqual([{ type: 'waiting', have: 1, need: 2, waitedMs: 0 }]);
    driver.tell(1, ['b'], 5);
    expect(driver.lose(1, 6, { hasAnswered: true })).toEqual([
      { type: 'waiting', have: 0, need: 2, waitedMs: 0 },
    ]);
  });

  test('an aggregator that was wrong may return, to work alone like all that have been below it', () => {
    const driver = new Driver();
    driver.join(0, { instance: 'a' });
    driver.join(0, { instance: 'other' });
    driver.tell(1, ['b', 'c'], 1);
    driver.tell(1, ['c'], 2);
    expect(driver.ban(1, 3, 'a')).toEqual([
      {
        type: 'ban',
        worker: 1,
        name: 'worker 1 (host pid 1)',
        reason: 'lies',
        trustedSteps: 3,
        mayReturn: true,
      },
    ]);
    expect(driver.roster.banOf('a')).toBeUndefined();
    const names = ['a', 'b', 'c', 'other'];
    expect(names.map((name) => driver.roster.isDistrusted(name))).toEqual([true, true, true, false]);
    expect(driver.join(4, { instance: 'a' })).toEqual([{ type: 'admit', worker: 3 }]);
    expect(driver.ban(3, 5, 'a')).toMatchObject([{ type: 'ban', worker: 3, mayReturn: false }]);
    expect(driver.roster.banOf('a')).toBe('lies');
  });
});

describe('a worker that reconnects', () => {
  test('a worker that reconnects supersedes its old session', () => {
    const driver = new Driver();
    driver.join(0, { instance: 'seven' });
    expect(driver.join(1, { instance: 'seven' })).toEqual([
      { type: 'supersede', worker: 1 },
      { type: 'admit', worker: 2 },
    ]);
    expect(driver.lose(1, 2)).toEqual([]);
    expect(driver.roster.hasEnough).toBe(true);
  });

  test('a worker that reconnects does not count as two workers', () => {
    const driver = new Driver({ minWorkers: 2 });
    driver.join(0, { instance: 'seven' });
    driver.join(1, { instance: 'seven' });
    expect(driver.roster.hasEnough).toBe(false);
  });

  test('a worker that was banned is refused when it reconnects, and another with its host and process id is not', () => {
    const driver = new Driver();
    driver.join(0, { instance: 'seven' });
    driver.lose(1, 1);
    driver.join(2, { instance: 'seven' });
    const banned = {
      type: 'ban',
      worker: 2,
      name: 'worker 2 (host pid 1)',
      reason: 'lies',
      trustedSteps: 3,
      mayReturn: false,
    };
    expect(driver.ban(2, 3, 'seven')).toContainEqual(banned);
    expect(driver.roster.banOf('seven')).toBe('lies');
    expect(driver.roster.banOf('eight')).toBe(undefined);
    expect(driver.join(4, { instance: 'seven' })).toEqual([{ type: 'refuse', worker: 3, reason: 'lies' }]);
    expect(driver.ban(2, 5, 'seven')).toEqual([]);
  });

  test('a worker is refused after a ban even if more workers have joined since than are remembered', () => {
    const driver = new Driver();
    driver.join(0, { instance: 'old' });
    for (let count = 0; count < 10_000; count++) driver.join(0);
    expect(driver.ban(1, 1, 'old')).toMatchObject([{ type: 'ban', worker: 1, name: 'worker 1' }]);
    expect(driver.roster.banOf('old')).toBe('lies');
  });

  test('a banned worker no longer counts toward the minimum', () => {
    const driver = new Driver({ minWorkers: 2 });
    driver.join(0);
    driver.join(0);
    driver.ban(2, 1);
    expect(driver.roster.hasEnough).toBe(false);
  });

  test('a worker can be banned after its session has ended', () => {
    const driver = new Driver();
    driver.join(0);
    driver.lose(1, 1);
    expect(driver.ban(1, 2)).toMatchObject([{ type: 'ban', worker: 1 }]);
  });
});

describe('an address whose workers keep vanishing', () => {
  test('an address has to wait from the fourth vanished worker on, longer each time', () => {
    const driver = new Driver();
    driver.join(0, STEADY);
    driver.visit(3, 1);
    expect(driver.join(2)).toEqual([{ type: 'rest', worker: 5, restMs: 1_000, cause: 'vanishing' }]);
    expect(driver.tick(1_001)).toEqual([]);
    expect(driver.tick(1_002)).toEqual([{ type: 'admit', worker: 5 }]);
    driver.lose(5, 1_003);
    expect(driver.join(1_004)).toEqual([{ type: 'rest', worker: 6, restMs: 2_000, cause: 'vanishing' }]);
    expect(driver.join(1_005, { address: '10.0.0.3' })).toEqual([{ type: 'admit', worker: 7 }]);
  });

  test('an address whose workers vanish never waits longer than 30 s, and is forgiven after a minute', () => {
    const driver = new Driver();
    driver.join(0, STEADY);
    driver.visit(40, 1);
    expect(driver.join(2)).toEqual([{ type: 'rest', worker: 42, restMs: 30_000, cause: 'vanishing' }]);
    expect(driver.join(60_002)).toEqual([{ type: 'admit', worker: 43 }]);
  });

  test('an address whose workers vanish does not wait if its worker is needed', () => {
    const driver = new Driver();
    driver.visit(5, 0);
    expect(driver.join(1)).toEqual([{ type: 'admit', worker: 6 }]);
    driver.lose(6, 2);
    driver.join(3, STEADY);
    driver.join(4);
    expect(driver.lose(7, 5)).toContainEqual({ type: 'admit', worker: 8 });
  });

  test('an address is not blamed for lost workers that had delivered something', () => {
    const driver = new Driver();
    driver.join(0, STEADY);
    for (let count = 0; count < 6; count++) {
      const nowMs = count + 1;
      driver.join(nowMs);
      driver.lose(count + 2, nowMs, { hasAnswered: true });
    }
    expect(driver.join(9)).toEqual([{ type: 'admit', worker: 8 }]);
  });
});

describe('an address with a banned worker', () => {
  const rest = (worker: number, restMs: number): Step => ({
    type: 'rest',
    worker,
    restMs,
    cause: 'bans',
  });
  const admit = (worker: number): Step => ({ type: 'admit', worker });

  test('new workers from an address with a ban wait longer each time, but ten minutes at most', () => {
    const driver = new Driver();
    driver.join(0, STEADY);
    const waits = Array.from({ length: 12 }, (_, index) => {
      const [worker, nowMs] = [index + 2, index * 700_000];
      const [command] = driver.join(nowMs);
      driver.tick(nowMs + 600_000);
      driver.ban(worker, nowMs + 600_000);
      return command?.type === 'rest' ? (command.restMs ?? 0) / 1_000 : 0;
    });
    expect(waits).toEqual([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600]);
  });

  test('an address with a ban keeps its present workers, and readmits those that have delivered something', () => {
    const driver = new Driver();
    driver.join(0, STEADY);
    for (const instance of ['liar', 'sound', 'steady']) driver.join(1, { instance });
    driver.lose(3, 2, { hasAnswered: true });
    expect(driver.ban(2, 3, 'liar')).toHaveLength(1);
    expect(driver.join(4, { instance: 'sound' })).toEqual([admit(5)]);
    expect(driver.join(5, { instance: 'steady' })).toEqual([{ type: 'supersede', worker: 4 }, admit(6)]);
    expect(driver.join(6)).toEqual([rest(7, 1_000)]);
    expect(driver.join(7, STEADY)).toEqual([admit(8)]);
  });

  test('new workers from an address with a ban wait 10 s at most if they are needed', () => {
    const driver = new Driver();
    for (let worker = 1; worker <= 5; worker++) {
      driver.join(0);
      driver.tick(worker * 10_000);
      driver.ban(worker, worker * 10_000);
    }
    expect(driver.join(50_000)).toEqual([rest(6, 16_000)]);
    expect(driver.tick(59_999)).toEqual([]);
    expect(driver.tick(60_000)).toContainEqual(admit(6));
  });

  test('an address is forgiven an hour after its last ban', () => {
    const driver = new Driver();
    driver.join(0, STEADY);
    driver.join(0);
    driver.ban(2, 1_000);
    expect(driver.join(3_601_000)).toEqual([rest(3, 1_000)]);
    expect(driver.join(3_601_001)).toEqual([admit(4)]);
  });
});
