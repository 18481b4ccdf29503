// Other trainers as programs of their own (bench/peers/), which print one line of JSON. None is a
// dependency: one that is not installed says so, and does not take part.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import type { Contender } from './contender.ts';

/** The longest that one measurement may take. Compiling a model takes some peers a minute. */
const DEADLINE_MS = 180_000;

const answerSchema = z.object({
  name: z.string(),
  version: z.string().optional(),
  skipped: z.string().optional(),
  failed: z.string().optional(),
  samplesPerSecond: z.number().positive().optional(),
});

/** Ways to start a peer, tried in turn: the program and its first arguments. */
interface Recipe {
  readonly name: string;
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
