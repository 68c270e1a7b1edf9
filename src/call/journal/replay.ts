import { GatewayError, messageOf } from '../../core/errors.js'
import { DEFAULT_CALL_OPTIONS } from '../call-options.js'
import type { CallSessionOptions } from '../call-options.js'
import { CallSession } from '../call-session.js'
import type { CallerFrame } from '../turns/frame-figures.js'
import type { CallOutput, PlayoutView } from '../events.js'
import { isJournalled } from './journal.js'
import type { JournalMedia, MediaEvent, PlayoutAnswers } from '../documents/journal.js'
import type { JournalEntry, JournalFrame, JournalHeader } from './journal.js'
import { readJournal } from './journal-reader.js'

/** One output of a call, with the time of the entry that caused it. */
export interface TimedOutput {
  readonly atMs: number
  /** Index of that entry in the journal, the header being 0. */
  readonly entry: number
  readonly output: CallOutput
}

/** A frame for which the caller's audio path now gives another voice decision. */
export interface FrameDifference {
  readonly atMs: number
  /** Null: this run has no such frame. */
  readonly was: boolean | null
  readonly is: boolean | null
}

/** The caller's audio path as a replay needs it. */
export interface ReplayPath extends CallerFrame {
  push: (bytes: Uint8Array, arrivalMs: number) => void
  playedReference: (samples: Int16Array, playedAtMs: number) => void
  pull: (nowMs: number) => boolean
  readonly digit: string | null
  release: () => void
}

/**
 * A worker wakes a session with its next tick, which may be late. A longer wait means that the recording has no
 * wake-up.
 */
const OVERDUE_MS = 30

/** Differences that are kept; further ones are dropped. */
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
  /** DTMF digits that the path detected and whose entry has not come yet. */
  #digits: string[] = []
  readonly #differences: FrameDifference[] = []
  #frames = 0
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
    // A setting that the recording version did not have gets its default.
    this.#session = new CallSession(
      { ...DEFAULT_CALL_OPTIONS, ...header.options, ...options },
      this.#playout,
      header.resume ?? undefined,
    )
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
          // If the journal has no entry for a frame by the next tick, the recorded call did not have that frame.
          this.#settlePath()
          while (path.pull(atMs)) this.#pulled.push({ ...figuresOf(path), atMs, digit: path.digit })
          break
      }
    }
  }

  /** The audio path's decision on a recorded frame; the recorded one when the path does not run. */
  #judged(recorded: JournalFrame): JournalFrame {
    if (this.#path === null) return recorded
    const frame = this.#pulled.shift()
    // The journal has silence where the caller entered what only a tool may get, and where keys sound that nobody is to read.
    if (this.#session?.privateKeys === true || this.#session?.secretTones === true) return recorded
    if (frame?.voiced !== recorded.voiced) this.#differ(recorded.atMs, recorded.voiced, frame?.voiced ?? null)
    if (frame === undefined) return recorded
    if (frame.digit !== null) this.#digits.push(frame.digit)
    return { ...frame, atMs: recorded.atMs, early: recorded.early }
  }

  /** Plays frames and DTMF digits of the path that the recorded call did not have. */
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
  /** Outputs that the journal has. */
  readonly recorded: readonly TimedOutput[]
  /** Entries of the journal. */
  readonly entries: number
  /** Caller frames, and those with another voice decision; the audio path runs only with `openPath`. */
  readonly frames: number
  readonly frameDifferences: readonly FrameDifference[]
  /** From the first entry to the last. */
  readonly spanMs: number
}

interface ReplayOptions {
  /** Settings that replace those of the call. */
  readonly options?: Partial<CallSessionOptions>
  /**
   * Also wake the session when it asks for it and the journal has no wake-up: another setting or version may need other
   * times. Such a wake-up comes with an entry, up to 50 ms late.
   */
  readonly ownTimers?: boolean
  /** When set, recorded caller audio goes through the audio path again. */
  readonly openPath?: (media: JournalMedia) => ReplayPath
  /** Decodes base64; required with `openPath`. */
  readonly decode?: (base64: string) => Uint8Array
}

function figuresOf({ voiced, doubtful, levelDbfs, pitchHz, early }: CallerFrame): CallerFrame {
  return { voiced, doubtful, levelDbfs, pitchHz, early }
}

/** Gives the answers of the recorded call's playout. */
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
 * Runs a recorded call again through the same code, without real time. The same journal gives the same outputs; other
 * `options` show what would have been different. Backend, tools and carrier do what was recorded, even if the replayed
 * session asks for something else.
 * @throws GatewayError JOURNAL_INVALID that names the line or entry that cannot be read or run
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

/** A frame from the audio path for which the journal's entry has not come yet. */
interface PathFrame extends JournalFrame {
  readonly digit: string | null
}
