import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { numbersIn, plainWords } from '../../../src/call/spoken-numbers.js'
import { english } from '../../../src/speech/spoken/english.js'
import { formsMayGoOn, spokenForm, unspokenIn } from '../../../src/speech/spoken/spoken-form.js'
import { swahili } from '../../../src/speech/spoken/swahili.js'

for (const language of ['en', 'sw']) {
  t.test(`what is written is spoken as people say it: ${language}`, async (t) => {
    const rows = readFileSync(`test/speech/spoken/${language}.txt`, 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('# '))
      .map((line) => line.split('|'))
    t.ok(rows.length >= 300, `${rows.length} rows`)
    for (const [written = '', spoken = ''] of rows) t.equal(spokenForm(written, language), spoken, written)
  })
}

t.test('numbers are heard as they are said, and no two are said alike', async (t) => {
  const values = [...Array(21_000).keys(), ...Array.from({ length: 9800 }, (_, index) => 21_000 + index * 101)]
  for (const of of [english, swahili]) {
    t.equal(new Set(values.map((value) => of.cardinal(value))).size, values.length)
    const misheard = values.filter((value) => {
      const said = of.cardinal(value)
      // Only the pause tells 10,005 from 15,000.
      return !said.includes(', na ') && numbersIn(plainWords(said)).join(' ') !== String(value)
    })
    t.same(misheard, [])
  }
})

t.test('whatever a model or an API writes, the voice gets no figures and no marks', async () => {
  const written = fc.oneof(
    fc.string({ maxLength: 60 }),
    fc
      .array(
        fc.constantFrom(
          'KES',
          'saa',
          '4127',
          '1,250.50',
          '-',
          '/',
          'PM',
          ':30',
          '%',
          '+254',
          '😊',
          '*',
          '#',
          'Nov',
          '.',
          '25',
          'k',
          '$',
        ),
        {
          maxLength: 12,
        },
      )
      .map((parts) => parts.join(parts.length % 2 === 0 ? ' ' : '')),
  )
  for (const language of ['en', 'sw'])
    fc.assert(
      fc.property(written, (text) => {
        const spoken = spokenForm(text, language)
        return (
          !/[0-9_*#<>|&$]|undefined|NaN/.test(spoken.normalize('NFKD').replace(/[^\x00-\x7f]/g, '')) &&
          !/\s{2}/.test(spoken)
        )
      }),
      { numRuns: 300 },
    )
})

t.test('a voice of another language gets the figures, and nothing that is unspeakable', async (t) => {
  t.equal(spokenForm('Ça coûte 1 250 € 😊', 'fr'), 'Ça coûte 1 250 €')
  t.equal(spokenForm('**Salut** — 4 h', 'fr-FR'), 'Salut, 4 h')
})

t.test('a flow of words is not cut inside of what is spoken as one', async (t) => {
  for (const [text, ready] of [
    ['You owe KES ', 'You owe '],
    ['You owe KES 1,250 ', 'You owe '],
    ['You owe KES 1,250 today ', 'You owe KES 1,250 today '],
    ['between 4 and 6 ', 'between '],
    ['on Moi ', 'on '],
    ['it is on Moi Ave near ', 'it is on Moi Ave near '],
    ['litafika saa ', 'litafika '],
    ['plain words only ', 'plain words only '],
  ] as const)
    t.equal(text.slice(0, formsMayGoOn(text)), ready, text)
  const long = `${'4127 '.repeat(40)}`
  t.ok(long.length - formsMayGoOn(long) <= 80, 'what waits is bounded')
})

t.test('the embedded voices say which word they cannot speak', async (t) => {
  t.equal(unspokenIn('Hello 5 😊'), null)
  t.equal(unspokenIn('habari ሰላም'), 'ሰላም')
  t.equal(unspokenIn('…'), '…')
})
