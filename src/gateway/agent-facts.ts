import type { AgentDefinition } from '../agents/definition.js'
import { numbersOpen } from '../agents/definition.js'
import type { WallClock } from '../core/clock.js'
import type { VoiceAction } from '../sautikit/actions.js'
import type { AgentFacts } from '../workers/live-call.js'

export interface FactsOptions {
  /** The carrier's REST API can be asked: without it nobody could be called into a conference. */
  readonly carrier: boolean
  /** Calendar: outside of their hours humans are not rung. */
  readonly wallClock: WallClock
}

/** What the edge must know of an agent to answer webhooks. */
export function agentFacts(agent: AgentDefinition, { carrier, wallClock }: FactsOptions = { carrier: false, wallClock: Date.now }): AgentFacts {
  const { stream, say, escalation, afterCall } = agent
  const spoken = (text: string): VoiceAction => ({
    verb: 'say', text,
    ...(say.voice === undefined ? {} : { voice: say.voice }),
    ...(say.language === undefined ? {} : { language: say.language }),
  })
  const human = (): VoiceAction[] => {
    const numbers = numbersOpen(escalation, wallClock())
    if (escalation === null || numbers.length === 0) return []
    return [{
      verb: 'dial', numbers, timeoutS: escalation.timeoutS,
      ...(escalation.callerId === undefined ? {} : { callerId: escalation.callerId }),
    }]
  }
  return {
    name: agent.name,
    stream: {
      name: stream.name ?? agent.name,
      track: stream.track,
      samplingRateHz: stream.outputSamplingRate,
      headerMetadata: stream.headerMetadata,
      openMetadata: stream.openMetadata,
      statusCallback: stream.statusCallback,
      statusEvents: stream.statusEvents,
    },
    say: say.greeting === undefined ? null : spoken(say.greeting),
    outbound: { from: agent.outbound.from ?? null, ringMs: agent.outbound.ringTimeoutS * 1000, openOn: agent.outbound.openOn },
    // Asked anew for each caller: whom it rings depends on the hour.
    get fallback() {
      return [spoken(say.fallback), ...human(), { verb: 'hangup' } as const]
    },
    conference: carrier && escalation?.strategies.includes('conference') === true,
    afterCall: [
      ...(afterCall.say === undefined ? [] : [spoken(afterCall.say)]),
      ...(afterCall.hangup ? [{ verb: 'hangup' } as const] : []),
    ],
  }
}
