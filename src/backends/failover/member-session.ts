import { BACKEND_ITEMS_KEPT } from '../../core/limits.js'
import type { SampleRateHz } from '../../core/units.js'
import type { StreamResampler } from '../../media/resample/resampler.js'
import type { Backend, BackendEvent, BackendSession, BackendSink } from '../backend.js'
import type { CircuitPass } from './circuit-breaker.js'
import type { SessionRole } from '../watch.js'
import type { FailoverMember } from './options.js'

/** The numbers of a call's answers over all its sessions: each higher than all before. */
export interface Numbering {
  highest: number
}

/** What a session's events are told to, already in the call's own numbers. */
export interface SessionOwner {
  sessionEvent(session: MemberSession, event: BackendEvent): void
  sessionAudio(session: MemberSession, pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, generation: number): void
  /** Something came of a session that is over, or of an answer that nobody remembers. */
  late(): void
}

/**
 * One session of one member: its backend, the caller's audio at its rate, and the translation of its numbers and ids to
 * the call's.
 *
 *     new --connect--> connecting --resolved--> ready --retire--> over
 *     connecting --rejected, fatal, too slow, retire--> over
 *
 * In `over` nothing that the backend still says is heard.
 */
export class MemberSession implements BackendSink {
  readonly index: number
  readonly member: FailoverMember
  readonly backend: Backend
  readonly abort = new AbortController()
  phase: 'new' | 'connecting' | 'ready' | 'over' = 'new'
  /** Which session of the call this is, from 1; part of every id that it gives out. */
  serial = 0
  pass: CircuitPass | null = null
  /** What it was opened for, and when. */
  role: SessionRole = 'first'
  connectAtMs = 0
  /** Tool answers that it knew when it was connected. */
  answersKnown = 0
  /** What was said before it was connected is not all that was said before it takes over. */
  stale = false
  readonly #owner: SessionOwner
  readonly #numbering: Numbering
  #resampler: StreamResampler | null = null
  #out = new Int16Array(0)
  readonly #generations = new Map<number, number>()
  #innerHighest = 0
  #audioItem = ''
  #audioItemOut = ''

  constructor(index: number, member: FailoverMember, owner: SessionOwner, numbering: Numbering) {
    this.index = index
    this.member = member
    this.#owner = owner
    this.#numbering = numbering
    this.backend = member.create(this)
  }

  get name(): string {
    return this.backend.capabilities.name
  }

  /**
   * @param resampler  from the call's rate to the backend's, this session's own from now on; null where they are the same
   * @param frameSamplesMax  the most that `feed` is given
   */
  connect(session: BackendSession, resampler: StreamResampler | null, frameSamplesMax: number): Promise<void> {
    this.phase = 'connecting'
    this.#resampler = resampler
    this.#out = new Int16Array(resampler?.outputSamplesMax(frameSamplesMax) ?? 0)
    return this.backend.connect(session, this.abort.signal)
  }

  /** Caller audio at the call's rate, a frame or less. */
  feed(pcm: Int16Array): void {
    if (this.#resampler === null) {
      this.backend.pushAudio(pcm)
      return
    }
    const samples = this.#resampler.process(pcm, this.#out)
    this.backend.pushAudio(samples === this.#out.length ? this.#out : this.#out.subarray(0, samples))
  }

  /** Ids of the call are `serial.id`: two sessions of one service may give the same one. */
  out(id: string): string {
    return `${this.serial}.${id}`
  }

  /** The backend's own id, or null for one of another session. */
  inner(id: string): string | null {
    const prefix = `${this.serial}.`
    return id.startsWith(prefix) ? id.slice(prefix.length) : null
  }

  retire(reason: string): Promise<void> {
    if (this.phase === 'over') return Promise.resolve()
    this.phase = 'over'
    this.pass?.released()
    this.abort.abort()
    this.#resampler?.release()
    return this.backend.close(reason)
  }

  event(event: BackendEvent): void {
    if (this.phase === 'over') return this.#owner.late()
    const translated = this.#translated(event)
    if (translated !== null) this.#owner.sessionEvent(this, translated)
  }

  audio(pcm: Int16Array, sampleRateHz: SampleRateHz, itemId: string, innerGeneration: number): void {
    const generation = this.phase === 'over' ? null : this.#generation(innerGeneration)
    if (generation === null) return this.#owner.late()
    if (itemId !== this.#audioItem) {
      this.#audioItem = itemId
      this.#audioItemOut = this.out(itemId)
    }
    this.#owner.sessionAudio(this, pcm, sampleRateHz, this.#audioItemOut, generation)
  }

  #translated(event: BackendEvent): BackendEvent | null {
    switch (event.type) {
      case 'turn-start':
      case 'turn-done':
      case 'interrupted': {
        const generation = this.#generation(event.generation)
        return generation === null ? null : { ...event, generation }
      }
      case 'audio-done':
      case 'transcript': {
        const generation = this.#generation(event.generation)
        return generation === null ? null : { ...event, generation, itemId: this.out(event.itemId) }
      }
      case 'tool-call': {
        const generation = this.#generation(event.generation)
        return generation === null ? null : { ...event, generation, callId: this.out(event.callId) }
      }
      case 'tool-cancel':
        return { ...event, callIds: event.callIds.map((callId) => this.out(callId)) }
      default:
        return event
    }
  }

  /** The call's number of an answer; null for one that is older than anybody remembers. */
  #generation(inner: number): number | null {
    const known = this.#generations.get(inner)
    if (known !== undefined) return known
    // The words of a caller carry the number of the answer that they will cause, so it may be the first to be seen.
    if (inner <= this.#innerHighest && this.#generations.size > 0) return null
    this.#innerHighest = inner
    const generation = ++this.#numbering.highest
    this.#generations.set(inner, generation)
    if (this.#generations.size > BACKEND_ITEMS_KEPT) {
      for (const oldest of this.#generations.keys()) {
        this.#generations.delete(oldest)
        break
      }
    }
    return generation
  }
}
