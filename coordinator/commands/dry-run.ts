// `--dry-run`: every check of a run that can be made before it takes any time or leaves a file behind.
import type { Config } from '../../src/config/schema.ts';
import { numBatches } from '../../src/data/dataset/split.ts';
import { blobByteLength } from '../../src/data/dataset/packed-dataset.ts';
import { formatShape } from '../../src/shape.ts';
import { formatBytes } from '../../src/memory.ts';
import { reportConfig } from '../../src/inspect/data-report.ts';
import { formatModel, formatReport } from '../output/data-tables.ts';
import { findResumeSource, readSource, restoreCheckpoint } from '../persistence/resume.ts';
import { runIdentity } from '../persistence/run-identity.ts';
import { totalOf } from '../training/memory-plan.ts';
import type { MemoryUses } from '../training/memory-plan.ts';
import type { LocalCompute } from '../training/memory-plan.ts';
import type { PreparedRun } from '../training/prepare.ts';
import { initialState, prepareRun } from '../training/prepare.ts';
import { stepsPerEpoch } from '../training/train.ts';
import { stepsDone } from '../training/training-progress.ts';
import { countOf } from '../../src/printable.ts';

/** The settings of a dry run: those of the run. */
export interface DryRunOptions {
  readonly config: Config;
  readonly runDirectory: string | undefined;
  readonly resume: string | undefined;
  readonly allowOlder: boolean;
  readonly local: LocalCompute | undefined;
  readonly warn: (message: string) => void;
  /** Characters of a line; default: 100. */
  readonly width?: number | undefined;
}

/** Describes the plan of the run. @throws LockstepError for everything that the run would be refused for. */
export async function dryRun({ config, warn, ...options }: DryRunOptions): Promise<string> {
  const { allowOlder, local, resume, runDirectory, width = MAX_WIDTH } = options;
  const prepared = await prepareRun(config, warn, { local });
  const state = await initialState(prepared);
  const report = await reportConfig(config, prepared.data);
  const plan = `${formatReport(report, width)}\n${formatModel(prepared.model)}\n${describePlan(prepared)}`;
  if (resume === undefined) return plan;
  const mirror = config.checkpoint ? config.checkpoint.mirror : undefined;
  const source = await findResumeSource({ resume, runDirectory, name: config.name, mirror });
  const found = source && (await readSource(source, { allowOlder, warn: (_, message) => warn(message) }));
  if (!found) return `${plan}resume   nothing: there is no checkpoint yet\n`;
  const run = { identity: runIdentity(prepared), stepsPerEpoch: stepsPerEpoch(prepared) };
  const { progress } = restoreCheckpoint(found, state, run);
  const step = stepsDone(progress, run.stepsPerEpoch).toLocaleString('en-US');
  return `${plan}resume   after step ${step}, from ${found.path}\n`;
}

/** Indentation of the words of a line. */
const MARGIN = ' '.repeat(9);
const MAX_WIDTH = 100;

/** Data, model, steps and memory of a prepared run, ending in a newline. */
function describePlan({ config, data, model, memoryPlan }: PreparedRun): string {
  const { splits, dataset } = data;
  const { train, validation, test } = splits;
  const steps = numBatches(train.length, config.batchSize);
  const count = (value: number): string => value.toLocaleString('en-US');
  const { worker, threads, here, beside, room, wantedSums } = memoryPlan;
  const withThreads = `with ${threads === 1 ? 'one thread' : `${threads} threads`}`;
  return [
    `data     ${count(train.length)} training, ${count(validation.length)} validation, ${count(test.length)} test rows`,
    `         samples of ${formatShape(dataset.layout.featureShape)}, dataset ${formatBytes(blobByteLength(dataset.layout))}, sha256 ${dataset.sha256.slice(0, 16)}`,
    `steps    ${count(steps)} an epoch, ${count(config.epochs)} epochs, batch ${count(config.batchSize)} in ${countOf(config.shards, 'shard')}`,
    ...(worker ? describeUses('worker', withThreads, worker) : []),
    ...describeUses('here', worker ? 'in all' : withThreads, { ...here, ...beside }),
    ...(room.here < wantedSums
      ? [
          `${MARGIN}(of ${wantedSums} sums that may wait for their neighbours: so fewer tasks go out at a time)`,
        ]
      : []),
    `wire     ${countOf(model.buckets.length, 'bucket')} of the weights`,
    '',
  ].join('\n');
}

/** The most that a process takes, and of what, the largest first. */
function describeUses(who: string, how: string, uses: MemoryUses): string[] {
  const lines = [`${who.padEnd(MARGIN.length)}up to ${formatBytes(totalOf(uses))} ${how}:`];
  const parts = Object.entries(uses)
    .filter(([, bytes]) => bytes > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([name, bytes]) => `${name} ${formatBytes(bytes)}`);
  for (const [index, part] of parts.entries()) {
    const text = index < parts.length - 1 ? `${part},` : part;
    const longer = `${lines.at(-1)} ${text}`;
    if (longer.length <= MAX_WIDTH) lines[lines.length - 1] = longer;
    else lines.push(`${MARGIN}${text}`);
  }
  return lines;
}
