import { randomBytes } from 'node:crypto'
import { startCall } from '../../carrier/carrier-call.js'
import type { SimulatorEvent } from '../../carrier/call-options.js'
import { simulatedPerson } from '../caller.js'
import { START_MS } from '../simulated-clock.js'
import type { AskCaller } from '../asked-caller.js'
import type { AgentVocabulary } from '../vocabulary.js'
import { type ObservedCall, observedCall } from './judge.js'
import type { Scenario } from './scenario.js'
import { TextGateway, type TextGatewayOptions, type TextMedia } from './text-gateway.js'
import { TextVoices } from './text-speech.js'

interface TextCallOptions extends Omit<
  TextGatewayOptions,
  'placed' | 'settle' | 'slow' | 'earlier' | 'startedAtWallMs'
> {
  readonly scenario: Omit<
    Scenario,
    'file' | 'name' | 'mode' | 'seed' | 'expect' | 'model' | 'judge' | 'voice' | 'line' | 'noise' | 'ignoreKill'
  >
  readonly vocabulary: AgentVocabulary
  readonly seed: number
  /** Decides what the caller does, in place of the script. Absent: the script decides. */
  readonly ask?: AskCaller
  readonly signal: AbortSignal | null
}

/** How long to wait for the record of a call that has reached its time limit, in the call's own time. */
const RECORD_WAIT_MS = 12_000

/**
 * Runs one call without real audio, as fast as possible: the simulated carrier and caller of spoken calls and the
 * gateway's own call, both on one simulated clock.
 */
export async function runTextCall(media: TextMedia, options: TextCallOptions): Promise<ObservedCall> {
  const { scenario, seed, signal, ask } = options
  const { placed, timeoutMs } = scenario
  // In a placed call, the caller is the person whom the agent calls.
  const [from, to] = placed === null ? [scenario.from, scenario.to] : [scenario.to, scenario.from]
  const clientRequestId = `row-${randomBytes(4).toString('hex')}`
  const voices = new TextVoices(scenario.pace, seed)
  const gateway = new TextGateway(media, voices, {
    ...options,
    placed:
      placed === null
        ? null
        : {
            ...{ clientRequestId, agent: scenario.agent, from, to, variables: placed.variables },
            ...{ orderedAtMs: START_MS, ringMs: 0, externalId: null, leaveMessage: true, promised: false, joins: null },
          },
    ...{ settle: scenario.settle, slow: scenario.slow, earlier: scenario.earlier },
    startedAtWallMs: scenario.atWallMs ?? Date.now(),
  })
  const { clock } = gateway
  const events: SimulatorEvent[] = []
  const call = startCall({
    voiceUrl: `http://gateway.invalid/voice/${scenario.agent}`,
    eventsUrl: 'http://gateway.invalid/events',
    from,
    to,
    ...(placed === null ? {} : { outbound: { outcome: 'answered', ringMs: 0, clientRequestId } }),
    caller: simulatedPerson({
      script: scenario.script,
      voice: 'rms',
      pace: scenario.pace,
      line: { sampleRateHz: 16_000 },
      speech: voices,
      vocabulary: options.vocabulary,
      files: new Map(),
      record: false,
      timeoutMs,
      // However long a model takes, the caller answers at once.
      ...(ask === undefined ? {} : { ask: (heard) => clock.hold(ask(heard)) }),
    }),
    // The echo of coded sound means nothing.
    trackLayout: 'mono',
    afterStream: scenario.afterStream,
    ...(scenario.streamFailsAfterMs === undefined ? {} : { streamFailsAfterMs: scenario.streamFailsAfterMs }),
    human: scenario.human,
    dialEdge: 'outcome',
    onEvent: (event) => {
      events.push(event)
      // Sounds without words are in brackets.
      if (event.type === 'said' && !event.text.startsWith('[')) voices.said(event.text, clock.nowMs())
    },
    environment: gateway,
  })
  let over = false
  const done = call.done.finally(() => {
    over = true
  })
  done.catch(() => undefined) // awaited below
  try {
    const untilMs = clock.nowMs() + timeoutMs + RECORD_WAIT_MS
    while ((!over || gateway.record === null) && clock.nowMs() < untilMs) {
      if (signal?.aborted === true) call.hangUp()
      await clock.step()
    }
    if (!over) throw new Error('the simulated call does not end')
    const packet = gateway.calls.handoff(call.callSid) ?? null
    const observed = observedCall(await done, events, gateway.record, packet, timeoutMs)
    return signal?.aborted === true ? { ...observed, overdue: 'it was stopped' } : observed
  } finally {
    await gateway.close()
  }
}
