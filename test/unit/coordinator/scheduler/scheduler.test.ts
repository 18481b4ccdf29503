// Roster and rounds together: the order of commands when one event concerns both.
import { expect, test } from 'vitest';
import { Outcome } from '../../../../coordinator/scheduler/outcome.ts';
import { Scheduler } from '../../../../coordinator/scheduler/scheduler.ts';
import { stepsOf } from '../../../helpers/round-driver.ts';
import type { Step } from '../../../helpers/round-driver.ts';

/** A scheduler with shorthands for its events. */
class Driver {
  readonly scheduler: Scheduler;
  nowMs = 0;

  constructor(minWorkers = 1) {
    const audit = { share: 0, random: () => 0.5 };
    this.scheduler = new Scheduler({ minWorkers, waitMs: 1_000_000, audit }, 0);
  }

  join(worker: number, pid = worker): Step[] {
    const who = { instance: `instance ${pid}`, name: `worker ${worker}`, address: 'address' };
    return this.tell((outcome) => this.scheduler.addSession({ worker, ...who }, outcome));
  }

  lose(worker: number): Step[] {
    return this.tell((outcome) => this.scheduler.removeSession(worker, false, outcome));
  }

  start(numShards: number): Step[] {
    const plan = {
      kind: 'train',
      numBuckets: 1,
      shardRows: Array<number>(numShards).fill(1),
      step: 0,
    } as const;
    return this.tell((outcome) => this.scheduler.beginRound(plan, outcome));
  }

  answer(worker: number, task: number, index: number, isFinite: boolean): Step[] {
    const sum = { round: 1, task, node: { level: 0, index }, bucket: 0 };
    const digest = { digest: String(isFinite), isFinite };
    return this.tell((outcome) => this.scheduler.rounds.acceptSum(worker, sum, digest, outcome));
  }

  tell(event: (outcome: Outcome) => void): Step[] {
    const outcome = new Outcome(this.nowMs);
    event(outcome);
    return stepsOf(outcome);
  }
}

/** The types of commands, with their workers. */
function named(commands: readonly Step[]): string[] {
  return commands.map((command) =>
    'worker' in command ? `${command.type} ${Number(command['worker'])}` : command.type,
  );
}

test('a round waits for the minimum of workers, and begins with the one that completes it', () => {
  const driver = new Driver(2);
  driver.join(1);
  expect(driver.start(2)).toEqual([]);
  expect(named(driver.join(2))).toEqual(['admit 2', 'begin', 'assign 1', 'assign 2']);
});

test('a worker that joins a round gets its weights before its task', () => {
  const driver = new Driver();
  driver.join(1);
  driver.start(2);
  driver.lose(1);
  expect(named(driver.join(2))).toEqual(['admit 2', 'assign 2']);
});

test('a worker that reconnects gets the shards of its old session', () => {
  const driver = new Driver();
  driver.join(1, 7);
  driver.start(2);
  expect(named(driver.join(2, 7))).toEqual(['supersede 1', 'admit 2', 'assign 2']);
});

test('a liar that has reconnected is refused before the round restarts, and gets no task of it', () => {
  const driver = new Driver();
  driver.join(1);
  driver.join(2);
  driver.start(2);
  driver.answer(1, 1, 0, false);
  driver.lose(1);
  driver.join(3, 1);
  const settled = driver.tell((outcome) =>
    driver.scheduler.rounds.settle(1, { level: 0, index: 0 }, ['true'], outcome),
  );
  expect(named(settled)).toEqual(['ban 1', 'refuse 3', 'begin', 'assign 2']);
});

test('a lost worker gets nothing more, even if its loss ends the wait of another', () => {
  const driver = new Driver(2);
  driver.join(1);
  driver.join(2);
  for (let visitor = 3; visitor <= 5; visitor++) {
    driver.join(visitor);
    driver.lose(visitor);
  }
  expect(named(driver.join(6))).toEqual(['rest 6']);
  driver.start(4);
  expect(named(driver.lose(2))).toEqual(['admit 6', 'assign 1']);
});
