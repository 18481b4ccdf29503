// Lateness of tasks. One that is late goes to an idle worker too; a worker that has been at one
// task for too long although its connection lives, since its engine hangs or its machine does
// nothing but swap, is reported, and at last sent away: where nobody else is left, the run
// would wait for it forever.
import { COORDINATOR } from './outcome.ts';
import type { Outcome } from './outcome.ts';
import type { Pace } from './pace.ts';
import type { OwedTask } from './tasks.ts';

/** A task is late after this many times the expected time... */
const LATE_FACTOR = 3;
/** ...but not before this: it is what a garbage collection or another program takes without being a fault. */
const LATE_FLOOR_MS = 100;
/**
 * While no worker has delivered anything, nothing is late before the round is this old: compiling
 * and first touches included. Who gets a copy then has no such time of its own, for one after the
 * other who hangs would cost it again.
 */
const UNMEASURED_LATE_MS = 15_000;
/** A user is told after this many times the expected time... */
const OVERDUE_FACTOR = 20;
/** ...but not before this. */
const OVERDUE_FLOOR_MS = 60_000;
/** The worker is sent away, to start over, after this many times the expected time... */
const STUCK_FACTOR = 100;
/** ...but not before this: a machine may be busy with something else... */
const STUCK_FLOOR_MS = 600_000;
/** ...and after this where nobody knows what to expect: longer than any task that fits in memory can take. */
const STUCK_UNMEASURED_MS = 3_600_000;

/** A round, as its clock sees it. */
export interface RoundTimes {
  /** Tasks that owe a sum, oldest first. */
  readonly open: readonly OwedTask[];
  readonly pace: Pace;
  /** The time when the round began. */
  readonly beganMs: number;
  readonly nowMs: number;
}

/**
 * Tells whether the oldest task that a worker owes in the round is late; those after it
 * wait for their turn. The coordinator itself never is: nobody could replace it, and it
 * computes what others failed on.
 */
export function isLate(worker: number, { open, pace, beganMs, nowMs }: RoundTimes): boolean {
  if (worker === COORDINATOR.worker) return false;
  const oldest = open.find((task) => task.worker === worker);
  if (!oldest) return false;
  const expectedMs = pace.expectedMs(worker, oldest.rows);
  const isFirst = expectedMs === undefined && nowMs - beganMs < UNMEASURED_LATE_MS;
  const lateMs = Math.max(LATE_FACTOR * (expectedMs ?? 0), LATE_FLOOR_MS);
  return !isFirst && nowMs - pace.beganMs(worker, oldest.givenMs) >= lateMs;
}

/**
 * Finds slow and stuck workers among the tasks in `owed`, where the oldest task of each
 * worker precedes its others.
 */
export function findOverdue(owed: readonly OwedTask[], pace: Pace, outcome: Outcome): void {
  const oldest = new Map<number, OwedTask>();
  for (const task of owed) if (!oldest.has(task.worker)) oldest.set(task.worker, task);
  for (const task of oldest.values()) {
    const { worker, rows, givenMs } = task;
    const expectedMs = pace.expectedMs(worker, rows);
    const owedMs = outcome.nowMs - pace.beganMs(worker, givenMs);
    const isOverdue = owedMs >= Math.max(OVERDUE_FACTOR * (expectedMs ?? 0), OVERDUE_FLOOR_MS);
    if (owedMs >= stuckAfterMs(expectedMs)) outcome.stuck.push({ worker, rows, owedMs });
    else if (isOverdue && !task.isToldOf) {
      task.isToldOf = true;
      outcome.overdue.push({ worker, rows, owedMs });
    }
  }
}

function stuckAfterMs(expectedMs: number | undefined): number {
  return expectedMs === undefined ? STUCK_UNMEASURED_MS : Math.max(STUCK_FACTOR * expectedMs, STUCK_FLOOR_MS);
}
