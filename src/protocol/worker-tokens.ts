// Tokens of single workers: a file with a line for each, its name and its token. The file is read again when it
// changes, so that a worker is let in, or shut out, while the run goes on.
import { timingSafeEqual } from 'node:crypto';
import { LockstepError } from '../errors.ts';
import { MAX_WORKER_NAME_LENGTH, MAX_WORKERS } from '../limits.ts';
import type { Logger } from '../log.ts';
import { followFiles, readRegularFileSync, warnIfShared } from '../regular-file.ts';
import { checkedToken, hashSecret } from './token.ts';

/** 1,024 workers with the longest names and tokens take some 600 KB. */
const MAX_FILE_BYTES = 2 ** 20;

/** The tokens of one file. */
export class WorkerTokens {
  readonly #file: string;
  readonly #log: Logger;
  /** SHA-256 of `Bearer TOKEN` by the worker's name. */
  #hashes: ReadonlyMap<string, Buffer>;

  /** @throws LockstepError (exit 2) for a file that cannot be read, or has other lines than names with tokens */
  constructor(file: string, log: Logger) {
    this.#file = file;
    this.#log = log;
    this.#hashes = readTokens(file);
    warnIfShared(file, 'file of tokens', (message) => log.warn(message));
  }

  /** The worker whose token an `Authorization` shows; all are compared, so that the time taken tells nothing. */
  nameOf(authorization: string | undefined): string | undefined {
    const shown = hashSecret(authorization ?? '');
    let found: string | undefined;
    for (const [name, hash] of this.#hashes) if (timingSafeEqual(hash, shown)) found = name;
    return found;
  }

  /** Calls `onChange` whenever the file has been read again; returns the function that ends this. */
  follow(onChange: () => void): () => void {
    return followFiles([this.#file], () => {
      if (this.#readAgain()) onChange();
    });
  }

  #readAgain(): boolean {
    try {
      this.#hashes = readTokens(this.#file);
      this.#log.info(`took ${this.#hashes.size} tokens from ${this.#file}`);
      return true;
    } catch (error) {
      this.#log.warn(`kept the tokens of before: ${(error as Error).message}`);
      return false;
    }
  }
}

function readTokens(file: string): Map<string, Buffer> {
  let text: string;
  try {
    text = readRegularFileSync(file, MAX_FILE_BYTES).toString();
  } catch (error) {
    throw tokensError(`cannot read ${file}: ${(error as Error).message}`, error);
  }
  const hashes = new Map<string, Buffer>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const place = `${file}:${index + 1}`;
    const words = line.trim().split(/\s+/);
    if (words[0] === '' || words[0]?.startsWith('#')) continue;
    const [name = '', token = ''] = words;
    if (words.length !== 2 || !/^[\x21-\x7e]+$/.test(name) || name.length > MAX_WORKER_NAME_LENGTH)
      throw tokensError(`${place}: expected a name and a token`);
    if (hashes.has(name)) throw tokensError(`${place}: ${name} has a token already`);
    const hash = hashSecret(`Bearer ${checkedToken(token, place)}`);
    // Else a token that is taken from one worker would still let it in as the other.
    const [owner] = [...hashes].find(([, other]) => other.equals(hash)) ?? [];
    if (owner !== undefined) throw tokensError(`${place}: ${name} has the token of ${owner}`);
    hashes.set(name, hash);
  }
  if (hashes.size > 0 && hashes.size <= MAX_WORKERS) return hashes;
  throw tokensError(`${file} has ${hashes.size} tokens; expected 1 to ${MAX_WORKERS}`);
}

function tokensError(message: string, cause?: unknown): LockstepError {
  const help = 'a line for each worker, such as: node1 9f86d081884c7d659a2feaa0c55ad015';
  return new LockstepError({ category: 'usage', code: 'E_WORKER_TOKENS', message, help, cause });
}
