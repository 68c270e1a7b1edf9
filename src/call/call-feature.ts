import type { DeadlineName } from './call-deadlines.js'
import type { CallCheckpoint } from './documents/checkpoint.js'
import type { CallInput } from './events.js'
import type { Fact } from './facts.js'
import type { RequestName } from './requests.js'

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
