import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { GatewayError } from '../../core/errors.js'
import type { SimulatorEvent } from '../../carrier/call-options.js'
import { type CallerFile, callWav, readWavFile } from '../../carrier/caller-leg.js'
import { spokenForm } from '../../speech/spoken/spoken-form.js'
import type { AskCaller } from '../asked-caller.js'
import { filesOf } from '../caller-script.js'
import { SIMULATOR_KEY } from '../choices.js'
import { GatewayView } from '../gateway-view.js'
import { assertNotStopped, simulateCalls } from '../simulate.js'
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
}

interface AudioCallOptions {
  /** Starts the gateway: with this carrier's API for a placed call, else with null. */
  readonly gateway: (carrierUrl: string | null) => Promise<GatewayAddress>
  /** The orders API that says which orders exist; null for none. */
  readonly shopUrl: string | null
  readonly scenario: Scenario
  readonly seed: number
  /** The agent's file, for the recogniser's vocabulary; null if it is not available. */
  readonly agentYaml: string | null
  /** Where the call is written as WAV; null to record nothing. */
  readonly recordTo: string | null
  /** Decides what the caller does, in place of the script. Absent: the script decides. */
  readonly ask?: AskCaller
  readonly signal: AbortSignal | null
}

/** How long to wait for the record of an ended call, also on a busy machine. */
const RECORD_WAIT_MS = 8000
/** The gateway waits for the carrier's answer. */
const ORDER_TIMEOUT_MS = 10_000
/** Beyond the scenario's own time: loading voices and recogniser, hanging up, the last webhooks. */
const GRACE_MS = 60_000

/** Runs one spoken call through the carrier's protocol, and reads its record from the gateway's ops port. */
export async function runAudioCall(options: AudioCallOptions): Promise<ObservedCall> {
  const { scenario, seed, signal, shopUrl, ask } = options
  const { line, noise, script, placed } = scenario
  const files = new Map<string, CallerFile>()
  for (const file of filesOf(script)) files.set(file, await readWavFile(file))
  const shop = shopUrl === null ? [] : await ordersInShop(shopUrl, script.order, scenario.from)
  const events: SimulatorEvent[] = []
  let gateway = placed === null ? await options.gateway(null) : null
  const viewOf = ({ opsUrl, opsToken }: GatewayAddress): GatewayView => new GatewayView(opsUrl, opsToken)
  // In a placed call, the caller is the person whom the agent calls.
  const [from, to] = placed === null ? [scenario.from, scenario.to] : [scenario.to, scenario.from]
  const [result] = await simulateCalls(
    {
      calls: [
        {
          callSid: `HD_${randomBytes(6).toString('hex')}`,
          ...{ from, to, script, asks: ask !== undefined },
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
        voiceUrl: `${gateway?.url ?? ''}/voice/${scenario.agent}`,
        eventsUrl: gateway === null ? null : `${gateway.url}/events`,
        secret: gateway?.secret ?? null,
        afterStream: scenario.afterStream,
        ...(scenario.streamFailsAfterMs === undefined ? {} : { streamFailsAfterMs: scenario.streamFailsAfterMs }),
        honourKill: !scenario.ignoreKill,
        human: scenario.human,
        stalls: line.stalls,
        jitter: line.jitterMs === undefined ? null : { everyMs: 1000, stallMsMax: line.jitterMs, seed },
      },
      ...(placed === null ? {} : { rest: { port: 0, key: SIMULATOR_KEY, placed: true } }),
    },
    {
      onEvent: (event) => events.push(event),
      onRest: async (carrierUrl) => {
        gateway = await options.gateway(carrierUrl)
        assertNotStopped(signal)
        await order(gateway, { agent: scenario.agent, from, to, variables: placed?.variables })
      },
      deadlineMs: scenario.timeoutMs + GRACE_MS,
      signal,
      ...(ask === undefined ? {} : { ask: heardIn(ask, () => gateway && viewOf(gateway), events) }),
    },
  )
  if (result === undefined || gateway === null) throw new Error('one call was placed and none came back')

  if (options.recordTo !== null && result.audio !== null) await writeFile(options.recordTo, callWav(result.audio))
  const view = viewOf(gateway)
  const seen = result.answered
    ? await view.endedCall(result.callSid, { ms: RECORD_WAIT_MS, despiteFaults: true })
    : null
  const record = seen?.record ?? null
  const packet = record?.escalation == null ? null : await view.handoff(result.callSid)
  const observed = observedCall(result, events, record, packet, scenario.timeoutMs)
  return record === null && view.fault !== null ? { ...observed, ended: view.fault } : observed
}

/** @throws GatewayError CALL_FAULT if the gateway does not take the order */
async function order({ opsUrl }: GatewayAddress, call: Readonly<Record<string, unknown>>): Promise<void> {
  const response = await fetch(`${opsUrl}/api/calls`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(call),
    signal: AbortSignal.timeout(ORDER_TIMEOUT_MS),
  })
  if (response.status !== 201) throw new GatewayError('CALL_FAULT', `the call was not placed: ${await response.text()}`)
}

/**
 * The recogniser knows the sentences of the agent's file alone. What the agent said since the caller was asked last is read from the
 * gateway's transcript, as a voice says it; where the gateway does not tell, the caller has what was recognised.
 */
function heardIn(ask: AskCaller, view: () => GatewayView | null, events: readonly SimulatorEvent[]): AskCaller {
  let read = 0
  return async (recognised) => {
    const callSid = events.find(({ type }) => type === 'stream-opened')?.callSid
    const call = callSid === undefined ? null : await view()?.call(callSid)
    const transcript = call?.transcript ?? []
    const words = transcript
      .slice(read)
      .flatMap(({ role, text, language = 'en' }) => (role === 'agent' ? [spokenForm(text, language)] : []))
    read = transcript.length
    return ask(words.length === 0 ? recognised : words.join(' '))
  }
}
