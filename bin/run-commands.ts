// `lockstep train`, `coordinator` and `replay`: from arguments to a finished run.
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { createOutput, createRuntime, parseAddress, parseDashboardAddress } from './runtime.ts';
import type { Runtime } from './runtime.ts';
import { crossValidate, foldConfig, formatFolds } from '../coordinator/commands/cross-validate.ts';
import { dryRun } from '../coordinator/commands/dry-run.ts';
import { replayStep } from '../coordinator/commands/replay.ts';
import { runTraining } from '../coordinator/commands/run.ts';
import type { RunOptions } from '../coordinator/commands/run.ts';
import { readHostFile } from '../coordinator/cluster/host-file.ts';
import type { DashboardAddress } from '../coordinator/dashboard/dashboard-server.ts';
import { printData, printJson, printText } from '../coordinator/output/results.ts';
import { formatSummary } from '../coordinator/output/summary.ts';
import { fanInOf, localComputeOf, localWorkforce, topologyError } from '../coordinator/start-compute.ts';
import type { Topology, TopologyFlags, Workforce } from '../coordinator/start-compute.ts';
import type { LocalCompute } from '../coordinator/training/memory-plan.ts';
import { formatConfigYaml } from '../src/config/config-text.ts';
import { loadConfig } from '../src/config/load.ts';
import { LockstepError } from '../src/errors.ts';
import type { Logger } from '../src/log.ts';
import { ANY_HOST, isLoopback } from '../src/protocol/connection.ts';
import { countOf } from '../src/printable.ts';
import { collectMessageBuffers } from '../src/protocol/buffer-garbage.ts';
import { generateToken, readToken } from '../src/protocol/token.ts';
import { WorkerTokens } from '../src/protocol/worker-tokens.ts';
import { serverTlsOf, type TlsFlags } from '../src/protocol/tls.ts';

interface RunArguments extends TopologyFlags, TlsFlags {
  readonly set: readonly string[];
  readonly runDir?: string;
  readonly resume?: string;
  readonly allowOlder?: boolean;
  readonly standby?: boolean;
  readonly lease?: number;
  readonly checkpointMirror?: string;
  readonly printConfig?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
  readonly sharedMemory: boolean;
  /** An address, or true for the usual one. */
  readonly dashboard?: string | true;
  readonly tokenFile?: string;
  readonly browserWorkers?: boolean;
}

/** @throws LockstepError (exit 2) for flags that contradict each other */
function topologyOf(args: RunArguments, hasWorkers = true): Topology {
  const fanIn = fanInOf(args);
  if (hasWorkers || fanIn === undefined) return { fanIn };
  throw topologyError('--topology tree is for workers, and there are none', 'add --workers COUNT');
}

/** Arguments of `lockstep train`. */
export interface TrainArguments extends RunArguments, HostsArguments {
  readonly folds?: number;
  readonly hosts?: string;
  readonly workers: number | 'auto';
  readonly threads: number | 'auto';
}

/** Arguments of `lockstep train` that are of use with `--hosts` alone. */
interface HostsArguments {
  readonly listen?: string;
  readonly address?: string;
  readonly tunnel?: boolean;
  readonly minWorkers?: number;
  readonly waitForWorkers?: number;
  /** A program and its first arguments. */
  readonly ssh?: readonly string[];
  readonly remoteDir?: string;
  readonly remoteCommand?: string;
  readonly datasetCache?: string;
}

/** Arguments of `lockstep coordinator`. */
export interface CoordinatorArguments extends RunArguments {
  readonly listen: string;
  readonly publicUrl?: string;
  readonly workerTokens?: string;
  readonly minWorkers: number;
  readonly waitForWorkers: number;
  readonly datasetCache?: string;
}

const PROGRAM = fileURLToPath(new URL('./lockstep.js', import.meta.url));

/** Trains on this machine, or on the hosts of a file. */
export async function train(config: string, args: TrainArguments): Promise<void> {
  const { folds, hosts } = args;
  if (hosts !== undefined)
    return runCommand(config, args, ({ log }) => hostsWorkforce(hosts, args, log), { folds });
  if (args.browserWorkers) return runCommand(config, args, ({ log }) => besideTabs(args, log));
  if (args.tokenFile !== undefined && args.dashboard === undefined) throw idleToken();
  const hasWorkers = args.workers !== 'auto' && args.workers > 0;
  const topology = topologyOf(args, hasWorkers);
  const workforce = localWorkforce(args.workers, args.threads, { program: PROGRAM, ...topology });
  await runCommand(config, args, () => workforce, { local: localComputeOf(workforce), folds });
}

/** @throws LockstepError (exit 2) for a file or flags that do not fit */
function hostsWorkforce(file: string, args: TrainArguments, log: Logger): Workforce {
  const { minWorkers, remoteCommand = 'npx --no lockstep', remoteDir, ssh = ['ssh'], threads } = args;
  const { tunnel: hasTunnel = false, waitForWorkers = DEFAULT_WAIT_S } = args;
  const workers = readHostFile(file);
  const startWith = minWorkers ?? workers.length;
  if (startWith > workers.length)
    throw hostsError(`--min-workers ${startWith}, but ${file} asks for ${countOf(workers.length, 'worker')}`);
  const topology = topologyOf(args);
  if (hasTunnel && topology.fanIn !== undefined)
    throw topologyError('--topology tree is for workers that reach one another', 'leave --tunnel out');
  const everywhere = hasTunnel ? '127.0.0.1' : anyHost();
  const { host, port } = portOf(args, everywhere);
  const address = args.address ?? (ANY_HOST.includes(host) ? undefined : host);
  const started = { workers, startWith, threads, program: PROGRAM };
  return {
    kind: 'network',
    host,
    port,
    ...tokenAndPage(args, log),
    minWorkers: minWorkers ?? 1,
    waitForWorkersMs: waitForWorkers * 1000,
    hosts: { ...started, ssh, remoteCommand, remoteDir, address, hasTunnel },
    datasetCache: args.datasetCache,
    ...topology,
  };
}

/** Workers of this machine, and the tabs that join them. */
function besideTabs(args: TrainArguments, log: Logger): Workforce {
  const { minWorkers = 1, threads, waitForWorkers = DEFAULT_WAIT_S } = args;
  const workers = args.workers === 'auto' ? 1 : args.workers;
  return {
    kind: 'network',
    ...portOf(args, anyHost()),
    ...tokenAndPage(args, log),
    minWorkers,
    waitForWorkersMs: waitForWorkers * 1000,
    ...(workers > 0 && { beside: { workers, threads, program: PROGRAM } }),
    ...topologyOf(args),
  };
}

/** The port for workers of `train`: by default a free one. */
function portOf({ listen }: HostsArguments, host: string): { host: string; port: number } {
  return listen === undefined ? { host, port: 0 } : parseAddress(listen);
}

/** The token of workers of `train`, and the page that is asked for. */
function tokenAndPage(args: TrainArguments, log: Logger): Pick<NetworkWorkforce, 'token' | 'browserWorkers'> {
  const given = tokenOf(args, log);
  const page = { address: args.address, isTokenNew: given === undefined };
  return { token: given ?? generateToken(), browserWorkers: args.browserWorkers ? page : undefined };
}

type NetworkWorkforce = Extract<Workforce, { kind: 'network' }>;

/** Longest time with fewer workers than are required. */
const DEFAULT_WAIT_S = 600;

/** All addresses of this machine, those of IPv6 too where it has any. */
function anyHost(): string {
  const addresses = Object.values(os.networkInterfaces()).flat();
  return addresses.some((address) => address?.family === 'IPv6') ? '::' : '0.0.0.0';
}

function hostsError(message: string): LockstepError {
  return new LockstepError({ category: 'usage', code: 'E_HOSTS', message, help: 'see docs/ssh.md' });
}

/** Trains with workers that join over the network. */
export async function coordinate(config: string, args: CoordinatorArguments): Promise<void> {
  await runCommand(config, args, ({ log }) => {
    const { host, port } = parseAddress(args.listen);
    const token = tokenOf(args, log);
    const { datasetCache, minWorkers, publicUrl, waitForWorkers } = args;
    const tls = serverTlsOf(args);
    const workerTokens =
      args.workerTokens === undefined ? undefined : new WorkerTokens(args.workerTokens, log);
    const waitForWorkersMs = waitForWorkers * 1000;
    const browserWorkers = args.browserWorkers ? { isTokenNew: false } : undefined;
    const places = { host, port, tls, publicUrl, browserWorkers };
    const about = { ...places, token, workerTokens, minWorkers, waitForWorkersMs, datasetCache };
    return { kind: 'network', ...about, ...topologyOf(args) };
  });
}

function tokenOf({ tokenFile: file }: RunArguments, log: Logger): string | undefined {
  return readToken({ file, env: process.env, warn: (message) => log.warn(message) });
}

function dashboardOf(args: RunArguments, workforce: Workforce, log: Logger): DashboardAddress | undefined {
  if (args.dashboard === undefined) return undefined;
  const address = parseDashboardAddress(args.dashboard, '--dashboard');
  const tls = serverTlsOf(args);
  if (!isLoopback(address.host)) return { ...address, tls, token: tokenOf(args, log) };
  // On this machine alone a page asks for no token, nor for the certificates that workers have to show.
  const isForWorkers = workforce.kind === 'network' && workforce.tls !== undefined;
  return { ...address, tls: isForWorkers && tls ? { ...tls, ca: undefined } : tls };
}

async function runCommand(
  path: string,
  args: RunArguments,
  chooseWorkforce: (runtime: Runtime) => Workforce,
  { local, folds }: { readonly local?: LocalCompute | undefined; readonly folds?: number | undefined } = {},
): Promise<void> {
  const mirror = args.checkpointMirror;
  const own = mirror === undefined ? [] : [`checkpoint.mirror=${JSON.stringify(mirror)}`];
  const { config: loaded } = await loadConfig({ path, overrides: [...args.set, ...own] });
  const config = folds === undefined ? loaded : foldConfig(loaded, 1, folds);
  if (args.printConfig) return printData(formatConfigYaml(config));
  const runtime = createRuntime();
  const resuming = {
    runDirectory: args.runDir,
    resume: args.resume,
    allowOlder: args.allowOlder ?? false,
    standby: args.standby,
    lease: args.lease,
  };
  if (args.dryRun) {
    const warn = (message: string): void => runtime.log.warn(message);
    const plan = await dryRun({ config, ...resuming, local, warn, width: process.stdout.columns });
    return printText(plan);
  }
  const workforce = chooseWorkforce(runtime);
  const dashboard = dashboardOf(args, workforce, runtime.log);
  collectMessageBuffers();
  const run = { ...runtime, config, workforce, dashboard, sharedMemory: args.sharedMemory, ...resuming };
  if (folds !== undefined) return runFolds(run, folds, args);
  const { summary, directory, ...about } = await runTraining(run);
  const { columns } = runtime.screen;
  runtime.screen.write(`\n${formatSummary(summary, { columns, ...about })}results in ${directory}\n`);
  if (args.json) await printJson(summary);
}

async function runFolds(run: RunOptions, numFolds: number, { json }: RunArguments): Promise<void> {
  const { result, directory } = await crossValidate(run, numFolds);
  run.screen.write(`\n${formatFolds(result)}results in ${directory}\n`);
  if (json) await printJson(result);
}

function idleToken(): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_TOKEN_UNUSED',
    message:
      '--token-file is for the dashboard here, and there is none: workers of this machine have a token of their own',
    help: 'add --dashboard HOST:PORT, or leave the token out',
  });
}

/** Arguments of `lockstep replay`. */
export interface ReplayArguments {
  readonly step: number;
  readonly json?: boolean;
}

/** Takes the step again and compares. @throws LockstepError (exit 1) if the weights differ. */
export async function replay(run: string, { step, json }: ReplayArguments): Promise<void> {
  const { log, screen } = createOutput();
  const replayed = await replayStep(run, step, (message) => log.warn(message));
  const { from, recorded, recomputed, firstDifference } = replayed;
  if (json) await printJson(replayed);
  const start = from === 0 ? 'the beginning' : `the checkpoint of step ${from}`;
  if (firstDifference === undefined) {
    return screen.write(`step ${step}, taken again from ${start}: the same weights, ${recorded}\n`);
  }
  throw new LockstepError({
    category: 'failure',
    code: 'E_REPLAY_DIFFERS',
    message: `step ${step}, taken again from ${start}, results in weights ${recomputed}, not ${recorded}; the first step that differs is ${firstDifference}`,
    help: 'the run was disturbed there: a worker sent wrong results (see audit), or the records were changed',
  });
}
