import type { AgentDefinition } from '../agents/definition.js'
import { offeredTools } from '../agents/offered-tools.js'
import type { BackendCapabilities } from '../backends/backend.js'
import { DEFAULT_CALL_OPTIONS, DEFAULT_HANDOVER_OPTIONS } from '../call/call-options.js'
import type { CallSessionOptions, HandoverOptions } from '../call/call-options.js'
import { RING_GRACE_MS } from '../escalation/escalation.js'
import type { CallStart } from './call-messages.js'

/** The session's options as an agent's definition and its backend make them. */
export function sessionOptions(
  start: CallStart, capabilities: BackendCapabilities, wallOffsetMs: number,
): CallSessionOptions {
  const { agent } = start
  return {
    ...DEFAULT_CALL_OPTIONS,
    callSid: start.callSid,
    agent: agent.name,
    preparedAtMs: start.preparedAtMs,
    wallOffsetMs,
    serverVad: capabilities.serverVad,
    truncate: capabilities.truncate,
    toolNames: offeredTools(agent, start.assets).map((tool) => tool.name),
    // The backend speaks the greeting itself, in its own voice.
    greeting: null,
    responseFailedText: agent.tryAgain,
    apologyText: agent.apology,
    rules: agent.rules,
    goodbyeText: agent.goodbye,
    speech: {
      ...DEFAULT_CALL_OPTIONS.speech,
      onsetMs: agent.bargeIn.onsetMs,
      endOfSpeechMs: agent.turn.endOfSpeechMs,
    },
    onBackendFailure: agent.escalation === null ? 'hangup' : 'escalate',
    bargeIn: {
      ...DEFAULT_CALL_OPTIONS.bargeIn,
      commitMs: agent.bargeIn.commitMs,
      resumeAfterMs: agent.bargeIn.resumeAfterMs,
      onDtmf: agent.bargeIn.onDtmf,
      protectGreeting: agent.bargeIn.protectGreeting,
    },
    silence: { afterMs: agent.silence.afterMs, prompts: agent.silence.prompts },
    duration: { maxMs: agent.limits.maxDurationS * 1000, text: agent.limits.maxDurationText },
    filler: { texts: agent.fillers.phrases, afterMs: agent.fillers.afterMs, everyMs: agent.fillers.everyMs },
    screening: start.direction === 'outbound' && agent.outbound.screening !== null
      ? { message: agent.outbound.screening.message, onSilence: agent.outbound.screening.onSilence } : null,
    consentText: agent.recording.enabled ? agent.recording.consent : null,
    escalation: agent.escalation === null ? null : handoverOptions(agent.escalation, start.from),
  }
}

/** Beyond a number's ringing time: what the escalation machine waits for, and messages between the threads. */
const RING_MARGIN_MS = RING_GRACE_MS + 2000

function handoverOptions(escalation: NonNullable<AgentDefinition['escalation']>, from: string): HandoverOptions {
  const callsBack = escalation.strategies.includes('callback')
  return {
    ...DEFAULT_HANDOVER_OPTIONS,
    announceText: escalation.announce,
    failedText: escalation.failed,
    closedText: escalation.closed,
    silentLineText: escalation.silentLine
      ?? (callsBack ? 'If the line stays silent, please hang up and we will call you back.' : DEFAULT_HANDOVER_OPTIONS.silentLineText),
    callback: callsBack ? { offerText: escalation.offer, confirmedText: escalation.offerAccepted, numberKnown: from !== '' } : null,
    afterFailure: escalation.afterFailure,
    // Two strategies hold the stream; each may ring everybody.
    holdTimeoutMs: Math.max(DEFAULT_HANDOVER_OPTIONS.holdTimeoutMs, 2 * escalation.numbers.length * (escalation.timeoutS * 1000 + RING_MARGIN_MS)),
  }
}
