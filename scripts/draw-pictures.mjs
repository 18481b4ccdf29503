// Draws the pictures of the documentation into docs/pictures/, or into the directory named as an argument:
//
//   node scripts/draw-pictures.mjs [DIRECTORY]
//
// The same bytes every time, which test/unit/pictures.test.ts checks. equal-bits.json was taken
// from the events.jsonl of five real runs: the first digits of the hash of each epoch's weights,
// and the steps at which workers joined and left.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HOME = fileURLToPath(new URL('../docs/pictures/', import.meta.url));

const INK = '#1f2937';
const GREY = '#6b7280';
const LINE = '#d1d5db';
const GREEN = '#15803d';
const RED = '#b91c1c';
/** Sixteen colours, one for each first digit of a hash. */
const PALETTE = [
  ...['#0b2545', '#13315c', '#1d4e89', '#2a6f97', '#468faf', '#61a5c2', '#89c2d9', '#a9d6e5'],
  ...['#fde2a7', '#f9c74f', '#f8961e', '#f3722c', '#e05780', '#b5179e', '#7209b7', '#480ca8'],
];
/** One colour for each bucket, from the last layer to the first. */
const BUCKETS = ['#f3722c', '#f9c74f', '#43aa8b', '#b8a1e3'];

const SANS = "-apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif";
const MONO = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace";

function text(x, y, content, { size = 13, fill = INK, weight = 400, anchor = 'start', font = SANS } = {}) {
  return `<text x="${x}" y="${y}" font-family="${font}" font-size="${size}" font-weight="${weight}" fill="${fill}" text-anchor="${anchor}">${content}</text>`;
}

function rect(x, y, width, height, fill, rest = '') {
  return `<rect x="${x}" y="${y}" width="${width}" height="${height}" fill="${fill}"${rest && ` ${rest}`}/>`;
}

/** A card with its own background, so that it can be read on white and on dark pages. */
function card(width, height, { title, desc }, parts) {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${title}</title>`,
    `<desc>${desc}</desc>`,
    rect(0.5, 0.5, width - 1, height - 1, '#ffffff', `rx="12" stroke="${LINE}"`),
    ...parts.flat(Infinity),
    '</svg>\n',
  ].join('\n');
}

const BARCODE = { x: 226, width: 420, height: 26 };
const FIRST_ROW = 100;
const ROW = 66;

/** A row of cells, one for each epoch, whose colours are digits of the hash of the weights after it. */
function barcode(y, hashes) {
  const cell = BARCODE.width / hashes.length;
  return hashes.map((hash, i) =>
    rect(
      BARCODE.x + i * cell,
      y,
      cell - 1.5,
      BARCODE.height,
      PALETTE[Number.parseInt(hash[0], 16)],
      'rx="1.5"',
    ),
  );
}

function cross(x, y) {
  const d = 4;
  return `<path d="M${x - d} ${y - d}l${2 * d} ${2 * d}m0 ${-2 * d}l${-2 * d} ${2 * d}" stroke="${RED}" stroke-width="2.5" stroke-linecap="round"/>`;
}

function workerLine(from, to, y) {
  return `<path d="M${from} ${y}H${to}" stroke="${GREY}" stroke-width="2.5" stroke-linecap="round"/>`;
}

/** A line for each worker while it takes part, with a cross where it was killed. */
function workerLines(y, workers, numSteps) {
  const xOf = (step) => Math.round(BARCODE.x + (step / numSteps) * (BARCODE.width - 1.5));
  return workers.map(({ from, to, killed }, i) => {
    const lineY = y - 6 - 6 * i;
    const line = workerLine(xOf(from), xOf(to), lineY);
    return killed ? [line, cross(xOf(to), lineY)] : [line];
  });
}

function equalBitsRow(run, i, reference, numSteps) {
  const y = FIRST_ROW + ROW * i;
  const isEqual = run.weightsSha256 === reference;
  const hash = run.weightsSha256.slice(0, 10);
  const right = BARCODE.x + BARCODE.width + 18;
  return [
    text(28, y + 11, run.label, { size: 15, weight: 600 }),
    text(28, y + 29, run.note, { fill: GREY, size: 12.5 }),
    workerLines(y, run.workers, numSteps),
    barcode(y, run.epochs.split(' ')),
    text(right, y + 18, hash, { font: MONO, size: 14, weight: 600, fill: isEqual ? GREEN : RED }),
    text(right + 110, y + 18, isEqual ? '=' : '≠', { size: 17, weight: 700, fill: isEqual ? GREEN : RED }),
  ];
}

/** The README's picture: the same weights after every epoch, whoever computed them. */
function drawEqualBits() {
  const { runs, stepsPerEpoch } = JSON.parse(readFileSync(join(HOME, 'equal-bits.json'), 'utf8'));
  const reference = runs[0].weightsSha256;
  const numSteps = stepsPerEpoch * runs[0].epochs.split(' ').length;
  const height = FIRST_ROW + ROW * runs.length + 14;
  const title = 'The same weights after every epoch, for any number of workers';
  const desc =
    'Five rows of thirty coloured cells, one for each epoch of a run. The rows of the runs with no workers, with two, ' +
    'with four, and with workers that come and go are the same, and so is the hash beside them. The row of the run ' +
    'with another seed differs.';
  return card(820, height, { title, desc }, [
    text(28, 40, 'One config, any workers, the same bits', { size: 19, weight: 700 }),
    text(28, 62, 'Each cell is the first digit of the SHA-256 of all weights after an epoch, as a colour.', {
      fill: GREY,
    }),
    runs.map((run, i) => equalBitsRow(run, i, reference, numSteps)),
    text(BARCODE.x, height - 22, 'epoch 1', { fill: GREY, size: 12 }),
    text(BARCODE.x + BARCODE.width, height - 22, 'epoch 30', { fill: GREY, size: 12, anchor: 'end' }),
    text(BARCODE.x + BARCODE.width + 18, height - 22, 'SHA-256, best epoch', { fill: GREY, size: 12 }),
    workerLine(28, 50, height - 26),
    text(58, height - 22, 'a worker', { fill: GREY, size: 12 }),
    cross(128, height - 26),
    text(138, height - 22, 'killed', { fill: GREY, size: 12 }),
  ]);
}

const LANES = { left: 150, width: 642, coordinator: 216, height: 40 };
const WORKERS = [
  { name: 'worker A', shards: 'shards 0 to 3', y: 104, start: 164, forward: 112, bucket: 52, next: 620 },
  { name: 'worker B', shards: 'shards 4 to 7', y: 328, start: 170, forward: 124, bucket: 57, next: 626 },
];
const APPLY_WIDTH = 38;

/** Time at which the coordinator has every worker's gradient of a bucket, and takes its optimizer step. */
const appliedFrom = (bucket) =>
  Math.max(...WORKERS.map((worker) => worker.start + worker.forward + worker.bucket * (bucket + 1))) + 14;

function block(x, y, width, fill, label, labelFill = '#ffffff') {
  return [
    rect(x, y, width - 2, LANES.height, fill, 'rx="4"'),
    text(x + width / 2 - 1, y + LANES.height / 2 + 4.5, label, {
      size: 12,
      fill: labelFill,
      anchor: 'middle',
    }),
  ];
}

function arrow(fromX, fromY, toX, toY, color, isDashed) {
  const dash = isDashed ? ' stroke-dasharray="4 3"' : '';
  const head = Math.sign(toY - fromY);
  return [
    `<path d="M${fromX} ${fromY}L${toX} ${toY - 5 * head}" stroke="${color}" stroke-width="2"${dash} fill="none"/>`,
    `<path d="M${toX} ${toY}l-4 ${-8 * head}h8z" fill="${color}"/>`,
  ];
}

function workerLane({ name, shards, y, start, forward, bucket: bucketWidth, next }) {
  const isAbove = y < LANES.coordinator;
  const near = isAbove ? y + LANES.height : y;
  const middle = LANES.coordinator + (isAbove ? 0 : LANES.height);
  const away = isAbove ? 2 : -2;
  const backward = start + forward;
  const train = (to) => arrow(to - 12, middle - away, to + 4, near + away, INK, false);
  return [
    text(28, y + 17, name, { size: 15, weight: 600 }),
    text(28, y + 34, shards, { size: 12.5, fill: GREY }),
    rect(LANES.left, y, LANES.width, LANES.height, '#f3f4f6', 'rx="6"'),
    block(start, y, forward, '#1d4e89', 'forward'),
    BUCKETS.map((color, i) => [
      block(backward + i * bucketWidth, y, bucketWidth, color, String(i), INK),
      arrow(
        backward + (i + 1) * bucketWidth - 8,
        near + away,
        appliedFrom(i) + 10,
        middle - away,
        color,
        false,
      ),
      arrow(appliedFrom(i) + 28, middle - away, appliedFrom(i) + 60, near + away, color, true),
    ]),
    block(next, y, 792 - next, '#1d4e89', 'forward, next step'),
    train(start),
    train(next),
    text(start + 6, (near + middle) / 2 + 4, 'train', { size: 12, fill: INK }),
    text(next + 6, (near + middle) / 2 + 4, 'train', { size: 12, fill: INK }),
  ];
}

/**
 * A step in time: buckets of the gradient travel while the backward pass still runs, and come back
 * as new weights.
 */
function drawStep() {
  const y = LANES.coordinator;
  const title = 'One step in time between a coordinator and two workers';
  const desc =
    'The coordinator sends each worker a train message. Each worker computes forward, then backward in four buckets. ' +
    'Each bucket of the gradient travels to the coordinator while the next is computed. The coordinator adds those of ' +
    'both workers, takes the optimizer step for that bucket, and sends the new weights back. Then it sends the train ' +
    'messages of the next step.';
  return card(820, 428, { title, desc }, [
    text(28, 40, 'One step in time', { size: 19, weight: 700 }),
    text(
      28,
      62,
      'Gradients leave bucket by bucket, last layers first, and return as new weights while workers compute.',
      {
        fill: GREY,
      },
    ),
    text(28, y + 17, 'coordinator', { size: 15, weight: 600 }),
    text(28, y + 34, 'owns the weights', { size: 12.5, fill: GREY }),
    rect(LANES.left, y, LANES.width, LANES.height, '#f3f4f6', 'rx="6"'),
    WORKERS.map(workerLane),
    BUCKETS.map((color, i) => block(appliedFrom(i), y, APPLY_WIDTH, color, '+ Δ', INK)),
    legend(408),
  ]);
}

function legend(y) {
  const label = (x, content) => text(x, y, content, { size: 12, fill: GREY });
  const line = (x, rest = '') => `<path d="M${x} ${y - 4}h24" stroke="${GREY}" stroke-width="2"${rest}/>`;
  return [
    rect(28, y - 10, 12, 12, BUCKETS[0], 'rx="2"'),
    label(46, 'backward, one bucket'),
    line(200),
    label(230, 'partial sum of its gradient'),
    text(424, y, '+ Δ', { size: 12, weight: 600 }),
    label(452, 'add along the tree, optimizer step'),
    line(682, ' stroke-dasharray="4 3"'),
    label(712, 'new weights'),
  ];
}

const [directory = HOME] = process.argv.slice(2);
mkdirSync(directory, { recursive: true });
writeFileSync(join(directory, 'equal-bits.svg'), drawEqualBits());
writeFileSync(join(directory, 'step.svg'), drawStep());
