// Makes examples/fashion/*.gz from the original Fashion-MNIST files: the first images of every class, in
// their original order. The same input gives the same bytes.
//
//   node scripts/make-fashion-subset.mjs /usr/share/datasets/fashion-mnist
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';

const OUTPUT = join(dirname(fileURLToPath(import.meta.url)), '..', 'examples', 'fashion');
const SETS = [
  { original: 'train', subset: 'train', perClass: 1000 },
  { original: 't10k', subset: 'test', perClass: 200 },
];
const CLASSES = 10;
const IMAGE_HEADER_BYTES = 16;
const LABEL_HEADER_BYTES = 8;
/** Header byte that names the system gzip ran on; zlib writes the real one, which would change the bytes. */
const GZIP_SYSTEM_BYTE = 9;
const UNKNOWN_SYSTEM = 255;

/** The first `perClass` positions of every class, ascending. */
function choosePositions(labels, perClass) {
  const taken = new Array(CLASSES).fill(0);
  const positions = [];
  for (const [position, label] of labels.entries()) {
    if (taken[label] === perClass) continue;
    taken[label] += 1;
    positions.push(position);
  }
  if (taken.some((count) => count < perClass)) throw new Error(`a class has fewer than ${perClass} images`);
  return positions;
}

/** An IDX file of the chosen items, with the original header but for the count. */
function selectItems(file, headerBytes, positions) {
  const itemBytes = (file.length - headerBytes) / file.readUInt32BE(4);
  const header = Buffer.from(file.subarray(0, headerBytes));
  header.writeUInt32BE(positions.length, 4);
  const items = positions.map((position) => {
    const start = headerBytes + position * itemBytes;
    return file.subarray(start, start + itemBytes);
  });
  return Buffer.concat([header, ...items]);
}

function writeGzip(name, bytes) {
  const gzip = gzipSync(bytes, { level: 9 });
  gzip[GZIP_SYSTEM_BYTE] = UNKNOWN_SYSTEM;
  writeFileSync(join(OUTPUT, name), gzip);
  process.stderr.write(`${name}: ${gzip.length} bytes\n`);
}

const [source] = process.argv.slice(2);
if (source === undefined) {
  process.stderr.write('usage: node scripts/make-fashion-subset.mjs DIRECTORY\n');
  process.exit(2);
}
mkdirSync(OUTPUT, { recursive: true });
for (const { original, subset, perClass } of SETS) {
  const images = gunzipSync(readFileSync(join(source, `${original}-images-idx3-ubyte.gz`)));
  const labels = gunzipSync(readFileSync(join(source, `${original}-labels-idx1-ubyte.gz`)));
  const positions = choosePositions(labels.subarray(LABEL_HEADER_BYTES), perClass);
  writeGzip(`${subset}-images-idx3-ubyte.gz`, selectItems(images, IMAGE_HEADER_BYTES, positions));
  writeGzip(`${subset}-labels-idx1-ubyte.gz`, selectItems(labels, LABEL_HEADER_BYTES, positions));
}
