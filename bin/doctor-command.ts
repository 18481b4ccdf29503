// `lockstep doctor`: the checks of this machine, as lines or as JSON.
import { examine, formatChecks } from '../coordinator/commands/doctor.ts';
import { printJson, printText } from '../coordinator/output/results.ts';
import { LockstepError } from '../src/errors.ts';

/** Arguments of `lockstep doctor`. */
export interface DoctorArguments {
  readonly json?: boolean;
}

/** Prints the checks. @throws LockstepError (exit 1) if something is broken */
export async function doctor({ json }: DoctorArguments): Promise<void> {
  const checks = await examine();
  await (json ? printJson(checks) : printText(formatChecks(checks)));
  const broken = checks.filter(({ state }) => state === 'broken').map(({ name }) => name);
  if (broken.length === 0) return;
  throw new LockstepError({
    category: 'failure',
    code: 'E_DOCTOR',
    message: `this machine cannot train as it is: ${broken.join(', ')}`,
  });
}
