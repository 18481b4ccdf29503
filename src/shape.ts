// Shapes of samples and tensors.

/** Sizes of one sample, outermost first: [features], [positions, features] or [channels, height, width]. */
export type Shape = readonly number[];

/** Counts the values of one sample. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** Formats a shape as `3x32x32`. */
export function formatShape(shape: Shape): string {
  return shape.join('x');
}
