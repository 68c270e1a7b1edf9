import { english } from './english.js'
import type { Currency, SpokenLanguage } from './language.js'

// Patterns of text that is spoken in another form: figures, amounts, times, dates, codes, units, addresses.

const NUMBER = String.raw`\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?`
const RANGE = String.raw`\s*(?:-|to\b|hadi\b)\s*`
const SCALE = String.raw`(?:\s?(k|m|mn|bn|million|billion|milioni|bilioni)\b)?`
/** Half of the day after a time. At the end of the text, the full stop of "p.m." ends the sentence too. */
const HALF = String.raw`(?:\s*([ap])(?:m\b|\.\s?m\b(?:\.(?!\s*$))?))`
const CLOCK = String.raw`(\d{1,2})(?:[:.]([0-5]\d))?(?::[0-5]\d)?`

export const SIGNS: Readonly<Record<string, Currency>> = {
  $: 'USD',
  '€': 'EUR',
  '£': 'GBP',
  '₦': 'NGN',
  '₵': 'GHS',
  '₹': 'INR',
}
export const CODES: Readonly<Record<string, Currency>> = {
  ksh: 'KES', kshs: 'KES', sh: 'KES', shs: 'KES', shilling: 'KES', shillings: 'KES', shilingi: 'KES', bob: 'KES',
  tsh: 'TZS', tshs: 'TZS', ush: 'UGX', ushs: 'UGX', us$: 'USD', dollar: 'USD', dollars: 'USD', dola: 'USD',
  euro: 'EUR', euros: 'EUR', naira: 'NGN', rand: 'ZAR',
  ...Object.fromEntries(Object.keys(english.currencies).map((code) => [code.toLowerCase(), code as Currency])),
} // prettier-ignore
const CURRENCY_BEFORE = String.raw`(?:(?<![\p{L}\d])(us\$|kshs?|shs?|tshs?|ushs?|bob|${Object.keys(english.currencies).join('|')})\.?|([$€£₦₵₹]))`
const CURRENCY_AFTER = String.raw`(\/[-=](?!\d)|\s?(?:kshs?|shs|tshs?|ushs?|shillings?|shilingi|bob|dollars?|dola|euros?|naira|rand|${Object.keys(english.currencies).join('|')})\b)`

export const MONEY_BEFORE = new RegExp(
  String.raw`${CURRENCY_BEFORE}\s*(-)?(${NUMBER})${SCALE}(?:${RANGE}${CURRENCY_BEFORE}?\s*(${NUMBER})${SCALE})?(?:\s?\/[-=](?!\d))?(?![\d,.]*\d)`,
  'giu',
)
export const MONEY_AFTER = new RegExp(
  String.raw`(?<![\d.,])(${NUMBER})${SCALE}(?:${RANGE}(${NUMBER})${SCALE})?${CURRENCY_AFTER}`,
  'giu',
)

const TLD = String.raw`(?:com|org|net|info|io|app|dev|shop|store|africa|biz|ai|me|co|(?:co|or|go|ac|ne|sc)\.(?:ke|tz|ug|za|uk)|ke|tz|ug|rw|et|ng|gh|za|uk|us)`
export const EMAIL = /[\p{L}\d._%+-]+@[\p{L}\d-]+(?:\.[\p{L}\d-]+)+/gu
export const URL = new RegExp(
  String.raw`\b(?:https?:\/\/|www\.)[^\s,;)"']+|(?<![@\p{L}\d.-])(?:[a-z\d-]+\.)+${TLD}\b(?:\/[^\s,;)"']*)?`,
  'giu',
)

const WEEKDAY = String.raw`((?:mon|tue|tues|wed|thu|thur|thurs|fri|sat|sun)(?:day|nesday|sday|rsday|urday)?|j(?:uma\p{L}+)|alhamisi|ijumaa)`
export const ISO_DATE =
  /(?<![\d-])(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:T(\d{2}):(\d{2})(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?(?![\d-])/g
const FIGURE_DATE = /(?<![\d./-])(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|\d{2})(?![\d/]|[.-]\d)/g
/**
 * A day and a month as numbers. One number must be too large for a month, or both must have two digits. After "flat" or
 * "plot" the numbers are not a date.
 */
export const SHORT_DATE =
  /(?<![\d./-]|\b(?:flat|plot|house|room|unit|no|nyumba|chumba)[.\s]\s?)(?:\b(?:the|tarehe)\s+)?\b(\d{1,2})\/(\d{1,2})(?![\d/%]|[.-]\d)/giu
export const PHONE = /(?<![\p{L}\d])\+\d(?:[\s().-]{0,2}\d){6,14}(?!\d)/gu
export const LOCAL_PHONE =
  /(?<![\p{L}\d.,/-])(?:\d{9,13}|\(0\d{1,3}\)[\s-]?\d{3}[\s-]?\d{3,4}|0\d{2}[ -]\d{7}|\d{3,4}(?:[ -]\d{3,4}){2,4})(?![\d-])/gu
export const USSD = /(?<![\p{L}\d])[*#]\d+(?:[*#]\d+)*#?/gu
export const TIME_RANGE = new RegExp(
  String.raw`(?<![\d.:])${CLOCK}${HALF}?\s*(-|to\b|hadi\b|and\b|na\b)\s*${CLOCK}${HALF}?(?:\s?h(?:rs?|ours)\b)?(?![\d:]|\.\d)`,
  'gi',
)
export const TIME = new RegExp(String.raw`(?<![\d.:])${CLOCK}(?:${HALF}|(\s?h(?:rs?|ours)\b))?(?![\d:]|\.\d)`, 'gi')
export const BETWEEN =
  /(\b(?:between|kati ya)\s(?:[^\s\d]{1,6}\s?)?\d[\d,.:]*(?:\s?[ap]\.?m\b\.?)?)\s*(?:-|\bto\b|\bhadi\b)\s*(?=(?:[^\s\d]{1,6}\s?)?\d)/giu
/** 1630 hrs. */
export const MILITARY = /(?<![\d.,:])([01]\d|2[0-3])([0-5]\d)\s?h(?:rs|ours)\b/gi
export const PLATE = /\b(K[A-Z]{2})[ -]?(\d{3})[ -]?([A-Z])\b/g
export const CODE = /\b(?=[A-Z\d-]*\d)(?=[A-Z\d-]*[A-Z])[A-Z\d]+(?:-[A-Z\d]+)*\b/g
export const PERCENT = new RegExp(String.raw`(-)?(${NUMBER})(?:\s*%?\s*-\s*(${NUMBER}))?\s?%`, 'gu')
/** 50k, 1.5M. */
export const SCALED = new RegExp(String.raw`(?<![\d.,])(${NUMBER})\s?(k|K|M|bn)(?![\p{L}\d])`, 'gu')
export const DOTTED = /(?<![\d.])v?(\d+(?:\.\d+){2,})(?![\d.])/gi
export const PLAIN = new RegExp(String.raw`(?<![\d.,])(?:${NUMBER})`, 'g')
/** Pictures, and other signs that voices cannot speak. */
export const UNSPEAKABLE = /[\p{Extended_Pictographic}\p{Emoji_Modifier}\p{Cf}\u{FE0F}\u20E3]/gu

/** Units in small letters that are spoken as words even without a number. */
const UNITS_ALONE = ['km', 'kms', 'kg', 'kgs', 'cm', 'mm', 'sqm', 'sqft', 'hrs', 'mins', 'secs', 'kwh']

/** Patterns for the written forms of one language, compiled once. */
export type Patterns = Readonly<
  Record<
    | 'figureDate'
    | 'dayFirst'
    | 'monthFirst'
    | 'monthYear'
    | 'weekdays'
    | 'weekday'
    | 'beside'
    | 'unit'
    | 'perUnit'
    | 'unitAlone'
    | 'after'
    | 'before'
    | 'short'
    | 'code'
    | 'number'
    | 'year'
    | 'counted',
    RegExp
  >
>

export function patternsOf(of: SpokenLanguage, months: readonly string[]): Patterns {
  const month = String.raw`(${longestFirst(months)})(?!\p{L})\.?`
  const weekday = String.raw`(?:\b${WEEKDAY}\.?,?\s+)?`
  const year = String.raw`(?:,?\s+(\d{4})\b(?!\s?(?:[-,]\d|h(?:rs|ours)\b)))?`
  const day = String.raw`(\d{1,2})(?:st|nd|rd|th)?(?:\s*-\s*(\d{1,2})(?:st|nd|rd|th)?)?`
  const units = longestFirst(Object.keys(of.units))
  const behind = (words: readonly string[]): string => String.raw`(?:^|[^\p{L}])(?:${longestFirst(words)})`
  return {
    figureDate: new RegExp(String.raw`(?:\btarehe\s+)?${FIGURE_DATE.source}`, 'gi'),
    dayFirst: new RegExp(
      String.raw`${weekday}(?:\b(?:the|tarehe)\s+)?\b${day}\s+(?:of\s+|ya\s+)?${month}${year}`,
      'giu',
    ),
    monthFirst: new RegExp(
      String.raw`${weekday}\b${month}\s+(?:the\s+)?${day}\b(?![:.,]?\d|\s*[ap]\.?m\b)${year}`,
      'giu',
    ),
    monthYear: new RegExp(String.raw`\b${month},?\s+(\d{4})\b`, 'giu'),
    weekdays: new RegExp(String.raw`\b${WEEKDAY}\.?\s*-\s*${WEEKDAY}\b\.?`, 'giu'),
    weekday: new RegExp(String.raw`\b${WEEKDAY}\.?(?=,?\s+\d)`, 'giu'),
    // A day's short name counts only beside certain words, because "The Sun is out" does not name a weekday.
    beside: new RegExp(
      String.raw`\b${WEEKDAY}\b(?=\s*(?:,|&|:|\b(?:and|or|na|au)\b)\s*${WEEKDAY}\b|:)|(?<=\b(?:${WEEKDAY},?\s*(?:&|\b(?:and|or|na|au)\b)?|on|every|next|last|until|closed|open|kila)\s)${WEEKDAY}\b`,
      'giu',
    ),
    unit: new RegExp(
      String.raw`(?<![\p{L}\d.,])(-)?(\d\/\d|${NUMBER})(?:\s*-\s*(${NUMBER}))?\s?(${units})(?![\p{L}\d/²])\.?(?=$|[\s,;:!?)\]-]|\.)`,
      'giu',
    ),
    perUnit: new RegExp(String.raw`(?:\s*\bper\s|(?<=[\p{L}\d])\s?\/)(${units})(?![\p{L}\d])`, 'giu'),
    unitAlone: new RegExp(
      String.raw`(?<![\p{L}\d])((?:a|one|each|every|kwa|kila)\s)?(${longestFirst(UNITS_ALONE.filter((name) => name in of.units))})(?![\p{L}\d])`,
      'gu',
    ),
    after: new RegExp(
      String.raw`(?<=\p{Lu}[\p{L}'’]+ )(${longestFirst(Object.keys(of.afterNames))})(\.?)(?![\p{L}\d])(?=(.?))`,
      'gu',
    ),
    before: new RegExp(String.raw`(?<![\p{L}\d.])(${longestFirst(Object.keys(of.beforeNames))})\.?(?=\s\p{Lu})`, 'gu'),
    short: new RegExp(
      String.raw`(?<![\p{L}\d.])(${longestFirst(Object.keys(of.abbreviations))})(\.?)(?![\p{L}\d])`,
      'gu',
    ),
    code: new RegExp(
      String.raw`${behind(of.codeWords)}s?(?:\s+(?:number|no|namba|nambari|is|ni|ya|ya ni|id|code))*[\s:.,#]*$`,
      'iu',
    ),
    number: new RegExp(String.raw`${behind(of.numberWords)}\.?(?:\s+(?:is|ni|ya till|ya simu))*[\s:#]*$`, 'iu'),
    year: new RegExp(String.raw`${behind(of.yearWords)}\s+$`, 'iu'),
    counted: new RegExp(String.raw`^\s+(?:${of.countedWords.join('|')})\b`, 'iu'),
  }
}

function longestFirst(words: readonly string[]): string {
  return [...words]
    .sort((a, b) => b.length - a.length)
    .map(escaped)
    .join('|')
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&')
}
