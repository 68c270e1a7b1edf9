import type { CallerAnswer, CallerValues, Withheld } from '../caller-data.js'
import type { CallerFrame } from '../turns/frame-figures.js'
import { JOURNAL_FRAMES_PER_LINE_MAX } from '../../core/limits.js'
import { FRAME_MS } from '../../core/units.js'
import type { CallSessionOptions } from '../call-options.js'
import { levelStep, pitchStep } from '../turns/frame-figures.js'
import type { SessionResume } from '../documents/checkpoint.js'
import type { CallInput, CallOutput, PlayoutView } from '../events.js'
import { JOURNAL_VERSION } from '../documents/journal.js'
import { VERIFY_TOOL } from '../tools/gateway-tools.js'
import { encodeStep, isJournalled } from './journal.js'
import type { JournalHeaderLine, JournalMedia, MediaEvent, PlayoutAnswers } from '../documents/journal.js'

/**
 * Number of characters of caller audio after which a new journal line begins. The last packet of a line may exceed this
 * number.
 */
const JOURNAL_MEDIA_CHARS_PER_LINE = 256 * 1024
/**
 * Maximum number of stored playout answers. New answers are compared with the stored answers, so that only changes are
 * written.
 */
const JOURNAL_ANSWERS_MAX = 512

/**
 * Maximum number of different proofs of identity that one journal distinguishes. A call is locked after a few wrong
 * proofs.
 */
const JOURNAL_PROOFS_MAX = 64

/** Number of characters that a media event needs in its line besides the audio, rounded up. */
const MEDIA_EVENT_CHARS = 40

interface JournalWriterOptions {
  readonly options: CallSessionOptions
  readonly resume: SessionResume | null
  /** Version of the gateway. */
  readonly build: string
  /**
   * Format of the caller's audio; null if `media` is not used. Otherwise `media` is called with every input of the
   * caller's audio path.
   */
  readonly media: JournalMedia | null
}

/**
 * Writes a journal. Call the matching method before each call of a session method, and for each output. The session
 * must use `watch(playout)` as its playout. Each answer of the playout is then written with the entry that requested
 * it.
 */
export class JournalWriter {
  readonly #write: (line: string) => void
  #open: Record<string, unknown> | null = null
  #view: Record<string, boolean | number | string | null> | null = null
  #out: CallOutput[] = []
  readonly #known = new Map<string, boolean | number | string | null>()
  /** Frames of the open line: alternating run lengths, beginning with unvoiced frames. */
  #runs: number[] = []
  /** Times of these frames. */
  #timesMs: number[] = []
  /** Figures of the open line: levels of all frames, then figures of the voiced frames. */
  #levels = ''
  #pitches = ''
  #doubts: boolean[] = []
  #regular = true
  #early = false
  #lastAudio = ''
  /**
   * Values that are withheld until the caller is identified; null if the caller is identified, or if the look-up did
   * not find values.
   */
  #withheld: Withheld | null = null
  #identified: boolean
  readonly #personal: readonly string[]
  /** Different proofs of identity that the caller gave, right or wrong, as JSON. They are never written. */
  readonly #answers: string[] = []
  #media: MediaEvent[] = []
  #mediaChars = 0

  /** @param write  receives each line, without its newline */
  constructor(write: (line: string) => void, header: JournalWriterOptions) {
    this.#write = write
    const { build, options, media } = header
    this.#identified = (header.resume?.checkpoint.identity ?? null) !== null
    this.#personal = options.caller?.personal ?? []
    const resume = header.resume === null ? null : this.#withoutKnown(header.resume)
    this.#line({ journal: JOURNAL_VERSION, build, options, resume, media } satisfies JournalHeaderLine)
  }

  input(input: CallInput, nowMs: number): void {
    this.flush()
    // Audio that follows another input must be written again, even if the audio's item has not changed.
    this.#lastAudio = ''
    this.#open = { t: nowMs, in: input.type === 'caller-known' ? this.#masked(input) : input }
  }

  frame(frame: CallerFrame, nowMs: number): void {
    // `view` applies from the first frame of a line, so a changed answer of the playout begins a new line. `out`
    // belongs to the last frame of a line, so an output ends the line.
    const full = this.#timesMs.length >= JOURNAL_FRAMES_PER_LINE_MAX
    const waits = this.#open !== null || this.#view !== null || this.#out.length > 0 || this.#media.length > 0
    if (waits || full || frame.early !== this.#early) this.flush()
    this.#early = frame.early
    const last = this.#timesMs.length
    if (last > 0 && nowMs !== (this.#timesMs[0] as number) + last * FRAME_MS) this.#regular = false
    this.#timesMs.push(nowMs)
    if (this.#runs.length === 0) this.#runs.push(0)
    const voicedRun = this.#runs.length % 2 === 0
    if (voicedRun === frame.voiced)
      this.#runs[this.#runs.length - 1] = (this.#runs[this.#runs.length - 1] as number) + 1
    else this.#runs.push(1)
    this.#levels += encodeStep(levelStep(frame.levelDbfs), 1)
    if (frame.voiced) {
      this.#pitches += encodeStep(pitchStep(frame.pitchHz), 2)
      this.#doubts.push(frame.doubtful)
    }
  }

  /** Writes `acceptAudio` for a new item only, because further audio of the same item does not change anything. */
  audio(itemId: string, generation: number, nowMs: number): void {
    const audio = `${generation} ${itemId}`
    if (audio === this.#lastAudio) return
    this.flush()
    this.#lastAudio = audio
    this.#open = { t: nowMs, audio: [itemId, generation] }
  }

  identity(identity: Readonly<Record<string, unknown>>, nowMs: number): void {
    this.flush()
    const withheld = this.#withheld
    this.#withheld = null
    this.#identified = true
    this.#open = withheld === null ? { t: nowMs, identity } : { t: nowMs, identity, withheld }
  }

  /** Writes an output that the last entry caused. */
  output(output: CallOutput): void {
    if (isJournalled(output)) this.#out.push(output)
  }

  /** Writes the next input of the caller's audio path. Use this method only if the header has `media`. */
  media(event: MediaEvent): void {
    if (this.#open !== null || this.#timesMs.length > 0 || this.#mediaChars >= JOURNAL_MEDIA_CHARS_PER_LINE)
      this.flush()
    this.#media.push(event)
    this.#mediaChars += (event[2]?.length ?? 0) + MEDIA_EVENT_CHARS
  }

  /** Returns a playout that passes questions to `playout` and writes each answer to the journal. */
  watch(playout: PlayoutView): PlayoutView {
    const note = <T extends boolean | number | string | null>(question: string, answer: T): T => {
      if (this.#known.get(question) === answer) return answer
      // after this clearing, some answers are written a second time
      if (this.#known.size >= JOURNAL_ANSWERS_MAX) this.#known.clear()
      this.#known.set(question, answer)
      this.#splitFrames()
      this.#view ??= {}
      this.#view[question] = answer
      return answer
    }
    return {
      audible: (nowMs) => note('audible', playout.audible(nowMs)),
      playedMs: (itemId, nowMs) => note(`playedMs ${itemId}`, playout.playedMs(itemId, nowMs)),
      currentItem: (nowMs) => note('currentItem', playout.currentItem(nowMs)),
      pendingMs: () => note('pendingMs', playout.pendingMs()),
      lastSentAtMs: () => note('lastSentAtMs', playout.lastSentAtMs()),
    }
  }

  /** Writes the open line. Call this at the end, and whenever all lines should be on disk. */
  flush(): void {
    if (this.#media.length > 0) {
      // The playout's answers are not in this line, because they belong to the entry that asked for them.
      this.#line({ media: this.#media })
      this.#media = []
      this.#mediaChars = 0
    }
    if (this.#open === null && this.#timesMs.length === 0) return // answers wait for the next entry
    const view = this.#view
    const out = this.#out
    this.#view = null
    if (out.length > 0) this.#out = []
    if (this.#open !== null) {
      this.#line({ ...this.#open, ...(view === null ? {} : { view }), ...(out.length === 0 ? {} : { out }) })
      this.#open = null
    } else {
      this.#writeFrames(view, out)
    }
  }

  /**
   * Splits the line, because the playout's answer changed at the current frame. The new answer does not apply to
   * earlier frames.
   */
  #splitFrames(): void {
    const count = this.#timesMs.length
    if (this.#open !== null || this.#view !== null || count < 2) return
    const atMs = this.#timesMs.pop() as number
    const voiced = this.#runs.length % 2 === 0
    const last = this.#runs.length - 1
    if (this.#runs[last] === 1) this.#runs.pop()
    else this.#runs[last] = (this.#runs[last] as number) - 1
    const [level, pitch, doubt] = [this.#levels.slice(-1), this.#pitches.slice(-2), this.#doubts.at(-1) === true]
    this.#levels = this.#levels.slice(0, -1)
    if (voiced) {
      this.#pitches = this.#pitches.slice(0, -2)
      this.#doubts.pop()
    }
    this.#writeFrames(null, [])
    this.#timesMs.push(atMs)
    this.#runs = voiced ? [0, 1] : [1]
    this.#levels = level
    if (!voiced) return
    this.#pitches = pitch
    this.#doubts = [doubt]
  }

  #writeFrames(view: PlayoutAnswers | null, out: readonly CallOutput[]): void {
    const line: Record<string, unknown> = { t: this.#timesMs[0], runs: this.#runs }
    if (!this.#regular) line['at'] = this.#timesMs
    if (this.#early) line['early'] = true
    line['levels'] = this.#levels.replace(/(.)\1+$/, '$1')
    if (this.#doubts.includes(true)) line['doubt'] = runsOf(this.#doubts)
    if (/[^A]/.test(this.#pitches)) line['pitch'] = this.#pitches
    if (view !== null) line['view'] = view
    if (out.length > 0) line['out'] = out
    this.#line(line)
    this.#runs = []
    this.#timesMs = []
    this.#levels = ''
    this.#pitches = ''
    this.#doubts = []
    this.#regular = true
  }

  #withoutKnown(resume: SessionResume): SessionResume {
    const { caller, ...checkpoint } = resume.checkpoint
    if (caller === undefined) return resume
    return { ...resume, checkpoint: { ...checkpoint, caller: this.#masked(caller) } }
  }

  /**
   * Returns a look-up in which the names of withheld data remain, without the values. The values are written when the
   * caller may have them.
   */
  #masked<Known extends Pick<CallerAnswer, 'values' | 'earlier'>>(known: Known): Known {
    if (this.#identified) return known
    const { values, earlier = {} } = known
    const isPersonal = (name: string): boolean => this.#personal.includes(name)
    const personal = Object.fromEntries(Object.entries(values).filter(([name]) => isPersonal(name)))
    if (Object.keys(personal).length + Object.keys(earlier).length === 0) return known
    this.#withheld = { values: { ...this.#withheld?.values, ...personal }, earlier }
    return {
      ...known,
      values: { ...values, ...maskedValues(personal) },
      ...(known.earlier === undefined ? {} : { earlier: maskedValues(earlier) }),
    }
  }

  /**
   * Masks the answers by which callers prove their identity, in every part of a line: events, outputs, log entries and
   * checkpoints have tool calls. Equal answers stay equal, because a session counts equal tool calls.
   */
  readonly #withoutProof = (_key: string, part: unknown): unknown => {
    if (!isToolCall(part) || !('answer' in part.args)) return part
    if ((part.name ?? part.record?.name) !== VERIFY_TOOL) return part
    const answer = JSON.stringify(part.args['answer']) ?? ''
    if (MASKED_ANSWER.test(answer)) return part
    const known = this.#answers.indexOf(answer)
    const at = known >= 0 ? known : Math.min(this.#answers.push(answer), JOURNAL_PROOFS_MAX) - 1
    this.#answers.length = Math.min(this.#answers.length, JOURNAL_PROOFS_MAX)
    return { ...part, args: { ...part.args, answer: `…${at + 1}` } }
  }

  /** The only way into a journal. */
  #line(value: object): void {
    this.#write(JSON.stringify(value, this.#withoutProof))
  }
}

/** A masked answer, here or in a record. It must not be masked again. */
const MASKED_ANSWER = /^"…\d*"$/

/** A tool call in an event, an output or a checkpoint, or its entry in the call log, whose `record` has the name. */
interface ToolCallPart {
  readonly name?: unknown
  readonly record?: { readonly name?: unknown }
  readonly args: Readonly<Record<string, unknown>>
}

function isToolCall(part: unknown): part is ToolCallPart {
  if (typeof part !== 'object' || part === null || !('args' in part)) return false
  return typeof part.args === 'object' && part.args !== null
}

/** Returns the lengths of alternating runs. The first run is `false`. */
function runsOf(flags: readonly boolean[]): number[] {
  const runs = [0]
  for (const flag of flags) {
    if (flag === (runs.length % 2 === 0)) runs[runs.length - 1] = (runs.at(-1) ?? 0) + 1
    else runs.push(1)
  }
  return runs
}

function maskedValues(values: CallerValues): CallerValues {
  return Object.fromEntries(Object.keys(values).map((name) => [name, '…']))
}
