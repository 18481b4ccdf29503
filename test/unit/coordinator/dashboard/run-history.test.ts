import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { RunHistory } from '../../../../coordinator/dashboard/run-history.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

const CONFIG = 'name: house\nepochs: 3\nbatchSize: 100\n';

/** A run directory with a config, and functions that write to its records. */
function recordedRun() {
  const directory = temporaryDirectory();
  fs.writeFileSync(path.join(directory, 'config.yaml'), CONFIG);
  const append = (file: string, records: readonly object[]): void =>
    fs.appendFileSync(
      path.join(directory, file),
      records.map((record) => `${JSON.stringify(record)}\n`).join(''),
    );
  return {
    directory,
    history: new RunHistory(directory),
    metrics: (...records: object[]) => append('metrics.jsonl', records),
    events: (...records: object[]) => append('events.jsonl', records),
  };
}

function step(number: number, runtime = number, epoch = 1): object {
  return {
    _step: number,
    _runtime: runtime,
    _timestamp: 1e9 + runtime,
    epoch,
    'train/stepLoss': 1 / number,
    lr: 0.1,
    gradNorm: 'NaN',
  };
}

function epoch(number: number, numSteps: number): object {
  const common = { _step: number * numSteps, _runtime: 10 * number, _timestamp: 1e9, epoch: number };
  return { ...common, 'train/loss': 0.5, 'val/loss': 0.4, samplesPerSecond: 777, workers: 2 };
}

describe('the history of a run', () => {
  test('all records of a run become curves, events and a position', () => {
    const { history, metrics, events } = recordedRun();
    metrics(step(1), step(2), epoch(1, 2));
    events({ time: 't1', type: 'runStarted', seed: 7 }, { time: 't2', type: 'stepDone', step: 1 });
    events({ time: 't3', type: 'epochDone', epoch: 1, weightsSha256: 'abc' });
    history.update();
    const { name, config, status, curves, events: shown } = history.snapshot();
    expect({ name, config }).toEqual({ name: 'house', config: CONFIG });
    expect(status).toEqual({
      state: 'interrupted',
      position: { step: 2, epoch: 1, runtime: 10, timestamp: 1e9 },
      epochs: 3,
      stepsPerEpoch: 2,
      weightsSha256: 'abc',
      plots: [],
      summary: undefined,
    });
    expect(curves).toEqual({
      'train/stepLoss': [
        [1, 1],
        [2, 0.5],
      ],
      lr: [
        [1, 0.1],
        [2, 0.1],
      ],
      gradNorm: [
        [1, null],
        [2, null],
      ],
      rate: [[2, 100]],
      'train/loss': [[2, 0.5]],
      'val/loss': [[2, 0.4]],
    });
    expect(shown.map(({ type }) => type)).toEqual(['runStarted', 'epochDone']);
  });

  test('an update has what is new, and a line that is half written comes with the next one', () => {
    const { directory, history, metrics } = recordedRun();
    metrics(step(1));
    history.update();
    metrics(step(2));
    fs.appendFileSync(path.join(directory, 'metrics.jsonl'), '{"_step":3,"epo');
    expect(history.update()?.curves['lr']).toEqual([[2, 0.1]]);
    expect(history.update()?.curves).toEqual({});
    fs.appendFileSync(path.join(directory, 'metrics.jsonl'), 'ch":1,"lr":0.05}\n');
    expect(history.update()?.curves).toEqual({ lr: [[3, 0.05]] });
    expect(history.snapshot().curves['lr']).toEqual([
      [1, 0.1],
      [2, 0.1],
      [3, 0.05],
    ]);
  });

  test('an epoch that is over before a rate is taken has the rate of its record', () => {
    const { history, metrics } = recordedRun();
    metrics(step(1, 0.1), step(2, 0.2), epoch(1, 2), step(3, 11, 2), step(4, 12, 2), epoch(2, 2));
    history.update();
    expect(history.snapshot().curves['rate']).toEqual([
      [2, 777],
      [4, 100],
    ]);
  });

  test('metrics that a resumed or rolled back run cut off are gone, however many came after them', () => {
    const { directory, history, metrics, events } = recordedRun();
    metrics(step(1), step(2), step(3));
    history.update();
    fs.truncateSync(path.join(directory, 'metrics.jsonl'), 0);
    expect(history.update()).toBeUndefined();
    metrics(step(1), step(2), step(3), step(4));
    history.update();
    const file = path.join(directory, 'metrics.jsonl');
    const lines = fs.readFileSync(file, 'utf8').split('\n').slice(0, 1);
    fs.writeFileSync(file, `${lines.join('\n')}\n`);
    events({ time: 't', type: 'runRolledBack', step: 1, from: 'the start' });
    for (let number = 2; number <= 9; number++) metrics({ ...step(number), lr: 0.2 });
    expect(history.update()).toBeUndefined();
    expect(history.snapshot().curves['lr']).toEqual([
      [1, 0.1],
      ...[2, 3, 4, 5, 6, 7, 8, 9].map((at) => [at, 0.2]),
    ]);
  });

  test('a long run keeps at most 20,000 points of a curve, and its spikes', () => {
    const { history, metrics } = recordedRun();
    const points = Array.from({ length: 60_000 }, (_, i) => ({
      _step: i + 1,
      epoch: 1,
      lr: i === 31_415 ? 99 : 0.1,
    }));
    metrics(...points);
    history.update();
    const { lr = [] } = history.snapshot().curves;
    expect(lr.length).toBeLessThanOrEqual(20_000);
    expect(lr).toContainEqual([31_416, 99]);
    expect(lr.at(-1)).toEqual([60_000, 0.1]);
  });

  test('texts of events are cut, and of many events the newest 200 are shown', () => {
    const { history, events } = recordedRun();
    events(
      ...Array.from({ length: 1000 }, (_, i) => ({
        time: 't',
        type: 'workerJoined',
        worker: i,
        name: 'x'.repeat(5000),
      })),
    );
    history.update();
    const { events: shown } = history.snapshot();
    expect(shown.length).toBe(200);
    expect(shown.at(-1)).toEqual({
      time: 't',
      type: 'workerJoined',
      worker: 999,
      name: `${'x'.repeat(299)}…`,
    });
  });

  test('a finished run has its summary, and the names of its plots', () => {
    const { directory, history } = recordedRun();
    fs.mkdirSync(path.join(directory, 'plots'));
    for (const name of ['loss-curves.svg', 'loss-curves.png', 'a b.svg', '.hidden.svg'])
      fs.writeFileSync(path.join(directory, 'plots', name), '');
    fs.writeFileSync(path.join(directory, 'summary.json'), '{"name":"house"}');
    history.update();
    const { status } = history.snapshot();
    expect(status).toMatchObject({ state: 'finished', plots: ['loss-curves'], summary: { name: 'house' } });
  });

  test('records of another kind, and a directory without any, are no error', () => {
    const { directory, history } = recordedRun();
    fs.writeFileSync(path.join(directory, 'metrics.jsonl'), '[1]\nnull\n{"_step":"x"}\nnot JSON\n{}\n');
    fs.writeFileSync(path.join(directory, 'events.jsonl'), '{"type":5}\n{"type":"workerLeft"}\n');
    expect(history.update()?.curves).toEqual({});
    const empty = new RunHistory(path.join(directory, 'nothing'));
    empty.update();
    expect(empty.snapshot().status.state).toBe('preparing');
  });
});
