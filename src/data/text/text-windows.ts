// A text as samples: divided into training, validation and test, each cut into windows of `context` bytes,
// which have the byte after each of their bytes as labels.
//
//   text      F i r s t   C i t i z e n :        context 4: three windows, and a byte that is left out
//   window 0  F i r s         labels i r s t
//   window 1          t   C i     labels   C i t
//   window 2                  t i z e     labels i z e n
//
// The parts are neighbouring stretches of the text, and their windows are not drawn at random: what a
// window says can be told from its neighbours, and a test window would lie among those trained on. Parts
// meet between windows. The byte at the cut is the last that the earlier part predicts and the first that
// the later one starts from, so training never saw a byte that validation or test predict.
import { assignCounts, listFiles, type SplitFiles } from '../dataset/load-request.ts';
import type { SplitIndices } from '../dataset/packed-dataset.ts';
import { requireBatch, splitRows, type SplitOptions } from '../dataset/split.ts';

/** The word for a row of a text in messages. */
export const WINDOW = 'window';

/** The text of one split, and how it is cut. */
export interface Stretch {
  readonly bytes: Uint8Array;
  /** Distance from the start of a window to that of the next. */
  readonly stride: number;
  readonly numWindows: number;
}

/** The stretches of the splits; one without windows is empty. */
export type Stretches = Readonly<Record<keyof SplitIndices, Stretch>>;

/** Everything that the division of texts depends on. */
export interface WindowOptions extends Omit<SplitOptions, 'shuffle' | 'noun'> {
  readonly context: number;
  /** Stride of training windows; those of validation and test lie end to end, so that a byte counts once. */
  readonly stride: number;
}

/**
 * Gives each split its text: its own, or its share of the training text, counted in windows that lie
 * end to end. After the last window of a text, fewer bytes than a context may be left out.
 *
 * @throws LockstepError if a share above 0 gives no window, or a batch does not fit the training
 * windows.
 */
export function divideText(texts: SplitFiles<Uint8Array>, options: WindowOptions): Stretches {
  const { context, stride, split, seed, batchSize } = options;
  const counts = listFiles(texts).map(({ length }) => countWindows(length, context, context));
  // How many windows training has depends on the stride, which splitRows does not know.
  const windows = splitRows(assignCounts(texts, counts), {
    split,
    seed,
    shuffle: false,
    batchSize: 0,
    noun: WINDOW,
  });
  const cut = (numbers: Uint32Array): Uint8Array => {
    const [first = 0] = numbers;
    const end = numbers.length === 0 ? 0 : (first + numbers.length) * context + 1;
    return texts.train.subarray(first * context, end);
  };
  const train = stretchOf(cut(windows.train), context, stride);
  requireBatch(train.numWindows, counts[0] ?? 0, { batchSize, noun: WINDOW });
  return {
    train,
    validation: stretchOf(texts.validation ?? cut(windows.validation), context, context),
    test: stretchOf(texts.test ?? cut(windows.test), context, context),
  };
}

function stretchOf(bytes: Uint8Array, context: number, stride: number): Stretch {
  return { bytes, stride, numWindows: countWindows(bytes.length, context, stride) };
}

/** Counts windows; each needs the byte after its last one too. */
function countWindows(numBytes: number, context: number, stride: number): number {
  return Math.max(0, Math.floor((numBytes - 1 - context) / stride) + 1);
}

/**
 * Writes a stretch's windows: `features` [numWindows, context], and as `labels` the same bytes shifted
 * by one.
 */
export function writeWindows(
  { bytes, stride, numWindows }: Stretch,
  context: number,
  { features, labels }: { readonly features: Uint8Array; readonly labels: Uint32Array },
): void {
  for (let window = 0; window < numWindows; window++) {
    const start = window * stride;
    features.set(bytes.subarray(start, start + context), window * context);
    labels.set(bytes.subarray(start + 1, start + context + 1), window * context);
  }
}
