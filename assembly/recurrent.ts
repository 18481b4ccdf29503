// One position of a recurrent layer for all samples of a microbatch, forward and backward: rows and
// columns of the blocks that recurrent-lstm.ts and recurrent-gru.ts have the formulas for.
//
// Letters: B samples, T positions, H units, G = gates x H, 4 gates of an LSTM and 3 of a GRU.
import { forwardValues, Tanh } from './activation';
import { gruBackwardUnits, gruForwardRow } from './recurrent-gru';
import { lstmBackwardUnits, lstmForwardRow } from './recurrent-lstm';

/**
 * The record of a layer's run, u32 in this order. src/layers/recurrent/cells.ts writes it.
 * Blocks are addresses of f32.
 */
// @ts-ignore: decorator
@unmanaged
class Recurrence {
  units: u32;
  positions: u32;
  /** [B, T, G]: x W, then the values of the gates, then the gradients of what they got from the state. */
  gates: usize;
  /** [B, T, H]: c of an LSTM, then tanh(c); q of a GRU, then the gradient of what its candidate got from the input. */
  state: usize;
  /** [B, T, H]: h. */
  hidden: usize;
  /** [B, G]: h' W', of the position before. */
  products: usize;
  /** [4, H]: as the formulas take it. */
  bias: usize;
  /** [4, H] zeros: what stands before the first position, and after the last, of every sample. */
  zeros: usize;
  /** [B, H] each: errors from the position after, by way of its gates and of its state. */
  dHidden: usize;
  dState: usize;
}

/** Sets state and hidden of the position, and its gates to their values. */
export function lstmForward(record: usize, rows: u32, position: u32): void {
  forward(changetype<Recurrence>(record), rows, position, true);
}

/** Sets state and hidden of the position, and its gates to their values. */
export function gruForward(record: usize, rows: u32, position: u32): void {
  forward(changetype<Recurrence>(record), rows, position, false);
}

// @ts-ignore: decorator
@inline
function forward(r: Recurrence, rows: u32, position: u32, isLstm: bool): void {
  const unitBytes = <usize>r.units << 2;
  const gateBytes = (isLstm ? <usize>4 : <usize>3) * unitBytes;
  const gateStride = <usize>r.positions * gateBytes;
  const stride = <usize>r.positions * unitBytes;
  const isFirst = position == 0;
  const at = <usize>position * unitBytes;
  const bias = r.bias;
  let gates = r.gates + <usize>position * gateBytes;
  let products = isFirst ? r.zeros : r.products;
  let previous = isFirst ? r.zeros : (isLstm ? r.state : r.hidden) + at - unitBytes;
  let state = r.state + at;
  let hidden = r.hidden + at;
  for (let row: u32 = 0; row < rows; row++) {
    if (isLstm) lstmForwardRow(gates, products, bias, previous, state, hidden, r.units);
    else gruForwardRow(gates, products, bias, previous, state, hidden, r.units);
    gates += gateStride;
    products += isFirst ? 0 : gateBytes;
    previous += isFirst ? 0 : stride;
    state += stride;
    hidden += stride;
  }
}

/**
 * Sets the gates of the position to the gradients of what they got from the state, its state to
 * tanh(c), and dState for the position before. The error from the layer above is at `dY`, whose
 * rows lie `dYStride` f32 apart.
 */
export function lstmBackward(record: usize, rows: u32, position: u32, dY: usize, dYStride: u32): void {
  backward(changetype<Recurrence>(record), rows, position, dY, <usize>dYStride << 2, true);
}

/** Does the same as `lstmBackward`, but sets the state of the position to the gradient of what x Wn went into. */
export function gruBackward(record: usize, rows: u32, position: u32, dY: usize, dYStride: u32): void {
  backward(changetype<Recurrence>(record), rows, position, dY, <usize>dYStride << 2, false);
}

// @ts-ignore: decorator
@inline
function backward(r: Recurrence, rows: u32, position: u32, dY: usize, dYBytes: usize, isLstm: bool): void {
  const unitBytes = <usize>r.units << 2;
  const wideBytes = unitBytes & ~15;
  const gateBytes = (isLstm ? <usize>4 : <usize>3) * unitBytes;
  const gateStride = <usize>r.positions * gateBytes;
  const stride = <usize>r.positions * unitBytes;
  const isFirst = position == 0;
  const isLast = position + 1 == r.positions;
  const at = <usize>position * unitBytes;
  let gates = r.gates + <usize>position * gateBytes;
  let state = r.state + at;
  let previous = isFirst ? r.zeros : (isLstm ? r.state : r.hidden) + at - unitBytes;
  let dHidden = isLast ? r.zeros : r.dHidden;
  let dStateIn = isLast ? r.zeros : r.dState;
  let dState = r.dState;
  for (let row: u32 = 0; row < rows; row++) {
    if (isLstm) forwardValues<Tanh>(state, state, r.units);
    let j: usize = 0;
    for (; j < wideBytes; j += 16) {
      if (isLstm) {
        lstmBackwardUnits<v128>(
          gates + j, state + j, previous + j, dY + j, dHidden + j, dStateIn + j, dState + j, unitBytes,
        );
      } else {
        gruBackwardUnits<v128>(
          gates + j, state + j, previous + j, dY + j, dHidden + j, dStateIn + j, dState + j, unitBytes,
        );
      }
    }
    for (; j < unitBytes; j += 4) {
      if (isLstm) {
        lstmBackwardUnits<f32>(
          gates + j, state + j, previous + j, dY + j, dHidden + j, dStateIn + j, dState + j, unitBytes,
        );
      } else {
        gruBackwardUnits<f32>(
          gates + j, state + j, previous + j, dY + j, dHidden + j, dStateIn + j, dState + j, unitBytes,
        );
      }
    }
    gates += gateStride;
    state += stride;
    previous += isFirst ? 0 : stride;
    dY += dYBytes;
    dHidden += isLast ? 0 : unitBytes;
    dStateIn += isLast ? 0 : unitBytes;
    dState += unitBytes;
  }
}
