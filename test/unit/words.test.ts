// One word for each concept: the words that docs/architecture.md has replaced do not come back.
import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

const ROOT = path.resolve(import.meta.dirname, '../..');

/** The retired words, and the word that has replaced each. */
const RETIRED: readonly {
  readonly word: RegExp;
  readonly instead: string;
  /** Files about something that has that word itself. */
  readonly except?: RegExp;
}[] = [
  {
    word: /\bleaf\b|Leaf|_LEAF(_ROWS)?\b(?!_SIG)|\bleaves (of|that|under|in)\b|Leaves\b|LEAVES/,
    instead: 'shard',
  },
  { word: /\b[Ss]egments?\b|[a-z]Segments?\b/, instead: 'shard' },
  { word: /\b[Pp]ieces?\b|[a-z]Pieces?\b|\bPiece[A-Z]/, instead: 'bucket' },
  { word: /\b[Jj]obs?\b|[a-z]Job\b|\bJob[A-Z]/, instead: 'task', except: /deploy|slurm/ },
  { word: /\bRowRange\b|\bRange(Name|Message|Answer)\b/, instead: 'task' },
  { word: /\b[Kk]eeper\b|Keeper\b/, instead: 'checkpointer' },
  { word: /\b[Ss]ites?\b|[a-z]Site\b/, instead: 'workspace' },
  { word: /(Round|Roster|Coordinator)Machine\b/, instead: 'scheduler' },
  { word: /\bGradientBucket\b|\bSumInbox\b|\bSumSlots\b/, instead: 'partial sum' },
  { word: /See the head of this file/, instead: 'a sentence about the thing' },
];

/** The files that people wrote, except for the changelog, which tells of the past. */
function writtenFiles(): string[] {
  const folders = [
    'api',
    'assembly',
    'bench',
    'bin',
    'coordinator',
    'deploy',
    'docs',
    'examples',
    'scripts',
    'src',
    'test',
    'worker',
  ];
  const inFolder = (folder: string): string[] =>
    fs.readdirSync(path.join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
      const name = path.posix.join(folder, entry.name);
      if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : inFolder(name);
      return /\.(ts|mjs|md|yaml|sbatch)$/.test(entry.name) ? [name] : [];
    });
  return [...folders.flatMap(inFolder), 'README.md', 'CONTRIBUTING.md'];
}

/** Lines of a text that use a retired word. */
function findRetired(name: string, text: string): string[] {
  return text
    .split('\n')
    .flatMap((line, index) =>
      RETIRED.filter(({ word, except }) => word.test(line) && !except?.test(name)).map(
        ({ instead }) => `${name}:${index + 1} should say ${instead}: ${line.trim()}`,
      ),
    );
}

test('no file uses a retired word', () => {
  const files = writtenFiles().filter((name) => name !== 'test/unit/words.test.ts');
  const found = files.flatMap((name) => findRetired(name, fs.readFileSync(path.join(ROOT, name), 'utf8')));
  expect(found).toEqual([]);
});

test('the search finds retired words in names, comments and prose, and no verbs', () => {
  const text = 'const numLeaves = 3;\n// the last leaf\na worker leaves the run\nclass PieceWatch {}';
  expect(findRetired('a.ts', text).map((line) => line.slice(0, 24))).toEqual([
    'a.ts:1 should say shard:',
    'a.ts:2 should say shard:',
    'a.ts:4 should say bucket',
  ]);
});
