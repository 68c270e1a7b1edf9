import { GatewayError, messageOf } from '../../core/errors.js'
import { DEFAULT_CALL_OPTIONS } from '../call-options.js'
import type { CallSessionOptions } from '../call-options.js'
import { CallSession } from '../call-session.js'
import type { TurnDecider } from '../turns/end-of-turn.js'
import type { CallerFrame } from '../turns/frame-figures.js'
import type { CallOutput, PlayoutView } from '../events.js'
import { isJournalled } from './journal.js'
import type { JournalMedia, MediaEvent, PlayoutAnswers } from '../documents/journal.js'
import type { JournalEntry, JournalFrame, JournalHeader } from './journal.js'
import { readJournal } from './journal-reader.js'

/** One output of a call, with the time of the journal entry that caused it. */
export interface TimedOutput {
  readonly atMs: number
  /** Index of that entry in the journal; the header has index 0. */
  readonly entry: number
  readonly output: CallOutput
}

/** A frame for which the audio path's voice decision differs from the recorded decision. */
export interface FrameDifference {
  readonly atMs: number
  /** Recorded decision; null if the recorded call did not have the frame. */
  readonly was: boolean | null
  /** Decision of this run; null if this run does not have the frame. */
  readonly is: boolean | null
}

/** Parts of the caller's audio path that a replay needs. */
export interface ReplayPath extends CallerFrame {
  push: (bytes: Uint8Array, arrivalMs: number) => void
  playedReference: (samples: Int16Array, playedAtMs: number) => void
  pull: (nowMs: number) => boolean
  readonly digit: string | null
  release: () => void
}

/**
 * Maximum delay of a wake-up, in milliseconds, because a worker wakes a session at its next tick. If the journal does
 * not contain a wake-up within this delay, the recorded call did not wake up.
 */
const OVERDUE_MS = 30

/** Maximum number of differences that are kept; further differences are dropped. */
const FRAME_DIFFERENCES_MAX = 10_000

class Replayer {
  readonly #options: ReplayOptions
  readonly #playout = new RecordedPlayout()
  #entry = -1
  readonly #outputs: TimedOutput[] = []
  readonly #recorded: TimedOutput[] = []
  #header: JournalHeader | null = null
  #session: CallSession | null = null
  #path: ReplayPath | null = null
  #pulled: PathFrame[] = []
  /** DTMF digits that the audio path has detected, but whose journal entries were not read yet. */
  #digits: string[] = []
  readonly #differences: FrameDifference[] = []
  #frames = 0
  #frameAtMs = NaN
  #firstAtMs = Infinity
  #lastAtMs = -Infinity

  constructor(options: ReplayOptions) {
    this.#options = options
  }

  open(header: JournalHeader): void {
    this.#entry++
    this.#header = header
    this.#settlePath()
    this.#path?.release()
    const { openPath, options } = this.#options
    this.#path = header.media !== null && openPath !== undefined ? openPath(header.media) : null
    this.#playout.forget()
    // Settings that did not exist in the recording version get their defaults.
    const all = { ...DEFAULT_CALL_OPTIONS, ...header.options, ...options }
    const watched = { nowMs: () => this.#frameAtMs, agentTalks: () => this.#playout.audible() }
    const decider = this.#options.turns?.(all, watched)
    this.#session = new CallSession(all, this.#playout, header.resume ?? undefined, decider)
  }

  run(entry: JournalEntry): void {
    this.#entry++
    const session = this.#session
    if (session === null) return
    if (entry.type === 'media') return this.#runMedia(entry.events)
    this.#playout.learn(entry.view)
    const atMs = entry.type === 'frames' ? (entry.frames.at(-1)?.atMs ?? this.#lastAtMs) : entry.atMs
    for (const output of entry.out) this.#recorded.push({ atMs, entry: this.#entry, output })
    switch (entry.type) {
      case 'frames':
        for (const frame of entry.frames) this.#frame(this.#judged(frame))
        break
      case 'input':
        if (entry.input.type === 'dtmf' && this.#digits[0] === entry.input.digit) this.#digits.shift()
        session.handle(entry.input, atMs)
        break
      case 'audio':
        session.acceptAudio(entry.itemId, entry.generation, atMs)
        break
      case 'identity':
        session.setIdentity(entry.identity, entry.withheld)
        break
    }
    this.#drain(atMs)
    this.#wake(atMs)
  }

  result(entries: number): Replay {
    const [header, session] = [this.#header, this.#session]
    if (header === null || session === null) throw new GatewayError('JOURNAL_INVALID', 'the journal has no header')
    this.#settlePath()
    this.#path?.release()
    return {
      header,
      session,
      entries,
      outputs: this.#outputs,
      recorded: this.#recorded,
      frames: this.#frames,
      frameDifferences: this.#differences,
      spanMs: Math.max(0, this.#lastAtMs - this.#firstAtMs),
    }
  }

  #runMedia(events: readonly MediaEvent[]): void {
    const path = this.#path
    const { decode } = this.#options
    if (path === null || decode === undefined) return
    for (const [kind, atMs, base64] of events) {
      switch (kind) {
        case 'packet':
          path.push(decode(base64), atMs)
          break
        case 'played': {
          const bytes = decode(base64)
          path.playedReference(new Int16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 1), atMs)
          break
        }
        case 'tick':
          // If the next tick comes before the journal's entry for a frame, the recorded call did not have this frame.
          this.#settlePath()
          while (path.pull(atMs)) this.#pulled.push({ ...figuresOf(path), atMs, digit: path.digit })
          break
      }
    }
  }

  /** Returns the audio path's decision about a recorded frame, or the recorded decision if the path does not run. */
  #judged(recorded: JournalFrame): JournalFrame {
    if (this.#path === null) return recorded
    const frame = this.#pulled.shift()
    // The journal contains silence in place of secret entries and secret tones, so the recorded decision is used.
    if (this.#session?.privateKeys === true || this.#session?.secretTones === true) return recorded
    if (frame?.voiced !== recorded.voiced) this.#differ(recorded.atMs, recorded.voiced, frame?.voiced ?? null)
    if (frame === undefined) return recorded
    if (frame.digit !== null) this.#digits.push(frame.digit)
    return { ...frame, atMs: recorded.atMs, early: recorded.early }
  }

  /** Passes frames and DTMF digits to the session if the audio path detects them now but the recorded call did not. */
  #settlePath(): void {
    const [digits, frames] = [this.#digits, this.#pulled]
    if (digits.length === 0 && frames.length === 0) return
    this.#digits = []
    this.#pulled = []
    for (const frame of frames) {
      this.#differ(frame.atMs, null, frame.voiced)
      this.#frame(frame)
      if (frame.digit !== null) digits.push(frame.digit)
    }
    for (const digit of digits) {
      this.#session?.handle({ type: 'dtmf', digit }, this.#lastAtMs)
      this.#drain(this.#lastAtMs)
    }
  }

  #differ(atMs: number, was: boolean | null, is: boolean | null): void {
    if (this.#differences.length < FRAME_DIFFERENCES_MAX) this.#differences.push({ atMs, was, is })
  }

  #frame(frame: JournalFrame): void {
    const { atMs } = frame
    this.#frames++
    this.#frameAtMs = atMs
    this.#session?.callerFrame(frame, atMs)
    this.#drain(atMs)
    this.#wake(atMs)
  }

  #wake(atMs: number): void {
    if (this.#options.ownTimers !== true) return
    const wake = this.#session?.nextWake() ?? null
    if (wake === null || wake.atMs + OVERDUE_MS > atMs) return
    this.#session?.handle({ type: 'timer' }, atMs)
    this.#drain(atMs)
  }

  #drain(atMs: number): void {
    const session = this.#session
    if (session === null) return
    this.#firstAtMs = Math.min(this.#firstAtMs, atMs)
    this.#lastAtMs = Math.max(this.#lastAtMs, atMs)
    for (let output = session.pollOutput(); output !== null; output = session.pollOutput()) {
      if (isJournalled(output)) this.#outputs.push({ atMs, entry: this.#entry, output })
    }
  }
}

export interface Replay {
  readonly header: JournalHeader
  readonly session: CallSession
  readonly outputs: readonly TimedOutput[]
  /** Outputs in the journal. */
  readonly recorded: readonly TimedOutput[]
  /** Number of entries in the journal. */
  readonly entries: number
  /** Number of caller frames. */
  readonly frames: number
  /** Frames with a changed voice decision; the audio path runs only with `openPath`. */
  readonly frameDifferences: readonly FrameDifference[]
  /** Time from the first entry to the last, in milliseconds. */
  readonly spanMs: number
}

/** Facts that a decider does not receive with its frames. */
interface WatchedReplay {
  readonly nowMs: () => number
  readonly agentTalks: () => boolean
}

interface ReplayOptions {
  /** Settings that replace the call's settings. */
  readonly options?: Partial<CallSessionOptions>
  /**
   * If true, the session also wakes at requested times that are not in the journal, because other settings may need
   * them. Such a wake-up is up to 50 ms late.
   */
  readonly ownTimers?: boolean
  /** If set, the recorded caller audio passes through the audio path again. */
  readonly openPath?: (media: JournalMedia) => ReplayPath
  /**
   * Creates a session's decider, in place of the configured decider.
   * @param watched  returns the time of the decider's frame, and true if the agent is heard at that time
   */
  readonly turns?: (options: CallSessionOptions, watched: WatchedReplay) => TurnDecider
  /** Decodes base64; required with `openPath`. */
  readonly decode?: (base64: string) => Uint8Array
}

function figuresOf({ voiced, doubtful, levelDbfs, pitchHz, early }: CallerFrame): CallerFrame {
  return { voiced, doubtful, levelDbfs, pitchHz, early }
}

/** Playout that returns the recorded answers. */
class RecordedPlayout implements PlayoutView {
  readonly #answers = new Map<string, boolean | number | string | null>()

  learn(view: PlayoutAnswers): void {
    for (const [question, answer] of Object.entries(view)) this.#answers.set(question, answer)
  }

  forget(): void {
    this.#answers.clear()
  }

  audible(): boolean {
    return this.#answers.get('audible') === true
  }

  playedMs(itemId: string): number {
    return this.#number(`playedMs ${itemId}`) ?? 0
  }

  currentItem(): string | null {
    const item = this.#answers.get('currentItem')
    return typeof item === 'string' ? item : null
  }

  pendingMs(): number {
    return this.#number('pendingMs') ?? 0
  }

  lastSentAtMs(): number | null {
    return this.#number('lastSentAtMs')
  }

  #number(question: string): number | null {
    const answer = this.#answers.get(question)
    return typeof answer === 'number' ? answer : null
  }
}

/**
 * Runs a recorded call through the code again, faster than real time. The same journal always gives the same outputs;
 * changed `options` show their effect. Backend, tools and carrier repeat the recording, even if the replayed session
 * requests something else.
 * @throws GatewayError JOURNAL_INVALID with the line or entry that cannot be read or replayed
 */
export function replayJournal(lines: Iterable<string>, options: ReplayOptions = {}): Replay {
  const replayer = new Replayer(options)
  let entries = 0
  for (const line of readJournal(lines)) {
    entries++
    try {
      if (line.type === 'header') replayer.open(line)
      else replayer.run(line)
    } catch (thrown) {
      const what = `journal entry ${entries} cannot be run: ${messageOf(thrown)}`
      throw new GatewayError('JOURNAL_INVALID', what, { cause: thrown })
    }
  }
  return replayer.result(entries)
}

/** A frame from the audio path whose journal entry was not read yet. */
interface PathFrame extends JournalFrame {
  readonly digit: string | null
}
