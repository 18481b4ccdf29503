// The measures by which the round scheduler makes sure of sums: second witnesses, judgements, bans.
// Workers lie, and numbers overflow.
import { describe, expect, test } from 'vitest';
import { RoundDriver, SHARD, assign, ofType } from '../../../helpers/round-driver.ts';
import type { Step } from '../../../helpers/round-driver.ts';

/** The reason for banning a worker that is wrong about shard 0. */
const reason = 'its gradient of shards 0 to 0 is wrong';

describe('an audit', () => {
  test('an audit has another worker compute each sum before the round is complete', () => {
    const driver = new RoundDriver({ share: 1 });
    driver.start(2);
    const first = driver.answer(1, 1, SHARD(0));
    expect(ofType(first, 'assign')).toEqual([]);
    const second = driver.answer(2, 2, SHARD(1));
    expect(ofType(second, 'passOn')).toHaveLength(1);
    expect(ofType(second, 'assign')).toEqual([assign(2, 3, 0, 1), assign(1, 4, 1, 2)]);
    expect(driver.answer(2, 3, SHARD(0))).toEqual([]);
    expect(driver.answer(1, 4, SHARD(1))).toEqual([{ type: 'complete' }]);
  });

  test('an audit asks for strong digests of the sums that it inspects, and of no others', () => {
    const inspect = (share: number): unknown => {
      const driver = new RoundDriver({ workers: 1, share });
      driver.start(1);
      return driver.rounds.inspect(1, { round: 1, task: 1, node: SHARD(0), bucket: 0 });
    };
    expect([0, 0.4, 0.6, 1].map(inspect)).toEqual(['fast', 'fast', 'strong', 'strong']);
  });

  test('the coordinator does the audit if there is no other process', () => {
    const driver = new RoundDriver({ workers: 0, share: 1 });
    driver.join(1, 'same');
    driver.join(2, 'same');
    driver.start(1);
    const judge = { type: 'judge', round: 1, node: SHARD(0), digestKind: 'strong' } as const;
    expect(driver.answer(1, 1, SHARD(0))).toContainEqual(judge);
    expect(driver.judged(SHARD(0))).toEqual([{ type: 'complete' }]);
  });

  test('a sum that one worker sends twice does not count as two witnesses', () => {
    const driver = new RoundDriver({ share: 1 });
    driver.start(1);
    driver.answer(1, 1, SHARD(0));
    expect(driver.answer(1, 1, SHARD(0))).toEqual([]);
    expect(driver.answer(2, 2, SHARD(0))).toEqual([{ type: 'complete' }]);
  });

  test('an audit never asks a worker that failed on the shards', () => {
    const driver = new RoundDriver({ share: 1 });
    driver.start(1);
    driver.fail(1, 1);
    const commands = driver.answer(2, 2, SHARD(0));
    expect(ofType(commands, 'assign')).toEqual([]);
    expect(ofType(commands, 'judge')).toHaveLength(1);
  });

  test('the coordinator does the audit if every other worker joined after the first sum and is unproven', () => {
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

  test('the coordinator does the audit if the witness is late and no other worker has ever delivered', () => {
    const driver = new RoundDriver({ workers: 3, share: 1 });
    driver.start(1);
    expect(driver.answer(1, 1, SHARD(0))).toContainEqual(assign(2, 2, 0, 1));
    driver.nowMs = 10_000;
    const commands = driver.tick();
    expect(ofType(commands, 'assign')).toEqual([]);
    expect(ofType(commands, 'judge')).toHaveLength(1);
  });

  test('an audit waits for a witness that is busy but in time', () => {
    const driver = new RoundDriver({ share: 1 });
    driver.start(2);
    expect(ofType(driver.answer(1, 1, SHARD(0)), 'judge')).toEqual([]);
  });

  test('the coordinator does the audit if the only other worker is late', () => {
    const driver = new RoundDriver({ share: 1 });
    driver.start(1);
    expect(driver.answer(1, 1, SHARD(0))).toContainEqual(assign(2, 2, 0, 1));
    driver.nowMs = 10_000;
    expect(ofType(driver.tick(), 'judge')).toHaveLength(1);
  });
});

describe('two sums that differ', () => {
  const disagree = (): { driver: RoundDriver; commands: Step[] } => {
    const driver = new RoundDriver({ share: 1 });
    driver.start(1);
    driver.answer(1, 1, SHARD(0), 'one');
    return { driver, commands: driver.answer(2, 2, SHARD(0), 'other') };
  };
  test('the coordinator judges two sums that differ', () => {
    const { commands } = disagree();
    expect(commands).toEqual([{ type: 'judge', round: 1, node: SHARD(0), digestKind: 'strong' }]);
  });

  test('the liar of two differing sums is banned, and the round restarts without it', () => {
    const { driver } = disagree();
    expect(driver.judged(SHARD(0), 'other')).toEqual([
      { type: 'ban', worker: 1, name: 'process 1', reason, trustedSteps: undefined },
      { type: 'begin', round: 2, again: 'a worker was wrong' },
      assign(2, 3, 0, 1),
    ]);
  });

  test('both workers are banned if both of two differing sums are wrong', () => {
    const { driver } = disagree();
    const bans = ofType(driver.judged(SHARD(0), 'truth'), 'ban');
    expect(bans.map((ban) => 'worker' in ban && ban.worker)).toEqual([1, 2]);
  });

  test('differing sums are found among copies too, without an audit', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(3);
    driver.answer(2, 2, SHARD(1));
    driver.nowMs = 10_000;
    expect(driver.tick()).toEqual([assign(2, 4, 0, 1), assign(2, 5, 2, 3)]);
    driver.answer(2, 4, SHARD(0), 'one');
    const judge = { type: 'judge', round: 1, node: SHARD(0), digestKind: 'fast' };
    expect(driver.answer(1, 1, SHARD(0), 'other')).toContainEqual(judge);
  });

  test('differing sums from one worker are judged as well', () => {
    const driver = new RoundDriver();
    driver.start(2);
    driver.answer(1, 1, SHARD(0), 'one');
    expect(ofType(driver.answer(1, 1, SHARD(0), 'one'), 'judge')).toEqual([]);
    expect(ofType(driver.answer(1, 1, SHARD(0), 'other'), 'judge')).toHaveLength(1);
  });
});

describe('a liar', () => {
  test('a liar loses every session of its process', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(3);
    driver.answer(1, 1, SHARD(0), 'NaN', false);
    driver.lose(1);
    driver.join(4, 'process 1');
    const commands = driver.judged(SHARD(0));
    expect(ofType(commands, 'ban').map((ban) => 'worker' in ban && ban.worker)).toEqual([1]);
    expect(ofType(commands, 'assign').map((task) => 'worker' in task && task.worker)).toEqual([2, 3]);
  });

  test('a liar is also found when its sum arrives after the judgement', () => {
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

  test('a judgement of another round finds no liar', () => {
    const driver = new RoundDriver();
    driver.start(1);
    driver.answer(1, 1, SHARD(0), 'NaN', false);
    expect(driver.judged(SHARD(0), 'right', driver.round - 1)).toEqual([]);
  });

  test('a restart after a lie does not forget which workers failed on which shards', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(1);
    driver.fail(1, 1);
    driver.answer(2, 2, SHARD(0), 'NaN', false);
    expect(ofType(driver.judged(SHARD(0)), 'assign')).toEqual([assign(3, 3, 0, 1)]);
  });

  test('the tasks of a liar are given to the other workers, even if they still owe tasks of the round that is over', () => {
    const driver = new RoundDriver({ workers: 3 });
    driver.start(3);
    driver.answer(1, 1, SHARD(0), 'NaN', false);
    expect(ofType(driver.judged(SHARD(0)), 'assign')).toEqual([assign(2, 4, 0, 2), assign(3, 5, 2, 3)]);
  });

  test('the coordinator computes a round that 16 liars have spoilt, even if another worker joins', () => {
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

  test('a round that 16 liars have spoilt ends the run only if the coordinator cannot compute it either', () => {
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

describe('trusted steps of a liar', () => {
  const trustedSteps = (commands: readonly Step[]): unknown =>
    ofType(commands, 'ban').map((ban) => 'trustedSteps' in ban && ban.trustedSteps);
  /** A step of one shard, whose sum a worker sends. */
  const step = (driver: RoundDriver, worker: number): Step[] => {
    const [given] = ofType(driver.start(1), 'assign');
    expect(given?.worker).toBe(worker);
    return driver.answer(worker, given?.task ?? 0, SHARD(0));
  };
  /** A step of one shard, about which a worker lies. */
  const lie = (driver: RoundDriver, worker: number): Step[] => {
    const [given] = ofType(driver.start(1), 'assign');
    driver.answer(worker, given?.task ?? 0, SHARD(0), 'NaN', false);
    return driver.judged(SHARD(0));
  };

  test('no step is in doubt if the liar is caught in its first task, however many steps came before', () => {
    const driver = new RoundDriver({ workers: 1 });
    for (let count = 0; count < 5; count++) step(driver, 1);
    driver.lose(1);
    driver.join(2);
    expect(trustedSteps(lie(driver, 2))).toEqual([undefined]);
  });

  test('the steps in doubt begin with the first sum of the liar, not with its joining', () => {
    const driver = new RoundDriver({ workers: 1 });
    for (let count = 0; count < 3; count++) step(driver, 1);
    driver.lose(1);
    driver.join(2);
    for (let count = 0; count < 3; count++) step(driver, 2);
    expect(trustedSteps(lie(driver, 2))).toEqual([3]);
  });

  test('no step is in doubt if other workers have computed the same sums', () => {
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

  test('no step is in doubt if the coordinator has computed the same sums', () => {
    const driver = new RoundDriver({ workers: 1, share: 1 });
    for (let count = 0; count < 3; count++) {
      step(driver, 1);
      driver.judged(SHARD(0));
    }
    expect(trustedSteps(lie(driver, 1))).toEqual([undefined]);
  });

  test('a sum of an evaluation puts its step in doubt, because a checkpoint of that step may hold the result', () => {
    const driver = new RoundDriver({ workers: 1 });
    for (let count = 0; count < 4; count++) step(driver, 1);
    driver.lose(1);
    driver.join(2);
    const [given] = ofType(driver.start(1, 'evaluate'), 'assign') as [Step];
    driver.answerAll(given, 1);
    expect(trustedSteps(lie(driver, 2))).toEqual([3]);
  });

  test('only sums that still stand are in doubt after a run has gone back to an earlier step', () => {
    const driver = new RoundDriver({ workers: 1 });
    for (let count = 0; count < 5; count++) step(driver, 1);
    driver.step = 2;
    driver.lose(1);
    driver.join(2);
    for (let count = 0; count < 2; count++) step(driver, 2);
    driver.lose(2);
    driver.join(3, 'process 1');
    step(driver, 3);
    // Its sums of the first two steps stand; those of the next three are undone.
    expect(trustedSteps(lie(driver, 3))).toEqual([0]);
  });
});

describe('a sum that is not finite', () => {
  test('a sum that is not finite is judged before anything is done with it', () => {
    const driver = new RoundDriver();
    driver.start(1);
    const commands = driver.answer(1, 1, SHARD(0), 'NaN', false);
    expect(commands.map(({ type }) => type)).toEqual(['store', 'judge']);
  });

  test('a sum that is not finite is a real divergence if the coordinator also finds it', () => {
    const driver = new RoundDriver();
    driver.start(1);
    driver.answer(1, 1, SHARD(0), 'NaN', false);
    expect(driver.judged(SHARD(0), 'NaN')).toEqual([{ type: 'diverged' }]);
  });

  test('a sum that is not finite bans its worker if the coordinator finds a finite one', () => {
    const driver = new RoundDriver();
    driver.start(1);
    driver.answer(1, 1, SHARD(0), 'NaN', false);
    expect(ofType(driver.judged(SHARD(0)), 'ban')).toHaveLength(1);
  });

  test('every finite part of a sum that is not finite is judged', () => {
    const driver = new RoundDriver();
    driver.start(2);
    driver.answer(1, 1, SHARD(0), 'huge');
    driver.answer(2, 2, SHARD(1));
    expect(ofType(driver.doubtRound(), 'judge')).toHaveLength(2);
    expect(driver.judged(SHARD(1))).toEqual([]);
    expect(ofType(driver.judged(SHARD(0)), 'ban')).toHaveLength(1);
  });
});
