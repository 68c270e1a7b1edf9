import type { SimulatorEvent } from '../carrier/call-options.js'
import type { GatewayView } from './gateway-view.js'

const POLL_MS = 250

/** Part of a call that was already printed. */
interface Seen {
  printed: number
  callerEndMs: number | null
  live: boolean
  /** True once the call was in two languages. */
  mixed: boolean
}

/**
 * Prints calls while they run. The words come from the gateway's transcript, or from the simulated caller if the ops
 * port does not answer.
 */
export class LiveView {
  readonly #gateway: GatewayView
  readonly #print: (line: string) => void
  readonly #calls = new Map<string, Seen>()
  readonly #withSid: boolean
  #timer: NodeJS.Timeout | null = null
  #polling = false
  #gatewayAnswers = false

  constructor(
    gateway: GatewayView,
    options: { readonly callSids: readonly string[]; readonly print: (line: string) => void },
  ) {
    this.#gateway = gateway
    this.#print = options.print
    this.#withSid = options.callSids.length > 1
    for (const callSid of options.callSids)
      this.#calls.set(callSid, { printed: 0, callerEndMs: null, live: true, mixed: false })
  }

  start(): void {
    this.#timer = setInterval(() => {
      void this.poll()
    }, POLL_MS)
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  onEvent(event: SimulatorEvent): void {
    switch (event.type) {
      case 'stream-opened':
        this.#line(event.callSid, 'carrier', `the stream is open ${event.atMs} ms after the webhook`)
        break
      case 'said':
        if (!this.#gatewayAnswers) this.#line(event.callSid, 'caller', event.text)
        break
      case 'heard':
        if (!this.#gatewayAnswers) this.#line(event.callSid, 'agent', event.text)
        break
      case 'dialled':
        this.#line(event.callSid, 'carrier', `a human was dialled: ${event.outcome}`)
        break
      case 'ended':
        this.#line(event.callSid, 'carrier', `ended by the ${event.by}: ${event.why}`)
        break
      case 'webhook':
      case 'verb':
      case 'stream-closed':
        break
    }
  }

  /** Fetches every live call once and prints its new entries. Does nothing while an earlier poll is running. */
  async poll(): Promise<void> {
    if (this.#polling) return
    this.#polling = true
    for (const [callSid, seen] of this.#calls) {
      if (!seen.live) continue
      const call = await this.#gateway.call(callSid)
      if (call === null) continue
      this.#gatewayAnswers = true
      seen.live = call.record === null
      for (const entry of call.transcript.slice(seen.printed)) {
        seen.printed++
        const after =
          entry.role === 'agent' && seen.callerEndMs !== null
            ? `   (${((entry.startMs - seen.callerEndMs) / 1000).toFixed(2)} s)`
            : ''
        // Languages are shown only for a call that has been in two languages.
        seen.mixed ||= entry.language !== call.transcript[0]?.language
        const language = seen.mixed && entry.language !== undefined ? `[${entry.language}] ` : ''
        this.#line(callSid, entry.role, `${language}${entry.text}${after}`)
        seen.callerEndMs = entry.role === 'caller' ? entry.endMs : null
      }
    }
    this.#polling = false
  }

  #line(callSid: string, who: string, text: string): void {
    this.#print(`${this.#withSid ? `${callSid} ` : ''}${who.padEnd(8)} ${text}\n`)
  }
}
