// The life of a worker: connect, work, and come back when the connection is lost, until the
// coordinator says that the run is over.
import { setTimeout as sleep } from 'node:timers/promises';
import { LockstepError } from '../src/errors.ts';
import type { Connection } from '../src/protocol/connection.ts';
import { ConnectError, retryDelayMs } from './connect-failure.ts';
import type { Replica } from './replica.ts';
import { Route } from './route.ts';
import { runSession } from './session.ts';
import type { SessionEnd, WorkerParts } from './session.ts';

/** The settings of a worker, and its parts that differ between Node.js and a browser. */
export interface WorkerOptions extends WorkerParts {
  readonly url: string;
  /** Makes one attempt to connect to `url`, or to an aggregator; `signal` gives it up. */
  readonly connect: (url: string, signal: AbortSignal) => Promise<Connection>;
  /** Aborting leaves politely. */
  readonly signal: AbortSignal;
}

/** Attempts of which each is logged; after them, only every one of so many. */
const MAX_TOLD_ATTEMPTS = 20;
/** Sessions in a row that failed before computing anything, after which a worker gives up. */
const MAX_FAILURES = 3;
/**
 * A connection that held this long was sound: the next wait starts over. If it keeps breaking,
 * the back-off keeps growing.
 */
const SOUND_SESSION_MS = 10_000;

/**
 * Works for a coordinator until it says stop, or `signal` aborts.
 * @throws LockstepError where coming back makes no sense: refused, wrong token, failing again and again.
 */
export async function runWorker(options: WorkerOptions): Promise<void> {
  const { log, progress, signal } = options;
  const route = new Route(options.url);
  let replica: Replica | undefined;
  let numFailures = 0;
  let attempt = 0;
  let hasConnected = false;
  try {
    while (!signal.aborted) {
      const { unreachable, url } = route;
      const connection = await connectOrWait(options, route, attempt, hasConnected);
      if (!connection) {
        attempt++;
        continue;
      }
      hasConnected = true;
      const connectedMs = performance.now();
      log.info(`connected to ${url}`);
      const takesFiles = numFailures === 0;
      progress.connected(connection);
      const session = { ...options, connection, replica, takesFiles, unreachable };
      const end = await runSession(session, signal);
      progress.disconnected();
      replica = end.replica;
      if (end.kind === 'stopped') return log.info(`done: ${end.reason}`);
      // What an aggregator refuses, the coordinator decides.
      if (end.kind === 'refused' && !route.isSentOn) throw refused(end);
      route.follow(end);
      if (end.kind === 'redirected' && route.isSentOn) {
        attempt = 0;
        continue;
      }
      if (end.kind === 'failed') {
        await replica?.close();
        replica = undefined;
        numFailures = end.tasksDone > 0 ? 1 : numFailures + 1;
        if (numFailures === MAX_FAILURES) throw keepsFailing(end);
      }
      if (performance.now() - connectedMs >= SOUND_SESSION_MS) attempt = 0;
      const delayMs = retryDelayMs(attempt++, Math.random);
      log.warn(`session ended: ${end.reason}; connecting again in ${(delayMs / 1000).toFixed(1)} s`);
      await pause(delayMs, signal);
    }
  } finally {
    progress.close();
    await replica?.close();
  }
}

/** A connection; or undefined after waiting, when this attempt failed and another makes sense. */
async function connectOrWait(
  { connect, log, signal }: WorkerOptions,
  route: Route,
  attempt: number,
  hasConnected: boolean,
): Promise<Connection | undefined> {
  try {
    return await connect(route.url, signal);
  } catch (error) {
    if (signal.aborted || !(error instanceof LockstepError)) throw error;
    const { message, help } = error;
    if (route.isGivenUp(error)) {
      log.warn(`${message}; going back to the coordinator`);
      return undefined;
    }
    if (!route.isSentOn && !isWorthRetrying(error, hasConnected)) throw error;
    // An aggregator that is not ready is no news, nor is a coordinator that is still away.
    const isNews = !route.isSentOn && (attempt < MAX_TOLD_ATTEMPTS || attempt % MAX_TOLD_ATTEMPTS === 0);
    const level = isNews ? 'warn' : 'debug';
    const delayMs = retryDelayMs(route.isSentOn ? 1 : attempt, Math.random);
    const hint = attempt === 0 ? ` (${help})` : '';
    log[level](`${message}${hint}; retrying in ${(delayMs / 1000).toFixed(1)} s (attempt ${attempt + 1})`);
    await pause(delayMs, signal);
    return undefined;
  }
}

/**
 * Tells whether to try again. Where a coordinator was once, an unexpected reply is probably a proxy
 * that lost it for a while, and a certificate that is not accepted one that is being renewed.
 */
function isWorthRetrying(error: LockstepError, hasConnected: boolean): boolean {
  if (error instanceof ConnectError && error.isRetryable) return true;
  return hasConnected && (error.code === 'E_NOT_A_COORDINATOR' || error.code.startsWith('E_TLS'));
}

/** Waits, but not longer than until `signal` aborts. */
async function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  await sleep(delayMs, undefined, { signal }).catch(() => undefined);
}

function refused(end: SessionEnd): LockstepError {
  return new LockstepError({
    category: 'network',
    code: 'E_REFUSED',
    message: `the coordinator refused this worker: ${end.reason}`,
  });
}

function keepsFailing(end: SessionEnd): LockstepError {
  return new LockstepError({
    category: 'failure',
    code: 'E_WORKER_FAILED',
    message: `${MAX_FAILURES} sessions in a row failed: ${end.reason}`,
  });
}
