// Wrong messages, by the thousand and from a seed, for both ends of the protocol: for a coordinator in the
// middle of a run, as from workers at every stage of a session, and for the session of a worker, as from its
// coordinator. The bytes are those of real sessions with something wrong about them.
import path from 'node:path';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import type * as StartCompute from '../../coordinator/start-compute.ts';
import type * as Listen from '../../coordinator/cluster/listener.ts';
import type * as Prepare from '../../coordinator/training/prepare.ts';
import type * as Train from '../../coordinator/training/train.ts';
import { FIRST_PROGRESS } from '../../coordinator/training/training-progress.ts';
import { loadConfig } from '../../src/config/load.ts';
import { createLogger } from '../../src/log.ts';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import { Instance } from '../../src/protocol/instance.ts';
import type {
  CoordinatorMessage,
  EvaluateMessage,
  GradientMessage,
  HelloMessage,
  Message,
  TrainMessage,
  WorkerMessage,
} from '../../src/protocol/message-types.ts';
import type { Connection } from '../../src/protocol/connection.ts';
import { parseCoordinatorMessage, parseWorkerMessage } from '../../src/protocol/messages.ts';
import { CLOSE } from '../../src/protocol/protocol-error.ts';
import { Screen } from '../../src/screen.ts';
import type * as KernelBuilds from '../../worker/kernel-builds.ts';
import type * as Progress from '../../worker/progress.ts';
import type { Replica } from '../../worker/replica.ts';
import type * as Session from '../../worker/session.ts';
import { chainAfter } from './in-process-training.ts';
import { honestHello } from './fake-worker.ts';
import { MemoryConnection } from './memory-connection.ts';
import { mutate } from './mutations.ts';
import type { Draws } from './mutations.ts';

/** A module as it was built: the threads of a worker are files beside it. */
async function built<T>(file: string): Promise<T> {
  return (await import(new URL(`../../dist/${file}`, import.meta.url).href)) as T;
}

const { listen } = await built<typeof Listen>('coordinator/cluster/listener.js');
const { startCompute } = await built<typeof StartCompute>('coordinator/start-compute.js');
const { initialState, prepareRun } = await built<typeof Prepare>('coordinator/training/prepare.js');
const { StopRequest, trainUntil } = await built<typeof Train>('coordinator/training/train.js');
const { loadKernelBuilds } = await built<typeof KernelBuilds>('worker/kernel-builds.js');
const { WorkerProgress } = await built<typeof Progress>('worker/progress.js');
const { runSession } = await built<typeof Session>('worker/session.js');

const log = createLogger({ level: 'silent' });
/** Time of each message of the honest worker, so that most of the time is left to the others. */
const HONEST_DELAY_MS = 5;
/** Steps without which a run would prove nothing. */
const MIN_STEPS = 5;
const WAIT_DEADLINE_MS = 60_000;

/** The ending of a connection. */
interface Ending {
  readonly code: number;
  readonly reason: string;
}

/** What became of wrong messages. */
export interface Tally {
  /** Wrong messages that were taken in. */
  numFrames: number;
  /** Connections that were closed for them. */
  numRefused: number;
  /** The longest time that one kept its process from everything else, by the processor's clock or the wall's. */
  worstMs: number;
  /** Endings by their code. */
  readonly codes: Map<number, number>;
}

/** Codes with which a session may end because of what its peer sent. */
const OWN_FAULT: readonly number[] = [CLOSE.malformed, CLOSE.incompatible, CLOSE.protocol];
/** Sound messages that end a session: a goodbye, a place elsewhere, an instance that came twice. */
const IN_ORDER: readonly number[] = [CLOSE.normal, CLOSE.superseded];

/** Runs what handles a message and all that follows in its turn of the event loop. */
async function timed(tally: Tally, handle: () => void): Promise<void> {
  const [startMs, start] = [performance.now(), process.cpuUsage()];
  handle();
  await turn();
  const wallMs = performance.now() - startMs;
  if (wallMs <= tally.worstMs) return;
  const { user, system } = process.cpuUsage(start);
  // A busy machine stretches the wall's clock, and other threads of this process that of the processor.
  tally.worstMs = Math.max(tally.worstMs, Math.min(wallMs, (user + system) / 1000));
}

function note(tally: Tally, { code, reason }: Ending, allowed: readonly number[]): void {
  tally.codes.set(code, (tally.codes.get(code) ?? 0) + 1);
  if (OWN_FAULT.includes(code)) tally.numRefused++;
  else if (!allowed.includes(code)) throw new Error(`ended with code ${code}: ${reason}`);
  if (!/^\P{Cc}{1,500}$/u.test(reason))
    throw new Error(`a reason that is no line: ${JSON.stringify(reason)}`);
}

const newTally = (): Tally => ({ numFrames: 0, numRefused: 0, worstMs: 0, codes: new Map() });

/** A message of a recorded session, with the parts that others put into it. */
type Recording = readonly Buffer[];

/** A training in this process with one honest worker, to which others come. */
export class FuzzedRun {
  readonly tally = newTally();
  /** The messages of the honest worker, and those to it. */
  readonly fromWorker: Recording;
  readonly toWorker: Recording;
  readonly #admit: (connection: Connection) => void;
  readonly #end: () => Promise<{ step: number; chain: string }>;
  readonly #draws: Draws;
  readonly #hello: HelloMessage;
  readonly #instances = Array.from({ length: 64 }, () => new Instance());
  #numSessions = 0;
  #listener: Listen.Listener | undefined;

  private constructor(
    parts: Pick<FuzzedRun, 'fromWorker' | 'toWorker'> & {
      admit: (connection: Connection) => void;
      end: () => Promise<{ step: number; chain: string }>;
      draws: Draws;
      hello: HelloMessage;
    },
  ) {
    this.fromWorker = parts.fromWorker;
    this.toWorker = parts.toWorker;
    this.#admit = parts.admit;
    this.#end = parts.end;
    this.#draws = parts.draws;
    this.#hello = parts.hello;
  }

  /** Begins to train the config of a directory, and records the first steps. */
  static async start(directory: string, draws: Draws, overrides: readonly string[] = []): Promise<FuzzedRun> {
    const file = path.join(directory, 'table.yaml');
    const { config } = await loadConfig({ path: file, env: {}, overrides: ['epochs=500000', ...overrides] });
    const prepared = await prepareRun(config, () => undefined);
    const state = await initialState(prepared);
    const controller = new AbortController();
    let admit: ((connection: Connection) => void) | undefined;
    const listener: Listen.Listener = {
      host: '127.0.0.1',
      port: 1,
      admit: (onConnection) => (admit = onConnection),
      close: () => Promise.resolve(),
    };
    const workforce = {
      host: '127.0.0.1',
      port: 0,
      token: undefined,
      minWorkers: 1,
      waitForWorkersMs: 600_000,
    };
    const compute = startCompute({
      run: 'a fuzzed run',
      prepared,
      state,
      // Of a tree, so that workers may say what others are below them; all of them find a place here.
      workforce: { kind: 'network', ...workforce, fanIn: 64 },
      listener,
      log,
      signal: controller.signal,
      onEvent: () => undefined,
    });
    await until(() => admit !== undefined, 'the port');
    const [coordinatorEnd, workerEnd] = MemoryConnection.pair('127.0.0.1');
    coordinatorEnd.delayMs = workerEnd.delayMs = HONEST_DELAY_MS;
    const [fromWorker, toWorker]: [Buffer[], Buffer[]] = [[], []];
    coordinatorEnd.tap = (data) => fromWorker.push(data);
    workerEnd.tap = (data) => toWorker.push(data);
    admit?.(coordinatorEnd);
    const worker = honestSession(workerEnd, undefined);
    const last = { step: 0, chain: '' };
    const observer = {
      onStep: ({ chain }: Train.StepRecord) => ((last.step += 1), (last.chain = chain)),
      onEpoch: () => undefined,
    };
    const stop = new StopRequest();
    const run = { ...prepared, state, compute: await compute, observer, signal: controller.signal, stop };
    const training = trainUntil(run, FIRST_PROGRESS, Infinity);
    let failure: Error | undefined;
    training.catch((error: Error) => (failure = error));
    const check = (): true => {
      if (failure) throw failure;
      if (!workerEnd.isOpen) throw new Error('the honest worker was disconnected');
      return true;
    };
    // Over an evaluation, which follows the 15 steps of an epoch.
    await until(() => check() && fromWorker.some(isOfType('evaluation')), 'an evaluation');
    coordinatorEnd.tap = workerEnd.tap = undefined;
    const end = async (): Promise<typeof last> => {
      const { step } = last;
      await until(() => check() && last.step >= step + MIN_STEPS, 'more steps');
      stop.make('the test');
      await training;
      const reached = { ...last };
      await (await compute).close('the test is over', true);
      await (await worker).replica?.close();
      return reached;
    };
    const hello = await honestHello();
    return new FuzzedRun({
      fromWorker,
      toWorker,
      admit: (connection) => admit?.(connection),
      end,
      draws,
      hello,
    });
  }

  /** Opens a port that leads to the run as well. */
  async listen(token: string): Promise<number> {
    const onConnection = (connection: Connection): void => this.#admit(connection);
    this.#listener = await listen({ host: '127.0.0.1', port: 0, token, maxWorkers: 64, log, onConnection });
    return this.#listener.port;
  }

  /** Ends the run; its weights must be those of one to which nobody came. */
  async end(directory: string): Promise<{ readonly chain: string; readonly expected: string }> {
    await this.#listener?.close();
    const { step, chain } = await this.#end();
    return { chain, expected: await chainAfter(directory, step) };
  }

  /** One session that sends wrong messages at some stage. */
  async attack(): Promise<void> {
    const draws = this.#draws;
    const number = ++this.#numSessions;
    const octets = [127, number >> 16, (number >> 8) & 255, number & 255];
    if (draws.below(2)) octets[0] = 10;
    const [there, here] = MemoryConnection.pair(octets.join('.'));
    const received: CoordinatorMessage[] = [];
    let ending: Ending | undefined;
    here.onMessage((data) => received.push(parseCoordinatorMessage(data).message));
    here.onClose((code, reason) => (ending = { code, reason }));
    this.#admit(there);
    const pool = [...this.fromWorker.slice(0, 60), ...RARE];
    const sound = await this.#advance(there, received);
    const numFrames = 1 + draws.below(3);
    for (let frame = 0; frame < numFrames && there.isOpen; frame++) {
      const base = draws.below(4) > 0 && sound.length > 0 ? draws.pick(sound) : draws.pick(pool);
      const wrong = mutate(base, pool, draws);
      this.tally.numFrames++;
      await timed(this.tally, () => there.deliver(wrong));
    }
    await turn();
    if (ending) note(this.tally, ending, IN_ORDER);
    here.terminate();
  }

  /** Takes a session as far as a stage that it draws; resolves to messages that would be sound there. */
  async #advance(
    there: MemoryConnection,
    received: readonly CoordinatorMessage[],
  ): Promise<readonly Buffer[]> {
    const draws = this.#draws;
    const stage = draws.below(80);
    const instance = draws.pick(this.#instances);
    const hello = { ...this.#hello, instance: instance.name, ...(draws.below(2) && { listen: { port: 7 } }) };
    if (stage < 20) return [encodeMessage(hello)];
    there.deliver(encodeMessage(hello));
    await turn();
    const welcome = received.find((message) => message.type === 'welcome');
    const sha256 = welcome?.datasetSha256 ?? '';
    const ready = encodeMessage({ type: 'ready', proof: welcome ? instance.prove(welcome) : '' });
    if (stage < 48) return [encodeMessage({ type: 'fetch', sha256, offset: 0, length: 4 }), ready];
    there.deliver(ready);
    if (stage === 79) await waitForTask(received);
    return [...this.#resultsOf(received), ...RARE];
  }

  /** Results of the task that came, if one did: all is right about them but the numbers, as their names show. */
  #resultsOf(received: readonly CoordinatorMessage[]): Buffer[] {
    const tasks = received.filter((message) => message.type === 'train' || message.type === 'evaluate');
    const task = tasks.at(-1) as TrainMessage | EvaluateMessage | undefined;
    if (!task) return [];
    const { run, round, task: number, firstShard, weightsFingerprint } = task;
    const key = { run, round, task: number };
    const sum = { ...key, weightsFingerprint, fingerprint: 'f'.repeat(16), extent: undefined };
    return this.fromWorker.slice(0, 60).flatMap((data) => {
      const { message, body } = parseWorkerMessage(data);
      if (message.type === 'gradient') {
        const wrong: GradientMessage = { ...message, ...sum, level: 0, index: firstShard };
        return [encodeMessage(wrong, body)];
      }
      if (message.type === 'finished') return [encodeMessage({ ...message, ...key })];
      return [];
    });
  }
}

/** Messages that hardly a session has. */
const RARE: readonly Buffer[] = [
  encodeMessage({ type: 'members', instances: ['ab'.repeat(32), 'cd'.repeat(32)] }),
  encodeMessage({ type: 'leave' }),
  encodeMessage({ type: 'failure', run: 'a fuzzed run', round: 1, task: 1, message: 'no memory' }),
  encodeMessage({ type: 'redirect', url: 'ws://127.0.0.1:1' }),
  encodeMessage({ type: 'refuse', code: 'E_BANNED', message: 'no' }),
  encodeMessage({ type: 'stop', reason: 'the run is over' }),
];

async function waitForTask(received: readonly CoordinatorMessage[]): Promise<void> {
  for (let waitedMs = 0; waitedMs < 100; waitedMs += 2) {
    if (received.some(({ type }) => type === 'train' || type === 'evaluate')) return;
    await sleep(2);
  }
}

function isOfType(type: Message['type']): (data: Buffer) => boolean {
  return (data) => parseWorkerMessage(data).message.type === type;
}

async function until(isDone: () => boolean, what: string): Promise<void> {
  const startMs = performance.now();
  while (!isDone()) {
    if (performance.now() - startMs > WAIT_DEADLINE_MS) throw new Error(`waited in vain for ${what}`);
    await sleep(2);
  }
}

const progress = new WorkerProgress(new Screen(), log);
const kernelBuilds = loadKernelBuilds();
const never = new AbortController().signal;

async function honestSession(
  connection: Connection,
  replica: Replica | undefined,
): Promise<Session.SessionEnd> {
  const parts = { connection, replica, instance: new Instance(), kernelBuilds: await kernelBuilds };
  const facts = { runtime: 'test', platform: 'test', host: 'test', pid: process.pid };
  return runSession({ ...parts, facts, numThreads: 1, takesFiles: true, log, progress }, never);
}

/** A worker whose coordinators go wrong somewhere in recorded sessions. */
export class FuzzedWorker {
  readonly tally = newTally();
  /** The messages that load the dataset, and those that follow. */
  readonly #loading: Recording;
  readonly #recording: Recording;
  readonly #draws: Draws;
  #replica: Replica | undefined;

  /** `recording` has messages to a worker, from the welcome on. */
  constructor(recording: Recording, draws: Draws) {
    const isChunk = (data: Buffer): boolean => parseCoordinatorMessage(data).message.type === 'chunk';
    this.#loading = [...recording.slice(0, 1), ...recording.filter(isChunk)];
    this.#recording = recording.filter((data) => !isChunk(data)).slice(0, 80);
    this.#draws = draws;
  }

  /** One session with something wrong in it. */
  async attack(): Promise<void> {
    const draws = this.#draws;
    if (!this.#replica && draws.below(2)) return this.#load();
    const [here, there] = MemoryConnection.pair('127.0.0.1');
    let numAnswers = 0;
    here.tap = () => (numAnswers += 1);
    // A session that failed leaves a replica behind, which loses none of what it has loaded.
    const session = honestSession(there, this.#replica);
    await turn();
    const recording = this.#replica ? this.#recording : this.#loading;
    const wrongAt = draws.below(Math.min(recording.length, draws.pick([1, 4, 12, 80])));
    for (const data of recording.slice(0, wrongAt)) {
      there.deliver(data);
      await turn();
    }
    // A hello, and what shows that a replica is there.
    if (wrongAt > 0 && !this.#replica) await until(() => !there.isOpen || numAnswers > 1, 'a replica');
    const base = recording[wrongAt] as Buffer;
    const others = [...recording, ...this.#loading, ...RARE];
    const wrong = mutate(draws.below(4) > 0 ? base : draws.pick(others), others, draws);
    this.tally.numFrames++;
    await timed(this.tally, () => there.deliver(wrong));
    for (const data of recording.slice(wrongAt + 1, wrongAt + 3)) there.deliver(data);
    await turn();
    if (there.ending) note(this.tally, there.ending, [...IN_ORDER, CLOSE.goingAway]);
    here.terminate('the test goes on');
    const { replica } = await session;
    if (replica !== this.#replica) await this.#replica?.close();
    this.#replica = replica;
  }

  /** A sound session, which loads the dataset. */
  async #load(): Promise<void> {
    const [here, there] = MemoryConnection.pair('127.0.0.1');
    const session = honestSession(there, undefined);
    const answers: WorkerMessage[] = [];
    here.onMessage((data) => answers.push(parseWorkerMessage(data).message));
    const [welcome, ...chunks] = this.#loading;
    there.deliver(welcome as Buffer);
    await until(() => answers.some(({ type }) => type === 'fetch'), 'a request for the dataset');
    for (const chunk of chunks) there.deliver(chunk);
    await until(() => answers.some(({ type }) => type === 'ready'), 'the dataset to be loaded');
    here.terminate('the test goes on');
    this.#replica = (await session).replica;
  }

  /** One session over a connection of somebody else's. */
  async meet(connection: Connection): Promise<void> {
    const { replica } = await honestSession(connection, this.#replica);
    if (replica !== this.#replica) await this.#replica?.close();
    this.#replica = replica;
  }

  async end(): Promise<void> {
    await this.#replica?.close();
  }
}
