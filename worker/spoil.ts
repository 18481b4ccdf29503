// What the failpoint `worker.gradient` does to a sum before it is fingerprinted and sent: the work of a worker that lies,
// or whose memory is broken.

/** `flip`: one value, one unit in its last place; `nan`: one value that is no number. `bytes` are f32, at least one. */
export function spoil(bytes: Uint8Array, action: string): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (action === 'flip') view.setUint32(0, view.getUint32(0, true) ^ 1, true);
  else if (action === 'nan') view.setFloat32(0, Number.NaN, true);
  else throw new Error(`failpoint worker.gradient: there is no action ${action}`);
}
