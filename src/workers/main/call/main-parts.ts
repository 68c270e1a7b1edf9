import type { CallCheckpoint } from '../../../call/documents/checkpoint.js'
import type { KeptState } from '../../../call/documents/kept-call.js'
import type { CallRecord } from '../../../call/documents/record.js'
import type { CarrierState, HumanEvent } from '../../../sautikit/carrier-state.js'
import { ByType } from '../../shared/by-type.js'
import type { FromCall } from '../../shared/call-messages.js'
import type { continuationOf } from '../kept-call.js'
import type { MainDoor } from './main-door.js'
import type { MainPart, MainThings } from './main-part.js'
import { BackendNews } from './parts/backend-news.js'
import { CallHearers } from './parts/hearers.js'
import { CallParty } from './parts/party.js'
import { CallWaits } from './parts/call-waits.js'
import { EscalationDriver } from './parts/escalation-driver.js'
import { JournalLines } from './parts/journal-lines.js'
import { SpeechPorts } from './parts/speech-ports.js'
import { VerificationAttempts } from './parts/verification-attempts.js'

/** Parts of a call on the main thread, in the order in which they receive events. */
const PARTS = {
  backendNews: (_door, of) => new BackendNews(of),
  party: (door, of) => new CallParty(door, of),
  hearers: (door, of) => new CallHearers(door, of),
  journal: (_door, of) => new JournalLines(of),
  speechPorts: (door, of) => new SpeechPorts(door, of),
  attempts: (door, of) => new VerificationAttempts(door, of),
  waits: (door, of) => new CallWaits(door, of),
  escalation: (door, of) => new EscalationDriver(door, of),
} satisfies Readonly<Record<string, (door: MainDoor, of: MainThings) => MainPart>>

type Parts = { readonly [Name in keyof typeof PARTS]: ReturnType<(typeof PARTS)[Name]> }
type AnyPart = Parts[keyof Parts]
type MessagesOf<Part> = Part extends { readonly messages: infer All } ? keyof All : never
/** Messages that parts take. `MainThreadCall` must take all other messages; otherwise the code does not compile. */
type Taken = Extract<FromCall, { type: MessagesOf<AnyPart> }>
type All<Each> = (Each extends unknown ? (one: Each) => void : never) extends (all: infer Whole) => void ? Whole : never
type Kept = All<KeptOf<AnyPart>>
type KeptOf<Part> = Part extends { keeps(): infer One } ? One : never
type Recorded = All<RecordedOf<AnyPart>>
type RecordedOf<Part> = Part extends { inRecord(streamed: boolean): infer One } ? One : never

/** The parts of one call on the main thread. */
export class MainParts {
  /** Parts that the edge calls by their names. */
  readonly by: Parts
  readonly #all: readonly MainPart[]
  readonly #messages: ByType<FromCall>
  /** Parts with work in each tick. */
  readonly #waking: readonly MainPart[]

  constructor(door: MainDoor, of: MainThings) {
    const made = Object.entries(PARTS).map(([name, make]) => [name, make(door, of)] as const)
    this.by = Object.fromEntries(made) as unknown as Parts
    this.#all = made.map(([, part]) => part)
    this.#messages = new ByType<FromCall>(this.#all.map(({ messages }) => messages))
    this.#waking = this.#all.filter((part) => part.wake !== undefined)
  }

  /** True while a part of the call still has work. */
  get active(): boolean {
    return this.#all.some(({ active }) => active === true)
  }

  /** @returns false if no part takes this message */
  take(message: FromCall): message is Taken {
    return this.#messages.give(message)
  }

  wake(nowMs: number): void {
    for (const part of this.#waking) part.wake?.(nowMs)
  }

  resume(before: KeptState, goesOn: ReturnType<typeof continuationOf>): void {
    for (const part of this.#all) part.resume?.(before, goesOn)
  }

  begun(checkpoint: CallCheckpoint | null): CallCheckpoint | null {
    return this.#all.reduce((from, part) => (part.begun === undefined ? from : part.begun(from)), checkpoint)
  }

  opened(nowMs: number): void {
    for (const part of this.#all) part.opened?.(nowMs)
  }

  closed(nowMs: number): void {
    for (const part of this.#all) part.closed?.(nowMs)
  }

  withoutStream(): void {
    for (const part of this.#all) part.withoutStream?.()
  }

  carrierState(state: CarrierState): void {
    for (const part of this.#all) part.carrierState?.(state)
  }

  human(event: HumanEvent): void {
    for (const part of this.#all) part.human?.(event)
  }

  lost(): void {
    for (const part of this.#all) part.lost?.()
  }

  ended(): void {
    for (const part of this.#all) part.ended?.()
  }

  abandon(sends: boolean): void {
    for (const part of this.#all) part.abandon?.(sends)
  }

  recorded(record: CallRecord): void {
    for (const part of this.#all) part.recorded?.(record)
  }

  release(): void {
    for (const part of this.#all) part.release?.()
  }

  keeps(): Kept {
    return Object.assign({}, ...this.#all.map((part) => part.keeps?.())) as Kept
  }

  inRecord(streamed: boolean): Recorded {
    return Object.assign({}, ...this.#all.map((part) => part.inRecord?.(streamed))) as Recorded
  }
}
