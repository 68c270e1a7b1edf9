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

/** The most unanswered caller audio that is kept for another backend. */
const INPUT_REPLAY_MS = 10_000
/** Utterances, DTMF digits and texts of one call that wait for their answer. */
const OPEN_INPUTS_MAX = 64

type EventOf<T extends BackendEvent['type']> = Extract<BackendEvent, { readonly type: T }>

type Input =
  | { readonly type: 'speech'; end: number | null }
  | { readonly type: 'text'; readonly text: string; readonly role: 'caller' | 'system' }
  | { readonly type: 'digit'; readonly digit: string }
/** One input without a complete answer. `at`, where it begins, and `end` are positions in the caller's audio, in samples. */
type OpenInput = Input & { readonly order: number; readonly at: number }

/** Its audio had no sound: it answers nothing. */
export function isSilent({ soundMs, silentMs, toolCalls }: OpenAnswer): boolean {
  return soundMs === 0 && silentMs > 0 && toolCalls === 0
}

/**
 * Everything that a backend needs to continue a call that another backend served: the words as far as the caller heard
 * them, the tool calls and their results, the inputs without a complete answer, and the caller's audio from the first
 * of these on.
 *
 *     input: (new) --speech, text, digit--> open --an answer that began after it is complete--> (removed)
 *
 * Speech that still goes on stays open, also when an answer to its first part is complete.
 */
export class CallHistory {
  /** Open answers by generation, oldest first; a backend that queues its answers has several. */
  readonly answers = new Map<number, OpenAnswer>()
  /** Counts the changes that a session which is connecting or standing by does not know of. */
  activity = 0
  /** When the playout of all delivered sound ends. */
  speaksUntilMs = -Infinity
  /** Tool results so far in this media worker. */
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
   * Used when services mark the turns. Positions in the caller's audio: audio before `#answeredTo` has its answer and
   * is not replayed, so that a new session does not hear the question again; `#voicedFrom` to `#voicedTo` is voice
   * without an answer.
   */
  #answeredTo = 0
  #voicedFrom: number | null = null
  #voicedTo = 0

  /**
   * @param serverVad  services mark the caller's turns, and the gateway does not
   */
  constructor(timers: BackendTimers, rateHz: SampleRateHz, serverVad: boolean) {
    this.#timers = timers
    this.#rateHz = rateHz
    this.#serverVad = serverVad
    this.#frameSamples = frameSamples(rateHz)
    this.#marginSamples = msToSamples(INPUT_REPLAY_MARGIN_MS, rateHz)
    this.#preRollSamples = msToSamples(BACKEND_PRE_ROLL_MS, rateHz)
    this.#audio = new CallerAudio(rateHz, INPUT_REPLAY_MS)
  }

  /** Takes over the history and the tool results of `session`. */
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

  /** The history for a session that connects now, without the words whose audio will be replayed. */
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

  /** Forgets the conversation before the caller's last words. */
  forget(): void {
    this.#words.forget()
  }

  get hasOpenInputs(): boolean {
    return this.#inputs.length > 0
  }

  get callerSpeaking(): boolean {
    return this.#inputs.some((input) => input.type === 'speech' && input.end === null)
  }

  /** An open answer has made a sound. */
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

  // --- what goes to the backends ----------------------------------------------------------------------------

  /** @param voiced  the gateway's VAD found voice in it */
  audio(pcm: Int16Array, voiced: boolean): void {
    if (voiced && this.#serverVad) this.#voicedFrom ??= this.#audio.written
    this.#audio.push(pcm)
    if (voiced) this.#voicedTo = this.#audio.written
    this.#audio.forget(this.#replayFrom())
  }

  /** @param atMs  the first voiced sample */
  speechStarted(atMs: number): void {
    const behind = Math.max(0, msToSamples(this.#timers.nowMs() - atMs, this.#rateHz))
    const start = Math.max(this.#audio.oldest, this.#audio.written - behind)
    this.#speechFrom = this.#frameStart(start)
    if (!this.callerSpeaking) this.#open({ type: 'speech', end: null }, this.#speechFrom)
  }

  /**
   * @param atMs  the last voiced sample
   * @returns length of the speech in ms
   */
  speechEnded(atMs: number): number {
    const end = this.#audio.written
    for (const input of this.#inputs)
      if (input.type === 'speech' && input.end === null) input.end = Math.max(input.at, end)
    return samplesToMs(end - this.#speechFrom, this.#rateHz) - (this.#timers.nowMs() - atMs)
  }

  /** The last speech may not be meant for the agent, so no other backend gets it. */
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

  /** The gateway said something in the agent's place. */
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

  /** The caller has words for what they said: no other backend is asked about it. */
  inputsOver(): void {
    this.#inputs.length = 0
    this.#answeredTo = Math.max(this.#answeredTo, this.#frameStart(this.#audio.written))
    this.#voicedFrom = null
  }

  /** @returns the tool and the calls that get this result, `callId` first; null for an unknown or answered call */
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

  // --- what the backends say --------------------------------------------------------------------------------

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
    // A service that goes on speaking heard this voice and did not treat it as a turn.
    if (this.#voicedFrom !== null && this.#voicedFrom >= answer.at)
      this.#answeredVoice(this.#audio.written - this.#marginSamples)
  }

  /** Audio of an answer that has made no sound yet; it is not played. */
  silence(generation: number, itemId: string, ms: number): void {
    const answer = this.answer(generation)
    answer.silentMs += ms
    this.#words.item('agent', itemId, answer.order, generation).silentMs += ms
  }

  /** Length of an item's audio that was not played. */
  silentMs(itemId: string): number {
    return this.#words.find('agent', itemId)?.silentMs ?? 0
  }

  audioDone({ generation, itemId }: EventOf<'audio-done'>): void {
    this.answers.get(generation)?.itemsOpen.delete(itemId)
    this.#words.complete(itemId)
  }

  /** @returns the answer that ended; undefined for one that never began */
  turnDone({ generation, status }: EventOf<'turn-done'>): OpenAnswer | undefined {
    const answer = this.answers.get(generation)
    this.answers.delete(generation)
    if (answer === undefined || answer.toolCalls > 0 || isSilent(answer)) return answer
    // A caller who interrupted an answer heard that there was one: the input counts as answered.
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
    // A transcript may come after the end of its answer.
    const order = this.answers.get(generation)?.order ?? this.#words.find('agent', itemId)?.order ?? this.#order++
    this.#words.item('agent', itemId, order, generation).text = text.slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
  }

  /** @returns true when the words are a question without an answer */
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
   * A session that took over calls a tool. A tool that was called before with the same arguments is not run again. What failed,
   * or was cut off, is no answer: the call itself decides.
   * @returns the earlier result; `running` when it has not come yet, and this call will get it too; null without one
   */
  toolCalledAgain({ callId, name, args }: EventOf<'tool-call'>): ToolReply | 'running' | null {
    const known = this.#tools.findLast((call) => call.name === name && sameJson(call.args, args))
    if (known === undefined || known.reply?.ok === false) return null
    if (known.reply === null || known.reply.pending === true) known.joined.push(callId)
    else known.owed = false
    return known.reply ?? 'running'
  }

  /** A call of that tool with these arguments waits for its outcome, or no backend has taken it. */
  owes({ name, args }: EventOf<'tool-call'>): boolean {
    return this.#tools.findLast((call) => call.name === name && sameJson(call.args, args))?.owed === true
  }

  /** A backend has taken the outcome of a pending call as its result. */
  outcomeTaken(callId: string): void {
    const call = this.#tools.findLast((one) => one.callId === callId)
    if (call !== undefined) call.owed = false
  }

  /** The outcome of a pending call: a session that takes over gets it as the call's result. @returns the call's ids */
  toolSettled(callId: string, { ok, value }: ToolReply): readonly string[] {
    const call = this.#tools.findLast((one) => one.callId === callId)
    if (call === undefined) return [callId]
    call.reply = { ok, value }
    return [callId, ...call.joined]
  }

  /** The backend cancelled calls: they get no result. */
  toolsCancelled(callIds: readonly string[]): void {
    this.#tools = this.#tools.filter((call) => call.reply !== null || !callIds.includes(call.callId))
  }

  // --- the next one -----------------------------------------------------------------------------------------

  /**
   * Sends a session that is ready what it does not know yet. Then replays the inputs without an answer, in order: the
   * caller's audio without a gap, the start and end of speech at their positions in it, digits and texts.
   * @param kickOff  ask the session to begin, also when no input is open
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
    // Audio that comes while this runs reaches the session as live audio.
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
        // Long messages, but nothing is left behind: the next frame of the call may be long in coming.
        const voiced = position < to ? true : undefined
        session.feed(samples === frame.length ? frame : frame.subarray(0, samples), voiced)
      }
    }
    const steps: { readonly at: number; readonly act: () => void }[] = []
    for (const input of inputs) {
      if (input.type === 'text') {
        // The empty text asks to begin the call. For a session connected before this history, it must be written out.
        const text = input.text === '' && session.stale ? openingText({ ...base, history }) : input.text
        steps.push({ at: input.at, act: () => backend.sendText(text, { role: input.role, respond: true }) })
      } else if (input.type === 'digit') {
        steps.push({ at: input.at, act: () => backend.dtmf(input.digit) })
      } else if (!backend.capabilities.serverVad) {
        // Replay is faster than real time: for this backend the speech begins now.
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

  /** Voice before `position` needs no answer any more. */
  #answeredVoice(position: number): void {
    if (this.#voicedFrom === null || this.#voicedFrom >= position) return
    this.#voicedFrom = this.#voicedTo <= position ? null : position
  }

  /**
   * The oldest sample that another backend may need, at the beginning of a frame: speech without an answer and its
   * pre-roll, and the newest audio, in which speech that is reported late may have begun.
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

  /** The input that a transcript of the caller belongs to: the last one that has ended, else the last one. */
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
  /** Its outcome comes later, or has come and no backend has taken it. */
  owed: boolean
  /** Calls of a later session that wait for the same result. */
  readonly joined: string[]
  /** `CallHistory.toolAnswers` when its result came; 0 without a result, and for a result from the session's ledger. */
  answer: number
}

interface Item {
  readonly role: 'caller' | 'agent'
  readonly itemId: string
  readonly order: number
  readonly generation: number
  text: string
  /** Length of its audio that came before the first sound and is not played. */
  silentMs: number
  /** Length of an agent item's sound so far; `complete` when no more follows. */
  audioMs: number
  complete: boolean
  /** Played duration when the caller interrupted; null when they did not. */
  playedMs: number | null
}

/** Pace of speech until this call's own is measured: 15 characters a second, typical for English speech synthesis. */
const CHARS_PER_MS = 0.015

/**
 * Spoken words of a call, as far as they were heard. The agent's text runs ahead of its sound, so an item that broke
 * off counts only with the words for which its sound was long enough.
 */
class SpokenWords {
  #before: readonly HistoryEntry[]
  readonly #items: Item[] = []
  #measuredChars = 0
  #measuredMs = 0

  /** @param before  the history from before this session */
  constructor(before: readonly HistoryEntry[]) {
    this.#before = before
  }

  /** Leaves the caller's last words and what was said after them. */
  forget(): void {
    const at = this.#items.findLastIndex(({ role }) => role === 'caller')
    if (at >= 0) this.#items.splice(0, at)
    const before = at >= 0 ? -1 : this.#before.findLastIndex(({ role }) => role === 'caller')
    this.#before = before < 0 ? [] : this.#before.slice(before)
  }

  find(role: 'caller' | 'agent', itemId: string): Item | undefined {
    return this.#items.findLast((item) => item.itemId === itemId && item.role === role)
  }

  /** The item, which is a new one where it is not known. */
  item(role: 'caller' | 'agent', itemId: string, order: number, generation: number): Item {
    return this.find(role, itemId) ?? this.#add(role, itemId, order, generation)
  }

  /** Words of the agent that were heard to their end. */
  said(text: string, order: number): void {
    this.#add('agent', '', order, NaN, text).complete = true
  }

  /** The last sample of an item was delivered. */
  complete(itemId: string): void {
    const item = this.find('agent', itemId)
    if (item === undefined || item.complete) return
    item.complete = true
    this.#measuredChars += item.text.length
    this.#measuredMs += item.audioMs
  }

  /**
   * The caller interrupted. They heard `playedMs` of `itemId` and nothing of later items. Without an item they heard
   * nothing of the answers in `unheard`.
   */
  interrupted(itemId: string | null, playedMs: number, unheard: (generation: number) => boolean): void {
    const at = itemId === null ? -1 : this.#items.findIndex((item) => item.role === 'agent' && item.itemId === itemId)
    for (const [i, item] of this.#items.entries()) {
      if (item.role !== 'agent' || item.playedMs !== null) continue
      if (at < 0 ? unheard(item.generation) : i > at) item.playedMs = 0
      else if (i === at) item.playedMs = Math.max(0, Math.min(playedMs, item.audioMs))
    }
  }

  /** @param replayed  whether the audio of these words of the caller will be replayed */
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
    // A complete item's sound ends with its text. For one that broke off, the agent's pace gives the length of the
    // text.
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

/** An answer that a backend has begun and not finished. */
interface OpenAnswer {
  /** Its place in the order of inputs and answers. */
  readonly order: number
  /** Position in the caller's audio when it began. */
  readonly at: number
  soundMs: number
  /** Audio without a sound, before the first sound. */
  silentMs: number
  toolCalls: number
  readonly itemsOpen: Set<string>
}

/** Input that a takeover sent to the new session. */
interface Replayed {
  readonly samples: number
  /** Samples of open speech that were too old to be kept. */
  readonly lostSamples: number
  readonly texts: number
  readonly inputs: number
}
