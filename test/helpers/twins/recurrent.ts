// LSTM and GRU over sequences, in the order of operations of src/layers/recurrent/runner.ts.
// Letters: B samples, T positions, I features, H units, G = gates x H.
import type { Arithmetic, Values } from './arithmetic.ts';
import { columnSum, multiply, multiplyTree, transpose } from './matrix.ts';
import { STEP_TWINS } from './recurrent-steps.ts';
import { at } from './tree.ts';

type Numbers = ArrayLike<number>;

export interface RecurrentCase {
  readonly kind: keyof typeof STEP_TWINS;
  readonly positions: number;
  readonly inputs: number;
  readonly units: number;
  readonly returnSequences: boolean;
}

export interface RecurrentRun {
  /** In the order of the flat vector: weight_ih [G, I], weight_hh [G, H], bias_ih [G], bias_hh [G]. */
  readonly weights: Numbers;
  /** [B, T, I] */
  readonly x: Numbers;
  /** [B, T, H], or [B, H] of the last position. */
  readonly dY: Numbers;
  /** Shards in samples. */
  readonly bounds: Numbers;
}

export interface RecurrentResult {
  readonly y: Values;
  readonly dX: Values;
  /** In the layout of the flat vector. */
  readonly gradient: Values;
}

/** The layer forward and backward. */
export function runRecurrent(
  arithmetic: Arithmetic,
  layer: RecurrentCase,
  run: RecurrentRun,
): RecurrentResult {
  const sizes = sizesOf(layer, run);
  const weights = splitWeights(arithmetic, sizes, run.weights);
  const x = arithmetic.from(run.x);
  const blocks = runForward(arithmetic, sizes, weights, x);
  runBackward(arithmetic, sizes, weights, blocks, run.dY);
  const { hidden } = blocks;
  return {
    y: layer.returnSequences ? hidden.values : hidden.at(layer.positions - 1),
    ...gradientsOf(arithmetic, sizes, weights, blocks, { x, bounds: run.bounds }),
  };
}

interface Sizes extends RecurrentCase {
  readonly samples: number;
  /** B * T */
  readonly rows: number;
  /** G */
  readonly columns: number;
}

function sizesOf(layer: RecurrentCase, { bounds }: RecurrentRun): Sizes {
  const samples = at(bounds, bounds.length - 1);
  const columns = STEP_TWINS[layer.kind].numGates * layer.units;
  return { ...layer, samples, columns, rows: samples * layer.positions };
}

interface Weights {
  readonly input: Values;
  readonly recurrent: Values;
  readonly inputBias: Values;
  readonly recurrentBias: Values;
}

function splitWeights(arithmetic: Arithmetic, { columns, inputs, units }: Sizes, flat: Numbers): Weights {
  const values = arithmetic.from(flat);
  const biases = columns * (inputs + units);
  return {
    input: values.slice(0, columns * inputs),
    recurrent: values.slice(columns * inputs, biases),
    inputBias: values.slice(biases, biases + columns),
    recurrentBias: values.slice(biases + columns),
  };
}

interface Blocks {
  readonly gates: Sequence;
  readonly state: Sequence;
  readonly hidden: Sequence;
  /** h of the position before each; zeros before the first. */
  readonly previous: Sequence;
}

/** The values that a position takes over besides the products. */
function carriedInto({ kind, samples, units }: Sizes, { state, hidden }: Blocks, t: number): Numbers {
  if (t === 0) return new Float32Array(samples * units);
  return (kind === 'lstm' ? state : hidden).at(t - 1);
}

function runForward(arithmetic: Arithmetic, sizes: Sizes, weights: Weights, x: Values): Blocks {
  const { kind, samples, rows, columns, positions, inputs, units } = sizes;
  const sequence = (width: number): Sequence =>
    new Sequence(arithmetic.zeros(rows * width), positions, width);
  const [gates, state, hidden, previous] = [columns, units, units, units].map(sequence) as [
    Sequence,
    Sequence,
    Sequence,
    Sequence,
  ];
  const blocks = { gates, state, hidden, previous };
  const b = transpose(weights.input, columns, inputs);
  gates.values.set(multiply(arithmetic, { m: rows, n: columns, k: inputs, a: x, b }));
  const u = transpose(weights.recurrent, columns, units);
  const bias = packedBias(arithmetic, sizes, weights);
  for (let t = 0; t < positions; t++) {
    if (t > 0) previous.set(t, hidden.at(t - 1));
    const product = { m: samples, n: columns, k: units, a: previous.at(t), b: u };
    const step = STEP_TWINS[kind].forward(arithmetic, units, {
      gates: gates.at(t),
      recurrent: t === 0 ? arithmetic.zeros(samples * columns) : multiply(arithmetic, product),
      bias,
      previous: carriedInto(sizes, blocks, t),
    });
    gates.set(t, step.gates);
    state.set(t, step.state);
    hidden.set(t, step.hidden);
  }
  return blocks;
}

/** Stores in gates and state the values that the kernels leave there. */
function runBackward(
  arithmetic: Arithmetic,
  sizes: Sizes,
  { recurrent }: Weights,
  blocks: Blocks,
  dY: Numbers,
): void {
  const { kind, samples, columns, positions, units, returnSequences } = sizes;
  const { gates, state } = blocks;
  const zeros = arithmetic.zeros(samples * units);
  const errors = new Sequence(arithmetic.from(dY), returnSequences ? positions : 1, units);
  let [dHidden, dState]: [Values, Values] = [zeros, zeros];
  for (let t = positions - 1; t >= 0; t--) {
    const last = t === positions - 1 ? errors.at(0) : zeros;
    const step = STEP_TWINS[kind].backward(arithmetic, units, {
      gates: gates.at(t),
      state: state.at(t),
      previous: carriedInto(sizes, blocks, t),
      dY: returnSequences ? errors.at(t) : last,
      dHidden,
      dState,
    });
    gates.set(t, step.gates);
    state.set(t, step.state);
    dState = step.dState;
    dHidden = multiply(arithmetic, { m: samples, n: units, k: columns, a: step.gates, b: recurrent });
  }
}

function gradientsOf(
  arithmetic: Arithmetic,
  { kind, rows, columns, positions, inputs, units }: Sizes,
  { input }: Weights,
  { gates, state, previous }: Blocks,
  { x, bounds }: { readonly x: Values; readonly bounds: Numbers },
): Omit<RecurrentResult, 'y'> {
  const shards = Array.from(bounds, (bound) => bound * positions);
  const weightGradient = (b: Values, n: number): Values => {
    const a = transpose(gates.values, rows, columns);
    return multiplyTree(arithmetic, { m: columns, n, k: rows, a, b }, shards);
  };
  const recurrentBias = columnSum(arithmetic, gates.values, columns, shards);
  const recurrent = weightGradient(previous.values, units);
  if (kind === 'gru') {
    // The candidate's part from the input replaces its part from the state.
    state.values.forEach((value, i) => {
      gates.values[Math.floor(i / units) * columns + 2 * units + (i % units)] = value;
    });
  }
  const inputBias = columnSum(arithmetic, gates.values, columns, shards);
  const dX = multiply(arithmetic, { m: rows, n: inputs, k: columns, a: gates.values, b: input });
  const dInput = weightGradient(x, inputs);
  return { dX, gradient: arithmetic.from([...dInput, ...recurrent, ...inputBias, ...recurrentBias]) };
}

/** The forward kernels' bias [4, H]. */
function packedBias(
  arithmetic: Arithmetic,
  { kind, units }: Sizes,
  { inputBias, recurrentBias }: Weights,
): Values {
  const sum = inputBias.map((value, i) => arithmetic.round(value + at(recurrentBias, i)));
  if (kind === 'lstm') return arithmetic.from(sum);
  return arithmetic.from([
    ...sum.subarray(0, 2 * units),
    ...inputBias.subarray(2 * units),
    ...recurrentBias.subarray(2 * units),
  ]);
}

/** [B, T, width], a position at a time. */
class Sequence {
  readonly values: Values;
  readonly #positions: number;
  readonly #width: number;

  constructor(values: Values, positions: number, width: number) {
    this.values = values;
    this.#positions = positions;
    this.#width = width;
  }

  /** [B, width] of one position, a copy. */
  at(position: number): Values {
    const stride = this.#positions * this.#width;
    return this.values.filter((_, i) => Math.floor((i % stride) / this.#width) === position);
  }

  set(position: number, rows: Values): void {
    rows.forEach((value, i) => {
      const [row, column] = [Math.floor(i / this.#width), i % this.#width];
      this.values[(row * this.#positions + position) * this.#width + column] = value;
    });
  }
}
