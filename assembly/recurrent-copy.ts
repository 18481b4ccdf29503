// Rows moved between blocks of different widths: hidden states to and from the positions of a sequence.

/** Copies `rows` rows of `width` f32; strides are the distances between rows in f32, and 0 repeats one row. */
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
