import { assertNever } from '../../core/assert.js'
import type { AnswerVerdict } from '../turns/answering-machine-detector.js'
import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { CallKernel } from '../call-kernel.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import type { CallInput } from '../events.js'
import type { FactOf } from '../facts.js'

/**
 * A caller who has heard nothing of the agent for this long gets the greeting from the gateway. Models that work greet within 2 s;
 * callers say "hello?" after 3 to 4.
 */
const GREETING_DUE_MS = 3000
const GREETING_POLL_MS = 100
/** To the model, whose own answer was cut off. */
const ANSWER_FIRST_TEXT = 'Greet the caller in a word or two, and answer what they have just said.'

const HEARS = ['model-ready', 'agent-sounds', 'agent-sounding', 'announce-failed', 'response-unwanted'] as const

/**
 * The beginning of a call: the stream opens, somebody has taken the call, the conversation starts or continues. The model greets, or
 * the gateway if that comes too late.
 */
export class Opening extends Feature implements CallFeature {
  readonly hears = HEARS
  readonly answers = ['converse', 'answerFirst', 'begin', 'continueAfterEscalation'] as const
  /** The words that the line was cut off, until they begin: a backend's answer must not come before them. */
  #cutOffItemId: string | null = null
  /** The caller has asked for something already: it is answered, and takes the place of the greeting. */
  #answersFirst = false
  /** The model's answer to that was cut off. */
  #answerInterrupted = false
  /** A recording has the call. */
  #recording: boolean
  #begun = false
  /** The greeting that the gateway says because the model does not. */
  #greetingItemId: string | null = null

  constructor(call: CallKernel) {
    super(call)
    this.#recording = call.resume?.amd === 'recording'
  }

  checkpoint(): Pick<CallCheckpoint, 'amd' | 'greeted' | 'greetingMs'> {
    return {
      // A greeting that was requested but never heard must still be given.
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
    if (input.type === 'stream-opened') this.#streamOpened(input.openedAtMs)
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

  #streamOpened(atMs: number | undefined): void {
    if (this.call.stream.openedAtMs !== null || this.call.line.state !== 'waiting') return
    const openedAtMs = atMs ?? this.call.nowMs
    const resume = this.call.resume
    const openedWallMs = resume?.streamOpenedWallMs ?? null
    const zeroMs =
      openedWallMs === null ? openedAtMs : Math.min(openedAtMs, openedWallMs - this.call.options.wallOffsetMs)
    const newStream = openedWallMs === null ? null : this.call.newStream
    this.call.stream.open(zeroMs, newStream === null ? null : Math.max(0, openedAtMs - zeroMs - newStream.streamMs))
    this.call.line.enter('connecting')
    if (newStream !== null) this.call.mark('resumed', `${Math.round(newStream.streamMs)} ms of stream before`)
    else if (openedWallMs !== null) this.call.mark('taken-over')
    else if (atMs === undefined) this.call.mark('stream-opened')
    else this.call.out({ type: 'mark', name: 'stream-opened', atMs })
    this.call.changed()
    // Whoever was handed the call has the whole of its own limit: else the caller might get it for no time at all.
    const handedMs = this.call.log.handovers.at(-1)?.atMs ?? 0
    const untilMs = zeroMs + handedMs + this.call.stream.gapMs + this.call.options.duration.maxMs
    this.call.talk.agentQuietFromNow()
    this.call.tell({ type: 'stream-open', durationDueMs: untilMs })
    const asks = this.call.person.unconfirmed !== null && this.call.newStream !== null
    // Whoever had the call before did not know either who took it, or has heard a recording, and was not ending it.
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

  /** Continues a taken-over call that was not in conversation. @returns false when it was in conversation */
  #resumeElsewhere(resume: CallCheckpoint): boolean {
    switch (resume.state) {
      case 'closing': {
        const { ending, escalation } = resume
        // The stream was closed for a human, who may have the caller by now.
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
        // It waited for a tool with an effect, of which nobody knows now.
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

  /** Starts the conversation. Where a consent text is set, the caller hears first that the call is recorded. */
  converse(): void {
    if (this.call.ask('askConsent')) return
    if (!this.call.person.greeted) this.call.in('greeting', GREETING_DUE_MS)
    if (this.call.line.promised !== null) return this.begin()
    if (this.call.model.dead) return this.call.ask('failModel', 'died before the stream opened')
    if (this.call.model.ready) return this.begin()
    this.call.in('backend-ready', this.call.options.backendReadyTimeoutMs)
  }

  /** The verdict on who took a call that we placed, or what corrects it. */
  #amdResult({ who, why, beep }: AnswerVerdict): void {
    const { amd } = this.call.options
    const { state } = this.call.line
    const first = this.call.line.inAmd && state !== 'live'
    if (amd === null || (!first && who !== 'recording' && who !== 'machine')) return
    this.call.mark('answered-by', `${who}: ${why}`)
    this.call.changed()
    this.#recording = who === 'recording'
    // Long words and a pause may be those of a person who is annoyed.
    if (beep === true) this.call.out({ type: 'do-not-call-undone' })
    if (state !== 'connecting' && state !== 'live') {
      this.call.line.setAmd(false)
      // Whoever comes back from a human that was not reached is heard.
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

  /** A recording was taken for a person: the agent is silent until its end, as before the first verdict. */
  #hearOut(): void {
    this.call.line.setAmd(true)
    this.call.line.enter('connecting')
    this.call.floor.close('recording')
    this.call.tell({ type: 'recording-found' })
    this.call.talk.stopAgent()
  }

  /** Stream open and backend ready: the conversation begins, or goes on. */
  begin(): void {
    this.call.clear('backend-ready')
    const promised = this.call.line.promised !== null
    if (!promised && !this.call.person.greeted && !this.#answersFirst && this.call.ask('awaitCaller', 'begin')) return
    this.call.line.enter('live')
    // Whoever had the call has promised another agent, who goes on with it.
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
      // Otherwise it answers what it has just heard of itself.
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
      if (this.call.person.unconfirmed === null)
        this.call.out({ type: 'backend-tool-result', callId, ok: false, value })
  }

  /** Nobody could be reached: the conversation goes on. It has not begun here where the escalation came first, or is older. */
  continueAfterEscalation(): void {
    this.call.line.enter('live')
    if (!this.#begun) {
      this.#conversationBegins()
      this.#giveLost()
    }
    this.call.tell({ type: 'conversation-continues', after: 'escalation' })
  }

  /** Asks the backend for what the one of the previous worker owed. */
  #askForOwedResponse(): void {
    if (this.#greetingItemId !== null || this.#cutOffItemId !== null || this.call.owed === 'nothing') return
    this.call.mark('resume', this.call.owed)
    this.call.model.tell(this.call.options.resumeText, true)
  }

  /** The words that the line was cut off have begun, or cannot be said. */
  #cutOffAnnounced(): void {
    this.#cutOffItemId = null
    if (this.call.line.state === 'live' && this.call.line.promised === null) this.#askForOwedResponse()
  }

  /** The caller's own words take the greeting's place. */
  answerFirst(answers: boolean, interrupted: boolean): void {
    this.#answersFirst = answers
    this.#answerInterrupted = interrupted
  }

  /** The gateway's greeting will not be heard: the model gives it. */
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
   * The model has not greeted. The gateway does it with the agent's words, or with a filler if the model was to find
   * them; the model learns of it when the caller hears it.
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

  /** The model is to know what the gateway said in its place. */
  #tellGreeting(): void {
    const { greeting } = this.call.options
    if (greeting === null || !this.call.model.usable) return
    this.call.out({ type: 'backend-text', text: this.call.text(greeting), role: 'agent', respond: false })
  }
}
