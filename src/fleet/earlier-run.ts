import { messageOf } from '../core/errors.js'
import type { CallSid } from '../core/ids.js'
import { CALL_TTL_MS } from '../core/limits.js'
import type { SealedState, StoredValue } from '../telemetry/archive/archive-messages.js'
import type { Log } from '../telemetry/log.js'
import type { CallStore } from './store/call-store.js'
import type { FleetNode } from './fleet-node.js'
import { newNonce } from './fleet-node.js'

/** A call that was live when the last run of this node died, or that ended with it. */
export interface LeftCall {
  readonly callSid: CallSid
  /** Calendar time at which it was last written down. */
  readonly atWallMs: number
  /** Null where no state was kept on the disk. */
  readonly sealed: SealedState | null
  /** It was over, and its record is the one on the disk. */
  readonly ended: boolean
}

/**
 * Before any webhook comes: the store gets the states that the last run of this node has left on the disk, as calls of that
 * run, so that they are recovered like those of a lost node; and what was written once. A call that had ended is over in
 * the store too. Both unless another node has taken the call, which a replica that takes its master's place may lack. Does
 * not reject.
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
    if (elsewhere.includes(callSid)) continue
    try {
      if (ended) {
        const entry = await node.store.read(callSid)
        if (entry === null || entry.phase === 'over' || entry.owner.node !== node.name) continue
        const claim = node.claimFor(null)
        const { owner } = await node.store.claim(callSid, claim, entry.owner.epoch)
        if (owner.nonce === claim.nonce) await node.store.over(callSid, owner)
      } else if (sealed !== null && nowWallMs - atWallMs < CALL_TTL_MS) {
        // Higher than the epochs of all earlier runs: none of their tokens opens a stream again.
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
