// How a child process ended: whether it was for lack of memory. V8 aborts when its heap is full; the kernel kills when
// the control group is, and counts that.
import fs from 'node:fs';

/** The exit code that a shell makes of SIGABRT. */
const ABORTED = 134;

/** Watches a series of ends of processes that share the control group of this one. */
export class ProcessEnds {
  readonly #countKilled: () => number;
  /** Kills in the kernel's count that are accounted for: those before this object was made, and those reported since. */
  #numKnown: number;

  constructor(count: () => number = countKilled) {
    this.#countKilled = count;
    this.#numKnown = count();
  }

  /** Tells whether a process that just ended like this had too little memory. */
  isOutOfMemory(code: number | null, signal: NodeJS.Signals | null): boolean {
    if (signal === 'SIGABRT' || code === ABORTED) return true;
    if (signal !== 'SIGKILL') return false;
    // One for each: two may have been killed before the end of the first is heard of.
    const isCounted = this.#countKilled() > this.#numKnown;
    if (isCounted) this.#numKnown++;
    return isCounted;
  }
}

/** Processes that the kernel has killed in this control group for lack of memory; 0 where it does not tell (not Linux). */
function countKilled(): number {
  for (const file of counterFiles()) {
    try {
      const count = /^oom_kill (\d+)$/m.exec(fs.readFileSync(file, 'utf8'))?.[1];
      if (count !== undefined) return Number(count);
    } catch {
      // Another version of control groups, or none.
    }
  }
  return 0;
}

/** Files of both versions of control groups where they are usually mounted; the last is a container's view of its own group. */
function counterFiles(): string[] {
  try {
    const groups = fs.readFileSync('/proc/self/cgroup', 'utf8');
    const unified = /^0::(.*)$/m.exec(groups)?.[1] ?? '/';
    const memory = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m.exec(groups)?.[1] ?? '/';
    return [
      `/sys/fs/cgroup/memory${memory}/memory.oom_control`,
      `/sys/fs/cgroup${unified}/memory.events`,
      '/sys/fs/cgroup/memory/memory.oom_control',
      '/sys/fs/cgroup/memory.events',
    ];
  } catch {
    return [];
  }
}
