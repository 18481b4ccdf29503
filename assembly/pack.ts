// Packing of operands into panels (tile.ts). A source whose rows run along K ("rows": A of NN, B of NT) is
// transposed on the way; one whose rows run along M or N ("columns": A of TN, B of NN) is copied.
import { LEFT_STEP, MR, NR, RIGHT_STEP, min } from './tile';

/** Packs A stored [M, K] with `stride` f32 between rows. */
export function packLeftRows(source: usize, m: u32, k: u32, stride: u32, packed: usize): void {
  const strideBytes = <usize>stride << 2;
  for (let row: u32 = 0; row < m; row += MR) {
    if (row + MR <= m) transposeFiveRows(source, strideBytes, k, packed);
    else copyLanes(source, strideBytes, 4, m - row, MR, k, packed);
    source += <usize>MR * strideBytes;
    packed += <usize>k * LEFT_STEP;
  }
}

/** Packs A stored [K, M] with `stride` f32 between rows. */
export function packLeftColumns(source: usize, m: u32, k: u32, stride: u32, packed: usize): void {
  const strideBytes = <usize>stride << 2;
  const panelBytes = <usize>k * LEFT_STEP;
  let column: u32 = 0;
  // Two panels at once, as on the right.
  for (; column + 2 * MR <= m; column += 2 * MR) {
    copyTenColumns(source, strideBytes, k, packed, panelBytes);
    source += 2 * LEFT_STEP;
    packed += 2 * panelBytes;
  }
  for (; column < m; column += MR) {
    if (column + MR <= m) copyFiveColumns(source, strideBytes, k, packed);
    else copyLanes(source, 4, strideBytes, m - column, MR, k, packed);
    source += LEFT_STEP;
    packed += panelBytes;
  }
}

function transposeFiveRows(from: usize, strideBytes: usize, k: u32, to: usize): void {
  let p: u32 = 0;
  for (; p + 4 <= k; p += 4) {
    transposeFourByFour(from, from + strideBytes, from + 2 * strideBytes, from + 3 * strideBytes, to, LEFT_STEP);
    const fifth = v128.load(from + 4 * strideBytes);
    v128.store_lane<f32>(to, fifth, 0, 16);
    v128.store_lane<f32>(to, fifth, 1, LEFT_STEP + 16);
    v128.store_lane<f32>(to, fifth, 2, 2 * LEFT_STEP + 16);
    v128.store_lane<f32>(to, fifth, 3, 3 * LEFT_STEP + 16);
    from += 16;
    to += 4 * LEFT_STEP;
  }
  if (p < k) copyLanes(from, strideBytes, 4, MR, MR, k - p, to);
}

function copyTenColumns(from: usize, strideBytes: usize, k: u32, to: usize, panelBytes: usize): void {
  let next = to + panelBytes;
  for (let p: u32 = 0; p < k; p++) {
    v128.store(to, v128.load(from));
    store<f32>(to, load<f32>(from, 16), 16);
    v128.store(next, v128.load(from, 20));
    store<f32>(next, load<f32>(from, 36), 16);
    from += strideBytes;
    to += LEFT_STEP;
    next += LEFT_STEP;
  }
}

function copyFiveColumns(from: usize, strideBytes: usize, k: u32, to: usize): void {
  for (let p: u32 = 0; p < k; p++) {
    v128.store(to, v128.load(from));
    store<f32>(to, load<f32>(from, 16), 16);
    from += strideBytes;
    to += LEFT_STEP;
  }
}

/** A panel of `width` lanes, lane by lane: the first `used` from memory, zeros after them. */
function copyLanes(
  from: usize,
  laneBytes: usize,
  depthBytes: usize,
  used: u32,
  width: u32,
  k: u32,
  to: usize,
): void {
  const step = <usize>width << 2;
  if (used < width) memory.fill(to, 0, <usize>k * step);
  for (let lane: u32 = 0; lane < used; lane++) {
    let at = from;
    let lanes = to;
    for (let p: u32 = 0; p < k; p++) {
      store<f32>(lanes, load<f32>(at));
      at += depthBytes;
      lanes += step;
    }
    from += laneBytes;
    to += 4;
  }
}

/** Four rows of four values, each at an address, into columns `step` bytes apart. */
// @ts-ignore: decorator
@inline
export function transposeFourByFour(row0: usize, row1: usize, row2: usize, row3: usize, to: usize, step: usize): void {
  const a = v128.load(row0);
  const b = v128.load(row1);
  const c = v128.load(row2);
  const d = v128.load(row3);
  const abLow = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
  const abHigh = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
  const cdLow = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
  const cdHigh = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<f32>(abLow, cdLow, 0, 1, 4, 5));
  v128.store(to + step, v128.shuffle<f32>(abLow, cdLow, 2, 3, 6, 7));
  v128.store(to + 2 * step, v128.shuffle<f32>(abHigh, cdHigh, 0, 1, 4, 5));
  v128.store(to + 3 * step, v128.shuffle<f32>(abHigh, cdHigh, 2, 3, 6, 7));
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
    if (row + NR <= n) transposeEightRows(from, strideBytes, k, to);
    else copyLanes(from, strideBytes, 4, n - row, NR, k, to);
  }
}

function transposeEightRows(from: usize, strideBytes: usize, k: u32, to: usize): void {
  let p: u32 = 0;
  // Both halves of a right step are written together: a cache line is touched once.
  for (; p + 4 <= k; p += 4) {
    const fifth = from + 4 * strideBytes;
    transposeFourByFour(from, from + strideBytes, from + 2 * strideBytes, from + 3 * strideBytes, to, RIGHT_STEP);
    transposeFourByFour(fifth, fifth + strideBytes, fifth + 2 * strideBytes, fifth + 3 * strideBytes, to + 16, RIGHT_STEP);
    from += 16;
    to += 4 * RIGHT_STEP;
  }
  if (p < k) copyLanes(from, strideBytes, 4, NR, NR, k - p, to);
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
  const strideBytes: usize = <usize>stride << 2;
  const panelBytes = <usize>k * RIGHT_STEP;
  const wholePanels = min(endPanel, n / NR);
  let panel = firstPanel;
  let to = packed + <usize>panel * panelBytes;
  // Two panels at once: 64 bytes of a row are one cache line, or parts of two.
  for (; panel + 2 <= wholePanels; panel += 2) {
    copySixteenColumns(source + <usize>panel * RIGHT_STEP, strideBytes, k, to, panelBytes);
    to += 2 * panelBytes;
  }
  for (; panel < endPanel; panel++) {
    const column = panel * NR;
    const from = source + (<usize>column << 2);
    if (column + NR <= n) copyEightColumns(from, strideBytes, k, to);
    else copyLanes(from, 4, strideBytes, n - column, NR, k, to);
    to += panelBytes;
  }
}

function copySixteenColumns(from: usize, strideBytes: usize, k: u32, to: usize, panelBytes: usize): void {
  let next = to + panelBytes;
  for (let p: u32 = 0; p < k; p++) {
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from, 16), 16);
    v128.store(next, v128.load(from, 32));
    v128.store(next, v128.load(from, 48), 16);
    from += strideBytes;
    to += RIGHT_STEP;
    next += RIGHT_STEP;
  }
}

function copyEightColumns(from: usize, strideBytes: usize, k: u32, to: usize): void {
  for (let p: u32 = 0; p < k; p++) {
    v128.store(to, v128.load(from));
    v128.store(to, v128.load(from, 16), 16);
    from += strideBytes;
    to += RIGHT_STEP;
  }
}
