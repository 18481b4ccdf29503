// The workers or threads of a run, and the timeline of its latest step.
import type { ComputeActivity, StepTask, StepTimeline, WorkerActivity } from '../../training/compute.ts';
import { byId, create, createDrawn, createTable } from './elements.ts';
import { formatBytes, formatCount, formatNumber } from './format.ts';

/** More rows make a page that nobody reads. */
const MAX_ROWS = 100;
const ROW_HEIGHT = 24;
const WIDTH = 1000;
const LABEL_WIDTH = 90;

type Parts = readonly (readonly [name: string, kind: string])[];

/** Shows what is computed, and how fast it was since the last time. */
export class ActivityView {
  #before: { readonly activity: ComputeActivity; readonly atMs: number } | undefined;

  show(activity: ComputeActivity | undefined): void {
    byId('activity').hidden = !activity || activity.workers.length + activity.threads.length === 0;
    if (!activity) return;
    const atMs = performance.now();
    const seconds = this.#before ? (atMs - this.#before.atMs) / 1000 : Number.NaN;
    const { workers, threads, step } = activity;
    byId('activity-title').textContent = threads.length > 0 ? 'Threads' : 'Workers';
    if (threads.length > 0) this.#showThreads(threads);
    else this.#showWorkers(workers, seconds);
    if (threads.length === 0) showTimeline(step, workers);
    this.#before = { activity, atMs };
  }

  #showWorkers(workers: readonly WorkerActivity[], seconds: number): void {
    const before = new Map(this.#before?.activity.workers.map((worker) => [worker.worker, worker]));
    const rows = workers.slice(0, MAX_ROWS).map((worker) => {
      const { name, address, threads, sharesMemory, tasks, shards, failures } = worker;
      const last = before.get(worker.worker);
      const rate = (key: 'shards' | 'bytesReceived' | 'bytesSent' | 'computeMs'): number =>
        last ? (worker[key] - last[key]) / seconds : Number.NaN;
      const busy = Math.min(1, rate('computeMs') / 1000);
      return [
        name,
        address,
        String(threads),
        formatNumber(rate('shards')),
        Number.isFinite(busy) ? `${Math.round(100 * busy)} %` : '–',
        `${formatBytes(worker.bytesSent)}${sharesMemory ? ' (memory)' : ''}`,
        formatBytes(worker.bytesReceived),
        `${formatCount(tasks)} / ${formatCount(shards)}`,
        formatCount(failures),
      ];
    });
    const columns = [
      'name',
      'address',
      'threads',
      'shards/s',
      'computing',
      'bytes sent to it',
      'bytes received',
      'tasks / shards',
      'failed tasks',
    ];
    const more = workers.length > MAX_ROWS ? `, of which the first ${MAX_ROWS} are shown` : '';
    const caption = `${formatCount(workers.length)} at work${more}`;
    byId('workers').replaceChildren(createTable(caption, columns, rows));
  }

  #showThreads(threads: ComputeActivity['threads']): void {
    const before = this.#before?.activity.threads;
    const rows = threads.map((thread, index) => {
      const last = before?.[index] ?? { computing: 0, updating: 0, waiting: 0 };
      const spent = [
        thread.computing - last.computing,
        thread.updating - last.updating,
        thread.waiting - last.waiting,
      ];
      const total = spent.reduce((sum, ms) => sum + ms, 0);
      return [
        `thread ${index + 1}`,
        ...spent.map((ms) => (total > 0 ? `${Math.round((100 * ms) / total)} %` : '–')),
      ];
    });
    const columns = ['', 'forward and backward passes', 'sums and optimizer', 'waiting for other threads'];
    byId('workers').replaceChildren(createTable('shares of the latest seconds', columns, rows));
    byId('timeline').replaceChildren();
  }
}

const KEY: Parts = [
  ['computing, until the first sum arrives', 'computing'],
  ['sums arriving, while it computes on', 'sending'],
  ['waiting for the rest of the step', 'waiting'],
];

function showTimeline(step: StepTimeline | undefined, workers: readonly WorkerActivity[]): void {
  const place = byId('timeline');
  if (!step || step.tasks.length === 0) return place.replaceChildren();
  const tasks = step.tasks.slice(0, MAX_ROWS);
  const height = tasks.length * ROW_HEIGHT + 20;
  const names = new Map(workers.map(({ worker, name }) => [worker, name]));
  const drawing = createDrawn('svg', { viewBox: `0 0 ${WIDTH} ${height}`, role: 'img' });
  drawing.setAttribute(
    'aria-label',
    `Step ${step.step} took ${formatNumber(step.wallMs)} ms, by ${tasks.length} tasks`,
  );
  tasks.forEach((task, row) =>
    drawing.append(...drawTask(task, row, step.wallMs, names.get(task.worker) ?? '')),
  );
  for (let tick = 0; tick <= 4; tick++) {
    const anchor = tick === 0 ? 'start' : tick === 4 ? 'end' : 'middle';
    const label = `${formatNumber((tick / 4) * step.wallMs)} ms`;
    drawing.append(
      createDrawn(
        'text',
        { x: at((tick / 4) * step.wallMs, step.wallMs), y: height - 4, 'text-anchor': anchor },
        label,
      ),
    );
  }
  const key = create(
    'p',
    'key',
    create('span', '', `Step ${formatCount(step.step)}, ${formatNumber(step.wallMs)} ms`),
  );
  for (const [name, kind] of KEY) key.append(create('span', '', create('i', kind), name));
  place.replaceChildren(key, drawing);
}

function at(ms: number, wallMs: number): number {
  return LABEL_WIDTH + (WIDTH - LABEL_WIDTH) * Math.min(1, ms / wallMs);
}

function drawTask(task: StepTask, row: number, wallMs: number, name: string): SVGElement[] {
  const { sentMs, firstSumMs = wallMs, lastSumMs = firstSumMs, computeMs, worker, from, to } = task;
  const y = row * ROW_HEIGHT;
  const parts = [
    ['computing', sentMs, firstSumMs],
    ['sending', firstSumMs, lastSumMs],
    ['waiting', lastSumMs, wallMs],
  ] as const;
  const bars = parts.map(([kind, begin, end]) => {
    const x = at(begin, wallMs);
    return createDrawn('rect', {
      class: kind,
      x,
      y: y + 3,
      width: Math.max(0, at(end, wallMs) - x),
      height: ROW_HEIGHT - 6,
    });
  });
  const words = computeMs === undefined ? '' : `; it computed for ${formatNumber(computeMs)} ms`;
  const title = createDrawn('title', {}, `${name}: shards ${from} to ${to - 1}${words}`);
  const label = createDrawn('text', { x: 0, y: y + 16 }, `worker ${worker}`);
  const group = createDrawn('g', {});
  group.append(title, label, ...bars);
  return [group];
}
