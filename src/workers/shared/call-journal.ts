import type { CallSessionOptions } from '../../call/call-options.js'
import type { SessionResume } from '../../call/documents/checkpoint.js'
import type { JournalMedia } from '../../call/documents/journal.js'
import { JournalWriter } from '../../call/journal/journal-writer.js'

/** How calls are journalled. Plain data. */
export interface JournalKept {
  /** Version of the gateway. */
  readonly build: string
  /** True if the caller's audio is kept too, so that the caller's path can be run again. */
  readonly audio: boolean
}

interface CallJournalOptions extends JournalKept {
  readonly options: CallSessionOptions
  readonly resume: SessionResume | null
  readonly media: JournalMedia
  /** Gets some lines at a time, in an array that it may keep. */
  readonly post: (lines: readonly string[]) => void
}

/** Lines that are collected before they go to the main thread in one message, and their characters. */
const LINES_PER_MESSAGE = 100
const CHARS_PER_MESSAGE = 64 * 1024

/** The journal of one call on its way to the main thread, which writes the files. */
export class CallJournal {
  readonly writer: JournalWriter
  readonly #audio: boolean
  readonly #post: (lines: readonly string[]) => void
  #lines: string[] = []
  #chars = 0

  constructor({ build, audio, options, resume, media, post }: CallJournalOptions) {
    this.#audio = audio
    this.#post = post
    this.writer = new JournalWriter(
      (line) => {
        this.#lines.push(line)
        this.#chars += line.length
      },
      { options, resume, build, media: audio ? media : null },
    )
  }

  /** Bytes of the carrier, on their way into the caller's path; of a private line only their number. */
  packet(bytes: Uint8Array, arrivalMs: number, isPrivate: boolean): void {
    if (this.#audio)
      this.writer.media(['packet', arrivalMs, base64(isPrivate ? new Uint8Array(bytes.byteLength) : bytes)])
  }

  /** A frame of our own voice, which the caller's path gets as the reference for the echo; silence where nobody is to hear it. */
  played(frame: Int16Array, playedAtMs: number, isPrivate: boolean): void {
    if (this.#audio)
      this.writer.media([
        'played',
        playedAtMs,
        base64(
          isPrivate
            ? new Uint8Array(frame.byteLength)
            : new Uint8Array(frame.buffer, frame.byteOffset, frame.byteLength),
        ),
      ])
  }

  /** Called before the frames that are due are taken. */
  tick(nowMs: number): void {
    if (this.#audio) this.writer.media(['tick', nowMs])
  }

  /** Called once a tick: passes on the collected lines when there are enough. */
  pass(): void {
    if (this.#lines.length < LINES_PER_MESSAGE && this.#chars < CHARS_PER_MESSAGE) return
    this.#flush()
  }

  /** At the end: passes on everything. */
  end(): void {
    this.writer.flush()
    if (this.#lines.length > 0) this.#flush()
  }

  #flush(): void {
    this.#post(this.#lines)
    this.#lines = []
    this.#chars = 0
  }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
}
