import t from 'tap'
import fc from 'fast-check'
import {
  dialledAtHome,
  digitsOf,
  maskNumber,
  maskNumbersIn,
  normaliseNumber,
  sameNumber,
} from '../../src/sautikit/phone.js'

t.test('a masked number shows country and network, never the subscriber', (t) => {
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

t.test("numbers inside the carrier's words are masked, other figures are not", (t) => {
  t.equal(maskNumbersIn('no route to +254700000001 (code 403) at 12:30'), 'no route to +2547…01 (code 403) at 12:30')
  t.equal(maskNumbersIn('0700 000 001,254700000002'), '070…01,2547…02')
  t.equal(maskNumbersIn('nothing'), 'nothing')
  t.equal(maskNumbersIn('on 2026-11-27, or 2026-99-27'), 'on 2026-11-27, or 20…27')
  t.end()
})

t.test('numbers are the same when their digits are', (t) => {
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

t.test('a number of the home country is known as it is dialled there, whatever else has as many digits', (t) => {
  for (const written of ['0712345678', '0712 345 678', '+254712345678', '254 712 345 678'])
    t.equal(dialledAtHome(written), '0712345678', written)
  for (const written of ['+255754111222', '712345678', '0123', '9876543210', '00712345678901', ''])
    t.equal(dialledAtHome(written), null, written)
  t.end()
})
