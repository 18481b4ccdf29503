// Runs of one config by different workforces, and the comparison of everything that must be the same bits.
import path from 'node:path';
import { expect } from 'vitest';
import { inPairs, runCli } from './cli.ts';
import { readBits } from './run-records.ts';
import { TABLE_CONFIG } from './table-run.ts';

/** The flags of `lockstep train` that set the workforce, without `--`. */
export type Workforce =
  | 'workers auto'
  | `workers ${number}`
  | `workers ${number} --threads ${number}`
  | `workers ${number} --no-shared-memory`
  | `workers ${number} --topology tree --fan-in ${number}`
  | `workers ${number} --threads ${number} --topology tree --fan-in ${number}`;
type Bits = ReturnType<typeof readBits>;

const ALONE: Workforce = 'workers 0 --threads 1';
/** Plots take longer than the training here, and fewer metrics mean fewer plots. */
export const FEW_PLOTS = { ...TABLE_CONFIG.data, split: { test: 0 } };

/** The directory in which the workforce trains. */
export function runDirectory(cwd: string, workforce: Workforce): string {
  return path.join(cwd, workforce.replaceAll(' ', ''));
}

/** Trains on one thread and with each other workforce, and compares weights and metrics. */
export async function expectSameBits(
  config: string,
  settings: readonly string[],
  cwd: string,
  workforces: readonly Workforce[],
): Promise<Bits> {
  const all = await inPairs([ALONE, ...workforces], async (workforce) => {
    const directory = runDirectory(cwd, workforce);
    // Drawing plots takes longer than such a run.
    const values = ['plots=false', ...settings].flatMap((setting) => ['--set', setting]);
    const flags = [...values, '--run-dir', directory];
    const result = await runCli(['train', config, ...`--${workforce}`.split(' '), ...flags], { cwd });
    expect(result).toMatchObject({ exitCode: 0, stdout: '' });
    return { workforce, ...readBits(directory) };
  });
  const expected = all[0] as Bits;
  expect(expected.weightsSha256).toMatch(/^[0-9a-f]{64}$/);
  for (const bits of all) expect(bits).toEqual({ ...expected, workforce: bits.workforce });
  return expected;
}
