// Texts to packed rows: each row is a window of bytes, with the next byte to predict at every position.
// Bytes are the whole vocabulary, so there is no tokenizer to fit and none to lack a character: UTF-8 text
// is bytes too.
import { NUM_BYTE_VALUES, type TextFile } from '../../config/data-sources.ts';
import { indexNames } from '../dataset/class-labels.ts';
import { dataError } from '../../errors.ts';
import { assignCounts, listFiles } from '../dataset/load-request.ts';
import type { PackedRows, PackRequest, SplitFiles } from '../dataset/load-request.ts';
import {
  blobByteLength,
  MAX_BLOB_BYTES,
  refuseTooLarge,
  targetsByteOffset,
  type RowLayout,
  type SplitIndices,
} from '../dataset/packed-dataset.ts';
import { displayPath, emptyFile, readBytes } from '../dataset/source-file.ts';
import { range, requireBatch, splitRows, type SplitOptions } from '../dataset/split.ts';
import { nameFeatures, type FittedTransforms } from '../dataset/transforms.ts';
import { countOf, formatCount } from '../../printable.ts';

/** The word for a row of a text in messages. */
export const WINDOW = 'window';
const TARGET_NAME = 'next byte';
/** Maximum size of a text: a byte of it takes one byte as a feature and four as a label. */
const MAX_TEXT_BYTES = Math.floor(MAX_BLOB_BYTES / 5);
const MAX_LISTED_VALUES = 10;

/** Reads the texts and packs their windows: those of training, then of validation, then of the test. */
export async function packText(files: SplitFiles<TextFile>, request: PackRequest): Promise<PackedRows> {
  const { config, fitted, warn } = request;
  const { context, stride = context } = config.data;
  if (context === undefined || stride === undefined)
    throw new Error('a text without context was not refused');
  const isSaved = fitted !== undefined;
  const texts = await readTexts(files, { context, isSaved });
  const stretches = divideText(texts, { ...config, ...config.data, context, stride });
  if (!fitted) checkByteValues(stretches, warn);
  const classNames = indexNames(NUM_BYTE_VALUES);
  const transforms: FittedTransforms = {
    features: [{ kind: 'bytes', context }],
    target: { kind: 'labels', column: TARGET_NAME, cells: 'index', classNames },
  };
  return {
    ...packWindows(stretches, { context, isSaved }),
    transforms,
    featureNames: nameFeatures(transforms.features),
    targetNames: [TARGET_NAME],
    classNames,
    sampleWeights: undefined,
    targetValues: [],
  };
}

/** The length of samples, and whether it is that of a trained model, which cannot change. */
interface Windows {
  readonly context: number;
  readonly isSaved: boolean;
}

async function readTexts(files: SplitFiles<TextFile>, windows: Windows): Promise<SplitFiles<Uint8Array>> {
  const read = (file: TextFile | undefined) => file && readText(file.text, windows);
  return {
    train: await readText(files.train.text, windows),
    validation: await read(files.validation),
    test: await read(files.test),
  };
}

/**
 * Reads a text.
 *
 * @throws LockstepError if it is shorter than a window, or could not be packed
 */
async function readText(path: string, windows: Windows): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let numBytes = 0;
  for await (const chunk of readBytes(path)) {
    chunks.push(chunk);
    numBytes += chunk.length;
    if (numBytes > MAX_TEXT_BYTES) throw textTooLarge(path);
  }
  if (numBytes === 0) throw emptyFile(path);
  if (numBytes <= windows.context) throw textTooShort(path, numBytes, windows);
  return Buffer.concat(chunks);
}

function packWindows(
  stretches: Stretches,
  { context, isSaved }: Windows,
): Pick<PackedRows, 'layout' | 'blob' | 'splits'> {
  const { train, validation, test } = stretches;
  const firsts = [0, train.numWindows, train.numWindows + validation.numWindows] as const;
  const layout = layOut(firsts[2] + test.numWindows, context);
  refuseTooLarge(layout, isSaved ? 'use a shorter text' : 'raise data.stride, or use a shorter text');
  const blob = new Uint8Array(blobByteLength(layout));
  const labels = new Uint32Array(blob.buffer, targetsByteOffset(layout));
  for (const [index, stretch] of [train, validation, test].entries()) {
    const from = (firsts[index] as number) * context;
    writeWindows(stretch, context, { features: blob.subarray(from), labels: labels.subarray(from) });
  }
  const splits = {
    train: range(firsts[0], train.numWindows),
    validation: range(firsts[1], validation.numWindows),
    test: range(firsts[2], test.numWindows),
  };
  return { layout, blob, splits };
}

function layOut(numRows: number, context: number): RowLayout {
  return {
    numRows,
    featureShape: [context],
    featureType: 'u8',
    featureScale: 1,
    targetKind: 'labels',
    targetWidth: context,
    numClasses: NUM_BYTE_VALUES,
    hasSampleWeights: false,
  };
}

/** Refuses a text of one byte value, and warns about values that training could not learn. */
function checkByteValues({ train, ...measured }: Stretches, warn: (message: string) => void): void {
  const trained = valuesIn(train.bytes);
  const [only] = trained;
  if (trained.length === 1 && only !== undefined) {
    const message = `every byte of the training text is ${nameByte(only)}; there is nothing to learn`;
    throw dataError('E_DATA_ONE_CLASS', message);
  }
  for (const [split, { bytes }] of Object.entries(measured)) {
    const unseen = valuesIn(bytes).filter((value) => !trained.includes(value));
    if (unseen.length === 0) continue;
    const listed = unseen.slice(0, MAX_LISTED_VALUES).map(nameByte).join(', ');
    const more = unseen.length > MAX_LISTED_VALUES ? ', …' : '';
    warn(`${countOf(unseen.length, 'byte value')} of ${split} never in train: ${listed}${more}`);
  }
}

/** The distinct bytes, in ascending order. */
function valuesIn(bytes: Uint8Array): number[] {
  const isPresent = new Uint8Array(NUM_BYTE_VALUES);
  for (const byte of bytes) isPresent[byte] = 1;
  return [...isPresent.keys()].filter((value) => isPresent[value] === 1);
}

function nameByte(value: number): string {
  return `0x${value.toString(16).padStart(2, '0').toUpperCase()}`;
}

function textTooShort(path: string, numBytes: number, { context, isSaved }: Windows) {
  const needed = `a sample takes ${formatCount(context + 1)} (${isSaved ? "the model's" : 'data.context'} ${context}, and the byte after them)`;
  const message = `${displayPath(path)} holds ${countOf(numBytes, 'byte')}; ${needed}`;
  return dataError('E_DATA_TEXT', message, {
    help: isSaved ? 'use a longer text' : 'lower data.context, or use a longer text',
  });
}

function textTooLarge(path: string) {
  const limit = `${formatCount(MAX_TEXT_BYTES)} bytes of text, which packed take ${MAX_BLOB_BYTES / 2 ** 30} GiB`;
  const message = `${displayPath(path)} holds more than ${limit}`;
  return dataError('E_DATA_TOO_LARGE', message, { help: 'use a part of it' });
}

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

/** The text of one split, and how it is cut. */
interface Stretch {
  readonly bytes: Uint8Array;
  /** Distance from the start of a window to that of the next. */
  readonly stride: number;
  readonly numWindows: number;
}

/** The stretches of the splits; one without windows is empty. */
type Stretches = Readonly<Record<keyof SplitIndices, Stretch>>;

/** Everything that the division of texts depends on. */
interface WindowOptions extends Omit<SplitOptions, 'shuffle' | 'noun'> {
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
function writeWindows(
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
