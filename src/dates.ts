// Dates in cells, and the numbers that a model learns from them. All are in UTC unless they name an offset.

/** The order of year, month and day. */
export const DATE_FORMATS = ['ymd', 'dmy', 'mdy'] as const;
export type DateFormat = (typeof DATE_FORMATS)[number];

/** The numbers of a date: days since 1970, then what recurs; hours only where some cell has a time of day. */
export const DATE_PARTS = ['days', 'year', 'month', 'day', 'weekday', 'hour'] as const;
export type DatePart = (typeof DATE_PARTS)[number];

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const TIME = String.raw`(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d{1,9})?))?\s*(Z|[+-]\d{2}:?\d{2})?)?`;
const PATTERNS: Readonly<Record<DateFormat, RegExp>> = {
  ymd: new RegExp(String.raw`^(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})${TIME}$`, 'i'),
  dmy: new RegExp(String.raw`^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})${TIME}$`, 'i'),
  mdy: new RegExp(String.raw`^(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})${TIME}$`, 'i'),
};

/** Milliseconds since 1970 of a date with four digits of the year, or undefined. */
export function parseDate(text: string, format: DateFormat): number | undefined {
  const found = PATTERNS[format].exec(text);
  if (!found) return undefined;
  const [first, second, third, hours, minutes, seconds] = found
    .slice(1, 7)
    .map((digits) => Number(digits ?? 0)) as [number, number, number, number, number, number];
  const [year, month, day] = {
    ymd: [first, second, third],
    dmy: [third, second, first],
    mdy: [third, first, second],
  }[format] as [number, number, number];
  const midnight = new Date(0).setUTCFullYear(year, month - 1, day);
  const isReal = new Date(midnight).getUTCMonth() === month - 1 && new Date(midnight).getUTCDate() === day;
  const isMidnight = hours === 24 && minutes === 0 && seconds === 0;
  if (!isReal || (hours > 23 && !isMidnight) || minutes > 59 || seconds >= 60) return undefined;
  const offset = offsetMs(found[7]);
  if (offset === undefined) return undefined;
  return midnight + (hours * 60 + minutes) * 60_000 + seconds * 1000 - offset;
}

/** The offset of a time zone; undefined where there is none so far from UTC. */
function offsetMs(zone: string | undefined): number | undefined {
  if (zone === undefined || /^z$/i.test(zone)) return 0;
  const [hours, rest] = [Number(zone.slice(1, 3)), Number(zone.slice(-2))];
  const minutes = 60 * hours + rest;
  if (rest > 59 || minutes > 14 * 60) return undefined;
  return (zone.startsWith('-') ? -60_000 : 60_000) * minutes;
}

/** Tells whether a date has a time of day. */
export function hasTime(ms: number): boolean {
  return ms % DAY_MS !== 0;
}

/** The value of a part of a date: months and days of the month count from 1, weekdays from Monday, 0. */
export function datePart(ms: number, part: DatePart): number {
  const date = new Date(ms);
  switch (part) {
    case 'days':
      return ms / DAY_MS;
    case 'year':
      return date.getUTCFullYear();
    case 'month':
      return date.getUTCMonth() + 1;
    case 'day':
      return date.getUTCDate();
    case 'weekday':
      return (date.getUTCDay() + 6) % 7;
    case 'hour':
      return (((ms % DAY_MS) + DAY_MS) % DAY_MS) / HOUR_MS;
  }
}
