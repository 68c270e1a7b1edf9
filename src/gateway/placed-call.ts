import type { PlacedRecord, PlacedStanding } from '../campaigns/campaigns.js'
import { callRecordSchema } from '../call/documents/record.js'
import type { CallRecord } from '../call/documents/record.js'
import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import { callElsewhere } from '../edge/ops/ops-fleet.js'
import type { FleetNode } from '../fleet/fleet-node.js'
import type { NodeRecord } from '../fleet/store/call-store.js'
import { CarrierApiError } from '../sautikit-api/http.js'
import { carrierState, isTerminal } from '../sautikit/carrier-state.js'
import type { CallRegistry } from '../workers/main/call-registry.js'
import type { OutboundCalls, OutboundCarrier } from '../workers/main/outbound-calls.js'

interface PlacedCallOptions {
  readonly calls: Pick<CallRegistry, 'find'>
  readonly outbound: Pick<OutboundCalls, 'find'>
  readonly node: FleetNode
  /** Finds this node's record of a call, from this run or from an earlier run. */
  readonly recordHere: (callSid: CallSid) => Promise<CallRecord | undefined>
  /** True while this node has not decided whether its record from an earlier run belongs to the call. */
  readonly isUndecided: (callSid: CallSid) => boolean
  readonly carrier: Pick<OutboundCarrier, 'getCall'>
}

/** State of a call that this gateway placed with a label: live, over (its records), or unknown. */
export async function placedStanding(
  { calls, outbound, node, recordHere, isUndecided, carrier }: PlacedCallOptions,
  callSid: string,
  label: string,
): Promise<PlacedStanding> {
  if (!isCallSid(callSid)) return 'unknown'
  if (calls.find(callSid) !== undefined) return 'lives'
  if (isUndecided(callSid)) return 'unknown'
  const entry = await node.store.patient.read(callSid)
  const owner = entry === null || entry.phase === 'over' ? null : entry.owner
  // The state in `outbound` counts only if no other node owns the call. If the order was repeated, the call's webhooks
  // may have gone to another node.
  const isOnlyHere = entry === null || (owner !== null && node.isThisRun(owner))
  if (isOnlyHere && outbound.find(callSid, label) !== undefined) return 'lives'
  const { bodies, nodes, isWhole } = await callElsewhere(node, callSid)
  const records: PlacedRecord[] = []
  for (const body of bodies) {
    const { endReason, isLeft } = body as { readonly endReason?: unknown; readonly isLeft?: unknown }
    if (endReason === undefined) return 'lives'
    const record = placedRecordSchema.safeParse(body)
    // A record that an earlier run left counts only after its node has decided so.
    if (isLeft === true || !record.success) return 'unknown'
    records.push(record.data)
  }
  // Every conversation has a record. If no record shows a conversation, a node that does not answer may still have the
  // call.
  if (!isWhole && !records.some(({ durationMs }) => durationMs > 0)) return 'unknown'
  const isOwner = ({ name, incarnation }: NodeRecord): boolean =>
    name === owner?.node && incarnation === owner.incarnation
  // If the owner is dead, another node will continue or end the call.
  if (owner !== null && !node.isThisRun(owner) && !nodes.some(isOwner)) return 'unknown'
  const leg = await legOf(carrier, callSid)
  if (leg !== 'over') return leg
  const here = await recordHere(callSid)
  return here === undefined ? records : [here, ...records]
}

const placedRecordSchema = callRecordSchema.pick({
  callSid: true,
  endReason: true,
  durationMs: true,
  escalation: true,
  outbound: true,
  timeline: true,
})

/**
 * @returns `unknown` if the carrier sends no state, or a state that this version does not know
 * @throws errors of the carrier's API
 */
async function legOf(carrier: PlacedCallOptions['carrier'], callSid: CallSid): Promise<'lives' | 'over' | 'unknown'> {
  try {
    const state = carrierState((await carrier.getCall(callSid)).status)
    if (state === 'unknown') return state
    return isTerminal(state) ? 'over' : 'lives'
  } catch (thrown) {
    if (thrown instanceof CarrierApiError && thrown.status === 404) return 'over'
    throw thrown
  }
}
