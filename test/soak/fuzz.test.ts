// A million wrong messages from a seed, by the code of test/integration/fuzz.test.ts.
//
//   LOCKSTEP_SOAK_FRAMES (default 1,000,000)
//   LOCKSTEP_SOAK_SEED (default: drawn)
import { it } from 'vitest';
import { expectHarmless, fuzz } from '../helpers/fuzz.ts';

const NUM_FRAMES = Number(process.env['LOCKSTEP_SOAK_FRAMES'] ?? 1_000_000);
const SEED = Number(process.env['LOCKSTEP_SOAK_SEED'] ?? Date.now() % 1_000_000);

it(
  `of ${NUM_FRAMES} wrong messages none stops a coordinator or a worker, holds it up, fills it or changes a weight (seed ${SEED})`,
  { timeout: 7_200_000 },
  async () => {
    const report = await fuzz({ seed: SEED, numFrames: NUM_FRAMES });
    const { coordinator, worker, ...others } = report;
    const codes = [coordinator, worker].map((tally) => ({
      ...tally,
      codes: Object.fromEntries(tally.codes),
    }));
    process.stderr.write(`seed ${SEED}: ${JSON.stringify([...codes, others])}\n`);
    expectHarmless(report, NUM_FRAMES);
  },
);
