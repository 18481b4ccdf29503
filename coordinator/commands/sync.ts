// `lockstep runs sync`: sends a run to the services that its config or the environment names, from its
// directory: all of it, or what they lack.
import fs from 'node:fs';
import { lockRunDirectory } from '../../src/checkpoint/run-lock.ts';
import { loadConfig } from '../../src/config/load.ts';
import { LockstepError } from '../../src/errors.ts';
import type { Logger } from '../../src/log.ts';
import { shellWord } from '../../src/printable.ts';
import type { RunResult } from '../output/metric-logger.ts';
import { RemoteLogger } from '../output/remote-logger.ts';
import { RunDirectory } from '../output/run-directory.ts';
import { readSummary } from '../output/run-list.ts';
import { remoteRuns } from '../output/trackers.ts';
import type { RemoteTracker } from '../output/trackers.ts';

/** A file may take this long: nothing else waits for it. */
const FILE_DEADLINE_MS = 3_600_000;
/** Records and files may take this long in all. */
const DEADLINE_MS = 24 * FILE_DEADLINE_MS;

/**
 * Sends the run in `directory`, which may not be going on.
 *
 * @throws LockstepError (exit 2) for a run that goes on, or that names no service; (exit 5) for a service that
 * did not take everything; the reason of the signal
 */
export async function syncRun(directory: string, log: Logger, signal: AbortSignal): Promise<void> {
  const run = new RunDirectory(directory);
  const { config } = await loadConfig({ path: run.configPath, env: {} });
  const info = (message: string): void => log.info(message);
  const trackers = await remoteRuns(config, directory, { info });
  if (trackers.length === 0) throw noService(directory);
  const lock = await lockRunDirectory(directory);
  const failures: Error[] = [];
  try {
    for (const tracker of trackers) {
      signal.throwIfAborted();
      // One that is away does not keep the run from the others.
      await sendTo(tracker, run, log, signal).catch((error: unknown) => failures.push(error as Error));
    }
  } finally {
    lock.release();
  }
  signal.throwIfAborted();
  const [first, ...others] = failures;
  for (const { message } of others) log.error(message);
  if (first) throw first;
}

async function sendTo(
  { name, openRun }: RemoteTracker,
  run: RunDirectory,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  const failures: string[] = [];
  const logger = new RemoteLogger(opened(name, openRun), {
    metricsPath: run.metricsPath,
    later: `lockstep runs sync ${shellWord(run.path)}`,
    info: (message) => log.info(message),
    warn: (message) => failures.push(message),
    endDeadlineMs: DEADLINE_MS,
    filesDeadlineMs: DEADLINE_MS,
  });
  const abandon = (): void => logger.abandon();
  signal.addEventListener('abort', abandon);
  await logger.finish(fs.existsSync(run.summaryPath) ? resultOf(run.summaryPath) : undefined);
  signal.removeEventListener('abort', abandon);
  if (!logger.isComplete) throw notTaken(failures.at(-1) ?? name);
}

function opened(name: string, openRun: RemoteTracker['openRun']): ReturnType<RemoteTracker['openRun']> {
  try {
    return openRun({ fileDeadlineMs: FILE_DEADLINE_MS });
  } catch (error) {
    const message = `${name}: ${(error as Error).message}`;
    throw new LockstepError({ category: 'usage', code: 'E_TRACKER', message, cause: error });
  }
}

function resultOf(summaryPath: string): RunResult {
  const summary = readSummary(summaryPath);
  const isResult = typeof summary?.wallSeconds === 'number' && typeof summary.best === 'object';
  if (isResult) return summary as RunResult;
  throw new LockstepError({
    category: 'failure',
    code: 'E_SUMMARY',
    message: `${summaryPath} is not the summary of a run`,
  });
}

function noService(directory: string): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_TRACKER',
    message: `neither the config of ${directory} nor the environment names a service to send it to`,
    help: 'set MLFLOW_TRACKING_URI, or WANDB_PROJECT and WANDB_API_KEY',
  });
}

function notTaken(message: string): LockstepError {
  return new LockstepError({
    category: 'network',
    code: 'E_TRACKER',
    message,
    help: 'the same command goes on from there: nothing is recorded twice',
  });
}
