// The error of a port that cannot be opened, whatever listens there.
import { LockstepError, systemErrorCode } from '../errors.ts';

/** Puts the system's error into words; `purpose`, such as `the dashboard`, where a command has several ports. */
export function listenError(error: unknown, host: string, port: number, purpose?: string): LockstepError {
  const code = systemErrorCode(error);
  const isTaken = code === 'EADDRINUSE';
  const what = purpose === undefined ? '' : ` for ${purpose}`;
  return new LockstepError({
    category: 'network',
    code: isTaken ? 'E_PORT_IN_USE' : 'E_LISTEN',
    message: isTaken
      ? `port ${port} on ${host}${what} is in use`
      : `cannot listen on port ${port} of ${host}${what} (${code ?? (error as Error).message})`,
    help: isTaken
      ? 'port 0 picks a free one'
      : 'give the address of an interface of this machine, and a port of 1024 or above',
    cause: error,
  });
}
