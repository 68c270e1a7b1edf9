import { offeredTools } from '../agents/offered-tools.js'
import type { BackendCapabilities } from '../backends/backend.js'
import { DEFAULT_CALL_OPTIONS, DEFAULT_HANDOVER_OPTIONS } from '../call/call-options.js'
import type { CallSessionOptions } from '../call/call-options.js'
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
    escalation: agent.escalation === null ? null : {
      ...DEFAULT_HANDOVER_OPTIONS,
      announceText: agent.escalation.announce,
      failedText: agent.escalation.failed,
      afterFailure: agent.escalation.afterFailure,
    },
  }
}
