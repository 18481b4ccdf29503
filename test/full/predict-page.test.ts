// The installed package's `lockstep/predict` in a real browser, where there is one: the predictions of a page
// have the bits of those in Node.js.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type * as Entry from '../../api/predict.ts';
import type { TrainConfig } from '../../api/train.ts';
import { loadModel } from '../../src/predict/load-model.ts';
import type { Prediction } from '../../src/predict/predictions.ts';
import type { Row } from '../../src/predict/samples.ts';
import { HAS_BROWSER, launchBrowser, openPage } from '../helpers/browser.ts';
import { CliProcess } from '../helpers/cli.ts';
import { installedFile } from '../helpers/example-run.ts';
import { EXAMPLES, predicted, samplesOf, TABLES, trainAll } from '../helpers/exported-models.ts';
import { serveFiles } from '../helpers/file-server.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const PAGE = `<!doctype html><link rel="icon" href="data:,">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'self'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; img-src data:">
<script>
  addEventListener('securitypolicyviolation', ({ blockedURI }) => console.error('blocked: ' + blockedURI));
  const lockstep = import('./lockstep/dist/api/predict.js');
</script>`;

/** What the page has. */
declare const lockstep: Promise<typeof Entry>;

const SIDE = 12;
const IMAGES = 30;
/** Images of bars, each at the place of its class. */
const bars = Uint8Array.from({ length: IMAGES * SIDE * SIDE }, (_, at) => {
  const [image, column] = [Math.floor(at / SIDE ** 2), at % SIDE];
  return Math.floor(column / 4) === image % 3 ? 255 - (at % 97) : at % 23;
});

const common = { batchSize: 8, shards: 2, epochs: 2, plots: false } as const;

/** Models that are trained on files. */
const OF_FILES: Record<'bars' | 'text' | 'fused', TrainConfig> = {
  bars: {
    name: 'bars',
    ...common,
    loss: 'crossEntropy',
    data: { train: { images: 'bars.idx', labels: 'labels.idx' }, split: { validation: 0, test: 0 } },
    model: {
      layers: [
        { kind: 'conv2d', filters: 4, kernelSize: 3, activation: 'relu' },
        { kind: 'maxPool2d', size: 2 },
        { kind: 'flatten' },
        { kind: 'dense', units: 3 },
      ],
    },
  },
  text: {
    name: 'text',
    ...common,
    loss: 'crossEntropy',
    data: { train: { text: 'words.txt' }, context: 16, split: { validation: 0.1, test: 0 } },
    model: {
      layers: [
        { kind: 'embedding', vocabulary: 256, units: 8 },
        { kind: 'lstm', units: 12, returnSequences: true },
        { kind: 'dense', units: 256 },
      ],
    },
  },
  fused: { ...(TABLES['areas'] as TrainConfig), name: 'fused', numerics: 'fused' },
};

function writeFiles(folder: string): void {
  const write = (name: string, content: string | Uint8Array): void =>
    fs.writeFileSync(path.join(folder, name), content);
  write('index.html', PAGE);
  write('bars.idx', Uint8Array.of(0, 0, 8, 3, 0, 0, 0, IMAGES, 0, 0, 0, SIDE, 0, 0, 0, SIDE, ...bars));
  write(
    'labels.idx',
    Uint8Array.of(0, 0, 8, 1, 0, 0, 0, IMAGES, ...bars.slice(0, IMAGES).map((_, i) => i % 3)),
  );
  write('words.txt', 'the quick brown fox jumps over the lazy dog\n'.repeat(20));
  fs.symlinkSync(installedFile(''), path.join(folder, 'lockstep'), 'dir');
}

/** The rows of a table in a folder, without the target, its last column. */
function rowsOf(folder: string, name: string): Row[] {
  const [header = [], ...lines] = fs
    .readFileSync(path.join(folder, `${name}.csv`), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => line.split(',').slice(0, -1));
  return lines.map(
    (cells) =>
      Object.fromEntries(cells.map((cell, at) => [header[at] ?? '', cell === 'NA' ? null : cell])) as Row,
  );
}

/** Predictions as plain data. */
function plain(predictions: readonly Prediction[]): unknown[] {
  return predictions.map((prediction) =>
    prediction.kind === 'class'
      ? { ...prediction, probabilities: [...prediction.probabilities] }
      : prediction,
  );
}

/** An input, as it can be sent to a page. */
type Sent =
  | { readonly rows: readonly Row[] }
  | { readonly type: 'Uint8Array' | 'Float32Array'; readonly values: readonly number[] };

describe.skipIf(!HAS_BROWSER)('lockstep/predict in Chromium', () => {
  let browser: Browser;
  let cwd = '';
  beforeAll(async () => {
    browser = await launchBrowser();
    cwd = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-page-'));
    writeFiles(cwd);
    const configs = [...Object.values(EXAMPLES).map(({ config }) => config), ...Object.values(TABLES)];
    await trainAll(cwd, [...configs, ...Object.values(OF_FILES)]);
  }, 120_000);
  afterAll(async () => {
    await browser.close();
    fs.rmSync(cwd, { recursive: true });
  });

  /** Predicts in a page, which must have no complaint. */
  async function predictInPage(name: string, input: Sent): Promise<unknown> {
    const { page, complaints } = await openPage(browser, await serveFiles(cwd));
    const predictions = await page.evaluate(
      async ({ address, input }) => {
        const model = await (await lockstep).loadModel(address);
        const samples =
          'rows' in input
            ? input.rows
            : input.type === 'Uint8Array'
              ? Uint8Array.from(input.values)
              : Float32Array.from(input.values);
        return model
          .predict(samples)
          .map((prediction) =>
            prediction.kind === 'class'
              ? { ...prediction, probabilities: [...prediction.probabilities] }
              : prediction,
          );
      },
      { address: `runs/${name}/model`, input },
    );
    expect(complaints).toEqual([]);
    return predictions;
  }

  const load = (name: string): ReturnType<typeof loadModel> => loadModel(path.join(cwd, 'runs', name));

  it.each(Object.entries(EXAMPLES))(
    'a page predicts with a %s model to the same bits as Node.js',
    async (name, example) => {
      const samples = samplesOf(example);
      const type = samples instanceof Uint8Array ? 'Uint8Array' : 'Float32Array';
      const expected = plain((await load(name)).predict(samples));
      expect(await predictInPage(name, { type, values: [...samples] })).toEqual(expected);
    },
  );

  it.each([...Object.keys(TABLES), 'fused'])(
    'a page predicts rows of the table %s to the same bits as Node.js and lockstep predict',
    async (name) => {
      const table = name === 'fused' ? 'areas' : name;
      const rows = rowsOf(cwd, table);
      const predictions = (await load(name)).predict(rows);
      expect(await predictInPage(name, { rows })).toEqual(predictions);
      const numbers = predictions.flatMap((prediction) =>
        prediction.kind === 'values' ? Object.values(prediction.values) : [],
      );
      expect(await predicted(cwd, `runs/${name}`, `${table}.csv`)).toEqual(numbers);
    },
  );

  it('a page predicts the next byte of texts to the same bits as Node.js', async () => {
    const bytes = new TextEncoder().encode('brown fox jumps over the lazy do');
    const expected = plain((await load('text')).predict(bytes));
    expect(expected).toHaveLength(2);
    expect(await predictInPage('text', { type: 'Uint8Array', values: [...bytes] })).toEqual(expected);
  });

  it('a page predicts what is drawn on a canvas, from a model that it has as bytes', async () => {
    const { page, complaints } = await openPage(browser, await serveFiles(cwd));
    const { pixels, predictions } = await page.evaluate(async (side) => {
      const names = ['config.json', 'model.safetensors'] as const;
      const [config, weights] = await Promise.all(
        names.map(
          async (name) => new Uint8Array(await (await fetch(`runs/bars/model/${name}`)).arrayBuffer()),
        ),
      );
      const model = await (
        await lockstep
      ).loadModel({
        'config.json': config,
        'model.safetensors': weights as Uint8Array,
      });
      const context = new OffscreenCanvas(side, side).getContext('2d', {
        willReadFrequently: true,
      }) as OffscreenCanvasRenderingContext2D;
      const images = [0, 1, 2].map((bar) => {
        context.fillStyle = '#222';
        context.fillRect(0, 0, side, side);
        context.fillStyle = '#eee';
        context.fillRect(4 * bar, 0, 4, side);
        return context.getImageData(0, 0, side, side);
      });
      return {
        pixels: images.flatMap(({ data }) => [...data].filter((_, at) => at % 4 === 0)),
        predictions: model
          .predict(images)
          .map((found) => (found.kind === 'class' ? [...found.probabilities] : [])),
      };
    }, SIDE);
    expect(complaints).toEqual([]);
    expect(pixels).toHaveLength(3 * SIDE * SIDE);
    const expected = (await load('bars')).predict(Uint8Array.from(pixels));
    expect(predictions).toEqual(
      expected.map((found) => (found.kind === 'class' ? [...found.probabilities] : [])),
    );
  });

  it('examples/browser/serve.mjs serves a page that predicts as the model that it has trained', async () => {
    const cwd = temporaryDirectory();
    const program = installedFile('examples/browser/serve.mjs');
    const example = CliProcess.start(['0'], { cwd, program });
    await expect.poll(() => example.stdout, { timeout: 30_000 }).toMatch(/^http:\S+\n$/);
    const { page, complaints } = await openPage(browser, example.stdout.trim());
    const output = page.locator('output');
    await output.filter({ hasText: 'ready' }).waitFor();
    await page.locator('select').selectOption('roof');
    await page.locator('button').click();
    const run = path.join(cwd, 'runs', fs.readdirSync(path.join(cwd, 'runs')).sort()[0] as string);
    const [roof] = (await loadModel(run)).predict([{ width: 10, height: 5, shape: 'roof' }]);
    expect(roof).toEqual({ kind: 'values', values: { area: Number(await output.textContent()) } });
    expect(complaints).toEqual([]);
  });
});
