// The history of a run, read from the files of its directory as they grow: so a page shows the same of a
// run that is resumed, of one that is over, and after a reload; and training does nothing for it.
import path from 'node:path';
import { parseConfigText } from '../../src/config/config-text.ts';
import { shorten } from '../../src/errors.ts';
import { parseJson } from '../../src/json.ts';
import { JsonlTail } from '../../src/line-file.ts';
import { readRegularFileSync } from '../../src/regular-file.ts';
import { thinOut } from '../output/run-curves.ts';
import { RunDirectory } from '../output/run-directory.ts';
import { stateOfRun } from '../output/run-state.ts';
import type {
  DashboardEvent,
  DashboardPoint,
  DashboardSnapshot,
  DashboardUpdate,
  RunPosition,
  RunStatus,
} from './dashboard-state.ts';

/** Points of a curve that are kept; at twice as many it is thinned out. */
const MAX_POINTS = 10_000;
/** New points of a curve in one update. */
const MAX_NEW_POINTS = 500;
const MAX_EVENTS = 200;
/** Curves of a run: metrics have some 20 names. */
const MAX_CURVES = 200;
const MAX_TEXT = 300;
const MAX_FILE_BYTES = 2 ** 22;
/** Seconds over which samples per second are averaged. */
const RATE_SECONDS = 0.5;

/** Record fields that are no curves. */
const NO_CURVES = new Set(['_step', '_runtime', '_timestamp', 'epoch', 'workers', 'samplesPerSecond']);

interface Point {
  readonly x: number;
  readonly y: number;
}

/** The history of the run in a directory. */
export class RunHistory {
  readonly #directory: RunDirectory;
  #metrics: JsonlTail;
  #events: JsonlTail;
  #curves = new Map<string, Point[]>();
  #newPoints = new Map<string, Point[]>();
  #recentEvents: DashboardEvent[] = [];
  #newEvents: DashboardEvent[] = [];
  #position: RunPosition | undefined;
  /** The beginning of the steps whose rate is taken next, in the epoch under way. */
  #ratedFrom: RunPosition | undefined;
  #hasRate = false;
  #stepsPerEpoch: number | undefined;
  #weightsSha256: string | undefined;
  #name = '';
  #config = '';
  #epochs: number | undefined;
  #batchSize: number | undefined;

  /** Without `stepsPerEpoch`, the steps of an epoch are known once the first one is over. */
  constructor(directory: string, stepsPerEpoch?: number) {
    this.#stepsPerEpoch = stepsPerEpoch;
    this.#directory = new RunDirectory(directory);
    this.#metrics = new JsonlTail(this.#directory.metricsPath);
    this.#events = new JsonlTail(this.#directory.eventsPath);
  }

  /** The text of the run's config. */
  get config(): string {
    return this.#config;
  }

  /** All that `update` has read. */
  snapshot(): Omit<DashboardSnapshot, 'activity'> {
    return {
      name: this.#name,
      directory: path.basename(path.resolve(this.#directory.path)),
      config: this.#config,
      status: this.#status(),
      curves: plain(this.#curves),
      events: this.#recentEvents.slice(-MAX_EVENTS),
    };
  }

  /** Reads what is new, and returns it; undefined if curves had to be read anew, so that `snapshot` is news. */
  update(): DashboardUpdate | undefined {
    const isWhole = this.#read();
    const update = {
      status: this.#status(),
      curves: plain(this.#newPoints, MAX_NEW_POINTS),
      events: this.#newEvents,
    };
    this.#newPoints = new Map();
    this.#newEvents = [];
    return isWhole ? update : undefined;
  }

  /** Returns false if it had to begin anew. */
  #read(): boolean {
    if (this.#name === '') this.#readConfig();
    let isWhole = true;
    for (const event of this.#events.read()) isWhole = this.#takeEvent(event) && isWhole;
    if (!isWhole || this.#metrics.wasCut) {
      this.#metrics = new JsonlTail(this.#directory.metricsPath);
      this.#curves.clear();
      this.#newPoints.clear();
      this.#position = this.#ratedFrom = undefined;
      isWhole = false;
    }
    for (const record of this.#metrics.read()) this.#takeMetrics(record);
    return isWhole;
  }

  #readConfig(): void {
    try {
      this.#config = readRegularFileSync(this.#directory.configPath, MAX_FILE_BYTES).toString();
      const { value } = parseConfigText(this.#config, 'config.yaml');
      const { name, epochs, batchSize } = value as Record<string, unknown>;
      this.#name = typeof name === 'string' ? name : '';
      this.#epochs = typeof epochs === 'number' ? epochs : undefined;
      this.#batchSize = typeof batchSize === 'number' ? batchSize : undefined;
    } catch {
      // The run is being prepared, or was one of another version: the curves need no config.
    }
  }

  /** Returns false for an event after which metrics that were there have gone. */
  #takeEvent({ time, type, ...fields }: Record<string, unknown>): boolean {
    if (typeof type !== 'string' || type === 'stepDone') return true;
    if (type === 'epochDone' && typeof fields['weightsSha256'] === 'string')
      this.#weightsSha256 = fields['weightsSha256'];
    const texts = Object.entries(fields).map(([key, value]) => [
      key,
      typeof value === 'string' ? shorten(value, MAX_TEXT) : value,
    ]);
    const event = { time: String(time), type, ...(Object.fromEntries(texts) as object) };
    this.#newEvents.push(event);
    this.#recentEvents.push(event);
    if (this.#recentEvents.length > 2 * MAX_EVENTS)
      this.#recentEvents = this.#recentEvents.slice(-MAX_EVENTS);
    this.#newEvents = this.#newEvents.slice(-MAX_EVENTS);
    return type !== 'runRolledBack' && type !== 'runResumed';
  }

  #takeMetrics(record: Record<string, unknown>): void {
    const [step, epoch, runtime, timestamp] = ['_step', 'epoch', '_runtime', '_timestamp'].map((key) =>
      Number(record[key]),
    ) as [number, number, number, number];
    if (!Number.isFinite(step)) return;
    const position = { step, epoch, runtime, timestamp };
    this.#position = position;
    for (const [name, value] of Object.entries(record))
      if (!NO_CURVES.has(name)) this.#add(name, step, Number(value));
    if ('train/loss' in record) {
      this.#stepsPerEpoch = step / epoch;
      // An epoch may be over before a rate is taken.
      if (!this.#hasRate) this.#add('rate', step, Number(record['samplesPerSecond']));
      this.#ratedFrom = undefined;
      this.#hasRate = false;
    } else {
      this.#rate(position);
    }
  }

  /** Takes the samples per second of the latest steps of an epoch. */
  #rate(position: RunPosition): void {
    const from = (this.#ratedFrom ??= position);
    const seconds = position.runtime - from.runtime;
    if (this.#batchSize === undefined || !(seconds >= RATE_SECONDS)) return;
    this.#add('rate', position.step, ((position.step - from.step) * this.#batchSize) / seconds);
    this.#ratedFrom = position;
    this.#hasRate = true;
  }

  #add(name: string, x: number, y: number): void {
    const known = this.#curves.get(name);
    if (!known && this.#curves.size >= MAX_CURVES) return;
    const points = known ?? [];
    points.push({ x, y });
    this.#curves.set(name, points.length > 2 * MAX_POINTS ? thinOut(points, MAX_POINTS) : points);
    const fresh = this.#newPoints.get(name) ?? [];
    fresh.push({ x, y });
    this.#newPoints.set(name, fresh.length > 2 * MAX_POINTS ? thinOut(fresh, MAX_POINTS) : fresh);
  }

  #status(): RunStatus {
    const state = this.#name === '' ? 'preparing' : stateOfRun(this.#directory.path);
    const isFinished = state === 'finished';
    return {
      state,
      position: this.#position,
      epochs: this.#epochs,
      stepsPerEpoch: this.#stepsPerEpoch,
      weightsSha256: this.#weightsSha256,
      plots: isFinished ? this.#directory.drawnPlots : [],
      summary: isFinished ? readSummary(this.#directory.summaryPath) : undefined,
    };
  }
}

/** Curves as they are sent, each with at most so many points. */
function plain(
  curves: ReadonlyMap<string, readonly Point[]>,
  most = Infinity,
): Record<string, DashboardPoint[]> {
  return Object.fromEntries(
    [...curves].map(([name, points]) => [
      name,
      thinOut(points, most).map(({ x, y }): DashboardPoint => [x, Number.isFinite(y) ? y : null]),
    ]),
  );
}

function readSummary(file: string): unknown {
  try {
    return parseJson(readRegularFileSync(file, MAX_FILE_BYTES).toString());
  } catch {
    return undefined;
  }
}
