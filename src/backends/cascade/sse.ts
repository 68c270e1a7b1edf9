import { BACKEND_MESSAGE_BYTES_MAX } from '../../core/limits.js'

/** Cuts a stream of server-sent events into the texts of its `data:` lines. One event a line, as all these servers write it. */
export class EventLines {
  /** Lines that were longer than any message may be. */
  oversize = 0
  readonly #decoder = new TextDecoder()
  #rest = ''
  #skipping = false

  push(bytes: Uint8Array): string[] {
    return this.#cut(this.#decoder.decode(bytes, { stream: true }))
  }

  /** What is left when the stream ends without a last line break. */
  end(): string[] {
    return this.#cut(`${this.#decoder.decode()}\n`)
  }

  #cut(text: string): string[] {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    if (this.#skipping && lines.length > 0) {
      lines.shift()
      this.#skipping = false
    }
    if (this.#rest.length > BACKEND_MESSAGE_BYTES_MAX) {
      this.oversize++
      this.#rest = ''
      this.#skipping = true
    }
    const data: string[] = []
    for (const line of lines) {
      if (!line.startsWith('data:')) continue
      const value = line.slice(5).trim()
      if (value !== '' && value !== '[DONE]') data.push(value)
    }
    return data
  }
}
