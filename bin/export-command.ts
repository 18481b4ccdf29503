// `lockstep export`: the model of a run in a form that other programs read.
import fs from 'node:fs/promises';
import path from 'node:path';
import { LockstepError, systemErrorCode } from '../src/errors.ts';
import { writeFileDurably } from '../src/durable-write.ts';
import type { InputLayout } from '../src/export/onnx-features.ts';
import {
  DESCRIPTION_FILE,
  encodeModelFile,
  WEIGHTS_FILE,
  type SavedModel,
} from '../src/predict/model-files.ts';
import { readModel } from '../src/predict/load-model.ts';
import { readRunMetrics } from '../src/predict/run-metrics.ts';
import { cannotWrite } from '../coordinator/output/results.ts';
import { isSameFile } from './model-command.ts';
import { createOutput } from './runtime.ts';

/** The forms of a model outside Lockstep. */
export type ExportFormat = 'onnx' | 'safetensors' | 'huggingface';

/** Arguments of `lockstep export`. */
export interface ExportArguments {
  readonly format: ExportFormat;
  readonly output?: string;
  readonly inputs?: InputLayout;
}

/** Writes the model of a run as one file, or as a folder of files; an existing one is replaced. */
export async function exportModel(run: string, args: ExportArguments): Promise<void> {
  const { format, inputs } = args;
  if (inputs !== undefined && format !== 'onnx') {
    throw new LockstepError({
      category: 'usage',
      code: 'E_EXPORT',
      message: `--inputs is for --format onnx, not ${format}`,
      help: 'leave it out',
    });
  }
  const saved = await readModel(run);
  const output = args.output ?? `${saved.description.name}${ENDINGS[format]}`;
  const files = await filesOf(saved, args);
  for (const file of files.keys()) await refuseOwnFile(path.join(output, file), saved, run);
  try {
    if (format === 'huggingface') await fs.mkdir(output, { recursive: true });
    for (const [file, content] of files) await writeFileDurably(path.join(output, file), content);
  } catch (error) {
    throw systemErrorCode(error) === undefined ? error : cannotWrite(output, error);
  }
  createOutput().log.info(`wrote ${output}`);
}

const ENDINGS: Readonly<Record<ExportFormat, string>> = {
  onnx: '.onnx',
  safetensors: '.safetensors',
  huggingface: '-huggingface',
};

/** Contents by path below the output; that of a single file is empty. */
async function filesOf(
  saved: SavedModel,
  { format, inputs = 'columns' }: ExportArguments,
): Promise<ReadonlyMap<string, Uint8Array | string>> {
  switch (format) {
    case 'onnx':
      return new Map([['', (await import('../src/export/onnx.ts')).encodeOnnx(saved, inputs)]]);
    case 'safetensors':
      return new Map([['', encodeModelFile(saved)]]);
    case 'huggingface': {
      const { huggingFaceFiles } = await import('../src/export/hugging-face.ts');
      return huggingFaceFiles(saved, await readRunMetrics(saved));
    }
    default:
      return format satisfies never;
  }
}

/** Throws if the export would overwrite what it is made from. */
async function refuseOwnFile(file: string, { directory }: SavedModel, run: string): Promise<void> {
  const own = [run, ...[DESCRIPTION_FILE, WEIGHTS_FILE].map((name) => path.join(directory, name))];
  const isOwn = await Promise.all(own.map((one) => isSameFile(file, one)));
  if (!isOwn.includes(true)) return;
  throw new LockstepError({
    category: 'usage',
    code: 'E_OUTPUT',
    message: `--output ${file} is a file of the model`,
    help: 'name another place for the export',
  });
}
