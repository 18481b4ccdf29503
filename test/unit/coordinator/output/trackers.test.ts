// Trackers that write files, and the page for Prometheus.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { CsvMetricLogger } from '../../../../coordinator/output/csv-logger.ts';
import type { MetricRecord } from '../../../../coordinator/output/metric-logger.ts';
import { PrometheusLogger } from '../../../../coordinator/output/prometheus-logger.ts';
import { TensorboardLogger } from '../../../../coordinator/output/tensorboard-logger.ts';
import { HOUSE_SUMMARY } from '../../../helpers/house-summary.ts';
import { ROOT } from '../../../helpers/cli.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

function stepRecord(step: number, values: Readonly<Record<string, number>> = {}): MetricRecord {
  return { _step: step, _runtime: step / 4, _timestamp: 1000 + step, lr: 0.5, ...values };
}

describe('metrics.csv', () => {
  /** A table, and the records that `metrics.jsonl` has. */
  function startCsv() {
    const file = path.join(temporaryDirectory(), 'metrics.csv');
    const records: MetricRecord[] = [];
    const logger = new CsvMetricLogger(file, () => records);
    const log = (record: MetricRecord): void => {
      records.push(record);
      logger.log(record);
    };
    return { file, records, logger, log, lines: () => fs.readFileSync(file, 'utf8').trimEnd().split('\n') };
  }

  test('metrics.csv has a column for each name in the order of appearance, also for later ones', async () => {
    const { log, lines, logger } = startCsv();
    log(stepRecord(1));
    expect(lines()).toEqual(['_step,_runtime,_timestamp,lr', '1,0.25,1001,0.5']);
    log({ _step: 1, _runtime: 1, _timestamp: 1002, 'val/loss': Number.NaN, 'val/"r2"': -Infinity });
    log(stepRecord(2));
    await logger.finish();
    expect(lines()).toEqual([
      '_step,_runtime,_timestamp,lr,val/loss,"val/""r2"""',
      '1,0.25,1001,0.5,,',
      '1,1,1002,,NaN,-Infinity',
      '2,0.5,1002,0.5,,',
    ]);
  });

  test('metrics.csv is written anew one record at a time, however many there are', () => {
    const file = path.join(temporaryDirectory(), 'metrics.csv');
    const written: number[] = [];
    const all = function* (): Generator<MetricRecord> {
      for (const step of [1, 2, 3]) {
        const [anew] = fs.readdirSync(path.dirname(file)).filter((name) => name.endsWith('.tmp'));
        const text = anew === undefined ? '' : fs.readFileSync(path.join(path.dirname(file), anew), 'utf8');
        written.push(text.split('\n').filter((line) => line.startsWith(`${step - 1},`)).length);
        yield stepRecord(step);
      }
    };
    new CsvMetricLogger(file, all).restart();
    // The first pass finds the columns, the second has written each record before it takes the next.
    expect(written).toEqual([0, 0, 0, 0, 1, 1]);
  });

  test('metrics.csv has the records that hold where a run begins again, and goes on from there', () => {
    const { log, lines, logger, records, file } = startCsv();
    for (const step of [1, 2, 3]) log(stepRecord(step));
    records.length = 2;
    logger.restart();
    log(stepRecord(3, { lr: 0.25 }));
    expect(lines().slice(1)).toEqual(['1,0.25,1001,0.5', '2,0.5,1002,0.5', '3,0.75,1003,0.25']);
    expect(fs.readdirSync(path.dirname(file))).toEqual(['metrics.csv']);
  });
});

describe('TensorBoard', () => {
  /** The reading of TensorBoard itself, see `scripts/golden/event_files.py`. */
  interface Reading {
    readonly sha256: string;
    readonly scalars: Readonly<Record<string, readonly (readonly [number, number, number])[]>>;
    readonly texts: Readonly<Record<string, string>>;
  }

  const golden = JSON.parse(
    fs.readFileSync(path.join(ROOT, 'test/golden/tensorboard.json'), 'utf8'),
  ) as Reading;

  function eventsOf(folder: string): string {
    const names = fs.readdirSync(folder);
    expect(names).toEqual([expect.stringMatching(/^events\.out\.tfevents\.\d{10}\./)]);
    return path.join(folder, names[0]!);
  }

  test('event files are byte by byte those that TensorBoard has read, with values, steps and times', async () => {
    const folder = path.join(temporaryDirectory(), 'tensorboard');
    const logger = new TensorboardLogger({ folder, config: 'name: house\nseed: 7\n', nowMs: () => 5000 });
    logger.log(stepRecord(1));
    logger.log(stepRecord(300, { 'val/r2': -0.25 }));
    await logger.finish(HOUSE_SUMMARY);
    const file = eventsOf(folder);
    // To renew the golden values: LOCKSTEP_KEEP=FILE, then the script.
    if (process.env['LOCKSTEP_KEEP']) fs.copyFileSync(file, process.env['LOCKSTEP_KEEP']);
    expect(createHash('sha256').update(fs.readFileSync(file)).digest('hex')).toBe(golden.sha256);
    expect(golden.scalars).toMatchObject({
      lr: [
        [1, 0.5, 1001],
        [300, 0.5, 1300],
      ],
      'val/r2': [[300, -0.25, 1300]],
      'test/mae': [[300, 19_000, 5]],
    });
    expect(golden.texts).toEqual({ 'config/text_summary': '    name: house\n    seed: 7\n    ' });
  });

  test('a run that begins again leaves one event file, with the records that hold', () => {
    const folder = path.join(temporaryDirectory(), 'tensorboard');
    const options = { folder, config: '', nowMs: () => 5000 };
    const first = new TensorboardLogger(options);
    for (const step of [1, 2, 3]) first.log(stepRecord(step));
    const resumed = new TensorboardLogger({ ...options, nowMs: () => 6000 });
    resumed.restart([stepRecord(1), stepRecord(2)]);
    resumed.log(stepRecord(3));
    const whole = new TensorboardLogger({ folder: `${folder}-2`, config: '', nowMs: () => 6000 });
    for (const step of [1, 2, 3]) whole.log(stepRecord(step));
    expect(fs.readFileSync(eventsOf(folder))).toEqual(fs.readFileSync(eventsOf(`${folder}-2`)));
  });
});

describe('Prometheus', () => {
  test('the page for Prometheus has the newest value of each metric, and nothing else is served', async () => {
    const logger = new PrometheusLogger({ run: 'house' });
    onTestFinished(() => logger.finish());
    const port = await logger.listen({ host: '127.0.0.1', port: 0 });
    logger.restart([stepRecord(1)]);
    logger.log(stepRecord(2, { 'train/stepLoss': 0.5, 'val/r2': Number.NaN }));
    const page = await fetch(`http://127.0.0.1:${port}/metrics`);
    expect(page.headers.get('content-type')).toContain('version=0.0.4');
    const lines = (await page.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    expect(lines).toEqual([
      'lockstep_step{run="house"} 2',
      'lockstep_runtime_seconds{run="house"} 0.5',
      'lockstep_lr{run="house"} 0.5',
      'lockstep_train_step_loss{run="house"} 0.5',
      'lockstep_val_r2{run="house"} Nan',
    ]);
    expect((await fetch(`http://127.0.0.1:${port}/other`)).status).toBe(404);
    expect((await fetch(`http://127.0.0.1:${port}/metrics`, { method: 'POST' })).status).toBe(405);
  });

  test('a port that is taken is an error of listening, and the end closes connections', async () => {
    const first = new PrometheusLogger({ run: 'a' });
    const port = await first.listen({ host: '127.0.0.1', port: 0 });
    await expect(new PrometheusLogger({ run: 'b' }).listen({ host: '127.0.0.1', port })).rejects.toThrow(
      'EADDRINUSE',
    );
    const agent = new http.Agent({ keepAlive: true });
    onTestFinished(() => agent.destroy());
    await new Promise((resolve) =>
      http.get({ port, path: '/metrics', agent }, (r) => r.resume().on('end', resolve)),
    );
    await first.finish();
    await expect(fetch(`http://127.0.0.1:${port}/metrics`)).rejects.toThrow();
  });
});
