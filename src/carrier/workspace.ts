import { randomUUID } from 'node:crypto'
import { LegBridge } from './caller-leg.js'

/** Default maximum number of stored calls. The oldest ended call is dropped first. */
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
  /** Time at which the final record is written, and time at which the recording is ready (`performance.now()`). */
  writtenAtMs: number
  recordedAtMs: number
}

export interface WorkspaceOptions {
  readonly owned?: readonly OwnedNumber[]
  readonly inventory?: readonly InventoryNumber[]
  /** Time from a call's end to its final record (default 500 ms), and to its recording (default 1000 ms). */
  readonly writeAfterMs?: number
  readonly recordAfterMs?: number
  /** Maximum number of stored calls; the oldest ended call is dropped first. */
  readonly callsKeptMax?: number
}

/** All data of one customer of the simulated carrier: numbers, calls, conference rooms. */
export class Workspace {
  readonly numbers: OwnedNumber[]
  readonly inventory: InventoryNumber[]
  readonly #options: WorkspaceOptions
  readonly #calls = new Map<string, CallEntry>()
  readonly #rooms = new Map<string, Room>()

  constructor(options: WorkspaceOptions = {}) {
    this.#options = options
    this.numbers = [...(options.owned ?? [])]
    this.inventory = [...(options.inventory ?? [])]
  }

  /** @param name the call's SID or its id */
  call(name: string): CallEntry | undefined {
    return this.#calls.get(name) ?? [...this.#calls.values()].find((entry) => entry.id === name)
  }

  /** @returns the calls, newest first */
  calls(): CallEntry[] {
    return [...this.#calls.values()].reverse()
  }

  /** @returns null if the inventory does not contain the number */
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
    if (this.#calls.size >= (this.#options.callsKeptMax ?? CALLS_KEPT_MAX)) {
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

  enter(name: string, entry: RoomEntry): { readonly bridge: LegBridge; readonly closed: Promise<void>; left(): void } {
    const { bridge, people }: Room = this.#rooms.get(name) ?? { bridge: new LegBridge(), people: new Map() }
    this.#rooms.set(name, { bridge, people })
    for (const other of people.keys()) {
      other.leg.joinedBy(entry.leg)
      entry.leg.joinedBy(other.leg)
    }
    return {
      bridge,
      closed: new Promise((resolve) => people.set(entry, resolve)),
      left: () => {
        if (!people.delete(entry) || (!entry.endOnExit && people.size > 0)) return
        for (const close of people.values()) close()
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
  /** True if the call has been answered. */
  readonly answered: boolean
  readonly ended: boolean
  /** `POST /v1/calls/{id}/hangup`. */
  hangUp(): void
  /**
   * Calls a human and connects the human to this leg.
   * @returns false if a human is already called or connected
   */
  supervise(number: string): boolean
  stopSupervision(): void
  /** Called when another leg joined this leg's conference room. */
  joinedBy(other: CarrierCall): void
  /** Posts an event in the carrier's envelope to the number's events URL. */
  postEvent(kind: string, data: Readonly<Record<string, unknown>>): void
}

interface RoomEntry {
  readonly leg: CarrierCall
  /** True if the room closes when this leg leaves. */
  readonly endOnExit: boolean
}

/** A conference room. */
interface Room {
  readonly bridge: LegBridge
  /** Legs in the room, each with the function that is called when the room closes. */
  readonly people: Map<RoomEntry, () => void>
}
