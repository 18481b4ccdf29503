// One position of LSTM and GRU, and the copying of rows: kernels against their float32 twins, to the bit.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { single } from '../helpers/twins/arithmetic.ts';
import { STEP_TWINS } from '../helpers/twins/recurrent-steps.ts';
import { EXTREMES, randomValues } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';

const UNITS = [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33];
const KINDS = ['lstm', 'gru'] as const;
type Kind = (typeof KINDS)[number];

/** Rows stand this much further apart than they are wide: gaps must keep what they hold. */
const GAP = 3;

let arena: Arena;
beforeAll(async () => {
  arena = await Arena.create();
});
afterEach(() => arena.reset());

/** Rows spread to `width + GAP`, the gaps filled with 42. */
function spread(values: ArrayLike<number>, width: number): Float32Array {
  const rows = values.length / width;
  const result = new Float32Array(rows * (width + GAP)).fill(42);
  for (let i = 0; i < values.length; i++) {
    result[Math.floor(i / width) * (width + GAP) + (i % width)] = values[i] as number;
  }
  return result;
}

function readSpread(address: number, length: number, width: number): Float32Array {
  const rows = length / width;
  const all = arena.f32(address, rows * (width + GAP));
  const values = all.filter((_, i) => i % (width + GAP) < width);
  expectSameBits(all, spread(values, width), 'gaps');
  return values;
}

interface Values {
  readonly gates: Float32Array;
  readonly recurrent: Float32Array;
  readonly bias: Float32Array;
  readonly previous: Float32Array;
  readonly state: Float32Array;
  readonly dY: Float32Array;
  readonly dHidden: Float32Array;
  readonly dState: Float32Array;
}

/** `draw` makes a block of so many values; each block has a number of its own. */
function makeValues(
  kind: Kind,
  rows: number,
  units: number,
  draw: (block: number, length: number) => Float32Array,
): Values {
  const columns = rows * units * STEP_TWINS[kind].numGates;
  const [gates, recurrent] = [draw(1, columns), draw(2, columns)];
  const [previous, state, dY, dHidden, dState] = [4, 5, 6, 7, 8].map((block) =>
    draw(block, rows * units),
  ) as [Float32Array, Float32Array, Float32Array, Float32Array, Float32Array];
  return { gates, recurrent, bias: draw(3, 4 * units), previous, state, dY, dHidden, dState };
}

function checkForward(kind: Kind, units: number, values: Values): void {
  const rows = values.previous.length / units;
  const columns = STEP_TWINS[kind].numGates * units;
  const gates = arena.put(spread(values.gates, columns));
  const state = arena.put(spread(values.state, units));
  const hidden = arena.put(spread(values.state, units));
  const recurrent = arena.put(spread(values.recurrent, columns));
  const previous = arena.put(spread(values.previous, units));
  const bias = arena.put(values.bias);
  const [wide, narrow] = [columns + GAP, units + GAP];
  // prettier-ignore
  arena.kernels[`${kind}Forward`](rows, units, gates, wide, recurrent, wide, bias, previous, narrow, state, hidden, narrow);
  const expected = STEP_TWINS[kind].forward(single, units, values);
  const what = `${kind} of ${units} units, ${rows} rows`;
  expectSameBits(readSpread(gates, values.gates.length, columns), expected.gates, `${what}: gates`);
  expectSameBits(readSpread(state, values.state.length, units), expected.state, `${what}: state`);
  expectSameBits(readSpread(hidden, values.state.length, units), expected.hidden, `${what}: hidden`);
  arena.reset();
}

function checkBackward(kind: Kind, units: number, values: Values): void {
  const rows = values.previous.length / units;
  const columns = STEP_TWINS[kind].numGates * units;
  const gates = arena.put(spread(values.gates, columns));
  const state = arena.put(spread(values.state, units));
  const previous = arena.put(spread(values.previous, units));
  const dY = arena.put(spread(values.dY, units));
  const [dHidden, dState] = [arena.put(values.dHidden), arena.put(values.dState)];
  const [wide, narrow] = [columns + GAP, units + GAP];
  // prettier-ignore
  arena.kernels[`${kind}Backward`](rows, units, gates, wide, state, narrow, previous, narrow, dY, narrow, dHidden, dState, units, dState);
  const expected = STEP_TWINS[kind].backward(single, units, values);
  const what = `${kind} of ${units} units, ${rows} rows`;
  expectSameBits(readSpread(gates, values.gates.length, columns), expected.gates, `${what}: gates`);
  expectSameBits(readSpread(state, values.state.length, units), expected.state, `${what}: state`);
  expectSameBits(arena.f32(dState, values.state.length), expected.dState, `${what}: dState`);
  arena.reset();
}

describe.each(KINDS)('a position of %s', (kind) => {
  it('gives the bits of its twin at every width, and writes nothing between rows', () => {
    for (const units of UNITS) {
      for (const rows of [1, 2, 5]) {
        const values = makeValues(kind, rows, units, (block, length) =>
          randomValues(100 * block + units, length).map((value) => 3 * value),
        );
        checkForward(kind, units, values);
        checkBackward(kind, units, values);
      }
    }
  });

  it('treats extreme values as its twin does', () => {
    const units = 5 * EXTREMES.length;
    for (let shift = 0; shift < EXTREMES.length; shift++) {
      const values = makeValues(kind, 1, units, (block, length) =>
        Float32Array.from(
          { length },
          (_, i) => EXTREMES[(i * block + shift * (block % 3)) % EXTREMES.length] as number,
        ),
      );
      checkForward(kind, units, values);
      checkBackward(kind, units, values);
    }
  });

  it('reads one row for all samples where a stride is 0', () => {
    const units = 6;
    const values = makeValues(kind, 3, units, (block, length) => randomValues(block, length));
    const columns = STEP_TWINS[kind].numGates * units;
    const repeated = (row: Float32Array): Float32Array => Float32Array.of(...row, ...row, ...row);
    const recurrent = values.recurrent.slice(0, columns);
    const previous = values.previous.slice(0, units);
    const gates = arena.put(values.gates);
    const [state, hidden] = [arena.room(4 * 3 * units), arena.room(4 * 3 * units)];
    const bias = arena.put(values.bias);
    const [u, before] = [arena.put(recurrent), arena.put(previous)];
    arena.kernels[`${kind}Forward`](3, units, gates, columns, u, 0, bias, before, 0, state, hidden, units);
    const expected = STEP_TWINS[kind].forward(single, units, {
      ...values,
      recurrent: repeated(recurrent),
      previous: repeated(previous),
    });
    expectSameBits(arena.f32(hidden, 3 * units), expected.hidden, 'hidden');
  });
});

describe('copyRows', () => {
  it('moves rows between blocks of other widths, and writes nothing between them', () => {
    for (const width of UNITS) {
      const values = randomValues(width, 4 * width);
      const to = arena.put(spread(new Float32Array(4 * width), width));
      arena.kernels.copyRows(arena.put(values), width, width, 4, to, width + GAP);
      expectSameBits(readSpread(to, 4 * width, width), values, `width ${width}`);
      arena.reset();
    }
  });

  it('repeats one row where the stride of the source is 0', () => {
    const to = arena.room(4 * 6);
    arena.kernels.copyRows(arena.put(Float32Array.of(1, 2)), 0, 2, 3, to, 2);
    expect([...arena.f32(to, 6)]).toEqual([1, 2, 1, 2, 1, 2]);
  });
});
