import type { BackendEvent } from '../backend-events.js'
import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { CallInput } from '../events.js'
import type { FactOf } from '../facts.js'
import { asksToWait } from '../turns/turn-words.js'

/** Before a supervisor's words, so that the model neither answers them nor says them to the caller. */
const WHISPER =
  'A supervisor who listens to this call tells you, and not the caller: follow it in what you say next, without mentioning it. '

type Transcribed = Extract<BackendEvent, { readonly type: 'transcript' }>

const HEARS = ['agent-said', 'transcript'] as const

/**
 * The words of both sides, as far as they are known, and what follows from the caller's: a language, a wait, a goodbye.
 */
export class Words extends Feature implements CallFeature {
  readonly hears = HEARS
  input(input: CallInput): boolean {
    if (input.type !== 'whisper') return false
    this.#whisper(input.text)
    return true
  }

  hear(fact: FactOf<typeof HEARS>): void {
    if (fact.type === 'agent-said' && fact.by === 'gateway') this.#gatewaySaid(fact.entry.text, fact.playedMs)
    else if (fact.type === 'transcript' && fact.role === 'agent') this.#ofAgent(fact)
    else if (fact.type === 'transcript') this.#ofCaller(fact)
  }

  #ofCaller({ itemId, text, final, languages }: Transcribed): void {
    const { startMs, endMs, spoken } = this.call.input.transcribed(itemId)
    if (final && this.call.language.heard(languages ?? [{ text }])) this.call.languageChanged()
    this.call.transcript.callerWords(
      itemId,
      text,
      final,
      startMs - this.call.streamZeroMs,
      endMs - this.call.streamZeroMs,
    )
    if (text.trim() === '') return
    this.call.floor.endGreeting()
    if (spoken) this.call.talk.level.understood()
    this.call.tell({ type: 'understood', endsHold: true })
    if (!final) this.#partial(text)
    else if (
      !this.call.input.grants.has('digits') &&
      this.call.options.bargeIn.waitWords &&
      this.call.line.state === 'live' &&
      asksToWait(text, this.call.talk.spokenOver)
    )
      return this.#callerAsksToWait()
    this.call.tell({ type: 'caller-said', text, final })
    this.call.talk.wordsCame(text, final)
    this.call.input.heard(text)
    if (final && this.call.line.state === 'live' && this.call.talk.turns.waiting) this.call.wait.forAnswer()
    if (final && !this.call.input.grants.has('digits')) this.call.tell({ type: 'caller-turn', text })
  }

  /** Words that may still change: they say whether the caller has finished, and whether he only listens. */
  #partial(text: string): void {
    this.call.input.heardPartly()
    this.call.callerSpeech.heardWords(text, this.call.input.asked)
    if (this.call.talk.bargeIn.paused) this.call.talk.bargeIn.heardWords(text)
  }

  /** Words that ask for a moment are not answered with words: the agent is silent until the caller goes on. */
  #callerAsksToWait(): void {
    this.call.counters.askedToWait++
    this.call.mark('asked-to-wait', this.call.talk.spokenOver ? 'over the agent' : 'while nobody else spoke')
    this.call.talk.askedToWait()
    this.call.wait.callerActs()
    this.call.tell({ type: 'caller-asks-to-wait' })
    this.call.floor.close('caller')
  }

  #ofAgent(event: Transcribed): void {
    if (!this.call.agentSpeech.wanted(event.generation) || this.call.agentSpeech.isCut(event.itemId)) {
      this.call.counters.lateEventsDropped++
      return
    }
    this.call.transcript.agentWords(event.itemId, event.text, event.final, this.call.streamMs)
    this.call.tell({ type: 'agent-words', text: event.text, by: 'model' })
  }

  /** The model must know what it would else say again, or answer. What nobody heard counts as not said. */
  #gatewaySaid(words: string, playedMs: number | null): void {
    if (playedMs === 0 || !this.call.model.usable || !this.call.line.streaming) return
    const text = playedMs === null ? words : `${words} [the caller interrupted]`
    this.call.out({ type: 'backend-text', text, role: 'agent', respond: false })
  }

  /** The model takes a supervisor's words into its next answer. */
  #whisper(text: string): void {
    if (this.call.line.state !== 'live' || !this.call.model.usable)
      return this.call.mark('whisper-refused', this.call.line.state)
    this.call.mark('whisper', text)
    this.call.model.tell(`${WHISPER}${text}`)
  }
}
