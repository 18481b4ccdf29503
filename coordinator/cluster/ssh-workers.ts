// Workers on other machines, started by ssh: each is a process of ssh here, on whose stdin the worker there
// hangs. When that closes, however this process ends, the worker leaves.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { createInterface } from 'node:readline';
import { EXIT } from '../../src/errors.ts';
import { shellWord } from '../../src/printable.ts';
import { urlOf } from '../../src/protocol/connection.ts';
import type { HostWorker } from './host-file.ts';
import type { EndExplained, Launch, ProcessEnd } from './worker-processes.ts';

/** The call of ssh, and the command that it runs on the hosts. */
export interface SshCommand {
  /** The program and its first arguments. */
  readonly ssh: readonly string[];
  /** The command there that is followed by `worker URL`: text for a shell. */
  readonly remoteCommand: string;
  /** The directory there; undefined for the one of this process, or the user's own where there is none. */
  readonly remoteDir: string | undefined;
  /** The name of this machine to the hosts; undefined for the address from which ssh came. */
  readonly address: string | undefined;
  /** True where the workers connect through ssh. */
  readonly hasTunnel: boolean;
  /** Threads of workers for which the file of hosts does not say. */
  readonly threads: number | 'auto';
  /** Flags of every worker. */
  readonly flags: readonly string[];
  /** The port of the coordinator. */
  readonly port: number;
  readonly token: string;
}

const SSH_FLAGS: readonly string[] = [
  // No terminal there, and no question here: nobody may be there to answer.
  '-T',
  ...[
    'BatchMode=yes',
    'ConnectTimeout=10',
    // A host that is gone is missed after 45 s.
    'ServerAliveInterval=15',
    'ServerAliveCountMax=3',
    // Banners are no news; errors are.
    'LogLevel=ERROR',
    // One process of ssh for each worker. An existing master is used, as it may be the only way to log in.
    'ControlMaster=no',
  ].flatMap((option) => ['-o', option]),
];
/** Ports of the tunnels on the hosts, below those that systems give to connections. */
const TUNNEL_PORTS = [20_000, 32_000] as const;
/** Waits before a worker is started again: a host that restarts is back after the last. */
const RESTART_DELAYS_MS = [1_000, 4_000, 16_000] as const;
/** The exit code of ssh itself. */
const SSH_FAILED = 255;
/** Exit codes of a shell that has no such command, or may not run it. */
const NO_COMMAND: readonly (number | null)[] = [126, 127];
/** V8's end for lack of memory, as a shell there tells it. */
const ABORTED = 134;
const ANNOUNCEMENT = /^\{"instance":"([0-9a-f]{64})"\}$/;
/** npx finds no package, or not the command in it. */
const NPM_ERROR = /^npm (ERR!|error)/;
const MAX_SAID_LENGTH = 300;

/** Failures of ssh that another attempt would not change, by the line that says so. */
const FINAL_FAILURES: readonly { readonly line: RegExp; readonly how: string }[] = [
  { line: /host key verification failed/i, how: 'ssh knows another host key of it, or none' },
  { line: /permission denied|authentication failures/i, how: 'ssh was not let in' },
  { line: /could not resolve/i, how: 'ssh does not find it' },
];

/** Launches of workers on hosts. */
export function sshLaunches(workers: readonly HostWorker[], command: SshCommand): Launch[] {
  return workers.map((worker) => ({
    name: worker.name,
    keepsName: true,
    holdsLines: true,
    start: () => startSsh(worker, command),
    onInstance: listenForInstance,
    dismiss: (child) => child.stdin?.end(),
    explain: (end) => explain(end, command),
    restartDelayMs: (numRestarts) => RESTART_DELAYS_MS[numRestarts] ?? 0,
  }));
}

function startSsh(worker: HostWorker, command: SshCommand): ChildProcess {
  const { ssh, hasTunnel, port, token } = command;
  const [program = 'ssh', ...first] = ssh;
  const tunnelPort = hasTunnel ? randomInt(...TUNNEL_PORTS) : undefined;
  const tunnel = `127.0.0.1:${tunnelPort}:127.0.0.1:${port}`;
  const child = spawn(
    program,
    [
      ...first,
      ...SSH_FLAGS,
      ...(hasTunnel ? ['-R', tunnel, '-o', 'ExitOnForwardFailure=yes'] : ['-o', 'ClearAllForwardings=yes']),
      ...(worker.port === undefined ? [] : ['-p', String(worker.port)]),
      worker.user === undefined ? worker.host : `${worker.user}@${worker.host}`,
      // Whatever shell the user has there.
      `exec sh -c ${shellWord(remoteScript(worker, command, tunnelPort))}`,
    ],
    // Not of the process group that a terminal's Ctrl-C reaches: this process ends it, in its own time.
    { stdio: ['pipe', 'pipe', 'pipe'], detached: true },
  );
  // One that ends does not read; its end says why.
  child.stdin.on('error', () => undefined);
  child.stdin.write(`${token}\n`);
  return child;
}

/** The commands for sh on the host. */
function remoteScript(
  { name, threads }: HostWorker,
  { address, flags, port, remoteCommand, remoteDir, ...command }: SshCommand,
  tunnelPort: number | undefined,
): string {
  const known = tunnelPort === undefined ? address : '127.0.0.1';
  const url =
    known === undefined ? `"ws://$a:${port}"` : shellWord(urlOf({ host: known, port: tunnelPort ?? port }));
  const own = [`--threads ${threads ?? command.threads}`, `--name ${shellWord(name)}`, ...flags];
  return [
    'export LOCKSTEP_LOG_LEVEL=warn',
    ...(known === undefined ? [FIND_ADDRESS] : []),
    remoteDir === undefined
      ? `cd ${shellWord(process.cwd())} 2>/dev/null || cd`
      : `cd ${shellWord(remoteDir)} || exit`,
    `${remoteCommand} worker ${url} --stdio ${own.join(' ')}`,
  ].join('; ');
}

/** The address from which ssh came leads back to this machine, whatever the host is called here. */
const FIND_ADDRESS =
  'a=${SSH_CONNECTION%% *}; case $a in "") echo "SSH_CONNECTION is not set there: give --address" >&2; exit 64;; *:*) a="[$a]";; esac';

/** Passes over whatever a user's shell writes to stdout before the worker does. */
function listenForInstance({ stdout }: ChildProcess, listener: (instance: string) => void): void {
  if (!stdout) return;
  stdout.on('error', () => undefined);
  createInterface({ input: stdout }).on('line', (line) => {
    const [, instance] = ANNOUNCEMENT.exec(line) ?? [];
    if (instance !== undefined) listener(instance);
  });
}

function explain(
  { code, error, said, signal, wasWorker }: ProcessEnd,
  { ssh, remoteCommand }: SshCommand,
): EndExplained {
  if (error) return { how: `cannot run ${ssh[0]}: ${error.message}`, isFinal: true };
  if (signal) return { how: `ssh by ${signal}`, isFinal: false };
  if (code === SSH_FAILED) return wasWorker ? CONNECTION_LOST : explainFailure(said);
  if (wasWorker) {
    const isOutOfMemory = code === ABORTED;
    // What the coordinator or the command line refuses once, it refuses again.
    const isFinal = code === EXIT.network || code === EXIT.usage;
    return { how: `exit code ${code}${isOutOfMemory ? ', out of memory' : ''}`, isFinal, isOutOfMemory };
  }
  const isMissing = NO_COMMAND.includes(code) || said.some((line) => NPM_ERROR.test(line));
  const how = isMissing ? `${remoteCommand} is not there` : `no worker started there, exit code ${code}`;
  return { how: `${how}${lastOf(said)}`, isFinal: true };
}

const CONNECTION_LOST: EndExplained = { how: 'ssh lost the connection', isFinal: false };

function explainFailure(said: readonly string[]): EndExplained {
  for (const { line: pattern, how } of FINAL_FAILURES) {
    const line = said.find((text) => pattern.test(text));
    if (line !== undefined) return { how: `${how}${lastOf([line])}`, isFinal: true };
  }
  return { how: `ssh made no connection${lastOf(said)}`, isFinal: false };
}

/** A colon and the last words that were said; nothing where there are none. */
function lastOf(said: readonly string[]): string {
  const words = said.join('; ');
  return words === '' ? '' : `: ${words.slice(-MAX_SAID_LENGTH)}`;
}
