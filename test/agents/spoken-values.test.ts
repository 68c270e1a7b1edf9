import fc from 'fast-check'
import t from 'tap'
import { sameAnswer } from '../../src/agents/tools/spoken-values.js'
import type { AnswerRule } from '../../src/agents/tools/spoken-values.js'
import { numbersIn, plainWords } from '../../src/call/spoken/spoken-numbers.js'
import { anyText } from '../support/any-text.js'

const rule = (kind: AnswerRule['kind'], more: Partial<AnswerRule> = {}): AnswerRule => ({
  kind,
  last: null,
  dateOrder: 'dmy',
  ...more,
})
const numbers = (text: string): string => numbersIn(plainWords(text)).join(' ')

t.test('spoken numbers are read in any grouping', async (t) => {
  const cases: [string, string][] = [
    ['seven three eight six', '7 3 8 6'],
    ['seventy-three eighty-six', '73 86'],
    ['nineteen eighty-eight', '19 88'],
    ['double seven oh triple two', '77 0 222'],
    ['two thousand and four', '2004'],
    ['two thousand four', '2004'],
    ['nineteen hundred', '1900'],
    ['it is 73 86, I think', '73 86'],
    ['twenty one', '21'],
    ['twenty, zero one', '20 0 1'],
    ['the 3rd of', '3'],
    ['thirty first', '31'],
    ['no idea', ''],
    ['two thousand and twenty four', '2024'],
  ]
  for (const [text, expected] of cases) t.equal(numbers(text), expected, text)
})

t.test('digits match in any grouping, or only the last ones', async (t) => {
  const last4 = rule('digits', { last: 4 })
  for (const answer of [
    '7386',
    '73 86',
    'seven three eight six',
    'it is 7-3-8-6, I think',
    'seventy three eighty six',
  ]) {
    t.ok(sameAnswer(answer, '23917386', last4), answer)
  }
  for (const answer of ['7385', '386', '17386', '', 'seven', '23917386'])
    t.notOk(sameAnswer(answer, '23917386', last4), answer)
  t.ok(sameAnswer('2391 7386', '23917386', rule('digits')))
  t.notOk(sameAnswer('', '', rule('digits')), 'an empty answer is not accepted')
  fc.assert(
    fc.property(
      fc.stringMatching(/^[0-9]{4}$/),
      fc.stringMatching(/^[0-9]{4}$/),
      (said, right) => sameAnswer([...said].join(' '), right, rule('digits')) === (said === right),
    ),
  )
})

t.test('a date matches in words, figures and keyed digits', async (t) => {
  for (const answer of [
    '17 April 1988',
    'April 17th, 1988',
    'the seventeenth of April nineteen eighty-eight',
    'seventeen april eighty eight',
    '1988-04-17',
    '17/4/1988',
    '17.04.88',
    '17041988',
    '170488',
    'one seven zero four one nine eight eight',
    'seventeen four nineteen eighty eight',
  ])
    t.ok(sameAnswer(answer, '1988-04-17', rule('date')), answer)
  for (const answer of [
    '18 April 1988',
    '17 May 1988',
    '17 April 1989',
    '04/17/1988',
    '17 April',
    'April 1988',
    '4171988',
    '',
  ]) {
    t.notOk(sameAnswer(answer, '1988-04-17', rule('date')), answer)
  }
  t.ok(sameAnswer('04/17/1988', '1988-04-17T00:00:00Z', rule('date', { dateOrder: 'mdy' })))
  t.ok(sameAnswer('nineteen eighty eight', '1988-04-17', rule('year')))
  t.notOk(sameAnswer('eighty eight', '1988-04-17', rule('year')))
})

t.test('names and texts match despite capitals, accents and marks', async (t) => {
  t.ok(sameAnswer('My name is AMINA Odhiambo.', 'Amína Odhiambo', rule('name')))
  t.notOk(sameAnswer('Amina', 'Amina Odhiambo', rule('name')))
  t.ok(sameAnswer('Blue Lagoon!', 'blue lagoon', rule('text')))
  t.notOk(sameAnswer('the blue lagoon', 'blue lagoon', rule('text')))
})

t.test('Swahili is built in, and other languages add words', async (t) => {
  t.ok(sameAnswer('saba tatu nane sita', '23917386', rule('digits', { last: 4 })))
  t.ok(sameAnswer('17 Aprili 1988', '1988-04-17', rule('date')))
  const french = { numbers: { sept: 7, trois: 3, huit: 8, six: 6 }, months: { avril: 4 } }
  t.ok(sameAnswer('sept trois huit six', '23917386', rule('digits', { last: 4 }), french))
  t.ok(sameAnswer('17 avril 1988', '1988-04-17', rule('date'), french))
  t.notOk(sameAnswer('sept trois huit six', '23917386', rule('digits', { last: 4 })))
})

t.test('Swahili and mixed answers match exactly what they say', async (t) => {
  for (const answer of [
    'tarehe kumi na saba Aprili elfu moja mia tisa themanini na nane',
    'tarehe kumi na saba mwezi wa nne elfu moja mia tisa themanini na nane',
    'kumi na saba mwezi wa nne themanini na nane',
    'Aprili kumi na saba, nineteen eighty eight',
    'the seventeenth of April, mwaka wa elfu moja mia tisa themanini na nane',
    'nilizaliwa tarehe 17 mwezi wa 4 mwaka 1988',
    'moja saba sifuri nne moja tisa nane nane',
  ])
    t.ok(sameAnswer(answer, '1988-04-17', rule('date')), answer)
  for (const answer of [
    'tarehe kumi Aprili elfu moja mia tisa themanini na nane',
    'tarehe saba mwezi wa kumi elfu moja mia tisa themanini na nane',
    'tarehe kumi na saba mwezi wa nne',
    'tarehe kumi na saba mwezi wa tatu elfu moja mia tisa themanini na nane',
  ])
    t.notOk(sameAnswer(answer, '1988-04-17', rule('date')), answer)
  const last4 = rule('digits', { last: 4 })
  for (const answer of [
    'saba three nane sita',
    'sabini na tatu themanini na sita',
    'saba tatu nane tano, hapana, sita',
  ])
    t.ok(sameAnswer(answer, '23917386', last4), answer)
  for (const answer of ['saba tatu nane', 'saba tatu nane sita, hapana, tano', 'sita, hapana, saba tatu nane'])
    t.notOk(sameAnswer(answer, '23917386', last4), answer)
  t.ok(sameAnswer('elfu moja mia tisa themanini na nane', '1988-04-17', rule('year')))
})

t.test('no answer makes the comparison throw', async () => {
  fc.assert(
    fc.property(
      anyText(),
      fc.string(),
      fc.constantFrom('digits', 'date', 'year', 'name', 'text'),
      (answer, expected, kind) => typeof sameAnswer(answer, expected, rule(kind)) === 'boolean',
    ),
  )
})
