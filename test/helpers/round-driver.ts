// Drives a round scheduler through its events, without a socket or a clock, and lists the actions that it
// requests.
import { Outcome, carryOut } from '../../coordinator/scheduler/outcome.ts';
import type {
  BannedWorker,
  MembershipDriver,
  RoundDriver as Driver,
  RoundFailure,
  SumName,
  TaskName,
} from '../../coordinator/scheduler/outcome.ts';
import { RoundScheduler } from '../../coordinator/scheduler/round-scheduler.ts';
import { maximalNodes } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';

type Fields = Readonly<Record<string, unknown>>;

/** One action that an outcome requests; the type is its name. */
export interface Step extends Fields {
  readonly type: string;
  readonly worker?: number;
  readonly task?: number;
  readonly from?: number;
  readonly to?: number;
  readonly restMs?: number;
}

/** The steps of an outcome, in the order in which they are carried out. */
export function stepsOf(outcome: Outcome): Step[] {
  const steps: Step[] = [];
  const note = (type: string, fields: Fields = {}): void => void steps.push({ type, ...fields });
  const members: MembershipDriver = {
    supersede: (worker) => note('supersede', { worker }),
    ban: (worker: BannedWorker) => note('ban', { ...worker }),
    refuse: (worker) => note('refuse', { ...worker }),
    evict: (worker) => note('evict', { ...worker }),
    evictStuck: (worker) => note('stuck', { ...worker }),
    warnOverdue: (worker) => note('overdue', { ...worker }),
    admit: (worker) => note('admit', { worker }),
    rest: (worker) => note('rest', { ...worker }),
    finishGathering: () => note('gathered'),
  };
  const round: Driver = {
    begin: (number, again) => note('begin', { round: number, again }),
    merge: (bucket, merge) => note('merge', { bucket, ...merge }),
    free: (slot) => note('free', { slot }),
    passOn: (bucket, slot) => {
      note('passOn', { bucket, slot });
      return true;
    },
    sendTask: ({ id: task, worker, from, to }) => note('assign', { worker, task, from, to }),
    judge: (node) => note('judge', { ...node }),
    completeRound: () => note('complete'),
    warnShortage: (shortage) => note('waiting', { ...shortage }),
    endRound: (failure: RoundFailure) => note(failure.type, { ...failure }),
  };
  if (outcome.sum) note('store', { slot: outcome.sum.slot });
  carryOut(outcome, members, round);
  return steps;
}

/** A round scheduler with workers, and short methods for its events. */
export class RoundDriver {
  readonly rounds: RoundScheduler;
  nowMs = 0;
  round = 0;
  /** The last task that each worker mentioned. */
  readonly #last = new Map<number, TaskName>();
  /** Steps that have begun. */
  step = 0;

  constructor({ workers = 2, share = 0, maxSums = Infinity, maxSumsOfTask = Infinity } = {}) {
    const room = { here: maxSums, ofTask: maxSumsOfTask };
    const policy = { share, random: () => 0.5 };
    this.rounds = new RoundScheduler(policy, room, ({ instance, ...offender }, outcome) =>
      outcome.banned.push({ ...offender, name: instance, mayReturn: false }),
    );
    for (let worker = 1; worker <= workers; worker++) this.join(worker);
  }

  join(worker: number, instance = `process ${worker}`): Step[] {
    return this.#tell((outcome) => this.rounds.addWorker(worker, instance, outcome));
  }

  /** Begins the next step, or an evaluation after it. */
  start(numShards: number, kind: 'train' | 'evaluate' = 'train'): Step[] {
    const shardRows = Array<number>(numShards).fill(4);
    const step = kind === 'train' ? this.step++ : this.step;
    const plan = { kind, numBuckets: 1, shardRows, step };
    return this.#tell((outcome) => this.rounds.begin(plan, outcome));
  }

  lose(worker: number): Step[] {
    return this.#tell((outcome) => this.rounds.removeWorker(worker, outcome));
  }

  tick(): Step[] {
    return this.#tell((outcome) => this.rounds.tick(outcome));
  }

  /** A worker sends a sum, once it has reported on its previous task. */
  answer(worker: number, task: number, node: TreeNode, digest = 'right', isFinite = true): Step[] {
    const reported = this.#reportLast(worker, task);
    this.#last.set(worker, { round: this.round, task });
    const sum = { round: this.round, task, node, bucket: 0 };
    const isWanted = this.rounds.inspect(worker, sum) !== undefined;
    return [...reported, ...(isWanted ? this.accept(worker, sum, digest, isFinite) : this.drop(worker, sum))];
  }

  accept(worker: number, sum: SumName, digest = 'right', isFinite = true): Step[] {
    return this.#tell((outcome) => this.rounds.acceptSum(worker, sum, { digest, isFinite }, outcome));
  }

  drop(worker: number, sum: SumName): Step[] {
    return this.#tell((outcome) => this.rounds.dropSum(worker, sum, outcome));
  }

  /** A worker says that it is done with a task. */
  finish(worker: number, task: number, round = this.round): Step[] {
    const reported = this.#reportLast(worker, task);
    this.#last.delete(worker);
    return [...reported, ...this.report(worker, { round, task })];
  }

  report(worker: number, name: TaskName): Step[] {
    return this.#tell((outcome) => this.rounds.finishTask(worker, name, outcome));
  }

  /** A worker says that it cannot compute a task. */
  fail(worker: number, task: number, { isOutOfMemory = false, round = this.round } = {}): Step[] {
    const failure = { message: 'trap', isOutOfMemory };
    return this.#tell((outcome) => this.rounds.failTask(worker, { round, task }, failure, outcome));
  }

  runOutOfMemory(instance: string): Step[] {
    return this.#tell((outcome) => this.rounds.noteOutOfMemory(instance, outcome));
  }

  /**
   * The first step, of two shards: worker 1 computes that of worker 2 as well, which owes its task 2 from
   * then on.
   */
  endWithoutSecond(): void {
    this.start(2);
    this.nowMs = 10;
    this.answer(1, 1, SHARD(0));
    this.nowMs = 1_000;
    this.tick();
    this.answer(1, 3, SHARD(1));
  }

  /** A worker sends all sums of a task. */
  answerAll({ type, worker, task, from, to }: Step, numShards: number): Step[] {
    if (type !== 'assign') throw new Error('not a task');
    return maximalNodes(from as number, to as number, numShards).flatMap((node) =>
      this.answer(worker as number, task as number, node),
    );
  }

  judged(node: TreeNode, digest = 'right', round = this.round): Step[] {
    return this.#tell((outcome) => this.rounds.settle(round, node, [digest], outcome));
  }

  doubtRound(): Step[] {
    return this.#tell((outcome) => this.rounds.doubtRound(this.round, outcome));
  }

  #reportLast(worker: number, task: number): Step[] {
    const last = this.#last.get(worker);
    return !last || last.task === task ? [] : this.report(worker, last);
  }

  #tell(event: (outcome: Outcome) => void): Step[] {
    const outcome = new Outcome(this.nowMs);
    event(outcome);
    if (outcome.begun) this.round = outcome.begun.round;
    return stepsOf(outcome);
  }
}

/** A task for a worker. */
export function assign(worker: number, task: number, from: number, to: number): Step {
  return { type: 'assign', worker, task, from, to };
}

/** The steps of one type. */
export const ofType = (steps: readonly Step[], type: string): Step[] =>
  steps.filter((step) => step.type === type);

/** The node of a single shard. */
export const SHARD = (index: number): TreeNode => ({ level: 0, index });
