// Progress of a run for a person who watches: one line per epoch, and below them, on a terminal, a bar;
// elsewhere a line every ten seconds of a long epoch.
// Text goes to stderr only; stdout is for data.
import { Writable } from 'node:stream';
import { SingleBar, type Params } from 'cli-progress';
import type { Screen } from '../../src/screen.ts';
import {
  countOf,
  fitLine,
  formatCount,
  formatDuration,
  formatMetric,
  formatSize,
} from '../../src/printable.ts';
import type { LinePart } from '../../src/printable.ts';

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
  /** A monotonic clock; default: `performance.now`. */
  readonly nowMs?: (() => number) | undefined;
}

/** Shortest time between a line of any kind and one about the steps of an epoch. */
const STEP_LINE_MS = 10_000;

/** A bar on a terminal that can redraw it, plain lines elsewhere. */
export function createProgress(screen: Screen, options: ProgressOptions): Progress {
  return screen.canRedraw ? new BarProgress(screen, options) : new LineProgress(screen, options);
}

class LineProgress implements Progress {
  readonly #screen: Screen;
  readonly #size: ProgressOptions;
  readonly #nowMs: () => number;
  readonly #estimate: (step: number) => number | undefined;
  #lastLineMs: number;

  constructor(screen: Screen, options: ProgressOptions) {
    this.#screen = screen;
    this.#size = options;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#estimate = estimator(options, this.#nowMs);
    this.#lastLineMs = this.#nowMs();
  }

  stepDone(step: StepProgress): void {
    const timed = this.timed(step);
    if (this.#nowMs() - this.#lastLineMs < STEP_LINE_MS) return;
    this.note(stepLine(timed, this.#size, this.#screen.columns));
  }

  protected timed(step: StepProgress): TimedStep {
    return { ...step, secondsLeft: this.#estimate(step.step) };
  }

  epochDone(epoch: EpochProgress): void {
    this.note(epochLine(epoch, this.#size.epochs, this.#screen.columns));
  }

  note(message: string): void {
    this.#screen.write(`${message}\n`);
    this.#lastLineMs = this.#nowMs();
  }

  close(): void {
    // Nothing is drawn.
  }
}

class BarProgress extends LineProgress {
  readonly #screen: Screen;
  readonly #bar: SingleBar;

  constructor(screen: Screen, options: ProgressOptions) {
    super(screen, options);
    const { epochs, steps, stepsDone = 0 } = options;
    this.#screen = screen;
    this.#bar = new SingleBar({
      stream: new BarStream(screen),
      format: (_options, params, payload: Partial<TimedStep>) => barLine(params, payload, epochs),
      // Log lines clear the bar; each tick draws it again.
      forceRedraw: true,
      clearOnComplete: true,
      linewrap: null,
      hideCursor: null,
    });
    this.#bar.start(steps, stepsDone, {});
  }

  override stepDone(step: StepProgress): void {
    this.#bar.update(step.step, this.timed(step));
  }

  override close(): void {
    this.#bar.stop();
    this.#screen.clearStatus();
  }
}

/** A step with the time that the rest of the run is likely to take. */
interface TimedStep extends StepProgress {
  /** Undefined after the first step, when nothing is known. */
  readonly secondsLeft: number | undefined;
}

/**
 * Estimates the time left from the mean of all steps since the first one that it is told of, the
 * validations between them included. After a rollback it begins again.
 */
function estimator({ steps }: ProgressOptions, nowMs: () => number): (step: number) => number | undefined {
  let first: { readonly step: number; readonly atMs: number } | undefined;
  return (step) => {
    if (!first || step <= first.step) {
      first = { step, atMs: nowMs() };
      return undefined;
    }
    return ((nowMs() - first.atMs) / (step - first.step) / 1000) * (steps - step);
  };
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

function epochLine(epoch: EpochProgress, epochs: number, columns: number): string {
  const position = `epoch ${String(epoch.epoch).padStart(String(epochs).length)}/${epochs}`;
  const entries = Object.entries(epoch.metrics);
  const metrics = entries.map(([name, value], index) => ({
    text: `${name} ${formatMetric(value)}`,
    leaveOut: LOSS_NAMES.has(name) ? undefined : LEAVE_OUT.metrics + (entries.length - index),
  }));
  return fitLine([{ text: position }, ...metrics, ...paceParts(epoch)], columns);
}

/** The names that an epoch's line always has room for. */
const LOSS_NAMES: ReadonlySet<string> = new Set(['train/loss', 'val/loss']);

/** The order in which a line that is too long loses its parts; of the metrics the last one first. */
const LEAVE_OUT = { workers: 0, metrics: 0, pace: 1000, timeLeft: 1001 } as const;

/** Speed, and the workers unless the run has none. */
function paceParts({
  samplesPerSecond,
  workers,
}: Pick<StepProgress, 'samplesPerSecond' | 'workers'>): LinePart[] {
  const speed = formatSize(samplesPerSecond);
  const pace = { text: `${speed} samples/s`, short: `${speed}/s`, leaveOut: LEAVE_OUT.pace };
  return [pace, ...(workers > 0 ? [{ text: countOf(workers, 'worker'), leaveOut: LEAVE_OUT.workers }] : [])];
}

function timeLeftParts(secondsLeft: number | undefined): LinePart[] {
  if (secondsLeft === undefined) return [];
  return [{ text: `${formatDuration(Math.ceil(secondsLeft))} left`, leaveOut: LEAVE_OUT.timeLeft }];
}

function stepLine(step: TimedStep, { epochs, steps }: ProgressOptions, columns: number): string {
  const parts: LinePart[] = [
    { text: `epoch ${step.epoch}/${epochs}` },
    { text: `step ${formatCount(step.step)}/${formatCount(steps)}` },
    { text: `${Math.floor((100 * step.step) / steps)} %` },
    { text: `loss ${formatMetric(step.loss)}` },
    ...paceParts(step),
    ...timeLeftParts(step.secondsLeft),
  ];
  return fitLine(parts, columns);
}

/** Width of the bar itself, where there is room for more than its texts. */
const BAR = { least: 10, most: 40 } as const;

function barLine(params: Params, step: Partial<TimedStep>, epochs: number): string {
  // One column stays free: text in the last one wraps on some terminals.
  const room = params.maxWidth - 1;
  const head = `epoch ${step.epoch ?? 1}/${epochs}`;
  const position = `${formatCount(params.value)}/${formatCount(params.total)}`;
  const { loss, samplesPerSecond, workers = 0, secondsLeft } = step;
  const parts: LinePart[] = [
    { text: `step ${position}`, short: position },
    ...(loss === undefined ? [] : [{ text: `loss ${formatMetric(loss)}` }]),
    ...(samplesPerSecond === undefined ? [] : paceParts({ samplesPerSecond, workers })),
    ...timeLeftParts(secondsLeft),
  ];
  const roomForTexts = room - head.length - 2;
  const texts = fitLine(parts, roomForTexts - BAR.least - 2);
  const width = Math.min(BAR.most, roomForTexts - texts.length - 2);
  if (width >= BAR.least) return `${head}  ${drawBar(params.progress, width)}  ${texts}`;
  return `${head}  ${fitLine(parts, roomForTexts)}`.slice(0, room);
}

function drawBar(progress: number, width: number): string {
  const done = Math.floor(progress * width);
  return '█'.repeat(done) + '░'.repeat(width - done);
}
