import { asksForAnswer, waitOf, type ToolWait } from '../../call/backend-events.js'
import { sameJson } from '../../call/tools/tool-ledger.js'
import {
  BACKEND_PRE_ROLL_MS,
  BACKEND_TOOL_CALLS_KEPT,
  BACKEND_TRANSCRIPT_CHARS_MAX,
  BACKEND_WAITING_TEXTS_MAX,
  INPUT_REPLAY_MARGIN_MS,
  TRANSCRIPT_ENTRIES_MAX,
} from '../../core/limits.js'
import { frameSamples, msToSamples, samplesToMs } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import type { BackendEvent, BackendSession, HistoryEntry, ToolLedgerEntry, ToolReply } from '../backend.js'
import { lateToolText, openingText, recapText } from '../prompts.js'
import type { BackendTimers } from '../timers.js'
import { CallerAudio } from './caller-audio.js'
import type { CandidateSession } from './backend-list.js'

/** Maximum unanswered caller audio in ms that is stored for another backend. */
const INPUT_REPLAY_MS = 10_000
/** Maximum number of utterances, DTMF digits and texts of one call that wait for their answer. */
const OPEN_INPUTS_MAX = 64

type EventOf<T extends BackendEvent['type']> = Extract<BackendEvent, { readonly type: T }>

type Input =
  | { readonly type: 'speech'; end: number | null }
  | { readonly type: 'text'; readonly text: string; readonly role: 'caller' | 'system' }
  | { readonly type: 'digit'; readonly digit: string }
/**
 * One input without a complete answer. `at` (the input's beginning) and `end` are positions in the caller's audio, in
 * samples.
 */
type OpenInput = Input & { readonly order: number; readonly at: number }

/** True if the answer's audio was only silence. Such an answer does not answer any input. */
export function isSilent({ soundMs, silentMs, toolCalls }: OpenAnswer): boolean {
  return soundMs === 0 && silentMs > 0 && toolCalls === 0
}

/**
 * Data with which a backend can continue a call after another backend: the words that were heard, the tool calls and
 * their results, and the inputs without a complete answer. The history also has the caller's audio from the first of
 * these inputs.
 *
 *     input: (new) --speech, text, digit--> open --a later answer is complete--> (removed)
 *
 * Speech that has not ended stays open, even if an answer to its first part is complete.
 */
export class CallHistory {
  /**
   * Answers that have not ended, by generation, oldest first. If a backend queues its answers, there may be several.
   */
  readonly answers = new Map<number, OpenAnswer>()
  /** Number of changes; shows whether a connecting or standby session has missed changes. */
  activity = 0
  /** Time at which the playout of all delivered sound ends. */
  speaksUntilMs = -Infinity
  /** Number of tool results so far on this media worker. */
  toolAnswers = 0
  readonly #timers: BackendTimers
  readonly #rateHz: SampleRateHz
  readonly #serverVad: boolean
  readonly #audio: CallerAudio
  readonly #frameSamples: number
  readonly #marginSamples: number
  readonly #preRollSamples: number
  readonly #inputs: OpenInput[] = []
  readonly #notes: string[] = []
  #order = 0
  #words = new SpokenWords([])
  #tools: ToolCall[] = []
  #speechFrom = 0
  /**
   * Positions in the caller's audio; used if services detect the turns. Audio before `#answeredTo` has an answer and is
   * not replayed. Voice from `#voicedFrom` to `#voicedTo` has no answer yet.
   */
  #answeredTo = 0
  #voicedFrom: number | null = null
  #voicedTo = 0

  /** @param serverVad  true if services, not the gateway, detect the caller's turns */
  constructor(timers: BackendTimers, rateHz: SampleRateHz, serverVad: boolean) {
    this.#timers = timers
    this.#rateHz = rateHz
    this.#serverVad = serverVad
    this.#frameSamples = frameSamples(rateHz)
    this.#marginSamples = msToSamples(INPUT_REPLAY_MARGIN_MS, rateHz)
    this.#preRollSamples = msToSamples(BACKEND_PRE_ROLL_MS, rateHz)
    this.#audio = new CallerAudio(rateHz, INPUT_REPLAY_MS)
  }

  /** Copies the history and the tool results of `session`. */
  begin(session: BackendSession): void {
    this.#words = new SpokenWords(session.history)
    this.#tools = session.toolLedger
      .slice(-BACKEND_TOOL_CALLS_KEPT)
      .map(({ callId, name, args, ok, result, pending }) => ({
        callId,
        name,
        args,
        waited: 'now',
        reply: { ok, value: result, ...(pending === undefined ? {} : { pending }) },
        owed: pending === true,
        joined: [],
        answer: 0,
      }))
  }

  /** @returns the history for a session that connects now. It does not contain words whose audio will be replayed */
  get known(): { readonly history: readonly HistoryEntry[]; readonly toolLedger: readonly ToolLedgerEntry[] } {
    const toolLedger = this.#tools.flatMap(({ callId, name, args, reply }) =>
      reply === null
        ? []
        : [
            {
              ...{ callId, name, args, ok: reply.ok, result: reply.value },
              ...(reply.pending === undefined ? {} : { pending: reply.pending }),
            },
          ],
    )
    return { history: this.#words.history((order) => this.#isOpen(order)), toolLedger }
  }

  /** Removes the conversation before the caller's last words. */
  forget(): void {
    this.#words.forget()
  }

  get hasOpenInputs(): boolean {
    return this.#inputs.length > 0
  }

  get callerSpeaking(): boolean {
    return this.#inputs.some((input) => input.type === 'speech' && input.end === null)
  }

  /** True if an open answer has made a sound. */
  get answerSounding(): boolean {
    for (const answer of this.answers.values()) if (answer.soundMs > 0) return true
    return false
  }

  get toolsRunning(): boolean {
    return this.#tools.some((call) => call.reply === null)
  }

  release(): void {
    this.#audio.release()
  }

  // --- input that the backends get -----------------------------------------------------------------------------

  /** @param voiced  true if the gateway's VAD found voice in the frame */
  audio(pcm: Int16Array, voiced: boolean): void {
    if (voiced && this.#serverVad) this.#voicedFrom ??= this.#audio.written
    this.#audio.push(pcm)
    if (voiced) this.#voicedTo = this.#audio.written
    this.#audio.forget(this.#replayFrom())
  }

  /** @param atMs  time of the first voiced sample */
  speechStarted(atMs: number): void {
    const behind = Math.max(0, msToSamples(this.#timers.nowMs() - atMs, this.#rateHz))
    const start = Math.max(this.#audio.oldest, this.#audio.written - behind)
    this.#speechFrom = this.#frameStart(start)
    if (!this.callerSpeaking) this.#open({ type: 'speech', end: null }, this.#speechFrom)
  }

  /**
   * @param atMs time of the last voiced sample
   * @returns duration of the speech in ms
   */
  speechEnded(atMs: number): number {
    const end = this.#audio.written
    for (const input of this.#inputs)
      if (input.type === 'speech' && input.end === null) input.end = Math.max(input.at, end)
    return samplesToMs(end - this.#speechFrom, this.#rateHz) - (this.#timers.nowMs() - atMs)
  }

  /**
   * Removes the last speech from the open inputs, because it may not be meant for the agent. So another backend does
   * not get this speech.
   */
  speechWeighed(): void {
    const at = this.#inputs.findLastIndex(({ type }) => type === 'speech')
    if (at >= 0) this.#inputs.splice(at, 1)
  }

  question(text: string, role: 'caller' | 'system'): void {
    this.activity++
    this.#open({ type: 'text', text, role })
  }

  note(text: string): void {
    this.activity++
    this.#notes.push(text)
    if (this.#notes.length > BACKEND_WAITING_TEXTS_MAX) this.#notes.shift()
  }

  /** Records words that the gateway spoke in the agent's place. */
  agentSaid(text: string): void {
    this.activity++
    this.#words.said(text, this.#order++)
  }

  digit(digit: string): void {
    this.activity++
    this.#open({ type: 'digit', digit })
  }

  interrupted(itemId: string | null, playedMs: number): void {
    this.speaksUntilMs = this.#timers.nowMs()
    this.#words.interrupted(itemId, playedMs, (generation) => this.answers.has(generation))
  }

  /**
   * Closes the open inputs, because the gateway itself answered the caller. Another backend does not get these inputs.
   */
  inputsOver(): void {
    this.#inputs.length = 0
    this.#answeredTo = Math.max(this.#answeredTo, this.#frameStart(this.#audio.written))
    this.#voicedFrom = null
  }

  /**
   * @returns the tool's name, and the ids of all tool calls that get this result, `callId` first; null for an unknown
   * or answered tool call
   */
  toolAnswered(
    callId: string,
    reply: ToolReply,
  ): { readonly callIds: readonly string[]; readonly name: string; readonly asksForAnswer: boolean } | null {
    const call = this.#tools.findLast((one) => one.callId === callId)
    if (call === undefined || call.reply !== null) return null
    call.reply = reply
    call.owed = reply.pending === true
    call.answer = ++this.toolAnswers
    this.activity++
    return {
      callIds: [callId, ...call.joined],
      name: call.name,
      asksForAnswer: asksForAnswer(call.waited, reply.ok),
    }
  }

  // --- events and audio from the backends ---------------------------------------------------------------------

  answer(generation: number): OpenAnswer {
    let answer = this.answers.get(generation)
    if (answer === undefined) {
      answer = {
        order: this.#order++,
        at: this.#audio.written,
        soundMs: 0,
        silentMs: 0,
        toolCalls: 0,
        itemsOpen: new Set(),
      }
      this.answers.set(generation, answer)
    }
    return answer
  }

  sound(generation: number, itemId: string, ms: number): void {
    const answer = this.answer(generation)
    answer.soundMs += ms
    answer.itemsOpen.add(itemId)
    this.speaksUntilMs = Math.max(this.speaksUntilMs, this.#timers.nowMs()) + ms
    this.#words.item('agent', itemId, answer.order, generation).audioMs += ms
    // If the service got this voice and continues to speak, it did not treat the voice as a turn.
    if (this.#voicedFrom !== null && this.#voicedFrom >= answer.at)
      this.#answeredVoice(this.#audio.written - this.#marginSamples)
  }

  /** Marks an answer as unheard, so that the history for the next session does not contain it. */
  unheard(generation: number): void {
    this.#words.unheard(generation)
  }

  /** Records audio of an answer before its first sound; this audio is not played. */
  silence(generation: number, itemId: string, ms: number): void {
    const answer = this.answer(generation)
    answer.silentMs += ms
    this.#words.item('agent', itemId, answer.order, generation).silentMs += ms
  }

  /** @returns the duration of an item's audio that was not played, in ms */
  silentMs(itemId: string): number {
    return this.#words.find('agent', itemId)?.silentMs ?? 0
  }

  audioDone({ generation, itemId }: EventOf<'audio-done'>): void {
    this.answers.get(generation)?.itemsOpen.delete(itemId)
    this.#words.complete(itemId)
  }

  /** @returns the ended answer; undefined if the answer did not begin */
  turnDone({ generation, status }: EventOf<'turn-done'>): OpenAnswer | undefined {
    const answer = this.answers.get(generation)
    this.answers.delete(generation)
    if (answer === undefined || answer.toolCalls > 0 || isSilent(answer)) return answer
    // If the caller interrupted an answer, the caller heard a part of the answer, so the input counts as answered.
    if (status !== 'completed' && (status !== 'cancelled' || answer.soundMs === 0)) return answer
    const left = this.#inputs.filter(
      (input) => input.order > answer.order || (input.type === 'speech' && input.end === null),
    )
    this.#inputs.splice(0, this.#inputs.length, ...left)
    if (this.#serverVad) this.#answeredTo = Math.max(this.#answeredTo, answer.at)
    this.#answeredVoice(answer.at)
    return answer
  }

  agentWords({ itemId, text, generation }: EventOf<'transcript'>): void {
    // The order is also looked up in the items, because a transcript may arrive after the end of its answer.
    const order = this.answers.get(generation)?.order ?? this.#words.find('agent', itemId)?.order ?? this.#order++
    this.#words.item('agent', itemId, order, generation).text = text.slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
  }

  /** @returns true if the words need an answer and no answer has begun */
  callerWords({ itemId, text, final, generation }: EventOf<'transcript'>): boolean {
    this.activity++
    const order = this.#words.find('caller', itemId)?.order ?? this.#inputOfWords()?.order ?? this.#order++
    this.#words.item('caller', itemId, order, generation).text = text.slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
    return (
      final &&
      text.trim() !== '' &&
      this.#isOpen(order) &&
      !this.callerSpeaking &&
      !this.answerSounding &&
      !this.toolsRunning
    )
  }

  toolCalled(event: EventOf<'tool-call'>): void {
    const { callId, name, args } = event
    this.#tools.push({ callId, name, args, waited: waitOf(event), reply: null, owed: false, joined: [], answer: 0 })
    if (this.#tools.length > BACKEND_TOOL_CALLS_KEPT) this.#tools.shift()
  }

  /**
   * Handles a tool call of a session that took over. If an earlier tool call has equal arguments, the tool is not run
   * again. If that tool call failed, the gateway decides if the tool runs again.
   * @returns the earlier result; `running` if the earlier tool call has no result yet; null if there is no such tool
   * call. After `running`, both tool calls get one result
   */
  toolCalledAgain({ callId, name, args }: EventOf<'tool-call'>): ToolReply | 'running' | null {
    const known = this.#tools.findLast((call) => call.name === name && sameJson(call.args, args))
    if (known === undefined || known.reply?.ok === false) return null
    if (known.reply === null || known.reply.pending === true) known.joined.push(callId)
    else known.owed = false
    return known.reply ?? 'running'
  }

  /**
   * True if the outcome of an earlier call of this tool with these arguments is still missing, or if no backend has
   * accepted the outcome yet.
   */
  owes({ name, args }: EventOf<'tool-call'>): boolean {
    return this.#tools.findLast((call) => call.name === name && sameJson(call.args, args))?.owed === true
  }

  /** Records that a backend has accepted the outcome of a pending tool call as the tool call's result. */
  outcomeTaken(callId: string): void {
    const call = this.#tools.findLast((one) => one.callId === callId)
    if (call !== undefined) call.owed = false
  }

  /**
   * Records the outcome of a pending tool call. A session that takes over gets the outcome as the tool call's result.
   * @returns the ids of the tool call
   */
  toolSettled(callId: string, { ok, value }: ToolReply): readonly string[] {
    const call = this.#tools.findLast((one) => one.callId === callId)
    if (call === undefined) return [callId]
    call.reply = { ok, value }
    return [callId, ...call.joined]
  }

  /** Records that the backend cancelled tool calls. They will not get a result. */
  toolsCancelled(callIds: readonly string[]): void {
    this.#tools = this.#tools.filter((call) => call.reply !== null || !callIds.includes(call.callId))
  }

  // --- replay for the next backend ----------------------------------------------------------------------------

  /**
   * Sends a ready session the notes and results that the session does not have yet. Then replays the inputs without an
   * answer, in order. The caller's audio is replayed without a gap, and start and end of speech are reported at their
   * positions.
   * @param kickOff  true if the session is asked to begin, even if no input is open
   */
  replay(session: CandidateSession, base: BackendSession, kickOff: boolean): Replayed {
    const { backend } = session
    const inputs = [...this.#inputs]
    const { history, toolLedger } = this.known
    const note = (text: string): void => backend.sendText(text, { role: 'system', respond: false })
    for (const text of this.#notes) note(text)
    if (session.stale) note(recapText(history, toolLedger))
    else
      for (const { name, reply, answer } of this.#tools)
        if (reply !== null && answer > session.toolAnswersKnown) note(lateToolText(name, reply))
    if (kickOff && inputs[0]?.type !== 'text') backend.sendText('', { role: 'system', respond: true })

    const wanted = this.#replayFrom()
    const from = Math.max(wanted, this.#audio.oldest)
    // Audio that arrives during the replay goes to the session as live audio.
    const to = this.#audio.written
    let position = from
    const frame = new Int16Array(this.#frameSamples)
    const feedTo = (until: number): void => {
      while (position < until && session.phase === 'ready') {
        const samples = this.#audio.read(
          position,
          until - position < frame.length ? frame.subarray(0, until - position) : frame,
        )
        if (samples === 0) return
        position += samples
        // For the last frame the voice is unknown, so the session sends its collected audio at once. The call's next
        // frame may be late.
        const voiced = position < to ? true : undefined
        session.feed(samples === frame.length ? frame : frame.subarray(0, samples), voiced)
      }
    }
    const steps: { readonly at: number; readonly act: () => void }[] = []
    for (const input of inputs) {
      if (input.type === 'text') {
        // The empty text asks the backend to begin the call. If the session was connected before this history existed,
        // it gets the request as full text.
        const text = input.text === '' && session.stale ? openingText({ ...base, history }) : input.text
        steps.push({ at: input.at, act: () => backend.sendText(text, { role: input.role, respond: true }) })
      } else if (input.type === 'digit') {
        steps.push({ at: input.at, act: () => backend.dtmf(input.digit) })
      } else if (!backend.capabilities.serverVad) {
        // The replay is faster than real time, so the backend gets the present time as the start of the speech.
        steps.push({ at: input.at, act: () => backend.speechStart(this.#timers.nowMs()) })
        if (input.end !== null) steps.push({ at: input.end, act: () => backend.speechEnd(this.#timers.nowMs()) })
      }
    }
    for (const step of steps.sort((a, b) => a.at - b.at)) {
      feedTo(Math.min(to, step.at))
      if (session.phase === 'ready') step.act()
    }
    feedTo(to)
    return {
      samples: position - from,
      lostSamples: from - wanted,
      texts: inputs.filter((input) => input.type === 'text').length,
      inputs: inputs.length,
    }
  }

  /** Records that voice before `position` has an answer. */
  #answeredVoice(position: number): void {
    if (this.#voicedFrom === null || this.#voicedFrom >= position) return
    this.#voicedFrom = this.#voicedTo <= position ? null : position
  }

  /**
   * Position of the oldest sample that another backend may need. This is the pre-roll of unanswered speech, or some
   * newest audio, because services report speech late.
   */
  #replayFrom(): number {
    const spokenAt = this.#inputs.find(({ type }) => type === 'speech')?.at ?? Infinity
    const speechFrom = Math.min(this.#voicedFrom ?? Infinity, spokenAt)
    const from = Math.min(this.#audio.written - this.#marginSamples, speechFrom - this.#preRollSamples)
    return Math.max(this.#answeredTo, this.#frameStart(from))
  }

  #frameStart(position: number): number {
    return Math.floor(position / this.#frameSamples) * this.#frameSamples
  }

  #isOpen(order: number): boolean {
    return this.#inputs.some((input) => input.order === order)
  }

  /** @returns the input that a caller's transcript belongs to: the last input that has ended, or else the last input */
  #inputOfWords(): OpenInput | undefined {
    const said = this.#inputs.filter((input) => input.type !== 'text' || input.role === 'caller')
    return said.findLast((input) => input.type !== 'speech' || input.end !== null) ?? said.at(-1)
  }

  #open(input: Input, at = this.#audio.written): void {
    this.#inputs.push({ ...input, order: this.#order++, at })
    if (this.#inputs.length > OPEN_INPUTS_MAX) this.#inputs.shift()
  }
}

interface ToolCall {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  readonly waited: ToolWait
  reply: ToolReply | null
  /** True if the tool call's outcome comes later, or if no backend has accepted this outcome yet. */
  owed: boolean
  /** Ids of a later session's tool calls that wait for this result. */
  readonly joined: string[]
  /**
   * Value of `CallHistory.toolAnswers` when the result arrived; 0 if there is no result, or if the result is from the
   * session's ledger.
   */
  answer: number
}

interface Item {
  readonly role: 'caller' | 'agent'
  readonly itemId: string
  readonly order: number
  readonly generation: number
  text: string
  /** Duration of the item's audio before its first sound, in ms; this audio is not played. */
  silentMs: number
  /** Duration of an agent item's sound so far, in ms. `complete`: true if no more sound follows. */
  audioMs: number
  complete: boolean
  /**
   * Duration of the item's sound that was played when the caller interrupted, in ms; null if the caller did not
   * interrupt.
   */
  playedMs: number | null
}

/**
 * Default speech rate until the rate is measured in this call: 15 characters per second, typical for English speech
 * synthesis.
 */
const CHARS_PER_MS = 0.015

/**
 * Words of a call: the caller's words, and the agent's words that the caller heard. Text arrives before its sound, so
 * only the words whose sound was played count in an interrupted item.
 */
class SpokenWords {
  #before: readonly HistoryEntry[]
  readonly #items: Item[] = []
  #measuredChars = 0
  #measuredMs = 0

  /** @param before history of the call before this session */
  constructor(before: readonly HistoryEntry[]) {
    this.#before = before
  }

  /** Removes all items before the caller's last words. */
  forget(): void {
    const at = this.#items.findLastIndex(({ role }) => role === 'caller')
    if (at >= 0) this.#items.splice(0, at)
    const before = at >= 0 ? -1 : this.#before.findLastIndex(({ role }) => role === 'caller')
    this.#before = before < 0 ? [] : this.#before.slice(before)
  }

  find(role: 'caller' | 'agent', itemId: string): Item | undefined {
    return this.#items.findLast((item) => item.itemId === itemId && item.role === role)
  }

  /** @returns the item; a new item if the id is not known */
  item(role: 'caller' | 'agent', itemId: string, order: number, generation: number): Item {
    return this.find(role, itemId) ?? this.#add(role, itemId, order, generation)
  }

  /** Records words of the agent that the caller heard completely. */
  said(text: string, order: number): void {
    this.#add('agent', '', order, NaN, text).complete = true
  }

  /** Records that the last sample of an item was delivered. */
  complete(itemId: string): void {
    const item = this.find('agent', itemId)
    if (item === undefined || item.complete) return
    item.complete = true
    this.#measuredChars += item.text.length
    this.#measuredMs += item.audioMs
  }

  /**
   * Records an interruption. The caller heard `playedMs` of `itemId`, and no part of later items. If `itemId` is null,
   * the caller heard no part of the answers for which `unheard` returns true.
   */
  interrupted(itemId: string | null, playedMs: number, unheard: (generation: number) => boolean): void {
    const at = itemId === null ? -1 : this.#items.findIndex((item) => item.role === 'agent' && item.itemId === itemId)
    for (const [i, item] of this.#items.entries()) {
      if (item.role !== 'agent' || item.playedMs !== null) continue
      if (at < 0 ? unheard(item.generation) : i > at) item.playedMs = 0
      else if (i === at) item.playedMs = Math.max(0, Math.min(playedMs, item.audioMs))
    }
  }

  /** Records that the caller heard no part of an answer. */
  unheard(generation: number): void {
    for (const item of this.#items) if (item.role === 'agent' && item.generation === generation) item.playedMs = 0
  }

  /** @param replayed  returns true if the audio of these words of the caller will be replayed */
  history(replayed: (order: number) => boolean): HistoryEntry[] {
    const said = this.#items
      .filter((item) => item.role === 'agent' || !replayed(item.order))
      .map((item) => ({ order: item.order, role: item.role, text: this.#heardText(item) }))
      .filter((item) => item.text !== '')
      .sort((a, b) => a.order - b.order)
    return [...this.#before, ...said.map(({ role, text }) => ({ role, text }))]
  }

  #heardText({ role, text, audioMs, playedMs, complete }: Item): string {
    if (role === 'caller' || (complete && playedMs === null)) return text.trim()
    const ms = playedMs ?? audioMs
    // If all sound of the item has arrived, the heard share of the sound gives the heard share of the text. Otherwise
    // the heard length is estimated from the agent's speech rate.
    const chars = complete && audioMs > 0 ? (text.length * ms) / audioMs : ms * this.#charsPerMs
    if (chars >= text.length) return text.trim()
    const cut = text.slice(0, Math.floor(chars) + 1)
    return cut.slice(0, Math.max(0, cut.search(/\s\S*$/))).trim()
  }

  get #charsPerMs(): number {
    return this.#measuredMs < 1000 ? CHARS_PER_MS : this.#measuredChars / this.#measuredMs
  }

  #add(role: 'caller' | 'agent', itemId: string, order: number, generation: number, text = ''): Item {
    const none = { silentMs: 0, audioMs: 0, complete: false, playedMs: null }
    const item: Item = { role, itemId, order, generation, text, ...none }
    this.#items.push(item)
    if (this.#items.length > TRANSCRIPT_ENTRIES_MAX) this.#items.shift()
    return item
  }
}

/** An answer that a backend has begun but not ended. */
export interface OpenAnswer {
  /** Position of the answer in the order of inputs and answers. */
  readonly order: number
  /** Position in the caller's audio at which the answer began. */
  readonly at: number
  soundMs: number
  /** Duration of silent audio before the first sound, in milliseconds. */
  silentMs: number
  toolCalls: number
  readonly itemsOpen: Set<string>
}

/** Amounts of input that a takeover has sent to the new session. */
interface Replayed {
  readonly samples: number
  /** Number of samples of unanswered speech that were no longer stored. */
  readonly lostSamples: number
  readonly texts: number
  readonly inputs: number
}
