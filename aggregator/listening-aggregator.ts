// The aggregator of a worker process: a port to which workers come, for one run after the other.
import { MAX_WORKERS } from '../src/limits.ts';
import type { Logger } from '../src/log.ts';
import type { TlsFiles } from '../src/protocol/tls.ts';
import type { EvaluateMessage, TrainMessage } from '../src/protocol/message-types.ts';
import type { TaskRows } from '../src/engine/engine.ts';
import { ANY_HOST } from '../src/protocol/connection.ts';
import { listen } from '../coordinator/cluster/listener.ts';
import type { Listener } from '../coordinator/cluster/listener.ts';
import type { AggregatedRun, Aggregator } from '../worker/aggregator.ts';
import type { TaskReports } from '../worker/compute-pool.ts';
import { AggregatedCluster } from './aggregated-cluster.ts';

/** The port of an aggregator. */
export interface AggregatorOptions {
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** The address that other workers are told, where they reach this port by another one. */
  readonly announced?: { readonly host: string; readonly port: number } | undefined;
  /** Without them the port speaks no TLS. */
  readonly tls?: TlsFiles | undefined;
  /** Shown by workers; required unless `host` is a loopback address. */
  readonly token: string | undefined;
  readonly log: Logger;
}

/** An aggregator with a port of its own. */
export class ListeningAggregator implements Aggregator {
  readonly listen: Aggregator['listen'];
  readonly #listener: Listener;
  readonly #log: Logger;
  /** Made when the first worker comes. */
  #cluster: AggregatedCluster | undefined;

  private constructor(listener: Listener, { announced, log, tls }: AggregatorOptions) {
    const { host, port } = listener;
    const address = announced ?? (ANY_HOST.includes(host) ? { port } : { host, port });
    this.listen = tls ? { ...address, isSecure: true } : address;
    this.#listener = listener;
    this.#log = log;
  }

  /** Opens the port. @throws LockstepError if that is not possible */
  static async start(options: AggregatorOptions): Promise<ListeningAggregator> {
    return new ListeningAggregator(await listen({ ...options, maxWorkers: MAX_WORKERS }), options);
  }

  get numWorkers(): number {
    return this.#cluster?.numWorkers ?? 1;
  }

  open(run: AggregatedRun): void {
    this.#listener.admit((connection) =>
      (this.#cluster ??= new AggregatedCluster(run, this.#log)).admit(connection),
    );
  }

  passOnWeights(version: number, bucket: number): void {
    this.#cluster?.passOnWeights(version, bucket);
  }

  compute(message: TrainMessage | EvaluateMessage, rows: TaskRows, reports: TaskReports): Promise<number> {
    if (!this.#cluster) return Promise.reject(new Error('there is no worker to share a task with'));
    return this.#cluster.compute(message, rows, reports);
  }

  abandon(): void {
    this.#cluster?.abandon();
  }

  close(reason: string, isOver: boolean): void {
    this.#listener.admit(undefined);
    this.#cluster?.close(reason, isOver);
    this.#cluster = undefined;
  }

  /** Closes the port. */
  async end(): Promise<void> {
    this.close('this worker ends', false);
    await this.#listener.close();
  }
}
