// The thread in which the Weights & Biases SDK runs. It has one of its own because the SDK throws outside any
// promise when the service refuses something, prints to stdout, and exits the process on SIGINT.
import { parentPort, workerData } from 'node:worker_threads';
import type { WandbMessage, WandbRunOptions, WandbStatus } from './wandb-logger.ts';

const options = workerData as WandbRunOptions;
const { project, entity, name, config, tags } = options;

function report(status: WandbStatus): void {
  parentPort?.postMessage(status);
}

const { default: wandb } = await import('@wandb/sdk');
const run = await wandb.init({ project, name, config, ...(entity === undefined ? {} : { entity }) });
if (tags.length > 0) {
  // init() drops its tags option; this is the request it should have made.
  await run._messenger.sender?.api.upsertRun({
    name: run.id,
    project: run.project,
    entity: run.entity,
    tags: [...tags],
  });
}
report({ type: 'started', url: run.url() });

parentPort?.on('message', (message: WandbMessage) => {
  if (message.type === 'log') run.log({ ...message.values }, message.step);
  else void run.finish(message.exitCode).then(() => report({ type: 'finished' }));
});
