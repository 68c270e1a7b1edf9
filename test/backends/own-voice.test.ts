import { readdirSync, readFileSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { CascadeBackend } from '../../src/backends/cascade/cascade-backend.js'
import { OwnVoice } from '../../src/backends/cascade/own-voice.js'
import { sonioxTextToSpeech } from '../../src/vendors/soniox/services.js'
import { conformanceSession, Recorder } from '../../src/backends/conformance.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { SonioxDouble } from '../../src/vendors/soniox/double.js'
import { PhraseStore } from '../../src/speech/phrase-store.js'
import { CASCADE_TEST_KEY, cascadeOptions } from './cascade-harness.js'

const GREETING = 'Good morning, this is the order line.'
const APOLOGY = 'I am sorry, I have a technical problem.'

const wavs = (folder: string): string[] => readdirSync(folder).filter((name) => name.endsWith('.wav'))

async function line(
  t: Test,
  folder: string,
  voice: 'alive' | 'mute' | 'down' = 'alive',
  texts: readonly string[] = [GREETING, APOLOGY],
) {
  const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  const soniox = await SonioxDouble.start({ key: CASCADE_TEST_KEY, script: double.script })
  const store = new PhraseStore(folder)
  await store.load()
  const tts = sonioxTextToSpeech({ baseUrl: soniox.baseUrl, apiKey: CASCADE_TEST_KEY })
  const ownVoice = new OwnVoice({
    store,
    factory: () => tts,
    settings: { service: 'soniox' },
    voice: 'Adrian',
    legRateHz: 16_000,
    texts: texts.map((text) => ({ text, language: 'en' })),
    pronunciations: [],
  })
  if (voice === 'mute') soniox.faults.mute = true
  if (voice === 'down') soniox.refuse = { status: 503, body: '{}' }
  const recorder = new Recorder()
  const backend = new CascadeBackend(recorder, {
    ...cascadeOptions(double),
    tts: [tts],
    ownVoice,
    voices: { en: 'Adrian', sw: 'Maya' },
  })
  t.teardown(async () => {
    await backend.close('the test is over')
    await soniox.close()
    await double.close()
  })
  await backend.connect(conformanceSession({ greeting: GREETING }), new AbortController().signal)
  return { backend, recorder, double, soniox, ownVoice, store }
}

t.test('spoken phrases are kept and available to the next call', async (t) => {
  const folder = t.testdir({})
  const first = await line(t, folder)
  await first.recorder.until('both phrases', () => first.ownVoice.rendered === 2)
  t.same(first.soniox.spoken.filter((text) => text !== '').toSorted(), [GREETING, APOLOGY].toSorted())
  t.equal(wavs(folder).length, 2)
  const second = await line(t, folder, 'mute')
  second.backend.sendText('', { role: 'system', respond: true })
  t.ok(second.recorder.audioPieces.length > 0, 'in the same tick')
  t.equal((await second.recorder.next('turn-done')).status, 'completed')
  t.match(second.recorder.all('transcript').at(-1), { text: GREETING, final: true })
  t.ok((second.ownVoice.find(APOLOGY)?.pcm.length ?? 0) > 16_000, 'the apology of an outage, in the same voice')
  t.same(
    second.soniox.spoken.filter((text) => text !== ''),
    [],
  )
  t.match(second.backend.counters(), { phrasesKept: 2, phrasesRendered: 0, phrasesUnreadable: 0 })
})

t.test('only the fixed phrases are kept', async (t) => {
  const folder = t.testdir({})
  const { backend, recorder, ownVoice } = await line(t, folder)
  await recorder.until('both phrases', () => ownVoice.rendered === 2)
  backend.sendText('Who am I?', { role: 'caller', respond: true })
  await recorder.next('turn-done')
  t.equal(ownVoice.find('Your name is Wanjiru.'), null)
  t.equal(wavs(folder).length, 2)
})

t.test('a changed voice or speed applies from the next answer', async (t) => {
  const { backend, recorder, double, soniox } = await line(t, t.testdir({}), 'alive', [])
  double.script.reply({ say: 'It costs KES 250.' }, { say: 'Ni KES 250.' })
  for (const [index, language] of ['en-KE', 'sw-KE'].entries()) {
    backend.updateSession({ language })
    backend.sendText('Bei?', { role: 'caller', respond: true })
    await recorder.until('the answer', () => recorder.all('turn-done').length > index)
  }
  t.match(soniox.voices.flatMap(({ configs }) => configs).slice(-2), [
    { language: 'en', voice: 'Adrian' },
    { language: 'sw', voice: 'Maya' },
  ])
  backend.updateSession({ speed: 0.85 })
  double.script.reply({ say: 'Pole pole.' })
  backend.sendText('Polepole!', { role: 'caller', respond: true })
  await recorder.until('the slower answer', () => recorder.all('turn-done').length > 2)
  t.match(soniox.voices.flatMap(({ configs }) => configs).slice(-2), [{ speed: undefined }, { speed: 0.85 }])
  backend.updateSession({ voices: { cascade: { en: 'Adrian', sw: 'Grace' } } })
  double.script.reply({ say: 'Karibu.' })
  backend.sendText('Asante!', { role: 'caller', respond: true })
  await recorder.until('the answer of another service', () => recorder.all('turn-done').length > 3)
  t.match(soniox.voices.flatMap(({ configs }) => configs).at(-1), { voice: 'Grace' })
  t.match(soniox.spoken.join(' '), /two hundred and fifty shillings.*Ni shilingi mia mbili na hamsini/)
})

t.test('an agent with many phrases causes no listener warning', async (t) => {
  const warnings: string[] = []
  const warned = ({ name }: Error): unknown => warnings.push(name)
  process.on('warning', warned)
  t.teardown(() => process.off('warning', warned))
  const texts = Array.from({ length: 12 }, (_, i) => `Sentence ${i + 1}.`)
  const { recorder, ownVoice } = await line(t, t.testdir({}), 'alive', texts)
  await recorder.until('all phrases', () => ownVoice.rendered === texts.length)
  await new Promise((resolve) => setImmediate(resolve))
  t.same(warnings, [])
})

t.test('a call starts with its kept greeting without a voice', async (t) => {
  const folder = t.testdir({})
  await t.rejects(line(t, folder, 'down'), /503/, 'not without the greeting')
  const first = await line(t, folder)
  await first.recorder.until('both phrases', () => first.ownVoice.rendered === 2)
  const { backend, recorder, soniox } = await line(t, folder, 'down')
  t.match(recorder.all('error'), [{ code: 'internal', fatal: false }], 'for the log')
  backend.sendText('', { role: 'system', respond: true })
  t.equal((await recorder.next('turn-done')).status, 'completed')
  t.match(recorder.all('transcript').at(-1), { text: GREETING, final: true })
  soniox.refuse = null
  backend.sendText('Hello', { role: 'caller', respond: true })
  t.equal((await recorder.next('turn-done', 2)).status, 'completed')
  t.match(recorder.all('transcript').at(-1), { text: 'Yes.', final: true })
})

t.test('each voice, rate and speed has its own phrase file', (t) => {
  const manner = { service: 'soniox', voice: 'Adrian', legRateHz: 16_000, speed: 1 }
  const keys = [
    manner,
    { ...manner, service: 'cartesia' },
    { ...manner, voice: 'Maya' },
    { ...manner, legRateHz: 8000 },
    { ...manner, speed: 0.9 },
  ].map((one) => PhraseStore.key(one, GREETING))
  t.equal(new Set([...keys, PhraseStore.key(manner, APOLOGY)]).size, 6)
  t.end()
})

t.test('a damaged file is ignored, counted and removed', async (t) => {
  const folder = t.testdir({})
  const store = new PhraseStore(folder)
  const phrase = { pcm: Int16Array.from({ length: 8000 }, (_, i) => i), sampleRateHz: 8000 } as const
  for (const key of ['cut', 'strange', 'whole']) await store.keep(key, phrase)
  truncateSync(join(folder, 'cut.wav'), 5000)
  writeFileSync(join(folder, 'strange.wav'), 'no sound')
  const other = new PhraseStore(folder)
  await other.load()
  t.same(other.find('whole'), phrase)
  t.equal(other.find('cut'), null)
  t.equal(other.find('strange'), null)
  t.equal(other.unreadable, 2)
  t.same(wavs(folder), ['whole.wav'])
})

t.test('the least recently used files are removed first', async (t) => {
  const folder = t.testdir({})
  const store = new PhraseStore(folder)
  const phrase = { pcm: new Int16Array(8).fill(1), sampleRateHz: 8000 } as const
  await store.keep('first', phrase)
  const bytes = readFileSync(join(folder, 'first.wav'))
  for (let i = 0; i < 2000; i++) writeFileSync(join(folder, `old-${i}.wav`), bytes)
  utimesSync(join(folder, 'first.wav'), new Date(0), new Date(0))
  await store.keep('last', phrase)
  t.equal(wavs(folder).length, 2000)
  t.notOk(wavs(folder).includes('first.wav'))
  t.ok(wavs(folder).includes('last.wav'))
  t.equal(store.evictions, 2)
  t.same(
    readdirSync(folder).filter((name) => name.endsWith('.part')),
    [],
  )
})

t.test('a caller recognised during connection is greeted by name', async (t) => {
  const { backend, recorder } = await line(t, t.testdir({}))
  backend.updateSession({ greeting: 'Hello Amina.' })
  backend.sendText('', { role: 'system', respond: true })
  await recorder.next('turn-done')
  t.match(recorder.all('transcript').at(-1), { text: 'Hello Amina.', final: true })
})
