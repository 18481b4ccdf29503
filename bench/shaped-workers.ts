// Worker processes of this machine that reach their coordinator, and one another, over links of a
// network's speed. Each has a network card of its own, and so has the coordinator.
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { localLaunches } from '../coordinator/cluster/local-workers.ts';
import type { LocalCommand } from '../coordinator/cluster/local-workers.ts';
import { WorkerProcesses } from '../coordinator/cluster/worker-processes.ts';
import type { LostWorker } from '../coordinator/cluster/worker-processes.ts';
import type { Logger } from '../src/log.ts';
import type { LinkSpeed } from './link.ts';
import { Card, openShapedPort, RealClock } from './shaped-link.ts';
import type { ShapedPort } from './shaped-link.ts';

/** The workers, and the coordinator's port. */
export interface ShapedWorkersOptions extends Omit<LocalCommand, 'url'> {
  readonly count: number;
  /** Threads of each. */
  readonly threads: number;
  readonly port: number;
  readonly log: Logger;
  /** Called when a worker has died for good. */
  readonly onLost: (lost: LostWorker) => void;
  readonly link: LinkSpeed;
  /** True if workers may take others. */
  readonly isTree: boolean;
}

/** Starts workers; returns the function that ends them and their links. */
export async function startShapedWorkers(options: ShapedWorkersOptions): Promise<() => Promise<void>> {
  const { count, link, isTree, port } = options;
  const clock = new RealClock();
  const ports: ShapedPort[] = [];
  const workers: WorkerProcesses[] = [];
  const open = async (...[shaped]: Parameters<typeof openShapedPort>): Promise<number> => {
    const opened = await openShapedPort(shaped);
    ports.push(opened);
    return opened.port;
  };
  const coordinator = new Card(link);
  for (let index = 0; index < count; index++) {
    const card = new Card(link);
    const toCoordinator = await open({ port, link, clock, card: coordinator, otherCard: card });
    let flags: readonly string[] = [];
    if (isTree) {
      const own = await findPort();
      const announced = await open({ port: own, link, clock, card });
      flags = ['--listen', `127.0.0.1:${own}`, '--announce', `127.0.0.1:${announced}`];
    }
    const url = `ws://127.0.0.1:${toCoordinator}`;
    const guard = (work: () => void): void => work();
    const onOutOfMemory = (): void => undefined;
    const numberOf = (): number => index + 1;
    const launches = localLaunches([{ threads: options.threads, flags }], { ...options, url });
    workers.push(new WorkerProcesses({ ...options, launches, guard, numberOf, onOutOfMemory }));
  }
  return async () => {
    await Promise.all(workers.map((worker) => worker.stop()));
    for (const shaped of ports) shaped.close();
  };
}

/** A port that is free now. */
async function findPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
