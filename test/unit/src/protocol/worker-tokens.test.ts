// The file of tokens that single workers have: what stands in it, and how it is read again.
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLogger } from '../../../../src/log.ts';
import { WorkerTokens } from '../../../../src/protocol/worker-tokens.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

const [FIRST, SECOND] = ['first-token-of-the-tests', 'second-token-of-the-tests'] as const;
const log = createLogger({ level: 'silent' });

let file: string;

beforeEach(() => {
  vi.useFakeTimers();
  file = path.join(temporaryDirectory(), 'workers.txt');
  fs.writeFileSync(file, `# two\nnode1 ${FIRST}\n\n  node2\t${SECOND}\r\n`);
});
afterEach(() => {
  vi.useRealTimers();
});

const nameOf = (tokens: WorkerTokens, token: string): string | undefined => tokens.nameOf(`Bearer ${token}`);

describe('tokens of single workers', () => {
  it('the token that is shown names its worker, and nothing else does', () => {
    const tokens = new WorkerTokens(file, log);
    expect([FIRST, SECOND, 'node1', ''].map((token) => nameOf(tokens, token))).toEqual([
      'node1',
      'node2',
      undefined,
      undefined,
    ]);
    expect([tokens.nameOf(undefined), tokens.nameOf(FIRST)]).toEqual([undefined, undefined]);
  });

  it('a file that has changed is read again, and one with a mistake leaves the tokens of before', () => {
    const tokens = new WorkerTokens(file, log);
    const changes = vi.fn();
    const unfollow = tokens.follow(changes);
    vi.advanceTimersByTime(60_000);
    expect(changes).not.toHaveBeenCalled();
    fs.writeFileSync(file, 'node1\n');
    vi.advanceTimersByTime(10_000);
    expect([changes.mock.calls.length, nameOf(tokens, FIRST)]).toEqual([0, 'node1']);
    fs.writeFileSync(file, `node2 ${SECOND}\n`);
    vi.advanceTimersByTime(10_000);
    expect([changes.mock.calls.length, nameOf(tokens, FIRST), nameOf(tokens, SECOND)]).toEqual([
      1,
      undefined,
      'node2',
    ]);
    unfollow();
    fs.rmSync(file);
    vi.advanceTimersByTime(60_000);
    expect(changes).toHaveBeenCalledTimes(1);
  });

  it.each([
    ['a name alone', 'node1\n', /workers\.txt:1: expected a name and a token$/],
    ['a third word', `node1 ${FIRST} more\n`, /workers\.txt:1: expected a name and a token$/],
    ['a name twice', `node1 ${FIRST}\nnode1 ${SECOND}\n`, /workers\.txt:2: node1 has a token already$/],
    ['a token twice', `node1 ${FIRST}\nnode2 ${FIRST}\n`, /workers\.txt:2: node2 has the token of node1$/],
    ['a short token', 'node1 short\n', /workers\.txt:1: 5 characters, expected at least 16$/],
    [
      'a name of 65 characters',
      `${'n'.repeat(65)} ${FIRST}\n`,
      /workers\.txt:1: expected a name and a token$/,
    ],
    ['comments alone', '# nobody\n', /workers\.txt has 0 tokens; expected 1 to 1024$/],
  ])('a file with %s is refused', (_what, text, message) => {
    fs.writeFileSync(file, text);
    expect(() => new WorkerTokens(file, log)).toThrow(message);
  });

  it('a file that is not there is refused', () => {
    expect(() => new WorkerTokens(`${file}.none`, log)).toThrow(
      /cannot read .*workers\.txt\.none: no such file$/,
    );
  });
});
