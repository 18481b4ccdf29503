// A long run whose workers suffer a seeded fault every other second: they are killed, stopped for a while or
// told to leave, and new ones join. Its steps are those of an undisturbed run in one process.
//
//   LOCKSTEP_SOAK_MINUTES (default 10)   how long it lasts
//   LOCKSTEP_SOAK_SEED (default: drawn)  which faults come when
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { startCoordinator, startWorker } from '../helpers/network-run.ts';
import type { NetworkRun } from '../helpers/network-run.ts';
import type { CliProcess } from '../helpers/cli.ts';
import { readRecords } from '../helpers/run-records.ts';
import { seededRandom } from '../helpers/seeded-random.ts';
import { chainAfter } from '../helpers/in-process-training.ts';

const MINUTES = Number(process.env['LOCKSTEP_SOAK_MINUTES'] ?? 10);
const SEED = Number(process.env['LOCKSTEP_SOAK_SEED'] ?? Date.now() % 1_000_000);
const NUM_WORKERS = 3;
const STOP_MS = 5_000;
/** Longest time until a stopped worker has come back. */
const MAX_RECOVERY_MS = 30_000;

const FAULTS = ['kill', 'stop', 'leave', 'join'] as const;
type Fault = (typeof FAULTS)[number];

interface Injected {
  readonly fault: Fault;
  readonly atMs: number;
}

/** The workers of a run, and the faults that befall them. */
class Tormentor {
  readonly injected: Injected[] = [];
  readonly #run: NetworkRun;
  readonly #random: () => number;
  readonly #workers = new Set<CliProcess>();
  readonly #stopped = new Set<CliProcess>();

  constructor(run: NetworkRun, random: () => number) {
    this.#run = run;
    this.#random = random;
    for (let index = 0; index < NUM_WORKERS; index++) this.#join();
  }

  /** Injects one random fault; lost workers are replaced in time. */
  strike(): void {
    for (const worker of this.#workers) if (worker.hasEnded) this.#workers.delete(worker);
    const awake = [...this.#workers].filter((worker) => !this.#stopped.has(worker));
    const victim = awake[Math.floor(this.#random() * awake.length)];
    const fault = this.#choose(awake.length);
    this.injected.push({ fault, atMs: Date.now() });
    if (fault === 'join' || !victim) return this.#join();
    this.#workers.delete(victim);
    if (fault === 'kill') victim.signal('SIGKILL');
    else if (fault === 'leave') victim.signal('SIGTERM');
    else this.#stop(victim);
  }

  /** Wakes stopped workers, and tells all to leave. */
  async end(): Promise<void> {
    for (const worker of this.#stopped) worker.signal('SIGCONT');
    for (const worker of this.#workers) worker.signal('SIGTERM');
    await Promise.all([...this.#workers].map((worker) => worker.finished));
  }

  #choose(numAwake: number): Fault {
    if (numAwake < 2) return 'join';
    if (this.#workers.size > NUM_WORKERS + 2) return 'kill';
    return (['kill', 'stop', 'leave', 'join', 'join'] as const)[Math.floor(this.#random() * 5)] as Fault;
  }

  #join(): void {
    this.#workers.add(startWorker(this.#run, this.#run.url, { deadlineMs: (MINUTES + 2) * 60_000 }));
  }

  #stop(worker: CliProcess): void {
    this.#workers.add(worker);
    this.#stopped.add(worker);
    worker.signal('SIGSTOP');
    setTimeout(() => {
      worker.signal('SIGCONT');
      this.#stopped.delete(worker);
    }, STOP_MS);
  }
}

/** Resident bytes and open files of a process. */
function usageOf(pid: number): { readonly bytes: number; readonly files: number } {
  const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
  const bytes = 1024 * Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]);
  return { bytes, files: fs.readdirSync(`/proc/${pid}/fd`).length };
}

/** Time from each fault until two steps have ended after it: the second of them began after it. */
function recoveriesMs(injected: readonly Injected[], stepTimes: readonly number[]): number[] {
  return injected.flatMap(({ fault, atMs }) => {
    if (fault === 'join') return [];
    const next = stepTimes.findIndex((time) => time > atMs);
    const second = next === -1 ? undefined : stepTimes[next + 1];
    return second === undefined ? [] : [second - atMs];
  });
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

describe('a run whose workers come, go and fail at random', () => {
  it.skipIf(process.platform !== 'linux')(
    `a run with random faults takes the steps of an undisturbed one, in flat memory (${MINUTES} minutes, seed ${SEED})`,
    { timeout: (2 * MINUTES + 5) * 60_000 },
    async () => {
      const random = seededRandom(SEED);
      const run = await startCoordinator({
        flags: ['--set', 'epochs=1000000'],
        cli: { deadlineMs: (MINUTES + 3) * 60_000 },
      });
      const tormentor = new Tormentor(run, random);
      const usages: ReturnType<typeof usageOf>[] = [];
      const endMs = Date.now() + MINUTES * 60_000;
      while (Date.now() < endMs) {
        await sleep(500 + 2_000 * random());
        if (run.command.hasEnded) throw new Error(`the run has ended:\n${run.command.stderr}`);
        tormentor.strike();
        usages.push(usageOf(run.command.pid));
      }
      run.command.signal('SIGINT');
      const { exitCode, stderr } = await run.command.finished;
      expect(exitCode).toBe(130);
      expect(stderr).not.toMatch(/unhandled|bug/i);
      await tormentor.end();

      const steps = readRecords(run.directory, 'events.jsonl').filter(({ type }) => type === 'stepDone');
      const last = steps.at(-1);
      const numSteps = Number(last?.['step']);
      expect(last?.['chain']).toBe(await chainAfter(run.cwd, numSteps));

      const recoveries = recoveriesMs(
        tormentor.injected,
        steps.map(({ time }) => Date.parse(String(time))),
      );
      const countOf = (fault: Fault): number =>
        tormentor.injected.filter((injected) => injected.fault === fault).length;
      const faults = FAULTS.map((fault) => `${countOf(fault)} ${fault}`);
      const megabytes = usages.map(({ bytes }) => bytes / 2 ** 20);
      const [early, late] = [
        megabytes.slice(0, megabytes.length >> 1),
        megabytes.slice(megabytes.length >> 1),
      ];
      const worst = Math.max(...recoveries);
      process.stderr.write(
        `seed ${SEED}: ${numSteps} steps, ${tormentor.injected.length} faults (${faults.join(', ')}); ` +
          `recovery median ${median(recoveries)} ms, worst ${worst} ms; ` +
          `memory median ${median(early).toFixed(0)} MiB in the first half, ${median(late).toFixed(0)} in the second; ` +
          `open files ${usages[0]?.files} to ${usages.at(-1)?.files}\n`,
      );
      expect(worst).toBeLessThan(MAX_RECOVERY_MS);
      expect(median(late)).toBeLessThan(1.15 * median(early) + 16);
      expect(usages.at(-1)?.files ?? 0).toBeLessThan((usages[0]?.files ?? 0) + 20);
      expect(fs.existsSync(path.join(run.directory, 'lock'))).toBe(false);
    },
  );
});
