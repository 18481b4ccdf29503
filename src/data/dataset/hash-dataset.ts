// Names a dataset by its content.
import { createHash, type Hash } from 'node:crypto';
import { updateHash } from '../../sha256.ts';
import {
  featureBlocks,
  featureBytes,
  targetsByteOffset,
  type PackedBlocks,
  type RowLayout,
} from './packed-dataset.ts';

/** Names a dataset by its content: SHA-256 over the layout and every byte, wherever they are. */
export function hashDataset(packed: PackedBlocks): string {
  return hashBlocks(fieldsOf(packed.layout), bytesOf(packed));
}

/** The hash of `hashDataset`, for a dataset of which the bytes are yet to come, in their order. */
export function beginDatasetHash(layout: RowLayout): Hash {
  return beginHash(fieldsOf(layout));
}

function fieldsOf(layout: RowLayout): unknown[] {
  return [
    layout.numRows,
    layout.featureShape,
    layout.featureType,
    layout.featureScale,
    layout.targetKind,
    layout.targetWidth,
    layout.numClasses,
    ...(layout.hasSampleWeights ? ['weights'] : []),
  ];
}

/** All bytes of a dataset, as if it were one blob. */
function* bytesOf(packed: PackedBlocks): Generator<ArrayBufferView> {
  const { layout, file } = packed;
  if (file) {
    for (const { features } of featureBlocks(packed)) yield features;
    yield new Uint8Array(targetsByteOffset(layout) - layout.numRows * featureBytes(layout));
  }
  yield packed.blob;
}

/** SHA-256, in hexadecimal, over `fields` as JSON and every byte of `blocks`. */
export function hashBlocks(fields: unknown, blocks: Iterable<ArrayBufferView>): string {
  const hash = beginHash(fields);
  for (const block of blocks) updateHash(hash, block);
  return hash.digest('hex');
}

function beginHash(fields: unknown): Hash {
  return createHash('sha256').update(JSON.stringify(fields));
}
