// From received bytes to a message that keeps its schema, and the sender's role. The schemas: a check for
// each field, the kind of the body, and how the two must agree.
import { crc32 } from 'node:zlib';
import { decodeEnvelope } from './envelope.ts';
import { FIRST_COORDINATOR_CODE, TYPE_CODES } from './message-types.ts';
import type {
  CoordinatorMessage,
  HelloMessage,
  Message,
  Received,
  SharedMemoryOffer,
  WorkerMessage,
  EvaluateMessage,
  KernelIdentities,
  KernelIdentity,
  RowsMessage,
  TaskKey,
  TrainMessage,
  WelcomeMessage,
} from './message-types.ts';
import { CLOSE, ProtocolError } from './protocol-error.ts';
import { blobByteLength, MAX_BLOB_BYTES } from '../data/dataset/packed-dataset.ts';
import type { RowLayout } from '../data/dataset/packed-dataset.ts';
import { NUMERICS } from '../kernels/kernels.ts';
import {
  MAX_BATCH_SIZE,
  MAX_FAN_IN,
  MAX_LAYERS,
  MAX_SAMPLE_DIMENSIONS,
  MAX_SHARDS,
  MAX_THREADS,
  MAX_WORKER_NAME_LENGTH,
} from '../limits.ts';
import { columnEmbeddingsSchema } from '../layers/column-embeddings.ts';
import { layerSchema } from '../layers/registry.ts';
import type { ConfigLayerSpec, LayerSpec } from '../layers/registry.ts';
import { sizeOf } from '../shape.ts';
import { lossSchema } from '../losses/registry.ts';
import {
  array,
  boolean,
  float,
  hex,
  host,
  integer,
  object,
  oneOf,
  optional,
  parsed,
  text,
} from './fields.ts';
import type { Field, FieldsOf } from './fields.ts';
import { MAX_BODY_BYTES, MAX_HOST_LENGTH, MAX_MEMBERS, MAX_REASON_LENGTH, MAX_URL_LENGTH } from './limits.ts';
import type { Extent } from './shared-file.ts';

/**
 * Reads a message that a worker sent.
 * @throws ProtocolError if it is malformed, or the coordinator's to send.
 */
export function parseWorkerMessage(data: Buffer): Received<WorkerMessage> {
  const { message, body } = parseMessage(data);
  if (isFromWorker(message)) return { message, body };
  throw wrongSender(message.type, 'a worker');
}

/**
 * Reads a message that the coordinator sent.
 * @throws ProtocolError if it is malformed, or a worker's to send.
 */
export function parseCoordinatorMessage(data: Buffer): Received<CoordinatorMessage> {
  const { message, body } = parseMessage(data);
  if (!isFromWorker(message)) return { message, body };
  throw wrongSender(message.type, 'a coordinator');
}

function parseMessage(data: Buffer): Received<Message> {
  const { type, header, body } = decodeEnvelope(data);
  // The table pairs each type with its own schema; TypeScript cannot follow that through a lookup.
  const schema = SCHEMAS[type] as Schema<Message>;
  const message = { type, ...schema.fields(header, type) } as Message;
  if ('extent' in message) checkSharedBody(message, body.length);
  else checkBody(type, schema.body, body.length);
  schema.agree?.(message, body);
  return { message, body };
}

function checkBody(type: Message['type'], kind: BodyKind, byteLength: number): void {
  if (kind === 'none') {
    if (byteLength > 0) throw wrongBody(`${type}: a body of ${byteLength} bytes, expected none`);
    return;
  }
  if (byteLength === 0) throw wrongBody(`${type}: no body`);
  if (kind !== 'bytes' && byteLength % 4 !== 0) {
    throw wrongBody(`${type}: a body of ${byteLength} bytes is not a whole number of ${kind}`);
  }
}

/** All that have an extent are f32. */
function checkSharedBody({ type, extent }: Extract<Message, { extent?: unknown }>, byteLength: number): void {
  checkBody(type, 'none', byteLength);
  checkBody(type, 'f32', extent?.length ?? 0);
}

function isFromWorker(message: Message): message is WorkerMessage {
  return TYPE_CODES[message.type] < FIRST_COORDINATOR_CODE;
}

/**
 * The kind of body after the header. Numbers come in whole elements of 4 bytes,
 * and a body is never empty.
 */
type BodyKind = 'none' | 'bytes' | 'f32' | 'u32';

/** The checks of one message type. */
interface Schema<M extends Message> {
  readonly fields: Field<Omit<M, 'type'>>;
  readonly body: BodyKind;
  /** Throws a ProtocolError where fields contradict each other or the body. */
  readonly agree?: ((message: M, body: Uint8Array) => void) | undefined;
}

type MessageOf<Type extends Message['type']> = Extract<Message, { readonly type: Type }>;

/** The largest shard, row or bucket number: a dataset's bytes are counted in 31 bits. */
const MAX_INDEX = 2 ** 31;
/** Level of the root above `MAX_INDEX` shards. */
const MAX_LEVEL = 31;
const MAX_BOUNDS = MAX_SHARDS + 1;

const count = integer(0);
const index = integer(0, MAX_INDEX);
const sha256 = hex(64);
const fingerprint = hex(16);
const finite = float({ isFinite: true });
/** Some 30 years: sums of what workers report stay finite. */
const milliseconds = float({ isFinite: true, min: 0, max: 1e12 });
/** A diverged loss must reach the coordinator, which stops the run for it. */
const lossSum = float({ isFinite: false });

const extent = optional(object<Extent>({ offset: count, length: integer(1, MAX_BODY_BYTES) }));

/** Process ids and descriptors are C's `int`. */
const systemNumber = integer(0, 2 ** 31 - 1);

const taskKey: FieldsOf<TaskKey> = { run: text(128), round: count, task: count };

const task: FieldsOf<EvaluateMessage> = {
  ...taskKey,
  version: count,
  weightsFingerprint: fingerprint,
  numShards: integer(1, MAX_INDEX),
  firstShard: index,
  bounds: array(index, 2, MAX_BOUNDS),
};

/** A layer checked against the limits of configs once more: a worker does not trust its coordinator. */
const plainLayer = parsed(layerSchema);

/**
 * Layers inside layers are checked one by one, like all else. The schema would look at each
 * of them after one was wrong, and carry thousands of complaints up through all levels:
 * seconds for a header of 46 KB.
 */
const layer: Field<ConfigLayerSpec> = (value, path) =>
  (isOfKind(value, 'residual') ? residual : plainLayer)(value, path);
const layerList = array(layer, 1, MAX_LAYERS);
const residual = object<Extract<ConfigLayerSpec, { readonly kind: 'residual' }>>({
  kind: oneOf(['residual']),
  layers: layerList,
  shortcut: optional(layerList),
});

const columnEmbeddings = parsed(columnEmbeddingsSchema);

/** The layers of a model, of which the first may be one that no config has. */
const modelLayer: Field<LayerSpec> = (value, path) =>
  (isOfKind(value, 'columnEmbeddings') ? columnEmbeddings : layer)(value, path);

function isOfKind(value: unknown, kind: LayerSpec['kind']): boolean {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === kind;
}

/** Sizes of a sample. */
const shape = array(integer(1, MAX_INDEX), 1, MAX_SAMPLE_DIMENSIONS);

const layout = object<RowLayout>({
  numRows: integer(1, MAX_INDEX),
  featureShape: shape,
  featureType: oneOf(['f32', 'u8']),
  featureScale: finite,
  targetKind: oneOf(['values', 'labels']),
  targetWidth: integer(1, MAX_INDEX),
  numClasses: index,
  hasSampleWeights: boolean,
});

const kernelIdentity = object<KernelIdentity>({ sha256, knownAnswer: sha256 });

/** The schema of every message type. */
const SCHEMAS: { readonly [Type in Message['type']]: Schema<MessageOf<Type>> } = {
  hello: {
    fields: object<MessageOf<'hello'>>({
      protocol: integer(0, 65_535),
      version: text(64),
      kernels: object<KernelIdentities>({ strict: kernelIdentity, fused: optional(kernelIdentity) }),
      threads: integer(1, MAX_THREADS),
      runtime: text(64),
      platform: text(64),
      name: optional(text(MAX_WORKER_NAME_LENGTH)),
      host: text(MAX_HOST_LENGTH),
      pid: count,
      isTab: optional(boolean),
      instance: hex(64),
      listen: optional(
        object<NonNullable<HelloMessage['listen']>>({
          host: optional(host(MAX_HOST_LENGTH)),
          port: integer(1, 65_535),
          isSecure: optional(boolean),
        }),
      ),
      unreachable: optional(text(MAX_URL_LENGTH)),
    }),
    body: 'none',
  },
  fetch: {
    fields: object<MessageOf<'fetch'>>({ sha256, offset: index, length: integer(1, MAX_BODY_BYTES) }),
    body: 'none',
  },
  ready: {
    fields: object<MessageOf<'ready'>>({ proof: hex(128), sharedNonce: optional(hex(64)) }),
    body: 'none',
  },
  gradient: {
    fields: object<MessageOf<'gradient'>>({
      ...taskKey,
      level: integer(0, MAX_LEVEL),
      index,
      bucket: index,
      weightsFingerprint: fingerprint,
      fingerprint,
      lossSum: optional(lossSum),
      extent,
    }),
    body: 'f32',
  },
  evaluation: {
    fields: object<MessageOf<'evaluation'>>({
      ...taskKey,
      shard: index,
      lossSum,
      weightsFingerprint: fingerprint,
      fingerprint,
      extent,
    }),
    body: 'f32',
  },
  finished: {
    fields: object<MessageOf<'finished'>>({
      ...taskKey,
      computeMs: milliseconds,
      sendMs: milliseconds,
      residentBytes: count,
    }),
    body: 'none',
  },
  failure: {
    fields: object<MessageOf<'failure'>>({ ...taskKey, message: text(MAX_REASON_LENGTH) }),
    body: 'none',
  },
  members: {
    fields: object<MessageOf<'members'>>({ instances: array(hex(64), 0, MAX_MEMBERS) }),
    body: 'none',
  },
  leave: { fields: object<MessageOf<'leave'>>({}), body: 'none' },
  welcome: {
    fields: object<MessageOf<'welcome'>>({
      run: text(128),
      worker: count,
      nonce: hex(16),
      layers: array(modelLayer, 1, MAX_LAYERS + 1),
      smallBuckets: optional(boolean),
      seed: integer(0, 4_294_967_295),
      numerics: oneOf(NUMERICS),
      loss: parsed(lossSchema),
      batchSize: integer(1, MAX_BATCH_SIZE),
      shards: integer(1, MAX_SHARDS),
      groups: optional(integer(1, MAX_SHARDS)),
      layout,
      isStreamed: optional(boolean),
      datasetSha256: sha256,
      sharedMemory: optional(
        object<SharedMemoryOffer>({
          pid: systemNumber,
          weights: systemNumber,
          results: systemNumber,
          sha256,
        }),
      ),
      fanIn: optional(integer(1, MAX_FAN_IN)),
    }),
    body: 'none',
    agree: refuseWrongLayout,
  },
  redirect: { fields: object<MessageOf<'redirect'>>({ url: text(MAX_URL_LENGTH) }), body: 'none' },
  refuse: {
    fields: object<MessageOf<'refuse'>>({ code: text(64), message: text(MAX_REASON_LENGTH) }),
    body: 'none',
  },
  chunk: { fields: object<MessageOf<'chunk'>>({ sha256, offset: index }), body: 'bytes' },
  weights: {
    fields: object<MessageOf<'weights'>>({
      run: text(128),
      version: count,
      bucket: index,
      fingerprint,
      extent,
    }),
    body: 'f32',
  },
  rows: {
    fields: object<MessageOf<'rows'>>({ ...taskKey, checksum: integer(0, 2 ** 32 - 1) }),
    body: 'bytes',
    agree: refuseDamage,
  },
  train: { fields: object<TrainMessage>({ ...task, step: count }), body: 'u32', agree: refuseWrongBounds },
  evaluate: { fields: object<EvaluateMessage>(task), body: 'u32', agree: refuseWrongBounds },
  alive: { fields: object<MessageOf<'alive'>>({}), body: 'none' },
  stop: { fields: object<MessageOf<'stop'>>({ reason: text(200) }), body: 'none' },
};

function refuseWrongBounds(message: TrainMessage | EvaluateMessage, body: Uint8Array): void {
  const { type, bounds, firstShard, numShards } = message;
  const numRows = body.length / 4;
  if (bounds[0] !== 0 || bounds.at(-1) !== numRows) {
    throw contradiction(`${type}.bounds: ${bounds[0]} to ${bounds.at(-1)}, but the body has ${numRows} rows`);
  }
  for (let shard = 1; shard < bounds.length; shard++) {
    const [start, end] = [bounds[shard - 1] as number, bounds[shard] as number];
    if (start >= end) throw contradiction(`${type}.bounds: ${start} is followed by ${end}`);
  }
  const end = firstShard + bounds.length - 1;
  if (end > numShards) throw contradiction(`${type}: shards ${firstShard} to ${end} of ${numShards}`);
}

function refuseDamage({ checksum }: RowsMessage, body: Uint8Array): void {
  if (crc32(body) !== checksum) throw wrongBody('rows: they arrived damaged');
}

function refuseWrongLayout({ isStreamed, layout: rows }: WelcomeMessage): void {
  if (sizeOf(rows.featureShape) > MAX_INDEX) {
    throw contradiction(`welcome: a sample of ${rows.featureShape.join('x')} values`);
  }
  const bytes = blobByteLength(rows);
  if (bytes > MAX_BLOB_BYTES && !isStreamed) {
    throw contradiction(`welcome: a dataset of ${bytes} bytes, at most ${MAX_BLOB_BYTES} fit`);
  }
}

function contradiction(message: string): ProtocolError {
  return new ProtocolError('E_MESSAGE_FIELD', message);
}

function wrongBody(message: string): ProtocolError {
  return new ProtocolError('E_MESSAGE_BODY', message);
}

function wrongSender(type: Message['type'], sender: string): ProtocolError {
  return new ProtocolError(
    'E_UNEXPECTED_MESSAGE',
    `${type}: not a message that ${sender} sends`,
    CLOSE.protocol,
  );
}
