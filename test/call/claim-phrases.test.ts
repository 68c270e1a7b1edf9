import fc from 'fast-check'
import t from 'tap'
import { CLAIM_LANGUAGES, PhraseMatcher } from '../../src/call/claim-phrases.js'
import type { ClaimWords } from '../../src/call/words/language.js'
import { TRANSCRIPT_TEXT_CHARS_MAX } from '../../src/call/transcript.js'

const en = CLAIM_LANGUAGES['en'] as ClaimWords
const sw = CLAIM_LANGUAGES['sw'] as ClaimWords
const LISTS = { have: 'i have | ive | we have | i', is: 'is | has been' }

const finds = (phrase: string, text: string, language = en): boolean =>
  new PhraseMatcher([phrase], language, LISTS).find(text).length > 0

t.test('words, alternatives, options, lists and gaps', async (t) => {
  t.ok(finds('cancelled', 'It is CANCELLED.'))
  t.notOk(finds('cancel', 'It is cancelled.'), 'whole words only')
  t.ok(finds('<have> * (opened | put in) [you] * ticket', "Okay, I've just put in the ticket."))
  t.ok(finds('<have> * (opened | put in) [you] * ticket', 'I have opened you a new ticket.'))
  t.notOk(finds('<have> opened ticket', 'I have opened a ticket.'), 'without * nothing is left out')
  t.ok(finds('nime*futa', 'Sawa, nimeshaifuta.', sw))
  t.notOk(finds('nime*futa', 'Sijaifuta.', sw))
  t.notOk(finds('ab*ba', 'aba'), 'its two ends do not overlap')
  t.ok(finds('café', 'cafe\u0301'), 'however an accent is written')
  t.notOk(finds('i * it', 'I one two three four five six seven eight nine it'), 'a gap is short')
  t.same(new PhraseMatcher(['one', 'two'], en).find('Two, one, two.'), [
    { phrase: 1, endChar: 3 },
    { phrase: 0, endChar: 8 },
  ])
})

t.test('offers, questions, conditions and negations are no claims', async (t) => {
  const phrase = '(<have> * (cancelled | opened) | order <is> * cancelled)'
  for (const text of [
    'I can have it cancelled.',
    'I will have cancelled it by then, if you like.',
    'If I had cancelled it, or if I have cancelled it, you get a message.',
    'Once I have cancelled it, you get a message.',
    'When you called, I have cancelled it.',
    'I have not cancelled it.',
    'I have never, ever cancelled it',
    'Your order has not been cancelled.',
    'No order has been cancelled.',
    "I haven't cancelled it.",
    'I was unable to see that your order has been cancelled.',
    'Shall I say that I have cancelled it?',
    'Have I cancelled it?',
    'Is it so that your order has been cancelled, or not?',
    'I have cancelled it?',
    'I have heard that you cancelled it.',
    'I have it here. Cancelled orders are sent back.',
  ])
    t.notOk(finds(phrase, text), text)
  for (const text of [
    'I have cancelled it.',
    'Yes, I have cancelled it, is there anything else?',
    'Your line does not work, so I have opened it.',
    'I cannot see it and I have cancelled it.',
    'I have cancelled it because you did not want it.',
    'Not a problem: I have cancelled it.',
    'Is there anything else? I have cancelled it.',
    'I can confirm that your order has been cancelled.',
    'It was 3.5 kilos: I have cancelled it!',
    'I have cancelled it, if you need anything else just call.',
  ])
    t.ok(finds(phrase, text), text)
  const said = 'nime*futa'
  for (const text of ['Je, nimeifuta?', 'Kama nimeifuta, utapata ujumbe.', 'Si kwamba nimeifuta.', 'Nimeifuta?'])
    t.notOk(finds(said, text, sw), text)
  t.ok(finds(said, 'Sawa, nimeifuta kama ulivyoomba.', sw))
})

t.test('a phrase that cannot be read says why', async (t) => {
  for (const [phrase, why] of [
    ['', /an empty choice/],
    ['(a | b', /a missing \)/],
    ['a ) b', /a \) too many/],
    ['a | ', /an empty choice/],
    ['[a] b', null],
    ['* a', /does not begin with a word/],
    ['[a]', /does not begin with a word/],
    ['a <none>', /<none>, which no list of words is called/],
    ['a, b', /","/],
    ['((((((((a))))))))', /deeper than/],
    [Array.from({ length: 30 }, () => '*').join(' a '), /does not begin|more than 200 words/],
    [`${'(a | b | c | d | e | f | g | h | i | j) '.repeat(9)}`, null],
    [`x ${`[${'a | '.repeat(40)}b] `.repeat(4)}`, null],
  ] as const) {
    if (why === null) t.doesNotThrow(() => new PhraseMatcher([phrase], en, LISTS), phrase)
    else t.throws(() => new PhraseMatcher([phrase], en, LISTS), { name: 'SyntaxError', message: why }, phrase)
  }
})

t.test('the time is linear in the text, also where phrases are made to try everything', async (t) => {
  const phrases = Array.from({ length: 100 }, (_, i) => `a * [a] * (a | a*a | *a) * a * z${i}`)
  const matcher = new PhraseMatcher(phrases, en)
  const longest = 'a '.repeat(TRANSCRIPT_TEXT_CHARS_MAX / 2)
  const took = (text: string): number => {
    const from = process.cpuUsage()
    matcher.find(text)
    const { user, system } = process.cpuUsage(from)
    return (user + system) / 1000
  }
  took(longest)
  // Processor time, and the best of some: what the machine does besides makes none of them shorter.
  const best = (text: string): number => Math.min(...Array.from({ length: 5 }, () => took(text)))
  const [part, whole] = [best(longest.slice(0, longest.length / 8)), best(longest)]
  // Linear is 8, quadratic is 64.
  t.ok(whole < 30 * part, `${whole.toFixed(1)} ms for eight times the text of ${part.toFixed(1)} ms`)
  for (const hostile of [
    '.'.repeat(4000),
    `${'a'.repeat(3999)}!`,
    "a'".repeat(2000),
    '?!'.repeat(2000),
    '- '.repeat(2000),
  ]) {
    const tookMs = best(hostile)
    t.ok(tookMs < 100, `${tookMs} ms for ${hostile.slice(0, 4)}…`)
  }
})

t.test('no text makes it fail, and every match ends within the text', async () => {
  const matcher = new PhraseMatcher(['a * b', 'nime*', '(a | b) [c] d'], en)
  fc.assert(
    fc.property(
      fc.array(
        fc.constantFrom('a', 'b', 'c', 'd', 'not', 'if', 'nimefuta', ',', '.', '?', '\u0301', '😀', "'", '\n', ' '),
      ),
      (pieces) => {
        const text = pieces.join(' ')
        return matcher.find(text).every(({ endChar }) => endChar > 0 && endChar <= text.length)
      },
    ),
  )
})
