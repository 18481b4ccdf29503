// The page of a run: hears of it by server-sent events, and shows it.
import type { DashboardEvent, DashboardSnapshot, DashboardUpdate, RunStatus } from '../dashboard-state.ts';
import type { ComputeActivity } from '../../training/compute.ts';
import { ActivityView } from './activity.ts';
import { Chart, CurveStore } from './charts.ts';
import type { ChartPlan } from './charts.ts';
import { byId, create, createTable } from './elements.ts';
import { formatCount, formatDuration, formatNumber } from './format.ts';

const MAX_EVENTS = 200;
/** Time to fetch the pictures when the server says goodbye. */
const GOODBYE_MS = 2500;

const store = new CurveStore();
const charts = new Map<string, Chart>();
const activityView = new ActivityView();
let status: RunStatus | undefined;
let numWorkers: number | undefined;
let shownPlots = '';
let isOver = false;

const logBox = byId<HTMLInputElement>('log');
const smoothing = byId<HTMLInputElement>('smoothing');

function settings() {
  return { isLog: logBox.checked, smoothing: Number(smoothing.value) };
}

/** The charts for the curves that there are: losses first, then metrics, then what training is like. */
function plans(): ChartPlan[] {
  const has = new Set(store.names);
  const metrics = store.names.filter((name) => /^val\/(?!loss$)/.test(name));
  const all: ChartPlan[] = [
    {
      title: 'Loss',
      isLoss: true,
      curves: [
        { name: 'train/loss', label: 'train', color: '--blue' },
        { name: 'val/loss', label: 'validation', color: '--orange' },
      ],
    },
    {
      title: 'Loss of steps',
      isLoss: true,
      curves: [{ name: 'train/stepLoss', label: 'loss', color: '--blue', isNoisy: true }],
    },
    ...metrics.map((name): ChartPlan => ({
      title: `Validation ${name.slice('val/'.length)}`,
      curves: [{ name, label: name.slice('val/'.length), color: '--orange' }],
    })),
    { title: 'Learning rate', curves: [{ name: 'lr', label: 'learning rate', color: '--violet' }] },
    {
      title: 'Norm of the gradient',
      isLoss: true,
      curves: [{ name: 'gradNorm', label: 'norm', color: '--violet', isNoisy: true }],
    },
    { title: 'Samples per second', curves: [{ name: 'rate', label: 'samples/s', color: '--green' }] },
  ];
  return all
    .map((plan) => ({ ...plan, curves: plan.curves.filter(({ name }) => has.has(name)) }))
    .filter(({ curves }) => curves.length > 0);
}

/** Adds charts for curves that are new, in their order, and draws all. */
function drawCharts(): void {
  const place = byId('charts');
  for (const [index, plan] of plans().entries()) {
    const known = charts.get(plan.title);
    // A chart gets a new curve once: the validation loss, after the first epoch.
    const isWhole = known?.numCurves === plan.curves.length;
    const chart = known && isWhole ? known : new Chart(plan, store, settings());
    if (!isWhole) {
      known?.element.remove();
      charts.set(plan.title, chart);
      place.insertBefore(chart.element, place.children[index] ?? null);
    }
    chart.draw();
  }
}

let isDrawingSoon = false;

/** Draws once a frame at most, and not while nobody looks. */
function drawSoon(): void {
  if (isDrawingSoon) return;
  isDrawingSoon = true;
  requestAnimationFrame(() => {
    isDrawingSoon = false;
    drawCharts();
    showFigures();
  });
}

function figure(name: string, value: string, note = ''): HTMLElement {
  return create(
    'div',
    '',
    create('dt', '', name),
    create('dd', '', value, ...(note ? [create('small', '', note)] : [])),
  );
}

/** The best value that a metric has had, where less is better. */
function least(name: string): number | undefined {
  const values = store.points(name).flatMap(([, value]) => value ?? []);
  return values.length > 0 ? values.reduce((a, b) => Math.min(a, b)) : undefined;
}

function showFigures(): void {
  const { position, epochs, stepsPerEpoch, state } = status ?? {};
  const totalSteps = epochs !== undefined && stepsPerEpoch !== undefined ? epochs * stepsPerEpoch : undefined;
  const figures: HTMLElement[] = [];
  if (position) {
    const of = epochs === undefined ? '' : ` / ${formatCount(epochs)}`;
    const steps = `step ${formatCount(position.step)}${totalSteps === undefined ? '' : ` of ${formatCount(totalSteps)}`}`;
    figures.push(figure('Epoch', `${formatCount(position.epoch)}${of}`, steps));
  }
  const has = new Set(store.names);
  const trainLoss = has.has('train/loss') ? 'train/loss' : 'train/stepLoss';
  if (has.has(trainLoss)) figures.push(figure('Training loss', formatNumber(store.latest(trainLoss))));
  if (has.has('val/loss')) {
    figures.push(
      figure(
        'Validation loss',
        formatNumber(store.latest('val/loss')),
        `least ${formatNumber(least('val/loss'))}`,
      ),
    );
  }
  for (const name of ['val/accuracy', 'val/r2', 'val/perplexity'].filter((name) => has.has(name))) {
    figures.push(figure(`Validation ${name.slice(4)}`, formatNumber(store.latest(name))));
  }
  if (has.has('rate')) figures.push(figure('Samples per second', formatNumber(store.latest('rate'))));
  if (numWorkers !== undefined && state === 'running')
    figures.push(figure('Workers', formatCount(numWorkers)));
  if (position) {
    const left =
      state === 'running' && totalSteps !== undefined && position.step > 0
        ? `about ${formatDuration((position.runtime / position.step) * (totalSteps - position.step))} left`
        : '';
    figures.push(figure('Time', formatDuration(position.runtime), left));
  }
  byId('figures').replaceChildren(...figures);
}

function showState(state: string, key = state): void {
  const element = byId('state');
  if (element.textContent === state) return;
  element.textContent = state;
  element.dataset['state'] = key;
}

function showStatus(next: RunStatus): void {
  status = next;
  showState(next.state);
  const { position, epochs, stepsPerEpoch, weightsSha256, plots, summary } = next;
  const share = position && epochs && stepsPerEpoch ? position.step / (epochs * stepsPerEpoch) : undefined;
  const progress = byId('progress');
  progress.hidden = share === undefined;
  if (share !== undefined) {
    byId('bar').style.width = `${Math.min(100, 100 * share)}%`;
    progress.setAttribute('aria-valuenow', String(Math.round(100 * share)));
  }
  byId('footer').textContent =
    weightsSha256 === undefined ? '' : `weights after the latest epoch: sha256 ${weightsSha256}`;
  showPlots(plots);
  showSummary(summary);
}

/** Plots are drawn once, at the end. */
function showPlots(names: readonly string[]): void {
  if (names.join() === shownPlots) return;
  shownPlots = names.join();
  byId('plots-section').hidden = names.length === 0;
  const figures = names.map((name) => {
    const image = create('img');
    image.src = `plots/${name}.svg`;
    image.alt = name.replaceAll('-', ' ');
    const link = create('a', '', image);
    link.href = `plots/${name}.svg`;
    return create('figure', '', link, create('figcaption', '', name.replaceAll('-', ' ')));
  });
  byId('plots').replaceChildren(...figures);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The numbers of a split by the names that curves have, those of groups such as `macro` included. */
function numbersOf(split: unknown, prefix = ''): [string, number][] {
  if (!isRecord(split)) return [];
  return Object.entries(split).flatMap(([name, value]): [string, number][] => {
    if (typeof value === 'number') return [[`${prefix}${name}`, value]];
    if (name === 'topK' && isRecord(value)) return [[`top${Number(value['k'])}`, Number(value['accuracy'])]];
    return prefix === '' ? numbersOf(value, `${name}/`) : [];
  });
}

function showSummary(summary: unknown): void {
  byId('results').hidden = !isRecord(summary);
  if (!isRecord(summary)) return;
  const splits = ['train', 'validation', 'test'].filter((name) => isRecord(summary[name]));
  const columns = splits.map((name) => new Map(numbersOf(summary[name])));
  const metrics = [...new Set(columns.flatMap((column) => [...column.keys()]))];
  const rows = metrics.map((name) => [
    name,
    ...columns.map((column) => (column.has(name) ? formatNumber(column.get(name)) : '')),
  ]);
  const caption = `weights sha256 ${String(summary['weightsSha256'])}`;
  byId('summary').replaceChildren(createTable(caption, ['', ...splits], rows));
}

const EVENT_NAMES: Readonly<Record<string, string>> = {
  runStarted: 'run started',
  runResumed: 'run resumed',
  runTakenOver: 'taken over',
  runRolledBack: 'rolled back',
  epochDone: 'epoch done',
  checkpointSaved: 'checkpoint',
  workerJoined: 'worker joined',
  workerLeft: 'worker left',
  workerBanned: 'worker banned',
  workersCameAndWent: 'workers',
  trainingStopped: 'stopped early',
  runFinished: 'run finished',
  stopRequested: 'told to stop',
  runEnded: 'run ended',
};
const TROUBLE = new Set(['workerBanned', 'runRolledBack', 'runTakenOver', 'runEnded']);

/** The words of an event besides its type. */
function wordsOf(event: DashboardEvent): string {
  const text = (name: string): string => String(event[name]);
  switch (event.type) {
    case 'epochDone':
      return `${text('epoch')}, training loss ${formatNumber(event['trainLoss'] as number)}`;
    case 'checkpointSaved':
      return `step ${text('step')}${event['isBest'] === true ? ', the best so far' : ''}`;
    case 'runResumed':
    case 'runRolledBack':
      return `to step ${text('step')}, from ${text('from')}`;
    case 'runTakenOver':
      return `from ${text('leader')}`;
    case 'trainingStopped':
      return `after step ${text('step')}, by ${text('by')}`;
    case 'workerJoined':
      return text('name');
    case 'workerLeft':
    case 'workerBanned':
      return `${text('name')}: ${text('reason')}`;
    case 'workersCameAndWent':
      return `${text('joined')} joined, ${text('left')} left`;
    case 'runStarted':
      return `seed ${text('seed')}, ${text('numerics')} kernels`;
    default:
      return '';
  }
}

function showEvents(events: readonly DashboardEvent[], isAll: boolean): void {
  const list = byId('events');
  const items = events.map((event) => {
    const at = new Date(event.time);
    const isKnown = !Number.isNaN(at.getTime());
    const time = create('time', '', isKnown ? at.toLocaleTimeString([], { hour12: false }) : '–');
    time.dateTime = event.time;
    time.title = event.time;
    const name = create('span', '', EVENT_NAMES[event.type] ?? event.type);
    return create(
      'li',
      TROUBLE.has(event.type) ? 'trouble' : '',
      time,
      name,
      create('span', '', wordsOf(event)),
    );
  });
  items.reverse();
  if (isAll) list.replaceChildren(...items);
  else list.prepend(...items);
  while (list.children.length > MAX_EVENTS) list.lastElementChild?.remove();
}

function takeSnapshot(snapshot: DashboardSnapshot | null): void {
  if (!snapshot) return showState('preparing');
  document.title = `${snapshot.name} · Lockstep`;
  byId('name').textContent = snapshot.name;
  byId('place').textContent = snapshot.directory;
  byId('config').textContent = snapshot.config;
  store.clear();
  store.append(snapshot.curves);
  showStatus(snapshot.status);
  showEvents(snapshot.events, true);
  takeActivity(snapshot.activity);
  drawSoon();
}

function takeUpdate({ status: next, curves, events }: DashboardUpdate): void {
  store.append(curves);
  showStatus(next);
  if (events.length > 0) showEvents(events, false);
  drawSoon();
}

function takeActivity(activity: ComputeActivity | undefined): void {
  numWorkers = activity && activity.threads.length === 0 ? activity.workers.length : undefined;
  activityView.show(activity);
}

/** The server ends with the run: what is shown stays, and nothing is asked for again. */
function leave(source: EventSource): void {
  isOver = true;
  const images = [...document.images].map(
    (image) =>
      new Promise<void>((resolve) => {
        if (image.complete) resolve();
        image.addEventListener('load', () => resolve());
      }),
  );
  const late = new Promise((resolve) => setTimeout(resolve, GOODBYE_MS));
  void Promise.race([Promise.all(images), late]).then(() => source.close());
}

function connect(): void {
  const source = new EventSource('live');
  const on = <Data>(type: string, take: (data: Data) => void): void =>
    source.addEventListener(type, (event) => take(JSON.parse((event as MessageEvent<string>).data) as Data));
  on('snapshot', takeSnapshot);
  on('update', takeUpdate);
  on('activity', takeActivity);
  on('goodbye', () => leave(source));
  source.addEventListener('error', () => {
    if (isOver) return;
    showState('connection lost', 'lost');
    // A browser gives up where the answer is no stream; whoever restarts the dashboard expects it back.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 3000);
  });
}

const restyle = (): void => charts.forEach((chart) => chart.restyle(settings()));
logBox.addEventListener('change', restyle);
smoothing.addEventListener('input', restyle);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', restyle);
connect();
