// The trials of a search, as lines, a table and a plot.
import type { TopLevelSpec } from 'vega-lite';
import { overridesOf } from '../../src/config/search-space.ts';
import type { Dimension, Point } from '../../src/config/search-space.ts';
import { isBetter } from '../../src/metrics/definitions.ts';
import type { Direction } from '../../src/metrics/definitions.ts';
import { formatDuration, formatMetric, printable } from '../../src/printable.ts';
import { wrapLines } from '../../src/screen.ts';
import { plainTable } from './plain-table.ts';
import { BASE, BLUE, GREY, scaleOf } from './plot-specs.ts';

/** A trial that is over: a line of `trials.jsonl`. */
export interface Trial {
  /** Counts from 1. */
  readonly trial: number;
  readonly values: Point;
  /** `stopped`: it fell behind the others. `failed`: it could not be trained. */
  readonly state: 'finished' | 'stopped' | 'failed';
  /** The watched metric of the validation split after each epoch, the best one so far. */
  readonly best: readonly number[];
  readonly seconds: number;
  readonly error?: string | undefined;
}

/** A search that is over. */
export interface TuneResult {
  readonly metric: string;
  readonly direction: Direction;
  readonly bestTrial: number;
  readonly dimensions: readonly Dimension[];
  readonly trials: readonly Trial[];
  readonly directory: string;
}

/** The best trial; undefined if none has a value. */
export function bestOf(trials: readonly Trial[], direction: Direction): Trial | undefined {
  let best: Trial | undefined;
  for (const trial of trials) {
    const value = trial.best.at(-1);
    if (value === undefined || trial.state !== 'finished') continue;
    if (!best || isBetter(direction, value, best.best.at(-1))) best = trial;
  }
  return best;
}

/** A trial in a line. */
export function describeTrial(
  { trial, values, state, best, seconds, error }: Trial,
  numTrials: number,
  { metric, direction, done }: { metric: string; direction: Direction; done: readonly Trial[] },
): string {
  const chosen = formatPoint(values);
  const result =
    state === 'failed'
      ? `failed: ${error}`
      : `val/${metric} ${formatMetric(best.at(-1) ?? Number.NaN)}${state === 'stopped' ? `, stopped after epoch ${best.length}` : ''}`;
  const leader = bestOf(done, direction);
  const isLeader = leader?.trial === trial ? ', the best so far' : '';
  return `trial ${trial}/${numTrials}  ${chosen}  ${result} in ${formatDuration(seconds)}${isLeader}`;
}

function formatPoint(values: Point): string {
  return Object.entries(values)
    .map(([key, value]) => `${nameOf(key)}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join('  ');
}

/** The last names of a key: `layers.0.units` of `model.layers.0.units`. */
function nameOf(key: string): string {
  return key
    .split('.')
    .slice(-3)
    .join('.')
    .replace(/^(?:model|optimizer)\./, '');
}

const MAX_SHOWN = 10;
const MAX_PANELS = 12;

/** The metric of every trial over each key, in a panel of its own. */
export function tuneSpec({ dimensions, metric, trials }: TuneResult): TopLevelSpec {
  const panels = dimensions.slice(0, MAX_PANELS).map((dimension) => {
    const { key } = dimension;
    const isLog = dimension.kind === 'range' && dimension.isLog;
    const points = trials.flatMap(({ best, state, values }) => {
      const y = best.at(-1);
      return y === undefined || !Number.isFinite(y) ? [] : [{ x: values[key], y, state }];
    });
    const areNumbers = points.every(({ x }) => typeof x === 'number');
    const shown = areNumbers ? points : points.map(({ x, ...point }) => ({ x: JSON.stringify(x), ...point }));
    const xs = points.map(({ x }) => x as number);
    const scale = isLog ? { type: 'log' as const } : areNumbers ? scaleOf(xs) : undefined;
    return {
      width: 300,
      height: 180,
      data: { values: shown },
      mark: { type: 'point' as const, filled: true, size: 60 },
      encoding: {
        x: {
          field: 'x',
          type: areNumbers ? ('quantitative' as const) : ('nominal' as const),
          title: printable(nameOf(key)),
          ...(scale ? { scale } : {}),
        },
        y: {
          field: 'y',
          type: 'quantitative' as const,
          title: `val/${metric}`,
          scale: scaleOf(points.map(({ y }) => y)),
        },
        color: {
          field: 'state',
          type: 'nominal' as const,
          title: null,
          scale: { domain: ['finished', 'stopped'], range: [BLUE, GREY] },
        },
      },
    };
  });
  const title = { text: 'Trials', subtitle: 'Those that fell behind were stopped' };
  return { ...BASE, title, columns: panels.length === 1 ? 1 : 2, concat: panels };
}

/** The best trials as a table, and the way on; ends in a newline. */
export function formatTuning(
  { bestTrial, directory, direction, metric, trials }: TuneResult,
  columns: number,
): string {
  const keys = Object.keys(trials[0]?.values ?? {});
  const valueOf = ({ best }: Trial): number => best.at(-1) ?? Number.NaN;
  const ranked = trials
    .filter(({ state }) => state === 'finished')
    .toSorted((a, b) => (isBetter(direction, valueOf(a), valueOf(b)) ? -1 : 1));
  const rows = ranked
    .slice(0, MAX_SHOWN)
    .map((trial) => [
      String(trial.trial),
      ...keys.map((key) => String(trial.values[key])),
      formatMetric(valueOf(trial)),
    ]);
  const counts = (['stopped', 'failed'] as const)
    .map((state) => [trials.filter((trial) => trial.state === state).length, state] as const)
    .filter(([count]) => count > 0)
    .map(([count, state]) => `, ${count} ${state}`);
  const best = trials.find(({ trial }) => trial === bestTrial) as Trial;
  const set = overridesOf(best.values)
    .map((text) => `--set '${text}'`)
    .join(' ');
  return [
    plainTable(['trial', ...keys.map((key) => `>${nameOf(key)}`), `>val/${metric}`], rows),
    `${trials.length} trials${counts.join('')}; the best is ${bestTrial}`,
    wrapLines(`train on with: ${set}`, columns),
    `results in ${directory}`,
    '',
  ].join('\n');
}
