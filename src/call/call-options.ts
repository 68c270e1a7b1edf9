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
  /** Spoken before the stream is closed or put on hold; null to say nothing. */
  announceText: phraseSchema.nullable(),
  /** Spoken when no human could be reached. */
  failedText: phraseSchema,
  /** Spoken in place of `failedText` outside of opening hours. */
  closedText: phraseSchema,
  /** Spoken before the stream is closed, if the carrier may then leave the caller in silence. */
  silentLineText: phraseSchema,
  /** Offer of a call back; null if the agent does not offer call backs. */
  callback: z
    .object({
      /** Question after the message that no human could be reached. The DTMF digit 1 means yes. */
      offerText: phraseSchema,
      /** Spoken after the digit 1. */
      confirmedText: phraseSchema,
      /** Spoken after the digit 1 if the call back is refused. */
      refusedText: phraseSchema.default(''),
      /** True if the gateway may call the caller's number. */
      numberKnown: z.boolean(),
    })
    .nullable(),
  afterFailure: z.enum(['continue', 'goodbye']),
  /**
   * Time limit for each answer of the escalation machine, in milliseconds. Without an answer in time the escalation
   * fails.
   */
  stepTimeoutMs: z.number(),
  /** Time limit for a stream on hold, in milliseconds. If no human has joined in time, the escalation fails. */
  holdTimeoutMs: z.number(),
})

/** `recording.refusal` of an agent's file. */
export const refusalSchema = z.strictObject({
  waitMs: z
    .int()
    .min(1000)
    .max(10_000)
    .default(2500)
    .describe(
      'Time in ms after the text in which the caller may refuse, before the conversation begins. The gateway waits until a caller who speaks in this time has finished.',
    ),
  text: spoken
    .default({ en: 'All right, nothing of this call is kept.', sw: 'Sawa, hatutahifadhi chochote cha simu hii.' })
    .describe('Spoken after a refusal.'),
})

/**
 * Settings of one call session. They are plain data without functions, because they are sent between threads and stored
 * in a journal for replay.
 */
export const sessionOptionsSchema = z
  .object({
    callSid: z.string(),
    agent: z.string(),
    /** Tags of the agent's languages; the call begins in the first. */
    languages: z.array(z.string()).default([]),
    /** Monotonic time of the webhook that announced the call: time zero of the timeline. */
    preparedAtMs: z.number(),
    /** Calendar time minus monotonic time, in milliseconds: `nowMs + wallOffsetMs` is the value of `Date.now()`. */
    wallOffsetMs: z.number(),
    /** True if the backend itself detects the caller's speech (`capabilities.serverVad`). */
    serverVad: z.boolean(),
    /**
     * True if the service stops its answer when it detects speech (`capabilities.serverInterrupts`). If false, the
     * gateway decides.
     */
    serverInterrupts: z.boolean(),
    /** True if the backend uses the played duration of an interrupted item (`capabilities.truncate`). */
    truncate: z.boolean(),
    /** True if the backend accepts speech that may not be meant for it (`capabilities.weighsSpeech`). */
    weighsSpeech: z.boolean(),
    /**
     * Names of the agent's tools. A call of any other tool is answered with an error. Built-in tools of the gateway are
     * not listed.
     */
    toolNames: z.array(z.string()),
    /** Values that `collect_digits` can ask a caller for. */
    collections: z.array(collectionSchema).default([]),
    /** Tools whose results may arrive later, by name. */
    waits: z
      .record(
        z.string(),
        z.object({
          /** Spoken when the wait begins; absent if the model announces the wait. */
          say: phraseSchema.exactOptional(),
          /** Spoken during the wait, after each `everyMs` of silence. */
          still: phraseSchema,
          everyMs: z.number(),
          /** Spoken when no result has arrived in time; absent if the model itself informs the caller. */
          onTimeout: phraseSchema.exactOptional(),
        }),
      )
      .default({}),
    /**
     * Names of the agent's tools with an effect, and the gateway's words about these effects. Null in calls of earlier
     * builds: the end of such a call cuts off running effects.
     */
    effects: z
      .object({
        tools: z.array(z.string()),
        /**
         * Tools that change something, including tools that may safely run twice. Absent in journals of earlier builds.
         */
        changes: z.array(z.string()).exactOptional(),
        said: inSession(afterEffectSchema.shape),
      })
      .nullable()
      .default(null),
    /**
     * The gateway's greeting, used if the backend does not greet in time. Null if the agent's file leaves the greeting
     * to the model.
     */
    greeting: phraseSchema.nullable(),
    /** Text sent once to the backend when stream and backend are ready. It requests a response: the greeting. */
    kickOffText: z.string(),
    /**
     * Text sent to the new backend of a taken-over call if the caller still waits for an answer or for the rest of an
     * answer.
     */
    resumeText: z.string(),
    /** Spoken when a call continues on a new stream because its node and its old stream were lost. */
    cutOffText: phraseSchema.default(''),
    /**
     * Time limit for the backend to become ready, in milliseconds after the stream opened. A backend that is not ready
     * in this time counts as dead.
     */
    backendReadyTimeoutMs: z.number(),
    /**
     * Time limit for the first sound of an answer, in milliseconds. After two late answers in a row the backend counts
     * as dead.
     */
    answerTimeoutMs: z.number(),
    /** Spoken when a response failed. After RESPONSES_FAILED_MAX failures in a row the backend counts as dead. */
    responseFailedText: phraseSchema,
    /** Spoken when the backend is dead. */
    apologyText: phraseSchema,
    /** Behaviour when the backend is dead. If the agent cannot escalate, `escalate` has the same effect as `hangup`. */
    onBackendFailure: z.enum(['escalate', 'hangup']),
    goodbyeText: phraseSchema,
    speech: speechOptionsSchema,
    bargeIn: bargeInOptionsSchema,
    silence: silenceOptionsSchema,
    /**
     * Behaviour when the caller has said that they do not need anything else. It begins after the agent's answer to
     * these words. Null without a special behaviour.
     */
    closing: inSession(closingSchema.shape).nullable().exactOptional(),
    /**
     * Limits of a wait on hold. If null, the agent does not wait on hold. Instead, the gateway asks several times about
     * the sound without words, and then ends the call.
     */
    putOnHold: z.object({ afterMs: z.number(), maxMs: z.number() }).nullable(),
    duration: z.object({ maxMs: z.number(), text: phraseSchema }),
    filler: fillerOptionsSchema,
    /**
     * Time that the caller waits before the agent's waiting sound begins, in milliseconds; absent if the agent does not
     * have a waiting sound.
     */
    waitingSoundAfterMs: z.number().exactOptional(),
    /**
     * Time limit of a tool call, in milliseconds. After this time the model gets an error as the result. The tool
     * runner's own limit is shorter.
     */
    toolLimitMs: z.number(),
    /**
     * Conditions on which the session itself escalates the call; null without conditions. Conditions require
     * `escalation`.
     */
    rules: inSession(rulesSchema.shape).nullable(),
    /** Claims that the agent may make; null if claims are not audited. */
    claims: claimOptionsSchema.nullable().default(null),
    /** Look-up of callers before the greeting; null if callers are not looked up. */
    caller: callerOptionsSchema.nullable().default(null),
    /** Stages of the call and the facts that can become known; null if the agent does not use stages. */
    stages: stageOptionsSchema.nullable().default(null),
    /** Agents to which the model may hand over the call, each with the reason for such a handover. */
    handoverTo: z.record(z.string(), z.string()).default({}),
    /**
     * Settings of answering-machine detection, for a call that the gateway placed. The agent is silent until the input
     * `amd-result` reports whether a person answered.
     */
    amd: amdOptionsSchema.nullable(),
    /**
     * True if the gateway placed the call. Absent in journals of earlier builds: all their calls have the permissions
     * of a placed call.
     */
    placed: z.boolean().exactOptional(),
    /** True if the call only takes a message. Absent in journals of earlier builds. */
    messagesOnly: z.boolean().exactOptional(),
    /** True if the agent may send DTMF digits (`send_digits`). */
    sendsDigits: z.boolean().default(false),
    /**
     * Announcement of the recording, spoken before all other speech, without interruption; null without an
     * announcement.
     */
    consentText: phraseSchema.nullable(),
    /**
     * Time after the announcement in which the caller may refuse, and the answer to a refusal. Null if the agent does
     * not wait for a refusal.
     */
    refusal: inSession(refusalSchema.shape).nullable().default(null),
    /** Settings of escalation; null if this agent cannot escalate to a human. */
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
    .describe('Maximum duration of a call in seconds; after a handover, of the part with this agent.'),
  maxDurationText: spoken
    .default({
      en: 'We have reached the time limit of this call. Goodbye.',
      sw: 'Muda wa simu hii umekwisha. Kwaheri.',
    })
    .describe('Spoken when this duration is reached, before the gateway hangs up.'),
})

/** Sections of an agent's file that become options of a session. */
export const callSections = z.strictObject({
  turn: turnSchema.prefault({}).describe("End of the caller's turn (docs/VAD.md)."),
  silence: silenceSchema.prefault({}).describe('Prompts while both sides are silent.'),
  closing: closingSchema
    .prefault({})
    .nullable()
    .describe(
      'Ends the call after a caller says that this is all ("that\'s all, thank you", "hayo tu, asante") and the agent has answered. null: only the model ends the call.',
    ),
  putOnHold: putOnHoldSchema
    .nullable()
    .prefault({})
    .describe('Behaviour while the caller has put the agent on hold. null: the agent keeps prompting the caller.'),
  limits: limitsSchema.prefault({}).describe('Maximum duration of a call.'),
  bargeIn: bargeInSchema.prefault({}).describe('How callers interrupt the agent (docs/VAD.md).'),
  fillers: fillersSchema.prefault({}).describe('Phrases for a caller who waits for an answer.'),
  afterEffect: afterEffectSchema.prefault({}),
  goodbye: spoken
    .default({ en: 'Thank you for calling. Goodbye.', sw: 'Asante kwa kupiga simu. Kwaheri.' })
    .describe('Spoken before the gateway ends a call.'),
  tryAgain: spoken
    .default({ en: 'Sorry, could you say that again?', sw: 'Samahani, unaweza kurudia?' })
    .describe('Spoken if an answer failed.'),
  apology: spoken
    .default({ en: 'I am sorry, I have a technical problem.', sw: 'Samahani, nina tatizo la kiufundi.' })
    .describe('Spoken if a backend fails during a call and no other backend takes over.'),
})

/** Returns the session options that are made from these sections. */
export function sectionOptions(sections: z.output<typeof callSections>) {
  // The agent's loader reads the file that `learned` names, and adds the model of this file to the options.
  const { waitWords, learned: _, ...pauses } = sections.turn
  const { onsetMs, doubtfulOnsetMs, ...bargeIn } = sections.bargeIn
  const { phrases, ...filler } = sections.fillers
  const { silence, closing, putOnHold, limits } = sections
  return {
    responseFailedText: sections.tryAgain,
    apologyText: sections.apology,
    goodbyeText: sections.goodbye,
    speech: {
      ...{ onsetMs, doubtfulOnsetMs, ...pauses },
      learned: null,
      // the shortest "no" in the test corpus has 180-220 ms of voice; bursts of comfort noise are shorter
      realSpeechMs: 200,
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
  // This time is enough for two webhooks with their sockets and one slow TLS connection. Callers do not accept a longer
  // silence.
  backendReadyTimeoutMs: 4000,
  // Slow models answer a long context within 4 s at the 99th percentile. A model that needs three times as long counts
  // as dead.
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

/** Defaults for an agent with escalation. */
export const DEFAULT_ESCALATION_OPTIONS = {
  announceText: 'I am connecting you to a colleague. Please hold.',
  failedText: 'I am sorry, no colleague is free right now.',
  closedText: 'I am sorry, our colleagues are not here at this hour.',
  silentLineText: 'If the line stays silent, please hang up and call us again.',
  callback: null,
  afterFailure: 'continue',
  // the escalation machine answers after one message between threads; callers accept about 5 s of silence
  stepTimeoutMs: 5000,
  holdTimeoutMs: 60_000, // time to call two phone numbers for 30 s each
} as const satisfies EscalationOptions
