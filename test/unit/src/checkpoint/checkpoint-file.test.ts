// Checkpoint files: they are read back to the bit, by other programs too, and refused
// if a single bit differs.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type CheckpointContent,
  encodeCheckpoint,
  HASH_START,
  MAX_CHECKPOINT_HEADER_BYTES,
  readCheckpoint,
} from '../../../../src/checkpoint/checkpoint-file.ts';
import { SLICE_BYTES, writeFileDurably } from '../../../../src/durable-write.ts';
import { LockstepError } from '../../../../src/errors.ts';
import { parseExactly, stringifyExactly } from '../../../../src/json.ts';
import { shuffledIndices } from '../../../../src/random.ts';
import { decodeSafetensors } from '../../../../src/safetensors.ts';

const SMALL: CheckpointContent = {
  step: 120,
  isBest: true,
  tensors: [
    { name: '0.weight', shape: [2, 3], values: Float32Array.of(1, -0, NaN, Infinity, 1e-45, 3) },
    { name: '7', shape: [1], values: Float32Array.of(0.5) },
  ],
  manifest: { epoch: 3, loss: [0.1 + 0.2, NaN, -Infinity, -0], note: 'é"\\' },
};

let directory: string;
let file: string;

beforeAll(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-checkpoints-'));
  file = path.join(directory, 'c.safetensors');
});
afterAll(() => fs.rmSync(directory, { recursive: true }));

/** Writes a checkpoint to the disk and returns the bytes of its file. */
async function write(content: CheckpointContent): Promise<Buffer> {
  await writeFileDurably(file, encodeCheckpoint(content).slices());
  return fs.readFileSync(file);
}

/** The reason for which `bytes` are refused as a checkpoint. */
async function refusalOf(bytes: Uint8Array): Promise<string> {
  fs.writeFileSync(file, bytes);
  const error: unknown = await readCheckpoint(file).catch((reason: unknown) => reason);
  if (!(error instanceof LockstepError) || error.category !== 'checkpoint') throw new Error('it was read');
  expect(error.message.startsWith(`${file}: `)).toBe(true);
  return error.message.slice(file.length + 2);
}

/** The file with another header text, and the hash that it then must have. */
function withHeader(bytes: Buffer, replace: (text: string) => string): Buffer {
  const length = Number(bytes.readBigUInt64LE(0));
  const text = Buffer.from(replace(bytes.toString('utf8', 8, 8 + length)));
  const changed = Buffer.concat([Buffer.alloc(8), text, bytes.subarray(8 + length)]);
  changed.writeBigUInt64LE(BigInt(text.length), 0);
  changed.fill('0', HASH_START, HASH_START + 64);
  changed.write(createHash('sha256').update(changed).digest('hex'), HASH_START, 'latin1');
  return changed;
}

function sha256(values: Float32Array = new Float32Array()): string {
  return createHash('sha256').update(values).digest('hex');
}

describe('a checkpoint', () => {
  it('a checkpoint is read back to the bit, whatever its tensors hold', async () => {
    await write(SMALL);
    const { tensors, ...rest } = await readCheckpoint(file);
    expect(rest).toEqual({ path: file, step: 120, isBest: true, manifest: SMALL.manifest });
    const bytesOf = ({ values }: { values: Float32Array }): number[] => [
      ...new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
    ];
    expect([...tensors.keys()].sort()).toEqual(['0.weight', '7']);
    for (const { name, shape, values } of SMALL.tensors) {
      const read = tensors.get(name) ?? { shape: [], values: new Float32Array() };
      expect({ shape: read.shape, bytes: bytesOf(read) }).toEqual({ shape, bytes: bytesOf({ values }) });
    }
  });

  it('a checkpoint is a safetensors file that other programs can read', async () => {
    const { tensors, metadata } = decodeSafetensors(await write(SMALL), file);
    expect(tensors.get('0.weight')?.shape).toEqual([2, 3]);
    expect(metadata).toMatchObject({ format: 'pt', checkpoint: '1', step: '120', isBest: 'true' });
  });

  it('a checkpoint contains the SHA-256 of its bytes, computed with zeros in place of the digits', async () => {
    const bytes = await write(SMALL);
    const stored = bytes.toString('latin1', HASH_START, HASH_START + 64);
    bytes.fill('0', HASH_START, HASH_START + 64);
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(stored);
  });

  it('a checkpoint may hold no tensors, or tensors of several slices', async () => {
    await write({ ...SMALL, tensors: [] });
    expect((await readCheckpoint(file)).tensors.size).toBe(0);
    const values = Float32Array.from({ length: SLICE_BYTES }, (_, index) => index);
    await write({ ...SMALL, tensors: [{ name: 'x', shape: [values.length], values }] });
    const { tensors } = await readCheckpoint(file);
    expect(sha256(tensors.get('x')?.values)).toBe(sha256(values));
  });

  it('a checkpoint is a copy, so its sources may change before it is written', async () => {
    const values = Float32Array.of(1, 2);
    const manifest = { loss: 1 };
    const encoded = encodeCheckpoint({ ...SMALL, tensors: [{ name: 'x', shape: [2], values }], manifest });
    values.fill(9);
    manifest.loss = 9;
    await writeFileDurably(file, encoded.slices());
    const read = await readCheckpoint(file);
    expect(read.manifest).toEqual({ loss: 1 });
    expect(read.tensors.get('x')?.values).toEqual(Float32Array.of(1, 2));
  });

  it('a checkpoint is encoded into the memory it is given, which may be larger', () => {
    const { data } = encodeCheckpoint(SMALL);
    const memory = new Uint8Array(data.byteLength + 4);
    expect(encodeCheckpoint(SMALL, () => memory).data).toEqual(data);
    expect(new Uint8Array(memory.buffer, 0, data.byteLength)).toEqual(data);
  });

  it('a manifest beyond the limit is refused', () => {
    const manifest = 'x'.repeat(MAX_CHECKPOINT_HEADER_BYTES);
    expect(() => encodeCheckpoint({ ...SMALL, manifest })).toThrow(
      expect.objectContaining({ code: 'E_CHECKPOINT_SIZE', exitCode: 4 }),
    );
  });

  it('a long manifest full of quotation marks can be read', async () => {
    const manifest = '"'.repeat(4_000_000);
    await write({ ...SMALL, manifest });
    expect((await readCheckpoint(file)).manifest === manifest).toBe(true);
  });
});

describe('a damaged checkpoint', () => {
  it('a checkpoint is refused after any single bit has been flipped', async () => {
    const bytes = await write(SMALL);
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      await refusalOf(bytes);
      bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    }
  });

  it('a checkpoint of several slices is refused after any of 250 random bits has been flipped', async () => {
    const values = Float32Array.from({ length: SLICE_BYTES / 3 }, (_, index) => 1 / index);
    const bytes = await write({ ...SMALL, tensors: [{ name: 'x', shape: [values.length], values }] });
    const key = { seed: 1, purpose: 'order', epoch: 0 } as const;
    for (const bit of shuffledIndices(8 * bytes.length, key).subarray(0, 250)) {
      bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      await refusalOf(bytes);
      bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    }
  });

  it('a checkpoint is refused when cut to any length, and with an extra byte', async () => {
    const bytes = await write(SMALL);
    for (let length = 0; length < bytes.length; length++) await refusalOf(bytes.subarray(0, length));
    expect(await refusalOf(Buffer.concat([bytes, Buffer.alloc(1)]))).toMatch(/^damaged/);
  });

  it('the refusal of a damaged checkpoint names the file and what is wrong', async () => {
    const bytes = await write(SMALL);
    expect(await refusalOf(bytes.subarray(0, 20))).toBe('truncated: 20 bytes are too few for a checkpoint');
    expect(await refusalOf(bytes.subarray(0, 200))).toMatch(
      /^truncated: the header ends at byte \d+, the file at 200$/,
    );
    expect(await refusalOf(bytes.subarray(0, -1))).toBe('damaged: its bytes do not match its SHA-256');
    const other = Buffer.from(bytes);
    other.write('{"x":', 8);
    expect(await refusalOf(other)).toBe('damaged, or not a checkpoint: its header starts differently');
    other.writeBigUInt64LE(2n ** 40n, 0);
    expect(await refusalOf(other)).toBe('damaged, or no checkpoint: a header of 1099511627776 bytes');
    fs.rmSync(file);
    await expect(readCheckpoint(file)).rejects.toThrow(`${file}: cannot be read (no such file)`);
    await expect(readCheckpoint(directory)).rejects.toThrow(/: (cannot be read|truncated)/);
  });

  it('an invalid checkpoint is refused even if its hash is right', async () => {
    const bytes = await write(SMALL);
    const changed = [
      withHeader(bytes, (text) => text.replace('"checkpoint":"1"', '"checkpoint":"2"')),
      withHeader(bytes, (text) => text.replace('"step":"120"', '"step":"-1"')),
      withHeader(bytes, (text) => text.replace('"isBest":"true"', '"isBest":"yes"')),
      withHeader(bytes, (text) => text.replace('"lockstep":', '"other":')),
      withHeader(bytes, (text) => text.replace('"lockstep":"{', '"lockstep":"')),
      withHeader(bytes, (text) => text.replace('"7":', '"0.weight":')),
    ];
    const refusals: string[] = [];
    for (const other of changed) refusals.push(await refusalOf(other));
    expect(refusals).toEqual([
      'a checkpoint of version 2; this program reads version 1',
      'it does not say its step',
      'it does not say whether it is the best',
      'it has no manifest',
      expect.stringMatching(/^its manifest is not JSON \(SyntaxError: /),
      'the header has the key "0.weight" twice',
    ]);
  });
});

describe('exact JSON', () => {
  it('exact JSON preserves every double', () => {
    fc.assert(
      fc.property(fc.double(), (value) => {
        // toEqual tells -0 from 0, and treats NaN as equal to itself.
        expect(parseExactly(stringifyExactly([value]))).toEqual([value]);
      }),
    );
  });

  it('exact JSON preserves plain data', () => {
    const data = fc.jsonValue().filter((value) => !JSON.stringify(value).includes('$number'));
    fc.assert(
      fc.property(data, (value) => {
        expect(parseExactly(stringifyExactly(value))).toEqual(value);
      }),
    );
  });

  it('exact JSON is JSON that marks its special numbers', () => {
    expect(stringifyExactly({ loss: NaN, best: -Infinity, zero: -0, rate: 0.1 })).toBe(
      '{"loss":{"$number":"NaN"},"best":{"$number":"-Infinity"},"zero":{"$number":"-0"},"rate":0.1}',
    );
  });

  it('exact JSON refuses an object that would be read as a number', () => {
    expect(() => stringifyExactly({ a: { $number: 'NaN' } })).toThrow('the key $number is reserved');
    for (const text of ['{"$number":"1"}', '{"$number":null}', '{"$number":"NaN","a":1}']) {
      expect(() => parseExactly(text)).toThrow('$number without a number');
    }
  });
});
