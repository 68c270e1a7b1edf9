import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { agentSchema } from '../../../src/agents/file/definition.js'
import { numbersIn, plainWords } from '../../../src/call/spoken/spoken-numbers.js'
import { english } from '../../../src/speech/spoken/english.js'
import { pronounced } from '../../../src/speech/spoken/pronunciations.js'
import { isSpeakable, sentenceEnd, sentencesOf } from '../../../src/speech/spoken/sentences.js'
import { formsMayGoOn, spokenForm, unspokenIn } from '../../../src/speech/spoken/spoken-form.js'
import { swahili } from '../../../src/speech/spoken/swahili.js'
import { carrierSay } from '../../../src/workers/main/call/carrier-say.js'

const STREET = { match: 'Muindi Mbingu', say: 'Moo-in-dee Mbeen-goo' }
const NAME = { match: 'Muindi', say: 'Moo-in-dee' }

const agent = (pronunciations: readonly { match: string; say: string }[]) =>
  agentSchema.safeParse({ version: 1, name: 'a', instructions: 'x', pronunciations })

t.test('names are replaced as whole words, longest first', async (t) => {
  const list = [NAME, STREET, { match: 'G4S (K)', say: 'gee four ess' }, { match: 'Ng’ang’a', say: 'Nganga' }]
  for (const [written, said] of [
    ['On muindi  MBINGU Street.', 'On Moo-in-dee Mbeen-goo Street.'],
    ['Muindi, please: "Muindi"', 'Moo-in-dee, please: "Moo-in-dee"'],
    ['Muindis and Kamuindi', 'Muindis and Kamuindi'],
    ['Ng’ang’a Road', 'Nganga Road'],
    ['nothing of that', 'nothing of that'],
  ] as const)
    t.equal(pronounced(written, list, 'en'), said, written)
  t.equal(pronounced('Muindi says $& and $1', [{ match: 'Muindi', say: '$&' }], 'en'), '$& says $& and $1')
  const english = [
    { match: 'Muindi', say: { en: 'Moo-in-dee' } },
    { match: 'G4S', say: 'gee four ess' },
  ]
  t.equal(pronounced('Muindi, G4S', english, 'en-KE'), 'Moo-in-dee, gee four ess')
  t.equal(pronounced('Muindi, G4S', english, 'sw'), 'Muindi, gee four ess', 'a Swahili voice reads the name itself')
  t.equal(pronounced('Muindi', english.slice(0, 1), 'sw'), 'Muindi')
})

t.test('common words and duplicates are refused as names', async (t) => {
  for (const [match, language] of [
    ['where', 'en'],
    ['City', 'en'],
    ['na', 'sw'],
    ['KESHO', 'sw'],
  ] as const)
    t.match(
      agent([{ match, say: 'x' }]).error?.message,
      new RegExp(`is ${match}, one of the 500 commonest words of ${language}`),
    )
  t.match(agent([NAME, { ...NAME, match: 'muindi' }]).error?.message, /which an earlier entry has/)
  t.match(agent([{ match: '(K)', say: 'kay' }]).error?.message, /must begin and end with a letter or a digit/)
  t.ok(agent([{ match: 'City Market', say: 'sitty market' }, STREET]).success)
})

t.test("the carrier's own voice gets pronunciations and spoken figures", async (t) => {
  const { data } = agent([STREET])
  if (data === undefined) throw new Error('the agent is refused')
  t.equal(carrierSay('Muindi Mbingu Street, KES 50.', data).text, 'Moo-in-dee Mbeen-goo Street, fifty shillings.')
})

t.test("the carrier's voice gets the text's language", async (t) => {
  const line = { say: { language: 'en-KE' }, languages: ['en', 'sw-KE'], pronunciations: [] } as never
  const both = { en: 'KES 50.', sw: 'KES 50.' }
  for (const [phrase, wanted, text, language] of [
    [both, undefined, 'fifty shillings.', 'en-KE'],
    [both, 'sw-KE', 'shilingi hamsini.', 'sw-KE'],
    [both, 'fr', 'fifty shillings.', 'en-KE'],
    [both, 'en-GB', 'fifty shillings.', 'en-KE'],
    [{ en: 'KES 50.' }, 'sw-KE', 'fifty shillings.', 'en-KE'],
    ['KES 50.', 'sw-KE', 'fifty shillings.', 'en-KE'],
    [{ sw: 'KES 50.' }, undefined, 'shilingi hamsini.', 'sw'],
  ] as const)
    t.same(carrierSay(phrase, line, wanted), { verb: 'say', text, language }, JSON.stringify([phrase, wanted]))
})

t.test('text is cut into sentences', async (t) => {
  for (const [text, sentences] of [
    ['Hello. Is that right?  Yes!', ['Hello.', 'Is that right?', 'Yes!']],
    ['It costs 3.50 at 4 p.m. today.', ['It costs 3.50 at 4 p.m. today.']],
    ['We open at 9 a.m. We close at five.', ['We open at 9 a.m.', 'We close at five.']],
    ['Mr. Mwangi called.', ['Mr. Mwangi called.']],
    ['It costs Ksh. 500 only. Fine.', ['It costs Ksh. 500 only.', 'Fine.']],
    ['Bw. Otieno yuko. Asante.', ['Bw. Otieno yuko.', 'Asante.']],
    ['1. Go home. 2. Sleep well.', ['1. Go home.', '2. Sleep well.']],
    ['He said "no." Then left.', ['He said "no."', 'Then left.']],
    ['Line one\nLine two', ['Line one', 'Line two']],
    ['ሰላም። እንዴት ነህ።', ['ሰላም።', 'እንዴት ነህ።']],
    ['您好。今天可以。', ['您好。', '今天可以。']],
    ['आप कैसे हैं। ठीक।', ['आप कैसे हैं।', 'ठीक।']],
    ['هل أنت هناك؟ نعم.', ['هل أنت هناك؟', 'نعم.']],
    ['No end', ['No end']],
    [' … \n 😊 ---', []],
  ] as const)
    t.same(sentencesOf(text), sentences, text)
})

t.test('a streamed sentence ends only at a certain boundary', async (t) => {
  for (const [text, end] of [
    ['It costs Ksh. ', 0],
    ['It costs Ksh. 500. ', 19],
    ['At 9 a.m. ', 0],
    ['At 9 a.m. We', 10],
    ['Sure.', 0],
    ['Sure. ', 6],
    ['1. ', 0],
  ] as const)
    t.equal(sentenceEnd(text), end, text)
})

t.test('sentences are bounded and no word is lost', async () => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[a-z]{1,12}[,.]?$/), { maxLength: 120 }), (words) => {
      const sentences = sentencesOf(words.join(' '))
      return sentences.every((sentence) => sentence.length <= 160) && sentences.join(' ') === words.join(' ')
    }),
  )
})

t.test('only letters and figures can be spoken', async (t) => {
  for (const text of ['😊', '…', '—', '---|---', ' ', '"?"', '👍🏽']) t.notOk(isSpeakable(text), text)
  for (const text of ['ok', '5', 'ሰላም', '1.']) t.ok(isSpeakable(text), text)
})

for (const language of ['en', 'sw']) {
  t.test(`text is written out as spoken: ${language}`, async (t) => {
    const rows = readFileSync(`test/speech/spoken/${language}.txt`, 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('# '))
      .map((line) => line.split('|'))
    t.ok(rows.length >= 300, `${rows.length} rows`)
    for (const [written = '', spoken = ''] of rows) t.equal(spokenForm(written, language), spoken, written)
  })
}

t.test('every spoken number is unique and recognised', async (t) => {
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

t.test('the voice gets words without figures or marks', async () => {
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
          'bn',
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

t.test('a voice of another language gets figures but no marks', async (t) => {
  t.equal(spokenForm('Ça coûte 1 250 € 😊', 'fr'), 'Ça coûte 1 250 €')
  t.equal(spokenForm('**Salut** — 4 h', 'fr-FR'), 'Salut, 4 h')
})

t.test('words spoken as one unit are not cut', async (t) => {
  for (const [text, ready] of [
    ['You owe KES ', 'You owe '],
    ['You owe KES 1,250 ', 'You owe '],
    ['You owe KES 1,250 today ', 'You owe KES 1,250 today '],
    ['come between 4 and 6 ', 'come '],
    ['ghorofa ya ', 'ghorofa '],
    ['nina mtoto ', 'nina '],
    ['on Moi ', 'on '],
    ['it is on Moi Ave near ', 'it is on Moi Ave near '],
    ['litafika saa ', 'litafika '],
    ['plain words only ', 'plain words only '],
  ] as const)
    t.equal(text.slice(0, formsMayGoOn(text)), ready, text)
  const long = `${'4127 '.repeat(40)}`
  t.ok(long.length - formsMayGoOn(long) <= 80, 'what waits is bounded')
})

t.test('the embedded voices report a word they cannot speak', async (t) => {
  t.equal(unspokenIn('Hello 5 😊'), null)
  t.equal(unspokenIn('habari ሰላም'), 'ሰላም')
  t.equal(unspokenIn('…'), '…')
})
