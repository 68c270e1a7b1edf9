import { variablesReadBy } from '../../agents/tools/call-variables.js'
import type { CallSid } from '../../core/ids.js'
import type { CarrierDetail } from '../../call/documents/record.js'
import { agentIsFull } from '../../fleet/agent-capacity.js'
import { claimedOrders } from '../../fleet/routing.js'
import { WalletWatch } from '../../sautikit-api/wallet.js'
import { OutboundCalls } from '../../workers/main/outbound-calls.js'
import { callDetails, countCarrier, joinedRecord, voiceUrlOf } from '../carrier-side.js'
import { retentionOf } from './inputs.js'
import type { Part } from './part.js'
import type { Shared } from './shared.js'

type CarrierShared = Shared<
  | 'inputs'
  | 'metrics'
  | 'fleet'
  | 'kept'
  | 'calls'
  | 'costs'
  | 'budgets'
  | 'edge'
  | 'details'
  | 'wallet'
  | 'outbound'
  | 'joinedListeners'
>

/** Parts that use the carrier's REST API: calls that we place, the carrier's records of ended calls, and its wallet. */
export function carrierPart(shared: CarrierShared): Part {
  const { inputs } = shared
  const { config, log, api } = inputs
  return {
    name: 'carrier',
    start: () => {
      if (api === null)
        log.info(
          {},
          "SAUTIKIT_API_KEY is not set: the gateway cannot hang up calls or add a human through the carrier's API",
        )
      const { calls, metrics } = shared
      shared.details =
        api === null
          ? null
          : callDetails(
              api,
              config,
              log,
              (callSid) => retentionOf(inputs, calls.record(callSid)?.agent ?? '')?.recordingsDays ?? null,
              (callSid, detail) => joinDetail(shared, callSid, detail),
            )
      const wallet =
        api === null
          ? null
          : new WalletWatch({ ask: () => api.calls.walletMinor(), log: log.component('sautikit-api') })
      shared.wallet = wallet
      if (wallet !== null)
        metrics
          .defineGauge('carrier_wallet_minor', "Balance of the carrier's wallet, in minor units; NaN if it is unknown")
          .from(() => wallet.minor ?? NaN)
      shared.outbound = outboundCalls(shared)
      countCarrier(metrics, api, shared.details, shared.outbound)
    },
    stop: () => shared.details?.close(),
  }
}

/** Adds the carrier's details to the record of an ended call. Never throws. */
function joinDetail(shared: CarrierShared, callSid: CallSid, detail: CarrierDetail): void {
  joinedRecord(callSid, detail, shared.calls, shared.kept).then(
    (found) => {
      if (found === null) return
      const joined = shared.costs.withCost(found)
      shared.kept.joined(joined)
      for (const listener of shared.joinedListeners) listener(joined)
    },
    (thrown: unknown) =>
      shared.inputs.log.warn(
        { err: thrown, call_sid: callSid },
        "the carrier's data on a call could not be added to its record",
      ),
  )
}

function outboundCalls(shared: CarrierShared): OutboundCalls {
  const { config, log, agents, numbers, api, clock } = shared.inputs
  const { calls, fleet, budgets } = shared
  return new OutboundCalls({
    carrier: api === null ? null : claimedOrders(api.calls, fleet.node),
    clock,
    wallClock: Date.now,
    log: log.component('workers'),
    agent: (name, from) => {
      const agent = calls.agent(name, from) === undefined ? undefined : agents.get(name)
      return agent === undefined ? undefined : { ...agent.facts.outbound, variables: variablesReadBy(agent.definition) }
    },
    agentNames: () => [...agents.keys()],
    voiceUrl: (agent) => voiceUrlOf(config, shared.edge.publicPort, agent),
    free: () => calls.free,
    draining: () => calls.draining || fleet.node.state !== 'open',
    agentFull: (name) => {
      const agent = agents.get(name)
      return agent !== undefined && agentIsFull(agent.facts, calls, fleet.node)
    },
    perMinute: config.outboundPerMinute,
    recoveryPerMinute: config.recoveryPerMinute,
    prefixes: config.outboundPrefixes,
    isOurs: (number) => numbers.businesses.has(number),
    budgetSpent: (number) => budgets.step(number) === 'messages',
    // The fleet's store decides about the call's end. If another node or an earlier run has placed the call, another
    // node may have the person on the line.
    onUnreached: (record) => {
      const told = fleet.node.unreached(record.callSid)
      calls.enter(record, told)
      return told
    },
  })
}
