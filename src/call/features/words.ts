import type { BackendEvent } from '../backend-events.js'
import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { CallInput } from '../events.js'
import type { FactOf } from '../facts.js'
import { asksToWait } from '../turns/turn-words.js'

/**
 * Instruction before a supervisor's words, so that the model does not answer these words or repeat them to the caller.
 */
const WHISPER =
  'A supervisor who listens to this call tells you, and not the caller: follow it in what you say next, without mentioning it. '

type Transcribed = Extract<BackendEvent, { readonly type: 'transcript' }>

const HEARS = ['agent-said', 'transcript'] as const

/** Words of both sides, and actions that follow the caller's words: a change of language, a wait, a goodbye. */
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
    const { level } = this.call.talk
    // During a suspected hold, words of another voice count too, because a person who ends the hold may have a new
    // voice on this line.
    const isOther = text.trim() !== '' && level.saidByOther && !this.call.talk.putOnHold.suspected
    if (final && text.trim() !== '') level.wordsOver()
    if (final && !isOther && this.call.language.heard(languages ?? [{ text }])) this.call.languageChanged()
    this.call.transcript.callerWords(
      itemId,
      text,
      final,
      startMs - this.call.streamZeroMs,
      endMs - this.call.streamZeroMs,
    )
    if (text.trim() === '') return
    // Words of another person are in the transcript, but they do not begin a turn.
    if (isOther) return void (final && this.call.mark('words-of-another', level.figures))
    this.call.floor.endGreeting()
    if (spoken) level.understood()
    this.call.tell({ type: 'understood', endsHold: true })
    if (!final) this.#partial(text)
    else if (
      !this.call.input.grants.has('digits') &&
      this.call.options.bargeIn.waitWords &&
      this.call.line.state === 'live'
    ) {
      const wait = asksToWait(text, this.call.talk.spokenOver)
      // A hesitation such as "hmm" does not ask for a moment if it may mean yes, or if the caller's turn already has
      // recognised words.
      const isAnswer = this.call.input.asked.what === 'yes-no' || this.call.talk.turns.understood
      if (wait === 'moment' || (wait === 'thought' && !isAnswer)) return this.#callerAsksToWait(wait)
    }
    this.call.tell({ type: 'caller-said', text, final })
    this.call.talk.wordsCame(text, final, itemId)
    this.call.input.heard(text)
    if (final && this.call.line.state === 'live' && this.call.talk.turns.waiting) this.call.wait.forAnswer()
    if (final && !this.call.input.grants.has('digits')) this.call.tell({ type: 'caller-turn', text })
  }

  /** Handles words that may still change. The words show if the caller has finished. */
  #partial(text: string): void {
    this.call.input.heardPartly()
    this.call.callerSpeech.heardWords(text, this.call.input.asked)
  }

  /** Handles words that ask for a moment. The agent does not answer, and is silent until the caller speaks again. */
  #callerAsksToWait(wait: 'moment' | 'thought'): void {
    this.call.counters.askedToWait++
    const over = this.call.talk.spokenOver ? 'over the agent' : 'while nobody else spoke'
    this.call.mark('asked-to-wait', wait === 'thought' ? 'by a hesitation' : over)
    this.call.talk.askedToWait()
    this.call.wait.callerActs()
    this.call.tell({ type: 'caller-asks-to-wait', moment: wait === 'moment' })
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

  /**
   * Informs the model of the gateway's words. Without this the model would repeat or answer these words. Words that the
   * caller did not hear are left out.
   */
  #gatewaySaid(words: string, playedMs: number | null): void {
    if (playedMs === 0 || !this.call.model.usable || !this.call.line.streaming) return
    const text = playedMs === null ? words : `${words} [the caller interrupted]`
    this.call.out({ type: 'backend-text', text, role: 'agent', respond: false })
  }

  /** Sends a supervisor's words to the model, for its next answer. */
  #whisper(text: string): void {
    if (this.call.line.state !== 'live' || !this.call.model.usable)
      return this.call.mark('whisper-refused', this.call.line.state)
    this.call.mark('whisper', text)
    this.call.model.tell(`${WHISPER}${text}`)
  }
}
