import { isJsonObject } from '../../sautikit/call-fields.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { JOURNAL_FRAMES_PER_LINE_MAX } from '../../core/limits.js'
import { FRAME_MS } from '../../core/units.js'
import type { CallSessionOptions } from '../call-options.js'
import { withheldSchema } from '../caller-data.js'
import { parseResume } from '../documents/checkpoint.js'
import type { SessionResume } from '../documents/checkpoint.js'
import type { CallInput, CallOutput } from '../events.js'
import { dbfsOf, hertzOf, plainFrame } from '../turns/frame-figures.js'
import { JOURNAL_VERSION } from '../documents/journal.js'
import { decodeStep } from './journal.js'
import type { JournalMedia, MediaEvent, PlayoutAnswers } from '../documents/journal.js'
import type { JournalEntry, JournalFrame, JournalHeader } from './journal.js'

/** Maximum length of a journal line, in characters. */
const JOURNAL_LINE_CHARS_MAX = 1024 * 1024

/** Names of inputs in journals of earlier builds. */
const EARLIER_INPUTS: ReadonlyMap<string, CallInput['type']> = new Map([['screened', 'amd-result']])

/**
 * Reads one journal, beginning with the header. Blank lines are skipped.
 * @throws GatewayError JOURNAL_INVALID with the number of the line
 */
export function* readJournal(lines: Iterable<string>): Generator<JournalHeader | JournalEntry, void, undefined> {
  let ordinal = 0
  let begun = false
  for (const text of lines) {
    ordinal++
    if (text.trim() === '') continue
    const line = parseLine(text, ordinal)
    yield begun && !('journal' in line) ? parseEntry(line, ordinal) : parseHeader(line, ordinal)
    begun = true
  }
  if (!begun) throw invalid(ordinal, 'the journal is empty')
}

function invalid(ordinal: number, what: string, cause?: unknown): GatewayError {
  return new GatewayError('JOURNAL_INVALID', `journal line ${ordinal}: ${what}`, { cause })
}

function parseLine(text: string, ordinal: number): Record<string, unknown> {
  if (text.length > JOURNAL_LINE_CHARS_MAX) throw invalid(ordinal, `longer than ${JOURNAL_LINE_CHARS_MAX} characters`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (thrown) {
    throw invalid(ordinal, 'not JSON', thrown)
  }
  if (!isJsonObject(value)) throw invalid(ordinal, 'not a JSON object')
  return value
}

function parseHeader(line: Record<string, unknown>, ordinal: number): JournalHeader {
  const { journal, build, options, resume, media } = line
  if (journal !== JOURNAL_VERSION)
    throw invalid(ordinal, `not the header of a journal of version ${JOURNAL_VERSION}, which this build reads`)
  if (!isJsonObject(options) || typeof options['callSid'] !== 'string')
    throw invalid(ordinal, 'the header has no options')
  // The options were written from typed values, so the journal's version determines their shape.
  return {
    type: 'header',
    build: typeof build === 'string' ? build : 'unknown',
    options: options as unknown as CallSessionOptions,
    resume: readResume(resume, ordinal),
    media: parseMedia(media, ordinal),
  }
}

function readResume(resume: unknown, ordinal: number): SessionResume | null {
  if (resume === undefined || resume === null) return null
  try {
    return parseResume(resume)
  } catch (thrown) {
    throw invalid(ordinal, messageOf(thrown), thrown)
  }
}

function parseMedia(media: unknown, ordinal: number): JournalMedia | null {
  if (media === undefined || media === null) return null
  const { sampleRateHz, track } = isJsonObject(media) ? media : {}
  if (sampleRateHz !== 8000 && sampleRateHz !== 16000)
    throw invalid(ordinal, 'media.sampleRateHz is neither 8000 nor 16000')
  if (track !== 'inbound_track' && track !== 'outbound_track' && track !== 'both_tracks') {
    throw invalid(ordinal, 'media.track is none of inbound_track, outbound_track, both_tracks')
  }
  return { sampleRateHz, track }
}

function parseEntry(line: Record<string, unknown>, ordinal: number): JournalEntry {
  const { t: atMs, view: answers, in: input, runs, audio, identity, withheld, media } = line
  if (Array.isArray(media)) return { type: 'media', events: media.map((event) => parseEvent(event, ordinal)) }
  if (typeof atMs !== 'number' || !Number.isFinite(atMs)) throw invalid(ordinal, 't is not a time')
  if (answers !== undefined && !isJsonObject(answers)) throw invalid(ordinal, 'view is not an object')
  const view = (answers ?? {}) as PlayoutAnswers
  const out = parseOutputs(line['out'], ordinal)
  if (isJsonObject(input)) {
    if (typeof input['type'] !== 'string') throw invalid(ordinal, 'the input has no type')
    const type = EARLIER_INPUTS.get(input['type']) ?? input['type']
    return { type: 'input', atMs, view, out, input: { ...input, type } as unknown as CallInput }
  }
  if (isJsonObject(identity)) {
    const read = withheldSchema.nullable().safeParse(withheld ?? null)
    if (!read.success) throw invalid(ordinal, 'withheld is not what was withheld of the caller')
    return { type: 'identity', atMs, view, out, identity, withheld: read.data }
  }
  if (Array.isArray(audio)) {
    const [itemId, generation] = audio as unknown[]
    if (typeof itemId !== 'string' || typeof generation !== 'number') {
      throw invalid(ordinal, 'audio is not [item, generation]')
    }
    return { type: 'audio', atMs, view, out, itemId, generation }
  }
  if (Array.isArray(runs)) return { type: 'frames', view, out, frames: parseFrames(atMs, runs, line, ordinal) }
  throw invalid(ordinal, 'neither an input, frames, audio, media nor an identity')
}

function parseOutputs(out: unknown, ordinal: number): readonly CallOutput[] {
  if (out === undefined) return []
  if (!Array.isArray(out)) throw invalid(ordinal, 'out is not a list')
  return out.map((output: unknown) => {
    if (!isJsonObject(output) || typeof output['type'] !== 'string') throw invalid(ordinal, 'an output has no type')
    return output as unknown as CallOutput
  })
}

function parseEvent(event: unknown, ordinal: number): MediaEvent {
  const [kind, atMs, base64] = Array.isArray(event) ? (event as unknown[]) : []
  if (typeof atMs !== 'number') throw invalid(ordinal, 'a media event has no time')
  if (kind === 'tick') return [kind, atMs]
  if ((kind === 'packet' || kind === 'played') && typeof base64 === 'string') return [kind, atMs, base64]
  throw invalid(ordinal, 'a media event is none of packet, played, tick')
}

function parseFrames(
  firstAtMs: number,
  runs: readonly unknown[],
  { at: times, early, ...figures }: Record<string, unknown>,
  ordinal: number,
): JournalFrame[] {
  const frames: JournalFrame[] = []
  for (let i = 0; i < runs.length; i++) {
    const count = runs[i]
    if (typeof count !== 'number' || !Number.isInteger(count) || count < 0) {
      throw invalid(ordinal, 'a run is not a count')
    }
    if (frames.length + count > JOURNAL_FRAMES_PER_LINE_MAX) {
      throw invalid(ordinal, `more than ${JOURNAL_FRAMES_PER_LINE_MAX} frames`)
    }
    for (let j = 0; j < count; j++)
      frames.push({ ...plainFrame(i % 2 === 1), early: early === true, atMs: firstAtMs + frames.length * FRAME_MS })
  }
  if (typeof figures['levels'] === 'string') addFigures(frames, figures, ordinal)
  if (times === undefined) return frames
  if (!Array.isArray(times) || times.length !== frames.length) throw invalid(ordinal, 'not one time for each frame')
  return frames.map((frame, i) => {
    const atMs: unknown = times[i]
    if (typeof atMs !== 'number') throw invalid(ordinal, 'a frame has no time')
    return { ...frame, atMs }
  })
}

/** Adds the figures to the frames in `frames`. */
function addFigures(frames: JournalFrame[], { levels, pitch, doubt }: Record<string, unknown>, ordinal: number): void {
  const voiced = frames.filter((frame) => frame.voiced).length
  if (typeof levels !== 'string' || levels === '' || levels.length > frames.length)
    throw invalid(ordinal, 'not one level for each frame')
  if (pitch !== undefined && (typeof pitch !== 'string' || pitch.length !== 2 * voiced))
    throw invalid(ordinal, 'not one pitch for each voiced frame')
  const doubts = (Array.isArray(doubt) ? (doubt as unknown[]) : []).map((run) =>
    typeof run === 'number' && run >= 0 && run <= voiced ? run : 0,
  )
  let at = 0
  let [run, left] = [0, doubts[0] ?? voiced]
  for (const [i, frame] of frames.entries()) {
    const level = decodeStep(levels.charAt(Math.min(i, levels.length - 1)))
    if (level < 0) throw invalid(ordinal, 'levels are not base64')
    frames[i] = { ...frame, levelDbfs: dbfsOf(level) }
    if (!frame.voiced) continue
    while (left === 0 && run < doubts.length) left = doubts[++run] ?? voiced
    left--
    const tone = pitch === undefined ? 0 : decodeStep(pitch.slice(2 * at, 2 * at + 2))
    if (tone < 0) throw invalid(ordinal, 'pitch is not base64')
    at++
    frames[i] = { ...frame, doubtful: run % 2 === 1, levelDbfs: dbfsOf(level), pitchHz: hertzOf(tone) }
  }
}
