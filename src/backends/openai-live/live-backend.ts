import type { Clock } from '../../core/clock.js'
import {
  BACKEND_CLOSE_MS,
  BACKEND_PRE_ROLL_MS,
  BACKEND_TRANSCRIPT_CHARS_MAX,
  BACKEND_WAITING_AUDIO_MS,
} from '../../core/limits.js'
import { samplesToMs } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import { samplesOf } from '../../media/pcm.js'
import type {
  Backend,
  BackendCapabilities,
  BackendSession,
  BackendSink,
  ToolReply,
  ToolSpec,
  TextOptions,
} from '../backend.js'
import { Conversation } from '../cascade/conversation.js'
import { KeyEntry, keysTranscript } from '../key-entry.js'
import { closeFault, wireFault } from '../openai-realtime/wire.js'
import { keysText, openingText, saidText } from '../prompts.js'
import { resumedGeneration } from '../resumed-generation.js'
import { parseArguments } from '../tool-text.js'
import { Base64Audio } from '../transport/base64-audio.js'
import { CallerUplink } from '../transport/caller-uplink.js'
import { VendorConnection } from '../transport/vendor-connection.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import { usageNumber } from '../watch.js'
import { AgentVoice } from './agent-voice.js'
import { AgentWords, heardWords } from './agent-words.js'
import type { AgentItem } from './agent-words.js'
import { ClientDelegate } from './client-delegate.js'
import type { Delegate, DelegateHost, DelegatedCall } from './delegate.js'
import { HostedDelegate } from './hosted-delegate.js'
import {
  LIVE_DELEGATE_MS,
  LIVE_EXPIRING_LEAD_MS,
  LIVE_SESSION_MS,
  contextParts,
  doneItems,
  lawOf,
  rateOf,
  sessionConfig,
  targetOf,
  delegateModel,
} from './session-start.js'
import type { OpenAiLiveOptions } from './session-start.js'
import { APPEND_PREFIX, APPEND_SUFFIX, LiveReader, closedFault, noLiveStats } from './wire.js'
import type { ClientEvent, ContextKind, LiveStats, ServerEvent, WireWords } from './wire.js'

const MESSAGE_MS = 20
/** The longest message of caller audio: 100 ms at 24 kHz. */
const APPEND_AUDIO_BYTES_MAX = 4800
/** The caller's words are complete when no more of them come for this long. */
const CALLER_WORDS_MS = 1000
/** A tool that ends the conversation waits this long for the speech that it belongs to. */
const GOODBYE_MS_MAX = 5000
/** How long the end of a session waits for the service's last account of its usage. */
const LAST_USAGE_MS = BACKEND_CLOSE_MS / 2

// Shared by all calls of a thread: each message is encoded and sent at once.
const g711 = Buffer.allocUnsafeSlow(APPEND_AUDIO_BYTES_MAX / 2)

/**
 * OpenAI's GPT-Live over a WebSocket: a full-duplex model, which hears and speaks at the same time.
 *
 *     connecting --open--> session.start --session.started--> what was done before --> ready
 *     ready      --two hours, or the service's own limit, less the lead--> `expiring`
 *
 * The model owns the floor: it decides when it speaks and when it stops, and nothing here can request, cancel or
 * truncate. So `speechStart` and `speechEnd` send nothing, and `interrupt` is local: the rest of the speech is dropped,
 * and the model is told what the caller heard. `AgentVoice` cuts its continuous sound into speeches, each of them an
 * answer of its own with its generation, and `AgentWords` assigns the words to them. The model has no tools: it
 * delegates, to a model that the service runs (`HostedDelegate`) or to ours (`ClientDelegate`).
 */
export class OpenAiLiveBackend implements Backend {
  readonly capabilities: BackendCapabilities
  readonly stats: LiveStats = noLiveStats()

  readonly #options: OpenAiLiveOptions
  readonly #sink: BackendSink
  readonly #service: string
  readonly #secrets: readonly (string | null)[]
  readonly #nowMs: Clock
  readonly #law: ReturnType<typeof lawOf>
  readonly #rateHz: SampleRateHz
  readonly #connection: VendorConnection
  readonly #uplink: CallerUplink
  readonly #reader = new LiveReader(this.stats)
  readonly #audio: Base64Audio
  readonly #voice: AgentVoice
  readonly #words = new AgentWords()
  readonly #keys: KeyEntry
  #session: BackendSession | null = null
  #delegate: Delegate | null = null
  /** Of the delegate of our own; null with the hosted one, which hears what is said. */
  #conversation: Conversation | null = null
  #generation = 0
  #callerItems = 0
  #callerText = ''
  #callerTimer: NodeJS.Timeout | null = null
  #expiry: NodeJS.Timeout | null = null
  /** Tool calls that end the conversation, until the speech before them is over. */
  #goodbye: (() => void) | null = null
  #goodbyeTimer: NodeJS.Timeout | null = null
  /** The service's count of this session so far, and how much of it was reported. */
  #sessionSeconds = 0
  #reportedSeconds = 0
  #ending: { readonly done: () => void; readonly promise: Promise<void> } | null = null

  constructor(sink: BackendSink, options: OpenAiLiveOptions) {
    // Once the end was asked for, a connection that breaks is no fault.
    this.#sink = {
      event: (event) => {
        if (this.#ending === null || event.type === 'usage' || event.type === 'closed') sink.event(event)
      },
      audio: (pcm, sampleRateHz, itemId, generation) => sink.audio(pcm, sampleRateHz, itemId, generation),
    }
    this.#options = options
    this.#service = options.name ?? 'openai-live'
    const { delegate, headers = {} } = options
    this.#secrets = [
      options.apiKey,
      ...Object.values(headers),
      delegate.by === 'client' ? (delegate.llm.apiKey ?? null) : null,
    ]
    this.#nowMs = options.nowMs ?? (() => performance.now())
    const audio = options.audio ?? 'pcm16k'
    this.#law = lawOf(audio)
    this.#rateHz = rateOf(audio)
    this.capabilities = {
      name: this.#service,
      inputRateHz: this.#rateHz,
      outputRateHz: this.#rateHz,
      serverVad: false,
      truncate: true,
      fullDuplex: true,
      maxSessionMs: options.maxSessionMs ?? LIVE_SESSION_MS,
    }
    this.#uplink = new CallerUplink({
      sampleRateHz: this.#rateHz,
      messageMs: options.messageMs ?? MESSAGE_MS,
      turnEnd: null,
      waitingMsMax: BACKEND_WAITING_AUDIO_MS,
      preRollMs: BACKEND_PRE_ROLL_MS,
      send: (pcm, length) => this.#append(pcm, length),
    })
    this.#uplink.open()
    this.#audio = new Base64Audio(this.#law === null ? 'pcm16' : { expand: this.#law.decode })
    this.#voice = new AgentVoice(this.#rateHz, this.#nowMs, {
      began: () => this.#speechBegan(),
      speech: (pcm) => this.#speech(pcm),
      ended: () => this.#speechEnded(),
      ignored: () => {
        this.stats.interruptionsIgnored++
      },
    })
    this.#keys = new KeyEntry((keys) => this.#keyed(keys))
    this.#connection = new VendorConnection(this.#sink, {
      service: this.#service,
      secrets: this.#secrets,
      ...(options.connectTimeoutMs === undefined ? {} : { connectTimeoutMs: options.connectTimeoutMs }),
      ...(options.pingMs === undefined ? {} : { pingMs: options.pingMs }),
      target: () => targetOf(options),
      opened: () => this.#start(),
      message: (data) => this.#message(data),
      closeFault: (code, reason) => closeFault(this.#service, code, reason),
      ended: () => this.#ended(),
    })
  }

  connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    this.#session = session
    this.#generation = resumedGeneration(session.resume)
    this.#delegate = this.#delegateOf(session)
    return this.#connection.connect(signal)
  }

  pushAudio(pcm: Int16Array): void {
    this.#uplink.push(pcm)
    this.stats.audioDroppedMs = this.#uplink.droppedMs
  }

  speechStart(): void {
    // The model hears everything, and finds the caller's turns itself.
  }

  speechEnd(): void {
    this.#uplink.flush()
  }

  sendText(text: string, { role, respond }: TextOptions): void {
    this.#connection.whenReady(() => {
      const { greeting = null, history = [] } = this.#session ?? {}
      if (text === '' && role === 'system' && respond && greeting !== null && greeting !== '' && history.length === 0)
        return this.#context('commentary', greeting, null)
      const words = text === '' && role === 'system' && this.#session !== null ? openingText(this.#session) : text
      if (words === '') return
      if (role === 'agent') {
        this.#conversation?.said(words)
        return this.#context('thinking', saidText(words), null)
      }
      if (respond) return this.#delegate?.ask(words, role)
      if (role === 'caller') this.#conversation?.caller(words)
      else this.#conversation?.note(words)
      this.#context(role === 'caller' ? 'thinking' : 'instructions', words, null)
    })
  }

  dtmf(digit: string): void {
    this.#keys.press(digit)
  }

  toolResult(callId: string, reply: ToolReply): void {
    if (this.#connection.isReady) this.#delegate?.toolResult(callId, reply)
  }

  interrupt({ itemId, playedMs }: { readonly itemId: string | null; readonly playedMs: number }): void {
    if (!this.#connection.isReady) return
    const speaking = this.#words.last
    const cut = this.#voice.cut()
    if (cut && speaking !== undefined) this.#end(speaking, 'cancelled')
    // Without an item the caller heard nothing of what is being said.
    const first = itemId ?? (cut ? speaking?.itemId : undefined)
    if (first !== undefined) this.#tellHeard(first, itemId === null ? 0 : playedMs)
  }

  updateSession(update: { readonly instructions?: string; readonly tools?: readonly ToolSpec[] }): void {
    const { instructions, tools } = update
    if (instructions === undefined && tools === undefined) return
    this.#connection.whenReady(() => {
      this.#delegate?.updateSession(update)
      // The instructions of the live model cannot be replaced.
      if (instructions !== undefined)
        this.#context('instructions', `From here on these instructions apply: ${instructions}`, null)
    })
  }

  /** The service cannot resume a session: a new one gets the history. Only the numbering of answers goes on. */
  snapshot(): unknown {
    return { version: 1, generation: this.#generation }
  }

  counters(): Readonly<Record<string, number>> {
    const { messagesIn: _, ...irregular } = this.stats
    return irregular
  }

  /** Asks the service to end the session, because its last account of the usage comes with the end. */
  close(reason: string): Promise<void> {
    if (!this.#connection.isReady) return this.#connection.close(reason)
    if (this.#ending !== null) return this.#ending.promise
    this.#send({ type: 'session.close' })
    let done = (): void => undefined
    const promise = new Promise<void>((resolve) => {
      done = () => {
        clearTimeout(timer)
        if (this.#connection.isReady) this.#reportUsage(0)
        resolve(this.#connection.close(reason))
      }
    })
    const timer = setTimeout(done, LAST_USAGE_MS)
    this.#ending = { done, promise }
    this.#stop()
    return promise
  }

  // --- out ------------------------------------------------------------------------------------------------

  #delegateOf(session: BackendSession): Delegate {
    const { delegate, delegateTimeoutMs: timeoutMs = LIVE_DELEGATE_MS } = this.#options
    const host: DelegateHost = {
      stats: this.stats,
      send: (event) => this.#send(event),
      context: (kind, text, delegationId) => this.#context(kind, text, delegationId),
      calls: (calls, afterSpeech) => {
        if (afterSpeech) this.#afterSpeech(() => this.#makeCalls(calls))
        else this.#makeCalls(calls)
      },
      usage: (usage) => this.#sink.event({ type: 'usage', usage }),
      failed: (reason, fault) => this.#delegationFailed(reason, fault),
    }
    if (delegate.by === 'responses')
      return new HostedDelegate(host, this.#service, delegateModel(delegate), timeoutMs, this.#nowMs)
    this.#conversation = new Conversation(session)
    const { llm } = delegate
    return new ClientDelegate(host, this.#conversation, { service: this.#service, llm, timeoutMs, nowMs: this.#nowMs })
  }

  #append(pcm: Buffer, length: number): boolean {
    if (!this.#connection.isReady || this.#connection.congested || this.#ending !== null) return false
    if (this.#law !== null) {
      const bytes = this.#law.encode(samplesOf(pcm.subarray(0, length)), g711)
      this.#connection.sendAudio(APPEND_PREFIX, g711, bytes, APPEND_SUFFIX)
    } else {
      this.#connection.sendAudio(APPEND_PREFIX, pcm, length, APPEND_SUFFIX)
    }
    return true
  }

  #send(event: ClientEvent): void {
    if (this.#ending === null) this.#connection.send(JSON.stringify(event))
  }

  #context(kind: ContextKind, text: string, delegationId: string | null): void {
    const { parts, cut } = contextParts(text)
    if (parts.length > 1) this.stats.contextSplit++
    if (cut) this.stats.contextCut++
    for (const content of parts) this.#send({ type: `session.${kind}.append`, content, delegation_id: delegationId })
  }

  #keyed(keys: string): void {
    this.#sink.event(keysTranscript(keys, ++this.#callerItems, this.#generation + 1))
    this.sendText(keysText(keys), { role: 'caller', respond: true })
  }

  // --- in -------------------------------------------------------------------------------------------------

  #message(data: Buffer): void {
    const event = this.#reader.read(data)
    if (event === null) return
    if (event.type === 'session.usage.updated' || event.type === 'session.closed')
      this.#sessionSeconds = Math.max(this.#sessionSeconds, usageNumber(event.usage.seconds))
    if (this.#ending !== null) {
      if (event.type === 'session.closed') this.#ending.done()
      return
    }
    switch (event.type) {
      case 'session.output_audio.delta':
        if (this.#connection.isReady && !this.#audio.decode(this.#reader.audioOf(event, data), this.#hear))
          this.stats.malformedAudio++
        return
      case 'session.started':
        return this.#begin(event.session.expires_at)
      case 'session.input_transcript.delta':
        return this.#callerWords(event.delta)
      case 'session.output_transcript.delta':
        return this.#agentWords(event)
      case 'session.delegation.created':
        return this.#delegated(event)
      case 'response.event':
        if (this.#delegate instanceof HostedDelegate) this.#delegate.event(event.event)
        else this.stats.delegationsForeign++
        return
      case 'session.usage.updated':
        return
      case 'session.closed':
        this.#reportUsage(0)
        return this.#connection.fail(closedFault(this.#service, event.reason))
      case 'error':
        return this.#connection.fail(wireFault(this.#service, event.error, this.#connection.isReady, this.#secrets))
      default: {
        const never: never = event
        return never
      }
    }
  }

  #start(): void {
    if (this.#session === null) return
    this.#send({ type: 'session.start', session: sessionConfig(this.#options, this.#session) })
  }

  /** @param expiresAt  when the service will end the session, in seconds of Unix time */
  #begin(expiresAt: number | undefined): void {
    const session = this.#session
    if (session === null || this.#connection.isReady || !this.#connection.alive) return
    if (this.#delegate instanceof HostedDelegate)
      for (const item of doneItems(session)) this.#send({ type: 'response.item.create', item })
    const { maxSessionMs = LIVE_SESSION_MS, expiringLeadMs = LIVE_EXPIRING_LEAD_MS } = this.#options
    const toldMs = usageNumber(expiresAt) * 1000 - Date.now()
    const sessionMs = toldMs > 0 ? Math.min(maxSessionMs, toldMs) : maxSessionMs
    const leadMs = Math.min(expiringLeadMs, sessionMs)
    this.#expiry = setTimeout(() => this.#sink.event({ type: 'expiring', inMs: leadMs }), sessionMs - leadMs).unref()
    this.#connection.ready(() => this.#uplink.retry())
  }

  #stop(): void {
    this.#keys.close()
    this.#voice.close()
    this.#delegate?.close()
    this.#goodbye = null
    for (const timer of [this.#callerTimer, this.#expiry, this.#goodbyeTimer]) if (timer !== null) clearTimeout(timer)
  }

  #ended(): void {
    this.#stop()
    this.#uplink.clear()
  }

  // --- the agent's speech ---------------------------------------------------------------------------------

  // One function for the whole session, because audio messages are frequent.
  readonly #hear = (samples: Int16Array): void => this.#voice.hear(samples)

  #speechBegan(): void {
    this.#finishCaller()
    const item = this.#words.begin(++this.#generation)
    this.#sink.event({ type: 'turn-start', generation: item.generation })
    if (item.text !== '') this.#emitAgent(item, false)
  }

  #speech(pcm: Int16Array): void {
    const item = this.#words.last
    if (item === undefined) return
    item.audioMs += samplesToMs(pcm.length, this.#rateHz)
    this.#sink.audio(pcm, this.#rateHz, item.itemId, item.generation)
  }

  #speechEnded(): void {
    const item = this.#words.last
    if (item?.state === 'speaking') this.#end(item, 'completed')
  }

  #end(item: AgentItem, status: 'completed' | 'cancelled'): void {
    const { generation, itemId } = item
    item.state = status === 'completed' ? 'ended' : 'cut'
    const sentences = this.#conversation?.agent(itemId).sentences
    if (item.text !== '') sentences?.push({ text: item.text.trim(), ms: item.audioMs })
    if (status === 'completed') {
      this.#sink.event({ type: 'audio-done', generation, itemId })
      if (item.text !== '') this.#emitAgent(item, true)
    }
    this.#reportUsage(item.audioMs)
    this.#sink.event({
      type: 'turn-done',
      generation,
      status,
      ...(status === 'completed' ? {} : { reason: 'interrupted' }),
    })
    this.#sayGoodbye()
  }

  #agentWords(words: WireWords): void {
    const item = this.#words.take(words)
    if (item === null) return
    if (item.state === 'speaking') return this.#emitAgent(item, false)
    this.stats.lateEvents++
    // The words of a speech that is over were recorded: these are an entry of their own.
    if (item.state === 'ended' && !item.told)
      this.#emitAgent({ ...item, itemId: `${item.itemId}-end`, text: words.delta }, true)
  }

  #emitAgent({ text, itemId, generation }: AgentItem, final: boolean): void {
    this.#sink.event({ type: 'transcript', role: 'agent', text: text.trim(), final, itemId, generation })
  }

  /** Tells the model what the caller heard of its words, once for each speech. */
  #tellHeard(itemId: string, playedMs: number): void {
    const heard: string[] = []
    let unheard = false
    for (const [i, item] of this.#words.from(itemId).entries()) {
      if (item.told) return
      const ms = i === 0 ? Math.max(0, playedMs) : 0
      // A speech that was interrupted was to go on, so its end was not heard either.
      if (item.state === 'ended' && ms >= item.audioMs) continue
      item.told = true
      unheard = true
      const words = heardWords(item, ms)
      if (words !== '') heard.push(words)
      this.#conversation?.truncate(item.itemId, ms)
    }
    if (!unheard) return
    const text =
      heard.length === 0
        ? 'The caller interrupted you before they heard anything of your last words.'
        : `The caller interrupted you. Of your last words they heard only: "${heard.join(' ')}"`
    this.#context('thinking', text, null)
  }

  #reportUsage(audioOutMs: number): void {
    const seconds = this.#sessionSeconds - this.#reportedSeconds
    this.#reportedSeconds = this.#sessionSeconds
    this.#sink.event({
      type: 'usage',
      usage: {
        inputTokens: 0,
        outputTokens: 0,
        audioInMs: this.#uplink.takeSentMs(),
        audioOutMs,
        model: this.#options.model,
        sessionSeconds: seconds,
      },
    })
  }

  // --- the caller -----------------------------------------------------------------------------------------

  #callerWords(delta: string): void {
    if (this.#callerText === '') this.#callerItems++
    this.#callerText = (this.#callerText + delta).slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
    if (this.#callerTimer !== null) this.#callerTimer.refresh()
    else this.#callerTimer = setTimeout(() => this.#finishCaller(), CALLER_WORDS_MS).unref()
    this.#emitCaller(false)
  }

  #finishCaller(): void {
    if (this.#callerTimer !== null) clearTimeout(this.#callerTimer)
    this.#callerTimer = null
    const text = this.#callerText.trim()
    if (text === '') return
    this.#emitCaller(true)
    this.#callerText = ''
    this.#conversation?.caller(text)
  }

  #emitCaller(final: boolean): void {
    this.#sink.event({
      type: 'transcript',
      role: 'caller',
      text: this.#callerText.trim(),
      final,
      itemId: `caller-${this.#callerItems}`,
      generation: this.#generation + 1,
    })
  }

  // --- delegation -----------------------------------------------------------------------------------------

  #delegated({ delegation }: Extract<ServerEvent, { readonly type: 'session.delegation.created' }>): void {
    const { id, target } = delegation
    if (target !== this.#options.delegate.by || typeof id !== 'string') {
      this.stats.delegationsForeign++
      return
    }
    this.#finishCaller()
    this.#delegate?.created(id)
  }

  /** Tool calls belong to the speech that goes on, or are an answer of their own. */
  #makeCalls(calls: readonly DelegatedCall[]): void {
    if (!this.#connection.isReady || this.#ending !== null) return
    const speaking = this.#voice.speaking
    const generation = speaking ? this.#generation : ++this.#generation
    if (!speaking) this.#sink.event({ type: 'turn-start', generation })
    for (const { callId, name, argumentsText } of calls) {
      const { args, invalid } = parseArguments(argumentsText)
      if (invalid !== undefined) this.stats.invalidToolArguments++
      this.#sink.event({
        type: 'tool-call',
        callId,
        name,
        args,
        generation,
        ...(invalid === undefined ? {} : { invalid }),
      })
    }
    if (!speaking) this.#sink.event({ type: 'turn-done', generation, status: 'completed' })
  }

  #afterSpeech(work: () => void): void {
    this.#sayGoodbye()
    this.#goodbye = work
    this.#goodbyeTimer = setTimeout(() => this.#sayGoodbye(), GOODBYE_MS_MAX).unref()
  }

  #sayGoodbye(): void {
    const work = this.#goodbye
    this.#goodbye = null
    if (this.#goodbyeTimer !== null) clearTimeout(this.#goodbyeTimer)
    this.#goodbyeTimer = null
    work?.()
  }

  /** The caller waits for something that will not come: the failed answer makes the call say so. */
  #delegationFailed(reason: string, fault: VendorFault): void {
    if (!this.#connection.isReady || this.#ending !== null) return
    if (!this.#voice.speaking) {
      const generation = ++this.#generation
      this.#sink.event({ type: 'turn-start', generation })
      this.#sink.event({ type: 'turn-done', generation, status: 'failed', reason })
    }
    this.#context('thinking', 'What you delegated last could not be done. The caller was asked to say it again.', null)
    this.#connection.fail(fault)
  }
}
