import { BACKEND_PRE_ROLL_MS, BACKEND_WAITING_AUDIO_MS, BACKEND_WAITING_TEXTS_MAX } from '../../core/limits.js'
import type { Backend, BackendCapabilities, BackendSession, BackendSink, ToolReply, ToolSpec } from '../backend.js'
import { CallerUplink } from '../transport/caller-uplink.js'
import { KeyEntry } from '../key-entry.js'
import { keysText, openingText } from '../prompts.js'
import { objectArguments } from '../tool-text.js'
import { VendorConnection } from '../transport/vendor-connection.js'
import { closeFault } from './faults.js'
import { Incoming } from './incoming.js'
import type { GeminiStats } from './incoming.js'
import { MessageReader } from './message-reader.js'
import type { AskedCall } from './message-reader.js'
import { GEMINI_CONNECTION_MS, GEMINI_INPUT_RATE_HZ, GEMINI_OUTPUT_RATE_HZ, liveUrl } from './options.js'
import type { GeminiLiveOptions } from './options.js'
import { functionOf, historyOf, setupOf } from './setup.js'
import { ToolBatches } from './tool-batches.js'
import { AUDIO_PREFIX, AUDIO_SUFFIX, durationMs } from './wire.js'
import type { ClientMessage, ServerMessage } from './wire.js'

/** What `snapshot` yields: with the handle the service goes on with the session itself, voice and all. */
export interface GeminiSnapshot {
  readonly version: 1
  readonly generation: number
  readonly handle: string | null
}

const MESSAGE_MS = 60

/**
 * Gemini Live over a WebSocket.
 *
 *     connecting --open--> setup --setupComplete--> replay of what was said before --> ready
 *     connecting, with a handle --refused--> connecting, without it and with the replay
 *     ready      --goAway--> `expiring`; the next instance goes on from the handle in `snapshot`
 *
 * There is no truncation: the service cuts its own record when it is interrupted. What the service says of its turns is
 * `Incoming`'s work.
 */
export class GeminiLiveBackend implements Backend {
  readonly capabilities: BackendCapabilities
  readonly stats: GeminiStats = {
    messagesIn: 0, malformedMessages: 0, unknownMessages: 0, oversizeMessages: 0, malformedAudio: 0, unplayableAudio: 0,
    rateChanges: 0, latePieces: 0, invalidToolArguments: 0, toolCallsCancelled: 0, resumesRefused: 0, audioDroppedMs: 0,
  }

  readonly #options: GeminiLiveOptions
  readonly #sink: BackendSink
  readonly #connection: VendorConnection
  readonly #uplink: CallerUplink
  readonly #reader: MessageReader
  readonly #incoming: Incoming
  readonly #batches = new ToolBatches()
  readonly #keys: KeyEntry
  readonly #waiting: (() => void)[] = []
  /** Notes that would interrupt the model if they were told now. */
  #notes: string[] = []
  /** While the caller speaks the service takes its calls back; an answer that crosses that would be lost on both sides. */
  readonly #heldReplies: { readonly callId: string; readonly reply: ToolReply }[] = []
  #session: BackendSession | null = null
  /** Of the earlier session, until it was refused. */
  #resumeHandle: string | null = null
  #handle: string | null = null
  #speaking = false
  /** The service was told that the caller speaks: only then it may be given audio. */
  #activityOpen = false
  #keyItems = 0

  constructor(sink: BackendSink, options: GeminiLiveOptions) {
    this.#sink = sink
    this.#options = options
    const service = options.name ?? 'gemini'
    const serverVad = options.turns?.by === 'server'
    this.capabilities = {
      name: service, inputRateHz: GEMINI_INPUT_RATE_HZ, outputRateHz: GEMINI_OUTPUT_RATE_HZ, serverVad, truncate: false,
      maxSessionMs: GEMINI_CONNECTION_MS,
    }
    this.#uplink = new CallerUplink({
      sampleRateHz: GEMINI_INPUT_RATE_HZ, messageMs: options.messageMs ?? MESSAGE_MS, waitingMsMax: BACKEND_WAITING_AUDIO_MS,
      preRollMs: BACKEND_PRE_ROLL_MS, send: (pcm, length) => this.#sendAudio(pcm, length),
    })
    this.#reader = new MessageReader(this.stats)
    this.#keys = new KeyEntry((keys) => this.#keyed(keys))
    this.#incoming = new Incoming({
      sink, stats: this.stats, serverVad, takeAudioInMs: () => this.#uplink.takeSentMs(), idle: () => this.#tellNotes(),
    })
    this.#connection = new VendorConnection(sink, {
      service,
      secrets: [options.apiKey, ...Object.values(options.headers ?? {})],
      ...(options.connectTimeoutMs === undefined ? {} : { connectTimeoutMs: options.connectTimeoutMs }),
      ...(options.pingMs === undefined ? {} : { pingMs: options.pingMs }),
      target: () => ({ url: liveUrl(options), headers: options.headers ?? {} }),
      opened: () => this.#setUp(),
      message: (data) => this.#message(data),
      closeFault: (code, words) => closeFault(service, code, words),
      recovers: () => this.#forgetHandle(),
      ended: () => this.#ended(),
    })
    if (serverVad) this.#uplink.open()
  }

  connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    this.#session = session
    const snapshot = snapshotOf(session.resume)
    this.#resumeHandle = snapshot?.handle ?? null
    this.#incoming.generation = snapshot?.generation ?? 0
    return this.#connection.connect(signal)
  }

  pushAudio(pcm: Int16Array): void {
    this.#uplink.push(pcm)
    this.stats.audioDroppedMs = this.#uplink.droppedMs
  }

  speechStart(_atMs: number): void {
    if (this.capabilities.serverVad || this.#speaking || !this.#connection.alive) return
    this.#speaking = true
    this.#uplink.open()
    this.#whenReady(() => {
      this.#activityOpen = true
      this.#incoming.callerTurn()
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
      // The service knows no system messages after the setup.
      if (words !== '') this.#notes.push(role === 'system' ? `[${words}]` : words)
      if (respond) this.#tellTexts(true)
      else this.#tellNotes()
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
    const answers = this.#batches.answer(callId, reply.ok ? { output: reply.value ?? null } : { error: reply.value ?? 'The tool failed.' })
    if (answers !== null) this.#send({ toolResponse: { functionResponses: [...answers] } })
  }

  /** The service is not told: it notices by itself when the caller's next words come. */
  interrupt(_heard: { readonly itemId: string | null; readonly playedMs: number }): void {
    if (this.#connection.isReady) this.#incoming.interrupt()
  }

  updateSession({ instructions, tools }: { readonly instructions?: string; readonly tools?: readonly ToolSpec[] }): void {
    if (instructions === undefined && tools === undefined) return
    this.#whenReady(() => this.#send({
      contextUpdate: {
        ...(instructions === undefined ? {} : { systemInstruction: { parts: [{ text: instructions }] } }),
        ...(tools === undefined ? {} : { tools: { tools: tools.length === 0 ? [] : [{ functionDeclarations: tools.map(functionOf) }] } }),
      },
    }))
  }

  snapshot(): GeminiSnapshot {
    return { version: 1, generation: this.#incoming.generation, handle: this.#handle }
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
    this.#connection.send(AUDIO_PREFIX + pcm.toString('base64', 0, length) + AUDIO_SUFFIX)
    return true
  }

  #whenReady(work: () => void): void {
    if (this.#connection.isReady) work()
    else if (this.#connection.alive && this.#waiting.length < BACKEND_WAITING_TEXTS_MAX) this.#waiting.push(work)
  }

  /** Content interrupts the model: what needs no answer waits until it is silent. */
  #tellNotes(): void {
    // A model that takes content only at the start gets its notes with the next text.
    if (this.#notes.length === 0 || this.#incoming.busy || this.#activityOpen || this.#options.texts === 'realtime') return
    this.#tellTexts(false)
  }

  #tellTexts(respond: boolean): void {
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
      type: 'transcript', role: 'caller', text: keys, final: true, itemId: `keys-${++this.#keyItems}`, generation: this.#incoming.generation + 1,
    })
    this.sendText(keysText(keys), { role: 'caller', respond: true })
  }

  // --- in -------------------------------------------------------------------------------------------------

  #setUp(): void {
    const session = this.#session
    if (session === null) return
    this.#send({ setup: setupOf(this.#options, session, this.#resumeHandle, this.#resumeHandle === null && historyOf(session).length > 0) })
  }

  #begin(): void {
    const session = this.#session
    if (session === null || this.#connection.isReady) return
    const turns = this.#resumeHandle === null ? historyOf(session) : []
    // Complete, and yet no question: the setup said that this is history.
    if (turns.length > 0) this.#send({ clientContent: { turns, turnComplete: true } })
    this.#handle = this.#resumeHandle
    this.#connection.ready()
    this.#uplink.retry()
    for (const work of this.#waiting.splice(0)) work()
  }

  /** A handle can be refused for reasons that nobody tells; the history does not need it. */
  #forgetHandle(): boolean {
    if (this.#resumeHandle === null) return false
    this.#resumeHandle = null
    this.stats.resumesRefused++
    return true
  }

  #message(data: Buffer): void {
    const message = this.#reader.read(data)
    if (message !== null) this.#take(message)
  }

  #take(message: ServerMessage): void {
    if (message.setupComplete !== undefined) this.#begin()
    if (!this.#connection.isReady) return
    const { sessionResumptionUpdate: update, goAway, toolCallCancellation } = message
    if (update?.resumable === true && typeof update.newHandle === 'string') this.#handle = update.newHandle
    if (goAway !== undefined) this.#sink.event({ type: 'expiring', inMs: durationMs(goAway.timeLeft) })
    this.#incoming.handle(message)
    this.#toolCalls(this.#reader.calls(message))
    if (Array.isArray(toolCallCancellation?.ids)) this.#cancelled(toolCallCancellation.ids as readonly unknown[])
  }

  #toolCalls(calls: readonly AskedCall[]): void {
    if (calls.length === 0) return
    // Known before the first is told: a tool may be answered from within.
    this.#batches.asked(calls)
    const generation = this.#incoming.beginCalls()
    for (const { id, name, args: given } of calls) {
      const { args, invalid } = objectArguments(given)
      if (invalid !== undefined) this.stats.invalidToolArguments++
      this.#sink.event({ type: 'tool-call', callId: id, name, args, generation, ...(invalid === undefined ? {} : { invalid }) })
    }
    this.#incoming.endCalls()
  }

  #cancelled(ids: readonly unknown[]): void {
    const { cancelled, complete } = this.#batches.cancel(ids.filter((id) => typeof id === 'string'))
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
}

function snapshotOf(resume: unknown): GeminiSnapshot | null {
  const snapshot = resume as Partial<GeminiSnapshot> | null
  const good = typeof snapshot === 'object' && snapshot?.version === 1 && Number.isSafeInteger(snapshot.generation)
    && (snapshot.handle === null || typeof snapshot.handle === 'string')
  return good ? (snapshot as GeminiSnapshot) : null
}
