// The coordinator's own opinion on a sum: an engine in this process, whose results are the definition of what shards
// give. It is made when the first answers differ, for most runs never need it.
import { ByteFingerprinter, fingerprintOf } from '../src/engine/fingerprint.ts';
import { LocalEngine } from '../src/engine/local-engine.ts';
import type { LocalEngineOptions } from '../src/engine/local-engine.ts';
import { leavesUnder } from '../src/tree.ts';
import type { TreeNode } from '../src/tree.ts';
import type { CutRows } from './compute.ts';
import { digestSum } from './digest.ts';
import type { DigestKind } from './machine/events.ts';
import type { TrainingState } from './training-state.ts';

/** A node of a round. */
export interface Question {
  readonly kind: 'train' | 'evaluate';
  readonly batch: CutRows;
  readonly node: TreeNode;
  readonly digest: DigestKind;
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

  /** Digests of the node's sum with the current weights, by piece. Takes as long as a worker with one thread. */
  judge({ kind, batch, node, digest }: Question): string[] {
    this.#takeWeights();
    const numLeaves = batch.bounds.length - 1;
    const { from, to } = leavesUnder(node, numLeaves);
    const firstRow = batch.bounds[from] as number;
    const bounds = batch.bounds.slice(from, to + 1).map((bound) => bound - firstRow);
    const indices = batch.indices.slice(firstRow, batch.bounds[to]);
    const range = { numLeaves, firstLeaf: from, bounds, indices };
    const { kernels, memory } = this.#engine;
    const digestAt = (address: number, length: number, lossSum: number): string => {
      const fingerprint = fingerprintOf(kernels, address, length);
      return digestSum(kernels, memory, digest, { address, length, fingerprint, lossSum }).digest;
    };
    if (kind === 'evaluate') {
      const { outputs, lossSums } = this.#engine.evaluateRange(range);
      const address = this.#outputs.copy(
        new Uint8Array(outputs.buffer, outputs.byteOffset, outputs.byteLength),
      );
      return [digestAt(address, outputs.length, lossSums[0] as number)];
    }
    const digests: string[] = [];
    this.#engine.trainRange({ ...range, step: this.#state.step }, ({ piece, address, lossSum }) => {
      digests[piece] = digestAt(address, this.#state.model.pieces[piece]?.length ?? 0, lossSum ?? 0);
    });
    return digests;
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
