// Workers that have been at one task for so long that something must be wrong with them, although their connections
// live: an engine that hangs, a machine that does nothing but swap. Others have long computed copies of such a task,
// but where nobody else is left, the run would wait forever.
import type { Outcome } from './outcome.ts';
import type { Pace } from './pace.ts';
import type { Task } from './tasks.ts';

/** A user is told after this many times the expected time... */
const OVERDUE_FACTOR = 20;
/** ...but not before this. */
const OVERDUE_FLOOR_MS = 60_000;
/** The worker is sent away, to start over, after this many times the expected time... */
const STUCK_FACTOR = 100;
/** ...but not before this: a machine may be busy with something else... */
const STUCK_FLOOR_MS = 600_000;
/** ...and after this where nobody knows what to expect: longer than any task takes that fits in memory. */
const STUCK_UNMEASURED_MS = 3_600_000;

/** Finds slow and stuck workers among the tasks in `owed`, where the oldest task of each worker precedes its others. */
export function findOverdue(owed: readonly Task[], pace: Pace, outcome: Outcome, nowMs: number): void {
  const oldest = new Map<number, Task>();
  for (const task of owed) if (!oldest.has(task.worker)) oldest.set(task.worker, task);
  for (const task of oldest.values()) {
    const { worker, rows, givenMs } = task;
    const expectedMs = pace.expectedMs(worker, rows);
    const owedMs = nowMs - pace.beganMs(worker, givenMs);
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
