import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { RowLayout } from '../../../src/data/dataset/packed-dataset.ts';
import type { Logger } from '../../../src/log.ts';
import type { Connection } from '../../../src/protocol/connection.ts';
import { Screen } from '../../../src/screen.ts';
import { WorkerProgress } from '../../../worker/progress.ts';

const MIB = 2 ** 20;
/** 16 MiB of features and 4 MiB of labels. */
const LAYOUT: RowLayout = {
  numRows: MIB,
  featureShape: [16],
  featureType: 'u8',
  featureScale: 1,
  targetKind: 'labels',
  targetWidth: 1,
  numClasses: 2,
  hasSampleWeights: false,
};

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('a worker that loads a dataset says how much of it has come, and since when it waits', () => {
  const lines: string[] = [];
  const log = { info: (line: string) => lines.push(line) } as unknown as Logger;
  const progress = new WorkerProgress(new Screen({ write: () => undefined }), log);
  progress.connected({ bytesRead: 0 } as Connection);
  progress.waits('the dataset');
  vi.advanceTimersByTime(9000);
  progress.loads(4 * MIB, LAYOUT);
  vi.advanceTimersByTime(9000);
  progress.loads(8 * MIB, LAYOUT);
  vi.advanceTimersByTime(9000);
  progress.close();
  expect(lines).toEqual([
    'waiting for the dataset: 4.0 MiB of 20.0 MiB are here, for 10 s',
    'waiting for the dataset: 8.0 MiB of 20.0 MiB are here, for 20 s',
  ]);
});
