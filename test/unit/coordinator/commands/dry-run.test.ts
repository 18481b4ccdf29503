// The shards of a run whose layers take statistics of them, and the warnings and errors about their size.
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { dryRun } from '../../../../coordinator/commands/dry-run.ts';
import type { ConfigInput } from '../../../../src/config/schema.ts';
import { loadConfig } from '../../../../src/config/load.ts';
import { hasStatistics, layerSchema } from '../../../../src/layers/registry.ts';
import type { LayerInput } from '../../../../src/layers/registry.ts';
import { resolveModel } from '../../../../src/model/model.ts';
import { EVERY_LAYER } from '../../../helpers/every-layer.ts';
import { errorText } from '../../../helpers/saved-run.ts';
import { tableRun } from '../../../helpers/table-run.ts';

const ONE_UNIT: LayerInput = { kind: 'dense', units: 1 };
const NORMED: LayerInput[] = [{ kind: 'batchNorm' }, ONE_UNIT];

interface Setting {
  /** The number of rows, all of them for training. */
  readonly rows: number;
  readonly layers: LayerInput[];
  readonly batchSize: number;
  readonly shards?: number;
}

function writeRun({ rows, layers, batchSize, shards }: Setting): string {
  const lines = Array.from({ length: rows }, (_, row) => `${row % 7},${row % 11},${row % 5},${row}`);
  const values: Partial<ConfigInput> = {
    data: { file: 'table.csv', target: 'y', split: { validation: 0, test: 0 } },
    model: { layers },
    batchSize,
    shards,
  };
  return tableRun(values, `${['a,b,c,y', ...lines].join('\n')}\n`);
}

/** The plan of a run, and its warnings. */
async function dry(cwd: string): Promise<{ plan: string; warnings: string[]; shards: number }> {
  const { config } = await loadConfig({ path: path.join(cwd, 'table.yaml'), env: {} });
  const warnings: string[] = [];
  const none = {
    runDirectory: undefined,
    resume: undefined,
    allowOlder: false,
    local: { workers: 0, threads: 1 },
  };
  const plan = await dryRun({ config, ...none, warn: (message) => warnings.push(message) });
  return { plan, warnings, shards: config.shards };
}

describe('a run with batchNorm', () => {
  it.each([
    [16, 'batch 16 in 1 shard\n'],
    [64, 'batch 64 in 2 shards\n'],
    [256, 'batch 256 in 8 shards\n'],
  ])(
    'a run with batchNorm has shards of 32 samples or more by default: a batch of %i',
    async (batchSize, line) => {
      const { plan, warnings } = await dry(writeRun({ rows: 300, layers: NORMED, batchSize }));
      expect(plan).toContain(line);
      expect(warnings).toEqual([]);
    },
  );

  it.each([
    [400, ', or set batchSize to 256 or more'],
    [200, ''],
  ])(
    'a run with batchNorm gets the small shards that it asks for, with a warning: of %d rows',
    async (rows, larger) => {
      const { shards, warnings } = await dry(writeRun({ rows, layers: NORMED, batchSize: 100, shards: 8 }));
      expect(shards).toBe(8);
      expect(warnings).toEqual([
        'shards 8 cuts a batch of 100 into shards of 12 samples, and batchNorm normalizes a shard by its own mean and ' +
          'variance, which are rough with fewer than 32: accuracy suffers; leave shards out (3 here)' +
          larger,
      ]);
    },
  );

  it('a run with batchNorm is not warned of the single shard of a small batch', async () => {
    const { warnings } = await dry(writeRun({ rows: 300, layers: NORMED, batchSize: 16, shards: 1 }));
    expect(warnings).toEqual([]);
  });

  const RULE =
    'error[E_CONFIG_BATCH_NORM]: batchNorm takes a variance, for which a shard needs more than 1 value of each feature or channel: ';

  it.each<[string, Setting, string]>([
    [
      'batches of one sample',
      { rows: 20, layers: NORMED, batchSize: 1 },
      'batchSize is 1\n  help: set batchSize to 20, or use layerNorm, which normalizes each sample by itself',
    ],
    [
      'shards of one sample',
      { rows: 64, layers: NORMED, batchSize: 8, shards: 8 },
      'shards 8 cuts a batch of 8 into shards of 1 sample\n  help: leave shards out (1 here)',
    ],
    [
      'some shards of one sample',
      { rows: 100, layers: NORMED, batchSize: 100, shards: 64 },
      'shards 64 cuts a batch of 100 into shards of 1 sample\n  help: leave shards out (3 here)',
    ],
    [
      'a last batch of one sample',
      { rows: 201, layers: NORMED, batchSize: 100 },
      '201 training samples in batches of 100 leave 1 for the last batch of an epoch\n  help: set batchSize to 101',
    ],
    [
      'a last batch of one sample, and no room for a larger one',
      { rows: 5, layers: NORMED, batchSize: 4 },
      '5 training samples in batches of 4 leave 1 for the last batch of an epoch\n  help: set batchSize to 5',
    ],
    [
      'a last image of one pixel',
      {
        rows: 33,
        layers: [{ kind: 'reshape', shape: [3, 1, 1] }, { kind: 'batchNorm' }, ONE_UNIT],
        batchSize: 32,
      },
      '33 training samples in batches of 32 leave 1 for the last batch of an epoch\n  help: set batchSize to 33',
    ],
    [
      'batchNorm in the shortcut of a residual block',
      {
        rows: 33,
        layers: [{ kind: 'residual', layers: [ONE_UNIT], shortcut: NORMED }, ONE_UNIT],
        batchSize: 16,
      },
      '33 training samples in batches of 16 leave 1 for the last batch of an epoch\n  help: set batchSize to 17',
    ],
  ])('a run with batchNorm is refused with %s', async (_, setting, message) => {
    const cwd = writeRun(setting);
    expect(await errorText(cwd, () => dry(cwd))).toBe(RULE + message);
    const { rows, batchSize } = setting;
    const suggested = /set batchSize to (\d+)$/.exec(message)?.[1];
    if (suggested === undefined) return;
    expect(rows % batchSize).toBe(1);
    expect((await dry(writeRun({ ...setting, batchSize: Number(suggested) }))).warnings).toEqual([]);
  });

  it('a run with batchNorm accepts single images, whose channels have more than one value', async () => {
    const layers: LayerInput[] = [{ kind: 'reshape', shape: [1, 1, 3] }, { kind: 'batchNorm' }, ONE_UNIT];
    const { warnings } = await dry(writeRun({ rows: 33, layers, batchSize: 32 }));
    expect(warnings).toEqual([]);
    await dry(writeRun({ rows: 33, layers, batchSize: 1 }));
  });
});

describe('a run without batchNorm', () => {
  it('a run without batchNorm has 8 shards for any batch, and may have shards of one sample', async () => {
    const { plan, warnings } = await dry(
      writeRun({ rows: 33, layers: [{ kind: 'layerNorm' }, ONE_UNIT], batchSize: 16 }),
    );
    expect(plan).toContain('batch 16 in 8 shards\n');
    expect(warnings).toEqual([]);
  });
});

describe('hasStatistics', () => {
  it('hasStatistics knows every kind of layer that has tensors of statistics', () => {
    const layers = EVERY_LAYER.map((layer) => layerSchema.parse(layer));
    const { stack } = resolveModel({ layers }, [1, 28, 28]);
    const withTensors = stack.layers.map(({ tensors }) => tensors.some(({ role }) => role === 'statistic'));
    expect(layers.map((layer) => hasStatistics([layer]))).toEqual(withTensors);
    expect(withTensors).toContain(true);
  });
});
