// A coordinator that has room for only a few sums of gradients, as with a very large model: fewer tasks are
// in flight, and the weights are the same bits.
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { initialState, prepareRun } from '../../coordinator/training/prepare.ts';
import { startCompute } from '../../coordinator/start-compute.ts';
import { train } from '../../coordinator/training/train.ts';
import { loadConfig } from '../../src/config/load.ts';
import { createLogger } from '../../src/log.ts';
import { PROGRAM } from '../helpers/cli.ts';
import { FAILPOINT_RUN } from '../helpers/failpoint-run.ts';
import { trainInProcess } from '../helpers/in-process-training.ts';
import { tableRun } from '../helpers/table-run.ts';

/** 8 steps of two buckets, in shards enough for eight sums to wait. */
const RUN = { ...FAILPOINT_RUN, batchSize: 256, shards: 16, epochs: 2 };

/** Trains with four workers, one of which is slow, and with room for this many sums. */
async function trainCramped(
  directory: string,
  numSums: number,
): Promise<{ weightsSha256: string; sums: number }> {
  const { config } = await loadConfig({ path: path.join(directory, 'table.yaml'), env: {} });
  const prepared = await prepareRun(config, () => undefined, { local: { workers: 4, threads: 1 } });
  const memoryPlan = { ...prepared.memoryPlan, room: { here: numSums, ofTask: 2 } };
  const state = await initialState(prepared);
  const bytesBefore = state.memory.usedBytes;
  // Only the workers read it: this process has done so already.
  process.env['LOCKSTEP_FAILPOINT'] = 'worker.beforeCompute@worker=2:sleep=20';
  onTestFinished(() => void delete process.env['LOCKSTEP_FAILPOINT']);
  const signal = new AbortController().signal;
  const compute = await startCompute({
    run: 'cramped',
    prepared: { ...prepared, memoryPlan },
    state,
    workforce: { kind: 'local', workers: 4, threads: 1, program: PROGRAM },
    log: createLogger({ level: 'silent' }),
    signal,
    onEvent: () => undefined,
  });
  try {
    const observer = { onStep: () => undefined, onEpoch: () => undefined };
    await train({ ...prepared, state, compute, observer, signal });
  } finally {
    await compute.close('done', true);
  }
  const bytes = state.memory.usedBytes - bytesBefore;
  return { weightsSha256: state.weightsSha256(), sums: bytes / (4 * prepared.model.numParameters) };
}

describe('a coordinator with room for one sum', () => {
  it('a coordinator with room for one sum trains to the same bits and takes no more memory', async () => {
    const directory = tableRun(RUN);
    const { weightsSha256 } = await trainInProcess(directory);
    const cramped = await trainCramped(directory, 1);
    expect(cramped.weightsSha256).toBe(weightsSha256);
    // Besides, a bucket of each length that has just arrived: the model's two buckets differ in theirs.
    expect(cramped.sums).toBeLessThan(1 + 1.1);
  });
});
