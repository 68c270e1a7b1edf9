import type { Backend, BackendSession, BackendSink } from '../../src/backends/backend.js'

/**
 * A backend whose agent never stops speaking: a tone, from the moment that it is asked to speak until the call's end,
 * so that whatever the caller does not hear is a gap. Every three seconds it begins a new sentence, so that its calls have
 * something to write down as often as others do. It has no recogniser. The last two digits of the caller's number
 * say what it does first: 02 opens a ticket by a tool, 03 wants a human,
 * 04 wants to be called back, at a time that has passed: at once.
 *
 * In a call that goes on after a crash it opens the ticket again, as a model does that forgets what it was told.
 */
export function createBackend(sink: BackendSink): Backend {
  return new ToneBackend(sink)
}

const RATE_HZ = 16_000
const TONE_HZ = 300
const SENTENCE = 'Your order is on its way, and it will be with you tomorrow in the afternoon.'
const PIECE_MS = 200
const SENTENCE_MS = 3000
/** Speech that is handed over ahead of its time. */
const LEAD_MS = 1000

class ToneBackend implements Backend {
  readonly capabilities = {
    name: 'tone',
    inputRateHz: RATE_HZ,
    outputRateHz: RATE_HZ,
    serverVad: false,
    truncate: false,
    maxSessionMs: null,
  } as const
  readonly #sink: BackendSink
  #session: BackendSession | null = null
  #generation = 0
  #open = true
  #timer: NodeJS.Timeout | null = null

  constructor(sink: BackendSink) {
    this.#sink = sink
  }

  connect(session: BackendSession): Promise<void> {
    this.#session = session
    this.#sink.event({ type: 'ready' })
    return Promise.resolve()
  }

  sendText(_text: string, { respond }: { readonly respond: boolean }): void {
    if (!respond || this.#timer !== null) return
    const role = this.#session?.from.slice(-2)
    if (this.#generation === 0 && role === '02') return this.#tool('open_ticket', { subject: 'a broken lamp' })
    if (this.#generation === 0 && role === '03')
      return this.#tool('escalate_to_human', { reason: 'asked for', summary: 'wants a human' })
    if (this.#generation === 0 && role === '04')
      return this.#tool('request_callback', { note: 'the stock for Kitale', at: '2026-01-01T10:00' })
    this.#speak()
  }

  toolResult(callId: string): void {
    if (callId === `call-${this.#generation}`) this.#speak()
  }

  #tool(name: string, args: Readonly<Record<string, unknown>>): void {
    const generation = ++this.#generation
    this.#sink.event({ type: 'turn-start', generation })
    this.#sink.event({ type: 'tool-call', callId: `call-${generation}`, name, args, generation })
    this.#sink.event({ type: 'turn-done', generation, status: 'completed' })
  }

  #speak(): void {
    if (this.#timer !== null || !this.#open) return
    const generation = ++this.#generation
    this.#sink.event({ type: 'turn-start', generation })
    const startedMs = performance.now()
    let sentMs = 0
    let itemId = ''
    const more = (): void => {
      for (; sentMs < performance.now() - startedMs + LEAD_MS; sentMs += PIECE_MS) {
        if (sentMs % SENTENCE_MS === 0) {
          if (itemId !== '') this.#sink.event({ type: 'audio-done', generation, itemId })
          itemId = `item-${generation}-${sentMs / SENTENCE_MS}`
          this.#sink.event({ type: 'transcript', role: 'agent', text: SENTENCE, final: true, itemId, generation })
        }
        this.#sink.audio(tone(sentMs), RATE_HZ, itemId, generation)
      }
    }
    more()
    this.#timer = setInterval(more, PIECE_MS / 2)
  }

  interrupt(): void {
    /* it speaks on: the callers of these tests are silent */
  }
  pushAudio(): void {
    /* no ears */
  }
  speechStart(): void {
    /* nor does it stop */
  }
  speechEnd(): void {
    /* or answer */
  }
  dtmf(): void {
    /* no keys */
  }
  updateSession(): void {
    /* nothing that changes */
  }
  snapshot(): unknown {
    return null
  }

  close(reason: string): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer)
    if (this.#open) this.#sink.event({ type: 'closed', code: 1000, reason, clean: true })
    this.#open = false
    return Promise.resolve()
  }
}

/** The piece of the tone that begins `atMs` after its start; each continues the one before. */
function tone(atMs: number): Int16Array {
  const from = (atMs * RATE_HZ) / 1000
  return Int16Array.from(
    { length: (PIECE_MS * RATE_HZ) / 1000 },
    (_, i) => 9000 * Math.sin((2 * Math.PI * TONE_HZ * (from + i)) / RATE_HZ),
  )
}
