// Finds where a text stops being JSON, with a position and a reason in words: V8's JSON.parse may give neither.
// It builds no values; the YAML parser, which reads all of JSON, does that afterwards with positions of nodes.
import { shorten } from '../errors.ts';

/** Something that is not what the syntax allows, at an offset in UTF-16 units. */
export interface SyntaxFlaw {
  readonly offset: number;
  readonly message: string;
  readonly help?: string | undefined;
}

/** The first place at which `text` is not JSON (RFC 8259), or undefined when it is. */
export function findJsonFlaw(text: string, maxDepth: number): SyntaxFlaw | undefined {
  try {
    new JsonScanner(text, maxDepth).scan();
    return undefined;
  } catch (error) {
    if (error instanceof FlawFound) return error.flaw;
    throw error;
  }
}

class FlawFound extends Error {
  readonly flaw: SyntaxFlaw;

  constructor(flaw: SyntaxFlaw) {
    super(flaw.message);
    this.flaw = flaw;
  }
}

const WORD = /[^\s,:[\]{}"'/#]+/y;
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const LIKE_NUMBER = /^[+-]?(\.?\d.*|nan|inf(inity)?)$/i;
const ESCAPE = /["\\/bfnrt]|u[0-9a-fA-F]{4}/y;
const WHITESPACE = /[ \t\r\n]*/y;
const YAML_HELP = 'a .yaml file may have comments, trailing commas and unquoted words';

class JsonScanner {
  readonly #text: string;
  readonly #maxDepth: number;
  #offset = 0;

  constructor(text: string, maxDepth: number) {
    this.#text = text;
    this.#maxDepth = maxDepth;
  }

  scan(): void {
    this.#value(0);
    if (this.#peek() !== '') throw flaw(this.#offset, 'expected the end of the file');
  }

  #value(depth: number): void {
    const next = this.#peek();
    const isNested = next === '{' || next === '[';
    if (isNested && depth === this.#maxDepth) {
      throw flaw(this.#offset, `nested deeper than ${this.#maxDepth} levels`);
    }
    if (next === '{') return this.#list('}', () => this.#member(depth + 1));
    if (next === '[') return this.#list(']', () => this.#value(depth + 1));
    if (next === '"') return this.#string();
    this.#word();
  }

  #list(close: ']' | '}', item: () => void): void {
    this.#offset++;
    if (this.#take(close)) return;
    for (;;) {
      item();
      if (this.#peek() === close) break;
      const comma = this.#offset;
      this.#expect(',', `expected ',' or '${close}'`);
      if (this.#peek() === close) {
        throw flaw(comma, `expected no ',' before '${close}': JSON has no trailing commas`, YAML_HELP);
      }
    }
    this.#offset++;
  }

  #member(depth: number): void {
    if (this.#peek() !== '"') throw this.#unexpected('expected a key in double quotes');
    this.#string();
    this.#expect(':', "expected ':' after a key");
    this.#value(depth);
  }

  #string(): void {
    const start = this.#offset++;
    for (;;) {
      const char = this.#text[this.#offset];
      if (char === undefined || char === '\n') throw flaw(start, 'string opened here never closes');
      if (char < ' ') throw flaw(this.#offset, 'control characters in a string must be escaped');
      this.#offset++;
      if (char === '"') return;
      if (char === '\\' && this.#match(ESCAPE) === '') throw flaw(this.#offset - 1, 'not an escape JSON has');
    }
  }

  #word(): void {
    const start = this.#offset;
    const word = this.#match(WORD);
    if (word === '') throw this.#unexpected('expected a value');
    if (['true', 'false', 'null'].includes(word) || NUMBER.test(word)) return;
    if (LIKE_NUMBER.test(word)) throw flaw(start, `${shorten(word)} is not a number JSON allows`);
    throw flaw(start, `expected a value, got ${shorten(word)}: JSON strings take double quotes`, YAML_HELP);
  }

  #expect(char: ',' | ':', message: string): void {
    if (!this.#take(char)) throw this.#unexpected(message);
  }

  #unexpected(message: string): FlawFound {
    const next = this.#peek();
    if (next === '') return flaw(this.#offset, `${message}, reached the end of the file`);
    if (next === '/' || next === '#')
      return flaw(this.#offset, `${message}: JSON has no comments`, YAML_HELP);
    if (next === "'") return flaw(this.#offset, `${message}: JSON strings take double quotes`, YAML_HELP);
    return flaw(this.#offset, `${message}, got '${next}'`);
  }

  #take(char: string): boolean {
    const isNext = this.#peek() === char;
    if (isNext) this.#offset++;
    return isNext;
  }

  /** The next character that is not white space, or '' at the end. */
  #peek(): string {
    this.#match(WHITESPACE);
    return this.#text[this.#offset] ?? '';
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#offset;
    const [matched] = pattern.exec(this.#text) ?? [''];
    this.#offset += matched.length;
    return matched;
  }
}

function flaw(offset: number, message: string, help?: string): FlawFound {
  return new FlawFound({ offset, message, help });
}
