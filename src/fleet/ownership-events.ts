import type { FleetView, OwnerToken } from './store/call-store.js'

/** Input of `Ownership`. `askedMs` is the send time of the request that an input answers, on the clock of `nowMs`. */
export type OwnershipInput =
  /** `wallMs`: calendar time of this node at which the answer came. */
  | { readonly type: 'beat-done'; readonly askedMs: number; readonly view: FleetView; readonly wallMs: number }
  | { readonly type: 'beat-failed' }
  | {
      readonly type: 'probe-result'
      readonly node: string
      /** The run that was probed. */
      readonly incarnation: string
      readonly askedMs: number
      /** `refused`: the address has no listener, or another node answered. `silent`: no answer came in time. */
      readonly result: 'answered' | 'refused' | 'silent'
      /** The run that answered; null if no run answered. */
      readonly answeredBy: string | null
    }
  /** Another node has sent an authenticated request. Probes count too. */
  | { readonly type: 'heard'; readonly node: string; readonly incarnation: string }
  /** A proven webhook reports that the stream of this call is over, but `owner` did not answer the webhook. */
  | { readonly type: 'stream-over'; readonly callSid: string; readonly owner: OwnerToken }
  /** This node owns a call: it is a new call, or the call has a new token. */
  | {
      readonly type: 'owned'
      readonly callSid: string
      readonly token: OwnerToken
      /** Send time of the `save` that the store accepted; null if the call is only claimed. */
      readonly savedMs: number | null
      /**
       * True if no node had the call before; false if the call was taken over. If absent, the earlier value stays, or
       * else it is false.
       */
      readonly isNew?: boolean
    }
  /** The call's audio socket opened or closed. */
  | { readonly type: 'stream'; readonly callSid: string; readonly open: boolean }
  | { readonly type: 'released'; readonly callSid: string }
  /**
   * Result of a `save` with this token, after `settle` if the store refused the `save`. If the call was claimed again,
   * the input is `owned` instead.
   */
  | {
      readonly type: 'confirmed'
      readonly callSid: string
      readonly token: OwnerToken
      readonly askedMs: number
      /**
       * `lost`: another node owns the call, or it is over. `unknown`: the store names another node as owner, but that
       * node has not answered whether it owns the call.
       */
      readonly result: 'ok' | 'lost' | 'unknown' | 'store-down'
    }
  /** Runs of another node that own calls according to the store. The store is read for each `take-over`. */
  | { readonly type: 'owners'; readonly node: string; readonly incarnations: readonly string[] }
  /** Another node has the stream of this call, and this node answered `yes` (`yields`). */
  | { readonly type: 'yielded'; readonly callSid: string }
  | { readonly type: 'timer' }

/** Evidence that a node is dead. */
export type TakeOverEvidence = 'refused' | 'new-incarnation' | 'silent'
/** Reason why a node should not get calls. */
export const NOT_READY = ['starting', 'name-in-doubt', 'name-taken', 'isolated', 'clock-skew'] as const
export type NotReady = (typeof NOT_READY)[number]
/** Conditions that an operator should check. The node still serves calls. */
export const FLEET_ALERTS = ['many-suspects', 'clock-skew'] as const
type FleetAlert = (typeof FLEET_ALERTS)[number]

export type OwnershipOutput =
  /**
   * Order to write a heartbeat with this node's record to the store. It is answered by `beat-done` or `beat-failed`.
   */
  | { readonly type: 'beat'; readonly beat: number }
  /** Order to send a probe to the node's internal listener. It is answered by `probe-result`. */
  | { readonly type: 'probe'; readonly node: string; readonly incarnation: string; readonly internalUrl: string }
  /**
   * This node may claim all calls of this run of another node. Claims must be sent before `untilMs`. This output is
   * repeated for calls that could not be claimed.
   */
  | {
      readonly type: 'take-over'
      readonly node: string
      /** Run of the node; null for this node's own name: all runs before the current run. */
      readonly incarnation: string | null
      readonly evidence: TakeOverEvidence
      readonly untilMs: number
      /** True if another attempt will follow, so that this attempt can skip calls which another node may have. */
      readonly leaves: boolean
    }
  /** This node may claim this call, with the epoch that follows the epoch of `owner`. */
  | { readonly type: 'take-over-call'; readonly callSid: string; readonly owner: OwnerToken }
  /** Calls to confirm. Each call is answered with `confirmed`. */
  | { readonly type: 'confirm'; readonly callSids: readonly string[] }
  /**
   * Calls whose streams must be closed. `lost`: the calls have another owner or are over, and `Ownership` forgets them.
   * `isolated`: another node may have taken the calls. Such a call stays here until it is released. If the store
   * confirms the call, this node may end it by a REST request.
   */
  | { readonly type: 'cut'; readonly callSids: readonly string[]; readonly why: 'lost' | 'isolated' }
  | { readonly type: 'alert'; readonly what: FleetAlert; readonly over: boolean }
  | { readonly type: 'exit'; readonly why: 'name-taken' }
  /** Change of this node's readiness. A node that starts is not ready. */
  | { readonly type: 'ready'; readonly ready: boolean; readonly why: NotReady | null }
