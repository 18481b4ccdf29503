// A run whose coordinator is at one end of a bad link: for tests that may create network namespaces.
import { isIPv6 } from 'node:net';
import type { ConfigInput } from '../../src/config/schema.ts';
import type { CliProcess } from './cli.ts';
import type { Link } from './namespaces.ts';
import { startCoordinator, startWorker } from './network-run.ts';
import type { NetworkRun } from './network-run.ts';

const DEADLINE_MS = 170_000;

export interface LinkedRun extends NetworkRun {
  readonly link: Link;
}

/** A coordinator at its end of the link. */
export async function startOver(
  link: Link,
  config: Partial<ConfigInput>,
  flags: readonly string[] = [],
): Promise<LinkedRun> {
  const cli = { through: link.coordinator.through, deadlineMs: DEADLINE_MS };
  const { address } = link.coordinator;
  const host = isIPv6(address) ? `[${address}]` : address;
  return { ...(await startCoordinator({ config, host, flags, cli })), link };
}

/** A worker at the far end of the link, or beside the coordinator. */
export function workerAt(
  run: LinkedRun,
  end: 'worker' | 'coordinator',
  { url = run.url, flags = [] }: { readonly url?: string; readonly flags?: readonly string[] } = {},
): CliProcess {
  return startWorker(run, url, { flags, through: run.link[end].through, deadlineMs: DEADLINE_MS });
}
