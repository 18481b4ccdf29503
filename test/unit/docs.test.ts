// The documentation says what the program does: every field, default, command, flag, variable, exit
// code and link, and the hash that the README promises.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { configJsonSchema, type JsonSchema } from '../../src/config/expectation.ts';
import { EXIT } from '../../src/errors.ts';
import { ROOT, runCli } from '../helpers/cli.ts';
import { temporaryDirectory } from '../helpers/temporary-directory.ts';

const PAGES = [
  ...listPages('.', { recursive: false }),
  ...listPages('docs', { recursive: true }),
  ...listPages('examples', { recursive: true }),
];

const readme = read('README.md');
const commandLinePage = read('docs/cli.md');
const configPage = read('docs/config.md');
const commandLine = fs
  .readdirSync(path.join(ROOT, 'bin'))
  .filter((name) => name.startsWith('syntax-'))
  .map((name) => read(`bin/${name}`))
  .join('');

function read(name: string): string {
  return fs.readFileSync(path.join(ROOT, name), 'utf8');
}

function listPages(folder: string, { recursive }: { readonly recursive: boolean }): string[] {
  return fs
    .readdirSync(path.join(ROOT, folder), { recursive, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => path.join(folder, name))
    .sort();
}

/** True if npm packs the file, which it always does with the licence. */
function isPacked(file: string): boolean {
  const { files } = JSON.parse(read('package.json')) as { files: string[] };
  return ['LICENSE', ...files].some((name) => file === name || file.startsWith(`${name}/`));
}

function isSchema(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Every key path of a schema with its defaults, which may differ by kind; `[]` stands
 * for each item of a list.
 */
function fieldsOf(schema: unknown): Map<string, Set<string>> {
  const fields = new Map<string, Set<string>>();
  for (const [key, value] of listFields(schema)) {
    const defaults = fields.get(key) ?? new Set();
    const text = Array.isArray(value) ? JSON.stringify(value) : String(value);
    fields.set(key, value === undefined || isSchema(value) ? defaults : defaults.add(text));
  }
  return fields;
}

/**
 * The key paths of a schema. `outer` holds its enclosing references: layers inside
 * layers are not listed again.
 */
function listFields(schema: unknown, prefix = '', outer: readonly string[] = []): [string, unknown][] {
  if (!isSchema(schema)) return [];
  if (schema.$ref !== undefined) {
    const definition = configJsonSchema().$defs?.[schema.$ref.replace('#/$defs/', '')];
    return outer.includes(schema.$ref) ? [] : listFields(definition, prefix, [...outer, schema.$ref]);
  }
  const own = Object.entries(schema.properties ?? {}).map(([key, child]) => ({
    key: prefix === '' ? key : `${prefix}.${key}`,
    child,
  }));
  const options = [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])];
  return [
    ...own.map(({ key, child }): [string, unknown] => [key, isSchema(child) ? child.default : undefined]),
    ...own.flatMap(({ key, child }) => listFields(child, key, outer)),
    ...options.flatMap((option) => listFields(option, prefix, outer)),
    ...listFields(schema.items, `${prefix}[]`, outer),
  ];
}

/** The defaults in the third cell of the row of a key: `0.001; sgd: 0.01` has two. */
function documentedDefaults(key: string): string[] {
  const row = configPage.split('\n').find((line) => line.startsWith(`| \`${key}\` `));
  const cell = row?.split(' | ')[2]?.trim().replaceAll('`', '') ?? '';
  return cell.split('; ').map((part) => part.replace(/^[A-Za-z, ]+: /, ''));
}

function matches(text: string, pattern: RegExp): string[] {
  return [...new Set([...text.matchAll(pattern)].map((match) => match[1] as string))];
}

/** The commands as they are typed: `bench train` is not `train`. */
function listCommands(): string[] {
  return [...commandLine.matchAll(/\b(\w+)\s*\.command\('([a-z]+)'\)/g)].map(([, parent, name]) =>
    parent === 'program' ? `${name}` : `${parent} ${name}`,
  );
}

const fields = fieldsOf(configJsonSchema());

describe('docs/config.md', () => {
  it('docs/config.md names every key path of the config', () => {
    expect([...fields.keys()]).toContain('model.layers[].units');
    expect([...fields.keys()].filter((key) => !configPage.includes(`\`${key}\``))).toEqual([]);
  });

  it('docs/config.md has no row for a key that the config lacks', () => {
    const documented = matches(configPage, /^\| `([\w$]+\.[\w.[\]]+)`/gm);
    expect(documented.length).toBeGreaterThan(20);
    expect(documented.filter((key) => !fields.has(key))).toEqual([]);
  });

  it('docs/config.md gives the defaults of the schema', () => {
    const withDefaults = [...fields].filter(([, values]) => values.size > 0);
    expect(withDefaults.length).toBeGreaterThan(10);
    for (const [key, values] of withDefaults) {
      expect({ key, defaults: documentedDefaults(key).sort() }).toEqual({
        key,
        defaults: [...values].sort(),
      });
    }
  });

  it('docs/config.md shows the house config as it is, except for comments', () => {
    const shown = matches(configPage, /```yaml\n(name: house[^`]+)```/g).map((text) =>
      text.replace(/ *#.*$/gm, ''),
    );
    expect(shown).toEqual([read('examples/house/house.yaml')]);
  });
});

describe('docs/cli.md', () => {
  it('docs/cli.md names every command and every long flag', () => {
    const commands = listCommands();
    const flags = matches(commandLine, /'(--[a-z][a-z-]+)/g);
    const expected = [
      'train',
      'coordinator',
      'worker',
      'status',
      'certs',
      'tune',
      'predict',
      'export',
      'serve',
      'evaluate',
      'dashboard',
      'runs',
      'runs compare',
      'runs sync',
      'replay',
      'init',
      'inspect',
      'doctor',
      'completion',
      'bench',
      'bench kernels',
      'bench scale',
      'bench step',
      'bench network',
      'bench simulate',
      'bench train',
      'bench floods',
    ];
    expect([...commands].sort()).toEqual(expected.sort());
    expect(flags).toContain('--min-workers');
    expect(commands.filter((name) => !new RegExp(`\`lockstep ${name}[ \`]`).test(commandLinePage))).toEqual(
      [],
    );
    expect(flags.filter((flag) => !commandLinePage.includes(`\`${flag}`))).toEqual([]);
  });

  it('docs/cli.md names every environment variable of ours', () => {
    const sources = ['bin', 'src', 'coordinator', 'worker', 'aggregator'].flatMap((folder) =>
      fs
        .readdirSync(path.join(ROOT, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.ts'))
        .map((name) => read(path.join(folder, name))),
    );
    const variables = matches(sources.join('\n'), /\b(LOCKSTEP_[A-Z_]+)\b/g);
    expect(variables).toContain('LOCKSTEP_TOKEN');
    expect(variables.filter((name) => !commandLinePage.includes(`\`${name}\``))).toEqual([]);
  });

  it('docs/cli.md lists the exit codes', () => {
    const listed = matches(commandLinePage, /^\| ([\d, ]+?) +\|/gm).flatMap((cell) =>
      cell.split(', ').map(Number),
    );
    expect(listed).toEqual(Object.values(EXIT));
  });
});

describe('the README', () => {
  it('the README shows the hash that its command prints', { timeout: 60_000 }, async () => {
    const config = path.join(ROOT, 'examples/house/house.yaml');
    const args = ['train', config, '--workers', '0', '--set', 'epochs=3', '--json'];
    const { exitCode, stdout } = await runCli(args, { cwd: temporaryDirectory() });
    expect(exitCode).toBe(0);
    expect(matches(readme, /^"weightsSha256": "([0-9a-f]{64})",$/gm)).toEqual([
      (JSON.parse(stdout) as { weightsSha256: string }).weightsSha256,
    ]);
  });
});

describe('docs/reading-the-code.md', () => {
  it('docs/reading-the-code.md names only files and folders that exist', () => {
    const names = matches(read('docs/reading-the-code.md'), /`([\w-]+\/[\w./-]*)`/g);
    expect(names).toContain('src/tree.ts');
    expect(names.filter((name) => !fs.existsSync(path.join(ROOT, name)))).toEqual([]);
  });
});

describe('pages of the documentation', () => {
  it('the test of links finds every page', () => {
    expect(PAGES).toEqual(expect.arrayContaining(['README.md', 'CHANGELOG.md', 'docs/faults.md']));
  });

  it.each(PAGES)('%s links only to files that exist and are part of the package', (page) => {
    const links = matches(read(page), /\]\((?!https?:|#)([^)#]+)/g);
    const targets = links.map((link) => path.join(path.dirname(page), link));
    expect(targets.filter((target) => !fs.existsSync(path.join(ROOT, target)))).toEqual([]);
    expect(targets.filter((target) => !isPacked(target))).toEqual([]);
  });
});
