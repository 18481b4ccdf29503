// The kernels' vector exp alone: it is inlined into activations and softmax and not exported, so a module
// of its own is compiled around it.
import fs from 'node:fs';
import path from 'node:path';
import asc from 'assemblyscript/asc';

const ASSEMBLY = path.resolve(import.meta.dirname, '../../../assembly');

const PROBE = `
import { expVector } from './math';
export function exp(x: usize, length: u32): void {
  for (let i: u32 = 0; i < length; i += 4) {
    v128.store(x, expVector(v128.load(x)));
    x += 16;
  }
}`;

/** Returns a function that replaces each of its float32, a multiple of 4, by e^x. */
export async function compileExp(): Promise<(x: Float32Array) => void> {
  let binary: Uint8Array<ArrayBuffer> | undefined;
  const { error } = await asc.main(
    ['probe.ts', '--outFile', 'probe.wasm', '-O3', '--runtime', 'stub', '--enable', 'simd', '--noAssert'],
    {
      readFile: (name, baseDir) => {
        if (name === 'probe.ts') return PROBE;
        const file = path.resolve(ASSEMBLY, baseDir, name);
        return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : null;
      },
      writeFile: (_name, contents) => {
        binary = Uint8Array.from(contents as Uint8Array);
      },
      listFiles: () => [],
    },
  );
  if (error || !binary) throw new Error('the exp probe does not compile', { cause: error });
  const { instance } = await WebAssembly.instantiate(binary);
  const exports = instance.exports as { memory: WebAssembly.Memory; exp(x: number, length: number): void };
  return (x) => {
    const address = 65_536 * exports.memory.grow(Math.ceil(x.byteLength / 65_536));
    const values = new Float32Array(exports.memory.buffer, address, x.length);
    values.set(x);
    exports.exp(address, x.length);
    x.set(values);
  };
}
