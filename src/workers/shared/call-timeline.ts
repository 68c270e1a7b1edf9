import { FRAME_MS } from '../../core/units.js'
import type { StopRecord, TimelineMark } from '../../call/documents/record.js'
import type { CallerPathStats } from '../../media/caller-path.js'
import { maskNumbersIn } from '../../sautikit/phone.js'

/** Marks of a call's timeline that are kept. */
const TIMELINE_MARKS_MAX = 2000
/** Marks of a call that wait for one message to the main thread, and how often that is sent at most. */
const MARKS_PER_MESSAGE_MAX = 64
const MARKS_PASSED_MS = 250
/** Decisions that a record keeps of each kind, the newest. */
const STOPS_KEPT_PER_KIND = 50

/** The kind of stop for each mark that says why the agent fell silent or a request was not met. */
const STOP_KINDS: Readonly<Record<string, StopRecord['kind']>> = {
  'barge-in-pause': 'interruption',
  'barge-in-resume': 'interruption',
  'barge-in': 'interruption',
  'audio-dropped': 'drop',
  'carrier-stall': 'drop',
  underrun: 'drop',
  'socket-stuck': 'drop',
  'silence-prompt': 'silence-prompt',
  'tool-refused': 'refusal',
  'escalation-refused': 'refusal',
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

/** Share of the kept marks that comes from the call's beginning; the rest are the newest. */
const FIRST_SHARE = 0.25

/**
 * Events of one call and their times, kept on the main thread so that it survives a dead worker: the main thread's
 * marks (webhook, socket, worker) and those of the media worker. Phone numbers are masked. Bounded: the first quarter
 * of the marks always stays, then the newest stay, and `dropped` counts those between.
 */
export class CallTimeline {
  dropped = 0
  readonly #zeroMs: number
  readonly #firstMax: number
  readonly #ringMax: number
  readonly #first: TimelineMark[] = []
  /** The newest marks; the oldest of them is at `#oldest`. */
  readonly #ring: TimelineMark[] = []
  #oldest = 0
  readonly #stops = new Map<StopRecord['kind'], StopRecord[]>()

  /** @param zeroMs  time of the webhook, on the common clock */
  constructor(zeroMs: number, marksMax = TIMELINE_MARKS_MAX) {
    this.#zeroMs = zeroMs
    this.#firstMax = Math.floor(marksMax * FIRST_SHARE)
    this.#ringMax = marksMax - this.#firstMax
  }

  /** A mark of the main thread. @returns it */
  mark(name: string, nowMs: number, detail?: string): TimelineMark {
    const atMs = nowMs - this.#zeroMs
    const mark = detail === undefined ? { name, atMs } : { name, atMs, detail }
    this.#keep(mark)
    return mark
  }

  /** Marks of the worker. */
  take(marks: readonly TimelineMark[]): void {
    for (const mark of marks) this.#keep(mark)
  }

  /** Sorted by time, because the worker's marks arrive a little later than they happened. */
  get marks(): TimelineMark[] {
    const marks = [...this.#first, ...this.#ring.slice(this.#oldest), ...this.#ring.slice(0, this.#oldest)]
    return marks.sort((a, b) => a.atMs - b.atMs)
  }

  /** Why the agent stopped talking: the newest decisions of each kind, sorted by time. */
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

/** Stalls without concealed frames, which nobody hears, are marked together, at most this often. */
const SILENT_STALLS_EVERY_MS = 5000

/** While our own speech comes back, or a noise goes on, that is marked at most this often. */
const SOUND_EVERY_MS = 5000

/** Counters of the caller's audio from which marks are made. */
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
 * The marks of one call on their way from the worker to the main thread, which keeps the timeline. They are sent
 * together, at most four times a second, so that a turn costs one message and a frame costs none.
 */
export class CallMarks {
  readonly #zeroMs: number
  readonly #post: (marks: readonly TimelineMark[]) => void
  #marks: TimelineMark[] = []
  #passedAtMs = 0
  /** By what it counts: the count that was marked last, and when. */
  readonly #marked = new Map<string, { readonly count: number; readonly atMs: number }>()
  #concealed = 0

  /**
   * @param zeroMs  time of the webhook, on the clock of `add`
   * @param post  gets some marks at a time, in an array that it may keep
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

  /** True when `watch` and `pass` should be called; checked once a tick. */
  due(nowMs: number): boolean {
    return nowMs - this.#passedAtMs >= MARKS_PASSED_MS
  }

  /** Marks what happened to audio since the last call. The counters never decrease. */
  watch(line: LineStats, speechDroppedSamples: number, nowMs: number): void {
    const made = line.framesConcealed - this.#concealed
    this.#concealed = line.framesConcealed
    const stalls = this.#grown('stalls', line.stalls, nowMs, made > 0 ? 0 : SILENT_STALLS_EVERY_MS)
    if (stalls > 0) this.add('carrier-stall', nowMs, `${stalls} stalls of the carrier's audio, ${made} frames made up`)
    const dropped = this.#grown('dropped', line.framesDropped, nowMs)
    if (dropped > 0)
      this.add('audio-dropped', nowMs, `${dropped} frames of the caller beyond the jitter buffer's bound`)
    const echoMs = this.#grown('echo', line.framesOfEcho, nowMs, SOUND_EVERY_MS) * FRAME_MS
    if (echoMs > 0) {
      const learnt =
        line.echoDelayMs === null || line.echoGainDb === null
          ? 'its delay is not known yet'
          : `${Math.round(line.echoDelayMs)} ms late, ${Math.round(line.echoGainDb)} dB`
      this.add('echo', nowMs, `${echoMs} ms of sound was taken for our own speech coming back: ${learnt}`)
    }
    const noiseMs = this.#grown('noise', line.framesOfNoise, nowMs, SOUND_EVERY_MS) * FRAME_MS
    if (noiseMs > 0)
      this.add('noise', nowMs, `${noiseMs} ms of sound without a voice in it, ${Math.round(line.noiseDbfs)} dBFS`)
    const speech = this.#grown('speech', speechDroppedSamples, nowMs)
    if (speech > 0) this.add('audio-dropped', nowMs, `${speech} samples of the agent beyond the backlog's bound`)
  }

  /** By how much a count has grown since it was marked last; 0 where it is not to be marked now. */
  #grown(what: string, count: number, nowMs: number, everyMs = 0): number {
    const marked = this.#marked.get(what) ?? { count: 0, atMs: -Infinity }
    if (count <= marked.count || nowMs - marked.atMs < everyMs) return 0
    this.#marked.set(what, { count, atMs: nowMs })
    return count - marked.count
  }

  /** Passes on the collected marks. */
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
