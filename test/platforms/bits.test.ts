// The promise across machines: other versions of Node.js and another processor give the same bits, both on
// their own and in one run with this one.
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { runCli } from '../helpers/cli.ts';
import { EVERY_LAYER_SETTINGS, FASHION_CONFIG } from '../helpers/every-layer.ts';
import { startCoordinator, startWorker } from '../helpers/network-run.ts';
import { readBits, readRosterEvents } from '../helpers/run-records.ts';
import { tableRun } from '../helpers/table-run.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

/** Debian's cross libraries. The loader is run by name: with `qemu -L` Node.js 26 never starts. */
const ARM_LIBRARIES = '/usr/aarch64-linux-gnu/lib';
const ARM_EMULATOR = [
  'qemu-aarch64-static',
  `${ARM_LIBRARIES}/ld-linux-aarch64.so.1`,
  '--library-path',
  ARM_LIBRARIES,
];
const DEADLINE_MS = 150_000;

interface Platform {
  readonly name: string;
  /** The command for Node.js. */
  readonly node: readonly string[];
  readonly width?: string;
}

const platforms: readonly Platform[] = [
  { name: 'Node.js 20.15.0 on x86-64', node: [binary('node-20')] },
  { name: 'Node.js 22.2.0 on x86-64', node: [binary('node-22')] },
  // From 24 on V8 can make vectors of 256 bits.
  ...['128', '256'].flatMap((width) => [
    { name: `Node.js 24.21.0 on x86-64, ${width} bits`, node: [binary('node-24')], width },
    { name: `Node.js 26.10.0 on x86-64, ${width} bits`, node: [binary('node-26')], width },
  ]),
  {
    name: 'Node.js 26.10.0 on Arm',
    node: [...(process.arch === 'arm64' ? [] : ARM_EMULATOR), binary('node-26-arm64')],
  },
];

function binary(packageName: string): string {
  return path.join(import.meta.dirname, 'nodes/node_modules', packageName, 'bin/node');
}

/** Why this machine cannot run it; undefined if it can. */
function obstacleTo(node: readonly string[]): string | undefined {
  const [program = '', ...rest] = node;
  const { status, error } = spawnSync(program, [...rest, '-p', '0'], { timeout: 20_000 });
  return status === 0 ? undefined : (error?.message ?? `exit code ${String(status)}`);
}

async function bitsOf(
  args: readonly string[],
  cwd: string,
  { node, width = '' }: Pick<Platform, 'node' | 'width'> = { node: [process.execPath] },
): Promise<ReturnType<typeof readBits>> {
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

describe.each(platforms)('$name', ({ node, width = '' }) => {
  const obstacle = obstacleTo(node);
  const needs = obstacle === undefined ? '' : ` (skipped: ${obstacle})`;

  it.skipIf(obstacle)(
    `another platform trains every kind of layer to the same weights and metrics${needs}`,
    async () => {
      const args = [FASHION_CONFIG, ...EVERY_LAYER_SETTINGS.flatMap((setting) => ['--set', setting])];
      const cwd = temporaryDirectory();
      expect(await bitsOf(args, cwd, { node, width })).toEqual(await bitsOf(args, cwd));
    },
  );

  it.skipIf(obstacle)(`another platform rounds fused products the same way${needs}`, async () => {
    const cwd = tableRun();
    const args = ['table.yaml', '--set', 'numerics=fused'];
    expect(await bitsOf(args, cwd, { node, width })).toEqual(await bitsOf(args, cwd));
  });

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
});
