// Names a dataset by its content.
import { createHash } from 'node:crypto';
import { updateHash } from '../../sha256.ts';
import { featureBlocks, featureBytes, targetsByteOffset, type PackedBlocks } from './packed-dataset.ts';

/** Names a dataset by its content: SHA-256 over the layout and every byte, wherever they are. */
export function hashDataset(packed: PackedBlocks): string {
  const { layout } = packed;
  const fields = [
    layout.numRows,
    layout.featureShape,
    layout.featureType,
    layout.featureScale,
    layout.targetKind,
    layout.targetWidth,
    layout.numClasses,
    ...(layout.hasSampleWeights ? ['weights'] : []),
  ];
  return hashBlocks(fields, bytesOf(packed));
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
  const hash = createHash('sha256').update(JSON.stringify(fields));
  for (const block of blocks) updateHash(hash, block);
  return hash.digest('hex');
}
