import type { IncomingHttpHeaders } from 'node:http'
import type {
  ConversationItem,
  RateLimitsUpdatedEvent,
  RealtimeClientEvent,
  RealtimeResponse,
  RealtimeServerEvent,
  RealtimeSessionCreateRequest,
} from 'openai/resources/realtime/realtime'
import type { WebSocket } from 'ws'
import type { ZodError } from 'zod'
import type { DoubleFault } from '../../simulator/choices.js'
import {
  base64Of,
  type DoubleOptions,
  EMPTY_FOREVER,
  LevelDetector,
  type ModelReply,
  NOT_FOUND,
  rateOfFormat,
  type Refusal,
  type RefusedSession,
  samplesIn,
  SocketDouble,
  soundOf,
  soon,
  SpokenSession,
} from '../../simulator/vendors/double.js'
import { keyRefusal } from './key-double.js'

export interface OpenAiDoubleOptions extends DoubleOptions {
  /** `beta`: the beta's event names, without the events that some self-hosted servers omit. Default: `ga`. */
  readonly dialect?: 'ga' | 'beta'
  /** True: the double omits events and accepts any form of the session. Default: true in the beta dialect. */
  readonly loose?: boolean
}

/**
 * A stand-in for OpenAI Realtime on loopback, written from the vendor's published types: a scripted model, turn
 * detection by level, the vendor's errors, and faults for tests.
 */
export class OpenAiDouble extends SocketDouble<OpenAiDoubleSession> {
  protected override readonly scheme = 'ws'
  protected override readonly basePath: string = '/v1'
  /** Answers `session.update` with this error; null accepts it. */
  refuseSession: RefusedSession | null = null
  /** Faults of the service, each reported by users. */
  readonly faults = {
    /** The service does not report the caller's speech and does not answer it. */
    deaf: false,
    /** Number of next responses that complete empty. */
    emptyAnswers: 0,
    /**
     * Duration in ms of the sound before a tool call that comes inside a word; null: normal order. The remaining sound
     * comes after the tool call.
     */
    callAfterMs: null as number | null,
    /** True: every tool call comes twice, with one id. */
    callsTwice: false,
  }
  /** Limits reported at the beginning of each response; null: no report. */
  limits: RealtimeRateLimits | null = null
  readonly dialect: 'ga' | 'beta'
  readonly loose: boolean

  constructor(options: OpenAiDoubleOptions = {}) {
    super(options)
    this.dialect = options.dialect ?? 'ga'
    this.loose = options.loose ?? this.dialect === 'beta'
  }

  override misbehave(faults: readonly DoubleFault[]): void {
    super.misbehave(faults)
    this.faults.deaf = faults.includes('deaf')
    if (faults.includes('empty-answers')) this.faults.emptyAnswers = EMPTY_FOREVER
  }

  protected accept(client: WebSocket, _url?: URL): OpenAiDoubleSession {
    return new OpenAiDoubleSession(client, this)
  }

  protected override refusalOf({ pathname, searchParams }: URL, headers: IncomingHttpHeaders): Refusal | null {
    if (pathname === '/v1/realtime' && !searchParams.has('model'))
      return { status: 400, body: '{"error":{"message":"You must provide a model parameter."}}' }
    return pathname === '/v1/realtime' ? keyRefusal(this.key, headers) : NOT_FOUND
  }
}

type RealtimeRateLimits = RateLimitsUpdatedEvent['rate_limits']

interface Answer {
  readonly response: RealtimeResponse
  readonly items: ConversationItem[]
  cancelled: boolean
}

type Unnumbered<T> = T extends unknown ? Omit<T, 'event_id'> : never
/** An event before it gets its number. */
export type NewServerEvent = Unnumbered<RealtimeServerEvent>

const PIECE_MS = 100
/** Number of audio pieces sent after a response is cancelled. */
const LATE_PIECES = 2

const BETA_NAMES: Readonly<Record<string, string>> = {
  'response.output_audio.delta': 'response.audio.delta',
  'response.output_audio.done': 'response.audio.done',
  'response.output_audio_transcript.delta': 'response.audio_transcript.delta',
  'response.output_audio_transcript.done': 'response.audio_transcript.done',
  'conversation.item.added': 'conversation.item.created',
}
/** Events that servers with the beta dialect are known to omit. */
const BETA_OMITS: ReadonlySet<string> = new Set(['response.created', 'session.updated', 'conversation.item.done'])

/** A session in the form that this double uses, or the refusal of the session. */
export type ReadSession =
  { readonly session: RealtimeSessionCreateRequest } | { readonly refused: Omit<RefusedSession, 'type'> }

/** @returns the refusal of a session for its first fault, in the vendors' words */
export function refusedSession({ issues: [issue] }: ZodError): ReadSession {
  const param = ['session', ...(issue?.path ?? [])].join('.')
  return { refused: { code: 'invalid_value', message: `Invalid value: ${issue?.message ?? ''}`, param } }
}

/** One session: handles a client's messages as the vendor's server does. */
export class OpenAiDoubleSession extends SpokenSession<OpenAiDouble> {
  /** Every message of the client except audio, unchanged. */
  readonly received: RealtimeClientEvent[] = []
  readonly items: ConversationItem[] = []
  readonly truncations: { readonly itemId: string; readonly audioEndMs: number }[] = []
  /** Errors that were sent. A correct client causes no errors. */
  readonly errors: { readonly code: string; readonly eventId: string | null }[] = []
  config: RealtimeSessionCreateRequest | null = null
  /** The session that the client requested. */
  given: object = {}
  /**
   * True: the session sends no more messages and ignores `response.create`, like the remote end of a half-open
   * connection.
   */
  silent = false
  #utterance = 0
  /** Item of the caller's current speech. */
  #callerItem = ''
  #answer: Answer | null = null
  #ids = 0
  readonly #sentMs = new Map<string, number>()

  constructor(client: WebSocket, double: OpenAiDouble) {
    super(client, double, 24_000)
    // In the beta dialect `session.updated` does not exist, so it cannot be delayed.
    this.later(double.loose ? double.readyDelayMs : 0, () =>
      this.send({ type: 'session.created', session: { type: 'realtime', model: 'double' } }),
    )
  }

  send(event: NewServerEvent): void {
    if (this.silent) return
    const { dialect, loose } = this.double
    if (loose && BETA_OMITS.has(event.type)) return
    const type = dialect === 'beta' ? (BETA_NAMES[event.type] ?? event.type) : event.type
    this.sendRaw(JSON.stringify({ ...event, type, event_id: `event_${++this.#ids}` }))
  }

  error(code: string, message: string, eventId: string | null = null, param: string | null = null): void {
    this.errors.push({ code, eventId })
    this.send({ type: 'error', error: { type: 'invalid_request_error', code, message, event_id: eventId, param } })
  }

  closeWith(code: number, reason: string): void {
    this.client.close(code, reason)
  }

  /** Stops reading, sending and answering pings, but does not close. */
  freeze(): void {
    this.silent = true
    this.client.pause()
  }

  protected override get instructions(): string {
    return this.config?.instructions ?? ''
  }

  /** Begins an answer that the client did not request. */
  answerNow(): void {
    this.#begin(null)
  }

  protected override take(bytes: Buffer): void {
    const event = JSON.parse(bytes.toString()) as RealtimeClientEvent
    if (event.type !== 'input_audio_buffer.append') this.received.push(event)
    const eventId = event.event_id ?? null
    switch (event.type) {
      case 'session.update':
        return this.#configure(event.session as RealtimeSessionCreateRequest, eventId)
      case 'input_audio_buffer.append':
        return this.#hear(event.audio, eventId)
      case 'input_audio_buffer.commit':
        return this.#commit(eventId)
      case 'input_audio_buffer.clear':
        this.#utterance = 0
        return this.send({ type: 'input_audio_buffer.cleared' })
      case 'conversation.item.create':
        return this.#create(event.item, eventId)
      case 'conversation.item.truncate':
        return this.#truncate(event.item_id, event.audio_end_ms, eventId)
      case 'conversation.item.delete':
        return this.#delete(event.item_id, eventId)
      case 'conversation.item.retrieve': {
        const item = this.items.find((one) => 'id' in one && one.id === event.item_id)
        return item === undefined
          ? this.error('item_not_found', 'No such item.', eventId)
          : this.send({ type: 'conversation.item.retrieved', item })
      }
      case 'response.create':
        if (this.#answer !== null) {
          return this.error(
            'conversation_already_has_active_response',
            'Conversation already has an active response in progress.',
            eventId,
          )
        }
        return this.#begin(event.response?.metadata ?? null)
      case 'response.cancel':
        if (this.#answer === null)
          return this.error('response_cancel_not_active', 'Cancellation failed: no active response found', eventId)
        return this.#cancel('client_cancelled')
      default:
        return this.error('unknown_event', `The double does not know ${event.type}.`, eventId)
    }
  }

  /** @returns the session of a `session.update`, or the refusal of the session */
  protected read(session: RealtimeSessionCreateRequest): ReadSession {
    if (this.double.loose || session.type === 'realtime') return { session }
    return { refused: { code: 'missing_required_parameter', message: 'Missing required parameter: session.type.' } }
  }

  /** @returns the reason to refuse an item of the client; null if the item is accepted */
  protected itemFault(_item: ConversationItem): string | null {
    return null
  }

  #configure(given: RealtimeSessionCreateRequest, eventId: string | null): void {
    const refused = this.double.refuseSession
    if (refused !== null) {
      return this.send({ type: 'error', error: { ...refused, param: refused.param ?? null, event_id: null } })
    }
    const objection = this.double.objection(JSON.stringify(given))
    if (objection !== null) return this.error('unknown_parameter', objection, eventId)
    const read = this.read(given)
    if ('refused' in read) {
      const { code, message, param = null } = read.refused
      return this.error(code, message, eventId, param)
    }
    const { session } = read
    if (this.#answer !== null && session.audio?.output?.speed !== undefined) {
      return this.error('invalid_value', 'The speed can only be changed in between model turns.', eventId)
    }
    const audio = { ...this.config?.audio, ...session.audio }
    this.given = { ...this.given, ...given }
    this.config = { ...this.config, ...session, ...(session.audio === undefined ? {} : { audio }) }
    this.detector = new LevelDetector({ sampleRateHz: this.#inputRateHz, ...this.double.turns })
    this.later(this.double.readyDelayMs, () => this.send({ type: 'session.updated', session: this.config ?? session }))
  }

  get #inputRateHz(): number {
    return rateOfFormat(this.config?.audio?.input?.format)
  }

  get #outputRateHz(): number {
    return rateOfFormat(this.config?.audio?.output?.format)
  }

  get #listens(): boolean {
    if (this.double.loose) return (this.config as { turn_detection?: unknown } | null)?.turn_detection !== null
    return this.config?.audio?.input?.turn_detection !== null
  }

  get #interrupts(): boolean {
    return this.config?.audio?.input?.turn_detection?.interrupt_response !== false
  }

  /** Reports a noise as speech, then withdraws it without an answer. */
  hearSpeechInNoise(): void {
    const itemId = `item_noise_${++this.#ids}`
    this.send({ type: 'input_audio_buffer.speech_started', audio_start_ms: 0, item_id: itemId })
    if (this.#interrupts) this.#cancel('turn_detected')
    this.send({ type: 'input_audio_buffer.speech_stopped', audio_end_ms: 0, item_id: itemId })
  }

  #hear(audio: string, eventId: string | null): void {
    const samples = samplesIn(audio, this.config?.audio?.input?.format)
    if (samples === null) return this.error('invalid_value', 'Invalid base64 audio.', eventId)
    const ms = (samples.length * 1000) / this.#inputRateHz
    // If the client marks the turns, the client sends only speech.
    if (!this.#listens && this.#utterance === 0) this.dialogue.callerStarted?.()
    this.callerAudioMs += ms
    this.#utterance += ms
    if (this.double.faults.deaf) return
    this.dialogue.hear?.(samples, this.#inputRateHz)
    if (!this.#listens) return
    for (const edge of this.detector.hear(samples)) {
      if (edge === 'started') this.#callerItem = `item_caller_${++this.#ids}`
      const itemId = this.#callerItem
      if (edge === 'started') {
        this.dialogue.callerStarted?.()
        this.send({
          type: 'input_audio_buffer.speech_started',
          audio_start_ms: Math.round(this.detector.heardMs),
          item_id: itemId,
        })
        if (this.#interrupts) this.#cancel('turn_detected')
        this.#utterance = 0
      } else {
        this.send({
          type: 'input_audio_buffer.speech_stopped',
          audio_end_ms: Math.round(this.detector.heardMs),
          item_id: itemId,
        })
        this.#commitItem(itemId)
        // The vendor also needs a moment. During this moment the client may create a response itself.
        setTimeout(() => {
          if (this.#answer === null) this.#begin(null)
        }, 15)
      }
    }
  }

  #commit(eventId: string | null): void {
    if (this.#utterance < 100) {
      return this.error(
        'input_audio_buffer_commit_empty',
        `Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, but buffer only has ${this.#utterance.toFixed(2)}ms of audio.`,
        eventId,
      )
    }
    this.#commitItem(`item_caller_${++this.#ids}`)
  }

  #commitItem(itemId: string): void {
    this.#utterance = 0
    this.send({ type: 'input_audio_buffer.committed', item_id: itemId, previous_item_id: null })
    soon(this.dialogue.nextCallerText(), (transcript) => this.#transcribed(itemId, transcript))
  }

  #transcribed(itemId: string, transcript: string): void {
    this.#add({
      type: 'message',
      role: 'user',
      id: itemId,
      status: 'completed',
      content: [{ type: 'input_audio', transcript }],
    })
    if (!this.config?.audio?.input?.transcription && !this.double.loose) return
    // Another model transcribes the speech, so the transcript arrives later.
    setTimeout(() => {
      this.send({
        type: 'conversation.item.input_audio_transcription.delta',
        item_id: itemId,
        content_index: 0,
        delta: transcript.slice(0, 4),
      })
      this.send({
        type: 'conversation.item.input_audio_transcription.completed',
        item_id: itemId,
        content_index: 0,
        transcript,
        usage: { type: 'duration', seconds: 1 },
      })
    }, 5)
  }

  #create(item: ConversationItem, eventId: string | null): void {
    const fault = this.itemFault(item)
    if (fault !== null) return this.error('invalid_value', fault, eventId, 'item.content')
    this.#add({ ...item, id: ('id' in item ? item.id : undefined) ?? `item_${++this.#ids}` })
  }

  #add(item: ConversationItem): void {
    this.items.push(item)
    this.#understand(item)
    this.send({ type: 'conversation.item.added', item, previous_item_id: null })
    this.send({ type: 'conversation.item.done', item, previous_item_id: null })
  }

  #understand(item: ConversationItem): void {
    if (item.type === 'function_call_output') this.dialogue.toolResult?.(item.call_id, item.output)
    if (item.type !== 'message') return
    const role = item.role === 'assistant' ? 'agent' : item.role === 'user' ? 'caller' : 'system'
    for (const part of item.content) if (part.text !== undefined) this.dialogue.told?.(role, part.text)
  }

  #delete(itemId: string, eventId: string | null): void {
    const at = this.items.findIndex((one) => 'id' in one && one.id === itemId)
    if (at < 0) return this.error('item_delete_invalid_item_id', 'No such item.', eventId)
    this.items.splice(at, 1)
    this.send({ type: 'conversation.item.deleted', item_id: itemId })
  }

  #truncate(itemId: string, audioEndMs: number, eventId: string | null): void {
    const sentMs = this.#sentMs.get(itemId)
    if (sentMs === undefined) return this.error('item_truncate_invalid_item_id', 'No such item.', eventId)
    if (audioEndMs > sentMs)
      return this.error(
        'invalid_value',
        `Audio content of ${sentMs}ms is already shorter than ${audioEndMs}ms`,
        eventId,
      )
    this.truncations.push({ itemId, audioEndMs })
    this.send({ type: 'conversation.item.truncated', item_id: itemId, content_index: 0, audio_end_ms: audioEndMs })
  }

  #begin(metadata: Record<string, string> | null): void {
    if (this.stopped || this.silent) return
    const { faults } = this.double
    const empty = faults.emptyAnswers > 0
    if (empty) faults.emptyAnswers--
    const response: RealtimeResponse = {
      id: `resp_${++this.#ids}`,
      object: 'realtime.response',
      status: 'in_progress',
      output: [],
      metadata,
    }
    const answer: Answer = { response, items: [], cancelled: false }
    this.#answer = answer
    this.send({ type: 'response.created', response })
    const limits = this.double.limits
    if (limits !== null) this.send({ type: 'rate_limits.updated', rate_limits: limits })
    soon(empty ? {} : this.dialogue.nextReply(), (reply) => this.#speak(answer, reply))
  }

  #speak(answer: Answer, reply: ModelReply): void {
    const { response } = answer
    const { faults } = this.double
    const pcm = soundOf(reply, this.double.speaker, this.#outputRateHz)
    const responseId = response.id ?? ''
    const step = Math.round((PIECE_MS * this.#outputRateHz) / 1000)
    const itemId = `item_agent_${++this.#ids}`
    const place = { item_id: itemId, response_id: responseId, output_index: 0, content_index: 0 }
    let at = 0
    let late = LATE_PIECES
    let called = false
    const calls = (): void => {
      called = true
      for (const call of reply.calls ?? []) this.#call(answer, call)
    }
    const piece = (): void => {
      const end = Math.min(pcm.length, at + step)
      const samples = pcm.subarray(at, end)
      const delta = base64Of(samples, this.config?.audio?.output?.format)
      this.send({ type: 'response.output_audio.delta', ...place, delta })
      this.#sentMs.set(
        itemId,
        (this.#sentMs.get(itemId) ?? 0) + Math.round((samples.length * 1000) / this.#outputRateHz),
      )
      at = end
    }
    const go = (): void => {
      if (this.stopped) return
      if (answer.cancelled) {
        while (late-- > 0 && at < pcm.length) piece()
        return this.#finish(answer, 'cancelled')
      }
      if (at < pcm.length) {
        do {
          piece()
          if (faults.callAfterMs !== null && !called && at * 1000 >= faults.callAfterMs * this.#outputRateHz) calls()
        } while ((reply.paceMs ?? 0) === 0 && at < pcm.length)
        if (at < pcm.length) {
          setTimeout(go, reply.paceMs ?? 0)
          return
        }
      }
      if (reply.say !== undefined) this.#endSpeech(answer, place, reply.say)
      if (!called) calls()
      this.#finish(answer, 'completed')
    }
    if (reply.say !== undefined) {
      const item: ConversationItem = {
        type: 'message',
        role: 'assistant',
        id: itemId,
        status: 'in_progress',
        content: [],
      }
      this.send({ type: 'response.output_item.added', response_id: responseId, output_index: 0, item })
      this.items.push(item)
      this.send({ type: 'conversation.item.added', item, previous_item_id: null })
      for (const word of reply.say.split(/(?<= )/))
        this.send({ type: 'response.output_audio_transcript.delta', ...place, delta: word })
    }
    setTimeout(go, 0)
  }

  #endSpeech(
    answer: Answer,
    place: { item_id: string; response_id: string; output_index: number; content_index: number },
    text: string,
  ): void {
    this.send({ type: 'response.output_audio.done', ...place })
    this.send({ type: 'response.output_audio_transcript.done', ...place, transcript: text })
    const item: ConversationItem = {
      type: 'message',
      role: 'assistant',
      id: place.item_id,
      status: 'completed',
      content: [{ type: 'output_audio', transcript: text }],
    }
    answer.items.push(item)
    this.items.splice(
      this.items.findIndex((one) => 'id' in one && one.id === place.item_id),
      1,
      item,
    )
    this.send({ type: 'response.output_item.done', response_id: place.response_id, output_index: 0, item })
  }

  #call(
    answer: Answer,
    call: { readonly callId: string; readonly name: string; readonly args: Readonly<Record<string, unknown>> | string },
    again = false,
  ): void {
    if (!again && this.double.faults.callsTwice) this.#call(answer, call, true)
    const id = `item_call_${++this.#ids}`
    const text = typeof call.args === 'string' ? call.args : JSON.stringify(call.args)
    const response_id = answer.response.id ?? ''
    const item: ConversationItem = {
      type: 'function_call',
      id,
      call_id: call.callId,
      name: call.name,
      arguments: text,
      status: 'completed',
    }
    this.send({
      type: 'response.output_item.added',
      response_id,
      output_index: 0,
      item: { ...item, arguments: '', status: 'in_progress' },
    })
    this.send({
      type: 'response.function_call_arguments.delta',
      response_id,
      item_id: id,
      output_index: 0,
      call_id: call.callId,
      delta: text,
    })
    this.send({
      type: 'response.function_call_arguments.done',
      response_id,
      item_id: id,
      output_index: 0,
      call_id: call.callId,
      name: call.name,
      arguments: text,
    })
    this.send({ type: 'response.output_item.done', response_id, output_index: 0, item })
    answer.items.push(item)
    this.items.push(item)
  }

  #cancel(reason: 'turn_detected' | 'client_cancelled'): void {
    const answer = this.#answer
    if (answer === null || answer.cancelled) return
    answer.cancelled = true
    answer.response.status_details = { type: 'cancelled', reason }
  }

  #finish(answer: Answer, status: 'completed' | 'cancelled'): void {
    this.#answer = null
    const tokens = {
      total_tokens: 30,
      input_tokens: 20,
      output_tokens: 10,
      input_token_details: {
        text_tokens: 12,
        audio_tokens: 8,
        cached_tokens: 4,
        cached_tokens_details: { text_tokens: 4, audio_tokens: 0 },
      },
      output_token_details: { text_tokens: 4, audio_tokens: 6 },
    }
    this.send({ type: 'response.done', response: { ...answer.response, status, output: answer.items, usage: tokens } })
  }
}

export const doubles = { realtime: [[OpenAiDouble, 'REALTIME_URL']] }
