import { consentOf } from '../../agents/file/definition.js'
import type { CallSid } from '../../core/ids.js'
import type { LegRateHz } from '../../core/units.js'
import type { KeptState } from '../../call/documents/kept-call.js'
import type { FromCall } from '../shared/call-messages.js'
import type { CallEnding } from './call-record.js'
import { CallRecorder } from './call-recorder.js'
import type { Listening } from './live-call.js'
import type { HostedAgent, MainThreadContext } from './main-thread-context.js'

/**
 * Everybody who takes in both voices of a call: the recorder, where the caller agrees to it, and listeners at the console.
 * It alone knows what the caller has heard and said of the recording, and hides from all of them what is keyed in on a
 * private line.
 */
export class CallHearers {
  readonly #call: HeardCall
  readonly #record: MainThreadContext['record']
  readonly #listeners = new Map<CallRecorder, () => void>()
  #recorder: CallRecorder | null = null
  /** The caller has heard that the call is recorded, or nothing has to be said. */
  #announced: boolean
  #refused: boolean
  /** The caller enters what only a tool may get. */
  #private = false
  /** Keys of ours sound that nobody is to read. */
  #secretTones = false

  /** @param before  of a call whose node or stream was lost: what its caller had heard and said */
  constructor(call: HeardCall, record: MainThreadContext['record'], before: KeptState | null) {
    this.#call = call
    this.#record = record
    const noConsent = call.hosted().definition.recording.consent === null
    this.#refused = before?.kept.recording.refused ?? false
    this.#announced = before === null ? noConsent : before.kept.recording.announced || noConsent
  }

  /** The caller has said no: neither recording, journal nor words of the call are kept. */
  get refused(): boolean {
    return this.#refused
  }

  get kept(): KeptState['kept']['recording'] {
    return { announced: this.#announced, refused: this.#refused, file: this.#recorder?.path ?? null }
  }

  /** The stream has opened: a recording begins, unless this agent's calls are not recorded, or nothing is kept. */
  open(openedAtMs: number): void {
    const { callSid, legRateHz } = this.#call
    const { definition, facts } = this.#call.hosted()
    const { recording, retention } = definition
    const record = this.#record
    if (!recording.enabled || record == null || this.#refused) return
    const announced = this.#announced
    this.#recorder = new CallRecorder(
      record(callSid, legRateHz, announced, this.#call.part(), retention.recordingsDays),
      { rateHz: legRateHz, track: facts.stream.track, openedAtMs, announced },
    )
  }

  /** The stream is over, for the recorder and all listeners. */
  end(nowMs: number): void {
    this.endRecording(nowMs)
    for (const over of [...this.#listeners.values()]) over()
  }

  /** The recording ends here; listeners go on. */
  endRecording(nowMs: number): void {
    this.#recorder?.end(nowMs)
  }

  /** The session's news of the recording and of a private line. */
  take(news: HearersNews): void {
    switch (news.type) {
      case 'private':
        this.#private = news.on
        // The first key was heard before it was recognised.
        if (news.on) this.current?.callerUnheard(news.fromMs)
        return
      case 'secret-tones':
        this.#secretTones = news.on
        return
      case 'recording-announced':
        this.#announced = true
        return this.#recorder?.announced()
      case 'recording-refused':
        this.#refused = true
        return this.#recorder?.refused()
    }
  }

  /** The agent that has the call now records it, and its caller does not know. */
  notAnnounced(): void {
    this.#announced = false
  }

  /** A new session has the call, and knows nothing of a private line. */
  makePublic(): void {
    this.#private = false
    this.#secretTones = false
  }

  caller(bytes: Uint8Array, nowMs: number): void {
    this.current?.caller(bytes, nowMs, this.#private || this.#secretTones)
  }

  /** Hears the call: in most calls nobody or the recorder alone, which costs no walk over listeners. */
  get current(): Hearer | null {
    if (this.#secretTones) return this.#unheard
    return this.#listeners.size === 0 ? this.#recorder : this.#all
  }

  listen(nowMs: number, heard: (rows: Int16Array<ArrayBuffer>) => void, over: () => void): Listening | null {
    if (this.#listeners.size >= LISTENERS_OF_CALL_MAX) return null
    const rateHz = this.#call.legRateHz
    const write = (_at: number, rows: Int16Array<ArrayBuffer>): boolean => {
      heard(rows)
      return true
    }
    const nothing = (): void => undefined
    const listener = new CallRecorder(
      { path: '', failed: false, write, announced: nothing, end: nothing, discard: nothing },
      {
        rateHz,
        track: this.#call.hosted().facts.stream.track,
        openedAtMs: nowMs,
        announced: true,
        live: { batchMs: LISTEN_BATCH_MS, holdMs: LISTEN_DELAY_MS },
      },
    )
    const stop = (): void => void this.#listeners.delete(listener)
    this.#listeners.set(listener, () => {
      stop()
      over()
    })
    return { rateHz, stop }
  }

  /** The outcome of the recording, for the call's record. @param streamed  the call has had a stream */
  ending(streamed: boolean): Pick<CallEnding, 'recording' | 'recordingState' | 'consent'> {
    const consent = this.consent(streamed)
    if (consent === 'refused') return { recording: null, recordingState: 'off', consent }
    if (this.#recorder?.kept === true) return { recording: this.#recorder.path, recordingState: 'ready', consent }
    const records = this.#call.hosted().definition.recording.enabled && streamed
    return { recording: null, recordingState: records ? 'missing' : 'off', consent }
  }

  /** The state of what is said to the caller about the recording, or about what is written down; null where nothing is said. */
  consent(streamed: boolean): CallEnding['consent'] {
    if (this.#refused) return 'refused'
    if (consentOf(this.#call.hosted().definition) === null || !streamed) return null
    return this.#announced ? 'told' : 'not-told'
  }

  readonly #all: Hearer = {
    caller: (bytes, nowMs, isPrivate) => this.#each((one) => one.caller(bytes, nowMs, isPrivate)),
    agent: (samples, playedAtMs) => this.#each((one) => one.agent(samples, playedAtMs)),
    agentCut: (nowMs) => this.#each((one) => one.agentCut(nowMs)),
    callerUnheard: (fromMs) => this.#each((one) => one.callerUnheard(fromMs)),
    pump: (nowMs) => this.#each((one) => one.pump(nowMs)),
  }

  /** All of them while tones sound that nobody is to read. */
  readonly #unheard: Hearer = {
    ...this.#all,
    agent: (samples, playedAtMs) => this.#all.agent(new Int16Array(samples.length), playedAtMs),
  }

  #each(give: (one: Hearer) => void): void {
    if (this.#recorder !== null) give(this.#recorder)
    for (const listener of this.#listeners.keys()) give(listener)
  }
}

type HearersNews = Extract<
  FromCall,
  { readonly type: 'private' | 'secret-tones' | 'recording-announced' | 'recording-refused' }
>

interface HeardCall {
  readonly callSid: CallSid
  readonly legRateHz: LegRateHz
  /** The agent that has the call now. */
  readonly hosted: () => HostedAgent
  /** Number of the recording's part, from 1: a call that is resumed begins a new one. */
  readonly part: () => number
}

type Hearer = Pick<CallRecorder, 'caller' | 'callerUnheard' | 'agent' | 'agentCut' | 'pump'>

/** Listeners to one call at once. */
const LISTENERS_OF_CALL_MAX = 4
/** A listener hears the call this late: jitter of the line has its place, and each message holds a tenth of a second. */
const LISTEN_DELAY_MS = 300
const LISTEN_BATCH_MS = 100
