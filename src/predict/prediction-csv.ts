// Predictions as CSV (RFC 4180, with plain newlines): a header, then one line per row.
import type { ModelDescription } from './model-files.ts';
import type { Prediction } from './predictions.ts';

/** Number of lines in a block. */
const LINES_PER_BLOCK = 1024;

/**
 * Blocks of lines: the values under the names of the targets, or `class` and the probability of each
 * class. Numbers are the shortest texts that read back as the same number.
 */
export function* formatPredictions(
  predictions: Iterable<Prediction>,
  { transforms }: Pick<ModelDescription, 'transforms'>,
): Generator<string, void, undefined> {
  const { target } = transforms;
  const columns =
    target.kind === 'labels'
      ? ['class', ...target.classNames.map((name) => `probability_${name}`)]
      : target.columns.map(({ column }) => column);
  let lines = [formatLine(columns)];
  for (const prediction of predictions) {
    lines.push(formatLine(cellsOf(prediction, columns)));
    if (lines.length < LINES_PER_BLOCK) continue;
    yield lines.join('');
    lines = [];
  }
  yield lines.join('');
}

/** The cells of a prediction, looked up by name: an object lists names that look like integers first. */
function cellsOf(prediction: Prediction, columns: readonly string[]): (string | number)[] {
  if (prediction.kind === 'class') return [prediction.class, ...prediction.probabilities];
  return columns.map((name) => prediction.values[name] as number);
}

function formatLine(cells: readonly (string | number)[]): string {
  return `${cells.map((cell) => quoteCell(String(cell))).join(',')}\n`;
}

function quoteCell(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
