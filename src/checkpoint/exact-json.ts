// JSON that keeps every double. JSON itself keeps all finite ones but -0, and turns NaN and the infinities
// into null. These four are written as an object with a key of their own: {"$number":"NaN"}.
import { parseJson } from '../json.ts';

const MARK = '$number';

/** The numbers that JSON has no words for. */
const SPECIAL: ReadonlyMap<string, number> = new Map([
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
  ['-0', -0],
]);

/**
 * The JSON text of plain data. @throws TypeError if an object in it has the key `$number`, which would be
 * taken for a number when it is read.
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
