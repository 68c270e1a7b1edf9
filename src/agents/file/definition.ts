import { z } from 'zod'
import { amdSchema } from '../../call/turns/answering-machine-detector.js'
import {
  DEFAULT_CALL_OPTIONS as CALL,
  DEFAULT_ESCALATION_OPTIONS as ESCALATION,
  callSections,
  refusalSchema,
} from '../../call/call-options.js'
import { claimsSchema } from '../../call/claims/claim-definition.js'
import { rulesSchema } from '../../call/escalation-rules.js'
import { codeOf, languageCode, spokenSchema as spoken } from '../../call/spoken/localized-text.js'
import { isTimeZone } from '../../core/local-time.js'
import { SPAN, WEEKDAYS, openHumans } from '../../escalation/hunt-group.js'
import type { Human, Weekday } from '../../escalation/hunt-group.js'
import { factsSchema, stagesSchema } from '../../call/stage-definition.js'
import { AGENT_NAME, isAgentName } from '../../core/ids.js'
import { numberToCall } from '../../sautikit/phone.js'
import { commonIn } from '../../speech/spoken/common-words.js'
import { keyOf } from '../../speech/spoken/pronunciations.js'
import { ESCALATION_NUMBERS_MAX, TEXT_FRAME_BYTES_MAX } from '../../core/limits.js'
import { sharesOf } from './own-backends.js'
import { LIVE_VOICES, backendOptionsSchema, strangeOptions } from './backend-options.js'
import { analysisSchema } from './analysis.js'
import { callerSchema } from '../identity/caller.js'
import { digitsSchema } from '../../call/tools/digit-collection.js'
import { mcpSchema, mcpToolName } from '../tools/mcp-definition.js'
import { offlineShape } from '../offline/offline.js'
import { pricesSchema } from './prices.js'
import { recordedPhrasesSchema, waitingSoundSchema } from './sound-definition.js'
import { sourcesOf } from './template.js'
import { httpSchema, OPEN_QUERY, openQueries, templatesIn, templatesOf, toolSchema } from '../tools/tool-definition.js'
import { faultIn } from './faults.js'

/** Languages of one agent. */
const LANGUAGES_MAX = 8
/** Agents to whom one may hand over. */
const HANDOVER_AGENTS_MAX = 8
/** Tools of one agent. */
const AGENT_TOOLS_MAX = 40
/** Names of one agent that are said in another way than they are written. */
const PRONUNCIATIONS_MAX = 200
/** Holidays, and days with other hours. */
const HOURS_DAYS_MAX = 200
/** Knowledge files of one agent. */
const KNOWLEDGE_FILES_MAX = 20
/** Calls at once that an agent's file may allow. */
const AGENT_CALLS_MAX = 1_000_000
/** Modules of one agent's tools. */
const AGENT_MODULES_MAX = 10
/** Questions that may be asked to verify a caller. */
const VERIFICATION_QUESTIONS_MAX = 6

const fieldPath = z.string().regex(/^[^.\s]+(\.[^.\s]+)*$/, { error: 'must be a path such as account.birthDate' })
const identityName = z
  .string()
  .regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, { error: 'a name is a letter or _, then letters, digits or _' })
const word = z.string().min(1).max(40)

const questionSchema = z
  .strictObject({
    id: z
      .string()
      .regex(/^[a-z][a-z0-9-]{0,39}$/, { error: 'must be 1 to 40 of a-z 0-9 -, beginning with a letter' })
      .describe('Its name for the model.'),
    ask: spoken.describe('The question as the model may ask it.'),
    field: fieldPath.describe('Path of the right answer in the account.'),
    kind: z
      .enum(['digits', 'date', 'year', 'name', 'text'])
      .default('text')
      .describe('How answers are compared. digits: spoken in any grouping or keyed; date: 1984-03-12 in the account.'),
    last: z.int().min(3).max(12).nullable().default(null).describe('digits: compare only this many at the end.'),
  })
  .refine((question) => question.last === null || question.kind === 'digits', {
    path: ['last'],
    error: 'means something for kind: digits only',
  })

/** How callers prove who they are. The account is fetched by the gateway; no model ever sees it. */
const verificationSchema = z
  .strictObject({
    account: z
      .strictObject({ http: httpSchema.describe('Its request: as of a tool, with {{call.…}} and {{env.…}} only.') })
      .describe('The request that fetches the account with the right answers, by {{call.…}}.'),
    questions: z
      .array(questionSchema)
      .min(1)
      .max(VERIFICATION_QUESTIONS_MAX)
      .describe('Questions that the model asks; a caller who knows enough of the answers is verified.'),
    required: z
      .int()
      .min(1)
      .max(VERIFICATION_QUESTIONS_MAX)
      .default(2)
      .describe('Number of right answers required. Questions about one field count as one.'),
    attempts: z.int().min(1).max(10).default(3).describe('Wrong answers in a call after which no more are accepted.'),
    lock: z
      .strictObject({
        failures: z
          .int()
          .min(1)
          .max(50)
          .optional()
          .describe(
            'Wrong answers of one number, over all its calls, after which no more are accepted. Default: attempts.',
          ),
        minutes: z.int().min(1).max(10_080).default(1440).describe('How long wrong answers count after the last one.'),
      })
      .prefault({})
      .describe('Wrong answers count across the calls of a number: calling again gives no new attempts.'),
    identity: z
      .record(identityName, fieldPath)
      .describe(
        'Fields of the account that are kept: name to path. Tools read them as {{identity.NAME}}; a human who takes over sees them.',
      ),
    dateOrder: z.enum(['dmy', 'mdy']).default('dmy').describe('Order of day and month in dates written as digits.'),
    words: z
      .strictObject({
        numbers: z
          .record(word, z.int().min(0).max(1000))
          .default({})
          .describe('Number words of the language: moja: 1.'),
        months: z.record(word, z.int().min(1).max(12)).default({}).describe('Month words of the language: januari: 1.'),
      })
      .prefault({}),
  })
  .superRefine((verification, context) => {
    const fault = faultIn(context)
    const ids = verification.questions.map((question) => question.id)
    ids.forEach((id, index) => {
      if (ids.indexOf(id) !== index)
        fault(['questions', index, 'id'], `${id} occurs twice; each question needs its own id`)
    })
    if (verification.required > ids.length) {
      fault(['required'], `is ${verification.required}; at most ${ids.length}, the number of questions`)
    }
    // The answer to one question reveals the answer to the other, so the second proves nothing.
    const fields = verification.questions.map((question) => question.field)
    const facts = countDistinct(fields, sameField)
    const repeated = fields.findIndex((field, index) =>
      fields.slice(0, index).some((earlier) => sameField(earlier, field)),
    )
    if (verification.required <= ids.length && verification.required > facts && repeated >= 0) {
      const earlier = fields.findIndex((field) => sameField(field, fields[repeated] ?? ''))
      fault(
        ['questions', repeated, 'field'],
        `${fields[repeated] ?? ''} is what ${ids[earlier] ?? ''} asks for too: questions over one field count as one, and then ` +
          `${verification.required} right answers are required where ${facts} can be given; ask for another field, or lower required`,
      )
    }
    for (const index of openQueries(verification.account.http, [])) {
      fault(['account', 'http', 'query', index], OPEN_QUERY)
    }
    const read = templatesOf(verification.account).flatMap(({ template }) => sourcesOf(template))
    if (!read.some((source) => source.scope === 'call' && (source.name === 'from' || source.name === 'sid'))) {
      fault(
        ['account'],
        'does not depend on the call, so that all callers would be compared with one account; use {{call.from}}',
      )
    }
    for (const { path, template } of templatesOf(verification.account)) {
      for (const source of sourcesOf(template)) {
        if (source.scope === 'call' || source.scope === 'variables') continue
        if (source.scope === 'business' || source.scope === 'env') continue
        const chosen = source.scope === 'args' || source.scope === 'identity'
        fault(
          ['account', ...path],
          'may read {{call.…}}, {{business.…}} and {{env.…}} only: ' +
            (chosen ? 'the caller must not choose whose account is fetched' : 'nothing waits for an account'),
        )
      }
    }
    if (Object.keys(verification.identity).length === 0) {
      fault(['identity'], 'is empty; tools need at least one field to find the account by')
    }
  })

export type Verification = z.output<typeof verificationSchema>

/** True if two paths name one fact: the same field, or a field inside the other. */
export function sameField(a: string, b: string): boolean {
  return a === b || a.startsWith(`${b}.`) || b.startsWith(`${a}.`)
}

/** The number of groups when equal elements, directly or through others, form one group. */
export function countDistinct<T>(items: readonly T[], same: (a: T, b: T) => boolean): number {
  const left = new Set(items.keys())
  let distinct = 0
  for (const first of left) {
    distinct++
    const group = [first]
    for (const member of group) {
      for (const other of left) {
        const [a, b] = [items[member], items[other]]
        if (other !== member && a !== undefined && b !== undefined && same(a, b)) {
          left.delete(other)
          group.push(other)
        }
      }
      left.delete(member)
    }
  }
  return distinct
}

/** Version of the agent file format; `schema/agent.schema.json` describes it. */
const AGENT_VERSION = 1

const languageTag = z
  .string()
  .regex(/^[a-z]{2,3}(-[A-Z]{2})?$/, { error: 'must be a language tag such as en or en-KE' })
export const e164 = z
  .string()
  .regex(/^\+[1-9]\d{6,14}$/, { error: 'must be a number in E.164 form, such as +254720000010, in quotes' })
/** Somebody's number, who is called. */
export const calledNumber = e164.refine((number) => 'number' in numberToCall(number), {
  error: 'must be a number that exists in its country, with all its digits, such as +254720000010, in quotes',
})
const httpUrl = z.url({ protocol: /^https?$/ })
const spansSchema = z.array(z.string().regex(SPAN, { error: 'must be a span such as 08:00-17:30' })).max(6)

const streamSchema = z
  .strictObject({
    name: z
      .string()
      .min(1)
      .max(100)
      .optional()
      .describe('Friendly name, echoed in stream status events. Default: the name of the agent.'),
    track: z
      .enum(['inbound_track', 'outbound_track', 'both_tracks'])
      .default('inbound_track')
      .describe(
        'Which side of the call is sent to us. inbound_track is the caller alone; both_tracks brings our own voice back ' +
          'as an echo.',
      ),
    outputSamplingRate: z
      .union([z.literal(8000), z.literal(16000), z.literal('auto')], { error: 'must be 8000, 16000 or auto' })
      .default(16000)
      .describe(
        'Sample rate of both directions, in Hz. auto: 8000 for callers whose earlier call had no more than the band of a ' +
          'telephone, if the first backend works at 8 kHz (openai, openai-live, cascade); 16000 for all others.',
      ),
    headerMetadata: z
      .record(
        z.string().regex(/^[A-Za-z0-9_-]{1,60}$/, { error: 'a name has letters, digits, _ and - only' }),
        z.string().max(1000),
      )
      .default({})
      .describe('Flat map that the carrier hands back with the stream.'),
    openMetadata: z
      .string()
      .max(4000)
      .nullable()
      .default(null)
      .describe('Opaque text for the first text frame. Default: none beyond what the gateway itself sends.'),
    statusCallback: z
      .union([z.boolean(), httpUrl], { error: 'must be true, false, or an http(s) URL' })
      .default(true)
      .describe(
        'true: the carrier reports stream events to this gateway. false: to nobody. A URL: to that URL instead.',
      ),
    statusEvents: z
      .array(z.enum(['stream-started', 'stream-stopped', 'stream-error']))
      .min(1)
      .max(3)
      .default(['stream-started', 'stream-stopped', 'stream-error'])
      .describe('Which stream events are reported.'),
  })
  .superRefine((stream, context) => {
    const bytes =
      Buffer.byteLength(JSON.stringify(stream.headerMetadata)) + Buffer.byteLength(stream.openMetadata ?? '')
    // The PBX keeps 8,192 bytes of metadata; half is reserved for the call SID and the JSON around it.
    if (bytes > TEXT_FRAME_BYTES_MAX / 2) {
      context.addIssue({
        code: 'custom',
        path: ['headerMetadata'],
        message:
          `headerMetadata and openMetadata have ${bytes} bytes; together at most ${TEXT_FRAME_BYTES_MAX / 2} ` +
          'reach the stream',
      })
    }
  })

const saySchema = z.strictObject({
  greeting: spoken.optional().describe("Spoken by the carrier's own voice before the stream opens. Default: nothing."),
  fallback: spoken
    .default({
      en: 'Sorry, we cannot take your call right now. Please call again in a few minutes.',
      sw: 'Samahani, hatuwezi kupokea simu yako sasa. Tafadhali piga tena baada ya dakika chache.',
    })
    .describe(
      "Spoken by the carrier's own voice when no stream can be opened; then the escalation numbers are tried, if " +
        'there are any.',
    ),
  busy: spoken
    .default({
      en: 'Sorry, there are too many calls at the moment. Please call again in a few minutes.',
      sw: 'Samahani, kuna simu nyingi sana kwa sasa. Tafadhali piga tena baada ya dakika chache.',
    })
    .describe(
      "Spoken by the carrier's own voice to a caller who has too many calls, and where too many callers have been sent to " +
        'a human in this minute. Nobody is rung.',
    ),
  hold: spoken
    .default({
      en: 'One moment please, I am connecting you again.',
      sw: 'Tafadhali subiri kidogo, ninakuunganisha tena.',
    })
    .describe(
      "Spoken by the carrier's own voice, every few seconds, to a caller whose gateway was lost, while no other can read " +
        'how the call goes on.',
    ),
  voice: z.string().min(1).max(60).optional().describe("The carrier's voice, for example alice, man, woman."),
  language: z
    .string()
    .regex(/^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$/, { error: 'must be a language tag such as en-KE' })
    .optional()
    .describe("Language of the carrier's voice."),
})

/** Percents are floats: thirds sum to 100 only nearly. */
const PERCENT_TOLERANCE = 0.001

const backendName = z.string().regex(/^(?:[a-z][a-z0-9-]{0,39}|module:\S{1,500})$/, {
  error:
    'must be auto, openai, openai-live, gemini, azure-voice-live, self-hosted, cascade, embedded, or module: and what to import, such as module:./mine.mjs',
})

const backendsInOrder = z.union([backendName, z.array(backendName).min(1).max(5)], {
  error: 'must be the name of a backend, or a list of up to 5 names',
})
const backendShare = z.strictObject({
  use: backendsInOrder.describe('The backend of this share of the calls, or a list of them.'),
  percent: z.number().min(0).max(100).describe('How many of 100 calls; the percents of a split sum to 100.'),
})

/** Why `backend:` has no form that is allowed. */
function backendFault(input: unknown): string {
  const entries: readonly unknown[] = Array.isArray(input) ? input : [input]
  const shares = entries.filter((entry) => typeof entry === 'object' && entry !== null && !Array.isArray(entry))
  if (shares.length === 0) return 'must be the name of a backend, a list of up to 5 names, or a split'
  if (!Array.isArray(input) || shares.length < entries.length)
    return 'must be a list of names or a list of shares, not both: every entry of a split is { use, percent }'
  return 'is not a split: it has up to 5 entries { use, percent }; use is a backend or a list of them, percent is 0 to 100'
}

const backendSchema = z
  .union([...backendsInOrder.options, z.array(backendShare).min(1).max(5)], {
    error: ({ input }) => backendFault(input),
  })
  .superRefine((choice, context) => {
    const fault = faultIn(context)
    const shares = sharesOf(choice)
    const sum = shares.reduce((total, { percent }) => total + percent, 0)
    if (Math.abs(sum - 100) > PERCENT_TOLERANCE)
      fault([], `is a split whose percents sum to ${Number(sum.toFixed(6))}; allowed: 100`)
    const first = shares.map(({ use }) => [use].flat()[0])
    const twice = first.find((name, index) => first.indexOf(name) !== index)
    if (twice !== undefined)
      fault([], `has two shares that begin with ${twice}; allowed: each its own, because figures are kept by backend`)
  })

const failoverSchema = z.strictObject({
  standby: z
    .boolean()
    .default(false)
    .describe('Keeps the second backend of the list connected from the start of each call, without audio.'),
  stallMs: z
    .int()
    .min(1000)
    .max(30_000)
    .default(4000)
    .describe('Silence of a backend after a question that counts as its failure.'),
  holdAfterMs: z
    .int()
    .min(300)
    .max(10_000)
    .default(1500)
    .describe('How long the caller waits for another backend before a filler is spoken.'),
})

const amount = z.number().min(0).max(1_000_000)

const budgetSchema = z.strictObject({
  maxMinutes: z
    .number()
    .min(0.5)
    .max(240)
    .optional()
    .describe('Longest use of the backends in one call. Default: only limits.maxDurationS.'),
  maxTokens: z
    .int()
    .min(100)
    .max(100_000_000)
    .optional()
    .describe('Input and output tokens of one call together. Default: no limit.'),
  maxCost: amount.optional().describe('Cost of one call, in the currency of prices. Default: no limit.'),
  prices: pricesSchema
    .nullable()
    .default(null)
    .describe("Your contract's prices, which take precedence over those of PRICES_FILE and the vendors' public ones."),
})

/** Contents of a call's context beyond date, time, language and caller. */
const contextSchema = z.strictObject({
  timeZone: z
    .string()
    .refine(isTimeZone, { error: 'must be the name of a time zone, such as Africa/Nairobi' })
    .meta({ pattern: '^[A-Za-z][A-Za-z0-9_+/-]*$' })
    .optional()
    .describe("IANA name of the callers' time zone. Default: that of `escalation.hours`, else that of the machine."),
  facts: z
    .array(z.string().trim().min(1).max(500))
    .max(20)
    .default([])
    .describe('Sentences that every model gets with date and time, such as "The shop closes at 18:00 today."'),
})

const dayKey = z.string().regex(/^(\d{4}-)?(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/, {
  error: 'must be a day such as 2026-12-25, or 12-25 for every year',
})

/** Opening hours, of escalations and of a business. */
export const hoursSchema = z.strictObject({
  timeZone: z
    .string()
    .refine(isTimeZone, { error: 'must be the name of a time zone, such as Africa/Nairobi' })
    .meta({ pattern: '^[A-Za-z][A-Za-z0-9_+/-]*$' })
    .describe('IANA name of the time zone of the hours.'),
  week: z
    .strictObject(
      Object.fromEntries(
        WEEKDAYS.map((day) => [
          day,
          spansSchema
            .optional()
            .describe('Spans such as 08:00-17:30; one that ends before it begins goes past midnight.'),
        ]),
      ) as Record<Weekday, z.ZodOptional<typeof spansSchema>>,
    )
    .describe('Time spans of each day; a day that is left out has none.'),
  holidays: z.array(dayKey).max(HOURS_DAYS_MAX).default([]).describe('Days without hours.'),
  exceptions: z
    .record(dayKey, spansSchema)
    .refine((days) => Object.keys(days).length <= HOURS_DAYS_MAX, { error: `has more than ${HOURS_DAYS_MAX} days` })
    .exactOptional()
    .describe('Days with other hours than their weekday, also of holidays: 12-24: [08:00-13:00].'),
})

/** In the place of a number: those of the business. */
export const BUSINESS_HUMANS = '{{business.humans}}'

const humanSchema = z.union(
  [
    calledNumber,
    z.literal(BUSINESS_HUMANS),
    z.strictObject({
      number: calledNumber.describe('In E.164 form.'),
      hours: hoursSchema.optional().describe('When this number can be called. Default: during escalation.hours.'),
    }),
  ],
  {
    error: `must be a number in E.164 form that exists in its country, such as +254720000010, in quotes, or ${BUSINESS_HUMANS}, or { number, hours }`,
  },
)

/** Phrases of a cascade when no language model answers and no human can come; see `MessagePhrases`. */
const messageSchema = z.strictObject({
  name: spoken
    .default({
      en: 'I cannot look anything up at the moment, but I can take a message. What is your name, please?',
      sw: 'Kwa sasa siwezi kuangalia chochote, lakini naweza kuchukua ujumbe. Jina lako ni nani, tafadhali?',
    })
    .describe("Says why, and asks for the caller's name; spoken after failed or closed."),
  about: spoken
    .default({ en: 'Thank you. And what is it about?', sw: 'Asante. Na ni kuhusu nini?' })
    .describe('Asks what it is about.'),
  number: spoken
    .default({ en: 'Which number can we call you on?', sw: 'Tukupigie kwa namba gani?' })
    .describe('Asks a caller whose number is withheld for one.'),
  noted: spoken
    .default({
      en: 'Thank you. I have noted it, and a colleague will call you back. Goodbye.',
      sw: 'Asante. Nimeandika, na mwenzangu atakupigia simu. Kwaheri.',
    })
    .describe('Spoken when the call back is noted; then the call ends.'),
  failed: spoken
    .default({
      en: 'I am sorry, I could not note it. Please call again later. Goodbye.',
      sw: 'Samahani, sikuweza kuandika. Tafadhali piga tena baadaye. Kwaheri.',
    })
    .describe('Spoken when it could not be noted; then the call ends.'),
  only: spoken
    .default({
      en: 'Hello. For the rest of today I can only take a message. What is your name, please?',
      sw: 'Hujambo. Kwa leo naweza kuchukua ujumbe tu. Jina lako ni nani, tafadhali?',
    })
    .describe(
      "Spoken in place of the greeting and of name, where the number's budget of the day is used up (docs/NUMBERS.md).",
    ),
})

const escalationSchema = z.strictObject({
  numbers: z
    .array(humanSchema)
    .min(1)
    .max(ESCALATION_NUMBERS_MAX)
    .describe('Numbers of humans, in the order in which they are tried; each may have its own hours.'),
  hours: hoursSchema
    .nullable()
    .default(null)
    .describe(
      'Opening hours. Outside them no number rings and the caller hears so. Default: those of the business, else always.',
    ),
  callerId: e164.optional().describe('Number that the human sees. Default: the carrier decides.'),
  strategies: z
    .array(z.enum(['after-stream-dial', 'supervision', 'conference', 'callback']))
    .min(1)
    .max(4)
    .refine((all) => new Set(all).size === all.length, { error: 'names a strategy twice' })
    .refine((all) => !all.includes('callback') || all.at(-1) === 'callback', {
      error: 'has callback before another strategy; it comes last',
    })
    .default(['supervision', 'after-stream-dial', 'callback'])
    .describe(
      'Ways to reach a human, tried in this order (docs/AGENTS.md). With conference the call is answered into a room.',
    ),
  timeoutS: z.int().min(5).max(120).default(25).describe('How long one number may ring.'),
  announce: spoken
    .nullable()
    .default({ en: ESCALATION.announceText, sw: 'Ninakuunganisha na mwenzangu. Tafadhali subiri.' })
    .describe('Spoken before the transfer; null for nothing.'),
  failed: spoken
    .default({ en: ESCALATION.failedText, sw: 'Samahani, hakuna mwenzangu aliye huru kwa sasa.' })
    .describe('Spoken when every strategy failed.'),
  closed: spoken
    .default({ en: ESCALATION.closedText, sw: 'Samahani, wenzangu hawapo kwa saa hii.' })
    .describe('Spoken instead outside the opening hours.'),
  offer: spoken
    .default({
      en: 'If you would like us to call you back, press 1.',
      sw: 'Ukitaka tukupigie simu, bonyeza moja.',
    })
    .describe('Asked then, if callback is a strategy; digit 1 means yes.'),
  offerAccepted: spoken
    .default({ en: 'Thank you. A colleague will call you back.', sw: 'Asante. Mwenzangu atakupigia simu.' })
    .describe('Spoken after digit 1.'),
  offerRefused: spoken
    .default({
      en: 'I am sorry, we cannot call you back. Please call us again.',
      sw: 'Samahani, hatuwezi kukupigia simu. Tafadhali tupigie tena.',
    })
    .describe('Spoken after digit 1 where the call back is refused (docs/CAMPAIGNS.md).'),
  message: messageSchema
    .prefault({})
    .nullable()
    .describe(
      'How a cascade takes a message when no language model answers and nobody can come, if callback is a strategy; null: it takes none.',
    ),
  silentLine: spoken
    .optional()
    .describe(
      'Spoken before the stream closes, if the carrier may leave the caller in silence. Default: asks the caller to hang up and be called back, or to call again.',
    ),
  whisper: spoken
    .nullable()
    .default({ en: 'A caller for you.', sw: 'Una simu ya mteja.' })
    .describe(
      'Said to the human alone before they join (conference only), followed by reason and summary; null for nothing.',
    ),
  webhook: httpUrl
    .optional()
    .describe('Receives the handoff packet of each escalation. Default: HANDOFF_URL, if it is set.'),
  afterFailure: z
    .enum(['continue', 'goodbye'])
    .default(ESCALATION.afterFailure)
    .describe('The agent then continues with the caller or says goodbye.'),
})

const callBackPauses = z.array(z.int().min(1).max(10_080)).min(1).max(5)

const callbacksSchema = z.strictObject({
  greeting: spoken
    .default({
      en: 'Hello, you asked us to call you back. Is now a good time? Say yes, or press 1.',
      sw: 'Hujambo, uliomba tukupigie simu. Tunaweza kuongea sasa? Sema ndiyo, au bonyeza moja.',
    })
    .describe(
      'Spoken first to whoever answers, before it is known who that is. {{call.variables.note}} in it says what the caller had said that it is about: only where no phone is shared.',
    ),
  afterMinutes: z
    .int()
    .min(1)
    .max(1440)
    .default(15)
    .describe('How long after the promise, where the caller named no time.'),
  humanFirst: z
    .boolean()
    .default(false)
    .describe(
      'Rings the first human of escalation.numbers who is there first, and puts them through to the caller; the agent calls where they do not take it.',
    ),
  humanGreeting: spoken
    .default({
      en: 'A caller was promised a call back. {{call.variables.note}} Shall I connect you? Say yes, or press 1.',
      sw: 'Mteja aliahidiwa kupigiwa simu. {{call.variables.note}} Nikuunganishe? Sema ndiyo, au bonyeza moja.',
    })
    .describe('Spoken to that human.'),
  hours: hoursSchema
    .nullable()
    .default(null)
    .describe("When callers are called back. Default: 08:00-20:00 in the zone of the caller's number."),
  tries: z.int().min(1).max(5).default(3).describe('How often a caller who is not reached is called.'),
  retryBusyMinutes: callBackPauses
    .default([10, 30])
    .describe(
      'Minutes before the second and each later call to a line that was busy; the last counts for all that follow.',
    ),
  retryNoAnswerMinutes: callBackPauses
    .default([30, 120])
    .describe('The same where nobody answered or said a word, or a machine did.'),
})

const recordingSchema = z.strictObject({
  enabled: z
    .boolean()
    .default(false)
    .describe('Records calls: caller left, agent right, a WAV under DATA_DIR/recordings.'),
  consent: spoken
    .nullable()
    .default({ en: 'This call is recorded.', sw: 'Simu hii inarekodiwa.' })
    .describe('Spoken first; the recording is kept only if the caller heard it. null if say.greeting already says it.'),
  notice: spoken
    .nullable()
    .default(null)
    .describe(
      'Spoken first where calls are not recorded, to say that what is said is written down (RECORDS_TRANSCRIPT). Default: nothing.',
    ),
  refusal: refusalSchema
    .nullable()
    .default(null)
    .describe(
      'The caller may answer consent, or notice, with no (or key 2): then no recording, no words and no journal of the call are kept. The text should say so. Default: no answer is waited for.',
    ),
})

const keptDays = z.int().min(1).max(36_500).nullable().default(null)

const retentionSchema = z.strictObject({
  recordsDays: keptDays.describe('How many days records and handoff packets are kept. Default: RECORDS_KEEP_DAYS.'),
  recordingsDays: keptDays.describe(
    "How many days recordings, and the carrier's, are kept. Default: RECORDINGS_KEEP_DAYS.",
  ),
  journalsDays: keptDays.describe('How many days journals are kept. Default: RECORDINGS_KEEP_DAYS.'),
})

const outboundSchema = z.strictObject({
  from: e164
    .optional()
    .describe('Caller number of the calls that this agent places. Default: each request must name one.'),
  greeting: spoken
    .optional()
    .describe(
      'Spoken first in calls that the agent places, in place of greeting; not in call backs. Default: greeting.',
    ),
  instructions: z
    .string()
    .trim()
    .min(1)
    .max(8000)
    .optional()
    .describe('Added to instructions in those calls: why the agent calls. Default: nothing.'),
  sendDigits: z
    .boolean()
    .default(false)
    .describe(
      'Lets the agent press keys in those calls, for extensions and recorded menus: its model gets the tool send_digits.',
    ),
  ringTimeoutS: z.int().min(5).max(50).default(30).describe('How long a called number may ring.'),
  openOn: z
    .enum(['first-webhook', 'answered'])
    .default('answered')
    .describe(
      "Which of the carrier's webhooks gets the stream: the first that does not say that the number rings, or the very first.",
    ),
  amd: amdSchema
    .nullable()
    .prefault({})
    .describe('Answering-machine detection before the agent speaks; null: it speaks at once.'),
})

const sampleSchema = z
  .strictObject({
    from: z.string().max(20).default('+254700000001').describe('Number of the caller.'),
    identity: z
      .record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
      .default({})
      .describe('Verified identity.'),
  })
  .describe('The call that `mkondo check --tools` simulates.')

const afterCallSchema = z.strictObject({
  say: spoken.optional().describe("Spoken by the carrier's own voice after the stream. Default: nothing."),
  hangup: z.boolean().default(true).describe('Has the carrier end the call then.'),
})

/** `recovery: callback` is short for `recovery: { callback: true }`. */
const recoverySchema = z.preprocess(
  (value) => (value === 'callback' ? { callback: true } : value),
  z.strictObject({
    text: spoken
      .default({ en: CALL.cutOffText, sw: 'Samahani, simu ilikatika. Bado niko hapa.' })
      .describe('Spoken first when a call continues with a new stream, because its node or its stream was lost.'),
    callback: z
      .boolean()
      .default(false)
      .describe('Calls a caller back, once, whose call was cut off and cannot continue.'),
    callbackGreeting: spoken
      .default({
        en: 'Hello, you called us a moment ago, and we were cut off. Shall we go on where we stopped? Say yes, or press 1.',
        sw: 'Hujambo, ulitupigia simu muda mfupi uliopita, ikakatika. Tuendelee tulipoishia? Sema ndiyo, au bonyeza moja.',
      })
      .describe(
        'Spoken first to the person who answers the call back. Nothing of the first call is said before they confirm.',
      ),
    hours: hoursSchema.nullable().default(null).describe('When callers are called back. Default: always.'),
  }),
)

const saying = z.string().trim().min(1).max(120)
const pronunciationsSchema = z
  .array(
    z.strictObject({
      match: z
        .string()
        .trim()
        .min(2)
        .max(60)
        .regex(/^[\p{L}\p{N}].*[\p{L}\p{N}]$/u, { error: 'must begin and end with a letter or a digit' })
        .describe('Whole words as they are written, in any case.'),
      say: saying
        .or(z.record(languageCode, saying))
        .describe('The text that voices get in their place; of one a language only in these languages.'),
    }),
  )
  .max(PRONUNCIATIONS_MAX)
  .superRefine((list, context) => {
    list.forEach(({ match }, index) => {
      const common = /\s/.test(match) ? null : commonIn(match)
      const earlier = list.findIndex((other) => keyOf(other.match) === keyOf(match))
      const message =
        common !== null
          ? `is ${match}, one of the 500 commonest words of ${common}, which every sentence may have; allowed: names, and words with others beside them`
          : earlier < index
            ? `is ${match}, which an earlier entry has; allowed: each once`
            : null
      if (message !== null) context.addIssue({ code: 'custom', path: [index, 'match'], message })
    })
  })

const voiceName = z.string().min(1).max(60)
const voiceSchema = z
  .object({
    embedded: z.enum(['slt', 'rms', 'awb', 'kal']).default('slt').describe('Voice of the embedded backend.'),
    'openai-live': z.enum(LIVE_VOICES).exactOptional().describe('Voice of openai-live. Default: marin.'),
  })
  // Optional, as the keys above are to a program that is compiled without exactOptionalPropertyTypes.
  .catchall(voiceName.or(z.record(languageCode, voiceName)).optional())
  .describe(
    "Voice by backend: slt, rms, awb or kal for embedded; for any other the vendor's name, or one for each language.",
  )

/**
 * One agent, as in its YAML file. The types, the validation and the published JSON Schema all come from here;
 * every key is explained in docs/AGENT-FILE.md.
 */
export const agentSchema = z
  .strictObject({
    version: z
      .literal(AGENT_VERSION, {
        error: `must be ${AGENT_VERSION}, the only version of agent files that this gateway reads`,
      })
      .describe('Version of this format.'),
    name: z
      .string()
      .refine(isAgentName, { error: 'must be 1 to 40 of a-z 0-9 -, beginning with a letter' })
      .meta({ pattern: AGENT_NAME.source })
      .describe('Name in URLs (/voice/NAME), metrics and records.'),
    description: z.string().max(1000).default('').describe('For people; not given to the model.'),
    languages: z
      .array(languageTag)
      .min(1)
      .max(LANGUAGES_MAX)
      .refine((tags) => new Set(tags.map(codeOf)).size === tags.length, { error: 'names a language twice' })
      .optional()
      .describe(
        'Languages of the conversation; the call begins in the first, and then follows the caller. Default: en.',
      ),
    language: languageTag.optional().describe('Short for a list of one.'),
    voice: voiceSchema.prefault({}),
    pronunciations: pronunciationsSchema
      .default([])
      .describe('How voices that take text say names; the transcript keeps what was written. The longest match wins.'),
    speechRate: z
      .boolean()
      .default(true)
      .describe('Lets callers have the agent speak slower or faster: its model gets the tool set_speech_rate.'),
    backend: backendSchema
      .default('auto')
      .describe(
        'auto: the first of openai, gemini and embedded that has its key, and then embedded where the agent has an ' +
          'offline block. A list: each next one takes over when the one ' +
          'before fails in mid-call. A list of { use, percent }: a split of the calls. module:./FILE, in the agents folder, or module:PACKAGE, which is installed, is a backend of your own.',
      ),
    backends: backendOptionsSchema
      .prefault({})
      .describe('Options of single backends, by name (docs/BACKENDS.md). Default: from the settings.'),
    failover: failoverSchema.prefault({}),
    budget: budgetSchema
      .nullable()
      .default(null)
      .describe('Limits of one call before the agent says goodbye. Default: no limit and no estimate.'),
    canary: z
      .strictObject({
        percent: z
          .number()
          .min(0)
          .max(100)
          .describe("Share of the agent's calls that get this version. A call's SID decides, at every node alike."),
      })
      .exactOptional()
      .describe(
        'This file is a second version of the agent of the same name (docs/AGENTS.md). Default: it is the agent.',
      ),
    maxCalls: z
      .int()
      .min(1)
      .max(AGENT_CALLS_MAX)
      .nullable()
      .default(null)
      .describe('Concurrent calls of this agent, on all nodes; further callers hear the fallback. Default: all slots.'),
    instructions: z.string().trim().min(1).max(32_000).describe('The prompt of the model.'),
    context: contextSchema.prefault({}).describe('Facts of the call that models get after the instructions.'),
    greeting: spoken.nullable().default(null).describe('The first words of the agent. Default: the model decides.'),
    say: saySchema.prefault({}),
    stream: streamSchema.prefault({}),
    ...callSections.shape,
    waitingSound: waitingSoundSchema
      .nullable()
      .default(null)
      .describe(
        'Sound in place of silence while a tool runs, while an outcome is awaited, and while a human is rung: music, or a thinking sound. Default: silence.',
      ),
    recordedPhrases: recordedPhrasesSchema
      .default({})
      .describe(
        'WAV files of this folder with phrases that the gateway itself says, by the place of the phrase in this file, such as goodbye or silence.prompts.0: one file, or one a language. They take the place of the synthesised ones.',
      ),
    recovery: recoverySchema
      .prefault({})
      .describe('How a call continues after it was cut off; callback is short for { callback: true }.'),
    tools: z.array(toolSchema).max(AGENT_TOOLS_MAX).default([]).describe('Tools that call an API over HTTP.'),
    mcp: mcpSchema.default([]).describe('Servers whose tools the agent may use (docs/MCP.md).'),
    digits: digitsSchema
      .default([])
      .describe('Entries that callers make on the keypad: collect_digits (docs/KEYPAD.md).'),
    modules: z
      .array(
        z
          .string()
          .regex(/\.m?js$/, { error: 'must be a .js or .mjs file' })
          .max(200),
      )
      .max(AGENT_MODULES_MAX)
      .default([])
      .describe('Files of this folder whose exports are tools in code (defineTool).'),
    knowledge: z
      .array(
        z
          .string()
          .regex(/\.(md|ya?ml)$/, { error: 'must be a .md, .yaml or .yml file' })
          .max(200),
      )
      .max(KNOWLEDGE_FILES_MAX)
      .default([])
      .describe('Files of this folder with knowledge for the agent; the model searches them with search_knowledge.'),
    caller: callerSchema
      .nullable()
      .default(null)
      .describe(
        'Facts of a caller that are known before the greeting: {{caller.NAME}} (docs/CALLERS.md). Default: none.',
      ),
    verification: verificationSchema
      .nullable()
      .default(null)
      .describe('How callers prove their identity. Default: they cannot, and no tool may require it.'),
    rules: rulesSchema
      .nullable()
      .default(null)
      .describe('When the gateway itself escalates a call to a human. Default: never.'),
    claims: claimsSchema
      .nullable()
      .default(null)
      .describe(
        'Checks what the agent says against its tool calls and what it was given. Default: nothing is checked.',
      ),
    facts: factsSchema.default({}).describe('Facts that can become known in a call, for stages (docs/STAGES.md).'),
    stages: stagesSchema
      .nullable()
      .default(null)
      .describe(
        'Parts of the conversation with instructions and tools of their own; a call begins in the first (docs/STAGES.md). Default: one conversation.',
      ),
    handoverTo: z
      .record(
        z.string().refine(isAgentName, { error: 'must be the name of an agent' }),
        z.string().trim().min(1).max(300),
      )
      .refine((agents) => Object.keys(agents).length <= HANDOVER_AGENTS_MAX, {
        error: `has more than ${HANDOVER_AGENTS_MAX} agents`,
      })
      .default({})
      .describe('Agents of this folder to whom the model may hand the call over, with when: its tool is hand_over.'),
    sample: sampleSchema.prefault({}),
    analysis: analysisSchema
      .nullable()
      .default(null)
      .describe('Fields that are filled for each call after it (docs/ANALYSIS.md). Default: none.'),
    escalation: escalationSchema.nullable().default(null).describe('How a human is reached. Default: not at all.'),
    callbacks: callbacksSchema
      .nullable()
      .default(null)
      .describe(
        'The gateway itself makes the call backs that are promised (escalation.strategies with callback). Default: a colleague does.',
      ),
    recording: recordingSchema.prefault({}).describe('Default: calls are not recorded.'),
    retention: retentionSchema
      .prefault({})
      .describe('How long what is kept of calls is kept, longer or shorter than by the settings.'),
    outbound: outboundSchema.prefault({}).describe('Calls that this agent places (mkondo call-out).'),
    afterCall: afterCallSchema.prefault({}),
    offline: offlineShape
      .nullable()
      .default(null)
      .describe('The scripted dialogue of the embedded backend. Default: none.'),
  })
  .superRefine((agent, context) => {
    const fault = faultIn(context)
    const { recording } = agent
    if (recording.refusal !== null && (recording.enabled ? recording.consent : recording.notice) === null)
      fault(
        ['recording', 'refusal'],
        `needs recording.${recording.enabled ? 'consent' : 'notice'}, which says what the caller may refuse`,
      )
    if (agent.language !== undefined && agent.languages !== undefined) {
      fault(['language'], 'is one of languages; leave it out')
    }
    for (const name of Object.keys(agent.backends)) {
      const message = strangeOptions(name, agent)
      if (message !== null) fault(['backends', name], message)
    }
    agent.tools.forEach((tool, index) => {
      if (agent.tools.findIndex((other) => other.name === tool.name) === index) return
      fault(['tools', index, 'name'], `${tool.name} is the name of an earlier tool; names must be unique`)
    })
    if (agent.callbacks !== null && agent.escalation?.strategies.includes('callback') !== true)
      fault(['callbacks'], 'are never promised: escalation.strategies has no callback')
    const { verification, rules } = agent
    if (agent.caller?.memory === true && verification === null)
      fault(['caller', 'memory'], 'is for verified callers only, but the agent has no verification section')
    const known = Object.keys(verification?.identity ?? {})
    const allowed = `verification.identity has: ${known.join(', ') || '(nothing)'}`
    /** Parts that need a verified caller, in an agent that can verify none. */
    const unverifiable = (
      at: readonly PropertyKey[],
      requires: 'verified' | undefined,
      templates: ReturnType<typeof templatesOf>,
    ): void => {
      if (requires === 'verified' && verification === null)
        fault([...at, 'requires'], 'is verified, but the agent has no verification section')
      for (const { path, template } of templates)
        for (const { scope, name } of sourcesOf(template))
          if (scope === 'identity' && !known.includes(name))
            fault([...at, ...path], `reads {{identity.${name}}}; ${allowed}`)
    }
    agent.mcp.forEach((server, index) =>
      server.tools.forEach(({ name: ofServer, requires, bind }, at) => {
        const path = ['mcp', index, 'tools', at]
        const name = mcpToolName(server.name, ofServer)
        if (agent.tools.some((own) => own.name === name))
          fault(path, `makes the name ${name}, which a tool of the agent has`)
        unverifiable(path, requires, templatesIn({ bind }))
      }),
    )
    agent.tools.forEach((tool, index) => unverifiable(['tools', index], tool.requires, templatesOf(tool)))
    if (rules === null) return
    if (rules.vip !== null && !known.includes(rules.vip)) fault(['rules', 'vip'], `is ${rules.vip}; ${allowed}`)
    if (agent.escalation === null) {
      fault(['rules'], 'need a human, but the agent has no escalation section')
    }
  })
  .transform(({ language = 'en', languages = [language], ...agent }) => ({ ...agent, languages }))

/** An agent with every default filled in. Plain data: it crosses threads by structured clone. */
export type AgentDefinition = z.output<typeof agentSchema>

/** First words to a caller about the recording or the transcript; null: none. */
export function consentOf({
  recording: { enabled, consent, notice },
}: AgentDefinition): AgentDefinition['recording']['consent'] {
  return enabled ? consent : notice
}

/** An agent as its author writes it: everything with a default may be left out. */
export type AgentInput = z.input<typeof agentSchema>

/** The agents to whom this one may hand a call over. */
export function handoversOf({ name, handoverTo, stages }: AgentDefinition): string[] {
  const ofStages = Object.values(stages ?? {}).flatMap((stage) => stage.handoverTo ?? [])
  return [...new Set([...Object.keys(handoverTo), ...ofStages])].filter((agent) => agent !== name)
}

/** The published JSON Schema (`schema/agent.schema.json`); editors check agent files with it. */
export function agentJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(agentSchema, { io: 'input', unrepresentable: 'any' })
  const properties = schema.properties as Record<string, Readonly<Record<string, unknown>> | undefined>
  const { description, ...recovery } = properties['recovery'] ?? {}
  properties['recovery'] = {
    ...(description === undefined ? {} : { description }),
    anyOf: [{ const: 'callback' }, recovery],
  }
  return {
    ...schema,
    title: 'Mkondo agent',
    description: 'One voice agent. Every key is explained in docs/AGENT-FILE.md.',
  }
}

/** The hunt group of an agent's `escalation:` section; empty without one. */
export function humansOf(escalation: AgentDefinition['escalation']): Human[] {
  return (escalation?.numbers ?? []).map((human) =>
    typeof human === 'string' ? { number: human, hours: null } : { number: human.number, hours: human.hours ?? null },
  )
}

/** The numbers that may be rung at that time. @param wallMs calendar time */
export function numbersOpen(escalation: AgentDefinition['escalation'], wallMs: number): string[] {
  return openHumans({ humans: humansOf(escalation), hours: escalation?.hours ?? null, caller: '' }, wallMs).map(
    ({ number }) => number,
  )
}
