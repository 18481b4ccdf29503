// `lockstep worker`. Apart from the other commands, so that a worker does not load what only they need:
// two files of every five.
import os from 'node:os';
import { createInterface } from 'node:readline';
import type { ListeningAggregator } from '../aggregator/listening-aggregator.ts';
import { Interrupted } from './endings.ts';
import { createRuntime, parseAddress } from './runtime.ts';
import { isCoordinatorUrl } from './syntax-options.ts';
import { DatasetCache } from '../src/data/dataset/dataset-cache.ts';
import { LockstepError } from '../src/errors.ts';
import { MAX_THREADS } from '../src/limits.ts';
import type { Logger } from '../src/log.ts';
import { collectMessageBuffers } from '../src/protocol/buffer-garbage.ts';
import { MAX_WORKER_NAME_LENGTH } from '../src/limits.ts';
import { Instance } from '../src/protocol/instance.ts';
import { MAX_HOST_LENGTH } from '../src/protocol/limits.ts';
import { checkedToken, readToken } from '../src/protocol/token.ts';
import { readTls, clientTlsOf, type TlsFiles, type TlsFlags } from '../src/protocol/tls.ts';
import { connect } from '../worker/connection.ts';
import { loadKernelBuilds } from '../worker/kernel-builds.ts';
import { WorkerProgress } from '../worker/progress.ts';
import { runWorker } from '../worker/run-worker.ts';

/** Arguments of `lockstep worker`. */
export interface WorkerArguments extends TlsFlags {
  readonly threads: number | 'auto';
  readonly stdio?: boolean;
  readonly tokenFile?: string;
  readonly listen?: string;
  readonly announce?: string;
  readonly name?: string;
  readonly giveUpAfter?: number;
  readonly datasetCache?: string;
}

/** Works for the coordinator at one of the URLs until told to stop. */
export async function work(
  urls: readonly string[],
  {
    announce,
    datasetCache,
    giveUpAfter,
    listen,
    name,
    stdio,
    threads,
    tokenFile,
    ...tlsFlags
  }: WorkerArguments,
): Promise<void> {
  const wrong = urls.find((url) => !isCoordinatorUrl(url));
  if (wrong !== undefined) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_WORKER_URL',
      message: `${wrong} is not the address of a coordinator`,
      help: 'for example: lockstep worker ws://192.168.0.10:7700 --token-file token.txt',
    });
  }
  const { log, screen, signal: stopped } = createRuntime();
  const tls = clientTlsOf(tlsFlags, urls);
  readTls(tls, log);
  const starter = stdio ? await followStdin() : undefined;
  const signal = starter ? AbortSignal.any([stopped, starter.gone]) : stopped;
  const token =
    starter?.token ?? readToken({ file: tokenFile, env: process.env, warn: (message) => log.warn(message) });
  const numThreads = threads === 'auto' ? Math.min(os.availableParallelism(), MAX_THREADS) : threads;
  collectMessageBuffers();
  const instance = new Instance();
  // The coordinator that started this process knows it by that name from now on. If the coordinator
  // is gone already, sending fails, which is no bug: the signal below says so.
  process.send?.({ instance: instance.name }, undefined, undefined, () => undefined);
  starter?.say({ instance: instance.name });
  const aggregator =
    listen === undefined ? undefined : await startAggregator({ listen, announce, tls }, token, log);
  try {
    await runWorker({
      urls,
      connect: (url, how) => connect({ url, tls, token, ...how }),
      giveUpAfterMs: giveUpAfter === undefined ? undefined : 1000 * giveUpAfter,
      kernelBuilds: await loadKernelBuilds(),
      progress: new WorkerProgress(screen, log),
      facts: {
        runtime: `Node.js ${process.version}`,
        platform: `${process.platform}-${process.arch}`,
        host: os.hostname().slice(0, MAX_HOST_LENGTH),
        pid: process.pid,
      },
      name: name ?? rankedName(),
      numThreads,
      instance,
      aggregator,
      datasetCache:
        datasetCache === undefined ? undefined : new DatasetCache({ directory: datasetCache, log, signal }),
      log,
      signal,
    });
  } finally {
    await aggregator?.end();
  }
  // If a signal made it leave, the exit code must say so, whatever the worker was doing.
  signal.throwIfAborted();
}

/** The program that started this process, at the other ends of stdin and stdout. */
interface Starter {
  readonly token: string;
  /** Aborts when stdin ends: the program, or the way to it, is gone. */
  readonly gone: AbortSignal;
  say(news: object): void;
}

/** Whoever starts a worker sends the token at once. */
const TOKEN_DEADLINE_MS = 30_000;

/** Reads the token, and watches for the end of stdin, which keeps nobody here. @throws LockstepError (exit 2) */
async function followStdin(): Promise<Starter> {
  const controller = new AbortController();
  const leave = (): void => controller.abort(new Interrupted('SIGTERM'));
  const lines = createInterface({ input: process.stdin });
  lines.once('close', leave);
  for (const stream of [process.stdin, process.stdout]) stream.on('error', leave);
  const line = await new Promise<string>((resolve) => {
    lines.once('line', resolve);
    lines.once('close', () => resolve(''));
    setTimeout(() => resolve(''), TOKEN_DEADLINE_MS).unref();
  });
  // A file, which is no socket, ends by itself.
  if ('unref' in process.stdin) process.stdin.unref();
  const token = checkedToken(line, 'the first line of stdin');
  const say = (news: object): boolean => process.stdout.write(`${JSON.stringify(news)}\n`);
  return { token, gone: controller.signal, say };
}

/** The host's name with the rank of this process, where Slurm or MPI has started several. */
function rankedName(): string | undefined {
  const { SLURM_PROCID, OMPI_COMM_WORLD_RANK, PMI_RANK } = process.env;
  const rank = SLURM_PROCID ?? OMPI_COMM_WORLD_RANK ?? PMI_RANK;
  if (rank === undefined || !/^\d{1,6}$/.test(rank)) return undefined;
  const suffix = ` rank ${rank}`;
  return os.hostname().slice(0, MAX_WORKER_NAME_LENGTH - suffix.length) + suffix;
}

/** Opens the port for workers of its own. Loaded only here: it brings much of a coordinator. */
async function startAggregator(
  {
    listen,
    announce,
    tls,
  }: { readonly listen: string; readonly announce: string | undefined; readonly tls: TlsFiles },
  token: string | undefined,
  log: Logger,
): Promise<ListeningAggregator> {
  const { ListeningAggregator } = await import('../aggregator/listening-aggregator.ts');
  const announced = announce === undefined ? undefined : parseAddress(announce, '--announce');
  const own = tls.cert === undefined ? undefined : tls;
  return ListeningAggregator.start({ ...parseAddress(listen), announced, tls: own, token, log });
}
