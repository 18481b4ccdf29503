// What a worker is doing, for whoever watches it: the last line of a terminal, or a line of the log every ten
// seconds.
import { blobByteLength } from '../src/data/dataset/packed-dataset.ts';
import type { RowLayout } from '../src/data/dataset/packed-dataset.ts';
import type { Logger } from '../src/log.ts';
import { formatBytes } from '../src/memory.ts';
import { fitLine, formatCount, formatDuration, formatSize } from '../src/printable.ts';
import type { Connection } from '../src/protocol/connection.ts';
import type { Screen } from '../src/screen.ts';

const REDRAW_MS = 1000;
const LOG_MS = 10_000;
/** Between two tasks a worker waits for a moment, which is no news. */
export const LONG_WAIT_MS = 5000;

/** Receives news of a worker's work. */
export type Progress = Pick<WorkerProgress, keyof WorkerProgress>;

/** Shows the work of one worker process over all its sessions. */
export class WorkerProgress {
  readonly #screen: Screen;
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  #connection: Connection | undefined;
  /** Undefined while it computes. */
  #wait: { readonly what: string; readonly sinceMs: number } | undefined;
  #step = 0;
  #rows = 0;
  #bytesSent = 0;
  #before = { atMs: performance.now(), rows: 0 };
  #lastLine = '';

  constructor(screen: Screen, log: Logger) {
    this.#screen = screen;
    this.#log = log;
    this.#timer = setInterval(() => this.#show(), screen.canRedraw ? REDRAW_MS : LOG_MS).unref();
  }

  /** A session begins; its connection's bytes count. */
  connected(connection: Connection): void {
    this.#connection = connection;
    this.#bytesSent = 0;
    this.waits('the coordinator to answer');
  }

  /** The session is over. */
  disconnected(): void {
    this.#connection = undefined;
  }

  /** It waits for something from now on. */
  waits(what: string): void {
    this.#wait = { what, sinceMs: performance.now() };
  }

  /** So many bytes of a dataset of this layout have come. */
  loads(bytes: number, layout: RowLayout | undefined): void {
    const all = layout ? ` of ${formatBytes(blobByteLength(layout))}` : '';
    const what = `the dataset: ${formatBytes(bytes)}${all} are here`;
    this.#wait = { what, sinceMs: this.#wait?.sinceMs ?? performance.now() };
  }

  /** It computes from now on; `step` counts from 1, and is undefined for an evaluation. */
  computes(step: number | undefined): void {
    this.#wait = undefined;
    this.#step = step ?? this.#step;
  }

  /** It has computed that many rows, and has nothing to do until it gets more. */
  computed(rows: number): void {
    this.#rows += rows;
    this.waits('the coordinator, which has sent no task');
  }

  sent(bytes: number): void {
    this.#bytesSent += bytes;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#screen.clearStatus();
  }

  #show(): void {
    if (!this.#connection) return this.#screen.clearStatus();
    const line = this.#describe(this.#connection);
    if (this.#screen.canRedraw) return this.#screen.drawStatus(line);
    // A worker that waits for hours says so once.
    const news = line.replace(/ for [^,]*$/, '');
    if (news !== this.#lastLine) this.#log.info(line);
    this.#lastLine = news;
  }

  #describe({ bytesRead }: Connection): string {
    const nowMs = performance.now();
    const speed = ((this.#rows - this.#before.rows) * 1000) / (nowMs - this.#before.atMs);
    this.#before = { atMs: nowMs, rows: this.#rows };
    const waitMs = this.#wait === undefined ? 0 : nowMs - this.#wait.sinceMs;
    if (this.#wait && waitMs >= LONG_WAIT_MS) {
      return `waiting for ${this.#wait.what}, for ${formatDuration(waitMs / 1000)}`;
    }
    return fitLine(
      [
        { text: `step ${formatCount(this.#step)}` },
        { text: `${formatSize(speed)} samples/s` },
        { text: `${formatBytes(bytesRead)} received`, leaveOut: 1 },
        { text: `${formatBytes(this.#bytesSent)} sent`, leaveOut: 0 },
      ],
      this.#screen.columns,
    );
  }
}
