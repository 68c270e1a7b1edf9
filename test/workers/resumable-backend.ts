import type { Backend, BackendSession, BackendSink, TextOptions } from '../../src/backends/backend.js'

/**
 * A backend for calls that come back, loaded into a media worker by its URL. It speaks a tone with words:
 *
 * - when it is asked to greet: "Welcome.", or to a caller whose number ends in 04, as on the digit 4;
 * - on the digit 1: it looks order 4127 up, always by the same tool call, and says what it is;
 * - on the digit 2: "A long answer.", for five seconds;
 * - on the digit 3: it is asked to speak slower, and says at what speed it then does;
 * - on the digit 4: it asks for a payment, as the agent `desk` for a booking, says nothing until it is told how that ended,
 *   and then says so;
 * - on the digit 5: it hands over to the agent `desk`; who has got a call says their name and how much they were given of it;
 * - when it is told to go on: "I go on." and how much it was given of the call.
 */
export function createBackend(sink: BackendSink): Backend {
  let generation = 0
  let asked = 0
  let given = ''
  let agent = ''
  let from = ''
  let open = true
  let speed = 1
  const tone = Int16Array.from({ length: 320 }, (_, i) => 6000 * Math.sin((2 * Math.PI * 400 * i) / 16_000))

  const say = (text: string, ms: number): void => {
    const turn = ++generation
    const itemId = `item-${turn}`
    sink.event({ type: 'turn-start', generation: turn })
    for (let at = 0; at < ms; at += 20) sink.audio(tone, 16000, itemId, turn)
    sink.event({ type: 'transcript', role: 'agent', text, final: true, itemId, generation: turn })
    sink.event({ type: 'audio-done', generation: turn, itemId })
    sink.event({ type: 'turn-done', generation: turn, status: 'completed' })
    sink.event({ type: 'usage', usage: { inputTokens: 10, outputTokens: 5, audioInMs: 0, audioOutMs: ms } })
  }

  const press = (digit: string): void => {
    asked++
    const turn = ++generation
    if (digit === '2') return say('A long answer.', 5000)
    sink.event({ type: 'turn-start', generation: turn })
    const tool =
      digit === '3'
        ? { callId: `call-${asked}`, name: 'set_speech_rate', args: { rate: 'slower' } }
        : digit === '4'
          ? { callId: `call-${asked}`, name: agent === 'desk' ? 'book' : 'charge', args: {} }
          : digit === '5'
            ? { callId: `call-${asked}`, name: 'hand_over', args: { agent: 'desk', summary: 'Wants a room.' } }
            : { callId: 'call-1', name: 'lookup_order', args: { orderNumber: '4127' } }
    sink.event({ type: 'tool-call', ...tool, generation: turn })
    sink.event({ type: 'turn-done', generation: turn, status: 'completed' })
  }

  return {
    capabilities: {
      name: 'resumable',
      inputRateHz: 16000,
      outputRateHz: 16000,
      serverVad: true,
      truncate: false,
      changesSpeed: true,
      maxSessionMs: null,
    },
    connect(session: BackendSession): Promise<void> {
      const before = session.resume as { readonly asked: number } | null
      asked = before?.asked ?? 0
      speed = session.speed ?? 1
      agent = session.agent
      from = session.from
      given = `${session.history.length} lines, ${session.toolLedger.length} tools, asked ${asked}`
      queueMicrotask(() => sink.event({ type: 'ready' }))
      return Promise.resolve()
    },
    sendText(text: string, { respond }: TextOptions): void {
      if (!respond) return
      if (text.includes('outcome of')) say(text.includes('QX1') ? 'It is paid.' : 'It is not paid.', 200)
      else if (text.includes('handed this caller over')) say(`Here is ${agent}. ${given}`, 200)
      else if (text.includes('short gap')) say(`I go on. ${given}`, 200)
      else if (from.endsWith('04') && asked === 0) press('4')
      else say('Welcome.', 200)
    },
    dtmf: press,
    toolResult(_callId, { ok, value, pending }): void {
      if (pending === true) return
      const { status, changed } = value as { readonly status?: string; readonly changed?: boolean }
      if (changed === true) return say(`At ${speed}.`, 200)
      say(ok ? `It is ${status ?? 'nowhere'}.` : 'That is not known.', 200)
    },
    pushAudio: () => undefined,
    speechStart: () => undefined,
    speechEnd: () => undefined,
    interrupt: () => undefined,
    updateSession(update): void {
      speed = update.speed ?? speed
    },
    snapshot: () => ({ asked }),
    close(reason: string): Promise<void> {
      if (open) sink.event({ type: 'closed', code: 1000, reason, clean: true })
      open = false
      return Promise.resolve()
    },
  }
}
