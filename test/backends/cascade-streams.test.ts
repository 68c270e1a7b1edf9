import t from 'tap'
import type { Test } from 'tap'
import type { BackendSession } from '../../src/backends/backend.js'
import type { BackendTimers } from '../../src/backends/timers.js'
import { CascadeBackend } from '../../src/backends/cascade/cascade-backend.js'
import type { CascadeOptions } from '../../src/backends/cascade/cascade-backend.js'
import { chat } from '../../src/backends/cascade/chat-requests.js'
import { Recorder, conformanceSession, speakTo } from '../../src/backends/conformance.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import type { SonioxDouble } from '../../src/vendors/soniox/double.js'
import { CASCADE_TEST_KEY, cascadeOptions } from './cascade-harness.js'
import { sonioxAround } from './soniox-harness.js'

interface Line {
  readonly double: CascadeDouble
  readonly soniox: SonioxDouble
  readonly backend: CascadeBackend
  readonly recorder: Recorder
}

async function line(
  t: Test,
  changed: (options: CascadeOptions, double: CascadeDouble) => Partial<CascadeOptions> = () => ({}),
  session: Partial<BackendSession> = {},
): Promise<Line> {
  const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  const { soniox, options } = await sonioxAround(double)
  const recorder = new Recorder()
  const backend = new CascadeBackend(recorder, { ...options, ...changed(options, double) })
  t.teardown(async () => {
    await backend.close('the test is over')
    await soniox.close()
    await double.close()
  })
  await backend.connect(conformanceSession(session), new AbortController().signal)
  return { double, soniox, backend, recorder }
}

const ask = (backend: CascadeBackend): void => backend.sendText('Hello', { role: 'caller', respond: true })
const callerSaid = (recorder: Recorder, final: boolean): readonly string[] =>
  recorder
    .all('transcript')
    .filter((entry) => entry.role === 'caller' && entry.final === final)
    .map(({ text }) => text)
const asked = (double: CascadeDouble): readonly unknown[] =>
  (double.chats.at(-1)?.messages ?? []).filter(({ role }) => role === 'user').map(({ content }) => content)

t.test('words arrive during speech, the whole text after the turn', async (t) => {
  const { soniox, double, backend, recorder } = await line(t, () => ({ legRateHz: 8000, languages: ['sw', 'en'] }), {})
  t.equal(backend.capabilities.inputRateHz, 8000, "the leg's own rate")
  double.script.callerSays('nataka kujua bei')
  await speakTo(backend, 1200)
  await recorder.next('turn-done')
  t.same(callerSaid(recorder, true), ['nataka kujua bei'])
  t.equal(callerSaid(recorder, false)[0], 'nataka', 'the first word, as soon as it is there')
  t.match(soniox.listeners[0]?.config, { audio_format: 'mulaw', sample_rate: 8000, language_hints: ['sw', 'en'] })
  t.match(soniox.voices[0]?.configs[0], { sample_rate: 8000, audio_format: 'pcm_s16le', language: 'en' })
  t.ok(soniox.callerAudioMs < 1700, 'nothing is sent while nobody speaks')
  t.equal(backend.counters()['turnsResent'], 0)
})

t.test('the call does not wait for a missing end-of-turn acknowledgement', async (t) => {
  const { soniox, double, backend, recorder } = await line(t)
  soniox.faults.noAnswer = true
  double.script.callerSays('one two three', 'four five')
  await speakTo(backend, 900)
  await recorder.next('turn-done')
  t.same(callerSaid(recorder, true), ['one two three'], 'the words so far')
  await speakTo(backend, 900)
  await recorder.next('turn-done', 2)
  t.same(callerSaid(recorder, true), ['one two three', 'four five'], 'each turn has its own words')
})

t.test('a turn is sent again if its connection breaks', async (t) => {
  for (const [name, others] of [
    ['on a new connection', false],
    ['to the next service', true],
  ] as const) {
    const { soniox, double, backend, recorder } = await line(t, (options, double) =>
      others ? { stt: [...options.stt, ...cascadeOptions(double).stt] } : {},
    )
    // The broken session has taken the first text.
    double.script.callerSays('words that are lost', 'where is my order today')
    soniox.faults.breaksAfterWords = 2
    await speakTo(backend, 1500)
    await recorder.next('turn-done')
    t.same(callerSaid(recorder, true), ['where is my order today'], name)
    t.equal(double.chats.at(-1)?.messages.filter(({ role }) => role === 'user').length, 1, 'answered once')
    t.equal(backend.counters()['turnsResent'], 1)
    if (others) t.ok((double.heardBytes[0] ?? 0) / 32 >= 1500, 'the whole turn, with its beginning')
    t.same(
      recorder.all('error').map(({ fatal }) => fatal),
      [false],
      'the log knows',
    )
  }
})

t.test('a silent recogniser is replaced', async (t) => {
  const { soniox, double, backend, recorder } = await line(t, (options, double) => ({
    stt: [...options.stt, ...cascadeOptions(double).stt],
  }))
  soniox.faults.deaf = true
  double.script.callerSays('can you hear me')
  await speakTo(backend, 1000)
  await recorder.next('turn-done')
  t.same(callerSaid(recorder, true), ['can you hear me'])
})

t.test('if a voice breaks off, the next speaks the rest', async (t) => {
  const { soniox, double, backend, recorder } = await line(t, (options, double) => ({
    tts: [...options.tts, ...cascadeOptions(double).tts],
  }))
  const words = 'Your order left the shop this morning and it will be with you before noon tomorrow.'
  double.script.reply({ say: words, audioMs: 4000 })
  soniox.faults.breaksAfterSoundMs = 1500
  ask(backend)
  t.equal((await recorder.next('turn-done')).status, 'completed')
  const [first = ''] = soniox.spoken
  const second = double.spoken.join(' ')
  t.ok(second !== '' && words.endsWith(second), `the second voice ends it: ${second}`)
  const text = recorder.all('transcript').at(-1)?.text ?? ''
  t.equal(text, words, 'each word once')
  t.ok(first.length > second.length / 4)
})

t.test('after an interruption the model gets only the heard words', async (t) => {
  const { soniox, double, backend, recorder } = await line(t)
  soniox.faults.lateSound = true
  double.script.reply({ say: 'One two three four five six seven eight nine ten.', audioMs: 4900, paceMs: 5 })
  ask(backend)
  await recorder.until('sound', () => recorder.audioPieces.length >= 20)
  const itemId = recorder.audioPieces[0]?.itemId ?? null
  backend.interrupt({ itemId, playedMs: 1000 })
  const pieces = recorder.audioPieces.length
  // The first one found out whether the key is good.
  await recorder.until('the cancel', () => soniox.cancelled === 2)
  double.script.reply({ say: 'Yes, of course.' })
  ask(backend)
  await recorder.next('turn-done', 2)
  t.match(
    double.chats.at(-1)?.messages.filter(({ role }) => role === 'assistant'),
    [{ content: 'One two… [the caller interrupted]' }],
  )
  t.notOk(
    recorder.audioPieces.slice(pieces).some((piece) => piece.itemId === itemId),
    'no late sound',
  )
  t.equal(soniox.voices.length, 1, 'on the same connection')
})

t.test('a stream cancelled twenty times keeps its connection', async (t) => {
  const { soniox, double, backend, recorder } = await line(t)
  for (let i = 1; i <= 20; i++) {
    double.script.reply({ say: 'This is rather a long answer to a short question.' })
    ask(backend)
    await recorder.until('sound', () => recorder.audioPieces.some(({ generation }) => generation === i))
    backend.interrupt({ itemId: `cascade-${i}`, playedMs: 50 })
  }
  double.script.reply({ say: 'The last one.' })
  ask(backend)
  await recorder.next('audio-done')
  t.equal(soniox.voices.length, 1)
  t.same(recorder.all('error'), [])
})

t.test('an early model answer is spoken only if it fits', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.callerSays('what is my balance', 'send it please')
  double.script.reply({ say: 'Two hundred shillings.' })
  const frame = new Int16Array(320).fill(9000)
  const speak = async (words: number): Promise<void> => {
    backend.speechStart(performance.now())
    for (let i = 0; i < words * 13 + 4; i++) backend.pushAudio(frame)
    await recorder.until('the words', () => callerSaid(recorder, false).length > 0)
  }
  await speak(4)
  await recorder.until('the model', () => double.chats.length === 1)
  t.same(recorder.all('turn-start'), [], 'nobody hears it yet')
  backend.speechEnd(performance.now())
  await recorder.next('turn-done')
  t.equal(double.chats.length, 1, 'the answer that was asked for')
  t.equal(backend.stats.draftsUsed, 1)
  double.script.reply({ say: 'Not this one.' }, { say: 'It is sent.' })
  await speak(2)
  await recorder.until('the model', () => double.chats.length === 2)
  for (let i = 0; i < 16; i++) backend.pushAudio(frame)
  backend.speechEnd(performance.now())
  await recorder.next('turn-done', 2)
  t.same(asked(double), ['what is my balance', 'send it please'])
  t.equal(backend.stats.draftsDropped, 1)
  t.notMatch(JSON.stringify(recorder.events), 'Not this one')
})

t.test('an early model request waits until the caller is quiet', async (t) => {
  const alarms = new Set<() => void>()
  const timers: BackendTimers = {
    nowMs: () => performance.now(),
    after: (_ms, work) => {
      alarms.add(work)
      return () => void alarms.delete(work)
    },
  }
  const { double, backend, recorder } = await line(t, () => ({ timers }))
  double.script.callerSays('what is my balance')
  double.script.reply({ say: 'Two hundred shillings.' })
  backend.speechStart(performance.now())
  const hear = (frames: number, voiced: boolean): void => {
    for (let i = 0; i < frames; i++) backend.pushAudio(new Int16Array(320).fill(9000), voiced)
  }
  hear(56, true)
  await recorder.until('the words', () => callerSaid(recorder, false).at(-1) === 'what is my balance')
  for (const words of alarms) words()
  hear(4, false)
  hear(1, true)
  hear(4, false)
  t.equal(backend.stats.draftsUsed + double.chats.length, 0, 'a pause of 80 ms is none')
  hear(1, false)
  await recorder.until('the model', () => double.chats.length === 1)
  backend.speechEnd(performance.now())
  await recorder.next('turn-done')
  t.equal(backend.stats.draftsUsed, 1)
})

t.test('a failed early model request is made again', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.callerSays('is anybody there')
  double.script.reply({ say: 'Yes, I am here.' })
  double.refuse.llm = 'destroy'
  backend.speechStart(performance.now())
  for (let i = 0; i < 60; i++) backend.pushAudio(new Int16Array(320).fill(9000))
  await recorder.until('the model', () => double.aborted === 1)
  delete double.refuse.llm
  backend.speechEnd(performance.now())
  t.equal((await recorder.next('turn-done')).status, 'completed')
  t.same(recorder.all('error'), [])
})

t.test('a broken-off language model is followed by the next', async (t) => {
  const spare = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  t.teardown(() => spare.close())
  const { double, backend, recorder } = await line(t, (options) => ({
    llm: [...options.llm, chat({ baseUrl: spare.baseUrl, apiKey: CASCADE_TEST_KEY, model: 'spare' })],
  }))
  double.garbage = [
    'data: {"choices":[{"delta":{"content":"Your order number "}}]}\n\n',
    'data: {"error":{"message":"overloaded"}}\n\n',
  ]
  spare.script.reply({ say: 'is four seven one one.' })
  ask(backend)
  t.equal((await recorder.next('turn-done')).status, 'completed')
  t.equal(recorder.all('transcript').at(-1)?.text, 'Your order number is four seven one one.')
  t.match(spare.chats[0]?.messages.at(-2), { role: 'assistant', content: 'Your order number ' })
  t.match(spare.chats[0]?.messages.at(-1), { role: 'system', content: /repeat nothing/ })
  t.equal(backend.counters()['llmFailovers'], 1)
})

t.test('a wrong key ends the session without being shown', async (t) => {
  const { soniox, double, backend, recorder } = await line(t)
  soniox.refuseSession = { code: 401, message: `Incorrect API key: ${CASCADE_TEST_KEY}` }
  soniox.breakOff()
  await speakTo(backend, 600)
  await recorder.next('closed')
  t.match(recorder.all('error').at(-1), { code: 'auth', fatal: true })
  t.notMatch(JSON.stringify(recorder.events), CASCADE_TEST_KEY)
  t.equal(double.chats.length, 0)
})

t.test('caller speech in parts before an answer is one message', async (t) => {
  const { double, backend, recorder } = await line(t)
  double.script.callerSays('I want a room and', 'a view of the lake')
  await speakTo(backend, 900)
  await recorder.next('turn-start')
  backend.interrupt({ itemId: null, playedMs: 0 })
  await speakTo(backend, 900)
  await recorder.next('turn-start', 2)
  await recorder.until('the answer', () => recorder.all('turn-done').some(({ status }) => status === 'completed'))
  t.same(asked(double), ['I want a room and a view of the lake'])
})

t.test('"hello?" after a question repeats it without a model request', async (t) => {
  const { double, soniox, backend, recorder } = await line(t)
  double.script.reply({ say: 'I have a room. For which day do you want it?', audioMs: 2000 })
  ask(backend)
  await recorder.next('turn-done')
  const requests = double.chats.length
  double.script.callerSays('hello?', 'for friday')
  await speakTo(backend, 700)
  await recorder.next('turn-done', 2)
  t.equal(soniox.spoken.at(-1)?.trim(), 'For which day do you want it?')
  t.equal(double.chats.length, requests + (backend.counters()['draftsDropped'] ?? 0), 'the model gives no answer to it')
  t.equal(backend.counters()['questionsRepeated'], 1)
  await speakTo(backend, 700)
  await recorder.next('turn-done', 3)
  t.match(double.chats.at(-1)?.messages.slice(-2), [
    { role: 'assistant', content: 'For which day do you want it?' },
    { role: 'user', content: 'for friday' },
  ])
})
