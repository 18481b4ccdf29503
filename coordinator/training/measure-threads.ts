// The number of threads that pays: steps of a run are timed with several numbers of them, in turn,
// before it starts.

/** A number of threads, and the median milliseconds of a step with them. */
export interface StepTime {
  readonly numThreads: number;
  readonly stepMs: number;
}

/** The steps that may be tried. */
export interface ThreadTrials {
  readonly mostThreads: number;
  /** Most steps that are worth trying; at least one is tried with each number of threads that may pay. */
  readonly maxSteps: number;
  /** Takes a step that leaves no trace; resolves with the milliseconds that it took. */
  readonly timeStep: (numThreads: number) => Promise<number>;
}

/** Time in which the program is compiled while it runs, so that its first steps say little. */
const WARM_UP_MS = 100;
const MEASURING_MS = 300;
/** Steps follow one another for so long with the same number of threads, as they will in the run. */
const TURN_MS = 5;
/** Fewer threads are not tried once a step has taken so many times as long as with more. */
const HOPELESS = 1.25;
/** Share by which more threads must be faster: they take cores that others may need. */
const LEAST_GAIN = 0.03;

/** Times steps with all threads, half of them and so on: the fastest number first, then the others. */
export async function measureThreads({ mostThreads, maxSteps, timeStep }: ThreadTrials): Promise<StepTime[]> {
  let [spentMs, numSteps] = [0, 0];
  const taken = async (numThreads: number): Promise<number> => {
    const ms = await timeStep(numThreads);
    numSteps++;
    spentMs += ms;
    return ms;
  };
  do await taken(mostThreads);
  while (spentMs < WARM_UP_MS && 2 * numSteps < maxSteps);
  const times = new Map<number, number[]>();
  let fastestMs = Infinity;
  for (let count = mostThreads; count >= 1; count = Math.floor(count / 2)) {
    const ms = await taken(count);
    times.set(count, [ms]);
    if (ms > HOPELESS * fastestMs) break;
    fastestMs = Math.min(fastestMs, ms);
  }
  while (spentMs < WARM_UP_MS + MEASURING_MS && numSteps < maxSteps) {
    for (const [count, all] of times) {
      for (let turnMs = 0; turnMs < TURN_MS;) {
        const ms = await taken(count);
        all.push(ms);
        turnMs += ms;
      }
    }
  }
  return fastestFirst([...times].map(([numThreads, all]) => ({ numThreads, stepMs: median(all) })));
}

function fastestFirst(times: readonly StepTime[]): StepTime[] {
  const leastMs = Math.min(...times.map(({ stepMs }) => stepMs));
  const isFast = ({ stepMs }: StepTime): boolean => stepMs * (1 - LEAST_GAIN) <= leastMs;
  const fewestFirst = times.toSorted((a, b) => a.numThreads - b.numThreads);
  const best = fewestFirst.find(isFast) as StepTime;
  return [best, ...fewestFirst.filter((time) => time !== best)];
}

/**
 * The middle value; for an even number of values the upper one of the middle two.
 * @throws RangeError without values.
 */
export function median(values: readonly number[]): number {
  const middle = values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
  if (middle === undefined) throw new RangeError('the median of an empty list');
  return middle;
}
