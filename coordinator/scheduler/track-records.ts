// What the tasks of each process have come to: how often in a row it failed, and which state of the run is the newest that
// owes nothing to its word alone. What another process, or the coordinator, computed too is nobody's word any more.
import type { Answers } from './answers.ts';
import type { RoundPlan } from './events.ts';

/** A round that is over. */
interface LastRound {
  readonly plan: RoundPlan;
  readonly answers: Answers;
  readonly isSpoilt: boolean;
}

interface TrackRecord {
  numFailedInRow: number;
  trustedSteps: number | undefined;
}

/** Processes that are remembered, those last that did something last. */
const MAX_PROCESSES = 10_000;

/** See the head of this file. States are named by the optimizer steps that they have seen. */
export class TrackRecords {
  readonly #records = new Map<string, TrackRecord>();
  /** For those who are remembered no more. */
  #forgottenSteps: number | undefined;

  /** It failed on a task; returns how often it has in a row. */
  fail(process: string): number {
    return ++this.#of(process).numFailedInRow;
  }

  /** It has delivered a task. */
  deliver(process: string): void {
    const record = this.#records.get(process);
    if (record) record.numFailedInRow = 0;
  }

  /** The newest state that owes nothing to its word alone; undefined: all are so. */
  trustedSteps(process: string): number | undefined {
    const record = this.#records.get(process);
    return record ? record.trustedSteps : this.#forgottenSteps;
  }

  /** What the last round has come to is part of the run by now; unless the run has gone back since. */
  follow({ plan, answers, isSpoilt }: LastRound, next: RoundPlan): void {
    // A checkpoint of the state that was evaluated may hold what came of it.
    const trustedSteps = plan.mode === 'sum' ? plan.step : plan.step - 1;
    for (const process of isSpoilt ? [] : answers.believed()) {
      const record = this.#of(process);
      record.trustedSteps = Math.min(record.trustedSteps ?? trustedSteps, trustedSteps);
    }
    if (hasGoneBack(plan, next)) this.#goBack(next.step);
  }

  /** What made the steps after that many is undone. */
  #goBack(steps: number): void {
    for (const record of this.#records.values()) {
      if (record.trustedSteps !== undefined && record.trustedSteps >= steps) record.trustedSteps = undefined;
    }
    if (this.#forgottenSteps !== undefined && this.#forgottenSteps >= steps) this.#forgottenSteps = undefined;
  }

  #of(process: string): TrackRecord {
    const record = this.#records.get(process) ?? {
      numFailedInRow: 0,
      trustedSteps: this.trustedSteps(process),
    };
    this.#records.delete(process);
    this.#records.set(process, record);
    if (this.#records.size > MAX_PROCESSES) this.#forgetOldest();
    return record;
  }

  #forgetOldest(): void {
    const [process, { trustedSteps }] = this.#records.entries().next().value as [string, TrackRecord];
    this.#records.delete(process);
    if (trustedSteps === undefined) return;
    this.#forgottenSteps = Math.min(this.#forgottenSteps ?? trustedSteps, trustedSteps);
  }
}

/** Steps ascend, and evaluations stand between them. */
function hasGoneBack(last: RoundPlan, next: RoundPlan): boolean {
  return next.step < last.step || (next.step === last.step && last.mode === 'sum' && next.mode === 'sum');
}
