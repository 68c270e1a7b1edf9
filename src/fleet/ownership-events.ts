import type { FleetView, OwnerToken } from './store/call-store.js'

/** `askedMs`: when the request that is answered here was sent, on the clock of `nowMs`. */
export type OwnershipInput =
  /** `wallMs`: our calendar time when the answer came. */
  | { readonly type: 'beat-done'; readonly askedMs: number; readonly view: FleetView; readonly wallMs: number }
  | { readonly type: 'beat-failed' }
  | {
      readonly type: 'probe-result'
      readonly node: string
      /** The run that was probed. */
      readonly incarnation: string
      readonly askedMs: number
      /** `refused`: nothing listens there, or a node of another name does. `silent`: no answer in its time limit. */
      readonly result: 'answered' | 'refused' | 'silent'
      /** The run that answered; null when none did. */
      readonly answeredBy: string | null
    }
  /** An authenticated request of another node, probes included. */
  | { readonly type: 'heard'; readonly node: string; readonly incarnation: string }
  /** A proven webhook says that this call's stream is over, and `owner` did not answer that webhook. */
  | { readonly type: 'stream-over'; readonly callSid: string; readonly owner: OwnerToken }
  /**
   * A call of this node, new or with a new token. `savedMs`: when the `save` was sent that returned `ok` for the token;
   * null while the call is only claimed. `isNew`: nobody had the call before; absent: as it was, or taken over.
   */
  | {
      readonly type: 'owned'
      readonly callSid: string
      readonly token: OwnerToken
      readonly savedMs: number | null
      readonly isNew?: boolean
    }
  /** The call's audio socket opened or closed. */
  | { readonly type: 'stream'; readonly callSid: string; readonly open: boolean }
  | { readonly type: 'released'; readonly callSid: string }
  /**
   * Result of a `save` with this token: the answer to `confirm`, or any other save of the call. One that was not taken is
   * settled first (`settle`): `lost` means that another node owns the call or that it is over; `unknown`, that the store
   * names another node, and that node has not said whether it owns the call. A call that was claimed again is given as
   * `owned`.
   */
  | {
      readonly type: 'confirmed'
      readonly callSid: string
      readonly token: OwnerToken
      readonly askedMs: number
      readonly result: 'ok' | 'lost' | 'unknown' | 'store-down'
    }
  /** Runs of another node that the store names as owners of calls, read for a `take-over`. */
  | { readonly type: 'owners'; readonly node: string; readonly incarnations: readonly string[] }
  /** Another node has the stream of this call, and was answered `yes` (`yields`). */
  | { readonly type: 'yielded'; readonly callSid: string }
  | { readonly type: 'timer' }

/** Why a node is taken to be dead. */
export type TakeOverEvidence = 'refused' | 'new-incarnation' | 'silent'
/** Why a node should not get calls. */
export const NOT_READY = ['starting', 'name-in-doubt', 'name-taken', 'isolated', 'clock-skew'] as const
export type NotReady = (typeof NOT_READY)[number]
/** Conditions that an operator should look at; the node serves all the same. */
export const FLEET_ALERTS = ['many-suspects', 'clock-skew'] as const
type FleetAlert = (typeof FLEET_ALERTS)[number]

export type OwnershipOutput =
  /** For the store, with this node's record; answered with `beat-done` or `beat-failed`. */
  | { readonly type: 'beat'; readonly beat: number }
  /** For the node's internal listener; answered with `probe-result`. */
  | { readonly type: 'probe'; readonly node: string; readonly incarnation: string; readonly internalUrl: string }
  /**
   * All calls of this run of a node may be claimed: the claims that are sent before `untilMs`. It comes again for calls
   * that could not be claimed.
   */
  | {
      readonly type: 'take-over'
      readonly node: string
      /** Null with our own name: all runs before this one. */
      readonly incarnation: string | null
      readonly evidence: TakeOverEvidence
      readonly untilMs: number
      /** True while it comes again: a call that another node may have is left to it meanwhile. */
      readonly leaves: boolean
    }
  /** This call may be claimed, at the epoch after `owner`'s. */
  | { readonly type: 'take-over-call'; readonly callSid: string; readonly owner: OwnerToken }
  /** Each is answered with `confirmed`. */
  | { readonly type: 'confirm'; readonly callSids: readonly string[] }
  /**
   * The streams of these calls must be closed. `lost`: they have another owner, or are over, and are forgotten here.
   * `isolated`: another node may take them by now; they stay until they are released, and may be ended by REST once the
   * store has confirmed them.
   */
  | { readonly type: 'cut'; readonly callSids: readonly string[]; readonly why: 'lost' | 'isolated' }
  | { readonly type: 'alert'; readonly what: FleetAlert; readonly over: boolean }
  | { readonly type: 'exit'; readonly why: 'name-taken' }
  /** Only changes; a node begins as not ready. */
  | { readonly type: 'ready'; readonly ready: boolean; readonly why: NotReady | null }
