import type { CallerMove } from './caller-model.js'
import type { CallerScript } from './caller-script.js'

/**
 * Decides the caller's moves after the agent's words; empty words mean a silent line. If the result is empty, the
 * caller continues to listen.
 */
export type AskCaller = (heard: string) => Promise<readonly CallerMove[]>

/**
 * A caller whose moves come from a callback, such as a language model. When the agent finishes, the callback gets
 * everything that the agent said since the previous callback.
 */
export class AskedCaller {
  readonly #ask: AskCaller
  readonly #manner: Pick<CallerScript, 'reactionMs' | 'patienceMs'>
  readonly #nowMs: () => number
  readonly #heard: string[] = []
  #moves: CallerMove[] = []
  #dueAtMs = 0
  #state: 'listening' | 'asking' | 'speaking' | 'done' = 'listening'
  #agentSpeaks = false
  /** Number of the agent's turns whose words are not known yet. */
  #listens = 0
  /** True if the agent has finished a turn since the previous callback, even if the turn was not recognised. */
  #hasTurn = false
  #quietSinceMs: number

  constructor(ask: AskCaller, manner: Pick<CallerScript, 'reactionMs' | 'patienceMs'>, nowMs: () => number) {
    this.#ask = ask
    this.#manner = manner
    this.#nowMs = nowMs
    this.#quietSinceMs = nowMs()
  }

  agentStarted(): void {
    this.#agentSpeaks = true
  }

  agentStopped(nowMs: number): void {
    this.#agentSpeaks = false
    this.#listens++
    this.#quietSinceMs = nowMs
  }

  heard(text: string): void {
    this.#listens = Math.max(0, this.#listens - 1)
    this.#hasTurn = true
    if (text !== '') this.#heard.push(text)
  }

  finishedSpeaking(nowMs: number): void {
    if (this.#state === 'speaking') this.#state = 'listening'
    this.#quietSinceMs = nowMs
    this.#dueAtMs = nowMs + this.#manner.reactionMs
  }

  /** @returns the move that is due now; null if there is none. Called every 20 ms */
  next(nowMs: number): CallerMove | null {
    if (this.#state !== 'listening' || this.#agentSpeaks) return null
    if (this.#moves.length > 0) {
      if (nowMs < this.#dueAtMs) return null
      const move = this.#moves.shift() ?? null
      this.#state = move?.type === 'hangup' ? 'done' : 'speaking'
      return move
    }
    const hasWaited = nowMs - this.#quietSinceMs >= this.#manner.patienceMs
    if (this.#listens === 0 && (this.#hasTurn || hasWaited)) void this.#decide()
    return null
  }

  async #decide(): Promise<void> {
    this.#state = 'asking'
    this.#hasTurn = false
    const lost: CallerMove = { type: 'hangup', why: 'what the caller would say could not be spoken' }
    this.#moves = [...(await this.#ask(this.#heard.splice(0).join(' ')).catch(() => [lost]))]
    const nowMs = this.#nowMs()
    this.#dueAtMs = nowMs + this.#manner.reactionMs
    this.#quietSinceMs = nowMs
    this.#state = 'listening'
  }
}
