import type { CallCheckpoint } from '../../../../call/documents/checkpoint.js'
import type { KeptState } from '../../../../call/documents/kept-call.js'
import type { Handlers } from '../../../shared/by-type.js'
import type { FromCall } from '../../../shared/call-messages.js'
import type { CallEnding } from '../call-record.js'
import { CallRecorder } from '../call-recorder.js'
import { partsOf } from '../../kept-call.js'
import type { Listening } from '../../live-call.js'
import type { MainDoor } from '../main-door.js'
import type { MainPart, MainThings } from '../main-part.js'

type Of = Pick<MainThings, 'call' | 'origin' | 'agent' | 'consent' | 'legRateHz' | 'context'>

/**
 * Everybody who takes in both voices of a call: the recorder, where the caller agrees to it, and listeners at the console.
 * It hides from all of them what is keyed in on a private line.
 */
export class CallHearers implements MainPart {
  readonly #door: Pick<MainDoor, 'changed'>
  readonly #of: Of
  readonly #listeners = new Map<CallRecorder, () => void>()
  #recorder: CallRecorder | null = null
  /** The caller enters what only a tool may get. */
  #private = false
  /** Keys of ours sound that nobody is to read. */
  #secretTones = false

  constructor(door: Pick<MainDoor, 'changed'>, of: Of) {
    this.#door = door
    this.#of = of
  }

  readonly messages = {
    private: ({ on, fromMs }) => {
      this.#private = on
      // The first key was heard before it was recognised.
      if (on) this.current?.callerUnheard(fromMs)
    },
    'secret-tones': ({ on }) => {
      this.#secretTones = on
    },
    'recording-announced': () => {
      this.#of.consent.announced = true
      this.#recorder?.announced()
      this.#door.changed()
    },
    'recording-refused': () => {
      this.#of.consent.refused = true
      this.#recorder?.refused()
      this.#door.changed()
    },
  } satisfies Handlers<FromCall>

  keeps(): { readonly recording: KeptState['kept']['recording'] } {
    const { announced, refused } = this.#of.consent
    return { recording: { announced, refused, file: this.#recorder?.path ?? null } }
  }

  /** The stream has opened: a recording begins, unless this agent's calls are not recorded, or nothing is kept. */
  opened(openedAtMs: number): void {
    const { call, origin, agent, consent, legRateHz, context } = this.#of
    const { definition, facts } = agent.hosted
    const { recording, retention } = definition
    const { record } = context
    if (!recording.enabled || record == null || consent.refused) return
    const { announced } = consent
    // A call that is resumed begins a new part.
    const part = origin.before === null ? 1 : partsOf(origin.before).length + 1
    this.#recorder = new CallRecorder(record(call.callSid, legRateHz, announced, part, retention.recordingsDays), {
      rateHz: legRateHz,
      track: facts.stream.track,
      openedAtMs,
      announced,
    })
  }

  /** The stream is over, for the recorder and all listeners. */
  closed(nowMs: number): void {
    this.endRecording(nowMs)
    for (const over of [...this.#listeners.values()]) over()
  }

  /** The recording ends here; listeners go on. */
  endRecording(nowMs: number): void {
    this.#recorder?.end(nowMs)
  }

  /** A new session has the call, and knows nothing of a private line, unless it goes on from one. */
  begun(checkpoint: CallCheckpoint | null): CallCheckpoint | null {
    // Else the session that goes on does not know that the line is private, and never opens it.
    if (checkpoint?.privateKeys !== 'pressed') {
      this.#private = false
      this.#secretTones = false
    }
    return checkpoint
  }

  wake(nowMs: number): void {
    this.current?.pump(nowMs)
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
    const rateHz = this.#of.legRateHz
    const write = (_at: number, rows: Int16Array<ArrayBuffer>): boolean => {
      heard(rows)
      return true
    }
    const nothing = (): void => undefined
    const listener = new CallRecorder(
      { path: '', failed: false, write, announced: nothing, end: nothing, discard: nothing },
      {
        rateHz,
        track: this.#of.agent.hosted.facts.stream.track,
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
  inRecord(streamed: boolean): Pick<CallEnding, 'recording' | 'recordingState' | 'consent'> {
    const consent = this.#of.consent.state(streamed)
    if (consent === 'refused') return { recording: null, recordingState: 'off', consent }
    if (this.#recorder?.kept === true) return { recording: this.#recorder.path, recordingState: 'ready', consent }
    const records = this.#of.agent.definition.recording.enabled && streamed
    return { recording: null, recordingState: records ? 'missing' : 'off', consent }
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

type Hearer = Pick<CallRecorder, 'caller' | 'callerUnheard' | 'agent' | 'agentCut' | 'pump'>

/** Listeners to one call at once. */
const LISTENERS_OF_CALL_MAX = 4
/** A listener hears the call this late: jitter of the line has its place, and each message holds a tenth of a second. */
const LISTEN_DELAY_MS = 300
const LISTEN_BATCH_MS = 100
