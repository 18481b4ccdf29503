// Metrics for MLflow, over its REST API, if the user asked for it. The server may be slow, wrong or away:
// records wait in a queue that no step waits for, every request has a deadline, and one warning says what
// is wrong. `metrics.jsonl` has everything anyway.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Config } from '../../src/config/schema.ts';
import { recordNumber } from '../../src/json.ts';
import { resultValues, type MetricLogger, type MetricRecord } from './metric-logger.ts';
import type { Summary } from './summary.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** The server and the names of a run there. */
export interface MlflowRunOptions {
  /** Address of the server. */
  readonly uri: string;
  readonly experiment: string;
  readonly name: string;
  readonly config: Config;
  /** The run's directory: its run at the server is remembered there, and its results are sent from there. */
  readonly directory: string;
}

/** Settings of an `MlflowLogger`. */
export interface MlflowLoggerOptions {
  readonly info: (message: string) => void;
  readonly warn: (message: string) => void;
  /** Longest wait for an answer, and at the end for the last records. Default 10 s. */
  readonly deadlineMs?: number | undefined;
  /** Longest wait for the files of the run at the end. Default 60 s. */
  readonly filesDeadlineMs?: number | undefined;
  /** Default: the environment of the process. */
  readonly env?: Environment | undefined;
}

/**
 * Reads `tracking.mlflow`, MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME, of which the config wins;
 * undefined if the user did not ask for MLflow, or names no server.
 */
export function mlflowIntent(
  { name, tracking }: Config,
  env: Environment = process.env,
): Pick<MlflowRunOptions, 'uri' | 'experiment'> | undefined {
  const uri = tracking.mlflow?.uri ?? env['MLFLOW_TRACKING_URI'];
  if (!uri) return undefined;
  return { uri, experiment: tracking.mlflow?.experiment ?? (env['MLFLOW_EXPERIMENT_NAME'] || name) };
}

/** The server's limits for a request of log-batch, and for the value of a parameter. */
const LIMITS = { metrics: 1000, params: 100, value: 500, key: 250 } as const;
/** Records wait this long for others to share a request with. */
const FLUSH_MS = 1000;
/** More values do not wait for a server that is away: some 100 MB. */
const MAX_WAITING = 1_000_000;
const LONGEST_RETRY_MS = 30_000;

interface Metric {
  readonly key: string;
  readonly value: number | string;
  readonly timestamp: number;
  readonly step: number;
}

interface ServerRun {
  readonly info: { readonly run_id: string; readonly artifact_uri?: string };
  readonly data?: { readonly metrics?: readonly { readonly key: string; readonly step: number | string }[] };
}

/** An answer that no repetition would change. */
class Refused extends Error {}

export class MlflowLogger implements MetricLogger {
  readonly #run: MlflowRunOptions;
  readonly #options: MlflowLoggerOptions;
  readonly #deadlineMs: number;
  readonly #base: URL;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #abort = new AbortController();
  readonly #over: Promise<void>;
  #waiting: Metric[] = [];
  #wake: () => void = () => undefined;
  #isEnding = false;
  #hasWarned = false;
  #isOver = false;
  #lastStep = 0;
  /** The last step of each metric that the server has, of a run that resumes. */
  #sent = new Map<string, number>();
  #server: ServerRun | undefined;

  constructor(run: MlflowRunOptions, options: MlflowLoggerOptions) {
    this.#run = run;
    this.#options = options;
    this.#deadlineMs = options.deadlineMs ?? 10_000;
    this.#base = parseUri(run.uri);
    this.#headers = {
      'content-type': 'application/json',
      ...authorization(this.#base, options.env ?? process.env),
    };
    this.#base.username = this.#base.password = '';
    this.#over = this.#work().catch((error: unknown) => this.#giveUp(error));
  }

  log({ _step, _runtime, _timestamp, ...values }: MetricRecord): void {
    if (this.#isOver) return;
    this.#lastStep = _step;
    const timestamp = Math.round(1000 * _timestamp);
    for (const [key, value] of Object.entries(values)) {
      this.#waiting.push({ key, value: recordNumber(value), timestamp, step: _step });
    }
    if (this.#waiting.length > MAX_WAITING) this.#giveUp(new Error(`${MAX_WAITING} values wait for it`));
  }

  /** Queues the records; those that the server has are left out once it is known which. */
  restart(records: Iterable<MetricRecord>): void {
    this.#waiting = [];
    for (const record of records) this.log(record);
    const sent = this.#sent;
    if (this.#server) this.#waiting = this.#waiting.filter(({ key, step }) => step > (sent.get(key) ?? -1));
  }

  async finish(summary: Summary | undefined): Promise<void> {
    if (this.#isOver) return;
    if (summary) {
      const _timestamp = Date.now() / 1000;
      this.log({
        _step: this.#lastStep,
        _runtime: summary.wallSeconds,
        _timestamp,
        ...resultValues(summary),
      });
    }
    this.#isEnding = true;
    this.#wake();
    await this.#within(this.#deadlineMs, this.#over, () => `${this.#waiting.length} values were not taken`);
    if (this.#isOver || !this.#server) return;
    const end = this.#end(this.#server, summary !== undefined).catch((error: unknown) => this.#giveUp(error));
    const filesMs = this.#options.filesDeadlineMs ?? 60_000;
    await this.#within(this.#deadlineMs + filesMs, end, () => 'the files of the run were not taken');
    this.#isOver = true;
  }

  async #within(milliseconds: number, work: Promise<void>, reason: () => string): Promise<void> {
    const timer = new AbortController();
    const late = delay(milliseconds, 'late', { signal: timer.signal }).catch(() => undefined);
    if ((await Promise.race([work, late])) === 'late') {
      this.#giveUp(new Error(`${reason()} within ${milliseconds / 1000} s`));
    }
    timer.abort();
  }

  async #work(): Promise<void> {
    this.#server = await this.#openRun();
    const sent = this.#sent;
    this.#waiting = this.#waiting.filter(({ key, step }) => step > (sent.get(key) ?? -1));
    while (!this.#isOver) {
      const metrics = this.#waiting.slice(0, LIMITS.metrics);
      if (metrics.length > 0) {
        const waiting = this.#waiting;
        await this.#post('runs/log-batch', { run_id: this.#server.info.run_id, metrics });
        for (const { key, step } of metrics) sent.set(key, step);
        // A run that goes back has replaced what waits.
        if (this.#waiting === waiting) waiting.splice(0, metrics.length);
      } else if (this.#isEnding) return;
      if (!this.#isEnding && this.#waiting.length < LIMITS.metrics) await this.#pause();
    }
  }

  /** Waits for more records, or for the end. */
  async #pause(): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, FLUSH_MS).unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Enters the run that this directory had, or makes one. */
  async #openRun(): Promise<ServerRun> {
    const known = this.#readKnown();
    const run = (known !== undefined && (await this.#reopen(known))) || (await this.#create());
    this.#options.info(`MLflow: recording run ${run.info.run_id} at ${this.#base.href}`);
    return run;
  }

  async #reopen(run_id: string): Promise<ServerRun | undefined> {
    try {
      const { run } = await this.#get<{ run: ServerRun }>('runs/get', { run_id });
      for (const { key, step } of run.data?.metrics ?? []) this.#sent.set(key, Number(step));
      await this.#post('runs/update', { run_id, status: 'RUNNING' });
      return run;
    } catch (error) {
      if (error instanceof Refused) return undefined;
      throw error;
    }
  }

  async #create(): Promise<ServerRun> {
    const { config, name } = this.#run;
    const experiment_id = await this.#experimentId();
    const { run } = await this.#post<{ run: ServerRun }>('runs/create', {
      experiment_id,
      run_name: name,
      start_time: Date.now(),
    });
    const { run_id } = run.info;
    fs.writeFileSync(this.#knownPath, `${JSON.stringify({ uri: this.#base.href, runId: run_id })}\n`);
    const params = paramsOf(config);
    for (let at = 0; at < params.length; at += LIMITS.params) {
      await this.#post('runs/log-batch', { run_id, params: params.slice(at, at + LIMITS.params) });
    }
    return run;
  }

  async #experimentId(): Promise<string> {
    const experiment_name = this.#run.experiment;
    try {
      const found = await this.#get<{ experiment: { experiment_id: string } }>('experiments/get-by-name', {
        experiment_name,
      });
      return found.experiment.experiment_id;
    } catch (error) {
      if (!(error instanceof Refused) || !error.message.includes('RESOURCE_DOES_NOT_EXIST')) throw error;
    }
    const made = await this.#post<{ experiment_id: string }>('experiments/create', { name: experiment_name });
    return made.experiment_id;
  }

  async #end({ info }: ServerRun, isFinished: boolean): Promise<void> {
    if (isFinished) await this.#sendFiles(info);
    const status = isFinished ? 'FINISHED' : 'FAILED';
    await this.#post('runs/update', { run_id: info.run_id, status, end_time: Date.now() });
  }

  /** Sends the results as artifacts, where the server takes them itself. */
  async #sendFiles({ artifact_uri = '' }: ServerRun['info']): Promise<void> {
    if (!artifact_uri.startsWith('mlflow-artifacts:')) {
      return this.#options.info('MLflow: the server takes no files; they are in the run directory');
    }
    const root = new URL(artifact_uri).pathname.replace(/^\/+/, '');
    for (const name of filesOf(this.#run.directory)) {
      const place = [...root.split('/'), ...name.split('/')].map(encodeURIComponent).join('/');
      const body = new Uint8Array(fs.readFileSync(path.join(this.#run.directory, name)));
      await this.#request('PUT', `mlflow-artifacts/artifacts/${place}`, { body, deadlineMs: 60_000 });
    }
  }

  get #knownPath(): string {
    return path.join(this.#run.directory, 'mlflow.json');
  }

  /** The id that this directory's run has at this server. */
  #readKnown(): string | undefined {
    try {
      const { uri, runId } = JSON.parse(fs.readFileSync(this.#knownPath, 'utf8')) as Record<string, unknown>;
      return uri === this.#base.href && typeof runId === 'string' ? runId : undefined;
    } catch {
      return undefined;
    }
  }

  #get<Answer>(method: string, query: Readonly<Record<string, string>>): Promise<Answer> {
    return this.#request('GET', `mlflow/${method}?${new URLSearchParams(query).toString()}`);
  }

  #post<Answer = unknown>(method: string, body: object): Promise<Answer> {
    return this.#request('POST', `mlflow/${method}`, { body: JSON.stringify(body) });
  }

  /** Repeats what may succeed later, until the run ends. @throws Refused for what never will */
  async #request<Answer>(
    method: string,
    place: string,
    {
      body,
      deadlineMs = this.#deadlineMs,
    }: { body?: string | Uint8Array<ArrayBuffer>; deadlineMs?: number } = {},
  ): Promise<Answer> {
    for (let retryMs = 1000; ; retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS)) {
      try {
        return (await this.#requestOnce(method, place, body, deadlineMs)) as Answer;
      } catch (error) {
        if (error instanceof Refused || this.#isOver || this.#isEnding) throw error;
        this.#warnOnce(`${causeOf(error)}; it is asked again, and metrics are in the run directory`);
        const early = new Promise<void>((resolve) => (this.#wake = resolve));
        await Promise.race([delay(retryMs, undefined, { ref: false }), early]);
      }
    }
  }

  async #requestOnce(
    method: string,
    place: string,
    body: string | Uint8Array<ArrayBuffer> | undefined,
    deadlineMs: number,
  ): Promise<unknown> {
    const { href } = this.#base;
    const url = `${href}${href.endsWith('/') ? '' : '/'}api/2.0/${place}`;
    const signal = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(deadlineMs)]);
    const response = await fetch(url, { method, headers: this.#headers, signal, ...(body ? { body } : {}) });
    const answer = await response.text();
    if (response.ok) return answer === '' ? {} : JSON.parse(answer);
    const message = `HTTP ${response.status} ${answer.replace(/\s+/g, ' ').slice(0, 200)}`;
    const mayPass = response.status >= 500 || response.status === 429 || response.status === 408;
    throw mayPass ? new Error(message) : new Refused(message);
  }

  #giveUp(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#waiting = [];
    this.#warnOnce(`${causeOf(error)}; metrics are in the run directory only`);
    this.#abort.abort();
  }

  #warnOnce(reason: string): void {
    if (!this.#hasWarned) this.#options.warn(`MLflow: ${reason}`);
    this.#hasWarned = true;
  }
}

function parseUri(uri: string): URL {
  const url = URL.canParse(uri) ? new URL(uri) : undefined;
  if (url && /^https?:$/.test(url.protocol)) return url;
  throw new Error(
    'MLFLOW_TRACKING_URI or tracking.mlflow.uri is no address of a server, http:// or https://',
  );
}

function authorization({ username, password }: URL, env: Environment): Record<string, string> {
  const token = env['MLFLOW_TRACKING_TOKEN'];
  if (token) return { authorization: `Bearer ${token}` };
  const user = env['MLFLOW_TRACKING_USERNAME'] ?? decodeURIComponent(username);
  if (!user) return {};
  const secret = env['MLFLOW_TRACKING_PASSWORD'] ?? decodeURIComponent(password);
  return { authorization: `Basic ${Buffer.from(`${user}:${secret}`).toString('base64')}` };
}

/** The fields of the config by their key paths; long values are cut. */
function paramsOf(config: Config): { readonly key: string; readonly value: string }[] {
  const params = new Map<string, string>();
  const visit = (prefix: string, value: unknown): void => {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      for (const [key, part] of Object.entries(value)) visit(prefix === '' ? key : `${prefix}.${key}`, part);
    } else if (value !== undefined) {
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      // The server takes no other characters in names, and no empty values.
      const key = prefix.replace(/[^\w\-. /]/g, '_').slice(0, LIMITS.key);
      if (text !== '') params.set(key, text.slice(0, LIMITS.value));
    }
  };
  visit('', config);
  return [...params].map(([key, value]) => ({ key, value }));
}

/** The results that a finished run has: the model, its plots, and what describes them. */
function filesOf(directory: string): string[] {
  const folders = ['model', 'plots'].flatMap((folder) => {
    const place = path.join(directory, folder);
    return fs.existsSync(place) ? fs.readdirSync(place).map((name) => `${folder}/${name}`) : [];
  });
  const single = ['config.yaml', 'summary.json'].filter((name) => fs.existsSync(path.join(directory, name)));
  return [...single, ...folders.sort()];
}

function causeOf(error: unknown): string {
  const { message, cause, name } = error as Error;
  if (name === 'TimeoutError') return 'no answer within the deadline';
  return cause instanceof Error && cause.message !== '' ? `${message}: ${cause.message}` : message;
}
