import type { AgentDefinition } from '../agents/definition.js'
import type { VoiceAction } from '../sautikit/actions.js'
import type { AgentFacts } from '../shard/live-call.js'

/** What the edge must know of an agent to answer webhooks. */
export function agentFacts(agent: AgentDefinition): AgentFacts {
  const { stream, say, escalation, afterCall } = agent
  const spoken = (text: string): VoiceAction => ({
    verb: 'say', text,
    ...(say.voice === undefined ? {} : { voice: say.voice }),
    ...(say.language === undefined ? {} : { language: say.language }),
  })
  const human: VoiceAction[] = escalation === null ? [] : [{
    verb: 'dial', numbers: escalation.numbers, timeoutS: escalation.timeoutS,
    ...(escalation.callerId === undefined ? {} : { callerId: escalation.callerId }),
  }]
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
    fallback: [spoken(say.fallback), ...human, { verb: 'hangup' }],
    afterCall: [
      ...(afterCall.say === undefined ? [] : [spoken(afterCall.say)]),
      ...(afterCall.hangup ? [{ verb: 'hangup' } as const] : []),
    ],
  }
}
