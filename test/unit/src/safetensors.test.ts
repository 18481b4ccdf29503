// Safetensors: files that we write follow the format's rules, and hostile files are
// refused with clear errors.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeSafetensors, encodeSafetensors } from '../../../src/safetensors.ts';

type Header = Record<string, unknown>;

/** A file made by hand, of any header text and any data. */
function fileOf(header: Header | string, dataLength: number): Uint8Array {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(dataLength)]);
}

const tensor = (shape: unknown, start: unknown, end: unknown): Header => ({
  dtype: 'F32',
  shape,
  data_offsets: [start, end],
});

const SAVE_HELP =
  'in PyTorch: safetensors.torch.save_file(model.float().state_dict(), "weights.safetensors")';

function expectRefused(file: Uint8Array, message: string, help?: string): void {
  expect(() => decodeSafetensors(file, 'w.safetensors')).toThrow(
    expect.objectContaining({
      code: 'E_SAFETENSORS',
      exitCode: 4,
      message: `w.safetensors: ${message}`,
      help,
    }),
  );
}

const tensorArbitrary = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }).chain((shape) =>
  fc
    .array(fc.float(), {
      minLength: shape.reduce((a, b) => a * b, 1),
      maxLength: shape.reduce((a, b) => a * b, 1),
    })
    .map((values) => ({ shape, values: Float32Array.from(values) })),
);

const tensorsArbitrary = fc
  .dictionary(
    fc
      .string({ minLength: 1, unit: 'grapheme' })
      .filter((name) => !['__metadata__', '__proto__'].includes(name)),
    tensorArbitrary,
    { maxKeys: 5 },
  )
  .map((tensors) => Object.entries(tensors).map(([name, value]) => ({ name, ...value })));

describe('encodeSafetensors', () => {
  it('encodeSafetensors writes a file that reads back whole, for any names, shapes, values and metadata', () => {
    const metadata = fc.dictionary(
      fc.string().filter((key) => key !== '__proto__'),
      fc.string({ unit: 'grapheme' }),
    );
    fc.assert(
      fc.property(tensorsArbitrary, metadata, (tensors, words) => {
        const file = decodeSafetensors(encodeSafetensors(tensors, words), 'w.safetensors');
        expect(new Map(tensors.map(({ name, shape, values }) => [name, { shape, values }]))).toEqual(
          file.tensors,
        );
        expect(file.metadata).toEqual({ format: 'pt', ...words });
      }),
    );
  });

  it('encodeSafetensors follows the format: length, JSON padded with spaces to 8 bytes, then the tensors without holes', () => {
    const file = encodeSafetensors(
      [
        { name: '0.weight', shape: [2, 1], values: Float32Array.of(1, -2) },
        { name: '0.bias', shape: [1], values: Float32Array.of(0.5) },
      ],
      { note: 'é' },
    );
    const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
    const headerLength = Number(view.getBigUint64(0, true));
    const text = Buffer.from(file.subarray(8, 8 + headerLength)).toString();
    expect(headerLength % 8).toBe(0);
    expect(text).toMatch(/^\{.*\} *$/);
    expect(JSON.parse(text)).toEqual({
      __metadata__: { format: 'pt', note: 'é' },
      '0.weight': { dtype: 'F32', shape: [2, 1], data_offsets: [0, 8] },
      '0.bias': { dtype: 'F32', shape: [1], data_offsets: [8, 12] },
    });
    const values = [0, 4, 8].map((offset) => view.getFloat32(8 + headerLength + offset, true));
    expect(values).toEqual([1, -2, 0.5]);
    expect(file.byteLength).toBe(8 + headerLength + 12);
  });

  it('encodeSafetensors pads to 8 bytes for names of any length in bytes', () => {
    for (const name of ['a', 'ab', 'abc', 'é', 'éé', '日本', '日本語', '😀']) {
      const file = encodeSafetensors([{ name, shape: [], values: Float32Array.of(1) }]);
      expect(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true) % 8n).toBe(0n);
    }
  });

  it('encodeSafetensors writes a view of a larger buffer, not the buffer', () => {
    const values = Float32Array.of(1, 2, 3, 4).subarray(1, 3);
    const { tensors } = decodeSafetensors(
      encodeSafetensors([{ name: 'x', shape: [2], values }]),
      'w.safetensors',
    );
    expect(tensors.get('x')?.values).toEqual(Float32Array.of(2, 3));
  });
});

describe('decodeSafetensors', () => {
  it('decodeSafetensors reads at any alignment, from a view of a larger buffer, and shares no memory with it', () => {
    const file = encodeSafetensors([{ name: 'x', shape: [2], values: Float32Array.of(1, 2) }]);
    for (let shift = 0; shift < 8; shift++) {
      for (const larger of [new Uint8Array(file.length + 20), Buffer.alloc(file.length + 20)]) {
        larger.set(file, shift);
        const { tensors } = decodeSafetensors(larger.subarray(shift, shift + file.length), 'w.safetensors');
        larger.fill(0);
        expect(tensors.get('x')).toEqual({ shape: [2], values: Float32Array.of(1, 2) });
      }
    }
  });

  it('decodeSafetensors reads tensors in any order, scalars and empty tensors', () => {
    const header = { b: tensor([2], 4, 12), empty: tensor([3, 0], 4, 4), a: tensor([], 0, 4) };
    const { tensors } = decodeSafetensors(fileOf(header, 12), 'w.safetensors');
    expect([...tensors].map(([name, { values }]) => [name, values.length])).toEqual([
      ['b', 2],
      ['empty', 0],
      ['a', 1],
    ]);
  });

  it('decodeSafetensors ignores metadata that is not of strings', () => {
    expect(decodeSafetensors(fileOf({ __metadata__: { step: 1 } }, 0), 'w.safetensors').metadata).toEqual({});
    expect(decodeSafetensors(fileOf('{}', 0), 'w.safetensors').metadata).toEqual({});
  });

  it('decodeSafetensors refuses a file too short to hold a length', () => {
    expectRefused(new Uint8Array(7), '7 bytes are too few for a safetensors file');
  });

  it('decodeSafetensors refuses a header longer than 1 MiB before reading it', () => {
    expectRefused(Buffer.alloc(16, 0xff), 'header of 18446744073709552000 bytes; at most 1048576');
    const file = Buffer.alloc(16);
    file.writeBigUInt64LE(1_048_577n);
    expectRefused(file, 'header of 1048577 bytes; at most 1048576');
  });

  it('decodeSafetensors refuses the output of torch.save with advice on safetensors', () => {
    const archive = Buffer.concat([Buffer.from('PK\x03\x04'), Buffer.alloc(100)]);
    expectRefused(archive, 'a zip archive, as torch.save writes it, and no safetensors file', SAVE_HELP);
  });

  it('decodeSafetensors skips the counters of batches that norms of PyTorch keep, in int64 or float32', () => {
    const counter = { ...tensor([], 0, 8), dtype: 'I64' };
    const header = {
      '1.num_batches_tracked': counter,
      '3.body.0.num_batches_tracked': tensor([], 8, 12),
      '1.bias': tensor([2], 12, 20),
    };
    const { tensors } = decodeSafetensors(fileOf(header, 20), 'w.safetensors');
    expect([...tensors.keys()]).toEqual(['1.bias']);
    expectRefused(
      fileOf({ '1.num_batches_tracked': { ...counter, data_offsets: [0, 4] } }, 4),
      '"1.num_batches_tracked" has 4 bytes, its shape needs 8',
    );
  });

  it.each(['F16', 'BF16', 'F64', 'I64', 'I32', 'BOOL', 'Q4'])(
    'decodeSafetensors refuses weights of type %s',
    (dtype) => {
      const header = { '0.weight': { ...tensor([2], 0, 8), dtype } };
      expectRefused(fileOf(header, 8), `"0.weight" has dtype "${dtype}"; only F32 is read`, SAVE_HELP);
    },
  );

  it('decodeSafetensors refuses a truncated header', () => {
    expectRefused(fileOf('{}', 0).subarray(0, 9), 'truncated: the header ends at byte 10, the file at 9');
  });

  it.each(['', ' {}', '[]', 'null', '"x"'])(
    'decodeSafetensors refuses the header %j, which does not start with a brace',
    (header) => {
      expectRefused(fileOf(header, 0), 'the header does not start with "{"');
    },
  );

  it('decodeSafetensors refuses a header that is not JSON or not UTF-8', () => {
    expect(() => decodeSafetensors(fileOf('{"a":', 0), 'w.safetensors')).toThrow(
      /^w\.safetensors: the header is not JSON \(.*JSON.*\)$/,
    );
    const file = fileOf('{"a":1}', 0);
    file[10] = 0xff;
    expect(() => decodeSafetensors(file, 'w.safetensors')).toThrow(
      /^w\.safetensors: the header is not JSON \(.*\)$/,
    );
  });

  it('decodeSafetensors refuses a key that occurs twice, however it is written', () => {
    const a = JSON.stringify(tensor([1], 0, 4));
    expectRefused(fileOf(`{"a":${a},"a":${a}}`, 4), 'the header has the key "a" twice');
    expectRefused(fileOf(`{"a":${a}, "\\u0061" :${a}}`, 4), 'the header has the key "a" twice');
    const inner = '{"a":{"dtype":"F32","shape":[1],"shape":[2],"data_offsets":[0,8]}}';
    expectRefused(fileOf(inner, 8), 'the header has the key "shape" twice');
  });

  it('decodeSafetensors accepts equal keys of different objects, and braces and colons within strings', () => {
    const header = {
      '{"a":': tensor([1], 0, 4),
      a: tensor([1], 4, 8),
      __metadata__: { a: 'b', c: '"a": {', d: 'd' },
    };
    expect(decodeSafetensors(fileOf(header, 8), 'w.safetensors').tensors.size).toBe(2);
  });

  it.each([
    [{ a: 3 }, 0, '"a" is not described by an object'],
    [{ a: null }, 0, '"a" is not described by an object'],
    [{ a: { shape: [1], data_offsets: [0, 4] } }, 4, '"a" has no valid dtype'],
    [{ a: { ...tensor([1], 0, 4), dtype: { toString: 1 } } }, 4, '"a" has no valid dtype'],
    [
      { ['\x1b[31m'.repeat(20)]: 3 },
      0,
      '"\\u001b[31m\\u001b[31m\\u001b[31m\\u001b[3… is not described by an object',
    ],
    [{ a: tensor([-1], 0, 4) }, 4, '"a" has no valid shape'],
    [{ a: tensor([1.5], 0, 4) }, 4, '"a" has no valid shape'],
    [{ a: tensor('1', 0, 4) }, 4, '"a" has no valid shape'],
    [
      {
        a: tensor(
          Array.from({ length: 9 }, () => 1),
          0,
          4,
        ),
      },
      4,
      '"a" has no valid shape',
    ],
    [{ a: tensor([1], -4, 0) }, 4, '"a" has no valid data_offsets'],
    [{ a: tensor([1], 0, '4') }, 4, '"a" has no valid data_offsets'],
    [{ a: { dtype: 'F32', shape: [1], data_offsets: [0] } }, 4, '"a" has no valid data_offsets'],
    [{ a: tensor([1], 8, 4) }, 8, '"a" lies at bytes 8 to 4 of 8'],
    [{ a: tensor([2], 0, 8) }, 4, '"a" lies at bytes 0 to 8 of 4'],
    [{ a: tensor([2 ** 30, 2 ** 30, 2 ** 30], 0, 4) }, 4, '"a" has a shape too large to count'],
    [{ a: tensor([2 ** 32, 2 ** 32, 0], 0, 0) }, 0, '"a" has a shape too large to count'],
    [{ a: tensor([3], 0, 8) }, 8, '"a" has 8 bytes, its shape needs 12'],
    [{ a: tensor([1], 0, 4), b: tensor([1], 0, 4) }, 4, 'tensors overlap at byte 0'],
    [{ a: tensor([2], 0, 8), b: tensor([2], 4, 12) }, 12, 'tensors overlap at byte 4'],
    [{ a: tensor([1], 0, 4), b: tensor([1], 8, 12) }, 12, 'hole at byte 4'],
    [{ a: tensor([1], 0, 4) }, 6, '2 bytes after the last tensor'],
  ] as [Header, number, string][])(
    'decodeSafetensors refuses %j with %i bytes of data',
    (header, dataLength, message) => {
      expectRefused(fileOf(header, dataLength), message);
    },
  );

  it('decodeSafetensors treats "__proto__" as a name like any other', () => {
    const file = fileOf(`{"__proto__":${JSON.stringify(tensor([1], 0, 4))}}`, 4);
    expect([...decodeSafetensors(file, 'w.safetensors').tensors.keys()]).toEqual(['__proto__']);
  });
});
