import { DEADLINE_NAMES, type DeadlineName } from './call-deadlines.js'
import type { CallFeatures } from './call-feature.js'
import { CallLanguage } from './spoken/call-language.js'
import { CallLog } from './call-log.js'
import type { CallSessionOptions } from './call-options.js'
import { Deadlines } from './deadlines.js'
import type { CallCheckpoint, NewStream, SessionResume } from './documents/checkpoint.js'
import type { CallLogEntry } from './documents/log-entry.js'
import type { TurnRecord } from './documents/record.js'
import type { CallOutput, PlayoutView } from './events.js'
import type { Fact } from './facts.js'
import type { RequestName, Requests } from './requests.js'
import { Stream } from './resources/stream.js'
import { noUsage, type UsageSums } from './usage.js'

/** Outputs of a session that wait to be drained; beyond it marks and checkpoint notices are dropped. */
export const CALL_OUTPUTS_QUEUED_MAX = 256

/** The core of a call: its clock and deadlines, its outputs, its log, and the facts and requests of its parts. */
export abstract class CallCore {
  /** Events so far; each entry was an output. */
  readonly log: CallLog
  readonly usage: UsageSums
  readonly counters = {
    /** Chunks of audio of a dead response, dropped. */
    lateAudioDropped: 0,
    /** Transcripts and tool calls of a dead response, dropped. */
    lateEventsDropped: 0,
    /** Tool calls answered without running: unknown, invalid, too many, or made before in this turn. */
    toolCallsRefused: 0,
    /** Results that came after their call was cancelled, timed out or answered. */
    toolResultsLate: 0,
    silencePrompts: 0,
    /** Times that the caller's segment was ended because nobody understood it. */
    notUnderstood: 0,
    /** Times that the agent began to wait because the caller had put us on hold. */
    putOnHold: 0,
    /** Short sounds over the agent that were taken for listening. */
    backchannels: 0,
    /** Times that the caller asked for a moment, and got no answer. */
    askedToWait: 0,
    /** Marks and checkpoint notices that nobody drained in time. */
    outputsDropped: 0,
  }
  readonly options: CallSessionOptions
  readonly language: CallLanguage
  readonly playout: PlayoutView
  readonly deadlines = new Deadlines(DEADLINE_NAMES)
  readonly stream: Stream
  /** The previous worker's checkpoint; null for a new call. */
  readonly resume: CallCheckpoint | null
  /** Null unless the call goes on with a new stream. */
  readonly newStream: NewStream | null
  /** When the stream of a call that goes on here was opened, on the clock of the inputs; of a new call when it was announced. */
  readonly zeroMs: number
  /** The features of the call. An input goes to the first that takes it, a fact to each, in this order. */
  abstract readonly features: CallFeatures
  #nowMs: number
  /** Outputs from `#outputsHead` on wait to be drained. */
  readonly #outputs: CallOutput[] = []
  #outputsHead = 0
  /** The state differs from the last checkpoint; at most one notice per input. */
  #checkpointDue = false

  /** @param resume  state of the same call from its previous worker */
  constructor(options: CallSessionOptions, playout: PlayoutView, resume: SessionResume | undefined) {
    const checkpoint = resume?.checkpoint ?? null
    this.options = options
    this.playout = playout
    this.resume = checkpoint
    this.newStream = resume?.newStream ?? null
    this.language = new CallLanguage(options.languages, checkpoint?.language)
    this.#nowMs = options.preparedAtMs
    this.usage = { ...(checkpoint?.usage ?? noUsage()) }
    this.log = new CallLog(resume?.log)
    const openedWallMs = checkpoint?.streamOpenedWallMs ?? null
    this.zeroMs = openedWallMs === null ? options.preparedAtMs : openedWallMs - options.wallOffsetMs
    this.stream = new Stream(checkpoint?.gapMs ?? 0)
  }

  /** Every feature that hears such facts has acted on it when this returns. */
  tell(fact: Fact): void {
    this.features.hear(fact)
  }

  /** Asks the one owner of a request. */
  ask<Name extends RequestName>(name: Name, ...args: Parameters<Requests[Name]>): ReturnType<Requests[Name]> {
    const owner = this.features.owner(name)
    return (owner[name] as (...all: Parameters<Requests[Name]>) => ReturnType<Requests[Name]>)(...args)
  }

  /** Time of the newest input. */
  get nowMs(): number {
    return this.#nowMs
  }

  /** The time of an input; it never goes back. */
  clockTo(nowMs: number): void {
    this.#nowMs = Math.max(nowMs, this.#nowMs)
  }

  /** Time zero of transcript, turns and barge-ins, on the clock of the inputs. */
  get streamZeroMs(): number {
    return this.stream.openedAtMs ?? this.options.preparedAtMs
  }

  get streamMs(): number {
    return this.#nowMs - this.streamZeroMs
  }

  /** When the queue is full, only informative outputs are dropped, never actions. */
  out(output: CallOutput): void {
    if (output.type === 'backend-text')
      this.tell({ type: 'model-given', text: output.text, ofCaller: output.role === 'caller' })
    if (output.type === 'backend-dtmf') this.tell({ type: 'model-given', text: output.digit, ofCaller: true })
    const informs = output.type === 'mark' || output.type === 'checkpoint-due'
    if (informs && this.#outputs.length - this.#outputsHead >= CALL_OUTPUTS_QUEUED_MAX) this.counters.outputsDropped++
    else this.#outputs.push(output)
  }

  takeOutput(): CallOutput | null {
    const output = this.#outputs[this.#outputsHead]
    if (output === undefined) return null
    this.#outputsHead++
    if (this.#outputsHead === this.#outputs.length) {
      this.#outputs.length = 0
      this.#outputsHead = 0
    }
    return output
  }

  /** The state that a takeover needs has changed. */
  changed(): void {
    this.#checkpointDue = true
  }

  noticeCheckpoint(): void {
    if (!this.#checkpointDue) return
    this.#checkpointDue = false
    this.out({ type: 'checkpoint-due' })
  }

  mark(name: string, detail?: string): void {
    this.out(detail === undefined ? { type: 'mark', name } : { type: 'mark', name, detail })
  }

  /** Appends to the call log and emits the entry. */
  record(entry: CallLogEntry): void {
    this.log.append(entry)
    this.out({ type: 'log', entry })
    this.changed()
  }

  recordTurn(record: TurnRecord | null): void {
    if (record !== null) this.record({ kind: 'turn', record })
  }

  in(name: DeadlineName, afterMs: number): void {
    this.deadlines.set(name, this.#nowMs + afterMs)
  }

  clear(...names: readonly DeadlineName[]): void {
    for (const name of names) this.deadlines.clear(name)
  }
}
