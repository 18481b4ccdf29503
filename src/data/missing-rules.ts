// What becomes of a row that has no value in some column: one rule for each column, from the setting as a config has it.
import type { DataConfig } from '../config/schema.ts';
import type { PlannedColumn } from './column.ts';

/** The rule of a column. A target or a weight is never filled in: its row is left out instead. */
export function planMissing(
  missing: DataConfig['missing'],
  name: string,
  isFeature: boolean,
): Pick<PlannedColumn, 'missing' | 'isDefaultRule'> {
  const named =
    typeof missing !== 'string' && Object.hasOwn(missing.columns, name) ? missing.columns[name] : undefined;
  const rule = named ?? (typeof missing === 'string' ? missing : missing.default);
  return {
    missing: isFeature || rule === 'error' ? rule : 'drop-row',
    isDefaultRule: named === undefined,
  };
}

/** The rules for rows to predict, none of which may be left out: that would shift the lines of all behind it. */
export function withoutDrops(missing: DataConfig['missing']): DataConfig['missing'] {
  const keep = <Rule extends string>(rule: Rule): Rule | 'error' => (rule === 'drop-row' ? 'error' : rule);
  if (typeof missing === 'string') return keep(missing);
  const columns = Object.entries(missing.columns).map(([name, rule]) => [name, keep(rule)] as const);
  return { default: keep(missing.default), columns: Object.fromEntries(columns) };
}
