import t from 'tap'
import type { Test } from 'tap'
import type { BackendSession } from '../../src/backends/backend.js'
import { Recorder, conformanceSession, speakTo } from '../../src/backends/conformance.js'
import { GeminiLiveBackend } from '../../src/backends/gemini-live/gemini-backend.js'
import type { GeminiLiveOptions } from '../../src/backends/gemini-live/setup.js'
import { GeminiDouble } from '../../src/simulator/vendors/gemini-live-double.js'
import { GEMINI_TEST_KEY } from '../backends/gemini-harness.js'

async function double(t: Test): Promise<GeminiDouble> {
  const started = await GeminiDouble.start({ key: GEMINI_TEST_KEY })
  t.teardown(() => started.close())
  return started
}

async function line(
  t: Test,
  service: GeminiDouble,
  model: string,
  options: Partial<GeminiLiveOptions> = {},
  session: Partial<BackendSession> = {},
): Promise<{ readonly backend: GeminiLiveBackend; readonly recorder: Recorder }> {
  const recorder = new Recorder()
  const backend = new GeminiLiveBackend(recorder, {
    apiKey: GEMINI_TEST_KEY,
    model,
    baseUrl: service.baseUrl,
    ...options,
  })
  t.teardown(() => backend.close('the test is over'))
  await backend.connect(conformanceSession(session), new AbortController().signal)
  return { backend, recorder }
}

const greet = (backend: GeminiLiveBackend): void => backend.sendText('', { role: 'system', respond: true })

t.test('a known model gets texts as it takes them, on its first connection', async (t) => {
  for (const [model, texts] of [
    ['gemini-3.1-flash-live-preview', 'realtime'],
    ['models/gemini-3.1-flash-live-preview-11-2026', 'realtime'],
    ['gemini-2.5-flash-native-audio-latest', 'content'],
    ['gemini-live-2.5-flash', 'content'],
    ['gemini-3.8-live', 'content'],
    ['gemini-3.8-live-extended-thinking', 'content'],
  ] as const) {
    const service = await double(t)
    service.script.reply({ say: 'Welcome to the shop.', audioMs: 500 })
    // Content as history is taken by all of them.
    const { backend, recorder } = await line(t, service, model, {}, { history: [{ role: 'caller', text: 'Hello?' }] })
    greet(backend)
    t.equal((await recorder.next('turn-done')).status, 'completed', model)
    t.equal(recorder.audioMs(1), 500)
    t.equal(service.connections, 1)
    const live = service.session.received.some(({ realtimeInput }) => realtimeInput?.text !== undefined)
    t.equal(live, texts === 'realtime')
    t.same(recorder.all('error'), [])
  }
})

t.test('an unknown model that takes content as history only is answered with live input, once', async (t) => {
  for (const [name, model, options] of [
    ['by its version', 'gemini-3.5-flash-live', {}],
    ['without a version', 'gemini-live', {}],
    ['of the future', 'gemini-4.2-live', {}],
    ['of a name of its own', 'models/shop-7', {}],
    ['with turns of the service', 'gemini-3.6-live', { turns: { by: 'server' } }],
  ] as const) {
    const service = await double(t)
    service.faults.refusesContent = true
    service.script.reply({ say: 'Welcome to the shop.', audioMs: 500 })
    const history = [{ role: 'caller', text: 'Is anyone there?' }] as const
    const { backend, recorder } = await line(t, service, model, options, { history })
    backend.sendText('Be brief.', { role: 'system', respond: false })
    greet(backend)
    await recorder.until('the greeting', () => recorder.audioMs(1) === 500)
    t.equal(service.connections, 2, name)
    t.equal(backend.stats.contentRefused, 1)
    t.match(recorder.all('error'), [{ code: 'bad_request', fatal: false, message: /sent a text as content/ }])
    t.equal(recorder.all('ready').length, 1, 'the call sees one session')
    t.same(recorder.all('closed'), [])
    const [said, ...texts] = service.session.texts
    t.equal(said, 'Is anyone there?', 'the history, once')
    t.match(texts.join('\n'), /^\[Be brief\.\]\n\[/)
    const again = await line(t, service, model, options)
    greet(again.backend)
    await again.recorder.next('turn-done')
    t.equal(service.connections, 3, `${name}: the next session knows`)
    t.equal(again.backend.stats.contentRefused, 0)
  }
})

t.test('what the caller says while the text is refused is not lost', async (t) => {
  for (const turns of [{ by: 'gateway' }, { by: 'server' }] as const) {
    const service = await double(t)
    service.faults.refusesContent = true
    service.script.reply({ say: 'Welcome.', audioMs: 300 }, { say: 'It is on its way.', audioMs: 400 })
    service.script.callerSays(...(turns.by === 'gateway' ? [''] : []), 'where is my order')
    const { backend, recorder } = await line(t, service, 'gemini-3.5-flash-live', { turns })
    greet(backend)
    await speakTo(backend, 400)
    await recorder.until('the caller', () =>
      recorder.all('transcript').some(({ role, final }) => role === 'caller' && final),
    )
    await recorder.until('an answer', () => recorder.audioPieces.length > 0)
    t.ok(service.session.callerAudioMs >= 400, `${service.session.callerAudioMs} ms heard on the second connection`)
    t.equal(service.connections, 2)
    t.ok(service.session.texts.length > 0, 'and it was asked to greet')
  }
})

t.test('a text that is refused in the middle of a call goes on from what was said', async (t) => {
  const service = await double(t)
  service.faults.refusesContent = true
  service.script.callerSays('where is my order')
  service.script.reply({ say: 'On its way.', audioMs: 300 }, { say: 'Goodbye.', audioMs: 200 })
  const { backend, recorder } = await line(t, service, 'gemini-3.5-flash-live')
  await speakTo(backend, 400)
  await recorder.next('turn-done')
  backend.sendText('Say goodbye.', { role: 'system', respond: true })
  await recorder.until('the goodbye', () => recorder.audioMs(2) === 200)
  t.match(service.session.setup, { sessionResumption: { handle: /^handle-/ } })
  t.same(service.session.texts, ['[Say goodbye.]'])
})

t.test('a model that was taken at its word is not tried again, and no close is answered twice', async (t) => {
  const service = await double(t)
  const { backend, recorder } = await line(t, service, 'gemini-3.5-flash-live')
  greet(backend)
  await recorder.next('turn-done')
  service.session.closeWith(1007, 'Request contains an invalid argument.')
  t.match(
    await recorder.next('error'),
    { code: 'bad_request', fatal: true },
    'it had taken content: this is something else',
  )

  const refusing = await double(t)
  refusing.faults.refusesContent = true
  const told = await line(t, refusing, 'gemini-3.5-flash-live', { texts: 'content' })
  greet(told.backend)
  t.match(await told.recorder.next('error'), { fatal: true }, 'the setting is kept to')
  t.equal(refusing.connections, 1)

  const tried = await line(t, refusing, 'gemini-3.7-live')
  refusing.script.reply({ say: 'Too late.', audioMs: 2000, paceMs: 50 })
  tried.backend.sendText('Hello', { role: 'caller', respond: true })
  await tried.recorder.until(
    'a second connection',
    () => refusing.connections === 3 && refusing.session.texts.length > 0,
  )
  refusing.session.closeWith(1007, 'Request contains an invalid argument.')
  t.match(await tried.recorder.next('error', 2), { fatal: true })
  t.equal(refusing.connections, 3)
})
