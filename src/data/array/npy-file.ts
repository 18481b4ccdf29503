// Arrays in NumPy's files: .npy, which holds one, and .npz, an archive of them by name.
import { unzipSync, zipSync } from 'fflate';
import { dump, parse } from 'npyjs';
import type { NpyArray } from 'npyjs';
import type { NpySource } from '../../config/data-sources.ts';
import { dataError, listNames, quoteName } from '../../errors.ts';
import { readRegularFile } from '../../regular-file.ts';
import { countOf, formatCount } from '../../printable.ts';
import { formatShape, sizeOf, type Shape } from '../../shape.ts';
import { displayPath, unreadableFile } from '../dataset/source-file.ts';
import { takeSamples, type ArraySet } from './arrays.ts';
import type { Numbers } from './numbers.ts';

/** Bytes of a file; packed, samples take at most half of it. */
const MAX_BYTES = 4 * 2 ** 30 - 1;

/** An array, and what messages call it. */
interface NamedArray {
  readonly name: string;
  readonly values: Numbers;
  readonly shape: readonly number[];
}

/**
 * Reads samples; `name` is what messages call them.
 *
 * @throws LockstepError for files and arrays that cannot be read, and for what `takeSamples` refuses
 */
export async function readNpySamples(source: NpySource, name: string): Promise<ArraySet> {
  const { npz } = source;
  const { features: x, targets: y, weights: w } = source;
  const archive = npz === undefined ? undefined : await readArchive(npz, [x, y, w]);
  const read = (part: string): Promise<NamedArray> | NamedArray =>
    archive && npz !== undefined ? takeMember(archive, part, npz) : readNpy(part);
  const features = await read(source.features);
  const targets = await read(source.targets);
  const weights = source.weights === undefined ? undefined : await read(source.weights);
  const [numRows = 0] = features.shape;
  for (const other of [targets, weights]) {
    if (!other || other.shape[0] === numRows) continue;
    const message = `${other.name} has ${formatShape(other.shape)}, ${features.name} ${formatShape(features.shape)}`;
    throw dataError('E_DATA_SHAPE', `${message}: they differ in the number of samples`);
  }
  // A list of numbers is a list of samples of one.
  const shape = features.shape.length === 1 ? [numRows, 1] : features.shape;
  const samples = { features: features.values, shape, targets: targets.values };
  const targetShape = targets.shape.length === 1 ? [1] : targets.shape.slice(1);
  return takeSamples(
    weights ? { ...samples, weights: weights.values as ArrayLike<number> } : samples,
    name,
    targetShape,
  );
}

/** The names of the arrays in an archive. @throws LockstepError if it cannot be read */
export async function listArrays(npz: string): Promise<string[]> {
  return [...(await readArchive(npz, [])).keys()];
}

/** Reads a file of one array. */
export async function readNpy(path: string): Promise<NamedArray> {
  return toArray(await readBytes(path), displayPath(path));
}

async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return await readRegularFile(path, MAX_BYTES);
  } catch (error) {
    throw await unreadableFile(path, error);
  }
}

/** An archive's arrays by name, of which only those in `wanted` are expanded; the others are undefined. */
type Archive = ReadonlyMap<string, Uint8Array | undefined>;

async function readArchive(path: string, wanted: readonly (string | undefined)[]): Promise<Archive> {
  const bytes = await readBytes(path);
  const arrays = new Map<string, Uint8Array | undefined>();
  try {
    const filter = ({ name }: { readonly name: string }): boolean => {
      arrays.set(arrayName(name), undefined);
      return wanted.includes(arrayName(name));
    };
    for (const [name, member] of Object.entries(unzipSync(bytes, { filter })))
      arrays.set(arrayName(name), member);
    return arrays;
  } catch (error) {
    const message = `${displayPath(path)} is no .npz archive: ${(error as Error).message}`;
    throw dataError('E_DATA_FORMAT', message, { help: 'write it with numpy.savez' });
  }
}

/** An array to write: numbers or texts. */
export interface ArrayToWrite {
  readonly values: Int32Array | Float64Array | readonly string[];
  readonly shape: Shape;
}

/**
 * Encodes arrays by name as an .npz archive, uncompressed.
 *
 * @throws LockstepError where it would be larger than what is read
 */
export function encodeNpz(arrays: Readonly<Record<string, ArrayToWrite>>): Uint8Array {
  const files = Object.entries(arrays).map(([name, { values, shape }]) => {
    const list = ArrayBuffer.isView(values) ? values : [...values];
    return [`${name}.npy`, new Uint8Array(dump(list, [...shape]))] as const;
  });
  const byteLength = files.reduce((sum, [, bytes]) => sum + bytes.byteLength, 0);
  if (byteLength > MAX_BYTES) {
    const message = `the arrays take ${formatCount(byteLength)} bytes, an .npz archive holds ${formatCount(MAX_BYTES)}`;
    throw dataError('E_DATA_TOO_LARGE', message, { help: 'write them in parts, or as JSON Lines' });
  }
  // The same arrays are the same bytes at any time.
  return zipSync(Object.fromEntries(files), { level: 0, mtime: new Date(1980, 0, 1) });
}

function arrayName(file: string): string {
  return file.replace(/\.npy$/, '');
}

function takeMember(archive: Archive, member: string, path: string): NamedArray {
  const bytes = archive.get(member);
  if (bytes) return toArray(bytes, `${displayPath(path)} [${member}]`);
  const message = `${displayPath(path)} has no array ${quoteName(member)}; it has ${listNames([...archive.keys()])}`;
  throw dataError('E_DATA_ARRAYS', message);
}

function toArray(bytes: Uint8Array, name: string): NamedArray {
  const array = parseOrRefuse(bytes, name);
  const { data, dtype, fortranOrder, shape } = array;
  if (fortranOrder && shape.length > 1) {
    throw dataError('E_DATA_ARRAYS', `${name} is stored by columns`, {
      help: 'write numpy.ascontiguousarray(...)',
    });
  }
  if (shape.length === 0) throw dataError('E_DATA_ARRAYS', `${name} is a single value, not an array`);
  if (dtype.startsWith('U') || dtype.startsWith('c'))
    throw dataError('E_DATA_ARRAYS', `${name} holds ${dtype.startsWith('U') ? 'texts' : 'complex numbers'}`);
  const values = toNumbers(array, data);
  if (values.length === sizeOf(shape)) return { name, values, shape };
  const message = `${name} holds ${countOf(values.length, 'value')}; its header says ${formatShape(shape)}`;
  throw dataError('E_DATA_ARRAYS', message);
}

/** Bytes stay bytes, which are scaled; truth values and whole numbers of 64 bits become numbers. */
function toNumbers({ dtype }: NpyArray, data: ArrayBufferView): Numbers {
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return Float64Array.from(data, Number);
  if (dtype === 'b1') return Float32Array.from(data as Uint8Array);
  return data as unknown as Numbers;
}

function parseOrRefuse(bytes: Uint8Array, name: string): NpyArray {
  try {
    // The library reads from the start of a buffer.
    return parse(bytes.slice().buffer);
  } catch (error) {
    const message = `${name} is no .npy file that can be read: ${(error as Error).message}`;
    throw dataError('E_DATA_FORMAT', message, {
      help: 'write it with numpy.save, of plain numbers such as x.astype("<f4")',
    });
  }
}
