// JSON text from files that anybody may have written; of records: metrics, events, summaries, figures; and
// of plain data whose numbers keep their bits, for checkpoints.

/**
 * Maximum depth of nested objects and lists. A config has at most 32, and a checkpoint holds its
 * config three levels down.
 */
export const MAX_JSON_DEPTH = 64;

/**
 * Parses like `JSON.parse`, with bounded nesting: callers walk the value recursively, and a few
 * thousand brackets would exhaust the stack.
 *
 * @throws SyntaxError also for a text that is nested deeper than `MAX_JSON_DEPTH`
 */
export function parseJson(text: string, reviver?: (key: string, value: unknown) => unknown): unknown {
  refuseDeepNesting(text);
  return JSON.parse(text, reviver);
}

/** Refuses deep nesting. Brackets in strings do not count; a string without an end is left to the parser. */
function refuseDeepNesting(text: string): void {
  let depth = 0;
  const token = /["[\]{}]/g;
  for (let match = token.exec(text); match; match = token.exec(text)) {
    if (match[0] === '"') token.lastIndex = endOfJsonString(text, match.index);
    else if (match[0] === '[' || match[0] === '{') depth++;
    else depth--;
    if (depth > MAX_JSON_DEPTH) throw new SyntaxError(`nested deeper than ${MAX_JSON_DEPTH} levels`);
  }
}

/**
 * The index after the quote that closes the string which opens at `start`; of the text's end if none
 * does. A loop, since a regular expression gives up on strings of some 10 MB.
 */
export function endOfJsonString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at !== -1; at = text.indexOf('"', at + 1)) {
    let numBackslashes = 0;
    while (text[at - 1 - numBackslashes] === '\\') numBackslashes++;
    if (numBackslashes % 2 === 0) return at + 1;
  }
  return text.length;
}

/**
 * The number, or the string that stands for it in a record: JSON has no words for numbers that are not
 * finite. "NaN", "Infinity" and "-Infinity" are what Number() of JavaScript, float() of Python and
 * to_numeric of pandas read back, and what Weights & Biases takes. Checkpoints must keep strings apart
 * from numbers: see `stringifyExactly`.
 */
export function recordNumber(value: number): number | string {
  return Number.isFinite(value) ? value : String(value);
}

/** The JSON text of a record, with `recordNumber` for each number. `indent` is that of `JSON.stringify`. */
export function stringifyRecord(value: unknown, indent?: number): string {
  const replace = (_key: string, part: unknown): unknown =>
    typeof part === 'number' ? recordNumber(part) : part;
  return JSON.stringify(value, replace, indent);
}

/** The key of a mapping that stands for a number. */
const MARK = '$number';

/** The numbers that JSON has no words for. */
const SPECIAL: ReadonlyMap<string, number> = new Map([
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
  ['-0', -0],
]);

/**
 * The JSON text of plain data, numbers that JSON has no words for included.
 *
 * @throws TypeError if an object in it has the key `$number`, which would be taken for
 * a number when it is read
 */
export function stringifyExactly(value: unknown): string {
  return JSON.stringify(value, (_key, part: unknown) => {
    if (typeof part === 'number') return markSpecial(part);
    if (typeof part === 'object' && part !== null && Object.hasOwn(part, MARK)) {
      throw new TypeError(`the key ${MARK} is reserved for numbers`);
    }
    return part;
  });
}

/**
 * Reads the output of {@link stringifyExactly}.
 *
 * @throws SyntaxError if it is not JSON, or marks something else as a number
 */
export function parseExactly(text: string): unknown {
  return parseJson(text, (_key, part) => {
    if (typeof part !== 'object' || part === null || !Object.hasOwn(part, MARK)) return part;
    const number = SPECIAL.get(String((part as Record<string, unknown>)[MARK]));
    if (number === undefined || Object.keys(part).length > 1)
      throw new SyntaxError(`${MARK} without a number`);
    return number;
  });
}

function markSpecial(value: number): unknown {
  const isPlain = Number.isFinite(value) && !Object.is(value, -0);
  return isPlain ? value : { [MARK]: Object.is(value, -0) ? '-0' : String(value) };
}
