// All decisions of a coordinator about its workers: the roster says who takes part, the round scheduler what they do. A round
// waits for the roster to be large enough; whoever is found wrong in a round leaves the roster. Pure: every method takes the
// time, and answers with an outcome that the caller carries out. The cluster does so with sockets and a clock, the simulator
// of the tests with neither.
import type { TreeNode } from '../../src/tree.ts';
import type { AuditPolicy } from './audit.ts';
import { Outcome } from './outcome.ts';
import type {
  DigestKind,
  ReadySession,
  RoundPlan,
  SumDigest,
  SumName,
  SumRoom,
  TaskFailure,
  TaskName,
} from './outcome.ts';
import { Roster } from './roster.ts';
import type { RosterOptions } from './roster.ts';
import { RoundScheduler } from './round-scheduler.ts';

/** The settings of a scheduler. */
export interface SchedulerOptions extends RosterOptions {
  readonly audit: AuditPolicy;
  /** Memory for partial sums; unlimited by default. */
  readonly room?: SumRoom | undefined;
}

const UNLIMITED: SumRoom = { here: Infinity, ofTask: Infinity };

/** The scheduler of one run. Times are monotonic milliseconds. */
export class Scheduler {
  readonly #roster: Roster;
  readonly #rounds: RoundScheduler;
  /** The instance of each session that is ready, whether it takes part or rests. */
  readonly #ready = new Map<number, string>();
  /** The round that waits for workers. */
  #held: RoundPlan | undefined;

  constructor({ audit, room = UNLIMITED, ...roster }: SchedulerOptions, nowMs: number) {
    this.#roster = new Roster(roster, nowMs);
    this.#rounds = new RoundScheduler(audit, room, ({ instance, ...offender }, outcome) =>
      this.#roster.ban(instance, offender, outcome),
    );
  }

  /** The reason why the instance may not take part; undefined if it may. */
  banOf(instance: string): string | undefined {
    return this.#roster.banOf(instance);
  }

  /** Tells whether the worker may speak of the task. A message about any other one is a reason to evict its sender. */
  owes(worker: number, task: TaskName): boolean {
    return this.#rounds.owes(worker, task);
  }

  /** The kind of digest that a sum needs; undefined if nobody waits for the sum: then it is to be dropped. */
  inspect(worker: number, sum: SumName): DigestKind | undefined {
    return this.#rounds.inspect(worker, sum);
  }

  /** Waits until this many workers take part: the outcome `isGathered` then says so once. */
  requireWorkers(count: number, nowMs: number): Outcome {
    const outcome = new Outcome(nowMs);
    this.#roster.require(count, outcome);
    return this.#beginHeld(outcome);
  }

  addSession(session: ReadySession, nowMs: number): Outcome {
    const outcome = new Outcome(nowMs);
    this.#ready.set(session.worker, session.instance);
    this.#roster.greet(session, outcome);
    this.#seat(outcome);
    return this.#beginHeld(outcome);
  }

  /** Removes a session that ended; `hasAnswered` tells whether anything but failures came from it. */
  removeSession(worker: number, hasAnswered: boolean, nowMs: number): Outcome {
    const outcome = new Outcome(nowMs);
    this.#ready.delete(worker);
    // The rounds first: a worker admitted in its place brings them to give out work, which is not for the lost one.
    this.#rounds.removeWorker(worker, outcome);
    this.#roster.lose(worker, hasAnswered, outcome);
    this.#seat(outcome);
    return this.#beginHeld(outcome);
  }

  /** Begins a round as soon as there are enough workers. */
  beginRound(plan: RoundPlan, nowMs: number): Outcome {
    this.#held = plan;
    return this.#beginHeld(new Outcome(nowMs));
  }

  /** Takes a partial sum that `inspect` found to be wanted. */
  acceptSum(worker: number, sum: SumName, digest: SumDigest, nowMs: number): Outcome {
    return outcomeOf(nowMs, (outcome) => this.#rounds.acceptSum(worker, sum, digest, outcome));
  }

  /** Books a partial sum that nobody waits for. */
  dropSum(worker: number, sum: SumName, nowMs: number): Outcome {
    return outcomeOf(nowMs, (outcome) => this.#rounds.dropSum(worker, sum, outcome));
  }

  /** Takes a worker's report that it is done with a task, or gives it up because its round is over. */
  finishTask(worker: number, task: TaskName, nowMs: number): Outcome {
    return outcomeOf(nowMs, (outcome) => this.#rounds.finishTask(worker, task, outcome));
  }

  /** Takes a worker's report that it cannot compute a task. */
  failTask(worker: number, task: TaskName, failure: TaskFailure, nowMs: number): Outcome {
    return outcomeOf(nowMs, (outcome) => this.#rounds.failTask(worker, task, failure, outcome));
  }

  /** Notes that the process of a worker, whose session may be over by now, ended for lack of memory. */
  noteOutOfMemory(instance: string, nowMs: number): Outcome {
    return outcomeOf(nowMs, (outcome) => this.#rounds.noteOutOfMemory(instance, outcome));
  }

  /** Takes the digests, by bucket, that the referee found for a node in doubt. */
  settle(round: number, node: TreeNode, digests: readonly string[], nowMs: number): Outcome {
    return outcomeOf(nowMs, (outcome) => this.#rounds.settle(round, node, digests, outcome));
  }

  /** Doubts all parts of a round's sum that is not finite, though they are. */
  doubtRound(round: number, nowMs: number): Outcome {
    return outcomeOf(nowMs, (outcome) => this.#rounds.doubtRound(round, outcome));
  }

  /** Looks at the clock: whose rest is over, who is late, what has been missing for too long. */
  tick(nowMs: number): Outcome {
    const outcome = new Outcome(nowMs);
    this.#roster.tick(outcome);
    this.#seat(outcome);
    this.#rounds.tick(outcome);
    return this.#beginHeld(outcome);
  }

  /** Tells the rounds who has gone and who has come. */
  #seat(outcome: Outcome): void {
    for (const worker of outcome.superseded) this.#rounds.removeWorker(worker, outcome);
    for (const worker of outcome.admitted) {
      this.#rounds.addWorker(worker, this.#ready.get(worker) as string, outcome);
    }
  }

  #beginHeld(outcome: Outcome): Outcome {
    if (!this.#held || !this.#roster.hasEnough) return outcome;
    const plan = this.#held;
    this.#held = undefined;
    this.#rounds.begin(plan, outcome);
    return outcome;
  }
}

function outcomeOf(nowMs: number, decide: (outcome: Outcome) => void): Outcome {
  const outcome = new Outcome(nowMs);
  decide(outcome);
  return outcome;
}
