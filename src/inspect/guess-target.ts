// The column that a table is probably for: by its name, else the last one.
import type { ColumnFacts } from './column-facts.ts';
import { chooseTask } from './choose-training.ts';

/** Names of columns to predict, the likeliest first. */
const TARGET_NAMES = [
  ...['target', 'label', 'class', 'y', 'outcome', 'response', 'output', 'result', 'dependent'],
  ...['species', 'diagnosis', 'survived', 'churn', 'default', 'quality', 'price', 'saleprice', 'medv'],
  ...['value', 'score', 'rating', 'sales', 'income', 'charges', 'mpg', 'weather', 'category', 'type'],
] as const;

/** Names of columns that can be predicted, the likeliest first. */
export function guessTargets(columns: readonly ColumnFacts[]): string[] {
  const usable = columns.filter(isPredictable);
  const rank = ({ name }: ColumnFacts): number => {
    const place = TARGET_NAMES.findIndex((known) => known === name.toLowerCase().replaceAll(/[_ -]/g, ''));
    return place < 0 ? TARGET_NAMES.length : place;
  };
  const last = usable.at(-1);
  return usable
    .toSorted((a, b) => rank(a) - rank(b) || Number(b === last) - Number(a === last))
    .map(({ name }) => name);
}

function isPredictable(facts: ColumnFacts): boolean {
  try {
    chooseTask(facts);
    return true;
  } catch {
    return false;
  }
}
