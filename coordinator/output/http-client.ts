// Requests to a service that records runs: each has a deadline, and an error that tells whether to ask again.
import fs from 'node:fs';
import { quoteValue } from '../../src/errors.ts';

/** An answer that no repetition would change. */
export class Refused extends Error {}

/** Deadlines of an `HttpClient`. */
export interface HttpDeadlines {
  /** The longest wait for an answer. Default 10 s. */
  readonly deadlineMs?: number | undefined;
  /** The longest wait until a file is sent. Default 60 s. */
  readonly fileDeadlineMs?: number | undefined;
}

type Headers = Readonly<Record<string, string>>;

/** Requests that end when it is closed. */
export class HttpClient {
  readonly #abort = new AbortController();
  readonly #deadlineMs: number;
  readonly #fileDeadlineMs: number;

  constructor({ deadlineMs = 10_000, fileDeadlineMs = 60_000 }: HttpDeadlines = {}) {
    this.#deadlineMs = deadlineMs;
    this.#fileDeadlineMs = fileDeadlineMs;
  }

  /** The answer to JSON, or to a request without a body. @throws Refused for what no repetition would change */
  async json(method: string, url: string, headers: Headers, body?: object): Promise<unknown> {
    const content = body && { 'content-type': 'application/json' };
    const text = body && JSON.stringify(body);
    const answer = await this.#send(method, url, { ...headers, ...content }, text, this.#deadlineMs);
    try {
      return answer === '' ? {} : JSON.parse(answer);
    } catch {
      throw new Refused(`${new URL(url).host} answers with no JSON: ${quoteValue(answer)}`);
    }
  }

  /** Sends a file, which need not fit into memory. @throws Refused for what no repetition would change */
  async putFile(url: string, headers: Headers, file: string): Promise<void> {
    await this.#send('PUT', url, headers, await fs.openAsBlob(file), this.#fileDeadlineMs);
  }

  /** Ends the requests under way, and refuses others. */
  close(): void {
    this.#abort.abort(new Refused('the connection is closed'));
  }

  async #send(
    method: string,
    url: string,
    headers: Headers,
    body: string | Blob | undefined,
    deadlineMs: number,
  ): Promise<string> {
    const deadline = AbortSignal.timeout(deadlineMs);
    const signal = AbortSignal.any([this.#abort.signal, deadline]);
    try {
      const response = await fetch(url, { method, headers, signal, ...(body === undefined ? {} : { body }) });
      const answer = await response.text();
      if (response.ok) return answer;
      const message = `HTTP ${response.status} ${answer.replace(/\s+/g, ' ').slice(0, 200)}`;
      const mayPass = response.status >= 500 || response.status === 429 || response.status === 408;
      throw mayPass ? new Error(message) : new Refused(message);
    } catch (error) {
      if (!deadline.aborted) throw error;
      throw new Error(`no answer from ${new URL(url).host} within ${deadlineMs / 1000} s`, { cause: error });
    }
  }
}

/** The address of a server. @throws Error that names where the address was written */
export function parseServer(address: string, origin: string): URL {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url && /^https?:$/.test(url.protocol)) return url;
  throw new Error(`${origin} is no address of a server, http:// or https://`);
}

/** The header of a user and a secret. */
export function basicAuthorization(user: string, secret: string): string {
  return `Basic ${Buffer.from(`${user}:${secret}`).toString('base64')}`;
}
