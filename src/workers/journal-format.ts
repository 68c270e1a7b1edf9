import { z } from 'zod'
import { CALLER_EXPECTATIONS } from '../call/backend-events.js'
import { CALL_CHECKPOINT_VERSION } from '../call/checkpoint.js'
import { JOURNAL_VERSION } from '../call/journal/journal.js'
import { usageSchemaOf } from './usage-format.js'
import { JOURNAL_FRAMES_PER_LINE_MAX } from '../core/limits.js'
import {
  endReasonSchema,
  escalationOutcomeSchema,
  escalationStrategySchema,
  callLogEntrySchema,
  callLogSchema,
  measuredTranscript,
  publishedSchema,
} from './record-format.js'

/**
 * The lines of a journal as they are in the file. The types are in `call/journal/journal.ts` and what it imports; a
 * test checks that both are equal. `schema/journal.schema.json` is made from this.
 */

const anyObject = z.record(z.string(), z.unknown())
/** A tool's answer; `undefined` has no key in JSON. */
const anyAnswer = z.unknown().default(null)

const claimResult = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).nullable()

/** `ClaimOptions`. */
const claimOptionsSchema = z.object({
  facts: z
    .object({ correct: z.boolean(), given: z.string(), timeZone: z.string().nullable() })
    .nullable()
    .default(null),
  correct: z.boolean(),
  rules: z.array(
    z.object({
      tools: z.array(z.string()),
      result: claimResult,
      phrases: z.record(z.string(), z.array(z.string())),
    }),
  ),
  words: z.record(z.string(), z.string()),
  languages: z.record(
    z.string(),
    z.object({
      not: z.array(z.string()),
      if: z.array(z.string()),
      asks: z.array(z.string()),
      joins: z.array(z.string()),
      breaks: z.array(z.string()),
    }),
  ),
})

/** `CallSessionOptions`. */
export const sessionOptionsSchema = z
  .object({
    callSid: z.string(),
    agent: z.string(),
    preparedAtMs: z.number(),
    wallOffsetMs: z.number(),
    serverVad: z.boolean(),
    serverInterrupts: z.boolean(),
    truncate: z.boolean(),
    weighsSpeech: z.boolean(),
    toolNames: z.array(z.string()),
    greeting: z.string().nullable(),
    kickOffText: z.string(),
    resumeText: z.string(),
    cutOffText: z.string().default(''),
    backendReadyTimeoutMs: z.number(),
    answerTimeoutMs: z.number(),
    responseFailedText: z.string(),
    apologyText: z.string(),
    onBackendFailure: z.enum(['escalate', 'hangup']),
    goodbyeText: z.string(),
    speech: z.object({
      onsetMs: z.number(),
      doubtfulOnsetMs: z.number().default(0),
      endOfSpeechMs: z.number(),
      adaptive: z.boolean(),
      realSpeechMs: z.number(),
    }),
    bargeIn: z.object({
      commitMs: z.number(),
      doubtfulCommitMs: z.number(),
      backchannel: z.object({ maxMs: z.number(), words: z.array(z.string()) }).nullable(),
      quieterDb: z.number().nullable(),
      resumeAfterMs: z.number(),
      quietMs: z.number(),
      onDtmf: z.boolean(),
      protectGreeting: z.boolean(),
      protectEscalation: z.boolean(),
    }),
    silence: z.object({
      afterMs: z.number(),
      firstAfterMs: z.number().exactOptional(),
      firstPrompt: z.string().nullable().exactOptional(),
      prompts: z.array(z.string()),
    }),
    closing: z.object({ afterMs: z.number() }).nullable().exactOptional(),
    putOnHold: z.object({ afterMs: z.number(), maxMs: z.number() }).nullable(),
    duration: z.object({ maxMs: z.number(), text: z.string() }),
    filler: z.object({ texts: z.array(z.string()), afterMs: z.number(), everyMs: z.number() }),
    toolLimitMs: z.number(),
    rules: z
      .object({
        words: z.object({ phrases: z.array(z.string()), times: z.number() }).nullable(),
        vip: z.string().nullable(),
        failures: z.number().nullable(),
      })
      .nullable(),
    claims: claimOptionsSchema.nullable().default(null),
    screening: z.object({ message: z.string().nullable(), onSilence: z.enum(['speak', 'hang-up']) }).nullable(),
    consentText: z.string().nullable(),
    escalation: z
      .object({
        announceText: z.string().nullable(),
        failedText: z.string(),
        closedText: z.string(),
        silentLineText: z.string(),
        callback: z.object({ offerText: z.string(), confirmedText: z.string(), numberKnown: z.boolean() }).nullable(),
        afterFailure: z.enum(['continue', 'goodbye']),
        stepTimeoutMs: z.number(),
        holdTimeoutMs: z.number(),
      })
      .nullable(),
  })
  .meta({ id: 'options' })

const usageSchema = usageSchemaOf(z.number())

/** `CallCheckpoint`. */
export const checkpointSchema = z
  .object({
    version: z.literal(CALL_CHECKPOINT_VERSION),
    callSid: z.string(),
    state: z.enum(['waiting', 'live', 'escalating', 'holding', 'bridged', 'closing']),
    streamOpenedWallMs: z.number().nullable(),
    greeted: z.boolean(),
    greetingMs: z.number().nullable(),
    owed: z.enum(['nothing', 'answer', 'rest-of-answer']),
    heard: z.object({ itemId: z.string(), heardMs: z.number() }).nullable(),
    silencePrompts: z.number(),
    nextAnnouncement: z.number(),
    identity: anyObject.nullable(),
    openTranscript: measuredTranscript,
    toolsRunning: z.array(z.object({ callId: z.string(), name: z.string(), args: anyObject, startMs: z.number() })),
    ending: z.object({ reason: endReasonSchema, detail: z.string() }).nullable(),
    escalation: z.object({ reason: z.string(), summary: z.string() }).nullable(),
    usage: usageSchema.exactOptional(),
    gapMs: z.number().exactOptional(),
    callBack: z.enum(['asks', 'confirmed']).exactOptional(),
    openClaims: z
      .array(
        z.object({
          atMs: z.number(),
          tools: z.array(z.string()),
          result: claimResult,
          language: z.string(),
          phrase: z.string(),
          fact: z.string().exactOptional(),
        }),
      )
      .exactOptional(),
  })
  .meta({ id: 'checkpoint' })

/** `BackendEvent`. */
export const backendEventSchema = z
  .discriminatedUnion('type', [
    z.object({ type: z.literal('ready') }),
    z.object({ type: z.literal('turn-start'), generation: z.number() }),
    z.object({ type: z.literal('audio-done'), generation: z.number(), itemId: z.string() }),
    z.object({
      type: z.literal('turn-done'),
      generation: z.number(),
      status: z.enum(['completed', 'cancelled', 'failed']),
      reason: z.string().exactOptional(),
    }),
    z.object({ type: z.literal('speech-started') }),
    z.object({ type: z.literal('speech-stopped') }),
    z.object({ type: z.literal('understood') }),
    z.object({ type: z.literal('expects'), what: z.enum(CALLER_EXPECTATIONS) }),
    z.object({ type: z.literal('interrupted'), generation: z.number() }),
    z.object({
      type: z.literal('transcript'),
      role: z.enum(['caller', 'agent']),
      text: z.string(),
      final: z.boolean(),
      itemId: z.string(),
      generation: z.number(),
    }),
    z.object({
      type: z.literal('tool-call'),
      callId: z.string(),
      name: z.string(),
      args: anyObject,
      generation: z.number(),
      invalid: z.string().exactOptional(),
      quiet: z.literal(true).exactOptional(),
      background: z.literal(true).exactOptional(),
    }),
    z.object({ type: z.literal('tool-cancel'), callIds: z.array(z.string()) }),
    z.object({ type: z.literal('usage'), usage: usageSchema, backend: z.string().exactOptional() }),
    z.object({
      type: z.literal('error'),
      code: z.enum(['auth', 'rate_limit', 'quota', 'session_expired', 'bad_request', 'network', 'timeout', 'internal']),
      message: z.string(),
      fatal: z.boolean(),
      retryable: z.boolean(),
    }),
    z.object({ type: z.literal('expiring'), inMs: z.number() }),
    z.object({ type: z.literal('failover'), from: z.string(), to: z.string(), gapMs: z.number(), reason: z.string() }),
    z.object({ type: z.literal('holding') }),
    z.object({ type: z.literal('closed'), code: z.number(), reason: z.string(), clean: z.boolean() }),
  ])
  .meta({ id: 'backend-event' })

const escalationStep = z
  .discriminatedUnion('type', [
    z.object({ type: z.literal('close-stream'), mayBeSilent: z.boolean() }),
    z.object({ type: z.literal('hold') }),
    z.object({ type: z.literal('bridged'), strategy: escalationStrategySchema }),
    z.object({ type: z.literal('offer'), outcome: escalationOutcomeSchema, detail: z.string(), closed: z.boolean() }),
    z.object({ type: z.literal('failed'), outcome: escalationOutcomeSchema, detail: z.string(), closed: z.boolean() }),
  ])
  .meta({ id: 'escalation-step' })

/** `CallInput`. */
export const callInputSchema = z
  .discriminatedUnion('type', [
    z.object({
      type: z.literal('stream-opened'),
      sampleRateHz: z.literal([8000, 16000]),
      openedAtMs: z.number().optional(),
    }),
    z.object({ type: z.literal('stream-metadata'), matches: z.boolean() }),
    z.object({
      type: z.literal('stream-closed'),
      code: z.number(),
      fault: z
        .object({
          reason: z.enum(['carrier-protocol', 'carrier-error', 'socket-lost', 'carrier-silent', 'drain-limit']),
          detail: z.string(),
        })
        .exactOptional(),
    }),
    z.object({
      type: z.literal('carrier-state'),
      state: z.enum([
        'ringing',
        'answered',
        'stream-started',
        'stream-stopped',
        'stream-error',
        'dial-completed',
        'completed',
        'failed',
        'busy',
        'no-answer',
        'unknown',
      ]),
    }),
    z.object({ type: z.literal('screened'), who: z.enum(['human', 'machine', 'silence']), why: z.string() }),
    z.object({ type: z.literal('hangup-requested'), reason: endReasonSchema, detail: z.string(), speak: z.boolean() }),
    z.object({ type: z.literal('escalate-requested'), reason: z.string() }),
    z.object({ type: z.literal('escalation'), step: escalationStep }),
    z.object({ type: z.literal('dtmf'), digit: z.string() }),
    z.object({ type: z.literal('backend'), event: backendEventSchema }),
    z.object({
      type: z.literal('tool-result'),
      callId: z.string(),
      ok: z.boolean(),
      value: anyAnswer,
      error: z.string().exactOptional(),
    }),
    z.object({ type: z.literal('item-started'), itemId: z.string(), sentAtMs: z.number() }),
    z.object({ type: z.literal('item-heard'), itemId: z.string() }),
    z.object({ type: z.literal('announce-failed'), itemId: z.string() }),
    z.object({ type: z.literal('timer') }),
  ])
  .meta({ id: 'call-input' })

const mediaSchema = z.object({
  sampleRateHz: z.literal([8000, 16000]),
  track: z.enum(['inbound_track', 'outbound_track', 'both_tracks']),
})

/** `JournalHeaderLine`: the first line. */
export const journalHeaderSchema = z
  .object({
    journal: z.literal(JOURNAL_VERSION),
    build: z.string().describe('Version of the gateway that wrote it.'),
    options: sessionOptionsSchema.describe('The settings of the session.'),
    resume: z
      .object({
        checkpoint: checkpointSchema,
        log: callLogSchema,
        newStream: z
          .object({ streamMs: z.number(), consented: z.boolean() })
          .exactOptional()
          .describe('Set where the stream was lost with its node, and the call goes on with another.'),
      })
      .nullable()
      .describe('What it went on from, in a call that changed its worker or its node.'),
    media: mediaSchema
      .nullable()
      .describe("What the caller's path was made for; null where the caller's audio is not kept."),
  })
  .meta({ id: 'header', description: 'The first line.' })

/** `PlayoutAnswers`. */
export const playoutAnswersSchema = z
  .record(z.string(), z.union([z.boolean(), z.number(), z.string(), z.null()]))
  .meta({
    id: 'playout-answers',
    description:
      'What the playout answered from here on, where it changed: audible, pendingMs, currentItem, lastSentAtMs, "heardMs ITEM".',
  })

const t = z.number().describe('Monotonic milliseconds.')
const view = playoutAnswersSchema.exactOptional()
/** A `CallOutput`; the entries of the call log are whole records. */
const output = z.union([
  z.object({ type: z.literal('log'), entry: callLogEntrySchema }),
  z.looseObject({
    type: z.enum([
      'backend-speech-start',
      'backend-speech-end',
      'backend-text',
      'backend-dtmf',
      'backend-tool-result',
      'backend-interrupt',
      'backend-close',
      'playout-pause',
      'playout-resume',
      'playout-clear',
      'announce',
      'run-tool',
      'cancel-tools',
      'escalate',
      'callback',
      'recording-announced',
      'end-stream',
      'mark',
      'ended',
    ]),
  }),
])
const out = z
  .array(output)
  .exactOptional()
  .describe("What the session wanted done (CallOutput), and what became part of the call's record.")

/** `MediaEvent`. */
const mediaEventSchema = z
  .union([z.tuple([z.enum(['packet', 'played']), z.number(), z.string()]), z.tuple([z.literal('tick'), z.number()])])
  .meta({ id: 'media-event' })

/** Every line after the first is one of these, told apart by its key. */
const journalLineSchemas = {
  input: z.object({ t, in: callInputSchema, view, out }).meta({ id: 'input-line', description: 'Something happened.' }),
  frames: z
    .object({
      t,
      runs: z.array(z.int().min(0)).describe('Frames of 20 ms in alternating runs, unvoiced first.'),
      at: z
        .array(z.number())
        .max(JOURNAL_FRAMES_PER_LINE_MAX)
        .exactOptional()
        .describe('One time for each frame, when they are not 20 ms apart.'),
      levels: z
        .string()
        .exactOptional()
        .describe(
          'The level of each frame: one character of base64, steps of 1.5 dB, 63 (/) being 0 dBFS; frames after the last character are as loud as it. Absent: not known.',
        ),
      doubt: z
        .array(z.int().min(0))
        .exactOptional()
        .describe('Voiced frames in alternating runs, sure ones first: which may be music. Absent: all are sure.'),
      pitch: z
        .string()
        .exactOptional()
        .describe(
          'The pitch of each voiced frame: two characters of base64, a quarter of a hertz a step. Absent: not known.',
        ),
      view,
      out,
    })
    .meta({ id: 'frames-line', description: 'Frames of the caller.' }),
  audio: z
    .object({ t, audio: z.tuple([z.string(), z.number()]).describe('Item and generation.'), view, out })
    .meta({ id: 'audio-line', description: "The backend's audio went on to another item." }),
  identity: z
    .object({ t, identity: anyObject, view, out })
    .meta({ id: 'identity-line', description: 'The caller was identified.' }),
  media: z.object({ media: z.array(mediaEventSchema) }).meta({
    id: 'media-line',
    description: "What came to the caller's path, in order: bytes as base64 of 16-bit little-endian samples.",
  }),
}

export const journalLineSchema = z.union([journalHeaderSchema, ...Object.values(journalLineSchemas)])

export function journalJsonSchema(): Record<string, unknown> {
  return publishedSchema(
    journalLineSchema,
    'Mkondo journal line',
    "One line of a journal. The file is JSON lines: a header first, then everything that the call's session was given, in order.",
  )
}
