// A cluster of two nodes on this machine, with a Slurm of its own: only as root on Linux. All its files are
// in a temporary directory, and a Slurm or munge that is installed is not disturbed.
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isInstalled } from './namespaces.ts';

const PROGRAMS = ['munged', 'slurmctld', 'slurmd', 'sbatch', 'srun', 'scancel', 'scontrol', 'squeue'];
const NODES = ['node1', 'node2'];
const ENDS = ['COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT', 'NODE_FAIL', 'OUT_OF_MEMORY'];
const POLL_MS = 100;
const DEADLINE_MS = 20_000;

/** The requirement for a cluster that this machine lacks; undefined if none. */
export function missingForSlurm(): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  const missing = PROGRAMS.filter((program) => !isInstalled(program));
  return missing.length > 0 ? missing.join(', ') : undefined;
}

/** A job as `scontrol` shows it. */
export interface SlurmJob {
  readonly state: string;
  /** False while it waits, runs, or is between the two. */
  readonly isOver: boolean;
  /** The exit code of its script. */
  readonly exitCode: number;
  readonly restarts: number;
}

/** A running cluster, until `stop` is called. */
export class SlurmCluster {
  readonly #directory = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-slurm-'));
  readonly #daemons: ChildProcess[] = [];
  readonly #env = {
    PATH: [path.dirname(process.execPath), process.env['PATH'], '/usr/sbin', '/sbin'].join(':'),
    SLURM_CONF: path.join(this.#directory, 'slurm.conf'),
  };

  static async start(): Promise<SlurmCluster> {
    const cluster = new SlurmCluster();
    try {
      await cluster.#start();
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  /** Submits a script in a directory, with its output in `job.log` there; returns the number of the job. */
  submit(cwd: string, env: Readonly<Record<string, string>>, args: readonly string[]): string {
    return this.#run('sbatch', ['--parsable', '--output=job.log', ...args], { cwd, env }).trim();
  }

  /** Runs a command of Slurm; returns what it prints. */
  tell(program: string, ...args: readonly string[]): string {
    return this.#run(program, args);
  }

  job(id: string): SlurmJob {
    const shown = this.tell('scontrol', '--oneliner', 'show', 'job', id);
    const field = (name: string): string => new RegExp(`\\b${name}=(\\w+)`).exec(shown)?.[1] ?? '';
    const state = field('JobState');
    return {
      state,
      isOver: ENDS.includes(state),
      exitCode: Number(field('ExitCode')),
      restarts: Number(field('Restarts')),
    };
  }

  /** Resolves once a job is over and its processes have ended. */
  async untilOver(id: string): Promise<SlurmJob> {
    while (!this.job(id).isOver) await sleep(POLL_MS);
    await until(() => this.#queue() === '', `the processes of job ${id} to end`);
    return this.job(id);
  }

  /** Ends all jobs and the cluster. */
  async stop(): Promise<void> {
    try {
      if (this.#daemons.length <= NODES.length) return;
      this.tell('scancel', '--user=root');
      await until(() => this.#queue() === '', 'all jobs to end');
    } finally {
      for (const daemon of this.#daemons.reverse()) await end(daemon);
      fs.rmSync(this.#directory, { recursive: true, force: true });
    }
  }

  async #start(): Promise<void> {
    const inDirectory = (name: string): string => path.join(this.#directory, name);
    const [socket, key] = [inDirectory('munge.socket'), inDirectory('munge.key')];
    fs.writeFileSync(key, randomBytes(64), { mode: 0o400 });
    fs.writeFileSync(this.#env.SLURM_CONF, await this.#config(socket));
    // Cores are counted, not handed out: there may be no control groups here.
    fs.writeFileSync(inDirectory('cgroup.conf'), '');
    // --force: the temporary directory may be open to all users, who cannot write into this one.
    const munge = ['--foreground', '--force', `--socket=${socket}`, `--key-file=${key}`];
    const files = ['pid', 'log', 'seed'].map((name) => `--${name}-file=${inDirectory(`munged.${name}`)}`);
    this.#daemon('munged', ...munge, ...files);
    await until(() => fs.existsSync(socket), 'munged');
    this.#daemon('slurmctld', '-D', '-c');
    for (const node of NODES) this.#daemon('slurmd', '-D', '-N', node);
    await until(() => this.#nodes() === NODES.map(() => 'idle').join(), 'the nodes to be idle');
  }

  async #config(mungeSocket: string): Promise<string> {
    const [controller, ...ports] = await freePorts(1 + NODES.length);
    const host = os.hostname();
    const nodes = NODES.map(
      (name, index) =>
        `NodeName=${name} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${ports[index]} CPUs=8 State=UNKNOWN`,
    );
    return [
      'ClusterName=lockstep',
      `SlurmctldHost=${host}(127.0.0.1)`,
      `SlurmctldPort=${controller}`,
      'SlurmUser=root',
      'AuthType=auth/munge',
      // A requeued job waits for as long as credentials are valid.
      `AuthInfo=socket=${mungeSocket},cred_expire=5`,
      `StateSaveLocation=${this.#directory}/state`,
      `SlurmdSpoolDir=${this.#directory}/%n`,
      `SlurmctldPidFile=${this.#directory}/slurmctld.pid`,
      `SlurmdPidFile=${this.#directory}/%n.pid`,
      'ProctrackType=proctrack/linuxproc',
      'TaskPlugin=task/none',
      'SelectType=select/cons_tres',
      'SelectTypeParameters=CR_CPU',
      'MpiDefault=none',
      // Nodes may have more cores than the machine.
      'SlurmdParameters=config_overrides',
      'KillWait=5',
      // A node that is marked as down is back once it answers.
      'ReturnToService=2',
      // Another one for each cluster, since the port of a coordinator follows from it.
      `FirstJobId=${1000 + (process.pid % 9000)}`,
      ...nodes,
      'PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP',
      '',
    ].join('\n');
  }

  #daemon(program: string, ...args: readonly string[]): void {
    const log = fs.openSync(path.join(this.#directory, 'daemons.log'), 'a');
    const env = this.#env;
    this.#daemons.push(spawn(program, args, { cwd: this.#directory, env, stdio: ['ignore', log, log] }));
    fs.closeSync(log);
  }

  /** The states of all nodes; empty while nobody answers. */
  #nodes(): string {
    const { stdout } = spawnSync('sinfo', ['--noheader', '--Node', '--format=%T'], {
      env: this.#env,
      encoding: 'utf8',
    });
    return stdout.trim().split('\n').join();
  }

  #queue(): string {
    return this.tell('squeue', '--noheader');
  }

  #run(
    program: string,
    args: readonly string[],
    { cwd, env }: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> } = {},
  ): string {
    const options = { cwd, env: { ...this.#env, ...env }, encoding: 'utf8', timeout: DEADLINE_MS } as const;
    const { status, stdout, stderr, error } = spawnSync(program, args, options);
    if (status === 0) return stdout;
    throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? stderr.trim()}`);
  }
}

async function end(daemon: ChildProcess): Promise<void> {
  if (daemon.exitCode !== null || daemon.signalCode !== null) return;
  const exited = once(daemon, 'exit');
  daemon.kill('SIGTERM');
  const timer = setTimeout(() => daemon.kill('SIGKILL'), DEADLINE_MS);
  await exited;
  clearTimeout(timer);
}

async function until(isSo: () => boolean, what: string): Promise<void> {
  for (const startMs = performance.now(); !isSo();) {
    if (performance.now() - startMs > DEADLINE_MS) throw new Error(`waited in vain for ${what}`);
    await sleep(POLL_MS);
  }
}

/** Ports that were free a moment ago. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => net.createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}
