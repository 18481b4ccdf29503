// What the round machine does to be sure of sums: second witnesses, judgements, bans. Workers lie, and
// numbers overflow.
import { describe, expect, test } from 'vitest';
import { RoundDriver, SHARD, assign, ofType } from '../../../helpers/round-driver.ts';
import type { Step } from '../../../helpers/round-driver.ts';

/** Why a worker is banned that is wrong about shard 0. */
const reason = 'its gradient of shards 0 to 0 is wrong';

describe('an audit', () => {
  test('has another worker compute each sum before the round is complete', () => {
    const driver = new RoundDriver({ share: 1 });
    driver.start(2);
    const first = driver.answer(1, 1, SHARD(0));
    expect(ofType(first, 'assign')).toEqual([]);
    const second = driver.answer(2, 2, SHARD(1));
    expect(ofType(second, 'applyBucket')).toHaveLength(1);
    expect(ofType(second, 'assign')).toEqual([assign(2, 3, 0, 1), assign(1, 4, 1, 2)]);
    expect(driver.answer(2, 3, SHARD(0))).toEqual([]);
    expect(driver.answer(1, 4, SHARD(1))).toEqual([{ type: 'complete' }]);
  });

  test('asks for strong digests of what it looks at, and of nothing else', () => {
    const inspect = (share: number): unknown => {
      const driver = new RoundDriver({ workers: 1, share });
      driver.start(1);
      return driver.rounds.inspect(1, { round: 1, task: 1, node: SHARD(0), bucket: 0 });
    };
    expect([0, 0.4, 0.6, 1].map(inspect)).toEqual(['fast', 'fast', 'strong', 'strong']);
  });

  test('is done by the coordinator where there is no other process', () => {
    const driver = new RoundDriver({ workers: 0, share: 1 });
    driver.join(1, 'same');
    driver.join(2, 'same');
    driver.start(1);
    const judge = { type: 'judge', round: 1, node: SHARD(0), digest: 'strong' } as const;
    expect(driver.answer(1, 1, SHARD(0))).toContainEqual(judge);
    expect(driver.judged(SHARD(0))).toEqual([{ type: 'complete' }]);
  });

  test('does not take a sum that comes twice for two witnesses', () => {
    const driver = new RoundDriver({ share: 1 });
    driver.start(1);
    driver.answer(1, 1, SHARD(0));
    expect(driver.answer(1, 1, SHARD(0))).toEqual([]);
    expect(driver.answer(2, 2, SHARD(0))).toEqual([{ type: 'complete' }]);
  });

  test('does not ask a worker that failed on the shards', () => {
    const driver = new RoundDriver({ share: 1 });
    driver.start(1);
    driver.fail(1, 1);
    const commands = driver.answer(2, 2, SHARD(0));
    expect(ofType(commands, 'assign')).toEqual([]);
    expect(ofType(commands, 'judge')).toHaveLength(1);
  });

  test('is done by the coordinator where all others joined after the first answer, one after the other of which might hang', () => {
    const driver = new RoundDriver({ workers: 1, share: 1 });
    driver.start(1);
    driver.answer(1, 1, SHARD(0));
    driver.judged(SHARD(0));
    driver.nowMs = 1;
    const [task] = ofType(driver.start(1), 'assign') as [Step];
    for (const worker of [2, 3]) driver.join(worker);
    const commands = driver.answerAll(task, 1);
    expect(ofType(commands, 'assign')).toEqual([]);
    expect(ofType(commands, 'judge')).toHaveLength(1);
  });

  test('is done by the coordinator where the witness is late and no other has ever answered', () => {
    const driver = new RoundDriver({ workers: 3, share: 1 });
    driver.start(1);
    expect(driver.answer(1, 1, SHARD(0))).toContainEqual(assign(2, 2, 0, 1));
    driver.nowMs = 10_000;
    const commands = driver.tick();
    expect(ofType(commands, 'assign')).toEqual([]);
    expect(ofType(commands, 'judge')).toHaveLength(1);
  });

  test('waits for a witness that is busy and in time', () => {
    const driver = new RoundDriver({ share: 1 });
    driver.start(2);
    expect(ofType(driver.answer(1, 1, SHARD(0)), 'judge')).toEqual([]);
  });

  test('is done by the coordinator where the other worker is late', () => {
    const driver = new RoundDriver({ share: 1 });
    driver.start(1);
    expect(driver.answer(1, 1, SHARD(0))).toContainEqual(assign(2, 2, 0, 1));
    driver.nowMs = 10_000;
    expect(ofType(driver.tick(), 'judge')).toHaveLength(1);
  });
});

describe('two answers that differ', () => {
  const disagree = (): { driver: RoundDriver; commands: Step[] } => {
    const driver = new RoundDriver({ share: 1 });
    driver.start(1);
    driver.answer(1, 1, SHARD(0), 'one');
    return { driver, commands: driver.answer(2, 2, SHARD(0), 'other') };
  };
  test('are judged by the coordinator', () => {
    const { commands } = disagree();
    expect(commands).toEqual([{ type: 'judge', round: 1, node: SHARD(0), digest: 'strong' }]);
  });

  test('cost the liar its place, and the round begins again without it', () => {
    const { driver } = disagree();
    expect(driver.judged(SHARD(0), 'other')).toEqual([
      { type: 'ban', worker: 1, name: 'process 1', reason, trustedSteps: undefined },
      { type: 'begin', round: 2, again: 'a worker was wrong' },
      assign(2, 3, 0, 1),
    ]);
  });

  test('may both be wrong', () => {
    const { driver } = disagree();
    const bans = ofType(driver.judged(SHARD(0), 'truth'), 'ban');
    expect(bans.map((ban) => 'worker' in ban && ban.worker)).toEqual([1, 2]);
  });

  test('are found among copies too, without an audit', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(3);
    driver.answer(2, 2, SHARD(1));
    driver.nowMs = 10_000;
    expect(driver.tick()).toEqual([assign(2, 4, 0, 1), assign(2, 5, 2, 3)]);
    driver.answer(2, 4, SHARD(0), 'one');
    const judge = { type: 'judge', round: 1, node: SHARD(0), digest: 'fast' };
    expect(driver.answer(1, 1, SHARD(0), 'other')).toContainEqual(judge);
  });

  test('may come from one worker', () => {
    const driver = new RoundDriver();
    driver.start(2);
    driver.answer(1, 1, SHARD(0), 'one');
    expect(ofType(driver.answer(1, 1, SHARD(0), 'one'), 'judge')).toEqual([]);
    expect(ofType(driver.answer(1, 1, SHARD(0), 'other'), 'judge')).toHaveLength(1);
  });
});

describe('a liar', () => {
  test('loses every session of its process', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(3);
    driver.answer(1, 1, SHARD(0), 'NaN', false);
    driver.lose(1);
    driver.join(4, 'process 1');
    const commands = driver.judged(SHARD(0));
    expect(ofType(commands, 'ban').map((ban) => 'worker' in ban && ban.worker)).toEqual([1]);
    expect(ofType(commands, 'assign').map((task) => 'worker' in task && task.worker)).toEqual([2, 3]);
  });

  test('is found when it answers after the judgement, too', () => {
    const driver = new RoundDriver({ workers: 3, share: 1 });
    driver.start(2);
    expect(driver.answer(1, 1, SHARD(0))).toContainEqual(assign(3, 3, 0, 1));
    driver.nowMs = 10_000;
    expect(ofType(driver.tick(), 'judge')).toHaveLength(1);
    expect(ofType(driver.judged(SHARD(0)), 'ban')).toEqual([]);
    expect(driver.answer(3, 3, SHARD(0), 'other')).toContainEqual({
      type: 'ban',
      worker: 3,
      name: 'process 3',
      reason,
      trustedSteps: undefined,
    });
  });

  test('is not found by a judgement on another round', () => {
    const driver = new RoundDriver();
    driver.start(1);
    driver.answer(1, 1, SHARD(0), 'NaN', false);
    expect(driver.judged(SHARD(0), 'right', driver.round - 1)).toEqual([]);
  });

  test('does not have it forgotten who failed on which shards', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(1);
    driver.fail(1, 1);
    driver.answer(2, 2, SHARD(0), 'NaN', false);
    expect(ofType(driver.judged(SHARD(0)), 'assign')).toEqual([assign(3, 3, 0, 1)]);
  });

  test('leaves its work to the others, though all of them owe tasks of the round that is over', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(3);
    driver.answer(1, 1, SHARD(0), 'NaN', false);
    expect(ofType(driver.judged(SHARD(0)), 'assign')).toEqual([assign(2, 4, 0, 2), assign(3, 5, 2, 3)]);
  });

  test('after 15 others leaves the round to the coordinator, whoever else is there', () => {
    const driver = new RoundDriver({ workers: 0 });
    driver.start(2);
    const lie = (worker: number): Step[] => {
      const [given] = ofType(driver.join(worker), 'assign');
      driver.answer(worker, given?.task ?? 0, { level: 1, index: 0 }, 'NaN', false);
      return driver.judged({ level: 1, index: 0 });
    };
    for (let worker = 1; worker <= 15; worker++) expect(ofType(lie(worker), 'begin')).toHaveLength(1);
    expect(ofType(lie(16), 'assign')).toEqual([assign(0, 17, 0, 1), assign(0, 18, 1, 2)]);
    expect(driver.join(17)).toEqual([]);
    driver.answer(0, 17, SHARD(0));
    expect(ofType(driver.answer(0, 18, SHARD(1)), 'complete')).toHaveLength(1);
    expect(ofType(driver.start(2), 'assign')).toEqual([assign(17, 19, 0, 2)]);
  });

  test('ends the run only if the coordinator cannot compute that round either', () => {
    const driver = new RoundDriver({ workers: 0 });
    driver.start(1);
    for (let worker = 1; worker <= 16; worker++) {
      driver.join(worker);
      driver.answer(worker, worker, SHARD(0), 'NaN', false);
      driver.judged(SHARD(0));
    }
    const message = 'the round started 16 times: a worker was wrong; nor can the coordinator: trap';
    expect(driver.fail(0, 17)).toEqual([{ type: 'hopeless', from: 0, to: 1, cause: 'dishonest', message }]);
  });
});

describe('what a liar may have touched', () => {
  const trustedSteps = (commands: readonly Step[]): unknown =>
    ofType(commands, 'ban').map((ban) => 'trustedSteps' in ban && ban.trustedSteps);
  /** A step of one shard, which a worker answers. */
  const step = (driver: RoundDriver, worker: number): Step[] => {
    const [given] = ofType(driver.start(1), 'assign');
    expect(given?.worker).toBe(worker);
    return driver.answer(worker, given?.task ?? 0, SHARD(0));
  };
  /** The same, and it is a lie. */
  const lie = (driver: RoundDriver, worker: number): Step[] => {
    const [given] = ofType(driver.start(1), 'assign');
    driver.answer(worker, given?.task ?? 0, SHARD(0), 'NaN', false);
    return driver.judged(SHARD(0));
  };

  test('is nothing if it is caught in its first task, however many steps there were before it', () => {
    const driver = new RoundDriver({ workers: 1 });
    for (let count = 0; count < 5; count++) step(driver, 1);
    driver.lose(1);
    driver.join(2);
    expect(trustedSteps(lie(driver, 2))).toEqual([undefined]);
  });

  test('begins with its first sum, not with its joining', () => {
    const driver = new RoundDriver({ workers: 1 });
    for (let count = 0; count < 3; count++) step(driver, 1);
    driver.lose(1);
    driver.join(2);
    for (let count = 0; count < 3; count++) step(driver, 2);
    expect(trustedSteps(lie(driver, 2))).toEqual([3]);
  });

  test('is nothing where others have computed the same', () => {
    const driver = new RoundDriver({ share: 1 });
    for (let count = 0; count < 3; count++) {
      const [first] = ofType(driver.start(1), 'assign') as [Step];
      driver.answerAll(driver.answerAll(first, 1).find(({ type }) => type === 'assign') as Step, 1);
    }
    const [given] = ofType(driver.start(1), 'assign');
    const { worker = 0, task = 0 } = given ?? {};
    driver.answer(worker, task, SHARD(0), 'NaN', false);
    expect(trustedSteps(driver.judged(SHARD(0)))).toEqual([undefined]);
  });

  test('is nothing where the coordinator has computed the same', () => {
    const driver = new RoundDriver({ workers: 1, share: 1 });
    for (let count = 0; count < 3; count++) {
      step(driver, 1);
      driver.judged(SHARD(0));
    }
    expect(trustedSteps(lie(driver, 1))).toEqual([undefined]);
  });

  test('includes what came of an evaluation, which a checkpoint of the same step may hold', () => {
    const driver = new RoundDriver({ workers: 1 });
    for (let count = 0; count < 4; count++) step(driver, 1);
    driver.lose(1);
    driver.join(2);
    const [given] = ofType(driver.start(1, 'evaluate'), 'assign') as [Step];
    driver.answerAll(given, 1);
    expect(trustedSteps(lie(driver, 2))).toEqual([3]);
  });

  test('is what it gave since the run went back, once the rest is undone', () => {
    const driver = new RoundDriver({ workers: 1 });
    for (let count = 0; count < 5; count++) step(driver, 1);
    driver.step = 2;
    driver.lose(1);
    driver.join(2);
    for (let count = 0; count < 2; count++) step(driver, 2);
    driver.lose(2);
    driver.join(3, 'process 1');
    step(driver, 3);
    // Its sums of steps 1 and 2 stand, those of steps 3 to 5 are gone.
    expect(trustedSteps(lie(driver, 3))).toEqual([0]);
  });
});

describe('a sum that is not finite', () => {
  test('is judged before anything is done with it', () => {
    const driver = new RoundDriver();
    driver.start(1);
    const commands = driver.answer(1, 1, SHARD(0), 'NaN', false);
    expect(commands.map(({ type }) => type)).toEqual(['store', 'judge']);
  });

  test('is a real divergence if the coordinator finds it too', () => {
    const driver = new RoundDriver();
    driver.start(1);
    driver.answer(1, 1, SHARD(0), 'NaN', false);
    expect(driver.judged(SHARD(0), 'NaN')).toEqual([{ type: 'diverged' }]);
  });

  test('bans its worker if the coordinator does not', () => {
    const driver = new RoundDriver();
    driver.start(1);
    driver.answer(1, 1, SHARD(0), 'NaN', false);
    expect(ofType(driver.judged(SHARD(0)), 'ban')).toHaveLength(1);
  });

  test('puts all of its parts in doubt if those are finite', () => {
    const driver = new RoundDriver();
    driver.start(2);
    driver.answer(1, 1, SHARD(0), 'huge');
    driver.answer(2, 2, SHARD(1));
    expect(ofType(driver.doubtRound(), 'judge')).toHaveLength(2);
    expect(driver.judged(SHARD(1))).toEqual([]);
    expect(ofType(driver.judged(SHARD(0)), 'ban')).toHaveLength(1);
  });
});
