// LSTM and GRU in the order of operations of assembly/recurrent-*.ts and src/layers/recurrent-runner.ts.
// Letters: B samples, T positions, I features, H units, G = gates x H.
import type { Arithmetic, Values } from './arithmetic.ts';
import { columnSum, multiply, multiplyTree, transpose } from './matrix.ts';
import { hyperbolicTangent, sigmoid } from './transcendental.ts';
import { at } from './tree.ts';

type Numbers = ArrayLike<number>;

/** What goes into one position; [B, G] of gates, [B, H] of the others, bias [4, H]. */
export interface StepInput {
  readonly gates: Numbers;
  readonly recurrent: Numbers;
  readonly bias: Numbers;
  readonly previous: Numbers;
}

export interface StepOutput {
  readonly gates: Values;
  readonly state: Values;
  readonly hidden: Values;
}

export interface StepErrors {
  readonly gates: Numbers;
  readonly state: Numbers;
  readonly previous: Numbers;
  readonly dY: Numbers;
  readonly dHidden: Numbers;
  readonly dState: Numbers;
}

export interface StepGradients {
  /** Of what the gates got from the state. */
  readonly gates: Values;
  /** As the kernel leaves the state block. */
  readonly state: Values;
  readonly dState: Values;
}

interface StepTwin {
  readonly numGates: number;
  forward(arithmetic: Arithmetic, units: number, input: StepInput): StepOutput;
  backward(arithmetic: Arithmetic, units: number, errors: StepErrors): StepGradients;
}

/** Calls for each unit of each sample: the index of gate g of it, and of it in a block of [B, H]. */
function eachUnit(
  length: number,
  { units, numGates }: { units: number; numGates: number },
  visit: (gate: (g: number) => number, i: number, unit: number) => void,
): void {
  for (let i = 0; i < length; i++) {
    const [row, unit] = [Math.floor(i / units), i % units];
    visit((g) => (row * numGates + g) * units + unit, i, unit);
  }
}

function slopeOfSigmoid({ round }: Arithmetic, y: number): number {
  return round(y * round(1 - y));
}

function slopeOfTanh({ round }: Arithmetic, y: number): number {
  return round(1 - round(y * y));
}

const lstm: StepTwin = {
  numGates: 4,
  forward(arithmetic, units, { gates, recurrent, bias, previous }) {
    const { round } = arithmetic;
    const result = arithmetic.from(gates);
    const [state, hidden] = [arithmetic.zeros(previous.length), arithmetic.zeros(previous.length)];
    eachUnit(previous.length, { units, numGates: 4 }, (gate, j, unit) => {
      const before = (g: number): number =>
        round(round(at(gates, gate(g)) + at(recurrent, gate(g))) + at(bias, g * units + unit));
      const [i, f, o] = [0, 1, 3].map((g) => sigmoid(arithmetic, before(g))) as [number, number, number];
      const g = hyperbolicTangent(arithmetic, before(2));
      const c = round(round(f * at(previous, j)) + round(i * g));
      [i, f, g, o].forEach((value, k) => (result[gate(k)] = value));
      state[j] = c;
      hidden[j] = round(o * hyperbolicTangent(arithmetic, c));
    });
    return { gates: result, state, hidden };
  },
  backward(arithmetic, units, { gates, state, previous, dY, dHidden, dState }) {
    const { round } = arithmetic;
    const result = arithmetic.from(gates);
    const before = arithmetic.zeros(state.length);
    eachUnit(state.length, { units, numGates: 4 }, (gate, j) => {
      const [i, f, g, o] = [0, 1, 2, 3].map((k) => at(gates, gate(k))) as [number, number, number, number];
      const tanhC = hyperbolicTangent(arithmetic, at(state, j));
      const dH = round(at(dY, j) + at(dHidden, j));
      const dC = round(at(dState, j) + round(round(dH * o) * slopeOfTanh(arithmetic, tanhC)));
      result[gate(0)] = round(round(dC * g) * slopeOfSigmoid(arithmetic, i));
      result[gate(1)] = round(round(dC * at(previous, j)) * slopeOfSigmoid(arithmetic, f));
      result[gate(2)] = round(round(dC * i) * slopeOfTanh(arithmetic, g));
      result[gate(3)] = round(round(dH * tanhC) * slopeOfSigmoid(arithmetic, o));
      before[j] = round(dC * f);
    });
    return { gates: result, state: arithmetic.from(state), dState: before };
  },
};

const gru: StepTwin = {
  numGates: 3,
  forward(arithmetic, units, { gates, recurrent, bias, previous }) {
    const { round } = arithmetic;
    const result = arithmetic.from(gates);
    const [state, hidden] = [arithmetic.zeros(previous.length), arithmetic.zeros(previous.length)];
    eachUnit(previous.length, { units, numGates: 3 }, (gate, j, unit) => {
      const biasOf = (k: number): number => at(bias, k * units + unit);
      const [r, z] = [0, 1].map((g) =>
        sigmoid(arithmetic, round(round(at(gates, gate(g)) + at(recurrent, gate(g))) + biasOf(g))),
      ) as [number, number];
      const q = round(at(recurrent, gate(2)) + biasOf(3));
      const n = hyperbolicTangent(arithmetic, round(round(at(gates, gate(2)) + biasOf(2)) + round(r * q)));
      [r, z, n].forEach((value, k) => (result[gate(k)] = value));
      state[j] = q;
      hidden[j] = round(n + round(z * round(at(previous, j) - n)));
    });
    return { gates: result, state, hidden };
  },
  backward(arithmetic, units, { gates, state, previous, dY, dHidden, dState }) {
    const { round } = arithmetic;
    const result = arithmetic.from(gates);
    const [candidate, before] = [arithmetic.from(state), arithmetic.zeros(state.length)];
    eachUnit(state.length, { units, numGates: 3 }, (gate, j) => {
      const [r, z, n] = [0, 1, 2].map((k) => at(gates, gate(k))) as [number, number, number];
      const dH = round(round(at(dY, j) + at(dHidden, j)) + at(dState, j));
      const dN = round(round(dH * round(1 - z)) * slopeOfTanh(arithmetic, n));
      result[gate(0)] = round(round(dN * at(state, j)) * slopeOfSigmoid(arithmetic, r));
      result[gate(1)] = round(round(dH * round(at(previous, j) - n)) * slopeOfSigmoid(arithmetic, z));
      result[gate(2)] = round(dN * r);
      candidate[j] = dN;
      before[j] = round(dH * z);
    });
    return { gates: result, state: candidate, dState: before };
  },
};

export const STEP_TWINS = { lstm, gru };

export interface RecurrentCase {
  readonly kind: keyof typeof STEP_TWINS;
  readonly positions: number;
  readonly inputs: number;
  readonly units: number;
  readonly returnSequences: boolean;
}

/** In the order of the flat vector: weight_ih [G, I], weight_hh [G, H], bias_ih [G], bias_hh [G]. */
export function splitParameters(flat: Numbers, { kind, inputs, units }: RecurrentCase): Values[] {
  const columns = STEP_TWINS[kind].numGates * units;
  let offset = 0;
  return [columns * inputs, columns * units, columns, columns].map((length) => {
    offset += length;
    return Float64Array.from({ length }, (_, i) => at(flat, offset - length + i));
  });
}

export interface RecurrentResult {
  readonly y: Values;
  readonly dX: Values;
  /** In the layout of the flat vector. */
  readonly gradient: Values;
}

/** The layer forward and backward. `bounds` are leaves in samples. */
export function runRecurrent(
  arithmetic: Arithmetic,
  layer: RecurrentCase,
  run: { readonly weights: Numbers; readonly x: Numbers; readonly dY: Numbers; readonly bounds: Numbers },
): RecurrentResult {
  const { kind, positions, inputs, units, returnSequences } = layer;
  const twin = STEP_TWINS[kind];
  const columns = twin.numGates * units;
  const [w, u, inputBias, recurrentBias] = splitParameters(run.weights, layer).map((values) =>
    arithmetic.from(values),
  ) as [Values, Values, Values, Values];
  const samples = at(run.bounds, run.bounds.length - 1);
  const rows = samples * positions;
  const x = arithmetic.from(run.x);
  const bounds = Array.from(run.bounds, (bound) => bound * positions);
  const sequence = (width: number): Sequence =>
    new Sequence(arithmetic.zeros(rows * width), positions, width);
  const zeros = arithmetic.zeros(samples * units);
  const gates = sequence(columns);
  gates.values.set(
    multiply(arithmetic, { m: rows, n: columns, k: inputs, a: x, b: transpose(w, columns, inputs) }),
  );
  const [state, hidden, previous] = [sequence(units), sequence(units), sequence(units)];
  const carried = kind === 'lstm' ? state : hidden;
  const bias = packedBias(arithmetic, layer, inputBias, recurrentBias);
  for (let t = 0; t < positions; t++) {
    const before = t === 0 ? zeros : hidden.at(t - 1);
    previous.set(t, before);
    const recurrent =
      t === 0
        ? arithmetic.zeros(samples * columns)
        : multiply(arithmetic, {
            m: samples,
            n: columns,
            k: units,
            a: before,
            b: transpose(u, columns, units),
          });
    const step = twin.forward(arithmetic, units, {
      gates: gates.at(t),
      recurrent,
      bias,
      previous: t === 0 ? zeros : carried.at(t - 1),
    });
    gates.set(t, step.gates);
    state.set(t, step.state);
    hidden.set(t, step.hidden);
  }
  const y = returnSequences ? hidden.values : hidden.at(positions - 1);
  const dY = new Sequence(arithmetic.from(run.dY), returnSequences ? positions : 1, units);
  let [dHidden, dState]: [Values, Values] = [zeros, zeros];
  for (let t = positions - 1; t >= 0; t--) {
    const above = returnSequences ? dY.at(t) : t === positions - 1 ? dY.at(0) : zeros;
    const step = twin.backward(arithmetic, units, {
      gates: gates.at(t),
      state: state.at(t),
      previous: t === 0 ? zeros : carried.at(t - 1),
      dY: above,
      dHidden,
      dState,
    });
    gates.set(t, step.gates);
    state.set(t, step.state);
    dState = step.dState;
    dHidden = multiply(arithmetic, { m: samples, n: units, k: columns, a: step.gates, b: u });
  }
  const treeProduct = (a: Values, b: Values, n: number): Values =>
    multiplyTree(arithmetic, { m: columns, n, k: rows, a: transpose(a, rows, columns), b }, bounds);
  const dRecurrentBias = columnSum(arithmetic, gates.values, columns, bounds);
  const dU = treeProduct(gates.values, previous.values, units);
  if (kind === 'gru') {
    state.values.forEach((value, i) => {
      gates.values[Math.floor(i / units) * columns + 2 * units + (i % units)] = value;
    });
  }
  const dInputBias = columnSum(arithmetic, gates.values, columns, bounds);
  const dW = treeProduct(gates.values, x, inputs);
  const dX = multiply(arithmetic, { m: rows, n: inputs, k: columns, a: gates.values, b: w });
  return { y, dX, gradient: arithmetic.from([...dW, ...dU, ...dInputBias, ...dRecurrentBias]) };
}

/** The forward kernels' bias [4, H]. */
function packedBias(
  arithmetic: Arithmetic,
  { kind, units }: RecurrentCase,
  input: Values,
  recurrent: Values,
): Values {
  const sum = input.map((value, i) => arithmetic.round(value + at(recurrent, i)));
  if (kind === 'lstm') return arithmetic.from(sum);
  return arithmetic.from([
    ...sum.subarray(0, 2 * units),
    ...input.subarray(2 * units),
    ...recurrent.subarray(2 * units),
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
