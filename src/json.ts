// JSON from files that anybody may have written. Its nesting is bounded before a value is made of it: what walks such a
// value afterwards recurses, and a few thousand brackets would exhaust the stack.

/** Objects and lists inside each other. A config has at most 32, and a checkpoint holds its config three levels down. */
export const MAX_JSON_DEPTH = 64;

/** As `JSON.parse`. @throws SyntaxError also for a text that is nested deeper than `MAX_JSON_DEPTH`. */
export function parseJson(text: string, reviver?: (key: string, value: unknown) => unknown): unknown {
  refuseDeepNesting(text);
  return JSON.parse(text, reviver);
}

/** Brackets in strings do not count; a string without an end is left to the parser. */
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
 * The index after the quote that closes the string which opens at `start`; of the text's end if none does. A loop, since
 * a regular expression gives up on strings of some 10 MB.
 */
export function endOfJsonString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at !== -1; at = text.indexOf('"', at + 1)) {
    let numBackslashes = 0;
    while (text[at - 1 - numBackslashes] === '\\') numBackslashes++;
    if (numBackslashes % 2 === 0) return at + 1;
  }
  return text.length;
}
