// Drives a round machine through its events, without a socket or a clock.
import type { RoundCommand, RoundEvent } from '../../coordinator/scheduler/events.ts';
import { RoundMachine } from '../../coordinator/scheduler/round-machine.ts';
import { maximalNodes } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';

/** A machine with workers, and short ways to tell it things. */
export class RoundDriver {
  readonly machine: RoundMachine;
  nowMs = 0;
  round = 0;
  /** The task that each worker spoke of last. */
  readonly #last = new Map<number, { readonly round: number; readonly task: number }>();
  /** Steps that have begun. */
  step = 0;

  constructor({ workers = 2, share = 0, maxSums = Infinity, maxSumsOfTask = Infinity } = {}) {
    const room = { here: maxSums, ofTask: maxSumsOfTask };
    this.machine = new RoundMachine({ share, random: () => 0.5 }, room);
    for (let worker = 1; worker <= workers; worker++) this.join(worker);
  }

  join(worker: number, process = `process ${worker}`): RoundCommand[] {
    return this.tell({ type: 'workerReady', worker, process });
  }

  tell(event: RoundEvent): RoundCommand[] {
    const commands = this.machine.handle(event, this.nowMs);
    for (const command of commands) if (command.type === 'begin') this.round = command.round;
    return commands;
  }

  /** Begins the next step, or an evaluation after it. */
  start(numShards: number, mode: 'sum' | 'collect' = 'sum'): RoundCommand[] {
    const shardRows = Array<number>(numShards).fill(4);
    const step = mode === 'sum' ? this.step++ : this.step;
    return this.tell({ type: 'roundStarted', plan: { mode, numBuckets: 1, shardRows, step } });
  }

  lose(worker: number): RoundCommand[] {
    return this.tell({ type: 'workerLost', worker });
  }

  /** A worker sends a sum, once it has reported on the task that it was at before. */
  answer(worker: number, task: number, node: TreeNode, digest = 'right', isFinite = true): RoundCommand[] {
    const reported = this.#reportLast(worker, task);
    this.#last.set(worker, { round: this.round, task });
    const sum = { round: this.round, task, node, bucket: 0 };
    const isWanted = this.machine.inspect(worker, sum) !== undefined;
    return [
      ...reported,
      ...this.tell(
        isWanted
          ? { type: 'sumReceived', worker, sum, digest, isFinite }
          : { type: 'sumUnwanted', worker, sum },
      ),
    ];
  }

  /** A worker says that it is through with a task. */
  finish(worker: number, task: number, round = this.round): RoundCommand[] {
    const reported = this.#reportLast(worker, task);
    this.#last.delete(worker);
    return [...reported, ...this.tell({ type: 'taskFinished', worker, round, task })];
  }

  /** A worker says that it cannot compute a task. */
  fail(worker: number, task: number, { isOutOfMemory = false, round = this.round } = {}): RoundCommand[] {
    return this.tell({ type: 'taskFailed', worker, round, task, message: 'trap', isOutOfMemory });
  }

  /** The first step, of two shards: worker 1 computes that of worker 2 as well, which owes its task 2 from then on. */
  endWithoutSecond(): void {
    this.start(2);
    this.nowMs = 10;
    this.answer(1, 1, LEAF(0));
    this.nowMs = 1_000;
    this.tell({ type: 'tick' });
    this.answer(1, 3, LEAF(1));
  }

  #reportLast(worker: number, task: number): RoundCommand[] {
    const last = this.#last.get(worker);
    if (!last || last.task === task) return [];
    return this.tell({ type: 'taskFinished', worker, ...last });
  }

  /** A worker sends all sums of a task. */
  answerAll(command: RoundCommand, numShards: number): RoundCommand[] {
    if (command.type !== 'assign') throw new Error('not a task');
    const { worker, task, from, to } = command;
    return maximalNodes(from, to, numShards).flatMap((node) => this.answer(worker, task, node));
  }

  judged(node: TreeNode, digest = 'right'): RoundCommand[] {
    return this.tell({ type: 'judged', round: this.round, node, digests: [digest] });
  }
}

/** A task for a worker. */
export function assign(worker: number, task: number, from: number, to: number): RoundCommand {
  return { type: 'assign', worker, task, from, to };
}

/** Those commands that are of a type. */
export const ofType = (commands: readonly RoundCommand[], type: RoundCommand['type']): RoundCommand[] =>
  commands.filter((command) => command.type === type);

/** The node of a single shard. */
export const LEAF = (index: number): TreeNode => ({ level: 0, index });
