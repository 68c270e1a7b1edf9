import { messageOf } from '../core/errors.js'
import type { CallSid } from '../core/ids.js'
import { CALL_TTL_MS } from '../core/limits.js'
import type { SealedState, StoredValue } from '../telemetry/archive/archive-messages.js'
import type { Log } from '../telemetry/log.js'
import type { CallStore } from './store/call-store.js'
import type { FleetNode } from './fleet-node.js'
import { newNonce } from './fleet-node.js'

/** Call of this node's last run. It was live when the run died, or had just ended. */
export interface LeftCall {
  readonly callSid: CallSid
  /** Calendar time at which the call was last written. */
  readonly atWallMs: number
  /** State from the disk; null if the disk does not have a state of the call. */
  readonly sealed: SealedState | null
  /** True if the call was over. The disk then has its record. */
  readonly ended: boolean
}

/**
 * Writes the calls that this node's last run left on the disk to the store, before any webhook comes. Live calls are
 * then recovered like those of a lost node. Never rejects.
 */
export async function restoreRun(
  { left, values }: { readonly left: readonly LeftCall[]; readonly values: readonly StoredValue[] },
  node: Pick<FleetNode, 'name' | 'claimFor' | 'havingElsewhere'> & {
    readonly store: Pick<CallStore, 'once' | 'read' | 'claim' | 'save' | 'over'>
  },
  nowWallMs: number,
  log: Log,
): Promise<void> {
  const incarnation = newNonce()
  try {
    for (const { key, value, untilMs } of values) await node.store.once(key, value, Math.max(1, untilMs - nowWallMs))
  } catch (thrown) {
    log.warn({ reason: messageOf(thrown) }, 'what an earlier run has done cannot be restored')
  }
  const elsewhere = await node.havingElsewhere(left.map(({ callSid }) => callSid))
  for (const { callSid, atWallMs, sealed, ended } of left) {
    // Another node has taken this call. The store may lack the other node's claim if a replica has replaced the store's
    // master.
    if (elsewhere.includes(callSid)) continue
    try {
      if (ended) {
        // The store's entry of an ended call gets the phase `over` too.
        const entry = await node.store.read(callSid)
        if (entry === null || entry.phase === 'over' || entry.owner.node !== node.name) continue
        const claim = node.claimFor(null)
        const { owner } = await node.store.claim(callSid, claim, entry.owner.epoch)
        if (owner.nonce === claim.nonce) await node.store.over(callSid, owner)
      } else if (sealed !== null && nowWallMs - atWallMs < CALL_TTL_MS) {
        // This epoch is greater than the epochs of all earlier runs. So a stream token of an earlier run cannot open a
        // stream any more.
        const epoch = Math.floor(nowWallMs / 1000)
        const claim = { node: node.name, incarnation, nonce: newNonce() }
        const { owner } = await node.store.claim(callSid, claim, epoch)
        const { state, log: append } = sealed
        if (owner.nonce === claim.nonce) await node.store.save(callSid, owner, { state, append, replace: true })
      }
    } catch (thrown) {
      log.call(callSid).warn({ reason: messageOf(thrown) }, 'a call of an earlier run cannot be restored')
    }
  }
}
