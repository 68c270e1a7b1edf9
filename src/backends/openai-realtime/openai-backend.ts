import type { Clock } from '../../core/clock.js'
import {
  BACKEND_CREATE_PAUSE_MS, BACKEND_PRE_ROLL_MS, BACKEND_WAITING_AUDIO_MS, BACKEND_WAITING_TEXTS_MAX,
} from '../../core/limits.js'
import { decodeMuLaw, encodeMuLaw, samplesOf } from '../../media/pcm.js'
import type { Backend, BackendCapabilities, BackendSession, BackendSink, ToolReply, ToolSpec } from '../backend.js'
import { Base64Audio } from '../transport/base64-audio.js'
import { CallerUplink } from '../transport/caller-uplink.js'
import { KeyEntry } from '../key-entry.js'
import { keysText, openingText } from '../prompts.js'
import { resumedGeneration } from '../resumed-generation.js'
import { replyText } from '../tool-text.js'
import { VendorConnection } from '../transport/vendor-connection.js'
import { vendorFault } from '../transport/vendor-fault.js'
import { closeFault, isBusy, isRace, wireFault } from './faults.js'
import { HeardItems } from './heard-items.js'
import { Incoming } from './incoming.js'
import type { OpenAiStats } from './incoming.js'
import { MessageReader } from './message-reader.js'
import { MESSAGE_MS, OPENAI_EXPIRING_LEAD_MS, OPENAI_SESSION_MS, ratesOf, targetOf } from './options.js'
import type { OpenAiRealtimeOptions } from './options.js'
import { ResponseLedger } from './response-ledger.js'
import { betaSessionConfig, functionTool, replayItems, sessionConfig } from './session-config.js'
import { ToolCalls } from './tool-calls.js'
import { APPEND_PREFIX, APPEND_SUFFIX } from './wire.js'
import type { ClientEvent, NewItem, ServerEvent, SessionUpdate, WireError } from './wire.js'

const SECOND_MS = 1000
/** The longest message of caller audio: 100 ms at 24 kHz. */
const APPEND_AUDIO_BYTES_MAX = 4800
/** A server that heard the caller stop begins its answer within this; after it we ask for one ourselves. */
const SERVER_ANSWER_MS = 1500
/** Less than this in the input buffer is refused as empty. openai 7.55.0, InputAudioBufferCommitEvent. */
const COMMIT_MS_MIN = 100

// Shared by all calls of a thread.
const g711 = Buffer.allocUnsafeSlow(APPEND_AUDIO_BYTES_MAX / 2)

/**
 * OpenAI Realtime over a WebSocket, and the servers that speak like it.
 *
 *     connecting --session.created--> session.update --session.updated--> replay of what was said before --> ready
 *     ready      --60 minutes, less the lead--> `expiring`
 *
 * One response at a time is `ResponseLedger`'s work, how much of an item was heard is `HeardItems`', what the service
 * says of its responses is `Incoming`'s.
 */
export class OpenAiRealtimeBackend implements Backend {
  readonly capabilities: BackendCapabilities
  readonly stats: OpenAiStats = {
    messagesIn: 0, malformedMessages: 0, malformedEvents: 0, unknownEvents: 0, oversizeMessages: 0, malformedAudio: 0,
    lateEvents: 0, toolCallsGivenUp: 0, invalidToolArguments: 0, createRefusals: 0, races: 0, audioDroppedMs: 0, endsMissing: 0,
    rateChanges: 0,
  }

  readonly #options: OpenAiRealtimeOptions
  readonly #sink: BackendSink
  readonly #service: string
  readonly #secrets: readonly (string | null)[]
  readonly #nowMs: Clock
  readonly #connection: VendorConnection
  readonly #uplink: CallerUplink
  readonly #ledger = new ResponseLedger(0)
  readonly #heard = new HeardItems()
  readonly #calls = new ToolCalls()
  readonly #reader: MessageReader
  readonly #incoming: Incoming
  readonly #keys: KeyEntry
  readonly #waitingTexts: (() => void)[] = []
  #session: BackendSession | null = null
  #configured = false
  #items = 0
  #utteranceSamples = 0
  #retry: NodeJS.Timeout | null = null
  #tries = 0
  #expiry: NodeJS.Timeout | null = null

  constructor(sink: BackendSink, options: OpenAiRealtimeOptions) {
    this.#sink = sink
    this.#options = options
    this.#service = options.name ?? 'openai'
    this.#secrets = [options.apiKey, ...Object.values(options.headers ?? {})]
    this.#nowMs = options.nowMs ?? (() => performance.now())
    const { inputRateHz, outputRateHz } = ratesOf(options)
    this.capabilities = {
      name: this.#service, inputRateHz, outputRateHz, serverVad: options.turns?.by !== 'gateway', truncate: true,
      maxSessionMs: options.maxSessionMs ?? OPENAI_SESSION_MS,
    }
    this.#uplink = new CallerUplink({
      sampleRateHz: inputRateHz, messageMs: options.messageMs ?? MESSAGE_MS, waitingMsMax: BACKEND_WAITING_AUDIO_MS,
      preRollMs: BACKEND_PRE_ROLL_MS, send: (pcm, length) => this.#append(pcm, length),
    })
    this.#reader = new MessageReader(this.stats)
    this.#keys = new KeyEntry((keys) => this.#keyed(keys))
    this.#connection = new VendorConnection(sink, {
      service: this.#service,
      secrets: this.#secrets,
      ...(options.connectTimeoutMs === undefined ? {} : { connectTimeoutMs: options.connectTimeoutMs }),
      ...(options.pingMs === undefined ? {} : { pingMs: options.pingMs }),
      target: () => targetOf(options),
      opened: () => {
        this.#configured = false
      },
      message: (data) => this.#message(data),
      closeFault: (code, words) => closeFault(this.#service, code, words),
      ended: () => this.#ended(),
    })
    this.#incoming = new Incoming({
      sink, ledger: this.#ledger, heard: this.#heard, calls: this.#calls, stats: this.stats, outputRateHz, nowMs: this.#nowMs,
      audio: new Base64Audio(options.audio === 'pcmu' ? { expand: decodeMuLaw } : 'pcm16'),
      takeAudioInMs: () => this.#uplink.takeSentMs(),
      settle: () => this.#settle(),
      failed: (error) => this.#connection.fail(wireFault(this.#service, error, true, this.#secrets)),
    })
    // A server that listens by itself hears everything; without one only speech is sent, with a little before it.
    if (this.capabilities.serverVad) this.#uplink.open()
  }

  connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    this.#session = session
    this.#ledger.generation = resumedGeneration(session.resume)
    return this.#connection.connect(signal)
  }

  pushAudio(pcm: Int16Array): void {
    this.#utteranceSamples += pcm.length
    this.#uplink.push(pcm)
    this.stats.audioDroppedMs = this.#uplink.droppedMs
  }

  speechStart(_atMs: number): void {
    if (this.capabilities.serverVad) return
    this.#ledger.speechStarted()
    this.#utteranceSamples = 0
    this.#uplink.open()
  }

  speechEnd(_atMs: number): void {
    if (this.capabilities.serverVad || !this.#ledger.callerSpeaking) return
    this.#ledger.speechStopped(false)
    this.#uplink.flush()
    const long = this.#utteranceSamples * SECOND_MS >= COMMIT_MS_MIN * this.capabilities.inputRateHz
    this.#whenReady(() => {
      if (!this.#ledger.callerSpeaking) this.#uplink.close()
      this.#send({ type: long ? 'input_audio_buffer.commit' : 'input_audio_buffer.clear' })
      if (long) this.#ledger.want(null)
      this.#settle()
    })
  }

  sendText(text: string, { role, respond }: { readonly role: 'caller' | 'system'; readonly respond: boolean }): void {
    this.#whenReady(() => {
      const words = text === '' && role === 'system' && this.#session !== null ? openingText(this.#session) : text
      const id = words === '' ? null : this.#createItem({
        type: 'message', role: role === 'caller' ? 'user' : 'system', content: [{ type: 'input_text', text: words }],
      })
      if (respond) this.#ledger.want(id)
      this.#settle()
    })
  }

  dtmf(digit: string): void {
    this.#keys.press(digit)
  }

  toolResult(callId: string, reply: ToolReply): void {
    const response = this.#calls.answer(callId)
    if (response === null || !this.#connection.isReady) return
    const id = this.#createItem({ type: 'function_call_output', call_id: callId, output: replyText(reply) })
    response.callsOpen.delete(callId)
    if (response.callsOpen.size > 0) return
    this.#ledger.want(id)
    if (this.#ledger.current === response) this.#incoming.callsAnswered()
    this.#settle()
  }

  interrupt({ itemId, playedMs }: { readonly itemId: string | null; readonly playedMs: number }): void {
    if (!this.#connection.isReady) return
    const asked = this.#ledger.asked
    const generation = this.#ledger.current?.generation ?? null
    const cancelled = this.#ledger.interrupt()
    const serverCancels = this.capabilities.serverVad && this.#ledger.callerSpeaking
    if (asked || (cancelled !== null && !serverCancels)) this.#send({ type: 'response.cancel' })
    for (const cut of this.#heard.cut(itemId, playedMs, generation, this.#nowMs())) {
      this.#send({ type: 'conversation.item.truncate', item_id: cut.itemId, content_index: cut.contentIndex, audio_end_ms: cut.audioEndMs })
    }
    if (cancelled !== null) this.#incoming.cancelled(cancelled)
  }

  updateSession({ instructions, tools }: { readonly instructions?: string; readonly tools?: readonly ToolSpec[] }): void {
    this.#whenReady(() => {
      const changed = {
        ...(instructions === undefined ? {} : { instructions }),
        ...(tools === undefined ? {} : { tools: tools.map(functionTool) }),
      }
      const session = this.#options.dialect === 'beta' ? changed : { type: 'realtime', ...changed }
      this.#connection.send(JSON.stringify({ type: 'session.update', session }))
    })
  }

  /** The service cannot resume a session: a new one is told the history. Only the numbering goes on. */
  snapshot(): unknown {
    return { version: 1, generation: this.#ledger.generation }
  }

  counters(): Readonly<Record<string, number>> {
    const { messagesIn: _, ...irregular } = this.stats
    return irregular
  }

  close(reason: string): Promise<void> {
    return this.#connection.close(reason)
  }

  // --- out ------------------------------------------------------------------------------------------------

  #append(pcm: Buffer, length: number): boolean {
    if (!this.#connection.isReady || this.#connection.congested) return false
    if (this.#options.audio === 'pcmu') {
      const bytes = encodeMuLaw(samplesOf(pcm.subarray(0, length)), g711)
      this.#connection.send(APPEND_PREFIX + g711.toString('base64', 0, bytes) + APPEND_SUFFIX)
    } else {
      this.#connection.send(APPEND_PREFIX + pcm.toString('base64', 0, length) + APPEND_SUFFIX)
    }
    return true
  }

  #send(event: ClientEvent): void {
    this.#connection.send(JSON.stringify(event))
  }

  #createItem(item: NewItem): string {
    const id = `mk${++this.#items}`
    this.#send({ type: 'conversation.item.create', item: { ...item, id } })
    return id
  }

  #whenReady(work: () => void): void {
    if (this.#connection.isReady) work()
    else if (this.#connection.alive && this.#waitingTexts.length < BACKEND_WAITING_TEXTS_MAX) this.#waitingTexts.push(work)
  }

  #keyed(keys: string): void {
    this.#sink.event({
      type: 'transcript', role: 'caller', text: keys, final: true, itemId: `keys-${++this.#items}`, generation: this.#ledger.generation + 1,
    })
    this.sendText(keysText(keys), { role: 'caller', respond: true })
  }

  /** Asks for a response when one is owed and nothing is in its way. */
  #settle(): void {
    if (!this.#ledger.mayCreate() || !this.#connection.isReady) return
    const eventId = this.#ledger.creating()
    this.#send({ type: 'response.create', event_id: eventId, response: { metadata: { mkondo: eventId } } })
  }

  #settleIn(ms: number): void {
    if (this.#retry !== null) clearTimeout(this.#retry)
    this.#retry = setTimeout(() => {
      this.#retry = null
      this.#ledger.release()
      this.#settle()
    }, ms)
  }

  // --- in -------------------------------------------------------------------------------------------------

  #message(data: Buffer): void {
    const event = this.#reader.read(data)
    if (event === null) return
    if (event.type === 'response.output_audio.delta') this.#incoming.audio(event)
    else this.#event(event)
  }

  #event(event: ServerEvent): void {
    switch (event.type) {
      case 'session.created': return this.#configure()
      case 'session.updated':
        this.#incoming.configured(event.session)
        return this.#begin()
      case 'input_audio_buffer.speech_started':
        if (!this.capabilities.serverVad) return
        this.#ledger.speechStarted()
        this.#sink.event({ type: 'speech-started' })
        return
      case 'input_audio_buffer.speech_stopped':
        if (!this.capabilities.serverVad) return
        this.#ledger.speechStopped(true)
        this.#sink.event({ type: 'speech-stopped' })
        if (this.#ledger.wished) this.#settleIn(SERVER_ANSWER_MS)
        return
      case 'conversation.item.added':
        if (event.item.id !== undefined) this.#ledger.itemAcked(event.item.id)
        return
      case 'error': return this.#error(event.error)
      default:
        this.#incoming.handle(event)
        // A response of the server's own may have granted a wish, or be in the way of one.
        if (event.type === 'response.created') this.#settle()
    }
  }

  #configure(): void {
    if (this.#session === null || this.#configured) return
    this.#configured = true
    if (this.#options.dialect === 'beta') {
      this.#connection.send(JSON.stringify({ type: 'session.update', session: betaSessionConfig(this.#options, this.#session) }))
      // Not all of them confirm it; an error would have come by then.
      this.#retry = setTimeout(() => this.#begin(), this.#options.confirmMs ?? SERVER_ANSWER_MS)
      return
    }
    const update: SessionUpdate = { type: 'session.update', session: sessionConfig(this.#options, this.#session) }
    this.#connection.send(JSON.stringify(update))
  }

  #begin(): void {
    const session = this.#session
    if (session === null || this.#connection.isReady || !this.#connection.alive) return
    if (this.#retry !== null) clearTimeout(this.#retry)
    this.#retry = null
    for (const item of replayItems(session)) this.#send({ type: 'conversation.item.create', item })
    const { maxSessionMs = OPENAI_SESSION_MS, expiringLeadMs = OPENAI_EXPIRING_LEAD_MS } = this.#options
    const leadMs = Math.min(expiringLeadMs, maxSessionMs)
    this.#expiry = setTimeout(() => this.#sink.event({ type: 'expiring', inMs: leadMs }), maxSessionMs - leadMs).unref()
    this.#connection.ready()
    // What the caller said meanwhile, then what was to be done after it.
    this.#uplink.retry()
    for (const work of this.#waitingTexts.splice(0)) work()
  }

  #error(error: WireError): void {
    const ready = this.#connection.isReady
    const eventId = error.event_id ?? ''
    if (eventId.startsWith('mk-create-')) {
      const next = this.#ledger.refused(eventId, isBusy(error))
      this.stats.createRefusals = this.#ledger.refusals
      // Whatever is in the way will not be gone at once.
      if (next === 'later') this.#settleIn(BACKEND_CREATE_PAUSE_MS * 2 ** this.#tries++)
      else this.#tries = 0
      if (next === 'give-up' && isBusy(error)) {
        this.#connection.fail(vendorFault('internal', `${this.#service}: refuses responses because of one that it never ends`, false))
        return
      }
    }
    if (ready && isRace(error)) {
      this.stats.races++
      return
    }
    this.#connection.fail(wireFault(this.#service, error, ready, this.#secrets))
  }

  #ended(): void {
    this.#keys.close()
    this.#incoming.close()
    this.#uplink.clear()
    if (this.#retry !== null) clearTimeout(this.#retry)
    if (this.#expiry !== null) clearTimeout(this.#expiry)
  }
}
