// "Did you mean": the candidate a mistyped word most likely stands for.
import { distance } from 'fastest-levenshtein';

const MAX_DISTANCE = 2;

/**
 * The candidate nearest to `word`: equal but for case, `_` and `-` (`batch_size` for `batchSize`), or at most two
 * edits away. Undefined when nothing is that near.
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

function fold(word: string): string {
  return word.toLowerCase().replaceAll(/[_-]/g, '');
}
