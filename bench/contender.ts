// The contenders of `bench train` that are Lockstep itself, in process and as clusters of local
// workers. The others are in peer.ts.
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Compute } from '../coordinator/training/compute.ts';
import { initialState } from '../coordinator/training/prepare.ts';
import type { PreparedRun } from '../coordinator/training/prepare.ts';
import { localWorkforce, startCompute } from '../coordinator/start-compute.ts';
import { createLogger } from '../src/log.ts';
import { VERSION } from '../src/version.ts';
import { syntheticBatch, syntheticRun } from './workloads.ts';
import type { WorkloadName } from './workloads.ts';

/** Something that trains a workload for some seconds, again and again. */
export interface Contender {
  readonly name: string;
  readonly version: string;
  /**
   * Samples per second, over about `seconds` after a warm-up of half of that.
   * @throws Error with a message in one line.
   */
  measure(workload: WorkloadName, seconds: number): Promise<number>;
  close(): Promise<void>;
}

/**
 * Lockstep with a number of local workers of one thread; 0 computes in this process. Stays up
 * between rounds.
 */
export class OwnContender implements Contender {
  readonly name: string;
  readonly version = VERSION;
  readonly #numWorkers: number;
  #started: { workload: WorkloadName; prepared: PreparedRun; compute: Compute } | undefined;
  #numSteps = 0;

  constructor(numWorkers: number) {
    this.#numWorkers = numWorkers;
    this.name = ownName(numWorkers);
  }

  async measure(workload: WorkloadName, seconds: number): Promise<number> {
    if (this.#started?.workload !== workload) await this.#start(workload);
    await this.#rate(seconds / 2);
    return this.#rate(seconds);
  }

  async #start(workload: WorkloadName): Promise<void> {
    await this.close();
    const prepared = await syntheticRun(workload);
    const program = fileURLToPath(new URL('../bin/lockstep.js', import.meta.url));
    const workers = this.#numWorkers;
    const compute = await startCompute({
      run: `bench-${workload}`,
      prepared,
      state: await initialState(prepared),
      workforce: localWorkforce(workers, 1, program),
      log: createLogger({ level: 'error' }),
      signal: new AbortController().signal,
      onEvent: () => undefined,
    });
    this.#started = { workload, prepared, compute };
  }

  async #rate(seconds: number): Promise<number> {
    if (!this.#started) throw new Error('the contender was not started');
    const { prepared, compute } = this.#started;
    // A step in process blocks this thread; the workers of the other contenders want their pings answered.
    await setImmediate();
    const startedMs = performance.now();
    let count = 0;
    let elapsedMs = 0;
    while (elapsedMs < 1000 * seconds) {
      await compute.trainStep(syntheticBatch(prepared, this.#numSteps++));
      count++;
      elapsedMs = performance.now() - startedMs;
    }
    return (1000 * count * prepared.config.batchSize) / elapsedMs;
  }

  async close(): Promise<void> {
    await this.#started?.compute.close('the benchmark is done', true);
    this.#started = undefined;
  }
}

/** The name of a contender: `in-process`, `1 worker`, `2 workers`. */
export function ownName(numWorkers: number): string {
  if (numWorkers === 0) return 'in-process';
  return numWorkers === 1 ? '1 worker' : `${numWorkers} workers`;
}
