// The thread in which a run is copied to object storage: hashes and checksums would hold up the thread that
// trains.
import { parentPort, workerData } from 'node:worker_threads';
import { LockstepError } from '../../src/errors.ts';
import { CheckpointMirror, MirroredRun, type MirrorData } from './checkpoint-mirror.ts';
import type { MirrorMessage, MirrorReport } from './mirror.ts';

function report(message: MirrorReport): void {
  parentPort?.postMessage(message);
}

const { url, ...data } = workerData as MirrorData;
const log = {
  info: (message: string) => report({ type: 'log', level: 'info', message }),
  warn: (message: string) => report({ type: 'log', level: 'warn', message }),
  debug: (message: string) => report({ type: 'log', level: 'debug', message }),
};
const mirror = new CheckpointMirror({ ...data, run: await MirroredRun.open(url), log });

async function finish(): Promise<void> {
  try {
    await mirror.finish();
    report({ type: 'finished' });
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
    const { category, code, message, help } = error;
    report({ type: 'finished', failure: { category, code, message, help } });
  }
  parentPort?.close();
}

parentPort?.on('message', (message: MirrorMessage) => {
  if (message.type === 'saved') mirror.noteSaved(message.path);
  else void finish();
});
