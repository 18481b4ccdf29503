// The two kinds of error that data raises: the file is wrong (exit 3), or the config asks of it what it
// cannot give (exit 2).
import { LockstepError, type SourceLocation } from '../../errors.ts';

/** The location of a data error and what to do about it. */
export interface DataErrorContext {
  readonly location?: SourceLocation | undefined;
  readonly help?: string | undefined;
}

/** An error in a data file. */
export function dataError(
  code: `E_DATA_${string}`,
  message: string,
  context: DataErrorContext = {},
): LockstepError {
  return new LockstepError({ category: 'data', code, message, ...context });
}

/** An error in the config that only the data reveals. */
export function configError(code: `E_CONFIG_${string}`, message: string, help?: string): LockstepError {
  return new LockstepError({ category: 'usage', code, message, help });
}
