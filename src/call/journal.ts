import { GatewayError } from '../core/errors.js'
import { JOURNAL_ANSWERS_MAX, JOURNAL_FRAMES_PER_LINE_MAX, JOURNAL_LINE_CHARS_MAX } from '../core/limits.js'
import { FRAME_MS } from '../core/units.js'
import type { CallSessionOptions } from './call-options.js'
import type { CallCheckpoint } from './checkpoint.js'
import type { CallInput, PlayoutView } from './events.js'

/**
 * A journal is JSON lines: a header, then everything that a session was given, in order, with its time. It holds
 * what callers said and is only written where recording is on.
 *
 *     {"journal":1,"options":{...},"resume":null}
 *     {"t":1020.5,"in":{"type":"stream-opened","sampleRateHz":16000}}
 *     {"t":1040.5,"runs":[3,2,7]}                         12 frames, 20 ms apart: 3 unvoiced, 2 voiced, 7 unvoiced
 *     {"t":1280.5,"runs":[0,2],"at":[1280.5,1303.1]}      frames at other times
 *     {"t":1300,"audio":["item-1",4]}                     `acceptAudio`
 *     {"t":1310,"identity":{...}}                         `setIdentity`
 *     {"t":1400,"view":{"audible":true},"runs":[0,1]}     what the playout answered from here on, where it changed
 *
 * The playout is not run again: its answers are part of the journal, each noted when it differs from the last
 * answer to the same question.
 */
export const JOURNAL_VERSION = 1

export interface JournalHeader {
  readonly journal: typeof JOURNAL_VERSION
  readonly options: CallSessionOptions
  readonly resume: CallCheckpoint | null
}

/** Answers of the playout by question: `audible`, `pendingMs`, `currentItem`, `lastSentAtMs`, `heardMs <item>`. */
export type PlayoutAnswers = Readonly<Record<string, boolean | number | string | null>>

export interface JournalFrame {
  readonly atMs: number
  readonly voiced: boolean
}

export type JournalEntry =
  | { readonly type: 'input'; readonly atMs: number; readonly view: PlayoutAnswers; readonly input: CallInput }
  | {
      readonly type: 'frames'; readonly view: PlayoutAnswers
      readonly frames: readonly JournalFrame[]
    }
  | {
      readonly type: 'audio'; readonly atMs: number
      readonly view: PlayoutAnswers; readonly itemId: string; readonly generation: number
    }
  | {
      readonly type: 'identity'; readonly atMs: number
      readonly view: PlayoutAnswers; readonly identity: Readonly<Record<string, unknown>>
    }

/**
 * Writes a journal: tell it of each call to the session *before* making it, and give the session `watch(playout)`
 * for its playout, so that the playout's answers are noted with the entry that asked for them.
 */
export class JournalWriter {
  linesWritten = 0
  readonly #write: (line: string) => void
  #open: Record<string, unknown> | null = null
  #view: Record<string, boolean | number | string | null> | null = null
  readonly #known = new Map<string, boolean | number | string | null>()
  /** Frames of the open line: alternating run lengths, unvoiced first, and their times. */
  #runs: number[] = []
  #timesMs: number[] = []
  #regular = true
  #lastAudio = ''

  /** @param write  takes one line, without its newline. */
  constructor(write: (line: string) => void, options: CallSessionOptions, resume: CallCheckpoint | null) {
    this.#write = write
    this.#line({ journal: JOURNAL_VERSION, options, resume })
  }

  input(input: CallInput, nowMs: number): void {
    this.flush()
    // Audio that follows an interruption must be noted again, whatever its item.
    this.#lastAudio = ''
    this.#open = { t: nowMs, in: input }
  }

  frame(voiced: boolean, nowMs: number): void {
    // What the playout answered holds from the frame that asked: such a frame begins a line and ends one.
    if (this.#open !== null || this.#view !== null || this.#timesMs.length >= JOURNAL_FRAMES_PER_LINE_MAX) this.flush()
    const last = this.#timesMs.length
    if (last > 0 && nowMs !== (this.#timesMs[0] as number) + last * FRAME_MS) this.#regular = false
    this.#timesMs.push(nowMs)
    if (this.#runs.length === 0) this.#runs.push(0)
    const voicedRun = this.#runs.length % 2 === 0
    if (voicedRun === voiced) this.#runs[this.#runs.length - 1] = (this.#runs[this.#runs.length - 1] as number) + 1
    else this.#runs.push(1)
  }

  /** `acceptAudio`; only a change of item is noted, since more audio of one item changes nothing. */
  audio(itemId: string, generation: number, nowMs: number): void {
    const audio = `${generation} ${itemId}`
    if (audio === this.#lastAudio) return
    this.flush()
    this.#lastAudio = audio
    this.#open = { t: nowMs, audio: [itemId, generation] }
  }

  identity(identity: Readonly<Record<string, unknown>>, nowMs: number): void {
    this.flush()
    this.#open = { t: nowMs, identity }
  }

  /** The same playout, with its answers noted. */
  watch(playout: PlayoutView): PlayoutView {
    const note = <T extends boolean | number | string | null>(question: string, answer: T): T => {
      if (this.#known.get(question) === answer) return answer
      if (this.#known.size >= JOURNAL_ANSWERS_MAX) this.#known.clear() // forgetting one only notes it again
      this.#known.set(question, answer)
      this.#splitFrames()
      this.#view ??= {}
      this.#view[question] = answer
      return answer
    }
    return {
      audible: (nowMs) => note('audible', playout.audible(nowMs)),
      heardMs: (itemId, nowMs) => note(`heardMs ${itemId}`, playout.heardMs(itemId, nowMs)),
      currentItem: (nowMs) => note('currentItem', playout.currentItem(nowMs)),
      pendingMs: () => note('pendingMs', playout.pendingMs()),
      lastSentAtMs: () => note('lastSentAtMs', playout.lastSentAtMs()),
    }
  }

  /** Writes what is open; call it at the end, and whenever lines should be safe. */
  flush(): void {
    if (this.#open === null && this.#timesMs.length === 0) return // answers without an entry go with the next one
    const view = this.#view
    this.#view = null
    if (this.#open !== null) {
      this.#line(view === null ? this.#open : { ...this.#open, view })
      this.#open = null
    } else {
      this.#writeFrames(view)
    }
  }

  /** The frame being handed over now got a new answer: the frames before it had the old one. */
  #splitFrames(): void {
    const count = this.#timesMs.length
    if (this.#open !== null || this.#view !== null || count < 2) return
    const atMs = this.#timesMs.pop() as number
    const voiced = this.#runs.length % 2 === 0
    const last = this.#runs.length - 1
    if (this.#runs[last] === 1) this.#runs.pop()
    else this.#runs[last] = (this.#runs[last] as number) - 1
    this.#writeFrames(null)
    this.#timesMs.push(atMs)
    this.#runs = voiced ? [0, 1] : [1]
  }

  #writeFrames(view: PlayoutAnswers | null): void {
    const line: Record<string, unknown> = { t: this.#timesMs[0], runs: this.#runs }
    if (!this.#regular) line['at'] = this.#timesMs
    if (view !== null) line['view'] = view
    this.#line(line)
    this.#runs = []
    this.#timesMs = []
    this.#regular = true
  }

  #line(value: Readonly<Record<string, unknown>>): void {
    this.linesWritten++
    this.#write(JSON.stringify(value))
  }
}

/**
 * Reads one journal, header first. Blank lines are passed over.
 * @throws GatewayError JOURNAL_INVALID naming the line.
 */
export function* readJournal(lines: Iterable<string>): Generator<JournalHeader | JournalEntry, void, undefined> {
  let number = 0
  let headed = false
  for (const text of lines) {
    number++
    if (text.trim() === '') continue
    const line = parseLine(text, number)
    if (headed) {
      yield parseEntry(line, number)
    } else {
      headed = true
      yield parseHeader(line, number)
    }
  }
  if (!headed) throw invalid(number, 'the journal is empty')
}

function invalid(number: number, what: string, cause?: unknown): GatewayError {
  return new GatewayError('JOURNAL_INVALID', `journal line ${number}: ${what}`, { cause })
}

function parseLine(text: string, number: number): Record<string, unknown> {
  if (text.length > JOURNAL_LINE_CHARS_MAX) throw invalid(number, `longer than ${JOURNAL_LINE_CHARS_MAX} characters`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (thrown) {
    throw invalid(number, 'not JSON', thrown)
  }
  if (!isObject(value)) throw invalid(number, 'not a JSON object')
  return value
}

function parseHeader(line: Record<string, unknown>, number: number): JournalHeader {
  const { journal, options, resume } = line
  if (journal !== JOURNAL_VERSION) throw invalid(number, `not the header of a version ${JOURNAL_VERSION} journal`)
  if (!isObject(options) || typeof options['callSid'] !== 'string') throw invalid(number, 'the header has no options')
  // Options and checkpoint were written by this class from typed values; the version guards their shape.
  return {
    journal,
    options: options as unknown as CallSessionOptions,
    resume: (resume ?? null) as CallCheckpoint | null,
  }
}

function parseEntry(line: Record<string, unknown>, number: number): JournalEntry {
  const { t: atMs, view: answers, in: input, runs, audio, identity } = line
  if (typeof atMs !== 'number' || !Number.isFinite(atMs)) throw invalid(number, 't is not a time')
  if (answers !== undefined && !isObject(answers)) throw invalid(number, 'view is not an object')
  const view = (answers ?? {}) as PlayoutAnswers
  if (isObject(input)) {
    if (typeof input['type'] !== 'string') throw invalid(number, 'the input has no type')
    return { type: 'input', atMs, view, input: input as unknown as CallInput }
  }
  if (isObject(identity)) return { type: 'identity', atMs, view, identity }
  if (Array.isArray(audio)) {
    const [itemId, generation] = audio as unknown[]
    if (typeof itemId !== 'string' || typeof generation !== 'number') {
      throw invalid(number, 'audio is not [item, generation]')
    }
    return { type: 'audio', atMs, view, itemId, generation }
  }
  if (Array.isArray(runs)) return { type: 'frames', view, frames: parseFrames(atMs, runs, line['at'], number) }
  throw invalid(number, 'neither an input, frames, audio nor an identity')
}

function parseFrames(firstAtMs: number, runs: readonly unknown[], times: unknown, number: number): JournalFrame[] {
  const frames: JournalFrame[] = []
  for (let i = 0; i < runs.length; i++) {
    const count = runs[i]
    if (typeof count !== 'number' || !Number.isInteger(count) || count < 0) {
      throw invalid(number, 'a run is not a count')
    }
    if (frames.length + count > JOURNAL_FRAMES_PER_LINE_MAX) {
      throw invalid(number, `more than ${JOURNAL_FRAMES_PER_LINE_MAX} frames`)
    }
    for (let j = 0; j < count; j++) frames.push({ atMs: firstAtMs + frames.length * FRAME_MS, voiced: i % 2 === 1 })
  }
  if (times === undefined) return frames
  if (!Array.isArray(times) || times.length !== frames.length) throw invalid(number, 'not one time for each frame')
  return frames.map(({ voiced }, i) => {
    const atMs: unknown = times[i]
    if (typeof atMs !== 'number') throw invalid(number, 'a frame has no time')
    return { atMs, voiced }
  })
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
