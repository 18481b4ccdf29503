// The weights and everything that changes them: the coordinator is their only writer. A step reaches them
// piece by piece, as reductions finish, and becomes real when all pieces have; a piece that is not finite
// stops it before anything is kept.
import { createHash } from 'node:crypto';
import type { OptimizerConfig } from '../src/config/schema.ts';
import { combineFingerprints, fingerprintOf } from '../src/engine/fingerprint.ts';
import { LockstepError } from '../src/errors.ts';
import type { Kernels } from '../src/kernels/kernels.ts';
import type { Memory } from '../src/memory.ts';
import type { Model, Piece } from '../src/model/model.ts';
import { Adam } from '../src/optimizer.ts';

/** What a training state is made from; `initialize` fills the flat vector at the given address. */
export interface TrainingStateOptions {
  readonly kernels: Kernels;
  readonly memory: Memory;
  readonly model: Model;
  readonly optimizer: OptimizerConfig;
  readonly initialize: (address: number) => void;
}

/** A piece of the weights of one version, and the fingerprint of its bytes. */
export interface WeightsPiece {
  /** A view: valid until the next step finishes the same piece. */
  readonly bytes: Uint8Array;
  readonly fingerprint: string;
}

/** Weights, optimizer state, and the best weights so far. */
export class TrainingState {
  readonly kernels: Kernels;
  readonly memory: Memory;
  readonly model: Model;
  readonly #optimizer: Adam;
  readonly #learningRate: number;
  readonly #best: number;
  #fingerprints: string[];
  /** All of `#fingerprints` in one, once somebody asked. */
  #fingerprint: string | undefined;
  #nextFingerprints: string[] = [];
  #squares: number[] = [];
  #version = 0;
  #hasBest = false;

  constructor({ kernels, memory, model, optimizer, initialize }: TrainingStateOptions) {
    this.kernels = kernels;
    this.memory = memory;
    this.model = model;
    this.#optimizer = new Adam(kernels, memory, model.numParameters, optimizer);
    this.#learningRate = optimizer.learningRate;
    this.#best = memory.allocate(4 * model.numParameters, 'best weights');
    initialize(this.#optimizer.parameters);
    this.#fingerprints = this.#fingerprintAll();
  }

  /** Counts every change of the weights; what a worker computed with is named by it. */
  get version(): number {
    return this.#version;
  }

  /** Steps committed. */
  get step(): number {
    return this.#optimizer.numSteps;
  }

  /** Fingerprint of the whole vector of the current version. */
  get fingerprint(): string {
    return (this.#fingerprint ??= combineFingerprints(this.#fingerprints));
  }

  /** Address of the flat f32 vector of the current version. */
  get parameters(): number {
    return this.#optimizer.parameters;
  }

  get learningRate(): number {
    return this.#learningRate;
  }

  /** A piece of the current version. */
  currentPiece(index: number): WeightsPiece {
    return this.#weightsPiece(this.#optimizer.parameters, index, this.#fingerprints);
  }

  /** A piece of the version that the step in progress makes; undefined until it is finished. */
  nextPiece(index: number): WeightsPiece | undefined {
    if (this.#nextFingerprints[index] === undefined) return undefined;
    return this.#weightsPiece(this.#optimizer.nextParameters, index, this.#nextFingerprints);
  }

  /**
   * Takes the sum of gradients over samples of a total weight of `count`, for one piece (f32 at `gradientSum`), through
   * the optimizer.
   * @throws LockstepError (exit 6) where it is not finite; the step is then abandoned.
   */
  finishPiece(index: number, gradientSum: number, count: number): void {
    const piece = this.#piece(index);
    const squares = this.kernels.sumSquares(gradientSum, piece.length);
    if (!Number.isFinite(squares)) throw this.#diverged(piece, gradientSum);
    this.#squares[index] = squares / (count * count);
    this.#optimizer.applyPiece(piece, gradientSum, count);
    const address = this.#optimizer.nextParameters + 4 * piece.offset;
    this.#nextFingerprints[index] = fingerprintOf(this.kernels, address, piece.length);
  }

  /** Makes the step real; returns the norm of its mean gradient. */
  commit(): { gradNorm: number } {
    this.#optimizer.commit();
    this.#fingerprints = this.#nextFingerprints;
    this.#nextFingerprints = [];
    this.#fingerprint = undefined;
    this.#version++;
    return { gradNorm: Math.sqrt(this.#squares.reduce((sum, square) => sum + square, 0)) };
  }

  /** True once `keepBest` was called: an epoch is done. */
  get hasBest(): boolean {
    return this.#hasBest;
  }

  /** Remembers the current weights as the best. */
  keepBest(): void {
    this.#hasBest = true;
    const { numParameters } = this.model;
    this.memory.f32(this.#best, numParameters).set(this.memory.f32(this.parameters, numParameters));
  }

  /** Makes the best weights current, as a new version. */
  restoreBest(): void {
    const { numParameters } = this.model;
    this.memory.f32(this.parameters, numParameters).set(this.memory.f32(this.#best, numParameters));
    this.#fingerprints = this.#fingerprintAll();
    this.#fingerprint = undefined;
    this.#version++;
  }

  /** SHA-256 over the little-endian f32 bytes of the current flat vector. */
  weightsSha256(): string {
    const bytes = this.memory.bytes(this.parameters, 4 * this.model.numParameters);
    return createHash('sha256').update(bytes).digest('hex');
  }

  #weightsPiece(base: number, index: number, fingerprints: readonly string[]): WeightsPiece {
    const piece = this.#piece(index);
    const bytes = this.memory.bytes(base + 4 * piece.offset, 4 * piece.length);
    return { bytes, fingerprint: fingerprints[index] as string };
  }

  #piece(index: number): Piece {
    const piece = this.model.pieces[index];
    if (!piece) throw new RangeError(`the model has no piece ${index}`);
    return piece;
  }

  #fingerprintAll(): string[] {
    return this.model.pieces.map((piece) =>
      fingerprintOf(this.kernels, this.parameters + 4 * piece.offset, piece.length),
    );
  }

  #diverged(piece: Piece, gradientSum: number): LockstepError {
    const values = this.memory.f32(gradientSum, piece.length);
    const at = piece.offset + values.findIndex((value) => !Number.isFinite(value));
    const tensor = this.model.tensors.find(({ offset, length }) => at >= offset && at < offset + length);
    return new LockstepError({
      category: 'diverged',
      code: 'E_DIVERGED',
      message: `diverged at step ${this.#optimizer.numSteps + 1}: the gradient of ${tensor?.name ?? 'the model'} is not finite`,
      help: `lower optimizer.learningRate (now ${this.#learningRate})`,
    });
  }
}
