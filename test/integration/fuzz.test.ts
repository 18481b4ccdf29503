// 20,000 wrong messages; test/soak/fuzz.test.ts sends a million.
import { it } from 'vitest';
import { expectHarmless, fuzz } from '../helpers/fuzz.ts';

const NUM_FRAMES = 20_000;

it(
  'of 20,000 wrong messages none stops a coordinator or a worker, holds it up, fills it or changes a weight',
  { timeout: 180_000 },
  async () => {
    expectHarmless(await fuzz({ seed: 1, numFrames: NUM_FRAMES }), NUM_FRAMES);
  },
);
