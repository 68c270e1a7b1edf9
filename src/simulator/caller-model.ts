import { factsIn, spokenWords } from './spoken-words.js'
import type { OrderFacts } from '../carrier/caller-end.js'
import { contains, sameAct } from './caller-script.js'
import type { CallerScript, CallerAct, CallerRule } from './caller-script.js'

export const REACTION_MS = 250
export const PATIENCE_MS = 5000

/**
 * Current action of the caller: an act of the script, in which the parts that depend on the conversation are filled in.
 */
export type CallerMove =
  | Extract<CallerAct, { readonly type: 'say' | 'press' | 'play' | 'beep' | 'hold' }>
  | { readonly type: 'hangup'; readonly why: string }

interface Due {
  readonly act: CallerAct
  readonly atMs: number
  /** True: the caller does not wait until the agent is silent. */
  readonly interrupts: boolean
  readonly why: string
}

/**
 * Minimum overlap in ms that counts as an interruption. With a shorter overlap, the agent began just before the caller
 * stopped.
 */
const OVERLAP_MS = 300

/** Texts by which a question is recognised that reads digits back and asks for a yes or a no. */
const READ_BACK = [' right ', ' correct ', ' you said ', ' i heard ']

/**
 * Decides the caller's next action. It has no timers and no audio: it receives events, and `next` is called every 20
 * ms.
 * | state     | meaning                                        | left by                                       |
 * |-----------|------------------------------------------------|-----------------------------------------------|
 * | listening | waits for the agent, or for its own patience   | a rule, a step, patience, an interruption     |
 * | due       | has decided, and waits for its reaction time   | the time, once the agent is silent            |
 * | speaking  | its own voice is on the line                   | `finishedSpeaking`                            |
 * | done      | has hung up                                    | nothing                                       |
 */
export class CallerModel {
  readonly #script: CallerScript
  readonly #statuses: Readonly<Record<string, readonly string[]>>
  readonly #fired = new Map<CallerRule, number>()
  #step = 0
  /** True if the due, or current, act belongs to a step and not to a rule. */
  #inStep = false
  #due: Due | null = null
  #state: 'listening' | 'speaking' | 'done' = 'listening'
  #agentSinceMs: number | null = null
  #spokeDuringTurn = false
  /** Number of the agent's turns whose words are not known yet. */
  #listens = 0
  #quietSinceMs: number
  #heardOrder: string | null = null
  #lastSaid: CallerMove | null = null

  constructor(script: CallerScript, statuses: Readonly<Record<string, readonly string[]>>, nowMs: number) {
    this.#script = script
    this.#statuses = statuses
    this.#quietSinceMs = nowMs
  }

  agentStarted(nowMs: number): void {
    this.#agentSinceMs = nowMs
    this.#spokeDuringTurn = this.#state === 'speaking'
  }

  /**
   * Records that the agent has been silent for a while. `heard` is called next. Until then the caller's patience does
   * not end, even if the recognition takes long.
   */
  agentStopped(nowMs: number): void {
    this.#agentSinceMs = null
    this.#listens++
    this.#quietSinceMs = Math.max(this.#quietSinceMs, nowMs)
  }

  /** Handles the words of the agent's whole turn; empty if the recogniser is uncertain. */
  heard(text: string, nowMs: number): void {
    this.#listens = Math.max(0, this.#listens - 1)
    const facts = factsIn(text, { statuses: this.#statuses })
    if (facts.order !== null) this.#heardOrder = facts.order
    // A turn that the caller interrupted needs no second reaction.
    if (this.#state !== 'listening' || this.#spokeDuringTurn || this.#due !== null) return
    const words = ` ${spokenWords(text).join(' ')} `
    const rule =
      text === '' ? undefined : this.#script.rules.find((candidate) => this.#matches(candidate, words, facts))
    if (rule !== undefined) {
      this.#fired.set(rule, (this.#fired.get(rule) ?? 0) + 1)
      this.#decide(rule.act, nowMs, 'a rule matched what was heard')
      this.#skipStepsLike(rule.act)
      return
    }
    const next = this.#script.steps[this.#step]
    if (next === undefined || next.interruptAfterMs !== null) return
    const wanted =
      next.heard.length === 0 ? this.#script.rules.length === 0 : next.heard.some((phrase) => contains(words, phrase))
    if (wanted) this.#takeStep(nowMs, false)
  }

  finishedSpeaking(nowMs: number): void {
    if (this.#state === 'speaking') this.#state = 'listening'
    this.#quietSinceMs = nowMs
    const pauseMs = this.#inStep ? this.#script.steps[this.#step]?.pauseMs : undefined
    if (pauseMs !== undefined) this.#takeStep(nowMs, true, pauseMs)
    // The agent began just before the caller's speech ended (for example during the last DTMF tone), so the agent
    // answers this speech.
    if (this.#agentSinceMs !== null && nowMs - this.#agentSinceMs < OVERLAP_MS) this.#spokeDuringTurn = false
  }

  /** @returns the next action; null if there is none. Called every 20 ms */
  next(nowMs: number): CallerMove | null {
    if (this.#state !== 'listening') return null
    const step = this.#script.steps[this.#step]
    if (this.#due === null && this.#agentSinceMs !== null) {
      if (step?.interruptAfterMs != null && nowMs - this.#agentSinceMs >= step.interruptAfterMs)
        this.#takeStep(nowMs, true)
    } else if (this.#due === null && this.#listens === 0 && nowMs - this.#quietSinceMs >= this.#script.patienceMs) {
      if (step === undefined) return this.#move({ type: 'hangup', why: 'nothing left to say' })
      this.#takeStep(nowMs, false)
    }
    if (this.#due === null || nowMs < this.#due.atMs) return null
    if (this.#agentSinceMs !== null && !this.#due.interrupts) return null
    const { act, why } = this.#due
    this.#due = null
    return this.#perform(act, why, nowMs)
  }

  #takeStep(nowMs: number, interrupts: boolean, afterMs = interrupts ? 0 : this.#script.reactionMs): void {
    const step = this.#script.steps[this.#step++]
    if (step === undefined) return
    const atMs = nowMs + afterMs
    this.#inStep = true
    this.#due = { act: step.act, atMs, interrupts, why: `step ${this.#step} of the script` }
  }

  #decide(act: CallerAct, nowMs: number, why: string): void {
    this.#inStep = false
    this.#due = { act, atMs: nowMs + this.#script.reactionMs, interrupts: false, why }
  }

  /** Skips the steps that repeat the last act of a rule. These steps exist only for turns that are not recognised. */
  #skipStepsLike(act: CallerAct): void {
    const index = this.#script.steps.findIndex((step, at) => at >= this.#step && sameAct(step.act, act))
    if (index >= 0) this.#step = index + 1
  }

  #perform(act: CallerAct, why: string, nowMs: number): CallerMove | null {
    switch (act.type) {
      case 'hangup':
        return this.#move({ type: 'hangup', why })
      case 'say':
      case 'press':
      case 'play':
      case 'beep':
      case 'hold':
        return this.#move(act)
      case 'repeat':
        return this.#lastSaid === null ? null : this.#move(this.#lastSaid)
      case 'answer': {
        const right =
          this.#script.order === null || this.#heardOrder === null || this.#heardOrder === this.#script.order
        return this.#move({ type: 'say', text: right ? act.yes : act.no })
      }
      case 'wait':
        // The step after a wait does not wait for another turn of the agent.
        this.#takeStep(nowMs, true, act.ms)
        this.#quietSinceMs = nowMs + act.ms
        return null
    }
  }

  #move(move: CallerMove): CallerMove {
    this.#state = move.type === 'hangup' ? 'done' : 'speaking'
    if (this.#agentSinceMs !== null) this.#spokeDuringTurn = true
    if (move.type !== 'hangup') this.#lastSaid = move
    return move
  }

  #matches(rule: CallerRule, words: string, facts: OrderFacts): boolean {
    if ((this.#fired.get(rule) ?? 0) >= rule.timesMax) return false
    if (rule.heard === 'status') return facts.status !== null
    if (rule.heard === 'read-back') {
      return facts.order !== null && facts.status === null && READ_BACK.some((phrase) => words.includes(phrase))
    }
    return rule.heard.some((phrase) => contains(words, phrase))
  }
}
