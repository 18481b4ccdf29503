// The part of a draft that a table decides: its columns, its target, and how it is read.
import { formatKeyPath } from '../config/problem.ts';
import type { ConfigInput } from '../config/schema.ts';
import { didYouMean } from '../config/suggest.ts';
import { MISSING_TOKENS } from '../data/table/format.ts';
import { configError, dataError, listNames, quoteName, shorten } from '../errors.ts';
import { countOf, formatCount } from '../printable.ts';
import { chooseColumns } from './choose-columns.ts';
import type { ColumnChoice } from './choose-columns.ts';
import { chooseForRows, chooseTask } from './choose-training.ts';
import type { Task } from './choose-training.ts';
import {
  describeClasses,
  describeTarget,
  outputsOf,
  relativeTable,
  requireSamples,
} from './draft-choices.ts';
import type { Choices, DraftOptions } from './draft-choices.ts';
import type { FoundTable } from './find-data.ts';
import type { ScannedTable } from './scan-table.ts';

/** @throws LockstepError for a table of one column, or without one to learn from; for a target that is none */
export function chooseForTable({ source, scanned }: FoundTable, options: DraftOptions): Choices {
  const { columns, numRows, settings } = scanned;
  const { directory, drop = [], target } = options;
  if (columns.length < 2) throw oneColumn(scanned);
  for (const name of [...(target === undefined ? [] : [target]), ...drop]) requireColumn(scanned, name);
  const wanted = columns.find(({ name }) => name === target);
  if (!wanted) throw new Error('a table without a target was not refused');
  if (scanned.asText.has(wanted.name)) throw mixedTarget(wanted.name);
  const { settings: known, task } = readTarget(wanted, { settings, task: options.task });
  const all = chooseColumns(scanned, target, drop);
  const features = all.filter(({ use }) => use === 'feature');
  if (features.length === 0) throw noFeatures(all);
  const lost = known.missingTokens === settings.missingTokens ? wanted.numMissing : 0;
  requireSamples(numRows - lost, 'labelled row');
  const inputs = features.reduce((sum, choice) => sum + choice.inputs, 0);
  const size = { numRows: numRows - lost, needsTest: true, needsValidation: true, outputs: outputsOf(task) };
  const training = chooseForRows(size, inputs);
  const isMissing = [...features.map(({ facts }) => facts), wanted].some(({ numMissing }) => numMissing > 0);
  const dropped = all.filter(({ use }) => use === 'drop');
  const ruled = features.flatMap(({ facts, rule, why }) => (rule ? [{ name: facts.name, rule, why }] : []));
  const { missingTokens, ...format } = known;
  const data: ConfigInput['data'] = {
    file: relativeTable(source, directory),
    ...Object.fromEntries(Object.entries(format).filter(([key, value]) => !isDefault(key, value))),
    target: wanted.name,
    ...(task.kind === 'numbers' && { targetTransform: [...task.transform] }),
    ...(dropped.length > 0 && { drop: dropped.map(({ facts }) => facts.name) }),
    ...(ruled.length > 0 && { columns: Object.fromEntries(ruled.map(({ name, rule }) => [name, rule])) }),
    ...(isMissing && { missing: 'mean' as const }),
    ...(missingTokens !== undefined && { missingTokens: [...missingTokens] }),
    split: { ...training.split, ...(task.kind === 'classes' && { stratify: true as const }) },
  };
  return {
    data,
    training,
    loss: task.kind === 'classes' ? 'crossEntropy' : 'mse',
    comments: [
      ['data.target', `the column to predict: ${task.why}`],
      ['data.targetTransform', 'what the model is trained on; metrics come in the unit of the target too'],
      [
        'data.missing',
        'a missing number is the mean, a missing text a category; rows without a target are left out',
      ],
      ['data.header', 'the first line is a row like the others'],
      ['data.missingTokens', 'cells without a value'],
      [
        'data.split',
        task.kind === 'classes' ? 'each split has the same shares of the classes' : 'drawn by the seed',
      ],
      ...dropped.map(({ why = '' }, at) => [`data.drop.${at}`, why] as const),
      ...ruled.flatMap(({ name, why }) =>
        why === undefined ? [] : [[formatKeyPath(['data', 'columns', name]), why] as const],
      ),
    ],
    choices: [
      ['target', describeTarget(wanted.name, task)],
      [
        'inputs',
        `${formatCount(inputs)} from ${countOf(features.length, 'column')}${describeForms(features)}`,
      ],
      ...(dropped.length > 0 ? [['left out', describeDropped(dropped)] as const] : []),
    ],
    warnings: [
      ...all.flatMap(({ facts, warnings }) =>
        warnings.map((warning) => `${quoteName(facts.name)}: ${warning}`),
      ),
      ...describeClasses(task, wanted.counts),
    ],
  };
}

function isDefault(key: string, value: unknown): boolean {
  return value === undefined || (key === 'decimal' && value === '.') || (key === 'header' && value === true);
}

/** A token that leaves a target with a single class is a class itself, such as the `-` beside `+`. */
function readTarget(
  target: ScannedTable['columns'][number],
  {
    settings,
    task,
  }: { readonly settings: ScannedTable['settings']; readonly task: Task['kind'] | undefined },
): { settings: ScannedTable['settings']; task: Task } {
  const tokens = [...target.missingTokens.keys()].filter((token) => token !== '');
  if (target.column.kind !== 'text' || target.numDistinct !== 1 || tokens.length === 0)
    return { settings, task: chooseTask(target, task) };
  const counts = [
    ...target.counts,
    ...tokens.map((value) => ({ value, count: target.missingTokens.get(value) ?? 0 })),
  ];
  const others = (settings.missingTokens ?? MISSING_TOKENS).filter((token) => !tokens.includes(token));
  const whole = { ...target, counts, numDistinct: counts.length, numMissing: 0, missingTokens: new Map() };
  return { settings: { ...settings, missingTokens: others }, task: chooseTask(whole, task) };
}

function oneColumn({ columns }: ScannedTable): Error {
  const message = `the table has one column, ${quoteName(columns[0]?.name ?? '')}: there is nothing to learn it from`;
  return dataError('E_DATA_COLUMNS', message, {
    help: 'give it a column to predict, and others to predict it by',
  });
}

function mixedTarget(name: string): Error {
  const message = `target ${quoteName(name)} mixes numbers and texts`;
  return configError(
    'E_CONFIG_TARGET',
    message,
    'give all classes names (such as c1 for 1), or correct the cells',
  );
}

/** @throws LockstepError naming the column that was meant */
export function requireColumn({ columns }: ScannedTable, name: string): void {
  const names = columns.map((column) => column.name);
  if (names.includes(name)) return;
  const message = `no column ${quoteName(name)}; columns: ${listNames(names)}`;
  throw configError('E_CONFIG_COLUMN', message, didYouMean(name, names));
}

function noFeatures(all: readonly ColumnChoice[]): Error {
  const reasons = all
    .filter(({ use }) => use === 'drop')
    .map(({ facts, why = '' }) => `${quoteName(facts.name)} ${why}`);
  return dataError('E_DATA_COLUMNS', `no column is left to learn from: ${listNames(reasons, 5)}`, {
    help: 'give the table columns that differ from row to row and occur again',
  });
}

/** `: 3 numbers, 1 date, 2 texts`. */
function describeForms(features: readonly ColumnChoice[]): string {
  const kinds = features.map(({ becomes, facts }) =>
    becomes === 'a number' || becomes === 'a date'
      ? becomes.slice(2)
      : facts.column.kind === 'text'
        ? 'text'
        : 'number',
  );
  const counts = new Map<string, number>();
  for (const kind of kinds) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return `: ${[...counts].map(([kind, count]) => countOf(count, kind)).join(', ')}`;
}

const MAX_SHOWN = 8;

function describeDropped(dropped: readonly ColumnChoice[]): string {
  const shown = dropped.slice(0, MAX_SHOWN).map(({ facts, why = '' }) => `${shorten(facts.name)} (${why})`);
  const more = dropped.length - shown.length;
  return shown.join('; ') + (more > 0 ? `; and ${more} more` : '');
}
