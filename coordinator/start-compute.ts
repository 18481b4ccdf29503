// Gathers whoever computes: this process alone, child processes of it, or workers that join over the network.
import { randomInt } from 'node:crypto';
import os from 'node:os';
import { blobByteLength } from '../src/data/dataset/packed-dataset.ts';
import { evaluationWidth } from '../src/engine/samples.ts';
import { LocalEngine } from '../src/engine/local-engine.ts';
import { knownAnswer } from '../src/known-answer.ts';
import { LockstepError } from '../src/errors.ts';
import { MAX_WORKERS } from '../src/limits.ts';
import { LimitedLog } from '../src/log.ts';
import type { Logger } from '../src/log.ts';
import { formatBytes } from '../src/memory.ts';
import { generateToken } from '../src/protocol/token.ts';
import { Cluster } from './cluster/cluster.ts';
import type { Compute } from './training/compute.ts';
import { InProcessCompute } from './training/in-process-compute.ts';
import { listen } from './cluster/listener.ts';
import type { Listener } from './cluster/listener.ts';
import { LocalWorkers } from './cluster/local-workers.ts';
import type { LocalCompute } from './training/memory-plan.ts';
import type { PreparedRun } from './training/prepare.ts';
import type { TrainingState } from './training/training-state.ts';
import { welcomeOf } from './training/run-descriptions.ts';
import type { BannedWorker } from './scheduler/outcome.ts';
import { WorkerSession } from './cluster/worker-session.ts';
import type { SessionContext } from './cluster/worker-session.ts';

/** The workers that are to compute. */
export type Workforce =
  | { readonly kind: 'inProcess' }
  | { readonly kind: 'local'; readonly workers: number; readonly threads: number; readonly program: string }
  | {
      readonly kind: 'network';
      readonly host: string;
      readonly port: number;
      readonly token: string | undefined;
      readonly minWorkers: number;
      readonly waitForWorkersMs: number;
    };

/**
 * This process, or worker processes of `program` (the command line's file); `auto` is one worker for every `threads`
 * cores.
 */
export function localWorkforce(workers: number | 'auto', threads: number, program: string): Workforce {
  const count = workers === 'auto' ? Math.max(1, Math.floor(os.availableParallelism() / threads)) : workers;
  return count === 0 ? { kind: 'inProcess' } : { kind: 'local', workers: count, threads, program };
}

/** The workers on this machine; undefined where workers join over the network. */
export function localComputeOf(workforce: Workforce): LocalCompute | undefined {
  if (workforce.kind === 'network') return undefined;
  return workforce.kind === 'local' ? workforce : { workers: 0, threads: 1 };
}

/** A change of the roster, for `events.jsonl`. */
export type RosterEvent =
  | {
      readonly type: 'workerJoined' | 'workerLeft';
      readonly worker: number;
      readonly name: string;
      readonly reason?: string;
    }
  /** Workers of which there were too many to be named. */
  | { readonly type: 'workersCameAndWent'; readonly joined: number; readonly left: number }
  | ({ readonly type: 'workerBanned' } & BannedWorker);

/** The parts that computing starts from. */
export interface StartOptions {
  /** Names the run to workers. */
  readonly run: string;
  readonly prepared: PreparedRun;
  readonly state: TrainingState;
  readonly workforce: Workforce;
  /** The port of a workforce on the network. */
  readonly listener?: Listener | undefined;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly onEvent: (event: RosterEvent) => void;
}

/** Local workers start in a second or two; one that takes this long never will. */
const LOCAL_WAIT_MS = 60_000;
/** Almost the largest range of `randomInt`. */
const DRAW_RANGE = 2 ** 47;
/** Most bytes queued for a worker that does not read, besides two versions of the weights. */
const MAX_QUEUED_BYTES = 64 * 2 ** 20;

/** Kinds of lines that are events too. */
const JOINED = 'workers that joined';
const LEFT = 'workers that left';

/**
 * Opens the port to which workers of the network are to come, before anything is made for the run; undefined where none
 * come. @throws LockstepError if it cannot be opened
 */
export async function openPort(workforce: Workforce, log: Logger): Promise<Listener | undefined> {
  return workforce.kind === 'network' ? listen({ ...workforce, maxWorkers: MAX_WORKERS, log }) : undefined;
}

/** Resolves once enough workers are ready. */
export async function startCompute(options: StartOptions): Promise<Compute> {
  const { prepared, state, workforce } = options;
  if (workforce.kind !== 'inProcess') return startCluster(options, workforce);
  return InProcessCompute.create(prepared, state);
}

async function startCluster(
  options: StartOptions,
  workforce: Exclude<Workforce, { kind: 'inProcess' }>,
): Promise<Compute> {
  const { prepared, run, state, log, signal } = options;
  const isLocal = workforce.kind === 'local';
  const token = isLocal ? generateToken() : workforce.token;
  let hint = 'what the worker processes say is above';
  const joined = new Set<WorkerSession>();
  const churn = new LimitedLog(log, (leftOut) =>
    options.onEvent({
      type: 'workersCameAndWent',
      joined: leftOut.get(JOINED) ?? 0,
      left: leftOut.get(LEFT) ?? 0,
    }),
  );
  const cluster = new Cluster({
    run,
    state,
    evaluationWidth: evaluationWidth(state.model, prepared.data.dataset.layout, prepared.config.loss),
    log,
    churn,
    minWorkers: isLocal ? 1 : workforce.minWorkers,
    waitMs: isLocal ? LOCAL_WAIT_MS : workforce.waitForWorkersMs,
    ownsWorkers: isLocal,
    audit: { share: prepared.config.audit.share, random: secretDraw },
    room: prepared.memoryPlan.room,
    joinHint: () => hint,
    createEngine: () => createRefereeEngine(prepared),
    engineBytes: refereeBytes(prepared),
    onJoined: (session) => {
      joined.add(session);
      const line = `${session.name} joined with ${session.threads} threads`;
      if (!churn.write('info', JOINED, line)) return;
      options.onEvent({ type: 'workerJoined', worker: session.id, name: session.name });
    },
    onBanned: (banned) => options.onEvent({ type: 'workerBanned', ...banned }),
  });
  const onAbort = (): void => cluster.fail(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    signal.throwIfAborted();
    const context = await sessionContext(options, { cluster, joined, churn });
    let numSessions = 0;
    const loopback = { host: '127.0.0.1', port: 0, token, maxWorkers: MAX_WORKERS, log };
    const listener = options.listener ?? (await listen(loopback));
    listener.admit((connection) =>
      cluster.guard(() => void new WorkerSession(++numSessions, connection, context)),
    );
    if (isLocal) {
      const { workers: count, threads, program } = workforce;
      const url = `ws://127.0.0.1:${listener.port}`;
      const onAllGone = (reason: string): void => cluster.fail(workersDied(reason));
      const onOutOfMemory = (instance: string): void => cluster.noteOutOfMemory(instance);
      const told = { onAllGone, onOutOfMemory, guard: cluster.guard };
      const workers = new LocalWorkers({ count, threads, url, token: token ?? '', program, log, ...told });
      cluster.onClose(() => workers.stop());
    } else {
      hint = joinHint(workforce, listener.port);
      log.info(`listening on ${listener.host}:${listener.port}; ${hint}`);
    }
    cluster.onClose(() => listener.close());
    cluster.onClose(() => Promise.resolve(churn.flush()));
    await cluster.waitForWorkers(isLocal ? workforce.workers : workforce.minWorkers);
    return cluster;
  } catch (error) {
    await cluster.close('the run could not start', false);
    throw error;
  }
}

/** Draws from 2^47 numbers that no worker can know. */
function secretDraw(): number {
  return randomInt(DRAW_RANGE) / DRAW_RANGE;
}

/** Makes the referee's engine, in a memory of its own. */
function createRefereeEngine({ config, data, kernelModule, model }: PreparedRun): Promise<LocalEngine> {
  const { batchSize, loss, seed, shards } = config;
  return LocalEngine.create({ kernelModule, model, loss, seed, dataset: data.dataset, batchSize, shards });
}

/** An engine's of one thread, with one version of the weights. */
function refereeBytes({ data, plan: { bytes } }: PreparedRun): number {
  const { weights, packedWeights, gradients, activations, scratch } = bytes;
  return (
    weights / 2 + packedWeights + gradients + activations + scratch + blobByteLength(data.dataset.layout)
  );
}

/** `joined`: who has taken part and not left yet. */
async function sessionContext(
  { run, prepared, log, onEvent }: StartOptions,
  {
    cluster,
    joined,
    churn,
  }: { readonly cluster: Cluster; readonly joined: Set<WorkerSession>; readonly churn: LimitedLog },
): Promise<SessionContext> {
  const { data, kernelModule, model } = prepared;
  const { layout, blob } = data.dataset;
  log.info(
    `dataset ${layout.numRows} rows, ${formatBytes(blobByteLength(layout))}; model ${model.numParameters} parameters`,
  );
  return {
    kernels: { sha256: kernelModule.sha256, knownAnswer: await knownAnswer(kernelModule) },
    dataset: blob,
    maxQueuedBytes: MAX_QUEUED_BYTES + 2 * 4 * model.numParameters,
    welcome: welcomeOf(run, prepared),
    guard: cluster.guard,
    banOf: (instance) => cluster.banOf(instance),
    onReady: (session) => cluster.addWorker(session),
    onResult: (session, message, body) => cluster.receive(session, message, body),
    onGone: (session, end) => {
      const { reason, isPolite } = end;
      const hadJoined = joined.delete(session);
      const line = `${session.name} ${hadJoined ? 'left' : 'did not join'}: ${reason}`;
      const isTold = churn.write(
        isPolite ? 'info' : 'warn',
        hadJoined ? LEFT : 'workers that did not join',
        line,
      );
      if (hadJoined && isTold)
        onEvent({ type: 'workerLeft', worker: session.id, name: session.name, reason });
      cluster.removeWorker(session);
    },
  };
}

function joinHint({ host, token }: { host: string; token: string | undefined }, port: number): string {
  const flag = token === undefined ? '' : ' --token-file FILE';
  return `start workers with: lockstep worker ws://${host === '0.0.0.0' ? 'THIS_MACHINE' : host}:${port}${flag}`;
}

function workersDied(reason: string): LockstepError {
  return new LockstepError({
    category: 'noWorkers',
    code: 'E_NO_WORKERS',
    message: reason,
    help: 'the lines of the worker processes above say why',
  });
}
