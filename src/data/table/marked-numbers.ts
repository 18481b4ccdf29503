// Texts that a person reads as numbers although the format of the table does not: with digits in groups, a
// decimal comma, a sign of currency or percent, a minus that is not the hyphen. For messages only; no cell
// is read by it.
import { THOUSANDS } from '../../config/schema.ts';
import { CellReader, type CellFormat } from './format.ts';

/** Something that a text holds besides a number. */
type Mark =
  'a currency sign' | 'a percent sign' | 'a minus that is not a hyphen' | 'brackets' | 'other digits';

/** Numbers in disguise. */
export interface MarkedNumbers {
  /** A predicate of one of the texts: `looks like a decimal comma`. */
  readonly what: string;
  /** The way to make them numbers. */
  readonly help: string;
  /** True if no setting helps: the cells themselves must change. */
  readonly isPlain?: boolean | undefined;
}

const CODES =
  'USD|EUR|GBP|JPY|CNY|INR|CHF|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|RUB|TRY|KRW|ZAR|kr|zł|Kč|Rs';

const CURRENCY = `(?:[A-Z]{0,3}\\p{Sc}|(?:${CODES})\\.?)`;
const MINUS = '[\u2010\u2011\u2012\u2013\u2212\uff0d]';
const SPACE = '[ \u00a0\u2009\u202f]?';

/**
 * Patterns that each take a mark off a text. Order counts: brackets may enclose everything else, and a
 * minus may be on either side of a currency.
 */
const MARKS: readonly { readonly mark: Mark; readonly pattern: RegExp; readonly replacement: string }[] = [
  { mark: 'other digits', pattern: /(?![0-9])\p{Nd}/gu, replacement: '1' },
  { mark: 'brackets', pattern: /^\((.+)\)$/u, replacement: '-$1' },
  { mark: 'a minus that is not a hyphen', pattern: new RegExp(`^${MINUS}(?=.*\\d)`, 'u'), replacement: '-' },
  { mark: 'a percent sign', pattern: new RegExp(`${SPACE}[%‰％]$|^[%‰％]${SPACE}`, 'u'), replacement: '' },
  {
    mark: 'a currency sign',
    pattern: new RegExp(
      `(?<=^[+-]?)${CURRENCY}${SPACE}(?=[-+.,\\d${MINUS.slice(1)})|${SPACE}${CURRENCY}$`,
      'u',
    ),
    replacement: '',
  },
  { mark: 'a minus that is not a hyphen', pattern: new RegExp(`^${MINUS}(?=.*\\d)`, 'u'), replacement: '-' },
  {
    mark: 'a minus that is not a hyphen',
    pattern: new RegExp(`^([.,\\d].*)(?:-|${MINUS})$`, 'u'),
    replacement: '-$1',
  },
];

const SEPARATORS = [undefined, ...THOUSANDS] as const;

/** Cells with a decimal separator that are numbers as the format has it. */
interface Fractions {
  /** Cells of the column itself. */
  readonly numbers: readonly string[];
  /** Cells of other columns, which would become texts in another format. */
  readonly others: readonly string[];
}

/** Describes the texts of a column, if all of them look like numbers of one kind. */
export function describeMarkedNumbers(
  texts: readonly string[],
  { numbers, others }: Fractions,
  format: CellFormat,
  candidates = candidatesOf(format),
): MarkedNumbers | undefined {
  const marks = new Set<Mark>();
  const cores = texts.map((text) => takeMarksOff(text, marks));
  const readings = findReadings([...cores, ...numbers], format, candidates);
  const [first, second] = readings;
  const sample = cores[0];
  if (!first || sample === undefined) return undefined;
  if (marks.size > 0) {
    const what = texts[0] === sample ? 'stands among numbers with' : 'is a number with';
    return { what: `${what} ${[...marks].join(' and ')}`, help: 'write plain numbers', isPlain: true };
  }
  const advice = isFixed(format, others) && `write ${nameDecimal(format)}, as other columns do`;
  if (second) return describeAmbiguity(sample, [first, second], advice);
  const isSame = first.decimal === format.decimal && first.thousands === format.thousands;
  // Numbers of the same format are texts if they are quoted tokens.
  if (isSame) return undefined;
  const isGrouped = first.thousands !== undefined && first.thousands !== format.thousands;
  return {
    what: isGrouped ? 'looks like a number with its digits in groups' : `looks like ${nameDecimal(first)}`,
    ...(first.decimal !== format.decimal && advice
      ? { help: advice, isPlain: true }
      : { help: describeSettings(first, format) }),
  };
}

/**
 * Tells whether a cell of another column would be no number with the other decimal separator, not even
 * a grouped one.
 */
function isFixed({ decimal }: CellFormat, others: readonly string[]): boolean {
  const swapped: CellFormat = { decimal: decimal === '.' ? ',' : '.', thousands: decimal };
  return others.some((cell) => valueIn(swapped, cell) === undefined);
}

function nameDecimal({ decimal }: CellFormat): string {
  return decimal === ',' ? 'a decimal comma' : 'a decimal point';
}

const NO_FRACTIONS: Fractions = { numbers: [], others: [] };

/** Counts the texts that look like numbers, each by itself. */
export function countMarkedNumbers(texts: readonly string[], format: CellFormat): number {
  const candidates = candidatesOf(format);
  return texts.filter((text) => describeMarkedNumbers([text], NO_FRACTIONS, format, candidates) !== undefined)
    .length;
}

function takeMarksOff(text: string, marks: Set<Mark>): string {
  let core = text;
  for (const { mark, pattern, replacement } of MARKS) {
    const bare = core.replace(pattern, replacement);
    if (bare !== core) marks.add(mark);
    core = bare;
  }
  return core.trim();
}

/** The formats nearest to the table's in which all texts are numbers; two if the numbers differ. */
function findReadings(
  texts: readonly string[],
  format: CellFormat,
  candidates: readonly Candidate[],
): CellFormat[] {
  const { decimal, thousands } = format;
  const other = decimal === '.' ? ',' : '.';
  const fits = candidates.filter(({ reader }) => texts.every((text) => reader.number(text) !== undefined));
  const same = fits.find((fit) => fit.decimal === decimal && fit.thousands === thousands);
  if (same) return [same];
  const grouped = fits.find((fit) => fit.decimal === decimal);
  const swapped = fits.find((fit) => fit.decimal === other);
  const sample = texts[0] as string;
  const differ = grouped && swapped && valueIn(grouped, sample) !== valueIn(swapped, sample);
  if (differ) return [grouped, swapped];
  const only = grouped ?? swapped;
  return only ? [only] : [];
}

/** A format that texts may be of. */
interface Candidate extends CellFormat {
  readonly reader: CellReader;
}

function candidatesOf({ decimal }: CellFormat): Candidate[] {
  const decimals = decimal === '.' ? (['.', ','] as const) : ([',', '.'] as const);
  return decimals.flatMap((point) =>
    SEPARATORS.filter((separator) => separator !== point).map((thousands) => ({
      decimal: point,
      thousands,
      reader: new CellReader({ decimal: point, thousands, missingTokens: [] }),
    })),
  );
}

function valueIn(format: CellFormat, text: string): number | undefined {
  return new CellReader({ ...format, missingTokens: [] }).number(text);
}

function describeAmbiguity(
  sample: string,
  [grouped, swapped]: readonly [CellFormat, CellFormat],
  advice: string | false,
): MarkedNumbers {
  const values = [grouped, swapped].map((reading) => String(valueIn(reading, sample)));
  return {
    what: `can be ${values[0]}, its digits in groups, or ${values[1]}, with ${nameDecimal(swapped)}`,
    help:
      `set data.thousands: ${JSON.stringify(grouped.thousands)} if it is ${values[0]}, ` +
      (advice
        ? `or if it is ${values[1]}, ${advice}`
        : `data.decimal: ${JSON.stringify(swapped.decimal)} if it is ${values[1]}`),
  };
}

function describeSettings({ decimal, thousands }: CellFormat, format: CellFormat): string {
  const settings = [
    ...(decimal === format.decimal ? [] : [`set data.decimal: ${JSON.stringify(decimal)}`]),
    ...(thousands === format.thousands ? [] : [describeThousands(thousands)]),
  ];
  return settings.join(' and ').replaceAll(' and set ', ' and ');
}

function describeThousands(thousands: string | undefined): string {
  return thousands === undefined
    ? 'leave data.thousands out'
    : `set data.thousands: ${JSON.stringify(thousands)}`;
}

const UNIT = /^[+-]?\d+(?:[.,]\d+)?\s?(\p{L}[\p{L}²³/°]{0,5}|°\p{L}?)$/u;
/** Minimum number of texts with a unit; fewer are a choice, such as 2wd and 4wd. */
const MIN_MEASURES = 4;

/** The unit that all texts of a column share, such as `kg` of `12 kg`. */
export function sharedUnit(texts: readonly string[]): string | undefined {
  const [unit, ...others] = new Set(texts.map((text) => UNIT.exec(text)?.[1]));
  return others.length === 0 && texts.length >= MIN_MEASURES ? unit : undefined;
}

const TIME = '(?:[T ]\\d{1,2}:\\d{2}.*)?';
const MONTH = '(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\\p{L}*\\.?';

const DATE = new RegExp(
  [
    `^\\d{4}[-/.]\\d{1,2}(?:[-/.]\\d{1,2}${TIME})?$`,
    `^\\d{1,2}[-/.]\\d{1,2}[-/.](?:\\d{2}|\\d{4})${TIME}$`,
    `^\\d{1,2}[-. ]+${MONTH}[-., ]+\\d{2,4}${TIME}$`,
    `^${MONTH} \\d{1,2},? \\d{4}${TIME}$`,
    '^\\d{1,2}:\\d{2}(?::\\d{2}(?:\\.\\d+)?)?$',
  ].join('|'),
  'iu',
);

/** Tells whether a text is a date or a time of day. */
export function isDate(text: string): boolean {
  return DATE.test(text);
}

/**
 * Texts that often stand for no value, but are not tokens by default: in a column of texts they may be
 * values.
 */
const LIKELY_TOKENS: ReadonlySet<string> = new Set([
  ...[
    'none',
    '#n/a',
    '#na',
    '#n/a n/a',
    '\\n',
    '<na>',
    'nat',
    'nil',
    'n.a.',
    'missing',
    'unknown',
    'undefined',
  ],
  ...[
    '.',
    '..',
    '--',
    '---',
    '–',
    '—',
    '*',
    '#null!',
    '#div/0!',
    '#value!',
    '#ref!',
    '#num!',
    '(null)',
    '[null]',
  ],
  ...['na', 'n/a', 'nan', 'null', '?', '-'],
]);

/** Tells whether texts look like more tokens for `data.missingTokens`. */
export function areLikelyTokens(texts: readonly string[]): boolean {
  return texts.every((text) => LIKELY_TOKENS.has(text.toLowerCase()));
}
