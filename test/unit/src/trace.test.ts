// Spans of time that processes record on request; in processes of their own, which a variable tells to record.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { expect, it } from 'vitest';
import { readTrace } from '../../../src/trace-file.ts';
import { temporaryDirectory } from '../../helpers/temporary-directory.ts';

const [SPANS, FILE] = ['trace', 'trace-file'].map((name) =>
  JSON.stringify(new URL(`../../../dist/src/${name}.js`, import.meta.url)),
);

/** Runs a program of two nested spans. */
function runProgram(env: Readonly<Record<string, string>>): void {
  const code = `
    import { span } from ${SPANS};
    import { nameInTrace } from ${FILE};
    nameInTrace('process', 'program');
    const endOuter = span('outer');
    const endInner = span('inner');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    endInner();
    endOuter();
  `;
  const args = ['--input-type=module', '--eval', code];
  const { status, stderr } = spawnSync(process.execPath, args, { env, encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
}

it('a program that is told to record writes its spans when it ends', () => {
  const directory = temporaryDirectory();
  runProgram({ LOCKSTEP_TRACE: directory });
  const [name, outer, inner] = readTrace(directory);
  const [outerUs, innerUs] = [outer?.dur ?? 0, inner?.dur ?? 0];
  expect(name).toMatchObject({ ph: 'M', name: 'process_name', args: { name: 'program' } });
  expect([outer, inner]).toMatchObject([
    { ph: 'X', name: 'outer', tid: 0 },
    { ph: 'X', name: 'inner', tid: 0 },
  ]);
  expect(innerUs).toBeGreaterThan(19_000);
  expect(outerUs).toBeGreaterThanOrEqual(innerUs);
});

it('a program that is not told to record writes nothing', () => {
  const directory = temporaryDirectory();
  runProgram({ TMPDIR: directory });
  expect(fs.readdirSync(directory)).toEqual([]);
});
