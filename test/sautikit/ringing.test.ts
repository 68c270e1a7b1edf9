import t from 'tap'
import { numberToCall } from '../../src/sautikit/phone.js'
import { RING_WAYS, ringFault } from '../../src/sautikit/ringing.js'
import type { RingWay } from '../../src/sautikit/ringing.js'

const OURS = '+254709000000'
const WAYS = Object.keys(RING_WAYS) as RingWay[]

/** Each is of a range that the issue about rung numbers names, or of libphonenumber's type. */
const COSTLY = [
  ...['+881612345678', '+8816123456789', '+88216123456', '+870773111632', '+883510001234', '+979123456789'],
  ...['+19005551234', '+19002345678', '+449012345678', '+449112345678', '+449812345678', '+448451234567'],
  ...['+448712345678', '+447012345678', '+254900223344', '+254900123456', '+255900123456', '+255840123456'],
  ...['+256901234567', '+33899123456'],
]

t.test('a premium number is never rung', async (t) => {
  for (const way of WAYS)
    for (const number of COSTLY)
      for (const prefixes of [[], [number.slice(0, 3)], ['+1', '+2', '+3', '+4', '+8', '+9']])
        t.match(ringFault(way, number, number, prefixes), /never rung/, `${way} ${number} ${prefixes.join()}`)
})

t.test('a premium range is rung only if named in full', async (t) => {
  for (const [prefix, number] of [
    ['+881', '+8816123456789'],
    ['+870', '+870773111632'],
    ['+1900', '+19005551234'],
    ['+449', '+449012345678'],
    ['+44901', '+449012345678'],
    ['+254900', '+254900223344'],
    ['+33899123456', '+33899123456'],
  ] as const) {
    t.equal(ringFault('call-back', number, OURS, ['+254', prefix]), null, number)
    t.match(ringFault('call-back', number, OURS, [prefix.slice(0, 3)]), /never rung/, 'a part of it names nothing')
  }
  t.match(ringFault('order', '+33899123456', OURS, ['+33899']), /never rung/, 'how far it goes is not known')
})

t.test('without prefixes only the own country is rung', async (t) => {
  const abroad = /another country/
  for (const [ours, to, fault] of [
    [OURS, '+254712345678', null],
    [OURS, '+254202345678', null],
    [OURS, '+254800723253', null],
    [OURS, '+256712345678', abroad],
    [OURS, '+447911123456', abroad],
    ['+12025550100', '+12025550143', null],
    ['+12025550100', '+18095551234', abroad],
    ['+12025550100', '+14165551234', abroad],
    ['+441614960000', '+447911123456', null],
    ['', '+254712345678', null],
    ['agent.alice', '+256712345678', abroad],
  ] as const) {
    const found = ringFault('call-back', to, ours, [])
    if (fault === null) t.equal(found, null, `${ours} ${to}`)
    else t.match(found, fault, `${ours} ${to}`)
  }
  t.equal(ringFault('human', '+256712345678', OURS, []), null, 'a human is named by whoever runs the gateway')
})

t.test('the prefixes replace the own country', async (t) => {
  t.equal(ringFault('campaign', '+256712345678', OURS, ['+254', '+256']), null)
  t.match(ringFault('campaign', '+254712345678', OURS, ['+256']), /allowed: \+256/)
})

t.test('a fault does not contain the number', async (t) => {
  for (const number of [...COSTLY, '+256712345678'])
    for (const prefixes of [[], ['+254']]) t.notMatch(ringFault('order', number, OURS, prefixes) ?? '', number.slice(1))
})

t.test('a premium number is refused in every notation', async (t) => {
  for (const written of ['0900 223344', '+881 612345678', '00 44 9012345678']) {
    const read = numberToCall(written)
    if ('number' in read) t.match(ringFault('call-back', read.number, OURS, []), /./, written)
    else t.match(read.fault, /./)
  }
})
