import t from 'tap'
import type { Test } from 'tap'
import { Recorder, conformanceSession } from '../../src/backends/conformance.js'
import type { BackendSession } from '../../src/backends/backend.js'
import { AgentVoice } from '../../src/vendors/openai/live/agent-voice.js'
import { OpenAiLiveBackend } from '../../src/vendors/openai/live/backend.js'
import type { OpenAiLiveOptions } from '../../src/vendors/openai/live/session-start.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { Script } from '../../src/simulator/vendors/double.js'
import { headersOf } from '../../src/vendors/self-hosted/realtime/session-config.js'
import { socketUrl } from '../../src/backends/transport/realtime-backend.js'
import { OpenAiLiveDouble, delegationFault } from '../../src/vendors/openai/live-double.js'

const KEY = 'sk-test-0123456789abcdef0123456789abcdef'

interface Line {
  readonly double: OpenAiLiveDouble
  readonly llm: CascadeDouble
  readonly backend: OpenAiLiveBackend
  readonly recorder: Recorder
}

async function line(
  t: Test,
  by: 'responses' | 'client' = 'responses',
  options: Partial<OpenAiLiveOptions> = {},
  session: Partial<BackendSession> = {},
  prepare: (double: OpenAiLiveDouble) => void = () => undefined,
): Promise<Line> {
  const script = new Script()
  const [double, llm] = await Promise.all([
    OpenAiLiveDouble.start({ key: KEY, script }),
    CascadeDouble.start({ key: KEY, script }),
  ])
  prepare(double)
  const recorder = new Recorder()
  const backend = new OpenAiLiveBackend(recorder, {
    apiKey: KEY,
    model: 'gpt-live-1.1',
    baseUrl: double.baseUrl,
    delegate:
      by === 'responses'
        ? { by, model: 'gpt-5.4-mini' }
        : { by, llm: { baseUrl: llm.baseUrl, apiKey: KEY, model: 'chat' } },
    ...options,
  })
  t.teardown(async () => {
    await backend.close('the test is over')
    await double.close()
    await llm.close()
  })
  await backend.connect(conformanceSession(session), new AbortController().signal)
  return { double, llm, backend, recorder }
}

const ask = (backend: OpenAiLiveBackend, text: string): void =>
  backend.sendText(text, { role: 'caller', respond: true })
const order = (callId: string) => ({ callId, name: 'lookup_order', args: { orderNumber: '4711' } })

t.test('the session starts with audio format, voice, delegate and tools', async (t) => {
  const { double, backend } = await line(t, 'responses', {}, { voice: 'cedar' })
  t.equal(backend.capabilities.inputRateHz, 16_000)
  t.match(double.session.config, {
    model: 'gpt-live-1.1',
    audio: { format: { type: 'audio/pcm', rate: 16_000 }, output: { voice: 'cedar' } },
    delegation: { type: 'responses', responses: { model: 'gpt-5.4-mini', tools: [{ name: 'lookup_order' }, {}] } },
  })
  const narrow = await line(t, 'client', { audio: 'pcmu' })
  t.equal(narrow.backend.capabilities.inputRateHz, 8000)
  t.match(narrow.double.session.config, {
    audio: { format: { type: 'audio/pcmu', rate: 8000 } },
    delegation: { type: 'client' },
  })
})

t.test('a greeting is sent as commentary and spoken', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.reply({ say: 'Welcome to the shop.', audioMs: 300 })
  backend.sendText('', { role: 'system', respond: true })
  await recorder.next('turn-done')
  t.match(double.session.received, [
    { type: 'session.start' },
    { type: 'session.commentary.append', content: 'Welcome to the shop.', delegation_id: null },
  ])
  t.equal(double.session.errors.length, 0)
})

t.test('zeros are not played, except as a pause in speech', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.session.zeros(3000)
  ask(backend, 'Hello')
  await recorder.next('turn-done')
  const before = recorder.audioPieces.reduce((sum, piece) => sum + piece.ms, 0)
  double.session.zeros(3000)
  double.session.say({ say: 'One.', audioMs: 500 })
  await recorder.next('turn-done', 2)
  t.equal(recorder.all('turn-start').length, 2)
  t.equal(recorder.audioPieces.reduce((sum, piece) => sum + piece.ms, 0) - before, 500)

  let nowMs = 0
  let heardMs = 0
  let turns = 0
  const voice = new AgentVoice(16_000, () => nowMs, {
    began: () => turns++,
    speech: (pcm) => (heardMs += pcm.length / 16),
    ended: () => undefined,
    ignored: () => undefined,
  })
  t.teardown(() => voice.close())
  const loud = new Int16Array(1600).fill(4000)
  const quiet = new Int16Array(1600)
  const say = (...pieces: Int16Array[]): number => {
    heardMs = 0
    for (const piece of pieces) {
      voice.hear(piece)
      nowMs += paceMs
    }
    return heardMs
  }
  let paceMs = 0
  t.equal(say(loud, quiet, quiet, loud), 400, 'in a burst the pause is put back')
  paceMs = 100
  nowMs += 5000
  t.ok(say(loud, quiet, quiet, loud) <= 300, 'at the pace of the clock it has passed by itself')
  t.equal(turns, 1)
  for (let i = 0; i < 6; i++) voice.hear(quiet)
  t.notOk(voice.speaking)
})

t.test('after an interruption the model gets the heard words', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.reply({ say: 'One two three four five six seven eight.', audioMs: 4000, paceMs: 10 })
  ask(backend, 'Count')
  await recorder.until('a second of sound', () => recorder.audioPieces.reduce((sum, one) => sum + one.ms, 0) >= 1000)
  backend.interrupt({ itemId: recorder.audioPieces[0]?.itemId ?? '', playedMs: 1100 })
  backend.interrupt({ itemId: recorder.audioPieces[0]?.itemId ?? '', playedMs: 1100 })
  const pieces = recorder.audioPieces.length
  await recorder.until('the note', () => double.session.texts.some((text) => text.includes('interrupted')))
  t.same(
    double.session.texts.filter((text) => text.includes('interrupted')),
    ['The caller interrupted you. Of your last words they heard only: "One two"'],
    'once, and no word that was not heard to its end',
  )
  double.session.say({ say: 'Yes?', audioMs: 300 })
  await recorder.next('turn-done', 2)
  t.ok(
    recorder.audioPieces.slice(pieces).every(({ generation }) => generation === 2),
    'the next words come behind the rest',
  )
  t.match(recorder.all('turn-done'), [{ status: 'cancelled', reason: 'interrupted' }, { status: 'completed' }])
  t.notOk(double.session.received.some((event) => /cancel|truncate/.test(event.type)))
})

t.test('a model that ignores an interruption becomes audible again', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.reply({ say: 'On and on. '.repeat(30), audioMs: 12_000, paceMs: 1 })
  ask(backend, 'Talk')
  await recorder.until('sound', () => recorder.audioPieces.length > 0)
  backend.interrupt({ itemId: null, playedMs: 0 })
  await recorder.next('turn-done', 2)
  t.equal(backend.stats.interruptionsIgnored, 1)
  t.match(recorder.all('turn-done'), [{ status: 'cancelled' }, { status: 'completed' }])
})

t.test("a delegated question goes to the gateway's language model", async (t) => {
  const { double, llm, backend, recorder } = await line(t, 'client')
  double.script.callerSays('Where is my order four seven one one?')
  double.script.reply({ calls: [order('call_a')] }, { say: 'It is out for delivery.', audioMs: 400 })
  const frame = new Int16Array(320).fill(9000)
  for (let ms = 0; ms < 800; ms += 20) backend.pushAudio(frame)
  for (let ms = 0; ms < 400; ms += 20) backend.pushAudio(new Int16Array(320))
  const call = await recorder.next('tool-call')
  t.match(call, { name: 'lookup_order', args: { orderNumber: '4711' } })
  t.match(llm.chats[0]?.messages.at(-1), { role: 'user', content: 'Where is my order four seven one one?' })
  backend.toolResult(call.callId, { ok: true, value: { status: 'out for delivery' } })
  await recorder.until('the answer', () => recorder.audioPieces.length > 0)
  t.match(double.session.received.at(-1), {
    type: 'session.commentary.append',
    content: 'It is out for delivery.',
    delegation_id: /^delegation_/,
  })
  t.equal(double.session.errors.length, 0)
})

t.test('an answer to an older question is dropped', async (t) => {
  const { double, llm, backend, recorder } = await line(t, 'client')
  double.script.reply({ calls: [order('call_a')] }, { say: 'An answer to the second.' }, { say: 'To the third.' })
  ask(backend, 'First')
  await recorder.next('tool-call')
  llm.delayMs.llm = 120
  ask(backend, 'Second')
  await recorder.until('the second request', () => llm.requests.llm === 2)
  ask(backend, 'Third')
  backend.toolResult('call_a', { ok: true, value: { status: 'delivered' } })
  await recorder.until('an answer', () => recorder.audioPieces.length > 0)
  t.match(backend.stats, { staleDropped: 1, staleQuiet: 1 })
  const appended = double.session.received.filter((event) => 'content' in event)
  t.match(appended[0], { type: 'session.thinking.append', content: /lookup_order[^]*delivered/ })
  t.equal(appended.filter((event) => event.type === 'session.commentary.append').length, 1, 'one answer is spoken')
})

for (const by of ['responses', 'client'] as const) {
  t.test(`a tool result after 30 s causes no speech (${by})`, async (t) => {
    let skippedMs = 0
    const { double, backend, recorder } = await line(t, by, { nowMs: () => performance.now() + skippedMs })
    double.script.reply({ calls: [order('call_a')] }, { say: 'To the second.', audioMs: 200 })
    ask(backend, 'First')
    await recorder.next('tool-call')
    skippedMs = 31_000
    backend.toolResult('call_a', { ok: true, value: { status: 'delivered' } })
    const told = (): boolean => double.session.texts.some((text) => /lookup_order[^]*delivered/.test(text))
    await recorder.until('the note', told)
    t.equal(backend.stats.staleQuiet, 1)
    t.notOk(double.session.received.some(({ type }) => type === 'session.commentary.append'))
    t.equal(recorder.audioPieces.length, 0, 'nobody speaks about it')
    ask(backend, 'Second')
    await recorder.until('the answer', () => recorder.audioPieces.length > 0)
    t.equal(double.session.errors.length, 0, 'and the delegate has the result')
  })

  t.test(`a delegate that never ends is abandoned (${by})`, async (t) => {
    const { double, llm, backend, recorder } = await line(t, by, { delegateTimeoutMs: 600 })
    double.session.delegateHangs = true
    llm.refuse.llm = 'never'
    ask(backend, 'Look me up')
    t.match(await recorder.next('error'), { code: 'timeout', fatal: false, message: /delegate .*given up/ })
    t.match(recorder.all('turn-done'), [{ status: 'failed', reason: 'timeout' }])
    t.equal(backend.stats.delegationsGivenUp, 1)
    double.session.delegateHangs = false
    delete llm.refuse.llm
    ask(backend, 'Once more')
    await recorder.until('an answer', () => recorder.audioPieces.length > 0)
  })
}

t.test('a tool call of an abandoned delegate is not run', async (t) => {
  const { double, backend, recorder } = await line(t, 'responses', { delegateTimeoutMs: 100 })
  double.session.delegateHangs = true
  ask(backend, 'Look me up')
  await recorder.next('error')
  const item = { type: 'function_call', call_id: 'call_late', name: 'lookup_order', arguments: '{}' }
  double.session.send({ type: 'response.event', event: { type: 'response.output_item.done', item } })
  await recorder.until('a reply', () => double.session.items.some((one) => one.type === 'function_call_output'))
  t.equal(recorder.all('tool-call').length, 0)
  t.equal(backend.stats.lateToolCalls, 1)
})

t.test('a tool result after an interrupted turn is passed on', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.reply({ calls: [order('call_a')] }, { say: 'Found it.' })
  ask(backend, 'Look me up')
  const call = await recorder.next('tool-call')
  await recorder.next('turn-done')
  backend.interrupt({ itemId: null, playedMs: 0 })
  double.session.say({ say: 'Mm-hm.', audioMs: 200 })
  await recorder.next('turn-done', 2)
  backend.toolResult(call.callId, { ok: true, value: 1 })
  await recorder.until('the answer', () => recorder.all('transcript').some((entry) => entry.text === 'Found it.'))
  const generations = recorder.all('turn-start').map((event) => event.generation)
  t.same(generations, [1, 2, 3])
})

t.test('a failed delegate causes a failed answer with its reason', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.session.delegateHangs = true
  ask(backend, 'Look me up')
  await recorder.until('the question', () => double.session.items.length > 0)
  const response = { id: 'resp_x', error: { code: 'server_error', message: 'with the words of the caller' } }
  double.session.send({ type: 'response.event', event: { type: 'response.failed', response } })
  const error = await recorder.next('error')
  t.match(error, { code: 'internal', fatal: false, message: /server_error/ })
  t.notMatch(error.message, /words of the caller/)
  t.match(recorder.all('turn-done'), [{ status: 'failed', reason: 'server_error' }])
})

t.test("usage counts session seconds and the delegate's tokens", async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.reply({ say: 'Yes.', audioMs: 1000 })
  ask(backend, 'Hello')
  await recorder.next('turn-done')
  double.session.send({ type: 'session.usage.updated', usage: { seconds: 30 } })
  double.session.send({ type: 'session.usage.updated', usage: { seconds: 42 } })
  const tokens = (): boolean => recorder.all('usage').some(({ usage }) => usage.model !== undefined)
  await recorder.until('the tokens', tokens)
  await backend.close('done')
  const usages = recorder.all('usage').map((event) => event.usage)
  t.match(
    usages.find((usage) => usage.model !== undefined),
    { model: 'gpt-5.4-mini', inputTokens: 20, outputTokens: 10 },
  )
  t.equal(
    usages.reduce((sum, usage) => sum + (usage.sessionSeconds ?? 0), 0),
    42,
  )
  t.equal(recorder.events.at(-1)?.type, 'closed')
  t.match(double.session.received.at(-1), { type: 'session.close' })
})

t.test('a session announces its end early', async (t) => {
  const own = await line(t, 'responses', { maxSessionMs: 150, expiringLeadMs: 100 })
  t.equal(own.backend.capabilities.maxSessionMs, 150)
  t.match(await own.recorder.next('expiring'), { inMs: 100 })
  const soon = (double: OpenAiLiveDouble): void => {
    double.expiresAt = Math.ceil(Date.now() / 1000) + 5
  }
  const named = await line(t, 'responses', { expiringLeadMs: 60_000 }, {}, soon)
  t.ok((await named.recorder.next('expiring')).inMs <= 6000)
  t.equal((await line(t)).backend.capabilities.maxSessionMs, 2 * 3600 * 1000)
})

const ENDS = { expired: 'session_expired', content: 'bad_request', connection_lost: 'network' } as const
for (const [reason, code] of Object.entries(ENDS)) {
  t.test(`a session ended for ${reason} reports code ${code}`, async (t) => {
    const { double, recorder } = await line(t)
    double.session.end(reason as keyof typeof ENDS)
    t.match(await recorder.next('error'), { code, fatal: true })
    t.match(recorder.events.at(-1), { type: 'closed', clean: false })
  })
}

t.test('invalid events are counted, and the next question is answered', async (t) => {
  const { double, backend, recorder } = await line(t)
  const { session } = double
  session.sendRaw('not JSON')
  session.sendRaw('{"type":"session.of.tomorrow"}')
  session.sendRaw('{"type":"session.output_audio.delta","delta":7}')
  session.sendRaw('{"type":"session.output_audio.delta","delta":"%%%%"}')
  session.sendRaw('{"type":"session.delegation.created","delegation":{"id":"d1","target":"decisions"}}')
  session.sendRaw('{"type":"response.event","event":{"type":"response.of.tomorrow"}}')
  session.sendRaw('{"type":"response.event","event":{"type":"response.output_item.done","item":null}}')
  session.send({ type: 'transport.dtmf.received', event: '4' })
  session.error('invalid_value', 'with the words of the caller')
  await recorder.next('error')
  t.notMatch(recorder.all('error')[0]?.message, /words of the caller/)
  t.match(recorder.all('error'), [{ code: 'bad_request', fatal: false }])
  ask(backend, 'Hello')
  await recorder.next('turn-done')
  t.match(backend.stats, {
    malformedMessages: 1,
    unknownEvents: 1,
    malformedEvents: 1,
    malformedAudio: 1,
    delegationsForeign: 1,
  })
})

t.test('tool arguments without a JSON object are passed as invalid', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.reply({ calls: [{ callId: 'c', name: 'lookup_order', args: '[4711' }] })
  ask(backend, 'Go')
  t.match(await recorder.next('tool-call'), { args: {}, invalid: /not valid JSON/ })
  t.equal(backend.stats.invalidToolArguments, 1)
})

t.test('the start contains only the newest 128 messages', async (t) => {
  const history = Array.from(
    { length: 300 },
    (_, i) => ({ role: i % 2 === 0 ? 'caller' : 'agent', text: `line ${i}` }) as const,
  )
  const { double } = await line(t, 'responses', {}, { history })
  t.equal(double.session.config?.input?.length, 128)
  t.match(double.session.config?.input?.at(-1), { role: 'assistant', content: [{ text: 'line 299' }] })
  t.equal(double.session.errors.length, 0)
})

t.test('notes and new instructions are sent without causing speech', async (t) => {
  const { double, backend, recorder } = await line(t)
  backend.sendText('The caller has waited. '.repeat(100), { role: 'system', respond: false })
  backend.updateSession({ instructions: 'Be brief.', tools: [] })
  const types = (): readonly string[] => double.session.received.map((event) => event.type)
  await recorder.until('the update, and what follows it', () => types().at(-2) === 'session.update')
  t.match(types(), [
    'session.start',
    'session.instructions.append',
    'session.instructions.append',
    'session.update',
    'session.instructions.append',
  ])
  t.equal(backend.stats.contextSplit, 1)
  t.equal(double.session.errors.length, 0)
  t.equal(recorder.all('turn-start').length, 0)
})

t.test('a tool that ends the call waits for its words', async (t) => {
  const { double, backend, recorder } = await line(t, 'client')
  double.script.reply({
    say: 'Goodbye, then.',
    audioMs: 600,
    paceMs: 20,
    calls: [{ callId: 'call_end', name: 'end_call', args: { reason: 'done' } }],
  })
  ask(backend, 'Bye')
  await recorder.next('tool-call')
  const spokenAt = recorder.events.findIndex((event) => event.type === 'audio-done')
  const calledAt = recorder.events.findIndex((event) => event.type === 'tool-call')
  t.ok(spokenAt >= 0 && spokenAt < calledAt, recorder.summary())
})

// --- the two prompts ----------------------------------------------------------------------------------------

/** The caller says what the script has next. */
function speak(backend: OpenAiLiveBackend): void {
  const frame = new Int16Array(320).fill(9000)
  for (let ms = 0; ms < 800; ms += 20) backend.pushAudio(frame)
  for (let ms = 0; ms < 400; ms += 20) backend.pushAudio(new Int16Array(320))
}

const PROCEDURE = 'Ask for the order number first. Read it back digit by digit before you look it up.'

t.test('the voice gets three headings, the delegate the instructions', async (t) => {
  const { double } = await line(t, 'responses', {}, { instructions: PROCEDURE, languages: ['en-KE', 'sw-KE'] })
  const { instructions: voice, delegation } = double.session.config ?? {}
  t.match(voice, /^You are the voice of conformance on the telephone\.[^]* into Swahili \(Kenya\)\./)
  t.match(voice, /greet only once: Welcome to the shop\.\n/)
  t.match(
    voice,
    /\nBackchannel policy: [^]*\nInterruption policy: [^]*\nDelegation policy:\nBackend tools:\n[^]*\n- lookup_order: The state of an order\.\n[^]*\nDelegate to the backend when:\n- [^]*\nDo not delegate to the backend when:\n- /,
  )
  t.notMatch(voice, /order number first/)
  t.notMatch(voice, /SpawnThinking/)
  t.match(delegation, { responses: { instructions: new RegExp(`^${PROCEDURE}\n`) } })
})

t.test('only gpt-live-1 gets the delegation marker', async (t) => {
  const { double } = await line(t, 'responses', { model: 'gpt-live-1' })
  t.match(double.session.config?.instructions, /\nTo delegate, output <\|SpawnThinking\|>/)
  const dated = await line(t, 'responses', { model: 'gpt-live-1-2026-09-10' })
  t.notMatch(dated.double.session.config?.instructions, /SpawnThinking/)
})

t.test("the agent's own words replace the default prompt", async (t) => {
  const live = {
    prompt: 'You are Amina of the shop.',
    backchannels: 'Use none.',
    interruptions: 'Finish the sentence.',
    delegateWhen: ['They ask for an order.'],
    answerYourselfWhen: ['They thank you.'],
  }
  const { double } = await line(t, 'responses', { live })
  const prompt = double.session.config?.instructions ?? ''
  t.match(
    prompt,
    /^You are Amina of the shop\.\n\nBackchannel policy: Use none\.\n\nInterruption policy: Finish the sent/,
  )
  t.match(prompt, /Delegate to the backend when:\n- They ask for an order\.\n\nDo not [^]*:\n- They thank you\.\n/)
  t.match(prompt, /- lookup_order: /)
  t.equal(delegationFault({ model: 'gpt-live-1.1', instructions: prompt }), null)
})

for (const model of ['gpt-live-1.1', 'gpt-live-1'])
  for (const by of ['responses', 'client'] as const) {
    t.test(`a tool runs through the delegate (${model}, ${by})`, async (t) => {
      const { double, backend, recorder } = await line(t, by, { model }, { instructions: PROCEDURE })
      double.script.callerSays('Where is my order four seven one one?')
      double.script.reply({ calls: [order('call_a')] }, { say: 'It is out for delivery.', audioMs: 400 })
      speak(backend)
      const call = await recorder.next('tool-call')
      t.match(call, { name: 'lookup_order', args: { orderNumber: '4711' } })
      backend.toolResult(call.callId, { ok: true, value: { status: 'out for delivery' } })
      await recorder.until('the answer', () => recorder.audioPieces.length > 0)
      t.equal(double.session.delegations, 1)
      t.same(double.session.undelegated, [])
    })

    t.test(`the voice itself answers small talk (${model}, ${by})`, async (t) => {
      const { double, llm, backend, recorder } = await line(t, by, { model })
      double.script.callerSays('Thank you so much')
      double.script.reply({ say: 'With pleasure.', audioMs: 300 })
      speak(backend)
      await recorder.until('the answer', () => recorder.audioPieces.length > 0)
      t.equal(double.session.delegations, 0)
      t.equal(llm.chats.length, 0)
      t.same(double.session.undelegated, [])
    })
  }

t.test('the hosted delegate also answers without a tool', async (t) => {
  const { double, backend, recorder } = await line(t, 'responses', {}, { instructions: PROCEDURE })
  double.script.callerSays('What does delivery cost?')
  double.script.reply({ say: 'It is free.', audioMs: 400 })
  speak(backend)
  await recorder.until('the answer', () => recorder.audioPieces.length > 0)
  t.equal(double.session.delegations, 1)
  await recorder.until('its words', () => recorder.all('transcript').some(({ text }) => text === 'It is free.'))
})

t.test("a new stage's tools reach the voice, instructions the delegate", async (t) => {
  const { double, backend, recorder } = await line(t)
  const { tools } = conformanceSession()
  backend.updateSession({ instructions: `${PROCEDURE} Now pay.`, news: PROCEDURE, tools: tools.slice(0, 1) })
  await recorder.until('the note', () => double.session.texts.some((text) => text.startsWith('Backend tools')))
  const told = double.session.texts.join('\n')
  t.match(told, /- lookup_order: [^]*The backend has new instructions\./)
  t.notMatch(told, /get_account|order number first/)
  t.match(double.session.hosted?.instructions, /^Ask for the order number first\.[^]*Now pay\./)
})

t.test('Azure gets the key as api-key, others as bearer token', (t) => {
  const of = (baseUrl?: string): object => headersOf({ apiKey: KEY, model: 'voice', ...(baseUrl ? { baseUrl } : {}) })
  for (const host of ['r.openai.azure.com', 'r.services.ai.azure.com', 'r.cognitiveservices.azure.com'])
    t.same(of(`https://${host}/openai/v1`), { 'api-key': KEY }, host)
  for (const host of ['api.openai.com', 'openai.azure.com.example', '127.0.0.1:7702'])
    t.same(of(`wss://${host}/v1`), { Authorization: `Bearer ${KEY}` }, host)
  t.same(of(), { Authorization: `Bearer ${KEY}` })
  t.equal(
    socketUrl('https://r.openai.azure.com/openai/v1', '/live/sessions').toString(),
    'wss://r.openai.azure.com/openai/v1/live/sessions',
  )
  t.end()
})
