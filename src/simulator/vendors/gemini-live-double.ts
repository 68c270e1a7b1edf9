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
import { type ModelReply, SocketDouble, soon, soundOf, SpokenSession } from './double.js'

/**
 * A stand-in for Gemini Live on loopback, written from the vendor's published types: JSON in binary frames, setup as
 * the first message, a scripted model, and errors as close codes with a short reason, as the vendor sends them. A model
 * named `gemini-3.8-…` works asynchronously: its tools do not block unless they are declared so, and it says which
 * messages a resumed session holds. `gemini-3.1-flash-live-…` takes content as history only. A model of 2.5 does not see
 * `parametersJsonSchema`, and calls such a tool without arguments.
 */
export class GeminiDouble extends SocketDouble<GeminiDoubleSession> {
  /** Sessions that can be resumed: the samples of the caller that each one's state holds, by handle. */
  readonly handles = new Map<string, readonly number[]>()
  /** How the service misbehaves, as users of its peers have reported. */
  readonly faults = {
    /** It neither reports nor answers what the caller says. */
    deaf: false,
    /** Number of the next turns that end without anything in them. */
    emptyTurns: 0,
    /** Parallel tool calls come one message each, and each comes twice. */
    callsApart: false,
    /** A tool call comes after this much sound, in the middle of a word; the rest of the sound comes after it, or never. */
    callAfterMs: null as number | null,
    restOfWord: true,
    /** Number of the newest messages that the state of a resumed session lacks. */
    messagesBehind: 0,
    /** It does not know transparent resumption, as the Developer API before Gemini 3.8. */
    refusesTransparent: false,
    /** It refuses a setup with this field of `generationConfig`; null: none. */
    refusesField: null as 'temperature' | 'maxOutputTokens' | null,
    /** It takes content as history only, as `gemini-3.1-flash-live-preview`. */
    refusesContent: false,
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
/** While the caller's audio comes, one message in this number can be resumed from; the vendor says no interval. */
const UPDATE_EVERY = 50
const INPUT_RATE_HZ = 16_000
const OUTPUT_RATE_HZ = 24_000

interface Generating {
  over: boolean
}

/** One session: handles a client's messages as the vendor's server does. */
class GeminiDoubleSession extends SpokenSession<GeminiDouble> {
  setup: LiveClientSetup | null = null
  /** Every message of the client but audio. */
  readonly received: LiveClientMessage[] = []
  readonly texts: string[] = []
  #instructions = ''
  readonly toolAnswers: { readonly callId: string; readonly text: string }[] = []
  /** Audio messages outside of an announced activity, while the service's own detection is off. */
  unannouncedAudio = 0
  rateHz = OUTPUT_RATE_HZ
  /** Every sample of the caller that this session holds, with those of the session that it resumed. */
  heard: number[] = []
  /** Results of tools as they came. */
  readonly responses: FunctionResponse[] = []
  /** Content that left the model waiting for the rest of a turn. */
  waits = 0
  /** Vertex AI: models of publishers, and no tools that do not block. */
  readonly #vertex: boolean
  #activity = false
  #historyOpen = false
  #generating: Generating | null = null
  readonly #functions = new Map<string, FunctionDeclaration>()
  /** Calls by id; `blocking`: the model waits for it. */
  readonly #callsOpen = new Map<string, { readonly blocking: boolean }>()
  #asynchronous = false
  /** Number of the newest message of the client; the setup is 0. */
  #index = -1
  /** How much of `heard` each of the newest messages left. */
  readonly #heardAfter: number[] = []
  #answersDue = 0
  readonly #callsTakenBack = new Set<string>()

  constructor(client: WebSocket, double: GeminiDouble, vertex: boolean) {
    super(client, double, INPUT_RATE_HZ)
    this.#vertex = vertex
  }

  send(message: NewServerMessage): void {
    // Binary and with line breaks, as the vendor's server sends it.
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
    const wrong = this.#refused(setup)
    if (wrong !== null) return this.closeWith(1007, wrong)
    this.setup = setup
    this.#instructions = textsOf(setup.systemInstruction).join('')
    this.#declare(setup.tools)
    this.heard = [...(this.double.handles.get(handle ?? '') ?? [])]
    this.#historyOpen = setup.historyConfig?.initialHistoryInClientContent === true
    this.later(this.double.readyDelayMs, () => this.send({ setupComplete: {} }))
  }

  /** Refusals of models; the vendor gives no reason. */
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
    const { refusesField } = this.double.faults
    if (refusesField !== null && setup.generationConfig?.[refusesField] !== undefined)
      return `Invalid value at 'setup.generation_config.${refusesField.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}'`
    return bad ? 'Request contains an invalid argument.' : null
  }

  /** The model sees what the function `name` takes. */
  #sees(name: string): boolean {
    const declared = this.#functions.get(name)
    return declared?.parametersJsonSchema === undefined || !/gemini-(live-)?2\.5/.test(this.setup?.model ?? '')
  }

  #blocks(name: string): boolean {
    if (this.#vertex) return true
    // The vendor's enums have the words of the wire as values.
    const behavior: string | undefined = this.#functions.get(name)?.behavior
    return this.#asynchronous || behavior !== undefined ? (behavior ?? 'NON_BLOCKING') === 'BLOCKING' : true
  }

  /** Instructions and tools in mid-session, which only models of 3.8 and later take. */
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

  /** Instructions and tools of the model now. */
  get model(): { readonly instructions: string; readonly tools: readonly string[] } {
    return { instructions: this.#instructions, tools: [...this.#functions.keys()] }
  }

  /** The model was interrupted although nobody said anything. */
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

  /** The caller speaks: interrupts the answer and cancels open tool calls. */
  #callerStarted(): void {
    this.dialogue.callerStarted?.()
    this.#interrupt()
    this.#takeBack()
  }

  /** New input cancels the calls that the model waits for. */
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
      // The answer and the cancellation may cross.
      if (this.#callsTakenBack.has(id)) return
      const call = this.#callsOpen.get(id)
      if (call === undefined) return this.closeWith(1007, `no function call ${id}`)
      this.#callsOpen.delete(id)
      this.responses.push(response)
      this.dialogue.toolResult?.(id, response.response?.['output'] ?? response.response)
      this.toolAnswers.push({ callId: id, text: JSON.stringify(response.response) })
      if (call.blocking) blocked = true
      else if (scheduling === 'INTERRUPT') {
        this.#interrupt()
        this.#generate()
      } else if (scheduling !== 'SILENT') this.#answersDue++
    }
    if (blocked && ![...this.#callsOpen.values()].some(({ blocking }) => blocking)) this.#answersDue++
    this.#whenIdle()
  }

  /** Speaks about results that came while the model or the caller spoke. */
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
    for (const { id = '', name = '' } of functionCalls) this.#callsOpen.set(id, { blocking: this.#blocks(name) })
    if (!this.double.faults.callsApart) return this.send({ toolCall: { functionCalls } })
    for (const call of [...functionCalls, ...functionCalls]) this.send({ toolCall: { functionCalls: [call] } })
  }

  #finish(): void {
    // The model waits for the results: its turn goes on with them.
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

/** In mid-session; the vendor's library has no type for it. */
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
