// "Did you mean": the candidate a mistyped word, or the name of a file, most likely stands for.
import { distance } from 'fastest-levenshtein';
import { quoteName } from '../errors.ts';

const MAX_DISTANCE = 2;

/**
 * The candidate nearest to `word`: equal but for case, `_` and `-` (`batch_size` for `batchSize`), or at
 * most two edits away. Undefined when nothing is that near.
 */
export function suggest(word: string, candidates: Iterable<string>): string | undefined {
  let nearest: string | undefined;
  let nearestDistance = Math.min(MAX_DISTANCE, word.length - 1) + 1;
  for (const candidate of candidates) {
    const edits = fold(word) === fold(candidate) ? 0 : distance(word, candidate);
    if (edits >= nearestDistance) continue;
    nearest = candidate;
    nearestDistance = edits;
  }
  return nearest;
}

/** The help of an error about an unknown word: `did you mean "epochs"?`; undefined where nothing is near. */
export function didYouMean(word: string, candidates: Iterable<string>): string | undefined {
  const near = suggest(word, candidates);
  return near === undefined ? undefined : `did you mean ${quoteName(near)}?`;
}

function fold(word: string): string {
  return word.toLowerCase().replaceAll(/[_-]/g, '');
}

/** Minimum number of characters per edit: more edits make another name. Swapped letters are two edits. */
const CHARACTERS_PER_EDIT = 2.5;

/**
 * The file that a missing one most likely stands for: with nearly its name and the same extension, or
 * with its name and another extension. Undefined if there is none.
 */
export function suggestFile(missing: string, candidates: readonly string[]): string | undefined {
  const [stem, extension] = splitName(missing);
  const parts = candidates.map((name) => [name, ...splitName(name)] as const);
  const slips = parts.filter(
    ([, other, end]) => end === extension && distance(stem, other) * CHARACTERS_PER_EDIT <= stem.length,
  );
  const near = suggest(
    missing,
    slips.map(([name]) => name),
  );
  return near ?? parts.find(([, other, end]) => fold(other) === fold(stem) && areAlike(end, extension))?.[0];
}

/** Extensions of files that can take each other's place. */
const ALIKE: readonly (readonly string[])[] = [
  ['.yaml', '.yml', '.json'],
  ['.csv', '.tsv', '.tab', '.txt', '.data', '.dat'],
];

function areAlike(...extensions: readonly [string, string]): boolean {
  const [first, second] = extensions.map((extension) => extension.replace(/\.gz$/, ''));
  return (
    first === second ||
    ALIKE.some((kinds) => extensions.every((end) => kinds.includes(end.replace(/\.gz$/, ''))))
  );
}

/** `house` and `.csv.gz`. */
function splitName(name: string): [stem: string, extension: string] {
  const dot = name.lastIndexOf('.');
  const [stem, ext] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ''];
  if (ext !== '.gz') return [stem, ext.toLowerCase()];
  const [inner, end] = splitName(stem);
  return [inner, end + ext];
}
