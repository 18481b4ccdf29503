// A config for data that nobody has described yet: everything that was chosen, with the reasons as
// comments, and the same in a few lines for the screen.
import { isCollection, isMap, isScalar, isSeq, Document, visit } from 'yaml';
import type { Pair, Scalar } from 'yaml';
import path from 'node:path';
import type { DataSource, TableSource } from '../config/data-sources.ts';
import { formatKeyPath } from '../config/problem.ts';
import type { ConfigInput } from '../config/schema.ts';
import { didYouMean } from '../config/suggest.ts';
import { MISSING_TOKENS } from '../data/table/format.ts';
import { configError, dataError, listNames, quoteName, shorten } from '../errors.ts';
import { countOf, formatCount } from '../printable.ts';
import { sizeOf, type Shape } from '../shape.ts';
import { chooseColumns } from './choose-columns.ts';
import type { ColumnChoice } from './choose-columns.ts';
import {
  chooseForImages,
  chooseForPositions,
  chooseForRows,
  chooseForText,
  chooseTask,
} from './choose-training.ts';
import type { Task, TaskSize, Training } from './choose-training.ts';
import type { FoundArrays, FoundData, FoundImages, FoundTable, FoundText } from './find-data.ts';
import type { ScannedTable } from './scan-table.ts';

/** The wishes of a user for a config to be. */
export interface DraftOptions {
  readonly name: string;
  /** The directory of the config, to which its paths are relative. */
  readonly directory: string;
  readonly target?: string | undefined;
  readonly task?: Task['kind'] | undefined;
  readonly drop?: readonly string[] | undefined;
}

/** A config, and what to say of it. */
export interface DraftConfig {
  readonly config: ConfigInput;
  /** The text of its file, with comments. */
  readonly text: string;
  /** The choices: a word, and what was chosen. */
  readonly choices: readonly (readonly [word: string, text: string])[];
  readonly warnings: readonly string[];
}

/** Fewer samples leave nothing to validate and test on. */
const MIN_SAMPLES = 10;

/** Drafts a config. @throws LockstepError for a target that is missing, or cannot be predicted */
export function draftConfig(found: FoundData, options: DraftOptions): DraftConfig {
  const { name } = options;
  const { data, training, loss, comments, choices, warnings } = chooseAll(found, options);
  const { batchSize, epochs, layers, optimizer, patience, shards } = training;
  const config: ConfigInput = {
    name,
    data,
    model: { layers: [...layers] },
    loss,
    ...(layers.some(({ kind }) => kind === 'lstm') && { clip: { norm: 1 } }),
    optimizer,
    ...(found.kind !== 'text' && {
      schedule: { kind: 'plateau' as const, factor: 0.3, patience: reduceAfter(patience) },
    }),
    batchSize,
    shards,
    epochs,
    earlyStopping: { patience },
  };
  const notes = new Map([
    ['name', 'names the run directory'],
    ['loss', loss === 'mse' ? 'the mean squared error, for numbers' : 'for classes'],
    ['model', `sized for ${training.why}`],
    ['schedule', 'smaller steps once the validation loss stagnates'],
    ['batchSize', 'samples of one step'],
    ['shards', 'slices of a batch, which workers or threads share: part of the result, like the seed'],
    ['epochs', 'at most: early stopping ends the training before, and keeps the best weights'],
    ...comments,
  ]);
  return {
    config,
    text: formatDraft(config, notes),
    warnings,
    choices: [
      ...choices,
      ['model', `${layers.map(nameLayer).join(', ')}, for ${training.why}`],
      [
        'training',
        `${optimizer.kind} ${optimizer.learningRate}, batches of ${batchSize} in ${countOf(shards, 'shard')}, at most ${countOf(epochs, 'epoch')}, ends ${patience} after the best`,
      ],
    ],
  };
}

/** Epochs without progress before the learning rate falls: early stopping then leaves time for two falls. */
function reduceAfter(patience: number): number {
  return Math.max(1, Math.floor(patience / 4));
}

/** The part of a draft that differs by kind of data. */
interface Choices {
  readonly data: ConfigInput['data'];
  readonly training: Training;
  readonly loss: 'mse' | 'crossEntropy';
  readonly comments: readonly (readonly [key: string, comment: string])[];
  readonly choices: readonly (readonly [word: string, text: string])[];
  readonly warnings: readonly string[];
}

function chooseAll(found: FoundData, options: DraftOptions): Choices {
  if (found.kind !== 'table') refuseTarget(found, options);
  switch (found.kind) {
    case 'table':
      return chooseForTable(found, options);
    case 'images':
      return chooseForImageSet(found, options);
    case 'arrays':
      return chooseForArrays(found, options);
    case 'text':
      return chooseForBytes(found, options);
  }
}

function refuseTarget({ kind }: FoundData, { target, drop = [] }: DraftOptions): void {
  const flag = target !== undefined ? '--target' : drop.length > 0 ? '--drop' : undefined;
  if (flag === undefined) return;
  const what = {
    table: '',
    images: 'images have labels',
    arrays: 'arrays have targets',
    text: 'a text has bytes',
  }[kind];
  throw configError('E_CONFIG_TARGET', `${flag} names a column of a table: ${what}`, `leave out ${flag}`);
}

function requireSamples(count: number, noun: string): void {
  if (count >= MIN_SAMPLES) return;
  throw dataError('E_DATA_NO_ROWS', `${countOf(count, noun)}: too few to train, validate and test on`, {
    help: `at least ${MIN_SAMPLES} are needed, and hundreds are better`,
  });
}

function outputsOf(task: Task, numTargets = 1): number {
  return task.kind === 'classes' ? task.numClasses : numTargets;
}

function chooseForTable({ source, scanned }: FoundTable, options: DraftOptions): Choices {
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

function describeTarget(name: string, task: Task, isStratified = true): string {
  if (task.kind === 'classes') {
    const shares = isStratified ? ', the same shares in each split' : '';
    return `${shorten(name)}, ${task.numClasses} classes (${task.why}): crossEntropy${shares}`;
  }
  return `${shorten(name)}, ${task.why}: mse on ${task.transform.join(', then ')}`;
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

/** Fewer rows of a class are hardly learnt. */
const RARE = 10;

function describeClasses(
  task: Task,
  counts: readonly { readonly value: string; readonly count: number }[],
): string[] {
  if (task.kind !== 'classes') return [];
  const rare = counts.filter(({ count }) => count > 0 && count < RARE);
  if (rare.length === 0) return [];
  const names = rare.map(({ value, count }) => `${shorten(value)} (${count})`);
  return [`classes with few samples: ${listNames(names, 5)}`];
}

function chooseForImageSet(found: FoundImages, { directory }: DraftOptions): Choices {
  const { classes, imageSize, numSamples, shape, splits } = found;
  if (classes.length < 2) {
    throw dataError('E_DATA_ONE_CLASS', `the images are all of class ${quoteName(classes[0]?.value ?? '')}`, {
      help: 'put the images of each class into a folder of its own',
    });
  }
  requireSamples(numSamples, 'image');
  const training = chooseForImages(
    { ...needsOf(splits), numRows: numSamples, outputs: classes.length },
    shape,
  );
  const data: ConfigInput['data'] = {
    ...relativeSplits(splits, directory),
    ...(imageSize && { imageSize: [...imageSize] as [number, number] }),
    split: { ...sharesOf(training, splits), stratify: true },
  };
  const task: Task = { kind: 'classes', numClasses: classes.length, why: '', isUnclear: false };
  return {
    data,
    training,
    loss: 'crossEntropy',
    comments: [
      ['data.imageSize', 'height and width to which all pictures are brought'],
      ['data.split', 'each split has the same shares of the classes'],
    ],
    choices: [
      [
        'classes',
        listNames(
          classes.map(({ value, count }) => `${shorten(value)} (${formatCount(count)})`),
          10,
        ),
      ],
      ...(imageSize ? [['pictures', `brought to ${imageSize.join('x')}`] as const] : []),
    ],
    warnings: describeClasses(task, classes),
  };
}

function needsOf(splits: { readonly validation?: unknown; readonly test?: unknown }): {
  needsValidation: boolean;
  needsTest: boolean;
} {
  return { needsValidation: splits.validation === undefined, needsTest: splits.test === undefined };
}

/** The shares of the splits that have no source of their own. */
function sharesOf(
  { split }: Training,
  splits: { readonly validation?: unknown; readonly test?: unknown },
): { validation?: number; test?: number } {
  return {
    ...(splits.validation === undefined && { validation: split.validation }),
    ...(splits.test === undefined && { test: split.test }),
  };
}

function chooseForArrays(found: FoundArrays, { directory, task: wanted }: DraftOptions): Choices {
  const { areBytes, ignoreIndex, numSamples, positions, shape, splits, targets, vocabulary } = found;
  requireSamples(numSamples, 'sample');
  const [first] = targets;
  if (!first) throw new Error('arrays without targets were not refused');
  const task: Task =
    targets.length === 1
      ? chooseTask(first, wanted)
      : {
          kind: 'numbers',
          transform: ['standardize'],
          why: countOf(targets.length, 'number'),
          isUnclear: false,
        };
  const size = { ...needsOf(splits), numRows: numSamples, outputs: outputsOf(task, targets.length) };
  const training =
    positions === undefined ? chooseForValues(size, shape) : chooseForPositions(size, shape, vocabulary);
  const isOfTokens = training.layers[0]?.kind === 'embedding';
  const isStratified = task.kind === 'classes' && positions === undefined;
  const data: ConfigInput['data'] = {
    ...relativeSplits(splits, directory),
    ...(targets.length > 1 && { target: targets.map(({ name }) => name) }),
    ...(task.kind === 'numbers' && { targetTransform: [...task.transform] }),
    ...((areBytes || isOfTokens) && { standardize: false }),
    ...(task.kind === 'classes' && ignoreIndex !== undefined && { ignoreIndex }),
    split: { ...sharesOf(training, splits), ...(isStratified && { stratify: true as const }) },
  };
  const where = positions === undefined ? '' : `, at each of ${countOf(positions, 'position')}`;
  return {
    data,
    training,
    loss: task.kind === 'classes' ? 'crossEntropy' : 'mse',
    comments: [
      ['data.standardize', isOfTokens ? 'token ids stay as they are' : 'bytes are scaled to 0..1'],
      ['data.ignoreIndex', 'the label of padding, which does not count'],
    ],
    choices: [['target', describeTarget(first.name, task, isStratified) + where]],
    warnings: describeClasses(task, first.counts),
  };
}

function chooseForValues(size: TaskSize, shape: Shape): Training {
  if (shape.length === 3) return chooseForImages(size, shape);
  const training = chooseForRows(size, sizeOf(shape));
  if (shape.length === 1) return training;
  return { ...training, layers: [{ kind: 'flatten' }, ...training.layers] };
}

function chooseForBytes({ numBytes, splits }: FoundText, { directory }: DraftOptions): Choices {
  const { context, ...training } = chooseForText(numBytes);
  requireSamples(Math.floor(numBytes / context), `stretch of ${context} bytes`);
  return {
    data: { ...relativeSplits(splits, directory), context, split: training.split },
    training,
    loss: 'crossEntropy',
    comments: [
      ['data.context', 'bytes of a sample: the model predicts the byte after each of them'],
      ['data.split', 'neighbouring parts of the text'],
    ],
    choices: [['target', 'the next byte, 256 classes']],
    warnings: [],
  };
}

function relativeTo(directory: string, file: string): string {
  const name = path.relative(directory, file);
  return name.startsWith(`..${path.sep}..`) ? file : name;
}

function relativeTable(source: TableSource, directory: string): string | string[] {
  return typeof source === 'string'
    ? relativeTo(directory, source)
    : source.map((file) => relativeTo(directory, file));
}

function relativeSplits(
  splits: {
    readonly train: DataSource;
    readonly validation?: DataSource | undefined;
    readonly test?: DataSource | undefined;
  },
  directory: string,
): Pick<ConfigInput['data'], 'train' | 'validation' | 'test'> {
  const present = Object.entries(splits).filter(([, source]) => source !== undefined);
  return Object.fromEntries(
    present.map(([name, source]) => [name, relativeSource(source as DataSource, directory)]),
  );
}

function relativeSource(source: DataSource, directory: string): DataSource {
  if (typeof source === 'string' || Array.isArray(source)) return relativeTable(source, directory);
  if ('npz' in source && source.npz !== undefined)
    return { ...source, npz: relativeTo(directory, source.npz) };
  return Object.fromEntries(
    Object.entries(source).map(([key, file]) => [key, relativeTo(directory, file as string)]),
  ) as unknown as DataSource;
}

/** `dense 64 relu`, `conv2d 16`. */
function nameLayer(layer: Training['layers'][number]): string {
  const { activation, filters, rate, units } = layer as Partial<Record<string, string | number>>;
  const parts = [units, filters, rate, activation].filter((part) => part !== undefined);
  return [layer.kind, ...parts].join(' ');
}

/** Comments longer than this stand above what they are about. */
const MAX_LINE = 100;

/** The text of a config with comments, by key path: layers and rules one to a line. */
function formatDraft(config: ConfigInput, comments: ReadonlyMap<string, string>): string {
  const document = new Document(config, { aliasDuplicateObjects: false });
  visit(document, {
    Seq: (_, list) => {
      list.flow = list.items.every((item) => isScalar(item));
      for (const item of list.items) if (isCollection(item)) item.flow = true;
    },
  });
  const { contents } = document;
  if (isMap(contents)) addComments(contents.items, [], comments);
  return document.toString({ lineWidth: 0, flowCollectionPadding: true });
}

const INLINE = new Set([
  'train',
  'validation',
  'test',
  'split',
  'optimizer',
  'schedule',
  'earlyStopping',
  'clip',
]);

function addComments(
  pairs: readonly Pair[],
  prefix: readonly string[],
  comments: ReadonlyMap<string, string>,
): void {
  for (const { key, value } of pairs) {
    const name = (key as Scalar<string>).value;
    const keys = [...prefix, name];
    const isRule = formatKeyPath(prefix) === 'data.columns';
    if (isMap(value) && (INLINE.has(name) || isRule)) value.flow = true;
    if (isSeq(value) && name === 'drop') value.flow = false;
    const comment = comments.get(formatKeyPath(keys));
    if (isSeq(value) && !value.flow) addItemComments(value.items as Scalar[], formatKeyPath(keys), comments);
    if (comment !== undefined) {
      const isBlock = isCollection(value) && !value.flow;
      const isLong = JSON.stringify(value).length + name.length + comment.length > MAX_LINE;
      if (isBlock || isLong) (key as Scalar).commentBefore = ` ${comment}`;
      else if (isScalar(value) || isCollection(value)) value.comment = ` ${comment}`;
    }
    if (isMap(value) && !value.flow) addComments(value.items, keys, comments);
  }
}

function addItemComments(
  items: readonly Scalar[],
  name: string,
  comments: ReadonlyMap<string, string>,
): void {
  for (const [at, item] of items.entries()) {
    const comment = comments.get(`${name}.${at}`);
    if (comment !== undefined) item.comment = ` ${comment.replaceAll(/\s+/g, ' ')}`;
  }
}
