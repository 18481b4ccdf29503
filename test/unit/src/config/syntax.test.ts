// Texts that are not YAML or JSON, or use features of these that a config may not.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseConfigText } from '../../../../src/config/config-text.ts';
import { formatError, LockstepError } from '../../../../src/errors.ts';

function errorOf(text: string, file: string): string {
  try {
    parseConfigText(text, file);
  } catch (error) {
    if (error instanceof LockstepError) return formatError(error).replace('error[E_CONFIG_SYNTAX]: ', '');
    throw error;
  }
  return 'nothing was thrown';
}

const YAML_HELP = '  help: a .yaml file may have comments, trailing commas and unquoted words';

describe('a config in JSON', () => {
  it.each([
    ['{"a": 1,}', `expected no ',' before '}': JSON has no trailing commas\n  --> c.json:1:8\n${YAML_HELP}`],
    [
      '{\n  "a": [1, 2,\n]}',
      `expected no ',' before ']': JSON has no trailing commas\n  --> c.json:2:13\n${YAML_HELP}`,
    ],
    ['{"a": 1 // x\n}', `JSON has no comments\n  --> c.json:1:9\n${YAML_HELP}`],
    ['{"a": 1, /* x */ "b": 2}', `JSON has no comments\n  --> c.json:1:10\n${YAML_HELP}`],
    ['# x\n{}', `JSON has no comments\n  --> c.json:1:1\n${YAML_HELP}`],
    ['{"a" 1}', "expected ':' after property name\n  --> c.json:1:6"],
    ['{"a": 1 "b": 2}', "expected ',' or a closing bracket\n  --> c.json:1:9"],
    ['{a: 1}', `a is neither a number nor a string in double quotes\n  --> c.json:1:2\n${YAML_HELP}`],
    ["{'a': 1}", `JSON strings take double quotes\n  --> c.json:1:2\n${YAML_HELP}`],
    ['{"a": mse}', `mse is neither a number nor a string in double quotes\n  --> c.json:1:7\n${YAML_HELP}`],
    ['{"a": NaN}', `NaN is neither a number nor a string in double quotes\n  --> c.json:1:7\n${YAML_HELP}`],
    ['{"a": 0x10}', `0x10 is neither a number nor a string in double quotes\n  --> c.json:1:7\n${YAML_HELP}`],
    ['{"a": 1e999}', '1e999 is not a finite number\n  --> c.json:1:7'],
    ['{"a": &b 1}', `&b is not JSON\n  --> c.json:1:7\n${YAML_HELP}`],
    ['{"a": "b', 'unterminated string\n  --> c.json:1:9'],
    ['{"a": "b\n"}', 'bad control character in string literal\n  --> c.json:1:9'],
    ['{"a": "b\tc"}', 'bad control character in string literal\n  --> c.json:1:9'],
    ['{"a": "\\x"}', 'bad escaped character\n  --> c.json:1:9'],
    ['{"a": [1', "expected ',' or ']' after array element\n  --> c.json:1:9"],
    ['{"a": 1} "x"', 'unexpected non-whitespace character after JSON\n  --> c.json:1:10'],
    ['{"a": }', "expected a value after ':'\n  --> c.json:1:7"],
    ['{"a":: 1}', 'unexpected : in flow map\n  --> c.json:1:6'],
    ['{"a": 1, "b": 2, "a": 3}', 'duplicate key "a"; first given at 1:2\n  --> c.json:1:18'],
    ['{"a": {"__proto__": 1}}', 'the key "__proto__" is not allowed\n  --> c.json:1:8'],
  ])('the invalid JSON %j is refused at its place', (text, expected) => {
    expect(errorOf(text, 'c.json')).toBe(expected);
  });

  it('a config in JSON has the same value as from JSON.parse', () => {
    const isPlain = (text: string) => !/\p{Surrogate}|__proto__|constructor|prototype|\\u0000/u.test(text);
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }).filter(isPlain), fc.constantFrom('', '\t'), (text, indent) => {
        const printed = JSON.stringify(JSON.parse(text), null, indent);
        expect(parseConfigText(printed, 'c.json').value).toEqual(JSON.parse(printed));
      }),
    );
  });

  it('a config in JSON is accepted exactly if JSON.parse accepts it', () => {
    const fragment = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"a"',
      '"',
      '1',
      '-',
      '.5',
      'e1',
      'true',
      ' ',
      '\\n',
    );
    fc.assert(
      fc.property(fc.array(fragment, { maxLength: 8 }), (fragments) => {
        const text = fragments.join('');
        fc.pre(!isTooLarge(text));
        expect(errorOf(text, 'c.json') === 'nothing was thrown').toBe(isJson(text));
      }),
      { numRuns: 2000 },
    );
  });
});

/** True if a number of the JSON text becomes Infinity when read, which a config does not allow. */
function isTooLarge(text: string): boolean {
  return /1e1{3,}/.test(text);
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

describe('a config in YAML', () => {
  it.each([
    ['a: 1\n\tb: 2', 'tabs are not allowed as indentation\n  --> c.yaml:2:1\n  help: indent with spaces'],
    [
      'a: b: c',
      'a second ": " in one entry\n  --> c.yaml:1:4\n  help: quote the value, or check the indentation',
    ],
    ['a: "b', 'missing closing "quote\n  --> c.yaml:1:6'],
    [
      'a: 1\n---\nb: 2',
      'a second document starts here\n  --> c.yaml:2:1\n  help: a config is one document: remove "---"',
    ],
    [
      'a: !x 1',
      'tags are not used in configs\n  --> c.yaml:1:4\n  help: remove the word that starts with "!"',
    ],
    ['a: *b', 'alias *b has no anchor &b before it\n  --> c.yaml:1:4'],
    ['a: &a\n  b: *a', 'alias *a is inside its own anchor\n  --> c.yaml:2:6'],
    ['? [a]\n: b', 'keys must be words, not lists or mappings\n  --> c.yaml:1:3'],
    ['a: 1\nb: 2\na: 3', 'duplicate key "a"; first given at 1:1\n  --> c.yaml:3:1'],
    ['a: .nan', '.nan is not a finite number\n  --> c.yaml:1:4'],
    ['a: -.inf', '-.inf is not a finite number\n  --> c.yaml:1:4'],
    ['a: "\\0"', 'text with a NUL or half a surrogate pair\n  --> c.yaml:1:4'],
    ['a: "\\ud800"', 'text with a NUL or half a surrogate pair\n  --> c.yaml:1:4'],
    ['__proto__: 1', 'the key "__proto__" is not allowed\n  --> c.yaml:1:1'],
  ])('the invalid YAML %j is refused at its place', (text, expected) => {
    expect(errorOf(text, 'c.yaml')).toBe(expected);
  });

  it('a config may use an alias 100 times, counting aliases of aliases', () => {
    expect(errorOf(`a: &a x\nb: [${'*a, '.repeat(100)}]`, 'c.yaml')).toBe('nothing was thrown');
    expect(errorOf(`a: &a x\nb: [${'*a, '.repeat(101)}]`, 'c.yaml')).toBe(
      'more than 100 aliases\n  --> c.yaml:2:405',
    );
    const bomb = ['a: &a [1, 1]', 'b: &b [*a, *a, *a, *a]', 'c: &c [*b, *b, *b, *b]', 'd: [*c, *c, *c, *c]'];
    expect(errorOf(bomb.join('\n'), 'c.yaml')).toBe(
      'aliases expand to more than 100 values\n  --> c.yaml:1:1',
    );
  });

  it('a config may be nested 32 levels deep', () => {
    expect(errorOf('['.repeat(32) + ']'.repeat(32), 'c.yaml')).toBe('nothing was thrown');
    expect(errorOf('- '.repeat(31) + '- x', 'c.yaml')).toBe('nothing was thrown');
  });

  it.each([
    ['lists in brackets', '[', 'c.yaml', 33],
    ['dashes', '- ', 'c.yaml', 65],
    ['mappings in braces', '{a: ', 'c.yaml', 129],
    ['lists in JSON', '[', 'c.json', 33],
    ['mappings in JSON', '{"a":', 'c.json', 161],
  ])('a config may not nest 100,000 %s, which would exhaust the stack', (_, opening, file, column) => {
    expect(errorOf(opening.repeat(100_000), file)).toBe(
      `nested deeper than 32 levels\n  --> ${file}:1:${column}`,
    );
  });

  it('the error shows all flaws of a text at once', () => {
    expect(errorOf('a: 1\nb: .inf\na: 2\nc: *d', 'c.yaml')).toBe(
      [
        '3 problems in c.yaml',
        '    c.yaml:2:4: .inf is not a finite number',
        '    c.yaml:3:1: duplicate key "a"; first given at 1:1',
        '    c.yaml:4:4: alias *d has no anchor &d before it',
      ].join('\n'),
    );
  });
});
