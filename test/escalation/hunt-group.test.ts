import fc from 'fast-check'
import t from 'tap'
import { isTimeZone } from '../../src/core/local-time.js'
import { SPAN, isOpen, openHumans, openingOf } from '../../src/escalation/hunt-group.js'
import type { OpeningHours } from '../../src/escalation/hunt-group.js'

const nairobi: OpeningHours = {
  timeZone: 'Africa/Nairobi',
  holidays: ['12-25', '2026-10-20'],
  week: { mon: ['08:00-12:00', '13:00-17:30'], fri: ['20:00-02:00'], sun: ['00:00-24:00'] },
}
const open = (hours: OpeningHours, iso: string) => isOpen(hours, Date.parse(iso))

t.test('opening hours include their first minute but not their end', async (t) => {
  // Monday, 23 November 2026; Nairobi is three hours ahead.
  for (const [time, expected] of [
    ['04:59:59', false],
    ['05:00:00', true],
    ['08:59:59', true],
    ['09:00:00', false],
    ['10:00:00', true],
    ['14:29:59', true],
    ['14:30:00', false],
  ] as const)
    t.equal(open(nairobi, `2026-11-23T${time}Z`), expected, time)
  t.notOk(open(nairobi, '2026-11-24T08:00:00Z'), 'Tuesday has no hours')
})

t.test('a span past midnight belongs to its first day', async (t) => {
  t.notOk(open(nairobi, '2026-11-27T16:59:00Z'), 'Friday, 19:59')
  t.ok(open(nairobi, '2026-11-27T17:00:00Z'), 'Friday, 20:00')
  t.ok(open(nairobi, '2026-11-27T22:59:00Z'), 'Saturday, 01:59')
  t.notOk(open(nairobi, '2026-11-27T23:00:00Z'), 'Saturday, 02:00')
  t.notOk(open(nairobi, '2026-11-26T22:30:00Z'), 'Friday, 01:30: Thursday has no hours')
})

t.test('a holiday has no opening hours', async (t) => {
  const always: OpeningHours = {
    ...nairobi,
    week: { mon: ['00:00-24:00'], tue: ['22:00-06:00'], fri: ['00:00-24:00'] },
  }
  t.notOk(open(always, '2026-12-25T09:00:00Z'), 'Christmas, a Friday')
  t.notOk(open(always, '2028-12-25T09:00:00Z'), 'Christmas, a Monday')
  t.notOk(open(always, '2026-10-20T20:00:00Z'), 'Mashujaa Day, a Tuesday')
  t.notOk(open(always, '2026-10-21T00:00:00Z'), 'and the night that began on it')
  t.ok(open(always, '2027-10-25T09:00:00Z'))
})

t.test("an exception's hours replace the weekday's and the holiday's", async (t) => {
  const shop: OpeningHours = { ...nairobi, exceptions: { '12-25': ['10:00-12:00'], '2026-11-23': [] } }
  t.ok(open(shop, '2026-12-25T07:30:00Z'))
  t.notOk(open(shop, '2026-12-25T18:00:00Z'), 'and not those of its weekday')
  t.notOk(open(shop, '2026-11-23T06:00:00Z'), 'a Monday that is closed')
  t.ok(open(shop, '2026-11-30T06:00:00Z'))
})

t.test('the next opening or closing is computed across clock changes', async (t) => {
  const next = (hours: OpeningHours, iso: string) => {
    const { open, changesAtMs } = openingOf(hours, Date.parse(iso))
    return [open, changesAtMs === null ? null : new Date(changesAtMs).toISOString()]
  }
  t.same(next(nairobi, '2026-11-23T06:00:00Z'), [true, '2026-11-23T09:00:00.000Z'], 'until the break')
  t.same(next(nairobi, '2026-11-23T09:30:30Z'), [false, '2026-11-23T10:00:00.000Z'])
  t.same(next(nairobi, '2026-11-24T06:00:00Z'), [false, '2026-11-27T17:00:00.000Z'], 'Friday evening')
  t.same(next(nairobi, '2026-11-27T18:00:00Z'), [true, '2026-11-27T23:00:00.000Z'], 'past midnight')
  t.same(
    next(nairobi, '2026-12-24T09:00:00Z'),
    [false, '2026-12-26T21:00:00.000Z'],
    'not on the holiday: Sunday, 00:00',
  )
  t.same(next(nairobi, '2026-11-21T21:00:00Z'), [true, '2026-11-22T21:00:00.000Z'], 'a whole day')
  t.same(next({ ...nairobi, week: {} }, '2026-11-23T06:00:00Z'), [false, null])
  const berlin: OpeningHours = { timeZone: 'Europe/Berlin', holidays: [], week: { sun: ['08:00-12:00'] } }
  t.same(
    next(berlin, '2026-03-28T12:00:00Z'),
    [false, '2026-03-29T06:00:00.000Z'],
    'the clock is set forward that night',
  )
  const seconds = fc.integer({ min: Date.parse('2026-01-01') / 1000, max: Date.parse('2028-01-01') / 1000 })
  fc.assert(
    fc.property(seconds, (s) => {
      const { open, changesAtMs } = openingOf(berlin, s * 1000)
      const at = changesAtMs ?? 0
      return at > s * 1000 && isOpen(berlin, at) !== open && isOpen(berlin, at - 1) === open
    }),
    { numRuns: 300 },
  )
})

t.test('the desk opens by local time after a clock change', async (t) => {
  const berlin: OpeningHours = {
    timeZone: 'Europe/Berlin',
    holidays: [],
    week: { sun: ['08:00-12:00'], sat: ['23:00-03:00'] },
  }
  t.ok(open(berlin, '2026-03-29T06:00:00Z'), '08:00 after the change')
  t.notOk(open(berlin, '2026-03-29T05:59:00Z'))
  t.ok(open(berlin, '2026-03-22T07:00:00Z'), '08:00 before it')
  t.ok(open(berlin, '2026-03-29T00:30:00Z'), 'the night of the change')
})

t.test('unknown zones and impossible spans are rejected', async (t) => {
  t.ok(isTimeZone('Africa/Nairobi'))
  t.notOk(isTimeZone('Africa/Wakanda'))
  for (const span of ['08:00-17:00', '00:00-24:00', '22:00-06:00']) t.match(span, SPAN)
  for (const span of ['8:00-17:00', '08:00-25:00', '08:60-09:00', '08:00', '24:00-01:00', '']) t.notMatch(span, SPAN)
})

t.test('exactly one of two complementary desks is open', async () => {
  const days = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const
  const week = (span: string) => Object.fromEntries(days.map((day) => [day, [span]]))
  const zone = fc.constantFrom('Africa/Nairobi', 'Asia/Kolkata', 'Pacific/Auckland', 'UTC')
  fc.assert(
    fc.property(
      zone,
      fc.integer({ min: Date.UTC(2026, 4, 1), max: Date.UTC(2026, 7, 1) }),
      (timeZone, wallMs) =>
        isOpen({ timeZone, holidays: [], week: week('07:30-19:00') }, wallMs) !==
        isOpen({ timeZone, holidays: [], week: week('19:00-07:30') }, wallMs),
    ),
    { numRuns: 300 },
  )
})

t.test('an unknown time zone is never open and never throws [1]', async (t) => {
  const always = ['00:00-24:00']
  const week = { mon: always, tue: always, wed: always, thu: always, fri: always, sat: always, sun: always }
  for (const timeZone of ['Africa/Nowhere', '', 'Africa/Nairobi ', '../etc/passwd', 'undefined']) {
    const hours: OpeningHours = { timeZone, holidays: [], week }
    t.equal(open(hours, '2026-11-23T09:00:00Z'), false, timeZone)
    t.same(
      openHumans({ humans: [{ number: '+254700000001', hours: null }], hours, caller: '' }, Date.now()),
      [],
      timeZone,
    )
    t.same(
      openHumans({ humans: [{ number: '+254700000001', hours }], hours: null, caller: '' }, Date.now()),
      [],
      timeZone,
    )
  }
})
