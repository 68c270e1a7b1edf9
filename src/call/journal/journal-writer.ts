import { JOURNAL_ANSWERS_MAX, JOURNAL_FRAMES_PER_LINE_MAX, JOURNAL_MEDIA_CHARS_PER_LINE } from '../../core/limits.js'
import { FRAME_MS } from '../../core/units.js'
import type { CallSessionOptions } from '../call-options.js'
import type { SessionResume } from '../checkpoint.js'
import type { CallInput, CallOutput, PlayoutView } from '../events.js'
import { JOURNAL_VERSION, isJournalled } from './journal.js'
import type { JournalHeaderLine, JournalMedia, MediaEvent, PlayoutAnswers } from './journal.js'

/** What a media event takes in its line besides its audio, rounded up. */
const MEDIA_EVENT_CHARS = 40

interface JournalWriterOptions {
  readonly options: CallSessionOptions
  readonly resume: SessionResume | null
  /** Version of the gateway. */
  readonly build: string
  /** Set: `media` is called with everything that comes to the caller's path. */
  readonly media: JournalMedia | null
}

/**
 * Writes a journal. Call it *before* each call to the session and after each output, and give the
 * session `watch(playout)` for its playout: the playout's answers are then noted with the entry that asked for them.
 */
export class JournalWriter {
  linesWritten = 0
  readonly #write: (line: string) => void
  #open: Record<string, unknown> | null = null
  #view: Record<string, boolean | number | string | null> | null = null
  #out: CallOutput[] = []
  readonly #known = new Map<string, boolean | number | string | null>()
  /** Frames of the open line: alternating run lengths, unvoiced first, and their times. */
  #runs: number[] = []
  #timesMs: number[] = []
  #regular = true
  #lastAudio = ''
  #media: MediaEvent[] = []
  #mediaChars = 0

  /** @param write  takes one line, without its newline. */
  constructor(write: (line: string) => void, header: JournalWriterOptions) {
    this.#write = write
    const { build, options, resume, media } = header
    this.#line({ journal: JOURNAL_VERSION, build, options, resume, media } satisfies JournalHeaderLine)
  }

  input(input: CallInput, nowMs: number): void {
    this.flush()
    // Audio that follows an interruption must be noted again, whatever its item.
    this.#lastAudio = ''
    this.#open = { t: nowMs, in: input }
  }

  frame(voiced: boolean, nowMs: number): void {
    // What the playout answered holds from the frame that asked: such a frame begins a line and ends one. What was
    // wanted was wanted by the last frame of a line.
    const full = this.#timesMs.length >= JOURNAL_FRAMES_PER_LINE_MAX
    if (this.#open !== null || this.#view !== null || this.#out.length > 0 || this.#media.length > 0 || full) this.flush()
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

  /** What the session wanted because of the last entry. */
  output(output: CallOutput): void {
    if (isJournalled(output)) this.#out.push(output)
  }

  /** What the caller's path is about to get; only where the header has `media`. */
  media(event: MediaEvent): void {
    if (this.#open !== null || this.#timesMs.length > 0 || this.#mediaChars >= JOURNAL_MEDIA_CHARS_PER_LINE) this.flush()
    this.#media.push(event)
    this.#mediaChars += (event[2]?.length ?? 0) + MEDIA_EVENT_CHARS
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
    if (this.#media.length > 0) {
      // The playout's answers stay for the entry that asked.
      this.#line({ media: this.#media })
      this.#media = []
      this.#mediaChars = 0
    }
    if (this.#open === null && this.#timesMs.length === 0) return // answers without an entry go with the next one
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

  /** The frame being handed over now got a new answer: the frames before it had the old one. */
  #splitFrames(): void {
    const count = this.#timesMs.length
    if (this.#open !== null || this.#view !== null || count < 2) return
    const atMs = this.#timesMs.pop() as number
    const voiced = this.#runs.length % 2 === 0
    const last = this.#runs.length - 1
    if (this.#runs[last] === 1) this.#runs.pop()
    else this.#runs[last] = (this.#runs[last] as number) - 1
    this.#writeFrames(null, [])
    this.#timesMs.push(atMs)
    this.#runs = voiced ? [0, 1] : [1]
  }

  #writeFrames(view: PlayoutAnswers | null, out: readonly CallOutput[]): void {
    const line: Record<string, unknown> = { t: this.#timesMs[0], runs: this.#runs }
    if (!this.#regular) line['at'] = this.#timesMs
    if (view !== null) line['view'] = view
    if (out.length > 0) line['out'] = out
    this.#line(line)
    this.#runs = []
    this.#timesMs = []
    this.#regular = true
  }

  #line(value: object): void {
    this.linesWritten++
    this.#write(JSON.stringify(value))
  }
}
