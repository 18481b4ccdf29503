// `lockstep bench network`: trainings over links of a network's speed, and how close they come to what
// computing or the link alone would allow.
import { fanInOf } from '../coordinator/start-compute.ts';
import type { TopologyFlags } from '../coordinator/start-compute.ts';
import { median } from '../coordinator/training/measure-threads.ts';
import { printText, printJson } from '../coordinator/output/results.ts';
import { LockstepError } from '../src/errors.ts';
import { MAX_WORKERS } from '../src/limits.ts';
import { Screen } from '../src/screen.ts';
import { formatBytes } from '../src/memory.ts';
import { countOf, formatCount } from '../src/printable.ts';
import { collectMessageBuffers } from '../src/protocol/buffer-garbage.ts';
import { describeLinks, parseLink } from './link.ts';
import type { LinkSpeed } from './link.ts';
import { describeMachine, newTable } from './report.ts';
import { Contestant, parseCounts, preparerOf, stepsOfTurn } from './scale.ts';
import type { WorkloadArguments } from './scale.ts';
import { StepCosts } from './step-costs.ts';
import { batchOf } from './workloads.ts';

/** Arguments of `lockstep bench network`. */
export interface NetworkArguments extends WorkloadArguments, TopologyFlags {
  readonly workers: string;
  readonly bandwidth: string;
  readonly latency: string;
  readonly steps?: number;
  readonly rounds: number;
  readonly json?: boolean;
}

/** The figures of one number of workers; bytes are those of the coordinator. */
interface Measured {
  readonly workers: number;
  readonly stepMs: number;
  readonly samplesPerSecond: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Forward and backward passes of the largest task. */
  readonly computingMs: number;
  /** The longer of computing and moving the bytes of either direction, and once the latency. */
  readonly idealMs: number;
}

const WARM_UP_STEPS = 3;
const TURN_MS = 3_000;

const screen = new Screen();

/** Measures each number of workers, on a config or a built-in workload, and prints the figures. */
export async function benchNetwork(config: string | undefined, args: NetworkArguments): Promise<void> {
  const link = parseLink(args);
  const fanIn = fanInOf(args);
  const counts = parseCounts('--workers', args.workers, 1, MAX_WORKERS);
  for (const workers of counts) requireTwoLevels(workers, fanIn);
  collectMessageBuffers();
  const prepare = await preparerOf(config, args);
  const results: Measured[] = [];
  let width: Parameters<typeof describeMachine>[0] | undefined;
  for (const workers of counts) {
    const setting = { workers, threads: 1, link, fanIn };
    const prepared = await prepare(setting);
    width = prepared.kernelModule.width;
    const costs = await StepCosts.measure(prepared);
    screen.write(`starting ${countOf(workers, 'worker')}\n`);
    const contestant = await Contestant.start(setting, prepared, WARM_UP_STEPS);
    try {
      const steps = args.steps ?? stepsOfTurn([contestant], TURN_MS);
      screen.write(`${countOf(args.rounds, 'round')} of ${countOf(steps, 'step')}\n`);
      for (let round = 0; round < args.rounds; round++) await contestant.takeTurn(steps);
    } finally {
      await contestant.close();
    }
    results.push(measuredBy(contestant, link, costs.computeMs(workers)));
  }
  const { bandwidth, latency, topology, rounds } = args;
  const report = {
    ...describeMachine(width as NonNullable<typeof width>),
    workload: config ?? args.workload,
    bandwidth,
    latency,
    topology,
    fanIn,
    rounds,
    results,
  };
  await (args.json ? printJson(report) : printText(formatReport(report)));
}

/**
 * Refuses trees in which an aggregator is below another one: the relays cannot tell whose card it is
 * that connects there.
 */
function requireTwoLevels(workers: number, fanIn: number | undefined): void {
  if (fanIn === undefined || workers <= fanIn + fanIn ** 2) return;
  throw new LockstepError({
    category: 'usage',
    code: 'E_BENCH_TREE',
    message: `${workers} workers with --fan-in ${fanIn} are a tree of more than two levels, whose links cannot be shaped`,
    help: `give --fan-in at least ${Math.ceil(Math.sqrt(workers + 0.25) - 0.5)}, or predict it with lockstep bench simulate`,
  });
}

function measuredBy(
  { prepared, setting, turns }: Contestant,
  { bytesPerMs, latencyMs }: LinkSpeed,
  computingMs: number,
): Measured {
  const stepMs = median(turns.map(({ wallMs }) => wallMs));
  const bytesUp = median(turns.map(({ bytesUpPerStep }) => bytesUpPerStep));
  const bytesDown = median(turns.map(({ bytesDownPerStep }) => bytesDownPerStep));
  const idealMs = Math.max(computingMs, Math.max(bytesUp, bytesDown) / bytesPerMs) + latencyMs;
  const samplesPerSecond = (1000 * batchOf(prepared, 0).indices.length) / stepMs;
  return { workers: setting.workers, stepMs, samplesPerSecond, bytesUp, bytesDown, computingMs, idealMs };
}

interface NetworkReport
  extends
    ReturnType<typeof describeMachine>,
    Pick<NetworkArguments, 'bandwidth' | 'latency' | 'topology' | 'rounds'> {
  readonly workload: string;
  readonly fanIn: number | undefined;
  readonly results: readonly Measured[];
}

function formatReport(report: NetworkReport): string {
  const { machine, results, rounds, workload } = report;
  const table = newTable([
    workload,
    'samples/s',
    'ms a step',
    'computing',
    'bytes up',
    'bytes down',
    'ideal',
    'ratio',
  ]);
  for (const row of results) {
    table.push([
      countOf(row.workers, 'worker'),
      formatCount(row.samplesPerSecond),
      row.stepMs.toPrecision(3),
      row.computingMs.toPrecision(3),
      formatBytes(Math.round(row.bytesUp)),
      formatBytes(Math.round(row.bytesDown)),
      row.idealMs.toPrecision(3),
      (row.stepMs / row.idealMs).toFixed(2),
    ]);
  }
  return [
    `${machine.cpu}, ${machine.cores} cores, Node.js ${machine.node}; ${describeLinks(report)}; medians of ${countOf(rounds, 'round')}`,
    'ideal: the longer of computing and of moving the bytes of either direction at the coordinator, and once the latency',
    table.toString(),
    '',
  ].join('\n');
}
