import { BACKEND_PRE_ROLL_MS_MAX } from '../../../core/limits.js'
import { isSampleRateHz, samplesToMs } from '../../../core/units.js'
import type { SampleRateHz } from '../../../core/units.js'
import { hasSound } from '../../../media/pcm.js'
import type { Backend, BackendSink, SessionUpdate, TextOptions, ToolReply } from '../../../backends/backend.js'
import { messageLength } from '../../../backends/transport/caller-uplink.js'
import { RealtimeBackend } from '../../../backends/transport/realtime-backend.js'
import { preRollMs } from '../../../backends/pre-roll.js'
import { SPEED_REFUSED } from '../../../backends/prompts.js'
import { RepeatedSpeech } from '../../../backends/repeated-speech.js'
import { pricedModel } from '../../../backends/prices.js'
import { Alarm } from '../../../backends/timers.js'
import type { Told } from '../../../backends/told.js'
import { parseArguments, replyText } from '../../../backends/tool-text.js'
import { vendorFault } from '../../../backends/transport/vendor-fault.js'
import { AnswerInDoubt, WORDS_WAIT_MS } from './answer-in-doubt.js'
import { AudioItems, PartialTranscripts, ResponseScheduler, ServiceConversation, ToolCalls } from './responses.js'
import type { Response, ToolCall } from './responses.js'
import {
  OPENAI_SESSION_MS,
  betaItem,
  betaSessionConfig,
  changesSpeed,
  functionTool,
  headersOf,
  keywordsOf,
  lawOf,
  pauseOf,
  ratesOf,
  replayItems,
  sessionConfig,
  speechSpeed,
  realtimeUrl,
  transcriptionModel,
  turnEndOf,
  messageItem,
} from './session-config.js'
import type { OpenAiRealtimeOptions } from './session-config.js'
import { tokensOf, transcriptionUsage } from './usage.js'
import type { WireUsage } from './usage.js'
import { APPEND_PREFIX, APPEND_SUFFIX, closeFault, isBusy, isRace, rateLimitsOf, wireFault } from './wire.js'
import { EventReader, noOpenAiStats } from './event-reader.js'
import type { ClientEvent, NewItem, OfItem, ServerEvent, WireError, WireResponse, WireSession } from './wire.js'
import type { OpenAiStats } from './event-reader.js'

/**
 * OpenAI Realtime over a WebSocket, and compatible servers.
 *
 *     connecting --session.created--> session.update --session.updated--> replay of the history --> ready
 *     ready      --shortly before 60 minutes--> ready: emits `expiring`
 *
 * `ResponseScheduler` decides when to request a response, `ToolCalls` when to make a tool call, and `AudioItems` which
 * audio an interruption truncates.
 */
export class OpenAiRealtimeBackend extends RealtimeBackend<OpenAiRealtimeOptions, OpenAiStats> implements Backend {
  readonly stats: OpenAiStats = noOpenAiStats()

  readonly #responses = new ResponseScheduler()
  readonly #items = new AudioItems()
  readonly #calls = new ToolCalls()
  readonly #conversation = new ServiceConversation()
  readonly #transcripts = new PartialTranscripts()
  readonly #reader = new EventReader(this.stats)
  readonly #repeated = new RepeatedSpeech((samples) => this.#play(samples))
  /** The service's possible answer to a backchannel; null if no answer is in doubt. */
  #doubt: AnswerInDoubt | null = null
  readonly #doubtAlarm = new Alarm()
  /** Item of the last speech that the service reported. */
  #stoppedItem: string | null = null
  /** Item of the agent's current piece of speech. */
  #pieceItem = ''
  /** Item whose remaining audio is dropped, because its words were already spoken. */
  #droppedItem = ''
  /** True if the last response was empty and was requested again. */
  #askedAgain = false
  /**
   * End of the period after speech that the service did not answer, because it was busy. An interruption in this period
   * also requests an answer to this speech.
   */
  #unansweredUntilMs = -Infinity
  #configured = false
  #itemsCreated = 0
  #utteranceSamples = 0
  #outputRateHz: SampleRateHz
  /** Item, response and content index of the audio that is being decoded. */
  #audioItem = ''
  #audioResponse: Response | null = null
  #audioContent = 0
  readonly #retry = new Alarm()
  #tries = 0
  /** True if the caller has requested another speed that was not sent yet. */
  #speedDue = false
  #speedTries = 0
  readonly #quiet = new Alarm()
  readonly #toolCallAlarm = new Alarm()

  constructor(sink: BackendSink, options: OpenAiRealtimeOptions) {
    const { inputRateHz, outputRateHz } = ratesOf(options)
    const { turns } = options
    super(sink, {
      options,
      target: () => ({
        url: realtimeUrl(options.baseUrl, options.model),
        // Selects the beta's event names on a server that also supports the current names.
        headers: {
          ...(options.dialect === 'beta' && options.ownForm === undefined ? { 'OpenAI-Beta': 'realtime=v1' } : {}),
          ...headersOf(options),
        },
      }),
      closeFault,
      law: lawOf(options.audio ?? 'pcm'),
      audioMessage: { before: APPEND_PREFIX, after: APPEND_SUFFIX },
      capabilities: {
        name: options.name ?? 'openai',
        inputRateHz,
        outputRateHz,
        serverVad: turns?.by !== 'gateway',
        serverInterrupts: turns?.by !== 'gateway' && turns?.interruptResponse !== false,
        truncate: true,
        // Only the words can show that an answer is not wanted.
        weighsSpeech:
          turns?.by !== 'gateway' && turns?.interruptResponse === false && transcriptionModel(options) !== null,
        changesSpeed: changesSpeed(options),
        maxSessionMs: options.maxSessionMs ?? OPENAI_SESSION_MS,
      },
      uplink: {
        ...messageLength(options.messageMs, turnEndOf(options)),
        preRollMs: BACKEND_PRE_ROLL_MS_MAX,
        pause: pauseOf(options),
      },
    })
    this.#outputRateHz = outputRateHz
    // A server with a VAD gets all audio. A server without one gets only speech, with a pre-roll.
    if (this.capabilities.serverVad) this.uplink.open()
  }

  override pushAudio(pcm: Int16Array, voiced?: boolean): void {
    this.#utteranceSamples += pcm.length
    super.pushAudio(pcm, voiced)
  }

  speechStart(atMs: number): void {
    if (this.capabilities.serverVad) return
    this.#responses.speechStarted()
    this.#repeated.forget()
    this.#utteranceSamples = 0
    this.uplink.open(preRollMs(this.nowMs() - atMs))
  }

  speechEnd(_atMs: number, unless?: readonly string[]): void {
    if (unless !== undefined) return this.#weigh(unless)
    if (this.capabilities.serverVad || !this.#responses.callerSpeaking) return
    this.#responses.speechStopped(false)
    this.uplink.flush()
    const long = this.#utteranceSamples * SECOND_MS >= COMMIT_MS_MIN * this.capabilities.inputRateHz
    this.connection.whenReady(() => {
      if (!this.#responses.callerSpeaking) this.uplink.close()
      this.#send({ type: long ? 'input_audio_buffer.commit' : 'input_audio_buffer.clear' })
      if (long) this.#responses.want(null)
      this.#requestResponse()
    })
  }

  sendText(text: string, { role, respond }: TextOptions): void {
    this.connection.whenReady(() => {
      const words = this.wordsOf(text, role)
      const id = words === '' ? null : this.#createItem(messageItem(role, words))
      if (respond) {
        this.#repeated.forget()
        this.#responses.want(id)
      }
      this.#requestResponse()
    })
  }

  toolResult(callId: string, reply: ToolReply): void {
    const response = this.#calls.answer(callId)
    if (response === null) this.stats.lateToolResults++
    if (response === null || !this.connection.isReady) return
    const call_id = this.#calls.serviceId(callId)
    const id = this.#createItem({ type: 'function_call_output', call_id, output: replyText(reply) })
    if (response.openCalls.size > 0) return
    this.#responses.want(id)
    if (this.#responses.current === response) this.#awaitQuiet()
    this.#requestResponse()
  }

  interrupt({ itemId, playedMs }: { readonly itemId: string | null; readonly playedMs: number }): void {
    if (!this.connection.isReady) return
    const requested = this.#responses.requested
    const generation = this.#responses.current?.generation ?? null
    const cancelled = this.#responses.interrupt()
    const serverCancels = this.capabilities.serverInterrupts === true && this.#responses.callerSpeaking
    if (requested || (cancelled !== null && !serverCancels)) this.#send({ type: 'response.cancel' })
    for (const item of this.#items.truncate(itemId, playedMs, generation, this.nowMs())) {
      this.#send({
        type: 'conversation.item.truncate',
        item_id: item.itemId,
        content_index: item.contentIndex,
        audio_end_ms: item.audioEndMs,
      })
    }
    if (cancelled !== null) {
      this.stats.toolCallsGivenUp += this.#calls.drop(cancelled, null)
      cancelled.openItems.clear()
      this.sink.event({
        type: 'turn-done',
        generation: cancelled.generation,
        status: 'cancelled',
        reason: 'interrupted',
      })
    }
    // If the words of the sound interrupt, the kept answer is delivered. All other interruptions make the kept answer
    // invalid.
    if (this.#doubt !== null) return this.#doubtOver(this.#doubt.deciding)
    if (this.#responses.callerSpeaking || this.nowMs() > this.#unansweredUntilMs) return
    this.#responses.want(null)
    this.#requestResponse()
  }

  updateSession({ instructions, tools, greeting, speed, forget = false }: SessionUpdate): void {
    this.greetWith(greeting)
    if (forget)
      this.connection.whenReady(() => {
        for (const item_id of this.#conversation.forget((callId) => this.#calls.isOpen(callId)))
          this.#send({ type: 'conversation.item.delete', event_id: FORGET_EVENT, item_id })
      })
    if (speed !== undefined && this.session !== null && this.capabilities.changesSpeed === true) {
      this.session = { ...this.session, speed }
      this.#speedTries = SPEED_TRIES_MAX
      this.#speedDue = true
      this.connection.whenReady(() => this.#changeSpeed())
    }
    if (instructions === undefined && tools === undefined) return
    this.connection.whenReady(() => {
      const changed = {
        ...(instructions === undefined ? {} : { instructions }),
        ...(tools === undefined ? {} : { tools: tools.map(functionTool) }),
      }
      const { dialect, ownForm } = this.options
      this.#update(dialect === 'beta' || ownForm !== undefined ? changed : { type: 'realtime', ...changed })
    })
  }

  // --- out ------------------------------------------------------------------------------------------------

  #send(event: ClientEvent): void {
    this.connection.send(JSON.stringify(event))
  }

  #update(session: object, event_id?: string): void {
    this.connection.send(JSON.stringify({ type: 'session.update', event_id, session }))
  }

  #createItem(item: NewItem): string {
    const id = `mk${++this.#itemsCreated}`
    this.#sendItem({ ...item, id })
    return id
  }

  #sendItem(item: NewItem & { readonly id?: string }): void {
    const event = { type: 'conversation.item.create', item } satisfies ClientEvent
    const beta = this.options.dialect === 'beta'
    this.connection.send(JSON.stringify(beta ? { ...event, item: betaItem(item) } : event))
  }

  /** Sends a new speed. The service changes the speed only between responses. */
  #changeSpeed(): void {
    const { session } = this
    if (!this.#speedDue || session === null || !this.connection.isReady) return
    if (this.#responses.current !== null || this.#responses.requested) return
    this.#speedDue = false
    const output = this.wishes.of({ speed: speechSpeed(this.options, session) })
    if (output.speed !== undefined) this.#update({ type: 'realtime', audio: { output } }, SPEED_EVENT)
  }

  /** Requests the wanted response if the server would accept the request. */
  #requestResponse(): void {
    this.#changeSpeed()
    if (!this.#responses.mayCreate() || !this.connection.isReady || this.#doubt?.answering === true) return
    const eventId = this.#responses.creating()
    this.#send({ type: 'response.create', event_id: eventId, response: { metadata: { mkondo: eventId } } })
  }

  #requestResponseIn(ms: number): void {
    this.#retry.set(ms, () => {
      this.#responses.release()
      this.#requestResponse()
    })
  }

  // --- in -------------------------------------------------------------------------------------------------

  protected opened(): void {
    this.#configured = false
  }

  protected message(data: Buffer): void {
    const event = this.#reader.read(data)
    if (event === null) return
    const audio = event.type === 'response.output_audio.delta' ? this.#reader.audioOf(event, data) : ''
    if (this.#doubt === null || !this.#inDoubt(this.#doubt, event, audio)) this.#handle(event, audio)
  }

  #handle(event: ServerEvent, audio: Buffer | string): void {
    switch (event.type) {
      case 'response.output_audio.delta':
        return this.#audioDelta(event, audio)
      case 'session.created':
        return this.#configure()
      case 'session.updated':
        this.#setOutputRate(event.session)
        return this.#begin()
      case 'input_audio_buffer.speech_started':
        if (!this.capabilities.serverVad) return
        // The service has not answered the previous sound, so the next answer covers that sound too.
        if (this.#doubt?.answering === false) this.#doubt = null
        this.#responses.speechStarted()
        this.#repeated.forget()
        this.uplink.turnBegan()
        this.sink.event({ type: 'speech-started' })
        return
      case 'input_audio_buffer.speech_stopped':
        if (!this.capabilities.serverVad) return
        this.#stoppedItem = event.item_id ?? null
        this.#responses.speechStopped(true)
        this.uplink.turnEnded()
        // If the service does not stop for the caller, it does not answer sounds that the caller makes during its
        // answer.
        if (this.capabilities.serverInterrupts === false && this.#responses.current?.state === 'active')
          this.#unansweredUntilMs = this.nowMs() + INTERRUPTING_WORDS_MS
        this.sink.event({ type: 'speech-stopped' })
        if (this.#responses.wanted) this.#requestResponseIn(SERVER_ANSWER_MS)
        return
      case 'conversation.item.added':
        if (event.item.id !== undefined) this.#responses.itemAcked(event.item.id)
        this.#conversation.added(event.item)
        return
      case 'rate_limits.updated':
        return this.sink.rateLimits?.(rateLimitsOf(event.rate_limits))
      case 'error':
        return this.#error(event.error)
      case 'response.created':
        this.#start(event.response.id ?? null, event.response.metadata?.['mkondo'] ?? null)
        return this.#requestResponse()
      case 'response.done':
        return this.#responseDone(event.response)
      case 'response.output_item.added':
        this.#calls.named(event.item)
        if (this.#active(event.response_id) !== null && event.item.type === 'function_call') this.#endPiece(true)
        return
      case 'response.output_item.done':
        return this.#itemDone(event)
      case 'response.output_audio.done':
        return this.#audioDone(event)
      case 'response.output_audio_transcript.delta':
      case 'response.output_text.delta':
        return this.#agentTranscript(event, event.delta, false)
      case 'response.output_audio_transcript.done':
        return this.#agentTranscript(event, event.transcript, true)
      case 'response.output_text.done':
        return this.#agentTranscript(event, event.text, true)
      case 'response.function_call_arguments.done':
        return this.#argumentsDone(event)
      case 'conversation.item.input_audio_transcription.delta':
        return void this.#callerTranscript(event.item_id, event.delta ?? '', false)
      case 'conversation.item.input_audio_transcription.completed':
        if (event.status === 'in_progress') return
        this.#transcriptionUsed(event.usage)
        return this.#callerSaid(event.item_id, event.transcript)
      case 'conversation.item.input_audio_transcription.failed':
        this.#transcripts.take(event.item_id, '', true)
        if (this.#doubt?.isAbout(event.item_id) === true) this.#doubtOver(true)
        return
      default: {
        const never: never = event
        return never
      }
    }
  }

  #configure(): void {
    if (this.session === null || this.#configured) return
    this.#configured = true
    const { ownForm } = this.options
    if (ownForm !== undefined) return this.#update(ownForm.session(this.session, this.wishes))
    if (this.options.dialect !== 'beta') return this.#update(sessionConfig(this.options, this.session, this.wishes))
    this.#update(betaSessionConfig(this.options, this.session, this.wishes))
    // Some servers do not confirm the session. An error would arrive before this time limit, so the session counts as
    // ready after it.
    this.#retry.set(this.options.confirmMs ?? SERVER_ANSWER_MS, () => this.#begin())
  }

  #begin(): void {
    const session = this.session
    if (session === null || this.connection.isReady || !this.connection.alive) return
    this.#retry.clear()
    for (const item of replayItems(session)) this.#sendItem(item)
    this.expiresAfter(this.options.maxSessionMs ?? OPENAI_SESSION_MS)
    this.wishes.worked()
    this.connection.ready(() => this.uplink.retry())
  }

  #error(error: WireError): void {
    const ready = this.connection.isReady
    const eventId = error.event_id ?? ''
    if (eventId === SPEED_EVENT) {
      this.stats.speedRefusals++
      // A response may have begun before the change arrived: try the change again after the response.
      const unknown = UNKNOWN_FIELD.test(`${error.code ?? ''} ${error.message ?? ''}`)
      this.#speedDue = --this.#speedTries > 0 && !unknown
      if (this.#speedDue) return
      // A service that was busy three times may accept a later change.
      if (unknown && !this.wishes.refuses(vendorFault('bad_request', "'speed'", false))) return
      // The session continues without the change.
      this.wishes.worked()
      // The model has already announced the new speed to the caller, so it must say that the speed did not change.
      return this.sendText(SPEED_REFUSED, { role: 'system', respond: true })
    }
    // The service keeps the items: it does not support deletion, or an item does not exist any more.
    if (eventId === FORGET_EVENT) return void this.stats.forgetRefusals++
    if (eventId.startsWith('mk-create-')) {
      const next = this.#responses.refused(eventId, isBusy(error))
      this.stats.createRefusals = this.#responses.refusals
      // The response that blocks the request needs some time to end.
      if (next === 'later') this.#requestResponseIn(BACKEND_CREATE_PAUSE_MS * 2 ** this.#tries++)
      else this.#tries = 0
      if (next === 'give-up' && isBusy(error)) {
        this.connection.fail(
          vendorFault(
            'internal',
            `${this.capabilities.name}: refuses responses because of one that it never ends`,
            false,
          ),
        )
        return
      }
    }
    if (ready && isRace(error)) {
      this.stats.races++
      return
    }
    const fault = wireFault(this.capabilities.name, error, ready, this.secrets)
    if (!this.asksForLess(fault)) return this.connection.fail(fault)
    this.#configured = false
    this.#configure()
  }

  protected ended(): void {
    this.#doubt = null
    for (const alarm of [this.#retry, this.#quiet, this.#toolCallAlarm, this.#doubtAlarm]) alarm.clear()
  }

  // --- backchannels over a finished answer ----------------------------------------------------------------

  /**
   * Begins to hold back an answer. The caller has made a sound during a finished answer, and the words of this sound
   * are not known yet.
   */
  #weigh(unless: readonly string[]): void {
    const { requested, wanted } = this.#responses
    if (this.capabilities.weighsSpeech !== true || this.#doubt !== null || requested || wanted) return
    this.#doubt = new AnswerInDoubt(this.#stoppedItem, unless)
    this.#doubtAlarm.set(WORDS_WAIT_MS, () => this.#doubtOver(true))
  }

  /** @returns true if the event is kept with the answer in doubt */
  #inDoubt(doubt: AnswerInDoubt, event: ServerEvent, audio: Buffer | string): boolean {
    // If the answer also covers other input than this sound, it is not in doubt.
    if (!doubt.answering && event.type === 'response.created' && (this.#responses.requested || this.#responses.wanted))
      return false
    if (!doubt.keep(event, audio)) return false
    if (doubt.refused || doubt.tooLong) this.#doubtOver(doubt.tooLong)
    return true
  }

  #callerSaid(itemId: string, transcript: string): void {
    const doubt = this.#doubt
    if (doubt?.isAbout(itemId) !== true) return void this.#callerTranscript(itemId, transcript, true)
    doubt.deciding = true
    // The sink interrupts the agent if the words count as an interruption.
    const heard = this.#callerTranscript(itemId, transcript, true)
    doubt.deciding = false
    if (this.#doubt === doubt) this.#doubtOver(doubt.counts(heard))
  }

  /** @param wanted  true if the caller should hear the answer in doubt */
  #doubtOver(wanted: boolean): void {
    const doubt = this.#doubt
    if (doubt === null) return
    if (!wanted && !doubt.answering) {
      doubt.refused = true
      return
    }
    this.#doubt = null
    this.#doubtAlarm.clear()
    if (wanted) for (const { event, audio } of doubt.events) this.#handle(event, audio)
    else this.#dropAnswer(doubt)
    this.#requestResponse()
  }

  #dropAnswer({ responseId, events }: AnswerInDoubt): void {
    this.stats.backchannelAnswers++
    const response = this.#start(responseId, null)
    const { generation } = response
    response.state = 'cancelled'
    this.sink.event({ type: 'turn-done', generation, status: 'cancelled', reason: 'backchannel' })
    if (!events.some(({ event }) => event.type === 'response.done')) this.#send({ type: 'response.cancel' })
    const items = new Map<string, number>()
    for (const { event, audio } of events) {
      if (event.type === 'response.output_audio.delta') items.set(event.item_id, event.content_index ?? 0)
      else if (event.type === 'response.done' || event.type === 'conversation.item.added') this.#handle(event, audio)
    }
    // The caller has heard none of these items.
    for (const [item_id, content_index] of items)
      this.#send({ type: 'conversation.item.truncate', item_id, content_index, audio_end_ms: 0 })
  }

  // --- responses ------------------------------------------------------------------------------------------

  /** Adopts the server's output rate, even if the backend requested another rate. */
  #setOutputRate(session: WireSession | undefined): void {
    const format = session?.audio?.output?.format
    if (format?.type !== 'audio/pcm' || format.rate === undefined || format.rate === this.#outputRateHz) return
    this.stats.rateChanges++
    if (isSampleRateHz(format.rate)) this.#outputRateHz = format.rate
  }

  #start(id: string | null, metadata: string | null): Response {
    const before = this.#responses.current
    if (before !== null && before.state === 'active') {
      this.stats.endsMissing++
      this.#end(before, 'completed', undefined)
    }
    const response = this.#responses.created(id, metadata, ++this.generation)
    this.#unansweredUntilMs = -Infinity
    if (response.state === 'active') this.sink.event({ type: 'turn-start', generation: response.generation })
    return response
  }

  /**
   * Returns the response of an event, and starts the response if the server did not announce it. Null for a cancelled
   * response.
   */
  #active(id: string | undefined): Response | null {
    let response = this.#responses.find(id)
    if (response === undefined) {
      response = this.#start(id ?? null, null)
      this.#awaitQuiet()
    }
    if (this.#quiet.isSet && response === this.#responses.current) this.#awaitQuiet()
    if (response.state !== 'cancelled') return response
    this.stats.lateEvents++
    return null
  }

  /**
   * Ends the current response if the server becomes silent without ending it. Otherwise the open response would block
   * the next response.
   */
  #awaitQuiet(): void {
    this.#quiet.set(RESPONSE_QUIET_MS, () => {
      const response = this.#responses.current
      if (response === null || response.openCalls.size > 0) return
      this.stats.endsMissing++
      this.#end(response, 'completed', undefined)
      this.#requestResponse()
    })
  }

  #audioDelta(event: ServerEventOf<'response.output_audio.delta'>, base64: Buffer | string): void {
    const response = this.#active(event.response_id)
    if (response === null) return
    if (this.#audioItem !== event.item_id) {
      this.#audioItem = event.item_id
      this.audio.reset()
    }
    if (!this.#piece(event.item_id, response)) return
    this.#audioResponse = response
    this.#audioContent = event.content_index ?? 0
    if (!this.audio.decode(base64, this.#deliver)) this.stats.malformedAudio++
  }

  // Created once per session, because audio messages are frequent.
  readonly #deliver = (samples: Int16Array): void => {
    const response = this.#audioResponse
    // The sink may interrupt while it receives audio. The remaining audio of this message is then late.
    if (response === null || response.state === 'cancelled') return
    this.#repeated.sound(samples, samplesToMs(samples.length, this.#outputRateHz))
  }

  #play(samples: Int16Array): void {
    const response = this.#audioResponse
    if (response === null || response.state === 'cancelled') return
    const ms = samplesToMs(samples.length, this.#outputRateHz)
    response.audioOutMs += ms
    response.hadSound ||= hasSound(samples)
    if (this.#items.received(this.#audioItem, this.#audioContent, response.generation, ms, this.nowMs()))
      response.openItems.add(this.#audioItem)
    this.sink.audio(samples, this.#outputRateHz, this.#audioItem, response.generation)
  }

  #audioDone(event: ServerEventOf<'response.output_audio.done'>): void {
    const response = this.#active(event.response_id)
    if (response === null) return
    const sounded = (): void => this.#itemSounded(response, event.item_id)
    if (event.item_id === this.#pieceItem) this.#repeated.sounded(sounded)
    else sounded()
  }

  #itemSounded(response: Response, itemId: string): void {
    if (!response.openItems.delete(itemId)) return
    this.#items.done(itemId)
    this.sink.event({ type: 'audio-done', generation: response.generation, itemId })
  }

  /**
   * Records that a part of a message item arrived.
   * @returns false if the item is dropped
   */
  #piece(itemId: string, response: Response): boolean {
    if (itemId === this.#droppedItem) return false
    if (itemId === this.#pieceItem) return true
    this.#endPiece(false)
    this.#pieceItem = itemId
    this.#audioResponse = response
    this.#repeated.begin()
    return true
  }

  /** Ends the agent's piece of speech: its response ends, the next piece begins, or the model calls a tool. */
  #endPiece(toolFollows: boolean): void {
    if (this.#pieceItem === '' || !this.#repeated.end(toolFollows)) return
    this.stats.repeatedSpeech++
    this.#droppedItem = this.#pieceItem
  }

  #agentTranscript({ response_id: responseId, item_id: itemId }: OfItem, words: string, final: boolean): void {
    const response = this.#active(responseId)
    if (response === null) return
    if (!this.#piece(itemId, response)) return
    const text = this.#transcripts.take(itemId, words, final)
    response.hadWords ||= text.trim() !== ''
    this.#repeated.words(text, () => this.#emitWords(response, itemId, text, final))
  }

  #emitWords({ generation, state }: Response, itemId: string, text: string, final: boolean): void {
    if (state === 'cancelled') return
    this.sink.event({ type: 'transcript', role: 'agent', text, final, itemId, generation })
  }

  protected override get told(): Told {
    return this.session === null ? {} : { terms: keywordsOf(this.options, this.session) }
  }

  #callerTranscript(itemId: string, words: string, final: boolean): string {
    return this.heard(itemId, this.#transcripts.take(itemId, words, final), final)
  }

  #transcriptionUsed(usage: WireUsage | undefined): void {
    const { name, baseUrl } = this.options
    const model = transcriptionModel(this.options)
    if (usage === undefined || model === null) return
    // A self-hosted server with its own name does not use OpenAI's prices.
    const priced = name === undefined ? model : pricedModel(model, baseUrl)
    this.sink.event({ type: 'usage', usage: transcriptionUsage(priced, usage) })
  }

  #responseDone(done: WireResponse): void {
    const response = this.#responses.find(done.id) ?? (done.id === undefined ? undefined : this.#start(done.id, null))
    if (response === undefined) return
    const { status = 'completed', usage } = done
    if (response.state === 'active') {
      if (response === this.#audioResponse) this.#endPiece((done.output ?? []).at(-1)?.type === 'function_call')
      if (status === 'completed') {
        for (const item of done.output ?? [])
          if (item.type === 'function_call' && item.status !== 'incomplete') this.#calls.complete(response, item)
        this.#makeCalls(response, this.#calls.confirm(response, null))
      } else {
        this.stats.toolCallsGivenUp += this.#calls.drop(response, null)
      }
    }
    this.used(tokensOf(usage), response.audioOutMs)
    if (response.state === 'active') this.#endAs(response, status, done)
    this.#responses.done(response)
    this.#quiet.clear()
    this.#requestResponse()
  }

  #endAs(response: Response, status: string, done: WireResponse): void {
    const reason = done.status_details?.reason
    if (status === 'cancelled') {
      this.sink.event({ type: 'interrupted', generation: response.generation })
      // The session may have interrupted the response while it handled this event.
      if (response.state === 'active') this.#end(response, 'cancelled', reason)
      return
    }
    if (status === 'failed') {
      const error = done.status_details?.error ?? {}
      this.#end(response, 'failed', error.code ?? error.type)
      this.connection.fail(wireFault(this.capabilities.name, error, true, this.secrets))
      return
    }
    // Words with silent sound were not heard. Words without any sound come from a server that sends only text.
    const unheard = !response.hadSound && !response.hadCalls
    if (status === 'completed' && unheard && (response.audioOutMs > 0 || !response.hadWords))
      return this.#emptyResponse(response)
    this.#askedAgain = false
    // An incomplete answer was heard too, so it counts as completed. Without audio and tool calls, it counts as failed.
    const silent = status === 'incomplete' && unheard
    const cut = status !== 'incomplete' || silent ? undefined : reason === 'content_filter' ? 'filter' : 'length'
    if (cut !== undefined) this.stats.answersCut++
    this.#end(response, silent ? 'failed' : 'completed', reason, cut)
  }

  /** Requests the response again after an empty response; a second consecutive empty response counts as failed. */
  #emptyResponse(response: Response): void {
    this.stats.emptyResponses++
    const again = !this.#askedAgain
    this.#askedAgain = again
    this.#end(response, again ? 'cancelled' : 'failed', 'empty')
    if (again) this.#responses.want(null)
  }

  #end(
    response: Response,
    status: 'completed' | 'cancelled' | 'failed',
    reason: string | undefined,
    cut?: 'length' | 'filter',
  ): void {
    const { generation } = response
    for (const itemId of response.openItems) {
      this.#items.done(itemId)
      this.sink.event({ type: 'audio-done', generation, itemId })
    }
    response.openItems.clear()
    this.#responses.done(response)
    if (status === 'cancelled') response.state = 'cancelled'
    this.sink.event({
      type: 'turn-done',
      generation,
      status,
      ...(reason === undefined ? {} : { reason }),
      ...(cut === undefined ? {} : { cut }),
    })
  }

  // --- tool calls -----------------------------------------------------------------------------------------

  #argumentsDone(event: ServerEventOf<'response.function_call_arguments.done'>): void {
    const response = this.#active(event.response_id)
    if (response === null) return
    this.#endPiece(true)
    if (!this.#calls.complete(response, { ...event, id: event.item_id })) return
    this.#toolCallAlarm.set(TOOL_CALL_CONFIRM_MS, () => {
      if (response.state !== 'cancelled') this.#makeCalls(response, this.#calls.confirm(response, null))
    })
  }

  #itemDone(event: ServerEventOf<'response.output_item.done'>): void {
    const response = this.#active(event.response_id)
    if (response === null) return
    const { item } = event
    if (item.type !== 'function_call' || item.call_id === undefined) return
    if (item.status === 'incomplete') {
      this.stats.toolCallsGivenUp += this.#calls.drop(response, item.call_id)
      return
    }
    this.#calls.complete(response, item)
    this.#makeCalls(response, this.#calls.confirm(response, item.call_id))
  }

  #makeCalls({ generation }: Response, calls: readonly ToolCall[]): void {
    for (const { callId, name, argumentsText } of calls)
      this.toolCalled(callId, name, parseArguments(argumentsText), generation)
  }
}

/** Pause before a refused response is requested again, in milliseconds; the pause doubles with each refusal. */
const BACKEND_CREATE_PAUSE_MS = 250

type ServerEventOf<T extends ServerEvent['type']> = Extract<ServerEvent, { readonly type: T }>

const SECOND_MS = 1000
/**
 * Time limit in ms for a server with its own VAD: it must start its response within this time after the end of turn.
 * After this time the backend requests a response.
 */
const SERVER_ANSWER_MS = 1500
/** Time in ms after complete arguments until an unconfirmed tool call is made: some servers never confirm a call. */
const TOOL_CALL_CONFIRM_MS = 100
/** Time in ms without events until a response counts as ended: some servers never report the end. */
const RESPONSE_QUIET_MS = 2000
/**
 * Time in ms after speech of the caller during an answer. Words that arrive within this time may still count as an
 * interruption.
 */
const INTERRUPTING_WORDS_MS = 3000
/**
 * Minimum audio of a commit in ms: the service refuses less audio as empty (openai 7.55.0,
 * InputAudioBufferCommitEvent).
 */
const COMMIT_MS_MIN = 100
/** Event id of the backend's deletions. */
const FORGET_EVENT = 'mk-forget'
const SPEED_EVENT = 'mk-speed'
/** Refusals that are final: the field is not supported. */
const UNKNOWN_FIELD = /unknown|unsupported|not support/i
/** Maximum number of tries to change the speed, each between two responses. */
const SPEED_TRIES_MAX = 3
