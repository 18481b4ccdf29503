// Processes of one machine that pass weights and results in files: the same bits as by sockets, also where
// files fail, peers lie or die; and nothing is left of them.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Instance } from '../../src/protocol/instance.ts';
import type { GradientMessage, TrainMessage, WelcomeMessage } from '../../src/protocol/message-types.ts';
import { SharedFile } from '../../src/protocol/shared-file.ts';
import { SharedMemory } from '../../worker/shared-memory.ts';
import { CliProcess, runCli } from '../helpers/cli.ts';
import { FakeWorker, honestHello } from '../helpers/fake-worker.ts';
import { madeUp } from '../helpers/made-up.ts';
import { startCoordinator, startTraining, startWorker, TOKEN } from '../helpers/network-run.ts';
import type { NetworkRun } from '../helpers/network-run.ts';
import { readSummary, untilEpoch, untilSaved, workerPids } from '../helpers/run-records.ts';
import { expectSameBits, FEW_PLOTS } from '../helpers/same-bits.ts';
import { tableRun } from '../helpers/table-run.ts';
import { expectUndisturbedEnd, longRun } from '../helpers/undisturbed.ts';

/** Three buckets. */
const WIDE_MODEL = {
  layers: [
    { kind: 'dense' as const, units: 512, activation: 'relu' as const },
    { kind: 'dense' as const, units: 512, activation: 'relu' as const },
    { kind: 'dense' as const, units: 1 },
  ],
};
const SHARING = 'workers of this machine share weights and results in memory';

/** The shared files that a process has open, by the links that the system gives for them. */
function sharedFilesOf(pid: number): string[] {
  const directory = `/proc/${pid}/fd`;
  return fs.readdirSync(directory).flatMap((descriptor) => {
    try {
      const link = fs.readlinkSync(path.join(directory, descriptor));
      return link.startsWith('/dev/shm/') ? [link] : [];
    } catch {
      return [];
    }
  });
}

async function untilFiles(pid: number, count: number): Promise<void> {
  while (sharedFilesOf(pid).length !== count) await sleep(10);
}

/** Commands that take the machine's shared memory away, or make it small, for what runs in them. */
const CRAMPED: Readonly<Record<string, readonly string[]>> = {
  'where shared memory has room for a part of the weights': inNamespace(
    'mount -t tmpfs -o size=800k none /dev/shm',
  ),
  'where shared memory has room for nothing': inNamespace(
    'mount -t tmpfs -o size=4k none /dev/shm; head -c 4096 /dev/zero > /dev/shm/full',
  ),
  'where there is no shared memory': inNamespace('mount --bind /usr /dev/shm'),
};

function inNamespace(setUp: string): readonly string[] {
  return ['unshare', '--mount', 'sh', '-c', `${setUp}; exec "$@"`, 'sh'];
}

const hasNamespaces =
  process.getuid?.() === 0 && spawnSync('unshare', ['--mount', '--pid', '--fork', 'true']).status === 0;

/** A worker that has opened the files it was offered, and has got work. */
async function joinWithFiles(
  run: NetworkRun,
): Promise<{ worker: FakeWorker; memory: SharedMemory; welcome: WelcomeMessage; work: TrainMessage }> {
  const instance = new Instance();
  const hello = { ...(await honestHello()), instance: instance.name };
  const worker = await FakeWorker.greet({ url: run.url, token: TOKEN }, hello);
  const { message: welcome } = await worker.next('welcome');
  if (!welcome.sharedMemory) throw new Error('there was no offer');
  const memory = new SharedMemory(welcome.sharedMemory);
  worker.send({ type: 'ready', proof: instance.prove(welcome), sharedNonce: memory.nonce });
  return { worker, memory, welcome, work: (await worker.next('train')).message };
}

/** Ways to lie about a gradient in a file, and the reasons for which each gets the worker disconnected. */
const LIES: Readonly<
  Record<
    string,
    {
      readonly lie: (sum: GradientMessage, memory: SharedMemory, body: Uint8Array) => GradientMessage;
      readonly then?: (file: SharedFile) => void;
      readonly reason: RegExp;
    }
  >
> = {
  'names bytes outside the file': {
    lie: (sum) => ({ ...sum, extent: { offset: 2 ** 40, length: 2564 } }),
    reason: /2564 bytes at 1099511627776 of a file of \d+ cannot be a body/,
  },
  'names fewer bytes than the bucket has': {
    lie: (sum, memory, body) => ({ ...sum, extent: memory.store(body.subarray(4)) }),
    reason: /sent 2560 bytes for bucket 0/,
  },
  'changes the bytes that it has named': {
    lie: (sum, memory, body) => {
      const extent = memory.store(body);
      memory.close();
      return { ...sum, extent };
    },
    then: (file) => file.write(Uint8Array.of(1), 64 + 1000),
    reason: /sent a damaged bucket 0/,
  },
  'cuts the file off': {
    lie: (sum, memory, body) => ({ ...sum, extent: memory.store(body) }),
    then: (file) => fs.ftruncateSync(file.descriptor, 64 + 100),
    reason: /sent a damaged bucket 0/,
  },
};

describe.skipIf(process.platform !== 'linux')('weights and results in files', () => {
  it('files and sockets give the same bits for several buckets, workers and threads', async () => {
    const cwd = tableRun({ data: FEW_PLOTS, model: WIDE_MODEL, epochs: 1 });
    await expectSameBits('table.yaml', [], cwd, [
      'workers 2 --threads 2',
      'workers 3',
      'workers 3 --no-shared-memory',
    ]);
  });

  it('a run says once how weights and results travel', async () => {
    const cwd = tableRun({ data: FEW_PLOTS, epochs: 1 });
    const train = async (...flags: string[]): Promise<string[]> => {
      const args = ['train', 'table.yaml', '--workers', '2', '--run-dir', `run${flags.length}`, ...flags];
      return (await runCli(args, { cwd })).stderr.match(new RegExp(SHARING, 'g')) ?? [];
    };
    expect(await train()).toHaveLength(1);
    expect(await train('--no-shared-memory')).toEqual([]);
  });

  it('the files have no names, and those of a killed worker are closed', async () => {
    const directory = path.join(longRun(), 'run');
    const args = ['train', 'table.yaml', '--workers', '2', '--run-dir', directory];
    const command = CliProcess.start(args, { cwd: path.dirname(directory) });
    await untilEpoch(command, directory, 1);
    const pids = workerPids(directory);
    const coordinator = sharedFilesOf(command.pid);
    const worker = sharedFilesOf(pids.get(1) as number);
    expect([coordinator.length, worker.length]).toEqual([3, 2]);
    for (const link of [...coordinator, ...worker]) expect(link).toMatch(/ \(deleted\)$/);
    process.kill(pids.get(1) as number, 'SIGKILL');
    await untilFiles(command.pid, 2);
    await expectUndisturbedEnd({ command, directory });
  });

  it('a worker closes the files of a coordinator that was killed, and shares those of the next one', async () => {
    const run = await startTraining();
    await untilFiles(run.worker.pid, 2);
    await untilSaved(run.command, run.directory);
    run.command.signal('SIGKILL');
    await run.command.finished;
    await untilFiles(run.worker.pid, 0);
    const port = Number(new URL(run.url).port);
    const again = await startCoordinator({ cwd: run.cwd, port, flags: ['--resume', 'last'] });
    await untilFiles(run.worker.pid, 2);
    await expectUndisturbedEnd(again);
    expect(again.command.stderr).toContain(SHARING);
  });

  it('workers that lie about bytes in files are disconnected, and the weights do not change', async () => {
    const run = await startCoordinator();
    for (const [name, { lie, then, reason }] of Object.entries(LIES)) {
      const { worker, memory, welcome, work } = await joinWithFiles(run);
      const { pid, results } = welcome.sharedMemory as { pid: number; results: number };
      const file = SharedFile.open(pid, results, 'write');
      const { message, body } = madeUp(work);
      const sum = lie(message, memory, body);
      then?.(file);
      worker.send(sum);
      expect((await worker.ended).reason, name).toMatch(reason);
      file.close();
      memory.close();
    }
    startWorker(run);
    await expectUndisturbedEnd(run);
  });

  it.skipIf(!hasNamespaces).each(Object.entries(CRAMPED))(
    '%s, the rest goes through sockets, and the weights are the same',
    async (_, through) => {
      const cwd = tableRun({ data: FEW_PLOTS, model: WIDE_MODEL, epochs: 1 });
      const weightsOf = async (workers: string, options: object): Promise<string> => {
        const flags = ['--workers', workers, '--run-dir', `run${workers}`];
        expect(await runCli(['train', 'table.yaml', ...flags], { cwd, ...options })).toMatchObject({
          exitCode: 0,
        });
        return readSummary(path.join(cwd, `run${workers}`)).weightsSha256;
      };
      expect(await weightsOf('2', { through })).toBe(await weightsOf('0', {}));
    },
  );

  it.skipIf(!hasNamespaces)(
    'a worker that sees other processes than its coordinator uses its socket',
    async () => {
      const run = await startCoordinator();
      const through = ['unshare', '--pid', '--fork', '--mount-proc'];
      const worker = startWorker(run, run.url, { through, env: { LOCKSTEP_LOG_LEVEL: 'debug' } });
      await worker.untilStderr(/cannot share memory with the coordinator: /);
      await expectUndisturbedEnd(run);
      expect(run.command.stderr).not.toContain(SHARING);
    },
  );
});
