// Training steps of a cluster that need not exist, event by event: processors, cores and network cards
// take what they are given one after the other, and messages follow the code of coordinator, aggregators
// and workers. Pure: costs come from outside, and time is virtual.
import { Placement } from '../coordinator/cluster/placement.ts';
import { Pace } from '../coordinator/scheduler/pace.ts';
import { divideShards } from '../coordinator/scheduler/divide-shards.ts';
import type { PlannedTask } from '../coordinator/scheduler/outcome.ts';
import { maximalNodes, ReductionTree } from '../src/tree.ts';
import type { ShardRange, TreeNode } from '../src/tree.ts';
import type { LinkSpeed } from './link.ts';
import { Card, Pipe } from './shaped-link.ts';
import { Flow, Thread, VirtualTime } from './virtual-machine.ts';

/** Milliseconds of the work on one bucket, and the bytes of its values. */
export interface BucketCosts {
  readonly bytes: number;
  /** A worker fingerprints, encodes and sends a sum. */
  readonly sendSumMs: number;
  /** A sum is read from the socket. */
  readonly receiveSumMs: number;
  /** A sum is copied, compared with its fingerprint and searched for values that are not finite. */
  readonly checkSumMs: number;
  readonly addMs: number;
  /** The optimizer's step. */
  readonly updateMs: number;
  readonly encodeWeightsMs: number;
  /** Weights are handed to the socket of one worker. */
  readonly sendWeightsMs: number;
  /** A worker reads, stores and checks weights. */
  readonly receiveWeightsMs: number;
}

/** A sum that a task results in, milliseconds after the one before it. */
export interface TimedSum {
  readonly node: TreeNode;
  readonly bucket: number;
  readonly ms: number;
}

/** The costs of a step's parts. */
export interface SimulationCosts {
  readonly numShards: number;
  /** Rows of a batch, whose numbers travel with the tasks. */
  readonly numRows: number;
  /** True where the norm of the gradient is clipped: no bucket is finished before all are summed. */
  readonly clipsNorm: boolean;
  readonly packMs: number;
  /** Sending and receiving a small message: a task, or that it is done. */
  readonly sendNoteMs: number;
  readonly receiveNoteMs: number;
  readonly buckets: readonly BucketCosts[];
  /** The sums of a task of shards [from, to), as one thread completes them. */
  sumsOf(from: number, to: number): readonly TimedSum[];
}

/** A cluster to simulate. */
export interface SimulatedCluster {
  readonly workers: number;
  /** Compute threads of each worker. */
  readonly threads: number;
  readonly link: LinkSpeed;
  /** Workers of each place in a tree; undefined for a star. */
  readonly fanIn: number | undefined;
  /** Cores that all processes share; undefined where each has a machine with enough of them. */
  readonly cores: number | undefined;
}

/** The parts of a cluster that may limit it. */
export type Limit =
  | 'computing'
  | 'the cores that all share'
  | "the coordinator's processor"
  | "the coordinator's link, up"
  | "the coordinator's link, down"
  | "an aggregator's processor"
  | "an aggregator's link";

/** The means of simulated steps. */
export interface SimulatedSteps {
  readonly stepMs: number;
  /** Bytes that the coordinator receives, and those that it sends. */
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** The share of the time in which each is busy; of workers and aggregators the busiest. */
  readonly busy: Readonly<Record<Limit, number>>;
}

/** Bytes of a message's head. */
const HEAD_BYTES = 256;
/** Steps until they repeat, and those that are measured. */
const STEPS = { before: 10, measured: 10 } as const;

/** Simulates some steps, until they repeat, and then those that count. */
export function simulateSteps(cluster: SimulatedCluster, costs: SimulationCosts): SimulatedSteps {
  const time = new VirtualTime(cluster.cores ?? Infinity);
  const coordinator = placeWorkers({ cluster, costs, time });
  const endsMs: number[] = [];
  let before = coordinator.snapshot();
  coordinator.onStep = () => {
    endsMs.push(time.nowMs());
    if (endsMs.length === STEPS.before) before = coordinator.snapshot();
    if (endsMs.length < STEPS.before + STEPS.measured) coordinator.begin({ from: 0, to: costs.numShards });
  };
  coordinator.begin({ from: 0, to: costs.numShards });
  time.run();
  const endOf = (step: number): number => endsMs[step - 1] as number;
  const spentMs = endOf(STEPS.before + STEPS.measured) - endOf(STEPS.before);
  const after = coordinator.snapshot();
  const busy = Object.fromEntries(
    Object.entries(after.busyMs).map(([limit, ms]) => [
      limit,
      (ms - before.busyMs[limit as Limit]) / spentMs,
    ]),
  ) as SimulatedSteps['busy'];
  return {
    stepMs: spentMs / STEPS.measured,
    bytesUp: (after.bytesUp - before.bytesUp) / STEPS.measured,
    bytesDown: (after.bytesDown - before.bytesDown) / STEPS.measured,
    busy,
  };
}

/** The parts that all places share. */
interface Simulation {
  readonly cluster: SimulatedCluster;
  readonly costs: SimulationCosts;
  readonly time: VirtualTime;
}

/** Counters of a whole cluster. */
interface Snapshot {
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly busyMs: Record<Limit, number>;
}

/** A worker below a place, and the connection. */
interface Below {
  readonly place: Place;
  readonly down: Flow;
}

/** The place that a worker is below, and the connection. */
interface Above {
  readonly place: Place;
  /** The worker's number there. */
  readonly id: number;
  readonly up: Flow;
}

/** A task, and the sums that are still to come. */
interface GivenTask {
  readonly numShards: number;
  readonly givenMs: number;
  numSums: number;
}

/** The coordinator, an aggregator or a worker, on a machine of its own. */
class Place {
  readonly card: Card;
  readonly #simulation: Simulation;
  /** The thread of its sockets. */
  readonly #main: Thread;
  readonly #threads: readonly Thread[];
  #above: Above | undefined;
  readonly #below: Below[] = [];
  #atWork: readonly Below[] = [];
  readonly #pace = new Pace();
  /** The tasks of this round, by worker. */
  readonly #tasks = new Map<number, GivenTask>();
  #trees: readonly ReductionTree<number>[] = [];
  #numSums = 0;
  #summed: number[] = [];
  #numFinished = 0;
  /** Called when a step is done. */
  onStep: () => void = () => undefined;

  constructor(simulation: Simulation, numThreads: number) {
    const { cluster, time } = simulation;
    this.#simulation = simulation;
    this.card = new Card(cluster.link);
    this.#main = new Thread(time);
    this.#threads = Array.from({ length: numThreads }, () => new Thread(time));
    if (numThreads > 0) this.#pace.join(OWN, 0);
  }

  /** Takes a worker. */
  take(place: Place): void {
    const { cluster, time } = this.#simulation;
    const flow = (from: Card, to: Card): Flow => new Flow(new Pipe(from, to, cluster.link, time));
    const id = this.#below.length;
    this.#pace.join(id, 0);
    this.#below.push({ place, down: flow(this.card, place.card) });
    place.#above = { place: this, id, up: flow(place.card, this.card) };
  }

  /** Begins a round of shards: gives each worker its task. */
  begin(shards: ShardRange): void {
    const { numShards, buckets } = this.#simulation.costs;
    this.#trees = buckets.map(() => new ReductionTree<number>(numShards, shards));
    this.#numSums = 0;
    this.#summed = [];
    this.#numFinished = 0;
    const ids = [...(this.#threads.length > 0 ? [OWN] : []), ...this.#below.keys()];
    const shares = ids.map((id) => ({ id, speed: this.#pace.speedOf(id) }));
    const tasks = divideShards(shards, shares);
    const supplied = this.#atWork;
    this.#atWork = tasks.flatMap(({ worker }) => this.#below[worker] ?? []);
    for (const { worker, from, to } of tasks) {
      const numSums = buckets.length * maximalNodes(from, to, numShards).length;
      this.#tasks.set(worker, { numShards: to - from, givenMs: this.#simulation.time.nowMs(), numSums });
    }
    this.#give(tasks, supplied);
  }

  /** Gives tasks and, to workers that have not been sent the weights as these were made, the weights. */
  #give([first, ...rest]: readonly PlannedTask[], supplied: readonly Below[]): void {
    if (!first) return;
    const { costs } = this.#simulation;
    const below = this.#below[first.worker];
    if (!below) {
      this.#compute(first, (sum) =>
        this.#main.run(this.#costsOf(sum).checkSumMs, () => this.#accept(sum, OWN)),
      );
      return this.#give(rest, supplied);
    }
    const rowBytes = (4 * costs.numRows * (first.to - first.from)) / costs.numShards;
    const lacking = supplied.includes(below) ? [] : [...costs.buckets.keys()];
    this.#sendWeights(
      lacking.map((bucket) => ({ bucket, below })),
      () =>
        this.#main.goOn(costs.sendNoteMs, () => {
          below.down.send(HEAD_BYTES + rowBytes, () => below.place.#takeTask(first));
          this.#give(rest, supplied);
        }),
    );
  }

  #takeTask(shards: ShardRange): void {
    this.#main.run(this.#simulation.costs.receiveNoteMs, () => {
      if (this.#below.length > 0) return this.begin(shards);
      this.#numSums = 0;
      const numSums = this.#compute(shards, (sum) =>
        this.#main.run(this.#costsOf(sum).sendSumMs, () => this.#sendSum(sum, numSums)),
      );
    });
  }

  /** Computes a task, and passes each sum on as it is complete; returns how many there will be. */
  #compute({ from, to }: ShardRange, onSum: (sum: TimedSum) => void): number {
    const { costs } = this.#simulation;
    const { packMs } = costs;
    const [first, ...others] = this.#threads.slice(0, to - from);
    const sums = costs.sumsOf(from, to);
    if (others.length === 0) {
      first?.run(packMs, () => undefined);
      for (const sum of sums) first?.run(sum.ms, () => onSum(sum));
      return sums.length;
    }
    // Several threads add their sums up when all of them are done.
    const share = costs.sumsOf(from, from + Math.ceil((to - from) / (1 + others.length)));
    const ms = share.reduce((total, sum) => total + sum.ms, packMs / (1 + others.length));
    for (const thread of others) thread.run(ms, () => undefined);
    first?.run(ms, () => sums.forEach(onSum));
    return sums.length;
  }

  /** Sends a sum up and, after the last one, that the task is done. */
  #sendSum(sum: TimedSum, numSums: number): void {
    const { receiveNoteMs, sendNoteMs } = this.#simulation.costs;
    const above = this.#above as Above;
    above.up.send(HEAD_BYTES + this.#costsOf(sum).bytes, () => above.place.#takeSum(sum, above.id));
    if (++this.#numSums < numSums) return;
    this.#main.goOn(sendNoteMs, () =>
      above.up.send(HEAD_BYTES, () => above.place.#main.run(receiveNoteMs, () => undefined)),
    );
  }

  #takeSum(sum: TimedSum, worker: number): void {
    const { checkSumMs, receiveSumMs } = this.#costsOf(sum);
    this.#main.run(receiveSumMs + checkSumMs, () => this.#accept(sum, worker));
  }

  #accept({ node, bucket }: TimedSum, worker: number): void {
    const task = this.#tasks.get(worker);
    if (task && --task.numSums === 0)
      this.#pace.deliver(worker, task.numShards, task.givenMs, this.#simulation.time.nowMs());
    const costs = this.#costsOf({ bucket });
    const tree = this.#trees[bucket] as ReductionTree<number>;
    const added = tree.add(node, 0);
    if (!added) throw new Error(`the simulation computes bucket ${bucket} of ${JSON.stringify(node)} twice`);
    this.#main.goOn(added.merges.length * costs.addMs, () => {
      if (!tree.isMaximal(added.node)) return;
      if (!this.#above) return this.#finish(bucket);
      const numSums = this.#trees.reduce((total, { numMaximal }) => total + numMaximal, 0);
      this.#main.goOn(costs.sendSumMs, () => this.#sendSum({ node: added.node, bucket, ms: 0 }, numSums));
    });
  }

  /** Takes the optimizer's step, and sends the next weights. */
  #finish(bucket: number): void {
    const { buckets, clipsNorm } = this.#simulation.costs;
    this.#summed.push(bucket);
    if (!clipsNorm) return this.#update([bucket]);
    if (this.#summed.length === buckets.length) this.#update(this.#summed);
  }

  #update([first, ...rest]: readonly number[]): void {
    if (first === undefined) return;
    this.#main.goOn(this.#costsOf({ bucket: first }).updateMs, () =>
      this.#passOn(first, () => {
        this.#update(rest);
        if (++this.#numFinished === this.#simulation.costs.buckets.length) this.onStep();
      }),
    );
  }

  /** Sends weights to all below that are at work. */
  #passOn(bucket: number, then: () => void): void {
    this.#main.goOn(this.#costsOf({ bucket }).encodeWeightsMs, () =>
      this.#sendWeights(
        this.#atWork.map((below) => ({ bucket, below })),
        then,
      ),
    );
  }

  #sendWeights([first, ...rest]: readonly { bucket: number; below: Below }[], then: () => void): void {
    if (!first) return then();
    const { bucket, below } = first;
    const { bytes, sendWeightsMs } = this.#costsOf(first);
    this.#main.goOn(sendWeightsMs, () => {
      below.down.send(HEAD_BYTES + bytes, () => below.place.#takeWeights(bucket));
      this.#sendWeights(rest, then);
    });
  }

  #takeWeights(bucket: number): void {
    this.#main.run(this.#costsOf({ bucket }).receiveWeightsMs, () => {
      if (this.#atWork.length > 0) this.#passOn(bucket, () => undefined);
    });
  }

  #costsOf({ bucket }: { readonly bucket: number }): BucketCosts {
    return this.#simulation.costs.buckets[bucket] as BucketCosts;
  }

  /** Counters of this place, as the coordinator, and of all below. */
  snapshot(): Snapshot {
    const all = this.#all();
    const aggregators = all.filter((place) => place !== this && place.#below.length > 0);
    const most = (values: readonly number[]): number => Math.max(0, ...values);
    const threads = all.flatMap((place) => place.#threads);
    const { cores = Infinity } = this.#simulation.cluster;
    const allBusyMs = [...threads, ...all.map((place) => place.#main)].reduce(
      (sum, { busyMs }) => sum + busyMs,
      0,
    );
    return {
      bytesUp: this.#below.reduce((total, { place }) => total + (place.#above?.up.bytes ?? 0), 0),
      bytesDown: this.#below.reduce((total, { down }) => total + down.bytes, 0),
      busyMs: {
        computing: most(threads.map(({ busyMs }) => busyMs)),
        'the cores that all share': allBusyMs / cores,
        "the coordinator's processor": this.#main.busyMs,
        "the coordinator's link, up": this.card.receives.busyMs,
        "the coordinator's link, down": this.card.sends.busyMs,
        "an aggregator's processor": most(aggregators.map((place) => place.#main.busyMs)),
        "an aggregator's link": most(
          aggregators.flatMap(({ card }) => [card.receives.busyMs, card.sends.busyMs]),
        ),
      },
    };
  }

  #all(): Place[] {
    return [this, ...this.#below.flatMap(({ place }) => place.#all())];
  }
}

/** The number of a place among the workers that share a task with it. */
const OWN = -1;
/** Places the workers of a cluster as a coordinator and its aggregators would; returns the coordinator. */
function placeWorkers(simulation: Simulation): Place {
  const { fanIn = Infinity, threads, workers } = simulation.cluster;
  const placement = (): Placement =>
    new Placement({ fanIn, isDistrusted: () => false, onBeyond: () => undefined });
  const coordinator = { place: new Place(simulation, 0), placement: placement() };
  const all = new Map<string, typeof coordinator>();
  for (let index = 0; index < workers; index++) {
    const worker = { place: new Place(simulation, threads), placement: placement() };
    const hello = { instance: `${index}`, listen: { host: 'worker', port: index } };
    all.set(`ws://worker:${index}`, worker);
    let at: typeof coordinator = coordinator;
    for (;;) {
      const url = at.placement.place({ remoteAddress: '' }, hello);
      if (url === undefined) break;
      at = all.get(url) as typeof coordinator;
    }
    at.place.take(worker.place);
  }
  return coordinator.place;
}
