import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import type { SimulatorEvent } from '../../carrier/call-options.js'
import { type CallerFile, callWav, readWavFile } from '../../carrier/caller-leg.js'
import { filesOf } from '../caller-script.js'
import { GatewayView } from '../gateway-view.js'
import { simulateCalls } from '../simulate.js'
import { knownOrders, ordersInShop, vocabularyOf } from '../vocabulary.js'
import { type ObservedCall, observedCall } from './judge.js'
import type { Scenario } from './scenario.js'

/** A gateway as a carrier and an operator reach it. */
export interface GatewayAddress {
  readonly url: string
  readonly opsUrl: string
  readonly opsToken: string | null
  /** Signs the webhooks; null for a gateway that accepts unsigned ones. */
  readonly secret: string | null
  /** The orders API that says which orders exist; null for none. */
  readonly shopUrl: string | null
}

interface AudioCallOptions {
  readonly gateway: GatewayAddress
  readonly scenario: Scenario
  readonly seed: number
  /** The agent's file, for the recogniser's vocabulary; null if it is not available. */
  readonly agentYaml: string | null
  /** Where the call is written as WAV; null to record nothing. */
  readonly recordTo: string | null
  readonly signal: AbortSignal | null
}

/** How long to wait for the record of an ended call, also on a busy machine. */
const RECORD_WAIT_MS = 8000
/** Beyond the scenario's own time: loading voices and recogniser, hanging up, the last webhooks. */
const GRACE_MS = 60_000

/** Places one spoken call through the carrier's protocol, and reads its record from the gateway's ops port. */
export async function runAudioCall(options: AudioCallOptions): Promise<ObservedCall> {
  const { gateway, scenario, seed, signal } = options
  const { line, noise, script } = scenario
  const files = new Map<string, CallerFile>()
  for (const file of filesOf(script)) files.set(file, await readWavFile(file))
  const shop = gateway.shopUrl === null ? [] : await ordersInShop(gateway.shopUrl, script.order, scenario.from)
  const events: SimulatorEvent[] = []
  const [result] = await simulateCalls(
    {
      calls: [
        {
          callSid: `HD_${randomBytes(6).toString('hex')}`,
          from: scenario.from,
          to: scenario.to,
          script,
          voice: scenario.voice,
          pace: scenario.pace,
          line: {
            sampleRateHz: line.rateHz,
            seed,
            ...(noise === undefined ? {} : { snrDb: noise.snrDb, noise: noise.kind }),
            echo: line.echo ?? null,
            loss: line.loss ?? null,
          },
        },
      ],
      vocabulary: vocabularyOf(options.agentYaml, knownOrders(shop, script.order)),
      files,
      record: options.recordTo !== null,
      timeoutMs: scenario.timeoutMs,
      staggerMs: 0,
      carrier: {
        voiceUrl: `${gateway.url}/voice/${scenario.agent}`,
        eventsUrl: `${gateway.url}/events`,
        secret: gateway.secret,
        afterStream: scenario.afterStream,
        honourKill: !scenario.ignoreKill,
        human: scenario.human,
        stalls: line.stalls,
        jitter: line.jitterMs === undefined ? null : { everyMs: 1000, stallMsMax: line.jitterMs, seed },
      },
    },
    {
      onEvent: (event) => events.push(event),
      deadlineMs: scenario.timeoutMs + GRACE_MS,
      signal,
    },
  )
  if (result === undefined) throw new Error('one call was placed and none came back')

  if (options.recordTo !== null && result.audio !== null) await writeFile(options.recordTo, callWav(result.audio))
  const view = new GatewayView(gateway.opsUrl, gateway.opsToken)
  const seen = result.answered
    ? await view.endedCall(result.callSid, { ms: RECORD_WAIT_MS, despiteFaults: true })
    : null
  const record = seen?.record ?? null
  const packet = record?.escalation == null ? null : await view.handoff(result.callSid)
  const observed = observedCall(result, events, record, packet, scenario.timeoutMs)
  return record === null && view.fault !== null ? { ...observed, ended: view.fault } : observed
}
