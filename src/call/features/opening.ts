import { assertNever } from '../../core/assert.js'
import type { AnswerVerdict } from '../answering-machine-detector.js'
import { Feature, OF_THE_CONVERSATION } from '../call-feature.js'
import type { CallFeature, DeadlineName } from '../call-feature.js'
import type { CallKernel } from '../call-kernel.js'
import type { CallCheckpoint, NewStream, OwedAnswer } from '../documents/checkpoint.js'
import type { CallInput } from '../events.js'

/**
 * A caller who has heard nothing of the agent for this long gets the greeting from the gateway. Models that work greet within 2 s;
 * callers say "hello?" after 3 to 4.
 */
const GREETING_DUE_MS = 3000
/** To the model, whose own answer was cut off. */
const ANSWER_FIRST_TEXT = 'Greet the caller in a word or two, and answer what they have just said.'

/** With the stream the speech was lost that waited in shared memory or was on its way. */
function owedBy({ owed, openTranscript }: CallCheckpoint, newStream: NewStream | null): OwedAnswer {
  if (newStream === null || owed !== 'nothing') return owed
  return openTranscript.some(({ role }) => role === 'agent') ? 'rest-of-answer' : 'nothing'
}

/**
 * The beginning of a call: the stream opens, somebody has taken the call, the conversation starts or goes on.
 */
export class Opening extends Feature implements CallFeature {
  /** Speech that the caller still waits for from the previous worker. */
  readonly owed: OwedAnswer
  /** The words that the line was cut off, until they begin: a backend's answer must not come before them. */
  cutOffItemId: string | null = null
  /** The caller has asked for something already: it is answered, and takes the place of the greeting. */
  answersFirst = false
  /** It is not yet known who took the outbound call, or it is a recording: the agent is silent and does not listen. */
  amd = false
  /** The second of the two. */
  #recording: boolean
  #begun = false

  constructor(call: CallKernel) {
    super(call)
    const { resume, newStream } = call
    this.owed = resume === null ? 'nothing' : owedBy(resume, newStream)
    this.#recording = resume?.amd === 'recording'
  }

  checkpoint(): Pick<CallCheckpoint, 'amd'> {
    return this.amd ? { amd: this.#recording ? 'recording' : 'undecided' } : {}
  }

  due(name: DeadlineName): void {
    if (name === 'backend-ready')
      this.call.backend.failed(`not ready ${this.call.options.backendReadyTimeoutMs} ms after the stream opened`)
  }

  input(input: CallInput): boolean {
    if (input.type === 'stream-opened') this.#streamOpened(input.openedAtMs)
    else if (input.type === 'amd-result') this.#amdResult(input)
    else return false
    return true
  }

  itemOver(itemId: string): void {
    if (itemId === this.cutOffItemId) this.cutOffAnnounced()
  }

  #streamOpened(atMs: number | undefined): void {
    if (this.call.streamOpenedAtMs !== null || this.call.state !== 'waiting') return
    const openedAtMs = atMs ?? this.call.nowMs
    const resume = this.call.resume
    const openedWallMs = resume?.streamOpenedWallMs ?? null
    this.call.streamOpenedAtMs =
      openedWallMs === null ? openedAtMs : Math.min(openedAtMs, openedWallMs - this.call.options.wallOffsetMs)
    this.call.enter('connecting')
    const newStream = openedWallMs === null ? null : this.call.newStream
    if (newStream !== null) this.call.gapMs = Math.max(0, openedAtMs - this.call.streamOpenedAtMs - newStream.streamMs)
    if (newStream !== null) this.call.mark('resumed', `${Math.round(newStream.streamMs)} ms of stream before`)
    else if (openedWallMs !== null) this.call.mark('taken-over')
    else if (atMs === undefined) this.call.mark('stream-opened')
    else this.call.out({ type: 'mark', name: 'stream-opened', atMs })
    this.call.changed()
    // Whoever was handed the call has the whole of its own limit: else the caller might get it for no time at all.
    const handedMs = this.call.log.handovers.at(-1)?.atMs ?? 0
    const untilMs = this.call.streamOpenedAtMs + handedMs + this.call.gapMs + this.call.options.duration.maxMs
    this.call.deadlines.set('duration', untilMs)
    this.call.agentQuietFromNow()
    this.call.digits.streamOpens()
    const asks = this.call.ringBack.unconfirmed !== null && this.call.newStream !== null
    // Whoever had the call before did not know either who took it, or has heard a recording, and was not ending it.
    const screens = resume === null || asks || (resume.amd !== undefined && resume.state !== 'closing')
    if (this.call.options.amd !== null && screens) {
      this.amd = true
      this.call.mark('amd')
      return
    }
    if (newStream !== null && !asks) {
      if (this.call.greeting.done)
        this.cutOffItemId = this.call.announce(this.call.text(this.call.options.cutOffText), 'prompt')
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
        if (ending === null && escalation !== null) this.call.ending.endNow('escalated', escalation.reason, false)
        else this.call.ending.endNow(ending?.reason ?? 'call-fault', ending?.detail ?? 'taken over while it was ending')
        return true
      }
      case 'escalating':
      case 'holding': {
        const { reason, summary } = resume.escalation ?? { reason: '', summary: '' }
        this.call.escalation.resume(
          {
            reason,
            summary,
            origin: this.call.backend.dead ? 'backend-failed' : 'agent',
            toolCallId: null,
          },
          resume.state === 'holding',
        )
        return true
      }
      case 'bridged':
        this.call.escalation.bridged('supervision')
        return true
      case 'waiting':
      case 'live': {
        if (resume.ending === null) return false
        // It waited for a tool with an effect, of which nobody knows now.
        const { effects, goodbyeText } = this.call.options
        const words = [effects?.said.uncertain, goodbyeText].map((phrase) => this.call.text(phrase)).join(' ')
        this.call.ending.speakThenEnd(resume.ending.reason, resume.ending.detail, words.trim(), false)
        return true
      }
      default:
        return assertNever(resume.state)
    }
  }

  /** Starts the conversation. Where a consent text is set, the caller hears first that the call is recorded. */
  converse(): void {
    const consentText = this.call.text(this.call.options.consentText)
    if (consentText !== '' && this.call.consent.ask(consentText)) return
    if (!this.call.greeting.done) this.call.in('greeting', GREETING_DUE_MS)
    if (this.call.handover.to !== null) return this.begin()
    if (this.call.backend.dead) return this.call.backend.failed('died before the stream opened')
    if (this.call.backend.ready) return this.begin()
    this.call.in('backend-ready', this.call.options.backendReadyTimeoutMs)
  }

  /** The verdict on who took a call that we placed, or what corrects it. */
  #amdResult({ who, why, beep }: AnswerVerdict): void {
    const { amd } = this.call.options
    const { state } = this.call
    const first = this.amd && state !== 'live'
    if (amd === null || (!first && who !== 'recording' && who !== 'machine')) return
    this.call.mark('answered-by', `${who}: ${why}`)
    this.call.changed()
    this.#recording = who === 'recording'
    // Long words and a pause may be those of a person who is annoyed.
    if (beep === true) this.call.out({ type: 'do-not-call-undone' })
    if (state !== 'connecting' && state !== 'live') {
      this.amd = false
      return
    }
    if (who === 'recording') return this.#hearOut()
    this.amd = false
    this.call.agentQuietFromNow()
    if (who === 'human' || (who === 'silence' && amd.onSilence === 'speak')) {
      this.call.agentSpeech.open()
      return this.converse()
    }
    if (who === 'silence') return this.call.ending.endNow('nobody-there', why)
    if (amd.message === null) return this.call.ending.endNow('answering-machine', why)
    this.call.ending.speakThenEnd('answering-machine', why, this.call.text(amd.message), state === 'live' || !first)
  }

  /** A recording was taken for a person: the agent is silent until its end, as before the first verdict. */
  #hearOut(): void {
    this.amd = true
    this.call.enter('connecting')
    this.call.consent.withdraw()
    this.call.callBack.withdraw()
    this.call.digits.abandon()
    this.call.stopAgent()
    this.call.agentSpeech.close()
    this.call.clear(...OF_THE_CONVERSATION)
  }

  /** Stream open and backend ready: the conversation begins, or goes on. */
  begin(): void {
    this.call.clear('backend-ready')
    const promised = this.call.handover.to !== null
    if (!promised && !this.call.greeting.done && !this.answersFirst && this.call.caller.holdsGreeting()) return
    this.call.enter('live')
    // Whoever had the call has promised another agent, who goes on with it.
    if (promised) return
    this.#conversationBegins()
    if (this.call.caller.tell()) return
    this.#giveLost()
    if (this.call.greeting.done) {
      this.call.agentSpeech.greetingOver()
      if (this.call.agentSpeech.item(this.call.greeting.itemId)?.started === true) this.call.greeting.tell()
      return this.#askForOwedResponse()
    }
    this.call.greeting.done = true
    if (this.answersFirst) {
      this.call.mark('answers-first')
      this.call.agentSpeech.greetingOver()
      // Otherwise it answers what it has just heard of itself.
      if (this.call.consent.interrupted)
        this.call.out({ type: 'backend-text', text: ANSWER_FIRST_TEXT, role: 'system', respond: true })
      return this.call.awaitAnswer()
    }
    this.call.mark('kick-off')
    this.call.tellModel(this.call.options.kickOffText, true)
  }

  #conversationBegins(): void {
    this.#begun = true
    this.call.consent.tellRefusal()
    this.call.handover.tellGone()
    this.call.in('silence', this.call.options.silence.afterMs)
    this.call.digits.conversationBegins()
    this.call.claims.await()
    this.call.waits.watch()
    this.call.stages.begin()
  }

  #giveLost(): void {
    for (const { callId, value } of this.call.ledger.takeLost())
      if (this.call.ringBack.unconfirmed === null)
        this.call.out({ type: 'backend-tool-result', callId, ok: false, value })
  }

  /** Nobody could be reached: the conversation goes on. It has not begun here where the escalation came first, or is older. */
  afterEscalation(): void {
    this.call.enter('live')
    if (!this.#begun) {
      this.#conversationBegins()
      this.#giveLost()
    }
    this.call.in('silence', this.call.options.silence.afterMs)
  }

  /** Asks the backend for what the one of the previous worker owed. */
  #askForOwedResponse(): void {
    if (this.call.greeting.itemId !== null || this.cutOffItemId !== null || this.owed === 'nothing') return
    this.call.mark('resume', this.owed)
    this.call.tellModel(this.call.options.resumeText, true)
  }

  /** The words that the line was cut off have begun, or cannot be said. */
  cutOffAnnounced(): void {
    this.cutOffItemId = null
    if (this.call.state === 'live' && this.call.handover.to === null) this.#askForOwedResponse()
  }
}
