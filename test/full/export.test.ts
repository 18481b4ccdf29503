// Trained models in other programs: a convolutional, a recurrent and a transformer model, and tables with
// columns of every kind, give the same predictions in ONNX Runtime and in PyTorch.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import * as ort from 'onnxruntime-web';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../../src/predict/load-model.ts';
import {
  blockOf,
  EXAMPLES,
  exportRun,
  NUM_SAMPLES,
  predicted,
  probabilitiesOf,
  samplesOf,
  TABLES,
  trainAll,
} from '../helpers/exported-models.ts';
import { PYTHON, pythonHas, relativeError } from '../helpers/onnx-run.ts';

const TOLERANCE = 1e-5;

let cwd = '';

beforeAll(async () => {
  cwd = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-export-'));
  await trainAll(cwd, [...Object.values(EXAMPLES).map(({ config }) => config), ...Object.values(TABLES)]);
});

afterAll(() => fs.rmSync(cwd, { recursive: true }));

describe('lockstep export --format onnx', () => {
  it.each(Object.entries(EXAMPLES))(
    'a trained %s model gives the same probabilities in ONNX Runtime',
    async (name, example) => {
      await exportRun(cwd, name, '--format', 'onnx');
      const session = await ort.InferenceSession.create(fs.readFileSync(path.join(cwd, `${name}.onnx`)));
      const model = await loadModel(path.join(cwd, 'runs', name));
      const samples = samplesOf(example);
      const dimensions = [NUM_SAMPLES, ...model.inputShape];
      const tensor =
        example.type === 'int64'
          ? new ort.Tensor('int64', BigInt64Array.from(samples as Float32Array, BigInt), dimensions)
          : new ort.Tensor(example.type, samples as never, dimensions);
      const found = await session.run({ [session.inputNames[0] as string]: tensor });
      const expected = probabilitiesOf(model, samples);
      expect(relativeError(found['probabilities']?.data as Float32Array, expected)).toBeLessThan(TOLERANCE);
    },
  );
});

const hasTorch = pythonHas('torch');
const torch = hasTorch ? '' : ' (not here: Debian package python3-torch missing)';

describe('lockstep export --format huggingface', () => {
  it.skipIf(!hasTorch)(
    `the Python program on the page about using a model prints the predictions of lockstep predict${torch}`,
    async () => {
      await exportRun(cwd, 'areas', '--format', 'huggingface');
      const printed = execFileSync(PYTHON, ['-c', blockOf('python')], { cwd, encoding: 'utf8' });
      const expected = await predicted(cwd, 'runs/areas', 'areas.csv');
      expect(relativeError(printed.trimEnd().split('\n').map(Number), expected)).toBeLessThan(TOLERANCE);
    },
  );

  it.skipIf(!hasTorch)(`columns of every kind go through the same transforms in Python${torch}`, async () => {
    await exportRun(cwd, 'lots', '--format', 'huggingface');
    const program =
      'import csv, sys\nsys.path.insert(0, "lots-huggingface")\nfrom model import predict\n' +
      'for row in predict(list(csv.DictReader(open("lots.csv")))): print(row["price"])';
    const printed = execFileSync(PYTHON, ['-c', program], { cwd, encoding: 'utf8' });
    const expected = await predicted(cwd, 'runs/lots', 'lots.csv');
    expect(relativeError(printed.trimEnd().split('\n').map(Number), expected)).toBeLessThan(TOLERANCE);
  });

  it.skipIf(!hasTorch).each(Object.entries(EXAMPLES))(
    `a trained %s model gives the same probabilities in PyTorch${torch}`,
    async (name, example) => {
      await exportRun(cwd, name, '--format', 'huggingface');
      const samples = samplesOf(example);
      fs.writeFileSync(path.join(cwd, `${name}.json`), JSON.stringify([...samples]));
      const program =
        `import json, sys\nsys.path.insert(0, "${name}-huggingface")\nfrom model import predict\n` +
        `samples = json.load(open("${name}.json"))\n` +
        'rows = [one for row in predict(samples) for one in (row if isinstance(row, list) else [row])]\n' +
        'print(json.dumps([list(row["probabilities"].values()) for row in rows]))';
      const printed = execFileSync(PYTHON, ['-c', program], { cwd, encoding: 'utf8' });
      const model = await loadModel(path.join(cwd, 'runs', name));
      const found = (JSON.parse(printed) as number[][]).flat();
      expect(relativeError(found, probabilitiesOf(model, samples))).toBeLessThan(TOLERANCE);
    },
  );
});
