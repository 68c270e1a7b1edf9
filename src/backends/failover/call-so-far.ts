import { BACKEND_PRE_ROLL_MS, BACKEND_WAITING_TEXTS_MAX, INPUT_REPLAY_MARGIN_MS, INPUT_REPLAY_MS } from '../../core/limits.js'
import { frameSamples, msToSamples, samplesToMs } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import { AudioHistory } from './audio-history.js'
import type { BackendEvent, BackendSession, HistoryEntry, ToolLedgerEntry } from '../backend.js'
import { openingText } from '../prompts.js'
import { CallMemory } from './call-memory.js'
import type { MemberSession } from './member-session.js'
import { OpenAnswers } from './open-answers.js'
import type { OpenAnswer } from './open-answers.js'
import { OpenInputs } from './open-inputs.js'
import { reFeed } from './re-feed.js'
import { lateToolText, recapText } from './texts.js'
import type { BackendTimers } from './timers.js'
import { ToolMemory } from './tool-memory.js'

type EventOf<T extends BackendEvent['type']> = Extract<BackendEvent, { readonly type: T }>

export interface CallSoFarOptions {
  readonly timers: BackendTimers
  readonly inputRateHz: SampleRateHz
  /** Nobody marks the caller's speech: all audio since the last answer counts. */
  readonly unmarked: boolean
  readonly reFeedMs: number | undefined
}

/** What giving a session the open rest of a call came to. */
export interface Told {
  readonly fedSamples: number
  /** Of open speech, too old to be there any more. */
  readonly lostSamples: number
  readonly texts: number
  readonly inputs: number
}

/**
 * Everything that a session must know or be given to go on with a call, kept by what goes through to the sessions before
 * it and by what they say: words as far as they were heard, tools and their results, the inputs that have no answer yet,
 * and the caller's samples from the first of those on.
 */
export class CallSoFar {
  readonly inputs = new OpenInputs()
  readonly answers = new OpenAnswers()
  tools = new ToolMemory([])
  /** Raised by everything that a session which is being prepared would have to know. */
  activity = 0
  /** When the sound that was delivered will have been heard. */
  speaksUntilMs = -Infinity
  readonly #timers: BackendTimers
  readonly #unmarked: boolean
  readonly #rateHz: SampleRateHz
  readonly #history: AudioHistory
  readonly #frame: Int16Array
  readonly #marginSamples: number
  readonly #preRollSamples: number
  readonly #notes: string[] = []
  #memory = new CallMemory([])
  /** The unanswered part of the caller's audio that has voice in it, where nobody marks speech; null: it has none. */
  #voicedFrom: number | null = null
  #voicedTo = 0
  #speechFrom = 0

  constructor({ timers, inputRateHz, unmarked, reFeedMs = INPUT_REPLAY_MS }: CallSoFarOptions) {
    this.#timers = timers
    this.#unmarked = unmarked
    this.#rateHz = inputRateHz
    this.#frame = new Int16Array(frameSamples(inputRateHz))
    this.#marginSamples = msToSamples(INPUT_REPLAY_MARGIN_MS, inputRateHz)
    this.#preRollSamples = msToSamples(BACKEND_PRE_ROLL_MS, inputRateHz)
    this.#history = new AudioHistory({ sampleRateHz: inputRateHz, keepMsMax: Math.max(INPUT_REPLAY_MARGIN_MS, reFeedMs) })
  }

  get frameSamples(): number {
    return this.#frame.length
  }

  /** What was said and done before this life of the call. */
  begin(session: BackendSession): void {
    this.#memory = new CallMemory(session.history)
    this.tools = new ToolMemory(session.toolLedger)
  }

  /** For the session of a backend that is connected now. */
  get known(): { readonly history: readonly HistoryEntry[]; readonly toolLedger: readonly ToolLedgerEntry[] } {
    // Words whose sound will be given again would be there twice.
    return { history: this.#memory.history((order) => this.inputs.isOpen(order)), toolLedger: this.tools.ledger() }
  }

  release(): void {
    this.#history.release()
  }

  // --- what goes to the backends ----------------------------------------------------------------------------

  /** @param voiced  the gateway found voice in it */
  audio(pcm: Int16Array, voiced: boolean): void {
    if (voiced && this.#unmarked) this.#voicedFrom ??= this.#history.written
    this.#history.push(pcm)
    if (voiced) this.#voicedTo = this.#history.written
    this.#history.forget(this.#replayFrom())
  }

  /** @param atMs  the first voiced sample */
  speechStarted(atMs: number): void {
    const behind = Math.max(0, msToSamples(this.#timers.nowMs() - atMs, this.#rateHz))
    const start = Math.max(this.#history.oldest, this.#history.written - behind)
    // At the beginning of a frame, so that whole frames are given again.
    this.#speechFrom = Math.floor(start / this.#frame.length) * this.#frame.length
    this.inputs.speechStarted(this.#speechFrom)
  }

  /**
   * @param atMs  the last voiced sample
   * @returns how long the speech was
   */
  speechEnded(atMs: number): number {
    this.inputs.speechEnded(this.#history.written)
    return samplesToMs(this.#history.written - this.#speechFrom, this.#rateHz) - (this.#timers.nowMs() - atMs)
  }

  question(text: string, role: 'caller' | 'system'): void {
    this.activity++
    this.inputs.text(text, role, this.#history.written)
  }

  note(text: string): void {
    this.activity++
    this.#notes.push(text)
    if (this.#notes.length > BACKEND_WAITING_TEXTS_MAX) this.#notes.shift()
  }

  digit(digit: string): void {
    this.activity++
    this.inputs.digit(digit, this.#history.written)
  }

  interrupted(itemId: string | null, playedMs: number): void {
    this.speaksUntilMs = this.#timers.nowMs()
    this.#memory.interrupted(itemId, playedMs, (generation) => this.answers.has(generation))
  }

  // --- what they say ----------------------------------------------------------------------------------------

  answer(generation: number): OpenAnswer {
    return this.answers.get(generation) ?? this.answers.begin(generation, this.inputs.takeOrder(), this.#history.written)
  }

  sound(generation: number, itemId: string, ms: number): void {
    const answer = this.answer(generation)
    answer.soundMs += ms
    answer.itemsOpen.add(itemId)
    this.speaksUntilMs = Math.max(this.speaksUntilMs, this.#timers.nowMs()) + ms
    this.#memory.sound(itemId, ms, answer.order, generation)
    // A service that goes on speaking has heard this voice and has not taken it for a turn.
    if (this.#voicedFrom !== null && this.#voicedFrom >= answer.at) this.#settled(this.#history.written - this.#marginSamples)
  }

  audioDone({ generation, itemId }: EventOf<'audio-done'>): void {
    this.answers.get(generation)?.itemsOpen.delete(itemId)
    this.#memory.whole(itemId)
  }

  /** @returns the answer that ended, undefined for one that was never begun */
  turnDone({ generation, status }: EventOf<'turn-done'>): OpenAnswer | undefined {
    const answer = this.answers.end(generation)
    if (answer === undefined || answer.calls > 0) return answer
    // Who interrupts an answer has heard that there is one.
    if (status !== 'completed' && (status !== 'cancelled' || answer.soundMs === 0)) return answer
    this.inputs.answered(answer.order)
    this.#settled(answer.at)
    return answer
  }

  agentWords({ itemId, text, generation }: EventOf<'transcript'>): void {
    // Words may come when their answer is over.
    const order = this.answers.get(generation)?.order ?? this.#memory.orderOf('agent', itemId) ?? this.inputs.takeOrder()
    this.#memory.words('agent', itemId, text, order, generation)
  }

  /** @returns true when they are a question that has no answer yet */
  callerWords({ itemId, text, final, generation }: EventOf<'transcript'>): boolean {
    this.activity++
    const order = this.#memory.orderOf('caller', itemId) ?? this.inputs.heardNow()?.order ?? this.inputs.takeOrder()
    this.#memory.words('caller', itemId, text, order, generation)
    return final && text.trim() !== '' && this.inputs.isOpen(order) && !this.inputs.speaking
      && !this.answers.sounding && !this.tools.running
  }

  // --- the next one -----------------------------------------------------------------------------------------

  /**
   * Tells a session that is ready what it does not know yet, and gives it what nobody has answered.
   * @param kickOff  it must be begun, whatever there is
   */
  tell(session: MemberSession, base: BackendSession, kickOff: boolean): Told {
    const { backend } = session
    const inputs = [...this.inputs.list]
    const { history, toolLedger } = this.known
    const note = (text: string): void => backend.sendText(text, { role: 'system', respond: false })
    for (const text of this.#notes) note(text)
    if (session.stale) note(recapText(history, toolLedger))
    else for (const { name, reply } of this.tools.answersSince(session.answersKnown)) note(lateToolText(name, reply))
    if (kickOff && inputs[0]?.type !== 'text') backend.sendText('', { role: 'system', respond: true })
    const from = this.#replayFrom()
    const lostSamples = Math.max(0, this.#history.oldest - from)
    const fedSamples = reFeed({
      session, history: this.#history, from, inputs, timers: this.#timers, frame: this.#frame,
      // To begin means something else for a session that was connected before anything was said.
      wording: (text) => (text === '' && session.stale ? openingText({ ...base, history }) : text),
    })
    return { fedSamples, lostSamples, texts: inputs.filter((input) => input.type === 'text').length, inputs: inputs.length }
  }

  /** The caller needs no answer to voice before `position`. */
  #settled(position: number): void {
    if (this.#voicedFrom === null || this.#voicedFrom >= position) return
    this.#voicedFrom = this.#voicedTo <= position ? null : position
  }

  /**
   * The oldest sample that another backend may need, at the beginning of a frame: speech without an answer with its
   * pre-roll, and as much of the newest audio as speech that is reported now may have begun in.
   */
  #replayFrom(): number {
    const speechFrom = Math.min(this.inputs.firstSpeechAt ?? Infinity, this.#voicedFrom ?? Infinity)
    const from = Math.min(this.#history.written - this.#marginSamples, speechFrom - this.#preRollSamples)
    return Math.max(0, Math.floor(from / this.#frame.length) * this.#frame.length)
  }
}
