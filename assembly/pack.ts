// Packing of operands into panels (tile.ts). A source whose rows run along K ("rows": A of NN, B of NT) is
// transposed on the way; one whose rows run along M or N ("columns": A of TN, B of NN) is copied.
import { LEFT_STEP, MR, NR, RIGHT_STEP } from './tile';

/** Packs A stored [M, K] with `stride` f32 between rows. */
export function packLeftRows(source: usize, m: u32, k: u32, stride: u32, packed: usize): void {
  for (let row: u32 = 0; row < roundUp(m, MR); row++) {
    const to = leftPanel(packed, row / MR, k) + (<usize>(row % MR) << 4);
    if (row < m) repeatRow(source + (<usize>row * stride << 2), k, to);
    else repeatZero(k, to);
  }
}

/** Packs A stored [K, M] with `stride` f32 between rows. */
export function packLeftColumns(source: usize, m: u32, k: u32, stride: u32, packed: usize): void {
  for (let column: u32 = 0; column < m; column += MR) {
    let to = leftPanel(packed, column / MR, k);
    if (column + MR <= m) {
      repeatColumns(source + (<usize>column << 2), k, <usize>stride << 2, to);
    } else {
      for (let r: u32 = 0; r < MR; r++) {
        if (column + r < m) repeatColumn(source + (<usize>(column + r) << 2), k, <usize>stride << 2, to);
        else repeatZero(k, to);
        to += 16;
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function roundUp(value: u32, multiple: u32): u32 {
  return ((value + multiple - 1) / multiple) * multiple;
}

// @ts-ignore: decorator
@inline
function leftPanel(packed: usize, panel: u32, k: u32): usize {
  return packed + <usize>panel * k * LEFT_STEP;
}

function repeatRow(from: usize, k: u32, to: usize): void {
  const end = from + (<usize>k << 2);
  for (; from < end; from += 4) {
    v128.store(to, v128.load32_splat(from));
    to += LEFT_STEP;
  }
}

function repeatColumns(from: usize, k: u32, strideBytes: usize, to: usize): void {
  for (let p: u32 = 0; p < k; p++) {
    v128.store(to, v128.load32_splat(from));
    v128.store(to, v128.load32_splat(from, 4), 16);
    v128.store(to, v128.load32_splat(from, 8), 32);
    v128.store(to, v128.load32_splat(from, 12), 48);
    v128.store(to, v128.load32_splat(from, 16), 64);
    from += strideBytes;
    to += LEFT_STEP;
  }
}

function repeatColumn(from: usize, k: u32, strideBytes: usize, to: usize): void {
  for (let p: u32 = 0; p < k; p++) {
    v128.store(to, v128.load32_splat(from));
    from += strideBytes;
    to += LEFT_STEP;
  }
}

function repeatZero(k: u32, to: usize): void {
  for (let p: u32 = 0; p < k; p++) {
    v128.store(to, f32x4.splat(0));
    to += LEFT_STEP;
  }
}

/**
 * Packs B stored [N, K] with `stride` f32 between rows: panels [firstPanel, endPanel), so that several
 * threads can share the work.
 */
export function packRightRows(
  source: usize,
  n: u32,
  k: u32,
  stride: u32,
  packed: usize,
  firstPanel: u32,
  endPanel: u32,
): void {
  const strideBytes: usize = <usize>stride << 2;
  for (let panel = firstPanel; panel < endPanel; panel++) {
    const to = packed + <usize>panel * k * RIGHT_STEP;
    const row = panel * NR;
    const from = source + <usize>row * strideBytes;
    if (row + NR <= n) {
      transposeEightRows(from, strideBytes, k, to);
    } else {
      for (let r: u32 = 0; r < NR; r++) copyOneRow(from + <usize>r * strideBytes, row + r < n, k, to + (<usize>r << 2));
    }
  }
}

function transposeEightRows(from: usize, strideBytes: usize, k: u32, to: usize): void {
  const upper = from + 4 * strideBytes;
  let p: u32 = 0;
  // Both halves of a right step are written together: a cache line is touched once.
  for (; p + 4 <= k; p += 4) {
    const offset = <usize>p << 2;
    transposeFourByFour(from + offset, strideBytes, to);
    transposeFourByFour(upper + offset, strideBytes, to + 16);
    to += 4 * RIGHT_STEP;
  }
  for (; p < k; p++) {
    for (let r: u32 = 0; r < NR; r++) {
      store<f32>(to + (<usize>r << 2), load<f32>(from + <usize>r * strideBytes + (<usize>p << 2)));
    }
    to += RIGHT_STEP;
  }
}

// @ts-ignore: decorator
@inline
function transposeFourByFour(from: usize, strideBytes: usize, to: usize): void {
  const a = v128.load(from);
  const b = v128.load(from + strideBytes);
  const c = v128.load(from + 2 * strideBytes);
  const d = v128.load(from + 3 * strideBytes);
  const abLow = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
  const abHigh = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
  const cdLow = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
  const cdHigh = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<f32>(abLow, cdLow, 0, 1, 4, 5));
  v128.store(to + RIGHT_STEP, v128.shuffle<f32>(abLow, cdLow, 2, 3, 6, 7));
  v128.store(to + 2 * RIGHT_STEP, v128.shuffle<f32>(abHigh, cdHigh, 0, 1, 4, 5));
  v128.store(to + 3 * RIGHT_STEP, v128.shuffle<f32>(abHigh, cdHigh, 2, 3, 6, 7));
}

function copyOneRow(from: usize, exists: bool, k: u32, to: usize): void {
  for (let p: u32 = 0; p < k; p++) {
    store<f32>(to, exists ? load<f32>(from) : 0);
    from += 4;
    to += RIGHT_STEP;
  }
}

/** Packs B stored [K, N] with `stride` f32 between rows: panels [firstPanel, endPanel). */
export function packRightColumns(
  source: usize,
  n: u32,
  k: u32,
  stride: u32,
  packed: usize,
  firstPanel: u32,
  endPanel: u32,
): void {
  for (let panel = firstPanel; panel < endPanel; panel++) {
    const column = panel * NR;
    let to = packed + <usize>panel * k * RIGHT_STEP;
    let from = source + (<usize>column << 2);
    for (let p: u32 = 0; p < k; p++) {
      if (column + NR <= n) {
        v128.store(to, v128.load(from));
        v128.store(to, v128.load(from, 16), 16);
      } else {
        for (let j: u32 = 0; j < NR; j++) {
          store<f32>(to + (<usize>j << 2), column + j < n ? load<f32>(from + (<usize>j << 2)) : 0);
        }
      }
      from += <usize>stride << 2;
      to += RIGHT_STEP;
    }
  }
}
