// Texts to packed rows: each row is a window of bytes, with the next byte to predict at every position.
// Bytes are the whole vocabulary, so there is no tokenizer to fit and none to lack a character: UTF-8 text
// is bytes too.
import { NUM_BYTE_VALUES, type TextFile } from '../../config/data-sources.ts';
import { indexNames } from '../dataset/class-labels.ts';
import { countOf, dataError, formatCount } from '../dataset/data-error.ts';
import type { PackedRows, PackRequest, SplitFiles } from '../dataset/load-request.ts';
import {
  blobByteLength,
  MAX_BLOB_BYTES,
  refuseTooLarge,
  targetsByteOffset,
  type RowLayout,
} from '../dataset/packed-dataset.ts';
import { displayPath, emptyFile, readBytes } from '../dataset/source-file.ts';
import { range } from '../dataset/split.ts';
import { nameFeatures, type FittedTransforms } from '../dataset/transforms.ts';
import { divideText, writeWindows, type Stretches } from './text-windows.ts';

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
