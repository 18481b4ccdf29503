// A run at Weights & Biases, over the requests that its own client makes: one that makes the run, a stream
// of the lines of its files, and addresses to send files to. The package @wandb/sdk has fewer of these, and
// counts a request that the service answered with an error as done.
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Config } from '../../src/config/schema.ts';
import { recordNumber } from '../../src/json.ts';
import { basicAuthorization, HttpClient, parseServer, Refused } from './http-client.ts';
import type { MetricRecord } from './metric-logger.ts';
import type { RemoteRun, RunEnd } from './remote-logger.ts';
import { resultFiles } from './result-files.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** The names and labels of a run at the service. */
export interface WandbNames {
  readonly project: string;
  /** Default: the account's own. */
  readonly entity: string | undefined;
  readonly name: string;
  readonly tags: readonly string[];
}

export interface WandbRunOptions extends WandbNames {
  /** The resolved config. */
  readonly config: object;
  /** The run's directory: its id at the service is remembered there, and its results are sent from there. */
  readonly directory: string;
  /** Default: the environment of the process. */
  readonly env?: Environment | undefined;
  readonly http?: HttpClient | undefined;
}

/** Reads `tracking.wandb`, WANDB_PROJECT and WANDB_ENTITY, of which the config wins; undefined without either. */
export function wandbIntent(
  { name, tracking }: Config,
  env: Environment = process.env,
): WandbNames | undefined {
  const settings = tracking.wandb;
  const project = settings?.project ?? env['WANDB_PROJECT'];
  if (!project) return undefined;
  const entity = settings?.entity ?? (env['WANDB_ENTITY'] || undefined);
  return { project, entity, name, tags: settings?.tags ?? [] };
}

/** Once a run is old, its curves may be a little late: the service limits requests. */
const LONGEST_PAUSE_MS = 15_000;

const UPSERT = `mutation UpsertBucket($name: String, $project: String, $entity: String, $displayName: String,
  $config: JSONString, $tags: [String!]) {
  upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, displayName: $displayName,
    config: $config, tags: $tags}) {
    bucket { id name project { name entity { name } } }
  }
}`;

const CREATE_FILES = `mutation CreateRunFiles($entity: String!, $project: String!, $run: String!,
  $files: [String!]!) {
  createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) {
    uploadHeaders
    files { name uploadUrl }
  }
}`;

interface Upserted {
  readonly upsertBucket?: {
    readonly bucket?: {
      readonly project?: { readonly name: string; readonly entity: { readonly name: string } };
    };
  };
}

interface CreatedFiles {
  readonly createRunFiles?: {
    readonly uploadHeaders?: readonly string[];
    readonly files?: readonly { readonly name: string; readonly uploadUrl?: string | null }[];
  };
}

/** An image in a row, as the service shows it. */
interface Image {
  readonly _type: 'image-file';
  readonly [field: string]: string | number;
}

export class WandbRun implements RemoteRun {
  readonly service = 'W&B';
  readonly http: HttpClient;
  readonly maxRecords = 1000;
  readonly #options: WandbRunOptions;
  readonly #base: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #id: string;
  #place = { entity: '', project: '' };
  /** The newest value of each metric. */
  #summary: Readonly<Record<string, unknown>> = {};
  #highest = 0;

  constructor(options: WandbRunOptions) {
    const env = options.env ?? process.env;
    this.#options = options;
    this.http = options.http ?? new HttpClient();
    const server = parseServer(env['WANDB_BASE_URL'] || 'https://api.wandb.ai', 'WANDB_BASE_URL');
    this.#base = server.href.replace(/\/+$/, '');
    this.#headers = { authorization: basicAuthorization('api', keyOf(server, env)) };
    this.#id = idOf(options);
  }

  pauseMs(ageMs: number): number {
    return Math.min(Math.max(2000, ageMs / 10), LONGEST_PAUSE_MS);
  }

  async open(): Promise<string> {
    const { config, entity, name, project, tags } = this.#options;
    // Its own client wraps values so, to have room for descriptions.
    const values = Object.entries(config).map(([key, value]) => [key, { value: value as unknown }]);
    const answer = await this.#graphql<Upserted>(UPSERT, {
      name: this.#id,
      project,
      entity,
      displayName: name,
      config: JSON.stringify(Object.fromEntries(values)),
      tags,
    });
    const place = answer.upsertBucket?.bucket?.project;
    if (!place) throw new Refused('the service made no run');
    this.#place = { entity: place.entity.name, project: place.name };
    const app = this.#base.replace('//api.wandb.', '//wandb.');
    return `at ${[app, ...this.#path, 'runs', this.#id].join('/')}`;
  }

  /** Rows are known by their place: what arrives twice, or again after the run went back, replaces what was there. */
  async send(records: readonly MetricRecord[], place: number): Promise<void> {
    await this.#stream(records.map(valuesOf), place);
  }

  async finish({ result, place }: RunEnd): Promise<number> {
    let images: Readonly<Record<string, Image>> = {};
    let uploaded: readonly string[] = [];
    try {
      if (result) ({ images, uploaded } = await this.#sendFiles());
    } finally {
      const row = result && { ...valuesOf(result), ...images };
      // Rows of steps that were taken back, and that no others have replaced, get the last one's values.
      const rows = row ? Array<object>(Math.max(1, this.#highest - place)).fill(row) : [];
      const end = { complete: true, exitcode: result ? 0 : 1 };
      await this.#stream(rows, place, { ...end, ...(uploaded.length > 0 && { uploaded }) });
    }
    return uploaded.length;
  }

  get #path(): string[] {
    return [this.#place.entity, this.#place.project].map(encodeURIComponent);
  }

  async #stream(rows: readonly object[], offset: number, end: object = {}): Promise<void> {
    this.#summary = Object.assign({}, this.#summary, ...rows) as Record<string, unknown>;
    this.#highest = Math.max(this.#highest, offset + rows.length);
    const files = {
      'wandb-history.jsonl': { offset, content: rows.map((row) => JSON.stringify(row)) },
      'wandb-summary.json': { offset: 0, content: [JSON.stringify(this.#summary)] },
    };
    const url = [this.#base, 'files', ...this.#path, this.#id, 'file_stream'].join('/');
    await this.http.json('POST', url, this.#headers, { ...(rows.length > 0 && { files }), ...end });
  }

  /** Sends the results; the plots as images, which a row can show. */
  async #sendFiles(): Promise<{ images: Readonly<Record<string, Image>>; uploaded: readonly string[] }> {
    const { directory } = this.#options;
    const local = new Map(
      resultFiles(directory)
        .filter((name) => !name.startsWith('plots/') || name.endsWith('.png'))
        .map((name) => [placeOf(name), path.join(directory, name)]),
    );
    const uploaded = [...local.keys()];
    const answer = await this.#graphql<CreatedFiles>(CREATE_FILES, {
      ...this.#place,
      run: this.#id,
      files: uploaded,
    });
    const { uploadHeaders = [], files = [] } = answer.createRunFiles ?? {};
    const headers = Object.fromEntries(uploadHeaders.map(parseHeader));
    for (const [name, file] of local) {
      const address = files.find((created) => created.name === name)?.uploadUrl;
      if (!address) throw new Refused(`the service gives no address for ${name}`);
      await this.http.putFile(new URL(address, this.#base).href, headers, file);
    }
    const images = [...local]
      .filter(([name]) => name.startsWith(IMAGES))
      .map(([name, file]) => [`plots/${path.basename(name, '.png')}`, imageOf(name, file)]);
    return { images: Object.fromEntries(images) as Record<string, Image>, uploaded };
  }

  async #graphql<Answer extends object>(query: string, variables: object): Promise<Answer> {
    const url = `${this.#base}/graphql`;
    const { data, errors } = (await this.http.json('POST', url, this.#headers, { query, variables })) as {
      readonly data?: Answer | null;
      readonly errors?: readonly { readonly message?: string }[];
    };
    if (!errors?.length && data) return data;
    throw new Refused(`the service refuses: ${errors?.[0]?.message ?? 'it has no data'}`);
  }
}

/** The folder of which the service shows files as images. */
const IMAGES = 'media/images/plots/';

/** The name that a file gets at the service, whose own config.yaml is another. */
function placeOf(name: string): string {
  return name.startsWith('plots/') ? name.replace('plots/', IMAGES) : `lockstep/${name}`;
}

function imageOf(place: string, file: string): Image {
  const bytes = fs.readFileSync(file);
  return {
    _type: 'image-file',
    path: place,
    format: 'png',
    sha256: createHash('sha256').update(bytes).digest('hex'),
    size: bytes.length,
    // A PNG begins with a signature of 8 bytes and the length and name of its header.
    width: bytes.readUInt32BE(16),
    height: bytes.readUInt32BE(20),
  };
}

function valuesOf(record: MetricRecord): Record<string, number | string> {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, recordNumber(value)]));
}

/** Splits `Name: value`. */
function parseHeader(line: string): [name: string, value: string] {
  const colon = line.indexOf(':');
  return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
}

/** The id that the run had there, or a new one, which is remembered. */
function idOf({ project, entity, directory }: WandbRunOptions): string {
  const file = path.join(directory, 'wandb.json');
  const place = `${entity ?? ''}/${project}`;
  try {
    const known = JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, unknown>;
    if (known['place'] === place && typeof known['id'] === 'string') return known['id'];
  } catch {
    // There is none, or nothing to read it from.
  }
  const id = randomBytes(4).toString('hex');
  fs.writeFileSync(file, `${JSON.stringify({ place, id })}\n`);
  return id;
}

/** The key of WANDB_API_KEY, or the one that `wandb login` left in the file for passwords of servers. */
function keyOf({ hostname }: URL, env: Environment): string {
  const key = env['WANDB_API_KEY'] || keyInNetrc(hostname, env);
  if (key) return key;
  throw new Error('there is no key: set WANDB_API_KEY');
}

function keyInNetrc(host: string, env: Environment): string | undefined {
  const file = env['NETRC'] || path.join(env['HOME'] || os.homedir(), '.netrc');
  try {
    const words = fs.readFileSync(file, 'utf8').split(/\s+/);
    const machine = words.findIndex((word, at) => word === 'machine' && words[at + 1] === host);
    if (machine === -1) return undefined;
    const password = words.indexOf('password', machine);
    const next = words.indexOf('machine', machine + 1);
    return password !== -1 && (next === -1 || password < next) ? words[password + 1] : undefined;
  } catch {
    return undefined;
  }
}
