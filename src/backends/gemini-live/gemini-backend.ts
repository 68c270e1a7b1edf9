import type { Clock } from '../../core/clock.js'
import {
  BACKEND_PRE_ROLL_MS_MAX,
  BACKEND_TOOL_CALLS_KEPT,
  BACKEND_TRANSCRIPT_CHARS_MAX,
  BACKEND_WAITING_AUDIO_MS,
  BACKEND_WAITING_TEXTS_MAX,
} from '../../core/limits.js'
import { isSampleRateHz, samplesToMs } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import type { Backend, BackendCapabilities, BackendSession, BackendSink, ToolReply, ToolSpec } from '../backend.js'
import { Base64Audio } from '../transport/base64-audio.js'
import { CallerUplink } from '../transport/caller-uplink.js'
import { preRollMs } from '../pre-roll.js'
import { KeyEntry } from '../key-entry.js'
import { keysText, openingText } from '../prompts.js'
import { objectArguments } from '../tool-text.js'
import { VendorConnection } from '../transport/vendor-connection.js'
import {
  GEMINI_CONNECTION_MS,
  GEMINI_INPUT_RATE_HZ,
  GEMINI_OUTPUT_RATE_HZ,
  functionOf,
  historyOf,
  liveUrl,
  setupOf,
} from './setup.js'
import type { GeminiLiveOptions } from './setup.js'
import { tokensOf } from './usage.js'
import {
  AUDIO_PREFIX,
  AUDIO_SUFFIX,
  closeFault,
  durationMs,
  functionCallsOf,
  partsOf,
  rateOf,
  readMessage,
} from './wire.js'
import type { ClientMessage, FunctionCall, GeminiStats, ServerMessage, WireFunctionResponse } from './wire.js'

/** What `snapshot` returns: the handle resumes the session on the service's side. */
interface GeminiSnapshot {
  readonly version: 1
  readonly generation: number
  readonly handle: string | null
}

const MESSAGE_MS = 60

/** One answer of the model: from its first part to the end of its generation, a tool call or an interruption. */
interface Turn {
  readonly generation: number
  readonly itemId: string
  state: 'active' | 'cancelled' | 'done'
  audioMs: number
  text: string
  /** The text was reported as final. */
  final: boolean
  /** The answer was interrupted: text that still arrives was not spoken. */
  interrupted: boolean
}

/**
 * Gemini Live over a WebSocket.
 *
 *     connecting --open--> setup --setupComplete--> replay of what was said before --> ready
 *     connecting, with a handle --refused--> connecting, without it and with the replay
 *     ready      --goAway--> `expiring`; the next instance goes on from the handle in `snapshot`
 *
 * There is no truncation: the service cuts its own transcript when it is interrupted. It gives its turns no ids, but
 * its stream is in order:
 *
 *     (none)    --part, transcript of the agent, tool call--> active      `turn-start`
 *     active    --generationComplete, turnComplete, tool call--> done     `audio-done`, `turn-done`
 *     active    --interrupted--> done                                     `interrupted`, `turn-done` cancelled
 *     active    --interrupt()--> cancelled                                `turn-done` cancelled; what follows is dropped
 *     cancelled --interrupted, generationComplete, turnComplete--> done
 *
 * Transcripts have no fixed order relative to the audio. Those of the agent belong to the last turn until the next one
 * starts.
 */
export class GeminiLiveBackend implements Backend {
  readonly capabilities: BackendCapabilities
  readonly stats: GeminiStats = {
    messagesIn: 0,
    malformedMessages: 0,
    unknownMessages: 0,
    oversizeMessages: 0,
    malformedAudio: 0,
    unplayableAudio: 0,
    rateChanges: 0,
    latePieces: 0,
    invalidToolArguments: 0,
    toolCallsCancelled: 0,
    resumesRefused: 0,
    audioDroppedMs: 0,
  }

  readonly #options: GeminiLiveOptions
  readonly #nowMs: Clock
  readonly #sink: BackendSink
  readonly #connection: VendorConnection
  readonly #uplink: CallerUplink
  readonly #audio = new Base64Audio('pcm16')
  readonly #calls = new ToolBatches()
  readonly #keys: KeyEntry
  readonly #waiting: (() => void)[] = []
  /** Texts that wait until the model is silent, because content interrupts it. */
  #notes: string[] = []
  /**
   * Tool results that wait while the caller speaks. The service cancels its calls then, and a result that crosses the
   * cancellation would be lost.
   */
  readonly #heldReplies: { readonly callId: string; readonly reply: ToolReply }[] = []
  #session: BackendSession | null = null
  /** Handle of the session that is resumed; null once it was refused. */
  #resumeHandle: string | null = null
  #handle: string | null = null
  #speaking = false
  /** `activityStart` was sent: audio is accepted only after it. */
  #activityOpen = false
  #keyItems = 0
  #generation = 0
  #turn: Turn | null = null
  /** The turn of the audio that is being decoded. */
  #audioTurn: Turn | null = null
  /** The service works on a turn, which content would interrupt. */
  #serverBusy = false
  #outputRateHz: SampleRateHz = GEMINI_OUTPUT_RATE_HZ
  #mimeType = ''
  #playable = true
  #callerItems = 0
  #callerText = ''
  #callerFinal = true
  /** The service reports voice activity. */
  #reportsActivity = false
  #usage = tokensOf({})

  constructor(sink: BackendSink, options: GeminiLiveOptions) {
    this.#sink = sink
    this.#options = options
    this.#nowMs = options.nowMs ?? (() => performance.now())
    const service = options.name ?? 'gemini'
    const serverVad = options.turns?.by === 'server'
    this.capabilities = {
      name: service,
      inputRateHz: GEMINI_INPUT_RATE_HZ,
      outputRateHz: GEMINI_OUTPUT_RATE_HZ,
      serverVad,
      truncate: false,
      maxSessionMs: GEMINI_CONNECTION_MS,
    }
    this.#uplink = new CallerUplink({
      sampleRateHz: GEMINI_INPUT_RATE_HZ,
      messageMs: options.messageMs ?? MESSAGE_MS,
      waitingMsMax: BACKEND_WAITING_AUDIO_MS,
      preRollMs: BACKEND_PRE_ROLL_MS_MAX,
      send: (pcm, length) => this.#sendAudio(pcm, length),
    })
    this.#keys = new KeyEntry((keys) => this.#keyed(keys))
    this.#connection = new VendorConnection(sink, {
      service,
      secrets: [options.apiKey, ...Object.values(options.headers ?? {})],
      ...(options.connectTimeoutMs === undefined ? {} : { connectTimeoutMs: options.connectTimeoutMs }),
      ...(options.pingMs === undefined ? {} : { pingMs: options.pingMs }),
      target: () => ({ url: liveUrl(options), headers: options.headers ?? {} }),
      opened: () => this.#setUp(),
      message: (data) => this.#message(data),
      closeFault: (code, reason) => closeFault(service, code, reason),
      recovers: () => this.#forgetHandle(),
      ended: () => this.#ended(),
    })
    if (serverVad) this.#uplink.open()
  }

  connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    this.#session = session
    const snapshot = snapshotOf(session.resume)
    this.#resumeHandle = snapshot?.handle ?? null
    this.#generation = snapshot?.generation ?? 0
    return this.#connection.connect(signal)
  }

  pushAudio(pcm: Int16Array): void {
    this.#uplink.push(pcm)
    this.stats.audioDroppedMs = this.#uplink.droppedMs
  }

  speechStart(atMs: number): void {
    if (this.capabilities.serverVad || this.#speaking || !this.#connection.alive) return
    this.#speaking = true
    this.#uplink.open(preRollMs(this.#nowMs() - atMs))
    this.#whenReady(() => {
      this.#activityOpen = true
      this.#finishCaller()
      this.#callerText = ''
      this.#send({ realtimeInput: { activityStart: {} } })
      this.#uplink.retry()
    })
  }

  speechEnd(_atMs: number): void {
    if (!this.#speaking) return
    this.#speaking = false
    this.#uplink.flush()
    this.#whenReady(() => {
      this.#activityOpen = false
      if (!this.#speaking) this.#uplink.close()
      this.#send({ realtimeInput: { activityEnd: {} } })
      for (const { callId, reply } of this.#heldReplies.splice(0)) this.toolResult(callId, reply)
    })
  }

  sendText(text: string, { role, respond }: { readonly role: 'caller' | 'system'; readonly respond: boolean }): void {
    this.#whenReady(() => {
      const words = text === '' && role === 'system' && this.#session !== null ? openingText(this.#session) : text
      // The service has no system messages after the setup.
      if (words !== '') this.#notes.push(role === 'system' ? `[${words}]` : words)
      if (respond) this.#sendTexts(true)
      else this.#sendNotes()
    })
  }

  dtmf(digit: string): void {
    this.#keys.press(digit)
  }

  toolResult(callId: string, reply: ToolReply): void {
    if (!this.#connection.isReady) return
    if (this.#activityOpen && this.#heldReplies.length < BACKEND_WAITING_TEXTS_MAX) {
      this.#heldReplies.push({ callId, reply })
      return
    }
    const answers = this.#calls.answer(
      callId,
      reply.ok ? { output: reply.value ?? null } : { error: reply.value ?? 'The tool failed.' },
    )
    if (answers !== null) this.#send({ toolResponse: { functionResponses: [...answers] } })
  }

  /** Sends nothing: the service detects the interruption from the caller's audio. */
  interrupt(_heard: { readonly itemId: string | null; readonly playedMs: number }): void {
    const turn = this.#turn
    if (!this.#connection.isReady || turn === null || turn.state !== 'active') return
    turn.state = 'cancelled'
    turn.interrupted = true
    this.#sink.event({ type: 'turn-done', generation: turn.generation, status: 'cancelled', reason: 'interrupted' })
  }

  updateSession({
    instructions,
    tools,
  }: {
    readonly instructions?: string
    readonly tools?: readonly ToolSpec[]
  }): void {
    if (instructions === undefined && tools === undefined) return
    this.#whenReady(() =>
      this.#send({
        contextUpdate: {
          ...(instructions === undefined ? {} : { systemInstruction: { parts: [{ text: instructions }] } }),
          ...(tools === undefined
            ? {}
            : { tools: { tools: tools.length === 0 ? [] : [{ functionDeclarations: tools.map(functionOf) }] } }),
        },
      }),
    )
  }

  snapshot(): GeminiSnapshot {
    return { version: 1, generation: this.#generation, handle: this.#handle }
  }

  counters(): Readonly<Record<string, number>> {
    const { messagesIn: _, ...irregular } = this.stats
    return irregular
  }

  close(reason: string): Promise<void> {
    return this.#connection.close(reason)
  }

  // --- out ------------------------------------------------------------------------------------------------

  #send(message: ClientMessage): void {
    this.#connection.send(JSON.stringify(message))
  }

  #sendAudio(pcm: Buffer, length: number): boolean {
    if (!this.#connection.isReady || this.#connection.congested) return false
    if (!this.capabilities.serverVad && !this.#activityOpen) return false
    this.#connection.sendAudio(AUDIO_PREFIX, pcm, length, AUDIO_SUFFIX)
    return true
  }

  #whenReady(work: () => void): void {
    if (this.#connection.isReady) work()
    else if (this.#connection.alive && this.#waiting.length < BACKEND_WAITING_TEXTS_MAX) this.#waiting.push(work)
  }

  /** Content interrupts the model: a text that needs no answer waits until the model is silent. */
  #sendNotes(): void {
    // A model that takes content only at the start gets notes with the next text.
    if (this.#notes.length === 0 || this.#serverBusy || this.#activityOpen || this.#options.texts === 'realtime') return
    this.#sendTexts(false)
  }

  #sendTexts(respond: boolean): void {
    const texts = this.#notes.splice(0)
    if (this.#options.texts !== 'realtime') {
      const turns = texts.length === 0 ? [] : [{ role: 'user' as const, parts: texts.map((text) => ({ text })) }]
      this.#send({ clientContent: { turns, turnComplete: respond } })
      return
    }
    const manual = !this.capabilities.serverVad && !this.#activityOpen
    if (manual) this.#send({ realtimeInput: { activityStart: {} } })
    this.#send({ realtimeInput: { text: texts.join('\n') } })
    if (manual) this.#send({ realtimeInput: { activityEnd: {} } })
  }

  #keyed(keys: string): void {
    this.#sink.event({
      type: 'transcript',
      role: 'caller',
      text: keys,
      final: true,
      itemId: `keys-${++this.#keyItems}`,
      generation: this.#generation + 1,
    })
    this.sendText(keysText(keys), { role: 'caller', respond: true })
  }

  // --- in -------------------------------------------------------------------------------------------------

  #setUp(): void {
    const session = this.#session
    if (session === null) return
    this.#send({
      setup: setupOf(
        this.#options,
        session,
        this.#resumeHandle,
        this.#resumeHandle === null && historyOf(session).length > 0,
      ),
    })
  }

  #begin(): void {
    const session = this.#session
    if (session === null || this.#connection.isReady) return
    const turns = this.#resumeHandle === null ? historyOf(session) : []
    // The setup declared this content as history, so that the model does not answer it.
    if (turns.length > 0) this.#send({ clientContent: { turns, turnComplete: true } })
    this.#handle = this.#resumeHandle
    this.#connection.ready()
    this.#uplink.retry()
    for (const work of this.#waiting.splice(0)) work()
  }

  /** The service refused the connection and gives no reason. The next try uses the history in place of the handle. */
  #forgetHandle(): boolean {
    if (this.#resumeHandle === null) return false
    this.#resumeHandle = null
    this.stats.resumesRefused++
    return true
  }

  #message(data: Buffer): void {
    const message = readMessage(data, this.stats)
    if (message === null) return
    if (message.setupComplete !== undefined) this.#begin()
    if (!this.#connection.isReady) return
    const { sessionResumptionUpdate: update, goAway, toolCallCancellation } = message
    if (update?.resumable === true && typeof update.newHandle === 'string') this.#handle = update.newHandle
    if (goAway !== undefined) this.#sink.event({ type: 'expiring', inMs: durationMs(goAway.timeLeft) })
    if (message.usageMetadata !== undefined) {
      this.#usage = tokensOf(message.usageMetadata)
    }
    if (this.capabilities.serverVad) this.#voiceActivity(message.voiceActivity?.voiceActivityType)
    this.#content(message)
    this.#toolCalls(functionCallsOf(message, this.stats))
    if (Array.isArray(toolCallCancellation?.ids)) this.#cancelled(toolCallCancellation.ids as readonly unknown[])
  }

  #toolCalls(calls: readonly FunctionCall[]): void {
    if (calls.length === 0) return
    // Registered before the first event is emitted: a tool may answer while that event is handled.
    this.#calls.add(calls)
    const { generation } = this.#active()
    for (const { id, name, args: given } of calls) {
      const { args, invalid } = objectArguments(given)
      if (invalid !== undefined) this.stats.invalidToolArguments++
      this.#sink.event({
        type: 'tool-call',
        callId: id,
        name,
        args,
        generation,
        ...(invalid === undefined ? {} : { invalid }),
      })
    }
    // Nothing more arrives until the calls are answered: this turn ends here, and the model's next part starts another
    // turn.
    this.#end('completed', undefined)
    this.#serverBusy = false
  }

  #cancelled(ids: readonly unknown[]): void {
    const { cancelled, complete } = this.#calls.cancel(ids.filter((id) => typeof id === 'string'))
    if (complete.length > 0) this.#send({ toolResponse: { functionResponses: complete } })
    if (cancelled.length === 0) return
    this.stats.toolCallsCancelled += cancelled.length
    this.#sink.event({ type: 'tool-cancel', callIds: cancelled })
  }

  #ended(): void {
    this.#keys.close()
    this.#uplink.clear()
    this.#notes = []
  }

  // --- turns ----------------------------------------------------------------------------------------------

  #content(message: ServerMessage): void {
    const content = message.serverContent
    if (content === undefined) return
    const { inputTranscription, outputTranscription } = content
    if (typeof inputTranscription?.text === 'string')
      this.#callerTranscript(inputTranscription.text, inputTranscription.finished === true)
    for (const part of partsOf(message)) {
      // The model's reasoning.
      if (part.thought === true) continue
      if (part.inlineData !== undefined) this.#audioPart(part.inlineData)
      else if (typeof part.text === 'string' && part.text !== '') this.#agentTranscript(part.text)
    }
    if (typeof outputTranscription?.text === 'string') this.#agentTranscript(outputTranscription.text)
    if (content.interrupted === true) this.#interrupted()
    if (content.generationComplete === true) this.#end('completed', undefined)
    if (content.turnComplete === true) this.#turnComplete(content.turnCompleteReason)
  }

  /** Returns the turn that a part belongs to, and starts one if the last is over. */
  #active(): Turn {
    const present = this.#turn
    if (present !== null && present.state !== 'done') return present
    this.#finishAgent()
    this.#finishCaller()
    const generation = ++this.#generation
    const turn: Turn = {
      generation,
      itemId: `gemini-${generation}`,
      state: 'active',
      audioMs: 0,
      text: '',
      final: true,
      interrupted: false,
    }
    this.#turn = turn
    this.#audio.reset()
    this.#serverBusy = true
    this.#sink.event({ type: 'turn-start', generation })
    return turn
  }

  #audioPart(inline: { readonly mimeType?: string; readonly data?: string }): void {
    const turn = this.#active()
    if (turn.state === 'cancelled') {
      this.stats.latePieces++
      return
    }
    if (inline.mimeType !== this.#mimeType) this.#setFormat(inline.mimeType)
    if (!this.#playable) {
      this.stats.unplayableAudio++
      return
    }
    this.#audioTurn = turn
    if (!this.#audio.decode(typeof inline.data === 'string' ? inline.data : '', this.#deliver))
      this.stats.malformedAudio++
  }

  // One function for the whole session, because audio messages are frequent.
  readonly #deliver = (samples: Int16Array): void => {
    const turn = this.#audioTurn
    if (turn === null || turn.state !== 'active') return
    const rateHz = this.#outputRateHz
    turn.audioMs += samplesToMs(samples.length, rateHz)
    this.#sink.audio(samples, rateHz, turn.itemId, turn.generation)
  }

  #setFormat(mimeType: string | undefined): void {
    const rate = rateOf(mimeType)
    this.#playable = rate !== null && isSampleRateHz(rate)
    if (this.#mimeType !== '' && rate !== this.#outputRateHz) this.stats.rateChanges++
    this.#mimeType = mimeType ?? ''
    if (rate !== null && isSampleRateHz(rate)) this.#outputRateHz = rate
  }

  #interrupted(): void {
    const turn = this.#turn
    if (turn !== null && turn.state === 'active') this.#sink.event({ type: 'interrupted', generation: turn.generation })
    this.#end('cancelled', 'interrupted')
    this.#finishAgent()
    if (turn !== null) turn.interrupted = true
  }

  #end(status: 'completed' | 'cancelled', reason: string | undefined): void {
    const turn = this.#turn
    if (turn === null || turn.state === 'done') return
    const reported = turn.state === 'cancelled'
    turn.state = 'done'
    if (reported) return
    const { generation, itemId } = turn
    if (turn.audioMs > 0) this.#sink.event({ type: 'audio-done', generation, itemId })
    if (turn.text !== '' && status === 'completed') this.#finishAgent()
    this.#sink.event({
      type: 'usage',
      usage: { ...this.#usage, audioInMs: this.#uplink.takeSentMs(), audioOutMs: turn.audioMs },
    })
    this.#usage = tokensOf({})
    this.#sink.event({ type: 'turn-done', generation, status, ...(reason === undefined ? {} : { reason }) })
  }

  #turnComplete(reason: string | undefined): void {
    this.#end('completed', typeof reason === 'string' ? reason : undefined)
    this.#finishAgent()
    this.#finishCaller()
    // The token counts come with the last message of a turn, after its end.
    if (this.#usage.inputTokens + this.#usage.outputTokens > 0) {
      this.#sink.event({
        type: 'usage',
        usage: { ...this.#usage, audioInMs: this.#uplink.takeSentMs(), audioOutMs: 0 },
      })
      this.#usage = tokensOf({})
    }
    this.#serverBusy = false
    this.#sendNotes()
  }

  #agentTranscript(words: string): void {
    // The last text of a turn may arrive after its end.
    const turn = this.#turn !== null && this.#turn.state !== 'active' && this.#serverBusy ? this.#turn : this.#active()
    if (turn.interrupted) {
      this.stats.latePieces++
      return
    }
    turn.text = (turn.text + words).slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
    turn.final = false
    this.#sink.event({
      type: 'transcript',
      role: 'agent',
      text: turn.text,
      final: false,
      itemId: turn.itemId,
      generation: turn.generation,
    })
  }

  #finishAgent(): void {
    const turn = this.#turn
    if (turn === null || turn.final || turn.interrupted) return
    turn.final = true
    this.#sink.event({
      type: 'transcript',
      role: 'agent',
      text: turn.text,
      final: true,
      itemId: turn.itemId,
      generation: turn.generation,
    })
  }

  #callerTranscript(words: string, finished: boolean): void {
    if (this.#callerText === '') this.#callerItems++
    this.#callerText = (this.#callerText + words).slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
    this.#callerFinal = finished
    this.#emitCaller()
  }

  #finishCaller(): void {
    if (this.#callerFinal) return
    this.#callerFinal = true
    // With its own VAD the service seldom reports the end of speech. Its answer shows that the speech is over.
    if (this.capabilities.serverVad && !this.#reportsActivity) this.#sink.event({ type: 'speech-stopped' })
    this.#emitCaller()
    this.#callerText = ''
  }

  #emitCaller(): void {
    this.#sink.event({
      type: 'transcript',
      role: 'caller',
      text: this.#callerText.trim(),
      final: this.#callerFinal,
      itemId: `caller-${this.#callerItems}`,
      generation: this.#generation + 1,
    })
  }

  #voiceActivity(type: string | undefined): void {
    if (type !== undefined) this.#reportsActivity = true
    if (type === 'ACTIVITY_START') this.#sink.event({ type: 'speech-started' })
    if (type === 'ACTIVITY_END') this.#sink.event({ type: 'speech-stopped' })
  }
}

function snapshotOf(resume: unknown): GeminiSnapshot | null {
  const snapshot = resume as Partial<GeminiSnapshot> | null
  const good =
    typeof snapshot === 'object' &&
    snapshot?.version === 1 &&
    Number.isSafeInteger(snapshot.generation) &&
    (snapshot.handle === null || typeof snapshot.handle === 'string')
  return good ? (snapshot as GeminiSnapshot) : null
}

interface Batch {
  readonly open: Set<string>
  readonly answers: WireFunctionResponse[]
}

/**
 * Tool calls come in batches, and the results of a batch are sent together. A call that the service cancelled needs no
 * result.
 */
class ToolBatches {
  readonly #calls = new Map<string, { readonly name: string; readonly batch: Batch }>()

  add(calls: readonly { readonly id: string; readonly name: string }[]): void {
    const batch: Batch = { open: new Set(calls.map((call) => call.id)), answers: [] }
    for (const { id, name } of calls) this.#calls.set(id, { name, batch })
    for (const id of this.#calls.keys()) {
      if (this.#calls.size <= BACKEND_TOOL_CALLS_KEPT) break
      this.#calls.delete(id)
    }
  }

  /** @returns the batch when this was its last result, else null */
  answer(id: string, response: WireFunctionResponse['response']): readonly WireFunctionResponse[] | null {
    const call = this.#calls.get(id)
    if (call === undefined || !call.batch.open.delete(id)) return null
    this.#calls.delete(id)
    call.batch.answers.push({ id, name: call.name, response })
    return call.batch.open.size === 0 ? call.batch.answers : null
  }

  /** @returns the calls that were open, and the results of batches that are complete without them */
  cancel(ids: readonly string[]): { readonly cancelled: string[]; readonly complete: WireFunctionResponse[] } {
    const cancelled: string[] = []
    const complete: WireFunctionResponse[] = []
    for (const id of ids) {
      const call = this.#calls.get(id)
      if (call === undefined || !call.batch.open.delete(id)) continue
      this.#calls.delete(id)
      cancelled.push(id)
      if (call.batch.open.size === 0) complete.push(...call.batch.answers)
    }
    return { cancelled, complete }
  }
}
