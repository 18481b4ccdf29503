// The body of the web worker that makes a tab a worker of a run: its socket and its computing, so that the page
// stays responsive, and no timer of a hidden page slows it down.
import '../../src/no-eval.ts';
import { LockstepError } from '../../src/errors.ts';
import { noRelaxedSimd, requireSimd } from '../../src/kernels/kernels.ts';
import type { KernelModule, Numerics } from '../../src/kernels/kernels.ts';
import { proveBuilds } from '../../src/known-answer.ts';
import type { KernelBuilds } from '../../src/known-answer.ts';
import { blobByteLength } from '../../src/data/dataset/packed-dataset.ts';
import type { RowLayout } from '../../src/data/dataset/packed-dataset.ts';
import type { Connection } from '../../src/protocol/connection.ts';
import { httpUrl } from '../../src/protocol/connection.ts';
import { LONG_WAIT_MS } from '../progress.ts';
import type { Progress } from '../progress.ts';
import { runWorker } from '../run-worker.ts';
import { browserName } from './browser-name.ts';
import { connectTab } from './connection.ts';
import { TabInstance } from './instance.ts';
import { createHash } from './node.ts';

/** A message of the page to its web worker. */
export type ToTab =
  | {
      readonly type: 'start';
      /** The address of the coordinator, which ends in a slash. */
      readonly url: string;
      readonly token: string | undefined;
      readonly name: string;
    }
  | { readonly type: 'leave' };

/** A message of a web worker to its page. */
export type FromTab =
  | ({ readonly type: 'work' } & Work)
  | { readonly type: 'line'; readonly level: 'info' | 'warn'; readonly line: string }
  | {
      readonly type: 'over';
      readonly failure?: { readonly message: string; readonly help?: string | undefined };
    };

/** The work of a tab so far. */
export interface Work {
  /** Words for what it does: `computing`, or what it waits for. */
  readonly doing: string;
  readonly isComputing: boolean;
  /** Bytes of the dataset that have come, and all of them; undefined unless it is being loaded. */
  readonly loaded?: { readonly bytes: number; readonly all: number } | undefined;
  /** Steps begun since the run began, those of others too. */
  readonly step: number;
  readonly samples: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
}

const REPORT_MS = 500;
/** Time for the kernels, 84 KB a build, to come. */
const FETCH_DEADLINE_MS = 60_000;
const HELP = 'use Chrome 110, Firefox 115, Safari 16.4 or newer';

const post = (message: FromTab): void => self.postMessage(message);

/** Reports to the page, at most every half a second; a task that takes longer is reported at its end. */
class TabProgress implements Progress {
  readonly #timer = setInterval(() => this.#report(), REPORT_MS);
  #reportedMs = 0;
  /** The time at which it had nothing more to do; undefined while it has. */
  #idleSinceMs: number | undefined;
  #connection: Connection | undefined;
  #bytesBefore = 0;
  #work: Work = {
    doing: 'waiting for the coordinator to answer',
    isComputing: false,
    step: 0,
    samples: 0,
    bytesReceived: 0,
    bytesSent: 0,
  };

  connected(connection: Connection): void {
    this.#connection = connection;
    this.#bytesBefore = this.#work.bytesReceived;
    this.waits('the coordinator to answer');
  }

  disconnected(): void {
    this.#idleSinceMs = undefined;
    this.#note({ doing: 'connecting', isComputing: false, loaded: undefined });
    this.#report();
    this.#connection = undefined;
  }

  waits(what: string): void {
    this.#idleSinceMs = undefined;
    this.#note({ doing: `waiting for ${what}`, isComputing: false, loaded: undefined });
  }

  loads(bytes: number, layout: RowLayout | undefined): void {
    const loaded = layout && { bytes, all: blobByteLength(layout) };
    this.#note({ doing: 'loading the dataset', isComputing: false, loaded });
  }

  computes(step: number | undefined): void {
    this.#idleSinceMs = undefined;
    this.#note({ doing: 'computing', isComputing: true, loaded: undefined, step: step ?? this.#work.step });
    if (performance.now() - this.#reportedMs >= REPORT_MS) this.#report();
  }

  computed(rows: number): void {
    this.#idleSinceMs = performance.now();
    this.#note({ samples: this.#work.samples + rows });
  }

  sent(bytes: number): void {
    this.#note({ bytesSent: this.#work.bytesSent + bytes });
  }

  close(): void {
    clearInterval(this.#timer);
    this.#report();
  }

  #note(news: Partial<Work>): void {
    this.#work = { ...this.#work, ...news };
  }

  #report(): void {
    this.#reportedMs = performance.now();
    if (this.#idleSinceMs !== undefined && this.#reportedMs - this.#idleSinceMs >= LONG_WAIT_MS)
      this.waits('the coordinator, which has sent no task');
    if (this.#connection) this.#note({ bytesReceived: this.#bytesBefore + this.#connection.bytesRead });
    post({ type: 'work', ...this.#work });
  }
}

const stop = new AbortController();

self.onmessage = ({ data }: MessageEvent<ToTab>) => {
  if (data.type === 'leave') return stop.abort(new Error('the page leaves'));
  void work(data).then(
    () => post({ type: 'over' }),
    (error: unknown) => {
      if (stop.signal.aborted) return post({ type: 'over' });
      const message = error instanceof Error ? error.message : String(error);
      const isOld = /install the same version/.test(message);
      const help = error instanceof LockstepError ? error.help : undefined;
      const failure = {
        message,
        help: isOld ? 'this page is of another version of the program: reload it' : help,
      };
      post({ type: 'over', failure });
    },
  );
};

async function work({ url, token, name }: Extract<ToTab, { type: 'start' }>): Promise<void> {
  const line = (level: 'info' | 'warn') => (text: string) => post({ type: 'line', level, line: text });
  await runWorker({
    urls: [url],
    connect: (url, { signal }) => connectTab(url, token, signal),
    kernelBuilds: await fetchBuilds(httpUrl(url)),
    instance: new TabInstance(),
    facts: {
      runtime: browserName(navigator.userAgent),
      platform: navigator.platform.slice(0, 64) || 'unknown',
      host: 'a browser',
      pid: 0,
      isTab: true,
    },
    name,
    numThreads: 1,
    computesHere: true,
    log: { debug: () => undefined, info: line('info'), warn: line('warn') },
    progress: new TabProgress(),
    signal: stop.signal,
  });
}

/** Fetches the kernels; without relaxed SIMD the strict build alone. */
async function fetchBuilds(base: URL): Promise<KernelBuilds> {
  requireSimd('this browser', HELP);
  const strict = await fetchKernels(base, 'strict');
  const fused = await fetchKernels(base, 'fused').catch((error: unknown) => {
    if (error instanceof LockstepError && error.code === 'E_NO_RELAXED_SIMD') return undefined;
    throw error;
  });
  return proveBuilds(strict, fused);
}

async function fetchKernels(base: URL, numerics: Numerics): Promise<KernelModule> {
  const bytes = await fetchBytes(new URL(`join/kernels-${numerics}.wasm`, base));
  if (!WebAssembly.validate(bytes)) throw noRelaxedSimd('this browser', HELP);
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  return { numerics, module: await WebAssembly.compile(bytes), width: 128, isInexactAt256: false, sha256 };
}

/** @throws LockstepError where the file does not come in time */
async function fetchBytes(url: URL): Promise<Uint8Array<ArrayBuffer>> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(FETCH_DEADLINE_MS) });
    if (response.ok) return new Uint8Array(await response.arrayBuffer());
    throw new Error(`the coordinator says ${response.status}`);
  } catch (error) {
    throw new LockstepError({
      category: 'network',
      code: 'E_KERNELS',
      message: `cannot fetch the kernels: ${(error as Error).message}`,
      help: 'join again, or reload this page, when the coordinator is there',
      cause: error,
    });
  }
}
