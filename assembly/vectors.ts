// Whole vectors moved and added. Views of shared memory would copy value by value, each an
// atomic access of its own.

/** y[length] = x, f32 each. */
export function copyValues(x: usize, length: u32, y: usize): void {
  memory.copy(y, x, <usize>length << 2);
}

/**
 * Copies `rows` rows of `width` f32; strides are the distances between rows in
 * f32, and 0 repeats one row.
 */
export function copyRows(
  source: usize,
  sourceStride: u32,
  width: u32,
  rows: u32,
  destination: usize,
  destinationStride: u32,
): void {
  for (let row: u32 = 0; row < rows; row++) {
    memory.copy(destination, source, <usize>width << 2);
    source += <usize>sourceStride << 2;
    destination += <usize>destinationStride << 2;
  }
}

/** y[rows, columns] = x + vector[columns]. `y` may be `x`. */
export function addToRows(x: usize, vector: usize, rows: u32, columns: u32, y: usize): void {
  for (let row: u32 = 0; row < rows; row++) {
    let from = vector;
    let j: u32 = 0;
    for (; j + 4 <= columns; j += 4) {
      v128.store(y, f32x4.add(v128.load(x), v128.load(from)));
      x += 16;
      from += 16;
      y += 16;
    }
    for (; j < columns; j++) {
      store<f32>(y, load<f32>(x) + load<f32>(from));
      x += 4;
      from += 4;
      y += 4;
    }
  }
}

/** x[length] += a, then b. */
export function addTwo(x: usize, a: usize, b: usize, length: u32): void {
  const end = <usize>length << 2;
  let j: usize = 0;
  for (; j + 16 <= end; j += 16) {
    v128.store(x + j, f32x4.add(f32x4.add(v128.load(x + j), v128.load(a + j)), v128.load(b + j)));
  }
  for (; j < end; j += 4) store<f32>(x + j, load<f32>(x + j) + load<f32>(a + j) + load<f32>(b + j));
}
