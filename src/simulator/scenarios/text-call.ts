import { randomBytes } from 'node:crypto'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { agentWith } from '../../agents/call-variables.js'
import type { ToolRunner } from '../../agents/tool-runner.js'
import type { EffectAnswer, ToolOutcome } from '../../agents/tool.js'
import { VerificationLocks } from '../../agents/verification-lock.js'
import { EmbeddedBackend } from '../../backends/embedded/embedded-backend.js'
import type { CallRecord } from '../../call/documents/record.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { parseCallSid } from '../../core/ids.js'
import { FRAME_MS } from '../../core/units.js'
import { HttpClient } from '../../http/http-client.js'
import { levelDbfs } from '../../media/pcm.js'
import { ResamplerBank } from '../../media/resample/resampler.js'
import type { VadBank } from '../../media/vad/vad.js'
import { voiceXml } from '../../sautikit/actions.js'
import { carrierState } from '../../sautikit/carrier-state.js'
import { SpeechClient } from '../../speech/speech-client.js'
import { AfterStreamBehaviour } from '../../workers/after-stream-behaviour.js'
import { BackendStatus } from '../../workers/backend-status.js'
import type { CallEnd, CallStart } from '../../workers/call-messages.js'
import type { CallToolRunner } from '../../workers/call-tools.js'
import { WorkerCall } from '../../workers/worker-call.js'
import { Waits } from '../../workers/call-waits.js'
import { Effects } from '../../workers/effects.js'
import { allCallsOn } from '../../backends/split.js'
import type { MainThreadContext, HostedAgent } from '../../workers/main-thread-context.js'
import { MainThreadCall } from '../../workers/main-thread-call.js'
import type { ContinuationAsker } from '../../escalation/documents.js'
import type { MediaSink, NewCall } from '../../workers/live-call.js'
import { sessionOptions } from '../../workers/call-setup.js'
import { CallSeries } from '../../telemetry/call-series.js'
import { FrameHistogram } from '../../telemetry/frame-histogram.js'
import { createLog } from '../../telemetry/log.js'
import { Metrics } from '../../telemetry/metrics.js'
import { CallMemoryPool } from '../../workers/call-memory.js'
import { KnownLines, widestRateHz } from '../../workers/known-lines.js'
import { loadMediaAssets } from '../../workers/media-assets.js'
import type { AfterStream, HumanOutcome } from '../choices.js'
import type { EndedBy, SimulatedHuman } from '../call-options.js'
import type { CallerScript } from '../caller-script.js'
import { GIVE_UP_MS, NEXT, runDocument } from '../documents.js'
import type { DocumentCall, StreamEnd, Then } from '../documents.js'
import { parseVoiceDocument } from '../voice-document.js'
import type { Verb } from '../voice-document.js'
import { HOLD_BACK_FIRST_SAMPLES } from '../playout-queue.js'
import type { Scenario, SettledTool } from './scenario.js'
import { linesOf, type ObservedCall, type SpokenLine } from './judge.js'
import { taggedSound, TextCaller, TextSpeech } from './text-caller.js'
import { HumanCalls } from '../../escalation/human-calls.js'

interface TextCallOptions {
  readonly hosted: HostedAgent
  /** All agents, and the tools of those that may have the call; tools may be shared by calls. */
  readonly agents: ReadonlyMap<string, HostedAgent>
  readonly tools: ReadonlyMap<string, ToolRunner>
  readonly from: string
  readonly to: string
  /** The agent calls them; null: they call. */
  readonly placed: Scenario['placed']
  readonly script: CallerScript
  readonly statuses: Readonly<Record<string, readonly string[]>>
  /** How fast the caller speaks; 1 is the voice's own pace. */
  readonly pace: number
  readonly seed: number
  readonly afterStream: AfterStream
  readonly human: SimulatedHuman
  readonly settle: readonly SettledTool[]
  /** Calendar time at which the call begins. */
  readonly startedAtWallMs: number
  /** Of the call's own time. */
  readonly timeoutMs: number
  readonly signal: AbortSignal | null
}

/** Time from the webhook to the media socket, in which the backend becomes ready. */
const SOCKET_AFTER_MS = 200
/** How long to wait for the record of a call that was ended by force, in the call's own time. */
const RECORD_WAIT_MS = 12_000
/** Half a frame. Text needs no finer clock, and each tick costs two turns of the event loop. */
const TICK_MS = FRAME_MS / 2
const CLOCK_START_MS = 100_000
const COMPLAINTS_MAX = 100
/** Nothing listens there: outcomes come from the scenario. */
const CONTINUE = 'http://text.invalid/continue?t='

/**
 * Runs one call without real audio, as fast as possible. It runs the gateway's own call (session, dialogue, tools over
 * HTTP, playout, escalation, record) on its own clock, with coded sound in place of speech. Only webhooks, threads, the
 * socket and the speech models are left out. While a tool runs, the clock keeps to real time, so that a slow tool has
 * its real effect on the call.
 */
export async function runTextCall(media: TextMedia, options: TextCallOptions): Promise<ObservedCall> {
  return new TextCall(media, options).run()
}

class TextCall implements DocumentCall {
  readonly #media: TextMedia
  readonly #options: TextCallOptions
  readonly #clock = new TextClock(CLOCK_START_MS)
  readonly #tools: CountedTools
  /** Outcomes that no tool waits for yet. */
  readonly #settle: SettledTool[]
  readonly #caller: TextCaller
  /** Of the agent that has the call. */
  #speech: TextSpeech | null = null
  readonly #call: MainThreadCall
  readonly #sentences: string[] = []
  readonly #digits: string[] = []
  #task: WorkerCall | null = null
  readonly #dials: { readonly outcome: HumanOutcome }[] = []
  readonly #said: SpokenLine[] = []
  readonly #complaints: string[] = []
  #openedMs = NaN
  #streamOver = false
  #ended: string | null = null
  #record: CallRecord | null = null
  #paceSince: { readonly realMs: number; readonly callMs: number } | null = null

  constructor(media: TextMedia, options: TextCallOptions) {
    this.#media = media
    this.#options = options
    const { hosted } = options
    this.#settle = [...options.settle]
    this.#tools = new CountedTools(options.tools, (tool, waitId) => this.#pending(tool, waitId))
    this.#caller = new TextCaller(
      {
        script: options.script,
        rateHz: widestRateHz(hosted.facts.stream.samplingRateHz),
        pace: options.pace,
        seed: options.seed,
        statuses: options.statuses,
        sentences: this.#sentences,
        onDigits: (digits) => {
          this.#digits.push(...digits)
        },
        onHungUp: (why) => {
          this.#hangUp(why)
        },
      },
      this.#clock.nowMs(),
    )
    this.#call = new MainThreadCall(
      {
        callSid: parseCallSid(`HD_${randomBytes(6).toString('hex')}`),
        agent: hosted.definition.name,
        ...this.#parties(),
      },
      {
        ...hosted,
        definition: agentWith(hosted.definition, options.placed?.variables ?? {}, options.placed !== null),
        shares: allCallsOn('embedded'),
      },
      this.#context(),
    )
    this.#call.afterStreamUrl = 'http://text.invalid/after-stream'
    this.#call.continueUrl = (id) => `${CONTINUE}${id}`
  }

  /** Who calls whom. */
  #parties(): Pick<NewCall, 'from' | 'to' | 'direction' | 'placed'> {
    const { from: person, to: ours, placed, hosted } = this.#options
    if (placed === null) return { from: person, to: ours, direction: 'inbound' }
    const call = { from: ours, to: person }
    return {
      ...call,
      direction: 'outbound',
      placed: {
        ...call,
        agent: hosted.definition.name,
        clientRequestId: 'row-simulated',
        orderedAtMs: CLOCK_START_MS,
        ringMs: 0,
        variables: placed.variables,
        externalId: null,
        leaveMessage: true,
        promised: false,
        joins: null,
      },
    }
  }

  async run(): Promise<ObservedCall> {
    try {
      this.#call.begin()
      this.#clock.after(SOCKET_AFTER_MS, () => {
        this.#open()
      })
      const { timeoutMs, signal } = this.#options
      const deadlineMs = CLOCK_START_MS + timeoutMs
      while (!this.#done && this.#clock.nowMs() < deadlineMs && signal?.aborted !== true) await this.#tick()
      const overdue = !this.#done
        ? signal?.aborted === true
          ? 'it was stopped'
          : `the call did not end within ${timeoutMs / 1000} s`
        : null
      if (overdue !== null) await this.#endByForce(overdue)
      return this.#observed(overdue)
    } finally {
      this.#clock.end()
      this.#speech?.close()
    }
  }

  /** The gateway has written the call's record, and the carrier has finished the call. */
  get #done(): boolean {
    return this.#record !== null && (!this.#streamOver || this.#ended !== null)
  }

  /** Hangs up and waits for the record, so that the report shows how far the call came. */
  async #endByForce(why: string): Promise<void> {
    this.#hangUp(why)
    const untilMs = this.#clock.nowMs() + RECORD_WAIT_MS
    while (this.#record === null && this.#clock.nowMs() < untilMs) await this.#tick()
  }

  #context(): MainThreadContext {
    const clock = this.#clock.nowMs
    const wallOffsetMs = this.#options.startedAtWallMs - CLOCK_START_MS
    return {
      clock,
      wallClock: () => clock() + wallOffsetMs,
      metrics: this.#media.metrics,
      log: createLog({ level: 'silent' }),
      callSeries: new CallSeries({ clock }),
      backendStatus: new BackendStatus(),
      carrier: null,
      humanCalls: new HumanCalls({ perNumberPerMinute: 1, fallbacksPerMinute: 0 }),
      journal: null,
      memory: this.#media.memory,
      agent: (name, business) => {
        const agent = this.#options.agents.get(name) ?? null
        return agent !== null && business !== null ? (agent.forBusiness?.(business) ?? agent) : agent
      },
      callNumber: () => 1,
      run: (start) => this.#runOnWorker(start, wallOffsetMs),
      openSpeech: () => {
        const { port1, port2 } = new MessageChannel()
        this.#speech?.close()
        this.#speech = new TextSpeech(port1, this.#caller, this.#clock.nowMs, this.#sentences)
        return port2
      },
      taskOver: () => undefined,
      streams: () => undefined,
      over: (_call, record) => {
        this.#record = record
      },
      goesOnElsewhere: () => undefined,
      keepJournal: () => undefined,
      discardJournal: () => undefined,
      afterStream: new AfterStreamBehaviour('continues'),
      effects: new Effects(null, this.#media.metrics),
      waits: this.#media.waits,
      locks: new VerificationLocks(clock),
      lines: new KnownLines(clock, this.#media.metrics),
      record: null,
      openRecords: null,
      keeper: null,
      maskNumbers: true,
      streamLost: null,
      promised: () => undefined,
      doNotCall: () => Promise.resolve(true),
      handoffNews: () => undefined,
      started: () => undefined,
    }
  }

  /** What the media worker does in production: runs the worker's half of the call, here on this thread. */
  #runOnWorker(start: CallStart, wallOffsetMs: number): Promise<CallEnd> {
    // The speech port of a text call cannot break, so it never reconnects.
    const reopen = (): Promise<MessagePort> => Promise.reject(new GatewayError('SPEECH_FAULT', 'the call is over'))
    const speech = new SpeechClient({ port: start.speech as MessagePort, reopen }) // from `openSpeech` above
    const { latency, resamplers } = this.#media
    const task = new WorkerCall(
      start,
      {
        clock: this.#clock.nowMs,
        wallClock: () => this.#clock.nowMs() + wallOffsetMs,
        resamplers,
        vads: levelVad,
        latencyIn: latency,
        latencyOut: latency,
      },
      {
        options: (capabilities) => sessionOptions(start, capabilities, wallOffsetMs),
        backend: (sink) => new EmbeddedBackend(sink, { speech, nowMs: this.#clock.nowMs, after: this.#clock.after }),
        report: () => ({ cost: null, budget: null, failover: null, irregular: {} }),
        speech,
        tools: this.#tools.of(start.agent.name),
        voice: start.agent.voice.embedded,
        guard: (call, work) => {
          try {
            work()
          } catch (thrown) {
            call.fail(thrown)
          }
        },
      },
    )
    this.#task = task
    task.begin()
    return task.done.finally(() => {
      this.#task = null
    })
  }

  /** A tool waits: the scenario says what comes of it, and when. */
  #pending(tool: string, waitId: string): void {
    const index = this.#settle.findIndex((one) => one.tool === tool)
    const [settled] = index < 0 ? [] : this.#settle.splice(index, 1)
    if (settled === undefined) return
    const { afterMs, status, result } = settled
    this.#clock.after(afterMs, () => void this.#call.waitNews(waitId, { status, result }))
  }

  // --- time -----------------------------------------------------------------------------------------------

  async #tick(): Promise<void> {
    const nowMs = this.#clock.nowMs()
    // Every second tick is a frame of the line.
    if ((nowMs - CLOCK_START_MS) % FRAME_MS < TICK_MS && this.#ended === null) this.#frame(nowMs)
    const task = this.#task
    if (task !== null) {
      task.receive(nowMs)
      while (task.take(nowMs, nowMs)) {
        task.detect()
        task.attend(nowMs)
      }
      task.decide(nowMs)
      task.speak(nowMs)
    }
    this.#call.pump(nowMs)
    this.#speech?.tick()
    // A message to a port is delivered in the next turn of the event loop, its answer in the turn after that.
    await turn()
    await turn()
    await this.#keepPace()
    this.#clock.advance(TICK_MS)
  }

  #frame(nowMs: number): void {
    const frame = this.#caller.tick(nowMs)
    if (!Number.isNaN(this.#openedMs) && !this.#streamOver) {
      this.#call.audio(new Uint8Array(frame.buffer, frame.byteOffset, frame.byteLength))
    }
  }

  /** While a tool runs, keeps the call's clock from running faster than real time. */
  async #keepPace(): Promise<void> {
    if (this.#tools.running === 0) {
      this.#paceSince = null
      return
    }
    this.#paceSince ??= { realMs: performance.now(), callMs: this.#clock.nowMs() }
    const aheadMs = this.#clock.nowMs() - this.#paceSince.callMs - (performance.now() - this.#paceSince.realMs)
    if (aheadMs > 0) await sleep(aheadMs)
  }

  // --- the carrier ----------------------------------------------------------------------------------------

  #open(): void {
    if (this.#ended !== null) return
    this.#openedMs = this.#clock.nowMs()
    const sink: MediaSink = {
      sendAudio: (bytes) => {
        this.#caller.playout.push(bytes)
        return true
      },
      sendText: (text) => {
        if (text.includes('killAudio')) this.#caller.playout.kill()
      },
      close: () => {
        this.#afterStream()
      },
    }
    this.#call.attach(sink)
    this.#call.carrierState('stream-started')
  }

  /** The gateway has closed the socket. Queued audio still plays, then the carrier runs the next document. */
  #afterStream(): void {
    if (this.#streamOver) return
    this.#streamOver = true
    // Digits pressed during the stream were for the agent.
    this.#digits.length = 0
    // Runs in a later tick, because the session is still closing the socket.
    this.#clock.after(0, () => {
      this.#call.carrierState('stream-stopped')
      const bare = { attributes: {}, children: [] }
      // The rest of the first document: its Stream, which is over, and its Redirect.
      void runDocument(this, [
        { ...bare, name: 'Stream', text: '' },
        { ...bare, name: 'Redirect', text: this.#call.afterStreamUrl ?? '' },
      ]).then(() => {
        this.#completed('the document has nothing left to do')
      })
    })
  }

  // --- the documents' verbs, as text ----------------------------------------------------------------------

  get ended(): boolean {
    return this.#ended !== null
  }

  get options(): DocumentCall['options'] {
    const { afterStream, human } = this.#options
    // The human's greeting is sound, and nobody transcribes it.
    return { afterStream, human: { ...human, greeting: null }, dialEdge: 'outcome' }
  }

  readonly nowMs = (): number => this.#clock.nowMs()

  wait(ms: number): Promise<void> {
    return this.#ended === null ? this.#clock.wait(ms) : Promise.resolve()
  }

  end(_by: EndedBy, why: string): void {
    this.#completed(why)
  }

  answer(): void {
    // It was answered when its stream opened.
  }

  noteVerb(): void {
    // Nobody reads the verbs of a text call.
  }

  complain(complaint: string): void {
    if (this.#complaints.length < COMPLAINTS_MAX) this.#complaints.push(complaint)
  }

  takeDigit(): string | null {
    return this.#digits.shift() ?? null
  }

  async say(text: string): Promise<void> {
    const startMs = this.nowMs()
    await this.wait(this.#play(text))
    this.#said.push({ role: 'carrier', text, startMs, endMs: this.nowMs() })
  }

  async ring(ms: number): Promise<void> {
    this.#call.carrierState('ringing')
    await this.wait(ms)
  }

  dialled(_numbers: readonly string[], outcome: HumanOutcome): void {
    this.#dials.push({ outcome })
    if (outcome === 'answered') this.#call.carrierState('answered')
  }

  play(): Promise<Then> {
    this.complain('text mode plays no Play after the stream')
    return Promise.resolve(NEXT)
  }

  record(): Promise<Then> {
    this.complain('text mode plays no Record after the stream')
    return Promise.resolve(NEXT)
  }

  stream(): Promise<StreamEnd> {
    return Promise.resolve('stopped')
  }

  /** Nobody else joins here, so the caller waits in the conference room until they give up. */
  stayInRoom(): Promise<void> {
    return this.wait(GIVE_UP_MS)
  }

  postVoice({ callSessionState = '', Digits }: Readonly<Record<string, string>>): Promise<readonly Verb[] | null> {
    this.#call.carrierState(carrierState(callSessionState))
    return this.#document('voice', Digits ?? null)
  }

  postForDocument(): Promise<readonly Verb[] | null> {
    return this.#document('after-stream', null)
  }

  /** The gateway's answer, as the XML that a carrier gets. */
  #document(asker: ContinuationAsker, digits: string | null): Promise<readonly Verb[] | null> {
    try {
      return Promise.resolve(parseVoiceDocument(voiceXml(this.#call.continuation(asker, digits))))
    } catch (thrown) {
      this.complain(`the document was refused: ${messageOf(thrown)}`)
      return Promise.resolve(null)
    }
  }

  /** Plays `text` in the carrier's voice. @returns the time until the caller has heard it, in milliseconds */
  #play(text: string): number {
    const rateHz = widestRateHz(this.#options.hosted.facts.stream.samplingRateHz)
    const pcm = taggedSound(this.#sentences.push(text) - 1, text, rateHz)
    // Silence after the speech pushes the end of the speech out of the carrier's hold-back.
    const sound = new Int16Array(pcm.length + HOLD_BACK_FIRST_SAMPLES)
    sound.set(pcm)
    this.#caller.playout.push(new Uint8Array(sound.buffer))
    return (sound.length * 1000) / rateHz
  }

  /** The caller puts the phone down. */
  #hangUp(why: string): void {
    if (this.#ended !== null) return
    this.#completed(why)
    if (Number.isNaN(this.#openedMs) || this.#streamOver) return
    this.#streamOver = true
    this.#call.detach(1000)
  }

  #completed(why: string): void {
    if (this.#ended !== null) return
    this.#ended = why
    this.#call.carrierState('completed')
  }

  #observed(overdue: string | null): ObservedCall {
    const record = this.#record
    const openedMs = Number.isNaN(this.#openedMs) ? CLOCK_START_MS : this.#openedMs
    const carrierLines = this.#said.map((line) => ({
      ...line,
      startMs: line.startMs - openedMs,
      endMs: line.endMs - openedMs,
    }))
    return {
      callSid: this.#call.callSid,
      record,
      packet: this.#call.handoff,
      lines: linesOf(record, carrierLines),
      dials: this.#dials,
      callerHeard: this.#caller.latency(openedMs),
      durationMs: this.#clock.nowMs() - CLOCK_START_MS,
      ended: this.#ended ?? 'the gateway ended it',
      complaints: this.#complaints,
      overdue,
    }
  }
}

/** The clock of one text call. It stands still until `advance` moves it. */
class TextClock {
  #nowMs: number
  #waiting: { readonly atMs: number; readonly wake: () => void }[] = []

  constructor(startMs: number) {
    this.#nowMs = startMs
  }

  readonly nowMs = (): number => this.#nowMs

  /** Calls `work` once after `ms` of this clock. @returns a function that cancels it */
  readonly after = (ms: number, work: () => void): (() => void) => {
    const entry = { atMs: this.#nowMs + ms, wake: work }
    this.#waiting.push(entry)
    return () => {
      this.#waiting = this.#waiting.filter((one) => one !== entry)
    }
  }

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(ms, resolve)
    })
  }

  /** Moves the clock and calls what is due, the earliest first. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms
    for (;;) {
      const due = this.#waiting.filter((one) => one.atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0]
      if (due === undefined) break
      this.#waiting = this.#waiting.filter((one) => one !== due)
      this.#nowMs = Math.max(this.#nowMs, due.atMs)
      due.wake()
    }
    this.#nowMs = untilMs
  }

  /** The call is over: calls everything that still waits. */
  end(): void {
    for (const { wake } of this.#waiting.splice(0)) wake()
  }
}

/** What all text calls of one run share. */
export interface TextMedia {
  readonly resamplers: ResamplerBank
  readonly memory: CallMemoryPool
  readonly transport: HttpClient
  readonly metrics: Metrics
  readonly latency: FrameHistogram
  readonly waits: Waits
  close(): void
}

/** Loads the shared parts; takes about 0.2 s. */
export async function openTextMedia(): Promise<TextMedia> {
  const assets = await loadMediaAssets()
  const transport = new HttpClient()
  const metrics = new Metrics({ version: 'simulate', processMetrics: false })
  return {
    resamplers: new ResamplerBank({ rows: assets.rows, kernel: assets.firKernel }),
    memory: new CallMemoryPool(),
    transport,
    latency: new FrameHistogram(),
    metrics,
    waits: new Waits({ client: transport, env: process.env, metrics, unheard: () => undefined }),
    close: () => {
      transport.close()
    },
  }
}

/** Louder frames are voice. A level is enough, because text calls have no noise. */
const VOICE_DBFS = -45
const levelVad: VadBank = {
  open: () => ({
    isSpeech: (frame) => levelDbfs(frame) > VOICE_DBFS,
    reset: () => undefined,
    release: () => undefined,
  }),
}

/** The tools of one call with a count of running ones, for `#keepPace`. */
class CountedTools {
  running = 0
  readonly #tools: ReadonlyMap<string, CallToolRunner>
  readonly #pending: (tool: string, waitId: string) => void

  /** @param pending  a tool waits for its outcome */
  constructor(tools: ReadonlyMap<string, CallToolRunner>, pending: (tool: string, waitId: string) => void) {
    this.#tools = tools
    this.#pending = pending
  }

  /** Of that agent. */
  of(agent: string): CallToolRunner {
    const tools = this.#tools.get(agent) as CallToolRunner // opened with the call
    return {
      serverTools: () => tools.serverTools(),
      watchServers: (listener) => tools.watchServers(listener),
      run: (name, args, context) => this.#run(tools, name, args, context),
    }
  }

  async #run(tools: CallToolRunner, ...[name, args, context]: Parameters<CallToolRunner['run']>): Promise<ToolOutcome> {
    this.running++
    try {
      let waitId = ''
      const { gate } = context
      const intend = async (key: string, tool: string): Promise<EffectAnswer> => {
        const answer = (await gate?.intend(key, tool)) ?? { type: 'run' }
        if (answer.type === 'run') waitId = answer.continueUrl?.slice(CONTINUE.length) ?? ''
        return answer
      }
      const outcome = await tools.run(
        name,
        args,
        gate === undefined ? context : { ...context, gate: { ...gate, intend } },
      )
      if (outcome.pending !== undefined) this.#pending(name, waitId)
      return outcome
    } finally {
      this.running--
    }
  }
}
