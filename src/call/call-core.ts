import { SPEECH_ITEMS_MAX } from '../core/limits.js'
import { BargeIn } from './barge-in.js'
import type { CallCounters, CallState } from './call-machine.js'
import type { CallSessionOptions } from './call-options.js'
import { CallLog } from './call-log.js'
import type { CallLogEntry } from './call-log.js'
import { CallerSpeech } from './caller-speech.js'
import type { SessionResume } from './checkpoint.js'
import { Deadlines } from './deadlines.js'
import type { CallOutput, PlayoutView, SpeechKind } from './events.js'
import { Outputs } from './outputs.js'
import type { EscalationRecord, TurnRecord } from './record.js'
import { ToolLedger } from './tool-ledger.js'
import { Transcript } from './transcript.js'
import { Turns } from './turns.js'

/** Every reason for which a session wants to be called again. */
export const DEADLINES = [
  'backend-ready', 'answer', 'end-of-speech', 'not-understood', 'barge-in-resume', 'barge-in-settle', 'filler', 'tool-limit', 'silence',
  'duration', 'words-heard', 'escalation-step', 'hold', 'offer', 'consent', 'quiet-goodbye', 'quiet-goodbye-limit', 'stream-close',
] as const
export type DeadlineName = (typeof DEADLINES)[number]

/** One piece of agent speech, of the backend or of the gateway. */
export interface SpeechItem {
  readonly itemId: string
  readonly kind: SpeechKind
  /** Null: the gateway's own. */
  readonly generation: number | null
  started: boolean
  /** Heard to its end, or thrown away. */
  over: 'no' | 'heard' | 'cut'
}

/**
 * What the parts of one session share: its books, its deadlines, the present time and which response is alive. It
 * decides nothing; the parts (`conversation`, `tool-desk`, `silence`, `handover`, `ending`) do.
 */
export class CallCore {
  readonly options: CallSessionOptions
  readonly playout: PlayoutView
  readonly outputs = new Outputs()
  readonly deadlines = new Deadlines<DeadlineName>(DEADLINES)
  readonly log: CallLog
  readonly transcript: Transcript
  readonly turns = new Turns()
  readonly tools: ToolLedger
  readonly bargeIn: BargeIn
  readonly speech: CallerSpeech
  readonly items = new Map<string, SpeechItem>()
  readonly counters: CallCounters = {
    lateAudioDropped: 0, lateEventsDropped: 0, toolCallsRefused: 0, toolResultsLate: 0, silencePrompts: 0, notUnderstood: 0, outputsDropped: 0,
  }
  readonly usage = { inputTokens: 0, outputTokens: 0, audioInMs: 0, audioOutMs: 0 }
  state: CallState = 'waiting'
  nowMs: number
  streamOpenedAtMs: number | null = null
  streamClosedAtMs: number | null = null
  greetingMs: number | null = null
  /** The highest generation that was heard of; all at or below the fence are dead, all above the ceiling unwanted. */
  generationSeen = 0
  generationFence = 0
  generationCeiling = Infinity
  /** The response that is being given; null when the backend is done. */
  responseGeneration: number | null = null
  /** The response that greets: the first one of a call that the backend greets. */
  greetingGeneration: number | null = null
  greetingItemId: string | null = null
  greeted = false
  /** Whether the caller has been told that they are recorded, where that is to be said. */
  consent: 'due' | 'saying' | 'said' = 'due'
  consentItemId: string | null = null
  /** The caller's sound was given up: nobody understands it, and it begins no segment (`Patience`). */
  deaf = false
  /** Who took the call is not known yet: the agent keeps silent and does not listen. */
  screening = false
  backendReady = false
  backendDead = false
  backendClosed = false
  /** When the backend last gave a sign of a response. */
  backendActiveAtMs = -Infinity
  /** When the caller was last known to speak, and the agent to be heard. */
  callerActiveAtMs = -Infinity
  agentHeardAtMs = -Infinity
  /** The agent has said something since the caller last did. */
  agentSpokeLast = false
  identity: Readonly<Record<string, unknown>> | null
  escalation: EscalationRecord | null = null
  /** Set by whatever a takeover must know; the session turns it into one notice an input. */
  checkpointDue = false
  nextAnnouncement: number

  constructor(options: CallSessionOptions, playout: PlayoutView, resume: SessionResume | undefined) {
    this.options = options
    this.playout = playout
    this.nowMs = options.preparedAtMs
    this.log = new CallLog(resume?.log)
    this.transcript = new Transcript((record) => this.record({ kind: 'transcript', record }))
    this.tools = new ToolLedger(options.callSid, (call) => this.record({ kind: 'tool-call', ...call }), resume)
    this.bargeIn = new BargeIn(options.bargeIn)
    this.speech = new CallerSpeech(options.speech)
    this.identity = resume?.checkpoint.identity ?? null
    this.greeted = resume?.checkpoint.greeted ?? false
    this.greetingMs = resume?.checkpoint.greetingMs ?? null
    this.nextAnnouncement = resume?.checkpoint.nextAnnouncement ?? 1
    for (const entry of resume?.checkpoint.openTranscript ?? []) {
      if (entry.text.trim() !== '') this.record({ kind: 'transcript', record: { ...entry, text: entry.text.trim() } })
    }
  }

  /** Time zero of transcript, turns and barge-ins. */
  get streamZeroMs(): number {
    return this.streamOpenedAtMs ?? this.options.preparedAtMs
  }

  get streamMs(): number {
    return this.nowMs - this.streamZeroMs
  }

  /** The stream is open and not being closed by us. */
  get streaming(): boolean {
    return this.streamOpenedAtMs !== null && this.state !== 'closed' && this.state !== 'ended'
  }

  /** The backend can be spoken to. */
  get backendUsable(): boolean {
    return !this.backendDead && !this.backendClosed
  }

  /** Agent sound is at the caller's ear or on its way, or the backend is still giving a response. */
  get agentTalking(): boolean {
    return this.playout.audible(this.nowMs) || this.playout.pendingMs() > 0 || this.responseGeneration !== null
  }

  get sounding(): boolean {
    return this.playout.audible(this.nowMs) || this.playout.pendingMs() > 0
  }

  out(output: CallOutput): void {
    this.outputs.push(output)
  }

  mark(name: string, detail?: string): void {
    this.out(detail === undefined ? { type: 'mark', name } : { type: 'mark', name, detail })
  }

  in(name: DeadlineName, afterMs: number): void {
    this.deadlines.set(name, this.nowMs + afterMs)
  }

  /** Something is part of the call's record now. */
  record(entry: CallLogEntry): void {
    this.log.append(entry)
    this.out({ type: 'log', entry })
    this.checkpointDue = true
  }

  turn(record: TurnRecord | null): void {
    if (record !== null) this.record({ kind: 'turn', record })
  }

  /** Has a phrase of the gateway spoken, behind whatever playout holds. @returns its item. */
  announce(text: string, kind: SpeechKind): string {
    const itemId = `gw-${this.nextAnnouncement++}`
    this.addItem({ itemId, kind, generation: null, started: false, over: 'no' })
    this.transcript.agentWords(itemId, text, true, this.streamMs)
    this.out({ type: 'announce', itemId, text, kind })
    this.checkpointDue = true
    return itemId
  }

  addItem(item: SpeechItem): void {
    if (this.items.size >= SPEECH_ITEMS_MAX) {
      for (const id of this.items.keys()) {
        this.items.delete(id)
        break
      }
    }
    this.items.set(item.itemId, item)
  }

  /** Some item of the backend or the gateway is on its way to the caller's ear. */
  get anyItemOpen(): boolean {
    for (const item of this.items.values()) if (item.over === 'no') return true
    return false
  }

  /** A response was heard of; false when it is dead or unwanted. */
  noteGeneration(generation: number): boolean {
    if (generation > this.generationSeen) this.generationSeen = generation
    return generation > this.generationFence && generation <= this.generationCeiling
  }

  /**
   * Gives up everything the agent was saying and would still say: playout emptied, late audio fenced off, words
   * entered as interrupted, backend told what was heard.
   */
  cutAgent(heard: { readonly itemId: string | null; readonly heardMs: number }, fence: number): void {
    const item = heard.itemId === null ? undefined : this.items.get(heard.itemId)
    // An item of the gateway's own, or of a response that is over, means nothing to the backend.
    const known = this.options.truncate && item !== undefined && item.generation !== null
      && (item.over === 'no' || item.generation === this.responseGeneration)
    let backendSpoke = this.responseGeneration !== null
    for (const open of this.items.values()) {
      if (open.over !== 'no') continue
      if (open.generation !== null) backendSpoke = true
      open.over = 'cut'
    }
    this.out({ type: 'playout-clear' })
    if (backendSpoke && this.backendUsable) {
      this.out({
        type: 'backend-interrupt',
        itemId: known ? heard.itemId : null,
        playedMs: known ? Math.max(0, Math.round(heard.heardMs)) : 0,
      })
    }
    this.transcript.cut(this.streamMs, (itemId) => (itemId === heard.itemId ? heard.heardMs : this.playout.heardMs(itemId, this.nowMs)))
    this.generationFence = Math.max(this.generationFence, fence)
    this.responseGeneration = null
    this.checkpointDue = true
  }

  /** `cutAgent` at this moment, when there is something to cut. */
  hushAgent(): void {
    if (this.bargeIn.paused) {
      this.bargeIn.abandon()
      this.deadlines.clear('barge-in-resume')
    } else if (!this.agentTalking && !this.anyItemOpen) {
      return
    }
    const itemId = this.playout.currentItem(this.nowMs)
    const heardMs = itemId === null ? 0 : this.playout.heardMs(itemId, this.nowMs)
    this.cutAgent({ itemId, heardMs }, this.generationSeen)
  }

  closeBackend(reason: string): void {
    if (this.backendClosed) return
    this.backendClosed = true
    this.out({ type: 'backend-close', reason })
  }

  cancelTools(): void {
    const callIds = this.tools.cancel(this.tools.runningIds(), this.nowMs, this.streamZeroMs)
    if (callIds.length > 0) this.out({ type: 'cancel-tools', callIds })
    this.deadlines.clear('tool-limit')
    this.deadlines.clear('filler')
  }

  /** Counts that the parts keep for themselves. */
  syncCounters(): void {
    const counters = this.counters
    counters.toolResultsLate = this.tools.resultsLate
    counters.outputsDropped = this.outputs.dropped
  }
}
