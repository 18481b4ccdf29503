// Which columns of a new table a trained model reads, and how: as its transforms say, not as the cells suggest. A
// column that held numbers in training holds numbers here too.
import { quoteName } from '../errors.ts';
import type { DataConfig } from '../config/schema.ts';
import type { PlannedColumn } from './column.ts';
import type { ColumnRoles } from './column-roles.ts';
import { dataError } from './data-error.ts';
import { planMissing } from './missing-rules.ts';
import type { FittedTransforms } from './transforms.ts';

/**
 * The feature columns of a table with this header.
 *
 * @throws LockstepError if one is absent, or if the model takes no tables.
 */
export function planFeatures(
  header: readonly string[],
  { features }: Pick<FittedTransforms, 'features'>,
  missing: DataConfig['missing'],
): PlannedColumn[] {
  return features.map((feature) => {
    if (feature.kind === 'array') throw dataError('E_DATA_FORMAT', 'the model takes arrays, not a table');
    if (feature.kind === 'pixels') throw dataError('E_DATA_FORMAT', 'the model takes images, not a table');
    if (feature.kind === 'bytes') throw dataError('E_DATA_FORMAT', 'the model takes a text, not a table');
    requireColumn(header, feature.column);
    return {
      ...plan(feature.column, feature.kind === 'numeric' ? 'number' : 'text', missing),
      ...planMissing(missing, feature.column, true),
      isFeature: true,
      known: feature.kind === 'categorical' ? new Set(feature.categories) : undefined,
    };
  });
}

/** The columns of the training table by what they are used for. */
export function savedRoles(
  { features, target }: FittedTransforms,
  { weights }: Pick<DataConfig, 'weights'>,
): ColumnRoles {
  return {
    features: features.flatMap((feature) => ('column' in feature ? [feature.column] : [])),
    targets: target.kind === 'labels' ? [target.column] : target.columns.map(({ column }) => column),
    weights: weights === undefined ? [] : [weights],
  };
}

/** The feature columns, then the targets, then the column of weights if the run has one. */
export function planSavedColumns(
  header: readonly string[],
  transforms: FittedTransforms,
  data: Pick<DataConfig, 'weights' | 'missing'>,
): PlannedColumn[] {
  const { target } = transforms;
  const { targets, weights } = savedRoles(transforms, data);
  const isText = target.kind === 'labels' && target.cells === 'text';
  const kind = isText ? 'text' : 'number';
  const known = isText ? new Set(target.classNames) : undefined;
  for (const name of [...targets, ...weights]) requireColumn(header, name);
  return [
    ...planFeatures(header, transforms, data.missing),
    ...targets.map((name) => ({ ...plan(name, kind, data.missing), known })),
    ...weights.map((name) => plan(name, 'number', data.missing)),
  ];
}

/** Any number of texts: those that training never saw take no room. */
function plan(name: string, kind: 'number' | 'text', missing: DataConfig['missing']): PlannedColumn {
  return {
    name,
    isFeature: false,
    kind,
    maxCategories: Number.POSITIVE_INFINITY,
    ...planMissing(missing, name, false),
  };
}

function requireColumn(header: readonly string[], name: string): void {
  if (header.includes(name)) return;
  const message = `no column ${quoteName(name)}, which the model was trained on`;
  throw dataError('E_DATA_COLUMNS', message, { help: 'give the table the columns of the training data' });
}
