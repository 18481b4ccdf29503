// The two builds of the kernels, by the rounding of their products.

/** `strict` rounds a product before it is added, `fused` rounds once; see docs/numerics.md. */
export const NUMERICS = ['strict', 'fused'] as const;

/** One of `NUMERICS`. */
export type Numerics = (typeof NUMERICS)[number];
