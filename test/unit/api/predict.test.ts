// The built entry `lockstep/predict`: it needs nothing of Node.js, and says what is wrong with any source.
import fs from 'node:fs';
import { createServer } from 'node:http';
import path from 'node:path';
import zlib from 'node:zlib';
import ts from 'typescript';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type * as Entry from '../../../api/predict.ts';
import { formatError, type LockstepError } from '../../../src/errors.ts';
import { encodeModelFile } from '../../../src/predict/model-files.ts';
import { loadModel as loadInNode, readModel } from '../../../src/predict/load-model.ts';
import { VERSION } from '../../../src/version.ts';
import { ROOT } from '../../helpers/cli.ts';
import { serveFiles } from '../../helpers/file-server.ts';
import { saveRun } from '../../helpers/saved-run.ts';

const BUNDLE = path.join(ROOT, 'dist/api/predict.js');
const { loadModel, LockstepError: ErrorOfEntry } = (await import(BUNDLE)) as typeof Entry;

const kernels = fs.readFileSync(path.join(ROOT, 'dist/kernels-strict.wasm'));
const ROWS = [1, 2, 3].map((x) => ({ x, when: `2024-0${x}-15`, kind: x === 2 ? 'b' : 'a' }));

/** The folder of a model, and its files. */
async function saveModel(settings: object = {}): Promise<{ folder: string; files: Entry.ModelFiles }> {
  const lines = ROWS.map(({ x, when, kind }) => `${x},${when},${kind},${x * x}\n`);
  const { directory } = await saveRun(
    { 'table.csv': `x,when,kind,y\n${lines.join('')}` },
    {
      data: { file: 'table.csv', target: 'y', split: { validation: 0, test: 0 } },
      model: { layers: [{ kind: 'dense', units: 1 }] },
      loss: 'mse',
      batchSize: 3,
      shards: 1,
      ...settings,
    },
  );
  const folder = path.join(directory, 'model');
  const read = (name: string): Uint8Array => fs.readFileSync(path.join(folder, name));
  return {
    folder,
    files: { 'model.safetensors': read('model.safetensors'), 'config.json': read('config.json') },
  };
}

/** The text of the error that an action ends in. */
async function errorOf(action: () => unknown): Promise<string> {
  const error = await Promise.resolve()
    .then(action)
    .catch((error: unknown) => error);
  expect(error).toBeInstanceOf(ErrorOfEntry);
  return formatError(error as LockstepError);
}

/** Edits the description of a model. */
function describeAs(files: Entry.ModelFiles, change: object): Entry.ModelFiles {
  const text = new TextDecoder().decode(files['config.json']);
  const description = { ...(JSON.parse(text) as object), ...change };
  return { ...files, 'config.json': new TextEncoder().encode(JSON.stringify(description)) };
}

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe('the built entry lockstep/predict', () => {
  it('the entry imports nothing, and names nothing that only Node.js has', () => {
    const source = ts.createSourceFile(
      'predict.js',
      fs.readFileSync(BUNDLE, 'utf8'),
      ts.ScriptTarget.ES2023,
      true,
    );
    const found: string[] = [];
    const visit = (node: ts.Node): void => {
      const isImport = ts.isImportDeclaration(node) || node.kind === ts.SyntaxKind.ImportKeyword;
      if (isImport && !ts.isMetaProperty(node.parent)) found.push(node.getText());
      const isName = ts.isIdentifier(node) && /^(Buffer|process|require|global|__dirname)$/.test(node.text);
      const isProperty =
        (ts.isPropertyAccessExpression(node.parent) && node.parent.name === node) ||
        (ts.isPropertyAssignment(node.parent) && node.parent.name === node);
      if (isName && !isProperty) found.push(node.parent.getText());
      ts.forEachChild(node, visit);
    };
    ts.forEachChild(source, visit);
    expect(found).toEqual([]);
  });

  it('the entry and its kernels have the size that docs/using-a-model.md tells', () => {
    const kilobytes = (file: string): number =>
      zlib.gzipSync(fs.readFileSync(file), { level: 9 }).length / 1000;
    const page = fs.readFileSync(path.join(ROOT, 'docs/using-a-model.md'), 'utf8');
    const [, code, wasm] = /(\d+) kB of code and (\d+) kB of kernels/.exec(page) ?? [];
    expect(Math.abs(kilobytes(BUNDLE) - Number(code))).toBeLessThan(3);
    expect(Math.abs(kilobytes(path.join(ROOT, 'dist/kernels-strict.wasm')) - Number(wasm))).toBeLessThan(3);
  });

  it('the version in the sources is that of the package', () => {
    const { version } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
      version: string;
    };
    expect(VERSION).toBe(version);
  });
});

describe('loading a model without Node.js', () => {
  it('a model predicts the same from its address, its file alone, and its bytes, with kernels of any form', async () => {
    const { folder, files } = await saveModel();
    fs.writeFileSync(path.join(folder, 'whole.safetensors'), encodeModelFile(await readModel(folder)));
    fs.copyFileSync(path.join(ROOT, 'dist/kernels-strict.wasm'), path.join(folder, 'kernels.wasm'));
    const address = await serveFiles(folder);
    const expected = (await loadInNode(folder)).predict(ROWS);
    const whole = fs.readFileSync(path.join(folder, 'whole.safetensors'));
    const loaded = await Promise.all([
      loadModel(address, { kernels }),
      loadModel(new URL(address), { kernels: `${address}kernels.wasm` }),
      loadModel(`${address}whole.safetensors?of=today`, { kernels: new URL('kernels.wasm', address) }),
      loadModel(files, { kernels: await WebAssembly.compile(kernels) }),
      loadModel({ 'model.safetensors': whole }, { kernels }),
    ]);
    for (const model of loaded) expect(model.predict(ROWS)).toEqual(expected);
    expect(loaded.map(({ directory }) => directory)).toEqual([
      address,
      address,
      `${address}whole.safetensors?of=today`,
      '',
      '',
    ]);
  });

  it('warnings go to the console, or where the program wants them', async () => {
    const { files } = await saveModel();
    const rows = [{ ...ROWS[0], kind: 'new' }];
    const shown = vi.spyOn(console, 'warn').mockReturnValue();
    const warn = vi.fn();
    (await loadModel(files, { kernels })).predict(rows);
    (await loadModel(files, { kernels, warn })).predict(rows);
    const message = 'column "kind": 1 row with a value that training never saw; encoded as zeros';
    expect([shown.mock.calls, warn.mock.calls]).toEqual([[[message]], [[message]]]);
  });

  it('rows that do not fit the model are refused as in Node.js', async () => {
    const { files } = await saveModel();
    const model = await loadModel(files, { kernels });
    expect(await errorOf(() => model.predict([{ x: 1, kind: 'a' }]))).toBe(
      'error[E_DATA_COLUMNS]: row 0 has no column "when", which the model was trained on\n' +
        '  help: give it a value, or null where the value is missing',
    );
    expect(await errorOf(() => model.predict([{ ...ROWS[0], x: NaN }]))).toMatch(
      /^error\[E_DATA_MISSING\]: row 0: column "x": 1 of 1 cell missing/,
    );
    expect(await errorOf(() => model.predict(Float32Array.of(1, 2)))).toMatch(
      /^error\[E_DATA_SHAPE\]: 2 values are not a whole number of samples of \d+$/,
    );
  });

  it.each<[string, (files: Entry.ModelFiles) => Entry.ModelFiles, string]>([
    [
      'of which one bit has changed',
      (files) => {
        const bytes = Uint8Array.from(files['model.safetensors']);
        bytes[bytes.length - 3] = bytes.at(-3) ^ 1;
        return { ...files, 'model.safetensors': bytes };
      },
      'error[E_MODEL_WEIGHTS]: model.safetensors: the weights have SHA-256 ',
    ],
    [
      'of another version',
      (files) => describeAs(files, { lockstep: '9.0.0', numerics: 'exact' }),
      'error[E_MODEL_INVALID]: config.json describes no trained model: numerics: ' +
        'Invalid option: expected one of "strict"|"fused"\n' +
        `  help: it was written by Lockstep "9.0.0", this is ${VERSION}`,
    ],
    [
      'that are a page of HTML',
      (files) => ({
        ...files,
        'model.safetensors': new TextEncoder().encode('<!doctype html>\n<p>no such file'),
      }),
      'error[E_SAFETENSORS]: model.safetensors: a page of HTML or XML, and no safetensors file\n' +
        '  help: download the file itself, not a page about it',
    ],
    [
      'without their description',
      ({ 'model.safetensors': weights }) => ({ 'model.safetensors': weights }),
      'error[E_MODEL_INVALID]: model.safetensors holds weights alone, without the description of a model',
    ],
    [
      'without weights',
      ({ 'config.json': config }) => ({ 'config.json': config }) as object as Entry.ModelFiles,
      `error[E_OPTIONS]: source: expected an address, or { 'model.safetensors': bytes, 'config.json': bytes }, got an object`,
    ],
  ])('files %s are refused', async (_, spoil, message) => {
    const { files } = await saveModel();
    expect(await errorOf(() => loadModel(spoil(files), { kernels }))).toContain(message);
  });

  it('an address without the files of a model is refused', async () => {
    const { folder } = await saveModel();
    const address = await serveFiles(folder);
    const help =
      '\n  help: name the folder with config.json and model.safetensors; another server must allow this page (CORS)';
    expect(await errorOf(() => loadModel(`${address}else/`, { kernels }))).toBe(
      `error[E_MODEL_NOT_FOUND]: cannot fetch ${address}else/config.json: the server says 404 Not Found${help}`,
    );
    expect(await errorOf(() => loadModel('http://127.0.0.1:1/model', { kernels }))).toMatch(
      /^error\[E_MODEL_NOT_FOUND\]: cannot fetch http:\/\/127\.0\.0\.1:1\/model\/config\.json: /,
    );
    // Without a page there is nothing that it is relative to.
    expect(await errorOf(() => loadModel('model', { kernels }))).toBe(
      'error[E_MODEL_NOT_FOUND]: "model" is no address',
    );
    fs.writeFileSync(path.join(folder, 'config.json'), '<!doctype html>');
    expect(await errorOf(() => loadModel(address, { kernels }))).toMatch(
      /^error\[E_MODEL_INVALID\]: http\S+\/config\.json is not JSON \(.*</,
    );
  });

  it('a server that falls silent is given up after 30 seconds, and at once where the signal says so', async () => {
    const waiting: (() => void)[] = [];
    const server = createServer((_request, response) => {
      response.write('{');
      waiting.shift()?.();
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const address = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
    const nextRequest = (): Promise<void> => new Promise((resolve) => waiting.push(resolve));

    const controller = new AbortController();
    const aborted = loadModel(address, { kernels, signal: controller.signal });
    controller.abort(new Error('the user has left'));
    await expect(aborted).rejects.toThrow('the user has left');
    await expect(loadModel(address, { signal: controller.signal })).rejects.toThrow('the user has left');

    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const asked = nextRequest();
    const stalled = errorOf(() => loadModel(address, { kernels }));
    await asked;
    // Its first byte may come after this.
    await vi.advanceTimersByTimeAsync(29_000);
    await expect(Promise.race([stalled, Promise.resolve('still waiting')])).resolves.toBe('still waiting');
    await vi.advanceTimersByTimeAsync(31_000);
    expect(await stalled).toContain(`cannot fetch ${address}/config.json: no bytes for 30 seconds`);
    server.closeAllConnections();
    server.close();
  });

  it('kernels of another version, or of the other build, are refused', async () => {
    const { files } = await saveModel();
    const others = [fs.readFileSync(path.join(ROOT, 'dist/kernels-fused.wasm')), Uint8Array.of(1, 2, 3)];
    for (const other of others) {
      expect(await errorOf(() => loadModel(files, { kernels: other }))).toBe(
        'error[E_KERNELS]: the kernels are not the strict ones of this version\n' +
          '  help: take kernels-strict.wasm from the package that this module is from; the option kernels names it',
      );
    }
  });

  it('kernels that are not where they should be are named', async () => {
    const { folder, files } = await saveModel();
    const address = await serveFiles(folder);
    expect(await errorOf(() => loadModel(files, { kernels: `${address}kernels.wasm` }))).toBe(
      `error[E_KERNELS]: cannot fetch ${address}kernels.wasm: the server says 404 Not Found\n` +
        '  help: take kernels-strict.wasm from the package that this module is from; the option kernels names it',
    );
  });

  it('options that are unknown or of another type are refused', async () => {
    const { files } = await saveModel();
    const load = loadModel as (...args: unknown[]) => Promise<unknown>;
    expect(await errorOf(() => load(files, { kernel: kernels }))).toMatch(
      /E_OPTIONS.*unknown option "kernel"/,
    );
    expect(await errorOf(() => load(files, { signal: 5 }))).toMatch(/signal: expected an AbortSignal, got 5/);
    expect(await errorOf(() => load(undefined))).toMatch(/source: expected an address, or .*, got undefined/);
  });

  it('a browser that lacks what a model needs is named as the cause', async () => {
    const { files } = await saveModel();
    const fused = await saveModel({ numerics: 'fused' });
    const validate = vi.spyOn(WebAssembly, 'validate').mockReturnValue(false);
    expect(await errorOf(() => loadModel(files, { kernels }))).toBe(
      'error[E_NO_SIMD]: this browser has no WebAssembly SIMD\n' +
        '  help: use Chrome 110, Firefox 115, Safari 16.4 or newer',
    );
    validate.mockReturnValueOnce(true);
    const ofFused = fs.readFileSync(path.join(ROOT, 'dist/kernels-fused.wasm'));
    expect(await errorOf(() => loadModel(fused.files, { kernels: ofFused }))).toBe(
      'error[E_NO_RELAXED_SIMD]: this browser has no WebAssembly relaxed SIMD, which "numerics: fused" needs\n' +
        '  help: train with numerics: strict, or use Chrome 114 or newer',
    );
    validate.mockRestore();
    vi.stubGlobal('crypto', {});
    expect(await errorOf(() => loadModel(files, { kernels }))).toBe(
      'error[E_NO_SHA256]: this browser has no SHA-256 for a page that comes over plain HTTP, so a model cannot be checked\n' +
        '  help: serve the page over HTTPS, or from localhost',
    );
  });
});
