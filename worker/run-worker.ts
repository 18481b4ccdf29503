// The life of a worker: connect, work, and come back when the connection is lost, until the
// coordinator says that the run is over.
import { setTimeout as sleep } from 'node:timers/promises';
import { LockstepError } from '../src/errors.ts';
import type { Connection } from '../src/protocol/connection.ts';
import { ConnectError, retryDelayMs } from './connect-failure.ts';
import type { Replica } from './replica.ts';
import type { ConnectOptions } from './connection.ts';
import { Route } from './route.ts';
import { runSession } from './session.ts';
import type { SessionEnd, WorkerParts } from './session.ts';

/** The settings of a worker, and its parts that differ between Node.js and a browser. */
export interface WorkerOptions extends WorkerParts {
  /** Those of the coordinator and its standbys. */
  readonly urls: readonly string[];
  /** Makes one attempt to connect to a coordinator, or to an aggregator. */
  readonly connect: (
    url: string,
    how: { readonly signal: AbortSignal } & Pick<ConnectOptions, 'timeoutMs' | 'heartbeatMs'>,
  ) => Promise<Connection>;
  /** Longest time without a coordinator; undefined for any. */
  readonly giveUpAfterMs?: number | undefined;
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
 * The patience with a coordinator that a standby would take over from: six pings are about as long as a
 * lease.
 */
const WATCHFUL = { heartbeatMs: 1000, timeoutMs: 5000 };

/**
 * Works for a coordinator until it says stop, or `signal` aborts.
 * @throws LockstepError where coming back makes no sense: refused, wrong token, failing again and again.
 */
export async function runWorker(options: WorkerOptions): Promise<void> {
  const { log, progress, signal } = options;
  const route = new Route(options.urls);
  let replica: Replica | undefined;
  let numFailures = 0;
  let attempt = 0;
  let hasConnected = false;
  let lastContactMs = performance.now();
  try {
    while (!signal.aborted) {
      const { unreachable } = route;
      const contact = { attempt, hasConnected, lastContactMs };
      const connection = await connectOrWait(options, route, contact);
      if (!connection) {
        attempt++;
        continue;
      }
      hasConnected = true;
      route.arrive();
      const connectedMs = performance.now();
      log.info(`connected to ${route.url}`);
      const takesFiles = numFailures === 0;
      progress.connected(connection);
      const session = { ...options, connection, replica, takesFiles, unreachable };
      const end = await runSession(session, signal);
      progress.disconnected();
      lastContactMs = performance.now();
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
      const delayMs = delayOf(route, attempt++);
      log.warn(`session ended: ${end.reason}; connecting again in ${(delayMs / 1000).toFixed(1)} s`);
      await pause(delayMs, signal);
    }
  } finally {
    progress.close();
    await options.datasetCache?.close();
    await replica?.close();
  }
}

/** The attempts of a worker so far to reach its coordinator. */
interface Contact {
  /** Failed attempts in a row. */
  readonly attempt: number;
  readonly hasConnected: boolean;
  readonly lastContactMs: number;
}

/**
 * A connection; or undefined after waiting, when this attempt failed, at every coordinator, and another makes
 * sense.
 */
async function connectOrWait(
  { connect, giveUpAfterMs = Infinity, log, signal }: WorkerOptions,
  route: Route,
  { attempt, hasConnected, lastContactMs }: Contact,
): Promise<Connection | undefined> {
  for (;;) {
    try {
      return await connect(route.url, { signal, ...(route.hasStandbys && WATCHFUL) });
    } catch (error) {
      if (signal.aborted || !(error instanceof LockstepError)) throw error;
      const { message, help } = error;
      if (route.isGivenUp(error)) {
        log.warn(`${message}; going back to the coordinator`);
        return undefined;
      }
      const isHopeless = !isWorthRetrying(error, hasConnected);
      const next = route.isSentOn ? 'wait' : route.leave(isHopeless);
      if (next === 'giveUp' || (isHopeless && !(error instanceof ConnectError))) throw error;
      // An aggregator that is not ready is no news, nor is a coordinator that is still away.
      const isNews = !route.isSentOn && (attempt < MAX_TOLD_ATTEMPTS || attempt % MAX_TOLD_ATTEMPTS === 0);
      const level = isNews ? 'warn' : 'debug';
      const hint = attempt === 0 && help !== undefined ? ` (${help})` : '';
      if (next === 'go') {
        log[level](`${message}${hint}; asking ${route.url}`);
        continue;
      }
      // The coordinator that has sent this worker on is there.
      const restMs = route.isSentOn ? Infinity : lastContactMs + giveUpAfterMs - performance.now();
      if (restMs <= 0) throw gaveUp(error, giveUpAfterMs);
      const delayMs = Math.min(restMs, delayOf(route, attempt));
      log[level](`${message}${hint}; retrying in ${(delayMs / 1000).toFixed(1)} s (attempt ${attempt + 1})`);
      await pause(delayMs, signal);
      return undefined;
    }
  }
}

/** An aggregator, or a standby that takes over, is not long in coming. */
function delayOf(route: Route, attempt: number): number {
  if (route.isSentOn) return retryDelayMs(1, Math.random);
  return retryDelayMs(route.hasStandbys ? Math.min(attempt, 1) : attempt, Math.random);
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

function gaveUp({ message }: LockstepError, afterMs: number): LockstepError {
  return new LockstepError({
    category: 'network',
    code: 'E_GAVE_UP',
    message: `no coordinator for ${afterMs / 1000} s: ${message}`,
    help: 'the run may be over; --give-up-after says how long a worker waits',
  });
}

function keepsFailing(end: SessionEnd): LockstepError {
  return new LockstepError({
    category: 'failure',
    code: 'E_WORKER_FAILED',
    message: `${MAX_FAILURES} sessions in a row failed: ${end.reason}`,
  });
}
