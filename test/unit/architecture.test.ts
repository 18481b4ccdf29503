// Rules of the source tree that no compiler checks: imports point downward and never in circles,
// and no arithmetic whose bits the host chooses comes near a weight.
import fs from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const ROOT = path.resolve(import.meta.dirname, '../..');

/** A room: a folder, with a slash at its end, or a file of `src/` or `coordinator/` itself; and its floor. */
interface Room {
  readonly name: string;
  readonly floor: number;
}

/** The rooms that docs/architecture.md lists. */
const ROOMS: readonly Room[] = fs
  .readFileSync(path.join(ROOT, 'docs/architecture.md'), 'utf8')
  .split('\n')
  .flatMap((line) => {
    const [, floor, names = ''] = /^\| (\d+) +\| ([^|]*)\|/.exec(line) ?? [];
    if (floor === undefined) return [];
    return [...names.matchAll(/`([^`]+)`/g)].map(([, name = '']) => ({ name, floor: Number(floor) }));
  });

/** The two ends of a socket know each other by the protocol alone. */
const STRANGERS = ['coordinator/', 'worker/'];

/**
 * Functions that IEEE 754 or ECMAScript specifies to the last bit. Every other function of
 * Math differs between hosts.
 */
const EXACT_MATH = new Set(
  'PI abs ceil clz32 floor fround imul max min round sign sqrt trunc'
    .split(' ')
    .map((name) => `Math.${name}`),
);

/** Uses of inexact Math that cannot reach a weight, each with the reason. */
const HOST_MATH_ALLOWED: readonly {
  readonly file: string;
  readonly use: string;
  readonly because: string;
}[] = [
  {
    file: 'worker/run-worker.ts',
    use: 'Math.random',
    because: 'jitter, so that the workers of a coordinator that restarts do not all come back at once',
  },
];

interface SourceFile {
  readonly name: string;
  readonly text: string;
}

interface Import {
  readonly from: string;
  readonly to: string;
}

/** Every file below the folders, by its name relative to the root, except for those that tools put there. */
function filesUnder(folders: readonly string[]): string[] {
  const ignored = new Set(['node_modules', 'dist', 'runs', 'coverage', '.git']);
  const filesIn = (folder: string): string[] =>
    fs.readdirSync(path.join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
      if (ignored.has(entry.name)) return [];
      const name = path.posix.join(folder, entry.name);
      if (entry.isDirectory()) return filesIn(name);
      return entry.isFile() ? [name] : [];
    });
  return folders.filter((folder) => fs.existsSync(path.join(ROOT, folder))).flatMap(filesIn);
}

function readSources(folders: readonly string[]): SourceFile[] {
  return filesUnder(folders)
    .filter((name) => name.endsWith('.ts'))
    .map((name) => ({ name, text: fs.readFileSync(path.join(ROOT, name), 'utf8') }));
}

/** Imports of our own TypeScript, of values or types, static or dynamic, and re-exports. */
function importsOf({ name, text }: SourceFile): Import[] {
  return ts
    .preProcessFile(text)
    .importedFiles.map((imported) => imported.fileName)
    .filter((specifier) => specifier.startsWith('.') && specifier.endsWith('.ts'))
    .map((specifier) => ({ from: name, to: path.posix.join(path.posix.dirname(name), specifier) }));
}

/** The room of a file: its folder, or the file itself if it stands beside folders. */
function roomOf(file: string): string {
  const isRoom = ROOMS.some(({ name }) => name === file);
  return isRoom ? file : `${path.posix.dirname(file)}/`;
}

function floorOf(file: string): number {
  return ROOMS.find(({ name }) => name === roomOf(file))?.floor ?? -1;
}

function sideOf(file: string): string | undefined {
  return STRANGERS.find((place) => file.startsWith(place));
}

/** The complaint about an import, or undefined if it is allowed. */
function judgeImport({ from, to }: Import): string[] {
  const [floor, floorBelow] = [floorOf(from), floorOf(to)];
  if (floorBelow < 0) return [`${from} imports ${to}, which is in no room`];
  if (floorBelow > floor) return [`${from} (floor ${floor}) imports ${to} (floor ${floorBelow})`];
  const [side, otherSide] = [sideOf(from), sideOf(to)];
  return side && otherSide && side !== otherSide
    ? [`${from} imports ${to}, the other side of the socket`]
    : [];
}

/** Imports between rooms. */
function betweenRooms(imports: readonly Import[]): Import[] {
  return imports
    .map(({ from, to }) => ({ from: roomOf(from), to: roomOf(to) }))
    .filter(({ from, to }) => from !== to);
}

/** Every import that closes a circle, with the whole circle. */
function findCycles(imports: readonly Import[]): string[] {
  const targets = new Map<string, string[]>();
  for (const { from, to } of imports) targets.set(from, [...(targets.get(from) ?? []), to]);
  const finished = new Set<string>();
  const follow = (name: string, trail: readonly string[]): string[] => {
    if (trail.includes(name)) return [[...trail.slice(trail.indexOf(name)), name].join(' -> ')];
    if (finished.has(name)) return [];
    const cycles = (targets.get(name) ?? []).flatMap((target) => follow(target, [...trail, name]));
    finished.add(name);
    return cycles;
  };
  return [...targets.keys()].flatMap((name) => follow(name, []));
}

function parse({ name, text }: SourceFile): ts.SourceFile {
  return ts.createSourceFile(name, text, ts.ScriptTarget.ES2023, true);
}

function descendants(node: ts.Node): ts.Node[] {
  return [node, ...node.getChildren().flatMap(descendants)];
}

/**
 * `Math.exp`, but also Math under another name; and powers, which hosts compute, except those
 * of two, which are exact.
 */
function hostMathOf(node: ts.Node): string[] {
  if (ts.isIdentifier(node) && node.text === 'Math') {
    const { parent } = node;
    const isMember = ts.isPropertyAccessExpression(parent) && parent.expression === node;
    const use = isMember ? parent.getText() : 'Math as a value';
    return EXACT_MATH.has(use) ? [] : [use];
  }
  if (ts.isBinaryExpression(node)) {
    const { left, right, operatorToken } = node;
    if (operatorToken.kind === ts.SyntaxKind.AsteriskAsteriskEqualsToken) return [node.getText()];
    if (operatorToken.kind !== ts.SyntaxKind.AsteriskAsteriskToken) return [];
    const isExact = left.getText() === '2' || (ts.isNumericLiteral(left) && ts.isNumericLiteral(right));
    return isExact ? [] : [node.getText()];
  }
  return [];
}

function findHostMath(source: SourceFile): string[] {
  return descendants(parse(source))
    .flatMap(hostMathOf)
    .filter(
      (use) => !HOST_MATH_ALLOWED.some((allowed) => allowed.file === source.name && allowed.use === use),
    )
    .map((use) => `${source.name} uses ${use}`);
}

function isBarrelLine(node: ts.Statement): boolean {
  return ts.isExportDeclaration(node) && (!node.exportClause || ts.isNamespaceExport(node.exportClause));
}

const program = readSources(['src', 'coordinator', 'worker', 'aggregator', 'bin', 'api', 'bench']);
const imports = program.flatMap(importsOf);

describe('the rooms of the source tree', () => {
  it('the rooms of the source tree are those that docs/architecture.md lists', () => {
    const found = new Set(program.map(({ name }) => roomOf(name)));
    expect([...found].sort()).toEqual(ROOMS.map(({ name }) => name).sort());
  });

  it('a file imports only from its own floor and lower ones, and never from the other side of the socket', () => {
    expect(imports.flatMap(judgeImport)).toEqual([]);
  });

  it('no files import each other in a circle', () => {
    expect(findCycles(imports)).toEqual([]);
  });

  it('no rooms import each other in a circle', () => {
    expect(findCycles(betweenRooms(imports))).toEqual([]);
  });

  it('the check of imports finds upward imports, sideways imports and circles', () => {
    const text = "import type { A } from '../../worker/a.ts';\nconst b = await import('../../bin/b.ts');";
    expect(importsOf({ name: 'coordinator/cluster/c.ts', text }).flatMap(judgeImport)).toEqual([
      'coordinator/cluster/c.ts imports worker/a.ts, the other side of the socket',
      'coordinator/cluster/c.ts (floor 8) imports bin/b.ts (floor 14)',
    ]);
    const circle = [
      { from: 'src/engine/a.ts', to: 'src/model/b.ts' },
      { from: 'src/model/c.ts', to: 'src/engine/d.ts' },
    ];
    expect(findCycles(circle)).toEqual([]);
    expect(findCycles(betweenRooms(circle))).toEqual(['src/engine/ -> src/model/ -> src/engine/']);
  });
});

describe('source files', () => {
  it('no file is a barrel: an import names the file that defines the thing', () => {
    const barrels = program.filter((file) => parse(file).statements.some(isBarrelLine));
    expect(barrels.map((file) => file.name)).toEqual([]);
  });

  it('no file names a place outside the repository', () => {
    // Put together here, so that this file does not find itself.
    const places = [['', 'work', ''].join('/'), ['..', 'shared'].join('/')];
    const found = filesUnder(['.'])
      .filter((name) => !name.endsWith('.gz'))
      .flatMap((name) => {
        const text = fs.readFileSync(path.join(ROOT, name), 'utf8');
        return places.filter((place) => text.includes(place)).map((place) => `${name} mentions ${place}`);
      });
    expect(found).toEqual([]);
  });
});

describe('arithmetic near the weights', () => {
  it('source files use only those functions of Math that have the same bits on every host', () => {
    expect(readSources(['src', 'coordinator', 'worker', 'aggregator', 'api']).flatMap(findHostMath)).toEqual(
      [],
    );
  });

  it('the check of arithmetic finds inexact functions, aliases of Math and powers', () => {
    const text = [
      'const a = Math.sqrt(x) + 2 ** level + 10 ** 9; // exact; Math.exp in a comment is no use',
      'const b = Math.exp(x) * x ** 2;',
      'const { tanh } = Math;',
      'x **= 2;',
    ].join('\n');
    expect(findHostMath({ name: 'src/x.ts', text })).toEqual([
      'src/x.ts uses Math.exp',
      'src/x.ts uses x ** 2',
      'src/x.ts uses Math as a value',
      'src/x.ts uses x **= 2',
    ]);
  });

  it('every exception for inexact Math is still in use', () => {
    const unused = HOST_MATH_ALLOWED.filter(({ file, use }) => {
      const text = fs.readFileSync(path.join(ROOT, file), 'utf8');
      return !descendants(parse({ name: file, text }))
        .flatMap(hostMathOf)
        .includes(use);
    });
    expect(unused).toEqual([]);
  });
});
