// Which columns of a table are features and which are targets, by the config; misspelt names are caught here.
// Columns that the config names twice, or for two uses, never come this far: src/config refuses them.
import { listNames, quoteName } from '../errors.ts';
import { targetColumns } from '../config/data-rules.ts';
import type { DataConfig } from '../config/schema.ts';
import { didYouMean } from '../config/suggest.ts';
import { configError } from './data-error.ts';

/** Column names by what they are used for; columns in neither list are not read. */
export interface ColumnRoles {
  readonly features: readonly string[];
  readonly targets: readonly string[];
  /** The column of sample weights, if there is one: in a list, as the others are. */
  readonly weights: readonly string[];
}

/**
 * Divides the columns of a table.
 *
 * @throws LockstepError if the config names a column that the table lacks, or leaves no features.
 */
export function assignColumnRoles(header: readonly string[], data: DataConfig): ColumnRoles {
  const targets = targetColumns(data);
  const weights = data.weights === undefined ? [] : [data.weights];
  requireColumns(header, 'target', targets);
  requireColumns(header, 'features', data.features ?? []);
  requireColumns(header, 'drop', data.drop);
  requireColumns(header, 'categorical', data.categorical);
  requireColumns(header, 'weights', weights);
  const ruled = typeof data.missing === 'string' ? [] : Object.keys(data.missing.columns);
  requireColumns(header, 'missing.columns', ruled);
  const unused = new Set([...targets, ...weights, ...data.drop]);
  const features = data.features ?? header.filter((name) => !unused.has(name));
  if (features.length === 0) {
    throw configError('E_CONFIG_FEATURES', `no feature column is left of ${listNames(header)}`);
  }
  requireUsed('categorical', 'which is no feature', { names: data.categorical, used: features });
  const used = [...features, ...targets, ...weights];
  requireUsed('missing.columns', 'which is not read', { names: ruled, used });
  return { features, targets, weights };
}

function requireColumns(header: readonly string[], field: string, names: readonly string[]): void {
  const known = new Set(header);
  const unknown = names.find((name) => !known.has(name));
  if (unknown === undefined) return;
  const message = `data.${field}: no column ${quoteName(unknown)}; columns: ${listNames(header)}`;
  throw configError('E_CONFIG_COLUMN', message, didYouMean(unknown, header));
}

/** A setting for a column that is not read would do nothing, in silence. */
function requireUsed(
  field: string,
  why: string,
  { names, used }: { readonly names: readonly string[]; readonly used: readonly string[] },
): void {
  const isUsed = new Set(used);
  const other = names.find((name) => !isUsed.has(name));
  if (other === undefined) return;
  const message = `data.${field} names ${quoteName(other)}, ${why}`;
  throw configError('E_CONFIG_COLUMN', message, `take it out of data.${field}`);
}
