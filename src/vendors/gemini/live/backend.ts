import {
  BACKEND_PRE_ROLL_MS_MAX,
  BACKEND_TRANSCRIPT_CHARS_MAX,
  BACKEND_WAITING_TEXTS_MAX,
} from '../../../core/limits.js'
import { isSampleRateHz, samplesToMs, type SampleRateHz } from '../../../core/units.js'
import { hasSound } from '../../../media/pcm.js'
import type {
  Backend,
  BackendSession,
  BackendSink,
  SessionUpdate,
  ToolReply,
  ToolSpec,
  TextOptions,
} from '../../../backends/backend.js'
import { messageLength, silencePause } from '../../../backends/transport/caller-uplink.js'
import { RealtimeBackend } from '../../../backends/transport/realtime-backend.js'
import { preRollMs } from '../../../backends/pre-roll.js'
import { RepeatedSpeech } from '../../../backends/repeated-speech.js'
import { newInstructions, saidText } from '../../../backends/prompts.js'
import type { Told } from '../../../backends/told.js'
import { objectArguments } from '../../../backends/tool-text.js'
import type { VendorFault } from '../../../backends/transport/vendor-fault.js'
import {
  GEMINI_CONNECTION_MS,
  GEMINI_INPUT_RATE_HZ,
  GEMINI_OUTPUT_RATE_HZ,
  blocks,
  declarationsOf,
  historyOf,
  liveTarget,
  setupOf,
  traitsOf,
  turnEndOf,
  hintedTerms,
  takesTexts,
  takesTransparent,
} from './setup.js'
import type { GeminiLiveOptions, ModelTraits } from './setup.js'
import { ToolBatches, type OpenCall } from './tool-batches.js'
import { UnconsumedMessages } from './unconsumed.js'
import { tokensOf } from './usage.js'
import { AUDIO_PREFIX, AUDIO_SUFFIX, closeFault, durationMs, partsOf, rateOf } from './wire.js'
import { GeminiReader, functionCallsOf, noGeminiStats } from './reader.js'
import type { ClientMessage, FunctionCall, ServerMessage } from './wire.js'
import type { GeminiStats } from './reader.js'

/**
 * Gemini Live over a WebSocket.
 *
 *     connecting --open--> setup --setupComplete--> replay of the conversation --> ready
 *     connecting --the handle is refused--> connecting: without the handle, with the replay
 *     ready      --goAway--> ready: emits `expiring`; the next instance continues from the handle in `snapshot`
 *
 * The service does not accept truncation: when it is interrupted, it cuts its own transcript. The service's turns do
 * not have ids, but its stream is in order (`Turn`). A tool call that does not block does not end the turn.
 *
 * Some `interrupted` messages are caused neither by the gateway's input nor by the caller's sound. Such a message ends a
 * turn like `generationComplete`, so the received audio is played. If a requested turn ends empty, the backend repeats
 * the request once, then reports a failure.
 *
 * Transcripts have no fixed order relative to the audio. The agent's transcripts belong to the last turn until the next
 * turn starts.
 */
export class GeminiLiveBackend extends RealtimeBackend<GeminiLiveOptions, GeminiStats> implements Backend {
  readonly stats: GeminiStats = noGeminiStats()

  readonly #reader = new GeminiReader(this.stats)
  readonly #traits: ModelTraits
  /** Host of the service's address. */
  readonly #host: string
  readonly #calls = new ToolBatches()
  readonly #repeated = new RepeatedSpeech((samples) => this.#play(samples))
  /**
   * Messages that a resumed session must get again; null if the service does not report which messages it has consumed.
   */
  #unconsumed: UnconsumedMessages | null
  #texts: 'content' | 'realtime'
  /** All messages sent so far, while it is unknown if this model accepts a text as content; null once this is known. */
  #untried: UnconsumedMessages | null
  /**
   * Number of the message before the first text sent as content; null before this text, and after the model accepted
   * the text.
   */
  #triedAfter: number | null = null
  /** True if the setup asks for transparent resumption. */
  #transparent = false
  /** Tools of the session by name. */
  #tools: ReadonlyMap<string, ToolSpec> = new Map()
  /** Texts that wait until the model is silent, because content interrupts the model. */
  #notes: { readonly role: 'user' | 'model'; readonly text: string }[] = []
  /**
   * Tool results that wait while the caller speaks. During the caller's speech the service cancels its tool calls, so a
   * result sent then would be lost.
   */
  readonly #heldReplies: { readonly callId: string; readonly reply: ToolReply }[] = []
  /** Handle of the session to resume; null after the service refused the handle. */
  #resumeHandle: string | null = null
  #handle: string | null = null
  /**
   * Number of the last message that a session's state includes: `#resumedConsumed` for the resumed session, `#consumed`
   * for this backend's own session.
   */
  #resumedConsumed: number | null = null
  #consumed: number | null = null
  #speaking = false
  /** True after `activityStart`; the service accepts audio only then. */
  #activityOpen = false
  #turn: Turn | null = null
  /** The turn of the audio that is being decoded. */
  #audioTurn: Turn | null = null
  /** True while the service works on a turn. Content would interrupt the turn. */
  #serverBusy = false
  #outputRateHz: SampleRateHz = GEMINI_OUTPUT_RATE_HZ
  #mimeType = ''
  #playable = true
  #callerFinal = true
  /** True once the service has reported voice activity. */
  #reportsActivity = false
  #usage = tokensOf({})
  /** True from a request until the first part of its answer arrives. */
  #owed = false
  /** True if the request contains words. Noise that the gateway mistook for speech does not need an answer. */
  #wordsAsked = false
  /**
   * True if the service's earlier turn was open at the request: one `turnComplete` then belongs to the earlier turn.
   */
  #earlierTurnOpen = false
  /** True if the backend repeated the request after an empty turn. */
  #askedAgain = false
  /** True if a message was sent that may interrupt the current turn. */
  #inputSinceTurn = false
  #voicedMsSinceTurn = 0

  constructor(sink: BackendSink, options: GeminiLiveOptions) {
    const serverVad = options.turns?.by === 'server'
    super(sink, {
      options,
      target: () => liveTarget(options),
      closeFault,
      law: null,
      audioMessage: { before: AUDIO_PREFIX, after: AUDIO_SUFFIX },
      capabilities: {
        name: options.name ?? 'gemini',
        inputRateHz: GEMINI_INPUT_RATE_HZ,
        outputRateHz: GEMINI_OUTPUT_RATE_HZ,
        serverVad,
        truncate: false,
        // Older models do not support `contextUpdate`.
        changesTools: traitsOf(options).asynchronous,
        maxSessionMs: GEMINI_CONNECTION_MS,
      },
      uplink: {
        ...messageLength(options.messageMs, turnEndOf(options)),
        preRollMs: BACKEND_PRE_ROLL_MS_MAX,
        // The service requires this message if audio stops for more than a second. The service continues with the next
        // audio.
        pause:
          options.streamSilence === true
            ? null
            : silencePause(turnEndOf(options), () => this.#send({ realtimeInput: { audioStreamEnd: true } })),
      },
    })
    this.#traits = traitsOf(options)
    this.#host = new URL(liveTarget(options).url).host
    this.#transparent = this.#traits.transparent && takesTransparent.get(this.#host) !== false
    this.#unconsumed = this.#transparent ? new UnconsumedMessages(GEMINI_INPUT_RATE_HZ) : null
    const texts = options.texts ?? this.#traits.texts ?? takesTexts.get(`${this.#host} ${options.model}`)
    this.#texts = texts ?? 'content'
    this.#untried = texts === undefined ? new UnconsumedMessages(GEMINI_INPUT_RATE_HZ) : null
    if (serverVad) this.uplink.open()
  }

  override connect(session: BackendSession, signal: AbortSignal): Promise<void> {
    const snapshot = snapshotOf(session.resume)
    this.#resumeHandle = snapshot?.handle ?? null
    this.#resumedConsumed = snapshot?.consumed ?? null
    this.#tools = byName(session.tools)
    return super.connect(session, signal)
  }

  override pushAudio(pcm: Int16Array, voiced?: boolean): void {
    if (voiced ?? true) this.#voicedMsSinceTurn += FRAME_OF_CALLER_MS
    super.pushAudio(pcm, voiced)
  }

  speechStart(atMs: number): void {
    if (this.capabilities.serverVad || this.#speaking || !this.connection.alive) return
    this.#speaking = true
    this.uplink.open(preRollMs(this.nowMs() - atMs))
    this.connection.whenReady(() => {
      this.#inputGiven()
      this.#owed = false
      this.#wordsAsked = false
      // For these models a text without an end of turn begins a turn, and the model waits for the end.
      if (this.#traits.asynchronous && this.#notes.length > 0 && this.#texts !== 'realtime') this.#sendTexts(false)
      this.#activityOpen = true
      this.#finishCaller()
      this.callerText = ''
      this.#send({ realtimeInput: { activityStart: {} } })
      this.uplink.retry()
    })
  }

  speechEnd(_atMs: number): void {
    if (!this.#speaking) return
    this.#speaking = false
    this.uplink.flush()
    this.connection.whenReady(() => {
      this.#activityOpen = false
      if (!this.#speaking) this.uplink.close()
      this.#send({ realtimeInput: { activityEnd: {} } })
      this.#asked(this.#wordsAsked)
      for (const { callId, reply } of this.#heldReplies.splice(0)) this.toolResult(callId, reply)
    })
  }

  sendText(text: string, { role, respond }: TextOptions): void {
    this.connection.whenReady(() => {
      const words = this.wordsOf(text, role)
      if (words !== '') this.#notes.push(this.#noteOf(role, words))
      if (!respond) return this.#sendNotes()
      this.#inputGiven()
      this.#sendTexts(true)
      this.#asked(true)
    })
  }

  toolResult(callId: string, reply: ToolReply): void {
    if (!this.connection.isReady) return
    const call = this.#calls.find(callId)
    if (call === undefined) {
      this.stats.lateToolResults++
      return
    }
    if (call.blocking && this.#activityOpen && this.#heldReplies.length < BACKEND_WAITING_TEXTS_MAX) {
      this.#heldReplies.push({ callId, reply })
      return
    }
    const response = reply.ok ? { output: reply.value ?? null } : { error: reply.value ?? 'The tool failed.' }
    const { scheduling = 'when-idle' } = this.#tools.get(call.name) ?? {}
    const answers = this.#calls.answer(callId, {
      name: call.name,
      response,
      ...(call.blocking
        ? {}
        : {
            // A failure must be spoken, even if the tool's results are silent.
            scheduling: SCHEDULING[scheduling === 'silent' && !reply.ok ? 'when-idle' : scheduling],
            willContinue: false,
          }),
    })
    if (answers.length === 0) return
    this.#send({ toolResponse: { functionResponses: [...answers] } })
    // After a tool call that does not block, the model speaks about the result as soon as the model is idle.
    if (call.blocking) this.#asked(true)
  }

  /** Sends no message: the service detects the interruption from the caller's audio. */
  interrupt(_heard: { readonly itemId: string | null; readonly playedMs: number }): void {
    const turn = this.#turn
    if (!this.connection.isReady || turn === null || turn.state !== 'active') return
    turn.state = 'cancelled'
    turn.interrupted = true
    this.sink.event({ type: 'turn-done', generation: turn.generation, status: 'cancelled', reason: 'interrupted' })
  }

  updateSession({ instructions, news = instructions, tools, greeting }: SessionUpdate): void {
    this.greetWith(greeting)
    if (instructions === undefined && tools === undefined) return
    if (this.capabilities.changesTools === false) {
      if (news !== undefined) this.sendText(newInstructions(news), { role: 'system', respond: false })
      return
    }
    if (tools !== undefined) this.#tools = byName(tools)
    this.connection.whenReady(() =>
      this.#send({
        contextUpdate: {
          ...(instructions === undefined ? {} : { systemInstruction: { parts: [{ text: instructions }] } }),
          ...(tools === undefined ? {} : { tools: { tools: declarationsOf(tools, this.#traits) } }),
        },
      }),
    )
  }

  override snapshot(): GeminiSnapshot {
    return { version: 1, generation: this.generation, handle: this.#handle, consumed: this.#consumed }
  }

  continueFrom(previous: Backend): boolean {
    if (!(previous instanceof GeminiLiveBackend) || this.#resumeHandle === null || this.#resumedConsumed === null)
      return false
    // Sends the audio that was stored during a pause.
    if (this.capabilities.serverVad) previous.uplink.open()
    previous.uplink.flush()
    const lost = previous.#unconsumed?.after(this.#resumedConsumed) ?? null
    if (lost === null || !this.connection.isReady) return false
    for (const message of lost) {
      this.stats.resentMessages++
      if ('json' in message) this.sendJson(message.json)
      else this.sendSamples(message.audio, message.audio.length)
    }
    this.#speaking = previous.#speaking
    this.#activityOpen = previous.#activityOpen
    if (this.#speaking) this.uplink.open()
    return true
  }

  // --- out ------------------------------------------------------------------------------------------------

  #send(message: ClientMessage): void {
    this.sendJson(JSON.stringify(message))
  }

  protected override sendJson(json: string): void {
    super.sendJson(json)
    this.#unconsumed?.sentText(json)
    this.#untried?.sentText(json)
  }

  protected override sendSamples(pcm: Buffer, length: number): void {
    super.sendSamples(pcm, length)
    this.#unconsumed?.sentAudio(pcm, length)
    this.#untried?.sentAudio(pcm, length)
  }

  protected override takesAudio(): boolean {
    return this.capabilities.serverVad || this.#activityOpen
  }

  /**
   * Sends the waiting texts. Content interrupts the model, so a text without a request for an answer waits until the
   * model is silent.
   */
  #sendNotes(): void {
    // A model that accepts content only at the start gets notes with the next text.
    if (this.#notes.length === 0 || this.#serverBusy || this.#activityOpen || this.#texts === 'realtime') return
    // Content would cancel running tool calls. If the gateway detects the turns, the notes are sent with the caller's
    // next words.
    if (this.#calls.blockingIds.length > 0) return
    if (this.#traits.asynchronous && !this.capabilities.serverVad) return
    this.#sendTexts(false)
  }

  /** Records that input is sent to the service. The input interrupts the model and cancels tool calls that block. */
  #inputGiven(): void {
    this.#inputSinceTurn = true
    this.#repeated.forget()
    if (!this.#traits.asynchronous) return
    const open = this.#calls.blockingIds
    if (open.length > 0) this.#cancelled(open)
  }

  /** @param words  true if the request certainly contains words */
  #asked(words: boolean): void {
    this.#owed = true
    this.#wordsAsked = words
    this.#askedAgain = false
    this.#earlierTurnOpen = this.#serverBusy
  }

  /** After the setup the service does not accept system messages. Realtime input cannot contain words of the model. */
  #noteOf(role: TextOptions['role'], words: string): { readonly role: 'user' | 'model'; readonly text: string } {
    if (role === 'caller') return { role: 'user', text: words }
    if (role === 'system') return { role: 'user', text: `[${words}]` }
    return this.#texts === 'realtime' ? { role: 'user', text: `[${saidText(words)}]` } : { role: 'model', text: words }
  }

  #sendTexts(respond: boolean): void {
    const notes = this.#notes.splice(0)
    if (this.#texts !== 'realtime') {
      const turns: { role: 'user' | 'model'; parts: { text: string }[] }[] = []
      for (const { role, text } of notes) {
        const last = turns.at(-1)
        if (last?.role === role) last.parts.push({ text })
        else turns.push({ role, parts: [{ text }] })
      }
      if (this.#untried !== null) this.#triedAfter ??= this.#untried.newest
      this.#send({ clientContent: { turns, turnComplete: respond } })
      return
    }
    const manual = !this.capabilities.serverVad && !this.#activityOpen
    if (manual) this.#send({ realtimeInput: { activityStart: {} } })
    this.#send({ realtimeInput: { text: notes.map(({ text }) => text).join('\n') } })
    if (manual) this.#send({ realtimeInput: { activityEnd: {} } })
  }

  // --- in -------------------------------------------------------------------------------------------------

  protected opened(): void {
    const session = this.session
    if (session === null) return
    const setup = setupOf(
      this.options,
      session,
      this.#resumeHandle,
      this.#resumeHandle === null && historyOf(session).length > 0,
      this.#transparent,
      this.wishes,
    )
    this.connection.send(JSON.stringify({ setup } satisfies ClientMessage))
    this.#unconsumed?.begin()
  }

  #begin(): void {
    const session = this.session
    if (session === null || this.connection.isReady) return
    const turns = this.#resumeHandle === null ? historyOf(session) : []
    // The setup declared this content as history, so that the model does not answer it.
    if (turns.length > 0) this.#send({ clientContent: { turns, turnComplete: true } })
    this.#handle = this.#resumeHandle
    // If the handle was refused, the refusal does not show if the service supports transparent resumption.
    if (this.#traits.transparent && this.stats.resumesRefused === 0) takesTransparent.set(this.#host, this.#transparent)
    this.wishes.worked()
    this.connection.ready(() => {
      if (this.#texts === 'content') this.#untried?.begin()
      else this.#sendUntried()
      this.uplink.retry()
    })
  }

  protected override recovers(fault: VendorFault): boolean {
    return this.connection.isReady ? this.#asksByInput(fault) : this.#asksForLess(fault)
  }

  /**
   * Tries a refused setup again with fewer fields; the service rarely names the reason. If the service names an
   * optional field, this field is omitted. Otherwise the next tries are: without transparent resumption, with the
   * history instead of the handle, without optional fields.
   */
  #asksForLess(fault: VendorFault): boolean {
    const { code, message } = fault
    if (this.wishes.refuses(fault, false)) return true
    const mayBeIt = code === 'bad_request' && /transparent|invalid argument/i.test(message)
    if (this.#transparent && mayBeIt && !takesTransparent.has(this.#host)) {
      this.#transparent = false
      this.#unconsumed?.release()
      this.#unconsumed = null
      this.stats.transparentRefused++
      return true
    }
    if (this.#resumeHandle === null) return this.wishes.refuses(fault)
    this.#resumeHandle = null
    this.stats.resumesRefused++
    return true
  }

  /**
   * Handles a close during a session. If the model accepts content only as history, it may have refused the first text.
   * Then a new connection gets this text once as live input, and all later messages. If there is no handle to resume,
   * all messages are sent again.
   */
  #asksByInput(fault: VendorFault): boolean {
    if (this.#untried === null || this.#triedAfter === null || fault.code !== 'bad_request') return false
    this.#texts = 'realtime'
    this.#resumeHandle = this.#handle
    this.#serverBusy = false
    this.#earlierTurnOpen = false
    this.stats.contentRefused++
    const what = `${this.options.model} was sent a text as content and closed; connecting again to send it as live input (texts: realtime)`
    this.connection.fail({ ...fault, fatal: false, message: `${fault.message}; ${what}` })
    this.#end('cancelled', 'interrupted')
    this.#cancelled(this.#calls.blockingIds)
    return true
  }

  /** Sends the earlier connection's messages again, with content as live input. */
  #sendUntried(): void {
    const untried = this.#untried
    if (untried === null) return
    this.#untried = null
    const fromText = untried.after(this.#triedAfter ?? 0)
    const messages = (this.#resumeHandle === null ? untried.after(0) : null) ?? fromText ?? []
    const speaks = this.#activityOpen
    this.#activityOpen = false
    for (const message of messages) {
      this.stats.resentMessages++
      if ('json' in message) {
        this.#sendByInput(message.json)
        continue
      }
      this.#openActivity()
      this.sendSamples(message.audio, message.audio.length)
    }
    if (speaks) this.#openActivity()
    untried.release()
  }

  /** Opens the activity; the speech may have begun on the earlier connection. */
  #openActivity(): void {
    if (this.capabilities.serverVad || this.#activityOpen) return
    this.#activityOpen = true
    this.#send({ realtimeInput: { activityStart: {} } })
  }

  #sendByInput(json: string): void {
    const message = JSON.parse(json) as ClientMessage
    if ('clientContent' in message) {
      const { turns, turnComplete } = message.clientContent
      for (const { role, parts } of turns)
        for (const { text } of parts) this.#notes.push(role === 'user' ? { role, text } : this.#noteOf('agent', text))
      if (turnComplete) this.#sendTexts(true)
      return
    }
    if ('realtimeInput' in message) {
      if ('activityStart' in message.realtimeInput) return this.#openActivity()
      if ('activityEnd' in message.realtimeInput) {
        this.#openActivity()
        this.#activityOpen = false
      }
    }
    this.sendJson(json)
  }

  /** Records that the model answers, so it accepted the first text. */
  #textTaken(): void {
    this.#triedAfter = null
    takesTexts.set(`${this.#host} ${this.options.model}`, this.#texts)
    this.#untried?.release()
    this.#untried = null
  }

  protected message(data: Buffer): void {
    const message = this.#reader.read(data)
    if (message === null) return
    if (message.setupComplete !== undefined) this.#begin()
    if (!this.connection.isReady) return
    const { sessionResumptionUpdate: update, goAway, toolCallCancellation } = message
    if (update?.resumable === true && typeof update.newHandle === 'string') {
      this.#handle = update.newHandle
      const consumed = Number(update.lastConsumedClientMessageIndex ?? NaN)
      this.#consumed = Number.isSafeInteger(consumed) && consumed >= 0 ? consumed : null
      if (this.#consumed !== null) this.#unconsumed?.consumed(this.#consumed)
    }
    if (goAway !== undefined) this.sink.event({ type: 'expiring', inMs: durationMs(goAway.timeLeft) })
    if (message.usageMetadata !== undefined) this.#usage = tokensOf(message.usageMetadata)
    if (this.capabilities.serverVad) this.#voiceActivity(message.voiceActivity?.voiceActivityType)
    this.#content(message, data)
    this.#toolCalls(functionCallsOf(message, this.stats))
    if (Array.isArray(toolCallCancellation?.ids)) this.#cancelled(toolCallCancellation.ids as readonly unknown[])
  }

  #toolCalls(calls: readonly FunctionCall[]): void {
    if (calls.length === 0) return
    // The tool calls are registered before the first event is emitted: a tool may answer while this event is handled.
    const fresh = this.#calls.add(calls.map(({ id, name, args }) => ({ id, name, args, blocking: this.#blocks(name) })))
    this.stats.repeatedToolCalls += calls.length - fresh.length
    if (fresh.length === 0) return
    const turn = this.#active()
    const { generation } = turn
    turn.hadCalls = true
    this.#endPiece(true)
    for (const call of fresh) this.#toolCall(call, generation)
    if (!fresh.some(({ blocking }) => blocking)) return
    // The model sends no more parts until the tool calls have results, so this turn ends here. The next part starts
    // another turn, sometimes with the end of a word.
    this.#end('completed', undefined)
    this.#serverBusy = false
  }

  #toolCall({ id, name, args, blocking }: OpenCall, generation: number): void {
    const quiet = !blocking && this.#tools.get(name)?.scheduling === 'silent'
    this.toolCalled(id, name, objectArguments(args), generation, quiet)
  }

  #blocks(name: string): boolean {
    const tool = this.#tools.get(name)
    return tool === undefined || blocks(tool, this.#traits)
  }

  #cancelled(ids: readonly unknown[]): void {
    const { cancelled, complete } = this.#calls.cancel(ids.filter((id) => typeof id === 'string'))
    if (complete.length > 0) this.#send({ toolResponse: { functionResponses: complete } })
    if (cancelled.length === 0) return
    this.stats.toolCallsCancelled += cancelled.length
    this.sink.event({ type: 'tool-cancel', callIds: cancelled })
  }

  protected ended(): void {
    this.#unconsumed?.release()
    this.#untried?.release()
    this.#notes = []
  }

  // --- turns ----------------------------------------------------------------------------------------------

  #content(message: ServerMessage, data: Buffer): void {
    const content = message.serverContent
    if (content === undefined) return
    const { inputTranscription, outputTranscription } = content
    if (content.interimInputTranscription !== undefined) this.stats.interimTranscripts++
    if (content.waitingForInput === true) {
      // The model expects more words from the caller, and does not answer before these words.
      this.stats.waitsForInput++
      this.#owed = false
    }
    if (typeof inputTranscription?.text === 'string')
      this.#callerTranscript(inputTranscription.text, inputTranscription.finished === true)
    for (const part of partsOf(message)) {
      // The model's reasoning.
      if (part.thought === true) continue
      if (part.inlineData !== undefined) {
        const { mimeType, data: text } = part.inlineData
        this.#audioPart(mimeType, text === '' ? this.#reader.audioOf(message, data) : text)
      } else if (typeof part.text === 'string' && part.text !== '') this.#agentTranscript(part.text)
    }
    const spoken = outputTranscription?.text
    if (typeof spoken === 'string' && spoken !== '') this.#agentTranscript(spoken)
    if (content.interrupted === true) this.#interrupted()
    if (content.generationComplete === true) this.#end('completed', undefined)
    if (content.turnComplete === true)
      this.#turnComplete(content.turnCompleteReason, content.interactionStatus === 'IN_PROGRESS')
  }

  /** Returns the turn that a part belongs to, and starts a turn if the last turn is over. */
  #active(): Turn {
    const present = this.#turn
    if (present !== null && present.state !== 'done') return present
    this.#finishAgent()
    this.#finishCaller()
    if (this.#triedAfter !== null) this.#textTaken()
    const generation = ++this.generation
    const turn: Turn = {
      generation,
      itemId: `gemini-${generation}`,
      state: 'active',
      audioMs: 0,
      hadSound: false,
      hadCalls: false,
      owed: this.#owed,
      text: '',
      pieceText: '',
      pieceTold: 0,
      final: true,
      interrupted: false,
    }
    this.#turn = turn
    this.audio.reset()
    this.#repeated.begin()
    this.#owed = false
    this.#inputSinceTurn = this.#activityOpen
    this.#voicedMsSinceTurn = 0
    this.#serverBusy = true
    this.sink.event({ type: 'turn-start', generation })
    return turn
  }

  #audioPart(mimeType: string | undefined, base64: Buffer | string | undefined): void {
    const turn = this.#active()
    if (turn.state === 'cancelled') {
      this.stats.latePieces++
      return
    }
    if (mimeType !== this.#mimeType) this.#setFormat(mimeType)
    if (!this.#playable) {
      this.stats.unplayableAudio++
      return
    }
    this.#audioTurn = turn
    const isText = typeof base64 === 'string' || Buffer.isBuffer(base64)
    if (isText && !this.audio.decode(base64, this.#deliver)) this.stats.malformedAudio++
  }

  // Created once per session, because audio messages are frequent.
  readonly #deliver = (samples: Int16Array): void => {
    const turn = this.#audioTurn
    if (turn === null || turn.state !== 'active') return
    this.#repeated.sound(samples, samplesToMs(samples.length, this.#outputRateHz))
  }

  #play(samples: Int16Array): void {
    const turn = this.#audioTurn
    if (turn?.state !== 'active') return
    const rateHz = this.#outputRateHz
    turn.audioMs += samplesToMs(samples.length, rateHz)
    turn.hadSound ||= hasSound(samples)
    this.sink.audio(samples, rateHz, turn.itemId, turn.generation)
  }

  /** Ends a piece of the agent's speech: the turn ends, or the model calls a tool. */
  #endPiece(toolFollows: boolean): void {
    const turn = this.#turn
    if (turn === null || turn.state === 'done') return
    if (this.#repeated.end(toolFollows)) this.stats.repeatedSpeech++
    turn.pieceText = ''
    turn.pieceTold = 0
    this.#repeated.begin()
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
    if (turn?.state === 'active' && this.#isPhantom()) {
      this.stats.phantomInterruptions++
      this.#end('completed', 'interrupted by nothing')
      // The caller has not heard any sound of this turn.
      if (!turn.hadSound) {
        this.#asked(true)
        this.#earlierTurnOpen = false
      }
      return
    }
    if (turn !== null && turn.state === 'active') this.sink.event({ type: 'interrupted', generation: turn.generation })
    this.#end('cancelled', 'interrupted')
    this.#finishAgent()
    if (turn !== null) turn.interrupted = true
  }

  /** True if no message that could have interrupted the turn was sent since the turn began. */
  #isPhantom(): boolean {
    if (this.#inputSinceTurn || this.#activityOpen) return false
    return !this.capabilities.serverVad || this.#voicedMsSinceTurn < PHANTOM_VOICE_MS
  }

  #end(status: 'completed' | 'cancelled', reason: string | undefined): void {
    const turn = this.#turn
    if (turn === null || turn.state === 'done') return
    if (turn.state === 'active' && status === 'completed') this.#endPiece(false)
    const reported = turn.state === 'cancelled'
    turn.state = 'done'
    if (reported) return
    const { generation, itemId } = turn
    // Silence does not count as an answer: when the service completes its turn, the answer is still missing.
    const silent = status === 'completed' && turn.audioMs > 0 && !turn.hadSound && !turn.hadCalls
    if (silent) this.#owed = turn.owed
    if (turn.audioMs > 0) this.sink.event({ type: 'audio-done', generation, itemId })
    if (turn.text !== '' && status === 'completed') this.#finishAgent()
    this.used(this.#usage, turn.audioMs)
    this.#usage = tokensOf({})
    if (silent) this.sink.event({ type: 'turn-done', generation, status: 'cancelled', reason: 'empty' })
    else this.sink.event({ type: 'turn-done', generation, status, ...(reason === undefined ? {} : { reason }) })
  }

  /** @param working  true if the service continues to work and may send more parts */
  #turnComplete(reason: string | undefined, working: boolean): void {
    this.#end('completed', typeof reason === 'string' ? reason : undefined)
    this.#finishAgent()
    this.#finishCaller()
    // The token counts come with the last message of a turn, after its end.
    if (this.#usage.inputTokens + this.#usage.outputTokens > 0) {
      this.used(this.#usage, 0)
      this.#usage = tokensOf({})
    }
    const earlier = this.#earlierTurnOpen
    this.#earlierTurnOpen = false
    if (this.#owed && !earlier && !working && !this.#activityOpen && reason !== 'NEED_MORE_INPUT') this.#emptyTurn()
    this.#serverBusy = working
    this.#sendNotes()
  }

  /** Handles a turn that ended empty or with only silence. */
  #emptyTurn(): void {
    this.stats.emptyTurns++
    this.#owed = false
    if (!this.#wordsAsked) return
    if (!this.#askedAgain && this.#texts !== 'realtime') {
      this.#sendTexts(true)
      this.#asked(true)
      this.#earlierTurnOpen = false
      this.#askedAgain = true
      return
    }
    const generation = ++this.generation
    this.sink.event({ type: 'turn-start', generation })
    this.sink.event({ type: 'turn-done', generation, status: 'failed', reason: 'empty' })
  }

  #agentTranscript(words: string): void {
    // The last text of a turn may arrive after the turn's end.
    const turn = this.#turn !== null && this.#turn.state !== 'active' && this.#serverBusy ? this.#turn : this.#active()
    if (turn.interrupted) {
      this.stats.latePieces++
      return
    }
    turn.pieceText = (turn.pieceText + words).slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
    const tell = (): void => {
      turn.text = (turn.text + turn.pieceText.slice(turn.pieceTold)).slice(0, BACKEND_TRANSCRIPT_CHARS_MAX)
      turn.pieceTold = turn.pieceText.length
      this.#emitAgent(turn, false)
    }
    if (turn.state === 'active') this.#repeated.words(turn.pieceText, tell)
    else tell()
  }

  #finishAgent(): void {
    const turn = this.#turn
    if (turn !== null && !turn.final && !turn.interrupted) this.#emitAgent(turn, true)
  }

  #emitAgent(turn: Turn, final: boolean): void {
    turn.final = final
    const { text, itemId, generation } = turn
    this.sink.event({ type: 'transcript', role: 'agent', text, final, itemId, generation })
  }

  protected override get told(): Told {
    return this.session === null ? {} : { terms: hintedTerms(this.options, this.session) }
  }

  #callerTranscript(words: string, finished: boolean): void {
    if (words.trim() !== '') this.#wordsAsked = true
    this.#callerFinal = finished
    this.callerSaid(words, finished)
  }

  #finishCaller(): void {
    if (this.#callerFinal) return
    this.#callerFinal = true
    // The service's own VAD rarely reports the end of speech. If the service answers, the speech is over.
    if (this.capabilities.serverVad && !this.#reportsActivity) this.sink.event({ type: 'speech-stopped' })
    this.emitCaller(true)
    this.callerText = ''
  }

  #voiceActivity(type: string | undefined): void {
    if (type !== undefined) this.#reportsActivity = true
    if (type === 'ACTIVITY_START') {
      this.uplink.turnBegan()
      this.sink.event({ type: 'speech-started' })
    }
    if (type === 'ACTIVITY_END') {
      this.uplink.turnEnded()
      this.sink.event({ type: 'speech-stopped' })
    }
  }
}

/** Result of `snapshot`: the handle resumes the session on the service's side. */
export interface GeminiSnapshot {
  readonly version: 1
  readonly generation: number
  readonly handle: string | null
  /**
   * Number of the last message that the state of the session includes; null if the service does not report this number.
   */
  readonly consumed?: number | null
}

/** Minimum duration of voice since a turn began, in milliseconds, that counts as an interruption by the caller. */
const PHANTOM_VOICE_MS = 60
const FRAME_OF_CALLER_MS = 20
const SCHEDULING = { 'when-idle': 'WHEN_IDLE', interrupt: 'INTERRUPT', silent: 'SILENT' } as const

/**
 * One answer of the model.
 *
 *     (none)    --part, transcript of the agent, tool call--> active: `turn-start`
 *     active    --generationComplete, turnComplete, tool call--> done: `audio-done`, `turn-done`
 *     active    --interrupted--> done: `interrupted`, `turn-done` cancelled
 *     active    --interrupt()--> cancelled: `turn-done` cancelled; later parts are dropped
 *     cancelled --interrupted, generationComplete, turnComplete--> done
 */
interface Turn {
  readonly generation: number
  readonly itemId: string
  state: 'active' | 'cancelled' | 'done'
  audioMs: number
  /** True if a part of the turn's audio is not silent. */
  hadSound: boolean
  hadCalls: boolean
  /** True if this turn answers a request. */
  readonly owed: boolean
  text: string
  /**
   * Words since the last tool call. `text` contains the first `pieceTold` characters; the later characters may be a
   * repetition by the model.
   */
  pieceText: string
  pieceTold: number
  /** True once the text was reported as final. */
  final: boolean
  /** True if the answer was interrupted. Text that arrives later was not spoken. */
  interrupted: boolean
}

/** @returns the snapshot; null if the value is not a snapshot */
export function snapshotOf(resume: unknown): GeminiSnapshot | null {
  const snapshot = resume as Partial<GeminiSnapshot> | null
  const good =
    typeof snapshot === 'object' &&
    snapshot?.version === 1 &&
    Number.isSafeInteger(snapshot.generation) &&
    (snapshot.handle === null || typeof snapshot.handle === 'string') &&
    (snapshot.consumed === undefined || snapshot.consumed === null || Number.isSafeInteger(snapshot.consumed))
  return good ? (snapshot as GeminiSnapshot) : null
}

function byName(tools: readonly ToolSpec[]): ReadonlyMap<string, ToolSpec> {
  return new Map(tools.map((tool) => [tool.name, tool]))
}
