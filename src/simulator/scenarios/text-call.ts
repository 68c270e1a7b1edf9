import { randomBytes } from 'node:crypto'
import type { MessagePort } from 'node:worker_threads'
import { MessageChannel } from 'node:worker_threads'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import type { ToolRunner } from '../../agents/tool-runner.js'
import { VerificationLocks } from '../../agents/verification-lock.js'
import { EmbeddedBackend } from '../../backends/embedded/embedded-backend.js'
import { SpeechClient } from '../../speech/speech-client.js'
import type { CallRecord } from '../../call/record.js'
import { GatewayError } from '../../core/errors.js'
import { parseCallSid } from '../../core/ids.js'
import { FRAME_MS } from '../../core/units.js'
import { AfterStreamBehaviour } from '../../workers/after-stream-behaviour.js'
import { BackendBooks } from '../../workers/backend-books.js'
import type { CallEnd, CallStart } from '../../workers/call-messages.js'
import { CallTask } from '../../workers/call-task.js'
import type { MainThreadContext, HostedAgent } from '../../workers/main-thread-context.js'
import { HostedCall } from '../../workers/hosted-call.js'
import type { MediaSink } from '../../workers/live-call.js'
import { sessionOptions } from '../../workers/session-options.js'
import { CallSeries } from '../../telemetry/call-series.js'
import { createLog } from '../../telemetry/log.js'
import type { AfterStream, SimulatedHuman } from '../call-options.js'
import type { CallerScript } from '../caller-script.js'
import { HOLD_BACK_FIRST_SAMPLES } from '../playout-queue.js'
import { linesOf, type ObservedCall } from './observed-call.js'
import { TextCaller } from './text-caller.js'
import { TextCarrier } from './text-carrier.js'
import { TextClock } from './text-clock.js'
import { levelVad, type TextMedia } from './text-media.js'
import { taggedSound } from './text-sound.js'
import { TextSpeech } from './text-speech.js'
import { WatchedTools } from './text-tools.js'

export interface TextCallOptions {
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

/** From the webhook to the socket: time for the backend to be ready, and none that a caller notices. */
const SOCKET_AFTER_MS = 200
/** The record of a call that was ended by force must come within this. */
const LAST_WORDS_MS = 12_000
/** Half a frame: text needs no finer clock, and each tick waits for two turns of the event loop. */
const TICK_MS = FRAME_MS / 2
const CLOCK_START_MS = 100_000

/**
 * Runs one call without audio, as fast as it goes: the gateway's own call (session, dialogue, tools over HTTP,
 * playout, escalation, record), with sound that stands for words on a clock of its own. Only webhooks, threads, the
 * socket and the speech models are left out. While a tool runs the clock keeps to real time, so that what a slow tool
 * does to a call is seen.
 */
export async function runTextCall(media: TextMedia, options: TextCallOptions): Promise<ObservedCall> {
  return new TextCall(media, options).run()
}

class TextCall {
  readonly #media: TextMedia
  readonly #options: TextCallOptions
  readonly #clock = new TextClock(CLOCK_START_MS)
  readonly #tools: WatchedTools
  readonly #caller: TextCaller
  readonly #speech: TextSpeech
  readonly #call: HostedCall
  readonly #speechPort: MessagePort
  readonly #sentences: string[] = []
  readonly #keys: string[] = []
  #task: CallTask | null = null
  #carrier: TextCarrier | null = null
  #openedMs = NaN
  #streamOver = false
  #ended: string | null = null
  #record: CallRecord | null = null
  #paced: { readonly realMs: number; readonly callMs: number } | null = null

  constructor(media: TextMedia, options: TextCallOptions) {
    this.#media = media
    this.#options = options
    const { hosted } = options
    this.#tools = new WatchedTools(options.tools)
    const { port1, port2 } = new MessageChannel()
    this.#speechPort = port2
    this.#caller = new TextCaller({
      script: options.script, rateHz: hosted.facts.stream.samplingRateHz, pace: options.pace, seed: options.seed,
      statuses: options.statuses, sentences: this.#sentences,
      onKeys: (keys) => { this.#keys.push(...keys) }, onHungUp: (why) => { this.#hangUp(why) },
    }, this.#clock.nowMs())
    this.#speech = new TextSpeech(port1, this.#caller, this.#clock.nowMs, this.#sentences)
    this.#call = new HostedCall({
      callSid: parseCallSid(`HD_${randomBytes(6).toString('hex')}`), agent: hosted.definition.name,
      from: options.from, to: options.to, direction: 'inbound',
    }, { ...hosted, backends: ['embedded'], shadow: null }, this.#context())
    this.#call.afterStreamUrl = 'http://text.invalid/after-stream'
  }

  async run(): Promise<ObservedCall> {
    try {
      this.#call.begin()
      this.#clock.after(SOCKET_AFTER_MS, () => { this.#open() })
      const { timeoutMs, signal } = this.#options
      const deadlineMs = CLOCK_START_MS + timeoutMs
      while (!this.#done && this.#clock.nowMs() < deadlineMs && signal?.aborted !== true) await this.#tick()
      const overdue = !this.#done ? (signal?.aborted === true ? 'it was stopped' : `the call did not end within ${timeoutMs / 1000} s`) : null
      if (overdue !== null) await this.#endByForce(overdue)
      return this.#observed(overdue)
    } finally {
      this.#clock.end()
      this.#speech.close()
    }
  }

  /** The gateway has closed its books, and the carrier has nothing left to play. */
  get #done(): boolean {
    return this.#record !== null && (this.#carrier === null || this.#ended !== null)
  }

  /** The call is ended for both sides, so that its record shows how far it came. */
  async #endByForce(why: string): Promise<void> {
    this.#hangUp(why)
    const untilMs = this.#clock.nowMs() + LAST_WORDS_MS
    while (this.#record === null && this.#clock.nowMs() < untilMs) await this.#tick()
  }

  #context(): MainThreadContext {
    const clock = this.#clock.nowMs
    const wallOffsetMs = this.#options.startedAtWallMs - CLOCK_START_MS
    return {
      clock, wallClock: () => clock() + wallOffsetMs, metrics: this.#media.metrics, log: createLog({ level: 'silent' }),
      callSeries: new CallSeries({ clock }), backendBooks: new BackendBooks(),
      carrier: null, journal: null, memory: this.#media.memory,
      callNumber: () => 1,
      run: (start) => this.#carry(start, wallOffsetMs),
      openSpeech: () => this.#speechPort,
      taskOver: () => undefined,
      over: (_call, record) => { this.#record = record },
      keepJournal: () => undefined,
      afterStream: new AfterStreamBehaviour('continues'), locks: new VerificationLocks(clock), record: null, openRecords: null, maskNumbers: true, handoffNews: () => undefined,
    }
  }

  #carry(start: CallStart, wallOffsetMs: number): Promise<CallEnd> {
    // There is one way to speech, and it does not break.
    const reopen = (): Promise<MessagePort> => Promise.reject(new GatewayError('SPEECH_FAULT', 'the call is over'))
    const speech = new SpeechClient({ port: this.#speechPort, reopen })
    const { latency, resamplers } = this.#media
    const task = new CallTask(start, {
      clock: this.#clock.nowMs, resamplers, vads: levelVad, latencyIn: latency, latencyOut: latency,
    }, {
      options: (capabilities) => sessionOptions(start, capabilities, wallOffsetMs),
      backend: (sink) => new EmbeddedBackend(sink, { speech, nowMs: this.#clock.nowMs, after: this.#clock.after }),
      report: () => ({ budget: null, shadow: null, failover: null, irregular: {} }),
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
    })
    this.#task = task
    task.begin()
    return task.done.finally(() => { this.#task = null })
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
    // What was posted to a port is delivered in the next round of the event loop, its answer in the one after.
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

  /** Real time counts while something outside is waited for. */
  async #keepPace(): Promise<void> {
    if (this.#tools.running === 0) {
      this.#paced = null
      return
    }
    this.#paced ??= { realMs: performance.now(), callMs: this.#clock.nowMs() }
    const aheadMs = (this.#clock.nowMs() - this.#paced.callMs) - (performance.now() - this.#paced.realMs)
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
      sendText: (text) => { if (text.includes('killAudio')) this.#caller.playout.kill() },
      close: () => { this.#afterStream() },
    }
    this.#call.attach(sink)
    this.#call.carrierState('stream-started')
  }

  /** The gateway has closed the socket: what is still queued plays on, then the document does. */
  #afterStream(): void {
    if (this.#streamOver) return
    this.#streamOver = true
    // Those were for the agent.
    this.#keys.length = 0
    const { afterStream, human } = this.#options
    const wait = (ms: number): Promise<void> => (this.#ended === null ? this.#clock.wait(ms) : Promise.resolve())
    const carrier = new TextCarrier({
      call: this.#call, afterStream, human, nowMs: this.#clock.nowMs, wait,
      speak: (text) => wait(this.#play(text)), takeKey: () => this.#keys.shift() ?? null,
      over: () => this.#ended !== null,
    })
    this.#carrier = carrier
    // Not from within the call that closed it.
    this.#clock.after(0, () => { void carrier.run().then((why) => { this.#completed(why) }) })
  }

  /** The carrier's own voice. @returns how long it takes, until the caller has heard it */
  #play(text: string): number {
    const rateHz = this.#options.hosted.facts.stream.samplingRateHz
    const pcm = taggedSound(this.#sentences.push(text) - 1, text, rateHz)
    // The zeros behind it let its end out of the carrier's hold-back.
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
    const carrierLines = (this.#carrier?.said ?? []).map((line) => ({ ...line, startMs: line.startMs - openedMs, endMs: line.endMs - openedMs }))
    return {
      callSid: this.#call.callSid, record, packet: this.#call.handoff,
      lines: linesOf(record, carrierLines),
      dials: this.#carrier?.dials ?? [],
      callerHeard: this.#caller.latency(openedMs),
      durationMs: this.#clock.nowMs() - CLOCK_START_MS,
      ended: this.#ended ?? 'the gateway ended it', complaints: this.#carrier?.complaints ?? [], overdue,
    }
  }
}
