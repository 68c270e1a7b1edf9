import { assertNever } from '../core/assert.js'
import { RESPONSES_FAILED_MAX } from '../core/limits.js'
import type { BackendEvent } from './backend-events.js'
import type { CallCore } from './call-core.js'
import type { Conversation } from './conversation.js'
import type { Patience } from './patience.js'
import type { Silence } from './silence.js'
import type { ToolDesk } from './tool-desk.js'

/** Answers that may fail to come one after another before the backend counts as dead. */
const ANSWERS_MISSING_MAX = 2

/** What the session does about the backend as a whole. */
export interface BackendVerdicts {
  ready(): void
  failed(detail: string): void
}

/**
 * Takes what the backend tells: keeps which response is alive, enters words, passes tool calls and speech events on,
 * and judges whether the backend still works.
 *
 *     response  --turn-start--> given --turn-done, cut, interrupted--> over; later events of it are dropped and counted
 *     backend   --fatal error, closed--> dead
 *     backend   --RESPONSES_FAILED_MAX responses failed in a row--> dead; the caller is asked to repeat before that
 *     backend   --no sound in answerTimeoutMs, twice; or for the greeting--> dead
 */
export class BackendInbox {
  readonly #core: CallCore
  readonly #conversation: Conversation
  readonly #silence: Silence
  readonly #tools: ToolDesk
  readonly #patience: Patience
  readonly #wants: BackendVerdicts
  /** The last voiced sample to which words have come, and which. */
  #wordsOfMs = NaN
  #wordsItemId = ''
  #responsesFailed = 0
  #answersMissing = 0

  constructor(
    core: CallCore, conversation: Conversation, silence: Silence, tools: ToolDesk, patience: Patience, wants: BackendVerdicts,
  ) {
    this.#core = core
    this.#conversation = conversation
    this.#silence = silence
    this.#tools = tools
    this.#patience = patience
    this.#wants = wants
  }

  /** The backend's answer is being heard. */
  answered(): void {
    this.#core.deadlines.clear('answer')
    this.#answersMissing = 0
  }

  /** The caller, or the kick-off, has waited too long for a sound of the backend. */
  answerDue(): void {
    const core = this.#core
    if (core.state !== 'live') return
    if (core.tools.running > 0 || core.sounding || core.bargeIn.paused || core.speech.speaking) {
      core.in('answer', core.options.answerTimeoutMs)
      return
    }
    // One missing answer may be a backend that did not take the caller's words for a question.
    if (++this.#answersMissing >= ANSWERS_MISSING_MAX || core.greetingMs === null) {
      return this.#wants.failed(`no answer in ${core.options.answerTimeoutMs} ms`)
    }
    core.mark('answer-missing')
    core.announce(core.options.responseFailedText, 'apology')
    core.in('answer', core.options.answerTimeoutMs)
  }

  event(event: BackendEvent): void {
    const core = this.#core
    switch (event.type) {
      case 'ready':
        return this.#wants.ready()
      case 'turn-start':
        if (!core.noteGeneration(event.generation)) return
        core.greetingGeneration ??= event.generation
        core.responseGeneration = event.generation
        core.backendActiveAtMs = core.nowMs
        return
      case 'audio-done':
        return
      case 'turn-done':
        return this.#turnDone(event.generation, event.status, event.reason)
      case 'speech-started':
        return this.#conversation.backendHeardSpeech()
      case 'speech-stopped':
        return this.#conversation.backendHeardStop()
      case 'understood':
        return this.#patience.understood()
      case 'interrupted':
        return this.#conversation.backendInterrupted(event.generation)
      case 'transcript':
        return event.role === 'caller'
          ? this.#callerWords(event.itemId, event.text, event.final)
          : this.#agentWords(event)
      case 'tool-call':
        // With a human on the line the backend was told to close: nothing it says is acted on any more.
        if (core.streaming && core.state !== 'bridged' && core.noteGeneration(event.generation)) return this.#tools.call(event)
        core.counters.lateEventsDropped++
        return
      case 'tool-cancel':
        return this.#tools.cancel(event.callIds)
      case 'usage':
        core.usage.inputTokens += event.usage.inputTokens
        core.usage.outputTokens += event.usage.outputTokens
        core.usage.audioInMs += event.usage.audioInMs
        core.usage.audioOutMs += event.usage.audioOutMs
        return
      case 'error':
        core.mark('backend-error', event.code)
        return event.fatal ? this.#wants.failed(`backend error ${event.code}`) : undefined
      case 'expiring':
        return core.mark('backend-expiring', String(event.inMs))
      case 'failover':
        core.mark('backend-failover', `${event.from} to ${event.to} in ${Math.round(event.gapMs)} ms: ${event.reason}`)
        // The new one has only now been asked.
        if (core.deadlines.isSet('answer')) core.in('answer', core.options.answerTimeoutMs)
        return
      case 'holding':
        return this.#hold()
      case 'closed':
        return core.backendClosed ? undefined : this.#wants.failed(`backend closed with ${event.code}`)
      default:
        return assertNever(event)
    }
  }

  #turnDone(generation: number, status: 'completed' | 'cancelled' | 'failed', reason: string | undefined): void {
    const core = this.#core
    if (core.responseGeneration !== null && generation >= core.responseGeneration) core.responseGeneration = null
    core.transcript.withoutSound((itemId) => core.items.get(itemId)?.over === 'no', core.streamMs)
    if (status === 'completed') this.#responsesFailed = 0
    if (status !== 'failed' || core.state !== 'live' || generation <= core.generationFence) return
    core.mark('response-failed', reason)
    if (++this.#responsesFailed >= RESPONSES_FAILED_MAX) {
      return this.#wants.failed(`${this.#responsesFailed} responses failed in a row`)
    }
    core.deadlines.clear('answer')
    core.announce(core.options.responseFailedText, 'apology')
  }

  /** A word for the caller while another backend is being found. */
  #hold(): void {
    const core = this.#core
    const text = core.options.filler.texts[0]
    core.mark('backend-holding')
    if (text === undefined || core.state !== 'live' || core.sounding || core.anyItemOpen || core.speech.speaking || core.bargeIn.paused) return
    core.announce(text, 'filler')
  }

  #callerWords(itemId: string, text: string, final: boolean): void {
    const core = this.#core
    const zeroMs = core.streamZeroMs
    const { firstVoicedMs, lastVoicedMs } = core.speech
    // What was keyed in comes without a voice: the last one belongs to words before.
    const spoken = !Number.isNaN(lastVoicedMs) && (lastVoicedMs !== this.#wordsOfMs || itemId === this.#wordsItemId)
    const startMs = spoken && !Number.isNaN(firstVoicedMs) ? firstVoicedMs : core.nowMs
    const endMs = spoken ? lastVoicedMs : core.nowMs
    if (spoken) {
      this.#wordsOfMs = lastVoicedMs
      this.#wordsItemId = itemId
    }
    core.transcript.callerWords(itemId, text, final, startMs - zeroMs, endMs - zeroMs)
    if (text.trim() === '') return
    this.#patience.understood()
    this.#silence.callerSpoke()
    core.agentSpokeLast = false
    core.turns.confirm()
    if (final && core.state === 'live' && core.turns.waiting) core.in('answer', core.options.answerTimeoutMs)
  }

  #agentWords(event: Extract<BackendEvent, { readonly type: 'transcript' }>): void {
    const core = this.#core
    if (!core.noteGeneration(event.generation) || core.items.get(event.itemId)?.over === 'cut') {
      core.counters.lateEventsDropped++
      return
    }
    core.transcript.agentWords(event.itemId, event.text, event.final, core.streamMs)
  }
}
