// The checkpoints that `--resume` and `replay` find; neither creates anything if there are none.
import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { replayStep } from '../../../../coordinator/commands/replay.ts';
import { findResumeSource } from '../../../../coordinator/persistence/resume.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

const CHECKPOINT = 'checkpoints/step-000000010.safetensors';

function directoryOf(...files: readonly string[]): string {
  const root = temporaryDirectory();
  for (const file of files) {
    fs.mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    fs.writeFileSync(path.join(root, file), '');
  }
  return root;
}

test('a run directory given to --resume stands for its last checkpoint', async () => {
  const directory = directoryOf(CHECKPOINT);
  for (const resume of ['last', 'best'] as const) {
    const found = await findResumeSource({ resume, runDirectory: directory, name: 'house' });
    expect(found).toEqual({ directory, checkpoint: resume });
  }
  const found = await findResumeSource({ resume: directory, runDirectory: undefined, name: 'house' });
  expect(found).toEqual({ directory, checkpoint: 'last' });
});

test('the directory of checkpoints given to --resume stands for its run', async () => {
  const directory = directoryOf(CHECKPOINT);
  const resume = path.join(directory, 'checkpoints');
  const found = await findResumeSource({ resume, runDirectory: undefined, name: 'house' });
  expect(found).toEqual({ directory, checkpoint: 'last' });
});

test('a run directory may itself be named "checkpoints"', async () => {
  const directory = path.join(directoryOf(`checkpoints/${CHECKPOINT}`), 'checkpoints');
  const found = await findResumeSource({ resume: directory, runDirectory: undefined, name: 'house' });
  expect(found).toEqual({ directory, checkpoint: 'last' });
});

test('a checkpoint file inside a run resumes that run, and any other file starts a new directory', async () => {
  const root = directoryOf(`run/${CHECKPOINT}`, 'run/config.yaml', CHECKPOINT, 'copy.safetensors');
  const directoryFor = async (name: string): Promise<string | undefined> => {
    const file = path.join(root, name);
    const found = await findResumeSource({ resume: file, runDirectory: undefined, name: 'house' });
    expect(found?.checkpoint).toEqual({ file });
    return found?.directory;
  };
  expect(await directoryFor(`run/${CHECKPOINT}`)).toBe(path.join(root, 'run'));
  expect(await directoryFor(CHECKPOINT)).toBeUndefined();
  expect(await directoryFor('copy.safetensors')).toBeUndefined();
});

test('auto is the last checkpoint of a directory, a run to begin again, or nothing where none has begun', async () => {
  const root = directoryOf(`saved/${CHECKPOINT}`, 'cut/checkpoints/other', 'unstarted/metrics.jsonl');
  const cut = path.join(root, 'cut');
  fs.writeFileSync(path.join(cut, 'metrics.jsonl'), '{"_step":1}\n');
  const find = (name: string) =>
    findResumeSource({ resume: 'auto', runDirectory: path.join(root, name), name: 'house' });
  expect(await find('saved')).toEqual({ directory: path.join(root, 'saved'), checkpoint: 'last' });
  expect(await find('cut')).toEqual({ directory: cut, checkpoint: 'none' });
  for (const name of ['unstarted', 'nowhere']) expect(await find(name)).toBeUndefined();
  fs.writeFileSync(path.join(cut, 'summary.json'), '{}');
  expect(await find('cut')).toBeUndefined();
});

test('auto without a directory is refused: the newest run may be that of another command', async () => {
  const found = findResumeSource({ resume: 'auto', runDirectory: undefined, name: 'house' });
  await expect(found).rejects.toMatchObject({ code: 'E_RESUME_AUTO', exitCode: 2 });
});

test.each([
  { resume: 'last', runDirectory: 'nowhere' },
  { resume: 'best', runDirectory: 'nowhere' },
  { resume: 'nowhere', runDirectory: undefined },
  { resume: 'empty', runDirectory: undefined },
])('resuming from $resume creates nothing if there is no checkpoint', async ({ resume, runDirectory }) => {
  const root = directoryOf('empty/notes.txt');
  const inRoot = (name: string): string => path.join(root, name);
  const request = {
    resume: resume === 'last' || resume === 'best' ? resume : inRoot(resume),
    runDirectory: runDirectory && inRoot(runDirectory),
    name: 'house',
  };
  await expect(findResumeSource(request)).rejects.toMatchObject({
    code: 'E_NO_CHECKPOINT',
    exitCode: 4,
    message: expect.stringMatching(/nowhere|empty/) as string,
  });
  expect(fs.readdirSync(root, { recursive: true }).sort()).toEqual(['empty', 'empty/notes.txt']);
});

test.each([
  ['nowhere', 'no such directory'],
  ['empty', 'no events.jsonl in it'],
])('replaying a step in %s, which is no run, is refused', async (name, why) => {
  const directory = path.join(directoryOf('empty/notes.txt'), name);
  await expect(replayStep(directory, 1, () => undefined)).rejects.toMatchObject({
    code: 'E_NO_RUN',
    exitCode: 2,
    message: `${directory} holds no run: ${why}`,
  });
});
