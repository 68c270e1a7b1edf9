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
import { BACKENDS, REALTIME_VOICES } from '../../vendors/list.js'
import { backendOptionsSchema, strangeOptions } from './backend-options.js'
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

/** Maximum number of languages of one agent. */
const LANGUAGES_MAX = 8
/** Maximum number of agents to which one agent may hand over. */
const HANDOVER_AGENTS_MAX = 8
/** Maximum number of tools of one agent. */
const AGENT_TOOLS_MAX = 40
/** Maximum number of pronunciations of one agent. */
const PRONUNCIATIONS_MAX = 200
/** Maximum number of holidays, and of days in `exceptions`. */
const HOURS_DAYS_MAX = 200
/** Maximum number of knowledge files of one agent. */
const KNOWLEDGE_FILES_MAX = 20
/** Maximum value of the setting for concurrent calls in an agent's file. */
const AGENT_CALLS_MAX = 1_000_000
/** Maximum number of modules with tools of one agent. */
const AGENT_MODULES_MAX = 10
/** Maximum number of questions that may be asked to verify a caller. */
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
      .regex(/^[a-z][a-z0-9-]{0,39}$/, { error: 'must be 1 to 40 characters of a-z 0-9 -, beginning with a letter' })
      .describe(
        'Name of the question. The model uses the name to send an answer: 1 to 40 characters of a-z 0-9 -, beginning with a letter.',
      ),
    ask: spoken.describe('The question, as the model may ask it.'),
    field: fieldPath.describe('Path of the right answer in the account, such as security.idNumber.'),
    kind: z
      .enum(['digits', 'date', 'year', 'name', 'text'])
      .default('text')
      .describe(
        'Comparison of answers. digits: spoken in any grouping, or entered on the keypad. date: spoken as 17 April 1988, 17/4/88 or 17041988; the account has 1988-04-17. year, name and text: a year, a name, any text.',
      ),
    last: z
      .int()
      .min(3)
      .max(12)
      .nullable()
      .default(null)
      .describe('For kind: digits, the number of last digits that are compared. null: all digits.'),
  })
  .refine((question) => question.last === null || question.kind === 'digits', {
    path: ['last'],
    error: 'has an effect only with kind: digits',
  })

/** Schema of `verification:`. The gateway fetches the account; models never receive it. */
const verificationSchema = z
  .strictObject({
    account: z
      .strictObject({
        http: httpSchema.describe(
          'The request, like http of a tool. Its templates may read {{call.…}}, {{business.…}} and {{env.…}} only. A 404 means that there is no account.',
        ),
      })
      .describe('Request that fetches the account with the right answers. It must read {{call.from}} or {{call.sid}}.'),
    questions: z
      .array(questionSchema)
      .min(1)
      .max(VERIFICATION_QUESTIONS_MAX)
      .describe('Questions that the model asks. A caller with enough right answers is verified.'),
    required: z
      .int()
      .min(1)
      .max(VERIFICATION_QUESTIONS_MAX)
      .default(2)
      .describe('Number of right answers that verify a caller. Questions about one field count as one.'),
    attempts: z
      .int()
      .min(1)
      .max(10)
      .default(3)
      .describe('Maximum number of wrong answers in a call. After that the call accepts no more answers.'),
    lock: z
      .strictObject({
        failures: z
          .int()
          .min(1)
          .max(50)
          .optional()
          .describe(
            'Maximum number of wrong answers over all calls of a number. After that no more answers are accepted. Default: attempts.',
          ),
        minutes: z
          .int()
          .min(1)
          .max(10_080)
          .default(1440)
          .describe('Time in minutes for which wrong answers of a number count.'),
      })
      .prefault({})
      .describe('Limit of wrong answers over all calls of a number. Calling again gives no new attempts.'),
    identity: z
      .record(identityName, fieldPath)
      .describe(
        'Fields of the account that the call stores, as name: path. Tools read them as {{identity.NAME}}. The handoff packet for a human has them.',
      ),
    dateOrder: z
      .enum(['dmy', 'mdy'])
      .default('dmy')
      .describe('Order of day and month in dates that are written as digits. dmy: day first. mdy: month first.'),
    words: z
      .strictObject({
        numbers: z
          .record(word, z.int().min(0).max(1000))
          .default({})
          .describe('Number words and their values, such as { cinq: 5 }.'),
        months: z
          .record(word, z.int().min(1).max(12))
          .default({})
          .describe('Month words and the numbers of their months, such as { avril: 4 }.'),
      })
      .prefault({})
      .describe('Number and month words of languages other than English and Swahili.'),
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
    // If two questions use one field, the first answer reveals the second answer. The second answer is then not a
    // proof.
    const fields = verification.questions.map((question) => question.field)
    const facts = countDistinct(fields, sameField)
    const repeated = fields.findIndex((field, index) =>
      fields.slice(0, index).some((earlier) => sameField(earlier, field)),
    )
    if (verification.required <= ids.length && verification.required > facts && repeated >= 0) {
      const earlier = fields.findIndex((field) => sameField(field, fields[repeated] ?? ''))
      fault(
        ['questions', repeated, 'field'],
        `${fields[repeated] ?? ''} is also the field of ${ids[earlier] ?? ''}: questions about one field count as one, so ` +
          `${verification.required} right answers are required, and the questions allow only ${facts}; use another field, or lower required`,
      )
    }
    for (const index of openQueries(verification.account.http, [])) {
      fault(['account', 'http', 'query', index], OPEN_QUERY)
    }
    const read = templatesOf(verification.account).flatMap(({ template }) => sourcesOf(template))
    if (!read.some((source) => source.scope === 'call' && (source.name === 'from' || source.name === 'sid'))) {
      fault(
        ['account'],
        'does not depend on the call, so all callers would be compared with one account; use {{call.from}}',
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
      fault(['identity'], 'is empty; tools need at least one field to find the account')
    }
  })

export type Verification = z.output<typeof verificationSchema>

/** True if two paths name the same fact: the paths are equal, or one path contains the other path. */
export function sameField(a: string, b: string): boolean {
  return a === b || a.startsWith(`${b}.`) || b.startsWith(`${a}.`)
}

/**
 * Returns the number of groups of elements. Two elements are in one group if they are equal, or if a chain of equal
 * elements connects them.
 */
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
/** Phone number of a person who is called. */
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
      .describe('Name of the stream, which the carrier repeats in stream events. Default: name of the agent.'),
    track: z
      .enum(['inbound_track', 'outbound_track', 'both_tracks'])
      .default('inbound_track')
      .describe(
        'Audio that the carrier sends to the gateway. inbound_track: the caller. outbound_track: the agent. both_tracks: both, so that the agent hears its own voice as an echo. Keep the default if you can.',
      ),
    outputSamplingRate: z
      .union([z.literal(8000), z.literal(16000), z.literal('auto')], { error: 'must be 8000, 16000 or auto' })
      .default(16000)
      .describe(
        "Sample rate of both directions, in Hz. auto: 8000 if the audio of the caller's earlier call had only the telephone band and the first backend works at 8 kHz; else 16000 (docs/BACKENDS.md#8-or-16-khz).",
      ),
    headerMetadata: z
      .record(
        z.string().regex(/^[A-Za-z0-9_-]{1,60}$/, { error: 'a name has letters, digits, _ and - only' }),
        z.string().max(1000),
      )
      .default({})
      .describe(
        'Flat map of texts that the carrier sends back with the stream. headerMetadata and openMetadata together have at most 4096 bytes: the carrier accepts 8192 bytes, and the gateway needs half of them.',
      ),
    openMetadata: z
      .string()
      .max(4000)
      .nullable()
      .default(null)
      .describe('Text that the carrier sends in the first text frame of the stream. null: no text.'),
    statusCallback: z
      .union([z.boolean(), httpUrl], { error: 'must be true, false, or an http(s) URL' })
      .default(true)
      .describe(
        'Receiver of stream events. true: this gateway. false: no receiver. A URL: this address, in place of the gateway.',
      ),
    statusEvents: z
      .array(z.enum(['stream-started', 'stream-stopped', 'stream-error']))
      .min(1)
      .max(3)
      .default(['stream-started', 'stream-stopped', 'stream-error'])
      .describe('Stream events that the carrier reports.'),
  })
  .superRefine((stream, context) => {
    const bytes =
      Buffer.byteLength(JSON.stringify(stream.headerMetadata)) + Buffer.byteLength(stream.openMetadata ?? '')
    // The PBX stores at most 8,192 bytes of metadata. Half of them is reserved for the call SID and the JSON around it.
    if (bytes > TEXT_FRAME_BYTES_MAX / 2) {
      context.addIssue({
        code: 'custom',
        path: ['headerMetadata'],
        message:
          `headerMetadata and openMetadata have ${bytes} bytes; together at most ${TEXT_FRAME_BYTES_MAX / 2} ` +
          'are sent with the stream',
      })
    }
  })

const saySchema = z.strictObject({
  greeting: spoken
    .optional()
    .describe('Spoken before the stream opens. The text delays the agent by its length. Default: nothing.'),
  fallback: spoken
    .default({
      en: 'Sorry, we cannot take your call right now. Please call again in a few minutes.',
      sw: 'Samahani, hatuwezi kupokea simu yako sasa. Tafadhali piga tena baada ya dakika chache.',
    })
    .describe(
      "Spoken if no stream can be opened, for example because the gateway is full. Then all escalation numbers ring at the same time, if there are any. The text is in the language of the call. If this language is unknown, the text is in the language of the caller's last call to this gateway.",
    ),
  busy: spoken
    .default({
      en: 'Sorry, there are too many calls at the moment. Please call again in a few minutes.',
      sw: 'Samahani, kuna simu nyingi sana kwa sasa. Tafadhali piga tena baada ya dakika chache.',
    })
    .describe(
      'Spoken to a caller who has too many calls, or if too many callers were sent to a human in this minute. No human is rung. The language is chosen as for fallback.',
    ),
  hold: spoken
    .default({
      en: 'One moment please, I am connecting you again.',
      sw: 'Tafadhali subiri kidogo, ninakuunganisha tena.',
    })
    .describe(
      'Spoken to a caller whose gateway was lost, while no other gateway can read the state of the call from the store. The text is repeated every few seconds for up to 20 s. The language is chosen as for fallback.',
    ),
  voice: z
    .string()
    .min(1)
    .max(60)
    .optional()
    .describe('Voice of the carrier, such as alice, man or woman. Default: the carrier decides.'),
  language: z
    .string()
    .regex(/^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$/, { error: 'must be a language tag such as en-KE' })
    .optional()
    .describe("Language of the carrier's voice, such as en-KE. Default: the carrier decides."),
})

/**
 * Tolerance for sums of percents. It is needed because percents are floating-point numbers, so that three thirds do not
 * add up to exactly 100.
 */
const PERCENT_TOLERANCE = 0.001

const backendName = z.string().regex(/^(?:[a-z][a-z0-9-]{0,39}|module:\S{1,500})$/, {
  error: `must be auto, ${BACKENDS.join(', ')}, or module: and what to import, such as module:./mine.mjs`,
})

const backendsInOrder = z.union([backendName, z.array(backendName).min(1).max(5)], {
  error: 'must be the name of a backend, or a list of up to 5 names',
})
const backendShare = z.strictObject({
  use: backendsInOrder.describe(
    'Backend of this share of the calls, or a list of up to 5. In a list the next backend takes over if a backend fails.',
  ),
  percent: z.number().min(0).max(100).describe('Percentage of the calls. The percentages of a split sum to 100.'),
})

/** Returns the fault of a `backend:` value whose form is not allowed. */
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
      fault(
        [],
        `has two shares that begin with ${twice}; allowed: a different backend for each share, because figures are kept by backend`,
      )
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
    .describe('Silence of a backend after a turn of the caller, in ms, that counts as a failure.'),
  holdAfterMs: z
    .int()
    .min(300)
    .max(10_000)
    .default(1500)
    .describe('Time in ms that the caller waits for the next backend before the gateway speaks a filler.'),
})

const amount = z.number().min(0).max(1_000_000)

const budgetSchema = z.strictObject({
  maxMinutes: z
    .number()
    .min(0.5)
    .max(240)
    .optional()
    .describe('Maximum use of the backends in one call, in minutes. Default: only limits.maxDurationS.'),
  maxTokens: z
    .int()
    .min(100)
    .max(100_000_000)
    .optional()
    .describe('Maximum number of input and output tokens of one call together. Default: no limit.'),
  maxCost: amount.optional().describe('Maximum cost of one call, in the currency of budget.prices. Default: no limit.'),
  prices: pricesSchema
    .nullable()
    .default(null)
    .describe(
      "Prices of your contract. They take precedence over the prices of PRICES_FILE and the vendors' public prices (docs/COST.md#cost).",
    ),
})

/** Schema of `context:`, a text that the model gets in addition to date, time, language and caller. */
const contextSchema = z.strictObject({
  timeZone: z
    .string()
    .refine(isTimeZone, { error: 'must be the name of a time zone, such as Africa/Nairobi' })
    .meta({ pattern: '^[A-Za-z][A-Za-z0-9_+/-]*$' })
    .optional()
    .describe(
      "IANA name of the callers' time zone, for the day and time that models get. Default: the time zone of escalation.hours, else the time zone of the machine.",
    ),
  facts: z
    .array(z.string().trim().min(1).max(500))
    .max(20)
    .default([])
    .describe(
      'Sentences that every model gets together with the date and time, such as "The shop closes at 18:00 today."',
    ),
})

const dayKey = z.string().regex(/^(\d{4}-)?(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/, {
  error: 'must be a day such as 2026-12-25, or 12-25 for every year',
})

/** Opening hours of an escalation or a business. */
export const hoursSchema = z.strictObject({
  timeZone: z
    .string()
    .refine(isTimeZone, { error: 'must be the name of a time zone, such as Africa/Nairobi' })
    .meta({ pattern: '^[A-Za-z][A-Za-z0-9_+/-]*$' })
    .describe('IANA name of the time zone of the hours, such as Africa/Nairobi.'),
  week: z
    .strictObject(
      Object.fromEntries(
        WEEKDAYS.map((day) => [
          day,
          spansSchema
            .optional()
            .describe(
              'Time spans such as 08:00-17:30. A span whose end is earlier than its beginning continues past midnight. Default: none.',
            ),
        ]),
      ) as Record<Weekday, z.ZodOptional<typeof spansSchema>>,
    )
    .describe(
      'Time spans of each day. A missing day has no time spans. A span past midnight belongs to the day on which it begins.',
    ),
  holidays: z
    .array(dayKey)
    .max(HOURS_DAYS_MAX)
    .default([])
    .describe('Days on which these hours do not apply: 2026-10-20, or 12-25 for every year.'),
  exceptions: z
    .record(dayKey, spansSchema)
    .refine((days) => Object.keys(days).length <= HOURS_DAYS_MAX, { error: `has more than ${HOURS_DAYS_MAX} days` })
    .exactOptional()
    .describe('Days with other hours than their weekday, also holidays: { 12-24: [08:00-13:00] }. Default: none.'),
})

/** Placeholder that stands for all phone numbers of the business. */
export const BUSINESS_HUMANS = '{{business.humans}}'

const humanSchema = z.union(
  [
    calledNumber,
    z.literal(BUSINESS_HUMANS),
    z.strictObject({
      number: calledNumber.describe('Number of the human in E.164 form, in quotes.'),
      hours: hoursSchema.optional().describe('Hours in which this number can be called. Default: escalation.hours.'),
    }),
  ],
  {
    error: `must be a number in E.164 form that exists in its country, such as +254720000010, in quotes, or ${BUSINESS_HUMANS}, or { number, hours }`,
  },
)

/**
 * Phrases with which a cascade takes a message if the language models do not answer and humans are not available; see
 * `MessagePhrases`.
 */
const messageSchema = z.strictObject({
  name: spoken
    .default({
      en: 'I cannot look anything up at the moment, but I can take a message. What is your name, please?',
      sw: 'Kwa sasa siwezi kuangalia chochote, lakini naweza kuchukua ujumbe. Jina lako ni nani, tafadhali?',
    })
    .describe("Says that no human can help now, and asks for the caller's name. Spoken after failed or closed."),
  about: spoken
    .default({ en: 'Thank you. And what is it about?', sw: 'Asante. Na ni kuhusu nini?' })
    .describe('Asks for the subject of the message.'),
  number: spoken
    .default({ en: 'Which number can we call you on?', sw: 'Tukupigie kwa namba gani?' })
    .describe('Asks a caller with a withheld number for a number to call back.'),
  noted: spoken
    .default({
      en: 'Thank you. I have noted it, and a colleague will call you back. Goodbye.',
      sw: 'Asante. Nimeandika, na mwenzangu atakupigia simu. Kwaheri.',
    })
    .describe('Spoken when the call back is noted. Then the call ends.'),
  failed: spoken
    .default({
      en: 'I am sorry, I could not note it. Please call again later. Goodbye.',
      sw: 'Samahani, sikuweza kuandika. Tafadhali piga tena baadaye. Kwaheri.',
    })
    .describe('Spoken if the call back could not be noted. Then the call ends.'),
  only: spoken
    .default({
      en: 'Hello. For the rest of today I can only take a message. What is your name, please?',
      sw: 'Hujambo. Kwa leo naweza kuchukua ujumbe tu. Jina lako ni nani, tafadhali?',
    })
    .describe(
      "Spoken in place of greeting and name if the number's daily budget is used up (docs/NUMBERS.md#what-the-calls-of-a-number-may-cost-in-a-day).",
    ),
})

const escalationSchema = z.strictObject({
  numbers: z
    .array(humanSchema)
    .min(1)
    .max(ESCALATION_NUMBERS_MAX)
    .describe(
      "Numbers of humans, in the order of the attempts. An entry is a number in E.164 form, in quotes, { number, hours }, or '{{business.humans}}'. The caller's own number is skipped.",
    ),
  hours: hoursSchema
    .nullable()
    .default(null)
    .describe(
      'Opening hours. Outside these hours no number rings, and the caller hears closed. null: the hours of the business if it has hours, else always open.',
    ),
  callerId: e164.optional().describe('Number that the human sees, in E.164 form. Default: the carrier decides.'),
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
      'Strategies to reach a human, tried in this order; callback must be last (docs/AGENTS.md#escalation). With conference, the carrier connects calls of the agent to a conference room when it answers them.',
    ),
  timeoutS: z.int().min(5).max(120).default(25).describe('Maximum ringing time of one number, in seconds.'),
  announce: spoken
    .nullable()
    .default({ en: ESCALATION.announceText, sw: 'Ninakuunganisha na mwenzangu. Tafadhali subiri.' })
    .describe('Spoken before the first number is tried. null: nothing.'),
  failed: spoken
    .default({ en: ESCALATION.failedText, sw: 'Samahani, hakuna mwenzangu aliye huru kwa sasa.' })
    .describe('Spoken if every strategy failed.'),
  closed: spoken
    .default({ en: ESCALATION.closedText, sw: 'Samahani, wenzangu hawapo kwa saa hii.' })
    .describe('Spoken in place of failed, outside the opening hours.'),
  offer: spoken
    .default({
      en: 'If you would like us to call you back, press 1.',
      sw: 'Ukitaka tukupigie simu, bonyeza moja.',
    })
    .describe(
      'Question that is asked after failed or closed if callback is a strategy. DTMF digit 1 means yes. If the caller answers in words, the model calls request_callback.',
    ),
  offerAccepted: spoken
    .default({ en: 'Thank you. A colleague will call you back.', sw: 'Asante. Mwenzangu atakupigia simu.' })
    .describe('Spoken after digit 1.'),
  offerRefused: spoken
    .default({
      en: 'I am sorry, we cannot call you back. Please call us again.',
      sw: 'Samahani, hatuwezi kukupigia simu. Tafadhali tupigie tena.',
    })
    .describe('Spoken after digit 1 if the call back is refused (docs/CAMPAIGNS.md#call-backs).'),
  message: messageSchema
    .prefault({})
    .nullable()
    .describe(
      'Texts with which a cascade takes a message if callback is a strategy, no language model answers and no human can be reached (docs/CASCADE.md#when-a-service-fails). null: no message is taken.',
    ),
  silentLine: spoken
    .optional()
    .describe(
      'Spoken before the stream closes if the carrier may leave the caller in silence. Default: asks the caller to hang up and wait for a call back, or to call again.',
    ),
  whisper: spoken
    .nullable()
    .default({ en: 'A caller for you.', sw: 'Una simu ya mteja.' })
    .describe(
      'For the strategy conference: spoken only to the human before they join, followed by reason and summary. null: nothing is spoken.',
    ),
  webhook: httpUrl
    .optional()
    .describe(
      'URL that receives the handoff packet of each escalation (docs/FORMATS.md#handoff). Default: HANDOFF_URL, if it is set.',
    ),
  afterFailure: z
    .enum(['continue', 'goodbye'])
    .default(ESCALATION.afterFailure)
    .describe(
      'Step after a failed escalation. continue: the agent continues with the caller. goodbye: the agent says goodbye, and the call ends.',
    ),
})

const callBackPauses = z.array(z.int().min(1).max(10_080)).min(1).max(5)

const callbacksSchema = z.strictObject({
  greeting: spoken
    .default({
      en: 'Hello, you asked us to call you back. Is now a good time? Say yes, or press 1.',
      sw: 'Hujambo, uliomba tukupigie simu. Tunaweza kuongea sasa? Sema ndiyo, au bonyeza moja.',
    })
    .describe(
      'Spoken first to the person who answers, who may be another person than the caller. {{call.variables.note}} is the subject that the caller named: use it only if callers do not share phones.',
    ),
  afterMinutes: z
    .int()
    .min(1)
    .max(1440)
    .default(15)
    .describe('Time in minutes from the promise to the call back if the caller named no time.'),
  humanFirst: z
    .boolean()
    .default(false)
    .describe(
      'Rings the first human of escalation.numbers who is within their hours, and connects the human to the caller. If the human does not answer, the agent calls the caller.',
    ),
  humanGreeting: spoken
    .default({
      en: 'A caller was promised a call back. {{call.variables.note}} Shall I connect you? Say yes, or press 1.',
      sw: 'Mteja aliahidiwa kupigiwa simu. {{call.variables.note}} Nikuunganishe? Sema ndiyo, au bonyeza moja.',
    })
    .describe('Spoken to the human of humanFirst. {{call.variables.note}} is the subject that the caller named.'),
  hours: hoursSchema
    .nullable()
    .default(null)
    .describe("Hours in which callers are called back. null: 08:00-20:00 in the time zone of the caller's number."),
  tries: z.int().min(1).max(5).default(3).describe('Maximum number of calls to a caller who is not reached.'),
  retryBusyMinutes: callBackPauses
    .default([10, 30])
    .describe(
      'Pauses in minutes before the second and each later call if the line was busy. The last pause of the list applies to all further calls.',
    ),
  retryNoAnswerMinutes: callBackPauses
    .default([30, 120])
    .describe(
      'Pauses in minutes if no person answered or the person said nothing. The list works like retryBusyMinutes.',
    ),
})

const recordingSchema = z.strictObject({
  enabled: z
    .boolean()
    .default(false)
    .describe(
      'Records calls as stereo WAV files under DATA_DIR/recordings, at the sample rate of the call. Left: the caller. Right: the agent, as the caller heard it.',
    ),
  consent: spoken
    .nullable()
    .default({ en: 'This call is recorded.', sw: 'Simu hii inarekodiwa.' })
    .describe(
      'Notice of the recording. It is spoken first and cannot be interrupted. The recording is stored only if the caller heard the notice to its end. null: say.greeting has the notice.',
    ),
  notice: spoken
    .nullable()
    .default(null)
    .describe(
      'Notice that the words of the call are stored (RECORDS_TRANSCRIPT). It is spoken first if calls are not recorded. null: there is no notice, and mkondo check warns.',
    ),
  refusal: refusalSchema
    .nullable()
    .default(null)
    .describe(
      'Lets the caller refuse after consent or notice, with "no" or DTMF digit 2. Then no recording, words or journal of the call are stored (docs/AGENTS.md#recording). null: the agent does not wait for an answer.',
    ),
})

const keptDays = z.int().min(1).max(36_500).nullable().default(null)

const retentionSchema = z.strictObject({
  recordsDays: keptDays.describe(
    'Number of days for which records and handoff packets are stored. null: RECORDS_KEEP_DAYS.',
  ),
  recordingsDays: keptDays.describe(
    "Number of days for which recordings are stored, also the carrier's. null: RECORDINGS_KEEP_DAYS.",
  ),
  journalsDays: keptDays.describe('Number of days for which journals are stored. null: RECORDINGS_KEEP_DAYS.'),
})

const outboundSchema = z.strictObject({
  from: e164
    .optional()
    .describe(
      'Caller number of placed calls, in E.164 form, if the request does not name a number. Default: each request must name a number.',
    ),
  greeting: spoken
    .optional()
    .describe('Spoken first in calls that the agent places, except call backs. Default: greeting.'),
  instructions: z
    .string()
    .trim()
    .min(1)
    .max(8000)
    .optional()
    .describe('Text that is added to instructions in placed calls: the reason for the call. Default: nothing.'),
  sendDigits: z
    .boolean()
    .default(false)
    .describe(
      'Lets the agent send DTMF digits in placed calls, for extensions and recorded menus. The model gets the tool send_digits (docs/CAMPAIGNS.md#extensions-and-menus).',
    ),
  ringTimeoutS: z.int().min(5).max(50).default(30).describe('Maximum ringing time of a called number, in seconds.'),
  openOn: z
    .enum(['first-webhook', 'answered'])
    .default('answered')
    .describe(
      'Webhook of the carrier that the gateway answers with the stream (docs/CARRIER-API.md). answered: the first webhook that does not report a ringing number. first-webhook: the first webhook of the call.',
    ),
  amd: amdSchema
    .nullable()
    .prefault({})
    .describe(
      'Answering-machine detection before the agent speaks. Until the detection has a result, the model gets no audio and does not speak. A DTMF digit means a person. null: the agent speaks at once.',
    ),
})

const sampleSchema = z
  .strictObject({
    from: z.string().max(20).default('+254700000001').describe('Number of the caller.'),
    identity: z
      .record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
      .default({})
      .describe('Verified identity of the caller, as name: value.'),
  })
  .describe('The call that `mkondo check --tools` simulates.')

const afterCallSchema = z.strictObject({
  say: spoken.optional().describe("Text that the carrier's own voice speaks after the stream. Default: nothing."),
  hangup: z.boolean().default(true).describe('Lets the carrier end the call after afterCall.say.'),
})

/** The form `recovery: callback` means `recovery: { callback: true }`. */
const recoverySchema = z.preprocess(
  (value) => (value === 'callback' ? { callback: true } : value),
  z.strictObject({
    text: spoken
      .default({ en: CALL.cutOffText, sw: 'Samahani, simu ilikatika. Bado niko hapa.' })
      .describe('Spoken first if a call whose node or stream was lost continues with a new stream.'),
    callback: z
      .boolean()
      .default(false)
      .describe(
        'Calls the caller back once if the call was cut off and cannot continue (docs/AGENTS.md#when-a-call-is-cut-off).',
      ),
    callbackGreeting: spoken
      .default({
        en: 'Hello, you called us a moment ago, and we were cut off. Shall we go on where we stopped? Say yes, or press 1.',
        sw: 'Hujambo, ulitupigia simu muda mfupi uliopita, ikakatika. Tuendelee tulipoishia? Sema ndiyo, au bonyeza moja.',
      })
      .describe(
        'Spoken first to the person who answers the call back. Before this person confirms, the agent says nothing about the first call.',
      ),
    hours: hoursSchema.nullable().default(null).describe('Hours in which callers are called back. null: always.'),
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
        .describe(
          'Whole words as they are written, in upper or lower case. The 500 most common words of English and Swahili are refused.',
        ),
      say: saying
        .or(z.record(languageCode, saying))
        .describe(
          'Text that voices get in place of the words: one text for all languages, or texts by language. Test the text, because some voices pause at hyphens.',
        ),
    }),
  )
  .max(PRONUNCIATIONS_MAX)
  .superRefine((list, context) => {
    list.forEach(({ match }, index) => {
      const common = /\s/.test(match) ? null : commonIn(match)
      const earlier = list.findIndex((other) => keyOf(other.match) === keyOf(match))
      const message =
        common !== null
          ? `is ${match}, one of the 500 commonest words of ${common}, which occur in ordinary sentences; allowed: names, and phrases of several words`
          : earlier < index
            ? `is ${match}, which an earlier entry has; allowed: each once`
            : null
      if (message !== null) context.addIssue({ code: 'custom', path: [index, 'match'], message })
    })
  })

const voiceName = z.string().min(1).max(60)
const voiceSchema = z
  .object({
    embedded: z
      .enum(['slt', 'rms', 'awb', 'kal'])
      .default('slt')
      .describe('Voice of the embedded backend. kal is an 8 kHz voice.'),
    ...REALTIME_VOICES,
  })
  // `undefined` is allowed, because programs that are compiled without exactOptionalPropertyTypes may pass it for the
  // keys above.
  .catchall(voiceName.or(z.record(languageCode, voiceName)).optional())
  .describe(
    'Voice by backend: one name, or one for each language, such as { cascade: { en: Adrian, sw: Maya } }. Default: the default voice of the vendor. The voice of a cascade changes with the language of the call, if the service supports it (docs/CASCADE.md). Any other voice does not change during a session. If a service has a fixed list of voices, the name is checked at the start.',
  )

/**
 * One agent in the form of its YAML file. The types, the validation and the published JSON Schema are generated from
 * this schema. docs/AGENT-FILE.md explains every key.
 */
export const agentSchema = z
  .strictObject({
    version: z
      .literal(AGENT_VERSION, {
        error: `must be ${AGENT_VERSION}, the only version of agent files that this gateway reads`,
      })
      .describe('Version of the format of agent files.'),
    name: z
      .string()
      .refine(isAgentName, { error: 'must be 1 to 40 characters of a-z 0-9 -, beginning with a letter' })
      .meta({ pattern: AGENT_NAME.source })
      .describe(
        'Name of the agent in URLs (/voice/NAME), metrics and records: 1 to 40 characters of a-z 0-9 -, beginning with a letter.',
      ),
    description: z.string().max(1000).default('').describe('Text for people. The model does not get it.'),
    languages: z
      .array(languageTag)
      .min(1)
      .max(LANGUAGES_MAX)
      .refine((tags) => new Set(tags.map(codeOf)).size === tags.length, { error: 'names a language twice' })
      .optional()
      .describe(
        'Languages of the conversation, such as en, en-KE or sw. The call begins in the first language, and then changes to the language of the caller. Default: [en].',
      ),
    language: languageTag.optional().describe('Short form of languages with one entry.'),
    voice: voiceSchema.prefault({}),
    pronunciations: pronunciationsSchema
      .default([])
      .describe(
        'How voices from text (cascade, embedded, the carrier) say names: { match: Muindi Mbingu, say: Moo-in-dee Mbeen-goo }. The longest match is used, and the transcript has the written name. For a realtime model write the pronunciation into instructions.',
      ),
    speechRate: z
      .boolean()
      .default(true)
      .describe(
        'Lets callers ask for slower or faster speech: the model gets the tool set_speech_rate (docs/CASCADE.md#the-callers-speed).',
      ),
    backend: backendSchema
      .default('auto')
      .describe(
        "Backend of the agent: one name, a list of up to 5 names, or a split. Names: auto, a realtime service (docs/VENDORS.md), cascade, embedded, module:./FILE in the agents folder, module:PACKAGE. In a list the next backend takes over if a backend fails, with the transcript, the tool results and the caller's last words. A split is a list of up to 5 { use, percent } that divides the calls (docs/BACKENDS.md#a-split). auto: the first realtime service that has an API key and that auto may select. If the agent has an offline block, embedded takes over from this service. An agent whose backend is not configured is not loaded.",
      ),
    backends: backendOptionsSchema
      .prefault({})
      .describe(
        'Options by backend, such as model, turn detection or temperature (docs/BACKENDS.md#options-in-an-agent-file). Default: from the settings.',
      ),
    failover: failoverSchema
      .prefault({})
      .describe('Takeover by the next backend of a list (docs/BACKENDS.md#a-list-of-backends).'),
    budget: budgetSchema
      .nullable()
      .default(null)
      .describe(
        'Limits of one call (docs/COST.md#budget). When a limit is reached, the agent is instructed to say goodbye. null: no limit.',
      ),
    canary: z
      .strictObject({
        percent: z
          .number()
          .min(0)
          .max(100)
          .describe(
            "Percentage of the agent's calls that use this version. It is computed from the SID of the call, so all nodes select the same version.",
          ),
      })
      .exactOptional()
      .describe(
        'Makes this file a second version (canary) of the agent with the same name, for a share of its calls (docs/AGENTS.md#a-version-for-some-of-the-calls). Default: the file is the main version.',
      ),
    maxCalls: z
      .int()
      .min(1)
      .max(AGENT_CALLS_MAX)
      .nullable()
      .default(null)
      .describe(
        "Maximum number of concurrent calls of this agent, on all nodes of a fleet. Further callers hear say.fallback. Nodes read each other's counts every 2 s, so a burst within 2 s may exceed the maximum. null: all slots.",
      ),
    instructions: z.string().trim().min(1).max(32_000).describe('Prompt of the model.'),
    context: contextSchema
      .prefault({})
      .describe(
        "Facts that models get after the instructions: date, time, language, and whether the caller's number is withheld. They are updated at midnight and with every new session.",
      ),
    greeting: spoken
      .nullable()
      .default(null)
      .describe(
        'First words of the agent. If the caller has heard nothing after 3 s, the gateway itself speaks the greeting, or the first filler if there is no greeting. null: the model decides its first words.',
      ),
    say: saySchema
      .prefault({})
      .describe("Texts that the carrier's own voice speaks while there is no stream, and the name of this voice."),
    stream: streamSchema.prefault({}).describe("Attributes of the carrier's <Stream>, except the URL."),
    ...callSections.shape,
    waitingSound: waitingSoundSchema
      .nullable()
      .default(null)
      .describe(
        "Music or a thinking sound while a tool runs, while the call waits for an outcome, or while a human's phone rings (docs/AGENTS.md#while-the-caller-waits). null: silence.",
      ),
    recordedPhrases: recordedPhrasesSchema
      .default({})
      .describe(
        'WAV files of the agents folder for phrases that the gateway says (docs/AGENTS.md#recorded-phrases). The name is the path of the phrase in this file, such as goodbye or silence.prompts.0. The value is one file, or one file for each language.',
      ),
    recovery: recoverySchema
      .prefault({})
      .describe('How a call continues after it was cut off. callback is the short form of { callback: true }.'),
    tools: z
      .array(toolSchema)
      .max(AGENT_TOOLS_MAX)
      .default([])
      .describe('Tools that call an API over HTTP (docs/AGENTS.md#tools). Default: none.'),
    mcp: mcpSchema
      .default([])
      .describe('Servers whose tools the agent may use, over the Model Context Protocol (docs/MCP.md). Default: none.'),
    digits: digitsSchema
      .default([])
      .describe(
        'Numbers and PINs that callers enter on the keypad or say. The model uses the tool collect_digits (docs/KEYPAD.md). Default: none.',
      ),
    modules: z
      .array(
        z
          .string()
          .regex(/\.m?js$/, { error: 'must be a .js or .mjs file' })
          .max(200),
      )
      .max(AGENT_MODULES_MAX)
      .default([])
      .describe('Files of the agents folder, .js or .mjs, that export tools in code (docs/AGENTS.md#tools-in-code).'),
    knowledge: z
      .array(
        z
          .string()
          .regex(/\.(md|ya?ml)$/, { error: 'must be a .md, .yaml or .yml file' })
          .max(200),
      )
      .max(KNOWLEDGE_FILES_MAX)
      .default([])
      .describe(
        'Files of the agents folder, .md, .yaml or .yml, that the model searches with search_knowledge (docs/AGENTS.md#knowledge).',
      ),
    knowledgeMaxDays: z
      .int()
      .min(1)
      .max(3650)
      .exactOptional()
      .describe('Age in days from which mkondo check warns about imported passages. Default: no warning.'),
    caller: callerSchema
      .nullable()
      .default(null)
      .describe(
        'Look-up of facts about the caller before the greeting. Texts read them as {{caller.NAME}} (docs/CALLERS.md). null: no look-up.',
      ),
    verification: verificationSchema
      .nullable()
      .default(null)
      .describe(
        'Verification of the identity of callers (docs/AGENTS.md#verification). null: there is no verification, and no tool may require it.',
      ),
    rules: rulesSchema
      .nullable()
      .default(null)
      .describe(
        'Rules by which the gateway itself escalates a call to a human. Each rule applies at most once in a call. The rules need escalation. null: no rules.',
      ),
    claims: claimsSchema
      .nullable()
      .default(null)
      .describe(
        'Checks the words of the agent against its tool calls and the facts that it was given (docs/AGENTS.md#claims). {} checks only numbers, prices and weekdays. null: nothing is checked.',
      ),
    facts: factsSchema
      .default({})
      .describe(
        'Up to 30 facts that a call can learn, for stages (docs/STAGES.md). A fact is unknown while its value is null, false or an empty text. Default: none.',
      ),
    stages: stagesSchema
      .nullable()
      .default(null)
      .describe(
        'Up to 20 stages of the conversation, each with its own instructions and tools. A call begins in the first stage (docs/STAGES.md). null: no stages.',
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
      .describe(
        'Up to 8 agents of the folder to which the model may hand the call over with the tool hand_over, each with its condition (docs/STAGES.md#another-agent).',
      ),
    sample: sampleSchema.prefault({}),
    analysis: analysisSchema
      .nullable()
      .default(null)
      .describe('Fields that are filled for each call after its end (docs/ANALYSIS.md). null: none.'),
    escalation: escalationSchema
      .nullable()
      .default(null)
      .describe('Escalation of calls to a human (docs/AGENTS.md#escalation). null: calls cannot be escalated.'),
    callbacks: callbacksSchema
      .nullable()
      .default(null)
      .describe(
        'Lets the gateway itself make promised call backs (docs/AGENTS.md#promised-call-backs). escalation.strategies must have callback. null: a colleague calls back.',
      ),
    recording: recordingSchema.prefault({}).describe('Recording of calls (docs/AGENTS.md#recording).'),
    retention: retentionSchema
      .prefault({})
      .describe(
        "Number of days for which data of this agent's calls is stored, in place of the settings. An edit does not change earlier data.",
      ),
    outbound: outboundSchema.prefault({}).describe('Calls that this agent places (mkondo call-out, POST /api/calls).'),
    afterCall: afterCallSchema.prefault({}).describe("The carrier's part of the call after the stream."),
    offline: offlineShape
      .nullable()
      .default(null)
      .describe(
        'Scripted dialogue of the embedded backend, which does not use instructions (docs/OFFLINE-AGENT.md). null: no dialogue.',
      ),
  })
  .superRefine((agent, context) => {
    const fault = faultIn(context)
    const { recording } = agent
    if (recording.refusal !== null && (recording.enabled ? recording.consent : recording.notice) === null)
      fault(
        ['recording', 'refusal'],
        `needs recording.${recording.enabled ? 'consent' : 'notice'}, which names what the caller may refuse`,
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
    /** If the agent cannot verify callers, reports the parts of the file that need a verified caller. */
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

/** An agent, including all default values, as plain data that can be sent between threads. */
export type AgentDefinition = z.output<typeof agentSchema>

/**
 * Returns the words about the recording or the transcript with which a call begins; null if the agent does not have
 * such words.
 */
export function consentOf({
  recording: { enabled, consent, notice },
}: AgentDefinition): AgentDefinition['recording']['consent'] {
  return enabled ? consent : notice
}

/** An agent as its author writes it. A key with a default may be left out. */
export type AgentInput = z.input<typeof agentSchema>

/** Returns the agents to which this agent can hand over a call. */
export function handoversOf({ name, handoverTo, stages }: AgentDefinition): string[] {
  const ofStages = Object.values(stages ?? {}).flatMap((stage) => stage.handoverTo ?? [])
  return [...new Set([...Object.keys(handoverTo), ...ofStages])].filter((agent) => agent !== name)
}

/** Returns the published JSON Schema (`schema/agent.schema.json`). Editors check agent files with this schema. */
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

/** Returns the humans of an agent's `escalation:` section; empty if the section is missing. */
export function humansOf(escalation: AgentDefinition['escalation']): Human[] {
  return (escalation?.numbers ?? []).map((human) =>
    typeof human === 'string' ? { number: human, hours: null } : { number: human.number, hours: human.hours ?? null },
  )
}

/**
 * Returns the phone numbers that may be called at this time.
 * @param wallMs  calendar time
 */
export function numbersOpen(escalation: AgentDefinition['escalation'], wallMs: number): string[] {
  return openHumans({ humans: humansOf(escalation), hours: escalation?.hours ?? null, caller: '' }, wallMs).map(
    ({ number }) => number,
  )
}
