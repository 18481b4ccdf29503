// What keeps a worker from its coordinator, in words; and how long to wait before the next attempt.
import { LockstepError } from '../src/errors.ts';
import type { ErrorDetails } from '../src/errors.ts';
import { SUBPROTOCOL } from '../src/protocol/limits.ts';

const MIN_RETRY_MS = 250;
const MAX_RETRY_MS = 10_000;

/**
 * Time to wait after the failed attempt number `attempt` (from 0): between 250 ms and a
 * ceiling that doubles up to 10 s, at random, so that the workers of a coordinator that comes
 * back do not arrive all at once.
 * @param random gives a number from 0 to 1.
 */
export function retryDelayMs(attempt: number, random: () => number): number {
  const ceiling = Math.min(MAX_RETRY_MS, 2 * MIN_RETRY_MS * 2 ** attempt);
  return MIN_RETRY_MS + random() * (ceiling - MIN_RETRY_MS);
}

/** A `LockstepError` of its own class because the loop that reconnects must know whether to continue. */
export class ConnectError extends LockstepError {
  /** False where only a change by the user can help: a token, a version, an address. */
  readonly isRetryable: boolean;

  constructor(details: Omit<ErrorDetails, 'category'>, { isRetryable }: { readonly isRetryable: boolean }) {
    super({ category: 'network', ...details });
    this.name = 'ConnectError';
    this.isRetryable = isRetryable;
  }
}

/** The error for an HTTP response where a WebSocket was asked for. */
export function httpFailure(url: URL, status: number, answer: string): ConnectError {
  switch (status) {
    case 403:
      return final('E_FORBIDDEN', `${url.host} turned this worker away: ${answer}`, {
        help: /certificate/.test(answer)
          ? 'give --tls-cert and --tls-key, signed by the authority that the coordinator has as --tls-ca'
          : 'ask whoever runs it',
      });
    case 401:
      return final('E_UNAUTHORIZED', `${url.host} does not accept this worker's token`, {
        help: 'give the coordinator and its workers the same --token-file or LOCKSTEP_TOKEN',
      });
    case 426:
      return final('E_PROTOCOL_VERSION', `${url.host} does not speak ${SUBPROTOCOL}`, {
        help: 'install the same version of lockstep on both sides',
      });
    // A request that took too long, or a proxy whose coordinator is being started.
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
      if (/^standby\b/.test(answer)) {
        return retryable('E_COORDINATOR_STANDBY', `${url.host} takes no workers (${answer})`, {
          help: 'give the URL of the one that leads too',
        });
      }
      return retryable(
        'E_COORDINATOR_BUSY',
        `${url.host} accepts no workers at the moment (HTTP ${status})`,
        {
          help: 'it may be starting, or have all the workers it allows',
        },
      );
    default:
      return notCoordinator(url, `HTTP ${status}`);
  }
}

/** Nothing was heard for too long while the connection was made. */
export function connectTimeout(url: URL, timeoutMs: number): ConnectError {
  return retryable('E_CONNECT_TIMEOUT', `${url.host} did not answer within ${timeoutMs / 1000} s`, {
    help: 'check host and port, and whether there is a firewall in between',
  });
}

/** The error for an answer that no coordinator gives. */
export function notCoordinator(url: URL, answer: string, cause?: Error): ConnectError {
  return final('E_NOT_A_COORDINATOR', `${url.host} is not a Lockstep coordinator (it answered: ${answer})`, {
    help: 'check host and port',
    cause,
  });
}

type Context = Pick<ErrorDetails, 'help' | 'cause'>;

/** The error of an attempt after which another makes sense. */
export function retryable(code: ErrorDetails['code'], message: string, context: Context): ConnectError {
  return new ConnectError({ code, message, ...context }, { isRetryable: true });
}

/** The error of an attempt after which only a change by the user can help. */
export function final(code: ErrorDetails['code'], message: string, context: Context): ConnectError {
  return new ConnectError({ code, message, ...context }, { isRetryable: false });
}
