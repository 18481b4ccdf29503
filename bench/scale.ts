// `lockstep bench scale`: the same training with threads, with worker processes, and with both. What
// a step takes and where its time goes, and which command is the fastest here.
import os from 'node:os';
import path from 'node:path';
import type { TopLevelSpec } from 'vega-lite';
import { ClusterCompute } from '../coordinator/cluster/cluster-compute.ts';
import { BASE, BLUE, GREY, ORANGE } from '../coordinator/output/plot-specs.ts';
import { printText, printJson } from '../coordinator/output/results.ts';
import type { Compute } from '../coordinator/training/compute.ts';
import { InProcessCompute } from '../coordinator/training/in-process-compute.ts';
import { median } from '../coordinator/training/measure-threads.ts';
import { prepareRun } from '../coordinator/training/prepare.ts';
import type { PreparedRun } from '../coordinator/training/prepare.ts';
import type { TrainingState } from '../coordinator/training/training-state.ts';
import { loadConfig } from '../src/config/load.ts';
import { writeFileDurably } from '../src/durable-write.ts';
import { LockstepError } from '../src/errors.ts';
import { MAX_THREADS, MAX_WORKERS } from '../src/limits.ts';
import { Screen } from '../src/screen.ts';
import { formatBytes } from '../src/memory.ts';
import { countOf, formatCount, shellWord } from '../src/printable.ts';
import { collectMessageBuffers } from '../src/protocol/buffer-garbage.ts';
import { describeMachine, newTable } from './report.ts';
import { batchOf, selectWorkload, startSteps, syntheticRun } from './workloads.ts';
import type { StartedSteps, StepSetting } from './workloads.ts';

/** Arguments that select the run of a benchmark. */
export interface WorkloadArguments {
  readonly set: readonly string[];
  readonly workload: string;
  /** Shards of a batch, instead of those of the config. */
  readonly shards?: number;
}

/** Arguments of `lockstep bench scale`. */
export interface ScaleArguments extends WorkloadArguments {
  readonly workers?: string;
  readonly threads?: string;
  readonly steps?: number;
  readonly rounds: number;
  readonly svg?: string;
  readonly json?: boolean;
}

/** Threads of this process where there are no workers, else of each worker. */
type Setting = StepSetting;

/** The milliseconds of a step, and what is done meanwhile. */
interface StepTimes {
  readonly wallMs: number;
  /** Forward and backward passes: the mean of all threads. */
  readonly computingMs: number;
  /** Sums of gradients and the optimizer: of this process, which with workers also moves the messages. */
  readonly updatingMs: number;
}

/** The means of one turn. The coordinator receives bytes up and sends them down. */
interface Turn extends StepTimes {
  readonly bytesUpPerStep: number;
  readonly bytesDownPerStep: number;
}

interface Totals {
  readonly computingMs: number;
  readonly updatingMs: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
}

const NO_BYTES = { bytesUp: 0, bytesDown: 0 } as const;

/** The figures of a setting. */
interface Scaled extends Setting, StepTimes {
  readonly samplesPerSecond: number;
  readonly speedup: number;
  /** Speed-up over the first setting, for each additional thread that computes. */
  readonly efficiency: number;
  /** Weights and gradients in messages. */
  readonly bytesPerStep: number;
  readonly workerPeakBytes: number;
  readonly weightsSha256: string;
}

const screen = new Screen();

const WARM_UP_STEPS = 20;
/** Duration of a setting's turn, where no number of steps is given. */
const TURN_MS = 1_500;
const STEPS = { least: 3, most: 10_000 } as const;

/** Measures each setting, on a config or a built-in workload, and prints the figures. */
export async function benchScale(config: string | undefined, args: ScaleArguments): Promise<void> {
  const settings = settingsOf(args, os.availableParallelism());
  collectMessageBuffers();
  const prepare = await preparerOf(config, args);
  const contestants: Contestant[] = [];
  try {
    for (const setting of settings) {
      screen.write(`starting ${nameOf(setting)}\n`);
      contestants.push(await Contestant.start(setting, await prepare(setting)));
    }
    const steps = args.steps ?? stepsOfTurn(contestants);
    for (let round = 0; round < args.rounds; round++) {
      screen.write(`round ${round + 1} of ${args.rounds}, ${countOf(steps, 'step')} each\n`);
      // Every second round runs backwards, so that a drift within rounds affects first and last alike.
      const turns = round % 2 === 0 ? contestants : contestants.toReversed();
      for (const contestant of turns) await contestant.takeTurn(steps);
    }
    const results = scaledBy(contestants);
    const name = config ?? args.workload;
    const isSameHash = new Set(results.map((row) => row.weightsSha256)).size === 1;
    const { width } = (contestants[0] as Contestant).prepared.kernelModule;
    const { rounds } = args;
    const report = { ...describeMachine(width), workload: name, steps, rounds, results, isSameHash };
    await (args.json ? printJson(report) : printText(formatReport(report, config)));
    if (args.svg !== undefined) await writeSvg(args.svg, name, results);
    if (!isSameHash) throw differentWeights();
  } finally {
    await Promise.all(contestants.map((contestant) => contestant.close()));
  }
}

/** The settings that the lists of workers and threads ask for; without them those that may pay on so many cores. */
export function settingsOf(
  { workers, threads }: Pick<ScaleArguments, 'workers' | 'threads'>,
  cores: number,
): Setting[] {
  if (workers === undefined && threads === undefined) {
    const counts: number[] = [];
    for (let count = 1; count < cores; count *= 2) counts.push(count);
    counts.push(cores);
    const both = cores === 1 ? [] : [{ workers: 1, threads: cores }];
    return [
      ...counts.map((count) => ({ workers: 0, threads: count })),
      ...counts.map((count) => ({ workers: count, threads: 1 })),
      ...both,
    ];
  }
  const ofWorkers = parseCounts('--workers', workers ?? '0', 0, MAX_WORKERS);
  const ofThreads = parseCounts('--threads', threads ?? '1', 1, MAX_THREADS);
  return ofWorkers.flatMap((count) => ofThreads.map((each) => ({ workers: count, threads: each })));
}

/** Reads a list of whole numbers. @throws LockstepError (exit 2) for anything else */
export function parseCounts(flag: string, text: string, least: number, most: number): number[] {
  const counts = text.split(',').map((part) => (/^ *\d{1,4} *$/.test(part) ? Number(part) : Number.NaN));
  if (counts.every((count) => count >= least && count <= most)) return [...new Set(counts)];
  throw new LockstepError({
    category: 'usage',
    code: 'E_BENCH_WORKERS',
    message: `${flag} ${text}: expected whole numbers from ${least} to ${most}, separated by commas`,
    help: flag === '--workers' ? 'for example --workers 1,2,4; 0 measures this process alone' : undefined,
  });
}

/** Makes a run for each setting: of the config, or of a built-in workload. */
export async function preparerOf(
  path: string | undefined,
  { set, workload, shards }: WorkloadArguments,
): Promise<(setting: Setting) => Promise<PreparedRun>> {
  if (path === undefined) {
    const name = selectWorkload(workload);
    return ({ link }) => syntheticRun(name, { shards, smallBuckets: link && true });
  }
  const overrides = shards === undefined ? set : [...set, `shards=${shards}`];
  const { config } = await loadConfig({ path, overrides });
  return (setting) => {
    const local = setting.link ? undefined : setting;
    return prepareRun(config, (message) => screen.write(`${message}\n`), { local });
  };
}

/** One setting, which stays up while others take their turns. */
export class Contestant {
  readonly setting: Setting;
  readonly prepared: PreparedRun;
  readonly state: TrainingState;
  readonly #compute: Compute;
  readonly #end: () => Promise<void>;
  readonly turns: Turn[] = [];
  /** Milliseconds of a step when it was warm. */
  warmMs = 0;
  #numSteps = 0;

  private constructor(setting: Setting, prepared: PreparedRun, { state, compute, close }: StartedSteps) {
    this.setting = setting;
    this.prepared = prepared;
    this.state = state;
    this.#compute = compute;
    this.#end = close;
  }

  /** Starts it, and takes as many steps twice, of which the second time is measured. */
  static async start(
    setting: Setting,
    prepared: PreparedRun,
    warmUpSteps = WARM_UP_STEPS,
  ): Promise<Contestant> {
    const contestant = new Contestant(setting, prepared, await startSteps(prepared, setting));
    await contestant.#takeSteps(warmUpSteps);
    contestant.warmMs = await contestant.#takeSteps(warmUpSteps);
    return contestant;
  }

  /** Takes so many steps; returns the milliseconds of one. */
  async #takeSteps(count: number): Promise<number> {
    const startedMs = performance.now();
    for (let step = 0; step < count; step++) {
      await this.#compute.trainStep(batchOf(this.prepared, this.#numSteps++));
    }
    return (performance.now() - startedMs) / count;
  }

  async takeTurn(steps: number): Promise<void> {
    const before = this.#totals();
    const wallMs = await this.#takeSteps(steps);
    const after = this.#totals();
    this.turns.push({
      wallMs,
      computingMs: (after.computingMs - before.computingMs) / steps,
      updatingMs: (after.updatingMs - before.updatingMs) / steps,
      bytesUpPerStep: (after.bytesUp - before.bytesUp) / steps,
      bytesDownPerStep: (after.bytesDown - before.bytesDown) / steps,
    });
  }

  #totals(): Totals {
    const compute = this.#compute;
    if (compute instanceof ClusterCompute) {
      const { bytesReceived, bytesSent, computeMs } = compute.counters;
      const { user, system } = process.cpuUsage();
      return {
        computingMs: computeMs / this.setting.workers,
        updatingMs: (user + system) / 1000,
        bytesUp: bytesReceived,
        bytesDown: bytesSent,
      };
    }
    const times = compute instanceof InProcessCompute ? compute.times : [];
    const mean = (values: readonly number[]): number =>
      values.reduce((total, value) => total + value, 0) / Math.max(1, values.length);
    const computingMs = mean(times.map(({ computing }) => computing));
    return { computingMs, updatingMs: mean(times.map(({ updating }) => updating)), ...NO_BYTES };
  }

  get workerPeakBytes(): number {
    return this.#compute instanceof ClusterCompute ? this.#compute.counters.workerResidentBytes : 0;
  }

  close(): Promise<void> {
    return this.#end();
  }
}

/** The number of steps that the first setting takes in one turn. */
export function stepsOfTurn([first]: readonly Contestant[], turnMs = TURN_MS): number {
  const steps = Math.round(turnMs / (first?.warmMs ?? turnMs));
  return Math.max(STEPS.least, Math.min(STEPS.most, steps));
}

function scaledBy(contestants: readonly Contestant[]): Scaled[] {
  const medians = contestants.map(({ turns }) => ({
    wallMs: median(turns.map(({ wallMs }) => wallMs)),
    computingMs: median(turns.map(({ computingMs }) => computingMs)),
    updatingMs: median(turns.map(({ updatingMs }) => updatingMs)),
    bytesPerStep: median(
      turns.map(({ bytesUpPerStep, bytesDownPerStep }) => bytesUpPerStep + bytesDownPerStep),
    ),
  }));
  const [base] = contestants.map(({ setting }) => threadsOf(setting));
  return contestants.map((contestant, index) => {
    const { prepared, setting, state, workerPeakBytes } = contestant;
    const own = medians[index] as (typeof medians)[number];
    const speedup = (medians[0]?.wallMs ?? own.wallMs) / own.wallMs;
    const { length: batchSize } = batchOf(prepared, 0).indices;
    return {
      ...setting,
      ...own,
      samplesPerSecond: (1000 * batchSize) / own.wallMs,
      speedup,
      efficiency: (speedup * (base ?? 1)) / threadsOf(setting),
      workerPeakBytes,
      weightsSha256: state.weightsSha256(),
    };
  });
}

/** Threads that compute. */
function threadsOf({ workers, threads }: Setting): number {
  return Math.max(1, workers) * threads;
}

/** A setting in words: `2 threads`, `1 worker`, `2 workers of 4 threads`. */
function nameOf({ workers, threads }: Setting): string {
  if (workers === 0) return countOf(threads, 'thread');
  return `${countOf(workers, 'worker')}${threads === 1 ? '' : ` of ${threads} threads`}`;
}

interface ScaleReport extends ReturnType<typeof describeMachine> {
  readonly workload: string;
  readonly steps: number;
  readonly rounds: number;
  readonly results: readonly Scaled[];
  readonly isSameHash: boolean;
}

function formatReport(report: ScaleReport, config: string | undefined): string {
  const { machine, workload, steps, rounds, results, isSameHash } = report;
  const table = newTable([
    workload,
    'samples/s',
    'speed-up',
    'efficiency',
    'ms a step',
    'computing',
    'updating',
    'waiting',
    'bytes a step',
    'worker peak',
  ]);
  for (const row of results) {
    table.push([
      nameOf(row),
      formatCount(row.samplesPerSecond),
      row.speedup.toFixed(2),
      `${(100 * row.efficiency).toFixed(0)} %`,
      ...[row.wallMs, row.computingMs, row.updatingMs, waitingMs(row)].map((ms) => ms.toPrecision(3)),
      row.workers === 0 ? '' : formatBytes(Math.round(row.bytesPerStep)),
      row.workers === 0 ? '' : formatBytes(row.workerPeakBytes),
    ]);
  }
  const fastest = results.reduce((best, row) => (row.wallMs < best.wallMs ? row : best));
  const flags = `--workers ${fastest.workers} --threads ${fastest.threads}`;
  return [
    `${machine.cpu}, ${machine.cores} cores, Node.js ${machine.node}, ${machine.kernelWidth}-bit vectors; medians of ${rounds} rounds of ${countOf(steps, 'step')}`,
    'computing: forward and backward passes, the mean of all threads; updating: sums of gradients and the',
    "optimizer or, with workers, processor time of the coordinator's process; waiting: the rest of the step",
    table.toString(),
    isSameHash ? `the same weights everywhere: sha256 ${results[0]?.weightsSha256}` : 'DIFFERENT WEIGHTS',
    `fastest: lockstep train ${config === undefined ? 'CONFIG' : shellWord(config)} ${flags}`,
    '',
  ].join('\n');
}

/** Time of a step that neither passes nor updates account for. */
function waitingMs({ wallMs, computingMs, updatingMs }: StepTimes): number {
  return Math.max(0, wallMs - computingMs - updatingMs);
}

function differentWeights(): LockstepError {
  return new LockstepError({
    category: 'failure',
    code: 'E_BENCH_HASH',
    message: 'settings that must give the same weights gave different ones',
  });
}

async function writeSvg(file: string, workload: string, results: readonly Scaled[]): Promise<void> {
  // Vega takes 100 MB: it is loaded only once everything is measured.
  const { renderSvg } = await import('../coordinator/output/plot-render.ts');
  await writeFileDurably(path.resolve(file), await renderSvg(scalePlot(workload, results)));
  screen.write(`drawn as ${file}\n`);
}

/** The milliseconds of a step by setting, as stacked bars. */
function scalePlot(workload: string, results: readonly Scaled[]): TopLevelSpec {
  const parts = ['computing', 'updating', 'waiting'] as const;
  const values = results.flatMap((row) => {
    const ms = [row.computingMs, row.updatingMs, waitingMs(row)];
    return parts.map((part, order) => ({ setting: nameOf(row), part, order, ms: ms[order] }));
  });
  const y = {
    field: 'setting',
    type: 'nominal',
    sort: null,
    title: null,
    axis: { labelLimit: 300 },
  } as const;
  const speeds = results.map((row) => ({
    setting: nameOf(row),
    ms: Math.max(row.wallMs, row.computingMs + row.updatingMs),
    text: `${formatCount(row.samplesPerSecond)} samples/s`,
  }));
  // The longest bar leaves room for its text.
  const domain = [0, 1.3 * Math.max(...speeds.map(({ ms }) => ms))];
  return {
    ...BASE,
    title: { text: `A step of ${workload}`, subtitle: 'Less is faster; the weights are the same everywhere' },
    width: 560,
    height: { step: 34 },
    layer: [
      {
        data: { values },
        mark: { type: 'bar' },
        encoding: {
          y,
          x: { field: 'ms', type: 'quantitative', title: 'milliseconds', scale: { domain, nice: false } },
          order: { field: 'order', type: 'quantitative' },
          color: {
            field: 'part',
            type: 'nominal',
            title: null,
            scale: { domain: [...parts], range: [BLUE, ORANGE, GREY] },
          },
        },
      },
      {
        data: { values: speeds },
        mark: { type: 'text', align: 'left', dx: 6, fontSize: 12 },
        encoding: { y, x: { field: 'ms', type: 'quantitative' }, text: { field: 'text' } },
      },
    ],
  };
}
