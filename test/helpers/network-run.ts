// A coordinator on a free port and workers that join it, as processes: for tests of runs over the network.
import fs from 'node:fs';
import path from 'node:path';
import { CliProcess } from './cli.ts';
import { untilEpoch } from './run-records.ts';
import { longRun } from './undisturbed.ts';
import type { Run } from './undisturbed.ts';

export const TOKEN = 'a-token-for-the-tests-of-the-network';

/** A run over the network. */
export interface NetworkRun extends Run {
  readonly cwd: string;
  readonly url: string;
}

/** The directory of a long run, with the token in `token.txt`. */
export function networkDirectory(): string {
  const cwd = longRun();
  fs.writeFileSync(path.join(cwd, 'token.txt'), `${TOKEN}\n`, { mode: 0o600 });
  return cwd;
}

/** A coordinator that waits for its first worker; `flags` are added to its command line. */
export async function startCoordinator(flags: readonly string[] = []): Promise<NetworkRun> {
  const cwd = networkDirectory();
  const directory = path.join(cwd, 'run');
  const args = ['coordinator', 'table.yaml', '--listen', '127.0.0.1:0', '--token-file', 'token.txt'];
  const command = CliProcess.start([...args, ...flags, '--run-dir', directory], { cwd });
  const [, url] = await command.untilStderr(/lockstep worker (ws:\/\/127\.0\.0\.1:\d+) --token-file FILE/);
  return { cwd, command, directory, url: url as string };
}

/** A worker for the run, or for another address that leads to it. */
export function startWorker(run: NetworkRun, url = run.url): CliProcess {
  return CliProcess.start(['worker', url], { cwd: run.cwd, env: { LOCKSTEP_TOKEN: TOKEN } });
}

/** A coordinator and a worker that have trained for an epoch. */
export async function startTraining(): Promise<NetworkRun & { readonly worker: CliProcess }> {
  const run = await startCoordinator();
  const worker = startWorker(run);
  await untilEpoch(run.command, run.directory, 1);
  return { ...run, worker };
}
