import { randomUUID } from 'node:crypto'

/** Bound of the calls that the workspace keeps. The oldest finished call is dropped first. */
const CALLS_KEPT_MAX = 10_000

/** A number of the workspace. */
export interface OwnedNumber {
  readonly id: string
  readonly e164: string
  status: string
  voiceUrl: string | null
  eventsUrl: string | null
}

/** The end of a call. */
export interface LegEnd {
  readonly status: 'completed' | 'failed' | 'no_answer' | 'busy'
  readonly hangupCause: string
  readonly answeredWallMs: number | null
  readonly endedWallMs: number
  /** Both sides of the call as a WAV file; null if it was not recorded. */
  readonly recording: Uint8Array | null
}

/** A call in the carrier's records. */
export interface CallEntry {
  readonly id: string
  readonly leg: CarrierCall
  readonly startedWallMs: number
  end: LegEnd | null
  /** When the final record is written, and when the recording is ready (`performance.now()`). */
  writtenAtMs: number
  recordedAtMs: number
}

export interface WorkspaceOptions {
  readonly owned?: readonly OwnedNumber[]
  readonly inventory?: readonly InventoryNumber[]
  /** Time from a call's end to its final record (default 500 ms), and to its recording (default 1000 ms). */
  readonly writeAfterMs?: number
  readonly recordAfterMs?: number
}

/** Everything that one customer of the simulated carrier has: numbers, calls, conference rooms. */
export class Workspace {
  readonly numbers: OwnedNumber[]
  readonly inventory: InventoryNumber[]
  readonly #options: WorkspaceOptions
  readonly #calls = new Map<string, CallEntry>()
  /** Conference rooms: who is in each, and what closes it for them. */
  readonly #rooms = new Map<string, Map<RoomEntry, () => void>>()

  constructor(options: WorkspaceOptions = {}) {
    this.#options = options
    this.numbers = [...(options.owned ?? [])]
    this.inventory = [...(options.inventory ?? [])]
  }

  /** @param name the call's SID or its id */
  call(name: string): CallEntry | undefined {
    return this.#calls.get(name) ?? [...this.#calls.values()].find((entry) => entry.id === name)
  }

  /** Newest first. */
  calls(): CallEntry[] {
    return [...this.#calls.values()].reverse()
  }

  /** @returns null if the inventory does not have it */
  claim(name: string): OwnedNumber | null {
    const index = this.inventory.findIndex((number) => number.inventoryId === name)
    const [found] = index < 0 ? [] : this.inventory.splice(index, 1)
    if (found === undefined) return null
    const number: OwnedNumber = {
      id: `num_${randomUUID().slice(0, 8)}`,
      e164: found.e164,
      status: 'active',
      voiceUrl: null,
      eventsUrl: null,
    }
    this.numbers.push(number)
    return number
  }

  // --- events of calls ----------------------------------------------------------------------------------------

  began(leg: CarrierCall, startedWallMs: number): void {
    if (this.#calls.size >= CALLS_KEPT_MAX) {
      const oldest = [...this.#calls].find(([, entry]) => entry.end !== null)
      if (oldest !== undefined) this.#calls.delete(oldest[0])
    }
    this.#calls.set(leg.callSid, {
      id: randomUUID(),
      leg,
      startedWallMs,
      end: null,
      writtenAtMs: Infinity,
      recordedAtMs: Infinity,
    })
  }

  over(leg: CarrierCall, end: LegEnd): void {
    const entry = this.#calls.get(leg.callSid)
    if (entry === undefined) return
    const nowMs = performance.now()
    entry.end = end
    entry.writtenAtMs = nowMs + (this.#options.writeAfterMs ?? 500)
    const recordAfterMs = this.#options.recordAfterMs ?? 1000
    entry.recordedAtMs = nowMs + recordAfterMs
    if (end.recording === null) return
    const { byteLength } = end.recording
    setTimeout(() => {
      leg.postEvent('call.recording.ready', { recording_id: entry.id, size_bytes: byteLength })
    }, recordAfterMs).unref()
  }

  enter(name: string, entry: RoomEntry): { readonly closed: Promise<void>; left(): void } {
    const room = this.#rooms.get(name) ?? new Map<RoomEntry, () => void>()
    this.#rooms.set(name, room)
    for (const other of room.keys()) {
      other.leg.joinedBy(entry.leg)
      entry.leg.joinedBy(other.leg)
    }
    return {
      closed: new Promise((resolve) => room.set(entry, resolve)),
      left: () => {
        if (!room.delete(entry) || (!entry.endOnExit && room.size > 0)) return
        for (const close of room.values()) close()
        this.#rooms.delete(name)
      },
    }
  }
}

/** A number that can be claimed. */
interface InventoryNumber {
  readonly inventoryId: string
  readonly e164: string
  readonly monthlyPriceMinor: number
}

/** A running call, for the REST API, the call records and the conference rooms. */
export interface CarrierCall {
  readonly callSid: string
  readonly from: string
  readonly to: string
  readonly direction: 'inbound' | 'outbound'
  /** The call has been answered. */
  readonly answered: boolean
  readonly ended: boolean
  /** `POST /v1/calls/{id}/hangup`. */
  hangUp(): void
  /** Calls a human, who is then heard on this leg. @returns false if one is already called or connected */
  supervise(number: string): boolean
  stopSupervision(): void
  /** Another leg has joined the conference room of this one. */
  joinedBy(other: CarrierCall): void
  /** Posts an event in the carrier's envelope to the number's events URL. */
  postEvent(kind: string, data: Readonly<Record<string, unknown>>): void
}

interface RoomEntry {
  readonly leg: CarrierCall
  /** The room closes when this leg leaves. */
  readonly endOnExit: boolean
}
