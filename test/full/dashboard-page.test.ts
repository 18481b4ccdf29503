// The dashboard's page in a real browser, where there is one: what it shows is what the run recorded.
import fs from 'node:fs';
import path from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type * as Server from '../../coordinator/dashboard/dashboard-server.ts';
import { formatNumber } from '../../coordinator/dashboard/page/format.ts';
import { HAS_BROWSER, launchBrowser, openPage } from '../helpers/browser.ts';
import { CliProcess } from '../helpers/cli.ts';
import { readRecords, readSummary } from '../helpers/run-records.ts';
import { tableRun } from '../helpers/table-run.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const HOSTILE = `<img src=x onerror=alert(1)><script>alert(2)</script>"'&amp;${'w'.repeat(200)}`;

/** The built server, beside which the built page lies. */
const program = new URL('../../dist/coordinator/dashboard/dashboard-server.js', import.meta.url).href;
const { DashboardServer } = (await import(program)) as typeof Server;

async function untilState(page: Page, state: string): Promise<void> {
  await page.locator('#state', { hasText: new RegExp(`^${state}$`) }).waitFor({ timeout: 30_000 });
}

/** The texts of the figures at the top by their names. */
async function figuresOf(page: Page): Promise<Record<string, string>> {
  const pairs = await page
    .locator('#figures > div')
    .evaluateAll((elements) =>
      elements.map((element) => [
        element.querySelector('dt')?.textContent ?? '',
        element.querySelector('dd')?.firstChild?.textContent ?? '',
      ]),
    );
  return Object.fromEntries(pairs) as Record<string, string>;
}

/** What a screen reader says of each chart. */
function chartsOf(page: Page): Promise<string[]> {
  return page
    .locator('.chart [role=img]')
    .evaluateAll((charts) => charts.map((chart) => chart.ariaLabel ?? ''));
}

/** What the page must say of the charts of a run of a table. */
function expectedCharts(directory: string): string[] {
  const records = readRecords(directory, 'metrics.jsonl');
  const latest = (name: string): string =>
    formatNumber(Number(records.findLast((record) => name in record)?.[name]));
  const metrics = ['rmse', 'mae', 'r2', 'mape'];
  return [
    `Loss by step; latest: train ${latest('train/loss')}, validation ${latest('val/loss')}`,
    `Loss of steps by step; latest: loss ${latest('train/stepLoss')}`,
    ...metrics.map((name) => `Validation ${name} by step; latest: ${name} ${latest(`val/${name}`)}`),
    `Learning rate by step; latest: learning rate ${latest('lr')}`,
    `Norm of the gradient by step; latest: norm ${latest('gradNorm')}`,
  ];
}

describe.skipIf(!HAS_BROWSER)('the dashboard in Chromium', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(() => browser.close());

  it('a page shows the numbers that a run records, while it lasts and at its end, and again after a reload', async () => {
    const cwd = tableRun({ epochs: 300, plots: true });
    const args = ['train', 'table.yaml', '--run-dir', 'run', '--workers', '1', '--dashboard', '0'];
    const command = CliProcess.start(args, { cwd });
    const [, url = ''] = await command.untilStderr(/dashboard on (http:\S+)/);
    const { page, complaints } = await openPage(browser, url);
    await untilState(page, 'running');
    await page.locator('#workers tbody tr').waitFor();
    expect(await page.locator('#workers tbody th').textContent()).toMatch(/^worker 1 \(.+ pid \d+\)$/);
    expect(await page.locator('#timeline svg rect').count()).toBeGreaterThan(0);
    await page.reload();
    await untilState(page, 'running');
    await untilState(page, 'finished');
    expect((await command.finished).exitCode).toBe(0);

    const directory = path.join(cwd, 'run');
    await expect.poll(() => chartsOf(page)).toEqual(expect.arrayContaining(expectedCharts(directory)));
    const summary = readSummary(directory);
    expect(await figuresOf(page)).toMatchObject({
      Epoch: '300 / 300',
      'Training loss': formatNumber(summary.train.loss),
    });
    expect(await page.locator('#summary caption').textContent()).toBe(
      `weights sha256 ${summary.weightsSha256}`,
    );
    const widths = await page
      .locator('#plots img')
      .evaluateAll((images) => images.map((image) => (image as HTMLImageElement).naturalWidth));
    expect(widths.length).toBe(11);
    expect(Math.min(...widths)).toBeGreaterThan(0);
    // The server is gone, and the page knows why.
    expect(await page.locator('#state').textContent()).toBe('finished');
    expect(complaints).toEqual([]);
  });

  it('a page that is left open shows a run that was interrupted and resumes, with what it had recorded before', async () => {
    const cwd = tableRun({ epochs: 2000 });
    const start = (...args: string[]): CliProcess =>
      CliProcess.start(['train', 'table.yaml', '--run-dir', 'run', ...args], { cwd });
    const first = start('--dashboard', '0', '--workers', '1');
    const [, port = ''] = await first.untilStderr(/dashboard on http:\S+:(\d+)/);
    const url = `http://127.0.0.1:${port}/`;
    const { page, complaints } = await openPage(browser, url);
    await page.locator('#events li', { hasText: 'checkpoint' }).first().waitFor();
    first.signal('SIGKILL');
    await first.finished.catch(() => undefined);
    await untilState(page, 'connection lost');
    const numBefore = readRecords(path.join(cwd, 'run'), 'metrics.jsonl').length;
    const again = start('--dashboard', port, '--workers', '1', '--resume', 'last');
    await again.untilStderr(/resuming after step/);
    await untilState(page, 'running');
    await page.locator('#events li', { hasText: 'run resumed' }).waitFor();
    const snapshot = await page.evaluate(
      () =>
        new Promise<{ curves: Record<string, [number, number][]> }>((resolve) => {
          const source = new EventSource('live');
          source.addEventListener('snapshot', (event) => {
            source.close();
            resolve(JSON.parse((event as MessageEvent<string>).data) as never);
          });
        }),
    );
    const steps = snapshot.curves['lr']?.map(([step]) => step) ?? [];
    expect(steps.length).toBeGreaterThan(0);
    expect(steps).toEqual(steps.map((_, index) => index + 1));
    expect(numBefore).toBeGreaterThan(0);
    again.signal('SIGINT');
    await again.finished;
    const known = /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET/;
    expect(complaints.filter((complaint) => !known.test(complaint))).toEqual([]);
  });

  it('the report of a run opens from a disk, with all its plots and without a request', async () => {
    const cwd = tableRun({ plots: true });
    const { exitCode } = await CliProcess.start(['train', 'table.yaml', '--run-dir', 'run'], { cwd })
      .finished;
    expect(exitCode).toBe(0);
    const url = `file://${cwd}/run/report.html`;
    const requests: string[] = [];
    const page = await browser.newPage({ viewport: { width: 360, height: 740 } });
    onTestFinished(() => page.close());
    const complaints: string[] = [];
    page.on('request', (request) => requests.push(request.url().slice(0, 5)));
    page.on('console', (message) => complaints.push(message.text()));
    await page.goto(url);
    const widths = await page
      .locator('img')
      .evaluateAll((images) => images.map((image) => (image as HTMLImageElement).naturalWidth));
    expect(widths.length).toBe(11);
    expect(Math.min(...widths)).toBeGreaterThan(0);
    expect(new Set(requests)).toEqual(new Set(['file:']));
    const [needed, there] = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      window.innerWidth,
    ]);
    expect(needed).toBe(there);
    expect(complaints).toEqual([]);
  });

  it('names from others are text on the page, which fits a phone', async () => {
    const directory = temporaryDirectory();
    const lines = (records: readonly object[]): string =>
      records.map((record) => `${JSON.stringify(record)}\n`).join('');
    fs.writeFileSync(
      path.join(directory, 'config.yaml'),
      `name: ${JSON.stringify(HOSTILE)}\nepochs: 2\nbatchSize: 10\n`,
    );
    fs.writeFileSync(
      path.join(directory, 'metrics.jsonl'),
      lines([{ _step: 1, epoch: 1, lr: 0.1, [`val/${HOSTILE}`]: 3 }]),
    );
    const event = { time: HOSTILE, worker: 1, name: HOSTILE, reason: HOSTILE };
    const types = ['workerJoined', 'workerLeft', 'workerBanned', HOSTILE, '__proto__'];
    fs.writeFileSync(path.join(directory, 'events.jsonl'), lines(types.map((type) => ({ ...event, type }))));
    fs.mkdirSync(path.join(directory, 'plots'));
    fs.writeFileSync(path.join(directory, 'plots', '"><img src=x onerror=alert(3)>.svg'), '');
    fs.writeFileSync(
      path.join(directory, 'summary.json'),
      JSON.stringify({
        train: { [HOSTILE]: 1 },
        test: { topK: { k: 3, accuracy: 0.5 }, macro: { f1: 0.25 } },
        weightsSha256: HOSTILE,
      }),
    );
    const server = await DashboardServer.open(
      { host: '127.0.0.1', port: 0 },
      { info: () => undefined, warn: () => undefined },
    );
    onTestFinished(() => server.close());
    server.show(directory);
    const { page, complaints } = await openPage(browser, `http://127.0.0.1:${server.port}/`, {
      width: 360,
      height: 740,
    });
    await page.locator('#events li').first().waitFor();
    const counters = { tasks: 3, shards: 9, computeMs: 5, bytesReceived: 1, bytesSent: 1, failures: 1 };
    server.setActivity({
      workers: [{ worker: 1, name: HOSTILE, address: HOSTILE, threads: 1, sharesMemory: false, ...counters }],
      threads: [],
      step: {
        step: 1,
        wallMs: 3,
        tasks: [{ worker: 1, from: 0, to: 8, sentMs: 0, firstSumMs: 1, lastSumMs: 2 }],
      },
    });
    await page.locator('#workers tbody tr').waitFor();
    expect(await page.locator('#name').textContent()).toBe(HOSTILE);
    expect(await page.locator('#workers tbody th').textContent()).toBe(HOSTILE);
    expect(await page.locator('#timeline title').textContent()).toBe(`${HOSTILE}: shards 0 to 7`);
    expect(await page.locator('#events li').count()).toBe(5);
    // The time of an event may be no time either.
    expect(await page.locator('#events time').allTextContents()).toEqual(Array(5).fill('–'));
    expect(await page.locator('#summary tbody th').allTextContents()).toEqual([HOSTILE, 'top3', 'macro/f1']);
    expect(await page.locator('img').count()).toBe(0);
    expect(await page.locator('script').count()).toBe(1);
    const [needed, there] = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      window.innerWidth,
    ]);
    expect(needed).toBe(there);
    expect(complaints).toEqual([]);
  });

  it('a page beyond this machine is opened with the token once, and the address then has none', async () => {
    const directory = temporaryDirectory();
    fs.writeFileSync(path.join(directory, 'config.yaml'), 'name: secret\nepochs: 2\nbatchSize: 10\n');
    const token = 'a-secret-of-32-characters-in-all';
    const server = await DashboardServer.open(
      { host: '0.0.0.0', port: 0, token },
      { info: () => undefined, warn: () => undefined },
    );
    onTestFinished(() => server.close());
    server.show(directory);
    const url = `http://127.0.0.1:${server.port}/`;
    const { page, complaints } = await openPage(browser, `${url}?token=${token}`);
    await page.locator('#name', { hasText: 'secret' }).waitFor();
    expect(page.url()).toBe(url);
    await page.reload();
    await page.locator('#name', { hasText: 'secret' }).waitFor();
    expect(complaints).toEqual([]);
  });
});
