// The text of a config file to a plain value, and back from a key path to the place in the text.
import { extname } from 'node:path';
import { isAlias, isCollection, isMap, isScalar, isSeq, LineCounter, type Document, type Pair } from 'yaml';
import type { LockstepError, SourceLocation } from '../errors.ts';
import { MAX_DEPTH, parseYaml } from './parse-yaml.ts';
import { configError, type KeyPath } from './problem.ts';
import { findJsonFlaw, type SyntaxFlaw } from './strict-json.ts';

/** A place in the file, and whether the file holds the whole key path or only its beginning. */
interface FoundPlace {
  readonly location: SourceLocation;
  readonly isWhole: boolean;
}

/** A config file without syntax errors; nothing is known yet of its meaning. */
export interface ParsedConfig {
  /** Plain objects, lists and scalars, before defaults. */
  readonly value: unknown;
  /** The place of the key or the value at `path`, or of the nearest enclosing one that the file holds. */
  readonly find: (path: KeyPath, at: 'key' | 'value') => FoundPlace;
}

/**
 * Parses YAML, or strict JSON if `file` ends in `.json`. `file` is what errors call it.
 * @throws LockstepError E_CONFIG_SYNTAX with every flaw found
 */
export function parseConfigText(text: string, file: string): ParsedConfig {
  const lineCounter = countLines(text);
  const jsonFlaw = extname(file).toLowerCase() === '.json' ? findJsonFlaw(text, MAX_DEPTH) : undefined;
  if (jsonFlaw) throw syntaxError(lineCounter, file, [jsonFlaw]);
  const { value, document, flaws } = parseYaml(text, lineCounter);
  if (flaws.length > 0) throw syntaxError(lineCounter, file, flaws);
  return {
    value,
    find(path, at) {
      const { offset, isWhole } = findOffset(document, path, at);
      const { line, col } = lineCounter.linePos(offset);
      return { location: { file, line, column: col }, isWhole };
    },
  };
}

/** Filled here rather than by the YAML parser, which does not see a text that is refused before. */
function countLines(text: string): LineCounter {
  const lineCounter = new LineCounter();
  lineCounter.addNewLine(0);
  for (const { index } of text.matchAll(/\n/g)) lineCounter.addNewLine(index + 1);
  return lineCounter;
}

function syntaxError(lineCounter: LineCounter, file: string, flaws: readonly SyntaxFlaw[]): LockstepError {
  const problems = flaws.map(({ offset, message, help }) => {
    const { line, col } = lineCounter.linePos(offset);
    return { message, help, location: { file, line, column: col } };
  });
  return configError('E_CONFIG_SYNTAX', file, problems);
}

function findOffset(document: Document, path: KeyPath, at: 'key' | 'value') {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const [i, segment] of path.entries()) {
    const container = isAlias(node) ? node.resolve(document) : node;
    const isLast = i === path.length - 1;
    if (isMap(container)) {
      const pair = container.items.find(({ key }) => isScalar(key) && key.value === segment);
      if (!pair) return { offset, isWhole: false };
      node = pair.value;
      offset = (isLast && at === 'key' ? startOf(pair.key) : startOfValue(pair)) ?? offset;
    } else if (isSeq(container) && typeof segment === 'number' && segment < container.items.length) {
      node = container.items[segment];
      offset = startOf(node) ?? offset;
    } else {
      return { offset, isWhole: false };
    }
  }
  return { offset, isWhole: true };
}

/** Block collections start on the line after their key; the key is where a reader looks for them. */
function startOfValue({ key, value }: Pair): number | undefined {
  return startOf(isCollection(value) && !value.flow ? key : value);
}

function startOf(node: unknown): number | undefined {
  return isScalar(node) || isCollection(node) || isAlias(node) ? node.range?.[0] : undefined;
}
