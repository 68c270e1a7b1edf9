/**
 * Prepares an agent's text for a voice: cuts it into sentences and spells out everything that is not a word. The
 * transcript keeps the text as written.
 *
 * How it is spelt: order and phone numbers (four digits or more without separators, or a leading zero) digit by
 * digit; other numbers as numbers; `KES 1,250.50`, `$5` as amounts; `4:30 PM`, `6 PM`, `18:05` as times;
 * `2026-11-20` as a date; `5%`, `3.5`, `21st`, `10 GB` as spoken; `PikiPiki` as two words. See docs/OFFLINE-AGENT.md.
 */

/** A longer sentence is cut at a comma or a space, so that one job does not block a worker for long. */
const SENTENCE_CHARS_MAX = 160
const ABBREVIATION = /(?:^|\s)(?:mr|mrs|ms|dr|st|no|vs|e\.g|i\.e|a\.m|p\.m)\.$/i

/** The sentences of `text`, trimmed, none empty and none longer than about 160 characters. */
export function sentencesOf(text: string): string[] {
  const sentences: string[] = []
  let start = 0
  const boundary = /[.!?]+["')\]]?(?=\s|$)|\n+/g
  for (let found = boundary.exec(text); found !== null; found = boundary.exec(text)) {
    const end = found.index + found[0].length
    if (ABBREVIATION.test(text.slice(start, end)) && end < text.length) continue
    pushSentence(sentences, text.slice(start, end))
    start = end
  }
  pushSentence(sentences, text.slice(start))
  return sentences
}

function pushSentence(sentences: string[], raw: string): void {
  let rest = raw.trim().replace(/\s+/g, ' ')
  while (rest.length > SENTENCE_CHARS_MAX) {
    const head = rest.slice(0, SENTENCE_CHARS_MAX)
    const comma = Math.max(head.lastIndexOf(', '), head.lastIndexOf('; '))
    const space = head.lastIndexOf(' ')
    // A single word of more than 160 letters is cut inside the word.
    const cut = comma > SENTENCE_CHARS_MAX / 3 ? comma + 1 : space > 0 ? space : SENTENCE_CHARS_MAX
    sentences.push(rest.slice(0, cut).trim())
    rest = rest.slice(cut).trim()
  }
  if (/[\p{L}\p{N}]/u.test(rest)) sentences.push(rest)
}

/**
 * The first word of `text` that the voices do not speak: they read the letters a-z and digits, and ignore accents. The
 * whole text where it holds no word; null when all of it is spoken.
 */
export function unspokenIn(text: string): string | null {
  const words = text.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word))
  if (words.length === 0) return text
  return words.find((word) => !/[a-z0-9]/i.test(spokenForm(word))) ?? null
}

/** English words of the numbers 0 to 19. */
export const ONES: readonly string[] = [
  'zero',
  'one',
  'two',
  'three',
  'four',
  'five',
  'six',
  'seven',
  'eight',
  'nine',
  'ten',
  'eleven',
  'twelve',
  'thirteen',
  'fourteen',
  'fifteen',
  'sixteen',
  'seventeen',
  'eighteen',
  'nineteen',
]
/** English words of the tens, by their first digit; empty for 0 and 1. */
export const TENS: readonly string[] = [
  '',
  '',
  'twenty',
  'thirty',
  'forty',
  'fifty',
  'sixty',
  'seventy',
  'eighty',
  'ninety',
]
const SCALES: readonly (readonly [number, string])[] = [
  [1e9, 'billion'],
  [1e6, 'million'],
  [1e3, 'thousand'],
  [100, 'hundred'],
]
const ORDINALS = new Map([
  ['one', 'first'],
  ['two', 'second'],
  ['three', 'third'],
  ['five', 'fifth'],
  ['eight', 'eighth'],
  ['nine', 'ninth'],
  ['twelve', 'twelfth'],
])
const MONTHS = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
]
const CURRENCIES = new Map<string, readonly [string, string]>([
  ['KES', ['shillings', 'cents']],
  ['KSH', ['shillings', 'cents']],
  ['UGX', ['shillings', 'cents']],
  ['TZS', ['shillings', 'cents']],
  ['NGN', ['naira', 'kobo']],
  ['ZAR', ['rand', 'cents']],
  ['USD', ['dollars', 'cents']],
  ['$', ['dollars', 'cents']],
  ['EUR', ['euros', 'cents']],
  ['€', ['euros', 'cents']],
  ['GBP', ['pounds', 'pence']],
  ['£', ['pounds', 'pence']],
])
const UNITS = new Map([
  ['kb', 'kilobytes'],
  ['mb', 'megabytes'],
  ['gb', 'gigabytes'],
  ['tb', 'terabytes'],
  ['kbps', 'kilobits per second'],
  ['mbps', 'megabits per second'],
  ['gbps', 'gigabits per second'],
  ['km', 'kilometers'],
  ['kg', 'kilograms'],
  ['min', 'minutes'],
])

/** A whole number in words; 0 to 999,999,999,999, else digit by digit. */
export function cardinal(value: number): string {
  if (!Number.isSafeInteger(value) || value < 0 || value >= 1e12) return digitByDigit(String(value))
  if (value < 20) return ONES[value] ?? ''
  if (value < 100) return TENS[Math.floor(value / 10)] + (value % 10 === 0 ? '' : ` ${ONES[value % 10]}`)
  for (const [scale, name] of SCALES) {
    if (value < scale) continue
    const rest = value % scale
    return `${cardinal(Math.floor(value / scale))} ${name}${rest === 0 ? '' : ` ${cardinal(rest)}`}`
  }
  return ''
}

/** `4127` becomes `four one two seven`; anything but digits is left out. */
function digitByDigit(text: string): string {
  return [...text]
    .filter((c) => c >= '0' && c <= '9')
    .map((c) => ONES[Number(c)])
    .join(' ')
}

function ordinal(value: number): string {
  const words = cardinal(value).split(' ')
  const last = words.pop() ?? ''
  words.push(
    ORDINALS.get(last) ??
      (last.endsWith('y') ? `${last.slice(0, -1)}ieth` : last.endsWith('t') ? `${last}h` : `${last}th`),
  )
  return words.join(' ')
}

/** A number as written: grouped, with decimals, or a code that is read digit by digit. */
function spokenNumber(written: string): string {
  const [whole = '', decimals] = written.replaceAll(',', '').split('.')
  const grouped = written.includes(',')
  const code = decimals === undefined && !grouped && (whole.length >= 4 || (whole.length > 1 && whole.startsWith('0')))
  if (code) return digitByDigit(whole)
  return decimals === undefined ? cardinal(Number(whole)) : `${cardinal(Number(whole))} point ${digitByDigit(decimals)}`
}

function spokenAmount(currency: string, written: string): string {
  const [major, minor] = CURRENCIES.get(currency.toUpperCase()) ?? ['', '']
  const [whole = '0', cents] = written.replaceAll(',', '').split('.')
  const amount = Number(whole)
  const name = amount === 1 ? major.replace(/s$/, '') : major
  const small = cents === undefined ? 0 : Number(cents.padEnd(2, '0').slice(0, 2))
  return `${cardinal(amount)} ${name}${small === 0 ? '' : ` and ${cardinal(small)} ${minor}`}`
}

function spokenTime(hours: number, minutes: number, half: string | undefined): string {
  const small =
    minutes === 0 ? (half === undefined ? "o'clock" : '') : minutes < 10 ? `oh ${cardinal(minutes)}` : cardinal(minutes)
  const tail = half === undefined ? '' : ` ${half.charAt(0).toUpperCase()} M`
  return `${cardinal(hours)}${small === '' ? '' : ` ${small}`}${tail}`
}

const NUMBER = String.raw`\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?`
const HALF = String.raw`([ap])(?:\.m\.?|m\b)`
const DATE = /\b(\d{4})-(\d{2})-(\d{2})\b/g
const TIME = new RegExp(String.raw`\b(\d{1,2}):(\d{2})(?::\d{2})?(?:\s*${HALF})?`, 'gi')
const HOUR = new RegExp(String.raw`\b(\d{1,2})\s*${HALF}`, 'gi')
const AMOUNT = new RegExp(String.raw`(?:\b(KES|KSH|UGX|TZS|NGN|ZAR|USD|EUR|GBP)\.?\s*|([$€£]))(${NUMBER})`, 'gi')
const PHONE = /\+\d{6,15}\b/g
const QUANTITY = new RegExp(String.raw`(${NUMBER})\s*(kb|mb|gb|tb|kbps|mbps|gbps|km|kg|min)\b`, 'gi')
const PLAIN = new RegExp(NUMBER, 'g')

/** One sentence with numbers, amounts, times and units spelt out. */
export function spokenForm(sentence: string): string {
  return (
    sentence
      .replace(PHONE, (phone) => `plus ${digitByDigit(phone)}`)
      .replace(DATE, (whole, _year: string, month: string, day: string) => {
        const name = MONTHS[Number(month) - 1]
        return name === undefined ? whole : `${name} ${ordinal(Number(day))}`
      })
      .replace(TIME, (_whole, hours: string, minutes: string, half: string | undefined) =>
        spokenTime(Number(hours), Number(minutes), half),
      )
      .replace(HOUR, (_whole, hours: string, half: string) => spokenTime(Number(hours), 0, half))
      .replace(AMOUNT, (_whole, code: string | undefined, sign: string | undefined, amount: string) =>
        spokenAmount(code ?? sign ?? '', amount),
      )
      .replace(
        QUANTITY,
        (_whole, amount: string, unit: string) => `${spokenNumber(amount)} ${UNITS.get(unit.toLowerCase()) ?? unit}`,
      )
      .replace(/\b(\d{1,2})(?:st|nd|rd|th)\b/gi, (_whole, value: string) => ordinal(Number(value)))
      .replace(new RegExp(`(${NUMBER})\\s*%`, 'g'), (_whole, value: string) => `${spokenNumber(value)} percent`)
      .replace(PLAIN, (written) => ` ${spokenNumber(written)} `)
      // A compound name is pronounced better as separate words.
      .replace(/(\p{Ll})(\p{Lu})/gu, '$1 $2')
      .replaceAll('&', ' and ')
      .replace(/[_*#<>|/\\]/g, ' ')
      .replace(/\s+([.,!?;:])/g, '$1')
      .replace(/\s+/g, ' ')
      .trim()
  )
}
