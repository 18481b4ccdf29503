// Runs as their directories describe them: for lists and comparisons. Nothing is changed, and what cannot
// be read of a run is left out.
import fs from 'node:fs';
import path from 'node:path';
import { parseConfigText } from '../../src/config/config-text.ts';
import { parseJson } from '../../src/json.ts';
import { readRecords } from '../../src/line-file.ts';
import { readRegularFileSync } from '../../src/regular-file.ts';
import { isBetter, metricNamed, scalarMetrics } from '../../src/metrics/definitions.ts';
import type { SplitMetrics } from '../../src/metrics/definitions.ts';
import { RunDirectory } from './run-directory.ts';
import { stateOfRun } from './run-state.ts';
import type { RecordedState } from './run-state.ts';

/** A run in a list. */
export interface ListedRun {
  readonly directory: string;
  readonly name: string;
  /** Time of the first event, as ISO 8601; undefined where there is none. */
  readonly startedAt: string | undefined;
  readonly state: RecordedState;
  /** Epochs that are over, and those that were asked for. */
  readonly epochs: number;
  readonly epochsPlanned: number | undefined;
  /** Loss on the validation split: of the weights that are kept, or the least so far. */
  readonly validationLoss: number | undefined;
  /** The metrics of the test split; undefined of a run that is not finished. */
  readonly test: Readonly<Record<string, number>> | undefined;
  readonly weightsSha256: string | undefined;
  /** The config as `config.yaml` has it. */
  readonly config: unknown;
}

const MAX_FILE_BYTES = 2 ** 26;
/** The metrics that say most about a model, the first one first. */
const HEADLINES = ['accuracy', 'r2', 'perplexity', 'loss'];

/** The runs in a directory, or that run itself, the newest first; entries that are no runs are left out. */
export function listRuns(parent: string): ListedRun[] {
  const own = readRun(parent);
  if (own) return [own];
  const runs = fs
    .readdirSync(parent, { withFileTypes: true })
    // Links, such as `latest`, lead to runs that are listed anyway.
    .filter((entry) => entry.isDirectory())
    .flatMap((entry) => readRun(path.join(parent, entry.name)) ?? []);
  return runs.sort(newestFirst);
}

/** Reads a run; undefined where the directory holds none. */
export function readRun(directory: string): ListedRun | undefined {
  const { configPath, eventsPath, metricsPath, summaryPath } = new RunDirectory(directory);
  const config = readConfig(configPath);
  if (config === undefined || !fs.existsSync(eventsPath)) return undefined;
  const { name, epochs: planned } = config as Record<string, unknown>;
  const facts = {
    directory,
    name: typeof name === 'string' ? name : path.basename(directory),
    startedAt: firstTime(eventsPath),
    state: stateOfRun(directory),
    epochsPlanned: typeof planned === 'number' ? planned : undefined,
    config,
  };
  const summary = facts.state === 'finished' ? readSummary(summaryPath) : undefined;
  if (!summary) return { ...facts, ...progressOf(metricsPath), test: undefined, weightsSha256: undefined };
  const { epochs, validation, test, weightsSha256 } = summary;
  return {
    ...facts,
    epochs: Number(epochs),
    validationLoss: validation && scalarMetrics(validation)['loss'],
    test: test && scalarMetrics(test),
    weightsSha256: typeof weightsSha256 === 'string' ? weightsSha256 : undefined,
  };
}

/** The test metric that says most, by its name; undefined where there is none. */
export function headlineOf({ test }: ListedRun): readonly [name: string, value: number] | undefined {
  const name = HEADLINES.find((metric) => test?.[metric] !== undefined);
  return name === undefined ? undefined : [name, test?.[name] as number];
}

/** The order of two runs by their headline: the better one first, those without one last. */
export function compareHeadlines(a: ListedRun, b: ListedRun): number {
  const [ofA, ofB] = [headlineOf(a), headlineOf(b)];
  if (!ofA || !ofB) return Number(!ofA) - Number(!ofB);
  if (ofA[0] !== ofB[0]) return HEADLINES.indexOf(ofA[0]) - HEADLINES.indexOf(ofB[0]);
  const better = metricNamed(ofA[0])?.better ?? 'min';
  return isBetter(better, ofA[1], ofB[1]) ? -1 : Number(isBetter(better, ofB[1], ofA[1]));
}

/** Losses of a run by epoch: of the validation split, or of training where there is none. */
export function lossesByEpoch({ directory }: ListedRun): { readonly epoch: number; readonly loss: number }[] {
  const { metricsPath } = new RunDirectory(directory);
  if (!fs.existsSync(metricsPath)) return [];
  const losses = [];
  for (const record of readRecords(metricsPath)) {
    if (!('train/loss' in record)) continue;
    losses.push({ epoch: Number(record['epoch']), loss: Number(record['val/loss'] ?? record['train/loss']) });
  }
  return losses;
}

function newestFirst(a: ListedRun, b: ListedRun): number {
  return (b.startedAt ?? '').localeCompare(a.startedAt ?? '') || a.directory.localeCompare(b.directory);
}

function readConfig(file: string): object | undefined {
  try {
    const text = readRegularFileSync(file, MAX_FILE_BYTES).toString();
    const { value } = parseConfigText(text, 'config.yaml');
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** The fields of a summary that are read, of whatever version wrote it. */
interface ReadSummary {
  readonly epochs?: unknown;
  readonly validation?: SplitMetrics;
  readonly test?: SplitMetrics;
  readonly weightsSha256?: unknown;
  readonly wallSeconds?: unknown;
  readonly best?: unknown;
}

/** The summary, with the numbers that JSON has as texts; undefined if it is damaged. */
export function readSummary(file: string): ReadSummary | undefined {
  try {
    const value = parseJson(readRegularFileSync(file, MAX_FILE_BYTES).toString(), (_key, field) =>
      field === 'NaN' || field === 'Infinity' || field === '-Infinity' ? Number(field) : field,
    );
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function firstTime(eventsPath: string): string | undefined {
  for (const { time } of readRecords(eventsPath)) return typeof time === 'string' ? time : undefined;
  return undefined;
}

function progressOf(metricsPath: string): Pick<ListedRun, 'epochs' | 'validationLoss'> {
  let epochs = 0;
  let validationLoss: number | undefined;
  if (!fs.existsSync(metricsPath)) return { epochs, validationLoss };
  for (const record of readRecords(metricsPath)) {
    if (!('train/loss' in record)) continue;
    epochs = Number(record['epoch']);
    const loss = Number(record['val/loss']);
    if (isBetter('min', loss, validationLoss)) validationLoss = loss;
  }
  return { epochs, validationLoss };
}
