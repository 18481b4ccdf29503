import { describe, expect, it } from 'vitest';
import { decodeSafetensors } from '../../../src/safetensors.ts';
import { MAX_JSON_DEPTH, parseExactly, parseJson } from '../../../src/json.ts';

const DEEP = `${'['.repeat(5000)}${']'.repeat(5000)}`;

describe('JSON from other programs', () => {
  it('JSON from other programs may be nested as deep as any file of ours, and no deeper', () => {
    const nested = (depth: number): string => `${'[{"a":'.repeat(depth / 2)}0${'}]'.repeat(depth / 2)}`;
    expect(JSON.stringify(parseJson(nested(MAX_JSON_DEPTH)))).toBe(nested(MAX_JSON_DEPTH));
    expect(() => parseJson(nested(MAX_JSON_DEPTH + 2))).toThrow(
      new SyntaxError(`nested deeper than ${MAX_JSON_DEPTH} levels`),
    );
  });

  it('JSON from other programs may have any number of sibling values, and brackets in its strings', () => {
    const wide = `[${'[],'.repeat(10_000)}"${'[{'.repeat(1000)}","\\\\","\\"[[","]"]`;
    expect(parseJson(wide)).toEqual(JSON.parse(wide));
  });

  it.each(['', '[', '"', '"a', '"\\"', ']', '[}', '{"a":'])(
    'malformed JSON is refused with a syntax error: %j',
    (text) => {
      expect(() => parseJson(text)).toThrow(SyntaxError);
    },
  );

  it('every file of JSON is read within these bounds', () => {
    expect(() => parseExactly(DEEP)).toThrow('nested deeper than 64 levels');
    const header = Buffer.from(`{"a":${DEEP}}`);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    expect(() => decodeSafetensors(Buffer.concat([length, header]), 'init.safetensors')).toThrow(
      'init.safetensors: the header is not JSON (nested deeper than 64 levels)',
    );
  });
});
