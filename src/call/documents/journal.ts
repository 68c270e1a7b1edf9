import { z } from 'zod'
import { JOURNAL_FRAMES_PER_LINE_MAX } from '../../core/limits.js'
import { callLogEntrySchema } from './log-entry.js'
import { withheldSchema } from '../caller-data.js'
import { sessionOptionsSchema } from '../call-options.js'
import { callInputSchema } from '../events.js'
import { resumeSchema } from './checkpoint.js'
import type { DocumentOf } from './document.js'

/**
 * A journal is JSON lines: a header, then every input of a session in order, with its time and the outputs that
 * followed. It contains what callers said and is written only when journals are switched on.
 *
 *     {"journal":5,"build":"0.1.0","options":{...},"resume":null,"media":null}
 *     {"t":1020.5,"in":{"type":"stream-opened","sampleRateHz":16000},"out":[{"type":"mark","name":"stream-opened"}]}
 *     {"t":1040.5,"runs":[3,2,7]}                         12 frames, 20 ms apart: 3 unvoiced, 2 voiced, 7 unvoiced
 *     {"t":1280.5,"runs":[0,2],"at":[1280.5,1303.1]}      frames at other times
 *     {"t":1340.5,"runs":[1,3],"levels":"Cxyw","doubt":[1,2],"pitch":"AAHgHh"}   figures of the frames (below)
 *     {"t":1010.5,"runs":[0,9],"early":true}               frames from before the stream opened
 *     {"t":1300,"audio":["item-1",4]}                     `acceptAudio`
 *     {"t":1310,"identity":{...}}                         `setIdentity`
 *     {"t":1400,"view":{"audible":true},"runs":[0,1]}     the playout's changed answers from here on
 *
 * `levels` has one character of base64 for each frame: its level in steps of 1.5 dB; frames after the last
 * character are as loud as it. `doubt` has alternating runs of voiced sure ones first, and `pitch` two
 * characters for each voiced frame, a quarter of a hertz a step; both are left out where there is nothing to say. The session decides by figures in the same steps.
 *
 * A replay does not run the playout. Its answers are part of the journal; each is noted when it differs from the last
 * answer to the same question. Outputs (`out`) are noted with the line that caused them; in a line of frames, the last
 * frame caused them.
 *
 * When `media` is set, the input of the caller's audio path is there too, before the frames that it produced:
 *
 *     {"media":[["packet",1018.2,"<base64>"],["played",1200,"<base64>"],["tick",1020.5]]}
 *
 * A call that moved to another worker has one header for each worker.
 */
export const JOURNAL_VERSION = 5

const anyObject = z.record(z.string(), z.unknown())

/** Format of the audio in the caller's path. */
const mediaSchema = z.object({
  sampleRateHz: z.literal([8000, 16000]),
  track: z.enum(['inbound_track', 'outbound_track', 'both_tracks']),
})

export type JournalMedia = DocumentOf<typeof mediaSchema>

/** The header line as it is written. */
export const journalHeaderSchema = z
  .object({
    journal: z.literal(JOURNAL_VERSION),
    build: z.string().describe('Version of the gateway that wrote it.'),
    options: sessionOptionsSchema.describe('The settings of the session.'),
    resume: resumeSchema
      .nullable()
      .describe('State that it went on from, in a call that changed its worker or its node.'),
    media: mediaSchema
      .nullable()
      .describe("Stream that the caller's path was made for; null where the caller's audio is not kept."),
  })
  .meta({ id: 'header', description: 'The first line.' })

export type JournalHeaderLine = DocumentOf<typeof journalHeaderSchema>

const playoutAnswersSchema = z.record(z.string(), z.union([z.boolean(), z.number(), z.string(), z.null()])).meta({
  id: 'playout-answers',
  description:
    'Answers of the playout from here on, where it changed: audible, pendingMs, currentItem, lastSentAtMs, "playedMs ITEM".',
})

/** Answers of the playout by question. */
export type PlayoutAnswers = DocumentOf<typeof playoutAnswersSchema>

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
      'backend-tools',
      'backend-interrupt',
      'backend-close',
      'playout-pause',
      'playout-resume',
      'playout-clear',
      'announce',
      'announce-cancel',
      'run-tool',
      'cancel-tools',
      'escalate',
      'callback',
      'private',
      'recording-announced',
      'recording-refused',
      'end-stream',
      'mark',
      'ended',
    ]),
  }),
])
const out = z
  .array(output)
  .exactOptional()
  .describe("Outputs of the session (CallOutput), and what became part of the call's record.")

/** One input of the caller's audio path; audio as base64 of 16-bit little-endian samples. */
const mediaEventSchema = z
  .union([
    /** Bytes from the carrier, and when they arrived; or 20 ms of the agent's voice, and when playing them began. */
    z.tuple([z.enum(['packet', 'played']), z.number(), z.string()]),
    /** The worker's tick, which pulls the frames that are due. */
    z.tuple([z.literal('tick'), z.number()]),
  ])
  .meta({ id: 'media-event' })
export type MediaEvent = DocumentOf<typeof mediaEventSchema>

/** Every line after the first is one of these, distinguished by its key. */
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
    .object({
      t,
      identity: anyObject,
      withheld: withheldSchema
        .exactOptional()
        .describe('Data that nobody had of the caller before, masked in the line of their look-up. Absent: none was.'),
      view,
      out,
    })
    .meta({ id: 'identity-line', description: 'The caller was identified.' }),
  media: z.object({ media: z.array(mediaEventSchema) }).meta({
    id: 'media-line',
    description: "Inputs of the caller's path, in order: bytes as base64 of 16-bit little-endian samples.",
  }),
}

export const journalLineSchema = z.union([journalHeaderSchema, ...Object.values(journalLineSchemas)])
