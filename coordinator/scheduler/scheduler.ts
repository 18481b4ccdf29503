// All decisions of a coordinator about its workers: the roster says who takes part, the round
// scheduler what they do. A round waits for the roster to be large enough; whoever is found wrong
// in a round leaves the roster. Pure: every method takes an outcome, which knows the time, and
// adds what the caller is to carry out. The cluster does so with sockets and a clock, the
// simulator of the tests with neither.
import type { AuditPolicy } from './audit.ts';
import type { Outcome, ReadySession, RoundPlan, SumRoom } from './outcome.ts';
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
  /** Decisions on partial sums and tasks. */
  readonly rounds: RoundScheduler;
  readonly #roster: Roster;
  /** The round that waits for workers. */
  #held: RoundPlan | undefined;

  constructor({ audit, room = UNLIMITED, ...roster }: SchedulerOptions, nowMs: number) {
    this.#roster = new Roster(roster, nowMs);
    this.rounds = new RoundScheduler(audit, room, ({ instance, ...offender }, outcome) =>
      this.#roster.ban(instance, offender, outcome),
    );
  }

  /** The reason why the instance may not take part; undefined if it may. */
  banOf(instance: string): string | undefined {
    return this.#roster.banOf(instance);
  }

  /** Workers that take part, those below aggregators included. */
  get numWorkers(): number {
    return this.#roster.numActive;
  }

  /** True for a process that is to work alone, neither as an aggregator nor below one. */
  isDistrusted(instance: string): boolean {
    return this.#roster.isDistrusted(instance);
  }

  /** Notes the workers, by instance, that are below an aggregator now. */
  setMembers(worker: number, members: readonly string[], outcome: Outcome): void {
    this.#roster.setMembers(worker, members, outcome);
    this.#beginHeld(outcome);
  }

  /** Waits until this many workers take part: an outcome's `isGathered` then says so once. */
  requireWorkers(count: number, outcome: Outcome): void {
    this.#roster.require(count, outcome);
    this.#beginHeld(outcome);
  }

  addSession(session: ReadySession, outcome: Outcome): void {
    this.#roster.addSession(session, outcome);
    this.#seat(outcome);
    this.#beginHeld(outcome);
  }

  /** Removes a session that ended; `hasAnswered` tells whether anything but failures came from it. */
  removeSession(worker: number, hasAnswered: boolean, outcome: Outcome): void {
    // The rounds first: a worker admitted in its place brings them to give out work, which
    // is not for the lost one.
    this.rounds.removeWorker(worker, outcome);
    this.#roster.lose(worker, hasAnswered, outcome);
    this.#seat(outcome);
    this.#beginHeld(outcome);
  }

  /** Begins a round as soon as there are enough workers. */
  beginRound(plan: RoundPlan, outcome: Outcome): void {
    this.#held = plan;
    this.#beginHeld(outcome);
  }

  /** Looks at the clock: whose rest is over, who is late, what has been missing for too long. */
  tick(outcome: Outcome): void {
    this.#roster.tick(outcome);
    this.#seat(outcome);
    this.rounds.tick(outcome);
    this.#beginHeld(outcome);
  }

  /** Tells the rounds who has gone and who has come. */
  #seat(outcome: Outcome): void {
    for (const worker of outcome.superseded) this.rounds.removeWorker(worker, outcome);
    for (const { worker, instance } of outcome.admitted) this.rounds.addWorker(worker, instance, outcome);
  }

  #beginHeld(outcome: Outcome): void {
    if (!this.#held || !this.#roster.hasEnough) return;
    const plan = this.#held;
    this.#held = undefined;
    this.rounds.begin(plan, outcome);
  }
}
