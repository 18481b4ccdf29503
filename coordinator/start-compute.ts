// Starts whatever computes: this process alone, child processes of it, or workers that join over the network,
// by themselves or because this process starts them on hosts.
import { randomInt } from 'node:crypto';
import { DatasetCache } from '../src/data/dataset/dataset-cache.ts';
import { blobByteLength } from '../src/data/dataset/packed-dataset.ts';
import { evaluationWidth } from '../src/engine/samples.ts';
import { LocalEngine } from '../src/engine/local-engine.ts';
import { knownAnswer } from '../src/known-answer.ts';
import { LockstepError } from '../src/errors.ts';
import { DEFAULT_FAN_IN, MAX_WORKERS } from '../src/limits.ts';
import { reportWidth } from '../src/kernels/kernels.ts';
import type { Logger } from '../src/log.ts';
import { formatBytes } from '../src/memory.ts';
import { countOf, shellWord } from '../src/printable.ts';
import type { SharedFile } from '../src/protocol/shared-file.ts';
import { ANY_HOST, hostAndPort, urlOf } from '../src/protocol/connection.ts';
import { generateToken } from '../src/protocol/token.ts';
import type { TlsFiles } from '../src/protocol/tls.ts';
import type { WorkerTokens } from '../src/protocol/worker-tokens.ts';
import { Cluster } from './cluster/cluster.ts';
import { ClusterCompute } from './cluster/cluster-compute.ts';
import type { Compute } from './training/compute.ts';
import { InProcessCompute } from './training/in-process-compute.ts';
import type { BrowserWorkers } from './cluster/join-page.ts';
import { listen } from './cluster/listener.ts';
import type { Listener, ListenOptions } from './cluster/listener.ts';
import type { HostWorker } from './cluster/host-file.ts';
import { localLaunches } from './cluster/local-workers.ts';
import type { LocalWorker } from './cluster/local-workers.ts';
import { refereeBytes } from './cluster/referee.ts';
import { RosterLog } from './cluster/roster-log.ts';
import type { RosterEvent } from './cluster/roster-log.ts';
import { createWeightsFile } from './cluster/shared-results.ts';
import { sshLaunches } from './cluster/ssh-workers.ts';
import type { SshCommand } from './cluster/ssh-workers.ts';
import { WorkerProcesses } from './cluster/worker-processes.ts';
import type { Launch, LostWorker, WorkerProcessesOptions } from './cluster/worker-processes.ts';
import type { LocalCompute } from './training/memory-plan.ts';
import type { PreparedRun } from './training/prepare.ts';
import type { TrainingState } from './training/training-state.ts';
import { welcomeOf } from './training/run-descriptions.ts';
import { maxQueuedBytes, NO_DATASET, WorkerSession } from './cluster/worker-session.ts';
import type { SessionContext } from './cluster/worker-session.ts';

/** The workers that are to compute. */
export type Workforce =
  | { readonly kind: 'inProcess'; readonly threads: number | 'auto' }
  | ({
      readonly kind: 'local';
      readonly workers: number;
      readonly threads: number;
      readonly program: string;
    } & Topology)
  | ({
      readonly kind: 'network';
      readonly host: string;
      readonly port: number;
      readonly token: string | undefined;
      readonly workerTokens?: WorkerTokens | undefined;
      readonly tls?: TlsFiles | undefined;
      /** The URL that workers use where a proxy stands before the port. */
      readonly publicUrl?: string | undefined;
      readonly minWorkers: number;
      readonly waitForWorkersMs: number;
      /** The page whose tabs are workers; undefined where there is none. */
      readonly browserWorkers?: BrowserWorkers | undefined;
      /** Workers of this machine that this process starts besides those that come by themselves. */
      readonly beside?: Omit<Extract<Workforce, { kind: 'local' }>, 'kind' | 'threads'> &
        Pick<HostsWorkforce, 'threads'>;
      /** The workers that this process starts; undefined where all come by themselves. */
      readonly hosts?: HostsWorkforce | undefined;
      /** The directory in which workers are to find the packed dataset. */
      readonly datasetCache?: string | undefined;
    } & Topology);

/** Workers on hosts, and how they are started there. */
export interface HostsWorkforce extends Omit<SshCommand, 'flags' | 'port' | 'token'> {
  readonly workers: readonly HostWorker[];
  /** Workers with which the first step begins. */
  readonly startWith: number;
  /** The command line's program file, for those of this machine. */
  readonly program: string;
}

/** The shape of a cluster. */
export interface Topology {
  /** Workers of each place in a tree; undefined for a star, where all are the coordinator's. */
  readonly fanIn?: number | undefined;
}

/** The flags that shape a cluster. */
export interface TopologyFlags {
  readonly topology: 'star' | 'tree';
  readonly fanIn?: number;
}

/** The fan-in that flags ask for: undefined for a star. @throws LockstepError (exit 2) for one of a star */
export function fanInOf({ fanIn, topology }: TopologyFlags): number | undefined {
  if (topology === 'tree') return fanIn ?? DEFAULT_FAN_IN;
  if (fanIn === undefined) return undefined;
  throw topologyError('--fan-in is for trees', 'add --topology tree');
}

/** The error for flags that shape no cluster. */
export function topologyError(message: string, help: string): LockstepError {
  return new LockstepError({ category: 'usage', code: 'E_TOPOLOGY', message, help });
}

/**
 * Worker processes of `program` (the command line's file), or this process where their number is 0
 * or `auto`: threads that share memory need no messages, so no processes are faster. `auto` threads
 * are one in a worker, and in this process as many as prove to be fastest.
 */
export function localWorkforce(
  workers: number | 'auto',
  threads: number | 'auto',
  { program, fanIn }: Topology & { readonly program: string },
): Workforce {
  if (workers === 'auto' || workers === 0) return { kind: 'inProcess', threads };
  return { kind: 'local', workers, threads: threads === 'auto' ? 1 : threads, program, fanIn };
}

/** The workers on this machine; undefined where workers join over the network. */
export function localComputeOf(workforce: Workforce): LocalCompute | undefined {
  if (workforce.kind === 'network') return undefined;
  return workforce.kind === 'local' ? workforce : { workers: 0, threads: workforce.threads };
}

/** The parts that computing starts from. */
export interface StartOptions {
  /** Names the run to workers. */
  readonly run: string;
  readonly prepared: PreparedRun;
  readonly state: TrainingState;
  readonly workforce: Workforce;
  /** False where workers of this machine, too, get and send all by their sockets. */
  readonly sharedMemory?: boolean | undefined;
  /** The port of a workforce on the network. */
  readonly listener?: Listener | undefined;
  /** Called with the workers of the network, before any has come, and with how to start them. */
  readonly onCluster?: ((cluster: Cluster, joinHint: string) => void) | undefined;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly onEvent: (event: RosterEvent) => void;
}

/** Local workers start in a second or two; one that takes this long never will. */
const LOCAL_WAIT_MS = 60_000;
/** Time after the first host that is lost in which others may prove to be, to be told together. */
const LOST_TOGETHER_MS = 3_000;
/** Almost the largest range of `randomInt`. */
const DRAW_RANGE = 2 ** 47;

/**
 * Opens the port to which workers of the network are to come, before anything is made for the run;
 * undefined where none come.
 * @throws LockstepError if it cannot be opened
 */
export async function openPort(
  workforce: Workforce,
  { log, status }: Pick<ListenOptions, 'log' | 'status'>,
): Promise<Listener | undefined> {
  if (workforce.kind !== 'network') return undefined;
  const plainHelp = workforce.hosts && 'give --tunnel';
  return listen({ ...workforce, maxWorkers: MAX_WORKERS, status, log, plainHelp });
}

type NetworkWorkforce = Extract<Workforce, { kind: 'network' }>;
type ClusterWorkforce = Exclude<Workforce, { kind: 'inProcess' }>;

/** Resolves once enough workers are ready. */
export async function startCompute(options: StartOptions): Promise<Compute> {
  const { prepared, state, workforce } = options;
  reportWidth(prepared.kernelModule, options.log);
  if (workforce.kind !== 'inProcess') return startCluster(options, workforce);
  return InProcessCompute.create(prepared, state, { ...workforce, log: options.log });
}

async function startCluster(options: StartOptions, workforce: ClusterWorkforce): Promise<Compute> {
  const { log, sharedMemory = true, signal, state } = options;
  const isLocal = workforce.kind === 'local';
  const token = isLocal ? generateToken() : workforce.token;
  const loopback = { host: '127.0.0.1', port: 0, token, maxWorkers: MAX_WORKERS, log };
  const listener = options.listener ?? (await listen(loopback));
  const roster = new RosterLog(log, options.onEvent);
  const joinHint = isLocal
    ? 'see the output of the worker processes above'
    : hintOf(workforce, listener.port);
  const weightsFile = sharedMemory ? createWeightsFile(state.model.numParameters, log) : undefined;
  const cluster = createCluster(options, { workforce, roster, joinHint, weightsFile });
  const onAbort = (): void => cluster.fail(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    signal.throwIfAborted();
    options.onCluster?.(cluster, joinHint);
    const context = await sessionContext(options, cluster, { roster, weightsFile });
    if (!isLocal) await keepDataset(options, workforce.datasetCache);
    let numSessions = 0;
    listener.admit((connection) =>
      cluster.guard(() => void new WorkerSession(++numSessions, connection, context)),
    );
    if (!isLocal) log.info(`listening on ${hostAndPort(listener.host, listener.port)}; ${joinHint}`);
    const needed = neededOf(workforce);
    const launches = launchesOf(workforce, { host: listener.host, port: listener.port, token });
    startWorkers(cluster, { launches, needed, log, numberOf: roster.numberOf });
    cluster.onClose(() => listener.close());
    cluster.onClose(() => Promise.resolve(roster.churn.flush()));
    cluster.onClose(() => Promise.resolve(weightsFile?.close()));
    await cluster.waitForWorkers(needed.count);
    needed.count = isLocal ? 1 : workforce.minWorkers;
    return new ClusterCompute({
      cluster,
      state,
      evaluationWidth: widthOf(options),
      dataset: options.prepared.data.dataset,
    });
  } catch (error) {
    await cluster.close('the run could not start', false);
    weightsFile?.close();
    throw error;
  }
}

/** Writes the dataset where workers look for it, before any is let in. */
async function keepDataset(
  { log, prepared, signal }: StartOptions,
  directory: string | undefined,
): Promise<void> {
  if (directory === undefined) return;
  const { dataset } = prepared.data;
  if (dataset.file) return log.info('the dataset is streamed, so --dataset-cache does not take it');
  await new DatasetCache({ directory, log, signal }).keep(dataset);
  signal.throwIfAborted();
}

/** The parts of a cluster besides the options of the start. */
interface ClusterParts {
  readonly workforce: ClusterWorkforce;
  readonly roster: RosterLog;
  readonly joinHint: string;
  readonly weightsFile: SharedFile | undefined;
}

function widthOf({ prepared: { config, data }, state }: StartOptions): number {
  return evaluationWidth(state.model, data.dataset.layout, config.loss);
}

function createCluster(
  options: StartOptions,
  { workforce, roster, joinHint, weightsFile }: ClusterParts,
): Cluster {
  const { log, prepared, run, state } = options;
  const isLocal = workforce.kind === 'local';
  return new Cluster({
    run,
    state,
    weightsFile,
    groups: prepared.plan.groups,
    fanIn: workforce.fanIn,
    evaluationWidth: widthOf(options),
    log,
    churn: roster.churn,
    minWorkers: isLocal ? 1 : workforce.minWorkers,
    waitMs: isLocal ? LOCAL_WAIT_MS : workforce.waitForWorkersMs,
    ownsWorkers: isLocal || workforce.hosts !== undefined || workforce.beside !== undefined,
    audit: { share: prepared.config.audit.share, random: secretDraw },
    room: prepared.memoryPlan.room,
    joinHint,
    createEngine: () => createRefereeEngine(prepared),
    engineBytes: refereeBytes(prepared.plan, welcomeOf(run, prepared)),
    onJoined: roster.joined,
    onBanned: roster.banned,
  });
}

/** Workers without which the run does not go on: first those to begin with, later fewer. */
interface Needed {
  count: number;
  /** The error where too few are left. */
  readonly error: (lost: readonly LostWorker[]) => LockstepError;
}

function neededOf(workforce: ClusterWorkforce): Needed {
  if (workforce.kind === 'local') return { count: workforce.workers, error: workersDied };
  const { beside, hosts, minWorkers } = workforce;
  return { count: hosts?.startWith ?? minWorkers, error: beside ? workersDied : hostsLost };
}

/** The workers that this process has to start. */
function launchesOf(
  workforce: ClusterWorkforce,
  { host, port, token }: Pick<Listener, 'host' | 'port'> & { readonly token: string | undefined },
): Launch[] {
  const { fanIn } = workforce;
  const listenOn = (own: string): string[] => (fanIn === undefined ? [] : ['--listen', `${own}:0`]);
  const urlHere = urlOf({ host: ANY_HOST.includes(host) ? '127.0.0.1' : host, port });
  const {
    beside = undefined,
    datasetCache = undefined,
    hosts = undefined,
  } = workforce.kind === 'network' ? workforce : {};
  const team = workforce.kind === 'local' ? workforce : beside;
  if (team) {
    const { program, threads, workers } = team;
    // Those of other machines could not reach one at a loopback address.
    const worker = { threads, flags: beside ? [] : listenOn('127.0.0.1') };
    return localLaunches(Array<LocalWorker>(workers).fill(worker), { url: urlHere, token, program });
  }
  if (!hosts || token === undefined) return [];
  const cacheFlags = datasetCache === undefined ? [] : ['--dataset-cache', shellWord(datasetCache)];
  const { program, threads } = hosts;
  const isHere = ({ host, port, user }: HostWorker): boolean =>
    host === 'localhost' && port === undefined && user === undefined;
  const here = hosts.workers
    .filter(isHere)
    // No other host could reach one at the loopback address that the coordinator has seen, so it takes nobody.
    .map((worker) => ({ threads: worker.threads ?? threads, flags: ['--name', worker.name] }));
  const elsewhere = hosts.workers.filter((worker) => !isHere(worker));
  return [
    ...localLaunches(here, { url: urlHere, token, program }),
    ...sshLaunches(elsewhere, { ...hosts, port, token, flags: [...listenOn('0.0.0.0'), ...cacheFlags] }),
  ];
}

/** Starts workers, which end with the cluster; it fails once too few of them are left. */
function startWorkers(
  cluster: Cluster,
  {
    needed,
    ...options
  }: Pick<WorkerProcessesOptions, 'launches' | 'log' | 'numberOf'> & { readonly needed: Needed },
): void {
  if (options.launches.length === 0) return;
  const lost: LostWorker[] = [];
  let timer: NodeJS.Timeout | undefined;
  const fail = (): void => cluster.fail(needed.error(lost));
  const workers = new WorkerProcesses({
    ...options,
    onLost: (worker) => {
      lost.push(worker);
      if (worker.numLeft === 0) fail();
      else if (worker.numLeft < needed.count) timer ??= setTimeout(fail, LOST_TOGETHER_MS);
    },
    onOutOfMemory: (instance) => cluster.noteOutOfMemory(instance),
    guard: cluster.guard,
  });
  cluster.onClose(() => {
    clearTimeout(timer);
    return workers.stop();
  });
}

/** Draws from 2^47 numbers that no worker can know. */
function secretDraw(): number {
  return randomInt(DRAW_RANGE) / DRAW_RANGE;
}

/** Makes the referee's engine, in a memory of its own. */
function createRefereeEngine({ config, data, kernelModule, model }: PreparedRun): Promise<LocalEngine> {
  const { batchSize, loss, seed, shards, wire } = config;
  const { dataset } = data;
  const { groups } = wire;
  return LocalEngine.create({ kernelModule, model, loss, seed, dataset, batchSize, shards, groups });
}

async function sessionContext(
  { run, prepared, log }: StartOptions,
  cluster: Cluster,
  { roster, weightsFile }: Pick<ClusterParts, 'roster' | 'weightsFile'>,
): Promise<SessionContext> {
  const { data, kernelModule, model } = prepared;
  const { layout, blob, file } = data.dataset;
  const welcome = welcomeOf(run, prepared);
  log.info(
    `dataset ${countOf(layout.numRows, 'row')}, ${formatBytes(blobByteLength(layout))}; model ${countOf(model.numParameters, 'parameter')}`,
  );
  let sharingIsKnown = false;
  const sayHowBodiesTravel = ({ name, sharesMemory }: WorkerSession): void => {
    if (!sharesMemory) return log.debug(`${name} gets and sends all through its socket`);
    if (!sharingIsKnown) log.info('workers of this machine share weights and results in memory');
    sharingIsKnown = true;
  };
  return {
    kernels: { sha256: kernelModule.sha256, knownAnswer: await knownAnswer(kernelModule) },
    dataset: file ? NO_DATASET : blob,
    maxQueuedBytes: maxQueuedBytes(model.numParameters, welcome),
    welcome,
    weightsFile,
    placement: cluster.placement,
    guard: cluster.guard,
    banOf: (instance) => cluster.banOf(instance),
    numberOf: roster.numberOf,
    onReady: (session) => {
      sayHowBodiesTravel(session);
      cluster.addWorker(session);
    },
    onMembers: (session, instances) => cluster.setMembers(session, instances),
    onResult: (session, message, body) => cluster.receive(session, message, body),
    onGone: (session, end) => {
      roster.gone(session, end);
      cluster.removeWorker(session);
    },
  };
}

/** Advice for a user who lacks workers. */
function hintOf(workforce: NetworkWorkforce, port: number): string {
  const { browserWorkers, fanIn, host, hosts, publicUrl, tls, token, workerTokens } = workforce;
  if (hosts)
    return `${countOf(hosts.workers.length, 'worker')} of --hosts, of which each must reach port ${port} ${hosts.hasTunnel ? 'by its tunnel' : 'of this machine'}`;
  if (browserWorkers?.isTokenNew) return 'a browser becomes a worker by opening the link above';
  const name = ANY_HOST.includes(host) ? 'THIS_MACHINE' : host;
  const words = [
    'start workers with: lockstep worker',
    publicUrl ?? urlOf({ host: name, port, isSecure: tls !== undefined }),
    (token !== undefined || workerTokens) && '--token-file FILE',
    tls && '--tls-ca FILE',
    (tls?.ca !== undefined || (tls && fanIn !== undefined)) && '--tls-cert FILE --tls-key FILE',
    fanIn !== undefined && '--listen HOST:PORT',
  ];
  return words.filter(Boolean).join(' ');
}

function workersDied(lost: readonly LostWorker[]): LockstepError {
  const { how, numLeft = 0 } = lost.at(-1) ?? {};
  const what = numLeft === 0 ? 'every worker process has' : 'too many worker processes have';
  return new LockstepError({
    category: 'noWorkers',
    code: 'E_NO_WORKERS',
    message: `${what} ended for good, the last one by ${how}`,
    help: 'see the output of the worker processes above',
  });
}

/** Hosts that one error names. */
const MAX_NAMED_HOSTS = 10;

function hostsLost(lost: readonly LostWorker[]): LockstepError {
  const { numLeft = 0 } = lost.at(-1) ?? {};
  const named = lost.slice(0, MAX_NAMED_HOSTS).map(({ name, how }) => `\n${name}: ${how}`);
  const more = lost.length > named.length ? `\nand ${lost.length - named.length} more` : '';
  return new LockstepError({
    category: 'noWorkers',
    code: 'E_NO_WORKERS',
    message: `${countOf(lost.length, 'worker')} of --hosts cannot take part, and ${numLeft} are too few:${named.join('')}${more}`,
    help: 'try it by hand, as with: ssh HOST npx --no lockstep --version; --min-workers COUNT does with fewer',
  });
}
