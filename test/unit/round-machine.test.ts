// Single decisions of the round machine. What many of them come to together is tested in test/simulator.
import { describe, expect, test } from 'vitest';
import type { RoundCommand, RoundEvent } from '../../coordinator/machine/events.ts';
import { RoundMachine } from '../../coordinator/machine/round-machine.ts';
import { maximalNodes } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';

/** A machine with workers, and short ways to tell it things. */
class Driver {
  readonly machine: RoundMachine;
  nowMs = 0;
  round = 0;

  constructor({ workers = 2, share = 0 } = {}) {
    this.machine = new RoundMachine({ share, random: () => 0.5 });
    for (let worker = 1; worker <= workers; worker++) this.join(worker);
  }

  join(worker: number, process = `process ${worker}`): RoundCommand[] {
    return this.tell({ type: 'workerReady', worker, process, threads: 1 });
  }

  tell(event: RoundEvent): RoundCommand[] {
    const commands = this.machine.handle(event, this.nowMs);
    for (const command of commands) if (command.type === 'begin') this.round = command.round;
    return commands;
  }

  start(numLeaves: number, mode: 'sum' | 'collect' = 'sum'): RoundCommand[] {
    const leafRows = Array<number>(numLeaves).fill(4);
    return this.tell({ type: 'roundStarted', plan: { mode, numPieces: 1, leafRows } });
  }

  lose(worker: number): RoundCommand[] {
    return this.tell({ type: 'workerLost', worker, isPolite: false });
  }

  /** A worker sends a sum. */
  answer(worker: number, attempt: number, node: TreeNode, digest = 'right', isFinite = true): RoundCommand[] {
    const sum = { round: this.round, attempt, node, piece: 0 };
    return this.tell({ type: 'sumReceived', worker, sum, digest, isFinite });
  }

  /** A worker sends all sums of a range. */
  answerAll(command: RoundCommand, numLeaves: number): RoundCommand[] {
    if (command.type !== 'assign') throw new Error('not a range');
    const { worker, attempt, from, to } = command;
    return maximalNodes(from, to, numLeaves).flatMap((node) => this.answer(worker, attempt, node));
  }

  judged(node: TreeNode, digest = 'right'): RoundCommand[] {
    return this.tell({ type: 'judged', round: this.round, node, digests: [digest] });
  }
}

function assign(worker: number, attempt: number, from: number, to: number): RoundCommand {
  return { type: 'assign', worker, attempt, from, to };
}

const ofType = (commands: readonly RoundCommand[], type: RoundCommand['type']): RoundCommand[] =>
  commands.filter((command) => command.type === type);

const LEAF = (index: number): TreeNode => ({ level: 0, index });

describe('who computes what', () => {
  test('leaves of a lost worker go to the others at once', () => {
    const driver = new Driver();
    expect(driver.start(4)).toEqual([
      { type: 'begin', round: 1, again: undefined },
      assign(1, 1, 0, 2),
      assign(2, 2, 2, 4),
    ]);
    expect(driver.lose(2)).toEqual([assign(1, 3, 2, 4)]);
  });

  test('a late range goes to an idle worker too, and to one only', () => {
    const driver = new Driver({ workers: 3 });
    driver.start(3);
    driver.nowMs = 30;
    driver.answer(1, 1, LEAF(0));
    driver.answer(2, 2, LEAF(1));
    // 30 ms for a leaf: late is 100 ms.
    driver.nowMs = 90;
    expect(driver.tell({ type: 'tick' })).toEqual([]);
    driver.nowMs = 110;
    expect(driver.tell({ type: 'tick' })).toEqual([assign(1, 4, 2, 3)]);
    expect(driver.tell({ type: 'tick' })).toEqual([]);
    const node = { level: 1, index: 1 };
    expect(ofType(driver.answer(1, 4, node), 'roundCompleted')).toHaveLength(1);
    // The straggler's answer comes after all: nothing is to be done with it.
    expect(driver.answer(3, 3, node)).toEqual([]);
  });

  test('a worker that still owes a range gets nothing more until it reports', () => {
    const driver = new Driver();
    driver.start(2);
    driver.nowMs = 10;
    driver.answer(1, 1, LEAF(0));
    driver.nowMs = 1_000;
    expect(driver.tell({ type: 'tick' })).toEqual([assign(1, 3, 1, 2)]);
    driver.answer(1, 3, LEAF(1));
    expect(driver.start(2)).toContainEqual(assign(1, 4, 0, 2));
    driver.tell({ type: 'rangeFinished', worker: 2, round: 1, attempt: 2, computeMs: 0 });
    expect(driver.start(2)).toContainEqual(assign(2, 5, 0, 2));
  });

  test('a worker that reports on a late copy between two rounds is asked again in the next', () => {
    const driver = new Driver();
    driver.start(2);
    driver.nowMs = 10;
    driver.answer(1, 1, LEAF(0));
    driver.nowMs = 1_000;
    driver.tell({ type: 'tick' });
    driver.answer(1, 3, LEAF(1));
    driver.tell({ type: 'rangeFinished', worker: 2, round: 1, attempt: 2, computeMs: 990 });
    expect(
      ofType(driver.start(8), 'assign').map((command) => 'worker' in command && command.worker),
    ).toContain(1);
    driver.nowMs = 10_000;
    expect(driver.lose(1)).toContainEqual(assign(2, 5, 0, 8));
  });

  test('a worker of a tenth of the speed gets a tenth of the leaves', () => {
    const driver = new Driver();
    const sizes = (): Map<number, number> => {
      const given = ofType(driver.start(64), 'assign') as Extract<RoundCommand, { type: 'assign' }>[];
      const all = new Map(given.map(({ worker, from, to }) => [worker, to - from]));
      const startMs = driver.nowMs;
      for (const command of given.sort((a, b) => a.worker - b.worker)) {
        driver.nowMs = startMs + (command.to - command.from) * (command.worker === 1 ? 1 : 10);
        driver.answerAll(command, 64);
      }
      return all;
    };
    for (let warmUp = 0; warmUp < 4; warmUp++) sizes();
    expect(sizes().get(2)).toBeGreaterThanOrEqual(4);
    expect(sizes().get(2)).toBeLessThanOrEqual(7);
  });

  test('a worker that is too slow for a single leaf gets a copy of one now and then', () => {
    const driver = new Driver();
    driver.start(2);
    driver.nowMs = 1;
    driver.answer(1, 1, LEAF(0));
    driver.nowMs = 90;
    driver.answer(2, 2, LEAF(1));
    expect(driver.start(2)).toEqual([{ type: 'begin', round: 2, again: undefined }, assign(1, 3, 0, 2)]);
    driver.answer(1, 3, { level: 1, index: 0 });
    driver.nowMs = 5_000;
    expect(driver.start(2)).toContainEqual(assign(2, 5, 1, 2));
  });
});

describe('who breaks the protocol', () => {
  test('is evicted for finishing a range without its sums', () => {
    const driver = new Driver({ workers: 1 });
    driver.start(1);
    const reason = 'finished a range without sending all of its sums';
    const finished = { type: 'rangeFinished', worker: 1, round: 1, attempt: 1, computeMs: 1 } as const;
    expect(driver.tell(finished)).toEqual([{ type: 'evict', worker: 1, reason }]);
  });

  test('is evicted for a sum outside its range, or of no tree', () => {
    const driver = new Driver();
    driver.start(2);
    const evict = (reason: string): RoundCommand[] => [{ type: 'evict', worker: 1, reason }];
    expect(driver.answer(1, 1, LEAF(1))).toEqual(evict('sent a sum it was not asked for'));
    expect(driver.answer(1, 1, { level: 5, index: 7 })).toEqual(evict('sent a sum that does not exist'));
  });

  test('is not evicted for sending a sum twice', () => {
    const driver = new Driver({ workers: 1 });
    driver.start(3);
    driver.answer(1, 1, { level: 2, index: 0 });
    expect(driver.answer(1, 1, { level: 2, index: 0 })).toEqual([]);
  });
});

describe('an audit', () => {
  test('has another worker compute each sum before the round is complete', () => {
    const driver = new Driver({ share: 1 });
    driver.start(2);
    const first = driver.answer(1, 1, LEAF(0));
    expect(ofType(first, 'assign')).toEqual([]);
    const second = driver.answer(2, 2, LEAF(1));
    expect(ofType(second, 'pieceCompleted')).toHaveLength(1);
    expect(ofType(second, 'assign')).toEqual([assign(2, 3, 0, 1), assign(1, 4, 1, 2)]);
    expect(driver.answer(2, 3, LEAF(0))).toEqual([]);
    expect(driver.answer(1, 4, LEAF(1))).toEqual([{ type: 'roundCompleted', round: 1 }]);
  });

  test('asks for strong digests of what it looks at, and of nothing else', () => {
    const inspect = (share: number): unknown => {
      const driver = new Driver({ workers: 1, share });
      driver.start(1);
      return driver.machine.inspect(1, { round: 1, attempt: 1, node: LEAF(0), piece: 0 });
    };
    expect([0, 0.4, 0.6, 1].map(inspect)).toEqual(['fast', 'fast', 'strong', 'strong']);
  });

  test('is done by the coordinator where there is no other process', () => {
    const driver = new Driver({ workers: 0, share: 1 });
    driver.join(1, 'same');
    driver.join(2, 'same');
    driver.start(1);
    const judge = { type: 'judge', round: 1, node: LEAF(0), digest: 'strong' } as const;
    expect(driver.answer(1, 1, LEAF(0))).toContainEqual(judge);
    expect(driver.judged(LEAF(0))).toEqual([{ type: 'roundCompleted', round: 1 }]);
  });

  test('is done by the coordinator where the other worker is late', () => {
    const driver = new Driver({ share: 1 });
    driver.start(1);
    expect(driver.answer(1, 1, LEAF(0))).toContainEqual(assign(2, 2, 0, 1));
    driver.nowMs = 10_000;
    expect(ofType(driver.tell({ type: 'tick' }), 'judge')).toHaveLength(1);
  });
});

describe('two answers that differ', () => {
  const disagree = (): { driver: Driver; commands: RoundCommand[] } => {
    const driver = new Driver({ share: 1 });
    driver.start(1);
    driver.answer(1, 1, LEAF(0), 'one');
    return { driver, commands: driver.answer(2, 2, LEAF(0), 'other') };
  };
  const reason = 'its gradient of shards 0 to 0 is not what they give';

  test('are judged by the coordinator', () => {
    const { commands } = disagree();
    expect(commands).toEqual([{ type: 'judge', round: 1, node: LEAF(0), digest: 'strong' }]);
  });

  test('cost the liar its place, and the round begins again without it', () => {
    const { driver } = disagree();
    expect(driver.judged(LEAF(0), 'other')).toEqual([
      { type: 'ban', worker: 1, reason },
      { type: 'begin', round: 2, again: 'a worker was wrong' },
      assign(2, 3, 0, 1),
    ]);
  });

  test('may both be wrong', () => {
    const { driver } = disagree();
    const bans = ofType(driver.judged(LEAF(0), 'truth'), 'ban');
    expect(bans.map((ban) => 'worker' in ban && ban.worker)).toEqual([1, 2]);
  });

  test('are found among copies too, without an audit', () => {
    const driver = new Driver({ workers: 3 });
    driver.start(3);
    driver.answer(2, 2, LEAF(1));
    driver.nowMs = 10_000;
    expect(driver.tell({ type: 'tick' })).toEqual([assign(2, 4, 0, 1), assign(2, 5, 2, 3)]);
    driver.answer(2, 4, LEAF(0), 'one');
    const judge = { type: 'judge', round: 1, node: LEAF(0), digest: 'fast' };
    expect(driver.answer(1, 1, LEAF(0), 'other')).toContainEqual(judge);
  });

  test('may come from one worker', () => {
    const driver = new Driver();
    driver.start(2);
    driver.answer(1, 1, LEAF(0), 'one');
    expect(ofType(driver.answer(1, 1, LEAF(0), 'one'), 'judge')).toEqual([]);
    expect(ofType(driver.answer(1, 1, LEAF(0), 'other'), 'judge')).toHaveLength(1);
  });
});

describe('a sum that is not finite', () => {
  test('is judged before anything is done with it', () => {
    const driver = new Driver();
    driver.start(1);
    const commands = driver.answer(1, 1, LEAF(0), 'NaN', false);
    expect(commands.map(({ type }) => type)).toEqual(['store', 'judge']);
  });

  test('is a real divergence if the coordinator finds it too', () => {
    const driver = new Driver();
    driver.start(1);
    driver.answer(1, 1, LEAF(0), 'NaN', false);
    expect(driver.judged(LEAF(0), 'NaN')).toEqual([{ type: 'diverged' }]);
  });

  test('bans its worker if the coordinator does not', () => {
    const driver = new Driver();
    driver.start(1);
    driver.answer(1, 1, LEAF(0), 'NaN', false);
    expect(ofType(driver.judged(LEAF(0)), 'ban')).toHaveLength(1);
  });

  test('puts all of its parts in doubt if those are finite', () => {
    const driver = new Driver();
    driver.start(2);
    driver.answer(1, 1, LEAF(0), 'huge');
    driver.answer(2, 2, LEAF(1));
    expect(ofType(driver.tell({ type: 'sumNotFinite', round: 1 }), 'judge')).toHaveLength(2);
    expect(driver.judged(LEAF(1))).toEqual([]);
    expect(ofType(driver.judged(LEAF(0)), 'ban')).toHaveLength(1);
  });
});

describe('leaves that nobody can compute', () => {
  const fail = (driver: Driver, worker: number, attempt: number, isOutOfMemory = false): RoundCommand[] => {
    const { round } = driver;
    return driver.tell({ type: 'rangeFailed', worker, round, attempt, message: 'trap', isOutOfMemory });
  };

  test('are given up when three different workers failed on them', () => {
    const driver = new Driver({ workers: 3 });
    driver.start(1);
    expect(fail(driver, 1, 1)).toEqual([assign(2, 2, 0, 1)]);
    expect(fail(driver, 2, 2)).toEqual([assign(3, 3, 0, 1)]);
    expect(fail(driver, 3, 3)).toEqual([
      { type: 'giveUp', from: 0, to: 1, cause: 'failed', message: 'trap' },
    ]);
  });

  test('are given up when the only worker failed three times', () => {
    const driver = new Driver({ workers: 1 });
    driver.start(1);
    expect(fail(driver, 1, 1)).toEqual([assign(1, 2, 0, 1)]);
    expect(fail(driver, 1, 2)).toEqual([assign(1, 3, 0, 1)]);
    expect(ofType(fail(driver, 1, 3), 'giveUp')).toHaveLength(1);
  });

  test('are given up at the second lack of memory, naming the leaf that both had', () => {
    const driver = new Driver({ workers: 3 });
    driver.start(6);
    driver.lose(1);
    expect(driver.tell({ type: 'outOfMemory', process: 'process 1' })).toEqual([]);
    expect(ofType(fail(driver, 2, 4, true), 'giveUp')).toEqual([
      { type: 'giveUp', from: 0, to: 1, cause: 'outOfMemory', message: 'trap' },
    ]);
  });

  test('are given up when eight processes were lost with them, but not for one that comes and goes', () => {
    const driver = new Driver({ workers: 0 });
    driver.start(1);
    for (let worker = 1; worker <= 20; worker++) {
      driver.join(worker, 'the same');
      expect(driver.lose(worker)).toEqual([]);
    }
    for (let worker = 21; worker <= 26; worker++) {
      driver.join(worker);
      expect(driver.lose(worker)).toEqual([]);
    }
    driver.join(27);
    expect(driver.lose(27)).toEqual([
      { type: 'giveUp', from: 0, to: 1, cause: 'lost', message: '8 workers were lost while they had them' },
    ]);
  });
});
