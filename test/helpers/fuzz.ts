// Wrong messages from a seed against everything that reads them: the decoder gets all of them; every 20th time
// a session of a coordinator or of a worker gets one, too, and every 400th time a WebSocket, wrong itself.
import v8 from 'node:v8';
import vm from 'node:vm';
import fc from 'fast-check';
import { expect } from 'vitest';
import { encodeMessage } from '../../src/protocol/envelope.ts';
import { FuzzedRun, FuzzedWorker } from './fuzzed-sessions.ts';
import type { Tally } from './fuzzed-sessions.ts';
import { attackPort, HostileServer } from './fuzzed-sockets.ts';
import { isRefused, sharedProperties } from './hostile-input.ts';
import { Draws, mutate } from './mutations.ts';
import { anyMessage } from './protocol-messages.ts';
import { seededRandom } from './seeded-random.ts';
import { longRun } from './undisturbed.ts';

/** What became of all the messages. */
export interface FuzzReport {
  readonly numRefused: number;
  readonly coordinator: Tally;
  readonly worker: Tally;
  /** Growth of memory from the first fifth to the end. */
  readonly grownMegabytes: number;
  /** The weights of the run in the end, and those of one that nobody disturbed. */
  readonly chain: string;
  readonly expected: string;
  /** Errors that nobody caught. */
  readonly uncaught: readonly unknown[];
  /** Properties of all objects that are new. */
  readonly polluted: readonly string[];
}

const TOKEN = 'a-token-for-the-tests-of-wrong-bytes';
/** The longest time that a message may keep a process from its other connections. */
const MAX_STALL_MS = 50;
const MAX_GROWN_MEGABYTES = 32;
const SESSION_EVERY = 20;
const SOCKET_EVERY = 400;

/** Sends wrong messages to the decoder, to a run and to a worker. */
export async function fuzz({ seed, numFrames }: { seed: number; numFrames: number }): Promise<FuzzReport> {
  const draws = new Draws(seededRandom(seed));
  const before = sharedProperties().flat();
  const uncaught: unknown[] = [];
  const note = (error: unknown): number => uncaught.push(error);
  process.on('uncaughtException', note).on('unhandledRejection', note);
  const directory = longRun();
  const run = await FuzzedRun.start(directory, draws);
  const worker = new FuzzedWorker(run.toWorker, draws);
  const port = await run.listen(TOKEN);
  const server = await HostileServer.open(draws);
  const made = fc.sample(anyMessage, { numRuns: 300, seed });
  const messages = [
    ...run.fromWorker.slice(0, 100),
    ...run.toWorker.slice(0, 100),
    ...made.map(({ message, body }) => encodeMessage(message, body)),
  ];
  let [numRefused, earlyBytes] = [0, 0];
  for (let frame = 0; frame < numFrames; frame++) {
    const wrong = mutate(draws.pick(messages), messages, draws);
    if (isRefused(wrong)) numRefused++;
    if (frame % SESSION_EVERY === 0) await (draws.below(2) ? run : worker).attack();
    if (frame % SOCKET_EVERY === 0) {
      await attackPort(port, TOKEN, wrong, draws);
      await server.attack(wrong, (connection) => worker.meet(connection));
    }
    if (frame === Math.floor(numFrames / 5)) earlyBytes = bytesInUse();
  }
  const grownMegabytes = (bytesInUse() - earlyBytes) / 2 ** 20;
  server.close();
  await worker.end();
  const chains = await run.end(directory);
  process.off('uncaughtException', note).off('unhandledRejection', note);
  const polluted = sharedProperties()
    .flat()
    .filter((name) => !before.includes(name));
  const tallies = { coordinator: run.tally, worker: worker.tally };
  return { numRefused, ...tallies, grownMegabytes, ...chains, uncaught, polluted };
}

/** Asserts that nothing has come of them. */
export function expectHarmless({ coordinator, worker, ...report }: FuzzReport, numFrames: number): void {
  expect(report).toMatchObject({ uncaught: [], polluted: [], chain: report.expected });
  expect(report.numRefused).toBeGreaterThan(0.7 * numFrames);
  for (const { numFrames, numRefused, worstMs } of [coordinator, worker]) {
    expect(numRefused).toBeGreaterThan(0.7 * numFrames);
    expect(worstMs).toBeLessThan(MAX_STALL_MS);
  }
  expect(report.grownMegabytes).toBeLessThan(MAX_GROWN_MEGABYTES);
}

/** Memory that is in use after all garbage is gone. */
function bytesInUse(): number {
  v8.setFlagsFromString('--expose-gc');
  (vm.runInNewContext('gc') as () => void)();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}
