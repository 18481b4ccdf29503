// `lockstep worker`. Apart from the other commands, so that a worker does not load what only they need:
// two files of every five.
import { createRuntime } from './runtime.ts';
import { LockstepError } from '../src/errors.ts';
import { collectMessageBuffers } from '../src/protocol/buffer-garbage.ts';
import { Instance } from '../src/protocol/instance.ts';
import { readToken } from '../src/protocol/token.ts';
import { runWorker } from '../worker/run-worker.ts';

/** Arguments of `lockstep worker`. */
export interface WorkerArguments {
  readonly threads: number;
  readonly tokenFile?: string;
}

/** Works for the coordinator at `url` until told to stop. */
export async function work(url: string, { threads, tokenFile }: WorkerArguments): Promise<void> {
  if (!/^wss?:\/\/[^/\s]+$/.test(url.replace(/\/$/, '')) || !URL.canParse(url)) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_WORKER_URL',
      message: `${url} is not the address of a coordinator`,
      help: 'for example: lockstep worker ws://192.168.0.10:7700 --token-file token.txt',
    });
  }
  const { log, signal } = createRuntime();
  const token = readToken({ file: tokenFile, env: process.env, warn: (message) => log.warn(message) });
  collectMessageBuffers();
  const instance = new Instance();
  // The coordinator that started this process knows it by that name from now on. If the coordinator
  // is gone already, sending fails, which is no bug: the signal below says so.
  process.send?.({ instance: instance.name }, undefined, undefined, () => undefined);
  await runWorker({ url, token, numThreads: threads, instance, log, signal });
  // If a signal made it leave, the exit code must say so, whatever the worker was doing.
  signal.throwIfAborted();
}
