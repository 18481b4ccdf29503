// A coordinator that is killed after any step or epoch of a run resumes to the same outcome.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { RESUMABLE, expectUndisturbed, trainResumable, trainUntilKilled } from '../helpers/resumable-run.ts';
import { listCheckpoints } from '../helpers/run-records.ts';
import { tableRun } from '../helpers/table-run.ts';

const STEPS = Array.from({ length: 40 }, (_, step) => `coordinator.afterStep@step=${step + 1}`);
const EPOCHS = Array.from({ length: 4 }, (_, epoch) => `coordinator.afterEpoch@epoch=${epoch + 1}`);

describe('a run whose coordinator is killed', () => {
  it.each([...STEPS, ...EPOCHS])(
    'a run whose coordinator is killed at %s resumes to the same outcome',
    async (place) => {
      const cwd = tableRun(RESUMABLE);
      await trainUntilKilled(cwd, place);
      const isSaved = listCheckpoints(path.join(cwd, 'run')).some((name) => name.endsWith('.safetensors'));
      // Before its first checkpoint a run has nothing to lose and is started again.
      if (!isSaved) fs.rmSync(path.join(cwd, 'run'), { recursive: true });
      expect(await trainResumable(cwd, isSaved ? ['--resume', 'last'] : [])).toMatchObject({ exitCode: 0 });
      await expectUndisturbed(cwd);
    },
  );
});
