// `lockstep dashboard`: shows the run in a directory, whether it goes on or is over, until a signal ends it.
import fs from 'node:fs';
import { createRuntime, parseDashboardAddress } from './runtime.ts';
import { DashboardServer } from '../coordinator/dashboard/dashboard-server.ts';
import { urlOf } from '../coordinator/dashboard/dashboard.ts';
import { RunDirectory } from '../coordinator/output/run-directory.ts';
import { LockstepError } from '../src/errors.ts';
import { isLoopback } from '../src/protocol/connection.ts';
import { serverTlsOf, type TlsFlags } from '../src/protocol/tls.ts';
import { readToken } from '../src/protocol/token.ts';

/** Arguments of `lockstep dashboard`. */
export interface DashboardArguments extends TlsFlags {
  readonly listen?: string;
  readonly tokenFile?: string;
}

/** Serves the page of a run. Resolves once a signal has ended it. */
export async function showDashboard(
  run: string,
  { listen, tokenFile, ...tlsFlags }: DashboardArguments,
): Promise<void> {
  const { configPath, metricsPath } = new RunDirectory(run);
  if (!fs.existsSync(configPath) && !fs.existsSync(metricsPath)) throw noRun(run);
  const { log, signal } = createRuntime();
  const warn = (message: string): void => log.warn(message);
  const tls = serverTlsOf(tlsFlags);
  const address = { ...parseDashboardAddress(listen ?? true, '--listen'), tls };
  const token = isLoopback(address.host) ? undefined : readToken({ file: tokenFile, env: process.env, warn });
  const server = await DashboardServer.open({ ...address, token }, log);
  // The page names the directory, not a link to it.
  server.show(fs.realpathSync(run));
  log.info(`${run} on ${urlOf({ ...address, token }, server.port)}; Ctrl-C ends it`);
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  await server.close();
  signal.throwIfAborted();
}

function noRun(directory: string): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_NO_RUN',
    message: `${directory} holds no run: it has neither a config.yaml nor a metrics.jsonl`,
    help: 'name the directory of a run, such as runs/latest',
  });
}
