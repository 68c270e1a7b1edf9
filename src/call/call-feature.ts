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
  /** Something happened in the call. */
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

/** Features that have the optional member `Name`. */
type Having<Name extends keyof CallFeature> = readonly (CallFeature & Required<Pick<CallFeature, Name>>)[]

/** The features of a call, in order: all, and those that have each method. Most inputs and facts are of few features. */
export class CallFeatures {
  readonly input: Having<'input'>
  readonly hear: Having<'hear'>
  readonly due: Having<'due'>
  readonly itemOver: Having<'itemOver'>
  readonly settled: Having<'settled'>
  readonly afterwards: Having<'afterwards'>
  readonly checkpoint: Having<'checkpoint'>
  readonly #busy: readonly CallFeature[]
  readonly #owners = new Map<RequestName, Requests>()
  readonly #all: readonly CallFeature[]

  constructor(all: readonly CallFeature[]) {
    const having = <Name extends keyof CallFeature>(name: Name): Having<Name> =>
      all.filter((feature): feature is Having<Name>[number] => name in feature)
    this.#all = all
    this.input = having('input')
    this.hear = having('hear')
    this.due = having('due')
    this.itemOver = having('itemOver')
    this.settled = having('settled')
    this.afterwards = having('afterwards')
    this.checkpoint = having('checkpoint')
    this.#busy = having('busy')
  }

  /** The caller waits for one of them, or answers it. */
  get busy(): boolean {
    return this.#busy.some(({ busy }) => busy === true)
  }

  /** The one owner of a request. */
  owner(name: RequestName): Requests {
    let owner = this.#owners.get(name)
    if (owner === undefined) {
      // A feature has a method for each request in `answers`.
      owner = (this.#all.find(({ answers }) => answers?.includes(name) === true) ?? UNANSWERED) as Requests
      this.#owners.set(name, owner)
    }
    return owner
  }
}
