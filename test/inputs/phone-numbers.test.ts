import fc from 'fast-check'
import t from 'tap'
import { openHumans } from '../../src/escalation/hunt-group.js'
import {
  dialledAtHome,
  digitsOf,
  homeCountry,
  isCountry,
  maskNumber,
  maskNumbersIn,
  normaliseNumber,
  numberToCall,
  partyKey,
  sameNumber,
  subscriberNumber,
  useCountry,
} from '../../src/sautikit/phone.js'
import { newSid, post, ringing, startGateway } from '../edge/gateway.js'
import { api, context, json, runner } from '../agents/tool-rig.js'

const WITHHELD = [
  'No Caller ID',
  'numéro masqué',
  '+restricted',
  '"Private" <sip:private@anonymous.invalid>',
  'anonymous.invalid',
  'tel:unavailable',
  '00000',
  '+0',
  '9999999999',
  '+254000000000',
  '7748283', // PRIVATE
  '+7378742833', // RESTRICTED
  '8656696', // UNKNOWN
  '86282452253', // UNAVAILABLE
  '2562533', // BLOCKED
  '+12345',
  '+2547123',
  '+99912345678',
  '+254712345678901234',
  '---',
  'N/A',
]

t.test("a withheld number is empty in every carrier's notation", (t) => {
  for (const raw of WITHHELD) {
    t.equal(normaliseNumber(raw), '', raw)
    t.equal(partyKey(raw), '', raw)
    t.equal(subscriberNumber(raw), null, raw)
    t.notOk(sameNumber(raw, raw), `${raw} is nobody's number`)
  }
  t.equal(normaliseNumber('agent.alice'), 'agent.alice', "a browser's user keeps its name")
  t.equal(normaliseNumber('1042'), '1042', 'an extension keeps its digits')
  t.equal(subscriberNumber('1042'), null, 'but is no subscriber')
  t.end()
})

t.test("a national number is completed by the workspace's country", (t) => {
  t.teardown(() => useCountry('KE'))
  const cases: readonly (readonly [country: string, e164: string, ...spellings: string[]])[] = [
    ['KE', '+254110000001', '0110000001', '110000001', '254110000001', '00254 110 000 001', '+254 (0)110 000 001'],
    ['KE', '+254202222001', '020 222 2001', '+0202222001', '000254202222001'],
    ['KE', '+12025550143', '12025550143', '0012025550143', '+1 (202) 555-0143'],
    ['UG', '+256700000001', '0700 000 001', '256700000001'],
    ['US', '+12025550143', '(202) 555-0143', '1-202-555-0143'],
    ['DE', '+4915123456789', '01512 3456789', '4915123456789'],
    ['DE', '+254700000001', '254700000001', '00254700000001'],
    ['IT', '+390612345678', '06 1234 5678'],
    ['RU', '+79161234567', '8 916 123-45-67'],
  ]
  for (const [country, e164, ...spellings] of cases) {
    useCountry(country)
    for (const spelling of [e164, ...spellings]) {
      t.equal(normaliseNumber(spelling), e164, `${spelling} in ${country}`)
      t.ok(sameNumber(e164, spelling), `${spelling} in ${country} is that number`)
      t.equal(partyKey(spelling), e164.slice(1))
    }
    t.equal(homeCountry(), country)
  }
  t.notOk(isCountry('ZZ'))
  t.throws(() => useCountry('ke'), { message: "'ke' is not a country; allowed: such as KE" })
  t.end()
})

/** The number that is called, or why none is. */
const called = (raw: string): string => {
  const read = numberToCall(raw)
  return 'number' in read ? read.number : read.fault.replace(/[;,].*/, '')
}

t.test('a number damaged by a spreadsheet is repaired or refused', (t) => {
  t.teardown(() => useCountry('KE'))
  const NONE = 'does not exist in its country'
  const BESIDE = 'has something else beside it'
  const cases: readonly (readonly [wanted: string, ...written: string[]])[] = [
    ['+254712345678', '254712345678.0', '254712345678.00', '254712345678,0', '712345678.0', '0712 345 678'],
    ['+254712345678', "'0712345678", '="0712345678"', '"0712345678"', '\u201c+254712345678\u201d', 'tel:+254712345678'],
    [
      '+254712345678',
      '\ufeff0712345678',
      '\u202a+254712345678\u202c',
      '\u200e0712\u200b345678',
      '0712\u00a0345\u202f678',
    ],
    [
      '+254712345678',
      '\uff10\uff17\uff11\uff12\uff13\uff14\uff15\uff16\uff17\uff18',
      '\uff0b254712345678',
      '0712\u2011345678\r\n',
    ],
    [
      '+254712345678',
      '+254 (0)712 345 678',
      '254 0712345678',
      '00254712345678',
      '00254 0712 345 678',
      '+00254712345678',
    ],
    [NONE, '2025550123.0', '07123456789', '071234567', '25471234567', '+2547123456780', '0254712345678', '1042', '+0'],
    [NONE, '254712345678.000', '0722000001 0722000002', '0000712345678', '0812345678', '7125550123'],
    [BESIDE, '0712345678 (2)', '071234567 (8)', '071234567/8', '071234567-8', '0712345678 2', '0712345678\n2'],
    [BESIDE, '2. 0712345678', '4. 0712345678', '4 0712 345 678', '1) 0712345678', '40 - 0712345678', '254712345678.5'],
    [
      'is none',
      '',
      'n/a',
      '0712345678 home',
      '0712345678x2',
      '0712345678, 0722000001',
      '254,712,345,678',
      '0712345678\u00b2',
    ],
    ['a spreadsheet has shortened', '2.54712E+11', '2,54712E+11', '2.54712345678E+11', '3E11'],
  ]
  for (const [wanted, ...written] of cases) for (const raw of written) t.equal(called(raw), wanted, JSON.stringify(raw))
  useCountry('DE')
  t.equal(called('15123456789'), 'can be read as two numbers', 'of Germany, and of Texas')
  t.equal(called('+15123456789'), '+15123456789')
  t.end()
})

t.test('East African neighbour codes reach Kenya, Uganda and Tanzania', (t) => {
  t.teardown(() => useCountry('KE'))
  for (const home of ['KE', 'UG', 'TZ']) {
    useCountry(home)
    for (const [written, number] of [
      ['005 712345678', '+254712345678'],
      ['006 772123456', '+256772123456'],
      ['006 0772 123456', '+256772123456'],
      ['007754111222', '+255754111222'],
      ['000256772123456', '+256772123456'],
      ['000 44 20 7946 0958', '+442079460958'],
      ['0044 20 7946 0958', '+442079460958'],
      ['006256772123456', 'can be read as two numbers'],
      ['0065 6123 4567', 'can be read as two numbers'],
      ['006 77212345', 'does not exist in its country'],
    ] as const) {
      t.equal(called(written), number, `${written} in ${home}`)
      if (number.startsWith('+')) t.ok(sameNumber(written, number), `${written} in ${home} is that number everywhere`)
    }
  }
  useCountry('GB')
  t.equal(called('0065 6123 4567'), '+6561234567', 'elsewhere 00 is followed by the code of the country')
  t.end()
})

t.test('every number range of Kenya, Uganda and Tanzania is callable', (t) => {
  // Mobile and fixed ranges of the regulators (CA, UCC, TCRA), newer ones too.
  const ranges: Readonly<Record<string, readonly string[]>> = {
    '254': ['100', '108', '110', '115', '119', '120', '122', '124', '130', '141', '700', '729', '730', '747', '763', '770', '799', '202', '412', '512', '572', '622'],
    '256': ['700', '703', '709', '712', '720', '726', '729', '730', '740', '752', '760', '769', '772', '789', '790', '799', '200', '204', '207', '312', '392', '393', '414', '417', '434', '464', '485'],
    '255': ['611', '621', '629', '639', '652', '655', '668', '678', '682', '688', '692', '699', '713', '719', '732', '743', '754', '769', '773', '777', '784', '799', '222', '232', '242', '252', '262', '272', '282', '411'],
  } // prettier-ignore
  for (const [code, starts] of Object.entries(ranges))
    for (const start of starts) t.equal(called(`+${code}${start}123456`), `+${code}${start}123456`)
  t.end()
})

t.test('a tool bound to a withheld caller sends no request', async (t) => {
  const shop = await api(t, (_, response) => json(response, { orders: [] }))
  const tools = runner(t, {
    parameters: { properties: { phone: { type: 'string' } }, required: ['phone'] },
    bind: { phone: '{{call.from}}' },
    http: { url: `${shop.url}/api/orders`, query: { phone: '{{args.phone}}' } },
  })
  for (const raw of WITHHELD) {
    const outcome = await tools.run('look_up', { phone: '+254700000009' }, context({ from: normaliseNumber(raw) }))
    t.match(outcome, { ok: false, code: 'TOOL_UNBOUND', value: { error: /withheld.*ask for a number/ } }, raw)
  }
  t.equal(shop.requests.length, 0)
})

t.test("a caller's own number is never rung as the human", async (t) => {
  const humans = ['+254722000001', '+254722000002'].map((number) => ({ number, hours: null }))
  for (const caller of ['0722000001', '254722000001', '+254 722 000 001'])
    t.same(openHumans({ humans, hours: null, caller }, 0), humans.slice(1), caller)
  t.same(openHumans({ humans, hours: null, caller: '' }, 0), humans, 'a withheld caller is nobody')

  const gateway = await startGateway(t)
  gateway.calls.fill()
  const own = { ...ringing(newSid()), callerNumber: '0700000009' }
  const answer = await post(`${gateway.url}/voice/order-status`, { form: own })
  t.match(answer.text, /Too many calls/)
  t.notMatch(answer.text, /<Dial>/)
  t.match(
    (await post(`${gateway.url}/voice/order-status`, { form: own })).text,
    /Too many calls/,
    'nor when it is asked again',
  )
})

t.test('a masked number shows only country and network', (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ['+254700000001', '+2547…01'],
    ['254700000001', '2547…01'],
    ['0700000001', '070…01'],
    ['+1 202 555 0143', '+120…43'],
    ['1234567', '1…67'],
    ['40404', '…'],
    ['', ''],
    ['agent.asha', '…'],
    ['asha254700000001', '…'],
  ]
  for (const [number, masked] of cases) t.equal(maskNumber(number), masked, number)
  fc.assert(
    fc.property(
      fc.stringMatching(/^\+?[0-9]{0,20}$/),
      (number) => digitsOf(maskNumber(number)).length <= digitsOf(number).length / 2,
    ),
  )
  t.end()
})

t.test("numbers in the carrier's words are masked", (t) => {
  t.equal(maskNumbersIn('no route to +254700000001 (code 403) at 12:30'), 'no route to +2547…01 (code 403) at 12:30')
  t.equal(maskNumbersIn('0700 000 001,254700000002'), '070…01,2547…02')
  t.equal(maskNumbersIn('nothing'), 'nothing')
  t.equal(maskNumbersIn('on 2026-11-27, or 2026-99-27'), 'on 2026-11-27, or 20…27')
  t.end()
})

t.test('numbers are equal if their digits are', (t) => {
  for (const spelling of ['254700000001', '+254 700-000-001', '00254700000001', '(254) 700.000.001']) {
    t.ok(sameNumber('+254700000001', spelling), spelling)
  }
  t.notOk(sameNumber('+254700000001', '+254700000002'))
  t.notOk(sameNumber('+254700000001', '00000001'), 'a part is not the whole')
  t.notOk(sameNumber('', ''), 'two withheld numbers are not one caller')
  t.notOk(sameNumber('anonymous', 'withheld'))
  t.end()
})

t.test('normalising twice changes nothing more', (t) => {
  fc.assert(
    fc.property(fc.oneof(fc.stringMatching(/^\+?[0-9 ().-]{0,20}$/), fc.string()), (raw) => {
      const once = normaliseNumber(raw)
      return normaliseNumber(once) === once
    }),
    { numRuns: 1000 },
  )
  t.pass('1,000 spellings')
  t.end()
})

t.test('a home number is shown as it is dialled there', (t) => {
  for (const written of ['0712345678', '0712 345 678', '+254712345678', '254 712 345 678'])
    t.equal(dialledAtHome(written), '0712345678', written)
  for (const written of ['+255754111222', '712345678', '0123', '9876543210', '00712345678901', ''])
    t.equal(dialledAtHome(written), null, written)
  t.end()
})
