// A set of labelled images of one size, wherever it lies: read at once into a block of bytes.
import type { Shape } from '../../shape.ts';
import type { ScratchFile } from '../dataset/scratch-file.ts';

/** A set of labelled images whose sizes are known. */
export interface ImageSet {
  /** The name that messages show. */
  readonly name: string;
  readonly numImages: number;
  /** [height, width], or [channels, height, width]. */
  readonly shape: Shape;
  /** The names of the classes, where the set has them. */
  readonly classNames: readonly string[] | undefined;
  /** The name of the place of a label. */
  readonly locateLabel: (index: number) => string;
  /** Reads the class of each image. */
  readonly readLabels: () => Promise<ArrayLike<number>>;
  /** Fills `out`, u8 [numImages, ...shape]. */
  readonly readPixels: (out: Uint8Array) => Promise<void>;
  /** Appends the same to a file, a few images at a time; undefined if the set is small enough to be read at once. */
  readonly streamPixels?: ((file: ScratchFile) => Promise<void>) | undefined;
}
