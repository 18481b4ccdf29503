// Mistakes that users make: each gets one clear message on stderr and its exit code, and leaves no trace of
// a run.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ConfigInput } from '../../src/config/schema.ts';
import { inPairs, runCli } from '../helpers/cli.ts';
import { readEvents } from '../helpers/run-records.ts';
import { tableRun, tableText } from '../helpers/table-run.ts';

/** A mistake and the whole message about it; `CWD` stands for the directory of the command. */
interface Mistake {
  /** Default: `train table.yaml`. */
  readonly args?: readonly string[];
  readonly config?: Partial<ConfigInput>;
  readonly table?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly exitCode: number;
  readonly stderr: string;
}

const LINES = tableText().split('\n');
const USAGE = '(run with --help for usage)\n';
const FAN_IN_OF_STAR = 'error[E_TOPOLOGY]: --fan-in is for trees\n  help: add --topology tree\n';

/** The table with one of its lines, counted from 1, replaced. */
function tableWithLine(number: number, replace: (line: string) => string): string {
  return LINES.map((line, index) => (index + 1 === number ? replace(line) : line)).join('\n');
}

const MISTAKES: Readonly<Record<string, Mistake>> = {
  'a config that does not exist': {
    args: ['train', 'tabel.yaml'],
    exitCode: 2,
    stderr:
      'error[E_CONFIG_NOT_FOUND]: cannot read tabel.yaml: no such file (cwd CWD)\n' +
      '  help: did you mean table.yaml?\n',
  },
  'an empty path of a config': {
    args: ['train', ''],
    exitCode: 2,
    stderr:
      "error: command-argument value '' is invalid for argument 'config'. expected a path; this one is empty.\n" +
      USAGE,
  },
  'an empty path of a run': {
    args: ['train', 'table.yaml', '--run-dir', ''],
    exitCode: 2,
    stderr:
      "error: option '--run-dir <dir>' argument '' is invalid. expected a path; this one is empty.\n" + USAGE,
  },
  'an empty path of a checkpoint': {
    args: ['train', 'table.yaml', '--resume', ''],
    exitCode: 2,
    stderr:
      "error: option '--resume <last|best|auto|path>' argument '' is invalid. expected a path; this one is empty.\n" +
      USAGE,
  },
  'an unknown key': {
    config: { optimizer: { learningrate: 0.1 } as object },
    exitCode: 2,
    stderr:
      'error[E_CONFIG_INVALID]: unknown key "learningrate" in optimizer\n  --> table.yaml:15:3\n' +
      '  help: did you mean "learningRate"?\n',
  },
  'an unknown key on the command line': {
    args: ['train', 'table.yaml', '--set', 'batchsize=10'],
    exitCode: 2,
    stderr:
      'error[E_CONFIG_INVALID]: unknown key "batchsize"\n  --> --set batchsize=10\n' +
      '  help: did you mean "batchSize"?\n',
  },
  'a data file that does not exist': {
    config: { data: { file: 'tables.csv', target: 'y' } },
    exitCode: 3,
    stderr:
      'error[E_DATA_UNREADABLE]: cannot read tables.csv: no such file (cwd CWD)\n' +
      '  help: did you mean table.csv?\n',
  },
  'a row with a field too many': {
    table: tableWithLine(5, () => '1,2,3,4,5,6,7,8,9,10'),
    exitCode: 3,
    stderr:
      'error[E_DATA_RAGGED_ROW]: 10 fields, header has 9 (x0,x1,x2,x3,x4,x5,x6,x7,y): 1,2,3,4,5,6,7,8,9,«10»\n' +
      '  --> table.csv:5\n',
  },
  'text in a column of numbers': {
    table: tableWithLine(7, (line) => line.replace(/,[^,]*$/, ',cheap')),
    exitCode: 3,
    stderr:
      'error[E_DATA_NOT_A_NUMBER]: column "y": "cheap" is not a number (1 of 1,000 cells)\n' +
      '  --> table.csv:7:65\n' +
      '  help: correct the cell, or leave its row out\n',
  },
  'a batch larger than the training split': {
    config: { batchSize: 801 },
    exitCode: 2,
    stderr:
      'error[E_CONFIG_BATCH_SIZE]: batchSize 801 > 800 training rows (the split leaves them of 1000)\n' +
      '  help: set batchSize to 800 or less\n',
  },
  'more outputs than columns to predict': {
    config: { model: { layers: [{ kind: 'dense', units: 3 }] } },
    exitCode: 2,
    stderr:
      'error[E_CONFIG_INVALID]: model.layers.0.units: the last layer has 3 units, data.target has 1 column\n' +
      '  --> table.yaml:9:14\n  help: set units to 1\n',
  },
  'fewer outputs than classes in the data': {
    config: { loss: 'crossEntropy', model: { layers: [{ kind: 'dense', units: 2 }] } },
    table: LINES.map((line, index) => (index === 0 ? line : line.replace(/,[^,]*$/, `,${index % 3}`))).join(
      '\n',
    ),
    exitCode: 2,
    stderr:
      'error[E_MODEL_SHAPE]: the last layer gives 2 outputs, the data has 3 classes\n' +
      '    layer 0: dense 8 -> 2 (18 parameters)\n' +
      '  help: let the last layer give 3\n',
  },
  'as many outputs as classes that are numbered from 1': {
    config: { loss: 'crossEntropy', model: { layers: [{ kind: 'dense', units: 3 }] } },
    table: LINES.map((line, index) =>
      index === 0 ? line : line.replace(/,[^,]*$/, `,${(index % 3) + 1}`),
    ).join('\n'),
    exitCode: 2,
    stderr:
      'WARN: class 0 never occurs: the labels run from 1 to 3; numbered from 0 they need no such outputs\n' +
      'error[E_MODEL_SHAPE]: the last layer gives 3 outputs, the data has 4 classes\n' +
      '    layer 0: dense 8 -> 3 (27 parameters)\n' +
      '  help: number the labels from 0 (they run from 1 to 3), or let the last layer give 4: class 0 then never occurs\n',
  },
  'more outputs than classes that have names': {
    config: { loss: 'crossEntropy', model: { layers: [{ kind: 'dense', units: 3 }] } },
    table: LINES.map((line, index) =>
      index === 0 ? line : line.replace(/,[^,]*$/, `,${['no', 'yes'][index % 2]}`),
    ).join('\n'),
    exitCode: 2,
    stderr:
      'error[E_MODEL_SHAPE]: the last layer gives 3 outputs, the data has 2 classes\n' +
      '    layer 0: dense 8 -> 3 (27 parameters)\n' +
      '  help: let the last layer give 2\n',
  },
  'a metric to watch that one class cannot have': {
    config: {
      loss: 'binaryCrossEntropy',
      data: { file: 'table.csv', target: 'y', shuffle: false, split: { validation: 0.2, test: 0 } },
      earlyStopping: { monitor: 'rocAuc' },
    },
    table: LINES.map((line, index) =>
      index === 0 ? line : line.replace(/,[^,]*$/, `,${Number(index > 500)}`),
    ).join('\n'),
    args: ['train', 'table.yaml', '--dry-run'],
    exitCode: 2,
    stderr:
      'WARN: every row of validation is class "1": its metrics say little, and there is no rocAuc\n' +
      'error[E_MONITOR]: earlyStopping.monitor: validation measures no "rocAuc", which needs two classes, and rows of both that do not weigh 0\n' +
      '  help: it measures loss, accuracy, macro/precision, macro/recall, macro/f1\n',
  },
  'a level of the log that is none': {
    env: { LOCKSTEP_LOG_LEVEL: 'verbose' },
    exitCode: 2,
    stderr:
      'error[E_LOG_LEVEL]: LOCKSTEP_LOG_LEVEL is "verbose"; expected one of silent, fatal, error, warn, info, debug, trace\n' +
      '  help: unset it for info\n',
  },
  'a number of workers that is none, from the environment': {
    env: { LOCKSTEP_WORKERS: 'abc' },
    exitCode: 2,
    stderr:
      "error: option '--workers <count>' value 'abc' from env 'LOCKSTEP_WORKERS' is invalid. expected a whole number from 0 to 1024.\n" +
      USAGE,
  },
  'a seed that is none, from the environment': {
    env: { LOCKSTEP_SEED: 'abc' },
    exitCode: 2,
    stderr:
      'error[E_CONFIG_INVALID]: seed: expected integer >= 0, got "abc" (string)\n  --> LOCKSTEP_SEED=abc\n',
  },
  'a directory for the run that cannot be made': {
    args: ['train', 'table.yaml', '--run-dir', '/proc/nothing/here'],
    exitCode: 1,
    stderr:
      'error[E_RUN_DIR]: cannot write /proc/nothing/here: no such directory\n' +
      '  help: choose another directory with --run-dir\n',
  },
  'a device for the data': {
    config: { data: { file: '/dev/zero', target: 'y' } },
    exitCode: 3,
    stderr:
      'error[E_DATA_UNREADABLE]: cannot read /dev/zero: it is a device, not a regular file\n' +
      '  help: data are read more than once: write them to a file, and name that\n',
  },
  'names that would steer a terminal': {
    args: ['train', 'table.yaml', '--set', 'a\u001b[2J\u202eb=1'],
    exitCode: 2,
    stderr:
      'error[E_CONFIG_INVALID]: unknown key "a\\u001b[2J\\u202eb"\n  --> --set a\\u001b[2J\\u202eb=1\n' +
      '  help: valid keys: name, seed, data, model, loss, classWeights, metrics, optimizer, schedule, clip, ema, earlyStopping, batchSize, shards, numerics, wire, audit, epochs, checkpoint, plots, tracking\n',
  },
  'a command that would steer a terminal': {
    args: ['\u001b[31mtrain'],
    exitCode: 2,
    stderr: `error: unknown command '\\u001b[31mtrain'\n${USAGE}`,
  },
  'a number of workers that is none': {
    args: ['train', 'table.yaml', '--workers', 'abc'],
    exitCode: 2,
    stderr:
      "error: option '--workers <count>' argument 'abc' is invalid. expected a whole number from 0 to 1024.\n" +
      USAGE,
  },
  'a tree without workers': {
    args: ['train', 'table.yaml', '--topology', 'tree'],
    exitCode: 2,
    stderr:
      'error[E_TOPOLOGY]: --topology tree is for workers, and there are none\n  help: add --workers COUNT\n',
  },
  'a fan-in of a star': {
    args: ['train', 'table.yaml', '--workers', '3', '--fan-in', '2'],
    exitCode: 2,
    stderr: FAN_IN_OF_STAR,
  },
  'a fan-in of a star to measure': {
    args: ['bench', 'network', 'table.yaml', '--fan-in', '2'],
    exitCode: 2,
    stderr: FAN_IN_OF_STAR,
  },
  'a fan-in of a star to simulate': {
    args: ['bench', 'simulate', 'table.yaml', '--fan-in', '2'],
    exitCode: 2,
    stderr: FAN_IN_OF_STAR,
  },
  'an unknown command': {
    args: ['trian', 'table.yaml'],
    exitCode: 2,
    stderr: `error: unknown command 'trian'\n(Did you mean train?)\n${USAGE}`,
  },
  'an unknown option': {
    args: ['train', 'table.yaml', '--wrokers', '2'],
    exitCode: 2,
    stderr: `error: unknown option '--wrokers'\n(Did you mean --workers?)\n${USAGE}`,
  },
  'an address to listen on without a port': {
    args: ['coordinator', 'table.yaml', '--listen', 'localhost'],
    exitCode: 2,
    stderr:
      'error[E_LISTEN_ADDRESS]: --listen localhost: expected HOST:PORT\n' +
      '  help: for example --listen 127.0.0.1:7700, or 0.0.0.0:7700 with --token-file\n',
  },
  'an address for tabs to connect to without a port': {
    args: ['train', 'table.yaml', '--browser-workers', '--min-workers', '2', '--listen', 'localhost'],
    exitCode: 2,
    stderr:
      'error[E_LISTEN_ADDRESS]: --listen localhost: expected HOST:PORT\n' +
      '  help: for example --listen 127.0.0.1:7700, or 0.0.0.0:7700 with --token-file\n',
  },
  "a worker's address that is none": {
    args: ['worker', 'http://localhost:7700'],
    exitCode: 2,
    stderr:
      'error[E_WORKER_URL]: http://localhost:7700 is not the address of a coordinator\n' +
      '  help: for example: lockstep worker ws://192.168.0.10:7700 --token-file token.txt\n',
  },
  'files of TLS for the status of a plain port': {
    args: ['status', 'ws://localhost:7700', '--tls-ca', 'ca.pem'],
    exitCode: 2,
    stderr:
      'error[E_TLS_FLAGS]: ws://localhost:7700 is a plain connection, in which files of TLS are of no use\n' +
      '  help: if the coordinator has a certificate: wss://localhost:7700\n',
  },
  'a URL of a proxy with a password': {
    args: 'coordinator table.yaml --listen 127.0.0.1:0 --public-url wss://user:word@h/'.split(' '),
    exitCode: 2,
    stderr: `error: option '--public-url <url>' argument 'wss://user:word@h/' is invalid. expected a URL without a password, parameters or a fragment.\n${USAGE}`,
  },
  ...Object.fromEntries(
    [
      ['--listen', 'worker ws://localhost:7700 --announce localhost:7701'],
      ['--resume', 'train table.yaml --allow-older'],
      ['--hosts', 'train table.yaml --remote-dir x'],
      ['--hosts', 'train table.yaml --tunnel'],
      ['--hosts', 'train table.yaml --ssh ssh'],
      ['--hosts', 'train table.yaml --browser-workers --tunnel'],
      ['--hosts or --browser-workers', 'train table.yaml --listen 127.0.0.1:0'],
      ['--hosts or --browser-workers', 'train table.yaml --min-workers 2'],
      ['--dashboard', 'train table.yaml --tls-cert x'],
      ['--run-dir', 'tune table.yaml --vary epochs=[1,2] --resume'],
      ['--method random', 'tune table.yaml --vary epochs=[1,2] --method grid --trials 3'],
      ['--data', 'evaluate run --labels x'],
    ].map(([needed, line = '']) => [`an option that goes with ${needed} alone: ${line}`, idle(line, needed)]),
  ),
};

function idle(line: string, needed = ''): Mistake {
  const args = line.split(' ');
  const flag = args.findLast((word) => word.startsWith('--')) ?? '';
  const stderr = `error[E_FLAG_UNUSED]: ${flag} requires ${needed}\n  help: leave it out, or add ${needed}\n`;
  return { args, exitCode: 2, stderr };
}

/** The outcome of a mistake. */
async function commit({ args = ['train', 'table.yaml'], config, table, env }: Mistake): Promise<object> {
  const cwd = tableRun(config, table);
  const { exitCode, stdout, stderr } = await runCli(args, { cwd, ...(env && { env }) });
  const said = stderr.replaceAll(cwd, 'CWD').replaceAll(/^\[[\d:]+\] /gm, '');
  return { exitCode, stdout, stderr: said, files: fs.readdirSync(cwd).sort() };
}

it('the command line explains a mistake in one message and starts nothing', async () => {
  const names = Object.keys(MISTAKES);
  const outcomes = await inPairs(Object.values(MISTAKES), commit);
  expect(Object.fromEntries(outcomes.map((outcome, index) => [names[index], outcome]))).toEqual(
    Object.fromEntries(
      Object.entries(MISTAKES).map(([name, { exitCode, stderr }]) => [
        name,
        { exitCode, stdout: '', stderr, files: ['table.csv', 'table.yaml'] },
      ]),
    ),
  );
});

describe('divergence', () => {
  it.each([0, 1])(
    'a learning rate that is far too high ends the run without saved weights (%i workers)',
    async (workers) => {
      const cwd = tableRun({ optimizer: { learningRate: 1e30 } });
      const args = ['train', 'table.yaml', '--workers', String(workers), '--run-dir', 'run'];
      const { exitCode, stderr } = await runCli(args, { cwd });
      expect(exitCode).toBe(6);
      expect(stderr).toMatch(
        /\nerror\[E_DIVERGED\]: diverged at step 2: the gradient of \d\.\w+ is not finite\n {2}help: lower optimizer\.learningRate \(now 1e\+30\), or scale the target: data\.targetTransform: \[standardize\]\n$/,
      );
      expect(stderr).not.toMatch(/^ {4}at /m);
      const directory = path.join(cwd, 'run');
      expect(fs.readdirSync(path.join(directory, 'model'))).toEqual([]);
      expect(fs.existsSync(path.join(directory, 'summary.json'))).toBe(false);
      expect(readEvents(directory).at(-1)).toBe('runEnded');
    },
  );
});
