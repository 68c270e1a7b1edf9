import { mock } from 'node:test'
import { setImmediate as turnOfEventLoop } from 'node:timers/promises'
import { createServer as createTlsServer } from 'node:tls'
import t from 'tap'
import { services } from '../../src/vendors/openai/services.js'
import type { Test } from 'tap'
import { selfSigned } from '../../bench/kit/self-signed.js'
import { commonRateHz } from '../../src/backends/cascade/service-list.js'
import { azureSpeechToText } from '../../src/vendors/azure/services.js'
import { deepgramSpeechToText } from '../../src/vendors/deepgram/services.js'
import { serviceContext } from '../../src/backends/cascade/service-context.js'
import { googleSpeechToText } from '../../src/vendors/google/speech-to-text.js'
import { openAiSpeechToText } from '../../src/vendors/self-hosted/realtime/speech-to-text.js'
import { sherpaSpeechToText, voskSpeechToText } from '../../src/vendors/own-recognisers/services.js'
import { sonioxSpeechToText } from '../../src/vendors/soniox/services.js'
import { ServiceFault } from '../../src/backends/cascade/service-fault.js'
import { lacksOf } from '../../src/backends/registry.js'
import { loadConfig } from '../../src/config/load-config.js'
import { backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import type { Heard, SpeechToText, ServiceContext, ServiceFactory } from '../../src/backends/cascade/service.js'
import { KeptSound } from '../../src/backends/cascade/turn-sound.js'
import type { VendorFault } from '../../src/backends/transport/vendor-fault.js'
import type { BackendUsage } from '../../src/call/backend-events.js'
import type { SampleRateHz } from '../../src/core/units.js'
import { AzureSpeechDouble } from '../../src/vendors/azure/double.js'
import { DeepgramDouble } from '../../src/vendors/deepgram/double.js'
import type { GoogleDoubleOptions } from '../../src/vendors/google/keys-double.js'
import { GoogleSpeechDouble } from '../../src/vendors/google/speech-double.js'
import type { Script } from '../../src/simulator/vendors/double.js'
import { SherpaDouble, VoskDouble } from '../../src/vendors/own-recognisers/double.js'
import { SonioxDouble } from '../../src/vendors/soniox/double.js'
import type { ServiceDoubleOptions, ServiceFaults } from '../../src/simulator/vendors/service-double.js'
import { TranscriptionDouble } from '../../src/vendors/openai/double.js'
import { portOf } from '../support/port-of.js'
import { serviceAccount } from '../support/service-account.js'
import { until } from '../support/until.js'
import { polled } from './socket-peers.js'

const KEY = 'sk-recogniser-0123456789abcdef'
const RATE_HZ = 8000

/** Common interface of the doubles of recognisers. */
interface Double {
  readonly script: Script
  readonly faults: ServiceFaults
  readonly baseUrl: string
  readonly connections: number
  callerAudioMs: number
  refuse: unknown
  breakOff(): void
  close(): Promise<void>
}

interface Service {
  readonly start: (options: ServiceDoubleOptions) => Promise<Double>
  readonly make: (baseUrl: string) => ServiceFactory<SpeechToText>
  /** The turns of one call need a connection each. */
  readonly oneTurn?: true
}

const SERVICES: Readonly<Record<string, Service>> = {
  soniox: {
    start: (options) => SonioxDouble.start(options),
    make: (baseUrl) => sonioxSpeechToText({ baseUrl, apiKey: KEY }),
  },
  nova: {
    start: (options) => DeepgramDouble.start(options),
    make: (baseUrl) => deepgramSpeechToText({ baseUrl, apiKey: KEY }),
  },
  flux: {
    start: (options) => DeepgramDouble.start(options),
    make: (baseUrl) => deepgramSpeechToText({ baseUrl, apiKey: KEY, model: 'flux-general-en' }),
  },
  openai: {
    start: (options) => TranscriptionDouble.start(options),
    make: (baseUrl) => services.stt.openai({ baseUrl, apiKey: KEY }),
  },
  vllm: {
    start: (options) => TranscriptionDouble.start(options),
    make: (baseUrl) => openAiSpeechToText({ baseUrl, apiKey: KEY, model: 'voxtral', dialect: 'vllm' }),
    oneTurn: true,
  },
  azure: {
    start: (options) => AzureSpeechDouble.start(options),
    make: (baseUrl) => azureSpeechToText({ baseUrl, apiKey: KEY }),
    oneTurn: true,
  },
  google: {
    start: (options) => GoogleSpeechDouble.start(options),
    make: (baseUrl) => googleSpeechToText({ baseUrl, apiKey: KEY }),
    oneTurn: true,
  },
  vosk: {
    start: (options) => VoskDouble.start(options),
    make: (baseUrl) => voskSpeechToText({ baseUrl }),
    oneTurn: true,
  },
  sherpa: {
    start: (options) => SherpaDouble.start(options),
    make: (baseUrl) => sherpaSpeechToText({ baseUrl }),
    oneTurn: true,
  },
}

/** A recogniser on its double, and what it has reported. */
class Line {
  readonly finals: { readonly turn: number; readonly heard: Heard }[] = []
  readonly failures: { readonly turn: number | null; readonly fault: VendorFault }[] = []
  /** The newest words of each turn before its final. */
  readonly words = new Map<number, string>()
  readonly used: BackendUsage[] = []
  readonly double: Double
  readonly recogniser: SpeechToText
  readonly rateHz: SampleRateHz
  readonly #sounds = new Map<number, KeptSound>()

  private constructor(double: Double, factory: ServiceFactory<SpeechToText>) {
    this.double = double
    this.rateHz = commonRateHz([factory], RATE_HZ)
    this.recogniser = factory.make(contextOf(this.rateHz, (usage) => this.used.push(usage)))
    this.recogniser.listen({
      words: (turn, { text }) => this.words.set(turn, text),
      part: () => undefined,
      final: (turn, heard) => this.finals.push({ turn, heard }),
      failed: (turn, fault) => this.failures.push({ turn, fault }),
    })
  }

  static async open(service: Service, options: ServiceDoubleOptions = {}, factory = service.make): Promise<Line> {
    const double = await service.start({ key: KEY, ...options })
    const line = new Line(double, factory(double.baseUrl))
    await line.recogniser.open(new AbortController().signal, true)
    return line
  }

  begin(turn: number): void {
    const sound = new KeptSound(this.rateHz)
    this.#sounds.set(turn, sound)
    this.recogniser.begin(turn, sound)
  }

  speak(turn: number, ms: number, level = 9000): void {
    const frame = Int16Array.from({ length: this.rateHz / 50 }, (_, i) => Math.round(level * Math.sin(i / 8)))
    for (let spokenMs = 0; spokenMs < ms; spokenMs += 20) {
      this.#sounds.get(turn)?.push(frame)
      this.recogniser.audio(frame)
    }
  }

  /** A whole turn. Its words are there before it ends, so that a machine that is busy changes nothing. */
  async say(turn: number, text: string): Promise<void> {
    this.double.script.callerSays(text)
    this.begin(turn)
    this.speak(turn, 250 * text.split(' ').length + 150)
    await this.until(() => this.words.get(turn) === text)
    this.recogniser.finalize(turn, 100)
  }

  get texts(): readonly string[] {
    return this.finals.map(({ turn, heard }) => `${turn} ${heard.text}`)
  }

  until(condition: () => boolean): Promise<void> {
    return until(condition, 10_000, `${String(condition)}; so far: ${this.texts.join(', ')}`)
  }

  async close(): Promise<void> {
    this.recogniser.close()
    await this.double.close()
  }
}

/** Does this with all recognisers at the same time. */
async function withAll(
  options: ServiceDoubleOptions,
  work: (line: Line, name: string, service: Service) => Promise<void>,
): Promise<void> {
  await Promise.all(
    Object.entries(SERVICES).map(async ([name, service]) => {
      const line = await Line.open(service, options)
      try {
        await work(line, name, service)
      } finally {
        await line.close()
      }
    }),
  )
}

t.test('the call does not wait for an unanswered turn end', (t) =>
  withAll({}, async (line, name) => {
    line.double.faults.noAnswer = true
    await line.say(1, 'one two three')
    await line.until(() => line.finals.length === 1)
    line.double.faults.noAnswer = false
    await line.say(2, 'four five six')
    await line.until(() => line.finals.length === 2)
    t.same(line.texts, ['1 one two three', '2 four five six'], name)
    t.same(line.failures, [], name)
  }),
)

t.test('a late answer is not taken for the next turn', (t) =>
  withAll({ finalMs: 1200 }, async (line, name) => {
    for (const [turn, text] of ['yes please', 'four five six', 'that is all'].entries()) {
      await line.say(turn, text)
      await line.until(() => line.finals.length === turn + 1)
    }
    t.same(line.texts, ['0 yes please', '1 four five six', '2 that is all'], name)
  }),
)

t.test('late words belong to their own turn', (t) =>
  withAll({ finalMs: 100 }, async (line, name) => {
    await line.say(1, 'where is it')
    line.double.script.callerSays('the red one')
    line.begin(2)
    line.speak(2, 300)
    await line.until(() => line.finals.length === 1)
    line.speak(2, 700)
    await line.until(() => line.words.get(2) === 'the red one')
    line.recogniser.finalize(2, 0)
    await line.until(() => line.finals.length === 2)
    t.same(line.texts, ['1 where is it', '2 the red one'], name)
  }),
)

t.test('an answer without words keeps the earlier words', (t) =>
  withAll({}, async (line, name) => {
    line.double.script.callerSays('my order please')
    line.double.faults.emptyAnswer = true
    line.begin(1)
    line.speak(1, 1000)
    await line.until(() => line.words.get(1) === 'my order please')
    line.recogniser.finalize(1, 0)
    await line.until(() => line.finals.length === 1)
    t.same(line.texts, ['1 my order please'], name)
  }),
)

t.test('a connection that breaks within a word is reported once', (t) =>
  withAll({}, async (line, name) => {
    line.double.faults.breaksAfterWords = 1
    line.begin(1)
    line.speak(1, 400)
    await line.until(() => line.failures.length > 0)
    line.recogniser.finalize(1, 0)
    await polled()
    t.same(
      line.failures.map(({ turn, fault }) => [turn, fault.code, fault.retryable]),
      [[null, 'network', true]],
      name,
    )
    t.notMatch(JSON.stringify(line.failures), KEY, name)
    t.same(line.finals, [], name)
  }),
)

t.test('a recogniser silent for two turns has failed', (t) =>
  withAll({}, async (line, name) => {
    line.double.faults.deaf = true
    line.begin(1)
    line.speak(1, 900)
    line.recogniser.finalize(1, 0)
    await line.until(() => line.failures.length + line.finals.length === 1)
    line.begin(2)
    line.speak(2, 900)
    line.recogniser.finalize(2, 0)
    await line.until(() => line.failures.length > 0)
    t.match(line.failures[0], { turn: null, fault: { code: 'timeout', retryable: true } }, name)
    t.notOk(
      line.finals.some(({ heard }) => heard.text !== ''),
      name,
    )
  }),
)

t.test('noise, silence and an empty turn have an empty text', (t) =>
  withAll({}, async (line, name) => {
    line.begin(1)
    line.recogniser.finalize(1, 0)
    line.begin(2)
    line.speak(2, 400, 0)
    line.recogniser.finalize(2, 0)
    await line.until(() => line.finals.length === 2)
    await line.say(3, 'hello')
    await line.until(() => line.finals.length === 3)
    t.same(line.texts, ['1 ', '2 ', '3 hello'], name)
    t.same(line.failures, [], name)
  }),
)

t.test('a session without speech closes without a fault', (t) =>
  withAll({}, async (line, name) => {
    line.recogniser.close()
    await polled()
    t.same([line.failures, line.finals], [[], []], name)
    t.equal(line.double.callerAudioMs, 0, name)
  }),
)

t.test('twenty interruptions do not end the session', (t) =>
  withAll({}, async (line, name, { oneTurn }) => {
    for (let turn = 1; turn <= 20; turn++) {
      line.begin(turn)
      line.speak(turn, 100)
      line.recogniser.abandon(turn)
      await turnOfEventLoop()
    }
    await line.say(21, 'are you there')
    await line.until(() => line.finals.length === 1)
    t.same(line.texts, ['21 are you there'], name)
    t.same(line.failures, [], name)
    if (oneTurn !== true) t.equal(line.double.connections, 1, name)
  }),
)

t.test('refusals are distinguished by their cause', (t) =>
  withAll({}, async (line, name, service) => {
    for (const [status, code, stays] of [
      [401, 'auth', true],
      [402, 'quota', true],
      [429, 'rate_limit', false],
      [400, 'bad_request', true],
      [503, 'internal', false],
    ] as const) {
      line.double.refuse = { status, body: `{"err_msg":"refused ${KEY}"}` }
      const recogniser = service.make(line.double.baseUrl).make(contextOf(line.rateHz))
      const fault = await recogniser.open(new AbortController().signal, true).then(
        () => null,
        (error: unknown) => (error instanceof ServiceFault ? error.fault : null),
      )
      t.match(fault, { code, fatal: stays }, `${name} ${code}`)
      t.notMatch(fault?.message, KEY, name)
      recogniser.close()
    }
  }),
)

t.test("usage is reported under the service's model", (t) =>
  withAll({}, async (line, name) => {
    await line.say(1, 'one two three')
    await line.until(() => line.finals.length === 1)
    const seconds = line.used.reduce((sum, { sessionSeconds = 0 }) => sum + sessionSeconds, 0)
    t.ok(name === 'soniox' ? seconds > 0 && seconds < 5 : Math.abs(seconds - 0.9) < 0.05, `${name}: ${seconds} s`)
    t.match(line.used[0]?.model, /@127\.0\.0\.1:/, name)
  }),
)

t.test('a session is replaced before its limit without losing words', async (t) => {
  const service = SERVICES['soniox'] as Service
  const short = (baseUrl: string) => sonioxSpeechToText({ baseUrl, apiKey: KEY, sessionMs: 300 })
  const line = await Line.open(service, {}, short)
  t.teardown(() => line.close())
  line.double.script.callerSays('one two three')
  line.begin(1)
  line.speak(1, 500)
  const younger = await Line.open(service, {}, short)
  t.teardown(() => younger.close())
  await younger.until(() => younger.double.connections === 2)
  t.equal(line.double.connections, 1, 'the caller speaks, though its session is the older one')
  line.speak(1, 400)
  line.recogniser.finalize(1, 0)
  // It goes on before the new connection is open.
  await line.say(2, 'four five six')
  await line.until(() => line.finals.length === 2)
  t.ok(line.double.connections >= 2)
  await line.until(() => line.double.connections >= 3)
  t.ok(line.double.connections >= 3, 'in silence too')
  await line.say(3, 'seven')
  await line.until(() => line.finals.length === 3)
  t.same(line.texts, ['1 one two three', '2 four five six', '3 seven'])
  t.same(line.failures, [])
})

/** What a recogniser hears of a turn in two languages, of a call that has both. @param opened  looks before anybody speaks */
async function heardInBoth(
  t: Test,
  double: Double,
  factory: ServiceFactory<SpeechToText>,
  opened: () => void = () => undefined,
): Promise<string | undefined> {
  const recogniser = factory.make({ ...contextOf(RATE_HZ), languages: ['sw', 'en'], vocabulary: ['Nakuru'] })
  t.teardown(async () => {
    recogniser.close()
    await double.close()
  })
  double.script.callerSays('habari yako bwana my order please')
  const finals: Heard[] = []
  recogniser.listen({
    words: () => undefined,
    part: () => undefined,
    final: (_, heard) => finals.push(heard),
    failed: (_, { message }) => t.fail(message),
  })
  await recogniser.open(new AbortController().signal, true)
  opened()
  const sound = new KeptSound(RATE_HZ)
  sound.push(Int16Array.from({ length: RATE_HZ * 2 }, (_, i) => Math.round(9000 * Math.sin(i / 8))))
  recogniser.begin(1, sound)
  recogniser.audio(new Int16Array(0))
  recogniser.finalize(1, 0)
  await until(() => finals.length === 1, 10_000, 'the text')
  t.same(
    finals[0]?.words?.map(({ language }) => language),
    ['sw', 'sw', 'sw', 'en', 'en', 'en'],
    'a phrase has one language, and a turn two phrases',
  )
  return finals[0]?.text
}

const languageOf = (word: string): string => (word === 'habari' ? 'sw' : 'en')

t.test("Azure gets the callers' languages and reports each word's language", async (t) => {
  const double = await AzureSpeechDouble.start({ key: KEY, languageOf })
  const own = { baseUrl: double.baseUrl, apiKey: KEY, locales: ['sw-TZ'], terms: ['M-Pesa'] }
  await heardInBoth(t, double, azureSpeechToText(own))
  t.match(double.listeners[0]?.context, {
    languageId: { languages: ['sw-TZ', 'en-KE'], mode: 'DetectContinuous' },
    dgi: { groups: [{ items: [{ text: 'M-Pesa' }, { text: 'Nakuru' }] }] },
  })
  t.match(double.listeners[0]?.query.get('Ocp-Apim-Subscription-Key'), null, 'the key is in no URL')
})

t.test('Azure masks no words', async (t) => {
  const line = await Line.open(SERVICES['azure'] as Service)
  t.teardown(() => line.close())
  await line.say(1, 'fanny wambui')
  await line.until(() => line.finals.length === 1)
  t.same(line.texts, ['1 fanny wambui'])
})

t.test('after Azure closes an idle connection the next turn works', async (t) => {
  const line = await Line.open(SERVICES['azure'] as Service)
  t.teardown(() => line.close())
  const double = line.double as AzureSpeechDouble
  double.idleMs = 1
  await line.say(1, 'one two')
  await line.until(() => line.finals.length === 1 && double.closed === 2)
  double.idleMs = 300_000
  await line.say(2, 'three four')
  await line.until(() => line.finals.length === 2)
  t.same(line.texts, ['1 one two', '2 three four'])
  t.same(line.failures, [])
})

t.test("Azure's refusal of a region's language names it", async (t) => {
  const double = await AzureSpeechDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const options = { baseUrl: double.baseUrl, apiKey: KEY, locales: ['en-XX'] }
  const recogniser = azureSpeechToText(options).make(contextOf(RATE_HZ))
  const thrown: unknown = await recogniser.open(new AbortController().signal, true).catch((error: unknown) => error)
  t.match(thrown, { fault: { code: 'bad_request', message: /stt azure.*HTTP 400.*Unsupported language en-XX/ } })
})

async function googleLine(
  t: Test,
  options: GoogleDoubleOptions = {},
): Promise<{ line: Line; double: GoogleSpeechDouble }> {
  const line = await Line.open(SERVICES['google'] as Service, options)
  t.teardown(() => line.close())
  return { line, double: line.double as GoogleSpeechDouble }
}

t.test("Google gets the callers' languages and reports each part's language", async (t) => {
  const double = await GoogleSpeechDouble.start({ key: KEY, languageOf })
  const factory = googleSpeechToText({
    ...{ baseUrl: double.baseUrl, apiKey: KEY, locales: ['sw-TZ'] },
    terms: ['M-Pesa', 'a phrase '.repeat(12)],
  })
  const text = await heardInBoth(t, double, factory, () =>
    t.same([double.streams.length, double.probes], [0, 1], 'no stream is open while nobody speaks'),
  )
  t.equal(text, 'habari yako bwana my order please')
  t.same(double.streams[0]?.config, {
    encoding: 'LINEAR16',
    sampleRateHertz: 8000,
    languageCode: 'sw-TZ',
    alternativeLanguageCodes: ['en-KE'],
    enableAutomaticPunctuation: true,
    speechContexts: [{ phrases: ['M-Pesa', 'Nakuru'] }],
  })
})

t.test('a busy connection to Google sends only the allowed pings', async (t) => {
  // The timers of the connection run by hand.
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => mock.timers.reset())
  const { line, double } = await googleLine(t)
  double.idleMs = 1e9
  let nowMs = 0
  double.clock = () => nowMs
  line.begin(1)
  line.speak(1, 200)
  while (double.open === 0) await turnOfEventLoop()
  for (; nowMs < 120_000; nowMs += 10_000) {
    mock.timers.tick(10_000)
    // Its answer has come.
    await polled()
  }
  t.ok(double.pings >= 2, `a dead connection is noticed: ${double.pings} pings`)
  t.same(line.failures, [])
  t.equal(double.open, 1)
})

t.test('after an unanswered turn Google gets a new connection', async (t) => {
  const { line, double } = await googleLine(t)
  line.begin(1)
  line.speak(1, 200)
  while (double.open === 0) await turnOfEventLoop()
  const others = [1, 2].map(() => googleSpeechToText({ baseUrl: double.baseUrl, apiKey: KEY }).make(contextOf(RATE_HZ)))
  t.teardown(() => others.forEach((other) => other.close()))
  const failures: string[] = []
  const speaks = async (other: SpeechToText): Promise<void> => {
    const failed = (_: number | null, { message }: VendorFault): void => void failures.push(message)
    other.listen({ words: () => undefined, part: () => undefined, final: () => undefined, failed })
    await other.open(new AbortController().signal, false)
    const sound = new KeptSound(RATE_HZ)
    sound.push(Int16Array.from({ length: RATE_HZ }, (_, i) => Math.round(9000 * Math.sin(i / 8))))
    other.begin(1, sound)
    other.audio(new Int16Array(0))
  }
  const [deaf, next] = others as [SpeechToText, SpeechToText]
  // As where the connection is dead: nothing comes, and nothing ends.
  double.refuse = 'never'
  await speaks(deaf)
  // The wait for the words runs by hand.
  mock.timers.enable({ apis: ['setTimeout'] })
  deaf.finalize(1, 0)
  for (let waitedMs = 0; failures.length === 0 && waitedMs < 15_000; waitedMs += 500) {
    mock.timers.tick(500)
    await turnOfEventLoop()
  }
  mock.timers.reset()
  t.match(failures, [/stt google does not answer/])
  double.refuse = null
  await speaks(next)
  await until(() => double.streams.length === 2, 10_000, 'the next stream')
  t.equal(double.connections, 2)
  t.same([double.open, line.failures], [2, []], 'what ran on the first one goes on there')
})

t.test('a long turn is sent again at a limited speed', async (t) => {
  const { line, double } = await googleLine(t)
  const words = 'one two three four five six seven eight'
  double.script.callerSays(words)
  line.begin(1)
  for (const [ms, level] of [
    [500, 9000],
    [9000, 0],
    [2000, 9000],
  ] as const)
    line.speak(1, ms, level)
  line.recogniser.finalize(1, 0)
  await line.until(() => line.finals.length + line.failures.length === 1)
  t.same(line.failures, [])
  t.same(line.texts, [`1 ${words}`])
})

t.test('languages unsupported by Google or Azure are named early', async (t) => {
  const settings = backendSettings(loadConfig({ GOOGLE_SPEECH_API_KEY: KEY }, null))
  const lacks = (stt: 'google' | 'azure', languages: readonly string[]) =>
    lacksOf('cascade', settings, { cascade: { stt } }, languages).filter((line) => line.startsWith('stt'))
  const four = ['sw', 'en', 'fr', 'de']
  t.same(lacks('google', four), [])
  t.same(lacks('google', [...four, 'it', 'es']), ['stt google supports 4 languages, so it does not recognise it, es'])
  t.same(lacks('azure', [...four, 'it', 'es']), [])
})

t.test('a key invalid for headers is refused without its text', async (t) => {
  const double = await GoogleSpeechDouble.start()
  t.teardown(() => double.close())
  const apiKey = `${KEY}ü`
  const failures: VendorFault[] = []
  for (const probe of [true, false]) {
    const recogniser = googleSpeechToText({ baseUrl: double.baseUrl, apiKey }).make(contextOf(RATE_HZ))
    recogniser.listen({
      words: () => undefined,
      part: () => undefined,
      final: () => undefined,
      failed: (_, fault) => failures.push(fault),
    })
    const refused = await recogniser.open(new AbortController().signal, probe).catch((error: unknown) => error)
    if (refused instanceof ServiceFault) failures.push(refused.fault)
    const sound = new KeptSound(RATE_HZ)
    sound.push(new Int16Array(RATE_HZ))
    if (!probe) {
      recogniser.begin(1, sound)
      recogniser.audio(new Int16Array(0))
    }
    recogniser.close()
  }
  const fault = { code: 'auth', fatal: true, message: /stt google: the key has characters that cannot be sent/ }
  t.match(failures, [fault, fault])
  t.equal(failures.length, 2)
  t.notMatch(JSON.stringify(failures), KEY)
})

t.test('all turns of a call share one Google connection', async (t) => {
  const { line, double } = await googleLine(t)
  for (let turn = 1; turn <= 5; turn++) {
    await line.say(turn, `turn number ${turn}`)
    await line.until(() => line.finals.length === turn)
  }
  line.begin(6)
  line.speak(6, 200)
  await line.until(() => double.streams.length === 6)
  line.recogniser.abandon(6)
  await line.until(() => double.open === 0)
  t.equal(double.connections, 1)
})

t.test("after Google's goaway the next turn uses another connection [1]", async (t) => {
  const { line, double } = await googleLine(t)
  line.double.script.callerSays('one two three')
  line.begin(1)
  line.speak(1, 500)
  await line.until(() => double.streams.length === 1)
  double.goAway()
  line.speak(1, 500)
  await line.until(() => line.words.get(1) === 'one two three')
  line.recogniser.finalize(1, 0)
  await line.until(() => line.finals.length === 1)
  await line.say(2, 'four five')
  await line.until(() => line.finals.length === 2)
  t.same(line.texts, ['1 one two three', '2 four five'])
  t.same([double.connections, line.failures], [2, []])
})

t.test('more turns than a Google connection carries use a second', async (t) => {
  const double = await GoogleSpeechDouble.start({ key: KEY })
  const factory = googleSpeechToText({ baseUrl: double.baseUrl, apiKey: KEY })
  const recognisers = Array.from({ length: 91 }, () => factory.make(contextOf(RATE_HZ)))
  t.teardown(async () => {
    for (const recogniser of recognisers) recogniser.close()
    await double.close()
  })
  await Promise.all(recognisers.map((recogniser) => recogniser.open(new AbortController().signal, false)))
  for (const recogniser of recognisers) {
    const sound = new KeptSound(RATE_HZ)
    sound.push(new Int16Array(RATE_HZ / 5))
    recogniser.begin(1, sound)
    recogniser.audio(new Int16Array(0))
  }
  await until(() => double.streams.length === 91, 10_000, 'the streams')
  t.equal(double.connections, 2)
})

t.test('a turn whose stream Google ends is sent again [2]', async (t) => {
  for (const [limit, words] of [
    ['streamMsMax', /OUT_OF_RANGE: Exceeded maximum allowed stream duration/],
    ['idleMs', /OUT_OF_RANGE: Audio Timeout Error/],
  ] as const) {
    const { line, double } = await googleLine(t)
    double[limit] = 100
    line.begin(1)
    line.speak(1, 400)
    await line.until(() => line.failures.length === 1)
    t.match(line.failures, [{ turn: null, fault: { code: 'timeout', retryable: true, fatal: false, message: words } }])
  }
})

t.test('an endless stream of Google is cut off', async (t) => {
  const { line, double } = await googleLine(t)
  // Each message is five zeros: it is not compressed, and empty.
  double.garbage = Buffer.alloc(5 * 20_000)
  line.begin(1)
  line.speak(1, 300)
  await line.until(() => line.failures.length === 1)
  const fault = { code: 'overrun', fatal: true, retryable: false, message: /sends too much: at most 2000 messages/ }
  t.match(line.failures, [{ turn: null, fault }])
})

t.test("Google's refusal of an option names it before the call", async (t) => {
  const double = await GoogleSpeechDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const refused = (own: object, languages = ['en']) => {
    const recogniser = googleSpeechToText({ baseUrl: double.baseUrl, apiKey: KEY, ...own }).make({
      ...contextOf(RATE_HZ),
      languages,
    })
    return recogniser.open(new AbortController().signal, true).then(
      () => null,
      (error: unknown) => error,
    )
  }
  t.match(await refused({ locales: ['en-XX'] }), {
    fault: { code: 'bad_request', message: /stt google: INVALID_ARGUMENT: .*bad language code en-XX/ },
  })
  t.match(await refused({ model: 'latest_long' }, ['sw']), {
    fault: { code: 'bad_request', message: /model is currently not supported for language : sw-KE/ },
  })
  t.match(await refused({ apiKey: 'another-key-of-a-test' }), {
    fault: { code: 'auth', fatal: true, message: /API key not valid/ },
  })
})

t.test('Google recognises with a service account instead of a key', async (t) => {
  const [known, unknown] = [serviceAccount('key-of-the-project'), serviceAccount('key-of-nobody')]
  const double = await GoogleSpeechDouble.start({ account: known })
  t.teardown(() => double.close())
  const opened = async (account: typeof known): Promise<void> => {
    const recogniser = googleSpeechToText({ baseUrl: double.baseUrl, apiKey: null, account }).make(contextOf(RATE_HZ))
    t.teardown(() => recogniser.close())
    await recogniser.open(new AbortController().signal, true)
  }
  await opened(known)
  await t.rejects(opened(unknown), /stt google: UNAUTHENTICATED: Request had invalid/)
})

t.test('an unreachable or untrusted address is reported at once', async (t) => {
  const { key, cert } = selfSigned()
  const server = createTlsServer({ key, cert, ALPNProtocols: ['h2'] })
  const port = await portOf(t, server)
  for (const [baseUrl, words] of [
    ['http://127.0.0.1:1', /UNAVAILABLE: .*ECONNREFUSED/],
    [`https://127.0.0.1:${port}`, /UNAVAILABLE: .*self-signed certificate/],
  ] as const) {
    const recogniser = googleSpeechToText({ baseUrl, apiKey: KEY }).make(contextOf(RATE_HZ))
    await t.rejects(recogniser.open(new AbortController().signal, false), words)
    recogniser.close()
  }
})

t.test('a caller who hangs up cancels the connection to Google', async (t) => {
  const double = await GoogleSpeechDouble.start({ key: KEY })
  t.teardown(() => double.close())
  double.refuse = 'never'
  const recogniser = googleSpeechToText({ baseUrl: double.baseUrl, apiKey: KEY }).make(contextOf(RATE_HZ))
  const call = new AbortController()
  const opening = recogniser.open(call.signal, true)
  await until(() => double.connections === 1, 10_000, 'the connection')
  call.abort(new Error('the call ended'))
  await t.rejects(opening, /the call ended/)
})

function contextOf(inputRateHz: SampleRateHz, used: ServiceContext['used'] = () => undefined): ServiceContext {
  return serviceContext('cascade', () => performance.now(), new AbortController().signal, {
    languages: ['en'],
    inputRateHz,
    legRateHz: RATE_HZ,
    used,
  })
}
