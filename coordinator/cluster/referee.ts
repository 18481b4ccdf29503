// The coordinator's own opinion on a sum: an engine in this process, whose results are the definition of what shards
// give. It is made when the first answers differ, for most runs never need it.
import { ByteFingerprinter, fingerprintOf } from '../../src/engine/fingerprint.ts';
import { LocalEngine } from '../../src/engine/local-engine.ts';
import type { LocalEngineOptions } from '../../src/engine/local-engine.ts';
import { shardsUnder } from '../../src/tree.ts';
import type { TreeNode } from '../../src/tree.ts';
import type { CutRows } from '../training/compute.ts';
import { digestSum } from './digest.ts';
import type { DigestKind } from '../scheduler/events.ts';
import type { TrainingState } from '../training/training-state.ts';

/** A node of a round. */
export interface Question {
  readonly kind: 'train' | 'evaluate';
  readonly batch: CutRows;
  readonly node: TreeNode;
}

/** A bucket of a node's sum, or its outputs. */
export interface OwnSum {
  readonly bucket: number;
  /** A copy. */
  readonly bytes: Uint8Array;
  readonly fingerprint: string;
  readonly lossSum: number | undefined;
}

/** The same in the engine's memory, until the next one is computed. */
interface SumAt {
  readonly bucket: number;
  readonly address: number;
  /** f32. */
  readonly length: number;
  readonly lossSum: number | undefined;
}

/** See the head of this file. */
export class Referee {
  readonly #engine: LocalEngine;
  readonly #state: TrainingState;
  /** Where the engine's memory holds the weights. */
  readonly #weights: number;
  readonly #outputs: ByteFingerprinter;
  #packedVersion = -1;

  private constructor(engine: LocalEngine, state: TrainingState) {
    this.#engine = engine;
    this.#state = state;
    this.#weights = engine.memory.allocate(4 * state.model.numParameters, 'weights of the referee');
    this.#outputs = new ByteFingerprinter(engine.kernels, engine.memory);
  }

  /** Lays out an engine in a memory of its own. @throws LockstepError where 4 GiB do not suffice. */
  static async create(options: Omit<LocalEngineOptions, 'memory'>, state: TrainingState): Promise<Referee> {
    return new Referee(await LocalEngine.create(options), state);
  }

  /** Digests of the node's sum with the current weights, by bucket. Takes as long as a worker with one thread. */
  judge(question: Question, digest: DigestKind): string[] {
    const { kernels, memory } = this.#engine;
    const digests: string[] = [];
    this.#compute(question, ({ bucket, address, length, lossSum = 0 }) => {
      const fingerprint = fingerprintOf(kernels, address, length);
      digests[bucket] = digestSum(kernels, memory, digest, { address, length, fingerprint, lossSum }).digest;
    });
    return digests;
  }

  /** The node's sum with the current weights, as a worker would send it. */
  compute(question: Question): OwnSum[] {
    const { kernels, memory } = this.#engine;
    const sums: OwnSum[] = [];
    this.#compute(question, ({ bucket, address, length, lossSum }) => {
      const bytes = memory.bytes(address, 4 * length).slice();
      sums.push({ bucket, bytes, fingerprint: fingerprintOf(kernels, address, length), lossSum });
    });
    return sums;
  }

  #compute({ kind, batch, node }: Question, report: (sum: SumAt) => void): void {
    this.#takeWeights();
    const numShards = batch.bounds.length - 1;
    const { from, to } = shardsUnder(node, numShards);
    const firstRow = batch.bounds[from] as number;
    const bounds = batch.bounds.slice(from, to + 1).map((bound) => bound - firstRow);
    const indices = batch.indices.slice(firstRow, batch.bounds[to]);
    const task = { numShards, firstShard: from, bounds, indices };
    if (kind === 'train') {
      return this.#engine.trainTask({ ...task, step: this.#state.step }, ({ bucket, address, lossSum }) =>
        report({ bucket, address, length: this.#state.model.buckets[bucket]?.length ?? 0, lossSum }),
      );
    }
    const { outputs, lossSums } = this.#engine.evaluateTask(task);
    const bytes = new Uint8Array(outputs.buffer, outputs.byteOffset, outputs.byteLength);
    report({ bucket: 0, address: this.#outputs.copy(bytes), length: outputs.length, lossSum: lossSums[0] });
  }

  #takeWeights(): void {
    const { memory, model, parameters, version } = this.#state;
    if (this.#packedVersion === version) return;
    const byteLength = 4 * model.numParameters;
    this.#engine.memory.bytes(this.#weights, byteLength).set(memory.bytes(parameters, byteLength));
    this.#engine.setWeights(this.#weights);
    this.#packedVersion = version;
  }
}
