// Medians and tables of all benchmarks, and the figures of `lockstep bench train`, as they are stored and
// as a person reads them.
import os from 'node:os';
import Table from 'cli-table3';
import type { KernelWidth } from '../src/kernels/kernel-width.ts';
import type { Numerics } from '../src/kernels/kernels.ts';
import { formatCount } from '../src/printable.ts';
import { VERSION } from '../src/version.ts';

/** A plain table with this head, one row a `push`. */
export function newTable(head: string[]): Table.Table {
  return new Table({ head, style: { head: [], border: [], compact: true } });
}

/** The speed of one contender. */
export interface Speed {
  readonly name: string;
  readonly version: string;
  /** Median over the rounds. */
  readonly samplesPerSecond: number;
  /** Samples per second of each round. */
  readonly rounds: readonly number[];
}

/** The speed of `ours` divided by that of `other`, over rounds in which both were measured. */
export interface Ratio {
  readonly ours: string;
  readonly other: string;
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

/** The figures of one workload. */
export interface WorkloadReport {
  readonly workload: string;
  readonly speeds: readonly Speed[];
  /** Peers that are installed but could not train this model. */
  readonly failed: readonly { readonly name: string; readonly reason: string }[];
  readonly ratios: readonly Ratio[];
}

interface MachineReport {
  readonly date: string;
  readonly lockstep: string;
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryGiB: number;
    readonly platform: string;
    readonly node: string;
    readonly kernelWidth: KernelWidth;
  };
}

/** The report that `--json` prints and `--save` stores. */
export interface TrainReport extends MachineReport {
  /** The build of our kernels. */
  readonly numerics: Numerics;
  readonly rounds: number;
  readonly seconds: number;
  /** Peers that are not installed. */
  readonly absent: readonly { readonly name: string; readonly skipped: string }[];
  readonly workloads: readonly WorkloadReport[];
}

/** The date and the machine of the figures. */
export function describeMachine(kernelWidth: KernelWidth): MachineReport {
  return {
    date: new Date().toISOString(),
    lockstep: VERSION,
    machine: {
      cpu: os.cpus()[0]?.model ?? 'unknown',
      cores: os.availableParallelism(),
      memoryGiB: Math.round(os.totalmem() / 2 ** 30),
      platform: `${process.platform} ${process.arch}`,
      node: process.version,
      kernelWidth,
    },
  };
}

/** A name like `2026-11-22-amd-epyc-2-cores-node-20-strict.json`, with the workload if only one was run. */
export function fileName({ date, machine, numerics }: TrainReport, workload: string | undefined): string {
  const { cpu, cores, node } = machine;
  const [version] = node.split('.');
  const words = `${cpu} ${cores} cores node ${version?.slice(1)} ${numerics} ${workload ?? ''}`.toLowerCase();
  return `${date.slice(0, 10)}-${words.match(/[a-z0-9]+/g)?.join('-')}.json`;
}

/** Tables of speeds and ratios. */
export function formatReport({
  date,
  lockstep,
  machine,
  numerics,
  rounds,
  seconds,
  absent,
  workloads,
}: TrainReport): string {
  const { cpu, cores, memoryGiB, platform, node, kernelWidth } = machine;
  return [
    `lockstep ${lockstep}, ${cpu}, ${cores} cores, ${memoryGiB} GiB, ${platform}, Node.js ${node}, ${kernelWidth}-bit vectors, ${date}`,
    `samples/s with ${numerics} kernels, medians of ${rounds} rounds of ${seconds} s by turns; ratios are medians of each round's, with their range`,
    ...workloads.flatMap(formatWorkload),
    ...absent.map(({ name, skipped }) => `${name} skipped: ${skipped}`),
    '',
  ].join('\n');
}

function formatWorkload({ workload, speeds, failed, ratios }: WorkloadReport): string[] {
  const speedTable = newTable([workload, 'version', 'samples/s']);
  for (const { name, version, samplesPerSecond } of speeds) {
    speedTable.push([name, version, formatCount(samplesPerSecond)]);
  }
  const ratioTable = newTable(['ratio', 'median', 'range']);
  for (const { ours, other, median, least, most } of ratios) {
    ratioTable.push([`${ours} / ${other}`, median.toFixed(2), `${least.toFixed(2)} to ${most.toFixed(2)}`]);
  }
  const failures = failed.map(({ name, reason }) => `${name} cannot train ${workload}: ${reason}`);
  return ['', speedTable.toString(), ratioTable.toString(), ...failures];
}
