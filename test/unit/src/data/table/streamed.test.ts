// Tables whose features are kept in a file, and not in memory: nothing of what they give is different.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import type { ConfigInput } from '../../../../../src/config/schema.ts';
import {
  featureView,
  rowSource,
  sampleWeightView,
  targetView,
} from '../../../../../src/data/dataset/packed-dataset.ts';
import { temporaryDirectory } from '../../../../helpers/temporary-directory.ts';
import { errorOf, featuresOf, load, loadText, configOf, directoryOf } from '../fixtures.ts';

/** More than one block of the file in which columns wait to be encoded. */
const NUM_ROWS = 70_000;

/** A table with a column of each kind; `q` has quoted tokens before its first text, `m` has gaps. */
function tableText(): string {
  const lines = ['a,date,flag,q,m,level,w,y'];
  for (let row = 0; row < NUM_ROWS; row++) {
    const day = `2024-${String((row % 12) + 1).padStart(2, '0')}-${String((row % 28) + 1).padStart(2, '0')}`;
    const text = row < NUM_ROWS / 2 ? '"NA"' : `t${row % 5}`;
    const gap = row % 1000 === 7 ? '' : (row % 97) / 7;
    const level = ['low', 'mid', 'high'][row % 3];
    lines.push(
      [(row * 7919) % 1009, day, row % 2 ? 'yes' : 'no', text, gap, level, 1 + (row % 3), row % 101].join(),
    );
  }
  return `${lines.join('\n')}\n`;
}

const DATA = {
  split: { validation: 0.1, test: 0.1 },
  shuffle: true,
  missing: { default: 'error', columns: { m: 'drop-row' } },
  columns: { level: { kind: 'ordinal', order: ['low', 'mid', 'high'] }, q: 'categorical' },
  weights: 'w',
} satisfies Partial<ConfigInput['data']>;

describe('a streamed table', () => {
  it('gives the hash, splits, transforms, warnings and rows that it gives in memory', async () => {
    const text = tableText();
    const whole = await loadText(text, DATA);
    const streamed = await loadText(text, { ...DATA, stream: true });
    expect(whole.dataset.layout.numRows).toBe(NUM_ROWS - 70);
    expect(streamed.dataset.sha256).toBe(whole.dataset.sha256);
    expect(streamed.dataset.layout).toEqual(whole.dataset.layout);
    expect(streamed.splits).toEqual(whole.splits);
    expect(streamed.transforms).toEqual(whole.transforms);
    const named = ({ warnings, directory }: typeof whole) =>
      warnings.map((text) => text.replace(directory, ''));
    expect(named(streamed)).toEqual(named(whole));
    expect(targetView(streamed.dataset)).toEqual(targetView(whole.dataset));
    expect(sampleWeightView(streamed.dataset)).toEqual(sampleWeightView(whole.dataset));
    expect(streamed.dataset.blob.byteLength).toBe(8 * (NUM_ROWS - 70));
    const { dataset } = streamed;
    const indices = Uint32Array.of(69_000, 3, 4, 5, 68_999, 3);
    const blob = rowSource(dataset)?.read(indices, 0) as Uint8Array;
    const rows = { layout: { ...dataset.layout, numRows: indices.length }, blob };
    const picked = (view: ArrayLike<number>) => [...indices].map((row) => view[row]);
    expect([...featureView(rows)]).toEqual([...indices].flatMap((row) => featuresOf(whole, row)));
    expect([...targetView(rows)]).toEqual(picked(targetView(whole.dataset)));
    expect([...(sampleWeightView(rows) as Float32Array)]).toEqual(
      picked(sampleWeightView(whole.dataset) as Float32Array),
    );
  });

  it('encodes new rows by what training has learnt, and names those it cannot', async () => {
    const trained = await loadText('a,k,y\n1,p,1\n2,q,2\n3,p,3\n', {
      stream: true,
      columns: { a: { kind: 'ordinal', order: ['1', '2', '3'] } },
    });
    const [good, bad] = ['a,k,y\n3,q,1\n2,z,1\n', 'a,k,y\n1,q,1\n7,p,1\n'];
    const directory = await directoryOf({ 'good.csv': good, 'bad.csv': bad });
    const config = (name: string) =>
      configOf({
        file: join(directory, name),
        target: 'y',
        split: { validation: 0, test: 0 },
        stream: true,
      });
    const { warnings } = await load(config('good.csv'), trained);
    expect(warnings).toEqual(['column "k": 1 row with a value that training never saw; encoded as zeros']);
    expect(await errorOf(load(config('bad.csv'), trained), directory)).toContain('bad.csv:3');
  });

  it('leaves no file behind, and says where it would have been if it cannot be made', async () => {
    const folder = temporaryDirectory();
    vi.stubEnv('LOCKSTEP_CACHE_DIR', folder);
    await loadText('x,y\n1,2\n3,4\n', { stream: true });
    expect(readdirSync(join(folder, 'rows'))).toEqual([]);
    for (const place of ['/dev/null', '/proc/lockstep']) {
      vi.stubEnv('LOCKSTEP_CACHE_DIR', place);
      const error = await errorOf(loadText('x,y\n1,2\n3,4\n', { stream: true }));
      expect(error).toContain(`error[E_SCRATCH_FILE]: cannot open a file in ${place}/rows, where `);
      expect(error).toContain('name another folder by LOCKSTEP_CACHE_DIR');
    }
    vi.unstubAllEnvs();
  });

  it('is refused for texts, which are packed in memory', () => {
    const config = () => configOf({ train: { text: 'a.txt' }, context: 8, stream: true });
    expect(config).toThrow('is for tables and images');
  });
});
