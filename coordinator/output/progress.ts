// Progress of a run for a person who watches: one line per epoch, and below them, on a terminal, a bar.
// Text goes to stderr only; stdout is for data.
import { Writable } from 'node:stream';
import { SingleBar, type Params } from 'cli-progress';
import type { Screen } from '../../src/log.ts';
import { countOf, formatClock, formatCount, formatMetric } from '../../src/printable.ts';

/** One optimizer step. */
export interface StepProgress {
  /** Counts from 1. */
  readonly epoch: number;
  /** Steps taken in the whole run. */
  readonly step: number;
  /** Mean loss of the step's batch. */
  readonly loss: number;
  readonly samplesPerSecond: number;
  readonly workers: number;
}

/** One finished epoch. */
export interface EpochProgress {
  readonly epoch: number;
  /** Values by name, such as `train/loss`, `val/loss`, `val/r2`, in the order in which they are shown. */
  readonly metrics: Readonly<Record<string, number>>;
  readonly samplesPerSecond: number;
  readonly workers: number;
}

/** Shows how far a run has come. */
export interface Progress {
  stepDone(step: StepProgress): void;
  epochDone(epoch: EpochProgress): void;
  /** Shows a line that is not a log record, such as "waiting for workers". */
  note(message: string): void;
  /** Removes the bar. Without it the bar's timer keeps the process alive. */
  close(): void;
}

/** The size of a run. */
export interface ProgressOptions {
  readonly epochs: number;
  /** Steps of the whole run. */
  readonly steps: number;
  /** Steps taken before, when resuming. */
  readonly stepsDone?: number | undefined;
}

/** A bar on a terminal, plain lines elsewhere. */
export function createProgress(screen: Screen, options: ProgressOptions): Progress {
  return screen.isTTY ? new BarProgress(screen, options) : new LineProgress(screen, options.epochs);
}

class LineProgress implements Progress {
  readonly #screen: Screen;
  readonly #epochs: number;

  constructor(screen: Screen, epochs: number) {
    this.#screen = screen;
    this.#epochs = epochs;
  }

  stepDone(_step: StepProgress): void {
    // Without a terminal a line per step would flood a log file.
  }

  epochDone(epoch: EpochProgress): void {
    this.#screen.write(`${epochLine(epoch, this.#epochs)}\n`);
  }

  note(message: string): void {
    this.#screen.write(`${message}\n`);
  }

  close(): void {
    // Nothing is drawn.
  }
}

class BarProgress extends LineProgress {
  readonly #screen: Screen;
  readonly #bar: SingleBar;

  constructor(screen: Screen, { epochs, steps, stepsDone = 0 }: ProgressOptions) {
    super(screen, epochs);
    this.#screen = screen;
    this.#bar = new SingleBar({
      stream: new BarStream(screen),
      format: (_options, params, payload: Partial<StepProgress>) => barLine(params, payload, epochs),
      // Log lines clear the bar; each tick draws it again.
      forceRedraw: true,
      clearOnComplete: true,
      linewrap: null,
      hideCursor: null,
      etaBuffer: 50,
    });
    this.#bar.start(steps, stepsDone, {});
  }

  override stepDone(step: StepProgress): void {
    this.#bar.update(step.step, step);
  }

  override close(): void {
    this.#bar.stop();
    this.#screen.clearStatus();
  }
}

/**
 * Passes on the bar's text and none of its cursor movements: cli-progress restores a saved cursor
 * position when it stops, which by then is among log lines that have scrolled past.
 */
class BarStream extends Writable {
  readonly isTTY = true;
  readonly #screen: Screen;

  constructor(screen: Screen) {
    super({ decodeStrings: false });
    this.#screen = screen;
  }

  get columns(): number {
    return this.#screen.columns;
  }

  override _write(text: string, _encoding: BufferEncoding, done: () => void): void {
    if (!text.startsWith('\x1b')) this.#screen.drawStatus(text);
    done();
  }
}

function epochLine({ epoch, metrics, samplesPerSecond, workers }: EpochProgress, epochs: number): string {
  const position = `epoch ${String(epoch).padStart(String(epochs).length)}/${epochs}`;
  const values = Object.entries(metrics).map(([name, value]) => `${name} ${formatMetric(value)}`);
  const pace = `${formatCount(samplesPerSecond)} samples/s`;
  return [position, ...values, pace, ...countWorkers(workers)].join('  ');
}

/** The workers, unless the run has none. */
function countWorkers(workers = 0): string[] {
  return workers === 0 ? [] : [countOf(workers, 'worker')];
}

function barLine(params: Params, step: Partial<StepProgress>, epochs: number): string {
  const { epoch = 1, loss, samplesPerSecond, workers } = step;
  // Units are left out where there is no room for them and the bar.
  const isWide = params.maxWidth >= 100;
  const position = `${formatCount(params.value)}/${formatCount(params.total)}`;
  const texts = [isWide ? `step ${position}` : position];
  if (loss !== undefined) texts.push(`loss ${formatMetric(loss)}`);
  if (samplesPerSecond !== undefined) {
    texts.push(`${formatCount(samplesPerSecond)}${isWide ? ' samples/s' : '/s'}`);
  }
  texts.push(...countWorkers(workers));
  if (Number.isFinite(params.eta) && params.value > 0) texts.push(`ETA ${formatClock(params.eta)}`);
  const head = `epoch ${epoch}/${epochs}`;
  const tail = texts.join('  ');
  // One column stays free: text in the last one wraps on some terminals.
  const width = Math.min(40, params.maxWidth - head.length - tail.length - 5);
  const line = width < 5 ? `${head}  ${tail}` : `${head}  ${drawBar(params.progress, width)}  ${tail}`;
  return line.slice(0, params.maxWidth - 1);
}

function drawBar(progress: number, width: number): string {
  const done = Math.floor(progress * width);
  return '█'.repeat(done) + '░'.repeat(width - done);
}
