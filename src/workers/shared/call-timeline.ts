import { FRAME_MS } from '../../core/units.js'
import type { StopRecord, TimelineMark } from '../../call/documents/record.js'
import type { CallerPathStats } from '../../media/caller-path.js'
import { maskNumbersIn } from '../../sautikit/phone.js'

/** Maximum number of marks in a call's timeline. */
const TIMELINE_MARKS_MAX = 2000
/**
 * Maximum number of marks in one message to the main thread. `MARKS_PASSED_MS`: minimum time in ms between two
 * messages.
 */
const MARKS_PER_MESSAGE_MAX = 64
const MARKS_PASSED_MS = 250
/** Maximum number of decisions of each kind in a record; the newest stay. */
const STOPS_KEPT_PER_KIND = 50

/**
 * Reason of a stop, by the name of the mark. Such marks explain why the agent fell silent, or why a request was not
 * met.
 */
const STOP_KINDS: Readonly<Record<string, StopRecord['kind']>> = {
  'barge-in-duck': 'interruption',
  'barge-in-pause': 'interruption',
  'barge-in-resume': 'interruption',
  'barge-in': 'interruption',
  'audio-dropped': 'drop',
  'carrier-stall': 'drop',
  underrun: 'drop',
  'socket-stuck': 'drop',
  'silence-prompt': 'silence-prompt',
  'tool-refused': 'refusal',
  'tool-unstored': 'refusal',
  'escalation-refused': 'refusal',
  'agent-silent': 'failure',
  'answer-missing': 'failure',
  'response-failed': 'failure',
  'answer-cut': 'failure',
  'backend-failed': 'failure',
  'escalation-failed': 'failure',
  'worker-lost': 'failure',
  goodbye: 'hang-up',
  'hang-up': 'hang-up',
  forced: 'hang-up',
  ended: 'hang-up',
}

/** Share of the stored marks that is taken from the beginning of the call. The newest marks fill the rest. */
const FIRST_SHARE = 0.25

/**
 * Events of one call and their times: the main thread's marks (webhook, socket, worker) and the marks of the media
 * worker. The timeline is on the main thread, so it survives the worker's death. Phone numbers are masked. If there are
 * too many marks, the first quarter and the newest marks stay. `dropped` counts the removed marks between them.
 */
export class CallTimeline {
  dropped = 0
  readonly #zeroMs: number
  readonly #firstMax: number
  readonly #ringMax: number
  readonly #first: TimelineMark[] = []
  /** The newest marks; the oldest is at `#oldest`. */
  readonly #ring: TimelineMark[] = []
  #oldest = 0
  readonly #stops = new Map<StopRecord['kind'], StopRecord[]>()

  /** @param zeroMs  time of the webhook, on the common clock */
  constructor(zeroMs: number, marksMax = TIMELINE_MARKS_MAX) {
    this.#zeroMs = zeroMs
    this.#firstMax = Math.floor(marksMax * FIRST_SHARE)
    this.#ringMax = marksMax - this.#firstMax
  }

  /** Adds a mark of the main thread. @returns the mark */
  mark(name: string, nowMs: number, detail?: string): TimelineMark {
    const atMs = nowMs - this.#zeroMs
    const mark = detail === undefined ? { name, atMs } : { name, atMs, detail }
    this.#keep(mark)
    return mark
  }

  /** Adds marks of the worker. */
  take(marks: readonly TimelineMark[]): void {
    for (const mark of marks) this.#keep(mark)
  }

  /** Marks sorted by time. The worker's marks arrive late, so they are not in order before. */
  get marks(): TimelineMark[] {
    const marks = [...this.#first, ...this.#ring.slice(this.#oldest), ...this.#ring.slice(0, this.#oldest)]
    return marks.sort((a, b) => a.atMs - b.atMs)
  }

  /** Reasons why the agent stopped talking, sorted by time. Of each kind, the newest decisions are kept. */
  get stops(): StopRecord[] {
    return [...this.#stops.values()].flat().sort((a, b) => a.atMs - b.atMs)
  }

  #keep(mark: TimelineMark): void {
    const kept = mark.detail === undefined ? mark : { ...mark, detail: maskNumbersIn(mark.detail) }
    if (this.#first.length < this.#firstMax) this.#first.push(kept)
    else if (this.#ring.length < this.#ringMax) this.#ring.push(kept)
    else {
      this.#ring[this.#oldest] = kept
      this.#oldest = (this.#oldest + 1) % this.#ringMax
      this.dropped++
    }
    const kind = STOP_KINDS[kept.name]
    if (kind === undefined) return
    const ofKind = this.#stops.get(kind) ?? []
    ofKind.push({ kind, atMs: kept.atMs, mark: kept.name, why: kept.detail ?? kept.name })
    if (ofKind.length > STOPS_KEPT_PER_KIND) ofKind.shift()
    this.#stops.set(kind, ofKind)
  }
}

/**
 * Minimum time in ms between two marks of stalls without concealed frames. Such stalls are inaudible, so one mark
 * counts several of them.
 */
const SILENT_STALLS_EVERY_MS = 5000

/** Minimum time in ms between two marks of a continuing echo or noise. */
const SOUND_EVERY_MS = 5000

/** Counters of the caller's audio; their changes become marks. */
type LineStats = Pick<
  CallerPathStats,
  | 'stalls'
  | 'framesConcealed'
  | 'framesDropped'
  | 'framesOfEcho'
  | 'echoDelayMs'
  | 'echoGainDb'
  | 'framesOfNoise'
  | 'noiseDbfs'
>

/**
 * Collects the marks of one call in its worker. The marks are sent together to the main thread, which has the timeline,
 * at most four times a second.
 */
export class CallMarks {
  readonly #zeroMs: number
  readonly #post: (marks: readonly TimelineMark[]) => void
  #marks: TimelineMark[] = []
  #passedAtMs = 0
  /** Value and time of the last mark, for each counter. */
  readonly #marked = new Map<string, { readonly count: number; readonly atMs: number }>()
  #concealed = 0

  /**
   * @param zeroMs  time of the webhook, on the clock of `add`
   * @param post  receives some marks at a time. It may keep the array
   */
  constructor(zeroMs: number, post: (marks: readonly TimelineMark[]) => void) {
    this.#zeroMs = zeroMs
    this.#post = post
  }

  add(name: string, nowMs: number, detail?: string): void {
    const atMs = nowMs - this.#zeroMs
    this.#marks.push(detail === undefined ? { name, atMs } : { name, atMs, detail })
    if (this.#marks.length >= MARKS_PER_MESSAGE_MAX) this.#pass(nowMs)
  }

  /** True if `watch` and `pass` should be called. It is checked once a tick. */
  due(nowMs: number): boolean {
    return nowMs - this.#passedAtMs >= MARKS_PASSED_MS
  }

  /** Marks changes of the audio counters since the last call. The counters never decrease. */
  watch(line: LineStats, speechDroppedSamples: number, nowMs: number): void {
    const made = line.framesConcealed - this.#concealed
    this.#concealed = line.framesConcealed
    const stalls = this.#grown('stalls', line.stalls, nowMs, made > 0 ? 0 : SILENT_STALLS_EVERY_MS)
    if (stalls > 0) this.add('carrier-stall', nowMs, `${stalls} stalls of the carrier's audio, ${made} frames made up`)
    const dropped = this.#grown('dropped', line.framesDropped, nowMs)
    if (dropped > 0)
      this.add(
        'audio-dropped',
        nowMs,
        `${dropped} frames of the caller were dropped, because the jitter buffer was full`,
      )
    const echoMs = this.#grown('echo', line.framesOfEcho, nowMs, SOUND_EVERY_MS) * FRAME_MS
    if (echoMs > 0) {
      const learnt =
        line.echoDelayMs === null || line.echoGainDb === null
          ? 'its delay is not known yet'
          : `${Math.round(line.echoDelayMs)} ms late, ${Math.round(line.echoGainDb)} dB`
      this.add('echo', nowMs, `${echoMs} ms of sound was classified as the echo of our own speech: ${learnt}`)
    }
    const noiseMs = this.#grown('noise', line.framesOfNoise, nowMs, SOUND_EVERY_MS) * FRAME_MS
    if (noiseMs > 0)
      this.add('noise', nowMs, `${noiseMs} ms of sound without a voice in it, ${Math.round(line.noiseDbfs)} dBFS`)
    const speech = this.#grown('speech', speechDroppedSamples, nowMs)
    if (speech > 0)
      this.add('audio-dropped', nowMs, `${speech} samples of the agent were dropped, because the backlog was full`)
  }

  /** Growth of a counter since its last mark; 0 if it is too early for another mark. */
  #grown(what: string, count: number, nowMs: number, everyMs = 0): number {
    const marked = this.#marked.get(what) ?? { count: 0, atMs: -Infinity }
    if (count <= marked.count || nowMs - marked.atMs < everyMs) return 0
    this.#marked.set(what, { count, atMs: nowMs })
    return count - marked.count
  }

  /** Sends the collected marks. */
  pass(nowMs: number): void {
    this.#passedAtMs = nowMs
    if (this.#marks.length > 0) this.#pass(nowMs)
  }

  #pass(nowMs: number): void {
    this.#passedAtMs = nowMs
    this.#post(this.#marks)
    this.#marks = []
  }
}
