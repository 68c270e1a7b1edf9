import { en } from '../../call/words/en.js'
import { wordOf, type ClockTime, type Currency, type Money, type SpokenLanguage } from './language.js'

/** English words of the numbers 0 to 19. */
export const ONES: readonly string[] = Array.from({ length: 20 }, (_, value) => wordOf(en.numbers, value))
/** Words of the tens by their first digit; empty for 0 and 1. */
const TENS: readonly string[] = Array.from({ length: 10 }, (_, ten) => (ten < 2 ? '' : wordOf(en.numbers, ten * 10)))
const SCALES: readonly (readonly [number, string])[] = [
  [1e9, 'billion'],
  [1e6, 'million'],
  [1e3, 'thousand'],
]
/** Ordinals that are separate words, by number. All other ordinals are derived from the cardinal. */
const ORDINALS = new Map(
  Object.entries(en.numbers).flatMap(([word, value]) =>
    value < 100 && /(?:st|nd|rd|th)$/.test(word) ? [[value, word] as const] : [],
  ),
)

function belowThousand(value: number): string {
  const [hundreds, rest] = [Math.floor(value / 100), value % 100]
  const tens = rest < 20 ? ONES[rest] : `${TENS[Math.floor(rest / 10)]}${rest % 10 === 0 ? '' : ` ${ONES[rest % 10]}`}`
  if (hundreds === 0) return tens ?? ''
  return `${ONES[hundreds]} hundred${rest === 0 ? '' : ` and ${tens}`}`
}

function cardinal(value: number): string {
  const parts: string[] = []
  let rest = value
  for (const [scale, name] of SCALES) {
    if (rest < scale) continue
    parts.push(`${belowThousand(Math.floor(rest / scale))} ${name}`)
    rest %= scale
  }
  if (parts.length === 0) return belowThousand(rest)
  // "One thousand and five", as it is said in Kenya and Britain.
  if (rest > 0) parts.push(rest < 100 ? `and ${belowThousand(rest)}` : belowThousand(rest))
  return parts.join(' ')
}

function ordinal(value: number): string {
  const words = cardinal(value).split(' ')
  const last = words.pop() ?? ''
  const changed = last.endsWith('y') ? `${last.slice(0, -1)}ieth` : `${last}th`
  return [...words, ORDINALS.get(en.numbers[last] ?? NaN) ?? changed].join(' ')
}

function year(value: number): string {
  const [century, rest] = [Math.floor(value / 100), value % 100]
  if (value % 1000 < 10) return cardinal(value)
  if (rest === 0) return `${cardinal(century)} hundred`
  return `${cardinal(century)} ${rest < 10 ? `oh ${ONES[rest]}` : cardinal(rest)}`
}

/** Decades: "the 1990s", "the 90s". */
function decade([century = '', tens = '']: readonly (string | undefined)[]): string | null {
  if (century === '' && tens === '00') return null
  const words = century === '' ? cardinal(Number(tens)) : year(Number(century + tens))
  return words.endsWith('y') ? `${words.slice(0, -1)}ies` : `${words}s`
}

function withHalf({ hour, half }: ClockTime): { readonly hour: number; readonly half: string } {
  // "18:05" is five past six in the evening; "9:00" may be morning or evening.
  const written = half ?? (hour >= 13 ? (hour === 24 ? 'a' : 'p') : hour === 0 ? 'a' : null)
  return { hour: hour % 12 === 0 ? 12 : hour % 12, half: written === null ? '' : ` ${written.toUpperCase()} M` }
}

function hourAndMinute(time: ClockTime): string {
  const { hour } = withHalf(time)
  const { minute } = time
  return `${ONES[hour]}${minute === 0 ? '' : minute < 10 ? ` oh ${ONES[minute]}` : ` ${cardinal(minute)}`}`
}

function time(time: ClockTime): string {
  const { half } = withHalf(time)
  return `${hourAndMinute(time)}${half === '' && time.minute === 0 ? " o'clock" : half}`
}

function timeRange(from: ClockTime, to: ClockTime, joiner: string): string {
  const same = from.half === null ? withHalf(from).half === withHalf(to).half : from.half === to.half
  if (same || withHalf(from).half === '')
    return `${hourAndMinute(from)} ${joiner} ${withHalf(to).half === '' ? hourAndMinute(to) : time(to)}`
  return `${time(from)} ${joiner} ${time(to)}`
}

function money(currency: Currency, amount: Money): string {
  const { one, many, cent, cents } = CURRENCIES[currency]
  const { to, ...first } = amount
  if (to !== undefined) {
    const last = money(currency, to)
    if (amount.cents > 0) return `${money(currency, first)} to ${last}`
    return `${amount.inWords ?? cardinal(amount.whole)} to ${last}`
  }
  if (amount.inWords !== undefined) return `${amount.inWords} ${many}`
  const small = amount.cents === 0 ? '' : `${cardinal(amount.cents)} ${amount.cents === 1 ? cent : cents}`
  if (amount.whole === 0 && small !== '') return small
  return `${cardinal(amount.whole)} ${amount.whole === 1 ? one : many}${small === '' ? '' : ` and ${small}`}`
}

function names(one: string, many = `${one}s`, cent = 'cent', cents = `${cent}s`) {
  return { one, many, cent, cents }
}

const CURRENCIES = {
  KES: names('shilling'),
  TZS: names('Tanzanian shilling'),
  UGX: names('Ugandan shilling'),
  RWF: names('Rwandan franc'),
  ETB: names('birr', 'birr'),
  NGN: names('naira', 'naira', 'kobo', 'kobo'),
  GHS: names('cedi', 'cedis', 'pesewa'),
  ZAR: names('rand', 'rand'),
  USD: names('dollar'),
  EUR: names('euro'),
  GBP: names('pound', 'pounds', 'penny', 'pence'),
  INR: names('rupee', 'rupees', 'paisa', 'paise'),
} as const

function unit(one: string, many = `${one}s`): readonly [string, string] {
  return [one, many]
}

export const english: SpokenLanguage = {
  locale: 'en-KE',
  digits: ONES.slice(0, 10),
  cardinal,
  ordinal,
  year,
  percent: (amount) => `${amount} percent`,
  quantity: (amount, [one, many], isOne) =>
    amount === 'half'
      ? `half a ${one}`
      : /(?:quarter|third|eighth)s?$/.test(amount)
        ? `${amount} of a ${one}`
        : `${amount} ${isOne ? one : many}`,
  money,
  time,
  timeRange,
  date: ({ day, month, year: of, weekday, toDay, monthFirst }) => {
    const days = `the ${ordinal(day)}${toDay === undefined ? '' : ` to the ${ordinal(toDay)}`}`
    const said = monthFirst === true ? `${month} ${days}` : `${days} of ${month}`
    return `${weekday === null ? '' : `${weekday}, `}${said}${of === null ? '' : `, ${year(of)}`}`
  },
  currencies: CURRENCIES,
  words: {
    point: 'point',
    minus: 'minus',
    plus: 'plus',
    and: 'and',
    or: 'or',
    to: 'to',
    at: 'at',
    dot: 'dot',
    dash: 'dash',
    slash: 'slash',
    underscore: 'underscore',
    star: 'star',
    hash: 'hash',
    number: 'number',
    about: 'about',
    times: '# times',
    by: 'by',
    per: 'per',
    allDay: 'twenty four seven',
    million: 'million',
    billion: 'billion',
    fractions: {
      '1/2': 'half',
      '1/3': 'one third',
      '2/3': 'two thirds',
      '1/4': 'a quarter',
      '3/4': 'three quarters',
      '1/8': 'one eighth',
    },
    andHalf: 'and a half',
  },
  units: {
    km: unit('kilometre'),
    kms: unit('kilometre'),
    m: unit('metre'),
    cm: unit('centimetre'),
    mm: unit('millimetre'),
    'm²': unit('square metre'),
    sqm: unit('square metre'),
    sqft: unit('square foot', 'square feet'),
    ft: unit('foot', 'feet'),
    'km/h': unit('kilometre per hour', 'kilometres per hour'),
    kmh: unit('kilometre per hour', 'kilometres per hour'),
    kg: unit('kilogram'),
    kgs: unit('kilogram'),
    g: unit('gram'),
    gm: unit('gram'),
    mg: unit('milligram'),
    l: unit('litre'),
    ltr: unit('litre'),
    ltrs: unit('litre'),
    ml: unit('millilitre'),
    kb: unit('kilobyte'),
    mb: unit('megabyte'),
    gb: unit('gigabyte'),
    tb: unit('terabyte'),
    kbps: unit('kilobit per second', 'kilobits per second'),
    mbps: unit('megabit per second', 'megabits per second'),
    gbps: unit('gigabit per second', 'gigabits per second'),
    kwh: unit('kilowatt hour'),
    kw: unit('kilowatt'),
    sec: unit('second'),
    secs: unit('second'),
    min: unit('minute'),
    mins: unit('minute'),
    hr: unit('hour'),
    hrs: unit('hour'),
    '°c': unit('degree Celsius', 'degrees Celsius'),
    '°f': unit('degree Fahrenheit', 'degrees Fahrenheit'),
    '°': unit('degree'),
    pc: unit('piece'),
    pcs: unit('piece'),
  },
  beforeNames: {
    Mr: 'Mister',
    Mrs: 'Missus',
    Ms: 'Miz',
    Dr: 'Doctor',
    Prof: 'Professor',
    Eng: 'Engineer',
    Hon: 'Honourable',
    Rev: 'Reverend',
    St: 'Saint',
    Opp: 'opposite',
    opp: 'opposite',
  },
  afterNames: {
    Rd: 'Road',
    Ave: 'Avenue',
    St: 'Street',
    Str: 'Street',
    Ln: 'Lane',
    Dr: 'Drive',
    Blvd: 'Boulevard',
    Hwy: 'Highway',
    Est: 'Estate',
    Hse: 'House',
    Bldg: 'Building',
    Ctr: 'Centre',
    Apts: 'Apartments',
    Ltd: 'Limited',
    Co: 'Company',
    Jr: 'Junior',
  },
  abbreviations: {
    'e.g': 'for example',
    'i.e': 'that is',
    'p.a': 'per annum',
    etc: 'and so on',
    vs: 'versus',
    approx: 'approximately',
    opp: 'opposite',
    incl: 'including',
    excl: 'excluding',
    dept: 'department',
    govt: 'government',
    ext: 'extension',
    'P.O': 'P O',
    'c/o': 'care of',
    'w/': 'with ',
    ASAP: 'as soon as possible',
  },
  rules: [[/\b((?:1[1-9]|2[0-9])?)([0-9]0)['’]?s\b/g, decade]],
  codeWords: [
    'order', 'account', 'acc', 'a/c', 'paybill', 'reference', 'ref', 'code', 'ticket', 'invoice', 'receipt', 'tracking',
    'parcel', 'booking', 'meter', 'policy', 'pin', 'id', 'extension',
  ], // prettier-ignore
  numberWords: ['till', 'number', 'no', 'phone', 'telephone'],
  yearWords: [
    'in', 'since', 'until', 'till', 'by', 'of', 'year', 'from', 'before', 'after', 'during', 'early', 'late',
    ...Object.keys(en.months).slice(0, 12),
  ], // prettier-ignore
  otherWords: ['between', 'flat', 'plot', 'house', 'room', 'unit'],
  countedWords: [
    'people', 'customers', 'orders', 'items', 'pieces', 'units', 'points', 'bundles', 'bags', 'boxes', 'litres',
    'seconds', 'minutes', 'hours', 'days', 'weeks', 'months', 'years', 'times', 'words', 'members', 'shops',
  ], // prettier-ignore
}
