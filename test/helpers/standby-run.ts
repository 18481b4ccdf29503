// A run with a leader and standbys, as processes on ports that workers know from the beginning.
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import type { ConfigInput } from '../../src/config/schema.ts';
import { CliProcess } from './cli.ts';
import type { CliOptions } from './cli.ts';
import { networkDirectory, TOKEN } from './network-run.ts';
import { readRecords, until } from './run-records.ts';
import type { LoggedRecord } from './run-records.ts';

/** The directory of a run and the addresses at which coordinators may be. */
export interface StandbyRun {
  readonly cwd: string;
  readonly directory: string;
  readonly ports: readonly number[];
  readonly deadlineMs: number;
}

export async function standbyRun(
  config: Partial<ConfigInput>,
  { numPorts = 2, deadlineMs = 60_000 } = {},
): Promise<StandbyRun> {
  const cwd = networkDirectory(config);
  return { cwd, directory: path.join(cwd, 'run'), ports: await freePorts(numPorts), deadlineMs };
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<net.Server>((resolve) => {
          const server = net.createServer().listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** A coordinator at one of the ports: it leads, or stands by. */
export function startCandidate(
  { cwd, deadlineMs, ports }: StandbyRun,
  place: number,
  { flags = [], ...cli }: Partial<CliOptions> & { readonly flags?: readonly string[] } = {},
): CliProcess {
  const listen = ['--listen', `127.0.0.1:${ports[place]}`, '--token-file', 'token.txt'];
  const args = ['coordinator', 'table.yaml', ...listen, '--run-dir', 'run', '--standby'];
  return CliProcess.start([...args, ...flags], { cwd, deadlineMs, ...cli });
}

/** A worker that asks the coordinators in turn. */
export function startFollower({ cwd, deadlineMs, ports }: StandbyRun): CliProcess {
  const urls = ports.map((port) => `ws://127.0.0.1:${port}`);
  return CliProcess.start(['worker', ...urls], { cwd, deadlineMs, env: { LOCKSTEP_TOKEN: TOKEN } });
}

export async function untilStandingBy(command: CliProcess): Promise<void> {
  await command.untilStderr(/standing by at/);
}

/** Resolves once this coordinator has taken the run over, and has saved a step that is new. */
export async function untilLeading({ directory }: StandbyRun, command: CliProcess): Promise<void> {
  await command.untilStderr(/taking over from/);
  const isSaved = (): boolean => {
    const events = readRecords(directory, 'events.jsonl');
    const takeover = events.findLastIndex(({ type }) => type === 'runTakenOver');
    const newest = (list: readonly LoggedRecord[], wanted: string): number =>
      Math.max(0, ...list.flatMap(({ step, type }) => (type === wanted ? Number(step) : [])));
    const before = newest(events.slice(0, takeover), 'stepDone');
    return newest(events.slice(takeover), 'checkpointSaved') > before;
  };
  await until(isSaved, command, 'a checkpoint after taking over');
}

/** Takeovers so far. */
export function takeovers({ directory }: StandbyRun): LoggedRecord[] {
  return readRecords(directory, 'events.jsonl').filter(({ type }) => type === 'runTakenOver');
}

/** Milliseconds from the last step before each takeover to the first new step after it. */
export function outagesMs({ directory }: StandbyRun): number[] {
  const events = readRecords(directory, 'events.jsonl');
  const outages: number[] = [];
  let [newest, newestMs, isOut] = [0, Number.NaN, false];
  for (const { step, time, type } of events) {
    if (type === 'runTakenOver') isOut = true;
    if (type !== 'stepDone' || (isOut && Number(step) <= newest)) continue;
    const ms = Date.parse(String(time));
    if (isOut) outages.push(ms - newestMs);
    [newest, newestMs, isOut] = [Number(step), ms, false];
  }
  return outages;
}

/** Kills the leader so often, each time once a new standby stands by; resolves to the last leader. */
export async function killLeaders(
  run: StandbyRun,
  numKills: number,
  flags: readonly string[] = [],
): Promise<CliProcess> {
  let leader = startCandidate(run, 0, { flags });
  await leader.untilStderr(/listening on/);
  for (let kill = 1; kill <= numKills; kill++) {
    const standby = startCandidate(run, kill % 2, { flags });
    await untilStandingBy(standby);
    if (kill === 1)
      await until(
        () => readRecords(run.directory, 'events.jsonl').some(({ type }) => type === 'checkpointSaved'),
        leader,
        'its first checkpoint',
      );
    else await untilLeading(run, leader);
    leader.signal('SIGKILL');
    leader = standby;
  }
  await leader.untilStderr(/taking over from/);
  return leader;
}
