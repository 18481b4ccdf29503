// JSON of records: metrics, events, summaries, figures. JSON has no words for the numbers that are not finite; in records
// they are the strings "NaN", "Infinity" and "-Infinity", which Number() of JavaScript, float() of Python and to_numeric of
// pandas read back, and which Weights & Biases takes. Checkpoints, which must keep strings apart from numbers, have a form of
// their own: src/checkpoint/exact-json.ts.

/** The number, or the string that stands for it in a record. */
export function recordNumber(value: number): number | string {
  return Number.isFinite(value) ? value : String(value);
}

/** The JSON text of plain data; see the head of this file. `indent` is that of `JSON.stringify`. */
export function stringifyRecord(value: unknown, indent?: number): string {
  const replace = (_key: string, part: unknown): unknown =>
    typeof part === 'number' ? recordNumber(part) : part;
  return JSON.stringify(value, replace, indent);
}
