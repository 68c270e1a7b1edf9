import { z } from 'zod'
import { azureVoiceLiveOptions } from '../../vendors/azure-voice-live/facts.js'
import { SERVICES } from '../../vendors/list.js'
import type { PartName } from '../../vendors/vendor.js'
import { isOwnBackend } from './own-backends.js'
import { faultIn } from './faults.js'

const model = z
  .string()
  .regex(/^\S{1,200}$/, { error: 'must be the name of a model, without spaces' })
  .exactOptional()
  .describe("The service's name of the model. Default: from the settings.")
const messageMs = z
  .int()
  .min(20)
  .max(100)
  .exactOptional()
  .describe('Caller audio in one message, in milliseconds. Default: BACKEND_MESSAGE_MS.')
const streamSilence = z
  .boolean()
  .exactOptional()
  .describe(
    'Sends the silence between turns too to a service that detects turns. Default: BACKEND_STREAM_SILENCE. ' +
      'Always true with idleTimeoutMs.',
  )
const temperature = z
  .number()
  .min(0)
  .max(2)
  .exactOptional()
  .describe("How freely the model chooses its words. Default: the service's.")
const LONGEST = "Longest answer, in tokens. Default: the service's."
const maxOutputTokens = z.int().min(1).max(65_536).exactOptional().describe(LONGEST)
const GATEWAY_TURNS = 'Who detects it: the gateway, or the service in one of its ways.'
const transcription = z
  .string()
  .regex(/^\S{1,200}$/, { error: 'must be the name of a model, or null' })
  .nullable()
  .exactOptional()

/** Recognisers of OpenAI's that take languages and keywords (openai 7.55.0, AudioTranscription). */
export const HINTED: readonly string[] = ['gpt-transcribe', 'gpt-live-transcribe']
const interruptResponse = z
  .boolean()
  .exactOptional()
  .describe(
    'Has the service end its own answer when it hears the caller. false: the gateway decides that by the rules of ' +
      'bargeIn. Default: false; true where bargeIn.backchannel is null.',
  )

/** @param defaults  the setting that applies when the agent has none */
const openAiTurns = (defaults: string) =>
  z
    .discriminatedUnion(
      'by',
      [
        z.strictObject({ by: z.literal('gateway').describe(GATEWAY_TURNS) }),
        z.strictObject({
          by: z.literal('server_vad'),
          threshold: z
            .number()
            .min(0)
            .max(1)
            .exactOptional()
            .describe('Threshold for speech; the default of the service is 0.5.'),
          prefixPaddingMs: z
            .int()
            .min(0)
            .max(2000)
            .exactOptional()
            .describe('Audio before the speech that is included; the default of the service is 300.'),
          silenceMs: z
            .int()
            .min(100)
            .max(5000)
            .exactOptional()
            .describe('Silence that ends the turn; the default of the service is 500.'),
          idleTimeoutMs: z
            .int()
            .min(5000)
            .max(30_000)
            .exactOptional()
            .describe('Silence after which the model addresses the caller. Default: never.'),
          interruptResponse,
        }),
        z.strictObject({
          by: z.literal('semantic_vad'),
          eagerness: z
            .enum(['low', 'medium', 'high', 'auto'])
            .exactOptional()
            .describe('How soon a pause ends the turn.'),
          interruptResponse,
        }),
      ],
      { error: 'must have by: gateway, by: server_vad or by: semantic_vad' },
    )
    .exactOptional()
    .describe(
      `Who detects the end of a turn. Default: ${defaults}; if one backend of a list cannot, the gateway for all of them.`,
    )

/**
 * Who does turn detection: the gateway's VAD, with which the backend commits the input buffer and the server needs no
 * support; the server, by silence; or the server, by the meaning of the words.
 */
export type OpenAiTurns = z.output<ReturnType<typeof openAiTurns>>

/** Options of OpenAI's service and of compatible servers. */
const openAiShaped = (defaults: string) => ({
  model,
  turns: openAiTurns(defaults),
  audio: z
    .enum(['pcm', 'pcmu', 'pcma'])
    .exactOptional()
    .describe('pcmu and pcma are the two laws of G.711: 8 kHz, a sixth of the bytes.'),
  transcription: transcription.describe('The model that transcribes the caller; null for none.'),
  noiseReduction: z
    .enum(['near_field', 'far_field'])
    .exactOptional()
    .describe('Noise reduction of the service: for a handset, or for a loudspeaker. Default: none.'),
  speed: z.number().min(0.25).max(1.5).exactOptional().describe('Speed of the voice. Default: 1.'),
  maxOutputTokens: z.int().min(1).max(4096).exactOptional().describe(LONGEST),
  messageMs,
  streamSilence,
})

/** @param codes  the form of the codes, for the message */
const languages = (form: RegExp, codes: string) =>
  z
    .array(z.string().regex(form, { error: `must be a language code such as ${codes}` }))
    .min(1)
    .max(10)
    .exactOptional()
    .describe("Languages that callers speak. Default: the agent's own.")
const vocabulary = z
  .array(z.string().min(1).max(100))
  .min(1)
  .max(100)
  .exactOptional()
  .describe('Words and names that callers are likely to say.')

const openai = z
  .strictObject({
    ...openAiShaped('OPENAI_TURNS'),
    languages: languages(/^[a-z]{2}$/, 'sw').describe(
      'Languages that callers speak; gpt-transcribe and gpt-live-transcribe.',
    ),
    keywords: vocabulary.describe('Words and names that are likely; gpt-transcribe and gpt-live-transcribe.'),
    contextTokens: z
      .int()
      .min(1000)
      .max(200_000)
      .exactOptional()
      .describe(
        'Longest conversation that is kept, in tokens after the instructions. Default: the limit of the model.',
      ),
    reasoningEffort: z
      .enum(['minimal', 'low', 'medium', 'high', 'xhigh'])
      .exactOptional()
      .describe('Only for models that reason.'),
    parallelToolCalls: z.boolean().exactOptional().describe('Only for models that reason.'),
    retentionRatio: z
      .number()
      .min(0)
      .max(1)
      .exactOptional()
      .describe('How much of a conversation is kept when it exceeds the context. Default with contextTokens: 0.8.'),
  })
  .superRefine(({ transcription: recogniser, languages: spoken, keywords }, context) => {
    if (recogniser === undefined || (recogniser !== null && HINTED.includes(recogniser))) return
    for (const [name, given] of Object.entries({ languages: spoken, keywords })) {
      if (given === undefined) continue
      context.addIssue({ code: 'custom', path: [name], message: `needs transcription: ${HINTED.join(' or ')}` })
    }
  })

const selfHosted = z.strictObject({
  ...openAiShaped('REALTIME_TURNS'),
  temperature: temperature.describe('Sent in the beta dialect only; the current protocol has none.'),
})

const gemini = z.strictObject({
  model,
  turns: z
    .discriminatedUnion(
      'by',
      [
        z.strictObject({ by: z.literal('gateway').describe(GATEWAY_TURNS) }),
        z.strictObject({
          by: z.literal('server'),
          silenceMs: z
            .int()
            .min(100)
            .max(5000)
            .exactOptional()
            .describe("Silence that ends the turn. Default: the service's."),
          prefixPaddingMs: z
            .int()
            .min(0)
            .max(2000)
            .exactOptional()
            .describe("Speech that has to come before the turn begins. Default: the service's."),
        }),
      ],
      { error: 'must have by: gateway or by: server' },
    )
    .exactOptional()
    .describe('Who detects the end of a turn. Default: GEMINI_TURNS.'),
  temperature,
  maxOutputTokens,
  texts: z
    .enum(['content', 'realtime'])
    .exactOptional()
    .describe('realtime: for models that accept content only at the start. Default: what the model takes.'),
  transcription: z
    .strictObject({ languages: languages(/^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$/, 'sw-KE'), vocabulary })
    .exactOptional()
    .describe('Hints for the transcription of the caller.'),
  thinkingLevel: z
    .enum(['low', 'medium', 'high'])
    .exactOptional()
    .describe('Only for models that think (…-extended-thinking); others refuse it, so it is not sent. Default: low.'),
  compressContext: z
    .boolean()
    .exactOptional()
    .describe('Lets the service drop the oldest part of a long call. Default: true.'),
  messageMs,
  streamSilence,
})

/** Built-in voices of OpenAI's live models; openai 7.55.0, `BuiltInVoice`. `fable`, `nova` and `onyx` are refused. */
export const LIVE_VOICES = [
  'alloy',
  'ash',
  'ballad',
  'beacon',
  'bossa',
  'cedar',
  'cinder',
  'coral',
  'delta',
  'echo',
  'gleam',
  'marin',
  'meridian',
  'quartz',
  'ripple',
  'sage',
  'shida',
  'shimmer',
  'stone',
  'tempo',
  'verse',
  'vesper',
  'willow',
] as const

/** Words for the voice of a live model; the same in every call, because its prompt is made once, with the session. */
const liveWords = (chars: number) =>
  z
    .string()
    .trim()
    .min(1)
    .max(chars)
    .regex(/^(?![\s\S]*\{\{)/, { error: 'must have no {{…}}: what differs by call belongs into instructions' })
/** Cases in which the voice delegates, or does not. */
const liveCases = z.array(liveWords(200)).min(1).max(12).exactOptional()

const openaiLive = z.strictObject({
  model,
  live: z
    .strictObject({
      prompt: liveWords(1500)
        .exactOptional()
        .describe(
          'Who the voice is and how it speaks, without procedures: the voice gets this, and never `instructions`. ' +
            'Default: made from the name, the languages and the greeting.',
        ),
      backchannels: liveWords(400)
        .exactOptional()
        .describe('Under the heading Backchannel policy: its short sounds while the caller speaks. Default: few.'),
      interruptions: liveWords(400)
        .exactOptional()
        .describe('Under the heading Interruption policy. Default: it stops as soon as the caller speaks.'),
      delegateWhen: liveCases.describe(
        'Under the heading Delegation policy: when the delegate does it. Default: tools, facts, corrections, goodbyes.',
      ),
      answerYourselfWhen: liveCases.describe(
        'Under the heading Delegation policy: when the voice answers by itself. Default: small talk, what was said ' +
          'before, and questions back.',
      ),
    })
    .exactOptional()
    .describe('The short prompt of the voice. Its headings and the list of tools are made by the gateway.'),
  audio: z
    .enum(['pcm16k', 'pcm24k', 'pcmu', 'pcma'])
    .exactOptional()
    .describe('Audio format in both directions. Default: that of the leg, so that nothing is resampled.'),
  delegate: z
    .discriminatedUnion(
      'by',
      [
        z.strictObject({
          by: z
            .literal('responses')
            .describe('Who runs it: the service (responses), or the gateway by LLM_URL (client).'),
          model,
          reasoningEffort: z
            .enum(['none', 'minimal', 'low', 'medium', 'high', 'xhigh'])
            .exactOptional()
            .describe("How much it thinks. Default: the service's."),
          maxOutputTokens: z.int().min(16).max(65_536).exactOptional().describe(LONGEST),
        }),
        z.strictObject({
          by: z.literal('client'),
          model,
          temperature,
          maxTokens: maxOutputTokens,
        }),
      ],
      { error: 'must have by: responses or by: client' },
    )
    .exactOptional()
    .describe(
      'Who uses the tools. responses: a model that the service runs beside the live one. client: the language model ' +
        'of LLM_URL. Default: OPENAI_LIVE_DELEGATE.',
    ),
  delegateTimeoutMs: z
    .int()
    .min(1000)
    .max(120_000)
    .exactOptional()
    .describe('A delegate that sends nothing for this long is given up. Default: 20000.'),
  acknowledgementMs: z
    .int()
    .min(0)
    .max(10_000)
    .exactOptional()
    .describe('Delay before the model itself says that it is looking. Default: 0.'),
  messageMs,
})

const IS_MODULE = /^module:\S{1,300}$/

const voices = [...SERVICES.tts.values()]
const SPEED_RANGES = voices
  .flatMap(({ vendor, speeds }) => (speeds === undefined ? [] : [`${vendor.title}: ${speeds[0]} to ${speeds[1]}`]))
  .join('; ')
const VERSIONED = voices
  .flatMap(({ vendor, versionedDictionary }) => (versionedDictionary ? [vendor.title] : []))
  .join(', ')

/** The service of an entry that names none: the one that has an address of its own in the settings. */
const USUAL_SERVICE = { stt: 'whisper', llm: 'chat', tts: 'speech' } as const

/** One service, by its name or with its options, or a list of them. */
function partOf<Shape extends z.ZodRawShape>(part: PartName, shape: Shape) {
  const services = SERVICES[part]
  const names = [...services.keys(), 'module:SPECIFIER'].join(', ')
  const service = z
    .string()
    .refine((name) => services.has(name) || IS_MODULE.test(name), { error: `must be one of ${names}` })
  const options = z
    .strictObject({
      service: service.exactOptional().describe(`${names}. Default: ${USUAL_SERVICE[part]}.`),
      options: z.record(z.string(), z.unknown()).exactOptional().describe('Options that a module gets.'),
      ...shape,
    })
    .superRefine((given, context) => {
      const fault = faultIn(context)
      const { service: name = USUAL_SERVICE[part], ...own } = given as { readonly service?: string }
      const known = services.get(name)
      const has = known?.options ?? ['options']
      const { dictionary } = own as { readonly dictionary?: { readonly version?: string } }
      const versioned = known?.versionedDictionary === true
      if (dictionary !== undefined && has.includes('dictionary') && (dictionary.version !== undefined) !== versioned)
        fault(
          ['dictionary'],
          versioned
            ? `lacks version, without which ${name} takes none`
            : `has a version, which those of ${name} have not; leave it out`,
        )
      for (const key of Object.keys(own))
        if (!has.includes(key))
          fault([key], `is no option of ${name}; it has ${has.length === 0 ? 'none' : has.join(', ')}`)
    })
  return z
    .union([
      service,
      options,
      z
        .array(z.union([service, options]))
        .min(1)
        .max(5),
    ])
    .exactOptional()
    .describe('A service, or a list: each takes the place of the one before it when that fails.')
}

const common = {
  model,
  timeoutMs: z.int().min(500).max(60_000).exactOptional().describe('How long the service may be silent.'),
}
const vendorId = z.string().regex(/^[\w-]{1,100}$/, { error: 'must be an id of 1 to 100 letters, digits, _ and -' })

const cascade = z.strictObject({
  stt: partOf('stt', {
    ...common,
    prompt: z.string().max(1000).exactOptional().describe('Words that are likely.'),
    terms: vocabulary,
    context: z.string().max(2000).exactOptional().describe('Subject of the calls.'),
    locales: z
      .array(z.string().regex(/^[a-z]{2,3}-[A-Z]{2}$/, { error: 'must be a language and a region, such as sw-TZ' }))
      .min(1)
      .max(10)
      .exactOptional()
      .describe("Regions of the callers' languages, such as sw-TZ. Default: sw-KE and en-KE."),
    dialect: z
      .enum(['openai', 'vllm'])
      .exactOptional()
      .describe("Protocol of a realtime server: OpenAI's, or vLLM's own."),
  }),
  llm: partOf('llm', {
    ...common,
    temperature,
    maxTokens: maxOutputTokens,
    thinkingLevel: z
      .enum(['low', 'medium', 'high'])
      .exactOptional()
      .describe("How much Gemini thinks before it answers. Default: the model's own."),
  }),
  tts: partOf('tts', {
    ...common,
    voice: z.string().min(1).max(200).exactOptional().describe("Goes before the agent's voice."),
    speed: z
      .number()
      .min(0.25)
      .max(4)
      .exactOptional()
      .describe(`0.25 to 4; ${SPEED_RANGES}. What is beyond a range is cut to it.`),
    sampleRateHz: z.int().min(8000).max(48_000).exactOptional().describe('Rate of raw samples. Default: 24000.'),
    dictionary: z
      .strictObject({
        id: vendorId.describe('Its id in your account.'),
        version: vendorId.exactOptional().describe(`${VERSIONED}: required.`),
      })
      .exactOptional()
      .describe("A pronunciation dictionary of the vendor's, stored in your account there. Default: none."),
  }),
  languages: languages(/^[a-z]{2}$/, 'sw'),
  speculate: z
    .boolean()
    .exactOptional()
    .describe('Ask the model as soon as the words have not changed for 200 ms. Default: true.'),
  artefacts: z
    .array(z.string().max(200))
    .max(100)
    .exactOptional()
    .describe('More texts that the recogniser writes for noise; they are not answered.'),
})

/** A language model, as `backends.cascade.llm` of an agent names it; of a list only the first is used elsewhere. */
export const languageModelOptions = cascade.shape.llm

const azureVoiceLive = azureVoiceLiveOptions({ model, maxOutputTokens, messageMs, streamSilence }, interruptResponse)

const WITH_OPTIONS: readonly string[] = [
  'openai',
  'openai-live',
  'gemini',
  'azure-voice-live',
  'self-hosted',
  'cascade',
]

/** The `backends:` block of an agent: options of the backends that it uses, by name. */
export const backendOptionsSchema = z
  .object({
    openai: openai.exactOptional(),
    'openai-live': openaiLive.exactOptional(),
    gemini: gemini.exactOptional(),
    'azure-voice-live': azureVoiceLive.exactOptional(),
    'self-hosted': selfHosted.exactOptional(),
    cascade: cascade.exactOptional(),
  })
  // Optional, as the keys above are to a program that is compiled without exactOptionalPropertyTypes.
  .catchall(z.record(z.string(), z.unknown()).optional())

/** Fault of a key of the `backends:` block that is no backend with options; null for one that is. */
export function strangeOptions(name: string, agent: Parameters<typeof isOwnBackend>[1]): string | null {
  if (WITH_OPTIONS.includes(name) || isOwnBackend(name, agent)) return null
  return `${name} has no options; allowed: ${WITH_OPTIONS.join(', ')}, or the name of a module that the agent lists`
}

export type OpenAiOptions = z.output<typeof openai>
export type OpenAiLiveOptions = z.output<typeof openaiLive>
export type GeminiOptions = z.output<typeof gemini>
export type AzureVoiceLiveOptions = z.output<typeof azureVoiceLive>
export type SelfHostedOptions = z.output<typeof selfHosted>
type CascadeOptions = z.output<typeof cascade>
type Entry<Part extends PartName> = Exclude<Extract<NonNullable<CascadeOptions[Part]>, object>, readonly unknown[]>

/** The services that an agent lists for a part, in their order; null where it names none. */
export function serviceEntries<Part extends PartName>(
  part: Part,
  options: CascadeOptions,
): readonly (Entry<Part> & { readonly service: string })[] | null {
  const given = options[part]
  if (given === undefined) return null
  return [given].flat().map((entry) => {
    const own: { readonly service?: string } = typeof entry === 'string' ? { service: entry } : entry
    return { service: USUAL_SERVICE[part], ...own } as Entry<Part> & { readonly service: string }
  })
}

/** Options of an agent's backends, by name; those of a module are passed to it as they are. */
export type BackendOptions = z.output<typeof backendOptionsSchema>
