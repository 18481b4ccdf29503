// One position of LSTM and GRU, and the copying of rows: kernels against their float32 twins, to the bit.
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { RECURRENCE_LENGTH, writeRecurrence } from '../../src/layers/recurrent/cells.ts';
import { single } from '../helpers/twins/arithmetic.ts';
import { STEP_TWINS } from '../helpers/twins/recurrent-steps.ts';
import { EXTREMES, randomValues } from '../helpers/twins/samples.ts';
import { Arena, expectSameBits } from './arena.ts';

const UNITS = [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33];
const KINDS = ['lstm', 'gru'] as const;
type Kind = (typeof KINDS)[number];

/** The gap between rows, whose values must not change. */
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

/** Makes the blocks: `draw` returns one of a given number of values; each block has its own number. */
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

/** Positions of the blocks: the tests run the first, one in between and the last. */
const POSITIONS = 3;

/**
 * A block [rows, POSITIONS, width] with values at some positions; the others hold 42, which kernels must not
 * change.
 */
function blockOf(rows: number, width: number, values: Readonly<Record<number, Float32Array>>): Float32Array {
  const block = new Float32Array(rows * POSITIONS * width).fill(42);
  for (const [position, dense] of Object.entries(values)) {
    for (let row = 0; row < rows; row++) {
      const from = dense.subarray(row * width, (row + 1) * width);
      block.set(from, (row * POSITIONS + Number(position)) * width);
    }
  }
  return block;
}

/** A position of a layer: its blocks before the kernel runs. */
interface PositionRun {
  readonly kind: Kind;
  readonly rows: number;
  readonly units: number;
  readonly position: number;
  readonly values: Values;
}

/** The values at a position and, for the block that is carried over, at the one before. */
function carried(
  { kind, position, values }: PositionRun,
  block: 'state' | 'hidden',
): Record<number, Float32Array> {
  const isCarried = block === (kind === 'lstm' ? 'state' : 'hidden');
  return isCarried && position > 0 ? { [position - 1]: values.previous } : {};
}

interface Blocks {
  readonly gates: number;
  readonly state: number;
  readonly hidden: number;
  /** Default: a copy of the values. */
  readonly dState?: number;
}

function putRecord(run: PositionRun, blocks: Blocks): number {
  const { units, values } = run;
  const recurrence = arena.room(4 * RECURRENCE_LENGTH);
  writeRecurrence(arena.memory, recurrence, {
    ...blocks,
    units,
    positions: POSITIONS,
    products: arena.put(values.recurrent),
    bias: arena.put(values.bias),
    zeros: arena.put(new Float32Array(4 * units)),
    dHidden: arena.put(values.dHidden),
    dState: blocks.dState ?? arena.put(values.dState),
  });
  return recurrence;
}

/** The values with zeros for what does not exist before the first position, or after the last. */
function metBy({ position, values }: PositionRun): Values {
  const zeros = ({ length }: Float32Array): Float32Array => new Float32Array(length);
  const { recurrent, previous, dHidden, dState } = values;
  return {
    ...values,
    ...(position === 0 ? { recurrent: zeros(recurrent), previous: zeros(previous) } : {}),
    ...(position === POSITIONS - 1 ? { dHidden: zeros(dHidden), dState: zeros(dState) } : {}),
  };
}

function checkForward(run: PositionRun): void {
  const { kind, rows, units, position, values } = run;
  const columns = STEP_TWINS[kind].numGates * units;
  const [stateBefore, hiddenBefore] = [carried(run, 'state'), carried(run, 'hidden')];
  const blocks = {
    gates: arena.put(blockOf(rows, columns, { [position]: values.gates })),
    state: arena.put(blockOf(rows, units, stateBefore)),
    hidden: arena.put(blockOf(rows, units, hiddenBefore)),
  };
  arena.kernels[`${kind}Forward`](putRecord(run, blocks), rows, position);
  const expected = STEP_TWINS[kind].forward(single, units, metBy(run));
  const { gates, state, hidden } = {
    gates: blockOf(rows, columns, { [position]: Float32Array.from(expected.gates) }),
    state: blockOf(rows, units, { ...stateBefore, [position]: Float32Array.from(expected.state) }),
    hidden: blockOf(rows, units, { ...hiddenBefore, [position]: Float32Array.from(expected.hidden) }),
  };
  const what = `${kind} of ${units} units, ${rows} rows, position ${position}`;
  expectSameBits(arena.f32(blocks.gates, gates.length), gates, `${what}: gates`);
  expectSameBits(arena.f32(blocks.state, state.length), state, `${what}: state`);
  expectSameBits(arena.f32(blocks.hidden, hidden.length), hidden, `${what}: hidden`);
  arena.reset();
}

function checkBackward(run: PositionRun): void {
  const { kind, rows, units, position, values } = run;
  const columns = STEP_TWINS[kind].numGates * units;
  const stateBefore = { ...carried(run, 'state'), [position]: values.state };
  const blocks = {
    gates: arena.put(blockOf(rows, columns, { [position]: values.gates })),
    state: arena.put(blockOf(rows, units, stateBefore)),
    hidden: arena.put(blockOf(rows, units, carried(run, 'hidden'))),
  };
  const dY = arena.put(blockOf(rows, units, { 0: values.dY }));
  const dState = arena.put(values.dState);
  arena.kernels[`${kind}Backward`](
    putRecord(run, { ...blocks, dState }),
    rows,
    position,
    dY,
    POSITIONS * units,
  );
  const expected = STEP_TWINS[kind].backward(single, units, metBy(run));
  const gates = blockOf(rows, columns, { [position]: Float32Array.from(expected.gates) });
  const state = blockOf(rows, units, { ...stateBefore, [position]: Float32Array.from(expected.state) });
  const what = `${kind} of ${units} units, ${rows} rows, position ${position}`;
  expectSameBits(arena.f32(blocks.gates, gates.length), gates, `${what}: gates`);
  expectSameBits(arena.f32(blocks.state, state.length), state, `${what}: state`);
  expectSameBits(arena.f32(dState, values.dState.length), expected.dState, `${what}: dState`);
  arena.reset();
}

/** Checks the first position, one in between and the last. */
function checkPositions(run: Omit<PositionRun, 'position'>): void {
  for (let position = 0; position < POSITIONS; position++) {
    checkForward({ ...run, position });
    checkBackward({ ...run, position });
  }
}

describe.each(KINDS)('a position of %s', (kind) => {
  it(`a position of ${kind} matches its twin bit for bit at every width and writes to no other position`, () => {
    for (const units of UNITS) {
      for (const rows of [1, 2, 5]) {
        const values = makeValues(kind, rows, units, (block, length) =>
          randomValues(100 * block + units, length).map((value) => 3 * value),
        );
        checkPositions({ kind, rows, units, values });
      }
    }
  });

  it(`a position of ${kind} treats extreme values as its twin does`, () => {
    const units = 5 * EXTREMES.length;
    for (let shift = 0; shift < EXTREMES.length; shift++) {
      const values = makeValues(kind, 1, units, (block, length) =>
        Float32Array.from(
          { length },
          (_, i) => EXTREMES[(i * block + shift * (block % 3)) % EXTREMES.length] as number,
        ),
      );
      checkPositions({ kind, rows: 1, units, values });
    }
  });

  it(`a position of ${kind} reads one row of errors for all samples where their stride is 0`, () => {
    const [rows, units, position] = [3, 6, 1];
    const values = makeValues(kind, rows, units, (block, length) => randomValues(block, length));
    const dY = values.dY.subarray(0, units);
    const run = { kind, rows, units, position, values };
    const columns = STEP_TWINS[kind].numGates * units;
    const blocks = {
      gates: arena.put(blockOf(rows, columns, { [position]: values.gates })),
      state: arena.put(blockOf(rows, units, { ...carried(run, 'state'), [position]: values.state })),
      hidden: arena.put(blockOf(rows, units, carried(run, 'hidden'))),
    };
    arena.kernels[`${kind}Backward`](putRecord(run, blocks), rows, position, arena.put(dY), 0);
    const expected = STEP_TWINS[kind].backward(single, units, {
      ...values,
      dY: Float32Array.of(...dY, ...dY, ...dY),
    });
    const gates = blockOf(rows, columns, { [position]: Float32Array.from(expected.gates) });
    expectSameBits(arena.f32(blocks.gates, gates.length), gates, 'gates');
  });
});

describe('copyRows', () => {
  it('copyRows moves rows between blocks of different widths and writes nothing between them', () => {
    for (const width of UNITS) {
      const values = randomValues(width, 4 * width);
      const to = arena.put(spread(new Float32Array(4 * width), width));
      arena.kernels.copyRows(arena.put(values), width, width, 4, to, width + GAP);
      expectSameBits(readSpread(to, 4 * width, width), values, `width ${width}`);
      arena.reset();
    }
  });

  it('copyRows repeats one row where the stride of the source is 0', () => {
    const to = arena.room(4 * 6);
    arena.kernels.copyRows(arena.put(Float32Array.of(1, 2)), 0, 2, 3, to, 2);
    expect([...arena.f32(to, 6)]).toEqual([1, 2, 1, 2, 1, 2]);
  });
});
