/** What a list of backends leaves to the call's next life: which member served it, and that one's own state. */
export interface FailoverSnapshot {
  readonly version: 1
  readonly member: string
  /** Which session of the call it was: tool calls that are unanswered carry it in their ids. */
  readonly serial: number
  /** The highest number that an answer had. */
  readonly generation: number
  readonly state: unknown
}

/** A checkpoint of this wrapper; null for anything else, and then the history has to do. */
export function snapshotOf(resume: unknown): FailoverSnapshot | null {
  if (typeof resume !== 'object' || resume === null) return null
  const { version, member, serial, generation } = resume as Partial<FailoverSnapshot>
  const good = version === 1 && typeof member === 'string' && isCount(serial) && isCount(generation)
  return good ? resume as FailoverSnapshot : null
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
