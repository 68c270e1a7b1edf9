import t from 'tap'
import { z } from 'zod'
import { offlineSchema, type OfflineDialogue } from '../../../src/agents/offline/offline.js'
import { DialogueEngine } from '../../../src/backends/embedded/dialogue/engine.js'
import { type AnsweredCall } from '../../../src/backends/embedded/dialogue/dialogue-events.js'
import type { DialogueEvent } from '../../../src/backends/embedded/dialogue/dialogue-events.js'
import type { DialogueState } from '../../../src/backends/embedded/dialogue/dialogue-state.js'
import { DecoderSet } from '../../../src/speech/decoder-set.js'
import { loadFlite } from '../../../src/speech/flite.js'
import { framesOf, overThePhone } from './phone-line.js'
import { isNumberSaid, withFirstDigit, withoutSlips } from '../../../src/backends/embedded/dialogue/heard-digits.js'
import { agentFile, lookUp, ONE_ORDER, ORDER_LINE, STRANGER, TWO_ORDERS } from './order-line.js'

const orderLine = offlineSchema.parse(ORDER_LINE.offline)

interface Driven {
  readonly engine: DialogueEngine
  readonly said: string[]
  readonly calls: string[]
  /** One input: a key, `timeout`, or words. */
  readonly input: (text: string) => string[]
}

function drive(
  options: {
    dialogue?: OfflineDialogue
    from?: string
    resume?: DialogueState
    answered?: AnsweredCall[]
    takeover?: boolean
    language?: string
    tool?: (name: string, args: Readonly<Record<string, unknown>>) => { ok: boolean; value: unknown } | null
  } = {},
): Driven {
  const from = options.from ?? ONE_ORDER
  const tool = options.tool ?? ((name, args) => (name === 'lookup_order' ? { ok: true, value: lookUp(args) } : null))
  const engine = new DialogueEngine({
    dialogue: options.dialogue ?? orderLine,
    values: { caller: { number: from }, greeting: 'Hello.' },
    answered: options.answered ?? [],
    resume: options.resume ?? null,
    today: '2026-11-25',
    ...(options.language === undefined ? {} : { language: options.language }),
  })
  const said: string[] = []
  const calls: string[] = []
  const run = (event: DialogueEvent): void => {
    for (const action of engine.handle(event)) {
      if (action.type === 'say') said.push(action.text)
      if (action.type !== 'call') continue
      calls.push(`${action.name} ${JSON.stringify(action.args)}`)
      const answer = tool(action.name, action.args)
      if (answer !== null) run({ type: 'tool-result', callId: action.callId, ...answer })
    }
  }
  const input = (text: string): string[] => {
    const before = said.length
    if (text === 'timeout') run({ type: 'keys-timeout' })
    else if (/^[0-9*#]$/.test(text)) run({ type: 'key', key: text })
    else run({ type: 'heard', text, by: 'speech', unheard: [] })
    return said.slice(before)
  }
  if (options.resume === undefined) run({ type: 'start', takeover: options.takeover ?? false })
  return { engine, said, calls, input }
}

const callsOf: readonly {
  readonly name: string
  readonly from: string
  readonly inputs: readonly string[]
  readonly says: RegExp
  readonly calls?: RegExp
}[] = [
  {
    name: 'a caller with one open order hears its status without a number',
    from: ONE_ORDER,
    inputs: ['where is my order'],
    says: /4127 is out for delivery\. PikiPiki should be with you today between 4 and 6 PM\. Is there anything else\?$/,
  },
  {
    name: 'a caller with two open orders is asked to choose',
    from: TWO_ORDERS,
    inputs: ['where is my order'],
    says: /2 open orders: 3056 and 8214/,
  },
  {
    name: 'a spoken number is read back',
    from: STRANGER,
    inputs: ['order number four one two seven'],
    says: /^Hello\. Order 4127\. Is that right\?$/,
  },
  {
    name: 'a number is looked up after a yes',
    from: STRANGER,
    inputs: ['four one two seven', 'yes'],
    says: /4127 is out for delivery/,
    calls: /lookup_order \{"orderNumber":"4127"\}$/,
  },
  {
    name: 'a number is not looked up after a no',
    from: STRANGER,
    inputs: ['four one two seven', 'no'],
    says: /say the number once more/,
    calls: /^lookup_order \{"callerNumber":"\+254700000008"\}$/,
  },
  {
    name: 'a keyed number needs no read-back',
    from: STRANGER,
    inputs: ['4', '1', '2', '7'],
    says: /4127 is out for delivery/,
  },
  { name: 'too few keys are requested again', from: STRANGER, inputs: ['4', '1', '#'], says: /did not catch that/ },
  {
    name: 'the star key clears the entry',
    from: STRANGER,
    inputs: ['9', '*', '4', '1', '2', '7'],
    says: /4127 is out for delivery/,
  },
  {
    name: 'after a pause the entered keys are kept',
    from: STRANGER,
    inputs: ['4', '1', 'timeout', '2', '7'],
    says: /^Hello\. 4 1, and then\? Order 4127 is out for delivery/,
  },
  {
    name: 'keys without continuation are forgotten in the end',
    from: STRANGER,
    inputs: ['4', '1', 'timeout', 'timeout', '8', '2', '1', '4'],
    says: /and then\? Sorry, I did not catch that\..*Order 8214 is delayed/,
  },
  {
    name: 'a number may be said in two parts',
    from: STRANGER,
    inputs: ['four one', 'two seven'],
    says: /^Hello\. Order 4127\. Is that right\?$/,
  },
  {
    name: 'a number may be said digit by digit among words',
    from: STRANGER,
    inputs: ['my order number is four', 'one', 'two', 'seven please'],
    says: /^Hello\. Order 4127\. Is that right\?$/,
  },
  {
    name: 'a known number may also be said in parts',
    from: TWO_ORDERS,
    inputs: ['eight two', 'one four'],
    says: /^Hello\. Order 8214\. Is that right\?$/,
  },
  {
    name: 'a caller who stops mid-number hears the kept digits',
    from: STRANGER,
    inputs: ['four one', 'timeout', 'two seven'],
    says: /^Hello\. 4 1, and then\? Order 4127\. Is that right\?$/,
  },
  {
    name: 'a half spoken, half keyed number is read back',
    from: STRANGER,
    inputs: ['four one', '2', '7'],
    says: /^Hello\. Order 4127\. Is that right\?$/,
  },
  {
    name: 'a half keyed, half spoken number is accepted',
    from: STRANGER,
    inputs: ['4', '1', 'two seven'],
    says: /^Hello\. Order 4127\. Is that right\?$/,
  },
  {
    name: 'a zero within the number may be "oh"',
    from: TWO_ORDERS,
    inputs: ['three oh five six'],
    says: /Order 3056\. Is that right/,
  },
  {
    name: 'an "oh" before the number is ignored',
    from: ONE_ORDER,
    inputs: ['oh four one two seven'],
    says: /Order 4127\. Is that right/,
  },
  {
    name: 'zero is a digit after a spoken part',
    from: STRANGER,
    inputs: ['three', '0', '5', '6'],
    says: /Order 3056\. Is that right/,
  },
  {
    name: 'a "no" with other digits replaces the part',
    from: STRANGER,
    inputs: ['four five', 'no four one', 'two seven'],
    says: /^Hello\. Order 4127\. Is that right\?$/,
  },
  {
    name: 'a caller may begin the number again',
    from: STRANGER,
    inputs: ['four one', 'four one two', 'seven'],
    says: /^Hello\. Order 4127\. Is that right\?$/,
  },
  {
    name: 'the whole number may follow a part of it',
    from: STRANGER,
    inputs: ['four one', 'four one two seven'],
    says: /^Hello\. Order 4127\. Is that right\?$/,
  },
  {
    name: 'a number with too many digits is read back',
    from: STRANGER,
    inputs: ['five eight eight one six', 'four one two seven'],
    says: /^Hello\. 5 8 8 1 6 is too many digits\. Sorry, .* Order 4127\. Is that right\?$/,
  },
  {
    name: 'a sound without words keeps the part',
    from: STRANGER,
    inputs: ['four one', '', 'two seven'],
    says: /^Hello\. 4 1, and then\? Order 4127\. Is that right\?$/,
  },
  {
    name: 'too few digits connect the caller to a human',
    from: STRANGER,
    inputs: ['four', ...Array.from({ length: 14 }, () => 'no five'), 'gibberish', 'gibberish'],
    says: /./,
    calls: /escalate_to_human .*understood twice/,
  },
  {
    name: 'a single digit does not answer a yes-no question',
    from: STRANGER,
    inputs: ['four one two seven', 'nine'],
    says: /Is that right\? Sorry\. Is it order 4127\?/,
  },
  {
    name: 'typed digits count as spoken',
    from: STRANGER,
    inputs: ['My order is 4127, please!', 'yes'],
    says: /4127 is out for delivery/,
  },
  {
    name: 'an unknown number is asked for once more',
    from: STRANGER,
    inputs: ['9', '9', '9', '9'],
    says: /cannot find an order 9999/,
  },
  {
    name: 'two unknown numbers lead to a human',
    from: STRANGER,
    inputs: ['9', '9', '9', '9', '8', '8', '8', '8'],
    says: /./,
    calls: /escalate_to_human .*No order was found twice/,
  },
  {
    name: 'two unrecognised answers lead to a human',
    from: ONE_ORDER,
    inputs: ['', 'gibberish'],
    says: /did not catch that/,
    calls: /escalate_to_human .*understood twice/,
  },
  {
    name: 'one unrecognised answer does not lead to a human',
    from: ONE_ORDER,
    inputs: ['gibberish', 'where is my order'],
    says: /4127 is out for delivery/,
  },
  {
    name: 'the zero key leads to a human',
    from: ONE_ORDER,
    inputs: ['0'],
    says: /./,
    calls: /escalate_to_human .*asked for a colleague/,
  },
  {
    name: 'zero within a number is a digit',
    from: STRANGER,
    inputs: ['3', '0', '5', '6'],
    says: /3056 is being prepared/,
  },
  {
    name: 'asking for an agent leads to a human in any state',
    from: STRANGER,
    inputs: ['four one two seven', 'i want to speak to a human'],
    says: /./,
    calls: /escalate_to_human/,
  },
  {
    name: 'a wish to cancel leads to a human',
    from: ONE_ORDER,
    inputs: ['i want to cancel my order'],
    says: /./,
    calls: /escalate_to_human .*change an order/,
  },
  {
    name: 'repeat says the question again',
    from: STRANGER,
    inputs: ['four one two seven', 'repeat that'],
    says: /Is that right\? Order 4127\. Is that right\?$/,
  },
  {
    name: 'help returns to the question',
    from: STRANGER,
    inputs: ['four one two seven', 'help'],
    says: /speak to a colleague\. Order 4127\. Is that right\?$/,
  },
  {
    name: 'a goodbye in mid-dialogue is confirmed first',
    from: ONE_ORDER,
    inputs: ['goodbye'],
    says: /Do you want to end the call\?$/,
    calls: /^(?!.*end_call)/,
  },
  {
    name: 'a goodbye that the caller denies returns to the question',
    from: STRANGER,
    inputs: ['four one two seven', 'bye', 'no'],
    says: /end the call\? Order 4127\. Is that right\?$/,
  },
  {
    name: 'a goodbye at the end ends the call',
    from: ONE_ORDER,
    inputs: ['where is my order', 'goodbye'],
    says: /Goodbye\.$/,
    calls: /end_call/,
  },
  {
    name: 'a caller who needs nothing else ends the call',
    from: ONE_ORDER,
    inputs: ['where is my order', 'no thank you'],
    says: /Goodbye\.$/,
    calls: /end_call/,
  },
  {
    name: 'a delayed order says why and offers a human',
    from: TWO_ORDERS,
    inputs: ['eight two one four', 'yes', 'yes'],
    says: /8214 is delayed\. The reason is that the road is flooded\. It should arrive tomorrow before noon\. Shall I connect you/,
    calls:
      /escalate_to_human \{"reason":"Order 8214 is delayed, and the caller wants to talk about it\.","summary":"Order number: 8214\."\}/,
  },
  {
    name: 'a stranger without a number is asked for it',
    from: STRANGER,
    inputs: ["where's my package"],
    says: /What is your order number\?/,
  },
  {
    name: 'a withheld number starts no look-up',
    from: '',
    inputs: ['where is my order'],
    says: /What is your order number\?/,
    calls: /^$/,
  },
]

for (const { name, from, inputs, says, calls } of callsOf) {
  t.test(name, async (t) => {
    const driven = drive({ from })
    for (const input of inputs) driven.input(input)
    t.match(driven.said.join(' '), says)
    if (calls !== undefined) t.match(driven.calls.join('; '), calls)
  })
}

t.test('typed Swahili is understood in an English dialogue', async (t) => {
  for (const number of [
    'nne moja mbili saba',
    'four moja two saba',
    'arobaini na moja ishirini na saba',
    'elfu nne mia moja ishirini na saba',
    'nne moja mbili tano, hapana, saba',
  ]) {
    const { input, calls } = drive({ from: STRANGER })
    input('hapana')
    input(number)
    input('ndiyo')
    t.ok(calls.includes('lookup_order {"orderNumber":"4127"}'), `${number}: ${calls.join(' ')}`)
  }
  const { input } = drive({ from: STRANGER })
  t.match(input('naomba kuongea na mtu tafadhali').join(' '), /colleague|human/i)
  t.match(input('kwaheri').join(' '), /./)
})

t.test('a dialogue follows the language of the call', async (t) => {
  const { engine, input } = drive()
  t.notMatch(engine.grammar().jsgf, /mzigo/)
  t.match(input('mzigo wangu uko wapi').join(' '), /^Order 4127 is out for delivery/, 'it is told of a change')
  engine.language = 'sw-KE'
  t.match(input('mzigo wangu uko wapi').join(' '), /^Agizo 4127 liko njiani\. .*saa kumi .*Kuna kingine\?$/)
  t.match(input('gibberish'), ['Samahani, sikusikia vizuri. Kuna kingine?'])
  engine.language = 'fr'
  t.same(input('repeat'), ['Kuna kingine?'], 'what was asked is repeated as it was')
  t.match(input('mzigo wangu uko wapi').join(' '), /^Order 4127/, 'the first, where there is none')
})

t.test('a caller with a wrong number gets no order data', async (t) => {
  for (const [language, words, calls] of [
    ['en', 'Is this the clinic?', ''],
    ['sw', 'Hii ni kliniki?', ''],
    ['en', 'Wrong number.', 'end_call'],
    ['sw', 'Nimekosea namba.', 'end_call'],
  ] as const) {
    const line = drive({ from: ONE_ORDER, language })
    // The look-up beside the greeting, for the numbers that the recogniser listens for first.
    const beside = line.calls.splice(0)
    t.match(beside, ['lookup_order {"callerNumber"'], 'the only one')
    const answer = line.input(words).join(' ')
    t.equal(line.calls.map((call) => call.split(' ')[0]).join(' '), calls, words)
    t.match(answer, language === 'en' ? /order line|wrong|problem|bye|day/i : /duka|Hakuna|Kwaheri|siku/i, words)
    t.notMatch(answer, /4127|PikiPiki|njiani|delivery/, `${words}: nothing of the order is said`)
  }
})

t.test("the recogniser listens for the caller's own numbers first", async (t) => {
  const { engine, input } = drive({ from: TWO_ORDERS })
  t.match(
    engine.grammar().jsgf,
    /<order> = \/1\/ \(three \(zero \| oh\) five six \| eight two one four\) \| \/[\d.]+\/ \(three \| three \(zero \| oh\) \| three \(zero \| oh\) five \| eight \|/,
    'whole, and how each begins',
  )
  input('gibberish')
  t.match(engine.grammar().jsgf, /<order> = \/1\/ \(<Digit> <Later> <Later> <Later>\) \|/)
})

t.test('the rest of a partly known number is expected', async (t) => {
  const { engine, input } = drive({ from: TWO_ORDERS })
  input('eight two')
  t.match(engine.grammar().jsgf, /<order> = .*\(one \| one four\);/)
  t.match(engine.grammar().jsgf, /\(no \| sorry \| wait\) \[\(no \| sorry \| wait\)\] <order>/, 'and a correction')
  const other = drive({ from: TWO_ORDERS })
  other.engine.handle({ type: 'key', key: '9' })
  t.match(other.engine.grammar().jsgf, /<order> = <Digit> \[<Later> \[<Later> \[<Later>\]\]\];/)
})

t.test('a checkpoint keeps a part of a number', async (t) => {
  const first = drive({ from: STRANGER })
  first.input('four one')
  const resume = JSON.parse(JSON.stringify(first.engine.snapshot())) as DialogueState
  const second = drive({ from: STRANGER, resume })
  t.match(second.engine.handle({ type: 'nudge' }), [
    { type: 'say', text: '4 1, and then?' },
    { type: 'key-timer', ms: 8000 },
  ])
  t.same(second.input('two seven'), ['Order 4127. Is that right?'])
  const old: DialogueState = { ...resume, keys: '41' }
  delete old.number
  t.same(drive({ from: STRANGER, resume: old }).input('2'), [], 'an older checkpoint has only the keys')
})

t.test('keys before a spoken part are in the transcript once', async (t) => {
  const { engine } = drive({ from: STRANGER })
  const keyed: string[] = []
  const run = (event: DialogueEvent): void => {
    for (const action of engine.handle(event)) if (action.type === 'keyed') keyed.push(action.keys)
  }
  run({ type: 'key', key: '4' })
  run({ type: 'key', key: '1' })
  run({ type: 'heard', text: 'two', by: 'speech', unheard: [] })
  t.same(keyed, ['41'])
  run({ type: 'key', key: '7' })
  t.same(keyed, ['41', '7'])
})

t.test('keys pressed during recognition come after the words', async (t) => {
  const { engine, said } = drive({ from: STRANGER })
  const keyed: string[] = []
  const run = (event: DialogueEvent): void => {
    for (const action of engine.handle(event)) {
      if (action.type === 'keyed') keyed.push(action.keys)
      if (action.type === 'say') said.push(action.text)
    }
  }
  for (const key of '27') run({ type: 'key', key })
  run({ type: 'heard', text: 'four one', by: 'speech', unheard: [], keysAfter: 2 })
  t.equal(said.at(-1), 'Order 4127. Is that right?')
  t.same(keyed, ['27'])
})

t.test('during recognition any part of a known number is expected', async (t) => {
  const { engine } = drive({ from: TWO_ORDERS })
  t.match(engine.grammar(true).jsgf, /\| one four \|/)
  t.notMatch(engine.grammar().jsgf, /\| one four \|/)
})

t.test('too short digits are removed from a too long number', (t) => {
  const heard = (text: string, ...wordMs: number[]): string => withoutSlips(text, wordMs, orderLine.digits, 4)
  t.equal(heard('eight four two one two seven', 130, 390, 80, 350, 310, 670), 'four one two seven')
  t.equal(heard('order two two eight eight seven', 300, 300, 130, 410, 460, 520), 'order two eight eight seven')
  t.equal(
    heard('four two one two seven please', 390, 170, 160, 310, 670, 300),
    'four two two seven please',
    'the shortest',
  )
  const five = 'five eight eight one six'
  t.equal(heard(five, 300, 250, 260, 190, 300), five, 'all were said')
  t.equal(heard(five), five, 'nobody knows how long they were')
  t.equal(heard('four one two', 100, 100, 100), 'four one two', 'a number that is not too long')
  t.end()
})

t.test('digits must fit better if they are spoken faster', (t) => {
  const isSaid = (text: string, fit: number, ...wordMs: number[]): boolean =>
    isNumberSaid(text, fit, wordMs, orderLine.digits)
  t.notOk(isSaid('four seven seven three', 0.83, 330, 330, 330, 330))
  t.ok(isSaid('four seven seven three', 0.85, 330, 330, 330, 330))
  t.ok(isSaid('four seven seven three', 0.8, 500, 500, 500, 500), 'slowly: less will do')
  t.notOk(isSaid('four seven seven three', 0.85, 200, 200, 200, 200), 'fast: more is needed')
  t.notOk(isSaid("it's four seven please", 0.83, 900, 330, 330, 900), 'other words do not make it slower')
  t.ok(isSaid('seven', 0.76, 200), 'a single digit')
  t.ok(isSaid('where is my order', 0.76, 200, 200, 200, 200), 'words')
  t.ok(isSaid('four seven', 0.76), 'nobody knows how long they were')
  t.end()
})

t.test('a date asked for as digits may come in parts', async (t) => {
  const dialogue = structuredClone(orderLine)
  const order = dialogue.slots['order']
  if (order?.type === 'digits') Object.assign(order, { min: 8, max: 8 })
  const { input } = drive({ dialogue, from: STRANGER })
  t.same(['two one', 'zero five', 'no zero six', 'one nine eight'].flatMap(input), [])
  t.same(input('four'), ['Order 21061984. Is that right?'])
})

t.test('a secret number is not read out', async (t) => {
  const dialogue = structuredClone(orderLine)
  const order = dialogue.slots['order']
  if (order?.type === 'digits') order.secret = true
  const { input } = drive({ dialogue, from: STRANGER })
  input('four one')
  t.same(input('timeout'), ['Yes, and then?'])
  t.match(input('two seven nine').join(' '), /^That is too many digits\./)
})

t.test('an unknown number waits shortly for more digits', async (t) => {
  const dialogue = structuredClone(orderLine)
  const order = dialogue.slots['order']
  if (order?.type === 'digits') order.max = 6
  const { engine, input, said } = drive({ dialogue, from: STRANGER })
  const actions = engine.handle({ type: 'heard', text: 'four one two seven', by: 'speech', unheard: [] })
  t.match(actions, [{ type: 'key-timer', ms: 100 }])
  t.same(input('five'), [])
  input('timeout')
  t.equal(said.at(-1), 'Order 41275. Is that right?')
})

t.test('the expected answer follows the question', async (t) => {
  const { engine, input } = drive({ from: STRANGER })
  t.equal(engine.expects, 'digits', 'an order number may come')
  input('four one two seven')
  t.equal(engine.expects, 'yes-no')
  input('yes')
  t.equal(engine.expects, 'digits', 'anything else, another number included')
  input('human')
  t.equal(engine.expects, 'yes-no', 'as the state says')
  const parts = drive({ from: STRANGER })
  parts.input('four one two seven')
  parts.input('eight two')
  t.equal(parts.engine.expects, 'more-digits', 'a number has begun where yes or no was asked')
})

t.test('a first digit recognised alone is kept', (t) => {
  const heard = (text: string, lone: string | null): string => withFirstDigit(text, lone, orderLine.digits, 4)
  t.equal(heard('order one two seven', 'four'), 'four one two seven')
  t.equal(heard('order one two seven', null), 'order one two seven', 'nothing stood alone')
  t.equal(heard('four one two seven', 'four'), 'four one two seven')
  t.equal(heard('nine one two seven', 'five'), 'nine one two seven', 'the digit of the whole number counts')
  t.equal(heard('order four one two seven', 'four'), 'order four one two seven', 'the number is whole without it')
  t.equal(heard('my order', 'four'), 'my order')
  t.equal(heard('order', 'four'), 'order')
  t.equal(heard('', 'four'), '')
  t.end()
})

t.test('a lone digit is distinguished from other single words', async (t) => {
  const { engine, input } = drive({ from: STRANGER })
  const decoders = new DecoderSet(1)
  const flite = await loadFlite()
  const { words } = engine.grammar()
  const jsgf = engine.loneDigitGrammar() ?? ''
  const heard = new Map<string, string>()
  for (const word of ['four', 'five', 'seven', 'eight', 'nine', 'no', 'yes', 'hello', 'sorry']) {
    const lease = await decoders.request(jsgf, words).lease
    for (const frame of framesOf(overThePhone(flite, word, 'rms')))
      lease.decode(Float32Array.from(frame, (value) => value / 32_768))
    heard.set(word, lease.finish().text)
    lease.release()
  }
  for (const [word, text] of heard)
    t.equal(orderLine.digits.includes(text), orderLine.digits.includes(word), `${word} is heard as ${text}`)
  input('four')
  t.equal(engine.loneDigitGrammar(), null, 'the number has begun')
  input('one two seven')
  t.equal(engine.loneDigitGrammar(), null, 'yes or no is asked')
})

t.test('the expected answer follows the recognised words', async (t) => {
  const { engine, input } = drive({ from: STRANGER })
  t.equal(engine.expectsAfter(''), 'digits')
  t.equal(engine.expectsAfter('my order number is four one'), 'more-digits')
  t.equal(engine.expectsAfter('my order number is four one two seven'), 'digits', 'it is whole')
  t.equal(engine.expectsAfter('where is my order'), 'digits', 'no number has begun')
  input('four one')
  t.equal(engine.expectsAfter(''), 'more-digits', 'it has begun')
  t.equal(engine.expectsAfter('two'), 'more-digits')
  t.equal(engine.expectsAfter('two seven'), 'digits', 'with what came before')
  t.equal(engine.expectsAfter('four one two seven'), 'digits', 'all of it once more')
  input('two seven')
  t.equal(engine.expectsAfter('no'), 'yes-no')
  t.equal(engine.expectsAfter('no four one'), 'more-digits', 'another number in place of a yes')
})

t.test('numbers of four to six digits are recognised', async (t) => {
  const dialogue = structuredClone(orderLine)
  const order = dialogue.slots['order']
  if (order?.type === 'digits') order.max = 6
  const { engine, input, said } = drive({ dialogue, from: STRANGER })
  t.match(engine.grammar().jsgf, /<Digit> <Later> <Later> <Later> \[<Later> \[<Later>\]\]/)
  for (const key of ['1', '2', '3', '4']) input(key)
  t.notMatch(said.join(' '), /1234/, 'a fifth key may follow')
  input('#')
  t.match(said.join(' '), /cannot find an order 1234/)
})

t.test('a # after a complete number does not stop speech', async (t) => {
  const { engine, input } = drive({ from: STRANGER })
  for (const key of ['4', '1', '2', '7']) input(key)
  t.same(engine.handle({ type: 'key', key: '#' }), [])
  t.match(JSON.stringify(engine.handle({ type: 'key', key: '0' })), /stop-speaking/, 'any other key does')
})

t.test('a question during the look-up is answered after it', async (t) => {
  const { engine, input, said } = drive({ tool: () => null })
  t.same(input('where is my order'), [], 'nothing to say yet')
  t.ok(engine.waitsFor('offline-1'))
  const says = engine.handle({
    type: 'tool-result',
    callId: 'offline-1',
    ok: true,
    value: lookUp({ callerNumber: ONE_ORDER }),
  })
  t.match(JSON.stringify(says), /4127 is out for delivery/)
  t.equal(said.length, 1, 'only the greeting before')
})

t.test('a caller may ask for a human during a look-up', async (t) => {
  const { calls, input } = drive({ tool: () => null })
  input('where is my order')
  input('i want to speak to a human')
  t.match(calls.join('; '), /escalate_to_human/)
})

t.test('an uncertain single word is confirmed', async (t) => {
  const { engine, calls, input } = drive({ tool: () => null })
  input('where is my order')
  t.same(input('agent'), ['Shall I connect you to a colleague?'])
  t.notMatch(calls.join('; '), /escalate_to_human/)
  t.same(input('no'), [], 'the look-up is waited for as before')
  const says = engine.handle({
    type: 'tool-result',
    callId: 'offline-1',
    ok: true,
    value: lookUp({ callerNumber: ONE_ORDER }),
  })
  t.match(JSON.stringify(says), /4127 is out for delivery/)

  const answered = drive({ tool: () => null })
  answered.input('where is my order')
  answered.input('human')
  answered.engine.handle({
    type: 'tool-result',
    callId: 'offline-1',
    ok: true,
    value: lookUp({ callerNumber: ONE_ORDER }),
  })
  t.match(answered.input('no').join(' '), /4127 is out for delivery/, 'the answer came during the question')

  const unsure = drive({ from: STRANGER })
  unsure.engine.handle({ type: 'heard', text: 'let me speak to the operator', by: 'speech', unheard: [], sure: false })
  t.equal(
    unsure.engine.snapshot().place.state,
    'confirm-human',
    'a whole sentence that fits the sound badly is confirmed, too',
  )

  const meant = drive({ from: STRANGER })
  meant.input('representative')
  meant.input('yes')
  t.match(meant.calls.join('; '), /escalate_to_human/)
})

t.test('a failed look-up is tried again, then escalated', async (t) => {
  const { calls, said, input } = drive({
    from: STRANGER,
    tool: (_name, args) => ({ ok: false, value: { error: 'timeout', args } }),
  })
  for (const key of '4127') input(key)
  t.match(said.join(' '), /trying again/)
  t.equal(calls.filter((call) => call.includes('"orderNumber"')).length, 2)
  t.match(calls.join('; '), /escalate_to_human .*could not be reached/)
})

t.test('the dialogue continues if no human is free', async (t) => {
  const { said, input } = drive({
    tool: (name, args) => (name === 'lookup_order' ? { ok: true, value: lookUp(args) } : { ok: false, value: {} }),
  })
  input('0')
  t.match(said.join(' '), /anything else I can do\?/)
  t.match(input('where is my order').join(' '), /4127/)
})

t.test('a caller who speaks during the goodbye is answered', async (t) => {
  const { input } = drive({
    tool: (name, args) => (name === 'lookup_order' ? { ok: true, value: lookUp(args) } : { ok: false, value: {} }),
  })
  input('where is my order')
  input('no')
  t.match(input('four one two seven').join(' '), /Order 4127\. Is that right/)
})

t.test('sentences interrupted by a sound without words are repeated', async (t) => {
  const { engine, input } = drive()
  input('where is my order')
  const says = engine.handle({ type: 'heard', text: '', by: 'speech', unheard: ['Is there anything else?'] })
  t.same(
    says.map((action) => action.type === 'say' && action.text),
    ['Sorry, I did not catch that.', 'Is there anything else?'],
  )
})

t.test('a dialogue continues in a new engine after each input', async (t) => {
  const inputs = ['where is my order', 'three zero five six', 'yes', 'no', 'x']
  const straight = drive({ from: TWO_ORDERS })
  let moved = drive({ from: TWO_ORDERS })
  for (const input of inputs) {
    const resume = JSON.parse(JSON.stringify(moved.engine.snapshot())) as DialogueState
    moved = drive({ from: TWO_ORDERS, resume })
    t.same(moved.input(input), straight.input(input), input)
  }
})

t.test('a look-up lost with a worker is repeated once', async (t) => {
  const first = drive({ tool: () => null })
  const second = drive({ resume: first.engine.snapshot(), tool: () => null })
  const lost = { type: 'tool-result', callId: 'offline-1', ok: false, value: {} } as const
  const again = { type: 'call', callId: 'offline-2', name: 'lookup_order' }
  t.match(second.engine.handle(lost), [{ ...again, background: true }], 'nobody has asked for it yet')
  t.same(second.engine.handle({ ...lost, callId: 'offline-2' }), [])
  const waiting = drive({ resume: first.engine.snapshot(), tool: () => null })
  waiting.input('where is my order')
  t.match(waiting.engine.handle(lost), [{ ...again, background: false }], 'the caller waits for it')
})

t.test('a look-up made by another backend is not repeated', async (t) => {
  const args = { callerNumber: ONE_ORDER }
  const { calls, input, said } = drive({
    takeover: true,
    answered: [{ name: 'lookup_order', args, ok: true, result: lookUp(args) }],
  })
  t.match(said.join(' '), /line had a problem/)
  t.same(calls, [])
  t.match(input('where is my order').join(' '), /4127/)
})

t.test("a placeholder in a tool's value is not spoken [1]", async (t) => {
  const dialogue = offlineSchema.parse({
    version: 1,
    intents: { bye: { phrases: ['goodbye'] } },
    on: { bye: 'end' },
    retry: 'Say goodbye.',
    missed: 'end',
    start: 'ask',
    maps: { fees: { none: 'no fee' } },
    states: {
      ask: {
        steps: [
          { call: { tool: 'lookup_order', args: {}, save: 'order' } },
          {
            say: 'It comes {{order.eta | default:soon}} with {{order.rider}}. {{order.fee | map:fees}}, {{order.fee}}.',
          },
          { when: { exists: 'order.rider' }, say: 'Your rider is on the way.' },
          { say: 'Items: {{order.items[].name | list}}. You said {{slots.wish}}.' },
          { listen: {} },
        ],
      },
      end: { steps: [{ stop: true }] },
    },
  })
  const order = { eta: '#REF!', rider: 'N/A', fee: 'none', items: [{ name: 'shoes' }, { name: '########' }] }
  const { said } = drive({ dialogue, tool: () => ({ ok: true, value: order }) })
  t.equal(said.join(' '), 'It comes soon with. no fee,. Items: shoes. You said.')
})

t.test('the possible next texts are predicted before the caller speaks', async (t) => {
  const { engine, calls } = drive()
  const predicted = engine.predicted()
  t.ok(predicted.includes('Order 4127 is out for delivery.'), 'the status')
  t.ok(predicted.includes('Order 4127. Is that right?'), 'the read-back of a known number')
  t.equal(calls.length, 1, 'and nothing was called for it')
  t.equal(engine.snapshot().place.state, 'greet', 'nor changed')
})

t.test('an endless dialogue loop is an error of the agent', async (t) => {
  const dialogue = offlineSchema.parse({
    version: 1,
    intents: { a: { phrases: ['a'] } },
    missed: 'one',
    start: 'one',
    states: { one: { steps: [{ goto: 'two' }] }, two: { steps: [{ goto: 'one' }] } },
  })
  t.throws(() => drive({ dialogue }), { code: 'AGENT_INVALID', message: /circle/ })
})

t.test('a slot may be named like a grammar rule', (t) => {
  const { engine } = drive({
    dialogue: offlineSchema.parse({
      version: 1,
      intents: {},
      slots: { phone: { type: 'digits', min: 2, max: 2 }, digit: { type: 'digits', min: 1, max: 1 } },
      missed: 'one',
      start: 'one',
      states: { one: { steps: [{ listen: { slots: ['phone', 'digit'], on: { phone: 'one', digit: 'one' } } }] } },
    }),
  })
  const rules = [...engine.grammar().jsgf.matchAll(/^(?:public )?<(\w+)> = /gm)].map(([, name]) => name)
  t.equal(new Set(rules).size, rules.length, `each rule is defined once: ${rules.join(', ')}`)
  t.end()
})

t.test("an agent's offline block defines a whole dialogue", async (t) => {
  const dialogue = offlineSchema.parse({
    version: 1,
    maps: { fix: { internet: 'Please switch the router off and on.', balance: 'Please dial the balance code.' } },
    intents: {
      yes: { phrases: ['yes'], keys: ['1'] },
      no: { phrases: ['no'], keys: ['2'] },
      agent: { phrases: ['agent'], keys: ['0'] },
    },
    slots: {
      topic: {
        type: 'choice',
        phrases: ['my <topic> [is not working | is down]'],
        options: {
          internet: { phrases: ['internet', 'wifi | connection'], key: '1' },
          balance: { phrases: ['balance', 'airtime'], key: '2' },
        },
      },
    },
    on: { agent: 'escalate' },
    missed: 'escalate',
    start: 'greet',
    states: {
      greet: {
        steps: [
          { start: { tool: 'getAccount', args: { msisdn: '{{caller.number}}' }, save: 'account' } },
          { say: 'What is wrong?' },
          { listen: { slots: ['topic'], on: { topic: 'fix' } } },
        ],
      },
      fix: {
        steps: [
          { await: 'account' },
          {
            say: 'There is an outage in {{account.outage.area}}.',
            when: { all: [{ exists: 'account.outage' }, { equals: ['slots.topic', 'internet'] }] },
          },
          { goto: 'helped', when: { exists: 'account.outage' } },
          { say: '{{slots.topic | map:fix}}' },
          { goto: 'helped' },
        ],
      },
      helped: { steps: [{ say: 'Did that help?' }, { listen: { on: { yes: 'done', no: 'escalate' } } }] },
      escalate: {
        steps: [
          { call: { tool: 'escalate_to_human', args: { reason: '{{slots.topic | default:unknown}}' } } },
          { stop: true },
        ],
      },
      done: { steps: [{ say: 'Good.' }, { call: { tool: 'end_call' } }, { stop: true }] },
    },
  })
  const outage = { outage: { area: 'Kilimani' } }
  const withOutage = drive({ dialogue, tool: (name) => (name === 'getAccount' ? { ok: true, value: outage } : null) })
  t.match(withOutage.input('my wifi is down').join(' '), /outage in Kilimani\. Did that help\?/)
  const without = drive({
    dialogue,
    tool: (name) => (name === 'getAccount' ? { ok: true, value: { outage: null } } : null),
  })
  t.match(without.input('2').join(' '), /balance code/)
  without.input('no')
  t.match(without.calls.join('; '), /escalate_to_human \{"reason":"balance"\}/)
})

const visit = offlineSchema.parse({
  version: 1,
  intents: {
    yes: { phrases: ['yes'] },
    no: { phrases: ['no'] },
    book: { phrases: ['i want to come'], typed: ['(nataka | naomba) kuja'] },
  },
  slots: {
    day: { type: 'date' },
    time: { type: 'time', from: '08:00', to: '18:00' },
    name: { type: 'text' },
  },
  missed: 'end',
  start: 'greet',
  states: {
    greet: { steps: [{ say: 'Hello.' }, { listen: { on: { book: 'taken' } } }] },
    taken: { steps: [{ take: ['day', 'time'] }, { goto: 'when' }] },
    when: {
      steps: [
        { set: { words: { en: 'English', sw: 'Kiswahili' } } },
        {
          say: {
            en: '{{slots.day | day}} at {{slots.time}}? {{words}}',
            sw: '{{slots.day | day}}, {{slots.time | clocks}}? {{words}}',
          },
        },
        { listen: { slots: ['day', 'time'], on: { yes: 'who', no: 'end', day: 'when', time: 'when' } } },
      ],
    },
    who: { steps: [{ say: 'Who is it for?' }, { listen: { slots: ['name'], on: { no: 'end', name: 'book' } } }] },
    book: {
      steps: [
        { call: { tool: 'book', args: { day: '{{slots.day}}', time: '{{slots.time}}', name: '{{slots.name}}' } } },
        { goto: 'end' },
      ],
    },
    end: { steps: [{ say: 'Bye.' }, { stop: true }] },
  },
})

t.test('slots take days, times and free text in any language', (t) => {
  const call = (language: string, ...inputs: string[]) => {
    const driven = drive({ dialogue: visit, language, tool: () => ({ ok: true, value: {} }) })
    for (const input of inputs) driven.input(input)
    return driven
  }
  const english = call('en', 'I want to come on Friday, at four', 'No, at half past ten', 'Yes.', 'Njeri Wambui')
  t.same(english.said, [
    'Hello.',
    'Friday, 27 November at 16:00? English',
    'Friday, 27 November at 10:30? English',
    'Who is it for?',
    'Bye.',
  ])
  t.same(english.calls, ['book {"day":"2026-11-27","time":"10:30","name":"Njeri Wambui"}'])
  const pausing = call('en', 'I want to come on Friday at nine', 'Yes.', 'It is for', 'my mother')
  t.equal(pausing.calls[0], 'book {"day":"2026-11-27","time":"09:00","name":"It is for my mother"}')
  t.match(pausing.said.at(-2), 'Who is it for?', 'nothing is said before it is finished')
  const swahili = call('sw', 'Nataka kuja kesho saa nne asubuhi', 'ndiyo')
  t.same(swahili.said.slice(1), ['Alhamisi, 26 Novemba, saa nne asubuhi, ten A M? Kiswahili', 'Who is it for?'])
  t.match(call('en', 'I want to come').said.at(-1), /^at\?/, 'nothing was said')
  t.match(call('en', 'I want to come next Friday at nine').said.at(-1), /^at 09:00/, 'which Friday is not certain')
  const { jsgf } = call('en', 'I want to come').engine.grammar()
  t.match(jsgf, /<day> = .*tomorrow.*;/)
  t.match(jsgf, /<day> <time>/, 'in one breath')
  t.end()
})

t.test('a state of another stage first moves the call', (t) => {
  const dialogue = offlineSchema.parse({
    version: 1,
    intents: { fault: { phrases: ['it is broken'] }, account: { phrases: ['my account'] } },
    missed: 'greet',
    start: 'greet',
    states: {
      greet: { steps: [{ say: 'Hello.' }, { listen: { on: { fault: 'fix', account: 'tell' } } }] },
      fix: { stage: 'fix', steps: [{ say: 'Restart it.' }, { listen: { on: { fault: 'again', account: 'tell' } } }] },
      again: { stage: 'fix', steps: [{ say: 'Restart it again.' }, { goto: 'greet' }] },
      tell: {
        stage: 'help',
        steps: [{ call: { tool: 'getAccount', failed: 'greet' } }, { say: 'It is empty.' }, { goto: 'greet' }],
      },
    },
  })
  const { calls, input } = drive({
    dialogue,
    tool: (name, { stage }) =>
      stage === 'fix' ? { ok: true, value: { stage } } : { ok: false, value: { error: `${name} is refused` } },
  })
  t.same(input('it is broken'), ['Restart it.'])
  t.same(input('it is broken'), ['Restart it again.', 'Hello.'])
  t.same(calls, ['go_to_stage {"stage":"fix"}'], 'once, while the dialogue stays in the stage')
  t.same(input('my account'), ['Hello.'], 'the tool of the stage is refused, and its step says what follows')
  t.same(calls.slice(1), ['go_to_stage {"stage":"help"}', 'getAccount {}'])

  const waiting = drive({ dialogue, tool: () => null })
  waiting.input('it is broken')
  t.same(waiting.said, ['Hello.'], 'nothing is said before the call is in the stage')
  const resumed = drive({
    dialogue,
    resume: waiting.engine.snapshot(),
    tool: (_, { stage }) => ({ ok: true, value: { stage } }),
  })
  for (const action of resumed.engine.handle({ type: 'tool-result', callId: 'offline-1', ok: false, value: null }))
    if (action.type === 'call')
      t.same(
        resumed.engine.handle({ type: 'tool-result', callId: action.callId, ok: true, value: null }),
        [{ type: 'say', text: 'Restart it.' }],
        'what was lost with a worker is asked for again',
      )
  t.end()
})

for (const words of [
  'Thanks.',
  'Thank you very much.',
  'Okay, thanks.',
  'Sawa, asante.',
  'Asante.',
  'Poa, asante sana.',
])
  t.test(`thanks after "anything else?" end the call: ${words}`, async (t) => {
    const { input, calls } = drive()
    input('where is my order')
    t.match(input(words).join(' '), /^Thank you for calling\. Goodbye\.$/)
    t.match(calls.at(-1), /^end_call/)
  })

for (const words of ['Okay.', 'Sawa.', 'Alright.', 'Poa.'])
  t.test(`an acknowledgement after "anything else?" continues the call: ${words}`, async (t) => {
    const { input, calls } = drive()
    input('where is my order')
    t.same(input(words), ['Sorry, I did not catch that. Is there anything else?'])
    t.notMatch(calls.join(' '), /end_call/)
  })

t.test('thanks with a question or a yes continue the call', async (t) => {
  const { input, calls } = drive()
  t.match(input('thank you').join(' '), /did not catch that/, 'nothing was told yet')
  input('where is my order')
  t.match(input('thanks, where is my order').join(' '), /^Order 4127/)
  t.match(input('thank you, and who was it that brought it yesterday').join(' '), /did not catch/)
  t.match(input('yes, thank you').join(' '), /another order number/)
  t.notMatch(calls.join(' '), /end_call/)
  const { input: delayed } = drive({ from: TWO_ORDERS })
  delayed('where is my order')
  t.match(delayed('eight two one four').join(' '), /Is that right/)
  t.match(delayed('sawa').join(' '), /Shall I connect you/, 'to a question of yes or no it is a yes')
})

const appointments = z.object({ offline: offlineSchema }).parse(agentFile('templates/appointments/agent.yaml')).offline

for (const { words, chosen } of [
  { words: 'the second one', chosen: '11:00' },
  { words: 'The second one, please.', chosen: '11:00' },
  { words: 'the second', chosen: '11:00' },
  { words: 'the first one', chosen: '09:00' },
  { words: 'ile ya pili', chosen: '11:00' },
  { words: 'the last one', chosen: '11:00' },
  { words: 'ya mwisho', chosen: '11:00' },
  { words: 'ile ya mwisho', chosen: '11:00' },
  { words: 'eleven', chosen: '11:00' },
  { words: 'saa tano asubuhi', chosen: '11:00' },
])
  t.test(`an offered choice is recognised by its own words: ${words}`, async (t) => {
    const { input, said, calls } = drive({
      dialogue: appointments,
      tool: (name) => ({
        ok: true,
        value: name === 'free_times' ? { first: '09:00', second: '11:00' } : { booked: true },
      }),
    })
    input('on tuesday')
    t.equal(said.at(-1), 'Tuesday, 1 December: 09:00 or 11:00?')
    input(words)
    input('Wanjiru')
    t.equal(
      calls.find((call) => call.startsWith('book_slot')),
      `book_slot {"date":"2026-12-01","time":"${chosen}","name":"Wanjiru"}`,
    )
  })

t.test('the dialogue continues without an unrecognised name', async (t) => {
  const { input, said, calls } = drive({
    dialogue: appointments,
    tool: (name) => ({
      ok: true,
      value: name === 'free_times' ? { first: '09:00', second: '11:00' } : { booked: true },
    }),
  })
  input('on tuesday')
  t.match(input(''), ['Sorry. 09:00 or 11:00?'], 'a time is')
  input('the second one')
  t.equal(said.at(-1), 'Who is it for?')
  t.same(input(''), ['Booked: Tuesday, 1 December at 11:00.', 'Is there anything else?'])
  t.equal(calls.at(-1), 'book_slot {"date":"2026-12-01","time":"11:00","name":"unknown"}')
})

t.test('a missed choice is asked for again', async (t) => {
  const dialogue = structuredClone(appointments)
  const steps = dialogue.states['who-chosen']?.steps ?? []
  for (const step of steps) if ('listen' in step) step.listen.on['no'] = 'goodbye'
  const { input, said } = drive({
    dialogue,
    tool: () => ({ ok: true, value: { first: '09:00', second: '11:00' } }),
  })
  input('on tuesday')
  input('the second one')
  t.equal(said.at(-1), 'Who is it for?')
  t.match(input('').join(' '), /^Sorry, I did not catch that/)
  t.match(input('no').join(' '), /Goodbye/)
})

t.test('a choice with another day means that day', async (t) => {
  const { input, calls } = drive({
    dialogue: appointments,
    tool: (name) => ({
      ok: true,
      value: name === 'free_times' ? { first: '09:00', second: '11:00' } : { booked: true },
    }),
  })
  input('on tuesday')
  input('no, on the second of December')
  t.equal(calls.at(-1), 'free_times {"date":"2026-12-02"}')
})

for (const yes of ['Ndiyo', 'ndiyo, asante', 'yes please', 'Yes.'])
  t.test(`a spoken yes accepts an offered callback: ${yes}`, async (t) => {
    const { input, calls } = drive({
      tool: (name) =>
        name === 'escalate_to_human'
          ? { ok: false, value: { error: 'No human could be reached.', outcome: 'no-answer', callBackOffered: true } }
          : { ok: true, value: {} },
    })
    t.same(input('i want to speak to a human'), [], 'the gateway has asked')
    t.match(input(yes).join(' '), /We will call you back/)
    t.match(calls.at(-1), /^request_callback {"note":"The caller asked for a colleague\."}/)
  })
