// Figures of the product code, for judging a change of its structure:
// `node scripts/code-figures.mjs`. With `--batch` it also trains the house example twice and counts
// the functions and files that a batch passes, in all processes and threads.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('..', import.meta.url));
const FOLDERS = ['api', 'assembly', 'bench', 'bin', 'coordinator', 'src', 'worker'];
/**
 * Words with which no doc comment should begin: it then hangs on something that an
 * editor's tooltip does not show.
 */
const DANGLING =
  /^(Of|As|What|Who|Whose|Whether|How|See|In|For|To|By|With|From|Where|When|Why|On|At|Behind|Before|After|Between|Until|If)\b/;
/** Shorter functions are accessors and callbacks, which a reader passes without a halt. */
const MIN_FUNCTION_LINES = 8;

function filesIn(folder) {
  return fs.readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const name = path.posix.join(folder, entry.name);
    return entry.isDirectory() ? filesIn(name) : name.endsWith('.ts') ? [name] : [];
  });
}

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
}

function descendants(node) {
  return [node, ...node.getChildren().flatMap(descendants)];
}

/** Lines of each function with a body, and the number of functions with more than three parameters. */
function functionsOf(source) {
  const isFunction = (node) => ts.isFunctionLike(node) && node.body !== undefined;
  const functions = descendants(source).filter(isFunction);
  const lineOf = (position) => source.getLineAndCharacterOfPosition(position).line;
  const named = functions.filter((node) => !ts.isArrowFunction(node) && !ts.isFunctionExpression(node));
  return {
    lines: named.map((node) => lineOf(node.end) - lineOf(node.getStart(source)) + 1),
    numWide: functions.filter(({ parameters }) => parameters.length > 3).length,
  };
}

function docCommentsOf(text) {
  return [...text.matchAll(/\/\*\*\s*(?:\*\s*)?([^\n]*)/g)].map(([, words]) => words);
}

function printCodeFigures() {
  const files = FOLDERS.flatMap(filesIn).map((name) => {
    const text = fs.readFileSync(path.join(root, name), 'utf8');
    const source = ts.createSourceFile(name, text, ts.ScriptTarget.ES2023, true);
    const imported = ts.preProcessFile(text).importedFiles.map(({ fileName }) => fileName);
    const targets = imported.filter((target) => target.startsWith('.') && target.endsWith('.ts'));
    const imports = targets.map((target) => path.posix.join(path.posix.dirname(name), target));
    return { name, text, imports, functions: functionsOf(source) };
  });
  const numImporters = new Map(files.map(({ name }) => [name, 0]));
  for (const { imports } of files)
    for (const name of new Set(imports)) numImporters.set(name, (numImporters.get(name) ?? 0) + 1);
  const fileLines = files.map(({ text }) => text.split('\n').length - 1);
  const functionLines = files.flatMap(({ functions }) => functions.lines);
  const docComments = files.flatMap(({ text }) => docCommentsOf(text));
  const numSingle = [...numImporters.values()].filter((count) => count === 1).length;
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  console.log(`files                                       ${files.length}`);
  console.log(`lines                                       ${sum(fileLines)}`);
  console.log(
    `lines of a file, median and p90             ${quantile(fileLines, 0.5)}, ${quantile(fileLines, 0.9)}`,
  );
  console.log(
    `lines of a named function, median and p90   ${quantile(functionLines, 0.5)}, ${quantile(functionLines, 0.9)}`,
  );
  console.log(
    `files with a single importer                ${numSingle} (${Math.round((100 * numSingle) / files.length)} %)`,
  );
  console.log(
    `functions with more than three parameters   ${sum(files.map(({ functions }) => functions.numWide))}`,
  );
  console.log(`doc comments                                ${docComments.length}`);
  console.log(
    `  that begin with a preposition or a query  ${docComments.filter((words) => DANGLING.test(words)).length}`,
  );
}

/** Calls of each function of dist/ in a training with so many samples a batch, by file, name and place. */
function callsOf(batchSize, folder) {
  const lockstep = path.join(root, 'dist', 'bin', 'lockstep.js');
  const example = path.join(root, 'examples', 'house', 'house.yaml');
  const coverage = path.join(folder, `coverage-${batchSize}`);
  const settings = ['epochs=1', `batchSize=${batchSize}`, 'plots=false'].flatMap((set) => ['--set', set]);
  const run = ['--workers', '1', '--threads', '1', '--run-dir', path.join(folder, `run-${batchSize}`)];
  const { status, stderr } = spawnSync(process.execPath, [lockstep, 'train', example, ...run, ...settings], {
    env: { ...process.env, NODE_V8_COVERAGE: coverage },
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stderr);
  const calls = new Map();
  const reports = fs.readdirSync(coverage).map((name) => fs.readFileSync(path.join(coverage, name), 'utf8'));
  const dist = new URL('../dist/', import.meta.url).href;
  for (const { url, functions } of reports.flatMap((report) => JSON.parse(report).result)) {
    if (!url.startsWith(dist)) continue;
    const file = url.slice(dist.length);
    for (const { functionName: name, ranges } of functions) {
      const { startOffset: start, endOffset: end, count } = ranges[0];
      const key = JSON.stringify({ file, name, start, end });
      calls.set(key, (calls.get(key) ?? 0) + count);
    }
  }
  return calls;
}

/**
 * A function is on the path of a batch if twice as many batches call it more often
 * by at least their number.
 */
function printBatchFigures() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-figures-'));
  try {
    const [few, many] = [callsOf(128, folder), callsOf(64, folder)];
    const stepDone = [...many].find(([key]) => JSON.parse(key).name === 'trainStep');
    const numMore = (stepDone?.[1] ?? 0) - (few.get(stepDone?.[0]) ?? 0);
    const passed = [...many]
      .filter(([key, count]) => count - (few.get(key) ?? 0) >= numMore)
      .map(([key]) => JSON.parse(key))
      .filter(({ name }) => /^#?\w+$/.test(name));
    const lengthOf = ({ file, start, end }) =>
      fs
        .readFileSync(path.join(root, 'dist', file), 'utf8')
        .slice(start, end)
        .split('\n').length;
    const long = passed.filter((called) => lengthOf(called) >= MIN_FUNCTION_LINES);
    const numFiles = (functions) => new Set(functions.map(({ file }) => file)).size;
    console.log(`functions and files that a batch passes     ${passed.length} in ${numFiles(passed)}`);
    console.log(
      `  functions of ${MIN_FUNCTION_LINES} lines or more               ${long.length} in ${numFiles(long)}`,
    );
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

printCodeFigures();
if (process.argv.includes('--batch')) printBatchFigures();
