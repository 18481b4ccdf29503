// The thread in which the dashboard of a run is served: training keeps the main thread busy.
import { parentPort, workerData } from 'node:worker_threads';
import { LockstepError } from '../../src/errors.ts';
import { DashboardServer } from './dashboard-server.ts';
import type { DashboardAddress } from './dashboard-server.ts';
import type { ThreadMessage, ThreadReport } from './dashboard.ts';

function report(message: ThreadReport): void {
  parentPort?.postMessage(message);
}

try {
  const server = await DashboardServer.open(workerData as DashboardAddress, {
    info: (message) => report({ type: 'info', message }),
    warn: (message) => report({ type: 'warn', message }),
    onWatchers: (count) => report({ type: 'watchers', count }),
  });
  parentPort?.on('message', (message: ThreadMessage) => {
    if (message.type === 'show') server.show(message.directory, message.stepsPerEpoch);
    else if (message.type === 'activity') server.setActivity(message.activity);
    else void server.close().then(() => parentPort?.close());
  });
  report({ type: 'listening', port: server.port });
} catch (error) {
  if (!(error instanceof LockstepError)) throw error;
  const { category, code, message, help } = error;
  report({ type: 'refused', details: { category, code, message, help } });
}
