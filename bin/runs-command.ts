// `lockstep runs`, `runs compare` and `runs sync`: what runs there are, how some of them differ, and sending
// them to services that record runs.
import path from 'node:path';
import { plainTable } from '../coordinator/output/plain-table.ts';
import { printJson, printText, writeResultFile } from '../coordinator/output/results.ts';
import {
  compareHeadlines,
  headlineOf,
  listRuns,
  lossesByEpoch,
  readRun,
} from '../coordinator/output/run-list.ts';
import type { ListedRun } from '../coordinator/output/run-list.ts';
import { runLosses } from '../coordinator/output/curve-specs.ts';
import { LockstepError, systemErrorCode } from '../src/errors.ts';
import { formatMetric } from '../src/printable.ts';
import { createRuntime } from './runtime.ts';

/** Arguments of `lockstep runs`. */
export interface RunsArguments {
  readonly name?: string;
  readonly sort: RunOrder;
  readonly json?: boolean;
}

/** Arguments of `lockstep runs compare`. */
export interface CompareArguments {
  readonly plot?: string;
  readonly json?: boolean;
}

/** The order of a list. */
type RunOrder = 'time' | 'name' | 'val' | 'test';

/** Columns of a terminal that is not asked, or of a file. */
const WIDTH = 80;
const HASH_LENGTH = 8;
/** More runs make a table that nobody reads. */
const MAX_COMPARED = 8;

const ORDERS: Readonly<Record<RunOrder, (a: ListedRun, b: ListedRun) => number>> = {
  // As they are listed.
  time: () => 0,
  name: (a, b) => a.name.localeCompare(b.name),
  val: (a, b) => (a.validationLoss ?? Infinity) - (b.validationLoss ?? Infinity) || 0,
  test: compareHeadlines,
};

/** Lists the runs in a directory. */
export async function showRuns(parent: string, { name = '', sort, json }: RunsArguments): Promise<void> {
  const runs = readList(parent)
    .filter((run) => `${run.name} ${path.basename(run.directory)}`.toLowerCase().includes(name.toLowerCase()))
    .sort(ORDERS[sort]);
  if (json) return printJson(runs.map(({ config: _, ...run }) => run));
  await printText(runs.length === 0 ? 'no runs\n' : `${tableOf(runs)}\n`);
}

function readList(parent: string): ListedRun[] {
  try {
    return listRuns(parent);
  } catch (cause) {
    if (systemErrorCode(cause) === undefined) throw cause;
    throw new LockstepError({
      category: 'usage',
      code: 'E_NO_RUN',
      message: `cannot list ${parent}: ${systemErrorCode(cause) === 'ENOENT' ? 'no such directory' : (cause as Error).message}`,
      help: 'name the directory that holds the directories of runs, such as runs',
      cause,
    });
  }
}

/** A line for each run, within the width of the terminal: the name makes way. */
function tableOf(runs: readonly ListedRun[]): string {
  const head = ['run', 'started', 'state', 'epochs', 'val loss', 'test', 'weights'];
  const rows = runs.map((run) => {
    const [metric, value] = headlineOf(run) ?? [];
    const planned = run.epochsPlanned === undefined ? '' : `/${run.epochsPlanned}`;
    return [
      path.basename(run.directory),
      shortTime(run.startedAt),
      run.state === 'interrupted' ? 'stopped' : run.state === 'finished' ? 'done' : run.state,
      `${run.epochs}${planned}`,
      run.validationLoss === undefined ? '' : formatMetric(run.validationLoss),
      value === undefined ? '' : `${metric} ${formatMetric(value)}`,
      run.weightsSha256?.slice(0, HASH_LENGTH) ?? '',
    ];
  });
  // A directory that is named after its time says it already.
  const areDated = runs.every(({ directory }) => /^\d{8}-\d{6}-/.test(path.basename(directory)));
  const kept = (cells: readonly string[]): string[] => cells.filter((_, column) => column !== 1 || !areDated);
  return fitTable(kept(head), rows.map(kept));
}

function fitTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const width = Math.max(WIDTH, process.stdout.columns ?? WIDTH);
  const widthOf = (column: number): number =>
    Math.max(...[head, ...rows].map((row) => row[column]?.length ?? 0));
  const others = head.slice(1).reduce((sum, _, column) => sum + widthOf(column + 1) + 2, 0);
  const room = Math.max(8, width - others);
  const [name = '', ...titles] = head;
  return plainTable(
    [name, ...titles.map((title) => `>${title}`)],
    rows.map(([first = '', ...rest]) => [cut(first, room), ...rest]),
  );
}

/** The text, without its middle where it is too long: beginnings and ends tell runs apart. */
function cut(text: string, length: number): string {
  if (text.length <= length) return text;
  const end = Math.floor((length - 1) / 2);
  return `${text.slice(0, length - 1 - end)}…${text.slice(text.length - end)}`;
}

/** Month, day, hour and minute of this machine's clock. */
function shortTime(time: string | undefined): string {
  const date = new Date(time ?? Number.NaN);
  if (Number.isNaN(date.getTime())) return '';
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** Compares runs: their results side by side, and the config values in which they differ. */
export async function compareRuns(names: readonly string[], { plot, json }: CompareArguments): Promise<void> {
  if (names.length < 2 || names.length > MAX_COMPARED) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_COMPARE',
      message: `${names.length} runs to compare; expected 2 to ${MAX_COMPARED}`,
    });
  }
  const runs = names.map(findRun);
  if (plot !== undefined) await drawLosses(runs, plot);
  const results = resultsOf(runs);
  const config = configDifferences(runs);
  if (json) {
    const asRecord = (rows: readonly Row[]): Record<string, readonly unknown[]> =>
      Object.fromEntries(rows.map(([name, ...values]) => [name, values]));
    return printJson({
      runs: runs.map(({ directory }) => directory),
      results: asRecord(results),
      config: asRecord(config),
    });
  }
  const letters = runs.map((_, index) => String.fromCharCode(97 + index));
  const key = runs.map(({ directory }, index) => `${letters[index]}  ${directory}`);
  const table = (title: string, rows: readonly Row[], cellOf: (value: unknown) => string): string =>
    compareTable(
      [title, ...letters],
      rows.map(([name, ...values]) => [
        name,
        ...values.map((value) => (value === undefined ? '–' : cellOf(value))),
      ]),
    );
  const differences = config.length === 0 ? 'the configs are equal' : table('config', config, String);
  await printText(`${key.join('\n')}\n\n${table('result', results, resultCell)}\n\n${differences}\n`);
}

/** Sends runs to the services that their configs or the environment name. */
export async function syncRuns(names: readonly string[]): Promise<void> {
  const { log, signal } = createRuntime();
  const runs = names.map(findRun);
  const { syncRun } = await import('../coordinator/commands/sync.ts');
  for (const { directory } of runs) await syncRun(directory, log, signal);
}

/** A name, and a value for each run; undefined where a run has none. */
type Row = readonly [name: string, ...values: unknown[]];

/** The directory that is named, or one of that name in `runs`. @throws LockstepError (exit 2) */
function findRun(name: string): ListedRun {
  const run = readRun(name) ?? readRun(path.join('runs', name));
  if (run) return run;
  throw new LockstepError({
    category: 'usage',
    code: 'E_NO_RUN',
    message: `${name} holds no run: it has no readable config.yaml and events.jsonl`,
    help: 'name the directory of a run; lockstep runs lists those in runs/',
  });
}

function resultsOf(runs: readonly ListedRun[]): Row[] {
  const metrics = new Set(runs.flatMap(({ test }) => Object.keys(test ?? {})));
  const short = runs.map(({ weightsSha256 }) => weightsSha256?.slice(0, HASH_LENGTH));
  return [
    ['state', ...runs.map(({ state }) => state)],
    ['epochs', ...runs.map(({ epochs }) => epochs)],
    ['validation loss', ...runs.map(({ validationLoss }) => validationLoss)],
    ...[...metrics].map((metric): Row => [`test ${metric}`, ...runs.map(({ test }) => test?.[metric])]),
    ['weights sha256', ...short],
  ];
}

/** The values in which configs differ, by their key paths. */
function configDifferences(runs: readonly ListedRun[]): Row[] {
  const flat = runs.map(({ config }) => new Map(flatten(config)));
  const keys = [...new Set(flat.flatMap((values) => [...values.keys()]))].sort();
  return keys
    .map((key): Row => [key, ...flat.map((values) => values.get(key))])
    .filter(([, first, ...rest]) => rest.some((value) => value !== first));
}

function flatten(value: unknown, at = ''): [string, unknown][] {
  if (typeof value !== 'object' || value === null) return [[at, value]];
  const entries = Object.entries(value);
  if (entries.length === 0) return [[at, Array.isArray(value) ? '[]' : '{}']];
  return entries.flatMap(([key, part]) => flatten(part, at === '' ? key : `${at}.${key}`));
}

function resultCell(value: unknown): string {
  if (typeof value !== 'number') return String(value);
  return Number.isInteger(value) ? String(value) : formatMetric(value);
}

/** A table in the width of the terminal: names get half of it at most, and long values are cut. */
function compareTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const width = Math.max(WIDTH, process.stdout.columns ?? WIDTH);
  const numRuns = head.length - 1;
  const longest = Math.max(...rows.map(([name = '']) => name.length), head[0]?.length ?? 0);
  const names = Math.min(longest, width - numRuns * 8);
  const room = Math.max(6, Math.floor((width - names) / numRuns) - 2);
  const [title = '', ...titles] = head;
  return plainTable(
    [title, ...titles.map((text) => `>${text}`)],
    rows.map(([name = '', ...cells]) => [cut(name, names), ...cells.map((cell) => cut(cell, room))]),
  );
}

async function drawLosses(runs: readonly ListedRun[], file: string): Promise<void> {
  if (!file.endsWith('.svg')) {
    throw new LockstepError({
      category: 'usage',
      code: 'E_OUTPUT',
      message: `--plot ${file}: expected a name that ends in .svg`,
    });
  }
  const { renderSvg } = await import('../coordinator/output/plot-render.ts');
  const curves = runs.map((run) => ({
    name: path.basename(path.resolve(run.directory)),
    epochs: lossesByEpoch(run),
  }));
  await writeResultFile(file, await renderSvg(runLosses(curves)));
}
