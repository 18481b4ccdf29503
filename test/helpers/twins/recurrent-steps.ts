// One position of LSTM and GRU, in the order of operations of assembly/recurrent-lstm.ts and
// recurrent-gru.ts. Letters: B samples, H units, G = gates x H.
import type { Arithmetic, Values } from './arithmetic.ts';
import { hyperbolicTangent, sigmoid } from './transcendental.ts';
import { at } from './tree.ts';

type Numbers = ArrayLike<number>;

/** The inputs of one position; [B, G] for gates, [B, H] for the others, bias [4, H]. */
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
  /** Gradient of the part that the gates got from the state. */
  readonly gates: Values;
  /** The state block as the kernel leaves it. */
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
    const [tanhState, before] = [arithmetic.from(state), arithmetic.zeros(state.length)];
    eachUnit(state.length, { units, numGates: 4 }, (gate, j) => {
      const [i, f, g, o] = [0, 1, 2, 3].map((k) => at(gates, gate(k))) as [number, number, number, number];
      const tanhC = hyperbolicTangent(arithmetic, at(state, j));
      const dH = round(at(dY, j) + at(dHidden, j));
      const dC = round(at(dState, j) + round(round(dH * o) * slopeOfTanh(arithmetic, tanhC)));
      result[gate(0)] = round(round(dC * g) * slopeOfSigmoid(arithmetic, i));
      result[gate(1)] = round(round(dC * at(previous, j)) * slopeOfSigmoid(arithmetic, f));
      result[gate(2)] = round(round(dC * i) * slopeOfTanh(arithmetic, g));
      result[gate(3)] = round(round(dH * tanhC) * slopeOfSigmoid(arithmetic, o));
      tanhState[j] = tanhC;
      before[j] = round(dC * f);
    });
    return { gates: result, state: tanhState, dState: before };
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
