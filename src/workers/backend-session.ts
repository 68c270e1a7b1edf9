import type { BackendSession, ToolSpec } from '../backends/backend.js'
import type { CallSession } from '../call/call-session.js'
import { CALLBACK_TOOL, ESCALATE_TOOL, GATEWAY_TOOLS } from '../call/gateway-tools.js'
import { resumedTools } from '../call/tool-ledger.js'
import { offeredTools } from '../agents/offered-tools.js'
import type { CallStart } from './call-messages.js'

/** The tools a model is offered: the agent's own, then those that the session carries out itself. */
function toolSpecs({ agent, assets }: CallStart): readonly ToolSpec[] {
  const { escalation } = agent
  const gateway = GATEWAY_TOOLS.filter(({ name }) => {
    if (name === ESCALATE_TOOL) return escalation !== null
    return name !== CALLBACK_TOOL || escalation?.strategies.includes('callback') === true
  })
  return [...offeredTools(agent, assets), ...gateway]
}

/** What the backend of this call is told when it is connected. */
export function backendSession(start: CallStart, session: CallSession): BackendSession {
  const { agent, resume } = start
  return {
    callSid: start.callSid,
    agent: agent.name,
    from: start.from,
    to: start.to,
    instructions: agent.instructions,
    greeting: agent.greeting,
    tools: toolSpecs(start),
    language: agent.language,
    voice: agent.voice[start.backends[0] ?? ''] ?? null,
    history: session.log.transcript.map((entry) => ({ role: entry.role, text: entry.text })),
    // Tools that still ran when the worker died are answered with an error: they may have had their effect.
    toolLedger: resume === null ? [] : resumedTools(resume),
    offline: agent.offline ?? null,
    resume: resume?.backendState ?? null,
  }
}
