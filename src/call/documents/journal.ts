import { z } from 'zod'
import { JOURNAL_FRAMES_PER_LINE_MAX } from '../../core/limits.js'
import { callLogEntrySchema } from './log-entry.js'
import { withheldSchema } from '../caller-data.js'
import { sessionOptionsSchema } from '../call-options.js'
import { callInputSchema } from '../events.js'
import { resumeSchema } from './checkpoint.js'
import type { DocumentOf } from './document.js'

/**
 * Format of a journal: JSON lines. The first line is a header. The next lines contain every input of a session in
 * order, with its time and its outputs. A journal contains callers' words and is written only if journals are enabled.
 *
 *     {"journal":5,"build":"0.1.0","options":{...},"resume":null,"media":null}
 *     {"t":1020.5,"in":{"type":"stream-opened","sampleRateHz":16000},"out":[{"type":"mark","name":"stream-opened"}]}
 *     {"t":1040.5,"runs":[3,2,7]}                         12 frames, 20 ms apart: 3 unvoiced, 2 voiced, 7 unvoiced
 *     {"t":1280.5,"runs":[0,2],"at":[1280.5,1303.1]}      frames at other times
 *     {"t":1340.5,"runs":[1,3],"levels":"Cxyw","doubt":[1,2],"pitch":"AAHgHh"}   figures of the frames (below)
 *     {"t":1010.5,"runs":[0,9],"early":true}               frames from before the stream opened
 *     {"t":1300,"audio":["item-1",4]}                     `acceptAudio`
 *     {"t":1310,"identity":{...}}                         `setIdentity`
 *     {"t":1400,"view":{"audible":true},"runs":[0,1]}     the playout's changed answers from now
 *
 * `levels` has one base64 character for each frame: its level in steps of 1.5 dB. Frames without a character have the
 * level of the last character. `doubt` counts runs of voiced frames, alternately certain and doubtful, beginning with
 * certain frames. `pitch` has two characters for each voiced frame, in steps of a quarter of a hertz. If no frame has
 * such figures, the line has neither `doubt` nor `pitch`. The session uses the figures as rounded to these steps.
 *
 * A replay does not run the playout. The playout's answers to the session are part of the journal. An answer is written
 * when it changes. Outputs (`out`) are written in the line of the input that caused them. In a line of frames, the last
 * frame caused them.
 *
 * If `media` is set, the journal also has the input of the caller's audio path. Each input is written before the frames
 * that it produced:
 *
 *     {"media":[["packet",1018.2,"<base64>"],["played",1200,"<base64>"],["tick",1020.5]]}
 *
 * A call that moved to another worker has one header for each worker.
 */
export const JOURNAL_VERSION = 5

const anyObject = z.record(z.string(), z.unknown())

/** Audio format of the caller's audio path. */
const mediaSchema = z.object({
  sampleRateHz: z.literal([8000, 16000]),
  track: z.enum(['inbound_track', 'outbound_track', 'both_tracks']),
})

export type JournalMedia = DocumentOf<typeof mediaSchema>

/** Header line as it is written. */
export const journalHeaderSchema = z
  .object({
    journal: z.literal(JOURNAL_VERSION),
    build: z.string().describe('Version of the gateway that wrote it.'),
    options: sessionOptionsSchema.describe('The settings of the session.'),
    resume: resumeSchema
      .nullable()
      .describe('State from which the session continued, in a call that moved to another worker or node.'),
    media: mediaSchema
      .nullable()
      .describe("Stream for which the caller's path was created; null if the caller's audio is not stored."),
  })
  .meta({ id: 'header', description: 'The first line.' })

export type JournalHeaderLine = DocumentOf<typeof journalHeaderSchema>

const playoutAnswersSchema = z.record(z.string(), z.union([z.boolean(), z.number(), z.string(), z.null()])).meta({
  id: 'playout-answers',
  description:
    'Answers of the playout from this entry on, if they changed: audible, pendingMs, currentItem, lastSentAtMs, "playedMs ITEM".',
})

/** Answers of the playout that have changed. Each key is a question to the playout. */
export type PlayoutAnswers = DocumentOf<typeof playoutAnswersSchema>

const t = z.number().describe('Monotonic milliseconds.')
const view = playoutAnswersSchema.exactOptional()
/** A `CallOutput`; entries of the call log are complete records. */
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
      'playout-duck',
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
  .describe("Outputs of the session (CallOutput), and the new parts of the call's record.")

/** One input of the caller's audio path. Audio is base64 of 16-bit little-endian samples. */
const mediaEventSchema = z
  .union([
    /**
     * `packet`: bytes from the carrier, and the time of their arrival. `played`: 20 ms of the agent's voice, and the
     * time at which their playing began.
     */
    z.tuple([z.enum(['packet', 'played']), z.number(), z.string()]),
    /** Tick of the worker; in a tick the worker reads the frames that are due. */
    z.tuple([z.literal('tick'), z.number()]),
  ])
  .meta({ id: 'media-event' })
export type MediaEvent = DocumentOf<typeof mediaEventSchema>

/** Shapes of every line after the first; the first key of a line identifies its shape. */
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
        .describe('One time for each frame, if the frames are not 20 ms apart.'),
      levels: z
        .string()
        .exactOptional()
        .describe(
          'Level of each frame as one character of base64, in steps of 1.5 dB; 63 (/) is 0 dBFS. Frames without a character have the level of the last character. Absent if the levels are unknown.',
        ),
      doubt: z
        .array(z.int().min(0))
        .exactOptional()
        .describe(
          'Voiced frames in alternating runs: frames that are certainly voice, then frames that may be music. Absent if all are certainly voice.',
        ),
      pitch: z
        .string()
        .exactOptional()
        .describe(
          'Pitch of each voiced frame as two characters of base64, in steps of a quarter of a hertz. Absent if the pitch is unknown.',
        ),
      view,
      out,
    })
    .meta({ id: 'frames-line', description: 'Frames of the caller.' }),
  audio: z
    .object({ t, audio: z.tuple([z.string(), z.number()]).describe('Item and generation.'), view, out })
    .meta({ id: 'audio-line', description: "The backend's audio continued with another item." }),
  identity: z
    .object({
      t,
      identity: anyObject,
      withheld: withheldSchema
        .exactOptional()
        .describe('Data of the caller that is masked in the earlier line of the look-up; absent if no data is masked.'),
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
