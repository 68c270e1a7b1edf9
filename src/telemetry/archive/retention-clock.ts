import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { jsonObject } from '../../core/json.js'
import { DAY_MS } from '../../core/units.js'
import { replaceFile } from './whole-file.js'

/** File in the data folder that a person creates if there is a fault, but the machine's clock is right. */
const CLOCK_IS_RIGHT = 'clock-is-right'
const MARK = 'clock.json'
/** No gateway is older. An earlier time is the time of a machine whose clock was never set, such as 1970. */
const EARLIEST_MS = Date.UTC(2020, 0, 1)
/** Difference in ms that is not a fault: more than any time zone and any leap second, and less than a retention. */
const JUMP_MS = DAY_MS
/** Pause in ms between two writes of the mark. */
const MARK_PAUSE_MS = 10 * 60_000

/** Reason why retention does not use the machine's clock. */
export interface ClockFault {
  /** `ahead`: the clock has jumped forward, or the gateway was stopped for long. `behind`: the clock has jumped back. */
  readonly kind: 'ahead' | 'behind'
  /** Difference in ms between the machine's clock and the time that the data folder shows; more than a day. */
  readonly byMs: number
}

interface RetentionClockOptions {
  readonly folder: string
  /** Newest calendar time of the files in the data folder; null without files. */
  readonly newestMs: number | null
  /** Calendar time of the machine. */
  readonly wallMs: () => number
  /** Monotonic time. */
  readonly steadyMs: () => number
}

/**
 * Calendar time for the age of stored data. A machine's clock may be wrong, and an age by a wrong clock deletes data for
 * ever. So the machine's clock is used while it is at most a day from the *expected* time: the newest known time plus the
 * time since then by the monotonic clock. The newest known time is in a file, because a gateway restarts.
 *
 *     trusted --the clock is over a day from the expected time--> ahead, behind     (ages use the expected time)
 *     ahead   --nothing would be deleted, the fleet's store has the same time, or a person agrees--> trusted
 *     behind  --the fleet's store has the same time, or a person agrees--> trusted
 *     ahead, behind --the clock returns--> trusted
 *
 * Synchronous, for a thread without other work. Methods throw errors of the file system.
 */
export class RetentionClock {
  readonly #options: RetentionClockOptions
  #knownMs: number
  #knownAtMs: number
  #writtenAtMs = -Infinity

  constructor(options: RetentionClockOptions) {
    this.#options = options
    const wallMs = options.wallMs()
    const marked = markedMs(options.folder) ?? options.newestMs
    this.#knownMs = Math.max(marked ?? wallMs, EARLIEST_MS)
    this.#knownAtMs = options.steadyMs()
  }

  /** Time from which ages are counted. */
  get ageMs(): number {
    const wallMs = this.#options.wallMs()
    return this.#isNear(wallMs) ? wallMs : this.#expectedMs
  }

  /** Time for names and dates of new data: never so early that the data would expire too soon. */
  get dateMs(): number {
    return Math.max(this.#options.wallMs(), this.ageMs)
  }

  /** Null while the machine's clock is used. */
  get fault(): ClockFault | null {
    const byMs = this.#options.wallMs() - this.#expectedMs
    if (Math.abs(byMs) <= JUMP_MS) return null
    return { kind: byMs > 0 ? 'ahead' : 'behind', byMs: Math.abs(byMs) }
  }

  /** Notes the present time; call it at least once a minute. Ends a fault if a person has agreed. */
  look(): void {
    const { folder, wallMs } = this.#options
    const agreed = join(folder, CLOCK_IS_RIGHT)
    if (this.fault !== null && existsSync(agreed)) {
      rmSync(agreed, { force: true })
      this.trust()
    }
    if (this.#isNear(wallMs())) this.#know(wallMs())
    const steadyMs = this.#options.steadyMs()
    if (steadyMs - this.#writtenAtMs >= MARK_PAUSE_MS) this.mark()
  }

  /** Uses the machine's clock from now on. */
  trust(): void {
    this.#know(this.#options.wallMs())
    this.mark()
  }

  /** Writes the mark, for the next start. */
  mark(): void {
    const { folder, steadyMs } = this.#options
    this.#writtenAtMs = steadyMs()
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    replaceFile(
      join(folder, MARK),
      `${JSON.stringify({ atMs: Math.round(this.#expectedMs), fault: this.fault })}\n`,
      false,
    )
  }

  get #expectedMs(): number {
    return this.#knownMs + this.#options.steadyMs() - this.#knownAtMs
  }

  #isNear(wallMs: number): boolean {
    return Math.abs(wallMs - this.#expectedMs) <= JUMP_MS
  }

  #know(wallMs: number): void {
    this.#knownMs = Math.max(wallMs, EARLIEST_MS)
    this.#knownAtMs = this.#options.steadyMs()
  }
}

/** @returns the fault that a gateway with this data folder has noted; null without one */
export function notedClockFault(folder: string): ClockFault | null {
  const { fault } = markIn(folder)
  if (typeof fault !== 'object' || fault === null) return null
  const { kind, byMs } = fault as Partial<ClockFault>
  return (kind === 'ahead' || kind === 'behind') && typeof byMs === 'number' ? { kind, byMs } : null
}

/** @returns a sentence for operators */
export function clockFaultText({ kind, byMs }: ClockFault, folder: string): string {
  const days = Math.round(byMs / DAY_MS)
  const text = `the clock is ${days} ${days === 1 ? 'day' : 'days'} ${kind === 'ahead' ? 'ahead of' : 'behind'} the time that ${folder} shows`
  const held = kind === 'ahead' ? 'nothing more is deleted for its age' : 'ages are counted from that time'
  return `${text}: ${held}. Set the clock; or, if it is right: touch ${join(folder, CLOCK_IS_RIGHT)}`
}

/** True if a file's date is from a clock that was never set. */
export function isUnsetDate(atMs: number): boolean {
  return atMs < EARLIEST_MS
}

function markedMs(folder: string): number | null {
  const { atMs } = markIn(folder)
  return typeof atMs === 'number' ? atMs : null
}

function markIn(folder: string): Readonly<Record<string, unknown>> {
  try {
    return jsonObject(readFileSync(join(folder, MARK))) ?? {}
  } catch {
    return {}
  }
}
