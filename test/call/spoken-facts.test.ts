import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { factsIn } from '../../src/call/spoken/spoken-facts.js'
import { KnownFacts } from '../../src/call/tools/known-facts.js'
import { amountIn, digitsIn, numbersIn, plainWords } from '../../src/call/spoken/spoken-numbers.js'
import { datesIn, timesIn } from '../../src/call/spoken/spoken-time.js'
import { anyText } from '../support/any-text.js'

const WEDNESDAY = 3

t.test('spoken numbers are parsed in English and Swahili', async (t) => {
  for (const [words, expected] of [
    ['kumi na tano', '15'],
    ['mia moja kumi na tano', '115'],
    ['elfu moja, na moja', '1001'],
    ['elfu moja, mia mbili na hamsini', '1250'],
    ['elfu kumi na tano, mia tano', '15500'],
    ['laki mbili, elfu hamsini, mia tatu', '250300'],
    ['sita tatu sifuri mbili', '6 3 0 2'],
    ['four moja two saba', '4 1 2 7'],
    ['moja na mbili', '1 2'],
    ['one thousand four hundred and fifty', '1450'],
    ['twelve hundred and five', '1205'],
    ['one hundred twenty five thousand three hundred and one', '125301'],
    ['two million five hundred thousand', '2500000'],
  ] as const)
    t.equal(numbersIn(plainWords(words)).join(' '), expected, words)
})

t.test("facts are found in the agent's words", async (t) => {
  for (const [text, keys] of [
    ['Four one two seven, four one two eight.', ['digits 41274128 4127 4128']],
    ['Your order 4127 costs KSh 1,450.50.', ['digits 4127', 'number 1450.5']],
    ['Order four one two seven comes on Tuesday.', ['digits 4127', 'day 2']],
    ['Orders four one two seven and four one two eight.', ['digits 4127', 'digits 4128']],
    ['One thousand four hundred and fifty shillings and fifty cents.', ['number 1450']],
    ['Ni shilingi elfu moja, mia nne na hamsini, na senti hamsini.', ['number 1450 1000 450']],
    ['It is $5, 50 bob, KES 1.5k, KSh. 1,200/= or 2 million shillings.', [5, 50, 1500, 1200, 2_000_000]],
    ['15% off; asilimia kumi na tano; fifteen percent.', [15, 15, 15]],
    ['Call 0712 345 678, double four one two.', ['digits 0712345678', 'digits 4412']],
    ['It is 1,500, is it not? It is 1,600.', [1600]],
    ['Tomorrow, Friday, at nine; kesho ni Alhamisi.', ['day none']],
    ['Not today, Friday or Monday.', ['day 5', 'day 1']],
    // None of them is one.
    ['One moment, one of our agents has two things for you, at ten past four, 4:30 PM, on the 3rd of May.', []],
    ['Is it four one two seven?', []],
    ['It costs about a thousand shillings, over 500 even. A thousand thanks, 100% sure.', []],
    ['I do not see 1,500 shillings.', []],
    ['Since 2019, on 2026-11-27 from 16:00; 500-800 shillings; one fifty.', []],
    ['Five minutes, twenty two people, saa nane mchana.', []],
  ] as const)
    t.same(
      factsIn(text, WEDNESDAY).map(({ key }) => key),
      keys.map((key) => (typeof key === 'number' ? `number ${key}` : key)),
      text,
    )
  t.same(factsIn('So it is KES 1,500.', null), [{ phrase: 'KES 1,500', endChar: 18, key: 'number 1500' }])
  t.same(factsIn('Tomorrow, Friday.', null), [], 'whose date is not known')
})

t.test('given data supports a fact in any notation', async (t) => {
  for (const [given, said] of [
    [
      '{"order":"SHP-4127","total":1450.5}',
      'Order four one two seven is one thousand four hundred and fifty shillings.',
    ],
    ['{"amountCents":145050}', 'KES 1,450.50.'],
    ['Orders 4127, 5588', 'Four one two seven, five five eight eight.'],
    ['{"plate":"KCA123A"}', 'Plate one two three.'],
    ['{"phone":"+254712345678"}', 'I call you at 0712 345 678, or zero seven one two three four five six seven eight.'],
    ['{"phone":"+254712345678"}', 'The number ends in 678.'],
    ['It is elfu mbili.', 'KES 2,000 then.'],
    ['Two million.', 'It is 2,000,000.'],
    ['{"date":"2026-11-27"}', 'On Friday. Ijumaa.'],
    ['{"at":"2026-11-27T22:00:00Z","total":4127.5}', 'On Saturday, for 4,127.50.'],
    ['Mon-Fri 8-17', 'On Wednesday.'],
    ['Jumatatu hadi Ijumaa', 'Jumatano.'],
    ['We are open daily.', 'On Sunday.'],
    ['{"mon":["08:00-17:00"]}', 'Monday.'],
    ['{"at":"14:00"}', 'At 1400 hours, fourteen hundred.'],
    ['The fee is 50.', 'That is 50 shillings.'],
    ['Two 4 4 shillings.', 'That is KES 244.'],
  ] as const) {
    const known = new KnownFacts()
    t.same(unknown(known, said).length > 0, true, `${said} without it`)
    known.learn(given)
    t.same(unknown(known, said), [], `${given} | ${said}`)
    const again = new KnownFacts()
    again.learn(String(known))
    t.same(unknown(again, said), [], `${String(known)} | ${said}`)
  }
  const known = new KnownFacts()
  for (const words of ['Sita...', 'tatu, sifuri,', 'mbili']) known.learn(words, true)
  t.same(unknown(known, 'Six three zero two.'), [], 'a number over several turns')
  t.same(unknown(known, 'So together 1,500. On Monday. 65%.'), ['1,500', 'Monday', '65%'], 'what nothing says')
})

t.test('the acceptance dialogues state only given facts', async (t) => {
  for (const { given, said } of [
    {
      given: ['Hi, my package still has not come.', '{"order":6302,"left":"Thika","eta":"15:00"}'],
      said: ['Order six three zero two left Thika this morning; it should reach you by three.', 'Anything else?'],
    },
    {
      given: ['Ijumaa, saa nane.', '{"order":6302,"date":"2026-11-27","time":"14:00"}'],
      said: ['Saa nane mchana, two PM?', 'Nimeomba ibadilishwe hadi Ijumaa saa nane mchana.'],
    },
    { given: ['Sita... tatu... sifuri, mbili.', '{"order":"6307"}'], said: ['Sita, tatu, sifuri, saba. Iko njiani.'] },
    {
      given: ['Gas ya six kg ni ngapi?', '{"priceKes":1450.5}'],
      said: ['Ni shilingi elfu moja, mia nne na hamsini, na senti hamsini.', "I don't have that price."],
    },
    { given: ['{"amount":2000}'], said: ['Shilingi elfu mbili kwa simu hii. Nitume ombi?'] },
    {
      given: ['Wanjiru', '{"date":"2026-11-26","free":["09:00","11:30"]}'],
      said: ['Tomorrow, Thursday: nine or half past eleven?', 'Thursday, two in the afternoon.'],
    },
    { given: [], said: ['Ofisi imefungwa, hufungua saa mbili asubuhi. Nimeandika, watakupigia kesho asubuhi.'] },
  ]) {
    const known = new KnownFacts()
    for (const text of given) known.learn(text)
    for (const text of said) t.same(unknown(known, text), [], text)
  }
})

function unknown(known: KnownFacts, text: string): string[] {
  return factsIn(text, WEDNESDAY).flatMap(({ key, phrase }) => (known.knows(key) ? [] : [phrase]))
}

t.test('random text never fails, and its facts are known', async (t) => {
  fc.assert(
    fc.property(
      fc.array(
        fc.constantFrom(
          'elfu',
          'na',
          'two',
          'hundred',
          '4',
          '1,500',
          'KES',
          '%',
          ',',
          '.',
          '?',
          'not',
          'Monday',
          'kesho',
          '\u0301',
          '😀',
          '-',
          '\n',
        ),
      ),
      (pieces) => {
        const text = pieces.join(' ')
        const known = new KnownFacts()
        known.learn(text, true)
        return factsIn(text, 0).every(
          ({ phrase, endChar, key }) =>
            text.slice(0, endChar).endsWith(phrase) && (key === 'day none' || known.knows(key)),
        )
      },
    ),
  )
  const known = new KnownFacts()
  for (let i = 0; i < 20; i++)
    known.learn(Array.from({ length: 1000 }, (_, at) => String(1e6 + i * 1000 + at)).join(' '))
  t.ok(String(known).length < 400_000)
  t.ok(known.knows('number 3'))
})

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

t.test('spoken values are parsed in Swahili, English and mixed', async (t) => {
  const rows = readFileSync('test/call/heard/values.txt', 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('# '))
    .map((line) => line.split('|'))
  t.ok(rows.length > 100, `${rows.length} rows`)
  for (const [said = '', what = '', meaning] of rows) t.equal(MEANINGS[what]?.(said), meaning, `${what}: ${said}`)
})

t.test('random text gives valid times and dates', async () => {
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
        'from',
        'hadi',
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
    fc.property(fc.oneof(words, anyText()), (text) => {
      const times = timesIn(text)
      amountIn(text)
      return (
        times.every((time) => time >= 0 && time < 1440) &&
        datesIn(text, TODAY).every((date) => !Number.isNaN(Date.parse(date)))
      )
    }),
  )
})
