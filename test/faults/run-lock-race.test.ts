// Many processes that lock one run directory at once, and processes that die while they lock it: at most one
// holds it.
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { beforeEach, describe, expect, test } from 'vitest';
import { lockRunDirectory } from '../../src/checkpoint/run-lock.ts';
import { importBuilt, missingForTracing, runTraced } from '../helpers/traced.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const NUM_PROCESSES = 8;
const NUM_ROUNDS = 40;
const MAX_CALLS = 40;
/** A process id that does not exist: Linux gives none above 2^22. */
const NO_PID = 4_194_305;

const IMPORTS = importBuilt('lockRunDirectory', 'src/checkpoint/run-lock.js');

const missing = missingForTracing();
const needs = missing === undefined ? '' : ` (skipped: needs ${missing})`;

let root: string;

beforeEach(() => {
  root = temporaryDirectory();
});

/** A directory whose lock, with the locks on its removal, was left by dead processes. */
async function staleDirectory(name: string, numRemovers: number): Promise<string> {
  const directory = path.join(root, name);
  fs.mkdirSync(directory);
  const { owner: self, release } = await lockRunDirectory(directory);
  release();
  let file = path.join(directory, 'lock');
  for (let owner = 0; owner <= numRemovers; owner++) {
    const token = String(owner).padStart(24, '0');
    fs.writeFileSync(file, JSON.stringify({ ...self, pid: NO_PID, token }));
    file = path.join(directory, `lock.${token}`);
  }
  return directory;
}

/**
 * A process that tries to lock each directory it is told, and keeps what it gets until it is told the next
 * one.
 */
class Contender {
  readonly child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #answers: AsyncIterator<string>;

  constructor() {
    const program = `${IMPORTS}
      import readline from 'node:readline';
      let lock;
      console.log('ready');
      for await (const directory of readline.createInterface({ input: process.stdin })) {
        lock?.release();
        lock = undefined;
        if (directory === '') { console.log('released'); continue; }
        try { lock = await lockRunDirectory(directory); console.log('won'); }
        catch (error) { console.log(error.code === 'E_RUN_IN_USE' ? error.message : error.stack); }
      }`;
    this.child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#answers = readline.createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  tell(directory: string): void {
    this.child.stdin.write(`${directory}\n`);
  }

  async answer(): Promise<string> {
    const { value } = (await this.#answers.next()) as { value?: string };
    return value ?? 'ended';
  }
}

test('one of many processes that start at once gets the directory, and the others name its owner', async () => {
  const contenders = Array.from({ length: NUM_PROCESSES }, () => new Contender());
  const tellAll = (directory: string): Promise<string[]> => {
    for (const contender of contenders) contender.tell(directory);
    return Promise.all(contenders.map((contender) => contender.answer()));
  };
  try {
    await Promise.all(contenders.map((contender) => contender.answer()));
    for (let round = 0; round < NUM_ROUNDS; round++) {
      // Directories that were never locked, too.
      const directory = await staleDirectory(`${round}`, round % 3);
      if (round % 4 === 0) fs.rmSync(path.join(directory, 'lock'));
      const answers = await tellAll(directory);
      const winner = contenders[answers.indexOf('won')]?.child.pid;
      const refusals = answers.filter((answer) => answer !== 'won');
      expect(refusals).toHaveLength(NUM_PROCESSES - 1);
      const words = `${directory}: run is in use by pid `;
      for (const refusal of refusals) expect(refusal).toContain(words);
      const owner = JSON.parse(fs.readFileSync(path.join(directory, 'lock'), 'utf8')) as { pid: number };
      expect(owner.pid).toBe(winner);
      expect(fs.readdirSync(directory)).toEqual(['lock']);
      await tellAll('');
      expect(fs.readdirSync(directory)).toEqual([]);
    }
  } finally {
    for (const { child } of contenders) child.kill('SIGKILL');
  }
});

describe.skipIf(missing !== undefined)(`a process that is killed while it locks a run${needs}`, () => {
  for (const call of ['openat', 'pwrite64', 'fdatasync', 'link', 'unlink']) {
    test(
      `a process killed at any ${call} of locking leaves a directory that the next process can lock`,
      { timeout: 120_000 },
      async () => {
        let numKills = 0;
        for (let round = 1; ; round++) {
          expect(round).toBeLessThan(MAX_CALLS);
          const directory = await staleDirectory(`${round}`, 1);
          const body = `(await lockRunDirectory(${JSON.stringify(directory)})).release();`;
          const { signal, exitCode } = await runTraced({ imports: IMPORTS, body }, [
            '-e',
            `trace=${call}`,
            '-e',
            `inject=${call}:signal=SIGKILL:when=${round}`,
          ]);
          const lock = await lockRunDirectory(directory);
          const names = fs.readdirSync(directory).filter((name) => !name.endsWith('.tmp'));
          expect(names).toEqual(['lock']);
          lock.release();
          if (signal === null) {
            expect(exitCode).toBe(0);
            break;
          }
          numKills++;
        }
        expect(numKills).toBeGreaterThanOrEqual(1);
      },
    );
  }
});

test.skipIf(missing !== undefined)(
  `a run can be locked on a file system without hard links${needs}`,
  async () => {
    const directory = await staleDirectory('links', 1);
    const body = `
    const lock = await lockRunDirectory(${JSON.stringify(directory)});
    const error = await lockRunDirectory(${JSON.stringify(directory)}).catch((reason) => reason);
    lock.release();
    console.log(error.code);`;
    const injection = ['-e', 'trace=link', '-e', 'inject=link:error=EPERM:when=1+'];
    const { exitCode, stdout, stderr } = await runTraced({ imports: IMPORTS, body }, injection);
    expect({ exitCode, stdout, stderr }).toEqual({ exitCode: 0, stdout: 'E_RUN_IN_USE\n', stderr: '' });
    expect(fs.readdirSync(directory)).toEqual([]);
  },
);
