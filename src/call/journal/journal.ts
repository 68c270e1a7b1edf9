import type { LegRateHz } from '../../core/units.js'
import type { ForkedTrack } from '../../media/reframer.js'
import type { CallSessionOptions } from '../call-options.js'
import type { SessionResume } from '../checkpoint.js'
import type { CallInput, CallOutput } from '../events.js'

/**
 * A journal is JSON lines: a header, then everything that a session was given, in order, with its time, and what it
 * wanted done about it. It holds what callers said and is only written where recording is on.
 *
 *     {"journal":3,"build":"0.1.0","options":{...},"resume":null,"media":null}
 *     {"t":1020.5,"in":{"type":"stream-opened","sampleRateHz":16000},"out":[{"type":"mark","name":"stream"}]}
 *     {"t":1040.5,"runs":[3,2,7]}                         12 frames, 20 ms apart: 3 unvoiced, 2 voiced, 7 unvoiced
 *     {"t":1280.5,"runs":[0,2],"at":[1280.5,1303.1]}      frames at other times
 *     {"t":1300,"audio":["item-1",4]}                     `acceptAudio`
 *     {"t":1310,"identity":{...}}                         `setIdentity`
 *     {"t":1400,"view":{"audible":true},"runs":[0,1]}     what the playout answered from here on, where it changed
 *
 * The playout is not run again: its answers are part of the journal, each noted when it differs from the last
 * answer to the same question. What was wanted (`out`) is noted with the line that caused it, of frames the last one.
 *
 * Where `media` is set, what came to the caller's path is there too, before the frames that it gave:
 *
 *     {"media":[["packet",1018.2,"<base64>"],["played",1200,"<base64>"],["tick",1020.5]]}
 *
 * A call that was taken over by another worker has one header for each.
 */
export const JOURNAL_VERSION = 3
/**
 * Versions that can be read. 1 had neither `out` nor `media`. 2 had the lists of the call log in the checkpoint, only the durations of turns
 * and barge-ins in `out`, and no tool calls there.
 */
export const JOURNAL_VERSIONS: readonly number[] = [1, 2, 3]

/** What the caller's path was made for. */
export interface JournalMedia {
  readonly sampleRateHz: LegRateHz
  readonly track: ForkedTrack
}

/** The first line as it is written. */
export interface JournalHeaderLine {
  readonly journal: typeof JOURNAL_VERSION
  /** Version of the gateway that wrote it. */
  readonly build: string
  readonly options: CallSessionOptions
  readonly resume: SessionResume | null
  /** Null: the caller's audio was not kept, only what was made of it. */
  readonly media: JournalMedia | null
}

/** The first line as it is read, of any version. */
export interface JournalHeader extends Omit<JournalHeaderLine, 'journal' | 'build'> {
  readonly type: 'header'
  readonly version: number
  /** Null before version 2. */
  readonly build: string | null
}

/** Answers of the playout by question: `audible`, `pendingMs`, `currentItem`, `lastSentAtMs`, `heardMs <item>`. */
export type PlayoutAnswers = Readonly<Record<string, boolean | number | string | null>>

export interface JournalFrame {
  readonly atMs: number
  readonly voiced: boolean
}

/** What happened to the caller's path, in order; audio as base64 of 16-bit little-endian samples. */
export type MediaEvent =
  /** Bytes of the carrier, and when they came. */
  | readonly ['packet', number, string]
  /** 20 ms of our own voice, and when they began to be played. */
  | readonly ['played', number, string]
  /** The worker's tick: frames that are due are pulled. */
  | readonly ['tick', number]

interface Entry {
  readonly view: PlayoutAnswers
  /** What the session wanted done; null where the journal does not say (version 1). */
  readonly out: readonly CallOutput[] | null
}

export type JournalEntry =
  | (Entry & { readonly type: 'input'; readonly atMs: number; readonly input: CallInput })
  | (Entry & { readonly type: 'frames'; readonly frames: readonly JournalFrame[] })
  | (Entry & { readonly type: 'audio'; readonly atMs: number; readonly itemId: string; readonly generation: number })
  | (Entry & { readonly type: 'identity'; readonly atMs: number; readonly identity: Readonly<Record<string, unknown>> })
  | { readonly type: 'media'; readonly events: readonly MediaEvent[] }

/** Outputs that are kept and compared: not those that only ask for a checkpoint. */
export function isJournalled(output: CallOutput): boolean {
  return output.type !== 'checkpoint-due'
}

/**
 * An output of this build as a journal of that version has it, so that the two can be compared; null where it has none. What version
 * 2 did not say of turns and barge-ins is 0.
 */
export function comparable(output: CallOutput, version: number): CallOutput | null {
  if (!isJournalled(output)) return null
  if (version >= 3 || output.type !== 'log') return output
  const { entry } = output
  switch (entry.kind) {
    case 'transcript': return output
    case 'turn': return { type: 'log', entry: { kind: 'turn', record: { ...entry.record, callerStoppedMs: 0 } } }
    case 'barge-in': return { type: 'log', entry: { kind: 'barge-in', record: { ...entry.record, atMs: 0 } } }
    case 'tool-call':
    case 'turn-played': return null
  }
}
