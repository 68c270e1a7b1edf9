import { noUsage } from '../../../call/usage.js'
import { BACKEND_CLOSE_MS, BACKEND_PRE_ROLL_MS } from '../../../core/limits.js'
import { samplesToMs } from '../../../core/units.js'
import type { SampleRateHz } from '../../../core/units.js'
import type {
  Backend,
  BackendSession,
  BackendSink,
  SessionUpdate,
  ToolReply,
  TextOptions,
} from '../../../backends/backend.js'
import { Conversation } from '../../../backends/cascade/conversation.js'
import type { ToolCall } from '../../self-hosted/realtime/responses.js'
import { doneItems, headersOf, lawOf } from '../../self-hosted/realtime/session-config.js'
import { closeFault, wireFault } from '../../self-hosted/realtime/wire.js'
import { saidText } from '../../../backends/prompts.js'
import { Alarm } from '../../../backends/timers.js'
import { RealtimeBackend, socketUrl } from '../../../backends/transport/realtime-backend.js'
import { parseArguments } from '../../../backends/tool-text.js'
import type { VendorFault } from '../../../backends/transport/vendor-fault.js'
import { usageNumber } from '../../../backends/watch.js'
import { AgentVoice } from './agent-voice.js'
import { AgentWords, heardWords } from './agent-words.js'
import type { AgentItem } from './agent-words.js'
import { ClientDelegate } from './client-delegate.js'
import type { Delegate, DelegateHost } from './delegate.js'
import { HostedDelegate } from './hosted-delegate.js'
import { LIVE_DELEGATE_MS, LIVE_FORMATS, LIVE_SESSION_MS, contextParts, sessionConfig } from './session-start.js'
import type { OpenAiLiveOptions } from './session-start.js'
import { APPEND_PREFIX, APPEND_SUFFIX, closedFault } from './wire.js'
import { livePromptUpdate } from './prompt.js'
import { LiveReader, noLiveStats } from './reader.js'
import type { ClientEvent, ContextKind, ServerEvent, WireWords } from './wire.js'
import type { LiveStats } from './reader.js'

const MESSAGE_MS = 20
/** Time in ms without new words, after which the caller's words count as complete. */
const CALLER_WORDS_MS = 1000
/** Maximum wait in ms of a tool call that ends the conversation: it waits until the speech before it is over. */
const GOODBYE_MS_MAX = 5000
/** Maximum wait at a session's end for the service's final usage report, in milliseconds. */
const LAST_USAGE_MS = BACKEND_CLOSE_MS / 2

/**
 * OpenAI's GPT-Live over a WebSocket: a full-duplex model, which hears and speaks at the same time.
 *
 *     connecting --open--> session.start --session.started--> earlier tool calls --> ready
 *     ready      --shortly before two hours, or before the service's own limit--> ready: emits `expiring`
 *
 * The model decides when it speaks and stops: the backend cannot request, cancel or truncate an answer. So
 * `speechStart` and `speechEnd` do not send the model any turns. `interrupt` drops the remaining speech in the gateway,
 * and reports to the model how much the caller heard.
 *
 * `AgentVoice` cuts the continuous sound into speeches; each speech is an answer with its own generation. `AgentWords`
 * assigns the words to the speeches. The live model does not call tools. It delegates to a model that the service runs
 * (`HostedDelegate`), or to a model that the gateway calls (`ClientDelegate`).
 */
export class OpenAiLiveBackend extends RealtimeBackend<OpenAiLiveOptions, LiveStats> implements Backend {
  readonly stats: LiveStats = noLiveStats()

  readonly #rateHz: SampleRateHz
  readonly #reader = new LiveReader(this.stats)
  readonly #voice: AgentVoice
  readonly #words = new AgentWords()
  #delegate: Delegate | null = null
  /** Conversation for the client delegate; null with the hosted delegate, which hears the call itself. */
  #conversation: Conversation | null = null
  readonly #callerAlarm = new Alarm()
  /** Runs waiting tool calls that end the conversation; null once the speech before the calls is over. */
  #goodbye: (() => void) | null = null
  readonly #goodbyeAlarm = new Alarm()
  /** Number of this session's seconds so far, as counted by the service, and the number already reported. */
  #sessionSeconds = 0
  #reportedSeconds = 0
  #ending: { readonly done: () => void; readonly promise: Promise<void> } | null = null

  constructor(sink: BackendSink, options: OpenAiLiveOptions) {
    const { delegate, audio = 'pcm16k' } = options
    const rateHz = LIVE_FORMATS[audio].rate
    // After the backend has requested the end, a broken connection is not a fault.
    const untilEnd: BackendSink = {
      event: (event) => {
        if (this.#ending === null || event.type === 'usage' || event.type === 'closed') sink.event(event)
      },
      audio: (pcm, sampleRateHz, itemId, generation) => sink.audio(pcm, sampleRateHz, itemId, generation),
      asks: () => sink.asks?.() ?? true,
    }
    super(untilEnd, {
      options,
      secrets: delegate.by === 'client' ? [delegate.llm.apiKey ?? ''] : [],
      target: () => ({
        url: socketUrl(options.baseUrl, '/live/sessions').toString(),
        headers: headersOf(options),
      }),
      closeFault,
      law: lawOf(audio),
      audioMessage: { before: APPEND_PREFIX, after: APPEND_SUFFIX },
      capabilities: {
        name: options.name ?? 'openai-live',
        inputRateHz: rateHz,
        outputRateHz: rateHz,
        serverVad: false,
        truncate: true,
        fullDuplex: true,
        countsRequests: true,
        maxSessionMs: options.maxSessionMs ?? LIVE_SESSION_MS,
      },
      uplink: { messageMs: options.messageMs ?? MESSAGE_MS, turnEnd: null, preRollMs: BACKEND_PRE_ROLL_MS },
    })
    this.#rateHz = rateHz
    this.uplink.open()
    this.#voice = new AgentVoice(this.#rateHz, this.nowMs, {
      began: () => this.#speechBegan(),
      speech: (pcm) => this.#speech(pcm),
      ended: () => this.#speechEnded(),
      ignored: () => {
        this.stats.interruptionsIgnored++
      },
    })
  }

  override connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    this.#delegate = this.#delegateOf(session)
    return super.connect(session, signal)
  }

  speechStart(): void {
    // The model hears all audio and detects the caller's turns itself.
  }

  speechEnd(): void {
    this.uplink.flush()
  }

  sendText(text: string, { role, respond }: TextOptions): void {
    this.connection.whenReady(() => {
      const { greeting = null, history = [] } = this.session ?? {}
      if (text === '' && role === 'system' && respond && greeting !== null && greeting !== '' && history.length === 0)
        return this.#context('commentary', greeting, null)
      const words = this.wordsOf(text, role)
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

  toolResult(callId: string, reply: ToolReply): void {
    if (this.connection.isReady) this.#delegate?.toolResult(callId, reply)
  }

  interrupt({ itemId, playedMs }: { readonly itemId: string | null; readonly playedMs: number }): void {
    if (!this.connection.isReady) return
    const speaking = this.#words.last
    const cut = this.#voice.cut()
    if (cut && speaking !== undefined) this.#end(speaking, 'cancelled')
    // Without an item, the caller has not heard any of the current speech.
    const first = itemId ?? (cut ? speaking?.itemId : undefined)
    if (first !== undefined) this.#tellHeard(first, itemId === null ? 0 : playedMs)
  }

  updateSession(update: SessionUpdate): void {
    const { instructions, tools } = update
    this.greetWith(update.greeting)
    if (instructions === undefined && tools === undefined) return
    this.connection.whenReady(() => {
      this.#delegate?.updateSession(update)
      // The live model's prompt cannot be replaced. Only the delegate gets the agent's instructions.
      const told = livePromptUpdate(update)
      if (told !== null) this.#context('instructions', told, null)
    })
  }

  /** Asks the service to end the session, because the service sends its final usage report only then. */
  override close(reason: string): Promise<void> {
    if (!this.connection.isReady) return super.close(reason)
    if (this.#ending !== null) return this.#ending.promise
    this.#send({ type: 'session.close' })
    let done = (): void => undefined
    const promise = new Promise<void>((resolve) => {
      done = () => {
        clearTimeout(timer)
        if (this.connection.isReady) this.#reportUsage(0)
        resolve(super.close(reason))
      }
    })
    const timer = setTimeout(done, LAST_USAGE_MS)
    this.#ending = { done, promise }
    this.#stop()
    return promise
  }

  // --- out ------------------------------------------------------------------------------------------------

  #delegateOf(session: BackendSession): Delegate {
    const { delegate, delegateTimeoutMs: timeoutMs = LIVE_DELEGATE_MS } = this.options
    const host: DelegateHost = {
      service: this.capabilities.name,
      timeoutMs,
      nowMs: this.nowMs,
      stats: this.stats,
      send: (event) => this.#send(event),
      context: (kind, text, delegationId) => this.#context(kind, text, delegationId),
      calls: (calls, afterSpeech) => {
        if (afterSpeech) this.#afterSpeech(() => this.#makeCalls(calls))
        else this.#makeCalls(calls)
      },
      usage: (usage) => this.sink.event({ type: 'usage', usage }),
      asks: () => this.sink.asks?.() ?? true,
      failed: (reason, fault) => this.#delegationFailed(reason, fault),
    }
    if (delegate.by === 'responses') return new HostedDelegate(host, delegate.model)
    this.#conversation = new Conversation(session)
    return new ClientDelegate(host, this.#conversation, delegate.llm)
  }

  #send(event: ClientEvent): void {
    if (this.#ending === null) this.connection.send(JSON.stringify(event))
  }

  #context(kind: ContextKind, text: string, delegationId: string | null): void {
    const { parts, cut } = contextParts(text)
    if (parts.length > 1) this.stats.contextSplit++
    if (cut) this.stats.contextCut++
    for (const content of parts) this.#send({ type: `session.${kind}.append`, content, delegation_id: delegationId })
  }

  protected override takesAudio(): boolean {
    return this.#ending === null
  }

  // --- in -------------------------------------------------------------------------------------------------

  protected message(data: Buffer): void {
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
        if (this.connection.isReady && !this.audio.decode(this.#reader.audioOf(event, data), this.#hear))
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
        return this.connection.fail(closedFault(this.capabilities.name, event.reason))
      case 'error':
        return this.#refused(wireFault(this.capabilities.name, event.error, this.connection.isReady, this.secrets))
      default: {
        const never: never = event
        return never
      }
    }
  }

  protected opened(): void {
    if (this.session === null) return
    this.#send({ type: 'session.start', session: sessionConfig(this.options, this.session, this.wishes) })
  }

  #refused(fault: VendorFault): void {
    if (this.asksForLess(fault)) this.opened()
    else this.connection.fail(fault)
  }

  /** @param expiresAt  time at which the service will end the session, in seconds of Unix time */
  #begin(expiresAt: number | undefined): void {
    const session = this.session
    if (session === null || this.connection.isReady || !this.connection.alive) return
    if (this.#delegate instanceof HostedDelegate)
      for (const item of doneItems(session)) this.#send({ type: 'response.item.create', item })
    const { maxSessionMs = LIVE_SESSION_MS } = this.options
    const toldMs = usageNumber(expiresAt) * 1000 - Date.now()
    this.expiresAfter(toldMs > 0 ? Math.min(maxSessionMs, toldMs) : maxSessionMs)
    this.wishes.worked()
    this.connection.ready(() => this.uplink.retry())
  }

  #stop(): void {
    this.keys.close()
    this.#voice.close()
    this.#delegate?.close()
    this.#goodbye = null
    for (const alarm of [this.#callerAlarm, this.#goodbyeAlarm]) alarm.clear()
  }

  protected ended(): void {
    this.#stop()
  }

  // --- the agent's speech ---------------------------------------------------------------------------------

  // Created once per session, because audio messages are frequent.
  readonly #hear = (samples: Int16Array): void => this.#voice.hear(samples)

  #speechBegan(): void {
    this.#finishCaller()
    const item = this.#words.begin(++this.generation)
    this.sink.event({ type: 'turn-start', generation: item.generation })
    if (item.text !== '') this.#emitAgent(item, false)
  }

  #speech(pcm: Int16Array): void {
    const item = this.#words.last
    if (item === undefined) return
    item.audioMs += samplesToMs(pcm.length, this.#rateHz)
    this.sink.audio(pcm, this.#rateHz, item.itemId, item.generation)
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
      this.sink.event({ type: 'audio-done', generation, itemId })
      if (item.text !== '') this.#emitAgent(item, true)
    }
    this.#reportUsage(item.audioMs)
    this.sink.event({
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
    // The words of an ended speech are already recorded, so later words become a separate entry.
    if (item.state === 'ended' && !item.told)
      this.#emitAgent({ ...item, itemId: `${item.itemId}-end`, text: words.delta }, true)
  }

  #emitAgent({ text, itemId, generation }: AgentItem, final: boolean): void {
    this.sink.event({ type: 'transcript', role: 'agent', text: text.trim(), final, itemId, generation })
  }

  /** Reports to the model which of its words the caller heard, once per speech. */
  #tellHeard(itemId: string, playedMs: number): void {
    const heard: string[] = []
    let unheard = false
    for (const [i, item] of this.#words.from(itemId).entries()) {
      if (item.told) return
      const ms = i === 0 ? Math.max(0, playedMs) : 0
      // An interrupted speech was not finished, so the caller did not hear its end.
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
    this.used({ ...noUsage(), model: this.options.model, sessionSeconds: seconds }, audioOutMs)
  }

  // --- the caller -----------------------------------------------------------------------------------------

  #callerWords(delta: string): void {
    this.#callerAlarm.set(CALLER_WORDS_MS, () => this.#finishCaller())
    this.callerSaid(delta, false)
  }

  #finishCaller(): void {
    this.#callerAlarm.clear()
    const text = this.callerText.trim()
    if (text === '') return
    this.emitCaller(true)
    this.callerText = ''
    this.#conversation?.caller(text)
  }

  // --- delegation -----------------------------------------------------------------------------------------

  #delegated({ delegation }: Extract<ServerEvent, { readonly type: 'session.delegation.created' }>): void {
    const { id, target } = delegation
    if (target !== this.options.delegate.by || typeof id !== 'string') {
      this.stats.delegationsForeign++
      return
    }
    this.#finishCaller()
    this.#delegate?.created(id)
  }

  /** Makes tool calls. The calls belong to the current speech; without a speech they form a separate answer. */
  #makeCalls(calls: readonly ToolCall[]): void {
    if (!this.connection.isReady || this.#ending !== null) return
    const speaking = this.#voice.speaking
    const generation = speaking ? this.generation : ++this.generation
    if (!speaking) this.sink.event({ type: 'turn-start', generation })
    for (const { callId, name, argumentsText } of calls)
      this.toolCalled(callId, name, parseArguments(argumentsText), generation)
    if (!speaking) this.sink.event({ type: 'turn-done', generation, status: 'completed' })
  }

  #afterSpeech(work: () => void): void {
    this.#sayGoodbye()
    this.#goodbye = work
    this.#goodbyeAlarm.set(GOODBYE_MS_MAX, () => this.#sayGoodbye())
  }

  #sayGoodbye(): void {
    const work = this.#goodbye
    this.#goodbye = null
    this.#goodbyeAlarm.clear()
    work?.()
  }

  /** Reports the failure of the answer for which the caller waits, so that the agent can tell the caller. */
  #delegationFailed(reason: string, fault: VendorFault): void {
    if (!this.connection.isReady || this.#ending !== null) return
    if (!this.#voice.speaking) {
      const generation = ++this.generation
      this.sink.event({ type: 'turn-start', generation })
      this.sink.event({ type: 'turn-done', generation, status: 'failed', reason })
    }
    this.#context('thinking', 'What you delegated last could not be done. The caller was asked to say it again.', null)
    this.connection.fail(fault)
  }
}
