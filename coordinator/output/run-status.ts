// A run as its port tells it over HTTP while it lasts: `/status` for people and programs, `/metrics` for
// Prometheus. It is one of the destinations of metrics, and asks the cluster for the rest when it is asked.
import type { Config } from '../../src/config/schema.ts';
import type { Cluster } from '../cluster/cluster.ts';
import type { WorkerActivity } from '../training/compute.ts';
import { VERSION } from '../../src/version.ts';
import type { MetricLogger, MetricRecord } from './metric-logger.ts';
import { PrometheusLogger } from './prometheus-logger.ts';

/** The run that a standby follows. */
export interface StandbyReport {
  /** The process that leads the run. */
  readonly leader: string;
  /** The address at which it takes workers; null if it takes none. */
  readonly address: string | null;
  /** Time since it gave a sign of life. */
  readonly silentSeconds: number;
  /** Time after which it is taken for lost; null if only its death counts. */
  readonly leaseSeconds: number | null;
  /** The newest step that it has recorded, and the newest one that it has saved. */
  readonly step: number;
  readonly newestCheckpoint: number | null;
}

/** The answer to `GET /status`. */
export interface StatusReport {
  readonly version: string;
  readonly name: string;
  /** `waiting`: for workers, without which no step begins. `standby`: for the end of another coordinator. */
  readonly state: 'preparing' | 'standby' | 'waiting' | 'training';
  /** The run that it follows as a standby; null otherwise. */
  readonly standby: StandbyReport | null;
  /** The run's directory on the coordinator; null until it is there. */
  readonly directory: string | null;
  readonly seconds: number;
  readonly epoch: number;
  readonly epochs: number;
  readonly step: number;
  /** Steps of all epochs; null until the data are loaded. */
  readonly steps: number | null;
  /** The mean since this process took its first step; null before the second. */
  readonly samplesPerSecond: number | null;
  /** The newest value of each metric, such as `train/stepLoss` and `val/loss`. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Workers that take part, and how many a step requires. */
  readonly numWorkers: number;
  readonly minWorkers: number;
  /** The command that starts more of them. */
  readonly joinHint: string | null;
  readonly workers: readonly WorkerActivity[];
}

/** The parts of a cluster that are told. */
type WatchedCluster = Pick<Cluster, 'numWorkers' | 'activity'>;

/** The status of one run. */
export class RunStatus implements MetricLogger {
  readonly #config: Config;
  readonly #minWorkers: number;
  readonly #startedMs = performance.now();
  readonly #prometheus: PrometheusLogger;
  #metrics: Record<string, number> = {};
  #directory: string | undefined;
  #stepsPerEpoch: number | undefined;
  #cluster: WatchedCluster | undefined;
  #joinHint: string | undefined;
  #standby: StandbyReport | undefined;
  #step = 0;
  /** The first step of this process and its end. */
  #first: { readonly step: number; readonly atMs: number } | undefined;
  #latestMs = 0;

  constructor(config: Config, { minWorkers }: { readonly minWorkers: number }) {
    this.#config = config;
    this.#minWorkers = minWorkers;
    this.#prometheus = new PrometheusLogger({ run: config.name });
  }

  /** Takes note that the data are loaded and the records open. */
  show(directory: string, stepsPerEpoch: number): void {
    this.#directory = directory;
    this.#stepsPerEpoch = stepsPerEpoch;
  }

  /** Tells about the run that this process follows; undefined from when on it follows none. */
  standBy(report: StandbyReport | undefined): void {
    this.#standby = report;
  }

  /** The reason why no worker may come yet. */
  get notReady(): string {
    if (!this.#standby) return 'the run is being prepared';
    return `standby: ${this.#standby.address ?? this.#standby.leader} leads`;
  }

  /** Tells about these workers from now on. */
  watch(cluster: WatchedCluster, joinHint: string): void {
    this.#cluster = cluster;
    this.#joinHint = joinHint;
  }

  log(record: MetricRecord): void {
    this.#take(record);
    this.#latestMs = performance.now();
    this.#first ??= { step: record._step, atMs: this.#latestMs };
  }

  restart(records: Iterable<MetricRecord>): void {
    this.#metrics = {};
    this.#first = undefined;
    for (const record of records) this.#take(record);
  }

  /** Nothing to do: the port is closed with the training. */
  finish(): Promise<void> {
    return Promise.resolve();
  }

  /** True once workers may come. */
  get isReady(): boolean {
    return this.#cluster !== undefined;
  }

  report(): StatusReport {
    const { epochs, name } = this.#config;
    const { epoch = 0, ...metrics } = this.#metrics;
    const { numWorkers = 0, activity } = this.#cluster ?? {};
    return {
      version: VERSION,
      name,
      state: this.#stateOf(numWorkers),
      standby: this.#standby ?? null,
      directory: this.#directory ?? null,
      seconds: (performance.now() - this.#startedMs) / 1000,
      epoch,
      epochs,
      step: this.#step,
      steps: this.#stepsPerEpoch === undefined ? null : epochs * this.#stepsPerEpoch,
      samplesPerSecond: this.#samplesPerSecond(),
      metrics,
      numWorkers,
      minWorkers: this.#minWorkers,
      joinHint: this.#joinHint ?? null,
      workers: activity?.workers ?? [],
    };
  }

  /** The report as the page that Prometheus fetches, and its type. */
  page(): Promise<{ readonly text: string; readonly type: string }> {
    const { numWorkers, minWorkers, samplesPerSecond, workers } = this.report();
    this.#prometheus.set({ workers: numWorkers, minWorkers, samplesPerSecond: samplesPerSecond ?? 0 });
    this.#prometheus.setWorkers(workers);
    return this.#prometheus.page();
  }

  #take(record: MetricRecord): void {
    const { _step, _runtime, _timestamp, ...metrics } = record;
    Object.assign(this.#metrics, metrics);
    this.#step = _step;
    this.#prometheus.log(record);
  }

  #stateOf(numWorkers: number): StatusReport['state'] {
    if (this.#standby) return 'standby';
    if (!this.#cluster) return 'preparing';
    return numWorkers < this.#minWorkers ? 'waiting' : 'training';
  }

  #samplesPerSecond(): number | null {
    if (!this.#first || this.#step === this.#first.step) return null;
    const seconds = (this.#latestMs - this.#first.atMs) / 1000;
    return ((this.#step - this.#first.step) * this.#config.batchSize) / seconds;
  }
}
