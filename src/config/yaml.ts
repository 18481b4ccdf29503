// YAML text, of which JSON is a part, to a plain value and a document with positions. Safe on hostile
// text: nesting is bounded before anything recurses, and aliases before they multiply. YAML that a config
// has no use for is refused: duplicate and prototype keys, numbers that are not finite, text that is not
// Unicode. So is what JSON lacks, if the text must be JSON.
import {
  isScalar,
  Lexer,
  parseDocument,
  Parser,
  visit,
  type Alias,
  type Document,
  type LineCounter,
  type Node,
  type Scalar,
  type YAMLError,
  type YAMLMap,
  CST,
} from 'yaml';
import type { SyntaxFlaw } from './problem.ts';
import { quoteValue, shorten } from '../errors.ts';

/** Maximum depth of nested collections; a config needs five. */
export const MAX_DEPTH = 32;

/** A parsed text: its plain value, the document that knows positions, and everything wrong with it. */
interface ParsedYaml {
  readonly value: unknown;
  readonly document: Document.Parsed;
  readonly flaws: readonly SyntaxFlaw[];
}

/**
 * Parses YAML 1.2 (core schema), of which JSON is a part. `value` is undefined if there are flaws.
 * `lineCounter` knows the lines of `text` already; without it, places in messages are counted in characters.
 */
export function parseYaml(
  text: string,
  { lineCounter, isJson = false }: { readonly lineCounter?: LineCounter; readonly isJson?: boolean } = {},
): ParsedYaml {
  const deep = findDeepNesting(text);
  const document = parseDocument(deep ? '' : text, {
    schema: 'core',
    resolveKnownTags: false,
    stringKeys: true,
    uniqueKeys: false, // checked here, to name both places
    prettyErrors: false,
    logLevel: 'error',
  });
  const flaws = deep ? [deep] : findFlaws(text, document, { lineCounter, isJson });
  if (flaws.length > 0) return { value: undefined, document, flaws };
  return { document, ...toPlainValue(document) };
}

function findFlaws(
  text: string,
  document: Document.Parsed,
  { lineCounter, isJson }: { readonly lineCounter: LineCounter | undefined; readonly isJson: boolean },
): SyntaxFlaw[] {
  const syntax = [...document.errors, ...document.warnings].map(describeError);
  const jsonFlaw = isJson ? findJsonFlaw(text, syntax) : undefined;
  if (jsonFlaw) return [jsonFlaw];
  return syntax.length > 0 ? syntax : checkNodes(document, lineCounter);
}

/**
 * Runs the tokenizer alone, which does not recurse: in the composer, a thousand open brackets exhaust the
 * stack, and V8 may then abort the process while it compiles a regular expression.
 */
function findDeepNesting(text: string): SyntaxFlaw | undefined {
  const parser = new Parser();
  for (const lexeme of new Lexer().lex(text)) {
    Array.from(parser.next(lexeme)); // a generator works only while it is read
    if (parser.stack.filter((token) => 'items' in token).length > MAX_DEPTH) {
      return { offset: parser.offset - 1, message: `nested deeper than ${MAX_DEPTH} levels` };
    }
  }
  return undefined;
}

function describeError({ code, message, pos }: YAMLError): SyntaxFlaw {
  const offset = pos[0];
  switch (code) {
    case 'TAG_RESOLVE_FAILED':
      return {
        offset,
        message: 'tags are not used in configs',
        help: 'remove the word that starts with "!"',
      };
    case 'MULTIPLE_DOCS':
      return {
        offset,
        message: 'a second document starts here',
        help: 'a config is one document: remove "---"',
      };
    case 'TAB_AS_INDENT':
      return { offset, message: 'tabs are not allowed as indentation', help: 'indent with spaces' };
    case 'BLOCK_AS_IMPLICIT_KEY':
      return {
        offset,
        message: 'a second ": " in one entry',
        help: 'quote the value, or check the indentation',
      };
    case 'NON_STRING_KEY':
      return { offset, message: 'keys must be words, not lists or mappings' };
    default:
      return { offset, message: message.charAt(0).toLowerCase() + message.slice(1) };
  }
}

/**
 * Converts a document. Aliases of aliases multiply, which only the conversion counts; its count
 * includes the anchor.
 */
function toPlainValue(document: Document.Parsed): Pick<ParsedYaml, 'value' | 'flaws'> {
  try {
    return { value: document.toJS({ maxAliasCount: MAX_ALIASES + 1 }), flaws: [] };
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error;
    return {
      value: undefined,
      flaws: [{ offset: 0, message: `aliases expand to more than ${MAX_ALIASES} values` }],
    };
  }
}

/** Maximum number of aliases in a document, including those that aliases repeat. */
const MAX_ALIASES = 100;

/**
 * The key that an assignment takes for an object's prototype; no other name of a class or column is
 * special.
 */
export const FORBIDDEN_KEY = '__proto__';
// A NUL ends a path early in the kernel; half a surrogate pair cannot be written to a UTF-8 file and read
// back.
const NOT_TEXT = /\0|\p{Surrogate}/u;

type Report = (node: Node, message: string) => void;

/**
 * Finds every flaw in the nodes of a document. Without a `lineCounter`, places in messages count
 * characters.
 */
function checkNodes(document: Document.Parsed, lineCounter?: LineCounter): SyntaxFlaw[] {
  const flaws: SyntaxFlaw[] = [];
  const report: Report = (node, message) => void flaws.push({ offset: startOfNode(node), message });
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
  } else if (startOfNode(alias) < (target.range?.[1] ?? 0)) {
    report(alias, `alias *${name} is inside its own anchor`);
  }
}

function describePlace(node: Node, lineCounter?: LineCounter): string {
  const offset = startOfNode(node);
  if (!lineCounter) return `character ${offset + 1}`;
  const { line, col } = lineCounter.linePos(offset);
  return `${line}:${col}`;
}

function startOfNode(node: Node): number {
  return node.range?.[0] ?? 0;
}

/** The first place at which a text is not JSON. `JSON.parse` decides that, but often names no place. */
function findJsonFlaw(text: string, syntax: readonly SyntaxFlaw[]): SyntaxFlaw | undefined {
  try {
    JSON.parse(text);
    return undefined;
  } catch (error) {
    const { message } = error as SyntaxError;
    const [, words, offset] = /^(.+?)(?: in JSON)? at position (\d+)/s.exec(message) ?? [];
    const placed = words && {
      offset: Number(offset),
      message: words.charAt(0).toLowerCase() + words.slice(1),
    };
    return findForeignToken(text) ?? (placed || syntax[0]) ?? { offset: 0, message: 'not valid JSON' };
  }
}

/** A lexeme at its offset. */
interface Token {
  readonly source: string;
  readonly offset: number;
}

/** Lexemes that represent no character of the text. */
const MARKERS: ReadonlySet<string> = new Set([CST.DOCUMENT, CST.SCALAR, CST.FLOW_END]);

const JSON_WORD = /^(true|false|null|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)$/;
const YAML_HELP = 'a .yaml file may have comments, trailing commas and unquoted words';

/** The first token of a text that YAML has and JSON lacks. */
function findForeignToken(text: string): SyntaxFlaw | undefined {
  let offset = 0;
  let before: Token = { source: '', offset };
  for (const source of new Lexer().lex(text)) {
    if (MARKERS.has(source)) continue;
    const flaw = judgeToken({ source, offset }, before);
    if (flaw) return flaw;
    if (source.trim() !== '') before = { source, offset };
    offset += source.length;
  }
  return undefined;
}

function judgeToken({ source, offset }: Token, before: Token): SyntaxFlaw | undefined {
  const isClosing = source === '}' || source === ']';
  if (isClosing && before.source === ',') {
    const message = `expected no ',' before '${source}': JSON has no trailing commas`;
    return { offset: before.offset, message, help: YAML_HELP };
  }
  if ((isClosing || source === ',') && before.source === ':') {
    return { offset, message: "expected a value after ':'" };
  }
  switch (CST.tokenType(source)) {
    case 'comment':
      return { offset, message: 'JSON has no comments', help: YAML_HELP };
    case 'single-quoted-scalar':
      return { offset, message: 'JSON strings take double quotes', help: YAML_HELP };
    case 'anchor':
    case 'alias':
    case 'tag':
      return { offset, message: `${shorten(source)} is not JSON`, help: YAML_HELP };
    case null:
      return judgeWord({ source, offset });
    default:
      return undefined;
  }
}

/** Judges a plain word of YAML, which reaches to the next bracket, comma or colon. */
function judgeWord({ source, offset }: Token): SyntaxFlaw | undefined {
  const comment = source.search(/(?<!\S)\/[/*]/);
  if (comment >= 0) return { offset: offset + comment, message: 'JSON has no comments', help: YAML_HELP };
  const [word = ''] = source.split(/\s/, 1);
  if (!JSON_WORD.test(word)) {
    const message = `${shorten(word)} is neither a number nor a string in double quotes`;
    return { offset, message, help: YAML_HELP };
  }
  const rest = source.slice(word.length).search(/\S/);
  return rest < 0
    ? undefined
    : { offset: offset + word.length + rest, message: "expected ',' or a closing bracket" };
}
