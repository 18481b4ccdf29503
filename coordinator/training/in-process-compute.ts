// Computing in the coordinator's own process: no workers, no sockets, the same bits.
import { evaluationWidth } from '../../src/engine/samples.ts';
import { LocalEngine } from '../../src/engine/local-engine.ts';
import { evaluationShardRows } from './compute.ts';
import type { Batch, Compute, Evaluation, StepResult } from './compute.ts';
import type { PreparedRun } from './prepare.ts';
import type { TrainingState } from './training-state.ts';

/** A `Compute` without workers. */
export class InProcessCompute implements Compute {
  readonly numWorkers = 0;
  readonly #state: TrainingState;
  readonly #engine: LocalEngine;
  readonly #evaluationWidth: number;

  private constructor(state: TrainingState, engine: LocalEngine, width: number) {
    this.#state = state;
    this.#engine = engine;
    this.#evaluationWidth = width;
  }

  /** The state lives in the memory of the run. */
  static async create(prepared: PreparedRun, state: TrainingState): Promise<InProcessCompute> {
    const { loss, seed, batchSize, shards } = prepared.config;
    const { dataset } = prepared.data;
    const engine = await LocalEngine.create({ ...prepared, loss, seed, batchSize, shards, dataset });
    return new InProcessCompute(state, engine, evaluationWidth(prepared.model, dataset.layout, loss));
  }

  async trainStep(batch: Batch): Promise<StepResult> {
    const state = this.#state;
    this.#engine.setWeights(state.parameters);
    const lossSum = this.#engine.trainBatch(batch.indices, state.step, ({ bucket, address }) => {
      state.finishBucket(bucket, address, batch.weight, batch.indices.length);
    });
    // Other work of the process (signals, output) gets its turn once a step.
    await new Promise((resolve) => setImmediate(resolve));
    return { lossSum, ...state.commit() };
  }

  evaluate(indices: Uint32Array): Promise<Evaluation> {
    this.#engine.setWeights(this.#state.parameters);
    return Promise.resolve(this.#engine.evaluateRows(indices, evaluationShardRows(this.#evaluationWidth)));
  }

  weightsReplaced(): void {
    // Nobody else holds them.
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
