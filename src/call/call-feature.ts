import type { DeadlineName } from './call-deadlines.js'
import type { CallCheckpoint } from './documents/checkpoint.js'
import type { CallInput } from './events.js'
import type { Fact } from './facts.js'
import { UNANSWERED } from './requests.js'
import type { RequestName, Requests } from './requests.js'

/**
 * Handles one subject of a call, for example the end of the call. It has deadlines, facts, requests and a part of the
 * checkpoint. Features do not depend on each other. For turn-taking see `TurnTaking`.
 */
export interface CallFeature {
  /** Names of the requests that this feature owns. The feature has a method of the same name for each request. */
  readonly answers?: readonly RequestName[]
  /**
   * Acts on a deadline that has passed. Each deadline belongs to one feature or to turn-taking. One method needs less
   * memory than a table of handlers in each call.
   */
  due?(name: DeadlineName): void
  /**
   * True while the caller waits for this feature or answers its question. During this time silence does not lead to a
   * prompt.
   */
  readonly busy?: boolean
  /** Takes an input. @returns true if no other feature may get the input */
  input?(input: CallInput): boolean
  /** Types of the facts that this feature receives. */
  readonly hears?: readonly Fact['type'][]
  /** Acts on a fact of a type in `hears`. */
  hear?(fact: Fact): void
  /** Acts when an item has ended, because the caller has heard its last sample or the rest cannot be heard. */
  itemOver?(itemId: string, over: 'heard' | 'cut'): void
  /** Acts after an input was taken and processed completely. */
  settled?(input: CallInput): void
  /** Acts after each change of the call. */
  afterwards?(): void
  /** Returns this feature's part of the state that a takeover needs. */
  checkpoint?(): Partial<CallCheckpoint>
}

/**
 * Indexes of features: for each method, each fact and each request, the features that take part. Calls with equal lists
 * of features share one object.
 */
class Routes {
  readonly input: readonly number[]
  readonly due: readonly number[]
  readonly itemOver: readonly number[]
  readonly settled: readonly number[]
  readonly afterwards: readonly number[]
  readonly checkpoint: readonly number[]
  readonly busy: readonly number[]
  readonly #hearers = new Map<Fact['type'], number[]>()
  readonly #owners = new Map<RequestName, number>()

  constructor(features: readonly CallFeature[]) {
    const having = (name: keyof CallFeature): number[] =>
      features.flatMap((feature, index) => (name in feature ? [index] : []))
    this.input = having('input')
    this.due = having('due')
    this.itemOver = having('itemOver')
    this.settled = having('settled')
    this.afterwards = having('afterwards')
    this.checkpoint = having('checkpoint')
    this.busy = having('busy')
    for (const [index, { hears = [], answers = [] }] of features.entries()) {
      for (const type of hears) this.#hearers.set(type, [...this.hearers(type), index])
      for (const name of answers) this.#owners.set(name, index)
    }
  }

  hearers(type: Fact['type']): readonly number[] {
    return this.#hearers.get(type) ?? NONE
  }

  owner(name: RequestName): number | undefined {
    return this.#owners.get(name)
  }
}

const NONE: readonly number[] = []
const routesOf = new WeakMap<readonly string[], Routes>()

/** Features of a call, in the order in which they receive inputs and facts. */
export class CallFeatures {
  readonly #all: readonly CallFeature[]
  readonly #routes: Routes

  /** @param names  names of the features; calls with equal lists of names have equal features */
  constructor(names: readonly string[], all: readonly CallFeature[]) {
    this.#all = all
    let routes = routesOf.get(names)
    if (routes === undefined) {
      routes = new Routes(all)
      routesOf.set(names, routes)
    }
    this.#routes = routes
  }

  /** Passes an input to the first feature that takes it. @returns false if no feature takes it */
  input(input: CallInput): boolean {
    return this.#routes.input.some((index) => this.#all[index]?.input?.(input))
  }

  hear(fact: Fact): void {
    for (const index of this.#routes.hearers(fact.type)) this.#all[index]?.hear?.(fact)
  }

  due(name: DeadlineName): void {
    for (const index of this.#routes.due) this.#all[index]?.due?.(name)
  }

  itemOver(itemId: string, over: 'heard' | 'cut'): void {
    for (const index of this.#routes.itemOver) this.#all[index]?.itemOver?.(itemId, over)
  }

  settled(input: CallInput): void {
    for (const index of this.#routes.settled) this.#all[index]?.settled?.(input)
  }

  afterwards(): void {
    for (const index of this.#routes.afterwards) this.#all[index]?.afterwards?.()
  }

  /** Returns each feature's part of the state that a takeover needs. */
  checkpoint(): (Partial<CallCheckpoint> | undefined)[] {
    return this.#routes.checkpoint.map((index) => this.#all[index]?.checkpoint?.())
  }

  /** True if the caller waits for a feature, or answers the question of a feature. */
  get busy(): boolean {
    return this.#routes.busy.some((index) => this.#all[index]?.busy === true)
  }

  /** Returns the feature that owns a request. */
  owner(name: RequestName): Requests {
    const index = this.#routes.owner(name)
    // A feature has a method for each request in `answers`.
    return (index === undefined ? UNANSWERED : this.#all[index]) as Requests
  }
}
