// The judgement of `lockstep doctor` about machines other than this one.
import { expect, it } from 'vitest';
import { checkCores, checkMemory, checkNode, formatChecks } from '../../../../coordinator/commands/doctor.ts';

it.each([
  ['v18.20.0', 'broken'],
  ['v20.14.0', 'broken'],
  ['v20.15.0', 'ok'],
  ['v21.7.0', 'broken'],
  ['v22.1.0', 'broken'],
  ['v22.2.0', 'ok'],
  ['v26.0.0', 'ok'],
])('Node.js %s is %s', (version, state) => {
  expect(checkNode(version).state).toBe(state);
});

it('cores that a container keeps back are named', () => {
  expect(checkCores(8, 2)).toMatchObject({ state: 'ok', found: '2 of 8' });
  expect(checkCores(1, 1)).toMatchObject({ state: 'slow', found: '1' });
});

it('the limit of a container counts as the memory, and little memory is slow', () => {
  expect(checkMemory(8 * 2 ** 30, 6 * 2 ** 30, 2 ** 29)).toMatchObject({
    state: 'slow',
    found: "512.0 MiB (a container's limit; the machine has 8.0 GiB), 512.0 MiB free",
  });
  expect(checkMemory(8 * 2 ** 30, 6 * 2 ** 30, undefined)).toEqual({
    name: 'memory',
    state: 'ok',
    found: '8.0 GiB, 6.0 GiB free',
  });
});

it('a broken check ends the report in plain words, with advice below its line', () => {
  const text = formatChecks([{ name: 'ports', state: 'broken', found: 'EACCES', advice: 'train alone' }]);
  expect(text).toBe(
    'BROKEN  ports         EACCES\n                      train alone\n\n1 check failed: this machine cannot train as it is\n',
  );
});
