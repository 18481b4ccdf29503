// `lockstep doctor`: what this machine has of what training needs, and what to do about the rest. A check
// that fails is `broken` where nothing can be trained, `slow` where it only takes longer.
import { createServer } from 'node:net';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import { Worker } from 'node:worker_threads';
import { instantiateKernels } from '../../src/kernels/kernels.ts';
import { loadKernelModule } from '../../src/kernels/load-kernels.ts';
import { KNOWN_ANSWER, knownAnswer } from '../../src/known-answer.ts';
import { formatBytes, Memory } from '../../src/memory.ts';
import { countOf } from '../../src/printable.ts';
import { SharedFile } from '../../src/protocol/shared-file.ts';
import { VERSION } from '../../src/version.ts';

/** The outcome of a check. */
export interface Check {
  readonly name: string;
  readonly state: 'ok' | 'slow' | 'broken' | 'absent';
  readonly found: string;
  readonly advice?: string | undefined;
}

const DEADLINE_MS = 10_000;
const GIB = 2 ** 30;

/** Makes every check; none of them throws. */
export async function examine(): Promise<Check[]> {
  return [
    { name: 'lockstep', state: 'ok', found: VERSION },
    checkNode(process.version),
    ...(await guarded('kernels', checkKernels)),
    ...(await guarded('threads', checkThreads)),
    checkCores(os.cpus().length, os.availableParallelism()),
    checkMemory(os.totalmem(), os.freemem(), process.constrainedMemory()),
    checkSharedMemory(),
    ...(await guarded('ports', checkPorts)),
    checkPackage('sharp', 'pictures cannot be read; to train on them: npm install sharp@0.35.5'),
    checkPackage('apache-arrow', 'Arrow files cannot be read; for that: npm install apache-arrow@21.2.0'),
  ];
}

/** The checks of a part of the machine, in a bounded time; an error is the outcome too. */
async function guarded(name: string, check: () => Promise<Check[]>): Promise<Check[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${DEADLINE_MS / 1000} s`)), DEADLINE_MS);
  });
  try {
    return await Promise.race([check(), late]);
  } catch (error) {
    const { message, help } = error as Error & { help?: string };
    return [
      { name, state: 'broken', found: message, advice: help ?? 'please report this with the lines above' },
    ];
  } finally {
    clearTimeout(timer);
  }
}

/** Node.js 20 from 20.15, and 22.2 and newer (`engines` in package.json). */
export function checkNode(version: string): Check {
  const [major = 0, minor = 0] = version.slice(1).split('.').map(Number);
  const isSupported = (major === 20 && minor >= 15) || (major === 22 && minor >= 2) || major > 22;
  const found = `${version}, ${process.platform} ${process.arch}`;
  if (!isSupported) {
    const advice = 'install Node.js 20.15 or newer of version 20, or 22.2 and newer';
    return { name: 'node', state: 'broken', found, advice };
  }
  return { name: 'node', state: 'ok', found };
}

async function checkKernels(): Promise<Check[]> {
  const module = await loadKernelModule('strict');
  await instantiateKernels(module, new Memory().wasm);
  const isRight = (await knownAnswer(module)) === KNOWN_ANSWER;
  const isNewEnough = Number.parseInt(process.version.slice(1), 10) >= 24;
  const advice =
    module.width === 256
      ? undefined
      : module.isInexactAt256
        ? '256-bit vectors gave other bits here: please report the processor and the version of Node.js'
        : process.arch === 'x64' && !isNewEnough
          ? 'Node.js 24 or newer may use 256 bits, which is nearly twice as fast'
          : undefined;
  return [
    {
      name: 'simd',
      state: advice === undefined ? 'ok' : 'slow',
      found: `vectors of ${module.width} bits`,
      advice,
    },
    isRight
      ? { name: 'kernels', state: 'ok', found: 'give the known answer' }
      : {
          name: 'kernels',
          state: 'broken',
          found: 'give another answer than on other machines',
          advice: 'results would differ; install Lockstep again, or try another version of Node.js',
        },
  ];
}

/** Starts a thread that writes to shared memory. */
async function checkThreads(): Promise<Check[]> {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const source = 'Atomics.store(new Int32Array(require("worker_threads").workerData.buffer), 0, 7)';
  const worker = new Worker(source, { eval: true, workerData: memory });
  await new Promise<void>((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', () => resolve());
  });
  const isShared = Atomics.load(new Int32Array(memory.buffer), 0) === 7;
  return [
    isShared
      ? { name: 'threads', state: 'ok', found: 'share memory' }
      : {
          name: 'threads',
          state: 'broken',
          found: 'do not share memory',
          advice: 'use another build of Node.js',
        },
  ];
}

/** Cores of the machine, and those that this process may use. */
export function checkCores(all: number, usable: number): Check {
  const name = 'cores';
  if (usable < all) {
    const found = `${usable} of ${all}`;
    return {
      name,
      state: 'ok',
      found,
      advice: 'the others are kept from this process, by a container or an affinity',
    };
  }
  if (usable === 1)
    return { name, state: 'slow', found: '1', advice: 'more cores would train faster, to the same bits' };
  return { name, state: 'ok', found: String(usable) };
}

/** Memory of the machine, and the limit of a container where there is one. */
export function checkMemory(total: number, free: number, limit: number | undefined): Check {
  const isLimited = limit !== undefined && limit > 0 && limit < total;
  const room = isLimited ? limit : total;
  const found = `${formatBytes(room)}${isLimited ? ` (a container's limit; the machine has ${formatBytes(total)})` : ''}, ${formatBytes(Math.min(free, room))} free`;
  const advice = 'only small models and tables fit; lockstep train --dry-run says how much a run takes';
  return room < GIB
    ? { name: 'memory', state: 'slow', found, advice }
    : { name: 'memory', state: 'ok', found };
}

/** Local workers exchange weights by files in memory. */
function checkSharedMemory(): Check {
  const name = 'shm';
  try {
    SharedFile.create(4096).close();
    return { name, state: 'ok', found: `/dev/shm${sizeOfTmpfs()}` };
  } catch (error) {
    const found = `no files in memory: ${(error as Error).message}`;
    const advice = 'local workers use sockets instead, which is slower; threads need none of it';
    return { name, state: 'slow', found, advice };
  }
}

function sizeOfTmpfs(): string {
  const line = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .find((mount) => mount.includes(' /dev/shm '));
  const size = /size=(\d+)k/.exec(line ?? '')?.[1];
  return size === undefined ? '' : `, ${formatBytes(Number(size) * 1024)}`;
}

/** Local workers connect to a port of the loopback interface. */
async function checkPorts(): Promise<Check[]> {
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    return [{ name: 'ports', state: 'ok', found: '127.0.0.1 can be listened on' }];
  } catch (error) {
    const advice = 'local workers cannot connect; train with --workers 0';
    return [{ name: 'ports', state: 'broken', found: (error as Error).message, advice }];
  } finally {
    server.close();
  }
}

/** A package that only some runs need. */
function checkPackage(name: string, advice: string): Check {
  const require = createRequire(import.meta.url);
  for (const folder of require.resolve.paths(name) ?? []) {
    try {
      const { version } = JSON.parse(readFileSync(`${folder}/${name}/package.json`, 'utf8')) as {
        version: string;
      };
      return { name, state: 'ok', found: version };
    } catch {
      // The next folder may have it.
    }
  }
  return { name, state: 'absent', found: 'not installed', advice };
}

const MARKS = { ok: 'ok', slow: 'slow', broken: 'BROKEN', absent: '-' } as const;

/** The checks as lines for people, ending with a line that sums them up. */
export function formatChecks(checks: readonly Check[]): string {
  const lines = checks.flatMap(({ name, state, found, advice }) => [
    `${MARKS[state].padEnd(8)}${name.padEnd(14)}${found}`,
    ...(advice === undefined ? [] : [`${' '.repeat(22)}${advice}`]),
  ]);
  const numBroken = checks.filter(({ state }) => state === 'broken').length;
  const ending =
    numBroken === 0
      ? 'ready to train'
      : `${countOf(numBroken, 'check')} failed: this machine cannot train as it is`;
  return `${lines.join('\n')}\n\n${ending}\n`;
}
