import type { IncomingHttpHeaders } from 'node:http'
import type {
  ClientEvent,
  ServerEvent,
  SessionConfig,
  SessionResource,
  SessionUpdateConfig,
} from 'openai/resources/live/live'
import type { ResponseInputItem } from 'openai/resources/responses/responses'
import type { WebSocket } from 'ws'
import type { DoubleFault } from '../../simulator/choices.js'
import {
  base64Of,
  type DoubleOptions,
  LevelDetector,
  type ModelReply,
  NO_QUOTA,
  NOT_FOUND,
  rateOfFormat,
  type Refusal,
  type RefusedSession,
  samplesIn,
  SocketDouble,
  soon,
  soundOf,
  SpokenSession,
} from '../../simulator/vendors/double.js'
import { keyRefusal } from '../self-hosted/key-double.js'

interface LiveDoubleOptions extends DoubleOptions {
  /**
   * True: the double sends sound in real time, with zeros during silence. Default: each answer at once, or at the
   * script's pace, then one second of zeros.
   */
  readonly continuous?: boolean
}

/**
 * A stand-in for OpenAI's GPT-Live on loopback, written from the vendor's published types: a scripted full-duplex
 * model.
 *
 * The double finds the caller's turns by level and stops when the caller speaks. It delegates requests that need a
 * tool. With `client` delegation it delegates every turn except small talk. It speaks appended commentary. The
 * session's prompt decides if the double delegates at all (`delegationFault`).
 */
export class OpenAiLiveDouble extends SocketDouble<LiveDoubleSession> {
  protected override readonly scheme = 'ws'
  protected override readonly basePath = '/v1'
  /** Answers `session.start` with this error; null accepts it. */
  refuseSession: RefusedSession | null = null
  /** End of the session in seconds of Unix time; null: two hours after the start. */
  expiresAt: number | null = null
  /** True: in new sessions, the hosted delegate begins a response and never ends it. */
  delegateHangs = false
  readonly continuous: boolean

  constructor(options: LiveDoubleOptions = {}) {
    super(options)
    this.continuous = options.continuous ?? false
  }

  override misbehave(faults: readonly DoubleFault[]): void {
    super.misbehave(faults.filter((fault) => fault !== 'no-quota'))
    this.delegateHangs = faults.includes('delegate-hangs')
    if (faults.includes('no-quota')) this.refuseSession = NO_QUOTA
  }

  protected accept(client: WebSocket): LiveDoubleSession {
    return new LiveDoubleSession(client, this)
  }

  protected override refusalOf({ pathname }: URL, headers: IncomingHttpHeaders): Refusal | null {
    return pathname === '/v1/live/sessions' ? keyRefusal(this.key, headers) : NOT_FOUND
  }
}

/** Headings of the vendor's template that a live model's prompt must contain, in this order. */
const DELEGATION_HEADINGS = [
  'Delegation policy:',
  'Backend tools:',
  'Delegate to the backend when:',
  'Do not delegate to the backend when:',
]
/** Marker that only the first live model writes when it delegates. Second-hand: articles of 20 November 2026. */
const FIRST_MODEL = 'gpt-live-1'
const FIRST_MODEL_MARKER = '<|SpawnThinking|>'
/**
 * Maximum number of characters of a prompt: a longer prompt fills the model's small context, and the policies do not
 * fit.
 */
const PROMPT_CHARS_MAX = 8000
/** Minimum length of a paragraph that counts as a procedure of the delegate's instructions, in characters. */
const PROCEDURE_CHARS_MIN = 20

/**
 * @returns the reason why a live model with this session does not delegate, according to the vendor's guides; null if
 * the model delegates
 */
export function delegationFault({ model, instructions, delegation }: SessionConfig): string | null {
  const prompt = instructions ?? ''
  let at = -1
  for (const heading of DELEGATION_HEADINGS) {
    at = prompt.indexOf(`\n${heading}`, at)
    if (at < 0) return `the prompt has no heading "${heading}" in its place`
  }
  if (prompt.length > PROMPT_CHARS_MAX) return `the prompt has more than ${PROMPT_CHARS_MAX} characters`
  if (prompt.includes(FIRST_MODEL_MARKER) !== (model === FIRST_MODEL))
    return `the marker ${FIRST_MODEL_MARKER} is for ${FIRST_MODEL}, and for no other model`
  const told = delegation?.type === 'responses' ? (delegation.responses?.instructions ?? '') : ''
  const procedures = told.split(/\n\s*\n/).map((paragraph) => paragraph.trim())
  return procedures.some((text) => text.length >= PROCEDURE_CHARS_MIN && prompt.includes(text))
    ? "the prompt has the delegate's procedures"
    : null
}

/**
 * Words that a live model with a Delegation policy answers by itself. A simple hello is not in the list: in tests it is
 * used for any words without a script.
 */
const SMALL_TALK = /^(thanks?\b|thank you|asante|how are you|habari|good (morning|afternoon|evening))/i
const SMALL_TALK_ANSWER = 'With pleasure.'
/** Answer of a model that does not delegate and does not know an answer. */
const UNDELEGATED_ANSWER = 'One moment, please.'

/** Current speech of the model. */
interface Utterance {
  readonly pcm: Int16Array
  readonly words: readonly string[]
  readonly paceMs: number
  readonly startMs: number
  at: number
  wordsSent: number
}

type Unnumbered<T> = T extends unknown ? Omit<T, 'event_id'> : never
/** An event before it gets its number. */
type NewServerEvent = Unnumbered<ServerEvent>

const PIECE_MS = 100
/** Duration of the zeros after an answer in ms, if the sound is not sent in real time. */
const ZEROS_MS = 1000
/** Number of audio pieces sent after the caller has begun to speak. */
const LATE_PIECES = 2
const SESSION_S = 2 * 3600
const CONTEXT_CHARS_MAX = 500 * 8
const MESSAGES_MAX = 128
const REFUSED_VOICES: ReadonlySet<string> = new Set(['fable', 'nova', 'onyx'])

/** One session: handles a client's messages as the vendor's server does. */
class LiveDoubleSession extends SpokenSession<OpenAiLiveDouble> {
  /** Every message of the client except audio, unchanged. */
  readonly received: ClientEvent[] = []
  /** Number of delegations by the live model. */
  delegations = 0
  /** Items that the client added to the delegate's conversation. */
  readonly items: ResponseInputItem[] = []
  /** Errors that were sent. A correct client causes no errors. */
  readonly errors: { readonly code: string; readonly message: string }[] = []
  config: SessionConfig | null = null
  /** Reasons why turns that needed the delegate were not delegated, in order. */
  readonly undelegated: string[] = []
  /** True: the session sends no more messages, like the remote end of a half-open connection. */
  silent = false
  /** True: the hosted delegate begins a response and never ends it. */
  delegateHangs: boolean
  #ids = 0
  #utterance: Utterance | null = null
  #waiting: Utterance[] = []
  #pieces: NodeJS.Timeout | null = null
  #late = LATE_PIECES
  /** Duration of the sound sent so far: the session's time line. */
  #sentMs = 0
  /** Tool calls of the hosted delegate's response that have no result yet. */
  readonly #openCalls = new Set<string>()
  #started = false

  constructor(client: WebSocket, double: OpenAiLiveDouble) {
    super(client, double, 24_000)
    this.delegateHangs = double.delegateHangs
  }

  /** @returns the texts that the models got in addition to their instructions, in order */
  get texts(): string[] {
    const texts = (this.config?.input ?? []).flatMap((item) => item.content.map((part) => part.text))
    for (const event of this.received) {
      if ('content' in event) texts.push(event.content)
      else if (event.type === 'response.item.create') texts.push(...textsOf(event.item))
    }
    return texts
  }

  send(event: NewServerEvent): void {
    if (!this.silent) this.sendRaw(JSON.stringify({ event_id: `event_${++this.#ids}`, ...event }))
  }

  error(code: string, message: string, param = '', type = 'invalid_request_error'): void {
    this.errors.push({ code, message })
    this.send({ type: 'error', error: { type, code, message, param } })
  }

  /** Ends the session as the service does. */
  end(reason: 'close_requested' | 'expired' | 'content' | 'remote_hangup' | 'connection_lost'): void {
    this.send({ type: 'session.closed', reason, session: this.#resource(), usage: { seconds: this.#seconds } })
    this.client.close(1000)
  }

  /** Sends a burst of sound that is not speech. */
  zeros(ms: number): void {
    for (let left = ms; left > 0; left -= PIECE_MS) this.#sound(new Int16Array(this.#samples(Math.min(left, PIECE_MS))))
  }

  /** Makes the model speak, with or without a request. */
  say(reply: ModelReply): void {
    const pcm = soundOf(reply, this.double.speaker, this.#rateHz)
    if (pcm.length === 0) return
    this.#waiting.push({
      pcm,
      words: (reply.say ?? '').split(/(?<= )/),
      paceMs: reply.paceMs ?? (this.double.continuous ? PIECE_MS : 0),
      startMs: 0,
      at: 0,
      wordsSent: 0,
    })
    if (this.#utterance === null) this.#next()
  }

  /** Makes the live model delegate. */
  delegate(): string {
    const id = `delegation_${++this.#ids}`
    const target = this.#target
    this.delegations++
    this.send({
      type: 'session.delegation.created',
      offset_ms: Math.round(this.#sentMs),
      delegation: { id, type: 'delegation', target },
    })
    return id
  }

  /** Instructions, with the delegate's instructions first: these describe the agent, unlike the voice's own prompt. */
  protected override get instructions(): string {
    return [this.hosted?.instructions ?? '', this.config?.instructions ?? ''].join('\n')
  }

  get #target(): 'client' | 'responses' {
    return this.config?.delegation?.type === 'responses' ? 'responses' : 'client'
  }

  get #rateHz(): number {
    return rateOfFormat(this.config?.audio?.format)
  }

  get #seconds(): number {
    return Math.round(Math.max(this.#sentMs, this.callerAudioMs)) / 1000
  }

  #samples(ms: number): number {
    return Math.round((ms * this.#rateHz) / 1000)
  }

  #resource(): SessionResource {
    return {
      ...(this.config ?? { model: 'gpt-live-1' }),
      id: 'live_1',
      status: 'active',
      expires_at: this.double.expiresAt ?? Math.round(Date.now() / 1000) + SESSION_S,
    }
  }

  protected override take(bytes: Buffer): void {
    const event = JSON.parse(bytes.toString()) as ClientEvent
    if (event.type === 'session.input_audio.append') return this.#hear(event.audio)
    this.received.push(event)
    if (event.type === 'session.start') return this.#start(event.session)
    if (!this.#started) return this.error('session_not_started', 'Send session.start first.')
    switch (event.type) {
      case 'session.commentary.append':
      case 'session.thinking.append':
      case 'session.instructions.append':
        return this.#context(event)
      case 'session.update':
        this.#update(event.session)
        return this.send({ type: 'session.updated', session: this.#resource() })
      case 'response.item.create':
        return this.#item(event.item)
      case 'response.create':
        return this.#respond(null)
      case 'session.close':
        return this.end('close_requested')
      default:
        return this.error('unknown_event', `The double does not know ${event.type}.`)
    }
  }

  /** Current instructions and tools of the hosted delegate; null if the client runs its own delegate. */
  get hosted(): { readonly instructions: string; readonly tools: readonly string[] } | null {
    const delegation = this.config?.delegation
    if (delegation?.type !== 'responses') return null
    const { instructions, tools } = delegation.responses ?? {}
    return {
      instructions: instructions ?? '',
      tools: (tools ?? []).flatMap((tool) => ('name' in tool ? [String(tool.name)] : [])),
    }
  }

  /** A delegate's field that is absent in the update does not change. */
  #update({ delegation }: SessionUpdateConfig): void {
    const { config } = this
    const before = config?.delegation
    if (config === null || before?.type !== 'responses' || delegation?.type !== 'responses') return
    this.config = {
      ...config,
      delegation: {
        ...before,
        responses: { ...before.responses, ...(delegation.responses as typeof before.responses) },
      },
    }
  }

  #start(session: SessionConfig): void {
    if (this.#started) return this.error('session_already_started', 'The session has started.')
    const refused = this.double.refuseSession
    if (refused !== null) return this.error(refused.code, refused.message, refused.param, refused.type)
    const objection = this.double.objection(JSON.stringify(session))
    if (objection !== null) return this.error('unknown_parameter', objection)
    const voice = session.audio?.output?.voice
    if (typeof voice === 'string' && REFUSED_VOICES.has(voice))
      return this.error('invalid_value', `Unsupported voice: ${voice}`, 'session.audio.output.voice')
    if ((session.input?.length ?? 0) > MESSAGES_MAX)
      return this.error('invalid_value', `At most ${MESSAGES_MAX} messages`, 'session.input')
    this.config = session
    for (const item of session.input ?? [])
      for (const text of item.content) this.dialogue.told?.(item.role === 'assistant' ? 'agent' : 'system', text.text)
    this.detector = new LevelDetector({ sampleRateHz: this.#rateHz, ...this.double.turns })
    const confirm = (): void => {
      this.#started = true
      this.send({ type: 'session.started', session: this.#resource() })
      if (this.double.continuous) this.#next()
    }
    this.later(this.double.readyDelayMs, confirm)
  }

  #context(event: Extract<ClientEvent, { readonly delegation_id: string | null }>): void {
    const { type, content, delegation_id: delegationId } = event
    if (content.length > CONTEXT_CHARS_MAX)
      return this.error('string_above_max_length', 'At most 500 tokens', 'content')
    if (delegationId !== null && this.#target === 'responses')
      return this.error('invalid_value', 'delegation_id is not accepted with Responses delegation', 'delegation_id')
    const at = { start_ms: Math.round(this.#sentMs), end_ms: Math.round(this.#sentMs) }
    this.send({ type: `${type}ed`, ...at })
    if (type !== 'session.commentary.append') return
    soon(this.#commented(content), (own) => {
      this.#stopSpeaking()
      this.say(own)
    })
  }

  /** @returns the sound of commentary: the script's answer if `content` is its text, otherwise plain speech */
  #commented(content: string): ModelReply | Promise<ModelReply> {
    const greeting = this.#target === 'responses' || this.dialogue.answers === 0
    const reply = greeting ? this.dialogue.nextReply() : this.dialogue.lastReply
    const own = (given: ModelReply | null): ModelReply => (given?.say === content ? given : { say: content })
    return reply instanceof Promise ? reply.then(own) : own(reply)
  }

  #item(item: ResponseInputItem): void {
    if (this.#target !== 'responses')
      return this.error('invalid_value', 'response.item.create requires Responses delegation')
    this.items.push(item)
    for (const text of textsOf(item)) this.dialogue.told?.('caller', text)
    if (item.type !== 'function_call_output') return
    this.#openCalls.delete(item.call_id ?? '')
    this.dialogue.toolResult?.(item.call_id ?? '', item.output)
  }

  #hear(audio: string): void {
    if (!this.#started) return this.error('session_not_started', 'Send session.start first.')
    const samples = samplesIn(audio, this.config?.audio?.format)
    if (samples === null) return this.error('invalid_value', 'Invalid base64 audio.', 'audio')
    const fromMs = this.callerAudioMs
    this.dialogue.hear?.(samples, this.#rateHz)
    this.callerAudioMs += (samples.length * 1000) / this.#rateHz
    for (const edge of this.detector.hear(samples)) {
      if (edge === 'started') {
        this.dialogue.callerStarted?.()
        this.#stopSpeaking()
        continue
      }
      const at = { start_ms: Math.round(fromMs), end_ms: Math.round(this.callerAudioMs) }
      soon(this.dialogue.nextCallerText(), (text) => {
        for (const word of text.split(/(?<= )/))
          this.send({ type: 'session.input_transcript.delta', delta: word, ...at })
        setTimeout(() => this.#answer(text), 15)
      })
    }
  }

  /** Handles a finished turn of the caller: the model answers by itself or delegates. */
  #answer(text: string): void {
    if (this.stopped || this.silent) return
    const fault = delegationFault(this.config ?? { model: '' })
    if (fault !== null) return this.#alone(fault)
    if (SMALL_TALK.test(text.trim())) return this.say({ say: SMALL_TALK_ANSWER })
    if (this.#target === 'client') return void this.delegate()
    soon(this.dialogue.nextReply(), (reply) => {
      // While a delegate waits for results, the live model answers the turn by itself.
      if (this.#openCalls.size > 0 || (reply.calls ?? reply.say) === undefined) return this.say(reply)
      // The voice itself speaks the words before a tool call. All other answers come from the delegate.
      if (reply.calls !== undefined && reply.say !== undefined) this.say(reply)
      this.#respond(this.delegate(), reply)
    })
  }

  /** Answers a turn that needed the delegate, if the prompt prevents the delegation. */
  #alone(fault: string): void {
    this.undelegated.push(fault)
    this.say({ say: UNDELEGATED_ANSWER })
  }

  /** Runs the hosted delegate. */
  #respond(delegationId: string | null, given?: ModelReply): void {
    if (this.#target !== 'responses')
      return this.error('invalid_value', 'response.create requires Responses delegation')
    if (this.#openCalls.size > 0)
      return this.error('missing_tool_output', `No tool output found for ${[...this.#openCalls].join(', ')}.`)
    const id = `resp_${++this.#ids}`
    const nested = (event: Record<string, unknown>): void =>
      this.send({ type: 'response.event', delegation_id: delegationId, event })
    nested({ type: 'response.created', response: { id, status: 'in_progress', output: [] } })
    if (this.delegateHangs) return
    soon(given ?? this.dialogue.nextReply(), (reply) => {
      const reasoning = { type: 'reasoning', id: `rs_${++this.#ids}`, summary: [] }
      nested({ type: 'response.output_item.done', output_index: 0, item: reasoning })
      for (const call of reply.calls ?? []) {
        this.#openCalls.add(call.callId)
        const text = typeof call.args === 'string' ? call.args : JSON.stringify(call.args)
        const item = { type: 'function_call', id: `fc_${++this.#ids}`, call_id: call.callId, name: call.name }
        nested({ type: 'response.output_item.added', item: { ...item, arguments: '', status: 'in_progress' } })
        nested({ type: 'response.function_call_arguments.done', item_id: item.id, arguments: text })
        nested({ type: 'response.output_item.done', item: { ...item, arguments: text, status: 'completed' } })
      }
      // The live model itself says the delegate's text.
      if ((given === undefined || reply.calls === undefined) && reply.say !== undefined) {
        nested({ type: 'response.output_text.delta', delta: reply.say })
        this.#stopSpeaking()
        this.say(reply)
      }
      const usage = { input_tokens: 20, output_tokens: 10, total_tokens: 30 }
      // Snapshots of a response omit the output.
      nested({ type: 'response.completed', response: { id, status: 'completed', output: [], usage } })
    })
  }

  // --- the model's sound ------------------------------------------------------------------------------------

  /** Stops the model's speech after a few more pieces and then silence. */
  #stopSpeaking(): void {
    this.#waiting = []
    const utterance = this.#utterance
    if (utterance === null) return
    for (this.#late = LATE_PIECES; this.#late > 0 && utterance.at < utterance.pcm.length; this.#late--)
      this.#piece(utterance)
    this.#utterance = null
    if (!this.double.continuous) this.zeros(ZEROS_MS)
  }

  #next(): void {
    if (this.#pieces !== null) clearTimeout(this.#pieces)
    this.#pieces = setTimeout(() => this.#go(), this.#utterance === null ? 0 : PIECE_MS)
  }

  #go(): void {
    this.#pieces = null
    if (this.stopped) return
    if (this.#utterance === null) {
      const next = this.#waiting.shift()
      if (next !== undefined) this.#utterance = { ...next, startMs: this.#sentMs }
    }
    const utterance = this.#utterance
    const { continuous } = this.double
    if (utterance !== null) {
      do this.#piece(utterance)
      while (utterance.paceMs === 0 && utterance.at < utterance.pcm.length)
      if (utterance.at >= utterance.pcm.length) {
        this.#utterance = null
        if (!continuous) this.zeros(ZEROS_MS)
        this.send({ type: 'session.usage.updated', usage: { seconds: this.#seconds } })
      }
    } else if (continuous) {
      this.zeros(PIECE_MS)
    }
    const more = this.#utterance !== null || this.#waiting.length > 0
    if (more || continuous)
      this.#pieces = setTimeout(() => this.#go(), this.#utterance?.paceMs ?? (continuous ? PIECE_MS : 0))
  }

  /** Sends the words of the next piece of sound, then the piece. */
  #piece(utterance: Utterance): void {
    const { pcm, words, startMs } = utterance
    const end = Math.min(pcm.length, utterance.at + this.#samples(PIECE_MS))
    const wordsMs = (pcm.length * 1000) / this.#rateHz / words.length
    const endMs = (end * 1000) / this.#rateHz
    while (utterance.wordsSent < words.length && utterance.wordsSent * wordsMs < endMs) {
      const at = startMs + utterance.wordsSent * wordsMs
      const delta = words[utterance.wordsSent++] as string
      this.send({
        type: 'session.output_transcript.delta',
        delta,
        start_ms: Math.round(at),
        end_ms: Math.round(at + wordsMs),
      })
    }
    this.#sound(pcm.subarray(utterance.at, end))
    utterance.at = end
  }

  #sound(samples: Int16Array): void {
    this.#sentMs += (samples.length * 1000) / this.#rateHz
    this.send({ type: 'session.output_audio.delta', delta: base64Of(samples, this.config?.audio?.format) })
  }
}

function textsOf(item: ResponseInputItem): string[] {
  if (item.type !== 'message' || !('content' in item)) return []
  const { content } = item
  return typeof content === 'string' ? [content] : content.flatMap((part) => ('text' in part ? [part.text] : []))
}
