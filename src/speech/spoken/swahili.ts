import { isWithin } from '../../call/spoken/spoken-time.js'
import { AGREED, AGREED_NUMBERS, sw } from '../../call/words/sw.js'
import { CARDINAL_MAX, wordOf, type ClockTime, type Currency, type Money, type SpokenLanguage } from './language.js'

// Numbers, clock and dates as in Kenya. The multiplier follows its scale (elfu mbili, 2000). The commas are needed:
// "elfu kumi na tano" is 15,000, "elfu kumi, na tano" is 10,005. Three libraries were tried: `to-words` is wrong from
// 21, `n2words` gives two numbers the same text in 1,701 cases, and `Intl` has no Swahili clock.

const UNITS = Array.from({ length: 10 }, (_, value) => wordOf(sw.numbers, value))
const TENS = Array.from({ length: 10 }, (_, ten) => (ten === 0 ? '' : wordOf(sw.numbers, ten * 10)))
/** Scales with their names, the largest first. */
const SCALES: readonly (readonly [number, string])[] = [
  [1e9, 'bilioni'],
  [1e6, 'milioni'],
  [1e5, 'laki'],
  [1e3, 'elfu'],
]

function belowHundred(value: number): string {
  const [ten, rest] = [Math.floor(value / 10), value % 10]
  if (ten === 0) return UNITS[rest] ?? ''
  return `${TENS[ten]}${rest === 0 ? '' : ` na ${UNITS[rest]}`}`
}

function belowThousand(value: number): string {
  const [hundreds, rest] = [Math.floor(value / 100), value % 100]
  if (hundreds === 0) return belowHundred(rest)
  const joined = rest < 10 || rest % 10 === 0 ? ' na ' : ' '
  return `mia ${UNITS[hundreds]}${rest === 0 ? '' : `${joined}${belowHundred(rest)}`}`
}

function cardinal(value: number): string {
  const parts: string[] = []
  let rest = value
  for (const [scale, name] of SCALES) {
    if (rest < scale) continue
    parts.push(`${name} ${belowThousand(Math.floor(rest / scale))}`)
    rest %= scale
  }
  if (parts.length === 0) return belowThousand(rest)
  if (rest > 0) parts.push(rest < 100 ? `na ${belowHundred(rest)}` : belowThousand(rest))
  return parts.join(', ')
}

function ordinal(value: number): string {
  return value === 1 ? 'kwanza' : value === 2 ? 'pili' : cardinal(value)
}

/** A year is spoken without a pause, for example elfu mbili ishirini na sita, or elfu mbili na nane. */
function year(value: number): string {
  return cardinal(value)
    .replace(/, na (?=.* na )/, ' ')
    .replaceAll(',', '')
}

/** Nouns that change the form of their numbers, by class: the plural forms, then the singular forms. */
const CLASSES = (
  [
    [
      'watu|wateja|watoto|wazazi|wanafunzi|wanaume|wanawake|wagonjwa|wafanyakazi|wanachama|wageni|wasafiri',
      'mtu|mteja|mtoto|mzazi|mwanafunzi|mwanamume|mwanamke|mgonjwa|mfanyakazi|mwanachama|mgeni|msafiri',
    ],
    [
      'mizigo|mifuko|miezi|miaka|mikoba|miguu|mitaa|mitungi|mikate',
      'mzigo|mfuko|mwezi|mwaka|mkoba|mguu|mtaa|mtungi|mkate',
    ],
    [
      'maombi|maagizo|maduka|masanduku|makosa|magari|malipo|mayai|matunda',
      'ombi|agizo|duka|sanduku|kosa|gari|yai|tunda',
    ],
    [
      'vifurushi|vitu|viatu|vipande|vitabu|vyumba|viti|vikombe',
      'kifurushi|kitu|kiatu|kipande|kitabu|chumba|kiti|kikombe',
    ],
  ] as const
).map(([nouns, one], index) => ({ nouns, one, units: agreed(AGREED[index] ?? []) }))

function agreed(forms: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(AGREED_NUMBERS.map((unit, index) => [UNITS[unit] ?? '', forms[index] ?? '']))
}

function counted([noun = '', written = '']: readonly (string | undefined)[]): string | null {
  const value = Number(written.replaceAll(',', ''))
  const units = CLASSES.find(({ nouns }) => nouns.split('|').includes(noun.toLowerCase()))?.units
  if (units === undefined || value > CARDINAL_MAX) return null
  return `${noun} ${cardinal(value).replace(/\p{L}+$/u, (last) => (value % 10 === 0 ? last : (units[last] ?? last)))}`
}

/** After a singular noun only the number one is changed, as in "mtoto 1". */
function countedOne([noun = '']: readonly (string | undefined)[]): string | null {
  const units = CLASSES.find(({ one }) => one.split('|').includes(noun.toLowerCase()))?.units
  return units === undefined ? null : `${noun} ${units[UNITS[1] ?? ''] ?? ''}`
}

const PARTS: readonly (readonly [from: number, name: string])[] = [
  [19, 'usiku'],
  [16, 'jioni'],
  [12, 'mchana'],
  [6, 'asubuhi'],
  [4, 'alfajiri'],
  [0, 'usiku'],
]
/**
 * @returns the hour of the day, 0 to 23. If the half of the day is not written, the hour is used as written: 06:00 is
 * in the morning
 */
function hourOfDay({ hour, half }: ClockTime): number {
  if (half === null) return hour % 24
  return (hour % 12) + (half === 'p' ? 12 : 0)
}

function partOf(hour: number): string {
  return PARTS.find(([from]) => hour >= from)?.[1] ?? 'usiku'
}

/** Swahili hours begin at six o'clock, so 07:00 is the first hour of the morning, saa moja. */
function hourAndMinute(hour: number, minute: number): string {
  const named = (minute > 30 ? hour + 7 : hour + 6) % 12
  const said = `saa ${belowHundred(named === 0 ? 12 : named)}`
  if (minute === 0) return said
  if (minute === 15) return `${said} na robo`
  if (minute === 30) return `${said} na nusu`
  if (minute === 45) return `${said} kasorobo`
  return minute < 30
    ? `${said} na dakika ${belowHundred(minute)}`
    : `${said} kasoro dakika ${belowHundred(60 - minute)}`
}

function time(time: ClockTime): string {
  const hour = hourOfDay(time)
  return `${hourAndMinute(hour, time.minute)} ${partOf(hour)}`
}

function timeRange(from: ClockTime, to: ClockTime, joiner: string): string {
  const hour = hourOfDay(from)
  const same = partOf(hour) === partOf(hourOfDay(to))
  return `${same ? hourAndMinute(hour, from.minute) : time(from)} ${joiner} ${time(to)}`
}

function money(currency: Currency, amount: Money): string {
  const { one, cent } = CURRENCIES[currency]
  const { to } = amount
  if (to !== undefined) {
    const first = money(currency, { whole: amount.whole, cents: amount.cents, ...worded(amount) })
    return `${first} hadi ${to.cents === 0 ? (to.inWords ?? cardinal(to.whole)) : money(currency, to)}`
  }
  if (amount.inWords !== undefined) return `${one} ${amount.inWords}`
  const cents = amount.cents === 0 ? '' : `${cent} ${belowHundred(amount.cents)}`
  if (amount.whole === 0 && cents !== '') return cents
  // The noun is repeated before the part below a hundred, because "elfu kumi na tano" would be 15,000.
  const whole = `${one} ${cardinal(amount.whole).replace(/, na (?=[^,]*$)/, `, na ${one} `)}`
  return cents === '' ? whole : `${whole}, na ${cents}`
}

function worded({ inWords }: Money): { readonly inWords?: string } {
  return inWords === undefined ? {} : { inWords }
}

function names(one: string, cent = 'senti') {
  return { one, many: one, cent, cents: cent }
}

const CURRENCIES = {
  KES: names('shilingi'),
  TZS: names('shilingi za Tanzania'),
  UGX: names('shilingi za Uganda'),
  RWF: names('faranga za Rwanda'),
  ETB: names('birr'),
  NGN: names('naira', 'kobo'),
  GHS: names('sedi', 'pesewa'),
  ZAR: names('randi'),
  USD: names('dola'),
  EUR: names('yuro'),
  GBP: names('pauni', 'peni'),
  INR: names('rupia', 'paisa'),
} as const

function unit(name: string): readonly [string, string] {
  return [name, name]
}

/**
 * Text of a time after "saa"; null if it is not a time. "Saa 4 asubuhi" is the fourth Swahili hour, ten o'clock. But
 * "saa 9 asubuhi" is nine o'clock, because the ninth Swahili hour is never in the morning.
 */
function hourWritten([hours = '', minutes, half, part]: readonly (string | undefined)[]): string | null {
  const [hour, minute] = [Number(hours), Number(minutes ?? 0)]
  if (hour > 24 || minute > 59) return null
  if (half !== undefined) return time({ hour, minute, half: half.toLowerCase() === 'a' ? 'a' : 'p' })
  // "Saa 24" means 24 hours, but "saa 18:00" is a time.
  if (hour > 12 || hour === 0) return minutes === undefined ? null : time({ hour, minute, half: null })
  const day = part?.toLowerCase()
  const fits =
    day === undefined
      ? undefined
      : (of: number) => {
          const [from = 0, to = 0] = sw.clock.parts[day] ?? []
          return isWithin(of, from, to)
        }
  const swahili = [(hour + 6) % 24, (hour + 18) % 24]
  const western = [hour % 24, (hour + 12) % 24].find((of) => fits?.(of) === true)
  if (fits !== undefined && !swahili.some(fits) && western !== undefined)
    return `${hourAndMinute(western, minute)} ${day}`
  return `${hourAndMinute((hour + 6) % 12, minute)}${day === undefined ? '' : ` ${day}`}`
}

export const swahili: SpokenLanguage = {
  locale: 'sw-KE',
  digits: UNITS,
  cardinal,
  ordinal,
  year,
  percent: (amount) => `asilimia ${amount}`,
  quantity: (amount, [name]) => {
    if (amount === 'nusu' || amount === 'robo') return `${amount} ${name}`
    return name.includes('#') ? name.replace('#', amount) : `${name} ${amount}`
  },
  money,
  time,
  timeRange,
  date: ({ day, month, year: of, weekday, toDay }) => {
    const days = `tarehe ${day === 1 ? 'mosi' : belowHundred(day)}${toDay === undefined ? '' : ` hadi ${belowHundred(toDay)}`}`
    return `${weekday === null ? '' : `${weekday} `}${days} ${month}${of === null ? '' : ` ${year(of)}`}`
  },
  currencies: CURRENCIES,
  words: {
    point: 'nukta',
    minus: 'hasi',
    plus: 'jumlisha',
    and: 'na',
    or: 'au',
    to: 'hadi',
    at: 'at',
    dot: 'dot',
    dash: 'dash',
    slash: 'slash',
    underscore: 'underscore',
    star: 'nyota',
    hash: 'reli',
    number: 'nambari',
    about: 'karibu',
    times: 'mara #',
    by: 'kwa',
    per: 'kwa',
    allDay: 'saa ishirini na nne, siku saba',
    million: 'milioni',
    billion: 'bilioni',
    fractions: { '1/2': 'nusu', '1/3': 'theluthi moja', '2/3': 'theluthi mbili', '1/4': 'robo', '3/4': 'robo tatu' },
    andHalf: 'na nusu',
  },
  units: {
    km: unit('kilomita'),
    kms: unit('kilomita'),
    m: unit('mita'),
    cm: unit('sentimita'),
    mm: unit('milimita'),
    'm²': unit('mita za mraba'),
    sqm: unit('mita za mraba'),
    ft: unit('futi'),
    // `#` is the amount.
    'km/h': unit('kilomita # kwa saa'),
    kmh: unit('kilomita # kwa saa'),
    kg: unit('kilo'),
    kgs: unit('kilo'),
    g: unit('gramu'),
    gm: unit('gramu'),
    mg: unit('miligramu'),
    l: unit('lita'),
    ltr: unit('lita'),
    ltrs: unit('lita'),
    ml: unit('mililita'),
    kb: unit('kilobaiti'),
    mb: unit('megabaiti'),
    gb: unit('gigabaiti'),
    tb: unit('terabaiti'),
    mbps: unit('megabiti # kwa sekunde'),
    kwh: unit('kilowati saa'),
    kw: unit('kilowati'),
    sec: unit('sekunde'),
    secs: unit('sekunde'),
    min: unit('dakika'),
    mins: unit('dakika'),
    hr: unit('saa'),
    hrs: unit('saa'),
    '°c': unit('nyuzi'),
    '°': unit('nyuzi'),
    pc: unit('kipande'),
    pcs: unit('vipande'),
  },
  beforeNames: {
    Mr: 'Bwana',
    Mrs: 'Bi',
    Ms: 'Bi',
    Bw: 'Bwana',
    Dr: 'Daktari',
    Dkt: 'Daktari',
    Prof: 'Profesa',
    St: 'Mtakatifu',
  },
  afterNames: {
    Rd: 'Road',
    Ave: 'Avenue',
    St: 'Street',
    Hse: 'House',
    Est: 'Estate',
    Bldg: 'Building',
    Ltd: 'Limited',
  },
  abbreviations: {
    'k.m': 'kwa mfano',
    'n.k': 'na kadhalika',
    'e.g': 'kwa mfano',
    'i.e': 'yaani',
    'p.a': 'kwa mwaka',
    etc: 'na kadhalika',
    'S.L.P': 'sanduku la posta',
    approx: 'karibu',
    opp: 'mkabala na',
  },
  codeWords: [
    'agizo', 'oda', 'order', 'akaunti', 'account', 'paybill', 'kumbukumbu', 'msimbo', 'code', 'tiketi', 'ankara', 'risiti',
    'kifurushi', 'mzigo', 'pin', 'kitambulisho',
  ], // prettier-ignore
  numberWords: ['till', 'namba', 'nambari', 'number', 'simu'],
  yearWords: [
    'mwaka', 'tangu', 'hadi', 'kabla', 'baada',
    ...Object.keys(sw.months),
  ], // prettier-ignore
  otherWords: [
    ...['kati', 'ya', 'wa', 'za', 'la', 'cha', 'vya', 'pa', 'masaa', 'km', 'kg'],
    ...CLASSES.flatMap(({ nouns, one }) => `${nouns}|${one}`.split('|')),
  ],
  countedWords: ['watu', 'wateja', 'vipande', 'sekunde', 'dakika', 'siku', 'wiki', 'miezi', 'miaka', 'mara', 'pointi'],
  rules: [
    [
      /\bsaa\s+(\d{1,2})(?:[:.](\d{2}))?(?:\s*([ap])\.?m\b\.?)?(?:\s+(alfajiri|asubuhi|mchana|alasiri|jioni|usiku)\b)?(?![\d%])/gi,
      hourWritten,
    ],
    [
      new RegExp(
        String.raw`\b(${CLASSES.map(({ nouns }) => nouns).join('|')})\s+(\d{1,3}(?:,\d{3})+|\d+)\b(?![.,:/-]?\d)`,
        'giu',
      ),
      counted,
    ],
    [
      new RegExp(String.raw`\b(${CLASSES.map(({ one }) => one).join('|')})\s+1\b(?![.,:/-]?\d|\s?%)`, 'giu'),
      countedOne,
    ],
    // This form is for "ghorofa ya 2", but not for "umbali wa 2 km".
    [
      /\b([ywlz]a|[cp]ha|vya|cha|pa)\s+([12])(?![\d%]|[.,:/-]\d|\s*(?:-|hadi\b|milioni|bilioni|[kKMG][BbMm]?\b|km|kg|cm|mm|ml|[gl]\b|lita|kilo|asilimia|KES|bob))/gu,
      ([joint = '', number]) => `${joint} ${ordinal(Number(number))}`,
    ],
    [
      /(?:\bmiaka\s+ya\s+)?\b((?:19|20)\d0)['’]?s\b|\bmiaka\s+ya\s+((?:19|20)\d0)\b/gi,
      ([short, long]) => `miaka ya ${year(Number(short ?? long))}`,
    ],
    [/(?<!\d\s?)\b(km|kg)\s+(?=\d)(\d+)\b(?![.,:/-]?\d|\s?(?:km|kg))/gi, ([name = '', number]) => `${number}${name}`],
    // "Tarehe 1" without a month. With a month, the rules for dates handle it.
    [/\btarehe\s+(?:1|mosi)\b(?![\d/.-])/gi, () => 'tarehe mosi'],
    // In these phrases the noun or the unit is before the number, as in "shilingi 500" or "dakika 30".
    [/\bshilingi\s+(?=\d)/gi, () => 'KES '],
  ],
}
