// What a coordinator with workers computes itself, in its own engine: judgements on sums that differ, and shards that no
// worker computes, or says so. The engine is made when it is first needed, which for most runs is never.
import { LockstepError } from '../../src/errors.ts';
import { failpoint } from '../../src/failpoint.ts';
import type { Logger } from '../../src/log.ts';
import { formatBytes } from '../../src/memory.ts';
import type { EvaluationMessage, GradientMessage, Received } from '../../src/protocol/message-types.ts';
import { lift } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';
import type { ActiveRound } from './active-round.ts';
import type { DigestKind } from '../scheduler/events.ts';
import type { Referee } from './referee.ts';
import type { TrainingState } from '../training/training-state.ts';

/** What it works with. */
export interface OwnWorkOptions {
  readonly run: string;
  readonly state: TrainingState;
  readonly log: Logger;
  readonly createReferee: () => Promise<Referee>;
  /** Memory that the referee takes. */
  readonly refereeBytes: number;
}

/** See the head of this file. Messages that have come already are handled before anything is computed. */
export class OwnWork {
  readonly #options: OwnWorkOptions;
  #referee: Promise<Referee> | undefined;

  constructor(options: OwnWorkOptions) {
    this.#options = options;
  }

  /** What a node's digests are, by bucket; undefined if the round is no longer the current one. */
  async judge(
    { kind, batch }: ActiveRound,
    node: TreeNode,
    digest: DigestKind,
    isCurrent: () => boolean,
  ): Promise<string[] | undefined> {
    const referee = await (this.#referee ??= this.#options.createReferee());
    await new Promise((resolve) => setImmediate(resolve));
    return isCurrent() ? referee.judge({ kind, batch, node }, digest) : undefined;
  }

  /** A shard as a worker would answer it; nothing if the round is no longer the current one. */
  async compute(
    { kind, batch, round }: ActiveRound,
    task: number,
    shard: number,
    isCurrent: () => boolean,
  ): Promise<Received<GradientMessage | EvaluationMessage>[]> {
    const { run, state, log } = this.#options;
    const referee = await this.#refereeThatFits();
    await new Promise((resolve) => setImmediate(resolve));
    if (!isCurrent()) return [];
    log.warn(`the coordinator computes ${kind === 'train' ? 'shard' : 'evaluation shard'} ${shard} itself`);
    const row = batch.indices.slice(batch.bounds[shard], batch.bounds[shard + 1]);
    failpoint('coordinator.compute', { type: kind, step: state.step, row });
    const node = lift({ level: 0, index: shard }, batch.bounds.length - 1);
    const key = { run, round, task, weights: state.fingerprint };
    return referee.compute({ kind, batch, node }).map(({ bucket, bytes: body, fingerprint, lossSum }) =>
      kind === 'train'
        ? { message: { type: 'gradient', ...key, ...node, bucket, fingerprint, lossSum }, body }
        : {
            message: { type: 'evaluation', ...key, shard, fingerprint, lossSum: lossSum ?? Number.NaN },
            body,
          },
    );
  }

  /** @throws LockstepError where memory is short: workers may have run out of it, and this process must not. */
  #refereeThatFits(): Promise<Referee> {
    const { createReferee, refereeBytes } = this.#options;
    const freeBytes = process.availableMemory();
    if (!this.#referee && freeBytes < refereeBytes) {
      const message = `out of memory: it needs ${formatBytes(refereeBytes)}, and ${formatBytes(freeBytes)} are free`;
      throw new LockstepError({ category: 'failure', code: 'E_MEMORY', message });
    }
    return (this.#referee ??= createReferee());
  }
}
