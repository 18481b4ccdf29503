// The record of each instance: how many tasks in a row it failed, and which state of the run is the newest that does not rest
// on its word alone. What another instance, or the coordinator, has computed too is nobody's word any more.
import type { Audit } from './audit.ts';
import type { RoundPlan } from './outcome.ts';

/** A round that is over. */
interface LastRound {
  readonly plan: RoundPlan;
  readonly audit: Audit;
}

interface TrackRecord {
  numFailedInRow: number;
  trustedSteps: number | undefined;
}

/** Processes that are remembered: those that did something most recently. */
const MAX_PROCESSES = 10_000;

/** The records of all processes. A state is named by the number of optimizer steps that led to it. */
export class TrackRecords {
  readonly #records = new Map<string, TrackRecord>();
  /** The trusted steps of the processes that are forgotten. */
  #forgottenSteps: number | undefined;

  /** Notes that a process failed on a task; returns how many it failed in a row. */
  fail(instance: string): number {
    return ++this.#of(instance).numFailedInRow;
  }

  /** Notes that a process delivered a task. */
  deliver(instance: string): void {
    const record = this.#records.get(instance);
    if (record) record.numFailedInRow = 0;
  }

  /** The steps of the newest state that does not rest on its word alone; undefined if all states qualify. */
  trustedSteps(instance: string): number | undefined {
    const record = this.#records.get(instance);
    return record ? record.trustedSteps : this.#forgottenSteps;
  }

  /** Notes whose word the last round rests on: its result is part of the run by now, unless the run was rolled back. */
  follow({ plan, audit }: LastRound, next: RoundPlan): void {
    // A checkpoint of the state that was evaluated may hold what the evaluation resulted in.
    const trustedSteps = plan.kind === 'train' ? plan.step : plan.step - 1;
    for (const instance of audit.believed()) {
      const record = this.#of(instance);
      record.trustedSteps = Math.min(record.trustedSteps ?? trustedSteps, trustedSteps);
    }
    if (wasRolledBack(plan, next)) this.#rollBack(next.step);
  }

  /** Forgets who made the steps after that many: they are undone. */
  #rollBack(steps: number): void {
    for (const record of this.#records.values()) {
      if (record.trustedSteps !== undefined && record.trustedSteps >= steps) record.trustedSteps = undefined;
    }
    if (this.#forgottenSteps !== undefined && this.#forgottenSteps >= steps) this.#forgottenSteps = undefined;
  }

  #of(instance: string): TrackRecord {
    const record = this.#records.get(instance) ?? {
      numFailedInRow: 0,
      trustedSteps: this.trustedSteps(instance),
    };
    this.#records.delete(instance);
    this.#records.set(instance, record);
    if (this.#records.size > MAX_PROCESSES) this.#forgetOldest();
    return record;
  }

  #forgetOldest(): void {
    const [instance, { trustedSteps }] = this.#records.entries().next().value as [string, TrackRecord];
    this.#records.delete(instance);
    if (trustedSteps === undefined) return;
    this.#forgottenSteps = Math.min(this.#forgottenSteps ?? trustedSteps, trustedSteps);
  }
}

/** Tells whether the run was rolled back between two rounds: steps ascend, and evaluations stand between them. */
function wasRolledBack(last: RoundPlan, next: RoundPlan): boolean {
  return next.step < last.step || (next.step === last.step && last.kind === 'train' && next.kind === 'train');
}
