// The contenders of `bench train`: Lockstep itself, in process and as clusters of local workers; and its
// peers, other trainers as programs of their own (bench/peers/), which print one line of JSON. None is a
// dependency: one that is not installed says so, and does not take part.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { z } from 'zod';
import type { Compute } from '../coordinator/training/compute.ts';
import type { PreparedRun } from '../coordinator/training/prepare.ts';
import type { Numerics } from '../src/kernels/kernels.ts';
import { VERSION } from '../src/version.ts';
import { batchOf, startSteps, syntheticRun } from './workloads.ts';
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

/** Threads of this process, or local workers of one thread. */
export const OWN_NAMES = ['1 thread', '2 threads', '1 worker', '2 workers'] as const;

/** One of `OWN_NAMES`. */
export type OwnName = (typeof OWN_NAMES)[number];

/** Lockstep itself. Stays up between rounds. */
export class OwnContender implements Contender {
  readonly name: OwnName;
  readonly version = VERSION;
  readonly #numerics: Numerics;
  #started: { workload: WorkloadName; prepared: PreparedRun; compute: Compute } | undefined;
  #numSteps = 0;

  constructor(name: OwnName, numerics: Numerics) {
    this.name = name;
    this.#numerics = numerics;
  }

  async measure(workload: WorkloadName, seconds: number): Promise<number> {
    if (this.#started?.workload !== workload) await this.#start(workload);
    await this.#rate(seconds / 2);
    return this.#rate(seconds);
  }

  async #start(workload: WorkloadName): Promise<void> {
    await this.close();
    const prepared = await syntheticRun(workload, { numerics: this.#numerics });
    const count = Number.parseInt(this.name);
    const isThreads = this.name.includes('thread');
    const setting = isThreads ? { workers: 0, threads: count } : { workers: count, threads: 1 };
    const { compute } = await startSteps(prepared, setting);
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
      await compute.trainStep(batchOf(prepared, this.#numSteps++));
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

/** The longest that one measurement of a peer may take. Compiling a model takes some peers a minute. */
const DEADLINE_MS = 180_000;

const answerSchema = z.object({
  name: z.string(),
  version: z.string().optional(),
  skipped: z.string().optional(),
  failed: z.string().optional(),
  samplesPerSecond: z.number().positive().optional(),
});

/** Trainers that Lockstep is compared with. */
export type PeerName = 'pytorch' | 'pytorch-ddp' | 'tfjs-wasm' | 'jax-js-wasm';

/** Ways to start a peer, tried in turn: the program and its first arguments. */
interface Recipe {
  readonly name: PeerName;
  readonly commands: readonly (readonly [program: string, ...args: readonly string[]])[];
}

/** A peer, or the reason why it cannot take part. */
export type Candidate =
  | { readonly name: string; readonly contender: Contender }
  | { readonly name: string; readonly skipped: string };

/** Every peer whose program is in `folder`. LOCKSTEP_PYTHON names the Python that has PyTorch. */
export async function findPeers(folder: string, env: NodeJS.ProcessEnv): Promise<Candidate[]> {
  const file = (name: string): string => path.join(folder, name);
  const pythons =
    env['LOCKSTEP_PYTHON'] === undefined ? ['python3', '/usr/bin/python3'] : [env['LOCKSTEP_PYTHON']];
  const recipes: Recipe[] = [
    { name: 'pytorch', commands: pythons.map((python) => [python, file('pytorch.py')]) },
    {
      name: 'pytorch-ddp',
      commands: pythons.map((python) => [python, file('pytorch.py'), '--processes', '2']),
    },
    { name: 'tfjs-wasm', commands: [[process.execPath, file('tfjs.mjs')]] },
    { name: 'jax-js-wasm', commands: [[process.execPath, file('jax-js.mjs')]] },
  ];
  return Promise.all(recipes.map(findPeer));
}

async function findPeer({ name, commands }: Recipe): Promise<Candidate> {
  let skipped = 'not installed';
  for (const command of commands) {
    try {
      const answer = await ask([...command, '--version']);
      if (answer.version !== undefined)
        return { name, contender: peerContender(name, answer.version, command) };
      skipped = answer.skipped ?? skipped;
    } catch (error) {
      skipped = `not installed: ${(error as Error).message}`;
    }
  }
  return { name, skipped };
}

function peerContender(name: string, version: string, command: readonly string[]): Contender {
  return {
    name,
    version,
    measure: async (workload, seconds) => {
      const { samplesPerSecond, failed } = await ask([...command, workload, '--seconds', String(seconds)]);
      if (samplesPerSecond === undefined) throw new Error(failed ?? 'it gave no figure');
      return samplesPerSecond;
    },
    close: async () => undefined,
  };
}

/** Runs a peer and reads the line that it prints. @throws Error in one line. */
async function ask([program = '', ...args]: readonly string[]): Promise<z.output<typeof answerSchema>> {
  const { stdout } = await promisify(execFile)(program, args, { timeout: DEADLINE_MS }).catch(
    (error: unknown) => {
      const { killed, stderr, message } = error as { killed?: boolean; stderr?: string; message: string };
      if (killed) throw new Error(`no answer within ${DEADLINE_MS / 1000} s`);
      throw new Error(stderr?.trim().split('\n').at(-1) ?? message);
    },
  );
  return answerSchema.parse(JSON.parse(stdout));
}
