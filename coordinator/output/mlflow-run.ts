// A run at a server of MLflow, over its REST API.
import fs from 'node:fs';
import path from 'node:path';
import type { Config } from '../../src/config/schema.ts';
import { recordNumber } from '../../src/json.ts';
import { basicAuthorization, HttpClient, parseServer, Refused } from './http-client.ts';
import type { MetricRecord } from './metric-logger.ts';
import type { RemoteRun, RunEnd } from './remote-logger.ts';
import { resultFiles } from './result-files.ts';

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
  readonly info: (message: string) => void;
  /** Default: the environment of the process. */
  readonly env?: Environment | undefined;
  readonly http?: HttpClient | undefined;
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

interface ServerRun {
  readonly info: { readonly run_id: string; readonly artifact_uri?: string };
  readonly data?: { readonly metrics?: readonly { readonly key: string; readonly step: number | string }[] };
}

export class MlflowRun implements RemoteRun {
  readonly service = 'MLflow';
  readonly http: HttpClient;
  readonly maxRecords = 250;
  readonly #options: MlflowRunOptions;
  readonly #base: URL;
  readonly #headers: Readonly<Record<string, string>>;
  /** The last step of each metric that the server has: it would take a value twice. */
  readonly #sent = new Map<string, number>();
  #server: ServerRun | undefined;
  #isNew = false;

  constructor(options: MlflowRunOptions) {
    this.#options = options;
    this.http = options.http ?? new HttpClient();
    this.#base = parseServer(options.uri, 'MLFLOW_TRACKING_URI or tracking.mlflow.uri');
    this.#headers = authorization(this.#base, options.env ?? process.env);
    this.#base.username = this.#base.password = '';
  }

  pauseMs(): number {
    return 1000;
  }

  async open(): Promise<string> {
    const known = this.#readKnown();
    this.#server ??= (known !== undefined && (await this.#reopen(known))) || (await this.#create());
    // A run that resumes has them, and the server takes no others.
    if (this.#isNew) await this.#sendParams(this.#server);
    return `run ${this.#server.info.run_id} at ${this.#base.href}`;
  }

  async send(records: readonly MetricRecord[]): Promise<void> {
    const metrics = records.flatMap(({ _step: step, _runtime, _timestamp, ...values }) =>
      Object.entries(values)
        .filter(([key]) => step > (this.#sent.get(key) ?? -1))
        .map(([key, value]) => ({
          key,
          value: recordNumber(value),
          timestamp: Math.round(1000 * _timestamp),
          step,
        })),
    );
    for (let at = 0; at < metrics.length; at += LIMITS.metrics) {
      const some = metrics.slice(at, at + LIMITS.metrics);
      await this.#post('runs/log-batch', { run_id: this.#runId, metrics: some });
      for (const { key, step } of some) this.#sent.set(key, step);
    }
  }

  goBack(last: number): void {
    for (const [key, step] of this.#sent) this.#sent.set(key, Math.min(step, last));
  }

  async finish({ result }: RunEnd): Promise<number> {
    try {
      if (!result) return 0;
      await this.send([result]);
      return await this.#sendFiles();
    } finally {
      const status = result ? 'FINISHED' : 'FAILED';
      await this.#post('runs/update', { run_id: this.#runId, status, end_time: Date.now() });
    }
  }

  get #runId(): string {
    return this.#server?.info.run_id ?? '';
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
    const { name } = this.#options;
    const experiment_id = await this.#experimentId();
    const { run } = await this.#post<{ run: ServerRun }>('runs/create', {
      experiment_id,
      run_name: name,
      start_time: Date.now(),
    });
    const { run_id } = run.info;
    fs.writeFileSync(this.#knownPath, `${JSON.stringify({ uri: this.#base.href, runId: run_id })}\n`);
    this.#isNew = true;
    return run;
  }

  async #sendParams({ info: { run_id } }: ServerRun): Promise<void> {
    const params = paramsOf(this.#options.config);
    for (let at = 0; at < params.length; at += LIMITS.params) {
      await this.#post('runs/log-batch', { run_id, params: params.slice(at, at + LIMITS.params) });
    }
  }

  async #experimentId(): Promise<string> {
    const experiment_name = this.#options.experiment;
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

  /** Sends the results as artifacts, where the server takes them itself. */
  async #sendFiles(): Promise<number> {
    const { directory, info } = this.#options;
    const uri = this.#server?.info.artifact_uri ?? '';
    if (!uri.startsWith('mlflow-artifacts:')) {
      info('MLflow: the server takes no files; they are in the run directory');
      return 0;
    }
    const root = new URL(uri).pathname.replace(/^\/+/, '');
    const files = resultFiles(directory);
    for (const name of files) {
      const place = [...root.split('/'), ...name.split('/')].map(encodeURIComponent).join('/');
      const url = this.#url(`mlflow-artifacts/artifacts/${place}`);
      await this.http.putFile(url, this.#headers, path.join(directory, name));
    }
    return files.length;
  }

  get #knownPath(): string {
    return path.join(this.#options.directory, 'mlflow.json');
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

  async #get<Answer>(method: string, query: Readonly<Record<string, string>>): Promise<Answer> {
    const url = this.#url(`mlflow/${method}?${new URLSearchParams(query).toString()}`);
    return (await this.http.json('GET', url, this.#headers)) as Answer;
  }

  async #post<Answer = unknown>(method: string, body: object): Promise<Answer> {
    return (await this.http.json('POST', this.#url(`mlflow/${method}`), this.#headers, body)) as Answer;
  }

  #url(place: string): string {
    return `${this.#base.href.replace(/\/$/, '')}/api/2.0/${place}`;
  }
}

function authorization({ username, password }: URL, env: Environment): Record<string, string> {
  const token = env['MLFLOW_TRACKING_TOKEN'];
  if (token) return { authorization: `Bearer ${token}` };
  const user = env['MLFLOW_TRACKING_USERNAME'] ?? decodeURIComponent(username);
  if (!user) return {};
  const secret = env['MLFLOW_TRACKING_PASSWORD'] ?? decodeURIComponent(password);
  return { authorization: basicAuthorization(user, secret) };
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
