// The files of a trained model: `config.json` describes it, `model.safetensors` has its weights. The type
// of the description is derived from the schema that reads it, and the writer takes that type, so the two
// cannot drift.
import { z } from 'zod';
import { dataSchema } from '../config/schema.ts';
import { LockstepError, quoteValue } from '../errors.ts';
import { parseJson } from '../json.ts';
import { MAX_LAYERS, MAX_SAMPLE_DIMENSIONS } from '../limits.ts';
import { NUMERICS } from '../kernels/kernels.ts';
import { modelLayerSchema } from '../layers/registry.ts';
import { formatShape } from '../shape.ts';
import { lossInputSchema } from '../losses/registry.ts';
import { formatBytes } from '../memory.ts';
import { resolveModel, type Model } from '../model/model.ts';
import { ModuleNumbers, translateName } from '../model/tensor-names.ts';
import {
  decodeSafetensors,
  encodeHeader,
  encodeSafetensors,
  LENGTH_BYTES,
  MAX_HEADER_BYTES,
  type SafetensorsFile,
} from '../safetensors.ts';
import { VERSION } from '../version.ts';
import { DATE_FORMATS, DATE_PARTS } from '../dates.ts';
import { widthOf, type FittedTransforms } from '../data/dataset/transforms.ts';

/** The name of the description in a model's directory. */
export const DESCRIPTION_FILE = 'config.json';
/** The name of the weights. */
export const WEIGHTS_FILE = 'model.safetensors';
/** The metadata of a file that is a whole model, under which it has the description. */
const DESCRIPTION_ENTRY = 'lockstep.config';

/** Maximum size of `config.json`: three times what 100,000 columns take. */
export const MAX_DESCRIPTION_BYTES = 64 * 2 ** 20;

const size = z.int().min(1).max(2_147_483_647);
const names = z.array(z.string()).readonly();

const feature = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('numeric'),
    column: z.string(),
    mean: z.number(),
    scale: z.number(),
    fill: z.number().nullable(),
  }),
  z.object({ kind: z.literal('categorical'), column: z.string(), categories: names }),
  z.object({ kind: z.literal('boolean'), column: z.string(), fill: z.number().nullable() }),
  z.object({
    kind: z.literal('ordinal'),
    column: z.string(),
    order: names,
    mean: z.number(),
    scale: z.number(),
    fill: z.number().nullable(),
  }),
  z.object({ kind: z.literal('hash'), column: z.string(), buckets: size }),
  z.object({ kind: z.literal('embedding'), column: z.string(), texts: names, units: size }),
  z.object({
    kind: z.literal('date'),
    column: z.string(),
    format: z.enum(DATE_FORMATS),
    parts: z
      .array(z.object({ part: z.enum(DATE_PARTS), mean: z.number(), scale: z.number() }))
      .min(1)
      .readonly(),
    fill: z.number().nullable(),
  }),
  z.object({ kind: z.literal('pixels'), shape: z.array(size).min(2).max(3).readonly(), scale: z.number() }),
  z.object({ kind: z.literal('bytes'), context: size }),
  z.object({
    kind: z.literal('array'),
    shape: z.array(size).min(1).readonly(),
    byteScale: z.number().nullable(),
    standardized: z
      .array(z.object({ mean: z.number(), scale: z.number() }))
      .readonly()
      .nullable(),
  }),
]);

const targetStep = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('log') }),
  z.object({ kind: z.literal('standardize'), mean: z.number(), scale: z.number() }),
]);

const target = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('values'),
    columns: z
      .array(z.object({ column: z.string(), steps: z.array(targetStep).readonly() }))
      .min(1)
      .readonly(),
    isBinary: z.literal(true).optional(),
    positions: size.optional(),
  }),
  z.object({
    kind: z.literal('labels'),
    column: z.string(),
    cells: z.enum(['text', 'index']),
    classNames: names,
    positions: size.optional(),
  }),
]);

const transforms = z.object({
  features: z.array(feature).min(1).readonly(),
  target,
}) satisfies z.ZodType<FittedTransforms>;

/** `config.json`. Fields that a later version adds are passed over. */
const modelSchema = z.object({
  /** The version that wrote it. */
  lockstep: z.string(),
  name: z.string(),
  /** SHA-256 of the flat parameter vector, little-endian f32. */
  weightsSha256: z.string().regex(/^[0-9a-f]{64}$/),
  loss: lossInputSchema,
  numerics: z.enum(NUMERICS),
  inputShape: z.array(size).min(1).max(MAX_SAMPLE_DIMENSIONS).readonly(),
  layers: z
    .array(modelLayerSchema)
    .min(1)
    .max(MAX_LAYERS + 1),
  featureNames: names,
  targetNames: names,
  classNames: names,
  classWeights: z.array(z.number()).readonly().optional(),
  transforms,
  /** The format of the training table; new tables are read in it too. */
  table: dataSchema
    .pick({
      delimiter: true,
      decimal: true,
      thousands: true,
      header: true,
      missing: true,
      missingTokens: true,
    })
    .prefault({}),
});

/** The content of `config.json`, checked and with all defaults. */
export interface ModelDescription extends z.output<typeof modelSchema> {}

/** A trained model as its files have it. */
export interface SavedModel {
  /** The model's directory, absolute; in a browser its address, or nothing. */
  readonly directory: string;
  readonly description: ModelDescription;
  readonly model: Model;
  /** The flat parameter vector; its hash is that of the description. */
  readonly weights: Float32Array;
}

/** The text of `config.json`. @throws LockstepError (exit 2) where it would be longer than what is read. */
export function encodeDescription(description: ModelDescription): Uint8Array {
  let text: Uint8Array | undefined;
  try {
    text = new TextEncoder().encode(`${JSON.stringify(description, null, 2)}\n`);
  } catch (error) {
    // The text is longer than any string may be.
    if (!(error instanceof RangeError)) throw error;
  }
  if (text && text.byteLength <= MAX_DESCRIPTION_BYTES) return text;
  throw new LockstepError({
    category: 'usage',
    code: 'E_TOO_LARGE',
    message: `the names of columns, categories and classes make ${DESCRIPTION_FILE} larger than the ${formatBytes(MAX_DESCRIPTION_BYTES)} that are read`,
    help: 'leave columns out with data.drop, or give them and their classes shorter names',
  });
}

/** The files of a model, read. */
interface ModelContent {
  readonly directory: string;
  /** The name by which errors call the file of weights. */
  readonly file: string;
  readonly bytes: Uint8Array;
  /** The description in a file of its own; undefined where that of the weights holds it too. */
  readonly described: { readonly file: string; readonly description: ModelDescription } | undefined;
  /** Hashes bytes, to hexadecimal digits. */
  readonly sha256: (bytes: Uint8Array<ArrayBuffer>) => string | Promise<string>;
}

/** @throws LockstepError (exit 4) for files that are damaged, or do not belong together */
export async function decodeModel(content: ModelContent): Promise<SavedModel> {
  const { directory, file } = content;
  const decoded = decodeSafetensors(content.bytes, file);
  const described = content.described ?? { file, description: descriptionInside(decoded, file) };
  const { description } = described;
  const model = resolveSaved(description, described.file);
  const weights = flatten(model, decoded, file);
  const sha256 = await content.sha256(new Uint8Array(weights.buffer));
  if (sha256 !== description.weightsSha256) {
    const message = `${file}: the weights have SHA-256 ${sha256}, not ${description.weightsSha256} as the description says`;
    throw modelError('E_MODEL_WEIGHTS', message, 'the two files are not of one training, or one was changed');
  }
  return { directory, description, model, weights };
}

/**
 * Encodes a model as one file: weights that any reader of safetensors takes, and the description as
 * metadata.
 * @throws LockstepError (exit 2) where the description is longer than the header of a file may be.
 */
export function encodeModelFile({ description, model, weights }: SavedModel): Uint8Array {
  const tensors = model.tensors.map(({ name, shape, offset, length }) => ({
    name,
    shape,
    values: weights.subarray(offset, offset + length),
  }));
  const { weightsSha256 } = description;
  const metadata = { weightsSha256, [DESCRIPTION_ENTRY]: JSON.stringify(description) };
  const headerBytes = encodeHeader(tensors, metadata).byteLength - LENGTH_BYTES;
  if (headerBytes <= MAX_HEADER_BYTES) return encodeSafetensors(tensors, metadata);
  throw new LockstepError({
    category: 'usage',
    code: 'E_TOO_LARGE',
    message: `the model's names take ${formatBytes(headerBytes)}; the header of one file holds ${formatBytes(MAX_HEADER_BYTES)}`,
    help: 'export it with --format huggingface, which has a file for them',
  });
}

function descriptionInside({ metadata }: SafetensorsFile, file: string): ModelDescription {
  const text = metadata[DESCRIPTION_ENTRY];
  if (text !== undefined) return parseDescription(new TextEncoder().encode(text), file);
  throw modelError(
    'E_MODEL_INVALID',
    `${file} holds weights alone, without the description of a model`,
    'name the directory of a run, or a file that lockstep export --format safetensors has written',
  );
}

/**
 * Checks the text of a description, which errors call `file`. @throws LockstepError (exit 4) for what is
 * none.
 */
export function parseDescription(text: Uint8Array, file: string): ModelDescription {
  let value: unknown;
  try {
    value = parseJson(new TextDecoder().decode(text));
  } catch (error) {
    throw modelError('E_MODEL_INVALID', `${file} is not JSON (${(error as Error).message})`);
  }
  const parsed = modelSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const message = `${file} describes no trained model: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`;
  throw modelError('E_MODEL_INVALID', message, helpFor(value));
}

function helpFor(value: unknown): string | undefined {
  const version =
    typeof value === 'object' && value !== null && 'lockstep' in value ? value.lockstep : undefined;
  if (version === undefined) return 'it was not written by Lockstep';
  return version === VERSION
    ? undefined
    : `it was written by Lockstep ${quoteValue(version)}, this is ${VERSION}`;
}

/** The model of a description whose parts fit each other. */
function resolveSaved(description: ModelDescription, file: string): Model {
  const { layers, inputShape, targetNames, classNames } = description;
  const { features, target: fitted } = description.transforms;
  const refuse = (why: string): LockstepError => modelError('E_MODEL_INVALID', `${file}: ${why}`);
  const inputWidth = inputShape.reduce((product, side) => product * side, 1);
  if (widthOf(features) !== inputWidth) {
    throw refuse(
      `the transforms give ${widthOf(features)} features, inputShape is ${formatShape(inputShape)}`,
    );
  }
  let model: Model;
  try {
    model = resolveModel({ layers }, inputShape);
  } catch (error) {
    if (error instanceof LockstepError) throw refuse(error.message);
    throw error;
  }
  const isOneLogit = description.loss.kind === 'binaryCrossEntropy' || fitted.kind === 'values';
  const { positions } = fitted;
  // Of a text, the positions are not counted here.
  const isEach = isOneLogit || positions !== undefined;
  const width = isEach ? model.outputWidth : (model.outputShape.at(-1) as number);
  const needed = (isOneLogit ? targetNames.length : classNames.length) * (positions ?? 1);
  if (width !== needed)
    throw refuse(`the layers give ${formatShape(model.outputShape)} outputs, the targets need ${needed}`);
  return model;
}

/** Joins the tensors, each at its place in the model. */
function flatten(model: Model, { tensors }: SafetensorsFile, file: string): Float32Array<ArrayBuffer> {
  const own = new ModuleNumbers(model.tensors.map(({ name }) => name));
  const theirs = new ModuleNumbers(tensors.keys());
  const found = model.tensors.map(({ name: ownName, shape, offset }) => {
    const name = translateName(ownName, own, theirs);
    const tensor = tensors.get(name);
    if (tensor?.shape.join() === shape.join()) return { values: tensor.values, offset };
    const what = tensor ? `is ${formatShape(tensor.shape)}` : 'is not there';
    const message = `${file}: "${name}" ${what}; the model needs ${formatShape(shape)}`;
    throw modelError('E_MODEL_WEIGHTS', message);
  });
  if (tensors.size !== found.length) {
    const message = `${file} holds ${tensors.size} tensors, the model has ${found.length}`;
    throw modelError('E_MODEL_WEIGHTS', message);
  }
  // Only now that the values have been read: a description alone can ask for any size.
  const weights = new Float32Array(model.numParameters);
  for (const { values, offset } of found) weights.set(values, offset);
  return weights;
}

/** An error in the files of a model. */
export function modelError(code: `E_MODEL_${string}`, message: string, help?: string): LockstepError {
  return new LockstepError({ category: 'checkpoint', code, message, help });
}
