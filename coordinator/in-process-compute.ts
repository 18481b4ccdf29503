// Computing in the coordinator's own process: no workers, no sockets, the same bits.
import type { PackedDataset } from '../src/data/dataset.ts';
import { LocalEngine } from '../src/engine/local-engine.ts';
import type { KernelModule } from '../src/kernels/kernels.ts';
import type { Loss } from '../src/losses/loss.ts';
import { evaluationLeafRows } from './compute.ts';
import type { Batch, Compute, Evaluation, StepResult } from './compute.ts';
import type { TrainingState } from './training-state.ts';

/** What an in-process compute is made from. */
export interface InProcessOptions {
  readonly kernelModule: KernelModule;
  readonly state: TrainingState;
  readonly loss: Loss;
  readonly seed: number;
  readonly dataset: PackedDataset;
  readonly batchSize: number;
  readonly shards: number;
}

/** A `Compute` without workers. */
export class InProcessCompute implements Compute {
  readonly numWorkers = 0;
  readonly #state: TrainingState;
  readonly #engine: LocalEngine;

  private constructor(state: TrainingState, engine: LocalEngine) {
    this.#state = state;
    this.#engine = engine;
  }

  static async create(options: InProcessOptions): Promise<InProcessCompute> {
    const { state } = options;
    const { model, memory } = state;
    return new InProcessCompute(state, await LocalEngine.create({ ...options, model, memory }));
  }

  async trainStep(batch: Batch): Promise<StepResult> {
    const state = this.#state;
    this.#engine.setWeights(state.parameters);
    const lossSum = this.#engine.train(batch.indices, state.step, ({ piece, address }) => {
      state.finishPiece(piece, address, batch.indices.length);
    });
    // Other work of the process (signals, output) gets its turn once a step.
    await new Promise((resolve) => setImmediate(resolve));
    return { lossSum, ...state.commit() };
  }

  evaluate(indices: Uint32Array): Promise<Evaluation> {
    this.#engine.setWeights(this.#state.parameters);
    return Promise.resolve(this.#engine.evaluate(indices, evaluationLeafRows(this.#state.model.outputWidth)));
  }

  weightsReplaced(): void {
    // Nobody else holds them.
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
