// Workers that have been at one task for so long that something must be wrong with them, although their connections
// live: an engine that hangs, a machine that does nothing but swap. Others have long computed copies of such a task,
// but where nobody else is left, the run would wait for ever.
import type { Task } from './tasks.ts';
import type { RoundCommand } from './events.ts';
import type { Pace } from './pace.ts';

/** A user is told after this many times the expected time... */
const OVERDUE_FACTOR = 20;
/** ...but not before this. */
const OVERDUE_FLOOR_MS = 60_000;
/** The worker is sent away, to begin afresh, after this many times the expected time... */
const STUCK_FACTOR = 100;
/** ...but not before this: a machine may be busy with something else... */
const STUCK_FLOOR_MS = 600_000;
/** ...and after this where nobody knows what to expect: more than any task takes that fits in memory. */
const STUCK_UNMEASURED_MS = 3_600_000;

/** What to do about the tasks in `owed`, of which the oldest of each worker comes before its others. */
export function findOverdue(owed: readonly Task[], pace: Pace, nowMs: number): RoundCommand[] {
  const oldest = new Map<number, Task>();
  for (const task of owed) if (!oldest.has(task.worker)) oldest.set(task.worker, task);
  return [...oldest.values()].flatMap((task): RoundCommand[] => {
    const { worker, rows, givenMs } = task;
    const expectedMs = pace.expectedMs(worker, rows);
    const owedMs = nowMs - pace.beganMs(worker, givenMs);
    if (owedMs >= stuckAfterMs(expectedMs)) return [{ type: 'stuck', worker, rows, owedMs }];
    const isOverdue = owedMs >= Math.max(OVERDUE_FACTOR * (expectedMs ?? 0), OVERDUE_FLOOR_MS);
    if (!isOverdue || task.isToldOf) return [];
    task.isToldOf = true;
    return [{ type: 'overdue', worker, rows, owedMs }];
  });
}

function stuckAfterMs(expectedMs: number | undefined): number {
  return expectedMs === undefined ? STUCK_UNMEASURED_MS : Math.max(STUCK_FACTOR * expectedMs, STUCK_FLOOR_MS);
}
