// The thread in which the Weights & Biases SDK runs. It has one of its own because the SDK throws outside any
// promise when the service refuses something, prints to stdout, and exits the process on SIGINT.
import { parentPort, workerData } from 'node:worker_threads';
import type { WandbMessage, WandbRunOptions, WandbStatus } from './wandb-logger.ts';

const options = workerData as WandbRunOptions & { readonly id: string };
const { id, project, entity, name, config, tags } = options;

/** The SDK's state of a file that grows. */
interface Chunk {
  offset: number;
  data: object;
}

function report(status: WandbStatus): void {
  parentPort?.postMessage(status);
}

const { default: wandb } = await import('@wandb/sdk');
const run = await wandb.init({ id, project, name, config, ...(entity === undefined ? {} : { entity }) });
if (tags.length > 0) {
  // init() drops its tags option; this is the request it should have made.
  await run._messenger.sender?.api.upsertRun({
    name: run.id,
    project: run.project,
    entity: run.entity,
    tags: [...tags],
  });
}
const filestream = run._messenger.sender?.filestream;
if (filestream) {
  // The SDK's own gives a record the time of its arrival, and mixes records whose step is below their place.
  filestream.logHistory = (values): void => {
    if (Object.keys(values).length === 0) return;
    // The brackets reach a field that the SDK's types call private.
    const chunks = filestream['lastChunks'] as Readonly<Record<string, Chunk>>;
    const history = chunks['wandb-history.jsonl'] as Chunk;
    const summary = chunks['wandb-summary.json'] as Chunk;
    summary.data = { ...summary.data, ...values };
    const content = [JSON.stringify(values)];
    filestream.bufferRecord({ 'wandb-history.jsonl': { content, offset: history.offset } });
    history.offset += 1;
  };
}
report({ type: 'started', url: run.url() });

parentPort?.on('message', (message: WandbMessage) => {
  if (message.type === 'log') run.log({ ...message.values }, message.step);
  else void run.finish(message.exitCode).then(() => report({ type: 'finished' }));
});
