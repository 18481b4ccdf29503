// What a user is told while a run has too few workers, and when it ends for that.
import { LockstepError } from '../../src/errors.ts';
import type { Logger } from '../../src/log.ts';

/** Of a run that waits. */
export interface ShortageOptions {
  readonly log: Logger;
  /** What to do about it; asked when it is said, for the port is known only then. */
  readonly joinHint: () => string;
  /** Longest time that the run waits. */
  readonly waitMs: number;
}

/** Workers that there are, and that there must be. */
interface Shortage {
  readonly have: number;
  readonly need: number;
}

/** Says that a run waits. At the start of a run that is no news before it has taken a while. */
export function warnOfShortage(
  { log, joinHint }: ShortageOptions,
  { have, need, waitedMs, hasBegun }: Shortage & { readonly waitedMs: number; readonly hasBegun: boolean },
): void {
  const who = `${have} of ${need} workers`;
  if (waitedMs > 0) log.warn(`${who}, waiting for ${Math.round(waitedMs / 1000)} s: ${joinHint()}`);
  else if (hasBegun) log.warn(`${who}, waiting`);
}

/** Why a run ends that has waited long enough. */
export function starved({ joinHint, waitMs }: ShortageOptions, { have, need }: Shortage): LockstepError {
  const who = have === 0 ? 'no worker' : `only ${have} of ${need} workers`;
  return new LockstepError({
    category: 'noWorkers',
    code: 'E_NO_WORKERS',
    message: `${who} joined within ${Math.round(waitMs / 1000)} s`,
    help: joinHint(),
  });
}
