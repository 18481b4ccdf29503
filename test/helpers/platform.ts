// Another version of Node.js, or another processor: it gives the same bits as this one, both on its own and
// in one run with it.
import { execFile, spawnSync } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { ROOT, runCli } from './cli.ts';
import { EVERY_LAYER_SETTINGS, FASHION_CONFIG } from './every-layer.ts';
import { startCoordinator, startWorker } from './network-run.ts';
import { readBits, readRosterEvents } from './run-records.ts';
import { tableRun } from './table-run.ts';
import { temporaryDirectory } from './temporary-directory.ts';
import { expectUndisturbedEnd } from './undisturbed.ts';

const DEADLINE_MS = 150_000;

/** A Node.js to compare with this one. */
interface Platform {
  /** The command for it. */
  readonly node: readonly string[];
  readonly width?: string;
}

type Bits = ReturnType<typeof readBits>;

/** The Node.js of a package of test/platforms/nodes. */
export function binary(packageName: string): string {
  return path.join(ROOT, 'test/platforms/nodes/node_modules', packageName, 'bin/node');
}

/** Why this machine cannot run it; undefined if it can. */
function obstacleTo(node: readonly string[]): string | undefined {
  const [program = '', ...rest] = node;
  const { status, error } = spawnSync(program, [...rest, '-p', '0'], { timeout: 20_000 });
  return status === 0 ? undefined : (error?.message ?? `exit code ${String(status)}`);
}

/** The bits of trainings on this Node.js, by the arguments of `train`. */
const bitsHere = new Map<string, Promise<Bits>>();

/** Asserts that another Node.js gives the bits of this one. */
async function expectBitsOfThisOne(args: readonly string[], cwd: string, platform: Platform): Promise<void> {
  const key = args.join(' ');
  const here = bitsHere.get(key) ?? bitsOf(args, cwd, { node: [process.execPath] });
  bitsHere.set(key, here);
  expect(await bitsOf(args, cwd, platform)).toEqual(await here);
}

/** The bits of a training that computes in the process of a Node.js. */
export async function bitsOf(
  args: readonly string[],
  cwd: string,
  { node, width = '' }: Platform,
): Promise<Bits> {
  const directory = path.join(temporaryDirectory(), 'run');
  const flags = ['--set', 'plots=false', '--workers', '0', '--run-dir', directory];
  const { exitCode, stderr } = await runCli(['train', ...args, ...flags], {
    cwd,
    node,
    env: { LOCKSTEP_KERNEL_WIDTH: width },
    deadlineMs: DEADLINE_MS,
  });
  expect(exitCode, stderr).toBe(0);
  return readBits(directory);
}

/** The output of examples/engine/train.mjs. */
async function runLoop({ node, width = '' }: Platform): Promise<string> {
  const [program = '', ...args] = node;
  const example = path.join(ROOT, 'examples/engine/train.mjs');
  const env = { ...process.env, LOCKSTEP_KERNEL_WIDTH: width };
  const options = { cwd: temporaryDirectory(), env, timeout: DEADLINE_MS };
  return (await promisify(execFile)(program, [...args, example, '5'], options)).stdout;
}

/** The tests of another platform, which are skipped, by name, where this machine cannot run it. */
export function testPlatform(platform: Platform): void {
  const { node, width = '' } = platform;
  const obstacle = obstacleTo(node);
  const needs = obstacle === undefined ? '' : ` (skipped: ${obstacle})`;

  it.skipIf(obstacle)(
    `another platform trains every kind of layer to the same weights and metrics${needs}`,
    async () => {
      const args = [FASHION_CONFIG, ...EVERY_LAYER_SETTINGS.flatMap((setting) => ['--set', setting])];
      await expectBitsOfThisOne(args, temporaryDirectory(), platform);
    },
  );

  it.skipIf(obstacle)(`another platform rounds fused products the same way${needs}`, async () => {
    await expectBitsOfThisOne(['table.yaml', '--set', 'numerics=fused'], tableRun(), platform);
  });

  it.skipIf(obstacle)(
    `another platform trains by a loss of a program's own to the same weights and metrics${needs}`,
    async () => {
      const [here, there] = await Promise.all([runLoop({ node: [process.execPath] }), runLoop(platform)]);
      expect(there).toBe(here);
      expect(here).toMatch(/^weights sha256 [0-9a-f]{64}$/m);
    },
  );

  it.skipIf(obstacle)(
    `a worker on another platform computes the same sums as one on this machine, byte for byte${needs}`,
    async () => {
      const config = { audit: 1, epochs: 2 };
      const run = await startCoordinator({
        config,
        flags: ['--min-workers', '2'],
        cli: { deadlineMs: DEADLINE_MS },
      });
      const here = startWorker(run, run.url, { deadlineMs: DEADLINE_MS });
      const there = startWorker(run, run.url, {
        node,
        env: { LOCKSTEP_KERNEL_WIDTH: width },
        deadlineMs: DEADLINE_MS,
      });
      await expectUndisturbedEnd(run, config);
      for (const worker of [here, there]) expect((await worker.finished).exitCode).toBe(0);
      const types = readRosterEvents(run.directory).map((event) => event.split(' ')[0]);
      expect(types).toEqual(['workerJoined', 'workerJoined', 'workerLeft', 'workerLeft']);
    },
  );
}
