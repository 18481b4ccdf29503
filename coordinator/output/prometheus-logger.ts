// The newest value of each metric for Prometheus, which fetches `/metrics`: from a server of its own, or from
// the port of a coordinator.
import http from 'node:http';
import { Gauge, Registry } from 'prom-client';
import type { WorkerActivity } from '../training/compute.ts';
import type { MetricLogger, MetricRecord } from './metric-logger.ts';

/** Settings of a `PrometheusLogger`. */
export interface PrometheusOptions {
  /** The label `run` of every metric. */
  readonly run: string;
}

export class PrometheusLogger implements MetricLogger {
  readonly #registry = new Registry();
  readonly #gauges = new Map<string, Gauge>();
  #server: http.Server | undefined;

  constructor({ run }: PrometheusOptions) {
    this.#registry.setDefaultLabels({ run });
  }

  log({ _step, _runtime, _timestamp, ...values }: MetricRecord): void {
    this.set({ step: _step, runtimeSeconds: _runtime, ...values });
  }

  /** Replaces values by name. */
  set(values: Readonly<Record<string, number>>): void {
    for (const [name, value] of Object.entries(values)) this.#gaugeOf(name).set(value);
  }

  /** Replaces the counters of all workers. */
  setWorkers(workers: readonly WorkerActivity[]): void {
    for (const counter of WORKER_COUNTERS) {
      const gauge = this.#gaugeOf(`worker/${counter}`, ['worker', 'name']);
      gauge.reset();
      for (const { worker, name, [counter]: value } of workers) gauge.set({ worker, name }, value);
    }
  }

  restart(records: Iterable<MetricRecord>): void {
    for (const record of records) this.log(record);
  }

  /** The page of all values, and its type. */
  async page(): Promise<{ readonly text: string; readonly type: string }> {
    return { text: await this.#registry.metrics(), type: this.#registry.contentType };
  }

  /** Serves `/metrics` until `finish`; returns the port. @throws the system's error if it cannot listen. */
  listen({ host, port }: { readonly host: string; readonly port: number }): Promise<number> {
    const server = http.createServer({ requestTimeout: REQUEST_MS }, (request, response) => {
      if (request.url?.split('?')[0] !== '/metrics') response.writeHead(404).end('see /metrics\n');
      else if (request.method !== 'GET' && request.method !== 'HEAD') response.writeHead(405).end();
      else
        this.page()
          .then(({ text, type }) => response.writeHead(200, { 'content-type': type }).end(text))
          .catch(() => response.destroy());
    });
    server.maxConnections = MAX_CONNECTIONS;
    this.#server = server.unref();
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, () => {
        server.off('error', reject).on('error', () => undefined);
        resolve((server.address() as { port: number }).port);
      });
    });
  }

  finish(): Promise<void> {
    this.#server?.close();
    this.#server?.closeAllConnections();
    return Promise.resolve();
  }

  #gaugeOf(metric: string, labelNames: readonly string[] = []): Gauge {
    const known = this.#gauges.get(metric);
    if (known) return known;
    const name = `lockstep_${metric.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`).replace(/\W/g, '_')}`;
    const gauge = new Gauge({ name, help: `the newest ${metric}`, labelNames, registers: [this.#registry] });
    this.#gauges.set(metric, gauge);
    return gauge;
  }
}

const WORKER_COUNTERS = ['tasks', 'shards', 'computeMs', 'bytesReceived', 'bytesSent', 'failures'] as const;
const REQUEST_MS = 10_000;
const MAX_CONNECTIONS = 32;
