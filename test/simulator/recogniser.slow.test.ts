import t from 'tap'
import { loadFlite } from '../../src/speech/flite.js'
import { COMMON_STATUSES, type AgentVocabulary } from '../../src/simulator/vocabulary.js'
import { loadRecogniser, soundsLike } from '../../src/simulator/recogniser.js'
import { convertRate, throughPhoneCodec } from '../../src/carrier/line.js'
import { factsIn } from '../../src/simulator/spoken-words.js'

const VOCABULARY: AgentVocabulary = {
  sentences: [
    'Hello, this is the order line. You can ask where your order is, or tell me your order number.',
    '{order}. Is that right?',
    'Order {order} is {status}.',
    'Order {order} is {status} with {courier}, and should reach you {eta}.',
    'I cannot find order {order}.',
    'Is there anything else?',
    'Thank you for calling. Goodbye.',
  ],
  orders: ['4127', '5903', '3056'],
  statuses: COMMON_STATUSES,
  etas: ['today between 4 and 6 PM', 'in three days'],
  others: ['PikiPiki'],
}

const flite = await loadFlite()
const recogniser = await loadRecogniser(VOCABULARY)
t.teardown(() => {
  recogniser.close()
})

/** Recognised words of an agent's sentence over a phone line. */
function overThePhone(text: string): string {
  const speech = flite.speak(text, 'slt')
  const pcm = convertRate(speech.pcm, speech.sampleRateHz, 8000).slice()
  throughPhoneCodec(pcm)
  return recogniser.hear(pcm)
}

void t.test('the right status of the right order is heard', (t) => {
  const heard = overThePhone(
    'Order 4 1 2 7 is out for delivery with PikiPiki, and should reach you today between 4 and 6 PM.',
  )
  t.same(factsIn(heard, VOCABULARY), {
    order: '4127',
    status: 'out_for_delivery',
    eta: 'today between four and six p m',
  })
  t.end()
})

void t.test('wrong orders and statuses are distinguished from right ones', (t) => {
  t.same(factsIn(overThePhone('Order 5 9 0 3 is out for delivery.'), VOCABULARY), {
    order: '5903',
    status: 'out_for_delivery',
    eta: null,
  })
  t.same(factsIn(overThePhone('Order 4 1 2 7 is delayed.'), VOCABULARY), {
    order: '4127',
    status: 'delayed',
    eta: null,
  })
  t.same(factsIn(overThePhone('Order 3 0 5 6 is processing.'), VOCABULARY), {
    order: '3056',
    status: 'processing',
    eta: null,
  })
  const unknown = factsIn(overThePhone('Order 8 0 3 6 is out for delivery.'), VOCABULARY).order
  t.ok(
    unknown !== null && !VOCABULARY.orders.includes(unknown),
    `a number that does not exist is heard as ${unknown} and as none that does`,
  )
  t.end()
})

void t.test('words that the agent never says are not recognised', (t) => {
  for (const text of [
    'The quick brown fox jumps over the lazy dog.',
    'Your internet is slow because the cable was cut this morning.',
  ]) {
    const heard = overThePhone(text)
    t.same(factsIn(heard, VOCABULARY), { order: null, status: null, eta: null }, heard)
  }
  t.equal(recogniser.hear(new Int16Array(8000)), '', 'silence')
  t.equal(recogniser.hear(new Int16Array(100)), '', 'a click')
  t.end()
})

void t.test('the greeting is understood word by word', (t) => {
  t.equal(
    overThePhone('Hello, this is the order line. You can ask where your order is, or tell me your order number.'),
    'hello this is the order line you can ask where your order is or tell me your order number',
  )
  t.end()
})

void t.test('only digits that sound alike are tolerated', (t) => {
  t.ok(soundsLike('4127', '5927'), 'four and five, one and nine')
  t.ok(soundsLike('4127', '4327'), 'one other digit')
  t.notOk(soundsLike('4127', '4328'), 'two other digits')
  t.notOk(soundsLike('4127', '41270'))
  t.end()
})

void t.test('facts are read from words', (t) => {
  const facts = (text: string) => factsIn(text, VOCABULARY)
  t.match(facts('it is on its way back'), { status: 'returned' })
  t.match(facts('four one two eight sorry four one two seven'), { order: '4127' }, 'the last number counts')
  t.match(facts('between four and six'), { order: null })
  t.match(facts('Order 4127 was delivered yesterday'), { order: '4127', status: 'delivered', eta: 'yesterday' })
  t.match(facts('I am sorry'), { order: null, status: null, eta: null })
  t.end()
})
