// The sources of a token, and the tokens that are refused.
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { formatError, LockstepError } from '../../../../src/errors.ts';
import { generateToken, readToken } from '../../../../src/protocol/token.ts';
import type { TokenOrigin } from '../../../../src/protocol/token.ts';
import { temporaryDirectory } from '../../../helpers/temporary-directory.ts';

const TOKEN = 'abcdefgh01234567';
const HELP = '\n  help: use 32 random bytes, such as the output of: openssl rand -hex 32';

function tokenFile(content: string, mode = 0o600): string {
  const directory = temporaryDirectory();
  const file = join(directory, 'token');
  writeFileSync(file, content);
  chmodSync(file, mode);
  return file;
}

function read(origin: Partial<TokenOrigin>): { token: string | undefined; warnings: string[] } {
  const warnings: string[] = [];
  const token = readToken({ env: {}, warn: (message) => warnings.push(message), ...origin });
  return { token, warnings };
}

function errorText(origin: Partial<TokenOrigin>): string {
  try {
    read(origin);
  } catch (error) {
    if (error instanceof LockstepError && error.exitCode === 2) return formatError(error);
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('a token', () => {
  it('a token is read from a file without the white space around it', () => {
    expect(read({ file: tokenFile(`  ${TOKEN}\n`) })).toEqual({ token: TOKEN, warnings: [] });
  });

  it('a token is read from the environment if no file is given', () => {
    expect(read({ env: { LOCKSTEP_TOKEN: TOKEN } }).token).toBe(TOKEN);
    expect(read({ file: tokenFile(TOKEN), env: { LOCKSTEP_TOKEN: 'another-one-of-these' } }).token).toBe(
      TOKEN,
    );
  });

  it('a token may be absent', () => {
    expect(read({}).token).toBeUndefined();
    expect(read({ env: { LOCKSTEP_TOKEN: '' } }).token).toBeUndefined();
  });

  it('a new token is generated each time, and can be read back', () => {
    const token = generateToken();
    expect(token).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(generateToken()).not.toBe(token);
    expect(read({ env: { LOCKSTEP_TOKEN: token } }).token).toBe(token);
  });

  it.each([0o640, 0o604, 0o666])('a token in a file of mode %o causes a warning', (mode) => {
    const file = tokenFile(TOKEN, mode);
    const warning = `token file ${file} is open to other users (mode 0${mode.toString(8)}): chmod 600 ${file}`;
    expect(read({ file })).toEqual({ token: TOKEN, warnings: [warning] });
  });
});

describe('a token that is refused', () => {
  it('a token is refused if it is too short', () => {
    expect(errorText({ env: { LOCKSTEP_TOKEN: 'short' } })).toBe(
      `error[E_TOKEN]: LOCKSTEP_TOKEN: 5 characters, expected at least 16${HELP}`,
    );
  });

  it('a token is refused if it is empty', () => {
    const file = tokenFile('\n');
    expect(errorText({ file })).toBe(
      `error[E_TOKEN]: token file ${file}: 0 characters, expected at least 16${HELP}`,
    );
  });

  it('a token is refused if it is too long', () => {
    expect(errorText({ env: { LOCKSTEP_TOKEN: 'x'.repeat(513) } })).toBe(
      `error[E_TOKEN]: LOCKSTEP_TOKEN: 513 characters, expected at most 512${HELP}`,
    );
  });

  it.each(['two words of a token', 'line one of it\nline two', 'schlüssel-mit-umlaut'])(
    'a token is refused if it cannot stand in a header: %j',
    (token) => {
      expect(errorText({ env: { LOCKSTEP_TOKEN: token } })).toBe(
        `error[E_TOKEN]: LOCKSTEP_TOKEN: holds white space or characters outside ASCII${HELP}`,
      );
    },
  );

  it('a token is refused if its file does not exist', () => {
    expect(errorText({ file: '/no/such/token' })).toBe(
      'error[E_TOKEN_FILE]: cannot read token file /no/such/token: no such file\n  help: give the path of a readable file, or the token itself as LOCKSTEP_TOKEN',
    );
  });

  it('a token is refused if its file is a directory', () => {
    const directory = temporaryDirectory();
    expect(errorText({ file: directory })).toBe(
      `error[E_TOKEN_FILE]: cannot read token file ${directory}: it is a directory\n  help: give the path of a readable file, or the token itself as LOCKSTEP_TOKEN`,
    );
  });
});
