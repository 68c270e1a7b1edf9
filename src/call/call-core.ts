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

/** Maximum number of outputs that wait to be drained. Above this number, marks and checkpoint notices are dropped. */
export const CALL_OUTPUTS_QUEUED_MAX = 256

/** Core of a call: its clock and deadlines, its outputs, its log, and the facts and requests that features exchange. */
export abstract class CallCore {
  /** Log of all events so far. Each of its entries was also sent as an output. */
  readonly log: CallLog
  readonly usage: UsageSums
  readonly counters = {
    /** Number of audio chunks that were dropped, because their response had been cancelled. */
    lateAudioDropped: 0,
    /** Number of transcripts and tool calls that were dropped: their response was cancelled, or the words were repeated. */
    lateEventsDropped: 0,
    /**
     * Tool calls that were refused and did not run, because of an unknown tool, invalid arguments, too many calls, or a
     * repetition in this turn.
     */
    toolCallsRefused: 0,
    /** Tool results that arrived after the tool call was cancelled, timed out or answered. */
    toolResultsLate: 0,
    silencePrompts: 0,
    /** Number of segments of caller sound that were ended because no words were recognised in them. */
    notUnderstood: 0,
    /** Number of times that the caller put the agent on hold and the agent began to wait. */
    putOnHold: 0,
    /** Number of short sounds over the agent that counted as backchannels. */
    backchannels: 0,
    /** Number of times that the caller asked for a moment and therefore was not answered. */
    askedToWait: 0,
    /** Number of marks and checkpoint notices that were dropped, because the outputs were not drained in time. */
    outputsDropped: 0,
  }
  readonly options: CallSessionOptions
  readonly language: CallLanguage
  readonly playout: PlayoutView
  readonly deadlines = new Deadlines(DEADLINE_NAMES)
  readonly stream: Stream
  /** Checkpoint of the previous worker; null for a new call. */
  readonly resume: CallCheckpoint | null
  /** The new stream on which the call continues; null if the call did not lose its stream. */
  readonly newStream: NewStream | null
  /**
   * Time zero of the call, on the clock of the inputs: the time of its webhook. If a previous worker opened the stream,
   * time zero is the time of that opening.
   */
  readonly zeroMs: number
  /**
   * Features of the call, in the order in which they receive inputs and facts. An input goes only to the first feature
   * that takes it.
   */
  abstract readonly features: CallFeatures
  #nowMs: number
  /** Outputs; entries from index `#outputsHead` on wait to be drained. */
  readonly #outputs: CallOutput[] = []
  #outputsHead = 0
  /** True if the state differs from the last checkpoint. At most one checkpoint notice is sent per input. */
  #checkpointDue = false

  /** @param resume  state of this call from its previous worker */
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

  /**
   * Sends a fact to every feature that listens for it. When this method returns, all these features have acted on the
   * fact.
   */
  tell(fact: Fact): void {
    this.features.hear(fact)
  }

  /** Sends a request to the feature that owns it. */
  ask<Name extends RequestName>(name: Name, ...args: Parameters<Requests[Name]>): ReturnType<Requests[Name]> {
    const owner = this.features.owner(name)
    return (owner[name] as (...all: Parameters<Requests[Name]>) => ReturnType<Requests[Name]>)(...args)
  }

  /** Time of the newest input, in milliseconds. */
  get nowMs(): number {
    return this.#nowMs
  }

  /** Sets the clock to the time of an input. The clock never goes back. */
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

  /**
   * Queues an output. When the queue is full, an output that only informs is dropped. An output that requests an action
   * is never dropped.
   */
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

  /** Notes a change of the state that a takeover needs. */
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

  /** Appends an entry to the call log and emits the entry. */
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
