import { z } from 'zod'
import { amdOptionsSchema } from './turns/answering-machine-detector.js'
import { bargeInOptionsSchema, bargeInSchema } from './turns/barge-in.js'
import { callerOptionsSchema } from './caller-data.js'
import { claimOptionsSchema } from './claims/claim-definition.js'
import { closingSchema } from './spoken/closing-cues.js'
import { collectionSchema } from './tools/digit-collection.js'
import { inSession } from './documents/document.js'
import type { DocumentOf } from './documents/document.js'
import { afterEffectSchema } from './spoken/effect-words.js'
import { speechOptionsSchema, turnSchema } from './turns/end-of-turn.js'
import { rulesSchema } from './escalation-rules.js'
import { fillerOptionsSchema, fillersSchema } from './turns/fillers.js'
import { putOnHoldSchema } from './put-on-hold.js'
import { FIRST_PROMPT, silenceOptionsSchema, silenceSchema } from './turns/silence.js'
import { phraseSchema, spokenSchema as spoken } from './spoken/localized-text.js'
import { stageOptionsSchema } from './stage-definition.js'

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
      /** Said after the digit 1 where the call back is refused. */
      refusedText: phraseSchema.default(''),
      /** The number that the caller calls from may be called. */
      numberKnown: z.boolean(),
    })
    .nullable(),
  afterFailure: z.enum(['continue', 'goodbye']),
  /** The escalation machine must answer within this, or it counts as failed. */
  stepTimeoutMs: z.number(),
  /** A held stream without a human counts as failed after this. */
  holdTimeoutMs: z.number(),
})

/** `recording.refusal` of an agent's file. */
export const refusalSchema = z.strictObject({
  waitMs: z
    .int()
    .min(1000)
    .max(10_000)
    .default(2500)
    .describe('How long a no is waited for, after the text was heard and before the conversation begins.'),
  text: spoken
    .default({ en: 'All right, nothing of this call is kept.', sw: 'Sawa, hatutahifadhi chochote cha simu hii.' })
    .describe('Said to a no.'),
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
    /**
     * Names of the agent's tools that have an effect, and what the gateway says of them. Null: a call that was recorded by a
     * build without it, whose effects are cut off by the end of the call.
     */
    effects: z
      .object({ tools: z.array(z.string()), said: inSession(afterEffectSchema.shape) })
      .nullable()
      .default(null),
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
    speech: speechOptionsSchema,
    bargeIn: bargeInOptionsSchema,
    silence: silenceOptionsSchema,
    /** Behaviour after the caller has said that this is all, and the agent has answered; null: none. */
    closing: inSession(closingSchema.shape).nullable().exactOptional(),
    /** Null: sound without words is asked about again and again, and then the call ends. */
    putOnHold: z.object({ afterMs: z.number(), maxMs: z.number() }).nullable(),
    duration: z.object({ maxMs: z.number(), text: phraseSchema }),
    filler: fillerOptionsSchema,
    /** How long a caller waits before the agent's waiting sound begins; absent: it has none. */
    waitingSoundAfterMs: z.number().exactOptional(),
    /** A tool call without a result by then is answered with an error; the tool runner's own limit is shorter. */
    toolLimitMs: z.number(),
    /** When the session escalates by itself; null: never. Needs `escalation`. */
    rules: inSession(rulesSchema.shape).nullable(),
    /** Claims that the agent may make; null: nothing is judged. */
    claims: claimOptionsSchema.nullable().default(null),
    /** How callers are known before the greeting; null: they are not. */
    caller: callerOptionsSchema.nullable().default(null),
    /** The stages of the call and what can be known in it; null: one conversation without stages. */
    stages: stageOptionsSchema.nullable().default(null),
    /** Agents to whom the model may hand the call over, with when. */
    handoverTo: z.record(z.string(), z.string()).default({}),
    /** Set for a call that we placed: nothing is said until the input `amd-result` says who took it. */
    amd: amdOptionsSchema.nullable(),
    /** The gateway has placed the call. Absent in journals of earlier builds, whose calls might do what only placed ones may. */
    placed: z.boolean().exactOptional(),
    /** The call only takes a message. Absent in journals of earlier builds. */
    messagesOnly: z.boolean().exactOptional(),
    /** The agent may press keys (`send_digits`). */
    sendsDigits: z.boolean().default(false),
    /** Says that the call is recorded, before anything else and without interruption. Null: nothing is said. */
    consentText: phraseSchema.nullable(),
    /** Then the caller may say no: how long that is waited for, and what is said to it. Null: nothing is waited for. */
    refusal: inSession(refusalSchema.shape).nullable().default(null),
    /** Null: this agent cannot escalate to a human. */
    escalation: escalationSchema.nullable(),
  })
  .meta({ id: 'options' })
export type CallSessionOptions = DocumentOf<typeof sessionOptionsSchema>
export type EscalationOptions = NonNullable<CallSessionOptions['escalation']>

/** `limits:` of an agent's file. */
const limitsSchema = z.strictObject({
  maxDurationS: z
    .int()
    .min(30)
    .max(7200)
    .default(30 * 60)
    .describe('Maximum duration of a call; after a handover, of the part that this agent has.'),
  maxDurationText: spoken
    .default({
      en: 'We have reached the time limit of this call. Goodbye.',
      sw: 'Muda wa simu hii umekwisha. Kwaheri.',
    })
    .describe('Spoken at the end of that time, before the gateway hangs up.'),
})

/** Keys of an agent's file that become options of a session. */
export const callSections = z.strictObject({
  turn: turnSchema.prefault({}),
  silence: silenceSchema.prefault({}),
  closing: closingSchema
    .prefault({})
    .nullable()
    .describe(
      'A caller who says that this is all ("that\'s all, thank you", "hayo tu, asante") is answered once, then the call ends. null: only the model ends it.',
    ),
  putOnHold: putOnHoldSchema
    .nullable()
    .prefault({})
    .describe('Behaviour while the caller has put the agent on hold. null: it asks repeatedly.'),
  limits: limitsSchema.prefault({}),
  bargeIn: bargeInSchema.prefault({}),
  fillers: fillersSchema.prefault({}),
  afterEffect: afterEffectSchema.prefault({}),
  goodbye: spoken
    .default({ en: 'Thank you for calling. Goodbye.', sw: 'Asante kwa kupiga simu. Kwaheri.' })
    .describe('Spoken before the gateway ends a call.'),
  tryAgain: spoken
    .default({ en: 'Sorry, could you say that again?', sw: 'Samahani, unaweza kurudia?' })
    .describe('Spoken when an answer failed.'),
  apology: spoken
    .default({ en: 'I am sorry, I have a technical problem.', sw: 'Samahani, nina tatizo la kiufundi.' })
    .describe('Spoken when a backend fails during a call and none replaces it.'),
})

/** The options of a session that these keys become. */
export function sectionOptions(sections: z.output<typeof callSections>) {
  const { waitWords, ...pauses } = sections.turn
  const { onsetMs, doubtfulOnsetMs, ...bargeIn } = sections.bargeIn
  const { phrases, ...filler } = sections.fillers
  const { silence, closing, putOnHold, limits } = sections
  return {
    responseFailedText: sections.tryAgain,
    apologyText: sections.apology,
    goodbyeText: sections.goodbye,
    speech: {
      ...{ onsetMs, doubtfulOnsetMs, ...pauses },
      realSpeechMs: 200, // shortest "no" in the test corpus has 180-220 ms of voice; comfort noise bursts are shorter
    },
    bargeIn: {
      ...bargeIn,
      doubtfulCommitMs: Math.max(bargeIn.commitMs, bargeIn.doubtfulCommitMs),
      waitWords,
      quietMs: 200, // a pause between two syllables is shorter
      protectEscalation: true,
    },
    silence,
    closing,
    putOnHold: putOnHold === null ? null : { afterMs: putOnHold.afterMs, maxMs: putOnHold.maxS * 1000 },
    duration: { maxMs: limits.maxDurationS * 1000, text: limits.maxDurationText },
    filler: { ...filler, texts: phrases },
  } satisfies Partial<CallSessionOptions>
}

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
  onBackendFailure: 'escalate',
  ...sectionOptions(callSections.parse({ silence: { firstPrompt: FIRST_PROMPT } })),
  toolLimitMs: 30_000,
  effects: null,
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
