// Both sides of the files of one worker: the proof that they are the same, and the room for results.
import { describe, expect, it, onTestFinished } from 'vitest';
import { SharedResults } from '../../../coordinator/cluster/shared-results.ts';
import { copyBody, RESULTS_OFFSET, SharedFile } from '../../../src/protocol/shared-file.ts';
import type { Extent } from '../../../src/protocol/shared-file.ts';
import { MAX_UNREAD_BYTES } from '../../../src/protocol/limits.ts';
import { SharedMemory } from '../../../worker/shared-memory.ts';

function offer(): SharedResults {
  const weights = SharedFile.create(4096);
  const results = new SharedResults(weights);
  onTestFinished(() => {
    weights.close();
    results.close();
  });
  return results;
}

function accept(results: SharedResults): SharedMemory {
  const memory = new SharedMemory(results.offer);
  onTestFinished(() => memory.close());
  return memory;
}

const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

function valueAt(results: SharedResults, extent: Extent | undefined): number | undefined {
  if (!extent) return undefined;
  const copy = Buffer.alloc(extent.length);
  copyBody(results.at(extent), copy);
  return copy.equals(Buffer.alloc(extent.length, copy[0])) ? copy[0] : undefined;
}

describe.skipIf(process.platform !== 'linux')('the offer of files', () => {
  it('a worker that opens the files proves it by the nonce in them', () => {
    const [results, other] = [offer(), offer()];
    const { nonce } = accept(results);
    expect(results.isProvenBy(nonce)).toBe(true);
    expect(other.isProvenBy(nonce)).toBe(false);
  });

  it('a worker refuses a file with another nonce, as of a process that has the same number elsewhere', () => {
    const [results, other] = [offer(), offer()];
    const wrong = { ...results.offer, results: other.offer.results };
    expect(() => new SharedMemory(wrong)).toThrow('it is not the file that was offered');
    expect(() => new SharedMemory({ ...results.offer, pid: process.ppid })).toThrow(/ENOENT|EACCES|not a?/);
    expect(() => new SharedMemory({ ...results.offer, weights: 999_999 })).toThrow('ENOENT');
  });
});

describe.skipIf(process.platform !== 'linux')('the results of a worker', () => {
  it('results lie one after the other until they are taken, and then start over', () => {
    const results = offer();
    const memory = accept(results);
    const extents = [1, 2, 3].map((value) => memory.store(filled(1000, value)));
    expect(extents.map((extent) => extent?.offset)).toEqual([0, 1000, 2000].map((at) => RESULTS_OFFSET + at));
    expect(extents.map((extent) => valueAt(results, extent))).toEqual([1, 2, 3]);
    for (let taken = 0; taken < 3; taken++) results.noteTaken();
    expect(memory.store(filled(1000, 4))?.offset).toBe(RESULTS_OFFSET);
  });

  it('a result that is not taken is never written over, and one that finds no room is left to the socket', () => {
    const results = offer();
    const memory = accept(results);
    const size = MAX_UNREAD_BYTES / 4;
    const extents = [1, 2, 3, 4].map((value) => memory.store(filled(size, value)));
    expect(memory.store(filled(4, 5))).toBeUndefined();
    results.noteTaken();
    // Two results into the room of the first: the ring goes round.
    const halves = [6, 7].map((value) => memory.store(filled(size / 2, value)));
    expect(halves.map((extent) => extent?.offset)).toEqual([RESULTS_OFFSET, RESULTS_OFFSET + size / 2]);
    expect(memory.store(filled(4, 8))).toBeUndefined();
    const left = [...extents.slice(1), ...halves].map((extent) => valueAt(results, extent));
    expect(left).toEqual([2, 3, 4, 6, 7]);
    results.noteTaken();
    expect(memory.store(filled(size, 9))?.offset).toBe(RESULTS_OFFSET + size);
    expect(memory.store(filled(4, 8))).toBeUndefined();
  });

  it('at most 255 results wait, which is what the count of taken ones can tell', () => {
    const results = offer();
    const memory = accept(results);
    for (let count = 0; count < 1000; count++) {
      expect(memory.store(filled(4, 1))).toBeDefined();
      results.noteTaken();
    }
    const stored = Array.from({ length: 256 }, () => memory.store(filled(4, 1)));
    expect(stored.map((extent) => extent !== undefined)).toEqual([...Array<boolean>(255).fill(true), false]);
    for (let taken = 0; taken < 255; taken++) results.noteTaken();
    expect(memory.store(filled(4, 1))?.offset).toBe(RESULTS_OFFSET);
  });

  it('results that come after the session has ended go nowhere', () => {
    const results = offer();
    const memory = accept(results);
    memory.close();
    expect(memory.store(filled(4, 1))).toBeUndefined();
  });

  it('a result larger than the file is left to the socket', () => {
    expect(accept(offer()).store(new Uint8Array(MAX_UNREAD_BYTES + 4))).toBeUndefined();
  });
});
