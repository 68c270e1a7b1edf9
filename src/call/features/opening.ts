import { assertNever } from '../../core/assert.js'
import type { AnswerVerdict } from '../turns/answering-machine-detector.js'
import type { LegRateHz } from '../../core/units.js'
import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { CallKernel } from '../call-kernel.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import type { CallInput } from '../events.js'
import type { FactOf } from '../facts.js'

/**
 * Time in ms after which the gateway greets if the model has not greeted. Working models greet within 2 s; callers say
 * "hello?" after 3 s.
 */
const GREETING_DUE_MS = 3000
const GREETING_POLL_MS = 100
/** Instruction for the model after its own answer was cut off. */
const ANSWER_FIRST_TEXT = 'Greet the caller in a word or two, and answer what they have just said.'

const HEARS = ['model-ready', 'agent-sounds', 'agent-sounding', 'announce-failed', 'response-unwanted'] as const

/**
 * Beginning of a call: the stream opens, a person answers, the conversation starts or continues. The model greets. If
 * the model is late, the gateway greets.
 */
export class Opening extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['converse', 'answerFirst', 'begin', 'continueAfterEscalation'] as const
  /**
   * Item of the announcement that the line was cut off, until the announcement begins; else null. The backend must not
   * answer before this announcement.
   */
  #cutOffItemId: string | null = null
  /** True if the caller has already asked for something, so that the answer replaces the greeting. */
  #answersFirst = false
  /** True if the model's answer to the caller's request was cut off. */
  #answerInterrupted = false
  /** True if a recording answered the call. */
  #recording: boolean
  #begun = false
  /** Item of the gateway's greeting, which replaces the model's greeting; null without such a greeting. */
  #greetingItemId: string | null = null

  constructor(call: CallKernel) {
    super(call)
    this.#recording = call.resume?.amd === 'recording'
  }

  checkpoint(): Pick<CallCheckpoint, 'amd' | 'greeted' | 'greetingMs'> {
    return {
      // A greeting that was requested but was never heard must be repeated.
      greeted: this.call.person.greeted && this.call.talk.greetingMs !== null,
      greetingMs: this.call.talk.greetingMs,
      ...(this.call.line.inAmd ? { amd: this.#recording ? 'recording' : 'undecided' } : {}),
    }
  }

  due(name: DeadlineName): void {
    if (name === 'greeting') this.#greetingDue()
    else if (name === 'backend-ready')
      this.call.ask('failModel', `not ready ${this.call.options.backendReadyTimeoutMs} ms after the stream opened`)
  }

  input(input: CallInput): boolean {
    if (input.type === 'stream-opened') this.#streamOpened(input.openedAtMs, input.sampleRateHz)
    else if (input.type === 'amd-result') this.#amdResult(input)
    else return false
    return true
  }

  itemOver(itemId: string): void {
    if (itemId === this.#cutOffItemId) this.#cutOffAnnounced()
  }

  hear(fact: FactOf<typeof HEARS>): void {
    switch (fact.type) {
      case 'model-ready': {
        const { line, keypad } = this.call
        if (line.state === 'connecting' && !line.inAmd && !keypad.grants.has('consent')) this.begin()
        return
      }
      case 'agent-sounds':
        if (fact.kind === 'answer') this.call.clear('greeting')
        if (fact.itemId === this.#greetingItemId && this.call.line.state === 'live') this.#tellGreeting()
        return
      case 'agent-sounding':
        return fact.itemId === this.#cutOffItemId ? this.#cutOffAnnounced() : undefined
      case 'announce-failed':
        return this.#greetingFailed(fact.itemId)
      case 'response-unwanted':
        return this.call.floor.holds('greeting') ? this.call.mark('greeting-too-late') : undefined
      default:
        return
    }
  }

  #streamOpened(atMs: number | undefined, rateHz: LegRateHz): void {
    if (this.call.stream.openedAtMs !== null || this.call.line.state !== 'waiting') return
    const openedAtMs = atMs ?? this.call.nowMs
    const resume = this.call.resume
    const openedWallMs = resume?.streamOpenedWallMs ?? null
    const zeroMs =
      openedWallMs === null ? openedAtMs : Math.min(openedAtMs, openedWallMs - this.call.options.wallOffsetMs)
    const newStream = openedWallMs === null ? null : this.call.newStream
    const gapMs = newStream === null ? null : Math.max(0, openedAtMs - zeroMs - newStream.streamMs)
    this.call.stream.open(zeroMs, gapMs, rateHz)
    this.call.line.enter('connecting')
    if (newStream !== null) this.call.mark('resumed', `${Math.round(newStream.streamMs)} ms of stream before`)
    else if (openedWallMs !== null) this.call.mark('taken-over')
    else if (atMs === undefined) this.call.mark('stream-opened')
    else this.call.out({ type: 'mark', name: 'stream-opened', atMs })
    this.call.changed()
    // After a handover the new agent gets the full time limit, because the first agent may have used up the limit.
    const handedMs = this.call.log.handovers.at(-1)?.atMs ?? 0
    const untilMs = zeroMs + handedMs + this.call.stream.gapMs + this.call.options.duration.maxMs
    this.call.talk.agentQuietFromNow()
    this.call.tell({ type: 'stream-open', durationDueMs: untilMs })
    const asks = this.call.person.asked && this.call.newStream !== null
    // After a takeover, detection continues if its verdict is missing or is a recording. It does not continue if the
    // previous worker was ending the call.
    const screens = resume === null || asks || (resume.amd !== undefined && resume.state !== 'closing')
    if (this.call.options.amd !== null && screens) {
      this.call.line.setAmd(true)
      this.call.mark('amd')
      return
    }
    if (newStream !== null && !asks) {
      if (this.call.person.greeted)
        this.#cutOffItemId = this.call.talk.announce(this.call.text(this.call.options.cutOffText), 'prompt')
      return this.converse()
    }
    if (resume !== null && !asks && this.#resumeElsewhere(resume)) return
    this.converse()
  }

  /** Continues a taken-over call that was not in conversation. @returns false if the call was in conversation */
  #resumeElsewhere(resume: CallCheckpoint): boolean {
    switch (resume.state) {
      case 'closing': {
        const { ending, escalation } = resume
        // The stream was closed for a human, who may have the caller now.
        if (ending === null && escalation !== null) this.call.ask('endNow', 'escalated', escalation.reason, false)
        else
          this.call.ask(
            'endNow',
            ending?.reason ?? 'call-fault',
            ending?.detail ?? 'taken over while it was ending',
            true,
          )
        return true
      }
      case 'escalating':
      case 'holding': {
        const { reason, summary } = resume.escalation ?? { reason: '', summary: '' }
        this.call.ask(
          'continueEscalation',
          {
            reason,
            summary,
            origin: this.call.model.dead ? 'backend-failed' : 'agent',
            toolCallId: null,
          },
          resume.state === 'holding',
        )
        return true
      }
      case 'bridged':
        this.call.ask('bridge', 'supervision')
        return true
      case 'waiting':
      case 'live': {
        if (resume.ending === null) return false
        // The call waited for a tool with an effect. The state of that effect is now unknown.
        const { effects, goodbyeText } = this.call.options
        const words = () =>
          [effects?.said.uncertain, goodbyeText]
            .map((phrase) => this.call.text(phrase))
            .join(' ')
            .trim()
        this.call.ask('sayThenEnd', resume.ending.reason, resume.ending.detail, words, false)
        return true
      }
      default:
        return assertNever(resume.state)
    }
  }

  /** Starts the conversation. If a consent text is set, the caller first hears that the call is recorded. */
  converse(): void {
    if (this.call.ask('askConsent')) return
    if (!this.call.person.greeted) this.call.in('greeting', GREETING_DUE_MS)
    if (this.call.line.promised !== null) return this.begin()
    if (this.call.model.dead) return this.call.ask('failModel', 'died before the stream opened')
    if (this.call.model.ready) return this.begin()
    this.call.in('backend-ready', this.call.options.backendReadyTimeoutMs)
  }

  /** Handles the verdict of answering-machine detection in a call that the gateway placed, or a correction of it. */
  #amdResult({ who, why, beep }: AnswerVerdict): void {
    const { amd } = this.call.options
    const { state } = this.call.line
    const first = this.call.line.inAmd && state !== 'live'
    if (amd === null || (!first && who !== 'recording' && who !== 'machine')) return
    this.call.mark('answered-by', `${who}: ${why}`)
    this.call.changed()
    this.#recording = who === 'recording'
    // Only a beep deletes the wish for no more calls, because long words and a pause may also come from an annoyed
    // person.
    if (beep === true) this.call.out({ type: 'do-not-call-undone' })
    if (state !== 'connecting' && state !== 'live') {
      this.call.line.setAmd(false)
      // If an escalation does not reach a human, the agent listens to this person again.
      if (who === 'human') this.call.floor.open('recording')
      return
    }
    if (who === 'recording') return this.#hearOut()
    this.call.line.setAmd(false)
    this.call.talk.agentQuietFromNow()
    if (who === 'human' || (who === 'silence' && amd.onSilence === 'speak')) {
      this.call.floor.open('recording')
      return this.converse()
    }
    if (who === 'silence') return this.call.ask('endNow', 'nobody-there', why, true)
    const { message } = amd
    if (message === null) return this.call.ask('endNow', 'answering-machine', why, true)
    this.call.ask('sayThenEnd', 'answering-machine', why, () => this.call.text(message), state === 'live' || !first)
  }

  /**
   * Waits silently until a recording ends, as before the first verdict. The first verdict was wrong, because only a
   * recording had answered.
   */
  #hearOut(): void {
    this.call.line.setAmd(true)
    this.call.line.enter('connecting')
    this.call.floor.close('recording')
    this.call.tell({ type: 'recording-found' })
    this.call.talk.stopAgent()
  }

  /** Begins or continues the conversation, when the stream is open and the backend is ready. */
  begin(): void {
    this.call.clear('backend-ready')
    const promised = this.call.line.promised !== null
    if (!promised && !this.call.person.greeted && !this.#answersFirst && this.call.ask('awaitCaller', 'begin')) return
    this.call.line.enter('live')
    // The previous worker promised the call to another agent, which continues it.
    if (promised) return
    this.#conversationBegins()
    if (this.call.ask('tellCaller')) return
    this.#giveLost()
    if (this.call.person.greeted) {
      this.call.agentSpeech.greetingOver()
      if (this.call.agentSpeech.item(this.#greetingItemId)?.started === true) this.#tellGreeting()
      return this.#askForOwedResponse()
    }
    this.call.person.greet(true)
    if (this.#answersFirst) {
      this.call.mark('answers-first')
      this.call.agentSpeech.greetingOver()
      // Without this text the backend would answer its own interrupted words.
      if (this.#answerInterrupted)
        this.call.out({ type: 'backend-text', text: ANSWER_FIRST_TEXT, role: 'system', respond: true })
      return this.call.wait.forAnswer()
    }
    this.call.mark('kick-off')
    this.call.model.tell(this.call.options.kickOffText, true)
  }

  #conversationBegins(): void {
    this.#begun = true
    this.call.tell({ type: 'conversation-begins' })
  }

  #giveLost(): void {
    for (const { callId, value } of this.call.effects.ledger.takeLost())
      if (!this.call.person.asked) this.call.out({ type: 'backend-tool-result', callId, ok: false, value })
  }

  /**
   * Continues the conversation after an escalation that did not reach a human. If the call was escalated before the
   * conversation began at this worker, the conversation begins here.
   */
  continueAfterEscalation(): void {
    this.call.line.enter('live')
    if (!this.#begun) {
      this.#conversationBegins()
      this.#giveLost()
    }
    this.call.tell({ type: 'conversation-continues', after: 'escalation' })
  }

  /** Asks the backend for speech that the previous worker's backend had not completed. */
  #askForOwedResponse(): void {
    if (this.#greetingItemId !== null || this.#cutOffItemId !== null || this.call.owed === 'nothing') return
    this.call.mark('resume', this.call.owed)
    this.call.model.tell(this.call.options.resumeText, true)
  }

  /** Notes that the announcement of the cut-off line has begun, or cannot be spoken. */
  #cutOffAnnounced(): void {
    this.#cutOffItemId = null
    if (this.call.line.state === 'live' && this.call.line.promised === null) this.#askForOwedResponse()
  }

  /** Lets the answer to the caller's words replace the greeting. */
  answerFirst(answers: boolean, interrupted: boolean): void {
    this.#answersFirst = answers
    this.#answerInterrupted = interrupted
  }

  /** Lets the model greet, because the gateway's greeting will not be heard. */
  #greetingFailed(itemId: string): void {
    if (itemId !== this.#greetingItemId || this.call.line.state === 'escalating') return
    this.#greetingItemId = null
    if (this.call.floor.holds('greeting')) {
      this.call.floor.endGreeting()
      this.call.wait.forAnswer()
    } else if (this.call.talk.greetingMs === null) {
      this.call.person.greet(false)
      if (this.call.line.state === 'live') this.begin()
    }
  }

  /**
   * Greets in the model's place with the agent's greeting, or with a filler if the model chooses the greeting. The
   * model is informed when the caller hears the agent's greeting.
   */
  #greetingDue(): void {
    const { line, model, person } = this.call
    if ((line.state !== 'connecting' && line.state !== 'live') || model.spoke) return
    if (this.call.callerSpeech.speaking || this.call.talk.sounding || this.call.agentSpeech.anyOpen)
      return this.call.in('greeting', GREETING_POLL_MS)
    const { greeting, filler } = this.call.options
    const text = this.call.text(greeting ?? filler.texts[0])
    if (text === '') return
    this.call.mark('greeting-overdue')
    if (greeting === null) return void this.call.talk.announce(text, 'filler')
    this.#greetingItemId = this.call.talk.announce(text, 'prompt', 'greeting')
    if (!person.greeted) {
      person.greet(true)
    } else if (!this.call.talk.turns.waiting) {
      this.call.floor.close('greeting')
      this.call.wait.noAnswer()
    }
  }

  /** Informs the model of the gateway's greeting. */
  #tellGreeting(): void {
    const { greeting } = this.call.options
    if (greeting === null || !this.call.model.usable) return
    this.call.out({ type: 'backend-text', text: this.call.text(greeting), role: 'agent', respond: false })
  }
}
