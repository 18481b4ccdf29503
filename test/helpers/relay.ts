// A relay between real workers and their coordinator that passes on what a test wants to arrive. It keeps
// back the offer of files, so that all bodies come by it.
import { onTestFinished } from 'vitest';
import { listen } from '../../coordinator/cluster/listener.ts';
import { createLogger } from '../../src/log.ts';
import type { Received, WorkerMessage } from '../../src/protocol/message-types.ts';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import { parseCoordinatorMessage, parseWorkerMessage } from '../../src/protocol/messages.ts';
import { CLOSE } from '../../src/protocol/protocol-error.ts';
import { connect } from '../../worker/connection.ts';

/** Maps a worker's message and its bytes to the messages that the coordinator gets instead, in order. */
export type Tamper = (received: Received<WorkerMessage>, data: Buffer) => readonly Buffer[];

/**
 * Opens a port that relays to `url`, for one worker, and closes it when the test is over. Resolves to its
 * address.
 */
export async function startRelay(url: string, token: string, tamper: Tamper): Promise<string> {
  const listener = await listen({
    host: '127.0.0.1',
    port: 0,
    token,
    maxWorkers: 1,
    log: createLogger({ level: 'silent' }),
    onConnection: (worker) => {
      const toCoordinator = connect({ url, token });
      worker.onMessage((data) => {
        const passedOn = tamper(parseWorkerMessage(data), data);
        void toCoordinator.then((coordinator) => passedOn.forEach((message) => coordinator.send(message)));
      });
      worker.onClose(() => void toCoordinator.then((coordinator) => coordinator.terminate()));
      void toCoordinator.then((coordinator) => {
        coordinator.onMessage((data) => worker.send(withoutFiles(data)));
        // Earlier messages are still delivered; a code of 1006 cannot be sent.
        coordinator.onClose((code, reason) => worker.close(code === 1006 ? CLOSE.goingAway : code, reason));
      });
    },
  });
  onTestFinished(() => listener.close());
  return `ws://127.0.0.1:${listener.port}`;
}

function withoutFiles(data: Buffer): Buffer {
  const { message } = parseCoordinatorMessage(data);
  if (message.type !== 'welcome') return data;
  const { sharedMemory: _files, ...welcome } = message;
  return encodeMessage(welcome);
}
