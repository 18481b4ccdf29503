// The promise across programs: a tab of Chromium computes the bits of Node.js.
import path from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HAS_BROWSER, launchBrowser, linkOf, openPage } from '../helpers/browser.ts';
import { CliProcess } from '../helpers/cli.ts';
import { EVERY_LAYER_SETTINGS, FASHION_CONFIG } from '../helpers/every-layer.ts';
import { networkDirectory, startCoordinator, startWorker } from '../helpers/network-run.ts';
import { bitsOf } from '../helpers/platform.ts';
import { readBits, readRosterEvents } from '../helpers/run-records.ts';
import { tableRun } from '../helpers/table-run.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

const DEADLINE_MS = 150_000;
const needs = HAS_BROWSER ? '' : ' (skipped: no Chromium)';

describe.skipIf(!HAS_BROWSER)(`Chromium${needs}`, () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(() => browser.close());

  /** Asserts that a tab, which alone computes all gradients and outputs, gives the bits of this Node.js. */
  async function expectBitsOfNode(args: readonly string[], cwd: string): Promise<void> {
    const directory = path.join(networkDirectory(), 'run');
    const flags = ['--listen', '127.0.0.1:0', '--token-file', path.join(directory, '../token.txt')];
    const command = CliProcess.start(
      [
        ...['coordinator', ...args, ...flags],
        ...['--browser-workers', '--set', 'plots=false', '--run-dir', directory],
      ],
      { cwd, deadlineMs: DEADLINE_MS },
    );
    const { complaints } = await openPage(browser, await linkOf({ command }));
    const { exitCode, stderr } = await command.finished;
    expect(exitCode, stderr).toBe(0);
    expect(complaints).toEqual([]);
    expect(readBits(directory)).toEqual(await bitsOf(args, cwd, { node: [process.execPath] }));
  }

  it('a tab trains every kind of layer to the same weights and metrics', async () => {
    const settings = EVERY_LAYER_SETTINGS.flatMap((setting) => ['--set', setting]);
    await expectBitsOfNode([FASHION_CONFIG, ...settings], networkDirectory());
  });

  it('a tab rounds fused products the same way', async () => {
    await expectBitsOfNode(['table.yaml', '--set', 'numerics=fused'], tableRun());
  });

  it('a tab computes the same sums as a worker of Node.js, byte for byte', async () => {
    const config = { audit: 1, epochs: 4 };
    const run = await startCoordinator({
      config,
      flags: ['--min-workers', '2', '--browser-workers'],
      cli: { deadlineMs: DEADLINE_MS },
    });
    const worker = startWorker(run, run.url, { deadlineMs: DEADLINE_MS });
    await openPage(browser, await linkOf(run));
    await expectUndisturbedEnd(run, config);
    expect((await worker.finished).exitCode).toBe(0);
    const types = readRosterEvents(run.directory).map((event) => event.split(' ')[0]);
    expect(types).toEqual(['workerJoined', 'workerJoined', 'workerLeft', 'workerLeft']);
  });
});
