import { agentSchema } from '../../src/agents/definition.js'
import type { AgentDefinition } from '../../src/agents/definition.js'
import type { Level } from '../protocol.js'

/**
 * The agent of all bench calls. Nothing in it makes the session act by itself: no prompts, no fillers, no limit
 * within the length of a run. Below L3 the echo is one greeting that cannot be interrupted.
 */
export function benchAgent(level: Level): AgentDefinition {
  return agentSchema.parse({
    version: 1,
    name: 'bench',
    backend: 'auto',
    instructions: 'Say back what you hear.',
    stream: { track: 'inbound_track', outputSamplingRate: 16000, statusCallback: false },
    silence: { afterMs: 60_000, prompts: [] },
    fillers: { phrases: [] },
    bargeIn: { protectGreeting: level !== 'L3' },
    limits: { maxDurationS: 7200 },
  })
}
