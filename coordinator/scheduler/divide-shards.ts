// Divides a run of shards among workers by their speed, so that all end at about the
// same time, with the cuts at subtrees where that costs little: a task of whole
// subtrees comes back as fewer sums.
import type { ShardRange } from '../../src/tree.ts';
import type { PlannedTask } from './outcome.ts';

/** Speeds closer than this count as equal: noise must not move the cuts. */
const EQUAL_SPEED_RATIO = 1.25;
/** The share by which a cut at a subtree may lengthen the slowest task. */
const ALIGNMENT_COST = 1 / 8;
/** The same for a cut between groups: parts of a group take twice the bytes, and are several sums. */
const GROUP_COST = 1 / 2;
/** Halvings of the time until it is exact for 1,024 shards and speeds that differ by far more. */
const SEARCH_STEPS = 60;

/** A worker and its speed. */
export interface Share {
  readonly id: number;
  /** Speed in rows a millisecond. */
  readonly speed: number;
}

/**
 * Cuts shards [from, to) into contiguous tasks, at most one a worker and in their order, about
 * proportional to speed. A worker for which a single shard would take longer than all of them
 * take without it gets none. Sums of whole groups of `groupShards` take half the bytes.
 */
export function divideShards(
  { from, to }: ShardRange,
  workers: readonly Share[],
  groupShards = 1,
): PlannedTask[] {
  const numShards = to - from;
  const { counts: wanted } = countShards(numShards, workers);
  const useful = workers.filter((_, index) => (wanted[index] as number) > 0);
  const speeds = evenedSpeeds(useful.map((worker) => worker.speed));
  const { counts, time } = countShards(
    numShards,
    speeds.map((speed, id) => ({ id, speed })),
  );
  const tasks: PlannedTask[] = [];
  let start = from;
  let ideal = from;
  useful.forEach((worker, index) => {
    ideal += counts[index] as number;
    const next = counts[index + 1];
    if (counts[index] === 0) return;
    const isCheap = (cut: number, cost: number): boolean => {
      const longest = time * (1 + cost);
      return (
        next !== undefined &&
        cut > start &&
        cut - start <= longest * (speeds[index] as number) &&
        ideal + next > cut &&
        ideal + next - cut <= longest * (speeds[index + 1] as number)
      );
    };
    const end = next === undefined ? to : alignedCut(ideal, groupShards, isCheap);
    tasks.push({ worker: worker.id, from: start, to: end });
    start = end;
  });
  return tasks;
}

/** The cut on the largest subtree boundary near `ideal` that is cheap. */
function alignedCut(
  ideal: number,
  groupShards: number,
  isCheap: (cut: number, cost: number) => boolean,
): number {
  for (let unit = 2 ** 10; unit > 1; unit /= 2) {
    const cut = Math.round(ideal / unit) * unit;
    if (isCheap(cut, unit === groupShards ? GROUP_COST : ALIGNMENT_COST)) return cut;
  }
  return ideal;
}

/**
 * Counts the shards for each worker so that the last one is done as early as
 * possible, and says when that is.
 */
function countShards(numShards: number, workers: readonly Share[]): { counts: number[]; time: number } {
  const countsAt = (time: number): number[] => workers.map(({ speed }) => Math.floor(time * speed));
  const total = (counts: readonly number[]): number => counts.reduce((sum, count) => sum + count, 0);
  let tooShort = 0;
  let time = (numShards / Math.max(...workers.map(({ speed }) => speed))) * (1 + 1e-9);
  for (let step = 0; step < SEARCH_STEPS; step++) {
    const middle = (tooShort + time) / 2;
    if (total(countsAt(middle)) >= numShards) time = middle;
    else tooShort = middle;
  }
  const counts = countsAt(time);
  for (let excess = total(counts) - numShards; excess > 0; excess--) {
    const ends = counts.map((count, index) => count / (workers[index] as Share).speed);
    const latest = ends.lastIndexOf(Math.max(...ends));
    counts[latest] = (counts[latest] as number) - 1;
  }
  return { counts, time };
}

function evenedSpeeds(speeds: readonly number[]): readonly number[] {
  const isEven = Math.max(...speeds) <= EQUAL_SPEED_RATIO * Math.min(...speeds);
  return isEven ? speeds.map(() => 1) : speeds;
}
