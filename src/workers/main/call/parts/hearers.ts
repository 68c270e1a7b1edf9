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
 * Receivers of both voices of a call: the recorder, if the caller agrees, and listeners at the console. They do not
 * hear the DTMF digits of a private line.
 */
export class CallHearers implements MainPart {
  readonly #door: Pick<MainDoor, 'changed'>
  readonly #of: Of
  readonly #listeners = new Map<CallRecorder, () => void>()
  #recorder: CallRecorder | null = null
  /** True while the caller enters DTMF digits that only a tool may receive. */
  #private = false
  /** True while we play secret DTMF tones. */
  #secretTones = false

  constructor(door: Pick<MainDoor, 'changed'>, of: Of) {
    this.#door = door
    this.#of = of
  }

  readonly messages = {
    private: ({ on, fromMs }) => {
      this.#private = on
      // The first digit's tone was audible before the digit was recognised, so earlier audio is silenced too.
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

  /**
   * Begins a recording when the stream opens. If the agent's calls are not recorded, or the caller has refused, the
   * recording does not begin.
   */
  opened(openedAtMs: number): void {
    const { call, origin, agent, consent, legRateHz, context } = this.#of
    const { definition, facts } = agent.hosted
    const { recording, retention } = definition
    const { record } = context
    if (!recording.enabled || record == null || consent.refused) return
    const { announced } = consent
    // The recording of a resumed call begins a new part.
    const part = origin.before === null ? 1 : partsOf(origin.before).length + 1
    this.#recorder = new CallRecorder(record(call.callSid, legRateHz, announced, part, retention.recordingsDays), {
      rateHz: legRateHz,
      track: facts.stream.track,
      openedAtMs,
      announced,
    })
  }

  /** Ends the recorder and all listeners with the stream. */
  closed(nowMs: number): void {
    this.endRecording(nowMs)
    for (const over of [...this.#listeners.values()]) over()
  }

  /** Ends the recording only; listeners continue. */
  endRecording(nowMs: number): void {
    this.#recorder?.end(nowMs)
  }

  /**
   * Notes that a new session has the call. The line is public again, unless the session continues from a session with a
   * private line.
   */
  begun(checkpoint: CallCheckpoint | null): CallCheckpoint | null {
    // A new session does not know that the line was private, so it would never make the line public again.
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

  /**
   * Receiver of the call's audio. In most calls it is null, or the recorder without a list around it, which is faster.
   */
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

  /** The outcome of the recording for the call's record. @param streamed  the call has had a stream */
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

  /** Receiver that replaces all listeners while secret DTMF tones sound. */
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

/** Maximum number of listeners to one call. */
const LISTENERS_OF_CALL_MAX = 4
/**
 * Delay in ms of the audio for a listener; with this delay, jitter does not matter. Each message contains 100 ms of
 * audio.
 */
const LISTEN_DELAY_MS = 300
const LISTEN_BATCH_MS = 100
