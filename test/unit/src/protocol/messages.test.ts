// Messages from bytes: every valid one passes, and each broken rule is named.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ACTIVATIONS } from '../../../../src/layers/activation.ts';
import { layerSchema } from '../../../../src/layers/registry.ts';
import type { LayerSpec } from '../../../../src/layers/registry.ts';
import { encodeMessage } from '../../../../src/protocol/envelope.ts';
import type { Message } from '../../../../src/protocol/message-types.ts';
import { parseCoordinatorMessage, parseWorkerMessage } from '../../../../src/protocol/messages.ts';
import { ProtocolError } from '../../../../src/protocol/protocol-error.ts';
import { honestHello } from '../../../helpers/fake-worker.ts';
import { anyMessage, GRADIENT, messageWith, TRAIN, WELCOME } from '../../../helpers/protocol-messages.ts';

const WORKER_TYPES = 'hello fetch ready gradient evaluation finished failure members leave'.split(' ');
const ROWS = new Uint8Array(20);
const columnEmbeddings: LayerSpec = {
  kind: 'columnEmbeddings',
  columns: [{ place: 1, vocabulary: 3, units: 2 }],
};
const LAYER_KINDS = layerSchema.options.map(({ shape }) => `'${shape.kind.value}'`).join(' | ');

function parse(type: Message['type'], data: Buffer) {
  return WORKER_TYPES.includes(type) ? parseWorkerMessage(data) : parseCoordinatorMessage(data);
}

function refusalOf(type: Message['type'], data: Buffer): string {
  try {
    parse(type, data);
  } catch (error) {
    if (error instanceof ProtocolError) return `${error.code} ${error.message}`;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('a message', () => {
  it('a message of any type is received as it was sent', () => {
    fc.assert(
      fc.property(anyMessage, ({ message, body }) => {
        const received = parse(message.type, encodeMessage(message, body));
        expect(received.message).toEqual(message);
        expect(Buffer.compare(received.body, body)).toBe(0);
      }),
      { numRuns: 1000, seed: 2 },
    );
  });

  it.each([NaN, Infinity, -Infinity])('a message can carry a diverged loss of %s', (lossSum) => {
    const { message } = parseWorkerMessage(encodeMessage({ ...GRADIENT, lossSum }, new Uint8Array(4)));
    expect(message).toEqual({ ...GRADIENT, lossSum });
  });

  it('a message can carry a model of 1,000 layers with every field given', () => {
    const layer: LayerSpec = {
      kind: 'dense',
      units: 1_048_576,
      activation: 'leakyRelu',
      bias: true,
      initializer: 'glorotUniform',
    };
    const message = { ...WELCOME, layers: Array<LayerSpec>(1000).fill(layer) };
    expect(parseCoordinatorMessage(encodeMessage(message)).message).toEqual(message);
  });

  it('a message can carry the layer that columns put before those of a config', () => {
    const message = { ...WELCOME, layers: [columnEmbeddings, ...WELCOME.layers] };
    expect(parseCoordinatorMessage(encodeMessage(message)).message).toEqual(message);
  });

  it('a message can carry layers inside layers', () => {
    const inner: LayerSpec = { kind: 'dense', units: 3, activation: 'linear', bias: true };
    const block: LayerSpec = { kind: 'residual', layers: [inner, inner], shortcut: [inner] };
    const outer: LayerSpec = { kind: 'residual', layers: [block, inner] };
    const message = { ...WELCOME, layers: [outer, inner] };
    expect(parseCoordinatorMessage(encodeMessage(message)).message).toEqual(message);
  });

  it('a message can carry a task of 1,024 shards', () => {
    const bounds = Array.from({ length: 1025 }, (_, shard) => 1024 * shard);
    const message = { ...TRAIN, numShards: 1024, firstShard: 0, bounds };
    const body = new Uint8Array(4 * 1024 * 1024);
    expect(parseCoordinatorMessage(encodeMessage(message, body)).message).toEqual(message);
  });

  it.each(['', 'x y', 'b/c', 'a@b', 'b?c', '[::1]', 'a:1'])(
    'a worker that takes others is not at host "%s"',
    async (host) => {
      const hello = { ...(await honestHello()), listen: { host, port: 1 } };
      expect(refusalOf('hello', encodeMessage(hello))).toContain(
        '.listen.host: expected the name or address of a host, got',
      );
    },
  );

  it('a message brings no control characters to a terminal', () => {
    const data = encodeMessage({ type: 'stop', reason: 'red \u001b[31m\nalarm' });
    expect(parseCoordinatorMessage(data).message).toEqual({ type: 'stop', reason: 'red  [31m alarm' });
  });

  it('a message is refused from the wrong side', () => {
    const wrongWorker = () => parseWorkerMessage(encodeMessage({ type: 'stop', reason: '' }));
    const wrongCoordinator = () => parseCoordinatorMessage(encodeMessage({ type: 'leave' }));
    expect(wrongWorker).toThrow(
      new ProtocolError('E_UNEXPECTED_MESSAGE', 'stop: not a message that a worker sends', 4402),
    );
    expect(wrongCoordinator).toThrow(
      new ProtocolError('E_UNEXPECTED_MESSAGE', 'leave: not a message that a coordinator sends', 4402),
    );
  });
});

describe('a message that breaks a rule', () => {
  const { type: _gradient, ...gradient } = GRADIENT;
  const { type: _train, ...train } = TRAIN;
  const { step: _step, ...task } = train;
  const { type: _welcome, ...welcome } = WELCOME;
  const [layer] = WELCOME.layers;
  const deepest = `${Number.MAX_SAFE_INTEGER}`;

  it.each<[Message['type'], object, Uint8Array | undefined, string]>([
    [
      'gradient',
      { ...gradient, round: undefined },
      undefined,
      `.round: expected an integer from 0 to ${deepest}, got nothing`,
    ],
    [
      'gradient',
      { ...gradient, round: '3' },
      undefined,
      `.round: expected an integer from 0 to ${deepest}, got "3"`,
    ],
    [
      'gradient',
      { ...gradient, round: 1.5 },
      undefined,
      `.round: expected an integer from 0 to ${deepest}, got 1.5`,
    ],
    [
      'gradient',
      { ...gradient, round: -1 },
      undefined,
      `.round: expected an integer from 0 to ${deepest}, got -1`,
    ],
    [
      'gradient',
      { ...gradient, round: NaN },
      undefined,
      `.round: expected an integer from 0 to ${deepest}, got NaN`,
    ],
    [
      'gradient',
      { ...gradient, round: 2 ** 53 },
      undefined,
      `.round: expected an integer from 0 to ${deepest}, got 9007199254740992`,
    ],
    [
      'gradient',
      { ...gradient, round: { toString: 1 } },
      undefined,
      `.round: expected an integer from 0 to ${deepest}, got an object`,
    ],
    ['gradient', { ...gradient, level: 32 }, undefined, '.level: expected an integer from 0 to 31, got 32'],
    ['gradient', { ...gradient, run: 7 }, undefined, '.run: expected text of at most 128 characters, got 7'],
    [
      'gradient',
      { ...gradient, run: 'x'.repeat(129) },
      undefined,
      `.run: expected text of at most 128 characters, got "${'x'.repeat(38)}…`,
    ],
    [
      'gradient',
      { ...gradient, weightsFingerprint: 'ABC' },
      undefined,
      '.weightsFingerprint: expected 16 hexadecimal digits, got "ABC"',
    ],
    [
      'gradient',
      { ...gradient, weightsFingerprint: 'ABCDEF0123456789' },
      undefined,
      '.weightsFingerprint: expected 16 hexadecimal digits, got "ABCDEF0123456789"',
    ],
    ['gradient', { ...gradient, lossSum: null }, undefined, '.lossSum: expected a number, got null'],
    ['gradient', { ...gradient, extra: 1 }, undefined, ': unknown property "extra"'],
    ['gradient', { ...gradient, toString: 1 }, undefined, ': unknown property "toString"'],
    [
      'finished',
      { run: 'r', round: 1, task: 0, computeMs: Infinity },
      undefined,
      '.computeMs: expected a finite number from 0 to 1000000000000, got Infinity',
    ],
    [
      'finished',
      { run: 'r', round: 1, task: 0, computeMs: 1, sendMs: -1 },
      undefined,
      '.sendMs: expected a finite number from 0 to 1000000000000, got -1',
    ],
    ['train', { ...train, bounds: 5 }, ROWS, '.bounds: expected a list of 2 to 1025, got 5'],
    ['train', { ...train, bounds: [0] }, ROWS, '.bounds: expected a list of 2 to 1025, got a list of 1'],
    [
      'train',
      { ...train, bounds: [0, 'x'] },
      ROWS,
      '.bounds[1]: expected an integer from 0 to 2147483648, got "x"',
    ],
    ['train', { ...train, bounds: [1, 5] }, ROWS, '.bounds: 1 to 5, but the body has 5 rows'],
    ['train', { ...train, bounds: [0, 4] }, ROWS, '.bounds: 0 to 4, but the body has 5 rows'],
    ['train', { ...train, bounds: [0, 3, 3, 5] }, ROWS, '.bounds: 3 is followed by 3'],
    ['train', { ...train, bounds: [0, 4, 3, 5] }, ROWS, '.bounds: 4 is followed by 3'],
    ['evaluate', { ...task, firstShard: 7 }, ROWS, ': shards 7 to 9 of 8'],
    [
      'welcome',
      { ...welcome, layers: [] },
      undefined,
      '.layers: expected a list of 1 to 1001, got a list of 0',
    ],
    [
      'welcome',
      { ...welcome, layers: [layer, { kind: 'residual', layers: [layer, { ...layer, units: 0 }] }] },
      undefined,
      '.layers[1].layers[1].units: Too small: expected number to be >=1',
    ],
    [
      'welcome',
      { ...welcome, layers: [{ kind: 'residual', layers: [layer], shortcut: [] }] },
      undefined,
      '.layers[0].shortcut: expected a list of 1 to 1000, got a list of 0',
    ],
    [
      'welcome',
      {
        ...welcome,
        layers: [{ kind: 'columnEmbeddings', columns: [{ place: -1, vocabulary: 2, units: 1 }] }],
      },
      undefined,
      '.layers[0].columns.0.place: Too small: expected number to be >=0',
    ],
    [
      'welcome',
      { ...welcome, layers: [{ kind: 'residual', layers: [{ ...columnEmbeddings }] }] },
      undefined,
      `.layers[0].layers[0].kind: Invalid discriminator value. Expected ${LAYER_KINDS}`,
    ],
    [
      'welcome',
      { ...welcome, layers: [{ ...layer, 'red\u001b[31m': 1 }] },
      undefined,
      '.layers[0]: Unrecognized key: "red [31m"',
    ],
    ['welcome', { ...welcome, layers: [7] }, undefined, '.layers[0]: expected object, received number'],
    [
      'welcome',
      { ...welcome, layers: [{ ...layer, kind: 'conv' }] },
      undefined,
      `.layers[0].kind: Invalid discriminator value. Expected ${LAYER_KINDS}`,
    ],
    [
      'welcome',
      { ...welcome, layers: [{ ...layer, activation: 'swishy' }] },
      undefined,
      `.layers[0].activation: expected one of ${ACTIVATIONS.map((name) => `"${name}"`).join('|')}`,
    ],
    [
      'welcome',
      { ...welcome, layers: [{ ...layer, bias: 1 }] },
      undefined,
      '.layers[0].bias: expected boolean, received number',
    ],
    [
      'welcome',
      { ...welcome, layout: { ...welcome.layout, numRows: 2 ** 31 } },
      undefined,
      ': a dataset of 34359738368 bytes, at most 2147483648 fit',
    ],
    ['welcome', { ...welcome, layout: [] }, undefined, '.layout: expected an object, got a list of 0'],
  ])('a broken rule of %s is named in the error', (type, fields, body, message) => {
    expect(refusalOf(type, messageWith(type, dropUndefined(fields), body ?? bodyOf(type)))).toBe(
      `E_MESSAGE_FIELD ${type}${message}`,
    );
  });

  it.each<[Message['type'], object, Uint8Array, string]>([
    ['gradient', gradient, new Uint8Array(0), 'gradient: no body'],
    ['gradient', gradient, new Uint8Array(7), 'gradient: a body of 7 bytes is not a whole number of f32'],
    ['train', train, new Uint8Array(21), 'train: a body of 21 bytes is not a whole number of u32'],
    ['leave', {}, new Uint8Array(1), 'leave: a body of 1 bytes, expected none'],
    ['chunk', { sha256: 'ab'.repeat(32), offset: 0 }, new Uint8Array(0), 'chunk: no body'],
    ['rows', { run: 'r1', round: 3, task: 1, checksum: 0 }, new Uint8Array(8), 'rows: they arrived damaged'],
  ])('a broken rule about the body of %s is named in the error', (type, fields, body, message) => {
    expect(refusalOf(type, messageWith(type, fields, body))).toBe(`E_MESSAGE_BODY ${message}`);
  });

  function bodyOf(type: Message['type']): Uint8Array | undefined {
    return type === 'gradient' ? new Uint8Array(8) : undefined;
  }

  function dropUndefined(fields: object): object {
    return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
  }
});
