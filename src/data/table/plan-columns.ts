// Which columns of a table are read, and how: by the config in training, by the saved transforms for a
// trained model. Columns that the config names twice, or for two uses, never come this far: src/config
// refuses them.
import { targetColumns } from '../../config/data-sources.ts';
import type { ColumnRule, Config, DataConfig } from '../../config/schema.ts';
import { didYouMean } from '../../config/suggest.ts';
import { MAX_CLASSES } from '../dataset/class-labels.ts';
import type { FittedFeature, FittedTransforms } from '../dataset/transforms.ts';
import { MAX_VOCABULARY } from '../../layers/embedding.ts';
import type { Column, PlannedColumn } from './column.ts';
import { listNames, quoteName, configError, dataError } from '../../errors.ts';

/** Column names by their use; columns in none of the lists are not read. */
export interface ColumnRoles {
  readonly features: readonly string[];
  readonly targets: readonly string[];
  /** The column of sample weights, if there is one; a list like the others. */
  readonly sampleWeights: readonly string[];
  /** The column that splits follow, if there is one that has no other use. */
  readonly splitBy: readonly string[];
}

/**
 * Divides the columns of a table.
 *
 * @throws LockstepError if the config names a column that the table lacks, or leaves no features.
 */
export function assignColumnRoles(header: readonly string[], data: DataConfig): ColumnRoles {
  const targets = targetColumns(data);
  const sampleWeights = data.weights === undefined ? [] : [data.weights];
  requireColumns(header, 'target', targets);
  requireColumns(header, 'features', data.features ?? []);
  requireColumns(header, 'drop', data.drop);
  requireColumns(header, 'categorical', data.categorical);
  requireColumns(header, 'columns', Object.keys(data.columns));
  requireColumns(header, 'weights', sampleWeights);
  const ruled = typeof data.missing === 'string' ? [] : Object.keys(data.missing.columns);
  requireColumns(header, 'missing.columns', ruled);
  const { group, time } = data.split;
  requireColumns(header, 'split.group', group === undefined ? [] : [group]);
  requireColumns(header, 'split.time', time === undefined ? [] : [time]);
  const unused = new Set([
    ...targets,
    ...sampleWeights,
    ...data.drop,
    ...(group === undefined ? [] : [group]),
  ]);
  const features = data.features ?? header.filter((name) => !unused.has(name));
  if (features.length === 0) {
    throw configError('E_CONFIG_FEATURES', `no feature column is left of ${listNames(header)}`);
  }
  requireUsed('categorical', 'which is not a feature', { names: data.categorical, used: features });
  requireUsed('columns', 'which is not a feature', { names: Object.keys(data.columns), used: features });
  const read = [...features, ...targets, ...sampleWeights];
  const splitBy = splitColumn(data.split, read);
  requireUsed('missing.columns', 'which is not read', { names: ruled, used: [...read, ...splitBy] });
  return { features, targets, sampleWeights, splitBy };
}

function requireColumns(header: readonly string[], field: string, names: readonly string[]): void {
  const known = new Set(header);
  const unknown = names.find((name) => !known.has(name));
  if (unknown === undefined) return;
  const message = `data.${field}: no column ${quoteName(unknown)}; columns: ${listNames(header)}`;
  throw configError('E_CONFIG_COLUMN', message, didYouMean(unknown, header));
}

/** Refuses a setting for a column that is not read, which would silently do nothing. */
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

/** Maximum number of one-hot features from one column; more of them are an identifier. */
const MAX_CATEGORIES = 1000;
/** Maximum number of texts that are hashed: each is in memory once. */
const MAX_HASHED = 10_000_000;
/** Maximum number of texts of an embedded column, which have a vector each, beside that of all others. */
const MAX_EMBEDDED = MAX_VOCABULARY - 1;

/** The rule of a feature column; undefined where its cells decide. */
export function ruleOf(
  { categorical, columns }: Pick<DataConfig, 'categorical' | 'columns'>,
  name: string,
): ColumnRule | undefined {
  if (categorical.includes(name)) return { kind: 'categorical' };
  return Object.hasOwn(columns, name) ? columns[name] : undefined;
}

/** The cells of a column under a rule. */
function cellsOf(rule: ColumnRule | undefined): Pick<PlannedColumn, 'kind' | 'dateFormat'> {
  switch (rule?.kind) {
    case undefined:
      return { kind: undefined };
    case 'number':
      return { kind: 'number' };
    case 'date':
      return { kind: 'date', dateFormat: rule.format };
    default:
      return { kind: 'text' };
  }
}

export function planColumns(
  { features, targets, sampleWeights, splitBy }: ColumnRoles,
  { data, loss }: Config,
): PlannedColumn[] {
  const plan = (name: string, isFeature: boolean): PlannedColumn => {
    const rule = isFeature ? ruleOf(data, name) : undefined;
    const maxCategories =
      rule?.kind === 'hash' ? MAX_HASHED : rule?.kind === 'embedding' ? MAX_EMBEDDED : MAX_CATEGORIES;
    return {
      name,
      isFeature,
      ...cellsOf(rule),
      maxCategories: isFeature ? maxCategories : MAX_CLASSES,
      isListed: isFeature && data.features !== undefined,
      isNumeric: rule?.kind === 'ordinal' || rule?.kind === 'boolean',
      isClass: loss.kind === 'crossEntropy' && targets.includes(name),
      ...planMissing(data.missing, name, isFeature),
    };
  };
  return [
    ...features.map((name) => plan(name, true)),
    ...[...targets, ...sampleWeights].map((name) => plan(name, false)),
    ...splitBy.map((name) => planSplit(name, data.missing)),
  ];
}

/** The column of groups or times, of any number of texts. */
function planSplit(name: string, missing: DataConfig['missing']): PlannedColumn {
  return { ...planUnlimited(name, undefined, missing), mayBeDate: true };
}

/** The rule of a column. A target or a sample weight is never filled in: its row is left out instead. */
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

/**
 * The rules for rows to predict, none of which may be left out: that would shift the lines of all
 * later ones.
 */
export function withoutDrops(missing: DataConfig['missing']): DataConfig['missing'] {
  const keep = <Rule extends string>(rule: Rule): Rule | 'error' => (rule === 'drop-row' ? 'error' : rule);
  if (typeof missing === 'string') return keep(missing);
  const columns = Object.entries(missing.columns).map(([name, rule]) => [name, keep(rule)] as const);
  return { default: keep(missing.default), columns: Object.fromEntries(columns) };
}

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
    requireTrainedColumn(header, feature.column);
    return {
      ...planUnlimited(feature.column, kindOfCells(feature), missing),
      ...planMissing(missing, feature.column, true),
      dateFormat: feature.kind === 'date' ? feature.format : undefined,
      isFeature: true,
      isNumeric: feature.kind === 'ordinal' || feature.kind === 'boolean',
      known: knownTexts(feature),
    };
  });
}

function knownTexts(feature: FittedFeature): ReadonlySet<string> | undefined {
  if (feature.kind === 'categorical') return new Set(feature.categories);
  return feature.kind === 'embedding' ? new Set(feature.texts) : undefined;
}

function kindOfCells({ kind }: FittedFeature): Column['kind'] {
  if (kind === 'date') return 'date';
  return kind === 'numeric' ? 'number' : 'text';
}

/** The columns of the training table by their use. */
export function savedRoles(
  { features, target }: FittedTransforms,
  { split, weights }: Pick<DataConfig, 'split' | 'weights'>,
): ColumnRoles {
  const read = {
    features: features.flatMap((feature) => ('column' in feature ? [feature.column] : [])),
    targets: target.kind === 'labels' ? [target.column] : target.columns.map(({ column }) => column),
    sampleWeights: weights === undefined ? [] : [weights],
  };
  return { ...read, splitBy: splitColumn(split, Object.values(read).flat()) };
}

/** The column that splits follow, unless it is read already. */
function splitColumn({ group, time }: DataConfig['split'], read: readonly string[]): string[] {
  return [group ?? time ?? []].flat().filter((name) => !read.includes(name));
}

/** The feature columns, then the targets, then the column of sample weights if the run has one. */
export function planSavedColumns(
  header: readonly string[],
  transforms: FittedTransforms,
  data: Pick<DataConfig, 'weights' | 'missing' | 'split'>,
): PlannedColumn[] {
  const { target } = transforms;
  const { targets, sampleWeights, splitBy } = savedRoles(transforms, data);
  const isText = target.kind === 'labels' && target.cells === 'text';
  const kind = isText ? 'text' : 'number';
  const known = isText ? new Set(target.classNames) : undefined;
  for (const name of [...targets, ...sampleWeights, ...splitBy]) requireTrainedColumn(header, name);
  return [
    ...planFeatures(header, transforms, data.missing),
    ...targets.map((name) => ({ ...planUnlimited(name, kind, data.missing), known })),
    ...sampleWeights.map((name) => planUnlimited(name, 'number', data.missing)),
    ...splitBy.map((name) => planSplit(name, data.missing)),
  ];
}

/** Plans a column of any number of texts: those that training never saw take no room. */
function planUnlimited(
  name: string,
  kind: PlannedColumn['kind'],
  missing: DataConfig['missing'],
): PlannedColumn {
  return {
    name,
    isFeature: false,
    kind,
    maxCategories: Number.POSITIVE_INFINITY,
    ...planMissing(missing, name, false),
  };
}

function requireTrainedColumn(header: readonly string[], name: string): void {
  if (header.includes(name)) return;
  const message = `no column ${quoteName(name)}, which the model was trained on`;
  throw dataError('E_DATA_COLUMNS', message, { help: 'give the table the columns of the training data' });
}
