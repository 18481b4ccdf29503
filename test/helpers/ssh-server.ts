// An ssh server on the loopback address, which lets in the user of the tests by a key of their own: the
// machine that workers are started on.
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const SSHD = ['/usr/sbin/sshd', '/usr/bin/sshd', '/usr/local/sbin/sshd'].find((file) => fs.existsSync(file));
const START_DEADLINE_MS = 10_000;

/** What a test with an ssh server lacks here; undefined if it can run. */
export function missingForSsh(): string | undefined {
  if (SSHD === undefined) return 'sshd';
  return ['ssh', 'ssh-keygen'].find(
    (program) => !process.env['PATH']?.split(':').some((folder) => fs.existsSync(path.join(folder, program))),
  );
}

/** A running server. */
export class SshServer {
  readonly port: number;
  readonly #directory: string;
  readonly #stop: () => void;

  private constructor(port: number, directory: string, stop: () => void) {
    this.port = port;
    this.#directory = directory;
    this.#stop = stop;
  }

  static async start(): Promise<SshServer> {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-sshd-'));
    const port = await freePort();
    for (const name of ['host_key', 'key', 'other_key'])
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path.join(directory, name)]);
    fs.copyFileSync(path.join(directory, 'key.pub'), path.join(directory, 'authorized_keys'));
    const lines = [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${directory}/host_key`,
      `AuthorizedKeysFile ${directory}/authorized_keys`,
      'PidFile none',
      // The folder for temporary files is open to all.
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin prohibit-password',
      'MaxStartups 100',
      `SetEnv PATH=${process.env['PATH']}`,
    ];
    fs.writeFileSync(path.join(directory, 'sshd_config'), `${lines.join('\n')}\n`);
    // For the processes of a server that is root.
    if (process.getuid?.() === 0) fs.mkdirSync('/run/sshd', { recursive: true });
    const server = spawn(SSHD as string, ['-D', '-e', '-f', path.join(directory, 'sshd_config')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    server.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
    const startMs = performance.now();
    while (!said.includes('Server listening')) {
      if (server.exitCode !== null || performance.now() - startMs > START_DEADLINE_MS)
        throw new Error(`sshd has not started: ${said}`);
      await sleep(10);
    }
    return new SshServer(port, directory, () => {
      server.kill('SIGKILL');
      fs.rmSync(directory, { recursive: true });
    });
  }

  /** The `--ssh` of a client that knows the server by `hostKey`, and shows `key`. */
  client({ hostKey = 'host_key', key = 'key' } = {}): string {
    const knownHosts = path.join(this.#directory, `known_as_${hostKey}`);
    const [type, text] = fs.readFileSync(path.join(this.#directory, `${hostKey}.pub`), 'utf8').split(' ');
    fs.writeFileSync(knownHosts, `[127.0.0.1]:${this.port} ${type} ${text}\n`);
    const options = [
      `IdentityFile=${this.#directory}/${key}`,
      'IdentitiesOnly=yes',
      'IdentityAgent=none',
      `UserKnownHostsFile=${knownHosts}`,
      'GlobalKnownHostsFile=none',
      'StrictHostKeyChecking=yes',
    ];
    return ['ssh', '-F', 'none', ...options.flatMap((option) => ['-o', option])].join(' ');
  }

  stop(): void {
    this.#stop();
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Processes of this machine with the text in their command line, except for those that have ended. */
export function processesWith(text: string): { readonly pid: number; readonly words: readonly string[] }[] {
  return fs.readdirSync('/proc').flatMap((entry) => {
    if (!/^\d+$/.test(entry)) return [];
    try {
      const commandLine = fs.readFileSync(`/proc/${entry}/cmdline`, 'utf8');
      return commandLine.includes(text) ? [{ pid: Number(entry), words: commandLine.split('\0') }] : [];
    } catch {
      return [];
    }
  });
}
