import type { Backend, BackendSession, BackendSink, TextOptions } from '../../src/backends/backend.js'
import { TestBackend, tone } from '../support/test-backend.js'

const RATE_HZ = 16_000
export const SILENT_WORDS = 'Your order is on its way, and it will be with you tomorrow.'

const silence = (ms: number, peak = 0): Int16Array =>
  Int16Array.from({ length: (ms * RATE_HZ) / 1000 }, (_, i) => (i % 7 < 3 ? peak : -peak))

/** Sound of the greeting by the last two digits of the caller's number. */
const SOUNDS: Readonly<Record<string, () => readonly Int16Array[]>> = {
  '11': () => [],
  '12': () => [silence(3000)],
  // A converter's noise, below -60 dBFS.
  '13': () => [silence(3000, 30)],
  '14': () => [tone(20), silence(2980)],
  '15': () => Array.from({ length: 10 }, (_, i) => (i % 2 === 0 ? tone(200) : silence(200))),
  '16': () => [Int16Array.from(tone(3000, 262), (sample, i) => (sample + 9000 * Math.sin(i / 7)) / 2)],
  '17': () => [tone(30_000)],
}

/** A model that claims to greet: words, and the sound that the caller's number chooses. */
export function createBackend(sink: BackendSink): Backend {
  return new SilentBackend(sink, 'silent', { serverVad: false })
}

class SilentBackend extends TestBackend {
  #from = ''

  override connect(session: BackendSession): Promise<void> {
    this.#from = session.from
    return super.connect(session)
  }

  override sendText(_text: string, { respond }: TextOptions): void {
    if (!respond || this.generation > 0) return
    const generation = ++this.generation
    const itemId = `item-${generation}`
    const of = { role: 'agent', final: true, itemId, generation } as const
    this.event({ type: 'turn-start', generation })
    for (const pcm of SOUNDS[this.#from.slice(-2)]?.() ?? []) this.sink.audio(pcm, RATE_HZ, itemId, generation)
    this.event({ type: 'transcript', text: SILENT_WORDS, ...of })
    this.event({ type: 'audio-done', generation, itemId })
    this.event({ type: 'turn-done', generation, status: 'completed' })
  }
}
