// `lockstep bench simulate`: what a training step would take in a cluster that is not there, from what
// its parts take here.
import { fanInOf } from '../coordinator/start-compute.ts';
import type { TopologyFlags } from '../coordinator/start-compute.ts';
import { printText, printJson } from '../coordinator/output/results.ts';
import { MAX_WORKERS } from '../src/limits.ts';
import { Screen } from '../src/screen.ts';
import { formatBytes } from '../src/memory.ts';
import { countOf, formatCount } from '../src/printable.ts';
import { collectMessageBuffers } from '../src/protocol/buffer-garbage.ts';
import { describeLinks, parseLink } from './link.ts';
import { describeMachine, newTable } from './report.ts';
import { parseCounts, preparerOf } from './scale.ts';
import type { WorkloadArguments } from './scale.ts';
import { StepCosts } from './step-costs.ts';
import { simulateSteps } from './step-simulation.ts';
import type { Limit, SimulatedSteps } from './step-simulation.ts';

/** Arguments of `lockstep bench simulate`. */
export interface SimulateArguments extends WorkloadArguments, TopologyFlags {
  readonly workers: string;
  readonly threads: number;
  readonly cores?: number;
  readonly bandwidth: string;
  readonly latency: string;
  readonly json?: boolean;
}

/** The prediction for one number of workers. */
interface Predicted extends SimulatedSteps {
  readonly workers: number;
  readonly samplesPerSecond: number;
  readonly speedup: number;
  readonly limit: Limit;
}

/** Measures the parts of a step, simulates each number of workers, and prints the figures. */
export async function benchSimulate(config: string | undefined, args: SimulateArguments): Promise<void> {
  const { bandwidth, cores, latency, threads, topology } = args;
  const link = parseLink(args);
  const fanIn = fanInOf(args);
  const counts = parseCounts('--workers', args.workers, 1, MAX_WORKERS);
  collectMessageBuffers();
  const prepare = await preparerOf(config, args);
  const prepared = await prepare({ workers: 1, threads, link });
  new Screen().write('measuring the parts of a step\n');
  const costs = await StepCosts.measure(prepared);
  const simulate = (workers: number): SimulatedSteps =>
    simulateSteps({ workers, threads, link, fanIn, cores }, costs);
  const alone = simulate(1);
  const results = counts.map((workers): Predicted => {
    const steps = simulate(workers);
    const samplesPerSecond = (1000 * costs.numRows) / steps.stepMs;
    return {
      workers,
      ...steps,
      samplesPerSecond,
      speedup: alone.stepMs / steps.stepMs,
      limit: limitOf(steps),
    };
  });
  const { buckets, numShards, packMs, receiveNoteMs, sendNoteMs } = costs;
  const report = {
    ...describeMachine(prepared.kernelModule.width),
    workload: config ?? args.workload,
    ...{ threads, cores, bandwidth, latency, topology, fanIn, numShards },
    costs: { computeMs: costs.computeMs(1), packMs, sendNoteMs, receiveNoteMs, buckets },
    results,
  };
  await (args.json ? printJson(report) : printText(formatReport(report)));
}

/** The part that is busy for the largest share of the time. */
function limitOf({ busy }: SimulatedSteps): Limit {
  return (Object.keys(busy) as Limit[]).reduce((most, part) => (busy[part] > busy[most] ? part : most));
}

interface SimulateReport
  extends
    ReturnType<typeof describeMachine>,
    Pick<SimulateArguments, 'bandwidth' | 'latency' | 'topology' | 'threads'> {
  readonly workload: string;
  readonly cores: number | undefined;
  readonly fanIn: number | undefined;
  readonly numShards: number;
  readonly results: readonly Predicted[];
}

function formatReport(report: SimulateReport): string {
  const { cores, numShards, results, threads, workload } = report;
  const where = cores === undefined ? 'a machine for each' : `${countOf(cores, 'core')} for all`;
  const table = newTable([
    workload,
    'ms a step',
    'samples/s',
    'speed-up',
    'bytes up',
    'bytes down',
    'busiest',
  ]);
  for (const row of results) {
    table.push([
      countOf(row.workers, 'worker'),
      row.stepMs.toPrecision(3),
      formatCount(row.samplesPerSecond),
      row.speedup.toFixed(2),
      formatBytes(Math.round(row.bytesUp)),
      formatBytes(Math.round(row.bytesDown)),
      `${row.limit} (${(100 * row.busy[row.limit]).toFixed(0)} %)`,
    ]);
  }
  return [
    `${describeLinks(report)}, ${countOf(threads, 'thread')} a worker, ${where}, ${countOf(numShards, 'shard')}`,
    'predicted from the parts of a step, measured on this machine; speed-up over one worker; bytes of a step at the coordinator',
    table.toString(),
    '',
  ].join('\n');
}
