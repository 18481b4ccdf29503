// Options of the API, which may be anything in JavaScript or after a cast: invalid ones are refused
// before any work is done.
import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { evaluate } from '../../../api/model.ts';
import { train } from '../../../api/train.ts';
import { formatError, LockstepError } from '../../../src/errors.ts';
import { loadModel } from '../../../src/predict/load-model.ts';
import { ROOT } from '../../helpers/cli.ts';

type Call = (...args: unknown[]) => Promise<unknown>;

/** A config that is valid but for data that do not exist: options must be refused before that is noticed. */
const CONFIG = {
  name: 'options',
  data: { file: 'nowhere.csv', target: 'y' },
  model: { layers: [{ kind: 'dense', units: 1 }] },
  loss: 'mse',
  batchSize: 8,
  epochs: 1,
};

async function refusal(call: unknown, ...args: unknown[]): Promise<string> {
  try {
    await (call as Call)(...args);
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
    expect(error.category).toBe('usage');
    return formatError(error).replace(/^error\[(E_OPTIONS|E_CONFIG_INVALID)\]: /, '');
  }
  throw new Error('nothing was refused');
}

const ofTrain = '\n  --> options of train';
const ofEvaluate = '\n  --> options of evaluate';

describe('invalid options of the API', () => {
  it.each<[unknown, string]>([
    [{ workers: -1 }, `workers: expected a whole number from 0 to 1024, or "auto", got -1${ofTrain}`],
    [{ workers: NaN }, `workers: expected a whole number from 0 to 1024, or "auto", got NaN${ofTrain}`],
    [{ workers: '2' }, `workers: expected a whole number from 0 to 1024, or "auto", got "2"${ofTrain}`],
    [{ threads: 1.5 }, `threads: expected a whole number from 1 to 256, or "auto", got 1.5${ofTrain}`],
    [{ runDirectory: '' }, `runDirectory: expected a path, got ""${ofTrain}`],
    [{ runDirectory: 'a\0b' }, `runDirectory: expected a path, got "a\\u0000b"${ofTrain}`],
    [{ resume: 5 }, `resume: expected "last", "best", "auto" or a path, got 5${ofTrain}`],
    [{ allowOlder: 'no' }, `allowOlder: expected true or false, got "no"${ofTrain}`],
    [{ baseDirectory: {} }, `baseDirectory: expected a path, got an object${ofTrain}`],
    [{ onEpoch: 42 }, `onEpoch: expected a function, got 42${ofTrain}`],
    [
      { metrics: { 'a b': () => 1 } },
      `metrics: expected functions by name, of at most 64 letters, digits, ".", "_" and "-", got an object${ofTrain}`,
    ],
    [
      { metrics: [] },
      `metrics: expected functions by name, of at most 64 letters, digits, ".", "_" and "-", got a list of 0${ofTrain}`,
    ],
    [{ onStart: 'now' }, `onStart: expected a function, got "now"${ofTrain}`],
    [{ onStep: [] }, `onStep: expected a function, got a list of 0${ofTrain}`],
    [
      { logLevel: 'loud' },
      `logLevel: expected one of silent, fatal, error, warn, info, debug, trace, got "loud"${ofTrain}`,
    ],
    [{ signal: {} }, `signal: expected an AbortSignal, got an object${ofTrain}`],
    [{ onEpcoh: () => 0 }, `unknown option "onEpcoh"${ofTrain}\n  help: did you mean "onEpoch"?`],
    [null, `expected an object, got null${ofTrain}`],
    [
      { workers: -1, onEpcoh: 1 },
      '2 problems in options of train\n' +
        '    options of train: workers: expected a whole number from 0 to 1024, or "auto", got -1\n' +
        '    options of train: unknown option "onEpcoh" (did you mean "onEpoch"?)',
    ],
  ])('train refuses the options %o', async (options, message) => {
    expect(await refusal(train, CONFIG, options)).toBe(message);
  });

  it.each<[unknown, string]>([
    [{ split: 'nope' }, `split: expected "train", "validation" or "test", got "nope"${ofEvaluate}`],
    [
      { arrays: { features: [[1]], targets: [1] } },
      `arrays: expected a list of samples, [{ features, targets }], or of sets of rows, got an object${ofEvaluate}`,
    ],
    [
      { arrays: [null] },
      `arrays: expected a list of samples, [{ features, targets }], or of sets of rows, got a list of 1${ofEvaluate}`,
    ],
    [
      { data: null },
      `data: expected a path, { images, labels }, samples, { features, targets }, or rows, got null${ofEvaluate}`,
    ],
    [
      { data: 5 },
      `data: expected a path, { images, labels }, samples, { features, targets }, or rows, got 5${ofEvaluate}`,
    ],
    [{ baseDirectory: 5 }, `baseDirectory: expected a path, got 5${ofEvaluate}`],
    [{ warn: true }, `warn: expected a function, got true${ofEvaluate}`],
  ])('evaluate refuses the options %o', async (options, message) => {
    expect(await refusal(evaluate, 'nowhere', options)).toBe(message);
  });

  it('loadModel and evaluate refuse invalid options, and directories of the wrong type', async () => {
    expect(await refusal(loadModel, 'nowhere', { warn: 1 })).toBe(
      'warn: expected a function, got 1\n  --> options of loadModel',
    );
    expect(await refusal(loadModel)).toBe(
      'directory: expected a path, got undefined\n  --> arguments of loadModel',
    );
    expect(await refusal(evaluate)).toMatch(/^run: expected .*, got undefined/);
    expect(await refusal(evaluate, 5)).toBe(
      'run: expected the directory of a run, or a loaded model, got 5\n  --> arguments of evaluate',
    );
  });

  it('an option that is undefined counts as left out', async () => {
    await expect(train(CONFIG as never, { workers: undefined, onEpoch: undefined })).rejects.toThrow(
      'nowhere.csv',
    );
    await expect(evaluate('nowhere', { split: undefined, data: undefined })).rejects.toThrow(
      'no trained model',
    );
  });
});

describe('an invalid config given to the API', () => {
  it.each<[unknown, RegExp]>([
    [undefined, /^config: missing, expected mapping with .*\n {2}--> config$/],
    ['x.yaml', /^config: expected mapping with .*, got "x.yaml" \(string\)\n {2}--> config$/],
    [[], /^config: expected mapping with .*, got a list of 0\n {2}--> config$/],
    [{ ...CONFIG, data: 'x.csv' }, /^data: expected mapping, got "x.csv" \(string\)\n {2}--> config$/],
    [{ ...CONFIG, data: null }, /^data: expected mapping, got nothing \(null\)\n {2}--> config$/],
  ])('train refuses %o as its config', async (config, message) => {
    expect(await refusal(train, config)).toMatch(message);
  });
});

it('importing the package sets no flag of V8, which would hold for the whole program', () => {
  const program = `
    import v8 from 'node:v8';
    v8.setFlagsFromString = (flag) => console.log(flag);
    await import('lockstep');`;
  const args = ['--input-type=module', '--eval', program];
  expect(execFileSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' })).toBe('');
});
