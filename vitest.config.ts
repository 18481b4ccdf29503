// Tiers of tests, by folder: units, kernels against slow references, whole clusters of processes;
// and what `npm test` leaves out and CI runs: faults that take root or patience
// (`npm run test:faults`), other versions of Node.js and other processors (`test:platforms`),
// trainings at full size, examples and more runs for equal bits (`test:full`). `#kernels` resolves
// through package.json to dist/, so `npm run build` comes first.
import { defineConfig } from 'vitest/config';

/** Tests that measure deadlines: two files at a time, which mostly wait, after the others. */
const TIMED = [
  'coordinator-sessions',
  'faults',
  'listener',
  'listener-admission',
  'listener-heartbeat',
  'network',
  'worker-connection',
  'worker-sessions',
].map((name) => `test/integration/${name}.test.ts`);

// Files of a tier share loaded modules: loading them again for each file takes a third of the time of
// `npm test`. They also share what they computed to compare with. Of two cores vitest would leave one
// to itself, which has nothing to do.
export default defineConfig({
  test: {
    globalSetup: ['test/own-tmpdir.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/simulator/**/*.test.ts'],
          // Against hanging, not against a busy machine: one test reads thousands of damaged files.
          testTimeout: 60_000,
          isolate: false,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'numerics',
          include: ['test/numerics/**/*.test.ts'],
          testTimeout: 30_000,
          isolate: false,
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          exclude: TIMED,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          isolate: false,
          // Each file starts several processes, which wait for one another half of the time.
          maxWorkers: 4,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'integration-timed',
          include: TIMED,
          testTimeout: 60_000,
          hookTimeout: 60_000,
          isolate: false,
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'faults',
          include: ['test/faults/**/*.test.ts'],
          testTimeout: 180_000,
          isolate: false,
          // Most files wait for a deadline now and then.
          maxWorkers: 3,
          sequence: { groupOrder: 3 },
        },
      },
      {
        test: {
          name: 'platforms',
          include: ['test/platforms/**/*.test.ts'],
          testTimeout: 180_000,
          isolate: false,
          maxWorkers: 2,
          sequence: { groupOrder: 3 },
        },
      },
      {
        test: {
          name: 'soak',
          include: ['test/soak/**/*.test.ts'],
          testTimeout: 60_000,
          maxWorkers: 1,
          sequence: { groupOrder: 3 },
        },
      },
      {
        test: {
          name: 'full',
          include: ['test/full/**/*.test.ts'],
          testTimeout: 60_000,
          isolate: false,
          maxWorkers: 2,
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
});
