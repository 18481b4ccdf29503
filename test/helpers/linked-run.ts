// A run whose coordinator is at one end of a bad link: for tests that may create network namespaces.
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
export async function startOver(link: Link, config: Partial<ConfigInput>): Promise<LinkedRun> {
  const cli = { through: link.coordinator.through, deadlineMs: DEADLINE_MS };
  return { ...(await startCoordinator({ config, host: link.coordinator.address, cli })), link };
}

/** A worker at the far end of the link, or beside the coordinator. */
export function workerAt(run: LinkedRun, end: 'worker' | 'coordinator'): CliProcess {
  return startWorker(run, run.url, { through: run.link[end].through, deadlineMs: DEADLINE_MS });
}
