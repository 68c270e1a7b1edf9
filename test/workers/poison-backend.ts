import { setTimeout as sleep } from 'node:timers/promises'
import type { Backend, BackendSession, BackendSink } from '../../src/backends/backend.js'

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
  let mistake = 'fine'
  let timer: NodeJS.Timeout | null = null
  let frames = 0
  let open = true
  const tone = Int16Array.from({ length: 320 }, (_, i) => 6000 * Math.sin((2 * Math.PI * 400 * i) / 16_000))

  return {
    capabilities: {
      name: 'poison',
      inputRateHz: 16000,
      outputRateHz: 16000,
      serverVad: true,
      truncate: false,
      maxSessionMs: null,
    },
    connect(session: BackendSession): Promise<void> {
      mistake = /^HD_([a-z]+)/.exec(session.callSid)?.[1] ?? 'fine'
      if (mistake === 'refuse') throw new Error('connect throws where it should reject')
      queueMicrotask(() => sink.event({ type: 'ready' }))
      return Promise.resolve()
    },
    sendText(): void {
      sink.event({ type: 'turn-start', generation: 1 })
      timer = setInterval(() => sink.audio(tone, 16000, 'tone', 1), 20)
      const deadly = DEADLY[mistake]
      if (deadly !== undefined) setTimeout(deadly, 500)
      if (mistake === 'timer')
        setTimeout(() => {
          throw new Error('thrown by a timer')
        }, 500)
      if (mistake === 'promise')
        void sleep(500).then(() => {
          throw new Error('rejected and not handled')
        })
    },
    pushAudio(): void {
      frames++
      if (mistake === 'tick' && frames > 25) throw new Error('thrown in the tick')
      if (mistake === 'tickexit' && frames > 25) process.exit(0)
    },
    speechStart: () => undefined,
    speechEnd: () => undefined,
    dtmf: () => undefined,
    toolResult: () => undefined,
    interrupt: () => undefined,
    updateSession: () => undefined,
    snapshot: () => null,
    close(reason: string): Promise<void> {
      if (timer !== null) clearInterval(timer)
      if (open) sink.event({ type: 'closed', code: 1000, reason, clean: true })
      open = false
      if (mistake === 'late') setTimeout(DEADLY['spin'] as () => void, 200)
      return mistake === 'close' ? Promise.reject(new Error('close rejects')) : Promise.resolve()
    },
  }
}
