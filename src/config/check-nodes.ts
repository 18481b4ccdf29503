// What YAML allows and a config has no use for: duplicate and prototype keys, aliases by the hundred or into
// themselves, numbers that are not finite, text that is not Unicode.
import { type Alias, type Document, isScalar, type LineCounter, type Node, type Scalar, visit } from 'yaml';
import type { YAMLMap } from 'yaml';
import { quoteValue, shorten } from '../errors.ts';
import type { SyntaxFlaw } from './strict-json.ts';

/** Aliases in one document, those that aliases repeat included. */
export const MAX_ALIASES = 100;
/** The key that an assignment takes for an object's prototype. No other name of a class or column is special. */
export const FORBIDDEN_KEY = '__proto__';
// A NUL ends a path early in the kernel; half a surrogate pair cannot be written to a UTF-8 file and read back.
const NOT_TEXT = /\0|\p{Surrogate}/u;

type Report = (node: Node, message: string) => void;

/** Every flaw in the nodes of a document. Without a `lineCounter`, places in messages count characters. */
export function checkNodes(document: Document.Parsed, lineCounter?: LineCounter): SyntaxFlaw[] {
  const flaws: SyntaxFlaw[] = [];
  const report: Report = (node, message) => void flaws.push({ offset: startOf(node), message });
  let numAliases = 0;
  visit(document, {
    Map: (_, map) => checkKeys(map, report, lineCounter),
    Scalar: (_, scalar) => checkScalar(scalar, report),
    Alias: (_, alias) => {
      if (++numAliases <= MAX_ALIASES) return checkAlias(alias, document, report);
      report(alias, `more than ${MAX_ALIASES} aliases`);
      return visit.BREAK;
    },
  });
  return flaws;
}

function checkKeys(map: YAMLMap, report: Report, lineCounter?: LineCounter): void {
  const firsts = new Map<string, Node>();
  for (const { key } of map.items) {
    if (!isScalar(key)) continue;
    const name = String(key.value);
    const first = firsts.get(name);
    if (first)
      report(key, `duplicate key ${quoteValue(name)}; first given at ${describePlace(first, lineCounter)}`);
    else firsts.set(name, key);
    if (name === FORBIDDEN_KEY) report(key, `the key "${name}" is not allowed`);
  }
}

function checkScalar(scalar: Scalar, report: Report): void {
  const { value, source } = scalar;
  if (typeof value === 'number' && !Number.isFinite(value))
    report(scalar, `${shorten(source ?? '')} is not a finite number`);
  if (typeof value === 'string' && NOT_TEXT.test(value)) {
    report(scalar, 'text with a NUL or half a surrogate pair');
  }
}

function checkAlias(alias: Alias, document: Document.Parsed, report: Report): void {
  const target = alias.resolve(document);
  const name = shorten(alias.source);
  if (!target) {
    report(alias, `alias *${name} has no anchor &${name} before it`);
  } else if (startOf(alias) < (target.range?.[1] ?? 0)) {
    report(alias, `alias *${name} stands inside its own anchor`);
  }
}

function describePlace(node: Node, lineCounter?: LineCounter): string {
  const offset = startOf(node);
  if (!lineCounter) return `character ${offset + 1}`;
  const { line, col } = lineCounter.linePos(offset);
  return `${line}:${col}`;
}

function startOf(node: Node): number {
  return node.range?.[0] ?? 0;
}
