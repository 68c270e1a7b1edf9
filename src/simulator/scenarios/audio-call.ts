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
import { telephone } from '../telephones.js'
import { knownOrders, ordersInShop, vocabularyOf } from '../vocabulary.js'
import { type ObservedCall, observedCall } from './judge.js'
import type { Scenario } from './scenario.js'

/** Addresses at which a carrier and an operator reach a gateway. */
export interface GatewayAddress {
  readonly url: string
  readonly opsUrl: string
  readonly opsToken: string | null
  /** Secret for signing the webhooks; null for a gateway that accepts unsigned webhooks. */
  readonly secret: string | null
}

interface AudioCallOptions {
  /** Starts the gateway. `carrierUrl`: the API of this carrier, for a placed call; null for any other call. */
  readonly gateway: (carrierUrl: string | null) => Promise<GatewayAddress>
  /** Address of the orders API, which knows the existing orders; null if there is none. */
  readonly shopUrl: string | null
  readonly scenario: Scenario
  readonly seed: number
  /** The agent's file, for the recogniser's vocabulary; null if it is not available. */
  readonly agentYaml: string | null
  /** WAV file for the call's sound; null to record nothing. */
  readonly recordTo: string | null
  /** Decides the caller's moves instead of the script. Absent: the script decides. */
  readonly ask?: AskCaller
  readonly signal: AbortSignal | null
}

/** Wait in ms for the record of an ended call, long enough for a busy machine. */
const RECORD_WAIT_MS = 8000
/** Time limit in ms for the request of a call: the gateway waits for the carrier's answer. */
const ORDER_TIMEOUT_MS = 10_000
/**
 * Time in ms added to the scenario's own time: to load voices and recogniser, to hang up, and for the last webhooks.
 */
const GRACE_MS = 60_000

/** Runs one spoken call through the carrier's protocol, and reads its record from the gateway's ops port. */
export async function runAudioCall(options: AudioCallOptions): Promise<ObservedCall> {
  const { scenario, seed, signal, shopUrl, ask } = options
  const { line, noise, script, placed } = scenario
  const differences = telephone(scenario.telephone)
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
            ...differences.line,
          },
          ...differences.caller,
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
        ...differences.carrier,
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

/** @throws GatewayError CALL_FAULT if the gateway does not accept the request for a call */
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
 * Asks for the caller's moves with the agent's words since the last request. The words come from the gateway's
 * transcript, because the recogniser knows only sentences of the agent's file. If there is no transcript, the
 * recognised words are used.
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
