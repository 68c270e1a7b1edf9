import { NO_CALL } from './worker-pulse.js'

/** Why a media worker ended. `exit`: the thread was ended from within or from outside; `fault`: by an error that belongs to no call. */
export const WORKER_DEATH_CAUSES = ['silent', 'heap', 'buffers', 'exit', 'fault'] as const
export type WorkerDeathCause = (typeof WORKER_DEATH_CAUSES)[number]

/** A call that a dead worker carried. */
export interface Carried {
  readonly number: number
  readonly callSid: string
  /** How often it was suspected before. */
  readonly suspicions: number
}

/**
 * What a worker's death says of one of its calls. `suspect`: that its code ended the worker; `one-of-many`: somebody's code
 * did, and it cannot be told whose; `bystander`: it was another call.
 */
export type PartInDeath = 'suspect' | 'one-of-many' | 'bystander'

/** Rejection of a call's task: its whole worker is gone. */
export class WorkerLostError extends Error {
  readonly part: PartInDeath
  /** The call that is suspected; null where nobody can say. */
  readonly suspect: string | null

  constructor(why: string, part: PartInDeath, suspect: string | null, cause?: unknown) {
    super(why, { cause })
    this.name = 'WorkerLostError'
    this.part = part
    this.suspect = suspect
  }
}

/**
 * Who of a dead worker's calls may have ended it: the one whose code ran, as far as that is known; else those that were
 * suspected before, because two deaths with the same call in them are no accident; else all.
 */
export function suspectsOf(carried: readonly Carried[], running: number): readonly Carried[] {
  const ran = running === NO_CALL ? undefined : carried.find(({ number }) => number === running)
  if (ran !== undefined) return [ran]
  const before = carried.filter(({ suspicions }) => suspicions > 0)
  return before.length > 0 ? before : carried
}

/** The part of each call in the death of its worker, by the call's number. */
export function partsOf(carried: readonly Carried[], running: number): ReadonlyMap<number, PartInDeath> {
  const suspects = new Set(suspectsOf(carried, running))
  const suspected: PartInDeath = suspects.size === 1 ? 'suspect' : 'one-of-many'
  return new Map(carried.map((call) => [call.number, suspects.has(call) ? suspected : 'bystander']))
}
