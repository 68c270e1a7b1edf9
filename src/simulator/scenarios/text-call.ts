import { randomBytes } from 'node:crypto'
import { startCall } from '../../carrier/carrier-call.js'
import type { SimulatorEvent } from '../../carrier/call-options.js'
import { simulatedPerson } from '../caller.js'
import { START_MS } from '../simulated-clock.js'
import type { AskCaller } from '../asked-caller.js'
import { telephone } from '../telephones.js'
import type { AgentVocabulary } from '../vocabulary.js'
import { type ObservedCall, observedCall } from './judge.js'
import type { Scenario } from './scenario.js'
import { promisingCall } from '../../campaigns/call-back-row.js'
import type { Row } from '../../campaigns/campaign.js'
import type { KeptState } from '../../call/documents/kept-call.js'
import type { CallerScript } from '../caller-script.js'
import { TextGateway, type TextGatewayOptions, type TextMedia } from './text-gateway.js'
import { TextVoices } from './text-speech.js'

interface TextCallOptions extends Omit<TextGatewayOptions, keyof PlayedCall> {
  readonly scenario: Omit<
    Scenario,
    'file' | 'name' | 'mode' | 'seed' | 'expect' | 'model' | 'judge' | 'voice' | 'line' | 'noise' | 'ignoreKill'
  >
  readonly vocabulary: AgentVocabulary
  readonly seed: number
  /** Decides the caller's moves instead of the script. Absent: the script decides. */
  readonly ask?: AskCaller
  readonly signal: AbortSignal | null
}

/** Wait in ms for the record of a call that has reached its time limit, in the call's own time. */
const RECORD_WAIT_MS = 12_000

/**
 * Runs one call without real audio, as fast as possible. The carrier and caller of spoken calls and the gateway's call
 * share one simulated clock. If the scenario is a promised call back, the call with the promise runs first.
 */
export async function runTextCall(media: TextMedia, options: TextCallOptions): Promise<ObservedCall> {
  const { scenario } = options
  const { placed, promisedIn, from, to, settle, slow, earlier } = scenario
  const startedAtWallMs = scenario.atWallMs ?? Date.now()
  const order = { clientRequestId: `row-${randomBytes(4).toString('hex')}`, agent: scenario.agent }
  const own = { settle, slow, earlier }
  if (promisedIn === null)
    return (
      await played(media, options, scenario.script, {
        ...own,
        placed: placed === null ? null : { ...ORDERED, ...order, from: to, to: from, variables: placed.variables },
        startedAtWallMs,
      })
    ).observed
  const nothing = { settle: [], slow: [], earlier: null, placed: null }
  const { ask: _, ...scripted } = options
  const { promised } = await played(media, scripted, promisedIn, { ...nothing, startedAtWallMs })
  if (promised?.recovers == null) throw new Error('the call of promisedIn ended, but no call back was promised in it')
  // From `callBackRow`.
  const recovers = promisingCall(promised.recovers as KeptState, promised.dueMs)
  const { to: number, from: ours, variables } = promised
  const back = { ...ORDERED, ...order, from: ours ?? to, to: number, variables, promised: true, recovers }
  return (await played(media, options, scenario.script, { ...own, placed: back, startedAtWallMs: promised.dueMs }))
    .observed
}

const ORDERED = { orderedAtMs: START_MS, ringMs: 0, externalId: null, leaveMessage: true, promised: false, joins: null }

type PlayedCall = Pick<TextGatewayOptions, 'placed' | 'settle' | 'slow' | 'earlier' | 'startedAtWallMs'>

/** One call of a scenario. */
async function played(
  media: TextMedia,
  options: TextCallOptions,
  script: CallerScript,
  call: PlayedCall,
): Promise<{ readonly observed: ObservedCall; readonly promised: Row | null }> {
  const { scenario, seed, signal, ask } = options
  const { timeoutMs } = scenario
  const { placed } = call
  const differences = telephone(scenario.telephone)
  // In a placed call, the caller is the person whom the agent calls.
  const [from, to] = placed === null ? [scenario.from, scenario.to] : [placed.from, placed.to]
  const voices = new TextVoices(scenario.pace, seed)
  const gateway = new TextGateway(media, voices, { ...options, ...call })
  const { clock } = gateway
  const events: SimulatorEvent[] = []
  const started = startCall({
    voiceUrl: `http://gateway.invalid/voice/${scenario.agent}`,
    eventsUrl: 'http://gateway.invalid/events',
    from,
    to,
    ...(placed === null
      ? {}
      : { outbound: { outcome: 'answered', ringMs: 0, clientRequestId: placed.clientRequestId } }),
    caller: simulatedPerson({
      script,
      voice: 'rms',
      pace: scenario.pace,
      line: { sampleRateHz: 16_000, ...differences.line },
      ...differences.caller,
      speech: voices,
      vocabulary: options.vocabulary,
      files: new Map(),
      record: false,
      timeoutMs,
      // The clock of the call stops while a model is asked. So the caller answers at once in the call's time.
      ...(ask === undefined ? {} : { ask: (heard) => clock.hold(ask(heard)) }),
    }),
    // An echo of coded sound would contain no information about the gateway.
    trackLayout: 'mono',
    afterStream: scenario.afterStream,
    ...(scenario.streamFailsAfterMs === undefined ? {} : { streamFailsAfterMs: scenario.streamFailsAfterMs }),
    human: scenario.human,
    dialEdge: 'outcome',
    ...differences.carrier,
    onEvent: (event) => {
      events.push(event)
      // Sounds without words are in brackets.
      if (event.type === 'said' && !event.text.startsWith('[')) voices.said(event.text, clock.nowMs())
    },
    environment: gateway,
  })
  let over = false
  const done = started.done.finally(() => {
    over = true
  })
  done.catch(() => undefined) // awaited below
  try {
    const untilMs = clock.nowMs() + timeoutMs + RECORD_WAIT_MS
    while ((!over || gateway.record === null) && clock.nowMs() < untilMs) {
      if (signal?.aborted === true) started.hangUp()
      await clock.step()
    }
    if (!over) throw new Error('the simulated call does not end')
    const packet = gateway.calls.handoff(started.callSid) ?? null
    const observed = observedCall(await done, events, gateway.record, packet, timeoutMs)
    const seen = signal?.aborted === true ? { ...observed, overdue: 'it was stopped' } : observed
    return { observed: seen, promised: gateway.promised }
  } finally {
    await gateway.close()
  }
}
