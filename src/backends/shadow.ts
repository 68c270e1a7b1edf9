import { sameJson } from '../call/tool-ledger.js'
import { addUsage, noUsage } from '../call/usage.js'
import { forgetOldest } from '../core/forget-oldest.js'
import {
  BACKEND_ITEMS_KEPT,
  BACKEND_TOOL_CALLS_KEPT,
  SHADOW_TEXT_CHARS_MAX,
  SHADOW_TOOL_WAIT_MS,
  SHADOW_TURNS_MAX,
  TOOLS_RUNNING_MAX,
} from '../core/limits.js'
import { frameSamples, samplesToMs } from '../core/units.js'
import type { SampleRateHz } from '../core/units.js'
import { GatewayError } from '../core/errors.js'
import type { ResamplerBank, StreamResampler } from '../media/resample/resampler.js'
import type {
  Backend,
  BackendCapabilities,
  BackendErrorCode,
  BackendEvent,
  BackendFactory,
  BackendSession,
  BackendSink,
  BackendUsage,
  ToolReply,
  ToolSpec,
  TextOptions,
} from './backend.js'
import type { BackendTimers } from './timers.js'

/** One backend's part of a turn. Times count from the end of the caller's speech, text or DTMF digit. */
export interface ShadowSide {
  /** What the backend understood of the caller. */
  readonly callerText: string
  readonly agentText: string
  /** To its first sound, and to its first sound or tool call; null without one. */
  readonly soundMs: number | null
  readonly actMs: number | null
  readonly audioMs: number
  readonly tools: readonly { readonly name: string; readonly args: Readonly<Record<string, unknown>> }[]
  /** An answer of this backend failed. */
  readonly failed: boolean
}

interface ShadowTurn {
  /** What began the turn: speech of the caller, a text of the call (such as the greeting), or DTMF digits. */
  readonly asked: 'speech' | 'text' | 'keys'
  readonly primary: ShadowSide
  readonly second: ShadowSide
  /** How much later the first sound of the second one came; null when one of them made no sound. */
  readonly soundDifferenceMs: number | null
  /** Both called the same tools with the same arguments, in any order. */
  readonly sameTools: boolean
  /** Both understood the same words of the caller, apart from case and punctuation. */
  readonly sameCallerText: boolean
}

/** How a second backend would have answered a call. Plain data for the call record; it holds words of the caller. */
export interface ShadowReport {
  readonly primary: string
  readonly second: string
  /** State of the second one; `over`: its session ended by itself before the call did. */
  readonly state: 'connecting' | 'live' | 'failed' | 'over'
  readonly fault: BackendErrorCode | null
  readonly connectMs: number | null
  readonly turns: readonly ShadowTurn[]
  readonly turnsDropped: number
  readonly turnsWithOtherTools: number
  /** Median of `soundDifferenceMs`; null when no turn has one. */
  readonly soundDifferenceMsMedian: number | null
  /** Tool calls of the second one that got the primary's result, and those that got an error. */
  readonly toolsAnswered: number
  readonly toolsUnanswered: number
  /** Usage of the second one, which is not part of the call's own usage. */
  readonly usage: BackendUsage
}

interface ShadowOptions {
  /** Serves the call. */
  readonly primary: BackendFactory
  /** The shadow: gets the same input, and its answers are not played. */
  readonly second: BackendFactory
  readonly timers: BackendTimers
  /** Needed when their rates differ. */
  readonly resamplers?: ResamplerBank
  /** The shadow's voice, because each service has its own voice names; default: the session's. */
  readonly secondVoice?: string | null
}

/**
 * Tries a second backend on real calls. It gets the caller's audio, texts and DTMF digits; its answers are not played,
 * and its tool calls get the results of the primary's calls. The call sees only the primary; a fault of the second one
 * is only reported.
 *
 * The caller reacts to the primary. So after a turn that the two answered differently, the later turns are less
 * comparable. An interruption tells the second one the played duration of the primary's answer.
 */
export class ShadowBackend implements Backend {
  readonly #sink: BackendSink
  readonly #options: ShadowOptions
  readonly #primary: Backend
  readonly #second: Backend
  readonly #comparison = new TurnComparison()
  readonly #tools: RecordedTools
  readonly #abort = new AbortController()
  readonly #usage = noUsage()
  readonly #resampler: StreamResampler | null
  readonly #frame: Int16Array
  #state: ShadowReport['state'] = 'connecting'
  #fault: BackendErrorCode | null = null
  #connectMs: number | null = null
  #secondItem: string | null = null
  #closed = false

  constructor(sink: BackendSink, options: ShadowOptions) {
    this.#sink = sink
    this.#options = options
    this.#primary = options.primary({
      event: (event) => this.#fromPrimary(event),
      audio: (pcm, sampleRateHz, itemId, generation) => {
        this.#comparison.audio('primary', generation, samplesToMs(pcm.length, sampleRateHz), options.timers.nowMs())
        sink.audio(pcm, sampleRateHz, itemId, generation)
      },
    })
    this.#second = options.second({
      event: (event) => this.#fromSecond(event),
      audio: (pcm, sampleRateHz, itemId, generation) => this.#secondAudio(pcm, sampleRateHz, itemId, generation),
    })
    this.#tools = new RecordedTools(options.timers, (callId, reply) => this.#second.toolResult(callId, reply))
    const [fromHz, toHz] = [this.#primary.capabilities.inputRateHz, this.#second.capabilities.inputRateHz]
    if (fromHz !== toHz && options.resamplers === undefined) {
      throw new GatewayError(
        'AGENT_INVALID',
        `the shadow needs ${toHz} Hz and the primary ${fromHz} Hz, but there is no resampler`,
      )
    }
    this.#resampler = fromHz === toHz ? null : (options.resamplers?.open(fromHz, toHz) ?? null)
    this.#frame = new Int16Array(this.#resampler?.outputSamplesMax(frameSamples(fromHz)) ?? 0)
  }

  get capabilities(): BackendCapabilities {
    return this.#primary.capabilities
  }

  connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    const { timers, secondVoice } = this.#options
    const askedAtMs = timers.nowMs()
    const shadowed = { ...session, resume: null, ...(secondVoice === undefined ? {} : { voice: secondVoice }) }
    this.#second.connect(shadowed, this.#abort.signal).then(
      () => {
        if (this.#state !== 'connecting') return
        this.#state = 'live'
        this.#connectMs = timers.nowMs() - askedAtMs
      },
      // Usually an `error` event came before, and its code stays.
      () => this.#failed('internal'),
    )
    return this.#primary.connect(session, signal)
  }

  pushAudio(pcm: Int16Array, voiced?: boolean): void {
    this.#primary.pushAudio(pcm, voiced)
    if (!this.#listening) return
    if (this.#resampler === null) {
      this.#second.pushAudio(pcm, voiced)
      return
    }
    const samples = this.#resampler.process(pcm, this.#frame)
    this.#second.pushAudio(samples === this.#frame.length ? this.#frame : this.#frame.subarray(0, samples), voiced)
  }

  speechStart(atMs: number): void {
    this.#primary.speechStart(atMs)
    this.#secondSpeech('start', atMs)
  }

  speechEnd(atMs: number, unless?: readonly string[]): void {
    if (unless === undefined) this.#comparison.asked('speech', atMs)
    this.#primary.speechEnd(atMs, unless)
    this.#secondSpeech('end', atMs, unless)
  }

  sendText(text: string, options: TextOptions): void {
    if (options.respond) this.#comparison.asked('text', this.#options.timers.nowMs())
    this.#primary.sendText(text, options)
    if (this.#listening) this.#second.sendText(text, options)
  }

  dtmf(digit: string): void {
    this.#comparison.asked('keys', this.#options.timers.nowMs())
    this.#primary.dtmf(digit)
    if (this.#listening) this.#second.dtmf(digit)
  }

  toolResult(callId: string, reply: ToolReply): void {
    this.#primary.toolResult(callId, reply)
    this.#tools.result(callId, reply)
  }

  interrupt(heard: { readonly itemId: string | null; readonly playedMs: number }): void {
    this.#primary.interrupt(heard)
    if (!this.#listening) return
    this.#second.interrupt(
      heard.itemId === null
        ? { itemId: null, playedMs: 0 }
        : { itemId: this.#secondItem, playedMs: this.#secondItem === null ? 0 : heard.playedMs },
    )
  }

  updateSession(update: { readonly instructions?: string; readonly tools?: readonly ToolSpec[] }): void {
    this.#primary.updateSession(update)
    if (this.#listening) this.#second.updateSession(update)
  }

  snapshot(): unknown {
    return this.#primary.snapshot()
  }

  async close(reason: string): Promise<void> {
    if (!this.#closed) {
      this.#closed = true
      this.#abort.abort()
      this.#tools.close()
      this.#resampler?.release()
      void this.#second.close(reason)
    }
    await this.#primary.close(reason)
  }

  /** The comparison so far; a copy. */
  shadowReport(): ShadowReport {
    const turns = this.#comparison.report()
    return {
      primary: this.#primary.capabilities.name,
      second: this.#second.capabilities.name,
      state: this.#state,
      fault: this.#fault,
      connectMs: this.#connectMs,
      turns,
      turnsDropped: this.#comparison.turnsDropped,
      turnsWithOtherTools: turns.filter((turn) => !turn.sameTools).length,
      soundDifferenceMsMedian: median(turns.flatMap((turn) => turn.soundDifferenceMs ?? [])),
      toolsAnswered: this.#tools.answered,
      toolsUnanswered: this.#tools.unanswered,
      usage: { ...this.#usage },
    }
  }

  get #listening(): boolean {
    return !this.#closed && (this.#state === 'live' || this.#state === 'connecting')
  }

  #secondSpeech(edge: 'start' | 'end', atMs: number, unless?: readonly string[]): void {
    if (!this.#listening || this.#second.capabilities.serverVad) return
    if (edge === 'start') this.#second.speechStart(atMs)
    else this.#second.speechEnd(atMs, unless)
  }

  #fromPrimary(event: BackendEvent): void {
    const nowMs = this.#options.timers.nowMs()
    this.#comparison.event('primary', event, nowMs)
    if (event.type === 'tool-call') this.#tools.called(event.callId, event.name, event.args)
    // A second one without its own turn detection gets the primary's turns.
    if (event.type === 'speech-started') this.#secondSpeech('start', nowMs)
    if (event.type === 'speech-stopped') {
      this.#comparison.asked('speech', nowMs)
      this.#secondSpeech('end', nowMs)
    }
    this.#sink.event(event)
  }

  #secondAudio(pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): void {
    this.#secondItem = itemId
    this.#comparison.audio('second', generation, samplesToMs(pcm.length, sampleRateHz), this.#options.timers.nowMs())
  }

  #fromSecond(event: BackendEvent): void {
    if (this.#closed) return
    this.#comparison.event('second', event, this.#options.timers.nowMs())
    switch (event.type) {
      case 'tool-call':
        this.#tools.wanted(event.callId, event.name, event.args)
        return
      case 'usage':
        addUsage(this.#usage, event.usage)
        return
      case 'error':
        if (event.fatal) this.#failed(event.code)
        return
      case 'closed':
        if (this.#state === 'live') this.#state = 'over'
        return
      default:
        return
    }
  }

  #failed(code: BackendErrorCode): void {
    if (this.#closed || this.#state === 'failed') return
    this.#state = 'failed'
    this.#fault = code
    this.#tools.close()
    void this.#second.close('failed')
  }
}

function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? null
}

interface RealCall {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  reply: ToolReply | null
}

interface WaitingCall {
  readonly callId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
  readonly cancel: () => void
}

const UNAVAILABLE: ToolReply = { ok: false, value: { error: 'This tool cannot be reached right now.' } }

/**
 * The tools of a shadow; none is run for it. A call gets the result of the primary's call with the same name and
 * arguments, also of one that comes within SHADOW_TOOL_WAIT_MS; without one it gets an error.
 */
class RecordedTools {
  answered = 0
  unanswered = 0
  readonly #timers: BackendTimers
  readonly #answer: (callId: string, reply: ToolReply) => void
  readonly #real: RealCall[] = []
  #waiting: WaitingCall[] = []

  /** @param answer  passes a result to the shadow */
  constructor(timers: BackendTimers, answer: (callId: string, reply: ToolReply) => void) {
    this.#timers = timers
    this.#answer = answer
  }

  /** The primary calls a tool. */
  called(callId: string, name: string, args: Readonly<Record<string, unknown>>): void {
    this.#real.push({ callId, name, args, reply: null })
    if (this.#real.length > BACKEND_TOOL_CALLS_KEPT) this.#real.shift()
  }

  /** The result of a primary's call. */
  result(callId: string, reply: ToolReply): void {
    const real = this.#real.findLast((call) => call.callId === callId && call.reply === null)
    if (real === undefined) return
    real.reply = reply
    const served = this.#waiting.filter((one) => one.name === real.name && sameJson(one.args, real.args))
    this.#waiting = this.#waiting.filter((one) => !served.includes(one))
    for (const { callId: waiting, cancel } of served) {
      cancel()
      this.#serve(waiting, reply)
    }
  }

  /** The shadow calls a tool. */
  wanted(callId: string, name: string, args: Readonly<Record<string, unknown>>): void {
    const real = this.#real.findLast((call) => call.name === name && sameJson(call.args, args))
    if (real !== undefined && real.reply !== null) return this.#serve(callId, real.reply)
    if (this.#waiting.length >= TOOLS_RUNNING_MAX) return this.#refuse(callId)
    const cancel = this.#timers.after(SHADOW_TOOL_WAIT_MS, () => {
      this.#waiting = this.#waiting.filter((one) => one.callId !== callId)
      this.#refuse(callId)
    })
    this.#waiting.push({ callId, name, args, cancel })
  }

  close(): void {
    for (const { cancel } of this.#waiting.splice(0)) cancel()
  }

  #serve(callId: string, reply: ToolReply): void {
    this.answered++
    this.#answer(callId, reply)
  }

  #refuse(callId: string): void {
    this.unanswered++
    this.#answer(callId, UNAVAILABLE)
  }
}

interface Side {
  readonly callerTexts: Map<string, string>
  readonly agentTexts: Map<string, string>
  soundMs: number | null
  actMs: number | null
  audioMs: number
  readonly tools: { readonly name: string; readonly args: Readonly<Record<string, unknown>> }[]
  answered: boolean
  failed: boolean
}

interface Turn {
  readonly asked: ShadowTurn['asked']
  askedAtMs: number
  readonly primary: Side
  readonly second: Side
}

/**
 * The turns of a call, with the answers of two backends. A turn begins with the first input after the primary's answer
 * to the last turn; an answer belongs to the turn in which it begins.
 */
class TurnComparison {
  turnsDropped = 0
  readonly #turns: Turn[] = []
  readonly #generations = { primary: new Map<number, Turn>(), second: new Map<number, Turn>() }

  asked(what: ShadowTurn['asked'], nowMs: number): void {
    const current = this.#turns.at(-1)
    if (current !== undefined && !current.primary.answered && current.primary.actMs === null) {
      // The caller went on after a pause: this is still one question.
      current.askedAtMs = nowMs
      return
    }
    this.#turns.push({ asked: what, askedAtMs: nowMs, primary: freshSide(), second: freshSide() })
    if (this.#turns.length <= SHADOW_TURNS_MAX) return
    this.#turns.shift()
    this.turnsDropped++
  }

  audio(side: 'primary' | 'second', generation: number, ms: number, nowMs: number): void {
    const turn = this.#turnOf(side, generation)
    if (turn === undefined) return
    const one = turn[side]
    one.soundMs ??= nowMs - turn.askedAtMs
    one.actMs ??= nowMs - turn.askedAtMs
    one.audioMs += ms
  }

  event(side: 'primary' | 'second', event: BackendEvent, nowMs: number): void {
    switch (event.type) {
      case 'turn-start':
        this.#turnOf(side, event.generation)
        return
      case 'transcript': {
        // The caller's transcript may come after the answer has begun, and has the generation of that answer.
        const turn =
          event.role === 'caller'
            ? (this.#generations[side].get(event.generation) ?? this.#turns.at(-1))
            : this.#turnOf(side, event.generation)
        const texts = event.role === 'caller' ? turn?.[side].callerTexts : turn?.[side].agentTexts
        if (texts !== undefined && (texts.size < TOOLS_RUNNING_MAX || texts.has(event.itemId))) {
          texts.set(event.itemId, event.text.slice(0, SHADOW_TEXT_CHARS_MAX))
        }
        return
      }
      case 'tool-call': {
        const turn = this.#turnOf(side, event.generation)
        if (turn === undefined) return
        turn[side].actMs ??= nowMs - turn.askedAtMs
        if (turn[side].tools.length < TOOLS_RUNNING_MAX) turn[side].tools.push({ name: event.name, args: event.args })
        return
      }
      case 'turn-done': {
        const turn = this.#turnOf(side, event.generation)
        if (turn === undefined) return
        if (event.status === 'failed') turn[side].failed = true
        // After an answer that only called tools, another one follows.
        if (turn[side].soundMs !== null || turn[side].tools.length === 0) turn[side].answered = true
        return
      }
      default:
        return
    }
  }

  report(): ShadowTurn[] {
    return this.#turns.map(({ asked, primary, second }) => {
      const [a, b] = [sideOf(primary), sideOf(second)]
      return {
        asked,
        primary: a,
        second: b,
        soundDifferenceMs: a.soundMs === null || b.soundMs === null ? null : b.soundMs - a.soundMs,
        sameTools: sameTools(a.tools, b.tools),
        sameCallerText: plain(a.callerText) === plain(b.callerText),
      }
    })
  }

  #turnOf(side: 'primary' | 'second', generation: number): Turn | undefined {
    const known = this.#generations[side].get(generation)
    if (known !== undefined) return known
    const turn = this.#turns.at(-1)
    if (turn === undefined) return undefined
    const generations = this.#generations[side]
    generations.set(generation, turn)
    forgetOldest(generations, BACKEND_ITEMS_KEPT)
    return turn
  }
}

function freshSide(): Side {
  return {
    callerTexts: new Map(),
    agentTexts: new Map(),
    soundMs: null,
    actMs: null,
    audioMs: 0,
    tools: [],
    answered: false,
    failed: false,
  }
}

function sideOf(side: Side): ShadowSide {
  const { soundMs, actMs, tools, failed } = side
  return {
    callerText: [...side.callerTexts.values()].join(' ').trim(),
    agentText: [...side.agentTexts.values()].join(' ').trim(),
    soundMs,
    actMs,
    audioMs: Math.round(side.audioMs),
    tools: [...tools],
    failed,
  }
}

function sameTools(a: ShadowSide['tools'], b: ShadowSide['tools']): boolean {
  const left = [...b]
  for (const tool of a) {
    const at = left.findIndex((other) => other.name === tool.name && sameJson(other.args, tool.args))
    if (at < 0) return false
    left.splice(at, 1)
  }
  return left.length === 0
}

function plain(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim()
}
