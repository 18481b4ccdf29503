// Functions that a program passes in to follow a training: their promises are awaited, and their failures
// end the run as an interruption does, with nothing lost and no process left behind.
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { runProgram } from '../helpers/program.ts';
import { readBits, readEvents } from '../helpers/run-records.ts';
import { TABLE_CONFIG, tableRun, tableText } from '../helpers/table-run.ts';

/** Trains to the end or until a listener fails; then resumes. */
const PROGRAM = `
import { setTimeout as sleep } from 'node:timers/promises';
import { evaluate, train } from 'lockstep';

const config = { ...${JSON.stringify(TABLE_CONFIG)}, batchSize: 160, epochs: 3 };
const told = [];
const slowly = (name) => async (record) => {
  told.push(name + ' ' + record[name]);
  await sleep(record.step % 5 === 0 ? 20 : 0);
  told.push('done');
};
await train(config, { runDirectory: 'whole', onStep: slowly('step'), onEpoch: slowly('epoch') });

const failure = new Error('the disk of the user is full');
const failing = (name, at) => async (record) => {
  await sleep(1);
  if (record[name] === at) throw failure;
};
const failures = [];
const again = [];
for (const [runDirectory, listeners, workers] of [
  ['first', { onEpoch: failing('epoch', 1) }, 0],
  ['epoch', { onEpoch: failing('epoch', 2) }, 2],
  ['step', { onStep: failing('step', 7) }, 0],
  ['thrown', { onStep: ({ step }) => { if (step === 7) throw failure; } }, 0],
]) {
  await train(config, { runDirectory, workers, ...listeners }).catch((error) => failures.push(error === failure));
  const epochs = [];
  await train(config, { runDirectory, resume: 'last', onEpoch: ({ epoch }) => epochs.push(epoch) });
  again.push(epochs);
}

const controller = new AbortController();
const onEpoch = () => {
  setTimeout(() => controller.abort(failure), 10);
  return new Promise(() => undefined);
};
const aborted = await train(config, { runDirectory: 'aborted', onEpoch, signal: controller.signal }).catch(
  (error) => error === failure,
);
const unheard = await evaluate('whole', { data: 'odd.csv', warn: () => Promise.reject(failure) }).catch(
  (error) => error === failure,
);
console.log(JSON.stringify({ told, failures, again, aborted, unheard }));
`;

it('listeners are awaited, and one that fails ends a run, which then resumes to the same bits', async () => {
  const cwd = tableRun();
  // An integer that float32 cannot represent causes a warning.
  const [header = '', row = ''] = tableText().split('\n');
  fs.writeFileSync(path.join(cwd, 'odd.csv'), `${header}\n${row.replace(/^[^,]+/, '16777217')}\n`);
  const found = JSON.parse(await runProgram(PROGRAM, cwd)) as { told: string[] };
  const stepsOf = (epoch: number): string[] =>
    Array.from({ length: 5 }, (_, at) => `step ${5 * epoch + at + 1}`);
  const order = [0, 1, 2].flatMap((epoch) => [...stepsOf(epoch), `epoch ${epoch + 1}`]);
  expect(found).toEqual({
    told: order.flatMap((name) => [name, 'done']),
    failures: [true, true, true, true],
    again: [
      [1, 2, 3],
      [2, 3],
      [2, 3],
      [2, 3],
    ],
    aborted: true,
    unheard: true,
  });
  const bitsOf = (run: string): unknown => readBits(path.join(cwd, run));
  for (const run of ['first', 'epoch', 'step', 'thrown']) {
    expect(bitsOf(run)).toEqual(bitsOf('whole'));
    expect(readEvents(path.join(cwd, run)).filter((event) => event === 'runEnded')).toEqual(['runEnded']);
  }
});
