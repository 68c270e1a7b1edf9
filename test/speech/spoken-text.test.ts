import t from 'tap'
import fc from 'fast-check'
import { cardinal, sentencesOf, spokenForm } from '../../src/speech/spoken-text.js'

const spoken: readonly (readonly [string, string])[] = [
  ['Order 4127 is out.', 'Order four one two seven is out.'],
  ['You have 2 open orders.', 'You have two open orders.'],
  ['Room 12, floor 3.', 'Room twelve, floor three.'],
  ['Code 007.', 'Code zero zero seven.'],
  ['today between 4 and 6 PM.', 'today between four and six P M.'],
  ['at 4:30 p.m. sharp', 'at four thirty P M sharp'],
  ['at 18:05', 'at eighteen oh five'],
  ['at 9:00', "at nine o'clock"],
  ['KES 1,250.50 is due', 'one thousand two hundred fifty shillings and fifty cents is due'],
  ['KES 1 or $5', 'one shilling or five dollars'],
  ['1,250 people', 'one thousand two hundred fifty people'],
  ['3.5 percent, or 5%', 'three point five percent, or five percent'],
  ['on 2026-11-20', 'on November twentieth'],
  ['the 1st, 2nd, 3rd and 21st', 'the first, second, third and twenty first'],
  ['10 GB left', 'ten gigabytes left'],
  ['call +254700000001', 'call plus two five four seven zero zero zero zero zero zero zero one'],
  ['PikiPiki & co', 'Piki Piki and co'],
  ['no *markup* here', 'no markup here'],
]
for (const [written, expected] of spoken) {
  t.test(`"${written}" is spelt out for the voice`, async (t) => {
    t.equal(spokenForm(written), expected)
  })
}

t.test('text is cut into sentences where a reader would pause', async (t) => {
  t.same(sentencesOf('Hello. Is that right?  Yes!'), ['Hello.', 'Is that right?', 'Yes!'])
  t.same(sentencesOf('It costs 3.50 at 4 p.m. today.'), ['It costs 3.50 at 4 p.m. today.'])
  t.same(sentencesOf('Mr. Mwangi called.'), ['Mr. Mwangi called.'])
  t.same(sentencesOf('No end'), ['No end'])
  t.same(sentencesOf(' … \n'), [])
})

t.test('no sentence is long, and no word is lost', async () => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[a-z]{1,12}[,.]?$/), { maxLength: 120 }), (words) => {
      const sentences = sentencesOf(words.join(' '))
      return sentences.every((sentence) => sentence.length <= 160) && sentences.join(' ') === words.join(' ')
    }),
  )
})

t.test('whole numbers are written in words', async (t) => {
  t.equal(cardinal(0), 'zero')
  t.equal(cardinal(115), 'one hundred fifteen')
  t.equal(cardinal(1_000_040), 'one million forty')
  t.equal(cardinal(-5), 'five', 'a sign is not read')
})

t.test('whatever an API answers, the voice gets no digits and no markup', async () => {
  fc.assert(
    fc.property(
      fc.string({ maxLength: 80 }),
      (text) =>
        !/[0-9_*#<>|&]/.test(
          spokenForm(text)
            .normalize('NFKD')
            .replace(/[^\x00-\x7f]/g, ''),
        ),
    ),
  )
})
