// Roster and rounds together: in what order the driver hears of what one event means to both.
import { expect, test } from 'vitest';
import { CoordinatorMachine } from '../../coordinator/scheduler/coordinator-machine.ts';
import type { MachineCommand } from '../../coordinator/scheduler/coordinator-machine.ts';

/** A machine, and short ways to tell it things. */
class Driver {
  readonly machine: CoordinatorMachine;
  nowMs = 0;

  constructor(minWorkers = 1) {
    const audit = { share: 0, random: () => 0.5 };
    this.machine = new CoordinatorMachine({ minWorkers, waitMs: 1_000_000, audit }, 0);
  }

  join(worker: number, pid = worker): MachineCommand[] {
    const who = { instance: `instance ${pid}`, name: `worker ${worker}`, address: 'address' };
    return this.machine.handle({ type: 'sessionReady', worker, ...who }, this.nowMs);
  }

  lose(worker: number): MachineCommand[] {
    return this.machine.handle({ type: 'sessionLost', worker, hasAnswered: false }, this.nowMs);
  }

  start(numShards: number): MachineCommand[] {
    const plan = {
      mode: 'sum',
      numBuckets: 1,
      shardRows: Array<number>(numShards).fill(1),
      step: 0,
    } as const;
    return this.machine.handle({ type: 'roundStarted', plan }, this.nowMs);
  }

  answer(worker: number, task: number, index: number, isFinite: boolean): MachineCommand[] {
    const sum = { round: 1, task, node: { level: 0, index }, bucket: 0 };
    const event = { type: 'sumReceived', worker, sum, digest: String(isFinite), isFinite } as const;
    return this.machine.handle(event, this.nowMs);
  }
}

/** What there is of commands, in order. */
function named(commands: readonly MachineCommand[]): string[] {
  return commands.map((command) =>
    'worker' in command ? `${command.type} ${command.worker}` : command.type,
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

test('a worker that comes back has the shards of its old session to compute', () => {
  const driver = new Driver();
  driver.join(1, 7);
  driver.start(2);
  expect(named(driver.join(2, 7))).toEqual(['supersede 1', 'admit 2', 'assign 2']);
});

test('a liar that has come back goes before the round begins again, and gets nothing of it', () => {
  const driver = new Driver();
  driver.join(1);
  driver.join(2);
  driver.start(2);
  driver.answer(1, 1, 0, false);
  driver.lose(1);
  driver.join(3, 1);
  const judged = { type: 'judged', round: 1, node: { level: 0, index: 0 }, digests: ['true'] } as const;
  expect(named(driver.machine.handle(judged, 0))).toEqual(['banned 1', 'refuse 3', 'begin', 'assign 2']);
});

test('a lost worker gets nothing more, though its loss ends the rest of another one', () => {
  const driver = new Driver(2);
  driver.join(1);
  driver.join(2);
  for (let visitor = 3; visitor <= 5; visitor++) {
    driver.join(visitor);
    driver.lose(visitor);
  }
  expect(named(driver.join(6))).toEqual(['rest 6']);
  driver.start(4);
  expect(named(driver.lose(2))).toEqual(['assign 1', 'admit 6']);
});
