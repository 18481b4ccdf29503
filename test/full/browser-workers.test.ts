// Tabs of a real browser as workers, where there is one: the run has the weights of one without them, whatever
// happens to the tabs.
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { HAS_BROWSER, launchBrowser, linkOf, openPage } from '../helpers/browser.ts';
import { Authority } from '../helpers/certificates.ts';
import { CliProcess } from '../helpers/cli.ts';
import { networkDirectory, startCoordinator, startWorker, TOKEN } from '../helpers/network-run.ts';
import type { CoordinatorSettings, NetworkRun } from '../helpers/network-run.ts';
import {
  readRecords,
  readRosterEvents,
  until,
  untilEpoch,
  untilSaved,
  workerPids,
} from '../helpers/run-records.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';
import { expectUndisturbedEnd } from '../helpers/undisturbed.ts';

const DEADLINE_MS = 100_000;
/** Long enough for faults in the middle. */
const LONG = { epochs: 60 };

function startRun({ flags = [], ...settings }: CoordinatorSettings = {}): Promise<NetworkRun> {
  const cli = { deadlineMs: DEADLINE_MS };
  return startCoordinator({ cli, ...settings, flags: ['--browser-workers', ...flags] });
}

/** Passes on connections to a port, as long as it may. */
async function startProxy(port: number): Promise<{ readonly port: number; cut(): void }> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((client) => {
    const upstream = net.connect(port, '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => [client, upstream].forEach((either) => either.destroy()));
    }
    client.pipe(upstream).pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cut = (): void => sockets.forEach((socket) => socket.destroy());
  onTestFinished(() => {
    cut();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, cut };
}

const joinedTabs = (directory: string): string[] =>
  readRecords(directory, 'events.jsonl')
    .filter(({ type, name }) => type === 'workerJoined' && String(name).includes('browser'))
    .map(({ name }) => String(name));

describe.skipIf(!HAS_BROWSER)('browser workers', () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(() => browser.close());

  const openTab = (link: string, context?: BrowserContext): ReturnType<typeof openPage> =>
    openPage(context ?? browser, link);

  const untilState = (page: Page, text: string | RegExp): Promise<void> =>
    page.locator('#state').filter({ hasText: text }).waitFor();

  it('two tabs and a worker of Node.js train to the weights of one process', async () => {
    const config = { epochs: 10 };
    const run = await startRun({ config, flags: ['--min-workers', '3'] });
    const worker = startWorker(run, run.url, { deadlineMs: DEADLINE_MS });
    const link = await linkOf(run);
    const tabs = [await openTab(link), await openTab(link)];
    await expectUndisturbedEnd(run, config);
    expect((await worker.finished).exitCode).toBe(0);
    for (const { page, complaints } of tabs) {
      await untilState(page, 'the run is over');
      expect(await page.locator('#events li').first().textContent()).toMatch(/ is done$/);
      expect(complaints).toEqual([]);
    }
    const names = joinedTabs(run.directory);
    expect(names).toHaveLength(2);
    for (const name of names)
      expect(name).toMatch(/^worker \d \(browser-[0-9a-f]{4}\/1 browser Chrome \d+\)$/);
  });

  it('a tab alone trains to the weights of one process, with fused products too', async () => {
    const config = { epochs: 6, numerics: 'fused' } as const;
    const run = await startRun({ config });
    const { page } = await openTab(await linkOf(run));
    await expectUndisturbedEnd(run, config);
    await untilState(page, 'the run is over');
  });

  it('a tab gets the rows of a streamed dataset with its tasks, and computes the same weights', async () => {
    const config = { epochs: 4 };
    const streamed = await startRun({ config, flags: ['--set', 'data.stream=true'] });
    await openTab(await linkOf(streamed));
    await expectUndisturbedEnd(streamed, config);
  });

  it('a run goes on to the same weights when a tab is closed, loaded again, or loses its connection', async () => {
    const run = await startRun({ config: LONG });
    const worker = startWorker(run, run.url, { deadlineMs: DEADLINE_MS });
    const link = new URL(await linkOf(run));
    const proxy = await startProxy(Number(link.port));
    const closed = await openTab(link.href);
    await until(() => joinedTabs(run.directory).length === 1, run.command, 'a tab joined');
    await untilState(closed.page, 'computing');
    await closed.page.close();
    const loaded = await openTab(link.href);
    await until(() => joinedTabs(run.directory).length === 2, run.command, 'another tab joined');
    await loaded.page.reload();
    await until(() => joinedTabs(run.directory).length === 3, run.command, 'it joined again');
    link.port = String(proxy.port);
    const cut = await openTab(link.href);
    await until(() => joinedTabs(run.directory).length === 4, run.command, 'a tab joined by the proxy');
    proxy.cut();
    await until(() => joinedTabs(run.directory).length === 5, run.command, 'it has connected again');
    expect(await cut.page.locator('#events').textContent()).toMatch(
      /session ended: connection closed \(code 1006\); connecting again in \d\.\d s/,
    );
    await expectUndisturbedEnd(run, LONG);
    expect((await worker.finished).exitCode).toBe(0);
  });

  it('a tab leaves politely when it is told to, and joins again', async () => {
    const run = await startRun({ config: LONG });
    const { page } = await openTab(await linkOf(run));
    await untilEpoch(run.command, run.directory, 1);
    await page.locator('#toggle').click();
    await untilState(page, 'not taking part');
    await expect.poll(() => run.command.stderr).toMatch(/browser Chrome \d+\) left: it said goodbye/);
    await page.locator('#toggle').click();
    await until(() => joinedTabs(run.directory).length === 2, run.command, 'it joined again');
    await expectUndisturbedEnd(run, LONG);
  });

  it('a tab says what it waits for while a run has too few workers', async () => {
    const run = await startRun({ config: { epochs: 1 }, flags: ['--min-workers', '2'] });
    const { page } = await openTab(await linkOf(run));
    await untilState(page, 'waiting for the coordinator, which has sent no task yet');
    startWorker(run, run.url, { deadlineMs: DEADLINE_MS });
    await expectUndisturbedEnd(run, { epochs: 1 });
  });

  it('a page uses as many cores as it is told to', async () => {
    const run = await startRun({ config: LONG });
    const { page } = await openTab(await linkOf(run));
    await until(() => joinedTabs(run.directory).length === 1, run.command, 'a tab joined');
    await page.locator('#cores').fill('2');
    await page.locator('#cores').blur();
    await until(() => joinedTabs(run.directory).length === 2, run.command, 'its second worker joined');
    const [first, second] = joinedTabs(run.directory).map((name) => / \((\S+)\/(\d) /.exec(name)?.slice(1));
    expect([first?.[0], second?.[1]]).toEqual([second?.[0], '2']);
    await page.locator('#cores').fill('1');
    await page.locator('#cores').blur();
    await expect.poll(() => readRosterEvents(run.directory)).toContain('workerLeft 2');
    await expectUndisturbedEnd(run, LONG);
  });

  it('a tab waits for a coordinator that is started again, and goes on with its run', async () => {
    const cwd = networkDirectory(LONG);
    const first = await startRun({ cwd });
    const link = new URL(await linkOf(first));
    const { page } = await openTab(link.href);
    await untilSaved(first.command, first.directory);
    first.command.signal('SIGKILL');
    await first.command.finished;
    await expect.poll(() => page.locator('#events').textContent()).toMatch(/cannot reach 127\.0\.0\.1:\d+/);
    const second = await startRun({ cwd, port: Number(link.port), flags: ['--resume', 'last'] });
    const { exitCode, stderr } = await second.command.finished;
    expect(exitCode, stderr).toBe(0);
    expect(stderr).toMatch(/browser Chrome \d+\) joined/);
    await untilState(page, 'the run is over');
  });

  it('a tab with a wrong token says so, and joins with the right one', async () => {
    const config = { epochs: 4 };
    const run = await startRun({ config });
    const { page } = await openTab((await linkOf(run)).replace(TOKEN, 'a-token-of-another-run'));
    await untilState(page, 'stopped');
    const { host } = new URL(run.url);
    expect(await page.locator('#message').textContent()).toBe(
      `${host} does not accept the token of this link`,
    );
    expect(await page.evaluate(() => location.href)).toBe(`http://${host}/join`);
    await page.locator('#token').fill(TOKEN);
    await page.locator('#token-form button').click();
    await expectUndisturbedEnd(run, config);
  });

  it('a tab has the name of its token where workers have tokens of their own', async () => {
    const config = { epochs: 4 };
    const run = await startRun({
      config,
      flags: ['--worker-tokens', 'tokens.txt'],
      files: { 'tokens.txt': 'laptop 9f86d081+884c/7d65&9a2=feaa0%c5\n' },
    });
    await openTab((await linkOf(run)).replace(TOKEN, '9f86d081+884c/7d65&9a2=feaa0%c5'));
    await expectUndisturbedEnd(run, config);
    expect(joinedTabs(run.directory)).toEqual([
      expect.stringMatching(/^worker 1 \(laptop browser Chrome \d+\)$/),
    ]);
  });

  it('a page of another version of the program says that it has to be loaded again', async () => {
    const run = await startRun({ config: { epochs: 1 } });
    const page = await browser.newPage();
    onTestFinished(() => page.close());
    await page.route('**/kernels-strict.wasm', async (route) => {
      const kernels = await (await route.fetch()).body();
      // With an empty section that names itself "w".
      await route.fulfill({ body: Buffer.concat([kernels, Buffer.of(0, 2, 1, 0x77)]) });
    });
    await page.goto(await linkOf(run));
    await untilState(page, 'stopped');
    expect(await page.locator('#message').textContent()).toMatch(
      /^the coordinator refused this worker: worker has strict kernels [0-9a-f]{12}, coordinator [0-9a-f]{12}: install the same version on both/,
    );
    expect(await page.locator('#help').textContent()).toBe(
      'this page is of another version of the program: reload it',
    );
  });

  it('a page of another origin cannot make its visitor a worker', async () => {
    const run = await startRun({ config: { epochs: 1 } });
    const server = http.createServer((_, response) => {
      response.setHeader('Content-Type', 'text/html').end('<!doctype html><link rel="icon" href="data:,">');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const { page } = await openTab(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    const subprotocol = `lockstep.token.${Buffer.from(TOKEN).toString('hex')}`;
    const outcome = await page.evaluate(
      ({ url, subprotocols }) =>
        new Promise((resolve) => {
          const socket = new WebSocket(url, subprotocols);
          socket.onopen = () => resolve('open');
          socket.onclose = () => resolve('refused');
        }),
      { url: run.url, subprotocols: ['lockstep.v1', subprotocol] },
    );
    expect(outcome).toBe('refused');
    await run.command.untilStderr(/turned away: the page of another origin cannot be a worker/);
  });

  it('a tab works over TLS, and at a path of its own that a proxy has', async () => {
    const config = { epochs: 4 };
    const authority = new Authority(temporaryDirectory());
    const { certFile, keyFile } = authority.sign('IP:127.0.0.1');
    const tls = ['--tls-cert', certFile, '--tls-key', keyFile];
    const secure = await startRun({ config, flags: tls });
    const link = await linkOf(secure);
    expect(link).toMatch(/^https:/);
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    onTestFinished(() => context.close());
    await openTab(link.replace('/join', '/a/path/join'), context);
    await expectUndisturbedEnd(secure, config);
  });

  it('train --browser-workers trains with this machine and the tabs that open its link', async () => {
    const cwd = networkDirectory(LONG);
    const directory = path.join(cwd, 'run');
    const flags = ['--browser-workers', '--listen', '127.0.0.1:0', '--run-dir', directory];
    const command = CliProcess.start(['train', 'table.yaml', ...flags], { cwd, deadlineMs: DEADLINE_MS });
    const link = await linkOf({ command });
    expect(link).toMatch(/#token=[\w-]{43}$/);
    await openTab(link);
    await expectUndisturbedEnd({ command, directory }, LONG);
    expect(joinedTabs(directory)).toHaveLength(1);
    expect([...workerPids(directory).values()].filter((pid) => pid > 0)).toHaveLength(1);
    // The link, and so the token, is on the screen alone.
    const kept = fs
      .readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => fs.readFileSync(path.join(entry.parentPath, entry.name), 'latin1'));
    expect(kept.join('')).toContain('browser Chrome');
    expect(kept.join('')).not.toContain(link.split('=')[1]);
  });
});
