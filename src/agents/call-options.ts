import type { CallSessionOptions } from '../call/call-options.js'
import { DEFAULT_CALL_OPTIONS, DEFAULT_HANDOVER_OPTIONS } from '../call/call-options.js'
import type { AgentDefinition } from './definition.js'

/** What a call session needs that the agent's file does not say. */
export interface CallFacts {
  readonly callSid: string
  readonly preparedAtMs: number
  readonly wallOffsetMs: number
  readonly serverVad: boolean
  readonly truncate: boolean
  /**
   * Who speaks the greeting. `gateway`: the embedded voice, at once. `backend`: the model is asked to, so that the
   * whole call has one voice.
   */
  readonly greetedBy: 'gateway' | 'backend'
}

/** The options of a call's session, from its agent. */
export function callOptions(agent: AgentDefinition, facts: CallFacts): CallSessionOptions {
  const { greeting, bargeIn, escalation } = agent
  const byGateway = facts.greetedBy === 'gateway'
  return {
    ...DEFAULT_CALL_OPTIONS,
    callSid: facts.callSid,
    agent: agent.name,
    preparedAtMs: facts.preparedAtMs,
    wallOffsetMs: facts.wallOffsetMs,
    serverVad: facts.serverVad,
    truncate: facts.truncate,
    toolNames: agent.tools.map((tool) => tool.name),
    greeting: byGateway ? greeting : null,
    kickOffText: greeting === null
      ? 'The call has begun. Greet the caller.'
      : `The call has begun. Greet the caller with exactly these words: ${greeting}`,
    apologyText: agent.apology,
    onBackendFailure: escalation === null ? 'hangup' : 'escalate',
    goodbyeText: agent.goodbye,
    speech: { ...DEFAULT_CALL_OPTIONS.speech, onsetMs: bargeIn.onsetMs, endOfSpeechMs: agent.turn.endOfSpeechMs },
    bargeIn: {
      ...DEFAULT_CALL_OPTIONS.bargeIn,
      commitMs: bargeIn.commitMs, resumeAfterMs: bargeIn.resumeAfterMs, onDtmf: bargeIn.onDtmf,
      protectGreeting: bargeIn.protectGreeting,
    },
    silence: agent.silence,
    duration: { maxMs: agent.limits.maxDurationS * 1000, text: agent.limits.maxDurationText },
    filler: { texts: agent.fillers.phrases, afterMs: agent.fillers.afterMs, everyMs: agent.fillers.everyMs },
    escalation: escalation === null ? null : {
      ...DEFAULT_HANDOVER_OPTIONS,
      announceText: escalation.announce, failedText: escalation.failed, afterFailure: escalation.afterFailure,
    },
  }
}
