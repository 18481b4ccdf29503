// `lockstep worker`. Apart from the other commands, so that a worker does not load what only they need:
// two files of every five.
import os from 'node:os';
import type { ListeningAggregator } from '../aggregator/listening-aggregator.ts';
import { createRuntime, parseAddress } from './runtime.ts';
import { LockstepError } from '../src/errors.ts';
import type { Logger } from '../src/log.ts';
import { collectMessageBuffers } from '../src/protocol/buffer-garbage.ts';
import { MAX_WORKER_NAME_LENGTH } from '../src/limits.ts';
import { Instance } from '../src/protocol/instance.ts';
import { readToken } from '../src/protocol/token.ts';
import { readTls, tlsFilesOf, type TlsFiles, type TlsFlags } from '../src/protocol/tls.ts';
import { runWorker } from '../worker/run-worker.ts';

/** Arguments of `lockstep worker`. */
export interface WorkerArguments extends TlsFlags {
  readonly threads: number;
  readonly tokenFile?: string;
  readonly listen?: string;
  readonly announce?: string;
  readonly name?: string;
}

/** Works for the coordinator at `url` until told to stop. */
export async function work(
  url: string,
  { announce, listen, name, threads, tokenFile, ...tlsFlags }: WorkerArguments,
): Promise<void> {
  if (!/^wss?:\/\/[^\s]+$/.test(url) || !URL.canParse(url)) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_WORKER_URL',
      message: `${url} is not the address of a coordinator`,
      help: 'for example: lockstep worker ws://192.168.0.10:7700 --token-file token.txt',
    });
  }
  if (announce !== undefined && listen === undefined) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_WORKER_ANNOUNCE',
      message: '--announce requires --listen: without it this worker takes nobody',
    });
  }
  const { log, screen, signal } = createRuntime();
  const tls = tlsFilesOf(tlsFlags);
  readTls(tls, log);
  if (!url.startsWith('wss:') && Object.values(tls).some((file) => file !== undefined)) throw idleTls(url);
  const token = readToken({ file: tokenFile, env: process.env, warn: (message) => log.warn(message) });
  collectMessageBuffers();
  const instance = new Instance();
  // The coordinator that started this process knows it by that name from now on. If the coordinator
  // is gone already, sending fails, which is no bug: the signal below says so.
  process.send?.({ instance: instance.name }, undefined, undefined, () => undefined);
  const aggregator =
    listen === undefined ? undefined : await startAggregator({ listen, announce, tls }, token, log);
  try {
    const options = { url, tls, token, numThreads: threads, instance, aggregator, log, screen, signal };
    await runWorker({ ...options, name: name ?? rankedName() });
  } finally {
    await aggregator?.end();
  }
  // If a signal made it leave, the exit code must say so, whatever the worker was doing.
  signal.throwIfAborted();
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

function idleTls(url: string): LockstepError {
  return new LockstepError({
    category: 'usage',
    code: 'E_TLS_FLAGS',
    message: `${url} is a plain connection, in which files of TLS are of no use`,
    help: `if the coordinator has a certificate: ${url.replace('ws:', 'wss:')}`,
  });
}
