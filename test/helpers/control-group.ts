// Control groups of Linux, of either version: a limit on the memory of the processes in one, or on their
// share of a core.
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';

/** The resource that a group limits. */
export type Controller = 'memory' | 'cpu';

const ROOT = '/sys/fs/cgroup';
/** Shorter periods spread a share of a core more evenly; Linux accepts no quota below 1 ms. */
const PERIOD_US = 50_000;
/** Processes that were killed leave their group in milliseconds. */
const REMOVAL_DEADLINE_MS = 5_000;

let numGroups = 0;

/** The requirement for a group with a limit that this machine lacks; undefined if none. */
export function missingForControlGroup(controller: Controller): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  const probe = path.join(parentOf(controller), `lockstep-probe-${process.pid}`);
  try {
    makeGroup(probe, controller);
    if (controller === 'memory') limitMemory(probe, 64);
    else limitShare(probe, 0.5);
    return undefined;
  } catch {
    return `a control group for ${controller}`;
  } finally {
    if (fs.existsSync(probe)) fs.rmdirSync(probe);
  }
}

/** A control group with a limit. It is removed when the test is over. */
export class ControlGroup {
  readonly #directory: string;

  private constructor(controller: Controller) {
    this.#directory = path.join(parentOf(controller), `lockstep-${process.pid}-${++numGroups}`);
    makeGroup(this.#directory, controller);
    // Processes of the test end earlier: hooks run in reverse order.
    onTestFinished(() => removeGroup(this.#directory));
  }

  /** A group with this much memory; a process that needs more is killed. */
  static ofMemory(mebibytes: number): ControlGroup {
    const group = new ControlGroup('memory');
    limitMemory(group.#directory, mebibytes);
    return group;
  }

  /** A group that has a whole core at first. */
  static ofCpu(): ControlGroup {
    return new ControlGroup('cpu');
  }

  /** Limits the processes to this share of one core from now on: 1 for no limit. */
  limitCpu(share: number): void {
    limitShare(this.#directory, share);
  }

  /** Runs the command that follows in the group. */
  get through(): readonly string[] {
    const procs = path.join(this.#directory, 'cgroup.procs');
    return ['sh', '-c', `echo $$ > ${procs} && exec "$@"`, 'sh'];
  }
}

function isUnified(): boolean {
  return fs.existsSync(path.join(ROOT, 'cgroup.controllers'));
}

function parentOf(controller: Controller): string {
  return isUnified() ? ROOT : path.join(ROOT, controller);
}

function makeGroup(directory: string, controller: Controller): void {
  if (isUnified()) fs.writeFileSync(path.join(ROOT, 'cgroup.subtree_control'), `+${controller}`);
  fs.mkdirSync(directory);
}

async function removeGroup(directory: string): Promise<void> {
  const startMs = performance.now();
  for (;;) {
    try {
      return fs.rmdirSync(directory);
    } catch (error) {
      if (performance.now() - startMs > REMOVAL_DEADLINE_MS) throw error;
      await sleep(10);
    }
  }
}

/** The limit includes swap where it is counted. */
function limitMemory(directory: string, mebibytes: number): void {
  const bytes = String(mebibytes * 2 ** 20);
  const [limit, swap, rest] = isUnified()
    ? ['memory.max', 'memory.swap.max', '0']
    : ['memory.limit_in_bytes', 'memory.memsw.limit_in_bytes', bytes];
  fs.writeFileSync(path.join(directory, limit), bytes);
  if (fs.existsSync(path.join(directory, swap))) fs.writeFileSync(path.join(directory, swap), rest);
}

function limitShare(directory: string, share: number): void {
  const quotaUs = Math.round(share * PERIOD_US);
  const isLimited = share < 1;
  if (isUnified()) {
    fs.writeFileSync(path.join(directory, 'cpu.max'), `${isLimited ? quotaUs : 'max'} ${PERIOD_US}`);
    return;
  }
  fs.writeFileSync(path.join(directory, 'cpu.cfs_period_us'), String(PERIOD_US));
  fs.writeFileSync(path.join(directory, 'cpu.cfs_quota_us'), isLimited ? String(quotaUs) : '-1');
}
