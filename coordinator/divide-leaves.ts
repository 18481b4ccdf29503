// Divides a run of leaves among workers by their speed, with the cuts at subtrees where that costs little:
// a range of whole subtrees comes back as fewer sums.

/** Speeds closer than this count as equal: noise must not move the cuts. */
const EQUAL_SPEED_RATIO = 1.25;
/** A cut may be off its ideal place by half a leaf, and by this part of a worker's mean share. */
const ALIGNMENT_TOLERANCE = 1 / 8;

/** A worker as far as its share is concerned. */
export interface Share {
  readonly id: number;
  /** Rows a millisecond. */
  readonly speed: number;
}

/**
 * Cuts leaves [from, to) into contiguous ranges, at most one a worker and in their order, about proportional
 * to speed. With fewer leaves than workers the slower ones get none.
 */
export function divideLeaves(
  from: number,
  to: number,
  workers: readonly Share[],
): { worker: number; from: number; to: number }[] {
  const chosen = fastest(workers, to - from);
  const speeds = evenedSpeeds(chosen.map((worker) => worker.speed));
  const total = speeds.reduce((sum, speed) => sum + speed, 0);
  const tolerance = 0.5 + (ALIGNMENT_TOLERANCE * (to - from)) / chosen.length;
  const ranges: { worker: number; from: number; to: number }[] = [];
  let start = from;
  let speedSoFar = 0;
  chosen.forEach((worker, index) => {
    speedSoFar += speeds[index] as number;
    const numAfter = chosen.length - 1 - index;
    const ideal = from + ((to - from) * speedSoFar) / total;
    const end = numAfter === 0 ? to : alignedCut(ideal, tolerance, start + 1, to - numAfter);
    ranges.push({ worker: worker.id, from: start, to: end });
    start = end;
  });
  return ranges;
}

/** The cut within [lowest, highest] on the largest subtree boundary near `ideal`. */
function alignedCut(ideal: number, tolerance: number, lowest: number, highest: number): number {
  for (let unit = 2 ** 10; unit > 1; unit /= 2) {
    const cut = Math.round(ideal / unit) * unit;
    if (Math.abs(cut - ideal) <= tolerance && cut >= lowest && cut <= highest) return cut;
  }
  return Math.min(Math.max(Math.round(ideal), lowest), highest);
}

function fastest(workers: readonly Share[], count: number): readonly Share[] {
  if (workers.length <= count) return workers;
  const chosen = new Set([...workers].sort((a, b) => b.speed - a.speed).slice(0, count));
  return workers.filter((worker) => chosen.has(worker));
}

function evenedSpeeds(speeds: readonly number[]): readonly number[] {
  const isEven = Math.max(...speeds) <= EQUAL_SPEED_RATIO * Math.min(...speeds);
  return isEven ? speeds.map(() => 1) : speeds;
}
