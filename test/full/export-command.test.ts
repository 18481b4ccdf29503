// `lockstep export`: what it writes is read by ONNX Runtime and by Lockstep itself, with the same
// predictions. export.test.ts has models of every kind, and PyTorch.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TrainConfig } from '../../api/train.ts';
import { decodeSafetensors } from '../../src/safetensors.ts';
import { ROOT, runCli } from '../helpers/cli.ts';
import { blockOf, exportRun, predicted, TABLES, trainAll } from '../helpers/exported-models.ts';
import { relativeError } from '../helpers/onnx-run.ts';

const TOLERANCE = 1e-5;

let cwd = '';

beforeAll(async () => {
  cwd = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-export-'));
  await trainAll(cwd, [TABLES['areas'] as TrainConfig]);
});

afterAll(() => fs.rmSync(cwd, { recursive: true }));

describe('lockstep export --format onnx', () => {
  it('the program on the page about using a model prints the predictions of lockstep predict', async () => {
    await exportRun(cwd, 'areas', '--format', 'onnx', '--output', 'areas.onnx');
    fs.writeFileSync(path.join(cwd, 'two.csv'), 'width,height,shape\n10,5,box\n12,5,roof\n');
    fs.symlinkSync(path.join(ROOT, 'node_modules'), path.join(cwd, 'node_modules'));
    fs.writeFileSync(path.join(cwd, 'areas.mjs'), blockOf('js'));
    const printed = execFileSync(process.execPath, ['areas.mjs'], { cwd, encoding: 'utf8' });
    const expected = await predicted(cwd, 'runs/areas', 'two.csv');
    expect(relativeError(printed.trimEnd().split('\n').map(Number), expected)).toBeLessThan(TOLERANCE);
  });

  it('an export refuses options of another format, and to overwrite the model', async () => {
    const inputs = ['export', 'runs/areas', '--format', 'safetensors', '--inputs', 'grouped'];
    expect(await runCli(inputs, { cwd })).toMatchObject({
      exitCode: 2,
      stderr: 'error[E_EXPORT]: --inputs is for --format onnx, not safetensors\n  help: leave it out\n',
    });
    const file = 'runs/areas/model/model.safetensors';
    expect(
      await runCli(['export', 'runs/areas', '--format', 'safetensors', '--output', file], { cwd }),
    ).toMatchObject({
      exitCode: 2,
      stderr: `error[E_OUTPUT]: --output ${file} is a file of the model\n  help: name another place for the export\n`,
    });
    expect(await runCli(['export', 'runs/areas', '--format', 'keras'], { cwd })).toMatchObject({
      exitCode: 2,
    });
    expect(
      await runCli(['export', 'runs/areas', '--format', 'onnx', '--output', 'none/a.onnx'], { cwd }),
    ).toMatchObject({
      exitCode: 1,
      stderr:
        'error[E_OUTPUT]: cannot write to none/a.onnx: no such directory\n' +
        '  help: make the directory first, or name a file in one that exists\n',
    });
  });
});

describe('lockstep export --format safetensors', () => {
  it('one file is a whole model, with the same predictions to the bit', async () => {
    await exportRun(cwd, 'areas', '--format', 'safetensors', '--output', 'one.safetensors');
    expect(await predicted(cwd, 'one.safetensors', 'areas.csv')).toEqual(
      await predicted(cwd, 'runs/areas', 'areas.csv'),
    );
    const own = decodeSafetensors(fs.readFileSync(path.join(cwd, 'runs/areas/model/model.safetensors')), '');
    const one = decodeSafetensors(fs.readFileSync(path.join(cwd, 'one.safetensors')), '');
    expect(one.tensors).toEqual(own.tensors);
    const weights = await runCli(['predict', 'runs/areas/checkpoints/none', 'areas.csv'], { cwd });
    expect(weights.stderr).toContain('error[E_MODEL_NOT_FOUND]');
    fs.copyFileSync(
      path.join(cwd, 'runs/areas/model/model.safetensors'),
      path.join(cwd, 'weights.safetensors'),
    );
    expect(await runCli(['predict', 'weights.safetensors', 'areas.csv'], { cwd })).toMatchObject({
      exitCode: 4,
      stderr:
        `error[E_MODEL_INVALID]: ${cwd}/weights.safetensors holds weights alone, without the description of a model\n` +
        '  help: name the directory of a run, or a file that lockstep export --format safetensors has written\n',
    });
  });
});

describe('lockstep export --format huggingface', () => {
  it('a folder is a model of Lockstep, with a card that names metrics and columns', async () => {
    await exportRun(cwd, 'areas', '--format', 'huggingface');
    expect(fs.readdirSync(path.join(cwd, 'areas-huggingface')).sort()).toEqual([
      'README.md',
      'config.json',
      'model.py',
      'model.safetensors',
    ]);
    expect(await predicted(cwd, 'areas-huggingface', 'areas.csv')).toEqual(
      await predicted(cwd, 'runs/areas', 'areas.csv'),
    );
    const card = fs.readFileSync(path.join(cwd, 'areas-huggingface/README.md'), 'utf8');
    expect(card).toMatch(/^---\nlibrary_name: lockstep\npipeline_tag: tabular-regression\n/);
    expect(card).toContain('| width | numeric | no |\n');
    expect(card).toMatch(/\n\| \| validation \| test \|\n/);
    expect(card).toMatch(/\| rmse \| [\d.]+ \| [\d.]+ \|\n/);
  });
});
