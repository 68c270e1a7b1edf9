import type {
  Content,
  FunctionCall,
  FunctionDeclaration,
  FunctionResponse,
  InteractionStatus,
  LiveClientMessage,
  LiveClientSetup,
  LiveServerMessage,
  MediaModality,
} from '@google/genai'
import type { IncomingHttpHeaders } from 'node:http'
import type { WebSocket } from 'ws'
import { samplesOf } from '../../media/pcm.js'
import type { DoubleFault } from '../../simulator/choices.js'
import {
  EMPTY_FOREVER,
  type ModelReply,
  NO_QUOTA,
  SocketDouble,
  soon,
  soundOf,
  SpokenSession,
} from '../../simulator/vendors/double.js'

/**
 * A stand-in for Gemini Live on loopback, written from the vendor's published types. It sends JSON in binary frames and
 * plays a scripted model. Errors are close codes with a short reason, as the vendor sends them.
 *
 * A model named `gemini-3.8-…` is asynchronous: a tool blocks only if its declaration says so. For such a model
 * the double also reports which messages a resumed session contains. `gemini-3.1-flash-live-…` accepts content only as
 * history. A model of 2.5 does not read `parametersJsonSchema`, and calls such a tool without arguments.
 */
export class GeminiDouble extends SocketDouble<GeminiDoubleSession> {
  /** Sessions that can be resumed, by handle: the caller's samples in the session's state. */
  readonly handles = new Map<string, readonly number[]>()
  /** Faults of the service, each reported by users. */
  readonly faults = {
    /** The service does not report the caller's speech and does not answer it. */
    deaf: false,
    /** Number of next turns that end empty. */
    emptyTurns: 0,
    /** True: each of several parallel tool calls comes in its own message, and each message comes twice. */
    callsApart: false,
    /**
     * Duration in ms of the sound before a tool call that cuts a word in two; null: normal order. The remaining sound
     * comes after the tool call, or never.
     */
    callAfterMs: null as number | null,
    restOfWord: true,
    /** Number of newest messages that are missing in a resumed session's state. */
    messagesBehind: 0,
    /** The service does not support transparent resumption, like the Developer API before Gemini 3.8. */
    refusesTransparent: false,
    /** The service accepts content only as history, like `gemini-3.1-flash-live-preview`. */
    refusesContent: false,
  }

  override misbehave(faults: readonly DoubleFault[]): void {
    super.misbehave(faults.filter((fault) => fault !== 'no-quota'))
    this.faults.deaf = faults.includes('deaf')
    if (faults.includes('empty-answers')) this.faults.emptyTurns = EMPTY_FOREVER
    if (faults.includes('no-quota')) this.closeAtOnce = { code: 1011, reason: NO_QUOTA.message }
  }

  protected accept(client: WebSocket, url: URL, headers: IncomingHttpHeaders): GeminiDoubleSession | null {
    const vertex = VERTEX_PATH.test(url.pathname)
    if (!vertex && !DEVELOPER_PATH.test(url.pathname)) {
      client.close(1008, `${url.pathname} is not found`)
      return null
    }
    const key = vertex ? headers['x-goog-api-key'] : url.searchParams.get('key')
    if (this.key !== null && key !== this.key) {
      client.close(1007, 'API key not valid. Please pass a valid API key.')
      return null
    }
    return new GeminiDoubleSession(client, this, vertex)
  }
}

const DEVELOPER_PATH = /^\/ws\/google\.ai\.generativelanguage\.v1(alpha|beta)\.GenerativeService\.BidiGenerateContent$/
const VERTEX_PATH = /^\/ws\/google\.cloud\.aiplatform\.v1(beta1)?\.LlmBidiService\/BidiGenerateContent$/

/** The vendor's class without its getters. */
type NewServerMessage = Partial<Omit<LiveServerMessage, 'text' | 'data'>>

const PIECE_MS = 100
/** Number of audio messages between two points at which a session can be resumed. The vendor publishes no interval. */
const UPDATE_EVERY = 50
const INPUT_RATE_HZ = 16_000
const OUTPUT_RATE_HZ = 24_000

interface Generating {
  over: boolean
}

/** One session: handles a client's messages as the vendor's server does. */
class GeminiDoubleSession extends SpokenSession<GeminiDouble> {
  setup: LiveClientSetup | null = null
  /** Every message of the client except audio. */
  readonly received: LiveClientMessage[] = []
  readonly texts: string[] = []
  #instructions = ''
  readonly toolAnswers: { readonly callId: string; readonly text: string }[] = []
  /** Number of audio messages outside an announced activity, while the service's own detection is off. */
  unannouncedAudio = 0
  rateHz = OUTPUT_RATE_HZ
  /** All caller samples in this session's state, including the samples of the resumed session. */
  heard: number[] = []
  /** Results of tools in order of arrival. */
  readonly responses: FunctionResponse[] = []
  /** Number of contents after which the model waited for the end of a turn. */
  waits = 0
  /** True for Vertex AI: model names with a publisher, and only blocking tools. */
  readonly #vertex: boolean
  #activity = false
  #historyOpen = false
  #generating: Generating | null = null
  readonly #functions = new Map<string, FunctionDeclaration>()
  /** Open tool calls by id. `blocking`: true if the model waits for the result. */
  readonly #callsOpen = new Map<string, { readonly blocking: boolean; readonly call: FunctionCall }>()
  /** Number of tool calls that were repeated because their result was empty. */
  repeatedCalls = 0
  #asynchronous = false
  /** Number of the client's newest message; the setup is number 0. */
  #index = -1
  /** Length of `heard` after each of the newest messages. */
  readonly #heardAfter: number[] = []
  #answersDue = 0
  readonly #callsTakenBack = new Set<string>()

  constructor(client: WebSocket, double: GeminiDouble, vertex: boolean) {
    super(client, double, INPUT_RATE_HZ)
    this.#vertex = vertex
  }

  send(message: NewServerMessage): void {
    // Messages are binary and have line breaks, like the messages of the vendor's server.
    this.sendRaw(Buffer.from(JSON.stringify(message, null, 2)))
  }

  closeWith(code: number, reason: string): void {
    this.client.close(code, reason)
  }

  freeze(): void {
    this.stopped = true
    this.client.pause()
  }

  protected override get instructions(): string {
    return this.#instructions
  }

  protected override take(bytes: Buffer): void {
    this.#index++
    this.#receive(JSON.parse(bytes.toString()) as LiveClientMessage)
    this.#heardAfter[this.#index] = this.heard.length
  }

  #receive(message: LiveClientMessage): void {
    if (message.realtimeInput?.audio === undefined) this.received.push(message)
    if (this.setup === null) return this.#setUp(message.setup)
    const { contextUpdate } = message as { readonly contextUpdate?: ContextUpdate }
    if (contextUpdate !== undefined) return this.#update(contextUpdate)
    if (message.clientContent !== undefined)
      return this.#content(message.clientContent.turns ?? [], message.clientContent.turnComplete === true)
    if (message.toolResponse !== undefined) return this.#toolResponse(message.toolResponse.functionResponses ?? [])
    const input = message.realtimeInput
    if (input?.audio !== undefined) return this.#hear(input.audio.data ?? '', input.audio.mimeType ?? '')
    if (input?.activityStart !== undefined) return this.#activityStart()
    if (input?.activityEnd !== undefined) return this.#activityEnd()
    if (input?.audioStreamEnd === true && this.detector.end()) this.#answerCaller()
    if (input?.text !== undefined) {
      this.texts.push(input.text)
      this.dialogue.told?.('caller', input.text)
      if (this.setup.realtimeInputConfig?.automaticActivityDetection?.disabled !== true) this.#generate()
    }
  }

  #setUp(setup: LiveClientSetup | undefined): void {
    if (setup?.model === undefined || !(this.#vertex ? /^(projects|publishers)\// : /^models\//).test(setup.model))
      return this.closeWith(1007, 'setup must be the first message and only the first')
    const handle = setup.sessionResumption?.handle
    if (handle !== undefined && !this.double.handles.has(handle))
      return this.closeWith(1007, 'Request contains an invalid argument.')
    this.#asynchronous = /gemini-(3\.(?:[89]|\d\d)|[4-9])/.test(setup.model)
    const wrong = this.#refused(setup) ?? this.double.objection(JSON.stringify(setup))
    if (wrong !== null) return this.closeWith(1007, wrong)
    this.setup = setup
    this.#instructions = textsOf(setup.systemInstruction).join('')
    this.#declare(setup.tools)
    this.heard = [...(this.double.handles.get(handle ?? '') ?? [])]
    this.#historyOpen = setup.historyConfig?.initialHistoryInClientContent === true
    this.later(this.double.readyDelayMs, () => this.send({ setupComplete: {} }))
  }

  /** @returns the reason to refuse a setup, by model; the vendor publishes no such list */
  #refused(setup: LiveClientSetup): string | null {
    const thinks = setup.model?.includes('extended-thinking') === true
    const config = (setup.generationConfig ?? {}) as {
      readonly thinkingConfig?: object
      readonly enableAffectiveDialog?: boolean
    }
    const bad =
      (config.thinkingConfig !== undefined) !== thinks ||
      (this.#asynchronous && (setup.proactivity !== undefined || config.enableAffectiveDialog !== undefined)) ||
      (thinks && JSON.stringify(setup.tools ?? []).includes('"BLOCKING"')) ||
      (this.#vertex && JSON.stringify(setup.tools ?? []).includes('"behavior"'))
    if (this.double.faults.refusesTransparent && setup.sessionResumption?.transparent !== undefined)
      return `Invalid JSON payload received. Unknown name "transparent" at 'setup.session_resumption': Cannot find field.`
    return bad ? 'Request contains an invalid argument.' : null
  }

  /** True if the model can read the parameters of the tool `name`. */
  #sees(name: string): boolean {
    const declared = this.#functions.get(name)
    return declared?.parametersJsonSchema === undefined || !/gemini-(live-)?2\.5/.test(this.setup?.model ?? '')
  }

  #blocks(name: string): boolean {
    if (this.#vertex) return true
    // The values of the vendor's enums equal the strings of the protocol.
    const behavior: string | undefined = this.#functions.get(name)?.behavior
    return this.#asynchronous || behavior !== undefined ? (behavior ?? 'NON_BLOCKING') === 'BLOCKING' : true
  }

  /** Changes instructions and tools during a session; only models from 3.8 accept this change. */
  #update({ systemInstruction, tools }: ContextUpdate): void {
    if (!this.#asynchronous) return this.closeWith(1007, 'Invalid JSON payload received. Unknown name "contextUpdate"')
    if (systemInstruction !== undefined) this.#instructions = textsOf(systemInstruction).join('')
    if (tools === undefined) return
    this.#functions.clear()
    this.#declare(tools.tools)
  }

  #declare(tools: LiveClientSetup['tools']): void {
    for (const tool of tools ?? [])
      for (const declared of ('functionDeclarations' in tool ? tool.functionDeclarations : null) ?? [])
        this.#functions.set(declared.name ?? '', declared)
  }

  /** The model's current instructions and tools. */
  get model(): { readonly instructions: string; readonly tools: readonly string[] } {
    return { instructions: this.#instructions, tools: [...this.#functions.keys()] }
  }

  /** Interrupts the model although the caller did not speak. */
  interruptForNothing(): void {
    this.#interrupt()
  }

  #content(turns: readonly Content[], complete: boolean): void {
    const asHistory = this.double.faults.refusesContent || this.setup?.model?.includes('gemini-3.1-flash-live') === true
    if (asHistory && !this.#historyOpen) return this.closeWith(1007, 'Request contains an invalid argument.')
    for (const turn of turns)
      for (const { text } of turn.parts ?? []) {
        if (text === undefined) continue
        this.texts.push(text)
        this.dialogue.told?.(turn.role === 'model' ? 'agent' : 'caller', text)
      }
    if (this.#historyOpen) {
      if (complete) this.#historyOpen = false
      return
    }
    this.#interrupt()
    if (this.#asynchronous) this.#takeBack()
    if (complete) this.#generate()
    else this.waits++
  }

  #hear(data: string, mimeType: string): void {
    const bytes = Buffer.from(data, 'base64')
    if (mimeType !== 'audio/pcm;rate=16000' || bytes.toString('base64') !== data)
      return this.closeWith(1007, 'Request contains an invalid argument.')
    const samples = samplesOf(bytes)
    this.callerAudioMs += samples.length / 16
    for (const sample of samples) this.heard.push(sample)
    if (this.#index % UPDATE_EVERY === 0) this.#resumable()
    if (this.double.faults.deaf) return
    this.dialogue.hear?.(samples, INPUT_RATE_HZ)
    if (this.setup?.realtimeInputConfig?.automaticActivityDetection?.disabled === true) {
      if (!this.#activity) this.unannouncedAudio++
      return
    }
    for (const edge of this.detector.hear(samples)) {
      if (edge === 'started') this.#callerStarted()
      else this.#answerCaller()
    }
  }

  #activityStart(): void {
    this.#activity = true
    this.waits = 0
    if (!this.double.faults.deaf) this.#callerStarted()
  }

  #activityEnd(): void {
    if (!this.#activity) return this.closeWith(1007, 'activityEnd without activityStart')
    this.#activity = false
    if (!this.double.faults.deaf) this.#answerCaller()
  }

  /** Handles the start of the caller's speech: cancels the answer and the open tool calls. */
  #callerStarted(): void {
    this.dialogue.callerStarted?.()
    this.#interrupt()
    this.#takeBack()
  }

  /** Cancels the tool calls for which the model waits, because new input has arrived. */
  #takeBack(): void {
    const ids = [...this.#callsOpen].filter(([, { blocking }]) => blocking).map(([id]) => id)
    if (ids.length === 0) return
    this.send({ toolCallCancellation: { ids } })
    this.dialogue.callsTakenBack?.(ids)
    for (const id of ids) {
      this.#callsTakenBack.add(id)
      this.#callsOpen.delete(id)
    }
  }

  #answerCaller(): void {
    soon(this.dialogue.nextCallerText(), (text) => {
      for (const word of text.split(/(?<= )/)) this.send({ serverContent: { inputTranscription: { text: word } } })
      setTimeout(() => this.#generate(), 5)
    })
  }

  #interrupt(): void {
    const generating = this.#generating
    if (generating === null || generating.over) return
    generating.over = true
    this.#generating = null
    // One more piece of audio arrives after the interruption, as with the real service.
    this.#piece(new Int16Array((PIECE_MS * this.rateHz) / 1000))
    this.send({ serverContent: { interrupted: true } })
    this.send({ serverContent: { turnComplete: true } })
  }

  #toolResponse(responses: readonly FunctionResponse[]): void {
    let blocked = false
    for (const response of responses) {
      const { id = '' } = response
      const scheduling: string | undefined = response.scheduling
      // The result and the cancellation may cross on the network.
      if (this.#callsTakenBack.has(id)) return
      const call = this.#callsOpen.get(id)
      if (call === undefined) return this.closeWith(1007, `no function call ${id}`)
      this.#callsOpen.delete(id)
      this.responses.push(response)
      this.dialogue.toolResult?.(id, response.response?.['output'] ?? response.response)
      this.toolAnswers.push({ callId: id, text: JSON.stringify(response.response) })
      if (this.#asynchronous && saysNothing(response) && this.repeatedCalls < REPEATED_CALLS_MAX) {
        this.#repeat(call.call)
        continue
      }
      if (call.blocking) blocked = true
      else if (scheduling === 'INTERRUPT') {
        this.#interrupt()
        this.#generate()
      } else if (scheduling !== 'SILENT') this.#answersDue++
    }
    if (blocked && ![...this.#callsOpen.values()].some(({ blocking }) => blocking)) this.#answersDue++
    this.#whenIdle()
  }

  /** Speaks about results that arrived while the model or the caller spoke. */
  #whenIdle(): void {
    if (this.#answersDue === 0 || this.#generating !== null || this.#activity) return
    this.#answersDue--
    this.#generate()
  }

  #piece(samples: Int16Array): void {
    const data = Buffer.from(samples.buffer, samples.byteOffset, samples.byteLength).toString('base64')
    this.send({
      serverContent: { modelTurn: { parts: [{ inlineData: { mimeType: `audio/pcm;rate=${this.rateHz}`, data } }] } },
    })
  }

  #generate(): void {
    if (this.stopped) return
    const { faults } = this.double
    if (faults.emptyTurns > 0) {
      faults.emptyTurns--
      this.send({ serverContent: { turnComplete: true } })
      return
    }
    const generating: Generating = { over: false }
    this.#generating = generating
    soon(this.dialogue.nextReply(), (reply) => {
      if (!this.stopped && !generating.over) this.#speak(generating, reply)
    })
  }

  #speak(generating: Generating, reply: ModelReply): void {
    const { faults } = this.double
    const pcm = soundOf(reply, this.double.speaker, this.rateHz)
    const step = (PIECE_MS * this.rateHz) / 1000
    let at = 0
    let called = false
    const go = (): void => {
      if (this.stopped || generating.over) return
      while (at < pcm.length) {
        this.#piece(pcm.subarray(at, at + step))
        at += step
        if (faults.callAfterMs !== null && !called && at >= (faults.callAfterMs * this.rateHz) / 1000) {
          called = true
          this.#call(reply)
          if (!faults.restOfWord) at = pcm.length
        }
        if ((reply.paceMs ?? 0) > 0) {
          setTimeout(go, reply.paceMs)
          return
        }
      }
      generating.over = true
      this.#generating = null
      if (!called) this.#call(reply)
      this.#finish()
    }
    for (const word of (reply.say ?? '').split(/(?<= )/))
      if (word !== '') this.send({ serverContent: { outputTranscription: { text: word } } })
    setTimeout(go, 0)
  }

  #call(reply: ModelReply): void {
    const functionCalls = (reply.calls ?? []).map((call): FunctionCall => ({
      id: call.callId,
      name: call.name,
      args: this.#sees(call.name) ? (call.args as Record<string, unknown>) : {},
    }))
    if (functionCalls.length === 0) return
    for (const call of functionCalls) this.#open(call)
    if (!this.double.faults.callsApart) return this.send({ toolCall: { functionCalls } })
    for (const call of [...functionCalls, ...functionCalls]) this.send({ toolCall: { functionCalls: [call] } })
  }

  #open(call: FunctionCall): void {
    this.#callsOpen.set(call.id ?? '', { blocking: this.#blocks(call.name ?? ''), call })
  }

  /** Makes the model repeat the tool call with a new id. */
  #repeat({ id = '', ...call }: FunctionCall): void {
    this.repeatedCalls++
    const again = { ...call, id: `${id}_again` }
    this.#open(again)
    this.send({ toolCall: { functionCalls: [again] } })
  }

  #finish(): void {
    // The model waits: its turn continues only with the results of these tool calls.
    if ([...this.#callsOpen.values()].some(({ blocking }) => blocking)) return
    this.send({ serverContent: { generationComplete: true } })
    this.send({
      serverContent: {
        turnComplete: true,
        ...(this.#asynchronous ? { interactionStatus: 'IDLE' as InteractionStatus } : {}),
      },
      usageMetadata: {
        promptTokenCount: 20,
        responseTokenCount: 10,
        totalTokenCount: 30,
        promptTokensDetails: [
          { modality: 'TEXT' as MediaModality, tokenCount: 12 },
          { modality: 'AUDIO' as MediaModality, tokenCount: 8 },
        ],
        responseTokensDetails: [{ modality: 'AUDIO' as MediaModality, tokenCount: 10 }],
      },
    })
    this.#resumable()
    this.#whenIdle()
  }

  #resumable(): void {
    const { handles, faults } = this.double
    const transparent = this.setup?.sessionResumption?.transparent === true
    const consumed = Math.max(0, this.#index - faults.messagesBehind)
    const handle = `handle-${handles.size + 1}`
    handles.set(handle, this.heard.slice(0, transparent ? (this.#heardAfter[consumed] ?? 0) : this.heard.length))
    this.send({
      sessionResumptionUpdate: {
        newHandle: handle,
        resumable: true,
        ...(transparent ? { lastConsumedClientMessageIndex: String(consumed) } : {}),
      },
    })
  }
}

/**
 * Maximum number of repetitions of a tool call. The vendor's guide for the migration to 3.8 mentions 2 to 5
 * repetitions.
 */
const REPEATED_CALLS_MAX = 3

/** True for an empty result without a `status`. Models from 3.8 call the tool again after such a result. */
function saysNothing({ response = {} }: FunctionResponse): boolean {
  const told = response['output'] ?? response
  if (typeof told !== 'object' || told === null) return told === null || told === ''
  if ('status' in told) return false
  return Object.values(told).every((value) => value === null || (Array.isArray(value) && value.length === 0))
}

/** A change during a session. The vendor's library has no type for this message. */
interface ContextUpdate {
  readonly systemInstruction?: LiveClientSetup['systemInstruction']
  readonly tools?: { readonly tools?: LiveClientSetup['tools'] }
}

function textsOf(content: LiveClientSetup['systemInstruction']): string[] {
  if (typeof content === 'string') return [content]
  const parts: readonly unknown[] =
    typeof content === 'object' && !Array.isArray(content) && 'parts' in content ? (content.parts ?? []) : []
  return parts.map((part) => (part as { readonly text?: string }).text ?? '')
}
