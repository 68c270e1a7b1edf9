import type { DeadlineName } from './call-deadlines.js'
import type { CallCheckpoint } from './documents/checkpoint.js'
import type { CallInput } from './events.js'
import type { Fact } from './facts.js'
import { UNANSWERED } from './requests.js'
import type { RequestName, Requests } from './requests.js'

/**
 * One subject of a call beside frames, turns, barge-in and playout, which are turn-taking's (`TurnTaking`): when it acts by itself,
 * the facts that it hears, the requests that it answers, and its part of the checkpoint. It knows no other feature.
 */
export interface CallFeature {
  /** Requests that this feature owns; it has a method of each one's name. */
  readonly answers?: readonly RequestName[]
  /** A deadline is over; each is one feature's, or turn-taking's. A method and no table, which each call would have a copy of. */
  due?(name: DeadlineName): void
  /** The caller waits for it, or answers it: silence is no reason for a prompt. */
  readonly busy?: boolean
  /** Takes an input. @returns true: no other feature gets it */
  input?(input: CallInput): boolean
  /** Facts that it hears. */
  readonly hears?: readonly Fact['type'][]
  /** Something happened in the call: one of `hears`. */
  hear?(fact: Fact): void
  /** The caller has heard the last sample of an item, or its rest was cut or cannot be said. */
  itemOver?(itemId: string, over: 'heard' | 'cut'): void
  /** An input was taken and is settled. */
  settled?(input: CallInput): void
  /** After each change of the call. */
  afterwards?(): void
  /** Its part of the state that a takeover needs. */
  checkpoint?(): Partial<CallCheckpoint>
}

/**
 * Which features of a list take what, as indices in their order. Most facts and inputs are of few features, and all calls with the
 * same features share it.
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

/** The features of a call, in order. */
export class CallFeatures {
  readonly #all: readonly CallFeature[]
  readonly #routes: Routes

  /** @param names  of the features; calls with the same list have the same features */
  constructor(names: readonly string[], all: readonly CallFeature[]) {
    this.#all = all
    let routes = routesOf.get(names)
    if (routes === undefined) {
      routes = new Routes(all)
      routesOf.set(names, routes)
    }
    this.#routes = routes
  }

  /** Gives an input to the first that takes it. @returns false: none does */
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

  /** Each feature's part of the state that a takeover needs. */
  checkpoint(): (Partial<CallCheckpoint> | undefined)[] {
    return this.#routes.checkpoint.map((index) => this.#all[index]?.checkpoint?.())
  }

  /** The caller waits for one of them, or answers it. */
  get busy(): boolean {
    return this.#routes.busy.some((index) => this.#all[index]?.busy === true)
  }

  /** The one owner of a request. */
  owner(name: RequestName): Requests {
    const index = this.#routes.owner(name)
    // A feature has a method for each request in `answers`.
    return (index === undefined ? UNANSWERED : this.#all[index]) as Requests
  }
}
