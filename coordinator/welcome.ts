// What a worker is told of a run when it has said hello, but for what differs between workers.
import type { Config } from '../src/config/schema.ts';
import type { LoadedData } from '../src/data/load.ts';
import type { WelcomeMessage } from '../src/protocol/message-types.ts';

/** Of every worker's welcome the same. */
export type CommonWelcome = Omit<WelcomeMessage, 'worker' | 'nonce'>;

/** The welcome of the run that is called `run` on the wire. */
export function welcomeOf(
  run: string,
  { config, data }: { readonly config: Config; readonly data: LoadedData },
): CommonWelcome {
  const { batchSize, loss, model, numerics, seed, shards } = config;
  const { layout, sha256: datasetSha256 } = data.dataset;
  const { layers } = model;
  return { type: 'welcome', run, layers, seed, loss, batchSize, shards, numerics, layout, datasetSha256 };
}
