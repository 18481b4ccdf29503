// The shared secret that lets a worker in: from a file or the environment, never from an argument,
// which other users of the machine could list.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { LockstepError } from '../errors.ts';
import { readRegularFileSync, warnIfShared } from '../regular-file.ts';

/** Shorter ones could be guessed. */
const MIN_LENGTH = 16;
/** It must fit an HTTP header. */
const MAX_LENGTH = 512;
/** White space around a token, and lines that should not be there, are reported in the token's own terms. */
const MAX_FILE_BYTES = 64 * 1024;

/** The sources of a token, in order of precedence. */
export interface TokenOrigin {
  /** Path given as `--token-file`. */
  readonly file?: string | undefined;
  /** `LOCKSTEP_TOKEN` of it is read where no file is given. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Told if others can read the file. */
  readonly warn: (message: string) => void;
}

/** A new token: 256 random bits in base64url. */
export function generateToken(): string {
  return randomBytes(32).toString('base64url');
}

/** Tells whether a request's `Authorization` shows the token. */
export function isAuthorized(authorization: string | undefined, token: string): boolean {
  return isSameSecret(authorization ?? '', `Bearer ${token}`);
}

/** Hashes are compared: they are of one length, and the time taken tells nothing about the secret. */
export function isSameSecret(shown: string, secret: string): boolean {
  return timingSafeEqual(hashSecret(shown), hashSecret(secret));
}

/** The SHA-256 by which secrets are compared. */
export function hashSecret(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/**
 * Reads the token, without the white space around it; undefined if none is set.
 * @throws LockstepError if it is unreadable, too short, or cannot stand in an HTTP header.
 */
export function readToken({ file, env, warn }: TokenOrigin): string | undefined {
  if (file !== undefined) return checkedToken(readTokenFile(file, warn), `token file ${file}`);
  const token = env['LOCKSTEP_TOKEN'];
  return token ? checkedToken(token, 'LOCKSTEP_TOKEN') : undefined;
}

function readTokenFile(file: string, warn: (message: string) => void): string {
  try {
    const text = readRegularFileSync(file, MAX_FILE_BYTES).toString();
    warnIfShared(file, 'token file', warn);
    return text;
  } catch (error) {
    throw tokenError(
      'E_TOKEN_FILE',
      `cannot read token file ${file}: ${(error as Error).message}`,
      'give the path of a readable file, or the token itself as LOCKSTEP_TOKEN',
      error,
    );
  }
}

/**
 * The token in a text, without the white space around it; `origin` names the text in errors.
 * @throws LockstepError if it is too short, or cannot stand in an HTTP header.
 */
export function checkedToken(text: string, origin: string): string {
  const token = text.trim();
  const help = 'use 32 random bytes, such as the output of: openssl rand -hex 32';
  if (token.length < MIN_LENGTH) {
    throw tokenError(
      'E_TOKEN',
      `${origin}: ${token.length} characters, expected at least ${MIN_LENGTH}`,
      help,
    );
  }
  if (token.length > MAX_LENGTH) {
    throw tokenError(
      'E_TOKEN',
      `${origin}: ${token.length} characters, expected at most ${MAX_LENGTH}`,
      help,
    );
  }
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw tokenError('E_TOKEN', `${origin}: holds white space or characters outside ASCII`, help);
  }
  return token;
}

function tokenError(code: `E_${string}`, message: string, help: string, cause?: unknown): LockstepError {
  return new LockstepError({ category: 'usage', code, message, help, cause });
}
