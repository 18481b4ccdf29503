// `lockstep bench floods`: what strangers at the port of a coordinator cost the run. A coordinator and a worker
// of this machine train; floods of their port take turns with the same floods of another coordinator, which
// waits for workers: that takes as much of the machine, and nothing of the run.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once, setMaxListeners } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { median } from '../coordinator/training/measure-threads.ts';
import { printJson, printText } from '../coordinator/output/results.ts';
import { EXIT, LockstepError } from '../src/errors.ts';
import { Screen } from '../src/screen.ts';
import { formatCount } from '../src/printable.ts';
import { SUBPROTOCOL } from '../src/protocol/limits.ts';
import { generateToken } from '../src/protocol/token.ts';
import { newTable } from './report.ts';

/** Arguments of `lockstep bench floods`. */
export interface FloodsArguments {
  readonly rounds: number;
  readonly json?: boolean;
}

/** The figures of one flood. */
interface Measured {
  readonly flood: string;
  /** Connections, or requests or frames on them, each second. */
  readonly perSecond: number;
  /** Milliseconds of a step, medians of the rounds: flooded, with the flood elsewhere, and without any. */
  readonly stepMs: number;
  readonly elsewhereMs: number;
  readonly undisturbedMs: number;
  /**
   * The share of a core that the coordinator spends on the flood, beyond what its steps take when the flood is
   * elsewhere: so much longer are its steps on a machine that has nothing else to do. Undefined where the
   * system does not tell.
   */
  readonly share: number | undefined;
  /** Flooded to elsewhere, the median of the rounds' own ratios. */
  readonly ratio: number;
}

/** One end of the connections of a flood. */
interface Target {
  readonly port: number;
  readonly isSecure: boolean;
  readonly token: string;
}

/** Opens a connection and does harm; resolves when that is over, to the number of what it did. */
type Flood = (target: Target, signal: AbortSignal) => Promise<number>;

/** Connections that a flood has at a time. */
const CONCURRENCY = 32;
const TURN_MS = 2000;
/** Time that a flood has to begin, past what an address may do at once, and to end. */
const SETTLE_MS = 1500;
/** Time for which a client of a flood that only waits stays. */
const STAY_MS = 1000;
const START_MS = 60_000;
const PING = Buffer.from([0x89, 0x80, 0, 0, 0, 0]);
const NUM_PINGS = 10_000;
const FRAME_BYTES = 4 * 2 ** 20;

const FLOODS: Readonly<Record<string, Flood>> = {
  'connections that end at once': async (target, signal) => {
    await using(target, signal, async () => undefined);
    return 1;
  },
  'connections that wait': async (target, signal) => {
    await using(target, signal, (socket) => untilClosed(socket, STAY_MS));
    return 1;
  },
  'headers that drip': async (target, signal) => {
    await using(target, signal, async (socket) => {
      socket.write('GET / HTTP/1.1\r\n');
      const timer = setInterval(() => socket.write('X: y\r\n'), 100);
      await untilClosed(socket, STAY_MS);
      clearInterval(timer);
    });
    return 1;
  },
  'headers of 64 KiB': (target, signal) => ask(target, signal, `X: ${'y'.repeat(65_536)}\r\n`),
  'wrong tokens': (target, signal) => ask(target, signal, upgrade(`${target.token}x`)),
  'GET /status': (target, signal) => ask(target, signal, bearer(target.token), '/status'),
  'GET /metrics': (target, signal) => ask(target, signal, bearer(target.token), '/metrics'),
  'with the token: pings, answers unread': (target, signal) =>
    speak(target, signal, Buffer.concat(Array<Buffer>(NUM_PINGS).fill(PING)), NUM_PINGS),
  'with the token: frames of 4 MiB': (target, signal) => {
    const head = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    head.writeUInt32BE(FRAME_BYTES, 6);
    return speak(target, signal, Buffer.concat([head, Buffer.alloc(FRAME_BYTES)]), 1);
  },
};

/** Measures every flood, on a port without TLS and one with it, and prints the figures. */
export async function benchFloods({ rounds, json }: FloodsArguments): Promise<void> {
  const results: Measured[] = [];
  // The processes of the benchmark end with it.
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => process.exit(signal === 'SIGINT' ? EXIT.interrupted : EXIT.terminated));
  for (const isSecure of [false, true]) {
    const run = await TrainingRun.start(isSecure);
    try {
      for (const [name, flood] of Object.entries(FLOODS)) {
        const measured = {
          flood: `${isSecure ? 'TLS: ' : ''}${name}`,
          ...(await measure(run, flood, rounds)),
        };
        results.push(measured);
        new Screen().write(
          `${measured.flood}: ${measured.ratio.toFixed(2)}, ${Math.round(100 * (measured.share ?? Number.NaN))} %\n`,
        );
      }
    } finally {
      await run.end();
    }
  }
  await (json ? printJson(results) : printText(formatFloods(results, rounds)));
}

async function measure(run: TrainingRun, flood: Flood, rounds: number): Promise<Omit<Measured, 'flood'>> {
  const [undisturbedMs, here, elsewhere]: [number[], Turn[], Turn[]] = [[], [], []];
  for (let round = 0; round < rounds; round++) {
    undisturbedMs.push(await run.stepMs());
    elsewhere.push(await takeTurn(run, flood, run.elsewhere));
    here.push(await takeTurn(run, flood, run.target));
  }
  const ratios = here.map(({ stepMs }, round) => stepMs / (elsewhere[round] as Turn).stepMs);
  return {
    perSecond: median(here.map(({ perSecond }) => perSecond)),
    stepMs: median(here.map(({ stepMs }) => stepMs)),
    elsewhereMs: median(elsewhere.map(({ stepMs }) => stepMs)),
    undisturbedMs: median(undisturbedMs),
    share: medianShare(here, elsewhere),
    ratio: median(ratios),
  };
}

interface Turn {
  readonly stepMs: number;
  readonly perSecond: number;
  /** Processor time of the coordinator that trains, a second. */
  readonly cpuMs: number;
}

function medianShare(here: readonly Turn[], elsewhere: readonly Turn[]): number | undefined {
  const shares = here.map(({ cpuMs, stepMs }, round) => {
    const other = elsewhere[round] as Turn;
    return (cpuMs - (other.cpuMs * other.stepMs) / stepMs) / 1000;
  });
  return shares.some(Number.isNaN) ? undefined : median(shares);
}

/** Steps of the run while a port, its own or another one, is flooded. */
async function takeTurn(run: TrainingRun, flood: Flood, target: Target): Promise<Turn> {
  const controller = new AbortController();
  setMaxListeners(CONCURRENCY, controller.signal);
  let count = 0;
  const clients = Array.from({ length: CONCURRENCY }, async () => {
    while (!controller.signal.aborted) {
      const done = await flood(target, controller.signal);
      count += done;
    }
  });
  await sleep(SETTLE_MS);
  const [before, cpuBefore, startMs] = [count, run.cpuMs(), performance.now()];
  const stepMs = await run.stepMs();
  const seconds = (performance.now() - startMs) / 1000;
  const perSecond = (count - before) / seconds;
  const cpuMs = (run.cpuMs() - cpuBefore) / seconds;
  controller.abort();
  await Promise.all(clients);
  await sleep(SETTLE_MS);
  return { stepMs, perSecond, cpuMs };
}

function formatFloods(results: readonly Measured[], rounds: number): string {
  const table = newTable(['flood', 'a second', 'ms a step', 'elsewhere', 'none', 'ratio', 'of a core']);
  for (const { flood, perSecond, stepMs, elsewhereMs, undisturbedMs, ratio, share } of results) {
    const times = [stepMs, elsewhereMs, undisturbedMs, ratio].map((value) => value.toFixed(2));
    const percent = share === undefined ? '' : `${Math.round(100 * share)} %`;
    table.push([flood, formatCount(Math.round(perSecond)), ...times, percent]);
  }
  return [
    table.toString(),
    `medians of ${rounds} rounds of ${TURN_MS / 1000} s; ${CONCURRENCY} connections at a time`,
    'elsewhere: the same flood of another coordinator on this machine; ratio: to that; of a core: what the',
    'coordinator spends on the flood, which is how much longer its steps take where nothing else runs',
    '',
  ].join('\n');
}

/** A coordinator and a worker, as processes, that train until they are told to stop. */
class TrainingRun {
  readonly target: Target;
  /** The port of another coordinator. */
  readonly elsewhere: Target;
  readonly #directory: string;
  readonly #processes: readonly ChildProcess[];

  private constructor(
    [target, elsewhere]: readonly [Target, Target],
    directory: string,
    processes: readonly ChildProcess[],
  ) {
    this.target = target;
    this.elsewhere = elsewhere;
    this.#directory = directory;
    this.#processes = processes;
  }

  static async start(isSecure: boolean): Promise<TrainingRun> {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-floods-'));
    const token = generateToken();
    writeTable(directory);
    fs.writeFileSync(path.join(directory, 'token'), token, { mode: 0o600 });
    if (isSecure) await once(lockstep(directory, 'certs', 'tls', '--host', 'localhost'), 'exit');
    const own = isSecure ? ['--tls-cert', 'tls/coordinator.pem', '--tls-key', 'tls/coordinator-key.pem'] : [];
    const coordinate = (name: string): ChildProcess => {
      const flags = ['--listen', '127.0.0.1:0', '--token-file', 'token', '--wait-for-workers', '86400'];
      return lockstep(directory, 'coordinator', 'config.yaml', ...flags, '--run-dir', name, ...own);
    };
    const coordinators = [coordinate('run'), coordinate('idle')] as const;
    const [port, idlePort] = [await portOf(coordinators[0]), await portOf(coordinators[1])];
    const url = `${isSecure ? 'wss' : 'ws'}://localhost:${port}`;
    const trust = isSecure ? ['--tls-ca', 'tls/ca.pem'] : [];
    const worker = lockstep(directory, 'worker', url, '--token-file', 'token', ...trust);
    const targets = [port, idlePort].map((port): Target => ({ port, isSecure, token })) as [Target, Target];
    const run = new TrainingRun(targets, directory, [...coordinators, worker]);
    for (let waitedMs = 0; run.#numSteps() === 0; waitedMs += 100) {
      if (waitedMs > START_MS) throw failed('no step was taken');
      await sleep(100);
    }
    await sleep(TURN_MS);
    return run;
  }

  /** Milliseconds of a step, over a turn. */
  async stepMs(): Promise<number> {
    const [before, startMs] = [this.#numSteps(), performance.now()];
    await sleep(TURN_MS);
    const numSteps = this.#numSteps() - before;
    // Infinite where the run has come to a halt.
    return (performance.now() - startMs) / numSteps;
  }

  /** Processor time of the coordinator so far; NaN where the system does not tell. */
  cpuMs(): number {
    if (process.platform !== 'linux') return Number.NaN;
    const [coordinator] = this.#processes;
    const stat = fs.readFileSync(`/proc/${coordinator?.pid}/stat`, 'latin1').split(') ')[1] as string;
    // Fields 14 and 15, of which the first two are before the name's end; a tick is 10 ms.
    const [user, system] = stat.split(' ').slice(11, 13).map(Number) as [number, number];
    return 10 * (user + system);
  }

  async end(): Promise<void> {
    for (const child of this.#processes) {
      if (child.exitCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    fs.rmSync(this.#directory, { recursive: true, force: true });
  }

  #numSteps(): number {
    const file = path.join(this.#directory, 'run', 'events.jsonl');
    if (!fs.existsSync(file)) return 0;
    return fs.readFileSync(file, 'latin1').split('"stepDone"').length - 1;
  }
}

function lockstep(cwd: string, ...args: readonly string[]): ChildProcess {
  const program = fileURLToPath(new URL('../bin/lockstep.js', import.meta.url));
  const child = spawn(process.execPath, [program, ...args], { cwd, stdio: ['ignore', 'ignore', 'pipe'] });
  const kill = (): void => void child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.off('exit', kill));
  return child;
}

async function portOf({ stderr }: ChildProcess): Promise<number> {
  let said = '';
  for await (const chunk of stderr ?? []) {
    said += String(chunk);
    const port = /listening on 127\.0\.0\.1:(\d+)/.exec(said)?.[1];
    if (port === undefined) continue;
    stderr?.resume();
    return Number(port);
  }
  throw failed(said);
}

function failed(message: string): LockstepError {
  return new LockstepError({ category: 'failure', code: 'E_BENCH_FLOODS', message });
}

/** A table, and a model whose steps take some milliseconds. */
function writeTable(directory: string): void {
  const rows = Array.from({ length: 4096 }, (_, row) =>
    Array.from({ length: 17 }, (_, column) => ((row + 1) * (column + 3) * 7919) % 1009).join(),
  );
  const names = Array.from({ length: 17 }, (_, column) => `x${column}`).join();
  fs.writeFileSync(path.join(directory, 'table.csv'), `${names}\n${rows.join('\n')}\n`);
  const layers = [
    { kind: 'dense', units: 256, activation: 'relu' },
    { kind: 'dense', units: 1 },
  ];
  const data = { file: 'table.csv', target: 'x16', split: { validation: 0.01, test: 0 } };
  const config = { name: 'floods', data, model: { layers }, loss: 'mse', batchSize: 512, epochs: 500_000 };
  fs.writeFileSync(path.join(directory, 'config.yaml'), JSON.stringify({ ...config, plots: false }));
}

/** Connects, does something, and hangs up; a connection that fails has done its part. */
async function using(
  { port, isSecure }: Target,
  signal: AbortSignal,
  use: (socket: net.Socket) => Promise<unknown>,
): Promise<void> {
  // From another address than that of the worker, as far as the system lets us choose it.
  const from = process.platform === 'linux' ? { localAddress: '127.0.0.2' } : {};
  const options = { port, host: '127.0.0.1', ...from };
  const socket = isSecure ? tls.connect({ ...options, rejectUnauthorized: false }) : net.connect(options);
  const opened = new Promise<boolean>((resolve) => {
    socket.once(isSecure ? 'secureConnect' : 'connect', () => resolve(true));
    socket.once('close', () => resolve(false));
  });
  socket.on('error', () => undefined);
  const hangUp = (): void => void socket.destroy();
  signal.addEventListener('abort', hangUp, { once: true });
  if (await opened) await use(socket);
  signal.removeEventListener('abort', hangUp);
  hangUp();
}

/** Resolves at the end of a connection, or after some time. */
async function untilClosed(socket: net.Socket, ms: number): Promise<void> {
  if (socket.closed) return;
  let timer: NodeJS.Timeout | undefined;
  await new Promise((resolve) => {
    socket.once('close', resolve);
    timer = setTimeout(resolve, ms);
  });
  clearTimeout(timer);
}

const bearer = (token: string): string => `Authorization: Bearer ${token}\r\n`;

function upgrade(token: string): string {
  const lines = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'];
  const own = [`Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==`, `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`];
  return `${[...lines, ...own].join('\r\n')}\r\n${bearer(token)}`;
}

/** One request, and its answer to the end. */
async function ask(target: Target, signal: AbortSignal, headers: string, place = '/'): Promise<number> {
  await using(target, signal, async (socket) => {
    socket.resume().write(`GET ${place} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`);
    await untilClosed(socket, STAY_MS);
  });
  return 1;
}

/** Opens a WebSocket with the token and sends bytes, without reading, as long as the other end bears it. */
async function speak(target: Target, signal: AbortSignal, data: Buffer, units: number): Promise<number> {
  let sent = 0;
  await using(target, signal, async (socket) => {
    socket.write(`GET / HTTP/1.1\r\nHost: localhost\r\n${upgrade(target.token)}\r\n`);
    const answered = new Promise((resolve) => socket.once('data', resolve));
    await Promise.race([answered, untilClosed(socket, STAY_MS)]);
    socket.pause();
    const closed = untilClosed(socket, STAY_MS);
    while (!socket.destroyed && sent < 1000 * units) {
      const isTaken = new Promise((resolve) => socket.write(data, resolve));
      await Promise.race([isTaken, closed]);
      if (!socket.destroyed) sent += units;
    }
  });
  return sent;
}
