import type { LegRateHz } from '../../core/units.js'
import type { ForkedTrack } from '../../media/reframer.js'
import type { CallSessionOptions } from '../call-options.js'
import type { CallerFrame } from '../frame-figures.js'
import type { SessionResume } from '../checkpoint.js'
import type { CallInput, CallOutput } from '../events.js'

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

/** Format of the audio in the caller's path. */
export interface JournalMedia {
  readonly sampleRateHz: LegRateHz
  readonly track: ForkedTrack
}

/** The header line as it is written. */
export interface JournalHeaderLine {
  readonly journal: typeof JOURNAL_VERSION
  /** Version of the gateway that wrote it. */
  readonly build: string
  readonly options: CallSessionOptions
  readonly resume: SessionResume | null
  /** Null: the caller's audio was not kept, only the decisions on its frames. */
  readonly media: JournalMedia | null
}

/** The header line as it is read. */
export interface JournalHeader extends Omit<JournalHeaderLine, 'journal'> {
  readonly type: 'header'
}

/** Answers of the playout by question: `audible`, `pendingMs`, `currentItem`, `lastSentAtMs`, `heardMs <item>`. */
export type PlayoutAnswers = Readonly<Record<string, boolean | number | string | null>>

export interface JournalFrame extends CallerFrame {
  readonly atMs: number
}

/** One input of the caller's audio path; audio as base64 of 16-bit little-endian samples. */
export type MediaEvent =
  /** Bytes from the carrier, and when they arrived. */
  | readonly ['packet', number, string]
  /** 20 ms of the agent's voice, and when playing them began. */
  | readonly ['played', number, string]
  /** The worker's tick, which pulls the frames that are due. */
  | readonly ['tick', number]

interface Entry {
  readonly view: PlayoutAnswers
  /** Outputs of the session. */
  readonly out: readonly CallOutput[]
}

export type JournalEntry =
  | (Entry & { readonly type: 'input'; readonly atMs: number; readonly input: CallInput })
  | (Entry & { readonly type: 'frames'; readonly frames: readonly JournalFrame[] })
  | (Entry & { readonly type: 'audio'; readonly atMs: number; readonly itemId: string; readonly generation: number })
  | (Entry & { readonly type: 'identity'; readonly atMs: number; readonly identity: Readonly<Record<string, unknown>> })
  | { readonly type: 'media'; readonly events: readonly MediaEvent[] }

/** Whether an output is kept and compared: all but requests for a checkpoint. */
export function isJournalled(output: CallOutput): boolean {
  return output.type !== 'checkpoint-due'
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** A step of a figure in `chars` characters of base64, the highest digit first. */
export function encodeStep(step: number, chars: 1 | 2): string {
  const low = BASE64[step & 63] as string
  return chars === 1 ? low : `${BASE64[(step >> 6) & 63] as string}${low}`
}

/** @returns the step; -1 for a character that is not base64 */
export function decodeStep(text: string): number {
  let step = 0
  for (const char of text) {
    const digit = BASE64.indexOf(char)
    if (digit < 0) return -1
    step = step * 64 + digit
  }
  return step
}
