// Adam over the flat parameter vector, piece by piece. The state exists twice: a step reads one copy and
// writes the other, and becomes real only at `commit`, so an abandoned step leaves no trace.
import type { OptimizerConfig } from './config/schema.ts';
import type { Kernels } from './kernels/kernels.ts';
import type { Memory } from './memory.ts';
import type { Piece } from './model/model.ts';

interface State {
  readonly parameters: number;
  readonly firstMoments: number;
  readonly secondMoments: number;
}

/** Bytes of the optimizer's state for a model: parameters and two moments, twice. */
export function optimizerBytes(numParameters: number): number {
  return 2 * 3 * 4 * numParameters;
}

/** Adam as in PyTorch; moments start at zero, steps count from 1. */
export class Adam {
  readonly #kernels: Kernels;
  readonly #config: OptimizerConfig;
  #current: State;
  #next: State;
  #numSteps = 0;

  constructor(kernels: Kernels, memory: Memory, numParameters: number, config: OptimizerConfig) {
    this.#kernels = kernels;
    this.#config = config;
    const allocate = (): State => ({
      parameters: memory.allocate(4 * numParameters, 'weights'),
      firstMoments: memory.allocate(4 * numParameters, 'optimizer state'),
      secondMoments: memory.allocate(4 * numParameters, 'optimizer state'),
    });
    this.#current = allocate();
    this.#next = allocate();
  }

  /** Address of the committed parameters, f32 [numParameters]. */
  get parameters(): number {
    return this.#current.parameters;
  }

  /** Address of the parameters of the step in progress: valid for the pieces applied so far. */
  get nextParameters(): number {
    return this.#next.parameters;
  }

  /** Steps committed. */
  get numSteps(): number {
    return this.#numSteps;
  }

  /** Updates one piece from the sum of gradients over `count` samples. Every piece, once a step, in any order. */
  applyPiece(piece: Piece, gradientSum: number, count: number): void {
    const { learningRate, beta1, beta2, epsilon } = this.#config;
    const t = this.#numSteps + 1;
    const offset = 4 * piece.offset;
    const at = (state: State): [number, number, number] => [
      state.parameters + offset,
      state.firstMoments + offset,
      state.secondMoments + offset,
    ];
    this.#kernels.adamStep(
      piece.length,
      gradientSum,
      count,
      ...at(this.#current),
      ...at(this.#next),
      beta1,
      1 - beta1,
      beta2,
      1 - beta2,
      learningRate / (1 - integerPower(beta1, t)),
      Math.sqrt(1 - integerPower(beta2, t)),
      epsilon,
    );
  }

  /** Makes the step real, once all pieces are applied. */
  commit(): void {
    [this.#current, this.#next] = [this.#next, this.#current];
    this.#numSteps++;
  }
}

/** base^exponent by repeated squaring: multiplications only, so the same bits everywhere. */
export function integerPower(base: number, exponent: number): number {
  let result = 1;
  let square = base;
  for (let rest = exponent; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result *= square;
    square *= square;
  }
  return result;
}
