import { type CallerOptions, simulatedPerson } from '../caller.js'
import { startCall } from '../../carrier/carrier-call.js'
import type { CalleeKind } from '../choices.js'
import { HUMAN_OUTCOMES } from '../../carrier/choices.js'
import type { OutboundLeg, PlaceCallOptions, SimulatedCallResult } from '../../carrier/call-options.js'
import type { CallerScript, CallerStep } from '../caller-script.js'
import type { OutboundRequest } from '../../carrier/rest-server.js'
import type { Workspace } from '../../carrier/workspace.js'

/** The person or machine at a called number, and the way of answering. */
type Callee = Omit<OutboundLeg, 'clientRequestId'> & Pick<CallerOptions, 'script'> & Partial<CallerOptions>

const RING_MS = 1500
const TALK_MS = 8000
const MACHINE_WORDS =
  'Hello, you have reached my voicemail. I cannot come to the phone right now. Please leave your name, your number and a short message after the tone, and I will call you back as soon as I can.'

/** @returns the callee of this kind: a person, a machine, … */
export function callee(
  kind: CalleeKind,
  options: { readonly ringMs?: number; readonly talkMs?: number; readonly machineWords?: string } = {},
): Callee {
  const { ringMs = RING_MS, talkMs = TALK_MS, machineWords = MACHINE_WORDS } = options
  return {
    outcome: HUMAN_OUTCOMES.find((outcome) => outcome === kind) ?? 'answered',
    ringMs,
    script: scriptOf(kind, talkMs, machineWords),
  }
}

function scriptOf(kind: CalleeKind, talkMs: number, machineWords: string): CallerScript {
  const step = (act: CallerStep['act']): CallerStep => ({ act, heard: [], interruptAfterMs: null })
  const stay = [step({ type: 'wait', ms: talkMs }), step({ type: 'hangup' })]
  const steps: Partial<Record<CalleeKind, readonly CallerStep[]>> = {
    person: [step({ type: 'say', text: 'Hello?' }), ...stay],
    machine: [step({ type: 'say', text: machineWords }), step({ type: 'beep' }), ...stay],
    nobody: stay,
  }
  return {
    // People begin to speak about a second after they answer.
    name: kind,
    rules: [],
    order: null,
    reactionMs: 700,
    patienceMs: 500,
    steps: steps[kind] ?? [],
  }
}

interface CalleeSwitchOptions {
  readonly workspace: Workspace
  /** The callee at a number. */
  readonly callee: (number: string) => Callee
  /** Options shared by all calls. */
  readonly carrier: Omit<
    PlaceCallOptions,
    'voiceUrl' | 'eventsUrl' | 'from' | 'to' | 'caller' | 'callSid' | 'outbound' | 'workspace'
  >
  readonly person: Omit<CallerOptions, 'script' | 'files'> & Partial<CallerOptions>
  /** Called with the result of each call. */
  readonly onOver?: (result: SimulatedCallResult) => unknown
}

/** Places the outbound calls that the REST API receives. */
export function ringCallees(options: CalleeSwitchOptions): (request: OutboundRequest) => string {
  return (request) => {
    const { outcome, ringMs, ...person } = options.callee(request.to)
    const call = startCall({
      ...options.carrier,
      voiceUrl: request.voiceUrl,
      eventsUrl: request.eventsUrl,
      from: request.from,
      to: request.to,
      caller: simulatedPerson({ files: new Map(), ...options.person, ...person }),
      workspace: options.workspace,
      outbound: { outcome, ringMs, clientRequestId: request.clientRequestId },
    })
    void call.done.then((result) => options.onOver?.(result))
    return call.callSid
  }
}
