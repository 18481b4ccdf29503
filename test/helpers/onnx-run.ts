// ONNX files and what judges them: ONNX Runtime, which runs in this process, and the checker of the Python
// package onnx, where there is one.
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import * as ort from 'onnxruntime-web';
import { encodeOnnx } from '../../src/export/onnx.ts';
import type { InputLayout } from '../../src/export/onnx-features.ts';
import { readModel } from '../../src/predict/load-model.ts';
import { loadModel } from '../../src/predict/load-model.ts';
import type { TrainedModel } from '../../src/predict/trained-model.ts';
import { temporaryDirectory } from './temporary-directory.ts';

// Its threads would outlive a test.
ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'error';

/** Debian's Python, which has the packages that its own packages install. */
export const PYTHON = '/usr/bin/python3';

/** True where Debian's Python has all of these modules. */
export function pythonHas(...modules: readonly string[]): boolean {
  return spawnSync(PYTHON, ['-c', `import ${modules.join(', ')}`]).status === 0;
}

/** A model of a run, as Lockstep and as ONNX Runtime have it. */
export interface OnnxPair {
  readonly model: TrainedModel;
  readonly file: Uint8Array;
  readonly session: ort.InferenceSession;
}

/** Exports the model of a run and loads it both ways. */
export async function loadPair(directory: string, inputs: InputLayout = 'columns'): Promise<OnnxPair> {
  const model = await loadModel(directory, { warn: () => undefined });
  const file = encodeOnnx(await readModel(directory), inputs);
  return { model, file, session: await ort.InferenceSession.create(file) };
}

/** The largest difference of two lists of numbers, as a share of the largest number of either. */
export function relativeError(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (found.length !== expected.length) return Infinity;
  let [error, largest] = [0, 0];
  for (let at = 0; at < expected.length; at++) {
    const [a, b] = [Number(found[at]), Number(expected[at])];
    error = Math.max(error, Number.isNaN(a - b) ? Infinity : Math.abs(a - b));
    largest = Math.max(largest, Math.abs(a), Math.abs(b));
  }
  return error === 0 ? 0 : error / largest;
}

/** Runs the Python checker, with inference of all types and shapes, over files. */
export function checkOnnx(files: readonly Uint8Array[]): void {
  const directory = temporaryDirectory();
  const paths = files.map((file, index) => {
    const name = path.join(directory, `${index}.onnx`);
    fs.writeFileSync(name, file);
    return name;
  });
  const program = 'import sys, onnx\nfor f in sys.argv[1:]: onnx.checker.check_model(f, full_check=True)';
  execFileSync(PYTHON, ['-c', program, ...paths], { stdio: 'pipe' });
}
