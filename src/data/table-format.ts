import type { DataConfig } from '../config/schema.ts';

/** How to read a table, as the config says. */
export type TableFormat = Pick<
  DataConfig,
  'delimiter' | 'decimal' | 'thousands' | 'header' | 'missingTokens'
> & {
  /** It is that of a trained model: no field of a config changes it any more. */
  readonly isSaved: boolean;
};
