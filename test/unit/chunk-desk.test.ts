// The dataset for many workers at once: nobody gets ahead of its turn, and what is on the way stays within one bound.
import { expect, test } from 'vitest';
import { ChunkDesk } from '../../coordinator/chunk-desk.ts';
import type { ChunkReader } from '../../coordinator/chunk-desk.ts';
import { decodeEnvelope } from '../../src/protocol/envelope.ts';
import { MAX_BODY_BYTES } from '../../src/protocol/limits.ts';

const CHUNK = MAX_BODY_BYTES;
const SHA256 = 'ab'.repeat(32);
const BLOB = new Uint8Array(2 * CHUNK);
/** Readers that the bound of 256 MiB has room for. */
const MAX_READERS = 64;

/** Takes its chunks when the test says so. */
class Reader implements ChunkReader {
  readonly offsets: number[] = [];
  readonly bodies: Uint8Array[] = [];
  #taken: () => void = () => undefined;

  sendChunk(fragments: readonly Buffer[], onTaken: () => void): void {
    const [head, body] = fragments as [Buffer, Buffer];
    this.offsets.push(Number(decodeEnvelope(head).header['offset']));
    this.bodies.push(body);
    this.#taken = onTaken;
  }

  take(): void {
    this.#taken();
  }
}

function crowd(desk: ChunkDesk, size: number): Reader[] {
  return Array.from({ length: size }, () => {
    const reader = new Reader();
    desk.ask(reader, 0, CHUNK);
    desk.ask(reader, CHUNK, CHUNK);
    return reader;
  });
}

test('chunks are sent from the dataset itself, without a copy', () => {
  const desk = new ChunkDesk(BLOB, SHA256);
  const [reader] = crowd(desk, 1) as [Reader];
  reader.take();
  expect(reader.offsets).toEqual([0, CHUNK]);
  expect(reader.bodies.map(({ buffer, byteOffset }) => [buffer === BLOB.buffer, byteOffset])).toEqual([
    [true, 0],
    [true, CHUNK],
  ]);
});

test('a reader has one chunk at a time, and no more are on the way to all than 256 MiB', () => {
  const desk = new ChunkDesk(BLOB, SHA256);
  const readers = crowd(desk, MAX_READERS + 2);
  const counts = (): number[] => [...new Set(readers.map(({ offsets }) => offsets.length))];
  expect(readers.filter(({ offsets }) => offsets.length === 1)).toEqual(readers.slice(0, MAX_READERS));
  (readers[0] as Reader).take();
  // The turn of those who came later comes before the second chunk of the first.
  expect(readers.map(({ offsets }) => offsets.length)).toEqual([
    ...Array<number>(MAX_READERS + 1).fill(1),
    0,
  ]);
  for (let round = 0; round < 3; round++) for (const reader of readers) reader.take();
  expect(counts()).toEqual([2]);
});

test('who leaves makes room for others, and is sent nothing more', () => {
  const desk = new ChunkDesk(BLOB, SHA256);
  const readers = crowd(desk, MAX_READERS + 1);
  const [first, last] = [readers[0] as Reader, readers.at(-1)];
  desk.leave(first);
  expect(last.offsets).toEqual([0]);
  // The system takes it after all: it counts for nobody.
  first.take();
  const late = new Reader();
  desk.ask(late, 0, CHUNK);
  expect([first.offsets, late.offsets]).toEqual([[0], []]);
});
