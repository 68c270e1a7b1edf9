import type { BackendEvent } from '../../backends/backend.js'
import type { CallOutput } from '../../call/events.js'
import { ByType } from '../shared/by-type.js'
import type { ToCall } from '../shared/call-messages.js'
import { CallerLookUp } from './parts/caller-look-up.js'
import { DoNotCall } from './parts/do-not-call.js'
import { Keypad } from './parts/keypad.js'
import { McpServers } from './parts/mcp-servers.js'
import { Midnight } from './parts/midnight.js'
import { Model } from './parts/model.js'
import { PassedOn } from './parts/passed-on.js'
import { Phrases } from './parts/phrases.js'
import { SpeechRate } from './parts/speech-rate.js'
import { ToolRuns } from './parts/tool-runs.js'
import { Voice } from './parts/voice.js'
import { later } from './worker-door.js'
import type { ToolCallEvent, WorkerDoor } from './worker-door.js'
import type { WorkerPart, WorkerThings } from './worker-part.js'

/** Parts of a call on its worker, in the order in which they begin, receive events and end. */
const PARTS = [
  (door, of) => new CallerLookUp(door, of),
  (door, of) => new McpServers(door, of),
  (door, of) => new Midnight(door, of),
  (door, of) => new Model(door, of),
  (door, of) => new Keypad(door, of),
  (_door, of) => new ToolRuns(of),
  (door, of) => new SpeechRate(door, of),
  (door, of) => new Phrases(door, of),
  (_door, of) => new Voice(of),
  (door) => new DoNotCall(door),
  (door) => new PassedOn(door),
] satisfies readonly ((door: WorkerDoor, of: WorkerThings) => WorkerPart)[]

type AnyPart = ReturnType<(typeof PARTS)[number]>
type OutputsOf<Part> = Part extends { readonly outputs: infer All } ? keyof All : never
type MessagesOf<Part> = Part extends { readonly messages: infer All } ? keyof All : never
/** Outputs and messages that parts take. `WorkerCall` must take all others; otherwise the code does not compile. */
type CarriedOut = Extract<CallOutput, { type: OutputsOf<AnyPart> }>
type Taken = Extract<ToCall, { type: MessagesOf<AnyPart> }>

/** The parts of one call on its worker. */
export class WorkerParts {
  readonly #door: WorkerDoor
  readonly #parts: readonly WorkerPart[]
  readonly #outputs: ByType<CallOutput, [nowMs: number]>
  readonly #messages: ByType<ToCall>
  readonly #events: ByType<BackendEvent>
  readonly #ownTools: NonNullable<WorkerPart['ownTools']>
  /** Parts with work in each tick. */
  readonly #ticking: readonly WorkerPart[]

  constructor(door: WorkerDoor, of: WorkerThings) {
    const parts: readonly WorkerPart[] = PARTS.map((make) => make(door, of))
    this.#door = door
    this.#parts = parts
    this.#outputs = new ByType<CallOutput, [nowMs: number]>(parts.map(({ outputs }) => outputs))
    this.#messages = new ByType<ToCall>(parts.map(({ messages }) => messages))
    this.#events = new ByType<BackendEvent>(parts.map(({ events }) => events))
    this.#ownTools = Object.assign({}, ...parts.map(({ ownTools }) => ownTools)) as NonNullable<WorkerPart['ownTools']>
    this.#ticking = parts.filter((part) => part.tick !== undefined)
  }

  begin(): void {
    for (const part of this.#parts) part.begin?.()
  }

  /** @returns false if no part carries out this output */
  carryOut(output: CallOutput, nowMs: number): output is CarriedOut {
    if (output.type === 'run-tool' && Object.hasOwn(this.#ownTools, output.name)) {
      later(this.#door, () => this.#ownTools[output.name]?.(output.callId, output.args))
      return true
    }
    return this.#outputs.give(output, nowMs)
  }

  /** @returns false if no part takes this message */
  take(message: ToCall): message is Taken {
    return this.#messages.give(message)
  }

  hear(event: BackendEvent): void {
    this.#events.give(event)
  }

  toolCall(event: ToolCallEvent): ToolCallEvent {
    return this.#parts.reduce((call, part) => part.toolCall?.(call) ?? call, event)
  }

  digit(digit: string): void {
    for (const part of this.#parts) part.digit?.(digit)
  }

  tick(): void {
    for (const part of this.#ticking) part.tick?.()
  }

  end(): void {
    for (const part of this.#parts) part.end?.()
  }
}
