// `lockstep train --hosts`: workers that are started by ssh, on a real server on the loopback address.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, inject, it, onTestFinished } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import { CliProcess, PROGRAM, runCli } from '../helpers/cli.ts';
import { readRecords, untilEpoch } from '../helpers/run-records.ts';
import { missingForSsh, processesWith, SshServer } from '../helpers/ssh-server.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';
import { expectUndisturbedEnd, longRun } from '../helpers/undisturbed.ts';
import type { Run } from '../helpers/undisturbed.ts';

const EPOCHS = { epochs: 2 };
const LEAVE_DEADLINE_MS = 10_000;

const missing = missingForSsh();

describe.skipIf(missing)(
  `train --hosts${missing === undefined ? '' : ` (not here: ${missing} missing)`}`,
  () => {
    let server: SshServer;

    beforeAll(async () => {
      server = await SshServer.start();
      return () => server.stop();
    });

    interface Settings {
      readonly config?: Partial<ConfigInput>;
      /** Lines of the file, in which `HOST` stands for the server; default: two of it. */
      readonly hosts?: string;
      readonly ssh?: string;
      /** Default: the built command line. */
      readonly command?: readonly string[];
      readonly flags?: readonly string[];
    }

    /** A training on the hosts. */
    function start(settings: Settings = {}): Run {
      const { config = EPOCHS, hosts = 'HOST\nHOST\n', ssh = server.client(), flags = [] } = settings;
      const { command = ['--remote-command', `${process.execPath} ${PROGRAM}`] } = settings;
      const cwd = longRun(config);
      fs.writeFileSync(path.join(cwd, 'hosts'), hosts.replaceAll('HOST', `127.0.0.1:${server.port}`));
      const args = ['train', 'table.yaml', '--hosts', 'hosts', '--ssh', ssh, '--run-dir', 'run'];
      const started = CliProcess.start([...args, ...command, ...flags], { cwd });
      onTestFinished(() => processesOf(cwd).forEach(({ pid }) => process.kill(pid, 'SIGKILL')));
      return { command: started, directory: path.join(cwd, 'run') };
    }

    /** The processes of ssh, of the shells that they start, and the workers, of a training in the directory. */
    const processesOf = (cwd: string): ReturnType<typeof processesWith> => processesWith(cwd);

    /** Those of ssh alone. */
    const clientsOf = ({ directory }: Run): number[] =>
      processesOf(path.dirname(directory))
        .filter(({ words: [program] }) => program === 'ssh')
        .map(({ pid }) => pid);

    /** Worker processes that have the port of the run's coordinator in their command line. */
    const workersOf = ({ command }: Run): number[] => {
      const [, port] = /listening on \S+:(\d+);/.exec(command.stderr) ?? [];
      if (port === undefined) throw new Error(`listens nowhere:\n${command.stderr}`);
      return processesWith(`:${port}\0--stdio\0`).map(({ pid }) => pid);
    };

    const namesOf = ({ directory }: Run): string[] =>
      readRecords(directory, 'events.jsonl')
        .filter(({ type }) => type === 'workerJoined')
        .map(({ name }) => String(name).replace(/^worker \d+ \((.*) pid \d+\)$/, '$1'))
        .sort();

    /** Asserts that nothing of the run is left on any host. */
    async function expectNothingLeft(run: Run): Promise<void> {
      const startMs = performance.now();
      const left = (): number[] => [...workersOf(run), ...clientsOf(run)];
      while (left().length > 0 && performance.now() - startMs < LEAVE_DEADLINE_MS) await sleep(20);
      expect(left()).toEqual([]);
    }

    it('a run on two hosts ends with the weights of a run without workers, and leaves nothing behind', async () => {
      const run = start();
      await expectUndisturbedEnd(run, EPOCHS);
      expect(namesOf(run)).toEqual(['127.0.0.1/1', '127.0.0.1/2']);
      expect(run.command.stderr).toMatch(
        /traffic on (::|0\.0\.0\.0) is not encrypted: give --tunnel, or use/,
      );
      await expectNothingLeft(run);
    });

    it('workers reach the coordinator through ssh with --tunnel, and one of this machine without', async () => {
      const run = start({ hosts: 'localhost threads=1\nHOST # the other\n', flags: ['--tunnel'] });
      await expectUndisturbedEnd(run, EPOCHS);
      expect(namesOf(run)).toEqual(['127.0.0.1', 'localhost']);
      expect(run.command.stderr).not.toContain('not encrypted');
    });

    it('slots of a host are workers, which make a tree if they are told to', async () => {
      const flags = ['--topology', 'tree', '--fan-in', '2'];
      const run = start({ hosts: 'HOST slots=4\n', flags });
      await expectUndisturbedEnd(run, EPOCHS);
      expect(run.command.stderr).toMatch(/4 workers of --hosts/);
      expect(run.command.stderr).not.toContain('none of them takes others');
      await expectNothingLeft(run);
    });

    it('a worker whose ssh is killed is started again, and the weights stay the same', async () => {
      const run = start({ config: {} });
      await untilEpoch(run.command, run.directory, 1);
      const [client] = clientsOf(run);
      process.kill(client as number, 'SIGKILL');
      await run.command.untilStderr(
        /127\.0\.0\.1\/\d \(pid \d+\) ended: ssh by SIGKILL; starting it again\n/,
      );
      await expectUndisturbedEnd(run);
      await expectNothingLeft(run);
    });

    it('Ctrl-C saves the run and ends the workers on all hosts', async () => {
      const run = start({ config: { epochs: 1000 } });
      await untilEpoch(run.command, run.directory, 1);
      expect(workersOf(run).length).toBeGreaterThan(1);
      run.command.signalTree('SIGINT');
      const { exitCode, stderr } = await run.command.finished;
      expect(exitCode, stderr).toBe(130);
      expect(stderr).not.toContain('starting it again');
      await expectNothingLeft(run);
    });

    it('workers on hosts end when the coordinator is killed', async () => {
      const run = start({ config: { epochs: 1000 } });
      await untilEpoch(run.command, run.directory, 1);
      run.command.signal('SIGKILL');
      await run.command.finished;
      await expectNothingLeft(run);
    });

    it('a run goes on with the hosts that can be reached where --min-workers allows it', async () => {
      const run = start({ hosts: 'HOST\nno-such-host.invalid\n', flags: ['--min-workers', '1'] });
      await expectUndisturbedEnd(run, EPOCHS);
      expect(run.command.stderr).toMatch(
        /WARN: no-such-host\.invalid \(pid \d+\) ended: ssh does not find it: ssh: Could not resolve hostname no-such-host\.invalid: [^;\n]+; it is not started again\n/,
      );
    });

    it('a host on which no worker starts is named while the run waits, with what it has said', async () => {
      const command = ['--remote-command', 'echo "stuck here" >&2; cat > /dev/null; true'];
      const run = start({ hosts: 'HOST\n', command, flags: ['--wait-for-workers', '32'] });
      const { exitCode, stderr } = await run.command.finished;
      expect(exitCode, stderr).toBe(7);
      expect(stderr).toMatch(
        /WARN: 127\.0\.0\.1: no worker has started there for 30 s\n.*WARN: 127\.0\.0\.1: stuck here\n/,
      );
      expect(stderr).toMatch(
        /\nerror\[E_NO_WORKERS\]: no worker joined within 32 s\n {2}help: 1 worker of --hosts, of which each must reach port \d+ of this machine\n$/,
      );
      await expectNothingLeft(run);
    });

    it('the default command is the lockstep that is installed in the directory there', async () => {
      const run = start({ command: ['--remote-dir', inject('project')] });
      await expectUndisturbedEnd(run, EPOCHS);
      expect(namesOf(run)).toEqual(['127.0.0.1/1', '127.0.0.1/2']);
    });

    interface Trouble {
      readonly what: string;
      readonly settings: () => Settings;
      /** What is said of each host. */
      readonly how: RegExp;
    }

    it.each<Trouble>([
      {
        what: 'another host key',
        settings: () => ({ ssh: server.client({ hostKey: 'other_key' }) }),
        how: /ssh knows another host key of it, or none: Host key verification failed\./,
      },
      {
        what: 'a key that the host does not accept',
        settings: () => ({ ssh: server.client({ key: 'other_key' }) }),
        how: /ssh was not let in: \S+@127\.0\.0\.1: Permission denied \(publickey\)\./,
      },
      {
        what: 'a command that is not there',
        settings: () => ({ command: ['--remote-command', '/nowhere/lockstep'] }),
        how: /\/nowhere\/lockstep is not there: .*\/nowhere\/lockstep: not found/,
      },
      {
        what: 'a directory without the package',
        settings: () => ({ command: ['--remote-dir', temporaryDirectory()] }),
        how: /npx --no lockstep is not there: .*npm error .*/,
      },
      {
        what: 'a directory that is not there',
        settings: () => ({ command: ['--remote-dir', '/nowhere'] }),
        how: /no worker started there, exit code \d+: .*cd: can't cd to \/nowhere/,
      },
      {
        what: 'an ssh that is not there',
        settings: () => ({ ssh: '/nowhere/ssh' }),
        how: /cannot run \/nowhere\/ssh: spawn \/nowhere\/ssh ENOENT/,
      },
    ])('$what is reported once for each host, and ends the command', async ({ settings, how }) => {
      const run = start(settings());
      const { exitCode, stderr } = await run.command.finished;
      expect(exitCode, stderr).toBe(7);
      const [head, first, second, help] = stderr.slice(stderr.indexOf('error[')).trimEnd().split('\n');
      expect(head).toBe('error[E_NO_WORKERS]: 2 workers of --hosts cannot take part, and 0 are too few:');
      for (const [index, line] of [first, second].entries()) {
        expect(line).toMatch(new RegExp(String.raw`^    127\.0\.0\.1/\d: ${how.source}$`));
        expect(line).not.toBe([second, first][index]);
      }
      expect(help).toBe(
        '  help: try it by hand, as with: ssh HOST npx --no lockstep --version; --min-workers COUNT does with fewer',
      );
      await expectNothingLeft(run);
    });
  },
);

describe('train --hosts without a host', () => {
  it.each([
    ['--min-workers 3', '--min-workers 3, but hosts asks for 1 worker'],
    ['--tunnel --topology tree', '--topology tree is for workers that reach one another'],
  ])('%s is refused before anything is started', async (flags, message) => {
    const cwd = longRun();
    fs.writeFileSync(path.join(cwd, 'hosts'), 'node1\n');
    const args = ['train', 'table.yaml', '--hosts', 'hosts', ...flags.split(' ')];
    const { exitCode, stderr } = await runCli(args, { cwd });
    expect(exitCode).toBe(2);
    expect(stderr).toContain(`]: ${message}\n`);
  });

  it('a bad line of the file is named', async () => {
    const cwd = longRun();
    fs.writeFileSync(path.join(cwd, 'hosts'), 'node1\nnode2 slot=4\n');
    const { exitCode, stderr } = await runCli(['train', 'table.yaml', '--hosts', 'hosts'], { cwd });
    expect({ exitCode, stderr }).toEqual({
      exitCode: 2,
      stderr: 'error[E_HOSTS_FILE]: "slot=4" is not known\n  --> hosts:2\n  help: did you mean "slots"?\n',
    });
  });
});
