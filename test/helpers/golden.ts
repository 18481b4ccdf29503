// The committed values of PyTorch, and the comparison of results with them.
import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { decodeSafetensors } from '../../src/safetensors.ts';
import type { NamedTensor, SafetensorsFile } from '../../src/safetensors.ts';

const GOLDEN = path.resolve(import.meta.dirname, '../golden');

/** The tensors of one file. */
export class Golden {
  readonly #name: string;
  readonly #file: SafetensorsFile;

  constructor(name: string) {
    this.#name = name;
    this.#file = decodeSafetensors(fs.readFileSync(path.join(GOLDEN, `${name}.safetensors`)), name);
  }

  tensor(name: string): NamedTensor {
    const tensor = this.#file.tensors.get(name);
    if (!tensor) throw new Error(`${this.#name}.safetensors has no ${name}`);
    return tensor;
  }

  values(name: string): Float32Array {
    return this.tensor(name).values;
  }

  has(name: string): boolean {
    return this.#file.tensors.has(name);
  }

  /** Tensors whose names begin with `prefix`, which is removed; all by default. */
  under(prefix = ''): Map<string, Float32Array> {
    const found = [...this.#file.tensors].filter(([name]) => name.startsWith(prefix));
    return new Map(found.map(([name, { values }]) => [name.slice(prefix.length), values]));
  }

  /** The same as a file of weights. */
  file(prefix = ''): SafetensorsFile {
    const found = [...this.#file.tensors].filter(([name]) => name.startsWith(prefix));
    return {
      ...this.#file,
      tensors: new Map(found.map(([name, tensor]) => [name.slice(prefix.length), tensor])),
    };
  }
}

/** Reads a golden JSON file. */
export function readRecorded<T>(name: string): T {
  return JSON.parse(fs.readFileSync(path.join(GOLDEN, `${name}.json`), 'utf8')) as T;
}

/**
 * Asserts that the largest difference, relative to the largest expected value, is below
 * `tolerance`; where all are 0, that there is none.
 */
export function expectNear(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  what: string,
): void {
  expect(actual.length, what).toBe(expected.length);
  const largest = Math.max(Number.MIN_VALUE, ...Array.from(expected, Math.abs));
  const worst = Math.max(...Array.from(expected, (value, i) => Math.abs(value - (actual[i] as number))));
  expect(worst / largest, what).toBeLessThan(tolerance);
}
