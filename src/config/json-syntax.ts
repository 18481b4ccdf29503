// The place at which a config in a .json file is not JSON, with a reason in words. Everything else about
// such a file is left to the YAML parser, which reads all of JSON.
import { CST, Lexer } from 'yaml';
import type { SyntaxFlaw } from './problem.ts';
import { shorten } from '../errors.ts';

/** The first place at which a text is not JSON. `JSON.parse` decides that, but often names no place. */
export function findJsonFlaw(text: string, syntax: readonly SyntaxFlaw[]): SyntaxFlaw | undefined {
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
