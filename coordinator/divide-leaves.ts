// Divides a run of leaves among workers by their speed.

/** Speeds closer than this count as equal: noise must not move the cut, which costs wire bytes. */
const EQUAL_SPEED_RATIO = 1.25;

/** A worker as far as its share is concerned. */
export interface Share {
  readonly id: number;
  /** Rows a millisecond. */
  readonly speed: number;
}

/**
 * Cuts leaves [from, to) into contiguous ranges, at most one a worker, as proportional to speed as whole
 * leaves allow (largest remainder). Workers keep the order in which they are given; faster ones come
 * first when there are fewer leaves than workers.
 */
export function divideLeaves(
  from: number,
  to: number,
  workers: readonly Share[],
): { worker: number; from: number; to: number }[] {
  const speeds = smoothSpeeds(workers.map((worker) => worker.speed));
  const total = speeds.reduce((sum, speed) => sum + speed, 0);
  const ideal = speeds.map((speed) => ((to - from) * speed) / total);
  const counts = ideal.map(Math.floor);
  const byRemainder = ideal
    .map((share, index) => ({ index, remainder: share - Math.floor(share) }))
    .sort((a, b) => b.remainder - a.remainder || a.index - b.index);
  let rest = to - from - counts.reduce((sum, count) => sum + count, 0);
  for (const { index } of byRemainder) {
    if (rest === 0) break;
    counts[index] = (counts[index] as number) + 1;
    rest--;
  }
  const ranges: { worker: number; from: number; to: number }[] = [];
  let start = from;
  workers.forEach((worker, index) => {
    const count = counts[index] as number;
    if (count > 0) ranges.push({ worker: worker.id, from: start, to: start + count });
    start += count;
  });
  return ranges;
}

function smoothSpeeds(speeds: readonly number[]): number[] {
  const isEven = Math.max(...speeds) <= EQUAL_SPEED_RATIO * Math.min(...speeds);
  return isEven ? speeds.map(() => 1) : [...speeds];
}
