import { mock } from 'node:test'
import t from 'tap'
import type { Test } from 'tap'
import type { Backend, BackendSession, BackendSink } from '../../src/backends/backend.js'
import { conformanceSession, Recorder } from '../../src/backends/conformance.js'
import { Wishes } from '../../src/backends/wishes.js'
import type { DoubleSession, SocketDouble } from '../../src/simulator/vendors/double.js'
import { azureBackend } from '../../src/vendors/azure-voice-live/backends.js'
import { AzureVoiceLiveDouble } from '../../src/vendors/azure-voice-live/double.js'
import { GeminiLiveBackend } from '../../src/vendors/gemini/live/backend.js'
import { GeminiDouble } from '../../src/vendors/gemini/live-double.js'
import { OpenAiLiveBackend } from '../../src/vendors/openai/live/backend.js'
import { OpenAiLiveDouble } from '../../src/vendors/openai/live-double.js'
import { OpenAiRealtimeBackend } from '../../src/vendors/self-hosted/realtime/backend.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import { REALTIME } from '../../src/vendors/list.js'
import { realtimeOnDouble } from './realtime-doubles.js'
import { KEY } from './service-doubles.js'

/** A realtime service with all of an agent's options that it may refuse. */
interface Row {
  readonly backend: string
  /** Options that belong to this row. */
  readonly options: Readonly<Record<string, unknown>>
  readonly session?: Partial<BackendSession>
  /** Optional fields of the session, as they are on the wire. */
  readonly fields: readonly string[]
  readonly start: () => Promise<SocketDouble<DoubleSession>>
  readonly make: (sink: BackendSink, baseUrl: string, options: object) => Backend
}

const openAi = {
  start: () => OpenAiDouble.start({ key: KEY }),
  make: (sink: BackendSink, baseUrl: string, options: object) =>
    new OpenAiRealtimeBackend(sink, { apiKey: KEY, model: 'gpt-realtime-2.1', baseUrl, ...options }),
}
const live = {
  start: () => OpenAiLiveDouble.start({ key: KEY }),
  make: (sink: BackendSink, baseUrl: string, options: object) =>
    new OpenAiLiveBackend(sink, {
      apiKey: KEY,
      model: 'gpt-live-1.1',
      baseUrl,
      delegate: { by: 'responses', model: 'gpt-5' },
      ...options,
    }),
}
const gemini = {
  start: () => GeminiDouble.start({ key: KEY }),
  make: (sink: BackendSink, baseUrl: string, options: object) =>
    new GeminiLiveBackend(sink, { apiKey: KEY, model: 'gemini-3.8-live', baseUrl, ...options }),
}
const azure = {
  start: () => AzureVoiceLiveDouble.start({ key: KEY }),
  make: (sink: BackendSink, baseUrl: string, options: object) =>
    azureBackend(sink, { apiKey: KEY, model: 'gpt-4.1', baseUrl, legRateHz: 8000, ...options }),
}

/** Services that are tested in several forms. */
const FORMS: Readonly<Record<string, Row>> = {
  openai: {
    ...openAi,
    backend: 'openai',
    options: {
      turns: { by: 'server_vad', threshold: 0.5, prefixPaddingMs: 300, silenceMs: 500, idleTimeoutMs: 6000 },
      transcription: 'gpt-transcribe',
      languages: ['sw', 'en'],
      keywords: ['Zawadi'],
      noiseReduction: 'near_field',
      speed: 0.9,
      maxOutputTokens: 400,
      contextTokens: 20_000,
      retentionRatio: 0.7,
      reasoningEffort: 'low',
      parallelToolCalls: true,
    },
    fields: [
      'threshold',
      'prefix_padding_ms',
      'silence_duration_ms',
      'idle_timeout_ms',
      'languages',
      'keywords',
      'noise_reduction',
      'speed',
      'max_output_tokens',
      'truncation',
      'reasoning',
      'parallel_tool_calls',
    ],
  },
  'openai by meaning': {
    ...openAi,
    backend: 'openai',
    options: { turns: { by: 'semantic_vad', eagerness: 'high' }, transcription: 'whisper-1' },
    fields: ['eagerness', 'language'],
  },
  'self-hosted': {
    make: (sink, baseUrl, options) =>
      openAi.make(sink, baseUrl, { dialect: 'beta', name: 'self-hosted', confirmMs: 100, ...options }),
    start: () => OpenAiDouble.start({ key: KEY, dialect: 'beta' }),
    backend: 'self-hosted',
    options: {
      turns: { by: 'server_vad', threshold: 0.5, prefixPaddingMs: 300, silenceMs: 500 },
      transcription: 'whisper-1',
      maxOutputTokens: 400,
      temperature: 0.7,
    },
    fields: [
      'threshold',
      'prefix_padding_ms',
      'silence_duration_ms',
      'language',
      'max_response_output_tokens',
      'temperature',
    ],
  },
  'self-hosted of today': {
    ...openAi,
    backend: 'self-hosted',
    options: { turns: { by: 'gateway' }, transcription: null, noiseReduction: 'far_field', speed: 0.9 },
    fields: ['noise_reduction', 'speed'],
  },
  'openai-live': {
    ...live,
    backend: 'openai-live',
    options: {
      delegate: { by: 'responses', model: 'gpt-5', reasoningEffort: 'low', maxOutputTokens: 400 },
      acknowledgementMs: 500,
    },
    fields: ['reasoning', 'max_output_tokens', 'acknowledgement_delay_ms'],
  },
  gemini: {
    ...gemini,
    backend: 'gemini',
    options: {
      turns: { by: 'server', silenceMs: 500, prefixPaddingMs: 300 },
      temperature: 0.7,
      maxOutputTokens: 400,
      transcription: { languages: ['sw-KE'], vocabulary: ['Zawadi'] },
      compressContext: true,
    },
    fields: [
      'silenceDurationMs',
      'prefixPaddingMs',
      'temperature',
      'maxOutputTokens',
      'languageCodes',
      'customVocabulary',
      'contextWindowCompression',
    ],
  },
  'azure-voice-live': {
    ...azure,
    backend: 'azure-voice-live',
    session: { voice: 'en-KE-AsiliaNeural' },
    options: {
      turns: {
        by: 'azure_semantic_vad_multilingual',
        threshold: 0.5,
        prefixPaddingMs: 300,
        silenceMs: 500,
        speechMs: 100,
        endOfUtterance: { level: 'low' },
      },
      phrases: ['Zawadi'],
      noiseReduction: 'azure_deep_noise_suppression',
      echoCancellation: true,
      speed: 0.9,
      style: 'chat',
      temperature: 0.7,
      maxOutputTokens: 400,
      reasoningEffort: 'low',
    },
    fields: [
      'threshold',
      'prefix_padding_ms',
      'silence_duration_ms',
      'speech_duration_ms',
      'remove_filler_words',
      'languages',
      'end_of_utterance_detection',
      'phrase_list',
      'input_audio_noise_reduction',
      'input_audio_echo_cancellation',
      'rate',
      'style',
      'temperature',
      'max_response_output_tokens',
      'reasoning_effort',
    ],
  },
  'azure-voice-live with another recogniser': {
    ...azure,
    backend: 'azure-voice-live',
    options: { transcription: 'whisper-1', turns: { by: 'gateway' } },
    fields: ['language'],
  },
}

/** Those that the other vendors declare. */
const DECLARED = await Promise.all(
  [...REALTIME.keys()]
    .filter((backend) => Object.values(FORMS).every((row) => row.backend !== backend))
    .map(async (backend) => {
      const { start, make, rows } = await realtimeOnDouble(backend)
      return rows.map((row, i): [string, Row] => [
        `${backend} ${i + 1}`,
        { backend, ...row, make, start: () => start({ key: KEY }) },
      ])
    }),
)
const ROWS = { ...FORMS, ...Object.fromEntries(DECLARED.flat()) }

/**
 * Options that choose a model, an audio format or the way of the gateway's own work. What a row has of `turns`,
 * `transcription` and `delegate` is more than the choice.
 */
const NEEDED = [
  'model',
  'audio',
  'messageMs',
  'streamSilence',
  'live',
  'delegateTimeoutMs',
  'texts',
  // Models that reason demand it, and the others do not get it.
  'thinkingLevel',
  // Both are one field with the recogniser's language.
  'locales',
]

const isIn = (sent: string, field: string): boolean => sent.includes(`"${field}":`)

/** A call over the row's service. @param objection  words for the refusal of a session */
async function call(t: Test, row: Row, objection: (sent: string) => string | null) {
  const double = await row.start()
  const sent: string[] = []
  double.objection = (text) => {
    sent.push(text)
    return objection(text)
  }
  const recorder = new Recorder()
  const backend = row.make(recorder, double.baseUrl, row.options)
  t.teardown(async () => {
    await backend.close('the test is over')
    await double.close()
  })
  const session = conformanceSession(row.session ?? {})
  await backend.connect(session, new AbortController().signal)
  double.script.reply({ say: 'It arrives tomorrow at noon.' })
  backend.sendText('Where is it?', { role: 'caller', respond: true })
  await recorder.next('turn-done')
  t.equal(recorder.all('turn-done')[0]?.status, 'completed')
  t.same(recorder.all('error'), [])
  return { sent, counters: backend.counters?.() ?? {} }
}

t.test('each option of a realtime backend has a test row', (t) => {
  for (const [name, { options: schema }] of REALTIME) {
    const rows = Object.values(ROWS).filter(({ backend }) => backend === name)
    const given = new Set(rows.flatMap(({ options }) => Object.keys(options)))
    const { shape } = schema as unknown as { readonly shape: object }
    t.same(
      Object.keys(shape).filter((option) => !given.has(option) && !NEEDED.includes(option)),
      [],
      name,
    )
  }
  t.end()
})

for (const [name, row] of Object.entries(ROWS)) {
  t.test(`${name}: each optional field has a test row`, async (t) => {
    const spy = mock.method(Wishes.prototype, 'of')
    t.teardown(() => spy.mock.restore())
    const { sent } = await call(t, row, () => null)
    const given = spy.mock.calls.flatMap(({ arguments: [fields] }) => Object.entries(fields) as [string, unknown][])
    const asked = new Set(given.flatMap(([field, value]) => (value === undefined ? [] : field)))
    t.same([...asked].sort(), [...row.fields].sort())
    for (const field of row.fields) t.ok(isIn(sent.join(), field), `${field} is on the wire`)
  })

  for (const field of row.fields)
    t.test(`${name}: a refused ${field} is left out`, async (t) => {
      const { sent, counters } = await call(t, row, (text) =>
        isIn(text, field) ? `Unknown parameter: 'session.${field}'.` : null,
      )
      t.same(
        sent.map((text) => isIn(text, field)),
        [true, false],
      )
      for (const other of row.fields)
        if (other !== field) t.ok(isIn(sent[1] ?? '', other), `${other} is still asked for`)
      t.equal(counters['wishesRefused'], 1)
    })

  t.test(`${name}: a refusal without a field leaves all out`, async (t) => {
    const { sent, counters } = await call(t, row, (text) =>
      row.fields.some((field) => isIn(text, field)) ? 'Invalid session.' : null,
    )
    t.same(
      row.fields.filter((field) => isIn(sent.at(-1) ?? '', field)),
      [],
    )
    t.equal(counters['wishesRefused'], row.fields.length)
  })
}
