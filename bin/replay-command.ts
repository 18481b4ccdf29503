// `lockstep replay`: takes a step of a run again, and compares the weights.
import { LockstepError } from '../src/errors.ts';
import { replayStep } from '../coordinator/commands/replay.ts';
import { printJson } from '../coordinator/output/stdout.ts';
import { createOutput } from './runtime.ts';

/** Arguments of `lockstep replay`. */
export interface ReplayArguments {
  readonly step: number;
  readonly json?: boolean;
}

/** Takes the step again and compares. @throws LockstepError (exit 1) if the weights differ. */
export async function replay(run: string, { step, json }: ReplayArguments): Promise<void> {
  const { log, screen } = createOutput();
  const replayed = await replayStep(run, step, (message) => log.warn(message));
  const { from, recorded, recomputed, firstDifference } = replayed;
  if (json) await printJson(replayed);
  const start = from === 0 ? 'the beginning' : `the checkpoint of step ${from}`;
  if (firstDifference === undefined) {
    return screen.write(`step ${step}, taken again from ${start}: the same weights, ${recorded}\n`);
  }
  throw new LockstepError({
    category: 'failure',
    code: 'E_REPLAY_DIFFERS',
    message: `step ${step}, taken again from ${start}, results in weights ${recomputed}, not ${recorded}; the first step that differs is ${firstDifference}`,
    help: 'the run was disturbed there: by a worker that computed wrong (see audit), or by its records being changed',
  });
}
