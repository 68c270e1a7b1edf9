import fc from 'fast-check'
import { getCountryCallingCode, parsePhoneNumberFromString } from 'libphonenumber-js/max'
import type { CountryCode } from 'libphonenumber-js/max'
import metadata from 'libphonenumber-js/max/metadata'
import t from 'tap'
import { numberToCall } from '../../src/sautikit/phone.js'
import { ringFault } from '../../src/sautikit/ringing.js'

const OURS = '+254709000000'

/** Numbers of special types, and numbers without a type in special ranges. */
const COSTLY = [
  ...['+881612345678', '+8816123456789', '+88216123456', '+870773111632', '+883510001234', '+979123456789'],
  ...['+19005551234', '+19002345678', '+449012345678', '+449112345678', '+449812345678', '+448451234567'],
  ...['+448712345678', '+447012345678', '+254900223344', '+254900123456', '+255900123456', '+255840123456'],
  ...['+256901234567', '+33899123456', '+33836123456', '+3531520123456', '+3531529123456', '+46939123456'],
  ...['+447640123456', '+447699123456', '+254800723253', '+18005550123'],
]

t.test('a premium number is never rung', async (t) => {
  for (const number of COSTLY)
    for (const prefixes of [[], [number.slice(0, 2)], ['+1', '+2', '+3', '+4', '+8', '+9', '+447', '+331', '+2547']])
      t.match(ringFault(number, number, prefixes), /never rung/, `${number} ${prefixes.join()}`)
})

t.test('a premium range is rung only if named in full', async (t) => {
  for (const [prefix, number] of [
    ['+881', '+8816123456789'],
    ['+1900', '+19005551234'],
    ['+449', '+449012345678'],
    ['+44901', '+449012345678'],
    ['+254900', '+254900223344'],
    ['+33899', '+33899123456'],
    ['+33899123456', '+33899123456'],
    ['+3531520123456', '+3531520123456'],
  ] as const) {
    t.equal(ringFault(number, OURS, ['+254', prefix]), null, number)
    t.match(ringFault(number, OURS, [prefix.slice(0, 3)]), /never rung/, 'a part of it names nothing')
  }
  t.match(ringFault('+3531520123456', OURS, ['+353152']), /never rung/, 'lines of Dublin begin so too')
})

/** Types of libphonenumber, in the order of its metadata. */
const TYPES = [
  ...['FIXED_LINE', 'MOBILE', 'TOLL_FREE', 'PREMIUM_RATE', 'PERSONAL_NUMBER', 'VOICEMAIL'],
  ...['UAN', 'PAGER', 'VOIP', 'SHARED_COST'],
]

type Plan = readonly [code: string, ...unknown[]]

/** Numbers of each type of all countries, made from the patterns of the metadata. */
const GENERATED = Object.entries({ ...metadata.countries, ...metadata.nonGeographic } as Record<string, Plan>).flatMap(
  ([country, plan]) =>
    ((plan[11] ?? []) as readonly (0 | readonly [pattern: string])[]).flatMap((type, at) => {
      const pattern = type === 0 ? '' : type[0]
      if (pattern === '') return []
      const made = fc.sample(fc.stringMatching(new RegExp(`^(?:${pattern})$`)), { numRuns: 8, seed: 80 })
      return made.map((national) => ({ country, code: plan[0], type: TYPES[at] ?? '', national }))
    }),
)
const isOrdinary = ({ country, type }: (typeof GENERATED)[number]): boolean =>
  ['FIXED_LINE', 'MOBILE'].includes(type) && /^[A-Z]/.test(country)
const ORDINARY = GENERATED.filter(isOrdinary)

t.test('fixed lines and mobiles of all countries are rung', (t) => {
  t.ok(new Set(ORDINARY.map(({ country }) => country)).size > 230)
  for (const { country, code, national } of ORDINARY) {
    const number = parsePhoneNumberFromString(`+${code}${national}`)
    // A few patterns make numbers that are longer than their plan, or begin with a national prefix.
    if (number?.isValid() !== true) continue
    const fault = ringFault(number.number, '', [`+${getCountryCallingCode(country as CountryCode)}`])
    if (fault !== null) t.fail(`${country} ${number.number} ${fault}`)
  }
  t.end()
})

t.test('no other number of any country is rung', (t) => {
  const special = GENERATED.filter((made) => !isOrdinary(made))
  t.ok(special.length > 4000)
  for (const { country, code, type, national } of special) {
    const ends = fc.sample(fc.stringMatching(/^\d{1,9}$/), { numRuns: 2, seed: 80 })
    // Most of the unassigned numbers beside a special number have no type; some have a length that no number has.
    const beside = [2, 3, 4].flatMap((kept) => ends.map((end) => national.slice(0, kept) + end))
    for (const digits of [national, ...beside]) {
      const number = `+${code}${digits}`
      if (digits !== national && /FIXED|MOBILE/.test(parsePhoneNumberFromString(number)?.getType() ?? '')) continue
      // The code of a satellite network names its whole range.
      const own = /^[A-Z]/.test(country) ? [`+${code}`] : []
      for (const prefixes of [[], [...own, '+1', '+2', '+3', '+4', '+5', '+6', '+7', '+8', '+9']])
        if (!/never rung/.test(ringFault(number, number, prefixes) ?? ''))
          t.fail(`${country} ${type} ${number} ${prefixes.join()}`)
    }
  }
  t.end()
})

t.test('without prefixes only the own country is rung', async (t) => {
  const abroad = /another country/
  for (const [ours, to, fault] of [
    [OURS, '+254712345678', null],
    [OURS, '+254202345678', null],
    [OURS, '+256712345678', abroad],
    [OURS, '+447911123456', abroad],
    ['+12025550100', '+12025550143', null],
    ['+12025550100', '+18095551234', abroad],
    ['+12025550100', '+14165551234', abroad],
    ['+441614960000', '+447911123456', null],
    ['', '+254712345678', null],
    ['agent.alice', '+256712345678', abroad],
  ] as const) {
    const found = ringFault(to, ours, [])
    if (fault === null) t.equal(found, null, `${ours} ${to}`)
    else t.match(found, fault, `${ours} ${to}`)
  }
})

t.test('the prefixes replace the own country', async (t) => {
  t.equal(ringFault('+256712345678', OURS, ['+254', '+256']), null)
  t.match(ringFault('+254712345678', OURS, ['+256']), /allowed: \+256/)
})

t.test('a fault does not contain the number', async (t) => {
  for (const number of [...COSTLY, '+256712345678'])
    for (const prefixes of [[], ['+254']]) t.notMatch(ringFault(number, OURS, prefixes) ?? '', number.slice(1))
})

t.test('a premium number is refused in every notation', async (t) => {
  for (const written of ['0900 223344', '+881 612345678', '00 44 9012345678']) {
    const read = numberToCall(written)
    if ('number' in read) t.match(ringFault(read.number, OURS, []), /./, written)
    else t.match(read.fault, /./)
  }
})
