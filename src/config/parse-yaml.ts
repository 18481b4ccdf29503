// YAML text to a plain value and a document with positions. Safe on hostile text: nesting is bounded before anything
// recurses, and aliases before they multiply.
import { type Document, Lexer, type LineCounter, parseDocument, Parser, type YAMLError } from 'yaml';
import { checkNodes, MAX_ALIASES } from './check-nodes.ts';
import type { SyntaxFlaw } from './strict-json.ts';

/** Collections may stand inside each other this deep; a config needs five. */
export const MAX_DEPTH = 32;

/** A parsed text: its plain value, the document that knows positions, and everything wrong with it. */
interface ParsedYaml {
  readonly value: unknown;
  readonly document: Document.Parsed;
  readonly flaws: readonly SyntaxFlaw[];
}

/**
 * Parses YAML 1.2 (core schema). `value` is undefined if there are flaws.
 * `lineCounter` knows the lines of `text` already; without it, places in messages are counted in characters.
 */
export function parseYaml(text: string, lineCounter?: LineCounter): ParsedYaml {
  const deep = findDeepNesting(text);
  const document = parseDocument(deep ? '' : text, {
    schema: 'core',
    resolveKnownTags: false,
    stringKeys: true,
    uniqueKeys: false, // checked here, to name both places
    prettyErrors: false,
    logLevel: 'error',
  });
  const syntax = [...document.errors, ...document.warnings].map(describeError);
  const flaws = deep ? [deep] : syntax.length > 0 ? syntax : checkNodes(document, lineCounter);
  if (flaws.length > 0) return { value: undefined, document, flaws };
  return { document, ...toPlainValue(document) };
}

/**
 * Runs the tokenizer alone, which does not recurse: in the composer, a thousand open brackets exhaust the stack,
 * and V8 may then abort the process while it compiles a regular expression.
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

/** Aliases of aliases multiply, which only the conversion counts; its count includes the anchor. */
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
