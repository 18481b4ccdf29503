import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { readCurves, thinOut } from '../../../../coordinator/output/run-curves.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

test('curves have every metric by epoch and the learning rate by step, with numbers that are not finite', () => {
  const file = path.join(temporaryDirectory(), 'metrics.jsonl');
  const records = [
    { _step: 1, epoch: 1, 'train/stepLoss': 3, lr: 0.1, gradNorm: 'Infinity' },
    { _step: 1, epoch: 1, 'train/loss': 3, 'val/loss': 2, 'val/r2': 0.5, 'val/macro/f1': 'NaN' },
    { _step: 2, epoch: 2, 'train/stepLoss': 2, lr: 0.05, gradNorm: 4 },
  ];
  fs.writeFileSync(file, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  expect(readCurves(file)).toEqual({
    metrics: [
      { name: 'r2', points: [{ x: 1, y: 0.5 }] },
      { name: 'macro/f1', points: [{ x: 1, y: NaN }] },
    ],
    learningRate: [
      { x: 1, y: 0.1 },
      { x: 2, y: 0.05 },
    ],
    gradientNorm: [
      { x: 1, y: Infinity },
      { x: 2, y: 4 },
    ],
  });
});

test('a long curve keeps its spikes, its ends and its order', () => {
  const points = Array.from({ length: 100_000 }, (_, x) => ({
    x,
    y: x === 54_321 ? 9 : x === 777 ? -9 : (x * 7) % 3,
  }));
  const thin = thinOut(points);
  expect(thin.length).toBeLessThanOrEqual(1000);
  expect(thin).toContainEqual({ x: 54_321, y: 9 });
  expect(thin).toContainEqual({ x: 777, y: -9 });
  expect(thin.at(-1)?.x).toBe(99_999);
  expect(thin.every(({ x }, i) => i === 0 || x > thin[i - 1]!.x)).toBe(true);
  expect(thinOut(points.slice(0, 1000))).toEqual(points.slice(0, 1000));
});
