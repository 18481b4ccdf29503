// Tiers of tests, by folder: units, kernels against slow references, whole clusters of processes;
// and what `npm test` leaves out and CI runs: faults that take root or patience
// (`npm run test:faults`), other versions of Node.js and other processors (`test:platforms`),
// trainings at full size, examples and more runs for equal bits (`test:full`). `#kernels` resolves
// through package.json to dist/, so `npm run build` comes first.
import { defineConfig } from 'vitest/config';
import { BaseSequencer } from 'vitest/node';
import type { TestSpecification } from 'vitest/node';

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

/** Files that wait for a slow line for minutes. */
const WAITING = ['faults/bad-network', 'faults/cut-network', 'full/secure-links'].map(
  (name) => `/test/${name}.test.ts`,
);

/** Begins with the files that wait, beside which others compute: at the end nothing would be left to do. */
class WaitingFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isWaiting = ({ moduleId }: TestSpecification): boolean =>
      WAITING.some((name) => moduleId.endsWith(name));
    const sorted = await super.sort(files);
    return [...sorted.filter(isWaiting), ...sorted.filter((file) => !isWaiting(file))];
  }
}

// Files of a tier share loaded modules: loading them again for each file takes a third of the time of
// `npm test`. They also share what they computed to compare with. Of two cores vitest would leave one
// to itself, which has nothing to do.
export default defineConfig({
  test: {
    globalSetup: ['test/own-tmpdir.ts'],
    sequence: { sequencer: WaitingFirst },
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
          globalSetup: ['test/installed-package.ts'],
          include: ['test/soak/**/*.test.ts'],
          testTimeout: 60_000,
          maxWorkers: 1,
          sequence: { groupOrder: 3 },
        },
      },
      {
        test: {
          name: 'full',
          globalSetup: ['test/installed-package.ts'],
          include: ['test/full/**/*.test.ts'],
          testTimeout: 60_000,
          isolate: false,
          // Many wait for other programs, or for a slow line.
          maxWorkers: 3,
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
});
