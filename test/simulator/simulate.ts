// One simulated training with all faults of a seed, and the oracle: whatever happens, every round has the
// result of an undisturbed training, no honest worker is banned, and the training ends.
import { SimulatedCoordinator, isUnfit } from './coordinator.ts';
import { HONEST, randomCharacter } from './scenarios.ts';
import type { Scenario } from './scenarios.ts';
import { faultFree, startOf } from './training.ts';
import type { Outcome, Progress } from './training.ts';
import { Chance, VirtualClock } from './virtual-time.ts';
import { SimulatedWorker } from './worker.ts';
import type { Character, World } from './worker.ts';

/** The outcome of a simulation. */
export interface Result {
  readonly outcome: Outcome | undefined;
  /** Empty if all is well. */
  readonly problems: readonly string[];
  readonly endMs: number;
  readonly numEvents: number;
  readonly numFaults: number;
  readonly numBanned: number;
  /** Workers disconnected for results that they did not owe. */
  readonly numUnowed: number;
  /** How often the training was rolled back because of a liar. */
  readonly numWentBack: number;
  /** Shards that a coordinator computed itself. */
  readonly numComputedHere: number;
  /** Number of messages that each worker has sent. */
  readonly numSent: readonly number[];
}

/** No training takes longer than this, whatever happens to it. */
const DEADLINE_MS = 1_800_000;
/** After this no new faults happen. */
const FAULTS_END_MS = 300_000;
const MAX_CRASHES = 3;
/** Workers that may be lost for one result of the training: at eight the coordinator blames the shard. */
const MAX_LOSSES = 5;
/** Delay until it is known why a process ended: long before eight of them have. */
const NEWS_MS = 20;
const MAX_EVENTS = 400_000;

/** Runs a scenario to its end. */
export function simulate(scenario: Scenario): Result {
  return new Simulation(scenario).run();
}

class Simulation {
  readonly #scenario: Scenario;
  readonly #clock = new VirtualClock();
  readonly #chance: Chance;
  readonly #world: World;
  readonly #workers: SimulatedWorker[] = [];
  readonly #problems: string[] = [];
  #coordinator: SimulatedCoordinator | undefined;
  /** Oldest first; the start is one. */
  #checkpoints: Progress[];
  #outcome: Outcome | undefined;
  #final: Progress | undefined;
  #numEvents = 0;
  #numFaults = 0;
  #numCrashes = 0;
  #numBanned = 0;
  #numUnowed = 0;
  #numWentBack = 0;
  #numComputedHere = 0;
  readonly #isBanned = new Set<SimulatedWorker>();
  #isDeserted = false;
  #losses = { version: -1, count: 0 };

  constructor(scenario: Scenario) {
    this.#scenario = scenario;
    this.#chance = new Chance(scenario.seed);
    this.#checkpoints = [startOf(scenario.training)];
    this.#world = {
      clock: this.#clock,
      chance: this.#chance,
      divergesAt: scenario.training.divergesAt,
      poison: scenario.poison,
      onPoisoned: (worker) => this.#poisoned(worker),
      onVanished: (worker) => this.#vanished(worker),
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
      numUnowed: this.#numUnowed,
      numWentBack: this.#numWentBack,
      numComputedHere: this.#numComputedHere,
      numSent: this.#workers.map(({ numSent }) => numSent),
    };
  }

  #startCoordinator(): void {
    const { training, minWorkers, waitMs, auditShare, room, judgeMs, checkpointEvery, poison } =
      this.#scenario;
    this.#coordinator = new SimulatedCoordinator({
      clock: this.#clock,
      chance: this.#chance,
      training,
      from: this.#checkpoint,
      poisonedShard: poison?.sparesCoordinator === false ? poison.shard : undefined,
      minWorkers,
      waitMs,
      auditShare,
      room,
      judgeMs,
      checkpointEvery,
      onCheckpoint: (progress) => this.#save(progress),
      goBack: (steps) => this.#goBack(steps),
      onComputedHere: () => this.#numComputedHere++,
      onBanned: (pid, reason) => this.#banned(pid, reason),
      onUnowed: (pid) => this.#unowed(pid),
      onEnd: (outcome, progress) => {
        this.#outcome = outcome;
        this.#final = progress;
      },
      complain: this.#world.complain,
    });
  }

  get #checkpoint(): Progress {
    return this.#checkpoints.at(-1);
  }

  #goBack(steps: number): Progress {
    this.#numWentBack++;
    this.#checkpoints = this.#checkpoints.filter(({ step }, index) => index === 0 || step <= steps);
    return this.#checkpoint;
  }

  #save(progress: Progress): void {
    this.#checkpoints.push(progress);
    const { desertedAtStep } = this.#scenario;
    if (desertedAtStep === undefined || progress.step < desertedAtStep) return;
    this.#isDeserted = true;
    for (const worker of this.#workers) worker.leave();
  }

  #startWorker(character: Character): void {
    if (this.#isDeserted) return;
    this.#workers.push(new SimulatedWorker(this.#workers.length + 1, this.#world, { ...character }));
  }

  #banned(pid: number, reason: string): void {
    this.#numBanned++;
    const worker = this.#workers.find((candidate) => candidate.pid === pid);
    const isAtFault = isUnfit(reason) ? worker?.isUnfit : worker?.isLiar;
    if (!worker || isAtFault !== true) {
      return void this.#problems.push(`an honest worker was banned: ${reason}`);
    }
    this.#isBanned.add(worker);
    if (worker.character.rejoinMs !== undefined) this.#rejoin(worker);
    // It may come back as another process.
    else if (this.#chance.isLucky(0.6)) this.#startWorker(worker.character);
  }

  #vanished(worker: SimulatedWorker): void {
    worker.kill();
    this.#rejoin(worker);
  }

  #rejoin({ character }: SimulatedWorker): void {
    this.#clock.after(character.rejoinMs ?? 0, () => this.#startWorker(character));
  }

  #unowed(pid: number): void {
    const worker = this.#workers.find((candidate) => candidate.pid === pid);
    if (worker?.isFlooding === true) this.#numUnowed++;
    else this.#problems.push('an answer that was owed was taken for one that was not');
  }

  /** The process ends; its parent reports why, before or after the connection is lost. */
  #poisoned(worker: SimulatedWorker): void {
    this.#replace(() => worker.kill());
    if (this.#scenario.poison?.isOutOfMemory !== true) return;
    const news = (): void => this.#coordinator?.ranOutOfMemory(worker.pid);
    this.#clock.after(this.#chance.between(0, NEWS_MS), news);
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

  /** One fault of one worker or its network. A process that ends is replaced by another one. */
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
    else if (chance.isLucky(0.4)) worker.hang(chance.between(1_000, DEADLINE_MS));
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
    // A lie that no audit has checked remains unknown.
    const isUnseen = this.#workers.some((worker) => worker.hasLied && !this.#isBanned.has(worker));
    if (wrong >= 0 && !(isUnseen && this.#scenario.auditShare < 1))
      this.#problems.push(`the result of round ${wrong} is wrong`);
    if (expected === 'finished' && this.#outcome === 'finished' && chain.length !== right.length) {
      this.#problems.push(`${chain.length} results of ${right.length}`);
    }
    if (this.#problems.length > 0)
      this.#problems.unshift(`seed ${seed}, ${Math.round(this.#clock.nowMs)} ms`);
  }
}
