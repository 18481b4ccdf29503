// Waiting for what a program gives: promises of its callbacks, and rows that come one by one.
import { dataError } from '../src/errors.ts';
import { isSamples, type Samples } from '../src/data/array/arrays.ts';
import type { DataSource } from '../src/config/data-sources.ts';
import { formatCount } from '../src/printable.ts';
import type { Row } from '../src/predict/samples.ts';

/** Rows of a table, by the names of its columns. They must stay as they are until the call has ended. */
export type Rows = Iterable<Row> | AsyncIterable<Row>;

/** The end of a wait, and the receiver of warnings that it takes long. */
export interface Waiting {
  readonly signal?: AbortSignal | undefined;
  readonly warn: (message: string) => unknown;
}

/** Time after which a warning names what is awaited; it may take as long as it likes. */
const PATIENCE_MS = 60_000;
/** Most rows of an iterable, which might have no end. */
const MAX_ROWS = 10_000_000;

/** Waits for a promise that `name`, which is the user's, returned; an abort ends the wait. */
export async function settled<Answer>(
  answer: Answer,
  name: string,
  { signal, warn }: Waiting,
): Promise<Awaited<Answer>> {
  if (typeof answer !== 'object' || answer === null || !('then' in answer)) return answer as Awaited<Answer>;
  const patience = setTimeout(() => {
    warn(`the promise of ${name} has not settled in ${PATIENCE_MS / 1000} s; the training waits for it`);
  }, PATIENCE_MS);
  const wait = new AbortController();
  try {
    return await new Promise<Awaited<Answer>>((resolve, reject) => {
      const onAbort = (): void => reject(signal?.reason as Error);
      if (signal?.aborted) onAbort();
      signal?.addEventListener('abort', onAbort, { signal: wait.signal });
      Promise.resolve(answer).then(resolve, reject);
    });
  } finally {
    wait.abort();
    clearTimeout(patience);
  }
}

/** Tells rows, even invalid ones, from other sources of data: files are a text or a list of texts. */
export function isRows(source: unknown): source is Rows {
  if (typeof source !== 'object' || source === null || isSamples(source)) return false;
  if (Array.isArray(source)) return typeof source[0] === 'object';
  return Symbol.iterator in source || Symbol.asyncIterator in source;
}

/**
 * Takes all rows out of an iterable; anything else stays as it is. `name` is what messages call it.
 * @throws LockstepError for no rows or more than may be, and what the iterable throws
 */
export async function gather(
  source: DataSource | Samples | Rows | undefined,
  name: string,
  waiting: Waiting,
): Promise<DataSource | Samples | readonly Row[] | undefined> {
  if (!isRows(source) || Array.isArray(source)) return source as DataSource | Samples | readonly Row[];
  const wait = { isOver: false };
  try {
    return await settled(readAll(source, name, wait), name, waiting);
  } finally {
    wait.isOver = true;
  }
}

/** Reads rows until nobody waits for them any more; leaving the loop closes their source. */
async function readAll(source: Rows, name: string, wait: { readonly isOver: boolean }): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const row of source) {
    if (wait.isOver) break;
    rows.push(row);
    if (rows.length <= MAX_ROWS) continue;
    const message = `${name} gives more than ${formatCount(MAX_ROWS)} rows`;
    throw dataError('E_DATA_TOO_LARGE', message, { help: 'write them to a file, and name that' });
  }
  if (rows.length === 0) throw dataError('E_DATA_NO_ROWS', `${name} gives no rows`);
  return rows;
}
