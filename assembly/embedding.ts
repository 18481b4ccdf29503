// Tables of learned vectors, a row for each token. Letters: N positions of all samples, V rows of the table,
// U units.

/**
 * y[N, U] = table[ids[N]]. `ids` are f32 that hold integers in [0, V). Returns 0, or 1 + the place
 * of the first id that is none: nothing outside the table is read, and y is not whole.
 */
export function embeddingForward(ids: usize, length: u32, table: usize, vocabulary: u32, units: u32, y: usize): u32 {
  const rowBytes: usize = <usize>units << 2;
  for (let n: u32 = 0; n < length; n++) {
    const id = load<f32>(ids + (<usize>n << 2));
    // NaN fails every comparison.
    if (!(id >= 0 && id < <f32>vocabulary && id == Mathf.floor(id))) return n + 1;
    memory.copy(y, table + <usize>(<u32>id) * rowBytes, rowBytes);
    y += rowBytes;
  }
  return 0;
}

/**
 * dTable[V, U] = the sum over positions, in ascending order, of dY[N, U] at the rows of
 * their ids, all in range.
 */
export function embeddingBackward(
  dY: usize,
  ids: usize,
  length: u32,
  vocabulary: u32,
  units: u32,
  dTable: usize,
): void {
  memory.fill(dTable, 0, (<usize>vocabulary * units) << 2);
  for (let n: u32 = 0; n < length; n++) {
    let to = dTable + ((<usize>(<u32>load<f32>(ids + (<usize>n << 2))) * units) << 2);
    let j: u32 = 0;
    for (; j + 4 <= units; j += 4) {
      v128.store(to, f32x4.add(v128.load(to), v128.load(dY)));
      to += 16;
      dY += 16;
    }
    for (; j < units; j++) {
      store<f32>(to, load<f32>(to) + load<f32>(dY));
      to += 4;
      dY += 4;
    }
  }
}
