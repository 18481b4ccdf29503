// What `lockstep inspect` and `--dry-run` tell of data: of a path, with what would become of its columns; of a
// config whose data are loaded, with what has become of them.
import { targetColumns } from '../config/data-sources.ts';
import type { Config } from '../config/schema.ts';
import { findSources, listFiles } from '../data/dataset/load-request.ts';
import { sampleWeightWidth, targetView } from '../data/dataset/packed-dataset.ts';
import { featureWidth } from '../data/dataset/transforms.ts';
import type { FittedFeature } from '../data/dataset/transforms.ts';
import type { LoadedData } from '../data/load.ts';
import { quoteName } from '../errors.ts';
import { countOf } from '../printable.ts';
import { formatShape } from '../shape.ts';
import { chooseColumns } from './choose-columns.ts';
import type { ColumnChoice } from './choose-columns.ts';
import { formatDate } from './column-facts.ts';
import type { ColumnFacts, ValueCount } from './column-facts.ts';
import { requireColumn } from './draft-table.ts';
import { summarizeData } from './find-data.ts';
import type { FoundData } from './find-data.ts';
import { guessTargets } from './guess-target.ts';
import { scanTableAs } from './scan-table.ts';
import type { ScannedTable } from './scan-table.ts';

/** A column, as `inspect --json` prints it. */
export interface ColumnReport {
  readonly name: string;
  readonly kind: ColumnFacts['kind'];
  readonly distinct: number;
  readonly missing: number;
  /** The least value: a number, or a date. */
  readonly least?: number | string | undefined;
  readonly most?: number | string | undefined;
  readonly mean?: number | undefined;
  readonly deviation?: number | undefined;
  /** The most frequent values. */
  readonly top?: readonly ValueCount[] | undefined;
  readonly use: ColumnChoice['use'];
  readonly becomes: string;
  readonly inputs: number;
  readonly why?: string | undefined;
  readonly warnings: readonly string[];
}

/** The content of data, as `inspect --json` prints it. */
export interface DataReport {
  readonly kind: FoundData['kind'];
  /** The data in a line. */
  readonly summary: string;
  /** Samples of all splits together, or of the training set. */
  readonly samples: number;
  /** Shape of a sample; of a table its number of inputs. */
  readonly shape: readonly number[];
  readonly columns?: readonly ColumnReport[] | undefined;
  /** The target, and whether that is only a guess. */
  readonly target?: { readonly name: string; readonly isGuess: boolean } | undefined;
  /** Samples of each class. */
  readonly classes?: readonly ValueCount[] | undefined;
  readonly warnings: readonly string[];
}

/** Values of a column that are reported; all classes are. */
const MAX_TOP = 5;
/** A target with more values is described by its range. */
const MAX_CLASSES = 100;
/** A target of numbers with more distinct ones is an amount. */
const MAX_NUMBERED = 20;

/** Reports on data without a config; `target` is the column to predict, by default the likeliest. */
export function reportData(found: FoundData, target?: string): DataReport {
  const summary = summarizeData(found);
  switch (found.kind) {
    case 'table':
      return reportTable(found.scanned, { summary, target });
    case 'images': {
      const { classes, numSamples, shape, imageSize } = found;
      const warnings = imageSize
        ? [`pictures of several or large sizes: brought to ${imageSize.join('x')}`]
        : [];
      return { kind: 'images', summary, samples: numSamples, shape, classes, warnings };
    }
    case 'arrays': {
      const { numSamples: samples, shape, targets } = found;
      const [first] = targets;
      const classes = first && first.numDistinct <= MAX_NUMBERED ? first.counts : undefined;
      const columns = targets.map((facts) =>
        reportColumn({ facts, use: 'target', becomes: 'the target', inputs: 0, warnings: [] }),
      );
      return { kind: 'arrays', summary, samples, shape, columns, classes, warnings: [] };
    }
    case 'text':
      return { kind: 'text', summary, samples: found.numBytes, shape: [], warnings: [] };
  }
}

function reportTable(
  scanned: ScannedTable,
  { summary, target }: { readonly summary: string; readonly target: string | undefined },
): DataReport {
  if (target !== undefined) requireColumn(scanned, target);
  const name = target ?? guessTargets(scanned.columns)[0];
  const { delimiter, decimal, header, thousands } = scanned.settings;
  const settings = [
    ...(delimiter === undefined ? [] : [`data.delimiter: ${JSON.stringify(delimiter)}`]),
    ...(header ? [] : ['data.header: false']),
    ...(decimal === '.' ? [] : [`data.decimal: ${JSON.stringify(decimal)}`]),
    ...(thousands === undefined ? [] : [`data.thousands: ${JSON.stringify(thousands)}`]),
  ];
  return {
    kind: 'table',
    summary,
    samples: scanned.numRows,
    ...reportColumns(scanned, chooseColumns(scanned, name), name),
    target: name === undefined ? undefined : { name, isGuess: target === undefined },
    warnings: settings.length === 0 ? [] : [`it is read with ${settings.join(', ')}`],
  };
}

function reportColumns(
  { columns }: ScannedTable,
  choices: readonly ColumnChoice[],
  target: string | undefined,
): Pick<DataReport, 'shape' | 'columns' | 'classes'> {
  const wanted = columns.find(({ name }) => name === target);
  const most = wanted?.column.kind === 'text' ? MAX_CLASSES : MAX_NUMBERED;
  return {
    shape: [choices.reduce((sum, { inputs }) => sum + inputs, 0)],
    columns: choices.map(reportColumn),
    classes: wanted && wanted.numDistinct <= most ? wanted.counts : undefined,
  };
}

function reportColumn({ facts, use, becomes, inputs, why, warnings }: ColumnChoice): ColumnReport {
  const { column, counts, kind, name, numDistinct, numMissing, numbers } = facts;
  const isDate = column.kind === 'date';
  return {
    name,
    kind,
    distinct: numDistinct,
    missing: numMissing,
    least: numbers && (isDate ? formatDate(numbers.least) : numbers.least),
    most: numbers && (isDate ? formatDate(numbers.most) : numbers.most),
    ...(isDate ? {} : { mean: numbers?.mean, deviation: numbers?.deviation }),
    top: counts.length > 0 ? counts.slice(0, MAX_TOP) : undefined,
    ...{ use, becomes, inputs, why, warnings },
  };
}

/** Reports on the data of a config, which are loaded. */
export async function reportConfig(config: Config, data: LoadedData): Promise<DataReport> {
  const { layout } = data.dataset;
  const sources = findSources(config.data);
  const isTable = sources.kind === 'tables';
  const kind = isTable ? 'table' : sources.kind;
  const { train, validation, test } = data.splits;
  const counts = [
    `${train.length} to train`,
    `${validation.length} to validate`,
    `${test.length} to test on`,
  ];
  const noun = { table: 'row', images: 'image', arrays: 'sample', text: 'window' }[kind];
  const summary = `${config.name}: ${countOf(layout.numRows, noun)} of ${formatShape(layout.featureShape)}, ${counts.join(', ')}`;
  const common = {
    kind,
    summary,
    samples: layout.numRows,
    shape: layout.featureShape,
    warnings: [],
  } as const;
  if (!isTable) return { ...common, classes: kind === 'text' ? undefined : countClasses(data) };
  const [first] = listFiles(sources.files);
  // Rows of a program were refused above: they are not here.
  const files = first === undefined || (typeof first === 'object' && 'rows' in first) ? [] : first;
  const scanned = await scanTableAs(files, config.data);
  const [target] = targetColumns(config.data);
  const judged = new Map(chooseColumns(scanned, target).map((choice) => [choice.facts.name, choice]));
  const choices = scanned.columns.map((facts) => ({
    ...useInConfig(facts, config, data),
    facts,
    warnings: judged.get(facts.name)?.warnings ?? [],
  }));
  return {
    ...common,
    ...reportColumns(scanned, choices, target),
    classes: countClasses(data),
    shape: layout.featureShape,
    target: target === undefined ? undefined : { name: target, isGuess: false },
  };
}

/** Samples, or positions of samples, of each class; those that weigh nothing are of none. */
function countClasses({ classNames, dataset, sampleWeights }: LoadedData): ValueCount[] | undefined {
  if (classNames.length === 0 || classNames.length > MAX_CLASSES) return undefined;
  const counts = new Map<number, number>();
  const labelsOfWeight = dataset.layout.targetWidth / sampleWeightWidth(dataset.layout);
  for (const [at, label] of targetView(dataset).entries()) {
    if (sampleWeights?.[Math.floor(at / labelsOfWeight)] === 0) continue;
    counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  return classNames.map((value, label) => ({ value, count: counts.get(label) ?? 0 }));
}

function useInConfig(
  { name }: ColumnFacts,
  { data: { split, weights } }: Config,
  { targetNames, transforms }: LoadedData,
): Pick<ColumnChoice, 'use' | 'becomes' | 'inputs'> {
  if (targetNames.includes(name)) return { use: 'target', becomes: 'the target', inputs: 0 };
  const feature = transforms.features.find((fitted) => 'column' in fitted && fitted.column === name);
  if (feature) return { use: 'feature', becomes: wordsFor(feature), inputs: featureWidth(feature) };
  if (name === weights) return { use: 'other', becomes: 'weights', inputs: 0 };
  if (name === split.group || name === split.time) return { use: 'other', becomes: 'splits rows', inputs: 0 };
  return { use: 'drop', becomes: 'left out', inputs: 0 };
}

function wordsFor(feature: FittedFeature): string {
  switch (feature.kind) {
    case 'categorical':
      return `one of ${feature.categories.length}`;
    case 'boolean':
      return 'yes or no';
    case 'ordinal':
      return `place of ${feature.order.length}`;
    case 'embedding':
      return `vectors of ${feature.units}`;
    case 'hash':
      return `${feature.buckets} buckets`;
    case 'date':
      return 'a date';
    default:
      return 'a number';
  }
}

/** All warnings of a report, those of columns with their names. */
export function warningsOf({ columns = [], warnings }: DataReport): string[] {
  const ofColumns = columns.flatMap(({ name, warnings: own, use, why }) => [
    ...own.map((warning) => `${quoteName(name)}: ${warning}`),
    ...(use === 'drop' && why !== undefined ? [`${quoteName(name)} ${why}`] : []),
  ]);
  return [...warnings, ...ofColumns];
}
