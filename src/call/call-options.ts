import { z } from 'zod'
import { callerOptionsSchema } from './caller-data.js'
import { collectionSchema } from './digit-collection.js'
import type { DocumentOf } from './documents/document.js'
import { claimWordsSchema } from './words/language.js'
import { phraseSchema } from './localized-text.js'
import { stageOptionsSchema } from './stage-definition.js'
import { LISTENING_WORDS } from './turn-words.js'

const speechSchema = z.object({
  /** Voice without a pause that begins a segment of caller speech. */
  onsetMs: z.number(),
  /** The same over the agent's speech, where most of that voice is doubtful: it may be music or a noise. Not less. */
  doubtfulOnsetMs: z.number().default(0),
  /** Quiet after the last voiced sample that ends the segment; adaptive: of open speech on a good line. */
  endOfSpeechMs: z.number(),
  /** The quiet follows from what is expected and how this caller pauses. */
  adaptive: z.boolean(),
  /** Voice in one segment that makes it speech rather than comfort noise or a click. */
  realSpeechMs: z.number(),
  /** Effect of partial words on an adaptive pause, for backends that deliver words while the caller speaks; null: none. */
  words: z
    .object({
      /** Quiet that ends a turn whose words are complete: a yes to a question for it, a whole number, a question. */
      completeMs: z.number(),
      /** Longest quiet in addition, where the words are not complete: "and", "na", half a number. */
      unfinishedMs: z.number(),
      /** How many digits a number may have that the agent asks for, where its question does not say; empty: any. */
      numberDigits: z.array(z.number()),
    })
    .nullable()
    .default(null),
})

const bargeInSchema = z.object({
  /** Voice since the onset after which the agent's speech is discarded. */
  commitMs: z.number(),
  /** The same where most of that voice is doubtful: it may be music. */
  doubtfulCommitMs: z.number(),
  /** "Mm-hm", "sawa": who says that while the agent speaks is listening. Null: a short sound interrupts like any other. */
  backchannel: z
    .object({
      /** Voice over the agent that may still be one. */
      maxMs: z.number(),
      /** Words that are one, in any combination; only backends that recognise speech for the gateway need them. */
      words: z.array(z.string()),
    })
    .nullable(),
  /** Words that only ask for a moment, or over the agent for silence, are not answered. */
  waitWords: z.boolean().default(false),
  /** A voice this much quieter than the caller's is somebody else's and interrupts nothing; null: every voice counts. */
  quieterDb: z.number().nullable(),
  /** Paused speech resumes after this, once the caller is quiet, unless the interruption was committed. */
  resumeAfterMs: z.number(),
  /** How long the caller must have been quiet before paused speech resumes. */
  quietMs: z.number(),
  /** A digit interrupts speech too. */
  onDtmf: z.boolean(),
  protectGreeting: z.boolean(),
  protectEscalation: z.boolean(),
})

const silenceSchema = z.object({
  /** Quiet of both sides before a prompt, and after the last prompt before the goodbye. */
  afterMs: z.number(),
  /** The same for the first prompt of a caller who has not spoken yet. Default, and at least: `afterMs`. */
  firstAfterMs: z.number().exactOptional(),
  /** Said to such a caller in place of the first prompt: an offer, not a doubt. Default: the first prompt. */
  firstPrompt: phraseSchema.nullable().exactOptional(),
  /** The same after a question of the agent. Default, and at least: `afterMs`. */
  afterQuestionMs: z.number().exactOptional(),
  /** The same after the caller has asked for a moment. Default, and at least: `afterMs`. */
  afterWaitMs: z.number().exactOptional(),
  /** The prompts of the call, in order; empty: straight to the goodbye. */
  prompts: z.array(phraseSchema),
})

const putOnHoldSchema = z.object({
  /** Voice without words after which, once we have asked, the agent waits quietly. */
  afterMs: z.number(),
  /** How long it waits for words before it offers a call back or says goodbye. */
  maxMs: z.number(),
})

const rulesSchema = z.object({
  /** Phrases of an angry caller, and how many of their utterances must contain one. */
  words: z.object({ phrases: z.array(z.string()), times: z.number() }).nullable(),
  /** Field of the verified identity; if it is true, the caller is escalated at once. */
  vip: z.string().nullable(),
  /** Number of failed tool calls plus fixes that did not help; null: no such rule. */
  failures: z.number().nullable(),
})

/** Fields that a tool's result must have somewhere, with these values; null: any result will do. */
export const claimResultSchema = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).nullable()

const claimsSchema = z.object({
  /** The numbers, prices and weekdays that the agent says are judged too; null: they are not. */
  facts: z
    .object({
      /** The model gets a correction for a figure that nothing supports. */
      correct: z.boolean(),
      /** Text of the agent's file and of the call (`KnownFacts`). */
      given: z.string(),
      /** Time zone of the callers, for "tomorrow, Friday"; null: not known. */
      timeZone: z.string().nullable(),
    })
    .nullable()
    .default(null),
  /** The model gets each claim that nothing supports, so that it corrects itself. */
  correct: z.boolean(),
  /** Claims that the agent may make, and the tool calls that make them true. */
  rules: z.array(
    z.object({
      /** One of them must have succeeded in this call; empty: the agent has no tool for it, so that the claim is never true. */
      tools: z.array(z.string()),
      result: claimResultSchema,
      /** Phrases by language. */
      phrases: z.record(z.string(), z.array(z.string())),
    }),
  ),
  /** Lists of words by name, for the phrases. */
  words: z.record(z.string(), z.string()),
  languages: z.record(z.string(), claimWordsSchema),
})

const escalationSchema = z.object({
  /** Said before the stream is closed or held; null for nothing. */
  announceText: phraseSchema.nullable(),
  /** Said when no human could be reached. */
  failedText: phraseSchema,
  /** Said instead outside of opening hours. */
  closedText: phraseSchema,
  /** Said before a stream is closed on a carrier that may leave the caller in silence. */
  silentLineText: phraseSchema,
  /** Null: no call backs. */
  callback: z
    .object({
      /** Asked after the words that nobody could be reached; the DTMF digit 1 means yes. */
      offerText: phraseSchema,
      /** Said after the digit 1. */
      confirmedText: phraseSchema,
      /** The number that the caller calls from is not withheld. */
      numberKnown: z.boolean(),
    })
    .nullable(),
  afterFailure: z.enum(['continue', 'goodbye']),
  /** The escalation machine must answer within this, or it counts as failed. */
  stepTimeoutMs: z.number(),
  /** A held stream without a human counts as failed after this. */
  holdTimeoutMs: z.number(),
})

/**
 * The settings of one call session. Plain data without functions, because it crosses threads and a journal keeps it for
 * replay.
 */
export const sessionOptionsSchema = z
  .object({
    callSid: z.string(),
    agent: z.string(),
    /** Tags of the languages that the agent speaks; the call begins in the first. */
    languages: z.array(z.string()).default([]),
    /** Monotonic time of the webhook that announced the call: time zero of the timeline. */
    preparedAtMs: z.number(),
    /** Calendar time minus monotonic time, so that `nowMs + wallOffsetMs` is what `Date.now()` would return. */
    wallOffsetMs: z.number(),
    /** The backend detects the caller's speech itself (`capabilities.serverVad`). */
    serverVad: z.boolean(),
    /** The service stops its answer when it detects speech (`capabilities.serverInterrupts`); otherwise the gateway decides. */
    serverInterrupts: z.boolean(),
    /** The backend uses the played duration of an interrupted item (`capabilities.truncate`). */
    truncate: z.boolean(),
    /** The backend can be given speech that may not be meant for it (`capabilities.weighsSpeech`). */
    weighsSpeech: z.boolean(),
    /**
     * Names of the agent's tools; any other name is answered with an error. The gateway's built-in tools need no entry.
     */
    toolNames: z.array(z.string()),
    /** Values that `collect_digits` can ask a caller for. */
    collections: z.array(collectionSchema).default([]),
    /** Tools whose answers may come later, by name. */
    waits: z
      .record(
        z.string(),
        z.object({
          /** Said when the wait begins; absent: the model says it. */
          say: phraseSchema.exactOptional(),
          /** Said while it goes on, after `everyMs` of quiet. */
          still: phraseSchema,
          everyMs: z.number(),
          /** Said when nothing came in time; absent: the model says it. */
          onTimeout: phraseSchema.exactOptional(),
        }),
      )
      .default({}),
    /** Spoken by the gateway when the backend does not greet in time. Null: the agent's file leaves the words to the model. */
    greeting: phraseSchema.nullable(),
    /** Sent to the backend once with a request for a response, when the stream is open and the backend is ready: it greets. */
    kickOffText: z.string(),
    /** Sent to the backend of a taken-over call when the caller still waits for an answer or for the rest of one. */
    resumeText: z.string(),
    /** Said when a call goes on with a new stream, because the one before was lost with its node. */
    cutOffText: phraseSchema.default(''),
    /** Time from the opened stream until a backend that is not ready counts as dead. */
    backendReadyTimeoutMs: z.number(),
    /** Time limit for the first sound of an answer; two missing answers in a row mean a dead backend. */
    answerTimeoutMs: z.number(),
    /** Said when a response failed; after RESPONSES_FAILED_MAX failures in a row the backend counts as dead. */
    responseFailedText: phraseSchema,
    /** Phrase for the caller when the backend is dead. */
    apologyText: phraseSchema,
    /** `escalate` falls back to hanging up when no escalation is set. */
    onBackendFailure: z.enum(['escalate', 'hangup']),
    goodbyeText: phraseSchema,
    speech: speechSchema,
    bargeIn: bargeInSchema,
    silence: silenceSchema,
    /** Behaviour after the caller has said that this is all, and the agent has answered; null: none. */
    closing: z
      .object({
        /** Quiet of both sides before the goodbye. */
        afterMs: z.number(),
      })
      .nullable()
      .exactOptional(),
    /** Null: sound without words is asked about again and again, and then the call ends. */
    putOnHold: putOnHoldSchema.nullable(),
    duration: z.object({ maxMs: z.number(), text: phraseSchema }),
    filler: z.object({
      /** Used in turn; empty: no fillers. */
      texts: z.array(phraseSchema),
      /** Quiet while a tool runs before the first filler. */
      afterMs: z.number(),
      /** Quiet after one filler before the next. */
      everyMs: z.number(),
      /** From the end of a turn whose words were understood to a filler where no tool runs. Default, and null: none. */
      answerAfterMs: z.number().nullable().exactOptional(),
    }),
    /** How long a caller waits before the agent's waiting sound begins; absent: it has none. */
    waitingSoundAfterMs: z.number().exactOptional(),
    /** A tool call without a result by then is answered with an error; the tool runner's own limit is shorter. */
    toolLimitMs: z.number(),
    /** When the session escalates by itself; null: never. Needs `escalation`. */
    rules: rulesSchema.nullable(),
    /** Claims that the agent may make; null: nothing is judged. */
    claims: claimsSchema.nullable().default(null),
    /** How callers are known before the greeting; null: they are not. */
    caller: callerOptionsSchema.nullable().default(null),
    /** The stages of the call and what can be known in it; null: one conversation without stages. */
    stages: stageOptionsSchema.nullable().default(null),
    /** Agents to whom the model may hand the call over, with when. */
    handoverTo: z.record(z.string(), z.string()).default({}),
    /** Set for a call that we placed: nothing is said until the input `amd-result` says who took it. */
    amd: z
      .object({
        /** Said to an answering machine before hanging up; null for nothing. */
        message: phraseSchema.nullable(),
        onSilence: z.enum(['speak', 'hang-up']),
      })
      .nullable(),
    /** The agent may press keys (`send_digits`). */
    sendsDigits: z.boolean().default(false),
    /** Says that the call is recorded, before anything else and without interruption. Null: nothing is said. */
    consentText: phraseSchema.nullable(),
    /** Then the caller may say no: how long that is waited for, and what is said to it. Null: nothing is waited for. */
    refusal: z.object({ waitMs: z.number(), text: phraseSchema }).nullable().default(null),
    /** Null: this agent cannot escalate to a human. */
    escalation: escalationSchema.nullable(),
  })
  .meta({ id: 'options' })
export type CallSessionOptions = DocumentOf<typeof sessionOptionsSchema>
export type SpeechOptions = CallSessionOptions['speech']
export type BargeInOptions = CallSessionOptions['bargeIn']
export type SilenceOptions = CallSessionOptions['silence']
export type PutOnHoldOptions = NonNullable<CallSessionOptions['putOnHold']>
export type RuleOptions = NonNullable<CallSessionOptions['rules']>
/** Claims that the agent may make, and the tool calls that make them true. */
export type ClaimOptions = NonNullable<CallSessionOptions['claims']>
export type EscalationOptions = NonNullable<CallSessionOptions['escalation']>

/** Defaults for every agent. */
export const DEFAULT_CALL_OPTIONS = {
  languages: ['en'],
  collections: [],
  waits: {},
  kickOffText: '',
  resumeText: "The line had a short gap. Go on from the caller's last words; do not greet again.",
  cutOffText: 'I am sorry, we were cut off. I am still here.',
  // Two webhook-to-socket times and one slow TLS connect; past this the caller has heard nothing for too long.
  backendReadyTimeoutMs: 4000,
  // Slow models answer a long context within 4 s at the 99th percentile; three times that is dead.
  answerTimeoutMs: 12_000,
  responseFailedText: 'Sorry, could you say that again?',
  apologyText: 'I am sorry, I have a technical problem.',
  onBackendFailure: 'escalate',
  goodbyeText: 'Thank you for calling. Goodbye.',
  speech: {
    onsetMs: 40, // two frames: one voiced frame is often a click (docs/ARCHITECTURE.md, barge-in)
    // Most blips of noise that pass for a voice are shorter, and all of them are doubtful; a caller seldom is (bench/vad/README.md).
    doubtfulOnsetMs: 100,
    endOfSpeechMs: 620, // adaptive, so more in noise and after longer pauses; bench/endpointing/README.md has what it cuts
    adaptive: true,
    realSpeechMs: 200, // shortest "no" in the test corpus has 180-220 ms of voice; comfort noise bursts are shorter
    words: {
      completeMs: 250, // a gap between two words is shorter
      unfinishedMs: 2000, // who looks for a word takes up to 1.5 s; bench/endpointing/README.md has what it cuts
      numberDigits: [],
    },
  },
  bargeIn: {
    // Low end of what the field ships (200-800 ms), affordable because the agent is silent from the onset.
    commitMs: 200,
    // The detector of music needs a second or more, and what it then finds is no voice any more. A caller is seldom doubtful.
    doubtfulCommitMs: 1000,
    backchannel: {
      maxMs: 600, // "mm-hm", "okay" and "sawa sawa" have 250 to 560 ms of voice; the agent is silent from the onset anyway
      words: LISTENING_WORDS, // a "yes" to a question comes at its end, where nothing is taken for a backchannel
    },
    waitWords: true,
    quieterDb: 20,
    resumeAfterMs: 1000, // the field resumes after 1-2 s
    quietMs: 200, // a pause between two syllables is shorter
    onDtmf: true,
    protectGreeting: false,
    protectEscalation: true,
  },
  silence: {
    afterMs: 8000, // callers look up an order number in 5-7 s
    firstAfterMs: 12_000, // of callers who were asked 5 s after the greeting, four of four left
    firstPrompt: 'How can I help you?',
    afterQuestionMs: 10_000, // what was asked for may have to be looked up
    afterWaitMs: 20_000,
    prompts: ['Are you still there?', 'I cannot hear you. Are you still there?'],
  },
  closing: { afterMs: 3000 }, // people take 1 to 2 s to think of one more thing
  putOnHold: {
    afterMs: 8000, // longer than people speak without a word that is understood
    maxMs: 60_000,
  },
  duration: { maxMs: 30 * 60_000, text: 'We have reached the time limit of this call. Goodbye.' },
  filler: {
    texts: ['One moment, please.', 'I am still looking, thank you for waiting.'],
    afterMs: 700, // a pause of 700 ms is where callers begin to say "hello?"
    everyMs: 6000,
    answerAfterMs: 2500, // callers say "hello?" after 3 to 4 s
  },
  toolLimitMs: 30_000,
  amd: null,
  sendsDigits: false,
  rules: null,
  claims: null,
  caller: null,
  stages: null,
  handoverTo: {},
  consentText: null,
  refusal: null,
  escalation: null,
} as const satisfies Partial<CallSessionOptions>

/** Defaults for an agent with an escalation. */
export const DEFAULT_ESCALATION_OPTIONS = {
  announceText: 'I am connecting you to a colleague. Please hold.',
  failedText: 'I am sorry, no colleague is free right now.',
  closedText: 'I am sorry, our colleagues are not here at this hour.',
  silentLineText: 'If the line stays silent, please hang up and call us again.',
  callback: null,
  afterFailure: 'continue',
  stepTimeoutMs: 5000, // the machine answers in one thread hop; callers accept about 5 s without a word
  holdTimeoutMs: 60_000, // two numbers that ring for 30 s each
} as const satisfies EscalationOptions
