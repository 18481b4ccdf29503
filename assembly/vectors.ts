// Whole vectors moved and added. Views of shared memory would copy value by value, each an atomic access of its own.

/** y[length] = x, f32 each. */
export function copyValues(x: usize, length: u32, y: usize): void {
  memory.copy(y, x, <usize>length << 2);
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
