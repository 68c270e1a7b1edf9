import { digitsOf, sameNumber } from '../../sautikit/phone.js'

/**
 * Reason why a value is useless to a person, for example an error value of a spreadsheet. Such a value counts as absent
 * in callers' data, campaigns, orders and tools.
 */
export type ValueFault =
  'no-value' | 'sheet-error' | 'too-narrow' | 'shortened' | 'serial-date' | 'lost-letters' | 'number'

/** Maximum length of a value without information, in characters. */
const CHARS_MAX = 40

/** Words for an absent value, in the languages of the gateway and of the systems that write them. */
const NO_VALUE_WORDS = new Set([
  ...[
    'null',
    '(null)',
    '<null>',
    '[null]',
    'none',
    '(none)',
    '<none>',
    'undefined',
    'n/a',
    'n.a.',
    'n.a',
    'n\\a',
    '<na>',
  ],
  ...['not available', 'not applicable', 'no value', 'no data', 'not set', 'unset', 'not specified', 'not provided'],
  ...['(missing)', '(blank)', '(empty)', '(unknown)', 'tbd', 'tba', '[object object]'],
  ...[
    'hakuna',
    'hamna',
    'haijulikani',
    'hajulikani',
    'haipo',
    'hayupo',
    'hakuna data',
    'hakuna taarifa',
    'hakuna jina',
  ],
])
/**
 * Exact spellings that machines write for an absent value. Other spellings are accepted, because Na, Nan and Nil are
 * names of people.
 */
const NO_VALUE_SPELLINGS = new Set([
  'NaN',
  'nan',
  'NAN',
  'NaT',
  'NA',
  'na',
  'nil',
  'NIL',
  'Infinity',
  '-Infinity',
  '\\N',
])
/**
 * Words that count as absent values in place of a person's name. In other fields these words are facts: a tank may be
 * empty, and a parcel may be missing.
 */
const NO_NAME_WORDS = new Set(['unknown', 'missing', 'blank', 'empty', 'anonymous', 'asiyejulikana'])
/** Signs that are written into an empty cell. */
const SIGNS = /^[-‐-―−_.…·?¿*/\\|~#\s]+$/u

/** Error words of spreadsheets, in the languages of their programs: #REF!, #VALUE!, #BEZUG!, #¿NOMBRE?, Err:502. */
const SHEET_ERROR =
  /^(?:#[¡¿]?[\p{Lu}0-9_/]{2,20}[!?]|#(?:N\/A|N\/D|NV|N\.D\.|N\/V|GETTING_DATA)|err:\d{3}|loading\.\.\.)$/iu
const TOO_NARROW = /^#{2,}$/
/** Matches a shortened number: 1.23457E+11. A code such as 12E4 does not match, because the sign is missing. */
const SHORTENED = /^-?\d(?:[.,]\d+)?e[+-]\d{1,3}$/i
/**
 * Matches a date from 1954 to 2091 that is written as the number of days since 1900, with or without the time of day.
 */
const SERIAL_DATE = /^[2-6]\d{4}(?:[.,]\d+)?$/
/** Matches U+FFFD and control characters. Bytes that are not letters in the encoding become these characters. */
const LOST_LETTERS = /[\ufffd\u0080-\u009f]/

/** Words that occur in the names of fields with dates. */
const DATES = new Set([
  ...['date', 'dates', 'dob', 'birthday', 'birthdate', 'day', 'expiry', 'expires', 'deadline', 'appointment', 'when'],
  ...['tarehe', 'siku'],
])
const NAMES = new Set([
  ...['name', 'names', 'surname', 'firstname', 'lastname', 'fullname', 'nickname', 'jina', 'majina'],
])
const PEOPLE = new Set(['customer', 'client', 'contact', 'caller', 'holder', 'owner', 'person', 'mteja', 'mwenye'])
/** Words that occur in the names of fields without names of people. */
const NO_NAMES = new Set([
  ...['number', 'no', 'nr', 'phone', 'telephone', 'tel', 'mobile', 'cell', 'msisdn', 'whatsapp', 'id', 'ref', 'code'],
  ...['account', 'user', 'login', 'file', 'host', 'domain', 'simu', 'nambari', 'namba', 'akaunti'],
])
/** Minimum number of digits in a telephone number. */
const PHONE_DIGITS_MIN = 7

interface ValueContext {
  /** Name of the field or column. */
  readonly field: string
  /** Phone number of the person whom the value describes; empty or absent if unknown. */
  readonly own?: string | undefined
  /** True if other values of the column are dates. By default the column's name decides. */
  readonly dates?: boolean
}

/**
 * @returns the reason why a value does not contain information; null for a good value, or for a value that is not text
 * or a number
 */
export function valueFault(value: unknown, { field, own = '', dates = false }: ValueContext): ValueFault | null {
  if (typeof value === 'number' && !Number.isFinite(value)) return 'no-value'
  if (typeof value !== 'string' && typeof value !== 'number') return null
  const text = String(value).trim()
  if (text === '') return null
  if (LOST_LETTERS.test(text)) return 'lost-letters'
  if (text.length > CHARS_MAX) return null
  if (TOO_NARROW.test(text)) return 'too-narrow'
  if (NO_VALUE_SPELLINGS.has(text) || NO_VALUE_WORDS.has(text.toLowerCase())) return 'no-value'
  if (SHEET_ERROR.test(text)) return 'sheet-error'
  if (SIGNS.test(text)) return 'no-value'
  if (SHORTENED.test(text)) return 'shortened'
  const words = wordsOf(field)
  if (SERIAL_DATE.test(text) && (dates || words.some((word) => DATES.has(word)))) return 'serial-date'
  if (words.some((word) => NO_NAMES.has(word))) return null
  const isName = words.some((word) => NAMES.has(word))
  if (!isName && !words.some((word) => PEOPLE.has(word))) return null
  if (own !== '' && sameNumber(text, own)) return 'number'
  if (!isName) return null
  if (NO_NAME_WORDS.has(text.toLowerCase())) return 'no-value'
  return !/\p{L}/u.test(text) && digitsOf(text).length >= PHONE_DIGITS_MIN ? 'number' : null
}

/** Splits `firstName` and `first_name` into `first` and `name`. */
function wordsOf(field: string): string[] {
  return field
    .replace(/(\p{Ll})(\p{Lu})/gu, '$1 $2')
    .toLowerCase()
    .split(/[^\p{L}]+/u)
}

const DATE_TEXT = /^(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})(?:[T ].*)?$/

/** True if most of a column's other values are dates. In such a column a number is also a date. */
export function holdsDates(values: readonly string[]): boolean {
  const others = values.filter((value) => value !== '' && !SERIAL_DATE.test(value))
  return others.length > 0 && others.filter((value) => DATE_TEXT.test(value)).length * 2 > others.length
}

/** Returns a description of the fault that can follow "has in COLUMN". The description does not contain the value. */
export function saidFault(fault: ValueFault): string {
  return TEXTS[fault]
}

const TEXTS: Readonly<Record<ValueFault, string>> = {
  'no-value': 'a word for no value, such as N/A or null; allowed: the value, or an empty cell',
  'sheet-error': 'an error of the spreadsheet, such as #REF!; allowed: mend the formula, or an empty cell',
  'too-narrow': '######, which a spreadsheet shows in a column that is too narrow; make it wider and save again',
  shortened: 'a number that a spreadsheet has shortened; format the column as text before it is saved',
  'serial-date': 'a date as the number of its day, such as 45987; format the column as a date, such as 2025-11-27',
  'lost-letters': 'letters that were lost when it was saved; allowed: UTF-8, as "CSV UTF-8" of a spreadsheet',
  number: 'a number where a name belongs; allowed: the name, or an empty cell',
}

/** Faults of an absent value. A model may receive null instead of such a value without a loss of information. */
const NO_VALUES: ReadonlySet<ValueFault | null> = new Set<ValueFault>(['no-value', 'sheet-error', 'too-narrow'])
/** Maximum depth of a result that is searched. */
const LEVELS_MAX = 32

/**
 * Returns a tool's result for a model, with null in place of each word for absence and each spreadsheet error. Names of
 * fields do not change.
 */
export function withoutNoValues(result: unknown): unknown {
  const visit = (value: unknown, field: string, level: number): unknown => {
    if (level > LEVELS_MAX) return value
    if (Array.isArray(value)) return value.map((one) => visit(one, field, level + 1))
    if (typeof value === 'object' && value !== null)
      return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, visit(one, name, level + 1)]))
    return NO_VALUES.has(valueFault(value, { field })) ? null : value
  }
  return visit(result, '', 0)
}

/** Maximum number of values that are searched when faults are counted. */
const LOOKED_AT_MAX = 200
const FIELD_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,39}$/

/**
 * Returns the fields of a tool's result whose values do not contain information. A field name that does not look like a
 * program's identifier is returned as `other`.
 */
export function faultyFields(result: unknown, own: string): readonly string[] {
  const found = new Set<string>()
  let left = LOOKED_AT_MAX
  const look = (value: unknown, field: string): void => {
    if (--left < 0) return
    if (Array.isArray(value)) for (const one of value as unknown[]) look(one, field)
    else if (typeof value === 'object' && value !== null)
      for (const [name, one] of Object.entries(value)) look(one, name)
    else if (field !== '' && valueFault(value, { field, own }) !== null)
      found.add(FIELD_NAME.test(field) ? field : 'other')
  }
  look(result, '')
  return [...found]
}
