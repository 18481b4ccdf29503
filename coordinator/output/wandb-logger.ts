// Metrics for Weights & Biases, if the user asked for it. The service may be slow, wrong or away:
// every wait has a deadline, every failure is one warning, and `metrics.jsonl` has everything
// anyway.
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { Config } from '../../src/config/schema.ts';
import { recordNumber } from '../../src/json.ts';
import { resultValues, type MetricLogger, type MetricRecord } from './metric-logger.ts';
import type { Summary } from './summary.ts';

/** The names and labels of a run at the service. */
export interface WandbRunOptions {
  readonly project: string;
  /** Default: the account's own. */
  readonly entity?: string | undefined;
  readonly name: string;
  /** The file that remembers the id of the run there, for a run that resumes. */
  readonly idFile?: string | undefined;
  /** The resolved config. */
  readonly config: unknown;
  readonly tags: readonly string[];
}

/** Metrics in the form that the service takes: values that are not finite are strings. */
type WandbValues = Readonly<Record<string, number | string>>;

/** A message to the thread. */
export type WandbMessage =
  | { readonly type: 'log'; readonly step: number; readonly values: WandbValues }
  | { readonly type: 'finish'; readonly exitCode: number };

/** A message from the thread. */
export type WandbStatus = { readonly type: 'started'; readonly url: string } | { readonly type: 'finished' };

/** The user's wish to have a run recorded at the service, and under which name. */
export type WandbIntent =
  | { readonly kind: 'off' }
  | { readonly kind: 'disabled'; readonly reason: string }
  | { readonly kind: 'on'; readonly run: WandbRunOptions };

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Reads `tracking.wandb` and WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE. The config wins over the
 * environment.
 */
export function wandbIntent(config: Config, runName: string, env: Environment = process.env): WandbIntent {
  const settings = config.tracking.wandb;
  const project = settings?.project ?? env['WANDB_PROJECT'];
  if (!project) return { kind: 'off' };
  const mode = env['WANDB_MODE'] ?? 'online';
  if (mode !== 'online') {
    return {
      kind: 'disabled',
      reason: `WANDB_MODE=${mode}: nothing is sent, metrics are in the run directory`,
    };
  }
  const entity = settings?.entity ?? (env['WANDB_ENTITY'] || undefined);
  return { kind: 'on', run: { project, entity, name: runName, config, tags: settings?.tags ?? [] } };
}

/** Settings of a `WandbLogger`. */
export interface WandbLoggerOptions {
  readonly info: (message: string) => void;
  readonly warn: (message: string) => void;
  /** Longest wait for the service at the start, and again at the end. Default 10 s. */
  readonly deadlineMs?: number | undefined;
  /** Default: the environment of the process. The SDK reads WANDB_API_KEY and WANDB_BASE_URL. */
  readonly env?: Environment | undefined;
  /** The thread's program; default: the built one beside this file. */
  readonly program?: URL | undefined;
}

/** Sends metrics to Weights & Biases from a thread of its own. */
export class WandbLogger implements MetricLogger {
  readonly #thread: Worker;
  readonly #options: WandbLoggerOptions;
  readonly #deadlineMs: number;
  readonly #startTimer: NodeJS.Timeout;
  #state: 'starting' | 'started' | 'over' = 'starting';
  #lastStep = 0;
  #hasLogged = false;
  /** Text that the SDK wrote to the console, the only place where it gives reasons. */
  #complaint = '';
  #onOver: () => void = () => undefined;

  constructor(run: WandbRunOptions, options: WandbLoggerOptions) {
    this.#options = options;
    this.#deadlineMs = options.deadlineMs ?? 10_000;
    this.#thread = new Worker(options.program ?? new URL('./wandb-thread.js', import.meta.url), {
      // A config has passed through JSON or YAML, but may hold undefined, which a clone keeps and JSON drops.
      workerData: JSON.parse(JSON.stringify({ ...run, id: idOf(run) })) as WandbRunOptions,
      env: { ...(options.env ?? process.env) },
      stdout: true,
      stderr: true,
    });
    this.#thread.unref();
    this.#thread.stdout.resume();
    this.#thread.stderr.on('data', (chunk: Buffer) => (this.#complaint ||= firstLine(chunk.toString())));
    this.#thread.on('message', (status: WandbStatus) => this.#receive(status));
    this.#thread.on('error', (error) => this.#giveUp(explain(error)));
    this.#thread.on('exit', () => this.#giveUp('its thread ended'));
    this.#startTimer = setTimeout(() => {
      if (this.#state === 'starting') this.#giveUp(`no answer within ${this.#deadlineMs / 1000} s`);
    }, this.#deadlineMs).unref();
  }

  log({ _step, ...values }: MetricRecord): void {
    this.#hasLogged = true;
    this.#lastStep = _step;
    this.#send({ type: 'log', step: _step, values: recordValues(values) });
  }

  /**
   * Sends the records of a run that resumes in the places that they have there, so that what arrived
   * before is not there twice. A run that goes back leaves there what it has sent.
   */
  restart(records: Iterable<MetricRecord>): void {
    if (this.#hasLogged) return;
    for (const record of records) this.log(record);
  }

  async finish(summary: Summary | undefined): Promise<void> {
    if (this.#state === 'over') return;
    if (summary) {
      const times = { _runtime: summary.wallSeconds, _timestamp: Date.now() / 1000 };
      this.log({ _step: this.#lastStep, ...times, ...resultValues(summary) });
    }
    const over = new Promise<void>((resolve) => (this.#onOver = resolve));
    this.#send({ type: 'finish', exitCode: summary ? 0 : 1 });
    const timer = new AbortController();
    const late = delay(this.#deadlineMs, 'late', { signal: timer.signal }).catch(() => undefined);
    if ((await Promise.race([over, late])) === 'late') {
      this.#giveUp(`the last metrics were not taken within ${this.#deadlineMs / 1000} s`);
    }
    timer.abort();
    await this.#thread.terminate();
  }

  #send(message: WandbMessage): void {
    if (this.#state !== 'over') this.#thread.postMessage(message);
  }

  #receive(status: WandbStatus): void {
    switch (status.type) {
      case 'started':
        this.#state = 'started';
        this.#options.info(`W&B: recording at ${status.url}`);
        return;
      case 'finished':
        this.#end();
        return;
      default:
        status satisfies never;
    }
  }

  #giveUp(reason: string): void {
    if (this.#state === 'over') return;
    const cause = this.#complaint ? `${reason} (${this.#complaint})` : reason;
    this.#options.warn(`W&B: ${cause}; metrics are in the run directory only`);
    this.#end();
    void this.#thread.terminate();
  }

  #end(): void {
    this.#state = 'over';
    clearTimeout(this.#startTimer);
    this.#onOver();
  }
}

/** The id that the run had there, or a new one, which is remembered. */
function idOf({ project, entity, idFile }: WandbRunOptions): string {
  const place = `${entity ?? ''}/${project}`;
  try {
    const known = JSON.parse(fs.readFileSync(idFile ?? '', 'utf8')) as Record<string, unknown>;
    if (known['place'] === place && typeof known['id'] === 'string') return known['id'];
  } catch {
    // There is none, or nothing to read it from.
  }
  const id = randomBytes(4).toString('hex');
  if (idFile !== undefined) fs.writeFileSync(idFile, `${JSON.stringify({ place, id })}\n`);
  return id;
}

function recordValues(values: Readonly<Record<string, number>>): WandbValues {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, recordNumber(value)]));
}

function explain(error: Error): string {
  return 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND'
    ? 'the optional package @wandb/sdk is not installed'
    : firstLine(error.message);
}

function firstLine(text: string): string {
  return text.trim().split('\n', 1)[0]!.slice(0, 200);
}
