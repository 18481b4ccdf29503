// A coordinator on a free port and workers that join it, as processes: for tests of runs over the network.
import fs from 'node:fs';
import path from 'node:path';
import type { ConfigInput } from '../../src/config/schema.ts';
import { CliProcess } from './cli.ts';
import type { CliOptions } from './cli.ts';
import { untilEpoch } from './run-records.ts';
import { longRun } from './undisturbed.ts';
import type { Run } from './undisturbed.ts';

export const TOKEN = 'a-token-for-the-tests-of-the-network';

/** A run over the network. */
export interface NetworkRun extends Run {
  readonly cwd: string;
  readonly url: string;
}

/** Options for starting a coordinator. */
export interface CoordinatorSettings {
  /** Config values that override those of `longRun`. */
  readonly config?: Partial<ConfigInput>;
  /** Directory of an earlier coordinator, whose run is resumed; default: a new one. */
  readonly cwd?: string;
  /** Address to listen on; default 127.0.0.1. */
  readonly host?: string;
  /** Default: a free one. */
  readonly port?: number;
  /** Added to its command line. */
  readonly flags?: readonly string[];
  readonly cli?: Partial<CliOptions>;
  /** More files of its directory. */
  readonly files?: Readonly<Record<string, string>>;
}

/** The directory of a long run, with the token in `token.txt`. */
export function networkDirectory(config?: Partial<ConfigInput>): string {
  const cwd = longRun(config);
  fs.writeFileSync(path.join(cwd, 'token.txt'), `${TOKEN}\n`, { mode: 0o600 });
  return cwd;
}

/** A coordinator that waits for its first worker. */
export async function startCoordinator(settings: CoordinatorSettings = {}): Promise<NetworkRun> {
  const { config, host = '127.0.0.1', port = 0, flags = [], cli } = settings;
  const { cwd = networkDirectory(config), files = {} } = settings;
  for (const [name, text] of Object.entries(files))
    fs.writeFileSync(path.join(cwd, name), text, { mode: 0o600 });
  const directory = path.join(cwd, 'run');
  const args = ['coordinator', 'table.yaml', '--listen', `${host}:${port}`, '--token-file', 'token.txt'];
  const command = CliProcess.start([...args, ...flags, '--run-dir', directory], { cwd, ...cli });
  const [, url] = await command.untilStderr(
    /lockstep worker (wss?:\/\/(?:[\d.]+|\[[\da-f:]+\]):\d+) --token-file FILE/,
  );
  return { cwd, command, directory, url: url as string };
}

/** A worker for the run, or for another address that leads to it. */
export function startWorker(
  run: NetworkRun,
  url = run.url,
  { flags = [], ...cli }: Partial<CliOptions> & { readonly flags?: readonly string[] } = {},
): CliProcess {
  const env = { LOCKSTEP_TOKEN: TOKEN, ...cli.env };
  return CliProcess.start(['worker', url, ...flags], { cwd: run.cwd, ...cli, env });
}

/** A coordinator and a worker that have trained for an epoch. */
export async function startTraining(
  settings: CoordinatorSettings = {},
): Promise<NetworkRun & { readonly worker: CliProcess }> {
  const run = await startCoordinator(settings);
  const worker = startWorker(run, run.url, settings.cli);
  await untilEpoch(run.command, run.directory, 1);
  return { ...run, worker };
}
