// The charts: one for each kind of curve, with the steps of the run on the axis that they share.
import type { Options, Series } from 'uplot';
import uPlot from './uplot/uPlot.esm.js';
import type { DashboardPoint } from '../dashboard-state.ts';
import { create } from './elements.ts';
import { formatNumber } from './format.ts';

/** A curve of a chart. */
export interface ChartCurve {
  /** The name in `metrics.jsonl`. */
  readonly name: string;
  readonly label: string;
  /** A colour of the style sheet. */
  readonly color: '--blue' | '--orange' | '--green' | '--violet';
  /** True for values of single steps: they are drawn faintly, and a smoothed line over them. */
  readonly isNoisy?: boolean;
}

/** A chart and its curves. */
export interface ChartPlan {
  readonly title: string;
  readonly curves: readonly ChartCurve[];
  /** True where the user chooses the axis. */
  readonly isLoss?: boolean;
}

/** The user's choices. */
export interface ChartSettings {
  readonly isLog: boolean;
  readonly smoothing: number;
}

/** Points of a curve; the server thins out the same way. */
const MAX_POINTS = 20_000;
const HEIGHT = 200;
/** Points that are marked: a run of one epoch has no line to draw. */
const MAX_DOTS = 40;
const SYNC_KEY = 'steps';

/** Points of all curves. */
export class CurveStore {
  readonly #curves = new Map<string, [number, number | null][]>();

  get names(): string[] {
    return [...this.#curves.keys()];
  }

  points(name: string): readonly DashboardPoint[] {
    return this.#curves.get(name) ?? [];
  }

  latest(name: string): number | null | undefined {
    return this.#curves.get(name)?.at(-1)?.[1];
  }

  clear(): void {
    this.#curves.clear();
  }

  append(curves: Readonly<Record<string, readonly DashboardPoint[]>>): void {
    for (const [name, fresh] of Object.entries(curves)) {
      const points = this.#curves.get(name) ?? [];
      for (const [step, value] of fresh) points.push([step, value]);
      this.#curves.set(name, points.length > MAX_POINTS ? halve(points) : points);
    }
  }
}

/** Keeps the least and the greatest of each four neighbours, so that no spike is lost. */
function halve(points: readonly [number, number | null][]): [number, number | null][] {
  const kept: [number, number | null][] = [];
  for (let at = 0; at < points.length; at += 4) {
    const four = points.slice(at, at + 4).sort((a, b) => (a[1] ?? 0) - (b[1] ?? 0));
    const ends = [four[0]!, four[four.length - 1]!].sort((a, b) => a[0] - b[0]);
    kept.push(...(ends[0] === ends[1] ? ends.slice(0, 1) : ends));
  }
  return kept;
}

/** One chart. */
export class Chart {
  readonly element = create('figure', 'chart');
  readonly #plan: ChartPlan;
  readonly #store: CurveStore;
  readonly #latest = create('span');
  readonly #place = create('div');
  #settings: ChartSettings;
  #plot: uPlot | undefined;

  constructor(plan: ChartPlan, store: CurveStore, settings: ChartSettings) {
    this.#plan = plan;
    this.#store = store;
    this.#settings = settings;
    const { title } = plan;
    this.element.append(create('h3', '', create('strong', '', title), this.#latest), this.#place);
    this.#place.setAttribute('role', 'img');
    new ResizeObserver(() => this.#resize()).observe(this.element);
  }

  get numCurves(): number {
    return this.#plan.curves.length;
  }

  /** Takes over other settings, or colours. */
  restyle(settings: ChartSettings): void {
    this.#settings = settings;
    this.#plot?.destroy();
    this.#plot = undefined;
    this.draw();
  }

  /** Draws what the store has now. */
  draw(): void {
    this.#showValues(undefined);
    if (this.element.clientWidth === 0) return;
    const data = this.#data();
    if (this.#plot) this.#plot.setData(data);
    else this.#plot = new uPlot(this.#options(), data, this.#place);
  }

  /** Shows the values at a place of the data, or the latest ones. */
  #showValues(at: number | undefined): void {
    const { curves, title } = this.#plan;
    let column = 1;
    const values = curves.map(({ name, isNoisy }) => {
      const value = at === undefined ? this.#store.latest(name) : this.#plot?.data[column]?.[at];
      column += isNoisy ? 2 : 1;
      return formatNumber(value);
    });
    const parts = curves.map(({ label, color }, index) => {
      if (curves.length === 1) return create('span', '', values[index] ?? '');
      const dot = create('i', 'dot');
      dot.style.background = `var(${color})`;
      return create('span', '', dot, `${label} ${values[index]}`);
    });
    const step = at === undefined ? undefined : this.#plot?.data[0][at];
    if (step !== undefined) parts.unshift(create('span', 'at', `step ${formatNumber(step)}`));
    this.#latest.replaceChildren(...parts);
    if (at !== undefined) return;
    const words = curves.map(({ label }, index) => `${label} ${values[index]}`).join(', ');
    this.#place.setAttribute('aria-label', `${title} by step; latest: ${words}`);
  }

  #resize(): void {
    const width = this.#width();
    if (!this.#plot) return this.draw();
    if (width > 0 && width !== this.#plot.width) this.#plot.setSize({ width, height: HEIGHT });
  }

  #width(): number {
    return Math.max(0, this.element.clientWidth - 20);
  }

  /** All curves over the steps of any of them; gaps where a curve has none. */
  #data(): uPlot.AlignedData {
    const isLog = this.#isLog();
    const tables = this.#plan.curves.flatMap(({ name, isNoisy }) => {
      const points = this.#store.points(name);
      const steps = points.map(([step]) => step);
      const values = points.map(([, value]) => (isLog && value !== null && value <= 0 ? null : value));
      const table = (column: (number | null)[]): uPlot.AlignedData => [steps, column];
      return isNoisy ? [table(values), table(smooth(values, this.#settings.smoothing))] : [table(values)];
    });
    return tables.length === 1 ? tables[0]! : uPlot.join(tables);
  }

  #isLog(): boolean {
    return this.#plan.isLoss === true && this.#settings.isLog;
  }

  #options(): Options {
    const style = getComputedStyle(document.documentElement);
    const colorOf = (name: string): string => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colorOf('--quiet'),
      grid: { stroke: colorOf('--grid'), width: 1 },
      ticks: { stroke: colorOf('--grid'), width: 1 },
      font: '12px system-ui, sans-serif',
    };
    const series = this.#plan.curves.flatMap(({ color, isNoisy }): Series[] => {
      const line = {
        stroke: colorOf(color),
        width: 1.75,
        spanGaps: true,
        points: { show: (plot: uPlot) => isNoisy !== true && plot.data[0].length <= MAX_DOTS, size: 5 },
      };
      if (!isNoisy) return [line];
      return [{ ...line, stroke: colorOf('--faint'), width: 1 }, line];
    });
    return {
      width: this.#width(),
      height: HEIGHT,
      cursor: { sync: { key: SYNC_KEY, setSeries: false }, drag: { x: true, y: false } },
      scales: { x: { time: false }, y: { distr: this.#isLog() ? 3 : 1 } },
      axes: [
        { ...axis, size: 34, values: (_plot, values) => values.map(short) },
        {
          ...axis,
          size: 58,
          values: (_plot, values) => values.map((value) => (value === null ? '' : short(value))),
        },
      ],
      series: [{}, ...series],
      legend: { show: false },
      hooks: { setCursor: [({ cursor }) => this.#showValues(cursor.idx ?? undefined)] },
    };
  }
}

/** Labels of an axis, such as `12k`. */
function short(value: number | null): string {
  if (value === null) return '';
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))}k`;
  return size < 1e-4 && size > 0 ? value.toExponential() : String(Number(value.toPrecision(6)));
}

/** Exponential moving average, without the pull of its first value. */
function smooth(values: readonly (number | null)[], factor: number): (number | null)[] {
  let [sum, weight] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = factor * sum + (1 - factor) * value;
    weight = factor * weight + (1 - factor);
    return sum / weight;
  });
}
