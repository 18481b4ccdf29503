// Rules between the fields of the data section: which sources go together, what tables, images and texts
// need, the split's sums, and the roles of columns. Whether files and columns exist is not known here.
import { dataKind, kindOf, NUM_BYTE_VALUES, targetColumns, type DataKind } from './data-sources.ts';
import { isObjectUrl, parseObjectUrl } from './object-url.ts';
import { findAt, type ConfigFinding } from './problem.ts';
import type { DataConfig } from './schema.ts';
import { quoteValue } from '../errors.ts';

const SPLIT_FILES = ['train', 'validation', 'test'] as const;
/** Share of rows kept for the test that every run ends with, unless the config says otherwise. */
const DEFAULT_TEST_SHARE = 0.1;
/** Decimal shares such as 0.7 + 0.2 + 0.1 need not sum to 1 exactly. */
const SHARE_TOLERANCE = 1e-9;

/** Everything that is wrong between the fields of `data`. */
export function checkData(data: DataConfig): ConfigFinding[] {
  return [
    ...checkSources(data),
    ...checkKinds(data),
    ...checkFields(data),
    ...checkSplit(data),
    ...checkSplitKeys(data),
    ...checkFold(data),
    ...checkColumns(data),
    ...checkCells(data),
    ...checkObjects(data),
  ];
}

function checkSources(data: DataConfig): ConfigFinding[] {
  if (data.file === undefined) {
    if (data.train !== undefined) return [];
    const help = 'give file (one table that split divides) or train';
    return [findAt(['data'], 'no source of samples', help)];
  }
  return SPLIT_FILES.filter((name) => data[name] !== undefined).map((name) =>
    findAt(['data', name], 'does not go with data.file, which split divides', `remove file or ${name}`),
  );
}

/** Checks the form of `s3://` addresses, each of which is one object. */
function checkObjects(data: DataConfig): ConfigFinding[] {
  return (['file', ...SPLIT_FILES] as const).flatMap((name) => {
    const source = data[name];
    if (source === undefined) return [];
    const files = typeof source === 'object' ? Object.values(source) : [source];
    const urls = files.filter((file): file is string => typeof file === 'string' && isObjectUrl(file));
    const isFolder = typeof source === 'object' && 'folder' in source;
    const wrong = urls.find((url) => isFolder || /[*?]/.test(url) || parseObjectUrl(url) === undefined);
    if (wrong === undefined) return [];
    const text = `${quoteValue(wrong)} names no object: expected s3://BUCKET/KEY`;
    const help =
      isFolder || /[*?]/.test(wrong) ? 'patterns and folders are of files: name each object' : undefined;
    return [findAt(['data', name], text, help)];
  });
}

/** The kinds of data in words, after "is". */
const KIND_NAMES: Readonly<Record<DataKind, string>> = {
  table: 'a table',
  images: 'images',
  text: 'a text',
  arrays: 'arrays',
};

/** Checks that all splits are of one kind. */
function checkKinds(data: DataConfig): ConfigFinding[] {
  if (data.train === undefined) return [];
  const trainKind = dataKind(data);
  return SPLIT_FILES.flatMap((name) => {
    const source = data[name];
    if (source === undefined || kindOf(source) === trainKind) return [];
    const text = `is ${KIND_NAMES[kindOf(source)]}, but data.train is ${KIND_NAMES[trainKind]}`;
    return [findAt(['data', name], text, 'all splits are of one kind')];
  });
}

/** Checks that each kind of data has what it needs, and no fields that would silently do nothing. */
function checkFields(data: DataConfig): ConfigFinding[] {
  const kind = dataKind(data);
  switch (kind) {
    case 'table':
      return [...checkTable(data), ...refuseText(data), ...refuseFolder(data)];
    case 'images':
      return [...refuseTable(data), ...refuseText(data), ...checkFolders(data)];
    case 'arrays':
      return [
        ...checkTable(data),
        ...refuseFields(data, fileFields(data), 'tables'),
        ...refuseText(data),
        ...refuseFolder(data),
        ...refuseStream(data),
      ];
    case 'text':
      return [...checkText(data), ...refuseTable(data), ...refuseFolder(data), ...refuseStream(data)];
    default:
      return kind satisfies never;
  }
}

function refuseTable(data: DataConfig): ConfigFinding[] {
  return refuseFields(data, tableFields(data), 'tables');
}

function refuseText(data: DataConfig): ConfigFinding[] {
  return refuseFields(data, textFields(data), 'texts');
}

function refuseStream(data: DataConfig): ConfigFinding[] {
  return refuseFields(data, { stream: data.stream }, 'tables and images');
}

function refuseFolder(data: DataConfig): ConfigFinding[] {
  const { channels, imageSize } = data;
  const given = { imageSize: imageSize !== undefined, channels: channels !== undefined };
  return refuseFields(data, given, 'folders of pictures');
}

/** Checks that all sets of images are folders, whose names are the classes, or that none is. */
function checkFolders(data: DataConfig): ConfigFinding[] {
  const isFolder = (name: (typeof SPLIT_FILES)[number]): boolean => {
    const source = data[name];
    return typeof source === 'object' && 'folder' in source;
  };
  if (!isFolder('train')) {
    const folder = SPLIT_FILES.find(isFolder);
    if (folder === undefined) return refuseFolder(data);
    return [findAt(['data', folder], 'is a folder, but data.train is not', 'all splits are of one kind')];
  }
  const other = SPLIT_FILES.find((name) => data[name] !== undefined && !isFolder(name));
  if (other !== undefined)
    return [findAt(['data', other], 'is no folder, but data.train is', 'all splits are of one kind')];
  if (data.classes === undefined) return [];
  return [findAt(['data', 'classes'], 'does not go with folders, each of which is a class', 'remove it')];
}

function checkTable(data: DataConfig): ConfigFinding[] {
  const hasTable = data.file !== undefined || data.train !== undefined;
  if (!hasTable || data.target !== undefined) return [];
  return [findAt(['data', 'target'], 'missing, expected the column of the table to predict')];
}

function checkText({ context, stride, classes, ignoreIndex }: DataConfig): ConfigFinding[] {
  const findings: ConfigFinding[] = [];
  if (context === undefined) {
    findings.push(findAt(['data', 'context'], 'missing, expected the number of bytes of a sample'));
  } else if (stride !== undefined && stride > context) {
    const text = `${stride} is more than data.context, ${context}: bytes between samples would never be read`;
    findings.push(findAt(['data', 'stride'], text, `set it to ${context} or less`));
  }
  if (classes !== undefined) {
    findings.push(
      findAt(['data', 'classes'], `a text has ${NUM_BYTE_VALUES}, the values of a byte`, 'remove it'),
    );
  }
  if (ignoreIndex !== undefined) {
    findings.push(
      findAt(['data', 'ignoreIndex'], 'is for labels, and every byte of a text counts', 'remove it'),
    );
  }
  return findings;
}

/** Tells which fields that only tables have are given; a default cannot be told from absence. */
function tableFields(data: DataConfig): Record<string, boolean> {
  return {
    target: data.target !== undefined,
    targetTransform: data.targetTransform.length > 0,
    ...fileFields(data),
    targetUnit: data.targetUnit !== undefined,
    weights: data.weights !== undefined,
  };
}

/** Those of these fields that say how a file is read, and which of its columns. */
function fileFields(data: DataConfig): Record<string, boolean> {
  return {
    features: data.features !== undefined,
    drop: data.drop.length > 0,
    categorical: data.categorical.length > 0,
    columns: Object.keys(data.columns).length > 0,
    missing: data.missing !== 'error',
    missingTokens: data.missingTokens !== undefined,
    delimiter: data.delimiter !== undefined,
    decimal: data.decimal !== '.',
    thousands: data.thousands !== undefined,
    header: !data.header,
  };
}

function textFields({ context, stride }: DataConfig): Record<string, boolean> {
  return { context: context !== undefined, stride: stride !== undefined };
}

function refuseFields(
  data: DataConfig,
  given: Readonly<Record<string, boolean>>,
  owners: string,
): ConfigFinding[] {
  const source = data.train === undefined ? 'data.file' : 'data.train';
  const text = `is for ${owners}, but ${source} is ${KIND_NAMES[dataKind(data)]}`;
  return Object.entries(given)
    .filter(([, isGiven]) => isGiven)
    .map(([name]) => findAt(['data', name], text, 'remove it'));
}

/** Checks the shares, which only count for splits without a file of their own. */
function checkSplit({ validation, test, split }: DataConfig): ConfigFinding[] {
  const findings: ConfigFinding[] = [];
  if (test !== undefined && split.test !== undefined) {
    findings.push(
      findAt(['data', 'split', 'test'], 'does not go with data.test, which has the samples', 'remove it'),
    );
  }
  const validationShare = validation === undefined ? split.validation : 0;
  const ownTest = split.fold ? 1 / split.fold.of : (split.test ?? DEFAULT_TEST_SHARE);
  const testShare = test === undefined ? ownTest : 0;
  const others = validationShare + testShare;
  const shares = `validation ${validationShare} and test ${testShare}`;
  if (split.train === 0) {
    findings.push(findAt(['data', 'split', 'train'], 'expected number > 0, got 0'));
  } else if (split.train === undefined && others > 1 - SHARE_TOLERANCE) {
    findings.push(findAt(['data', 'split'], `${shares} leave nothing to train on`));
  } else if (split.train !== undefined && split.train + others > 1 + SHARE_TOLERANCE) {
    const sum = Number((split.train + others).toPrecision(12));
    findings.push(findAt(['data', 'split'], `train ${split.train}, ${shares} sum to ${sum}, more than 1`));
  }
  return findings;
}

/** Checks that rows are split by one thing, which their kind of data has. */
function checkSplitKeys(data: DataConfig): ConfigFinding[] {
  const { group, stratify, time } = data.split;
  const given = Object.entries({ stratify, group, time }).filter(([, value]) => value !== undefined);
  const [, second] = given;
  if (second) {
    const text = `does not go with ${given[0]?.[0]}: rows are split by one of them`;
    return [findAt(['data', 'split', second[0]], text, 'remove one')];
  }
  const isTable = dataKind(data) === 'table';
  return given
    .filter(([name]) => !isTable && (name !== 'stratify' || dataKind(data) === 'text'))
    .map(([name]) =>
      findAt(
        ['data', 'split', name],
        `is for tables, but data.train is ${KIND_NAMES[dataKind(data)]}`,
        'remove it',
      ),
    );
}

/** Checks that a fold is the only thing that decides about the test split. */
function checkFold(data: DataConfig): ConfigFinding[] {
  const { test, split } = data;
  const { fold } = split;
  if (!fold) return [];
  const at = (text: string, help: string) => [findAt(['data', 'split', 'fold'], text, help)];
  if (fold.number > fold.of)
    return at(`is ${fold.number} of ${fold.of}`, `number folds from 1 to ${fold.of}`);
  if (test !== undefined) return at('does not go with data.test: each part is the test once', 'remove one');
  const other = (['train', 'test', 'time'] as const).find((name) => split[name] !== undefined);
  if (other !== undefined) return at(`does not go with data.split.${other}`, 'remove one');
  if (dataKind(data) !== 'text') return [];
  return at('is not for texts, whose parts would not be one stretch', 'remove it');
}

function checkColumns(data: DataConfig): ConfigFinding[] {
  const targets = targetColumns(data);
  return [
    ...checkRepeats('target', targets),
    ...checkRepeats('targetTransform', data.targetTransform),
    ...checkRepeats('features', data.features ?? []),
    ...checkRepeats('drop', data.drop),
    ...checkRepeats('categorical', data.categorical),
    ...checkOverlap('features', data.features ?? [], 'target', targets),
    ...checkOverlap('drop', data.drop, 'target', targets),
    ...checkOverlap('categorical', data.categorical, 'target', targets),
    ...checkOverlap('drop', data.drop, 'features', data.features ?? []),
    ...checkOverlap('categorical', data.categorical, 'drop', data.drop),
    ...checkRules(data),
    ...checkWeights(data),
  ];
}

/** Checks that a column has one rule, and is a feature. */
function checkRules(data: DataConfig): ConfigFinding[] {
  const { categorical, columns, drop, weights = [] } = data;
  return Object.entries({
    categorical,
    drop,
    target: targetColumns(data),
    weights: [weights].flat(),
  }).flatMap(([field, names]) =>
    names
      .filter((name) => Object.hasOwn(columns, name))
      .map((name) => findAt(['data', 'columns', name], `${quoteValue(name)} is also in data.${field}`)),
  );
}

/** Checks how cells are read: a text must not stand for two things, nor for nothing. */
function checkCells(data: DataConfig): ConfigFinding[] {
  const { decimal, thousands, missingTokens = [] } = data;
  const findings = checkRepeats('missingTokens', missingTokens);
  if (thousands === decimal) {
    const text = `is ${quoteValue(thousands)}, and so is data.decimal`;
    const help = thousands === '.' ? 'set data.decimal: ","' : 'set one of them to another character';
    findings.push(findAt(['data', 'thousands'], text, help));
  }
  for (const [i, token] of missingTokens.entries()) {
    if (token === token.trim()) continue;
    const text = `${quoteValue(token)} never occurs: cells are read without the spaces around them`;
    findings.push(findAt(['data', 'missingTokens', i], text, `write ${quoteValue(token.trim())}`));
  }
  return [...findings, ...checkMissing(data)];
}

/** Refuses to fill in a target or a sample weight, which would be an invention. */
function checkMissing(data: Pick<DataConfig, 'missing' | 'target' | 'weights'>): ConfigFinding[] {
  const { missing, target, weights } = data;
  if (typeof missing === 'string') return [];
  const kept = new Set([target ?? [], weights ?? []].flat());
  return Object.entries(missing.columns)
    .filter(([name, rule]) => kept.has(name) && (rule === 'mean' || rule === 'category'))
    .map(([name, rule]) => {
      const text = `${rule} does not go with a target or a weight, which is never filled in`;
      return findAt(['data', 'missing', 'columns', name], text, 'set it to drop-row or error');
    });
}

/** Checks that the column of sample weights is used for nothing else. */
function checkWeights(data: DataConfig): ConfigFinding[] {
  const { weights, features = [], drop, categorical } = data;
  if (weights === undefined) return [];
  return Object.entries({ target: targetColumns(data), features, drop, categorical })
    .filter(([, names]) => names.includes(weights))
    .map(([field]) => findAt(['data', 'weights'], `${quoteValue(weights)} is also in data.${field}`));
}

function checkRepeats(field: keyof DataConfig, names: readonly string[]): ConfigFinding[] {
  const firsts = new Map<string, number>();
  return names.flatMap((name, i) => {
    const first = firsts.get(name);
    if (first === undefined) firsts.set(name, i);
    return first === undefined
      ? []
      : [findAt(['data', field, i], `${quoteValue(name)} is also item ${first}`)];
  });
}

function checkOverlap(
  field: keyof DataConfig,
  names: readonly string[],
  otherField: keyof DataConfig,
  others: readonly string[],
): ConfigFinding[] {
  const taken = new Set(others);
  return names.flatMap((name, i) =>
    taken.has(name) ? [findAt(['data', field, i], `${quoteValue(name)} is also in data.${otherField}`)] : [],
  );
}
