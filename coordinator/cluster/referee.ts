// The coordinator's own engine, whose results define what shards give: it computes nodes on which
// sums differ, and shards that no worker computes, or says so. The engine is made when it is first
// needed, which for most runs is never.
import { ByteFingerprinter, fingerprintOf } from '../../src/engine/fingerprint.ts';
import { blobByteLength } from '../../src/data/dataset/packed-dataset.ts';
import { streamedRows } from '../../src/engine/local-engine.ts';
import type { LocalEngine } from '../../src/engine/local-engine.ts';
import { heldLayout } from '../../src/engine/samples.ts';
import type { EnginePlan } from '../../src/engine/plan.ts';
import { LockstepError } from '../../src/errors.ts';
import { failpoint } from '../../src/failpoint.ts';
import type { Logger } from '../../src/log.ts';
import { formatBytes } from '../../src/memory.ts';
import { GradientSums } from '../../src/model/gradient-sums.ts';
import type { Bucket } from '../../src/model/model.ts';
import type {
  EvaluationMessage,
  GradientMessage,
  Received,
  WelcomeMessage,
} from '../../src/protocol/message-types.ts';
import { lift, shardsUnder } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';
import type { DigestKind } from '../scheduler/outcome.ts';
import { digestSum } from './partial-sums.ts';
import type { Round, RoundState } from './round.ts';

/** The parts that a referee works with. */
export interface RefereeOptions {
  readonly run: string;
  readonly state: RoundState;
  readonly log: Logger;
  /** Most groups of shards whose sums are rounded; undefined where no sum is. */
  readonly groups: number | undefined;
  /** Makes an engine with a memory of its own. @throws LockstepError where 4 GiB do not suffice */
  readonly createEngine: () => Promise<LocalEngine>;
  /** Memory that the engine takes. */
  readonly engineBytes: number;
}

/** A bucket of a node's sum, or its outputs, in the engine's memory until the next node is computed. */
interface SumAt {
  readonly bucket: number;
  readonly address: number;
  /** Number of f32. */
  readonly length: number;
  readonly lossSum: number | undefined;
}

/** Memory of a referee's engine: of one thread, with one version of the weights, and the rows that it holds. */
export function refereeBytes(
  { bytes }: EnginePlan,
  { batchSize, isStreamed, layout }: Pick<WelcomeMessage, 'batchSize' | 'isStreamed' | 'layout'>,
): number {
  const { weights, packedWeights, gradients, activations, scratch } = bytes;
  const held = heldLayout(layout, isStreamed ? streamedRows({ batchSize }) : undefined);
  return weights / 2 + packedWeights + gradients + activations + scratch + blobByteLength(held);
}

/** The engine, and what it holds of the run. */
interface EngineState {
  readonly engine: LocalEngine;
  /** Address of the weights in the engine's memory. */
  readonly weights: number;
  readonly sums: GradientSums;
  readonly outputs: ByteFingerprinter;
  packedVersion: number;
}

/** The referee of one run. Messages that have arrived already are handled before it computes anything. */
export class Referee {
  readonly #options: RefereeOptions;
  #own: Promise<EngineState> | undefined;

  constructor(options: RefereeOptions) {
    this.#options = options;
  }

  /** Digests of a node's sum, by bucket; undefined if the round is no longer the current one. */
  async judge(
    round: Round,
    node: TreeNode,
    kind: DigestKind,
    isCurrent: () => boolean,
  ): Promise<string[] | undefined> {
    const own = await (this.#own ??= this.#createEngine());
    await new Promise((resolve) => setImmediate(resolve));
    if (!isCurrent()) return undefined;
    const { kernels, memory } = own.engine;
    const digests: string[] = [];
    this.#compute(own, round, node, ({ bucket, address, length, lossSum = 0 }) => {
      const fingerprint = fingerprintOf(kernels, address, length);
      digests[bucket] = digestSum(kernels, memory, kind, { address, length, fingerprint, lossSum }).digest;
    });
    return digests;
  }

  /** The messages by which a worker would deliver a shard; none if the round is no longer the current one. */
  async compute(
    round: Round,
    task: number,
    shard: number,
    isCurrent: () => boolean,
  ): Promise<Received<GradientMessage | EvaluationMessage>[]> {
    const { run, state, log } = this.#options;
    const own = await this.#engineThatFits();
    await new Promise((resolve) => setImmediate(resolve));
    if (!isCurrent()) return [];
    const { kind, number } = round;
    log.warn(`the coordinator computes ${kind === 'train' ? 'shard' : 'evaluation shard'} ${shard} itself`);
    failpoint('coordinator.compute', { type: kind, step: state.step, row: round.rowsOf(shard) });
    const node = lift({ level: 0, index: shard }, round.rows.numShards);
    const key = { run, round: number, task, weightsFingerprint: state.weightsFingerprint };
    const messages: Received<GradientMessage | EvaluationMessage>[] = [];
    this.#compute(own, round, node, ({ bucket, address, length, lossSum }) => {
      const { kernels, memory } = own.engine;
      const fingerprint = fingerprintOf(kernels, address, length);
      if (kind === 'evaluate') {
        const body = memory.bytes(address, 4 * length).slice();
        const loss = { lossSum: lossSum ?? Number.NaN };
        messages.push({ message: { type: 'evaluation', ...key, shard, fingerprint, ...loss }, body });
        return;
      }
      const slice = { ...(state.model.buckets[bucket] as Bucket), node, numShards: round.numShards };
      own.sums.pack(address, slice);
      const body = memory.bytes(address, own.sums.byteLength(slice)).slice();
      messages.push({ message: { type: 'gradient', ...key, ...node, bucket, fingerprint, lossSum }, body });
    });
    return messages;
  }

  /** Computes a node with the current weights. Takes as long as a worker with one thread. */
  #compute(own: EngineState, round: Round, node: TreeNode, report: (sum: SumAt) => void): void {
    this.#takeWeights(own);
    const { engine } = own;
    const { from, to } = shardsUnder(node, round.rows.numShards);
    const task = round.part(from, to);
    const { model, step } = this.#options.state;
    if (round.kind === 'train') {
      return engine.trainTask(task, step, ({ bucket, address, lossSum }) =>
        report({ bucket, address, length: model.buckets[bucket]?.length ?? 0, lossSum }),
      );
    }
    const { outputs, lossSums } = engine.evaluateTask(task);
    const bytes = new Uint8Array(outputs.buffer, outputs.byteOffset, outputs.byteLength);
    report({ bucket: 0, address: own.outputs.copy(bytes), length: outputs.length, lossSum: lossSums[0] });
  }

  #takeWeights(own: EngineState): void {
    const { memory, model, parameters, version } = this.#options.state;
    if (own.packedVersion === version) return;
    const byteLength = 4 * model.numParameters;
    own.engine.memory.bytes(own.weights, byteLength).set(memory.bytes(parameters, byteLength));
    own.engine.setWeights(own.weights);
    own.packedVersion = version;
  }

  async #createEngine(): Promise<EngineState> {
    const { createEngine, groups, state } = this.#options;
    const engine = await createEngine();
    const weights = engine.memory.allocate(4 * state.model.numParameters, 'weights of the referee');
    const sums = new GradientSums(engine.kernels, state.model, groups);
    const outputs = new ByteFingerprinter(engine.kernels, engine.memory);
    return { engine, weights, sums, outputs, packedVersion: -1 };
  }

  /**
   * Makes the engine where memory suffices.
   * @throws LockstepError: workers may have run out of it, and this process must not
   */
  #engineThatFits(): Promise<EngineState> {
    const { engineBytes } = this.#options;
    const freeBytes = process.availableMemory();
    if (!this.#own && freeBytes < engineBytes) {
      const message = `out of memory: it needs ${formatBytes(engineBytes)}, but only ${formatBytes(freeBytes)} are free`;
      throw new LockstepError({ category: 'failure', code: 'E_MEMORY', message });
    }
    return (this.#own ??= this.#createEngine());
  }
}
