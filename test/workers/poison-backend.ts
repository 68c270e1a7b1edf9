import { setTimeout as sleep } from 'node:timers/promises'
import type { Backend, BackendSession, BackendSink } from '../../src/backends/backend.js'
import { TestBackend, tone } from '../support/test-backend.js'

/** Those that no handler can catch: they take the worker with them. */
const DEADLY: Readonly<Record<string, () => void>> = {
  exit: () => process.exit(0),
  spin: () => {
    while (spinning) {
      /* for ever */
    }
  },
  promises: () =>
    void (async () => {
      while (spinning) await Promise.resolve()
    })(),
  heap: () => {
    for (;;) hog.push({ more: [hog.length] })
  },
  leak: () =>
    setInterval(() => {
      for (let i = 0; i < 50_000; i++) hog.push({ more: [i] })
    }, 10),
  buffers: () => setInterval(() => hog.push(Buffer.alloc(2 * 1024 * 1024, 1)), 20),
  flood: () => {
    for (;;) hog.push(Buffer.alloc(1024 * 1024, 1))
  },
}
const spinning = true
const hog: unknown[] = []

/**
 * A backend with mistakes, loaded into a media worker by its URL. The call's SID says which mistake it makes half a
 * second after the greeting; `fine` makes none and speaks a tone all the time.
 */
export function createBackend(sink: BackendSink): Backend {
  return new PoisonBackend(sink, 'poison')
}

const FRAME = tone(20)

class PoisonBackend extends TestBackend {
  #mistake = 'fine'
  #timer: NodeJS.Timeout | null = null
  #frames = 0

  override connect(session: BackendSession): Promise<void> {
    this.#mistake = /^HD_([a-z]+)/.exec(session.callSid)?.[1] ?? 'fine'
    if (this.#mistake === 'refuse') throw new Error('connect throws where it should reject')
    return super.connect(session)
  }

  override sendText(): void {
    this.event({ type: 'turn-start', generation: 1 })
    this.#timer = setInterval(() => this.sink.audio(FRAME, 16000, 'tone', 1), 20)
    const deadly = DEADLY[this.#mistake]
    if (deadly !== undefined) setTimeout(deadly, 500)
    if (this.#mistake === 'timer')
      setTimeout(() => {
        throw new Error('thrown by a timer')
      }, 500)
    if (this.#mistake === 'promise')
      void sleep(500).then(() => {
        throw new Error('rejected and not handled')
      })
  }

  override pushAudio(): void {
    this.#frames++
    if (this.#mistake === 'tick' && this.#frames > 25) throw new Error('thrown in the tick')
    if (this.#mistake === 'tickexit' && this.#frames > 25) process.exit(0)
  }

  override async close(reason: string): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer)
    await super.close(reason)
    if (this.#mistake === 'late') setTimeout(DEADLY['spin'] as () => void, 200)
    if (this.#mistake === 'close') throw new Error('close rejects')
  }
}
