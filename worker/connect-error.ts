// Why no connection to the coordinator came about, in words, and whether trying again could help.
import { LockstepError, systemErrorCode } from '../src/errors.ts';
import type { ErrorDetails } from '../src/errors.ts';
import { SUBPROTOCOL } from '../src/protocol/limits.ts';

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

/** The error for a failure below HTTP: name resolution, TCP, TLS, or bytes that are no HTTP. */
export function socketFailure(url: URL, error: Error): ConnectError {
  const code = systemErrorCode(error) ?? '';
  if (code === 'ECONNREFUSED') {
    return retryable('E_CONNECTION_REFUSED', `nothing listens at ${url.host} (${code})`, {
      help: 'start the coordinator, or check host and port',
      cause: error,
    });
  }
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') {
    return retryable('E_DNS', `cannot find the address of ${url.hostname} (${code})`, {
      help: 'check the host name, or give an IP address',
      cause: error,
    });
  }
  if (isCertificateProblem(code)) {
    return final('E_TLS', `cannot make a secure connection to ${url.host} (${code})`, {
      help: certificateHelp(code, url),
      cause: error,
    });
  }
  if (code.startsWith('HPE_')) return notCoordinator(url, 'not in HTTP', error);
  if (code === '') return notCoordinator(url, error.message, error);
  return retryable('E_CONNECTION_FAILED', `cannot connect to ${url.host} (${code})`, {
    help: `check the network between this machine and the coordinator${url.protocol === 'ws:' ? '; a port that speaks TLS is reached by wss://' : ''}`,
    cause: error,
  });
}

/** The error for an HTTP response where a WebSocket was asked for. */
export function httpFailure(url: URL, status: number): ConnectError {
  switch (status) {
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
      return retryable('E_COORDINATOR_BUSY', `${url.host} takes no worker at the moment (HTTP ${status})`, {
        help: 'it may be starting, or have all the workers it allows',
      });
    default:
      return notCoordinator(url, `HTTP ${status}`);
  }
}

/** Nothing was heard for too long while the connection was made. */
export function connectTimeout(url: URL, timeoutMs: number): ConnectError {
  return retryable('E_CONNECT_TIMEOUT', `${url.host} did not answer within ${timeoutMs / 1000} s`, {
    help: 'check host and port, and whether a firewall lies between',
  });
}

function notCoordinator(url: URL, answer: string, cause?: Error): ConnectError {
  return final('E_NOT_A_COORDINATOR', `${url.host} is no Lockstep coordinator (it answered: ${answer})`, {
    help: 'check host and port',
    cause,
  });
}

/** Advice about a certificate. Both sides may want one, and each has its own reasons to reject the other's. */
function certificateHelp(code: string, url: URL): string {
  if (code.includes('ALERT')) {
    return `${url.host} wants a certificate from its clients, which a worker has not: let a tunnel on this machine show one`;
  }
  if (code.endsWith('EXPIRED') || code.endsWith('NOT_YET_VALID')) {
    return 'renew its certificate, or set the clock of this machine';
  }
  if (code.includes('ALTNAME')) return 'use a host name that its certificate is made out to';
  if (/SELF_SIGNED|ISSUER|VERIFY/.test(code)) {
    return 'name the authority that signed its certificate: NODE_EXTRA_CA_CERTS=ca.pem lockstep worker ...';
  }
  return 'check its certificate; a coordinator without one is reached by ws://';
}

/** TLS failures carry OpenSSL's names, which share no prefix. */
function isCertificateProblem(code: string): boolean {
  return (
    code === 'EPROTO' ||
    code.startsWith('ERR_SSL') ||
    code.startsWith('ERR_TLS') ||
    /CERT|SIGNATURE/.test(code)
  );
}

type Context = Pick<ErrorDetails, 'help' | 'cause'>;

function retryable(code: ErrorDetails['code'], message: string, context: Context): ConnectError {
  return new ConnectError({ code, message, ...context }, { isRetryable: true });
}

function final(code: ErrorDetails['code'], message: string, context: Context): ConnectError {
  return new ConnectError({ code, message, ...context }, { isRetryable: false });
}
