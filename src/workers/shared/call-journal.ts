import type { CallSessionOptions } from '../../call/call-options.js'
import type { SessionResume } from '../../call/documents/checkpoint.js'
import type { JournalMedia } from '../../call/documents/journal.js'
import { JournalWriter } from '../../call/journal/journal-writer.js'

/** Settings of a call's journal. Plain data. */
export interface JournalKept {
  /** Version of the gateway. */
  readonly build: string
  /** True if the caller's audio is stored too. Then the caller's path can be run again with this audio. */
  readonly audio: boolean
}

interface CallJournalOptions extends JournalKept {
  readonly options: CallSessionOptions
  readonly resume: SessionResume | null
  readonly media: JournalMedia
  /** Receives some lines at a time. It may keep the array. */
  readonly post: (lines: readonly string[]) => void
}

/**
 * Maximum number of lines in one message to the main thread. `CHARS_PER_MESSAGE`: maximum number of characters of these
 * lines together.
 */
const LINES_PER_MESSAGE = 100
const CHARS_PER_MESSAGE = 64 * 1024

/** Journal of one call in its worker. It sends the lines to the main thread, which writes the files. */
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

  /**
   * Notes the carrier's bytes before the caller's path processes them. On a private line only their number is noted.
   */
  packet(bytes: Uint8Array, arrivalMs: number, isPrivate: boolean): void {
    if (this.#audio)
      this.writer.media(['packet', arrivalMs, base64(isPrivate ? new Uint8Array(bytes.byteLength) : bytes)])
  }

  /**
   * Notes a frame of our own voice, because the caller's path compares it with the echo. On a private line the frame is
   * noted as silence.
   */
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

  /** Called before the due frames are taken. */
  tick(nowMs: number): void {
    if (this.#audio) this.writer.media(['tick', nowMs])
  }

  /** Sends the collected lines when there are enough; called once a tick. */
  pass(): void {
    if (this.#lines.length < LINES_PER_MESSAGE && this.#chars < CHARS_PER_MESSAGE) return
    this.#flush()
  }

  /** Sends all remaining lines at the end of the call. */
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
