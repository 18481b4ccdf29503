// Batches out of a packed dataset: out[row] = source[indices[row]].

/** Copies rows of `rowBytes`; `indices` points to u32, each below the number of source rows. */
export function gatherRows(source: usize, rowBytes: u32, indices: usize, rows: u32, out: usize): void {
  for (let row: u32 = 0; row < rows; row++) {
    const index = load<u32>(indices + (<usize>row << 2));
    memory.copy(out, source + <usize>index * rowBytes, rowBytes);
    out += rowBytes;
  }
}

/** Image rows: out f32[width] = source u8[width] * scale. */
export function gatherScaledBytes(
  source: usize,
  width: u32,
  scale: f32,
  indices: usize,
  rows: u32,
  out: usize,
): void {
  const factor = f32x4.splat(scale);
  for (let row: u32 = 0; row < rows; row++) {
    let from = source + <usize>load<u32>(indices + (<usize>row << 2)) * width;
    let j: u32 = 0;
    for (; j + 8 <= width; j += 8) {
      const words = v128.load8x8_u(from);
      v128.store(out, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_u(words)), factor));
      v128.store(out, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_u(words)), factor), 16);
      from += 8;
      out += 32;
    }
    for (; j < width; j++) {
      store<f32>(out, <f32>load<u8>(from) * scale);
      from++;
      out += 4;
    }
  }
}
