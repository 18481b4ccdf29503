// The scenario of a simulation, drawn from a seed: its workers, their links, the faults, and the expected
// end.
import type { SumRoom } from '../../coordinator/scheduler/outcome.ts';
import type { Outcome, Training } from './training.ts';
import { Chance } from './virtual-time.ts';
import type { Character, Poison } from './worker.ts';

/** The scenario of a simulation, made by a seed or a test. */
export interface Scenario {
  readonly seed: number;
  readonly training: Training;
  readonly workers: readonly Character[];
  readonly minWorkers: number;
  readonly auditShare: number;
  readonly room: SumRoom;
  readonly judgeMs: number;
  readonly checkpointEvery: number;
  /** Probability that the coordinator ends after an event; it does so three times at most. */
  readonly coordinatorCrashes: number;
  /** Mean time between two faults of workers and networks; undefined for none. */
  readonly faultEveryMs: number | undefined;
  readonly poison: Poison | undefined;
  /** Once this many steps are saved all workers leave for good; undefined: never. */
  readonly desertedAtStep: number | undefined;
  /** Longest time with fewer workers than the minimum. */
  readonly waitMs: number;
  /** The expected end. */
  readonly expected: Outcome;
}

const PROMPT = { latencyMs: 0.2, jitterMs: 0.1, duplicates: 0 };

/** A worker without faults. */
export const HONEST: Character = {
  link: PROMPT,
  speed: 0.5,
  lies: 0,
  lie: 'bit',
  numFailures: 0,
  flapMs: undefined,
  stops: undefined,
  diesAfter: undefined,
  isIdle: false,
  unowed: 0,
  numReturns: 0,
  unfit: undefined,
  rejoinMs: undefined,
  address: undefined,
};

/** The scenario of a seed. */
export function scenarioOf(seed: number): Scenario {
  const chance = new Chance(Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995);
  const auditShare = chance.pick([0, 0, 0.3, 0.3, 1, 1]);
  const liar = chance.isLucky(0.4) ? chance.pick(auditShare > 0 ? LIES : LOUD_LIES) : undefined;
  const mayLieUnseen = auditShare < 1 && liar === 'bit';
  const numWorkers = chance.integer(1, 4);
  const workers = Array.from({ length: numWorkers }, (_, index) =>
    randomCharacter(chance, index === 0 ? 2 : 0),
  );
  if (liar) workers.push(randomLiar(chance, liar));
  const isFlapping = chance.isLucky(0.15);
  if (isFlapping) workers.push({ ...randomCharacter(chance, 0), flapMs: chance.between(300, 2_000) });
  if (chance.isLucky(0.15)) workers.push({ ...randomCharacter(chance, 0), unowed: chance.pick([0.1, 1]) });
  const ending = chance.pick(ENDINGS);
  // Its claims about bad shards would be as true as those of others.
  const isPoisoned = ending === 'failed' || ending === 'outOfMemory' || ending === 'lost';
  const troublemaker = !isPoisoned && chance.isLucky(0.1) ? randomTroublemaker(chance) : undefined;
  if (troublemaker) workers.push(troublemaker);
  const training = troublemaker ? longTraining(randomTraining(chance)) : randomTraining(chance);
  // They join before all others and get the first tasks.
  const numIdle = chance.isLucky(0.1) ? chance.integer(1, 40) : 0;
  workers.unshift(...Array.from({ length: numIdle }, () => ({ ...HONEST, isIdle: true })));
  const totalSteps = training.numEpochs * training.stepsPerEpoch;
  return {
    seed,
    training: {
      ...training,
      divergesAt: ending === 'diverged' ? chance.integer(0, totalSteps - 1) : undefined,
    },
    workers,
    minWorkers: chance.integer(1, Math.min(2, numWorkers)),
    auditShare,
    judgeMs: chance.pick([1, 300]),
    checkpointEvery: ending === 'starved' ? 1 : chance.integer(1, 3),
    // A worker that was trusted before a crash still is after it.
    coordinatorCrashes: mayLieUnseen ? 0 : chance.pick([0, 0, 0.002, 0.01]),
    faultEveryMs: chance.pick([undefined, 100, 400, 2_000]),
    poison: randomPoison(chance, training, ending),
    desertedAtStep: ending === 'starved' ? chance.integer(1, totalSteps) : undefined,
    waitMs: ending === 'starved' ? SHORT_WAIT_MS : LONG_WAIT_MS,
    expected: ending,
    room: { here: chance.pick([1, 1, 2, 3, Infinity]), ofTask: chance.pick([1, 2, Infinity]) },
  };
}

const LIES = ['bit', 'bit', 'nan', 'huge'] as const;
/** Lies that are found without an audit. */
const LOUD_LIES = ['nan', 'huge'] as const;
const ENDINGS: readonly Outcome[] = [
  ...Array<Outcome>(17).fill('finished'),
  ...(['diverged', 'failed', 'outOfMemory', 'lost', 'starved'] as const),
];
/** Longer than any lack of workers that faults cause... */
const SHORT_WAIT_MS = 300_000;
/** ...and longer than a simulation. */
const LONG_WAIT_MS = 3_600_000;

function randomTraining(chance: Chance): Training {
  const rows = (max: number): number[] =>
    Array.from({ length: chance.integer(1, max) }, () => chance.integer(1, 16));
  const stepsPerEpoch = chance.integer(1, 4);
  return {
    numEpochs: chance.integer(1, 3),
    stepsPerEpoch,
    numBuckets: chance.integer(1, 3),
    shardRows: Array.from({ length: stepsPerEpoch }, () => rows(12)),
    evaluationRows: rows(5),
    divergesAt: undefined,
  };
}

/** A worker over a random link that may fail on some tasks. */
export function randomCharacter(chance: Chance, maxFailures: number): Character {
  return {
    ...HONEST,
    link: {
      latencyMs: chance.pick([0.1, 1, 50]),
      jitterMs: chance.pick([0.1, 5, 100]),
      duplicates: chance.pick([0, 0, 0.1, 0.5]),
    },
    speed: chance.pick([0.02, 0.2, 0.2, 1]),
    numFailures: chance.isLucky(0.1) ? chance.integer(0, maxFailures) : 0,
  };
}

function randomLiar(chance: Chance, lie: Character['lie']): Character {
  const lies = chance.pick([0.05, 0.5, 1]);
  return { ...randomCharacter(chance, 0), lies, lie, numReturns: chance.integer(0, 2) };
}

/** A worker that is never of use, and comes back as another process for as long as there is a run. */
function randomTroublemaker(chance: Chance): Character {
  const lie = chance.pick([...LOUD_LIES, undefined]);
  const unfit = lie ? undefined : chance.pick(['failure', 'outOfMemory', 'vanishing'] as const);
  const lies = lie ? { lie, lies: chance.pick([0.2, 1]) } : {};
  const rejoinMs = chance.pick([200, 1_200, 5_000]);
  return { ...randomCharacter(chance, 0), ...lies, unfit, rejoinMs, address: 'a bad place' };
}

/** A training with enough steps for a troublemaker to come back. */
function longTraining(training: Training): Training {
  const stepsPerEpoch = 30;
  const shardRows = Array.from(
    { length: stepsPerEpoch },
    (_, step) => training.shardRows[step % training.shardRows.length] ?? [1],
  );
  return { ...training, stepsPerEpoch, shardRows };
}

function randomPoison(chance: Chance, { shardRows }: Training, ending: Outcome): Poison | undefined {
  const sparesCoordinator = ending === 'finished' && chance.isLucky(0.2);
  if (!sparesCoordinator && ending !== 'failed' && ending !== 'outOfMemory' && ending !== 'lost')
    return undefined;
  const shard = chance.integer(0, Math.min(...shardRows.map(({ length }) => length)) - 1);
  const isOutOfMemory = ending === 'outOfMemory';
  const isFatal = ending === 'lost' || (isOutOfMemory && chance.isLucky(0.5));
  const step = sparesCoordinator ? chance.integer(0, shardRows.length - 1) : undefined;
  return { shard, isOutOfMemory, isFatal, sparesCoordinator, step };
}
