// The dashboard as a client of HTTP sees it: what it serves, to whom, and that no run depends on it.
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type * as Server from '../../coordinator/dashboard/dashboard-server.ts';
import type { DashboardAddress } from '../../coordinator/dashboard/dashboard-server.ts';
import type { DashboardSnapshot, DashboardUpdate } from '../../coordinator/dashboard/dashboard-state.ts';
import { CliProcess, runCli } from '../helpers/cli.ts';
import { readEvents } from '../helpers/event-stream.ts';
import { readRecords, readSummary } from '../helpers/run-records.ts';
import { tableRun } from '../helpers/table-run.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const TOKEN = 'a-secret-of-32-characters-in-all';

/** The built server, beside which the built page lies. */
const program = new URL('../../dist/coordinator/dashboard/dashboard-server.js', import.meta.url).href;
const { DashboardServer } = (await import(program)) as typeof Server;

/** A recorded run, and a server that shows it. */
async function serve(options: Partial<DashboardAddress> = {}) {
  const directory = temporaryDirectory();
  const warnings: string[] = [];
  fs.writeFileSync(path.join(directory, 'config.yaml'), 'name: shown\nepochs: 2\nbatchSize: 10\n');
  fs.writeFileSync(path.join(directory, 'metrics.jsonl'), '{"_step":1,"epoch":1,"lr":0.1}\n');
  const address = { host: '127.0.0.1', port: 0, ...options };
  let [numWatchers, noteWatchers] = [0, (): void => undefined];
  const server = await DashboardServer.open(address, {
    info: () => undefined,
    warn: (message) => warnings.push(message),
    onWatchers: (count) => {
      numWatchers = count;
      noteWatchers();
    },
  });
  const untilWatchers = (count: number): Promise<void> =>
    new Promise((resolve) => {
      noteWatchers = () => numWatchers === count && resolve();
      noteWatchers();
    });
  onTestFinished(() => server.close());
  server.show(directory);
  return { directory, warnings, server, untilWatchers, url: `http://127.0.0.1:${server.port}` };
}

function statusOf(url: string, init: RequestInit = {}): Promise<number> {
  return fetch(url, { redirect: 'manual', ...init }).then(({ status }) => status);
}

/** The status of a request whose host name a client chooses, which `fetch` does not allow. */
function statusFor(port: number, host: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    http
      .get({ host: '127.0.0.1', port, path: '/', headers: { host } }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
      .on('error', reject);
  });
}

describe('the server of the dashboard', () => {
  it('the page and its files are served under a policy that allows nothing from elsewhere and nothing inline', async () => {
    const { url } = await serve();
    const page = await fetch(`${url}/`);
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self';/);
    expect(policy).not.toMatch(/unsafe|\*|https?:/);
    const html = await page.text();
    expect(html).not.toMatch(/<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|https?:\/\//);
    const files = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] as string);
    expect(files).toContain('page.js');
    for (const file of [...files, 'charts.js', 'uplot/uPlot.esm.js', 'config.yaml', 'healthz'])
      expect([file, await statusOf(`${url}/${file}`)]).toEqual([file, 200]);
  });

  it('nothing but GET and HEAD is answered, and nothing outside the page and the plots is served', async () => {
    const { url, directory } = await serve();
    fs.mkdirSync(path.join(directory, 'plots'));
    fs.writeFileSync(
      path.join(directory, 'plots', 'loss-curves.svg'),
      '<svg xmlns="http://www.w3.org/2000/svg"/>',
    );
    fs.writeFileSync(path.join(directory, 'plots', 'loss-curves.vl.json'), '{}');
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS'])
      expect(await statusOf(`${url}/live`, { method })).toBe(405);
    const plot = await fetch(`${url}/plots/loss-curves.svg`);
    expect([plot.status, plot.headers.get('content-type')]).toEqual([200, 'image/svg+xml']);
    const outside = [
      'plots/none.svg',
      'plots/loss-curves.vl.json',
      'plots/..%2Fconfig.yaml',
      'summary.json',
      'uplot/../../package.json',
      '%00',
      '%zz',
      'page.ts',
    ];
    for (const file of outside) expect([file, await statusOf(`${url}/${file}`)]).toEqual([file, 404]);
  });

  it('a page elsewhere that leads its own name to a loopback address gets nothing', async () => {
    const { server } = await serve();
    expect(await statusFor(server.port, 'evil.example')).toBe(403);
    expect(await statusFor(server.port, `localhost:${server.port}`)).toBe(200);
    expect(await statusFor(server.port, `[::1]:${server.port}`)).toBe(200);
  });

  it('with a token, a browser shows it once and then a cookie, which holds no token', async () => {
    const { url } = await serve({ token: TOKEN });
    for (const file of ['', 'live', 'page.js', 'config.yaml', 'plots/a.svg'])
      expect(await statusOf(`${url}/${file}`)).toBe(401);
    expect(await statusOf(`${url}/?token=wrong`)).toBe(401);
    const first = await fetch(`${url}/?token=${TOKEN}`, { redirect: 'manual' });
    expect([first.status, first.headers.get('location')]).toEqual([303, './']);
    const setCookie = first.headers.get('set-cookie') ?? '';
    expect(setCookie).toMatch(/; HttpOnly; samesite=strict; Path=\/$/);
    expect(setCookie).not.toContain(TOKEN);
    const cookie = setCookie.split(';')[0] as string;
    expect(await statusOf(`${url}/`, { headers: { cookie } })).toBe(200);
    expect(await statusOf(`${url}/`, { headers: { cookie: `${cookie}x` } })).toBe(401);
    const other = await serve({ token: TOKEN });
    expect(await statusOf(`${other.url}/`, { headers: { cookie } })).toBe(401);
  });

  it('a stream begins with everything, goes on with what is new, and ends with a goodbye', async () => {
    const { url, directory, server } = await serve();
    const stream = readEvents(`${url}/live`);
    const next = async () => (await stream.next()).value;
    const first = await next();
    expect(first?.type).toBe('snapshot');
    expect((first?.data as DashboardSnapshot).curves).toEqual({ lr: [[1, 0.1]] });
    fs.appendFileSync(path.join(directory, 'metrics.jsonl'), '{"_step":2,"epoch":1,"lr":0.2}\n');
    const updates: [number, number | null][] = [];
    while (updates.length === 0) {
      const { curves } = ((await next()) as { data: DashboardUpdate }).data;
      for (const [step, value] of curves['lr'] ?? []) updates.push([step, value]);
    }
    expect(updates).toEqual([[2, 0.2]]);
    server.setActivity({
      workers: [],
      threads: [{ computing: 1, updating: 2, waiting: 3 }],
      step: undefined,
    });
    let event = await next();
    while (event?.type === 'update') event = await next();
    expect(event).toEqual({
      type: 'activity',
      data: { workers: [], threads: [{ computing: 1, updating: 2, waiting: 3 }] },
    });
    const closed = server.close();
    const rest: string[] = [];
    for await (const { type } of stream) rest.push(type);
    expect(rest.at(-1)).toBe('goodbye');
    await closed;
  });

  it('a client that never reads is disconnected before much waits for it', async () => {
    const { server, warnings, untilWatchers } = await serve();
    const socket = net.connect(server.port, '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    socket.on('error', () => undefined);
    socket.pause();
    socket.write('GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await untilWatchers(1);
    const worker = { worker: 1, name: 'x'.repeat(2 ** 20), address: '', threads: 1, sharesMemory: false };
    const counters = { tasks: 0, shards: 0, computeMs: 0, bytesReceived: 0, bytesSent: 0, failures: 0 };
    for (let i = 0; i < 40; i++)
      server.setActivity({ workers: [{ ...worker, ...counters }], threads: [], step: undefined });
    await untilWatchers(0);
    expect(warnings).toEqual([]);
  });

  it('a client that reads but never leaves holds up the end for some seconds only', async () => {
    const { server, url, untilWatchers } = await serve();
    const response = await fetch(`${url}/live`);
    await untilWatchers(1);
    const startedMs = performance.now();
    await server.close();
    expect(performance.now() - startedMs).toBeLessThan(5000);
    expect(await response.text()).toContain('event: goodbye');
  });

  it('of more than 32 pages the others are asked to come back', async () => {
    const { url } = await serve();
    const controller = new AbortController();
    onTestFinished(() => controller.abort());
    const pages: Response[] = [];
    for (let page = 0; page < 33; page++)
      pages.push(await fetch(`${url}/live`, { signal: controller.signal }));
    expect(pages.map(({ status }) => status)).toEqual([...Array<number>(32).fill(200), 503]);
  });

  it('an address beyond this machine without a token, and a port that is taken, are refused', async () => {
    const listeners = { info: () => undefined, warn: () => undefined };
    await expect(DashboardServer.open({ host: '0.0.0.0', port: 0 }, listeners)).rejects.toThrow(
      'a dashboard on 0.0.0.0 without a token would show the run to anyone who reaches the port',
    );
    const { server } = await serve();
    const address = { host: '127.0.0.1', port: server.port };
    await expect(DashboardServer.open(address, listeners)).rejects.toMatchObject({
      code: 'E_PORT_IN_USE',
      exitCode: 5,
      message: `port ${server.port} on 127.0.0.1 for the dashboard is in use`,
    });
  });
});

describe('a run with a dashboard', () => {
  it('a stream shows the metrics, the workers and the end of a run, and the weights are those of a run without', async () => {
    const cwd = tableRun({ epochs: 40 });
    const plain = await runCli(['train', 'table.yaml', '--run-dir', 'plain'], { cwd });
    expect(plain.exitCode).toBe(0);
    const command = CliProcess.start(
      ['train', 'table.yaml', '--run-dir', 'run', '--workers', '1', '--dashboard', '0'],
      { cwd },
    );
    const [, url] = await command.untilStderr(/dashboard on (http:\S+)\//);
    const points = new Map<string, [number, number | null][]>();
    let last: DashboardSnapshot | DashboardUpdate | undefined;
    const types = new Set<string>();
    for await (const { type, data } of readEvents(`${url}/live`)) {
      types.add(type);
      if (data === null || (type !== 'snapshot' && type !== 'update')) continue;
      if (type === 'snapshot') points.clear();
      last = data as DashboardSnapshot | DashboardUpdate;
      for (const [name, values] of Object.entries(last.curves)) {
        points.set(name, [
          ...(points.get(name) ?? []),
          ...values.map(([step, value]) => [step, value] as [number, number | null]),
        ]);
      }
    }
    expect((await command.finished).exitCode).toBe(0);
    expect([...types]).toEqual(expect.arrayContaining(['snapshot', 'update', 'goodbye']));
    expect(last?.status.state).toBe('finished');
    const records = readRecords(path.join(cwd, 'run'), 'metrics.jsonl');
    for (const name of ['train/stepLoss', 'lr', 'val/loss']) {
      const recorded = records
        .filter((record) => name in record)
        .map((record) => [record['_step'], record[name]]);
      expect([name, points.get(name)]).toEqual([name, recorded]);
    }
    const weights = ['plain', 'run'].map((run) => readSummary(path.join(cwd, run)).weightsSha256);
    expect(weights[1]).toBe(weights[0]);
  });

  it('a port that is taken ends the command before anything is made', async () => {
    const { server } = await serve();
    const cwd = tableRun();
    const args = ['train', 'table.yaml', '--run-dir', 'run', '--dashboard', String(server.port)];
    const { exitCode, stderr } = await runCli(args, { cwd });
    expect(exitCode).toBe(5);
    expect(stderr).toContain(
      `error[E_PORT_IN_USE]: port ${server.port} on 127.0.0.1 for the dashboard is in use`,
    );
    expect(fs.existsSync(path.join(cwd, 'run'))).toBe(false);
  });

  it('a token for a dashboard that is not asked for is refused', async () => {
    const cwd = tableRun();
    const { exitCode, stderr } = await runCli(['train', 'table.yaml', '--token-file', 'token'], { cwd });
    expect(exitCode).toBe(2);
    expect(stderr).toContain(
      'error[E_TOKEN_UNUSED]: --token-file is for the dashboard here, and there is none',
    );
  });

  it('a config in the place of the port is explained', async () => {
    const cwd = tableRun();
    const { exitCode, stderr } = await runCli(['train', 'table.yaml', '--dashboard', 'table.yaml'], { cwd });
    expect(exitCode).toBe(2);
    expect(stderr).toContain('error[E_LISTEN_ADDRESS]: --dashboard table.yaml: expected PORT or HOST:PORT');
  });

  it('lockstep dashboard shows a run that is over until a signal ends it, and refuses a directory without one', async () => {
    const cwd = tableRun();
    expect((await runCli(['train', 'table.yaml', '--run-dir', 'run'], { cwd })).exitCode).toBe(0);
    const command = CliProcess.start(['dashboard', 'run', '--listen', '0'], { cwd });
    const [, url] = await command.untilStderr(/run on (http:\S+)\//);
    const first = (await readEvents(`${url}/live`).next()).value;
    const { status, curves } = first?.data as DashboardSnapshot;
    expect(status.state).toBe('finished');
    expect(status.summary).toEqual(readSummary(path.join(cwd, 'run')));
    expect(curves['train/loss']?.length).toBe(2);
    command.signal('SIGINT');
    expect((await command.finished).exitCode).toBe(130);
    const nothing = await runCli(['dashboard', '.'], { cwd });
    expect(nothing.exitCode).toBe(2);
    expect(nothing.stderr).toContain('error[E_NO_RUN]: . holds no run');
  });
});
