// Drives a round machine through its events, without a socket or a clock.
import type { RoundCommand, RoundEvent } from '../../coordinator/machine/events.ts';
import { RoundMachine } from '../../coordinator/machine/round-machine.ts';
import { maximalNodes } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';

/** A machine with workers, and short ways to tell it things. */
export class RoundDriver {
  readonly machine: RoundMachine;
  nowMs = 0;
  round = 0;
  /** The range that each worker spoke of last. */
  readonly #last = new Map<number, { readonly round: number; readonly attempt: number }>();
  /** Steps that have begun. */
  step = 0;

  constructor({ workers = 2, share = 0, maxSums = Infinity, maxSumsOfRange = Infinity } = {}) {
    const room = { here: maxSums, ofRange: maxSumsOfRange };
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

  /** A worker sends a sum, once it has reported on the range that it was at before. */
  answer(worker: number, attempt: number, node: TreeNode, digest = 'right', isFinite = true): RoundCommand[] {
    const reported = this.#reportLast(worker, attempt);
    this.#last.set(worker, { round: this.round, attempt });
    const sum = { round: this.round, attempt, node, bucket: 0 };
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

  /** A worker says that it is through with a range. */
  finish(worker: number, attempt: number, round = this.round): RoundCommand[] {
    const reported = this.#reportLast(worker, attempt);
    this.#last.delete(worker);
    return [...reported, ...this.tell({ type: 'rangeFinished', worker, round, attempt })];
  }

  /** A worker says that it cannot compute a range. */
  fail(worker: number, attempt: number, { isOutOfMemory = false, round = this.round } = {}): RoundCommand[] {
    return this.tell({ type: 'rangeFailed', worker, round, attempt, message: 'trap', isOutOfMemory });
  }

  /** The first step, of two shards: worker 1 computes that of worker 2 as well, which owes its range 2 from then on. */
  endWithoutSecond(): void {
    this.start(2);
    this.nowMs = 10;
    this.answer(1, 1, LEAF(0));
    this.nowMs = 1_000;
    this.tell({ type: 'tick' });
    this.answer(1, 3, LEAF(1));
  }

  #reportLast(worker: number, attempt: number): RoundCommand[] {
    const last = this.#last.get(worker);
    if (!last || last.attempt === attempt) return [];
    return this.tell({ type: 'rangeFinished', worker, ...last });
  }

  /** A worker sends all sums of a range. */
  answerAll(command: RoundCommand, numShards: number): RoundCommand[] {
    if (command.type !== 'assign') throw new Error('not a range');
    const { worker, attempt, from, to } = command;
    return maximalNodes(from, to, numShards).flatMap((node) => this.answer(worker, attempt, node));
  }

  judged(node: TreeNode, digest = 'right'): RoundCommand[] {
    return this.tell({ type: 'judged', round: this.round, node, digests: [digest] });
  }
}

/** A range for a worker. */
export function assign(worker: number, attempt: number, from: number, to: number): RoundCommand {
  return { type: 'assign', worker, attempt, from, to };
}

/** Those commands that are of a type. */
export const ofType = (commands: readonly RoundCommand[], type: RoundCommand['type']): RoundCommand[] =>
  commands.filter((command) => command.type === type);

/** The node of a single shard. */
export const LEAF = (index: number): TreeNode => ({ level: 0, index });
