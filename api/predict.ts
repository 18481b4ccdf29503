/**
 * A trained model in a web page, or wherever else there is no Node.js. The build makes this and all that it
 * imports one file; docs/using-a-model.md shows how to use it.
 * @module lockstep/predict
 */
import '../src/no-eval.ts';
import { z } from 'zod';
import { checkOptions, functionOption } from '../src/config/options.ts';
import { LockstepError, quoteValue } from '../src/errors.ts';
import { noRelaxedSimd, requireSimd, type Numerics } from '../src/kernels/kernels.ts';
import { formatBytes } from '../src/memory.ts';
import {
  decodeModel,
  DESCRIPTION_FILE,
  MAX_DESCRIPTION_BYTES,
  modelError,
  parseDescription,
  WEIGHTS_FILE,
} from '../src/predict/model-files.ts';
import { TrainedModel } from '../src/predict/trained-model.ts';
import { MAX_SAFETENSORS_BYTES } from '../src/safetensors.ts';

export { LockstepError } from '../src/errors.ts';
export type { TrainedModel } from '../src/predict/trained-model.ts';
export type { Cell, Pixels, PredictInput, Row } from '../src/predict/samples.ts';
export type {
  ClassPrediction,
  PositionsPrediction,
  Prediction,
  ValuesPrediction,
} from '../src/predict/predictions.ts';

/** SHA-256 of the builds of the kernels that this file goes with; the build puts them in. */
declare const KERNELS_SHA256: Readonly<Record<Numerics, string>>;

/** The files of a model. A file that `lockstep export --format safetensors` has written needs no other. */
export interface ModelFiles {
  /** The weights. */
  readonly 'model.safetensors': Uint8Array;
  /** The description of the model, unless the weights have it with them. */
  readonly 'config.json'?: Uint8Array | undefined;
}

/** Options of loading a model. */
export interface LoadModelOptions {
  /** The kernels' file, as an address, its bytes or compiled; default: the one beside this module. */
  readonly kernels?: string | URL | Uint8Array | WebAssembly.Module | undefined;
  /** Ends the loading, which then throws the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** Called with warnings about texts that training never saw; default: `console.warn`. */
  readonly warn?: ((message: string) => void) | undefined;
}

const isAddress = (value: unknown): value is string | URL =>
  typeof value === 'string' || value instanceof URL;
const isBytes = (value: unknown): value is Uint8Array => value instanceof Uint8Array;

const optionsSchema = z.strictObject({
  kernels: z
    .custom((value) => isAddress(value) || isBytes(value) || value instanceof WebAssembly.Module)
    .optional()
    .describe('an address, a Uint8Array or a WebAssembly.Module'),
  signal: z
    .custom((value) => value instanceof AbortSignal)
    .optional()
    .describe('an AbortSignal'),
  warn: functionOption,
} satisfies Record<keyof LoadModelOptions, z.ZodType>);

const files = z.object({
  [WEIGHTS_FILE]: z.custom<Uint8Array>(isBytes),
  [DESCRIPTION_FILE]: z.custom<Uint8Array>(isBytes).optional(),
});

const argumentsSchema = z.strictObject({
  source: z
    .union([z.custom<string | URL>(isAddress), files])
    .describe(`an address, or { '${WEIGHTS_FILE}': bytes, '${DESCRIPTION_FILE}': bytes }`),
});

/** The kernels' file; far more than either build has. */
const MAX_KERNEL_BYTES = 2 ** 24;
/** Longest wait for the next bytes of an answer. */
const STALL_MS = 30_000;
const HOST = 'this browser';

/**
 * Loads a model: from the address of its folder or of a file ending in `.safetensors`, or from its files'
 * bytes.
 * @throws LockstepError for a model that is missing, damaged or not from Lockstep
 */
export async function loadModel(
  source: string | URL | ModelFiles,
  options: LoadModelOptions = {},
): Promise<TrainedModel> {
  checkOptions(argumentsSchema, { source }, 'arguments of loadModel');
  checkOptions(optionsSchema, options, 'options of loadModel');
  const { kernels, signal, warn = (message) => console.warn(message) } = options;
  requireSimd(HOST, 'use Chrome 110, Firefox 115, Safari 16.4 or newer');
  const saved = await (isAddress(source) ? fetchModel(addressOf(source), signal) : decodeFiles(source));
  const module = await loadKernels(kernels, saved.description.numerics, signal);
  return TrainedModel.create(saved, { module, width: 128 }, warn);
}

function decodeFiles(given: ModelFiles): ReturnType<typeof decodeModel> {
  const text = given[DESCRIPTION_FILE];
  const file = DESCRIPTION_FILE;
  const described = text && { file, description: parseDescription(text, file) };
  return decodeModel({ directory: '', file: WEIGHTS_FILE, bytes: given[WEIGHTS_FILE], described, sha256 });
}

async function fetchModel(address: URL, signal: AbortSignal | undefined): ReturnType<typeof decodeModel> {
  const fail = (message: string): LockstepError =>
    modelError(
      'E_MODEL_NOT_FOUND',
      message,
      'name the folder with config.json and model.safetensors; another server must allow this page (CORS)',
    );
  const isFile = address.pathname.endsWith('.safetensors');
  const placeOf = (name: string): URL => {
    const url = new URL(address);
    url.pathname += `${url.pathname.endsWith('/') ? '' : '/'}${name}`;
    return url;
  };
  let described;
  if (!isFile) {
    const url = placeOf(DESCRIPTION_FILE);
    const text = await fetchBytes(url, { maxBytes: MAX_DESCRIPTION_BYTES, signal, fail });
    described = { file: url.href, description: parseDescription(text, url.href) };
  }
  const url = isFile ? address : placeOf(WEIGHTS_FILE);
  const bytes = await fetchBytes(url, { maxBytes: MAX_SAFETENSORS_BYTES, signal, fail });
  return decodeModel({ directory: address.href, file: url.href, bytes, described, sha256 });
}

/** An address in a page may be relative to it. */
function addressOf(source: string | URL): URL {
  try {
    return new URL(source, globalThis.document?.baseURI ?? globalThis.location?.href);
  } catch {
    throw modelError('E_MODEL_NOT_FOUND', `${quoteValue(String(source))} is no address`);
  }
}

interface FetchRequest {
  readonly maxBytes: number;
  readonly signal: AbortSignal | undefined;
  /** Makes an error of a message. */
  readonly fail: (message: string) => LockstepError;
}

/** @throws LockstepError where the file does not come; the reason of the signal where that ends it */
async function fetchBytes(
  url: URL,
  { maxBytes, signal, fail }: FetchRequest,
): Promise<Uint8Array<ArrayBuffer>> {
  signal?.throwIfAborted();
  const stop = new AbortController();
  const forward = (): void => stop.abort(signal?.reason);
  signal?.addEventListener('abort', forward);
  const refuse = (why: string): LockstepError => fail(`cannot fetch ${url.href}: ${why}`);
  const stalled = refuse(`no bytes for ${STALL_MS / 1000} seconds`);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const awaitBytes = <Result>(promise: Promise<Result>): Promise<Result> => {
    clearTimeout(timer);
    timer = setTimeout(() => stop.abort(stalled), STALL_MS);
    return promise;
  };
  try {
    const response = await awaitBytes(fetch(url, { signal: stop.signal }));
    if (!response.ok || !response.body)
      throw refuse(`the server says ${response.status} ${response.statusText}`);
    const parts: Uint8Array<ArrayBuffer>[] = [];
    const reader = response.body.getReader();
    let numBytes = 0;
    for (let part = await awaitBytes(reader.read()); part.value; part = await awaitBytes(reader.read())) {
      parts.push(part.value);
      numBytes += part.value.length;
      if (numBytes > maxBytes) throw refuse(`it has more than ${formatBytes(maxBytes)}`);
    }
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  } catch (error) {
    if (signal?.aborted || error instanceof LockstepError) throw error;
    throw refuse((error as Error).message);
  } finally {
    clearTimeout(timer);
    stop.abort();
    signal?.removeEventListener('abort', forward);
  }
}

async function loadKernels(
  given: LoadModelOptions['kernels'],
  numerics: Numerics,
  signal: AbortSignal | undefined,
): Promise<WebAssembly.Module> {
  if (given instanceof WebAssembly.Module) return given;
  const fail = (message: string): LockstepError =>
    new LockstepError({
      category: 'failure',
      code: 'E_KERNELS',
      message,
      help: `take kernels-${numerics}.wasm from the package that this module is from; the option kernels names it`,
    });
  const bytes = isBytes(given)
    ? new Uint8Array(given)
    : await fetchBytes(given === undefined ? kernelsBeside(numerics) : addressOf(given), {
        maxBytes: MAX_KERNEL_BYTES,
        signal,
        fail,
      });
  if ((await sha256(bytes)) !== KERNELS_SHA256[numerics])
    throw fail(`the kernels are not the ${numerics} ones of this version`);
  if (numerics === 'fused' && !WebAssembly.validate(bytes))
    throw noRelaxedSimd(HOST, 'train with numerics: strict, or use Chrome 114 or newer');
  return WebAssembly.compile(bytes);
}

/** Written out, because bundlers look for such calls, and copy the files. */
function kernelsBeside(numerics: Numerics): URL {
  return numerics === 'strict'
    ? new URL('../kernels-strict.wasm', import.meta.url)
    : new URL('../kernels-fused.wasm', import.meta.url);
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  if (!globalThis.crypto?.subtle) {
    throw new LockstepError({
      category: 'failure',
      code: 'E_NO_SHA256',
      message: `${HOST} has no SHA-256 for a page that comes over plain HTTP, so a model cannot be checked`,
      help: 'serve the page over HTTPS, or from localhost',
    });
  }
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
