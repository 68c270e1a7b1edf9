import { mock } from 'node:test'
import t from 'tap'
import type { Test } from 'tap'
import { CascadeBackend } from '../../src/backends/cascade/cascade-backend.js'
import { chat } from '../../src/backends/cascade/chat-requests.js'
import { serviceContext } from '../../src/backends/cascade/service-context.js'
import { factoriesOf, loadVendors } from '../../src/backends/cascade/services.js'
import { conformanceSession, Recorder } from '../../src/backends/conformance.js'
import { Wishes } from '../../src/backends/wishes.js'
import type { LocalHttpServer } from '../../src/system/local-http-server.js'
import { TERMS, ABOUT, TUNED, SPEED, speedIn } from '../../src/simulator/vendors/optional-fields.js'
import type { OptionalFieldsOf } from '../../src/simulator/vendors/optional-fields.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { gemini } from '../../src/vendors/gemini/services.js'
import { GeminiTextDouble } from '../../src/vendors/gemini/text-double.js'
import { SERVICES, VENDORS } from '../../src/vendors/list.js'
import { PARTS } from '../../src/vendors/vendor.js'
import type { PartName } from '../../src/vendors/vendor.js'
import { doubleOf } from './service-doubles.js'

const KEY = 'sk-wishes-0123456789abcdef'

/** Fields of services at an address of one's own, which no vendor declares. */
const SELF_HOSTED: OptionalFieldsOf = {
  stt: {
    whisper: [
      {
        wished: { prompt: 'Zawadi' },
        fields: {
          verbose_json: [/verbose_json/, "response_format 'verbose_json' is not compatible with model 'w'."],
          language: [/name="language"/, 'Unsupported language: en'],
          prompt: [/name="prompt"/, 'prompt: Extra inputs are not permitted'],
        },
      },
    ],
    realtime: [
      {
        wished: ABOUT,
        fields: {
          language: [/"language":/, 'language: extra fields not permitted'],
          prompt: [/"prompt"/, 'prompt: extra fields not permitted'],
        },
      },
      {
        wished: TERMS,
        fields: {
          languages: [/"languages"/, 'languages: extra fields not permitted'],
          keywords: [/"keywords"/, 'keywords: extra fields not permitted'],
        },
        needed: { model: 'gpt-transcribe' },
      },
    ],
  },
  llm: {
    chat: [
      {
        wished: TUNED,
        fields: {
          stream_options: [/stream_options/, 'stream_options: Extra inputs are not permitted'],
          tool_choice: [/tool_choice/, '"auto" tool choice is not supported: tool_choice'],
          temperature: [/"temperature"/, "Unsupported value: 'temperature' does not support 0.3719 with this model."],
          max_tokens: [/"max_tokens"/, "Unsupported parameter: 'max_tokens' is not supported with this model."],
        },
      },
    ],
  },
  tts: { speech: [{ wished: SPEED, fields: speedIn(/"speed"/) }] },
}

/** Optional fields of a vendor's services; undefined: its double declares none. */
async function declaredBy(folder: string): Promise<OptionalFieldsOf | undefined> {
  if (folder === 'self-hosted') return SELF_HOSTED
  const double = (await import(`../../src/vendors/${folder}/double.js`)) as {
    readonly optionalFields?: OptionalFieldsOf
  }
  return double.optionalFields
}

const DECLARED = new Map(
  await Promise.all(
    VENDORS.filter(({ services }) => Object.keys(services).length > 0).map(
      async ({ folder }) => [folder, (await declaredBy(folder)) ?? {}] as const,
    ),
  ),
)

/** Every service, with every optional field of its requests. */
const ROWS = PARTS.flatMap((part) =>
  [...SERVICES[part].values()].flatMap((service) =>
    (DECLARED.get(service.vendor.folder)?.[part]?.[service.name] ?? []).map((row) => ({ part, service, ...row })),
  ),
)
type Row = (typeof ROWS)[number]

/** Options that a service cannot do without, or that choose the service's kind. */
const NEEDED = ['model', 'timeoutMs', 'voice', 'locales', 'dialect', 'sampleRateHz']

/**
 * Two turns of a call with one service as in `row`, and the others as always.
 * @param objection  words for the refusal of something that was sent
 */
async function twoTurns(
  t: Test,
  { part, service: { name, own: usualOwn, vendor }, ...row }: Row,
  objection: LocalHttpServer['objection'],
) {
  const cascade = await CascadeDouble.start({ key: KEY })
  const [Double] = await doubleOf(part, { name, vendor })
  const double = await Double.start({ key: KEY, script: cascade.script })
  const sent: string[] = []
  double.objection = (text) => {
    sent.push(text)
    return objection(text)
  }
  const usual = { baseUrl: cascade.baseUrl, apiKey: KEY, model: 'usual' }
  const settings = {
    stt: { whisper: usual },
    llm: { chat: usual },
    tts: { speech: usual },
    [part]: { [name]: { ...usual, baseUrl: double.baseUrl } },
  } as Parameters<typeof factoriesOf>[0]
  const model = row.needed?.['model'] ?? usualOwn?.model ?? 'usual'
  const own = {
    stt: 'whisper',
    llm: 'chat',
    tts: 'speech',
    [part]: { service: name, model, ...row.needed, ...row.wished },
  } as Parameters<typeof factoriesOf>[1]
  await loadVendors(settings, own)
  const recorder = new Recorder()
  const backend = new CascadeBackend(recorder, factoriesOf(settings, own))
  t.teardown(async () => {
    await backend.close('the test is over')
    await Promise.all([double.close(), cascade.close()])
  })
  await backend.connect(conformanceSession({ languages: row.languages ?? ['en-KE'] }), new AbortController().signal)
  let first: readonly string[] = []
  for (const turn of [1, 2]) {
    if (turn === 2) first = sent.splice(0)
    cascade.script.callerSays(`order number ${turn}`)
    cascade.script.reply({ say: 'It arrives tomorrow at noon.' })
    speak(backend)
    await recorder.next('turn-done', turn)
  }
  const heard = recorder.all('transcript').filter(({ role, final }) => role === 'caller' && final)
  // A turn whose connection was refused after its audio is heard again, and the script has no second text for it.
  t.match(
    heard.map(({ text }) => text),
    [/order number 1|hello/, 'order number 2'],
    'the caller is understood',
  )
  t.same(
    recorder.all('turn-done').map(({ status }) => status),
    ['completed', 'completed'],
    'the agent answers',
  )
  t.same(recorder.all('error'), [], 'no error')
  return { first, second: sent, backend }
}

/** 0.9 s of voice, and 0.2 s of silence at the end. */
function speak(backend: CascadeBackend): void {
  const { inputRateHz } = backend.capabilities
  const frame = Int16Array.from({ length: inputRateHz / 50 }, (_, i) => Math.round(9000 * Math.sin(i / 8)))
  backend.speechStart(performance.now())
  for (let ms = 0; ms < 900; ms += 20) backend.pushAudio(frame, true)
  for (let ms = 0; ms < 200; ms += 20) backend.pushAudio(new Int16Array(frame.length), false)
  backend.speechEnd(performance.now() - 200)
}

/** Fields of the services that are in the call besides the one in the row. */
const OTHERS: Readonly<Record<PartName, readonly string[]>> = {
  stt: ['stream_options', 'tool_choice'],
  llm: ['verbose_json', 'language'],
  tts: ['stream_options', 'tool_choice', 'verbose_json', 'language'],
}
/** Values of the agent's options, as they are on the wire. */
const VALUES = /Zawadi|Orders of a shop|0\.3719|17341|"speed"|speakingRate|prosody|"LOW"/

t.test('every service and option has a test row', (t) => {
  for (const part of PARTS)
    for (const [name, { options, vendor }] of SERVICES[part]) {
      const rows = DECLARED.get(vendor.folder)?.[part]?.[name]
      t.ok(rows, `optionalFields of ${vendor.folder}/double.ts has ${part} ${name}, if only []`)
      const wished = rows?.flatMap((row) => Object.keys(row.wished)) ?? []
      const needed = [...NEEDED, ...(rows?.flatMap((row) => Object.keys(row.needed ?? {})) ?? [])]
      for (const option of Object.keys(options))
        t.ok(needed.includes(option) !== wished.includes(option), `${name} ${option}`)
    }
  t.end()
})

// Only tests of an agent have seeds.
const SEEDED = {
  chat: {
    start: () => CascadeDouble.start({ key: KEY }),
    make: (baseUrl: string) => chat({ baseUrl, apiKey: KEY, model: 'm' }),
    words: 'seed: Extra inputs are not permitted',
  },
  gemini: {
    start: () => GeminiTextDouble.start({ key: KEY }),
    make: (baseUrl: string) => gemini({ baseUrl, apiKey: KEY, model: 'm' }),
    words: 'Unknown name "seed" at generation_config',
  },
}
for (const [name, { start, make, words }] of Object.entries(SEEDED))
  t.test(`llm ${name}: a refused seed is left out`, async (t) => {
    const double = await start()
    t.teardown(() => double.close())
    const asked: boolean[] = []
    double.objection = (sent) => {
      asked.push(sent.includes('"seed"'))
      return asked.at(-1) === true ? words : null
    }
    const { signal } = new AbortController()
    const model = make(double.baseUrl).make(serviceContext('test', () => 0, signal))
    for (const say of ['Jambo', 'Karibu']) {
      double.script.reply({ say })
      let said = ''
      const request = { messages: [{ role: 'user' as const, content: 'Habari?' }], tools: [], seed: 7 }
      for await (const { text = '' } of model.answer(request, signal)) said += text
      t.equal(said, say)
    }
    t.same(asked, [true, false, false])
  })

/** What a model is sent in one answer, with a seed. @param objection  words for a refusal of a request */
async function requestsOf(t: Test, objection: LocalHttpServer['objection'], asks = () => true) {
  const double = await CascadeDouble.start({ key: KEY })
  t.teardown(() => double.close())
  const sent: string[] = []
  double.objection = (text) => {
    sent.push(text)
    return objection(text)
  }
  double.script.reply({ say: 'Jambo' })
  const { signal } = new AbortController()
  const told: string[] = []
  const context = serviceContext('test', () => 0, signal, { wishRefused: (field) => told.push(field), asks })
  const model = chat({ baseUrl: double.baseUrl, apiKey: KEY, model: 'm' }).make(context)
  const answer = async (): Promise<void> => {
    const request = { messages: [{ role: 'user' as const, content: 'Habari?' }], tools: [], seed: 7 }
    for await (const delta of model.answer(request, signal)) t.ok(delta)
  }
  return { sent, told, answer }
}

t.test('a refusal without a field keeps the usage request', async (t) => {
  const { sent, told, answer } = await requestsOf(t, (text) => (text.includes('"seed"') ? 'Bad request.' : null))
  await answer()
  t.same(
    sent.map((text) => text.includes('include_usage')),
    [true, true],
  )
  t.same(told, ['seed'])
})

t.test('a call over its request limit repeats no request', async (t) => {
  const refuse = (text: string) => (text.includes('"seed"') ? 'seed: not permitted' : null)
  const { sent, answer } = await requestsOf(t, refuse, () => false)
  await t.rejects(answer())
  t.equal(sent.length, 1)
})

t.test("a content filter's refusal leaves out no field", async (t) => {
  const { sent, told, answer } = await requestsOf(t, () => "It triggered Azure OpenAI's content management policy.")
  await t.rejects(answer())
  t.equal(sent.length, 1)
  t.same(told, [])
})

for (const row of ROWS) {
  const name = [row.part, row.service.name, row.needed?.['model']].filter((word) => typeof word === 'string').join(' ')

  t.test(`${name}: each optional field has a test row`, async (t) => {
    const spy = mock.method(Wishes.prototype, 'of')
    t.teardown(() => spy.mock.restore())
    const { first } = await twoTurns(t, row, () => null)
    const given = spy.mock.calls.flatMap(({ arguments: [fields] }) => Object.entries(fields) as [string, unknown][])
    const asked = new Set(given.flatMap(([field, value]) => (value === undefined ? [] : field)))
    const fields = Object.keys(row.fields)
    t.same(
      [...asked].filter((field) => !fields.includes(field) && !OTHERS[row.part].includes(field)),
      [],
    )
    for (const [field, [pattern]] of Object.entries(row.fields)) {
      t.ok(asked.has(field), field)
      t.ok(
        first.some((text) => pattern.test(text)),
        `${field} is on the wire`,
      )
    }
  })

  for (const [field, [pattern, words]] of Object.entries(row.fields))
    t.test(`${name}: a refused ${field} is left out`, async (t) => {
      const { first, second, backend } = await twoTurns(t, row, (text) => (pattern.test(text) ? words : null))
      const asked = first.filter((text) => pattern.test(text)).length
      t.ok(asked >= 1 && asked <= 2, `asked for ${asked} times`)
      t.notOk(
        second.some((text) => pattern.test(text)),
        'and not again',
      )
      t.equal(backend.counters()['wishesRefused'], 1)
    })

  t.test(`${name}: a refusal without a field leaves all out`, async (t) => {
    const patterns = Object.values(row.fields).map(([pattern]) => pattern)
    const { second } = await twoTurns(t, row, (text) =>
      patterns.some((pattern) => pattern.test(text)) ? 'Bad request.' : null,
    )
    t.notOk(
      second.some((text) => VALUES.test(text)),
      'no option of the agent is on the wire',
    )
  })
}
