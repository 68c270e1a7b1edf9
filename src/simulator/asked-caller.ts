import type { CallerMove } from './caller-model.js'
import type { CallerScript } from './caller-script.js'

/** Decides what a caller does after the agent's words; empty words: the line is silent. No move: the caller listens on. */
export type AskCaller = (heard: string) => Promise<readonly CallerMove[]>

/**
 * A caller whose moves are asked of somebody else, such as a language model. It receives the events that `CallerModel` does.
 * It lets the agent finish, and asks about all that was said since the answer before.
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
  /** Turns of the agent whose words are not known yet. */
  #listens = 0
  /** The agent has finished a turn, recognised or not, since the question before. */
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

  /** The move that is due now; null for none. Called every 20 ms. */
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
