// Class labels, of tables and images alike: their range, and which classes are missing where.
import type { SplitIndices } from './packed-dataset.ts';
import { listNames, quoteName, dataError } from '../../errors.ts';
import { formatCount } from '../../printable.ts';

/** Placeholder for a label that counts nothing, until `foldSampleWeights` gives it class 0 and weight 0. */
export const IGNORED_LABEL = 0xffffffff;

/** Maximum number of classes. */
export const MAX_CLASSES = 65_536;

/** `0`, `1`, ...: the names of classes that are known by index only. */
export function indexNames(classes: number): string[] {
  return Array.from({ length: classes }, (_, index) => String(index));
}

/** The lowest and the highest label. */
export interface LabelRange {
  readonly lowest: number;
  readonly highest: number;
}

/** The range of some labels; 0 to 0 if there are none. */
export function rangeOf(labels: Iterable<number>): LabelRange {
  let [lowest, highest] = [Number.POSITIVE_INFINITY, 0];
  for (const label of labels) {
    if (label < lowest) lowest = label;
    if (label > highest) highest = label;
  }
  return { lowest: Math.min(lowest, highest), highest };
}

/** `label 10; valid 0..9 (classes = 10)`, and that labels were numbered from 1 if so. */
export function describeBadLabel(label: number, classes: number | undefined, range: LabelRange): string {
  const count =
    classes === undefined ? `at most ${formatCount(MAX_CLASSES)} classes` : `classes = ${classes}`;
  const found = `label ${label}; valid 0..${(classes ?? MAX_CLASSES) - 1} (${count})`;
  return isFromOne(classes, range) ? `${found}; the labels run from 1 to ${classes}` : found;
}

/** Tells whether the labels run from 1 to the number of classes. */
export function isFromOne(classes: number | undefined, { lowest, highest }: LabelRange): classes is number {
  return lowest === 1 && highest === classes;
}

/** Help that offers two ways to train; the second has a class that never occurs. */
export function helpForLabelsFromOne(numClasses: number): string {
  return (
    'number the classes from 0, or have one class more, which never occurs: ' +
    `set data.classes: ${numClasses}, and let the last layer give ${numClasses}`
  );
}

/**
 * Checks that training has at least two classes; warns about classes that only the other splits have,
 * about those that no row has, and about a split with one class.
 *
 * @throws LockstepError if there is only one class to learn.
 */
export function checkClasses(
  labels: Uint32Array,
  classNames: readonly string[],
  { splits, warn }: { readonly splits: SplitIndices; readonly warn: (message: string) => void },
): void {
  const trained = classesIn(labels, splits.train);
  if (trained.size === 1) {
    const [only] = trained;
    const message = `every training row is class ${quoteName(classNames[only ?? 0] as string)}; classification needs at least two`;
    throw dataError('E_DATA_ONE_CLASS', message);
  }
  for (const split of ['validation', 'test'] as const) {
    const untrained = [...classesIn(labels, splits[split])].filter((label) => !trained.has(label));
    const [only, ...others] = classesIn(labels, splits[split]);
    if (only !== undefined && others.length === 0) {
      const missing = classNames.length === 2 ? ', and there is no rocAuc' : '';
      warn(
        `every row of ${split} is class ${quoteName(classNames[only] as string)}: its metrics say little${missing}`,
      );
    }
    if (untrained.length === 0) continue;
    const names = untrained.sort((a, b) => a - b).map((label) => classNames[label] as string);
    const [noun, verb] = names.length === 1 ? ['class', 'appears'] : ['classes', 'appear'];
    warn(`${noun} ${listNames(names)} ${verb} in ${split}, never in train`);
  }
  warnAboutGhosts(labels, classNames, warn);
}

/**
 * Warns about classes that no row has: numbers left out, labels from 1, or a single label that is far
 * too high.
 */
function warnAboutGhosts(
  labels: Uint32Array,
  classNames: readonly string[],
  warn: (message: string) => void,
): void {
  const occurring = new Set(labels);
  occurring.delete(IGNORED_LABEL);
  const ghosts = classNames.filter((_, label) => !occurring.has(label));
  if (ghosts.length === 0) return;
  const { lowest, highest } = rangeOf(occurring);
  if (lowest > 0 && ghosts.length === lowest) {
    warn(
      `class ${listNames(ghosts)} never occurs: the labels run from ${lowest} to ${highest}; ` +
        'numbered from 0 they need no such outputs',
    );
    return;
  }
  const [noun, verb] = ghosts.length === 1 ? ['class', 'occurs'] : ['classes', 'occur'];
  warn(`${noun} ${listNames(ghosts)} of ${formatCount(classNames.length)} never ${verb} in the data`);
}

function classesIn(labels: Uint32Array, rows: Uint32Array): Set<number> {
  const seen = new Set<number>();
  for (const row of rows) seen.add(labels[row] as number);
  seen.delete(IGNORED_LABEL);
  return seen;
}
