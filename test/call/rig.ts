import type { CallerFrame } from '../../src/call/turns/frame-figures.js'
import { DEFAULT_CALL_OPTIONS, DEFAULT_ESCALATION_OPTIONS } from '../../src/call/call-options.js'
import type { CallSessionOptions } from '../../src/call/call-options.js'
import { CallSession } from '../../src/call/call-session.js'
import { CallLog } from '../../src/call/call-log.js'
import type { FeatureName } from '../../src/call/call-session.js'
import type { SessionResume } from '../../src/call/documents/checkpoint.js'
import type { BackendEvent } from '../../src/call/backend-events.js'
import type { CallBackRefusal, CallInput, CallOutput } from '../../src/call/events.js'
import { JournalWriter } from '../../src/call/journal/journal-writer.js'
import { PlayoutLedger } from '../../src/call/turns/playout-ledger.js'
import type { BargeInRecord, ToolCallRecord, TranscriptEntry, TurnRecord } from '../../src/call/documents/record.js'

const RATE_HZ = 16000
const FRAME_MS = 20
const FRAME_SAMPLES = (RATE_HZ * FRAME_MS) / 1000
const LEAD_MS = 100

/** Most tests' callers interrupt with the shortest sound that can. */
export const BARGE_IN = { ...DEFAULT_CALL_OPTIONS.bargeIn, backchannel: null }

export function options(overrides: Partial<CallSessionOptions> = {}): CallSessionOptions {
  return {
    ...DEFAULT_CALL_OPTIONS,
    // The tests of what follows from the end of a turn know when it is; end-of-turn.test.ts is about when.
    speech: { ...DEFAULT_CALL_OPTIONS.speech, endOfSpeechMs: 600, adaptive: false },
    bargeIn: BARGE_IN,
    callSid: 'HD_test',
    agent: 'order-status',
    preparedAtMs: 1000,
    wallOffsetMs: 1_700_000_000_000,
    serverVad: false,
    truncate: true,
    serverInterrupts: overrides.serverVad ?? false,
    weighsSpeech: false,
    toolNames: ['find_order', 'refund'],
    greeting: null,
    kickOffText: 'greet',
    ...overrides,
  }
}

export const escalation = {
  ...DEFAULT_ESCALATION_OPTIONS,
  announceText: 'Connecting you.',
  failedText: 'Nobody is free.',
}

/** Records by kind of log entry. */
interface Logged {
  readonly transcript: TranscriptEntry
  readonly 'tool-call': ToolCallRecord
  readonly turn: TurnRecord
  readonly 'barge-in': BargeInRecord
}

/**
 * A call session with its real playout ledger, on a clock that the test moves. Playout sends at real time with
 * a lead, as the gateway's does; the backend and the carrier are scripted by the test.
 */
export class Rig {
  nowMs = 1000
  readonly session: CallSession
  readonly ledger = new PlayoutLedger({ sampleRateHz: RATE_HZ })
  readonly log: { readonly atMs: number; readonly output: CallOutput }[] = []
  /** Built only from the session's outputs, like the log of the main thread. */
  readonly mirror: CallLog
  readonly journal: string[] = []
  /** Calendar time minus `nowMs`. */
  readonly wallOffsetMs: number
  readonly writer: JournalWriter
  /** Duration of each phrase of the gateway; null: synthesis never answers. */
  announceMs: number | null = 1000
  /** Answer to a call back that is asked for; undefined: none comes. */
  callBackRefusal: CallBackRefusal | null | undefined = null
  paused = false
  #appended = 0
  #sent = 0
  #endMs = 0
  #lastSentAtMs: number | null = null
  #announced: { readonly itemId: string; readonly samples: number }[] = []

  constructor(
    overrides: Partial<CallSessionOptions> = {},
    resume?: SessionResume,
    without: readonly FeatureName[] = [],
  ) {
    const all = options(overrides)
    this.wallOffsetMs = all.wallOffsetMs
    this.mirror = new CallLog(resume?.log)
    this.writer = new JournalWriter((line) => this.journal.push(line), {
      options: all,
      resume: resume ?? null,
      build: 'test',
      media: null,
    })
    this.session = new CallSession(all, this.writer.watch(this.ledger), resume, undefined, without)
  }

  /** A rig in mid-call: stream open, backend ready, greeting of 1 s heard. */
  static talking(overrides: Partial<CallSessionOptions> = {}): Rig {
    const rig = new Rig(overrides)
    rig.open()
    rig.ready()
    rig.answer(1, 'greeting', 1000, 'Hello.')
    rig.run(1500)
    rig.log.length = 0
    return rig
  }

  in(input: CallInput): void {
    this.writer.input(input, this.nowMs)
    this.session.handle(input, this.nowMs)
    this.#drain()
  }

  identity(identity: Readonly<Record<string, unknown>>): void {
    this.writer.identity(identity, this.nowMs)
    this.session.setIdentity(identity)
    this.#drain()
  }

  backend(event: BackendEvent): void {
    this.in({ type: 'backend', event })
  }

  open(): void {
    this.in({ type: 'stream-opened', sampleRateHz: RATE_HZ })
  }

  ready(): void {
    this.backend({ type: 'ready' })
  }

  /** Audio of the backend. @returns whether the session took it. */
  audio(generation: number, itemId: string, ms: number): boolean {
    this.writer.audio(itemId, generation, this.nowMs)
    const taken = this.session.acceptAudio(itemId, generation, this.nowMs)
    this.#drain()
    if (taken) this.#append(itemId, (ms * RATE_HZ) / 1000)
    return taken
  }

  /** A whole spoken response at once, as fast backends give it. */
  answer(generation: number, itemId: string, ms: number, text = 'Some words.'): void {
    this.backend({ type: 'turn-start', generation })
    this.audio(generation, itemId, ms)
    this.backend({ type: 'transcript', role: 'agent', text, final: true, itemId, generation })
    this.ledger.finished(itemId)
    this.backend({ type: 'audio-done', generation, itemId })
    this.backend({ type: 'turn-done', generation, status: 'completed' })
  }

  toolCall(callId: string, name: string, args: Record<string, unknown> = {}, generation = 1): void {
    this.backend({ type: 'tool-call', callId, name, args, generation })
  }

  heardWords(text: string, itemId = 'c1'): void {
    this.backend({ type: 'transcript', role: 'caller', text, final: true, itemId, generation: 0 })
  }

  /** Time passes with a quiet, or a speaking, caller. */
  run(ms: number, voiced = false): void {
    for (let passed = 0; passed < ms; passed += FRAME_MS) this.#tick(callerFrame(voiced))
  }

  /** @param as  where the frames are not those of `callerFrame` */
  speak(ms: number, as: Partial<CallerFrame> = {}): void {
    for (let passed = 0; passed < ms; passed += FRAME_MS) this.#tick({ ...callerFrame(true), ...as })
  }

  /** Time passes without any frame from the carrier. */
  stall(ms: number): void {
    for (let passed = 0; passed < ms; passed += FRAME_MS) this.#tick(null)
  }

  /** A phrase of the gateway is about to sound. */
  get announcing(): boolean {
    return this.announceMs !== null && this.#announced.length > 0
  }

  /** Time passes in one step, in which nothing sounds and no frame comes. */
  leap(untilMs: number): void {
    this.nowMs = Math.max(this.nowMs, untilMs - FRAME_MS)
    this.#tick(null)
  }

  all<Type extends CallOutput['type']>(type: Type): Extract<CallOutput, { readonly type: Type }>[] {
    return this.log.flatMap(({ output }) =>
      output.type === type ? [output as Extract<CallOutput, { readonly type: Type }>] : [],
    )
  }

  /** Records that became part of the call log, of one kind. */
  logged<Kind extends keyof Logged>(kind: Kind): Logged[Kind][] {
    return this.all('log').flatMap(({ entry }) => (entry.kind === kind ? [entry.record as Logged[Kind]] : []))
  }

  /** The only record of that kind. */
  onlyLogged<Kind extends keyof Logged>(kind: Kind): Logged[Kind] {
    const found = this.logged(kind)
    const first = found[0]
    if (first === undefined || found.length > 1)
      throw new Error(`${found.length} entries of kind ${kind}: ${this.types().join(' ')}`)
    return first
  }

  get toolCalls(): readonly ToolCallRecord[] {
    return this.session.log.toolCalls.map(({ record }) => record)
  }

  /** The only output of that type. */
  only<Type extends CallOutput['type']>(type: Type): Extract<CallOutput, { readonly type: Type }> {
    const found = this.all(type)
    const first = found[0]
    if (first === undefined || found.length > 1) {
      throw new Error(`${found.length} outputs of type ${type}: ${this.types().join(' ')}`)
    }
    return first
  }

  atMs(type: CallOutput['type']): number {
    const entry = this.log.find(({ output }) => output.type === type)
    if (entry === undefined) throw new Error(`no ${type}: ${this.types().join(' ')}`)
    return entry.atMs
  }

  /** State from which the next worker continues. */
  get resume(): SessionResume {
    return { checkpoint: this.session.checkpoint(), log: this.mirror.records() }
  }

  types(): string[] {
    return this.log
      .map(({ output }) => (output.type === 'log' ? output.entry.kind : output.type))
      .filter((type) => type !== 'mark' && type !== 'checkpoint-due')
  }

  texts(): string[] {
    return this.all('announce').map(({ text }) => text)
  }

  #tick(frame: CallerFrame | null): void {
    this.nowMs += FRAME_MS
    for (const { itemId, samples } of this.#announced.splice(0)) {
      this.#append(itemId, samples)
      this.ledger.finished(itemId)
    }
    while (!this.paused && this.#sent < this.#appended && this.#endMs < this.nowMs + LEAD_MS) {
      this.#sent += Math.min(FRAME_SAMPLES, this.#appended - this.#sent)
      this.#endMs = Math.max(this.#endMs, this.nowMs) + FRAME_MS
      this.#lastSentAtMs = this.nowMs
    }
    this.ledger.report(
      { sentSamples: this.#sent, playoutEndMs: this.#endMs, lastSentAtMs: this.#lastSentAtMs },
      this.nowMs,
    )
    for (const input of this.ledger.poll(this.nowMs)) this.in(input)
    const wake = this.session.nextWake()
    if (wake !== null && wake.atMs <= this.nowMs) this.in({ type: 'timer' })
    if (frame === null) return
    this.writer.frame(frame, this.nowMs)
    this.session.callerFrame(frame, this.nowMs)
    this.#drain()
  }

  #append(itemId: string, samples: number): void {
    this.ledger.appended(itemId, samples)
    this.#appended += samples
  }

  #drain(): void {
    // As in a worker: all outputs of an input are noted before one of them brings the next input.
    const inputs: CallInput[] = []
    for (let output = this.session.pollOutput(); output !== null; output = this.session.pollOutput()) {
      this.log.push({ atMs: this.nowMs, output })
      this.writer.output(output)
      if (output.type === 'log') this.mirror.append(output.entry)
      if (output.type === 'callback' && output.wish !== null && this.callBackRefusal !== undefined)
        inputs.push({ type: 'callback-answer', refusal: this.callBackRefusal })
      if (output.type === 'playout-pause') this.paused = true
      if (output.type === 'playout-resume' || output.type === 'playout-duck') this.paused = false
      if (output.type === 'playout-clear') {
        this.paused = false
        this.#announced = []
        this.#sent = this.#appended
        this.#endMs = this.nowMs
        this.ledger.cleared(this.#appended, this.nowMs)
      }
      if (output.type === 'announce-cancel') {
        const at = this.#announced.findIndex(({ itemId }) => itemId === output.itemId)
        if (at < 0) continue
        this.#announced.splice(at, 1)
        inputs.push({ type: 'announce-failed', itemId: output.itemId })
      }
      if (output.type === 'tones')
        this.#announced.push({ itemId: output.itemId, samples: (output.digits.length * RATE_HZ) / 5 })
      if (output.type === 'announce' && this.announceMs !== null) {
        this.#announced.push({ itemId: output.itemId, samples: (this.announceMs * RATE_HZ) / 1000 })
      }
    }
    for (const input of inputs) this.in(input)
  }
}

/** A frame of the caller at a usual level. */
export function callerFrame(voiced: boolean): CallerFrame {
  return { voiced, doubtful: false, levelDbfs: voiced ? -20 : -60, pitchHz: 0, early: false }
}
