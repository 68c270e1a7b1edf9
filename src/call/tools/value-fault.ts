import { digitsOf, sameNumber } from '../../sautikit/phone.js'

/**
 * A value that says nothing to a person, as systems and spreadsheets write it. It counts as absent wherever a value may be said:
 * what is known of a caller, rows of campaigns, variables of orders, results of tools in words.
 */
export type ValueFault =
  'no-value' | 'sheet-error' | 'too-narrow' | 'shortened' | 'serial-date' | 'lost-letters' | 'number'

/** Characters of the longest value that can be one of these. */
const CHARS_MAX = 40

/** An absence as a word, in the languages of the gateway and of the systems that write it. */
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
/** In these spellings alone, which are those of machines: Na, Nan and Nil are names of people. */
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
/** Where the name of a person belongs; a tank may be empty, and a parcel missing. */
const NO_NAME_WORDS = new Set(['unknown', 'missing', 'blank', 'empty', 'anonymous', 'asiyejulikana'])
/** Nothing but signs that stand for an empty cell. */
const SIGNS = /^[-‐-―−_.…·?¿*/\\|~#\s]+$/u

/** Error words of spreadsheets, in the languages of their programs: #REF!, #VALUE!, #BEZUG!, #¿NOMBRE?, Err:502. */
const SHEET_ERROR =
  /^(?:#[¡¿]?[\p{Lu}0-9_/]{2,20}[!?]|#(?:N\/A|N\/D|NV|N\.D\.|N\/V|GETTING_DATA)|err:\d{3}|loading\.\.\.)$/iu
const TOO_NARROW = /^#{2,}$/
/** 1.23457E+11; a code such as 12E4 has no sign. */
const SHORTENED = /^-?\d(?:[.,]\d+)?e[+-]\d{1,3}$/i
/** Days since 1900 of the years 1954 to 2091, with the time of day. */
const SERIAL_DATE = /^[2-6]\d{4}(?:[.,]\d+)?$/
/** U+FFFD, and the controls that bytes become which have no letter in the encoding. */
const LOST_LETTERS = /[\ufffd\u0080-\u009f]/

/** Words of a field's name that say what it holds. */
const DATES = new Set([
  ...['date', 'dates', 'dob', 'birthday', 'birthdate', 'day', 'expiry', 'expires', 'deadline', 'appointment', 'when'],
  ...['tarehe', 'siku'],
])
const NAMES = new Set([
  ...['name', 'names', 'surname', 'firstname', 'lastname', 'fullname', 'nickname', 'jina', 'majina'],
])
const PEOPLE = new Set(['customer', 'client', 'contact', 'caller', 'holder', 'owner', 'person', 'mteja', 'mwenye'])
/** A field with one of these words holds something else than the name of a person. */
const NO_NAMES = new Set([
  ...['number', 'no', 'nr', 'phone', 'telephone', 'tel', 'mobile', 'cell', 'msisdn', 'whatsapp', 'id', 'ref', 'code'],
  ...['account', 'user', 'login', 'file', 'host', 'domain', 'simu', 'nambari', 'namba', 'akaunti'],
])
/** Digits of a telephone number at least. */
const PHONE_DIGITS_MIN = 7

interface ValueContext {
  /** Name of the field or column. */
  readonly field: string
  /** Number of the person whom the value is about; empty or absent: not known. */
  readonly own?: string | undefined
  /** True if other values of the column are dates. Default: what its name says. */
  readonly dates?: boolean
}

/** @returns why a value says nothing; null: it says something, or is neither text nor number */
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

/** `firstName` and `first_name` are `first` and `name`. */
function wordsOf(field: string): string[] {
  return field
    .replace(/(\p{Ll})(\p{Lu})/gu, '$1 $2')
    .toLowerCase()
    .split(/[^\p{L}]+/u)
}

const DATE_TEXT = /^(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})(?:[T ].*)?$/

/** True if most of a column's other values are dates: a number among them is one too. */
export function holdsDates(values: readonly string[]): boolean {
  const others = values.filter((value) => value !== '' && !SERIAL_DATE.test(value))
  return others.length > 0 && others.filter((value) => DATE_TEXT.test(value)).length * 2 > others.length
}

/** A fault as it is read behind "has in COLUMN"; it has nothing of the value. */
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

/** Faults of a value that is none: nothing is lost where a model has null for it. */
const NO_VALUES: ReadonlySet<ValueFault | null> = new Set<ValueFault>(['no-value', 'sheet-error', 'too-narrow'])
/** Levels of a result that are looked at. */
const LEVELS_MAX = 32

/** A tool's result for a model: null for each absence in words and each error of a sheet. Names of fields stay. */
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

/** Values of a result that are looked at for a count. */
const LOOKED_AT_MAX = 200
const FIELD_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,39}$/

/** Fields of a tool's result whose values say nothing; a name that is not one of a program is `other`. */
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
