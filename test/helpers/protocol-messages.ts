// Valid messages for protocol tests: arbitrary ones with the body each needs, and bytes with one thing
// changed.
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { Packr } from 'msgpackr';
import type { LossSpec } from '../../src/losses/registry.ts';
import { NUMERICS } from '../../src/kernels/kernels.ts';
import type { LayerSpec } from '../../src/layers/registry.ts';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import { TYPE_CODES } from '../../src/protocol/message-types.ts';
import type { Message } from '../../src/protocol/message-types.ts';

/** A message and its body. */
export interface Sent {
  readonly message: Message;
  readonly body: Uint8Array;
}

const NO_BODY = new Uint8Array(0);
const hex = (length: number) => fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`));
const count = fc.maxSafeNat();
const index = fc.nat(2 ** 31 - 1);
const text = (maxLength: number) => fc.string({ maxLength, unit: 'grapheme-ascii' });
/** Zero without a sign: -0 travels as an integer. */
const number = fc.double().map((value) => (value === 0 ? 0 : value));
const finite = fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value));
const milliseconds = fc.double({ noNaN: true, min: 0, max: 1e12 }).map((value) => (value === 0 ? 0 : value));
const floats = fc
  .uint8Array({ minLength: 4, maxLength: 400 })
  .map((bytes) => bytes.slice(0, bytes.length & ~3));
const key = { run: text(128), round: count, task: count };
const extent = fc.record({
  offset: count,
  length: fc.integer({ min: 1, max: 2 ** 20 }).map((words) => 4 * words),
});

const layer: fc.Arbitrary<LayerSpec> = fc.record(
  {
    kind: fc.constant('dense'),
    units: fc.integer({ min: 1, max: 1_048_576 }),
    activation: fc.constantFrom('linear', 'relu', 'leakyRelu', 'tanh', 'sigmoid'),
    bias: fc.boolean(),
    initializer: fc.constantFrom('heUniform', 'heNormal', 'glorotUniform', 'glorotNormal', 'zeros'),
  },
  { requiredKeys: ['kind', 'units', 'activation', 'bias'] },
);

const bare = (message: fc.Arbitrary<Message>): fc.Arbitrary<Sent> =>
  message.map((value) => ({ message: value, body: NO_BODY }));
const withBody = (message: fc.Arbitrary<Message>, bodies: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Sent> =>
  fc.record({ message, body: bodies });

function task(type: 'train' | 'evaluate'): fc.Arbitrary<Sent> {
  const shardRows = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 40 });
  const fields = {
    ...key,
    version: count,
    weightsFingerprint: hex(16),
    firstShard: fc.nat(1000),
    rest: fc.nat(1000),
    shardRows,
  };
  return fc.record(fields).map(({ shardRows: rows, rest, ...kept }) => {
    const bounds = [0];
    for (const shard of rows) bounds.push(bounds.at(-1) + shard);
    const body = new Uint8Array(Uint32Array.from({ length: bounds.at(-1) }, (_, row) => 7 * row).buffer);
    const message = { ...kept, numShards: kept.firstShard + rows.length + rest, bounds };
    return {
      message: type === 'train' ? { type, ...message, step: kept.version } : { type, ...message },
      body,
    };
  });
}

const welcome = fc.record({
  type: fc.constant('welcome' as const),
  run: text(128),
  worker: count,
  nonce: hex(16),
  layers: fc.array(layer, { minLength: 1, maxLength: 12 }),
  seed: fc.integer({ min: 0, max: 4_294_967_295 }),
  loss: fc.constantFrom<LossSpec>(
    { kind: 'mse' },
    { kind: 'huber', delta: 0.5 },
    { kind: 'crossEntropy', labelSmoothing: 0.1 },
  ),
  batchSize: fc.integer({ min: 1, max: 1_048_576 }),
  shards: fc.integer({ min: 1, max: 1024 }),
  groups: fc.integer({ min: 1, max: 1024 }),
  numerics: fc.constantFrom(...NUMERICS),
  layout: fc.record({
    numRows: fc.integer({ min: 1, max: 100_000 }),
    featureShape: fc.array(fc.integer({ min: 1, max: 10 }), { minLength: 1, maxLength: 3 }),
    featureType: fc.constantFrom('f32' as const, 'u8' as const),
    featureScale: finite,
    targetKind: fc.constantFrom('values' as const, 'labels' as const),
    targetWidth: fc.integer({ min: 1, max: 10 }),
    numClasses: fc.nat(1000),
    hasSampleWeights: fc.boolean(),
  }),
  datasetSha256: hex(64),
  sharedMemory: fc.record({
    pid: fc.nat(2 ** 31 - 1),
    weights: fc.nat(2 ** 31 - 1),
    results: fc.nat(2 ** 31 - 1),
    sha256: hex(64),
  }),
  fanIn: fc.integer({ min: 1, max: 64 }),
});

const gradient = fc.record(
  {
    type: fc.constant('gradient' as const),
    ...key,
    level: fc.nat(31),
    index,
    bucket: index,
    weightsFingerprint: hex(16),
    fingerprint: hex(16),
    lossSum: number,
  },
  {
    requiredKeys: [
      'type',
      'run',
      'round',
      'task',
      'level',
      'index',
      'bucket',
      'weightsFingerprint',
      'fingerprint',
    ],
  },
) as fc.Arbitrary<Message>;

const kernelIdentity = fc.record({ sha256: hex(64), knownAnswer: hex(64) });

const HELLO = {
  type: fc.constant('hello' as const),
  protocol: fc.nat(65_535),
  version: text(64),
  kernels: fc.record({ strict: kernelIdentity, fused: kernelIdentity }, { requiredKeys: ['strict'] }),
  threads: fc.integer({ min: 1, max: 256 }),
  runtime: text(64),
  platform: text(64),
  host: text(255),
  pid: count,
  instance: hex(64),
  isTab: fc.constantFrom(undefined, true, false),
};

/** Any message, of any type. */
export const anyMessage: fc.Arbitrary<Sent> = fc.oneof(
  bare(fc.record(HELLO)),
  bare(
    fc.record({
      ...HELLO,
      listen: fc.record(
        { host: fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6()), port: fc.integer({ min: 1, max: 65_535 }) },
        { requiredKeys: ['port'] },
      ),
      unreachable: text(271),
    }),
  ),
  bare(
    fc.record({
      type: fc.constant('fetch' as const),
      sha256: hex(64),
      offset: index,
      length: fc.integer({ min: 1, max: 2 ** 22 }),
    }),
  ),
  bare(
    fc.record(
      { type: fc.constant('ready' as const), proof: hex(128), sharedNonce: hex(64) },
      { requiredKeys: ['type', 'proof'] },
    ),
  ),
  bare(fc.constant<Message>({ type: 'leave' })),
  bare(fc.record({ type: fc.constant('members' as const), instances: fc.array(hex(64), { maxLength: 20 }) })),
  withBody(gradient, floats),
  bare(fc.tuple(gradient, extent).map(([message, place]) => ({ ...message, extent: place }) as Message)),
  withBody(
    fc.record({
      type: fc.constant('evaluation' as const),
      ...key,
      shard: index,
      lossSum: number,
      weightsFingerprint: hex(16),
      fingerprint: hex(16),
    }),
    floats,
  ),
  bare(
    fc.record({
      type: fc.constant('finished' as const),
      ...key,
      computeMs: milliseconds,
      sendMs: milliseconds,
      residentBytes: count,
    }),
  ),
  bare(fc.record({ type: fc.constant('failure' as const), ...key, message: text(1000) })),
  bare(welcome),
  bare(fc.record({ type: fc.constant('redirect' as const), url: text(271) })),
  bare(fc.record({ type: fc.constant('refuse' as const), code: text(64), message: text(1000) })),
  withBody(
    fc.record({ type: fc.constant('chunk' as const), sha256: hex(64), offset: index }),
    fc.uint8Array({ minLength: 1, maxLength: 300 }),
  ),
  withBody(
    fc.record({
      type: fc.constant('weights' as const),
      run: text(128),
      version: count,
      bucket: index,
      fingerprint: hex(16),
    }),
    floats,
  ),
  fc
    .record({ fields: fc.record(key), body: fc.uint8Array({ minLength: 1, maxLength: 300 }) })
    .map(({ fields, body }) => ({
      message: { type: 'rows' as const, ...fields, checksum: crc32(body) },
      body,
    })),
  task('train'),
  task('evaluate'),
  bare(fc.constant({ type: 'alive' as const })),
  bare(fc.record({ type: fc.constant('stop' as const), reason: text(200) })),
);

/** A valid `gradient`; tests change one thing about it. */
export const GRADIENT = {
  type: 'gradient',
  run: 'r1',
  round: 3,
  task: 1,
  level: 2,
  index: 1,
  bucket: 0,
  weightsFingerprint: '0123456789abcdef',
  fingerprint: 'fedcba9876543210',
} as const satisfies Message;

/** A valid `train` with a body of 5 rows. */
export const TRAIN = {
  type: 'train',
  run: 'r1',
  round: 3,
  task: 1,
  version: 2,
  weightsFingerprint: '0123456789abcdef',
  numShards: 8,
  firstShard: 6,
  bounds: [0, 3, 5],
  step: 2,
} as const satisfies Message;

/** A valid `welcome`. */
export const WELCOME = {
  type: 'welcome',
  run: 'r1',
  worker: 1,
  nonce: '0123456789abcdef',
  layers: [{ kind: 'dense', units: 1, activation: 'linear', bias: true }],
  seed: 7,
  loss: { kind: 'mse' },
  batchSize: 256,
  shards: 8,
  numerics: 'strict',
  layout: {
    numRows: 100,
    featureShape: [3],
    featureType: 'f32',
    featureScale: 1,
    targetKind: 'values',
    targetWidth: 1,
    numClasses: 0,
    hasSampleWeights: false,
  },
  datasetSha256: 'ab'.repeat(32),
} as const satisfies Message;

/** A message around header bytes that `encodeMessage` would not write, with a valid checksum. */
export function envelopeAround(
  header: Uint8Array,
  type: Message['type'] = 'leave',
  body?: Uint8Array,
): Buffer {
  const empty = encodeMessage({ type: 'leave' });
  const bodyStart = Math.ceil((16 + header.length) / 8) * 8;
  const data = Buffer.alloc(bodyStart + (body?.length ?? 0));
  empty.copy(data, 0, 0, 6);
  data.writeUInt16LE(TYPE_CODES[type], 6);
  data.writeUInt32LE(header.length, 8);
  data.set(header, 16);
  if (body) data.set(body, bodyStart);
  return withChecksum(data);
}

const packr = new Packr({ useRecords: false });

/** A message whose header holds any properties at all. */
export function messageWith(type: Message['type'], fields: object, body?: Uint8Array): Buffer {
  return envelopeAround(packr.pack(fields), type, body);
}

/** The same bytes with a correct checksum. */
export function withChecksum(data: Buffer): Buffer {
  const headerEnd = Math.min(data.length, 16 + data.readUInt32LE(8));
  data.writeUInt32LE(crc32(data.subarray(16, headerEnd), crc32(data.subarray(0, 12))), 12);
  return data;
}
