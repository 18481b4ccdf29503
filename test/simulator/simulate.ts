// One simulated training with everything that a seed does to it, and the oracle: whatever happens, the result of every
// round is the one of a training to which nothing happened, nobody honest is banned, and the training ends.
import { SimulatedCoordinator } from './coordinator.ts';
import type { Outcome, Progress, Training } from './coordinator.ts';
import { combine, hashOf, nextWeights, sumUnder } from './symbols.ts';
import type { Value } from './symbols.ts';
import { Chance, VirtualClock } from './virtual-time.ts';
import { SimulatedWorker } from './worker.ts';
import type { Character, World } from './worker.ts';

/** What a seed, or a test, makes of a simulation. */
export interface Scenario {
  readonly seed: number;
  readonly training: Training;
  readonly workers: readonly Character[];
  readonly minWorkers: number;
  readonly auditShare: number;
  readonly judgeMs: number;
  readonly checkpointEvery: number;
  /** Probability that the coordinator ends after an event; it does so three times at most. */
  readonly coordinatorCrashes: number;
  /** Mean time between two faults of workers and networks; undefined for none. */
  readonly faultEveryMs: number | undefined;
  readonly poison: World['poison'];
  /** How it must end. */
  readonly expected: Outcome;
}

/** What came of a simulation. */
export interface Result {
  readonly outcome: Outcome | undefined;
  /** Empty if all is well. */
  readonly problems: readonly string[];
  readonly endMs: number;
  readonly numEvents: number;
  readonly numFaults: number;
  readonly numBanned: number;
  /** Messages that each worker has sent. */
  readonly numSent: readonly number[];
}

/** No training takes longer than this, whatever happens to it. */
const DEADLINE_MS = 1_800_000;
/** After this no new faults happen. */
const FAULTS_END_MS = 300_000;
const MAX_CRASHES = 3;
/** Workers that may be lost for one result of the training: eight are what the coordinator takes for a poisonous shard. */
const MAX_LOSSES = 5;
const MAX_EVENTS = 400_000;

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
};

/** Runs a scenario to its end. */
export function simulate(scenario: Scenario): Result {
  return new Simulation(scenario).run();
}

/** The results of every round, computed without any worker. */
function faultFree(training: Training): readonly Value[] {
  let { weights } = startOf(training);
  const chain: Value[] = [];
  for (let step = 0; step < training.numEpochs * training.stepsPerEpoch; step++) {
    const rows = training.leafRows[step % training.stepsPerEpoch] as readonly number[];
    const root = rootOf(rows.length);
    const key = { step, weights: combine(weights), divergesAt: undefined };
    const work = { ...key, kind: 'train', numLeaves: rows.length } as const;
    const sums = weights.map((_, piece) => sumUnder(work, root, piece));
    chain.push(combine(sums));
    weights = weights.map((value, piece) => nextWeights(value, sums[piece] as Value));
    if ((step + 1) % training.stepsPerEpoch !== 0) continue;
    const leaves = { kind: 'evaluate', numLeaves: training.evaluationRows.length } as const;
    const evaluation = { ...key, ...leaves, step: step + 1, weights: combine(weights) };
    const values = training.evaluationRows.map((_, index) => sumUnder(evaluation, { level: 0, index }, 0));
    chain.push(combine(values));
  }
  return chain;
}

function rootOf(numLeaves: number): { level: number; index: number } {
  return { level: Math.ceil(Math.log2(numLeaves)), index: 0 };
}

function startOf({ numPieces }: Training): Progress {
  return { step: 0, weights: Array.from({ length: numPieces }, (_, piece) => hashOf(7, piece)), chain: [] };
}

class Simulation {
  readonly #scenario: Scenario;
  readonly #clock = new VirtualClock();
  readonly #chance: Chance;
  readonly #world: World;
  readonly #workers: SimulatedWorker[] = [];
  readonly #problems: string[] = [];
  #coordinator: SimulatedCoordinator | undefined;
  #checkpoint: Progress;
  #outcome: Outcome | undefined;
  #final: Progress | undefined;
  #numEvents = 0;
  #numFaults = 0;
  #numCrashes = 0;
  #numBanned = 0;
  #losses = { version: -1, count: 0 };

  constructor(scenario: Scenario) {
    this.#scenario = scenario;
    this.#chance = new Chance(scenario.seed);
    this.#checkpoint = startOf(scenario.training);
    this.#world = {
      clock: this.#clock,
      chance: this.#chance,
      divergesAt: scenario.training.divergesAt,
      poison: scenario.poison,
      accept: (wire) => this.#coordinator?.accept(wire),
      complain: (what) => this.#problems.push(what),
    };
  }

  run(): Result {
    const { workers, faultEveryMs } = this.#scenario;
    this.#startCoordinator();
    for (const character of workers) this.#startWorker(character);
    if (faultEveryMs !== undefined) this.#planFault(faultEveryMs);
    while (this.#outcome === undefined && this.#clock.nowMs < DEADLINE_MS && this.#numEvents < MAX_EVENTS) {
      if (!this.#clock.step()) break;
      this.#numEvents++;
      if (this.#problems.length > 0) break;
      this.#maybeCrash();
    }
    this.#judge();
    const { nowMs: endMs } = this.#clock;
    return {
      outcome: this.#outcome,
      problems: this.#problems,
      endMs,
      numEvents: this.#numEvents,
      numFaults: this.#numFaults,
      numBanned: this.#numBanned,
      numSent: this.#workers.map(({ numSent }) => numSent),
    };
  }

  #startCoordinator(): void {
    const { training, minWorkers, auditShare, judgeMs, checkpointEvery } = this.#scenario;
    this.#coordinator = new SimulatedCoordinator({
      clock: this.#clock,
      chance: this.#chance,
      training,
      from: this.#checkpoint,
      minWorkers,
      auditShare,
      judgeMs,
      checkpointEvery,
      onCheckpoint: (progress) => (this.#checkpoint = progress),
      onBanned: (pid, reason) => this.#banned(pid, reason),
      onEnd: (outcome, progress) => {
        this.#outcome = outcome;
        this.#final = progress;
      },
      complain: this.#world.complain,
    });
  }

  #startWorker(character: Character): void {
    this.#workers.push(new SimulatedWorker(this.#workers.length + 1, this.#world, { ...character }));
  }

  #banned(pid: number, reason: string): void {
    this.#numBanned++;
    const worker = this.#workers.find((candidate) => candidate.pid === pid);
    if (worker?.isLiar !== true) return void this.#problems.push(`an honest worker was banned: ${reason}`);
    // It may come back as another process.
    if (this.#chance.isLucky(0.6)) this.#startWorker(worker.character);
  }

  #maybeCrash(): void {
    const { coordinatorCrashes } = this.#scenario;
    if (coordinatorCrashes === 0 || this.#numCrashes === MAX_CRASHES || !this.#coordinator) return;
    if (!this.#chance.isLucky(coordinatorCrashes)) return;
    this.#numCrashes++;
    this.#numFaults++;
    this.#coordinator.crash();
    this.#coordinator = undefined;
    this.#clock.after(this.#chance.between(50, 3_000), () => this.#startCoordinator());
  }

  #planFault(everyMs: number): void {
    this.#clock.after(this.#chance.between(0, 2 * everyMs), () => {
      if (this.#clock.nowMs > FAULTS_END_MS || this.#outcome !== undefined) return this.#startWorker(HONEST);
      this.#inject();
      this.#planFault(everyMs);
    });
  }

  /** One fault of one worker or its network. Whatever ends a process has another one start. */
  #inject(): void {
    const chance = this.#chance;
    const alive = this.#workers.filter(({ isGone }) => !isGone);
    const worker = chance.pick(alive);
    this.#numFaults++;
    if (alive.length === 0 || chance.isLucky(0.15)) return this.#startWorker(randomCharacter(chance, 0));
    const isLoss = chance.isLucky(0.5);
    if (isLoss && !this.#mayLose()) return;
    if (isLoss) this.#lose(worker);
    else if (chance.isLucky(0.3)) this.#replace(() => worker.leave());
    else if (chance.isLucky(0.5)) worker.stop(chance.between(10, 12_000));
    else worker.stallConnection(chance.between(10, 12_000));
  }

  #lose(worker: SimulatedWorker): void {
    const chance = this.#chance;
    const dice = chance.draw();
    if (dice < 0.4) this.#replace(() => worker.kill());
    else if (dice < 0.7) worker.breakConnection();
    else if (dice < 0.8) worker.fallSilent('both');
    else if (dice < 0.9) worker.fallSilent(chance.isLucky(0.5) ? 'up' : 'down');
    else worker.stop(chance.between(16_000, 60_000));
  }

  #replace(end: () => void): void {
    end();
    const delayMs = this.#chance.between(10, 5_000);
    this.#clock.after(delayMs, () => this.#startWorker(randomCharacter(this.#chance, 0)));
  }

  #mayLose(): boolean {
    const version = this.#checkpoint.step;
    if (this.#losses.version !== version) this.#losses = { version, count: 0 };
    return this.#losses.count++ < MAX_LOSSES;
  }

  #judge(): void {
    const { expected, training, seed } = this.#scenario;
    if (this.#outcome !== expected) this.#problems.push(`ended as ${this.#outcome}, not ${expected}`);
    const chain = this.#final?.chain ?? [];
    const right = faultFree(training);
    const wrong = chain.findIndex((value, index) => value !== right[index]);
    if (wrong >= 0) this.#problems.push(`the result of round ${wrong} is wrong`);
    if (expected === 'finished' && this.#outcome === 'finished' && chain.length !== right.length) {
      this.#problems.push(`${chain.length} results of ${right.length}`);
    }
    if (this.#problems.length > 0)
      this.#problems.unshift(`seed ${seed}, ${Math.round(this.#clock.nowMs)} ms`);
  }
}

/** The scenario of a seed. */
export function scenarioOf(seed: number): Scenario {
  const chance = new Chance(Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995);
  const auditShare = chance.pick([0, 0, 0.3, 1, 1]);
  const liar = chance.isLucky(0.4) ? chance.pick(auditShare === 1 ? LIES : LOUD_LIES) : undefined;
  const numWorkers = chance.integer(1, 4);
  const workers = Array.from({ length: numWorkers }, (_, index) =>
    randomCharacter(chance, index === 0 ? 2 : 0),
  );
  if (liar) workers.push({ ...randomCharacter(chance, 0), lies: chance.pick([0.05, 0.5, 1]), lie: liar });
  const isFlapping = chance.isLucky(0.15);
  if (isFlapping) workers.push({ ...randomCharacter(chance, 0), flapMs: chance.between(300, 2_000) });
  const training = randomTraining(chance);
  const ending = chance.pick(ENDINGS);
  const totalSteps = training.numEpochs * training.stepsPerEpoch;
  const leaf = chance.integer(0, Math.min(...training.leafRows.map(({ length }) => length)) - 1);
  const isPoisonous = ending === 'failed' || ending === 'outOfMemory';
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
    checkpointEvery: chance.integer(1, 3),
    coordinatorCrashes: chance.pick([0, 0, 0.002, 0.01]),
    faultEveryMs: chance.pick([undefined, 100, 400, 2_000]),
    poison: isPoisonous ? { leaf, isOutOfMemory: ending === 'outOfMemory' } : undefined,
    expected: ending,
  };
}

const LIES = ['bit', 'bit', 'nan', 'huge'] as const;
/** Found without an audit. */
const LOUD_LIES = ['nan', 'huge'] as const;
const ENDINGS: readonly Outcome[] = [
  ...Array<Outcome>(17).fill('finished'),
  ...(['diverged', 'failed', 'outOfMemory'] as const),
];

function randomTraining(chance: Chance): Training {
  const rows = (max: number): number[] =>
    Array.from({ length: chance.integer(1, max) }, () => chance.integer(1, 16));
  const stepsPerEpoch = chance.integer(1, 4);
  return {
    numEpochs: chance.integer(1, 3),
    stepsPerEpoch,
    numPieces: chance.integer(1, 3),
    leafRows: Array.from({ length: stepsPerEpoch }, () => rows(12)),
    evaluationRows: rows(5),
    divergesAt: undefined,
  };
}

function randomCharacter(chance: Chance, maxFailures: number): Character {
  return {
    ...HONEST,
    link: {
      latencyMs: chance.pick([0.1, 1, 50]),
      jitterMs: chance.pick([0.1, 5, 100]),
      duplicates: chance.pick([0, 0, 0.1]),
    },
    speed: chance.pick([0.02, 0.2, 0.2, 1]),
    numFailures: chance.isLucky(0.1) ? chance.integer(0, maxFailures) : 0,
  };
}
