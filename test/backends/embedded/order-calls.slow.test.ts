import t from 'tap'
import { offlineSchema } from '../../../src/agents/offline/offline.js'
import { CallerIdentity } from '../../../src/agents/tools/tool.js'
import type { BackendSession } from '../../../src/backends/backend.js'
import { EmbeddedBackend, type EmbeddedSnapshot } from '../../../src/backends/embedded/embedded-backend.js'
import { END_CALL_TOOL, RESUME_TOOL, sessionTools } from '../../../src/call/tools/gateway-tools.js'
import { OFFER } from '../../support/tool-offer.js'
import { textIn } from '../../../src/call/spoken/localized-text.js'
import { loadFlite } from '../../../src/speech/flite.js'
import { SpeechClient } from '../../../src/speech/speech-client.js'
import { SpeechPool } from '../../../src/speech/speech-pool.js'
import { AMINA, contextOf, openLine } from '../../agents/support-line.js'
import { until } from '../../support/until.js'
import { Line, ONE_ORDER, openCall, type OpenCall, session, speakInto, STRANGER, TWO_ORDERS } from './order-line.js'
import { framesOf, overThePhone, synthesise } from './phone-line.js'

const pool = new SpeechPool({ decodersPerThread: 2 })
t.teardown(() => pool.close())
await pool.ready()
const flite = await loadFlite()

const open = (overrides: Partial<BackendSession> = {}, kickOff = true): Promise<OpenCall> =>
  openCall(pool, flite, overrides, kickOff)

t.test("a caller asks for the order's status by voice", async (t) => {
  const { line, says, backend, end } = await open()
  t.match(line.events[0], { type: 'ready' })
  t.match(line.calls[0], { name: 'lookup_order', args: { callerNumber: ONE_ORDER } })
  await says(
    'where is my order',
    /Order 4127 is out for delivery\. PikiPiki should be with you today between 4 and 6 PM\. Is there anything else\?$/,
  )
  t.match(line.heard[0], /where('s| is) my order/)
  t.ok(line.audioMs > 8000, 'as sound, too')
  await says('no thank you', /Goodbye/, 'awb')
  await line.when(() => line.calls.some(({ name }) => name === 'end_call'))
  const lastAudioDone = line.events.findLastIndex(({ type }) => type === 'audio-done')
  t.ok(
    line.events.findIndex((event) => event.type === 'tool-call' && event.name === 'end_call') > lastAudioDone,
    'the goodbye is spoken first',
  )
  t.equal(backend.stats.utterances, 2)
  await line.when(() => line.events.at(-1)?.type === 'turn-done')
  const numbers = line.events.flatMap((event) => (event.type === 'turn-start' ? [event.generation] : []))
  t.same(
    numbers,
    [...numbers].sort((a, b) => a - b),
    'every response is announced, and numbered upwards',
  )
  t.same(
    line.events.flatMap((event) => (event.type === 'turn-done' ? [event.generation] : [])).sort(),
    [...numbers].sort(),
    'and finished',
  )
  const usage = line.events.filter((event) => event.type === 'usage')
  t.ok(
    usage.some(({ usage }) => usage.audioInMs > 1000),
    'what the caller said',
  )
  t.ok(
    usage.some(({ usage }) => usage.audioOutMs > 5000),
    'what the agent said',
  )
  await end()
  t.same(line.events.filter(({ type }) => type === 'closed').length, 1)
  t.equal(line.events.at(-1)?.type, 'closed')
})

t.test('a spoken order number is read back before the look-up', async (t) => {
  const { line, says, end } = await open({ from: TWO_ORDERS })
  await says('where is my order', /3056 and 8214/)
  await says('eight two one four', /^Order 8214\. Is that right\?$/)
  t.equal(line.calls.filter(({ args }) => 'orderNumber' in args).length, 0)
  await says('yes', /8214 is delayed\. The reason is that the road is flooded/)
  t.match(line.calls.at(-1), { args: { orderNumber: '8214' } })
  t.ok(line.heard.includes('8214'), 'digits are written as a number')
  await end()
})

t.test('the parts of a number keep their spoken order', async (t) => {
  const { line, backend, speech, end } = await open({ from: TWO_ORDERS })
  const known: ((words: string) => void)[] = []
  speech.startUtterance = () => ({
    push: () => undefined,
    abandon: () => undefined,
    end: () => new Promise((resolve) => known.push((text) => resolve({ text, fit: 1, wordMs: [300, 300] }))),
  })
  for (let part = 0; part < 2; part++) {
    backend.interrupt({ itemId: line.lastItem, playedMs: 1e6 })
    backend.speechStart(0)
    backend.speechEnd(0)
  }
  known[1]?.('one four')
  known[0]?.('eight two')
  await line.says(/^Order 8214\. Is that right\?$/)
  t.same(line.heard, ['82', '14'])
  await end()
})

t.test('a caller without known orders can speak or key digits', async (t) => {
  const { line, backend, says, end } = await open({ from: STRANGER })
  await says('my order number is four one two seven', /Order \d{4}\. Is that right/, 'awb')
  await says('no', /say the number once more/, 'awb')
  const from = line.said.length
  for (const key of '4127') backend.dtmf(key)
  await line.says(/4127 is out for delivery/, from)
  t.ok(line.heard.includes('4127'), 'what was keyed is in the transcript')
  await end()
})

t.test('a caller asks for a human during the dialogue', async (t) => {
  const { line, backend, end } = await open({ from: STRANGER })
  speakInto(backend, line, flite, 'i want to speak to a human', 'rms')
  await line.when(() => line.calls.some(({ name }) => name === 'escalate_to_human'))
  t.match(line.calls.at(-1)?.args, { reason: 'The caller asked for a colleague.' })
  await end()
})

t.test('a typed conversation uses the same dialogue', async (t) => {
  const { line, backend, end } = await open({ from: STRANGER })
  backend.sendText('Hi, my order is 4127', { role: 'caller', respond: true })
  await line.says(/Order 4127\. Is that right/)
  backend.sendText('Yes, that is right', { role: 'caller', respond: true })
  await line.says(/4127 is out for delivery/)
  t.same(line.heard, ['Hi, my order is 4127', 'Yes, that is right'])
  await end()
})

t.test('an interruption ends the response', async (t) => {
  const { line, backend, end } = await open({}, false)
  backend.sendText('', { role: 'system', respond: true })
  await line.when(() => line.lastItem !== null)
  backend.interrupt({ itemId: line.lastItem, playedMs: 500 })
  backend.interrupt({ itemId: line.lastItem, playedMs: 500 })
  t.match(line.events.at(-1), { type: 'turn-done', status: 'cancelled' })
  const heardMs = line.audioMs
  // Noise without words: the agent repeats what was cut off.
  backend.speechStart(0)
  backend.speechEnd(0)
  await line.says(/did not catch that\. Hello, this is the order line\. You can ask/)
  t.ok(line.audioMs > heardMs)
  await end()
})

t.test('a noise that did not interrupt is not answered', async (t) => {
  const { line, backend, speech, end } = await open()
  await line.when(() => line.events.at(-1)?.type === 'turn-done')
  const before = line.events.length
  backend.speechStart(0)
  for (let i = 0; i < 10; i++) backend.pushAudio(new Int16Array(160).fill(900))
  backend.speechEnd(0)
  await until(() => backend.stats.falseInterruptions > 0, 2000, 'the end of the noise')
  // An answer would be spoken before this sentence, by the same worker.
  await synthesise(speech, 'Done.', 'kal')
  t.equal(backend.stats.falseInterruptions, 1)
  t.equal(line.events.length, before)
  await end()
})

t.test("an answer during the agent's speech is understood", async (t) => {
  const { line, backend, end } = await open()
  for (const [i, frame] of framesOf(overThePhone(flite, 'where is my order', 'awb')).entries()) {
    if (i === 15) backend.speechStart(performance.now() - 100)
    backend.pushAudio(frame)
  }
  backend.speechEnd(performance.now())
  await line.says(/4127 is out for delivery/)
  t.equal(backend.stats.falseInterruptions, 0)
  await end()
})

t.test('a tool result during caller speech is spoken afterwards', async (t) => {
  const { line, backend, says, end } = await open({ from: ONE_ORDER }, false)
  line.answersTools = false
  backend.sendText('', { role: 'system', respond: true })
  await line.when(() => line.said.length > 0)
  backend.sendText('where is my order', { role: 'caller', respond: true })
  backend.speechStart(0)
  backend.toolResult('offline-1', {
    ok: true,
    value: { orders: [{ orderNumber: '4127', status: 'packed', eta: 'tomorrow', courier: null }] },
  })
  t.notMatch(line.said.join(' '), /4127/)
  backend.interrupt({ itemId: null, playedMs: 0 })
  backend.speechEnd(0)
  await line.says(/4127 is packed/)
  t.same(backend.toolResult('offline-1', { ok: true, value: {} }), undefined, 'a second answer changes nothing')
  await says('no', /Goodbye/)
  await end()
})

t.test('a new instance continues the dialogue without a second greeting', async (t) => {
  const first = await open({ from: TWO_ORDERS })
  await first.writes('where is my order', /Which one do you mean/)
  const resume = JSON.parse(JSON.stringify(first.backend.snapshot())) as EmbeddedSnapshot
  t.ok(JSON.stringify(resume).length < 4096, 'a few KB')
  await first.end()
  const second = await open({ from: TWO_ORDERS, resume, history: [{ role: 'agent', text: 'x' }] }, false)
  second.backend.sendText('The line had a gap.', { role: 'system', respond: true })
  await second.line.says(/^Which one do you mean\?$/)
  await second.writes('8214', /8214\. Is that right/)
  t.notMatch(second.line.said.join(' '), /Hello/)
  const numbers = second.line.events.flatMap((event) => (event.type === 'turn-start' ? [event.generation] : []))
  t.ok(Math.min(...numbers) > resume.generation, 'generations are not used twice')
  await second.end()
})

t.test('a new instance speaks the unspoken sentences', async (t) => {
  const first = await open({}, false)
  first.backend.sendText('', { role: 'system', respond: true })
  const resume = first.backend.snapshot()
  t.match(resume?.unspoken, [/^Hello/, /^You can ask/])
  await first.end()
  const second = await open({ resume: { ...resume, unspoken: resume?.unspoken.slice(1) } }, false)
  second.backend.sendText('', { role: 'system', respond: true })
  await second.line.says(/^You can ask where your order is/)
  await second.end()
})

t.test('an agent without an offline block is refused by name', async (t) => {
  const speech = new SpeechClient({ port: pool.openSession() })
  const backend = new EmbeddedBackend(new Line(), { speech })
  await t.rejects(backend.connect(session({ offline: null }), new AbortController().signal), {
    code: 'BACKEND_BAD_REQUEST',
    message: /order-status/,
  })
  const other = new EmbeddedBackend(new Line(), { speech })
  await t.rejects(other.connect(session({ voice: 'marin' }), new AbortController().signal), {
    code: 'BACKEND_BAD_REQUEST',
    message: /"marin"/,
  })
  speech.close()
})

t.test("a stage's first words use its voice and language", async (t) => {
  const spoken: string[] = []
  const speech = new SpeechClient({ port: pool.openSession() })
  const speak = speech.speak.bind(speech)
  speech.speak = (text, voice, onChunk) => {
    spoken.push(`${voice}: ${text}`)
    return speak(text, voice, onChunk)
  }
  const line = new Line()
  const backend: EmbeddedBackend = new EmbeddedBackend(
    {
      event: (event) => {
        line.event(event)
        if (event.type !== 'tool-call') return
        // As the session does: the stage comes before the result that led to it.
        backend.updateSession({ language: 'sw', voices: { embedded: 'rms', cascade: 'Maya' } })
        backend.toolResult(event.callId, { ok: true, value: { stage: 'help' } })
      },
      audio: (pcm, rateHz, itemId) => line.audio(pcm, rateHz, itemId),
    },
    { speech },
  )
  const offline = offlineSchema.parse({
    version: 1,
    intents: { balance: { phrases: ['my balance'], keys: ['1'] } },
    retry: 'Sorry.',
    missed: 'greet',
    start: 'greet',
    states: {
      greet: { steps: [{ say: { en: 'Hello.', sw: 'Habari.' } }, { listen: { on: { balance: 'tell' } } }] },
      tell: { stage: 'help', steps: [{ say: { en: 'It is ten.', sw: 'Ni kumi.' } }, { listen: { on: {} } }] },
    },
  })
  await backend.connect(session({ offline, voice: 'slt', languages: ['en', 'sw'] }), new AbortController().signal)
  backend.sendText('', { role: 'system', respond: true })
  await line.says(/^Hello\.$/)
  backend.dtmf('1')
  await line.says(/^Ni kumi\.$/)
  t.same(spoken, ['slt: Hello.', 'rms: Ni kumi.'])
  await backend.close('test over')
  speech.close()
})

/** A caller of the order line is rung back, because their call was cut off. */

const GREETING = 'Hello, we were cut off. Shall we go on where we stopped? Say yes, or press 1.'

function rungBack(): Promise<OpenCall> {
  return openCall(pool, flite, {
    greeting: GREETING,
    tools: sessionTools({ ...OFFER, asksToGoOn: true }).filter(({ name }) => name === RESUME_TOOL),
  })
}

const toolsOf = ({ line }: OpenCall): string[] => line.calls.map(({ name }) => name)

/** Confirms a call of its tool as the session does. */
function confirm(call: OpenCall): void {
  const event = call.line.events.find((one) => one.type === 'tool-call' && one.name === RESUME_TOOL)
  if (event?.type === 'tool-call')
    call.backend.toolResult(event.callId, { ok: true, value: { conversation: [], toolResults: [] } })
}

t.test('a spoken yes resumes the dialogue after a callback', async (t) => {
  const call = await rungBack()
  t.same(call.line.said, [GREETING])
  t.same(toolsOf(call), [], 'nothing is looked up for whoever answers')
  await call.writes('where is my order', /Shall we go on/)
  t.same(toolsOf(call), [], 'before they have confirmed')
  void call.says('yes', /Please ask again where your order is/)
  await call.line.when(() => toolsOf(call).length > 0)
  t.same(toolsOf(call), [RESUME_TOOL])
  confirm(call)
  await call.line.says(/Please ask again where your order is/)
  await call.writes('where is my order', /4127 is out for delivery/)
  await call.end()
})

t.test('a spoken no after a callback ends the call', async (t) => {
  const call = await rungBack()
  await call.says('no thank you', /Goodbye/)
  await call.line.when(() => toolsOf(call).length > 0)
  t.same(toolsOf(call), [END_CALL_TOOL])
  t.same(call.line.said, [GREETING, 'All right. Goodbye.'])
  await call.end()
})

t.test('an accepted digit resumes the dialogue without the tool', async (t) => {
  const call = await rungBack()
  call.backend.sendText('They want to go on.', { role: 'system', respond: false })
  call.backend.sendText('1', { role: 'caller', respond: true })
  await call.line.says(/Please ask again where your order is/)
  t.notOk(toolsOf(call).includes(RESUME_TOOL))
  await call.end()
})

t.test('a question before the greeting is answered without the greeting', async (t) => {
  const { line, backend, end } = await openCall(pool, flite, {}, false)
  speakInto(backend, line, flite, 'where is my order', 'rms')
  await line.says(/4127 is out/)
  t.match(line.heard, [/^where('s| is) my order$/])
  t.notOk(line.said.some((text) => text.includes('this is the order line')))
  await end()
})

t.test('a noise before the greeting starts the greeting', async (t) => {
  const { line, backend, end } = await openCall(pool, flite, {}, false)
  backend.speechStart(performance.now())
  const noise = new Int16Array(160).fill(4000)
  for (let ms = 0; ms < 600; ms += 20) backend.pushAudio(noise)
  backend.speechEnd(performance.now())
  await line.says(/this is the order line/)
  t.same(line.heard, [])
  await end()
})

t.test('the first input may be a key', async (t) => {
  const { line, backend, end } = await openCall(pool, flite, {}, false)
  backend.dtmf('0')
  await line.when(() => line.calls.some(({ name }) => name === 'escalate_to_human'))
  t.same(line.heard, ['0'])
  await end()
})

t.test('only speech with words is reported as understood', async (t) => {
  const { line, backend, end } = await openCall(pool, flite)
  const understood = (): number => line.events.filter(({ type }) => type === 'understood').length
  const words = framesOf(overThePhone(flite, 'i want to speak to a human', 'rms'))
  backend.speechStart(performance.now())
  for (const frame of words) backend.pushAudio(frame)
  await line.when(() => understood() > 0)
  t.same(line.heard, [], 'before the speech has ended')
  backend.speechEnd(performance.now())
  await line.when(() => line.heard.length > 0)
  const before = understood()
  backend.speechStart(performance.now())
  const answers = line.said.length
  for (const frame of framesOf(
    overThePhone(flite, 'lovely weather we are having in the garden with all the purple elephants', 'rms'),
  ))
    backend.pushAudio(frame)
  backend.speechEnd(performance.now())
  await line.when(() => line.said.length > answers || line.calls.some(({ name }) => name === 'escalate_to_human'))
  t.equal(understood(), before)
  await end()
})

await pool.ready()
const support = await openLine('support')
t.teardown(() => support.close())

/** A spoken call on the support line, with its real tools. */
async function supportCall(from: string) {
  const speech = new SpeechClient({ port: pool.openSession(), reopen: async () => pool.openSession() })
  const line = new Line()
  const caller = new CallerIdentity()
  const backend = new EmbeddedBackend(
    {
      event: (event) => {
        line.event(event)
        if (event.type !== 'tool-call' || event.name === 'escalate_to_human' || event.name === 'end_call') return
        void support.tools
          .run(event.name, event.args, contextOf(from, { caller, idempotencyKey: `HD_000000000001:${event.callId}` }))
          .then(({ ok, value }) => backend.toolResult(event.callId, { ok, value }))
      },
      audio: (pcm, rateHz, itemId) => line.audio(pcm, rateHz, itemId),
    },
    { speech },
  )
  await backend.connect(
    {
      callSid: 'HD_000000000001',
      agent: 'support',
      from,
      to: '+254700000100',
      instructions: '',
      greeting: textIn(support.agent.greeting ?? '', 'en'),
      tools: [],
      language: 'en',
      languages: ['en'],
      voice: 'slt',
      history: [],
      toolLedger: [],
      offline: support.agent.offline,
      resume: null,
    },
    new AbortController().signal,
  )
  backend.sendText('The call is open.', { role: 'system', respond: true })
  await line.when(() => line.said.length > 0)
  return {
    line,
    backend,
    caller,
    says: async (text: string, answer: RegExp, voice = 'rms'): Promise<void> => {
      const before = line.said.length
      speakInto(backend, line, flite, text, voice)
      await line.says(answer, before)
    },
    end: async () => {
      await backend.close('test over')
      speech.close()
    },
  }
}

t.test('a support caller proves identity and hears the balance', async (t) => {
  const { line, backend, caller, says, end } = await supportCall(AMINA)
  await says('what are your opening hours', /open every day from 7 in the morning/)
  await says('what is my balance', /last four digits of your ID number/, 'awb')
  let before = line.said.length
  for (const key of '7386') backend.dtmf(key)
  await line.says(/last four digits of your customer number/, before)
  before = line.said.length
  for (const key of '5291') backend.dtmf(key)
  await line.says(/Your plan is Home 20, and your balance is KES 350/, before)
  t.match(caller.verified, { accountId: 'AC-1001' })
  t.same(
    line.heard.filter((text) => /^[•\d]+$/.test(text)),
    ['••••', '••••'],
    'the transcript has dots in place of what was keyed',
  )
  await says('my internet is not working', /switch the router off/)
  await says('okay done', /working now/, 'awb')
  await says('no it is not', /cable at the back/)
  t.match(line.calls.at(-1), { name: 'note_fix', args: { helped: false } })
  await end()
})

t.test('unknown small talk is not a request for a human', async (t) => {
  for (const small of ['lovely weather today', 'let me think about it']) {
    const { line, backend, end } = await supportCall(AMINA)
    const before = line.said.length
    speakInto(backend, line, flite, small, 'rms')
    await line.when(() => line.said.length > before)
    t.notOk(
      line.calls.some(({ name }) => name === 'escalate_to_human'),
      `${small}: ${line.said.at(-1) ?? ''}`,
    )
    t.notMatch(line.heard.join(' '), /zz/, 'the noise rule is not in the transcript')
    await end()
  }
})
