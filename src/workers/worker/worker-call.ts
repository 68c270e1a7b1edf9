import type { MessagePort } from 'node:worker_threads'
import { callerAnswer, findCaller, withEarlier } from '../../agents/identity/caller.js'
import type { McpStatus } from '../../agents/tools/mcp-server.js'
import type {
  Backend,
  BackendCapabilities,
  BackendEvent,
  BackendFactory,
  BackendSession,
  BackendSink,
  ToolReply,
} from '../../backends/backend.js'
import type { PhraseAudio as KeptPhrase } from '../../speech/phrase-store.js'
import type { SpeechClient, Speaking } from '../../speech/speech-client.js'
import { CallSession } from '../../call/call-session.js'
import type { CallerAnswer, EarlierCall } from '../../call/caller-data.js'
import { remembered } from '../../call/stages.js'
import type { CallLogEntry } from '../../call/documents/log-entry.js'
import {
  COLLECTED_DIGITS_MAX,
  REPEATED_DIGITS_MIN,
  SECRET_DIGIT,
  maskedDigits,
  secretKeys,
} from '../../call/digit-collection.js'
import { parseResume, type SessionResume } from '../../call/documents/checkpoint.js'
import type { CallInput, CallOutput } from '../../call/events.js'
import { PlayoutLedger } from '../../call/playout-ledger.js'
import type { CallSessionOptions } from '../../call/call-options.js'
import { SPEECH_RATE_TOOL, isSecretSend } from '../../call/gateway-tools.js'
import { askedRate, speedOf } from '../../call/speech-rate.js'
import { assertNever } from '../../core/assert.js'
import { messageOf } from '../../core/errors.js'
import { forgetOldest } from '../../core/forget-oldest.js'
import { plainJson } from '../../core/json.js'
import { subscriberNumber } from '../../sautikit/phone.js'
import { frameSamples, type SampleRateHz } from '../../core/units.js'
import { dtmfTones, TONES } from '../../media/dtmf-tones.js'
import type { CallEnd, CallStart, FromCall, ToCall } from '../shared/call-messages.js'
import type { CallResult } from '../../call/documents/kept-call.js'
import { CallJournal } from '../shared/call-journal.js'
import { CallSpeech } from './call-speech.js'
import {
  amdOf,
  backendSession,
  callerNews,
  greetingText,
  instructionsOf,
  stageVoices,
  toolSpecs,
} from './call-setup.js'
import { contextZone, untilMidnightMs } from '../../agents/tools/call-context.js'
import { CallTools, type CallToolRunner } from './call-tools.js'
import { CallerIntake } from './caller-intake.js'
import { CallMarks } from '../shared/call-timeline.js'
import { CallerLatency } from './caller-latency.js'
import type { WorkerContext } from './worker-context.js'
import { SharedCall } from '../shared/shared-call.js'
import { HANGUP_NONE, Time, Word } from '../shared/shared-call-layout.js'

/**
 * One call on a media worker: joins the caller's intake, the session, the backend, the tools and the playout. All
 * decisions are the session's; this class only carries them out. Its methods `receive`, `take`, `detect`, `attend`,
 * `decide` and `speak` are the steps of the worker's tick.
 */
export class WorkerCall implements BackendSink {
  /** Resolves when the call is over and everything it held is free; never rejects. */
  readonly done: Promise<CallEnd>
  readonly callSid: string
  readonly ordinal: number
  readonly #start: CallStart
  readonly #context: WorkerContext
  readonly #parts: CallParts
  readonly #shared: SharedCall
  readonly #port: MessagePort
  readonly #session: CallSession
  readonly #ledger: PlayoutLedger
  readonly #speech: CallSpeech
  readonly #backend: Backend
  readonly #journal: CallJournal | null
  /** Outputs of the session that are not carried out yet, in their order. */
  readonly #outputs: CallOutput[] = []
  readonly #intake: CallerIntake
  /** The main thread knows what the caller's line carries. */
  #lineTold = false
  readonly #marks: CallMarks
  readonly #callerLatency = new CallerLatency()
  readonly #abort = new AbortController()
  readonly #tools: CallTools
  /** Phrases of the gateway's own that are being spoken, by item. */
  readonly #phrases = new Map<string, SpokenPhrase>()
  /** Playout's state at a tick: one object, filled again each time. */
  readonly #report = { sentSamples: 0, playoutEndMs: 0, lastSentAtMs: 0 }
  /** How many samples had been taken from the playout ring at the ledger's last report. */
  #taken = 0
  /** Playout has an item of which no sample was sent yet. */
  #watchesPlayout = true
  #restsUntilMs = -Infinity
  /** Log entries since the last message to the main thread. */
  #entries: CallLogEntry[] = []
  #checkpointDue = false
  #logWaits = false
  #stateRefused = false
  #backendFailed = false
  #digits = 0
  /** Digits that only a tool may get, the newest COLLECTED_DIGITS_MAX; they are nowhere else. */
  #secret = ''
  /** Those that a dialogue on this worker was given, and the tool call by which it passes them on. */
  #keyed = ''
  /** Keys of tool calls that nobody is to read, by the call, until their tones are made. */
  readonly #sentKeys = new Map<string, string>()
  /** Secret keys whose tones sound or may come back, each once. */
  #secretTones = ''
  #keyedArgument: { readonly callId: string; readonly argument: string; readonly digits: string } | null = null
  /** The model may call tools; else it has called too many, and is offered none. */
  #toolsOffered = true
  #over = false
  #settle!: (end: CallEnd) => void
  #recalled: (earlier: EarlierCall | null) => void = () => undefined

  constructor(start: CallStart, context: WorkerContext, parts: CallParts) {
    this.#start = start
    this.callSid = start.callSid
    this.ordinal = start.ordinal
    this.#context = context
    this.#parts = parts
    this.#port = start.port
    this.#shared = new SharedCall(start.shared.buffer, start.shared.at)
    // A session before this one may have ended in the middle of a wait.
    Atomics.store(this.#shared.words, Word.waiting, 0)
    this.#ledger = new PlayoutLedger({ sampleRateHz: start.legRateHz, startSample: this.#shared.outbound.written })
    this.#speech = new CallSpeech({
      shared: this.#shared,
      ledger: this.#ledger,
      rateHz: start.legRateHz,
      resamplers: context.resamplers,
      latencyOut: context.latencyOut,
    })
    this.#marks = new CallMarks(start.preparedAtMs, (marks) => this.#post({ type: 'marks', marks }))
    this.#backend = parts.backend(this)
    const options = parts.options(this.#backend.capabilities)
    const resume = start.resume === null ? null : parseResume(sessionResume(start.resume))
    this.#journal =
      start.journal === null
        ? null
        : new CallJournal({
            ...start.journal,
            options,
            resume,
            media: { sampleRateHz: start.legRateHz, track: start.track },
            post: (lines) => this.#post({ type: 'journal', lines }),
          })
    const turnDecider = context.turns?.open(options.speech, start.legRateHz)
    this.#session = new CallSession(
      options,
      this.#journal?.writer.watch(this.#ledger) ?? this.#ledger,
      resume ?? undefined,
      turnDecider,
    )
    this.#tools = this.#makeTools()
    this.#intake = new CallerIntake({
      start,
      context,
      shared: this.#shared,
      session: this.#session,
      turnDecider: turnDecider ?? null,
      backend: this.#backend,
      journal: this.#journal,
      callerLatency: this.#callerLatency,
      amd: amdOf(start),
      digit: (digit) => this.#digit(digit),
      amdResult: (verdict) => this.#handle({ type: 'amd-result', ...verdict }),
    })
    this.done = new Promise((resolve) => {
      this.#settle = resolve
    })
  }

  #wallMs(): number {
    return (this.#context.wallClock ?? Date.now)()
  }

  #makeTools(): CallTools {
    const { clock } = this.#context
    return new CallTools({
      start: this.#start,
      tools: this.#parts.tools,
      post: (message) => this.#post(message),
      language: () => this.#session.language,
      wallMs: () => this.#wallMs(),
      guard: (work) => this.#guard(work),
      identified: (identity) => {
        this.#journal?.writer.identity(identity, clock())
        this.#session.setIdentity(identity)
      },
      answered: (result) => this.#handle(result),
    })
  }

  /** Opens the backend and begins to listen to the main thread. */
  begin(): void {
    this.#port.on('message', (message: ToCall) => this.#guard(() => this.#receiveMessage(message)))
    // The main thread closes its end only when the call is over there too.
    this.#port.on('close', () =>
      this.#guard(() =>
        this.#handle({
          type: 'hangup-requested',
          reason: 'call-fault',
          detail: 'the main thread let go of the call',
          speak: false,
        }),
      ),
    )
    const { tools } = this.#parts
    this.#lookUpCaller()
    const session = backendSession(
      this.#start,
      this.#told,
      this.#session,
      remembered(this.#session.log),
      this.#wallMs(),
    )
    const unwatch = tools.watchServers((news, first) => this.#guard(() => this.#serverChanged(news, first)))
    this.#abort.signal.addEventListener('abort', unwatch, { once: true })
    this.#renewAtMidnight()
    const askedAtMs = this.#context.clock()
    this.#marks.add('backend-connect', askedAtMs, this.#backend.capabilities.name)
    this.#backend.connect(session, this.#abort.signal).then(
      () => undefined,
      // Usually the backend has already sent an error event. Without one, the session would wait for its time limit.
      (thrown: unknown) =>
        this.#guard(() => {
          if (!this.#backendFailed) {
            this.event({ type: 'error', code: 'internal', message: messageOf(thrown), fatal: true, retryable: false })
          }
        }),
    )
    const { streamOpenedAtMs } = this.#start
    if (streamOpenedAtMs !== null) this.#streamOpened(streamOpenedAtMs)
  }

  /** An MCP server is up or down, or has other tools. */
  #serverChanged(news: McpStatus, reports: boolean): void {
    if (this.#over) return
    if (reports) this.#post({ type: 'mcp', news })
    if (this.#toolsOffered) this.#backend.updateSession({ tools: this.#told.tools })
  }

  /** The instructions of a session that begins now. */
  get instructions(): string {
    return instructionsOf(this.#start, this.#wallMs(), this.#session)
  }

  /** Beside the backend's connection; what is known already is there before it. */
  #lookUpCaller(): void {
    const { agent, from } = this.#start
    if (!this.#session.caller.open) return
    const answer = this.#callerAnswer()
    if (agent.caller?.memory !== true || subscriberNumber(from) === null) {
      if (!(answer instanceof Promise)) return this.#callerKnown(answer)
      return void answer.then((known) => this.#guard(() => this.#callerKnown(known)))
    }
    const recalled = new Promise<EarlierCall | null>((resolve) => (this.#recalled = resolve))
    this.#post({ type: 'caller-recall' })
    void Promise.all([answer, recalled]).then(([known, earlier]) =>
      this.#guard(() => this.#callerKnown(earlier === null ? known : withEarlier(known, earlier, this.#wallMs()))),
    )
  }

  #callerAnswer(): CallerAnswer | Promise<CallerAnswer> {
    const { agent, assets, from, knownCaller = null } = this.#start
    const { tool, file } = agent.caller ?? {}
    if (file !== undefined && assets.callers !== null) return findCaller(assets.callers, from)
    const at = tool === undefined ? 'memory' : 'tool'
    if (subscriberNumber(from) === null) return { state: 'withheld', from: at, values: {} }
    if (tool === undefined) return { state: 'unknown', from: at, values: {} }
    if (knownCaller !== null) return { state: 'found', from: 'cache', values: knownCaller }
    return this.#tools.lookUp(tool).then((outcome) => {
      const answer = callerAnswer(outcome, from)
      if (answer.state === 'found' && !this.#over) this.#post({ type: 'caller-found', values: answer.values })
      return answer
    })
  }

  /** The result of the agent's tool as this backend reads it; the embedded one decides by the raw value. */
  #readable({ callId, value }: { readonly callId: string; readonly value: unknown }): unknown {
    return this.#backend.capabilities.readsTexts === false ? value : this.#tools.forModel(callId, value)
  }

  #callerKnown(answer: CallerAnswer): void {
    this.#handle({ type: 'caller-known', ...answer })
  }

  /** The backend gets what is known of the caller now. */
  #tellCaller(): void {
    const { caller, language } = this.#session
    this.#backend.updateSession({
      greeting: greetingText(this.#start, language, caller.values),
      caller: caller.values,
      ...callerNews(this.#start, caller, this.instructions),
    })
  }

  /** Instructions and tools for the model now. */
  get #told(): Pick<BackendSession, 'instructions' | 'tools' | 'voices'> {
    const { changesTools = true } = this.#backend.capabilities
    const fromServers = this.#parts.tools.serverTools()
    const { stages, asksToGoOn } = this.#session
    const tools = this.#toolsOffered ? toolSpecs(this.#start, fromServers, stages, changesTools, asksToGoOn) : []
    return { instructions: this.instructions, tools, ...stageVoices(this.#start.agent, this.#session.stages) }
  }

  /** A new day: the model learns it, and so does every later session. */
  #renewAtMidnight(): void {
    const timer = setTimeout(
      () =>
        this.#guard(() => {
          this.#backend.updateSession({ instructions: this.instructions })
          this.#renewAtMidnight()
        }),
      untilMidnightMs(contextZone(this.#start.agent), this.#wallMs()) + MIDNIGHT_MARGIN_MS,
    ).unref()
    this.#abort.signal.addEventListener('abort', () => clearTimeout(timer), { once: true })
  }

  // --- steps of the tick ----------------------------------------------------------------------------------

  /**
   * True if the tick at `nowMs` has anything to do: most calls have nothing to do in three of four ticks. The words are
   * read without Atomics; what this misses is found at the next tick.
   */
  due(nowMs: number): boolean {
    const { words, inbound, outbound } = this.#shared
    return (
      nowMs >= this.#restsUntilMs ||
      inbound.waits ||
      words[Word.hangup] !== HANGUP_NONE ||
      (this.#watchesPlayout && outbound.takenSince(this.#taken))
    )
  }

  receive(nowMs: number): void {
    this.#intake.receive(nowMs)
  }

  /** The next frame that is due. @returns false when there is none; else `detect` and `attend` follow */
  take(nowMs: number, readMs: number): boolean {
    return !this.#over && this.#intake.take(nowMs, readMs)
  }

  detect(): void {
    this.#intake.detect()
  }

  attend(nowMs: number): void {
    this.#intake.attend(nowMs)
    this.#drain(nowMs)
  }

  /** Reports playout's progress to the session, and wakes it when its time has come. */
  decide(nowMs: number): void {
    const { words, times, outbound } = this.#shared
    // Read before the times, so that they are at least as new as this count.
    const taken = outbound.dated
    this.#taken = taken
    const report = this.#report
    report.sentSamples = taken
    report.playoutEndMs = times[Time.playoutEndMs] as number
    report.lastSentAtMs = times[Time.lastSentAtMs] as number
    this.#ledger.report(report, nowMs)
    for (const input of this.#ledger.poll(nowMs)) {
      if (input.type === 'item-started') this.#speech.started(input.itemId, input.sentAtMs)
      this.#handle(input)
    }
    const wake = this.#session.nextWake()
    if (wake !== null && wake.atMs <= nowMs) this.#handle({ type: 'timer' })
    if (Atomics.load(words, Word.hangup) !== HANGUP_NONE) {
      this.#handle({
        type: 'hangup-requested',
        reason: 'call-fault',
        detail: 'ended by the control word',
        speak: false,
      })
    }
  }

  /** Moves waiting speech into the ring. */
  speak(nowMs: number): void {
    this.#speech.refill()
    this.#secretTonesOver()
    this.#journal?.pass()
    if (this.#marks.due(nowMs)) this.#passMarks(nowMs)
    this.#rest(nowMs)
  }

  /** Sets the time before which only the words that `due` reads, or a call of `#wake`, give this call work. */
  #rest(nowMs: number): void {
    // A journal has every tick in it. On a mixed line, every tick reads what was played.
    if (this.#journal !== null || this.#start.track === 'both_tracks' || this.#speech.waits) return this.#wake()
    // Playout's progress can wait for the next packet; the beginning of an item cannot.
    this.#watchesPlayout = this.#ledger.awaitsStart
    const wakeAtMs = this.#session.nextWake()?.atMs ?? Infinity
    this.#restsUntilMs = Math.min(nowMs + REST_MS_MAX, this.#intake.dueMs, this.#ledger.dueMs, wakeAtMs)
  }

  /** Something happened outside the tick: the next tick must run for this call. */
  #wake(): void {
    this.#restsUntilMs = -Infinity
  }

  // --- from the backend -----------------------------------------------------------------------------------

  event(event: BackendEvent): void {
    if (this.#over) return
    this.#guard(() => {
      if (event.type === 'audio-done') this.#speech.finish('backend', event.itemId)
      // After these no more speech comes, even if the last item had no `audio-done`.
      else if (event.type === 'turn-done' || event.type === 'closed') this.#speech.finish('backend')
      if (event.type === 'failover') {
        const { from, to, gapMs, reason } = event
        this.#post({ type: 'failover', from, to, gapMs, reason })
      }
      if (event.type === 'turn-start') this.#marks.add('backend-response', this.#context.clock())
      this.#backendFailed ||= event.type === 'error' && event.fatal
      this.#handle({
        type: 'backend',
        event: event.type === 'tool-call' ? this.#withoutKeys(this.#withoutSent(withPlainArguments(event))) : event,
      })
    })
  }

  audio(pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): void {
    if (this.#over) return
    const nowMs = this.#context.clock()
    this.#journal?.writer.audio(itemId, generation, nowMs)
    const wanted = this.#session.acceptAudio(itemId, generation, nowMs)
    this.#drain(nowMs)
    if (!wanted) return
    this.#speech.append('backend', itemId, pcm, sampleRateHz, nowMs)
    if (this.#speech.waits) return this.#wake()
    // More samples of an item that plays need no tick, unless the session now wants to be woken earlier.
    this.#watchesPlayout ||= this.#ledger.awaitsStart
    const wakeAtMs = this.#session.nextWake()?.atMs ?? Infinity
    if (wakeAtMs < this.#restsUntilMs) this.#restsUntilMs = wakeAtMs
  }

  // --- from the main thread -------------------------------------------------------------------------------

  #receiveMessage(message: ToCall): void {
    switch (message.type) {
      case 'stream-opened':
        return this.#streamOpened(message.openedAtMs)
      case 'stream-text':
        for (const text of message.messages) {
          if (text.type === 'metadata') {
            this.#handle({ type: 'stream-metadata', matches: text.callSid === null || text.callSid === this.callSid })
          } else if (text.type === 'dtmf') {
            this.#digit(text.digit)
          }
        }
        return
      case 'verification-attempts':
        return this.#tools.attemptsLeft(message.left)
      case 'caller-recalled':
        return this.#recalled(message.earlier)
      case 'tool-intent':
        return this.#tools.intended(message.key, message.answer)
      case 'do-not-call':
        return this.#handle({
          type: 'tool-result',
          callId: message.callId,
          ...(message.kept ? { ok: true, value: { noted: true } } : NOT_NOTED),
        })
      case 'speech':
        // Taken by the worker's speech client, which listens to the same port.
        return
      default:
        return this.#handle(message)
    }
  }

  // --- the session ----------------------------------------------------------------------------------------

  #streamOpened(openedAtMs: number): void {
    this.#intake.streamOpened(openedAtMs)
    this.#handle({ type: 'stream-opened', sampleRateHz: this.#start.legRateHz, openedAtMs })
  }

  #handle(input: CallInput): void {
    if (this.#over) return
    this.#wake()
    const nowMs = this.#context.clock()
    this.#journal?.writer.input(input, nowMs)
    this.#session.handle(input, nowMs)
    this.#drain(nowMs)
  }

  #digit(digit: string): void {
    this.#intake.digitCame()
    this.#digits++
    if (this.#session.secretTones && this.#secretTones.includes(digit)) {
      // The line may be private too: there it would count as a key of the caller.
      if (!this.#session.privateKeys) this.#handle({ type: 'dtmf', digit: SECRET_DIGIT })
      return
    }
    const key = this.#session.keyOf(digit)
    if (key === null) return
    if (key === SECRET_DIGIT) this.#secret = `${this.#secret}${digit}`.slice(-COLLECTED_DIGITS_MAX)
    this.#handle({ type: 'dtmf', digit: key })
  }

  #drain(nowMs: number): void {
    // All outputs of an input are noted before the first is carried out: that may bring the next input at once.
    for (let output = this.#session.pollOutput(); output !== null; output = this.#session.pollOutput()) {
      this.#journal?.writer.output(output)
      this.#outputs.push(output)
    }
    for (let output = this.#outputs.shift(); output !== undefined; output = this.#outputs.shift()) {
      this.#carryOut(output, nowMs)
      if (this.#over) return
    }
    if (this.#logWaits || (this.#entries.length === 0 && !this.#checkpointDue)) return
    this.#logWaits = true
    queueMicrotask(this.#postWaiting)
  }

  /**
   * Posts the log in a microtask, after the running event handler: a backend that reports the caller's words updates its
   * own state only after that report, and the state must not be older than the log.
   */
  readonly #postWaiting = (): void => {
    this.#logWaits = false
    if (this.#over || (this.#entries.length === 0 && !this.#checkpointDue)) return
    this.#guard(() => this.#postLog(true))
  }

  /** @param live  the call goes on, and another worker may have to go on with it */
  #postLog(live: boolean): void {
    const entries = this.#entries
    const saved = live ? { checkpoint: this.#session.checkpoint(), backendState: this.#backendState() } : null
    const frameLatencyP99Ms = entries.some(({ kind }) => kind === 'turn') ? this.#intake.frameLatencyP99Ms : null
    this.#post({ type: 'log', entries, saved, frameLatencyP99Ms })
    this.#entries = []
    this.#checkpointDue = false
  }

  /** Null where the state of a backend module is not plain JSON, so that another worker could not read it. */
  #backendState(): unknown {
    try {
      return plainJson(this.#backend.snapshot(), 'its state')
    } catch (thrown) {
      if (!this.#stateRefused)
        this.#post({
          type: 'log-line',
          level: 'warn',
          message: 'the state of a backend is not kept',
          fields: { detail: messageOf(thrown) },
        })
      this.#stateRefused = true
      return null
    }
  }

  #logged(entry: CallLogEntry): void {
    this.#entries.push(entry)
    if (entry.kind === 'turn') this.#callerLatency.turn(entry.record, this.#session.streamZeroMs)
  }

  #rateAsked(callId: string, rate: unknown): void {
    if (this.#over) return
    const can = this.#backend.capabilities.changesSpeed === true
    const { ok, speed, value } = askedRate(rate, speedOf(this.#session.log.toolCalls), can)
    if (speed !== null) this.#backend.updateSession({ speed })
    this.#handle({ type: 'tool-result', callId, ok, value, ...(ok ? {} : { error: 'TOOL_ARGUMENTS' }) })
  }

  #carryOut(output: CallOutput, nowMs: number): void {
    switch (output.type) {
      case 'backend-speech-start':
        return this.#backend.speechStart(output.atMs)
      case 'backend-speech-end':
        return this.#backend.speechEnd(output.atMs, output.unless)
      case 'backend-text':
        return this.#backend.sendText(output.text, output)
      case 'backend-dtmf':
        return this.#backend.dtmf(output.digit === SECRET_DIGIT ? this.#dialogueKey() : output.digit)
      case 'backend-tool-result':
        return this.#backend.toolResult(output.callId, replyOf({ ...output, value: this.#readable(output) }))
      case 'backend-tool-outcome': {
        const { callId, ok, text, respond } = output
        const value = this.#readable(output)
        if (this.#backend.toolOutcome?.(callId, { ok, value }) === true) return
        if (this.#backend.capabilities.readsTexts !== false)
          return this.#backend.sendText(text, { role: 'system', respond })
        // The session is not entered again while it is left.
        return queueMicrotask(() => this.#guard(() => this.#handle({ type: 'tool-untold', callId })))
      }
      case 'backend-tools':
        this.#toolsOffered = output.offered
        return this.#backend.updateSession({ tools: this.#told.tools })
      case 'stage':
        return this.#backend.updateSession({
          ...this.#told,
          news: this.#session.stages?.text ?? '',
          ...(output.forget === true ? { forget: true } : {}),
        })
      case 'caller':
        return this.#tellCaller()
      case 'language':
        return this.#backend.updateSession({ language: output.language })
      case 'backend-interrupt':
        return this.#backend.interrupt({ itemId: output.itemId, playedMs: output.playedMs })
      case 'backend-close':
        return void this.#backend.close(output.reason)
      case 'playout-pause':
        return this.#speech.pause()
      case 'playout-resume':
        return this.#speech.resume()
      case 'playout-clear':
        return this.#clear(nowMs)
      case 'waiting-sound':
        return void Atomics.store(this.#shared.words, Word.waiting, output.on ? 1 : 0)
      case 'announce':
        return this.#announce(output.itemId, output.text)
      case 'tones':
        return this.#sendTones(output)
      case 'announce-cancel':
        return this.#announceCancel(output.itemId)
      case 'run-tool':
        if (output.name !== SPEECH_RATE_TOOL) return this.#runTool(output)
        // The session is not entered again while it is left.
        return queueMicrotask(() => this.#guard(() => this.#rateAsked(output.callId, output.args['rate'])))
      case 'private':
        if (!output.on) this.#secret = ''
        return this.#post({ ...output, fromMs: this.#intake.keyFromMs(nowMs) })
      case 'cancel-tools':
        return this.#tools.cancel(output.callIds)
      case 'wait':
      case 'escalate':
      case 'callback':
      case 'do-not-call':
      case 'do-not-call-undone':
      case 'recording-announced':
      case 'recording-refused':
      case 'end-stream':
        return this.#post(output)
      case 'handover':
        return this.#handOver(output, nowMs)
      case 'log':
        return this.#logged(output.entry)
      case 'mark':
        return this.#marks.add(output.name, output.atMs ?? nowMs, output.detail)
      case 'checkpoint-due':
        this.#checkpointDue = true
        return
      case 'ended':
        return this.#finish(output, nowMs)
      default:
        return assertNever(output)
    }
  }

  #runTool(run: Extract<CallOutput, { type: 'run-tool' }>): void {
    const keyed = this.#keyedArgument
    if (keyed?.callId !== run.callId) return this.#tools.run(run, this.#takeSecret(run.secret?.digits ?? 0))
    const { argument, digits } = keyed
    this.#keyedArgument = null
    this.#tools.run({ ...run, secret: { argument, digits: digits.length } }, digits)
  }

  /** The newest key of a private line, for a dialogue that has asked for it and is no model. */
  #dialogueKey(): string {
    const key = this.#secret.slice(-1)
    this.#keyed = `${this.#keyed}${key}`.slice(-COLLECTED_DIGITS_MAX)
    return key
  }

  /** Keys that nobody is to read are known here alone: session, journal and records get SECRET_DIGIT for each. */
  #withoutSent(event: ToolCallEvent): ToolCallEvent {
    const { callId, name, args } = event
    const { digits } = args
    if (!isSecretSend(name, args) || typeof digits !== 'string') return event
    if (!TONES.test(digits)) return { ...event, args: { ...args, digits: '' } }
    this.#sentKeys.set(callId, digits)
    forgetOldest(this.#sentKeys, SENT_KEYS_MAX)
    return { ...event, args: { ...args, digits: secretKeys(digits) } }
  }

  /** Whoever hears the call hears it again. */
  #secretTonesOver(): void {
    if (this.#secretTones === '' || this.#session.secretTones) return
    this.#secretTones = ''
    this.#post({ type: 'secret-tones', on: false })
  }

  /** A dialogue has a tool get what was keyed in: session, journal and records get dots. */
  #withoutKeys(event: ToolCallEvent): ToolCallEvent {
    for (const [argument, value] of Object.entries(event.args)) {
      if (typeof value !== 'string' || value.length < REPEATED_DIGITS_MIN || !this.#keyed.includes(value)) continue
      this.#keyedArgument = { callId: event.callId, argument, digits: value }
      this.#keyed = ''
      return { ...event, args: { ...event.args, [argument]: maskedDigits(value) } }
    }
    return event
  }

  /** The newest digits of a private line, which are then forgotten. */
  #takeSecret(digits: number): string {
    if (digits === 0) return ''
    const secret = this.#secret.slice(-digits)
    this.#secret = ''
    return secret
  }

  /** A few times a second, not for each frame. */
  #passMarks(nowMs: number): void {
    const narrow = this.#intake.narrowBand
    if (narrow !== null && !this.#lineTold) {
      this.#lineTold = true
      this.#post({ type: 'line-band', narrow })
    }
    this.#marks.watch(this.#intake.stats, this.#speech.droppedSamples, nowMs)
    this.#marks.pass(nowMs)
    const played = this.#callerLatency.take(nowMs)
    if (played !== null)
      this.#post({
        type: 'log',
        entries: [{ kind: 'turn-played', ...played }],
        saved: null,
        frameLatencyP99Ms: null,
      })
  }

  /** A phrase of the gateway itself: in the backend's voice if that has spoken it before, else the speech pool speaks it. */
  #announce(itemId: string, text: string): void {
    const { speech, voice, ownPhrase } = this.#parts
    const own = ownPhrase?.(text, this.#session.language) ?? null
    if (own !== null) {
      this.#speech.append('gateway', itemId, own.pcm, own.sampleRateHz, this.#context.clock())
      this.#speech.finish('gateway', itemId)
      return this.#wake()
    }
    const failed = (): void => this.#handle({ type: 'announce-failed', itemId })
    if (speech === null) {
      // Later, because the session's outputs are being drained now.
      queueMicrotask(() => this.#guard(failed))
      return
    }
    const phrase: SpokenPhrase = {
      begun: false,
      failed,
      speaking: speech.speak(text, voice, ({ pcm, sampleRateHz }) =>
        this.#guard(() => {
          if (this.#phrases.get(itemId) !== phrase) return
          phrase.begun = true
          this.#speech.append('gateway', itemId, pcm, sampleRateHz, this.#context.clock())
          this.#wake()
        }),
      ),
    }
    this.#phrases.set(itemId, phrase)
    const finished = (): boolean => {
      if (!this.#phrases.delete(itemId)) return false
      this.#speech.finish('gateway', itemId)
      this.#wake()
      return true
    }
    phrase.speaking.done.then(
      () => this.#guard(() => void finished()),
      () =>
        this.#guard(() => {
          if (finished()) failed()
        }),
    )
  }

  #sendTones({ itemId, digits, secretOf }: Extract<CallOutput, { type: 'tones' }>): void {
    const { legRateHz } = this.#start
    const keys = secretOf === undefined ? digits : (this.#sentKeys.get(secretOf) ?? '')
    if (secretOf !== undefined) {
      this.#sentKeys.delete(secretOf)
      this.#secretTones = [...new Set(this.#secretTones + keys)].join('')
      this.#post({ type: 'secret-tones', on: true })
    }
    this.#speech.append('gateway', itemId, dtmfTones(keys, legRateHz), legRateHz, this.#context.clock())
    this.#speech.finish('gateway', itemId)
    this.#wake()
  }

  /** A phrase of which samples are on their way to the caller is said to its end. */
  #announceCancel(itemId: string): void {
    const phrase = this.#phrases.get(itemId)
    if (phrase === undefined || phrase.begun) return
    this.#phrases.delete(itemId)
    phrase.speaking.cancel()
    queueMicrotask(() => this.#guard(phrase.failed))
  }

  /** After this no phrase gives any more samples. */
  #cancelPhrases(): void {
    for (const { speaking } of this.#phrases.values()) speaking.cancel()
    this.#phrases.clear()
  }

  #clear(nowMs: number): void {
    this.#cancelPhrases()
    this.#speech.clear(nowMs)
    this.#intake.playoutCleared()
  }

  // --- the end --------------------------------------------------------------------------------------------

  #finish(ended: Extract<CallOutput, { type: 'ended' }>, nowMs: number): void {
    const session = this.#session
    const stats = this.#intake.stats
    const result: Omit<CallResult, 'report'> = {
      type: 'result',
      outcome: ended.outcome,
      endReason: ended.reason,
      endDetail: ended.detail,
      backend: this.#backend.capabilities.name,
      durationMs: session.streamMs(nowMs),
      greetingMs: session.greetingMs,
      language: session.language,
      usage: session.usage,
      toolCallsRefused: session.counters.toolCallsRefused,
      framesIn: stats.framesOut,
      framesConcealed: stats.framesConcealed,
      framesDropped: stats.framesDropped,
      agentFramesDropped: Math.ceil(this.#speech.droppedSamples / frameSamples(this.#start.legRateHz)),
      dtmf: this.#digits,
    }
    this.#journal?.end()
    if (this.#entries.length > 0) this.#postLog(false)
    this.#passMarks(nowMs)
    // With the end of its session a service may give its last account of the usage.
    void this.#release('the call is over').then(() => this.#settle({ ...result, report: this.#parts.report() }))
  }

  /** The main thread starts the call again with that agent. */
  #handOver(end: Extract<CallOutput, { type: 'handover' }>, nowMs: number): void {
    this.#postLog(true)
    this.#journal?.end()
    this.#passMarks(nowMs)
    void this.#release('another agent has the call').then(() => this.#settle(end))
  }

  /** Ends this call for a fault of ours; the main thread may give it to another worker. */
  fail(thrown: unknown): void {
    if (this.#over) return
    const fault = thrown instanceof Error ? (thrown.stack ?? thrown.message) : messageOf(thrown)
    void this.#release('the call failed').then(() => this.#settle({ type: 'fault', fault }))
  }

  /** Frees all resources of this call on this worker. */
  async #release(reason: string): Promise<void> {
    this.#over = true
    this.#abort.abort()
    this.#tools.release()
    this.#cancelPhrases()
    await this.#backend.close(reason)
    this.#parts.speech?.close()
    this.#speech.release()
    this.#intake.release()
    this.#port.close()
  }

  #guard(work: () => void): void {
    this.#parts.guard(this, work)
  }

  #post(message: FromCall): void {
    this.#port.postMessage(message)
  }
}

/** A resting call still gets a tick this often, for work that is not urgent, such as passing marks on. */
const REST_MS_MAX = 100

/** Tool calls whose secret keys wait for their tones: these are made as soon as the session has the call. */
const SENT_KEYS_MAX = 8

/** A phrase of the gateway that is being spoken. */
interface SpokenPhrase {
  readonly speaking: Speaking
  /** Some of its samples were given to the playout. */
  begun: boolean
  /** Reports that it will not be heard. */
  readonly failed: () => void
}

/** Parts that the worker makes for one call, besides its start data. */
interface CallParts {
  readonly options: (capabilities: BackendCapabilities) => CallSessionOptions
  readonly backend: BackendFactory
  /** The backends' report on this call, read at its end. */
  readonly report: () => CallResult['report']
  readonly speech: SpeechClient | null
  readonly tools: CallToolRunner
  /** Voice of the gateway's own phrases. */
  readonly voice: string
  /** A phrase of the agent's as a person recorded it, or in the voice of its backend, if it was spoken before. */
  readonly ownPhrase?: (text: string, language: string) => KeptPhrase | null
  /** Runs work of a call outside the tick; a fault in it fails that call alone. */
  readonly guard: (call: WorkerCall, work: () => void) => void
}

/** The day has begun on every clock when its model hears of it. */
const MIDNIGHT_MARGIN_MS = 1000

/** Answer to a model when a person's wish for no more calls could not be written. */
const NOT_NOTED = {
  ok: false,
  value: { error: 'It could not be written down. Say so, say that you are sorry, and try once more.' },
  error: 'STORE_DOWN',
} as const

/** Without the backend's state, which is no part of the journal. */
function sessionResume({ checkpoint, log, newStream }: NonNullable<CallStart['resume']>): SessionResume {
  return { checkpoint, log, ...(newStream === undefined ? {} : { newStream }) }
}

function replyOf({ ok, value, pending }: Extract<CallOutput, { type: 'backend-tool-result' }>): ToolReply {
  return pending === undefined ? { ok, value } : { ok, value, pending }
}

type ToolCallEvent = Extract<BackendEvent, { type: 'tool-call' }>

/** Arguments go into the call log, which is plain JSON: a tool call with any other arguments is marked invalid. */
function withPlainArguments(event: ToolCallEvent): ToolCallEvent {
  try {
    return { ...event, args: plainJson(event.args, 'the arguments') as ToolCallEvent['args'] }
  } catch (thrown) {
    return { ...event, args: {}, invalid: messageOf(thrown) }
  }
}
