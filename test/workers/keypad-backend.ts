import type { Backend, BackendSink, TextOptions } from '../../src/backends/backend.js'

/**
 * A backend for calls in which the caller enters digits, loaded into a media worker by its URL. On the digits 9 and 8 it calls
 * `collect_digits` for a PIN and an ID number, and says what came back and how many loud samples and digits
 * it got meanwhile.
 */
export function createBackend(sink: BackendSink): Backend {
  let generation = 0
  let loud = 0
  let digits = 0
  let open = true
  const tone = Int16Array.from({ length: 3200 }, (_, i) => 6000 * Math.sin((2 * Math.PI * 400 * i) / 16_000))
  const say = (text: string): void => {
    const turn = ++generation
    const itemId = `item-${turn}`
    sink.event({ type: 'turn-start', generation: turn })
    sink.audio(tone, 16000, itemId, turn)
    sink.event({ type: 'transcript', role: 'agent', text, final: true, itemId, generation: turn })
    sink.event({ type: 'audio-done', generation: turn, itemId })
    sink.event({ type: 'turn-done', generation: turn, status: 'completed' })
  }
  return {
    capabilities: {
      name: 'keypad',
      inputRateHz: 16000,
      outputRateHz: 16000,
      serverVad: true,
      truncate: false,
      maxSessionMs: null,
    },
    connect(): Promise<void> {
      queueMicrotask(() => sink.event({ type: 'ready' }))
      return Promise.resolve()
    },
    sendText(_text: string, { respond }: TextOptions): void {
      if (respond) say('Welcome.')
    },
    dtmf(digit: string): void {
      const name = { 9: 'pin', 8: 'id-number' }[digit]
      if (name === undefined) return void digits++
      loud = 0
      const turn = ++generation
      sink.event({ type: 'turn-start', generation: turn })
      const call = {
        callId: `call-${turn}`,
        name: 'collect_digits',
        args: { name, with: name === 'pin' ? {} : { question: name } },
      }
      sink.event({ type: 'tool-call', ...call, generation: turn })
      sink.event({ type: 'turn-done', generation: turn, status: 'completed' })
    },
    toolResult: (_callId, { value }) => say(`${JSON.stringify(value)}; ${loud} loud samples, ${digits} digits`),
    pushAudio: (pcm: Int16Array) => {
      for (const sample of pcm) if (Math.abs(sample) > 200) loud++
    },
    speechStart: () => undefined,
    speechEnd: () => undefined,
    interrupt: () => undefined,
    updateSession: () => undefined,
    snapshot: () => null,
    close(reason: string): Promise<void> {
      if (open) sink.event({ type: 'closed', code: 1000, reason, clean: true })
      open = false
      return Promise.resolve()
    },
  }
}
