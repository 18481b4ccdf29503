// Failpoints: the syntax of rules, the hits that a rule applies to, and the effect of each action.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { FAILPOINTS, Failpoints, failpoint } from '../../../src/failpoint.ts';
import { compileFiles } from '../../helpers/compiled.ts';

function expectRefused(text: string, problem: string): void {
  expect(() => new Failpoints(text)).toThrow(
    expect.objectContaining({ code: 'E_FAILPOINT', exitCode: 2, message: `LOCKSTEP_FAILPOINT: ${problem}` }),
  );
}

describe('a rule of failpoints', () => {
  it('a rule applies to every hit of its failpoint, and to no other', () => {
    const points = new Failpoints('checkpoint.rename:flip');
    expect(points.reach('checkpoint.rename')).toBe('flip');
    expect(points.reach('checkpoint.rename', { step: 1 })).toBe('flip');
    expect(points.reach('checkpoint.fsync')).toBeUndefined();
  });

  it('a rule applies if every condition is met', () => {
    const points = new Failpoints('checkpoint.rename@step=7@file=a.json:flip');
    expect(points.reach('checkpoint.rename', { step: 7 })).toBeUndefined();
    expect(points.reach('checkpoint.rename', { step: 70, file: 'a.json' })).toBeUndefined();
    expect(points.reach('checkpoint.rename', { step: 7, file: 'a.json' })).toBe('flip');
  });

  it('a rule applies if a list has the member that a condition names', () => {
    const points = new Failpoints('worker.thread@row=17:trap');
    expect(points.reach('worker.thread', { row: Uint32Array.of(1, 170) })).toBeUndefined();
    expect(points.reach('worker.thread', { row: Uint32Array.of(1, 17) })).toBe('trap');
  });

  it('a rule applies to the hit that it counts among those that meet its conditions', () => {
    const points = new Failpoints('checkpoint.write@step=7#2:nan');
    const reached = [7, 6, 7, 7].map((step) => points.reach('checkpoint.write', { step }));
    expect(reached).toEqual([undefined, undefined, 'nan', undefined]);
  });

  it('a rule may stand beside others', () => {
    const points = new Failpoints('checkpoint.write#1:nan, checkpoint.write#2:add=1');
    expect([1, 2, 3].map(() => points.reach('checkpoint.write'))).toEqual(['nan', 'add=1', undefined]);
  });
});

describe('an action of a failpoint', () => {
  const { directory, remove } = compileFiles(['src/errors.ts', 'src/failpoint.ts', 'src/printable.ts'], {
    withPackages: false,
  });
  afterAll(remove);

  /** Reaches the failpoint in a process of its own, which prints a line if it continues. */
  function runInto(rule: string): {
    status: number | null;
    signal: string | null;
    stdout: string;
    ms: number;
    heapMib: number;
  } {
    const program = [
      `import { failpoint } from ${JSON.stringify(path.join(directory, 'failpoint.js'))};`,
      `console.log('went on with ' + failpoint('checkpoint.fsync', { step: 3 }));`,
      `console.error(process.memoryUsage().heapUsed / 2 ** 20);`,
    ].join('\n');
    const startedAt = performance.now();
    const { status, signal, stdout, stderr } = spawnSync(
      process.execPath,
      ['--input-type=module', '-e', program],
      {
        env: { LOCKSTEP_FAILPOINT: rule },
        encoding: 'utf8',
        timeout: 15_000,
      },
    );
    return { status, signal, stdout, ms: performance.now() - startedAt, heapMib: Number(stderr) };
  }

  it('the action "kill" kills the process at once', () => {
    expect(runInto('checkpoint.fsync@step=3:kill')).toMatchObject({ signal: 'SIGKILL', stdout: '' });
  });

  it('the action "exit" ends the process with an exit code', () => {
    expect(runInto('checkpoint.fsync:exit=19')).toMatchObject({ status: 19, stdout: '' });
  });

  it('the action "sleep" delays the process', () => {
    const { stdout, ms } = runInto('checkpoint.fsync:sleep=300');
    expect(stdout).toBe('went on with undefined\n');
    expect(ms).toBeGreaterThan(300);
  });

  it('the action "fill" fills the heap', () => {
    expect(runInto('checkpoint.fsync:fill=32').heapMib).toBeGreaterThan(32);
    expect(runInto('checkpoint.fsync:fill=1').heapMib).toBeLessThan(32);
  });

  it('the action "throw" throws an error, with the code of a system error if one is given', () => {
    const points = new Failpoints('checkpoint.fsync#1:throw=EIO,checkpoint.fsync#2:throw');
    expect(() => points.reach('checkpoint.fsync')).toThrow(
      expect.objectContaining({ message: 'EIO made by failpoint checkpoint.fsync', code: 'EIO' }),
    );
    expect(() => points.reach('checkpoint.fsync')).toThrow('error made by failpoint checkpoint.fsync');
  });
});

describe('LOCKSTEP_FAILPOINT', () => {
  it('a text that is no rule is refused', () => {
    const syntax = 'does not read NAME[@KEY=VALUE]...[#HIT]:ACTION[=ARGUMENT]';
    const texts = [
      '',
      'x',
      'checkpoint.write',
      'checkpoint.write:',
      'checkpoint.write#0:kill',
      'a@b:kill',
      'a:1',
    ];
    for (const text of texts) expectRefused(text, `"${text}" ${syntax}`);
    expectRefused('checkpoint.write:nan,', `"" ${syntax}`);
  });

  it('a rule with an unknown failpoint or a missing number is refused', () => {
    expectRefused('checkpoint.wriet:kill', 'there is no failpoint "checkpoint.wriet"');
    expectRefused('checkpoint.write:exit', 'exit needs a number, as in exit=3');
    expectRefused('checkpoint.write:sleep=long', 'sleep needs a number, as in sleep=3');
    expectRefused('checkpoint.write:kill=9', 'kill takes no argument');
  });

  it('a failpoint does nothing unless LOCKSTEP_FAILPOINT is set', () => {
    for (const name of Object.keys(FAILPOINTS)) {
      expect(failpoint(name as keyof typeof FAILPOINTS, { step: 1 })).toBeUndefined();
    }
  });
});
