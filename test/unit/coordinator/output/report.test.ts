import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { reportOf } from '../../../../coordinator/output/report.ts';
import type { ReportOptions } from '../../../../coordinator/output/report.ts';
import { RunDirectory } from '../../../../coordinator/output/run-directory.ts';
import { resolveModel } from '../../../../src/model/model.ts';
import { layerSchema } from '../../../../src/layers/registry.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

const HOSTILE = `<script>alert(1)</script><img src=x onerror="alert(2)">'&\u001b`;
const SHOWN =
  '&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=&quot;alert(2)&quot;&gt;&#39;&amp;\\u001b';

const RATIOS = { precision: 0.5, recall: 0.25, f1: 1 / 3 };

function reportFor(
  values: Partial<ReportOptions> = {},
  fill: (directory: RunDirectory) => void = () => undefined,
): string {
  const directory = new RunDirectory(temporaryDirectory());
  const lines = (...records: object[]): string =>
    records.map((record) => `${JSON.stringify(record)}\n`).join('');
  const epochs = Array.from({ length: 120 }, (_, i) => ({
    _step: i,
    epoch: i + 1,
    'train/loss': i,
    'val/loss': 'NaN',
  }));
  fs.writeFileSync(directory.metricsPath, lines(...epochs));
  const events = Array.from({ length: 150 }, (_, i) => ({
    time: 't',
    type: 'workerLeft',
    name: HOSTILE,
    worker: i,
  }));
  fs.writeFileSync(directory.eventsPath, lines(...events, { time: 't', type: 'stepDone', step: 1 }));
  fill(directory);
  const layers = [layerSchema.parse({ kind: 'dense', units: 3 })];
  const metrics = { loss: 0.5, accuracy: 0.75, perClass: [{ ...RATIOS, support: 12_345 }], macro: RATIOS };
  return reportOf({
    directory,
    model: resolveModel({ layers }, [4]),
    config: `name: ${HOSTILE}\n`,
    classNames: [HOSTILE],
    summary: {
      name: HOSTILE,
      seed: 7,
      numerics: 'strict',
      kernelWidth: 128,
      shards: 8,
      wire: { gradients: 'f32', groups: 8 } as never,
      weightsSha256: 'abc',
      epochs: 120,
      steps: 1200,
      samplesSeen: 12_000,
      workers: 2,
      wallSeconds: 3,
      trainSeconds: 2,
      samplesPerSecond: 6000,
      train: { loss: 0.4 },
      validation: metrics,
      test: metrics,
      best: { epoch: 5 },
    },
    ...values,
  });
}

test('a report is one file without scripts, links or anything from elsewhere', () => {
  const html = reportFor({}, ({ plotsPath }) => {
    fs.mkdirSync(plotsPath);
    fs.writeFileSync(path.join(plotsPath, 'loss-curves.svg'), '<svg xmlns="http://www.w3.org/2000/svg"/>');
    fs.writeFileSync(path.join(plotsPath, 'loss-curves.png'), 'png');
  });
  expect(html).not.toMatch(/<script|<link|<iframe|<object|<a |@import|url\(/);
  expect([...html.matchAll(/(?:src|href)="([^"]{0,30})/g)].map((match) => match[1])).toEqual([
    'data:image/svg+xml;base64,PHN2',
  ]);
});

test('names from others are text in a report', () => {
  const html = reportFor();
  const tags = new Set([...html.matchAll(/<([a-z0-9]+)/g)].map((match) => match[1]));
  expect([...tags].filter((tag) => ['script', 'img'].includes(tag ?? ''))).toEqual([]);
  expect(html).toContain(`<h1>${SHOWN}</h1>`);
  expect(html).toContain(`<pre>name: ${SHOWN}`);
  expect(html).toContain(
    `<th scope="row">${SHOWN}</th><td>0.5000</td><td>0.2500</td><td>0.3333</td><td>12,345</td>`,
  );
});

test('a report of a long run has 50 of its epochs, the last one too, and its last 100 events', () => {
  const html = reportFor();
  expect(html).toContain('<th scope="row">120</th><td>119.0</td><td>NaN</td>');
  expect(html).toContain('50 of 120 epochs.');
  expect(html).toContain('100 of 150 events.');
  expect(html.match(/worker 149</g)?.length).toBe(1);
  expect(html).not.toContain('worker 49<');
  expect(html).toContain('0 dense</th><td>3</td><td>15</td>');
});

test('a plot with thousands of marks is shown as its PNG, and plots beyond 8 MiB are left out', () => {
  const html = reportFor({}, ({ plotsPath }) => {
    fs.mkdirSync(plotsPath);
    fs.writeFileSync(path.join(plotsPath, 'test-residuals.svg'), 'x'.repeat(300_000));
    fs.writeFileSync(path.join(plotsPath, 'test-residuals.png'), 'png');
    for (const name of ['a', 'b', 'c'])
      fs.writeFileSync(path.join(plotsPath, `${name}.svg`), 'x'.repeat(3 * 2 ** 20));
  });
  expect(
    [...html.matchAll(/alt="([^"]*)" src="data:([^;]*)/g)].map(([, name, type]) => [name, type]),
  ).toEqual([
    ['a', 'image/svg+xml'],
    ['b', 'image/svg+xml'],
    ['test residuals', 'image/png'],
  ]);
  expect(html.length).toBeLessThan(12 * 2 ** 20);
});

test('a config that is longer than a report has room for is cut, and the report says so', () => {
  const html = reportFor({ config: 'x'.repeat(100_000) });
  expect(html).toContain('… config.yaml has the rest</pre>');
  expect(html.length).toBeLessThan(100_000);
});
