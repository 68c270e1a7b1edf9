import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { amountIn, digitsIn, numbersIn, plainWords } from '../../src/call/spoken-numbers.js'
import { datesIn, timesIn } from '../../src/call/spoken-time.js'

const TODAY = '2026-11-25'

const clock = (minutes: number): string =>
  `${String(Math.floor(minutes / 60)).padStart(2, '0')}:${String(minutes % 60).padStart(2, '0')}`

const MEANINGS: Readonly<Record<string, (said: string) => string>> = {
  time: (said) => timesIn(said).map(clock).join(' '),
  numbers: (said) => numbersIn(plainWords(said)).join(' '),
  digits: (said) => digitsIn(plainWords(said), 4),
  money: (said) => String(amountIn(said) ?? ''),
  date: (said) => datesIn(said, TODAY).join(' '),
}

t.test('what callers say means what it says, in Swahili, English and both', async (t) => {
  const rows = readFileSync('test/call/heard/values.txt', 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('# '))
    .map((line) => line.split('|'))
  t.ok(rows.length > 100, `${rows.length} rows`)
  for (const [said = '', what = '', meaning] of rows) t.equal(MEANINGS[what]?.(said), meaning, `${what}: ${said}`)
})

t.test('no text makes it fail', async () => {
  const words = fc
    .array(
      fc.constantFrom(
        'saa',
        'nne',
        'kumi',
        'na',
        'moja',
        'kasoro',
        'ten',
        'past',
        'to',
        '10:30',
        'am',
        '5/12',
        'mwezi',
        'wa',
        'tarehe',
        'asubuhi',
        '99',
        'oh',
      ),
      { maxLength: 8 },
    )
    .map((parts) => parts.join(' '))
  fc.assert(
    fc.property(fc.oneof(words, fc.string({ unit: 'binary' })), (text) => {
      const times = timesIn(text)
      amountIn(text)
      return (
        times.every((time) => time >= 0 && time < 1440) &&
        datesIn(text, TODAY).every((date) => !Number.isNaN(Date.parse(date)))
      )
    }),
  )
})
