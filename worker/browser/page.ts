// The page that makes a tab of a browser a worker, or several: it starts a web worker for each, and shows what
// they do. What comes from elsewhere becomes text, never markup.
import { formatBytes } from '../../src/memory.ts';
import { formatCount, formatSize } from '../../src/printable.ts';
import type { FromTab, ToTab, Work } from './tab.ts';

/** The key of the token, for when the page is loaded again: this tab has it alone, until it is closed. */
const TOKEN = 'lockstep-token';
const MAX_EVENTS = 200;
/** Samples a second are those of so long. */
const SPEED_MS = 5000;

/** A web worker, and what it has said last. */
interface Tab {
  readonly name: string;
  readonly worker: Worker;
  work: Work | undefined;
  /** True once it was told to leave. */
  isLeaving: boolean;
  isOver: boolean;
  hasFailed: boolean;
  /** Samples at some times, the oldest first. */
  readonly samples: { readonly atMs: number; readonly count: number }[];
}

type Failure = NonNullable<Extract<FromTab, { type: 'over' }>['failure']>;

function byId<Type extends HTMLElement = HTMLElement>(id: string): Type {
  return document.getElementById(id) as Type;
}

function create<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  element.append(...children);
  return element;
}

const [toggle, cores] = [byId<HTMLButtonElement>('toggle'), byId<HTMLInputElement>('cores')];
/** The coordinator's address, which ends in a slash: the page is `join` below it. */
const url = new URL('.', location.href).href.replace(/^http/, 'ws');
const numCores = navigator.hardwareConcurrency || 1;
/** Tells the tabs of several computers apart. */
const id = [...crypto.getRandomValues(new Uint8Array(2))]
  .map((byte) => byte.toString(16).padStart(2, '0'))
  .join('');

let tabs: Tab[] = [];
let failure: Failure | undefined;
let wakeLock: WakeLockSentinel | undefined;

/** The token of the link, which leaves the address bar and the history; later that of this tab. */
function takeToken(): string | undefined {
  const [, shown] = /^#token=(.+)$/.exec(location.hash) ?? [];
  if (location.hash !== '') history.replaceState(null, '', location.pathname + location.search);
  if (shown !== undefined) sessionStorage.setItem(TOKEN, decode(shown));
  return sessionStorage.getItem(TOKEN) ?? undefined;
}

/** The text of a part of an address; a token that somebody has put there as it is may be no such part. */
function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function note(text: string, isTrouble = false): void {
  const item = create('li', create('time', new Date().toLocaleTimeString()), create('span', text));
  if (isTrouble) item.className = 'trouble';
  byId('events').prepend(item);
  while (byId('events').childElementCount > MAX_EVENTS) byId('events').lastElementChild?.remove();
}

function start(place: number): Tab {
  const name = `browser-${id}/${place + 1}`;
  const worker = new Worker(new URL('join/tab.js', location.href), { type: 'module', name });
  const tab: Tab = {
    name,
    worker,
    work: undefined,
    isLeaving: false,
    isOver: false,
    hasFailed: false,
    samples: [],
  };
  worker.onmessage = ({ data }: MessageEvent<FromTab>) => receive(tab, data);
  worker.onerror = (event) => {
    event.preventDefault();
    const message = event.message || 'its program cannot be loaded';
    end(tab, { message: `${name} failed: ${message}`, help: 'reload this page' });
  };
  worker.postMessage({ type: 'start', url, token: takeToken(), name } satisfies ToTab);
  return tab;
}

function receive(tab: Tab, message: FromTab): void {
  switch (message.type) {
    case 'work':
      tab.work = message;
      tab.samples.push({ atMs: performance.now(), count: message.samples });
      return;
    case 'line':
      return note(`${tab.name}: ${message.line}`, message.level === 'warn');
    case 'over':
      return end(tab, message.failure);
    default:
      return message satisfies never;
  }
}

function end(tab: Tab, problem: Failure | undefined): void {
  if (tab.isOver) return;
  tab.isOver = true;
  tab.hasFailed = problem !== undefined;
  tab.worker.terminate();
  failure ??= problem;
  if (working().length === 0) sleepAgain();
  note(problem ? `${tab.name}: ${problem.message}` : `${tab.name} ${endOf(tab)}`, problem !== undefined);
  show();
}

const working = (): Tab[] => tabs.filter(({ isOver }) => !isOver);

/** Starts and ends web workers until there are as many as are wanted. */
function adjust(): void {
  const wanted = Math.min(numCores, Math.max(1, Math.round(cores.valueAsNumber) || 1));
  cores.value = String(wanted);
  tabs.slice(wanted).forEach(tellToLeave);
  tabs = tabs.slice(0, wanted);
  while (tabs.length < wanted) tabs.push(start(tabs.length));
}

function join(): void {
  failure = undefined;
  tabs = tabs.map((tab, place) => (tab.isOver ? start(place) : tab));
  adjust();
  void stayAwake();
  show();
}

function tellToLeave(tab: Tab): void {
  tab.isLeaving = true;
  tab.worker.postMessage({ type: 'leave' } satisfies ToTab);
}

function leave(): void {
  working().forEach(tellToLeave);
}

/** Keeps the screen on, and with it the computer, as far as the browser lets a page do so. */
async function stayAwake(): Promise<void> {
  const lock = (navigator as { readonly wakeLock?: WakeLock }).wakeLock;
  const text = 'this computer may go to sleep, and its work goes to others meanwhile';
  if (!lock) {
    byId('awake').textContent = `A page over plain HTTP cannot keep the screen on: ${text}.`;
    return;
  }
  try {
    wakeLock = await lock.request('screen');
    byId('awake').textContent = 'The screen stays on while this page is in front.';
  } catch {
    byId('awake').textContent = `The browser does not let this page keep the screen on: ${text}.`;
  }
}

function sleepAgain(): void {
  void wakeLock?.release();
  byId('awake').textContent = '';
}

function showHidden(): void {
  byId('hidden').textContent = document.hidden
    ? 'The page is hidden: the browser may slow it down or stop it.'
    : 'In the background the browser may slow this page down or stop it; a window in front is not affected.';
}

function speedOf({ samples }: Tab): number {
  const nowMs = performance.now();
  while (samples.length > 2 && nowMs - (samples[0]?.atMs ?? 0) > SPEED_MS) samples.shift();
  const [first] = samples;
  const last = samples.at(-1);
  if (!first || !last || first === last) return 0;
  return ((last.count - first.count) * 1000) / (nowMs - first.atMs);
}

function endOf({ hasFailed, isLeaving }: Tab): string {
  if (hasFailed) return 'stopped';
  return isLeaving ? 'has left' : 'is done';
}

function doingOf(tab: Tab): string {
  const { isLeaving, isOver, work } = tab;
  if (isOver) return endOf(tab);
  if (isLeaving) return 'leaving after this task';
  if (!work) return 'starting';
  const { doing, loaded } = work;
  return loaded ? `${doing}: ${formatBytes(loaded.bytes)} of ${formatBytes(loaded.all)}` : doing;
}

function stateOf(): { readonly state: string; readonly text: string } {
  const now = working();
  if (failure && now.length === 0) return { state: 'lost', text: 'stopped' };
  if (now.length === 0) {
    const isLeft = tabs.every(({ isLeaving }) => isLeaving);
    return isLeft
      ? { state: 'left', text: 'not taking part' }
      : { state: 'finished', text: 'the run is over' };
  }
  if (now.some(({ work }) => work?.isComputing)) return { state: 'working', text: 'computing' };
  return { state: 'waiting', text: doingOf(now[0] as Tab) };
}

function show(): void {
  const { state, text } = stateOf();
  byId('state').dataset['state'] = state;
  if (byId('state').textContent !== text) byId('state').textContent = text;
  document.title = `${text} – Lockstep worker`;
  toggle.textContent = working().length > 0 ? 'Leave' : 'Join again';
  byId('problem').hidden = failure === undefined;
  if (byId('message').textContent !== (failure?.message ?? '')) {
    byId('message').textContent = failure?.message ?? '';
    byId('help').textContent = failure?.help ?? '';
    byId('token-form').hidden = !/token/.test(failure?.message ?? '');
  }
  showFigures();
}

function showFigures(): void {
  const sum = (of: (tab: Tab) => number): number => tabs.reduce((total, tab) => total + of(tab), 0);
  const figures = {
    step: formatCount(Math.max(0, ...tabs.map(({ work }) => work?.step ?? 0))),
    'samples/s': formatSize(sum(speedOf)),
    samples: formatCount(sum(({ work }) => work?.samples ?? 0)),
    received: formatBytes(sum(({ work }) => work?.bytesReceived ?? 0)),
    sent: formatBytes(sum(({ work }) => work?.bytesSent ?? 0)),
  };
  const entries = Object.entries(figures);
  byId('figures').replaceChildren(
    ...entries.map(([name, value]) => create('div', create('dt', name), create('dd', value))),
  );
  const rows = tabs.map((tab) => {
    const { samples = 0 } = tab.work ?? {};
    const head = create('th', tab.name);
    head.scope = 'row';
    return create(
      'tr',
      head,
      ...[doingOf(tab), formatSize(speedOf(tab)), formatCount(samples)].map((text) => create('td', text)),
    );
  });
  const columns = ['worker', 'state', 'samples/s', 'samples'].map((text) => {
    const cell = create('th', text);
    cell.scope = 'col';
    return cell;
  });
  byId('workers').replaceChildren(
    create('table', create('thead', create('tr', ...columns)), create('tbody', ...rows)),
  );
}

takeToken();
byId('place').textContent = location.host;
byId('all-cores').textContent = String(numCores);
cores.max = String(numCores);
// Half of them, up to four: the computer stays pleasant to use, and each has a copy of the data of its own.
cores.value = String(Math.min(4, Math.max(1, Math.floor(numCores / 2))));
toggle.addEventListener('click', () => (working().length > 0 ? leave() : join()));
cores.addEventListener('change', () => working().length > 0 && adjust());
byId<HTMLFormElement>('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, byId<HTMLInputElement>('token').value.trim());
  join();
});
document.addEventListener('visibilitychange', () => {
  showHidden();
  if (!document.hidden && working().length > 0) void stayAwake();
});
showHidden();
join();
setInterval(show, 500);
