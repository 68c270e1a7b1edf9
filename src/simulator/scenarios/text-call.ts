import { randomBytes } from 'node:crypto'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { DOCUMENTS_MAX, GET_DIGITS_TIMEOUT_S, GIVE_UP_MS } from '../carrier.js'
import type { ToolRunner } from '../../agents/tool-runner.js'
import type { ToolContext, ToolOutcome } from '../../agents/tool.js'
import { VerificationLocks } from '../../agents/verification-lock.js'
import { EmbeddedBackend } from '../../backends/embedded/embedded-backend.js'
import type { CarrierState } from '../../call/events.js'
import type { CallRecord } from '../../call/record.js'
import { GatewayError } from '../../core/errors.js'
import { parseCallSid } from '../../core/ids.js'
import { FRAME_MS } from '../../core/units.js'
import { HttpClient } from '../../http/http-client.js'
import { levelDbfs } from '../../media/pcm.js'
import { ResamplerBank } from '../../media/resample/resampler.js'
import type { VadBank } from '../../media/vad/vad.js'
import type { VoiceAction } from '../../sautikit/actions.js'
import { SpeechClient } from '../../speech/speech-client.js'
import { AfterStreamBehaviour } from '../../workers/after-stream-behaviour.js'
import { BackendStatus } from '../../workers/backend-status.js'
import type { CallEnd, CallStart } from '../../workers/call-messages.js'
import { WorkerCall } from '../../workers/worker-call.js'
import { Effects } from '../../workers/effects.js'
import type { MainThreadContext, HostedAgent } from '../../workers/main-thread-context.js'
import { MainThreadCall } from '../../workers/main-thread-call.js'
import type { ContinuationAsker } from '../../escalation/documents.js'
import type { MediaSink } from '../../workers/live-call.js'
import { sessionOptions } from '../../workers/call-setup.js'
import { CallSeries } from '../../telemetry/call-series.js'
import { FrameHistogram } from '../../telemetry/frame-histogram.js'
import { createLog } from '../../telemetry/log.js'
import { Metrics } from '../../telemetry/metrics.js'
import { CallMemoryPool } from '../../workers/call-memory.js'
import { loadMediaAssets } from '../../workers/media-assets.js'
import type { AfterStream, HumanOutcome } from '../choices.js'
import type { SimulatedHuman } from '../call-options.js'
import type { CallerScript } from '../caller-script.js'
import { HOLD_BACK_FIRST_SAMPLES } from '../playout-queue.js'
import { linesOf, type ObservedCall, type SpokenLine } from './judge.js'
import { taggedSound, TextCaller, TextSpeech } from './text-caller.js'
import { HumanCalls } from '../../escalation/human-calls.js'

interface TextCallOptions {
  readonly hosted: HostedAgent
  /** Of this agent; may be shared by calls. */
  readonly tools: ToolRunner
  readonly from: string
  readonly to: string
  readonly script: CallerScript
  readonly statuses: Readonly<Record<string, readonly string[]>>
  /** How fast the caller speaks; 1 is the voice's own pace. */
  readonly pace: number
  readonly seed: number
  readonly afterStream: AfterStream
  readonly human: SimulatedHuman
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

/**
 * Runs one call without real audio, as fast as possible. It runs the gateway's own call (session, dialogue, tools over
 * HTTP, playout, escalation, record) on its own clock, with coded sound in place of speech. Only webhooks, threads, the
 * socket and the speech models are left out. While a tool runs, the clock keeps to real time, so that a slow tool has
 * its real effect on the call.
 */
export async function runTextCall(media: TextMedia, options: TextCallOptions): Promise<ObservedCall> {
  return new TextCall(media, options).run()
}

class TextCall {
  readonly #media: TextMedia
  readonly #options: TextCallOptions
  readonly #clock = new TextClock(CLOCK_START_MS)
  readonly #tools: CountedTools
  readonly #caller: TextCaller
  readonly #speech: TextSpeech
  readonly #call: MainThreadCall
  readonly #speechPort: MessagePort
  readonly #sentences: string[] = []
  readonly #digits: string[] = []
  #task: WorkerCall | null = null
  #carrier: TextCarrier | null = null
  #openedMs = NaN
  #streamOver = false
  #ended: string | null = null
  #record: CallRecord | null = null
  #paceSince: { readonly realMs: number; readonly callMs: number } | null = null

  constructor(media: TextMedia, options: TextCallOptions) {
    this.#media = media
    this.#options = options
    const { hosted } = options
    this.#tools = new CountedTools(options.tools)
    const { port1, port2 } = new MessageChannel()
    this.#speechPort = port2
    this.#caller = new TextCaller(
      {
        script: options.script,
        rateHz: hosted.facts.stream.samplingRateHz,
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
    this.#speech = new TextSpeech(port1, this.#caller, this.#clock.nowMs, this.#sentences)
    this.#call = new MainThreadCall(
      {
        callSid: parseCallSid(`HD_${randomBytes(6).toString('hex')}`),
        agent: hosted.definition.name,
        from: options.from,
        to: options.to,
        direction: 'inbound',
      },
      { ...hosted, backends: ['embedded'] },
      this.#context(),
    )
    this.#call.afterStreamUrl = 'http://text.invalid/after-stream'
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
      this.#speech.close()
    }
  }

  /** The gateway has written the call's record, and the carrier has finished the call. */
  get #done(): boolean {
    return this.#record !== null && (this.#carrier === null || this.#ended !== null)
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
      callNumber: () => 1,
      run: (start) => this.#runOnWorker(start, wallOffsetMs),
      openSpeech: () => this.#speechPort,
      taskOver: () => undefined,
      over: (_call, record) => {
        this.#record = record
      },
      goesOnElsewhere: () => undefined,
      keepJournal: () => undefined,
      afterStream: new AfterStreamBehaviour('continues'),
      effects: new Effects(null, this.#media.metrics),
      locks: new VerificationLocks(clock),
      record: null,
      openRecords: null,
      keeper: null,
      maskNumbers: true,
      streamLost: null,
      handoffNews: () => undefined,
    }
  }

  /** What the media worker does in production: runs the worker's half of the call, here on this thread. */
  #runOnWorker(start: CallStart, wallOffsetMs: number): Promise<CallEnd> {
    // The speech port of a text call cannot break, so it never reconnects.
    const reopen = (): Promise<MessagePort> => Promise.reject(new GatewayError('SPEECH_FAULT', 'the call is over'))
    const speech = new SpeechClient({ port: this.#speechPort, reopen })
    const { latency, resamplers } = this.#media
    const task = new WorkerCall(
      start,
      {
        clock: this.#clock.nowMs,
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
        tools: this.#tools,
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

  // --- time -----------------------------------------------------------------------------------------------

  async #tick(): Promise<void> {
    const nowMs = this.#clock.nowMs()
    // Every second tick is a frame of the line.
    if ((nowMs - CLOCK_START_MS) % FRAME_MS < TICK_MS && this.#ended === null) this.#frame(nowMs)
    const task = this.#task
    if (task !== null) {
      task.receive(nowMs)
      while (task.take(nowMs)) {
        task.detect()
        task.attend(nowMs)
      }
      task.decide(nowMs)
      task.speak(nowMs)
    }
    this.#call.pump(nowMs)
    this.#speech.tick()
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
    const { afterStream, human } = this.#options
    const wait = (ms: number): Promise<void> => (this.#ended === null ? this.#clock.wait(ms) : Promise.resolve())
    const carrier = new TextCarrier({
      call: this.#call,
      afterStream,
      human,
      nowMs: this.#clock.nowMs,
      wait,
      speak: (text) => wait(this.#play(text)),
      takeDigit: () => this.#digits.shift() ?? null,
      over: () => this.#ended !== null,
    })
    this.#carrier = carrier
    // Runs in a later tick, because the session is still closing the socket.
    this.#clock.after(0, () => {
      void carrier.run().then((why) => {
        this.#completed(why)
      })
    })
  }

  /** Plays `text` in the carrier's voice. @returns the time until the caller has heard it, in milliseconds */
  #play(text: string): number {
    const rateHz = this.#options.hosted.facts.stream.samplingRateHz
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
    const carrierLines = (this.#carrier?.said ?? []).map((line) => ({
      ...line,
      startMs: line.startMs - openedMs,
      endMs: line.endMs - openedMs,
    }))
    return {
      callSid: this.#call.callSid,
      record,
      packet: this.#call.handoff,
      lines: linesOf(record, carrierLines),
      dials: this.#carrier?.dials ?? [],
      callerHeard: this.#caller.latency(openedMs),
      durationMs: this.#clock.nowMs() - CLOCK_START_MS,
      ended: this.#ended ?? 'the gateway ended it',
      complaints: this.#carrier?.complaints ?? [],
      overdue,
    }
  }
}

/** The part of a call that the edge uses after the stream. */
interface AfterStreamCall {
  carrierState(state: CarrierState): void
  continuation(asker: ContinuationAsker, digits?: string | null): readonly VoiceAction[]
}

/** A request for the next document: who asks, and the caller's digits. */
interface ContinuationRequest {
  readonly asker: ContinuationAsker
  readonly digits: string | null
}

interface TextCarrierOptions {
  readonly call: AfterStreamCall
  readonly afterStream: AfterStream
  readonly human: SimulatedHuman
  readonly nowMs: () => number
  /** Says something to the caller; resolves when it has been heard. */
  readonly speak: (text: string) => Promise<void>
  /** Removes and returns the oldest digit that the caller pressed; null for none. */
  readonly takeDigit: () => string | null
  /** Waits in the call's own time. Ends early if the call ends. */
  readonly wait: (ms: number) => Promise<void>
  readonly over: () => boolean
}

const DIAL_STATES: Readonly<Record<HumanOutcome, CarrierState>> = {
  answered: 'answered',
  busy: 'busy',
  'no-answer': 'no-answer',
  declined: 'busy',
}

const DIGIT_POLL_MS = 50

/** What the carrier does after the stream: it runs the gateway's documents, as text. */
class TextCarrier {
  readonly dials: { readonly outcome: HumanOutcome }[] = []
  readonly said: SpokenLine[] = []
  readonly complaints: string[] = []
  readonly #options: TextCarrierOptions

  constructor(options: TextCarrierOptions) {
    this.#options = options
  }

  /** Runs until nothing is left to do. @returns why the call ended */
  async run(): Promise<string> {
    const { call, afterStream, over } = this.#options
    call.carrierState('stream-stopped')
    if (afterStream === 'holds') return this.#giveUp()
    let request: ContinuationRequest = { asker: afterStream === 'continues' ? 'after-stream' : 'voice', digits: null }
    for (let documents = 0; documents < DOCUMENTS_MAX && !over(); documents++) {
      const actions = call.continuation(request.asker, request.digits)
      // An empty answer to the webhook leaves the caller in silence.
      if (actions.length === 0 && request.asker === 'voice' && documents === 0) return this.#giveUp()
      const next = await this.#document(actions)
      if (next === null) return 'the document has nothing left to do'
      request = next
    }
    if (!over()) this.complaints.push(`more than ${DOCUMENTS_MAX} documents in one call`)
    return 'the call is over'
  }

  async #giveUp(): Promise<string> {
    await this.#options.wait(GIVE_UP_MS)
    return 'gave up on a silent line after the stream'
  }

  /** @returns the request for the next document; null if the document ends the call */
  async #document(actions: readonly VoiceAction[]): Promise<ContinuationRequest | null> {
    for (const action of actions) {
      if (this.#options.over()) return null
      switch (action.verb) {
        case 'say':
          await this.#say(action.text)
          break
        case 'get-digits':
          for (const nested of action.nested) if (nested.verb === 'say') await this.#say(nested.text)
          return { asker: 'voice', digits: await this.#digits(action) }
        case 'dial':
          if (action.numbers.length === 0) this.complaints.push('Dial names nobody')
          if (await this.#dial((action.timeoutS ?? 60) * 1000)) return null
          return { asker: 'voice', digits: null }
        case 'redirect':
          return { asker: 'after-stream', digits: null }
        case 'hangup':
        case 'reject':
          return null
        case 'conference':
          // Nobody else joins here, so the caller waits in the conference room until they give up.
          await this.#options.wait(GIVE_UP_MS)
          return null
        default:
          this.complaints.push(`text mode plays no ${action.verb} after the stream`)
      }
    }
    return null
  }

  /** Collects digits until there are `numDigits`, `finishOnKey` is pressed, or none comes for the timeout. */
  async #digits({
    timeoutS,
    numDigits = 0,
    finishOnKey = '#',
  }: Extract<VoiceAction, { readonly verb: 'get-digits' }>): Promise<string> {
    const { takeDigit, wait, over, nowMs } = this.#options
    const timeoutMs = (timeoutS ?? GET_DIGITS_TIMEOUT_S) * 1000
    let digits = ''
    let untilMs = nowMs() + timeoutMs
    while (!over() && nowMs() < untilMs && (numDigits === 0 || digits.length < numDigits)) {
      const digit = takeDigit()
      if (digit === finishOnKey) break
      if (digit === null) {
        await wait(DIGIT_POLL_MS)
        continue
      }
      digits += digit
      untilMs = nowMs() + timeoutMs
    }
    return digits
  }

  async #say(text: string): Promise<void> {
    const startMs = this.#options.nowMs()
    await this.#options.speak(text)
    this.said.push({ role: 'carrier', text, startMs, endMs: this.#options.nowMs() })
  }

  /** @returns true if the call has ended, false if the document's next request is due */
  async #dial(timeoutMs: number): Promise<boolean> {
    const { call, human, wait, over } = this.#options
    call.carrierState('ringing')
    const ringMs = Math.min(human.ringMs, timeoutMs)
    await wait(ringMs)
    if (over()) return true
    const outcome = human.ringMs > ringMs ? 'no-answer' : human.outcome
    this.dials.push({ outcome })
    call.carrierState(DIAL_STATES[outcome])
    if (outcome !== 'answered') return false
    await wait(human.talkMs)
    if (over()) return true
    call.carrierState('dial-completed')
    return false
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
  close(): void
}

/** Loads the shared parts; takes about 0.2 s. */
export async function openTextMedia(): Promise<TextMedia> {
  const assets = await loadMediaAssets()
  const transport = new HttpClient()
  return {
    resamplers: new ResamplerBank({ rows: assets.rows, kernel: assets.firKernel }),
    memory: new CallMemoryPool(),
    transport,
    latency: new FrameHistogram(),
    metrics: new Metrics({ version: 'simulate', processMetrics: false }),
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
class CountedTools implements Pick<ToolRunner, 'run'> {
  running = 0
  readonly #tools: Pick<ToolRunner, 'run'>

  constructor(tools: Pick<ToolRunner, 'run'>) {
    this.#tools = tools
  }

  async run(name: string, args: Readonly<Record<string, unknown>>, context: ToolContext): Promise<ToolOutcome> {
    this.running++
    try {
      return await this.#tools.run(name, args, context)
    } finally {
      this.running--
    }
  }
}
