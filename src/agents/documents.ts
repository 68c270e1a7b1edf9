import type { LegRateHz } from '../core/units.js'
import type { SayAction, StreamStatusEvent, StreamTrack, VoiceAction } from '../sautikit/actions.js'
import type { AgentDefinition } from './definition.js'

/** What an agent contributes to the carrier's documents; the URLs and tokens are the edge's. */
export interface AgentDocuments {
  readonly name: string
  readonly stream: {
    readonly name: string
    readonly track: StreamTrack
    readonly samplingRateHz: LegRateHz
    readonly headerMetadata: Readonly<Record<string, string>>
    readonly openMetadata: string | null
    /** True: the gateway's own URL; false: none; else the URL to write instead. */
    readonly statusCallback: boolean | string
    readonly statusEvents: readonly StreamStatusEvent[]
  }
  /** Spoken by the carrier before the stream opens; null for none. */
  readonly say: SayAction | null
  /** The document when no stream can be opened: words, then the agent's humans where there are any. */
  readonly fallback: readonly VoiceAction[]
  /** The document after a stream that ended without an escalation. */
  readonly afterCall: readonly VoiceAction[]
}

/** Turns an agent's `stream:`, `say:` and `afterCall:` into voice actions. */
export function agentDocuments(agent: AgentDefinition): AgentDocuments {
  const { stream, say, escalation, afterCall } = agent
  const spoken = (text: string): SayAction => ({
    verb: 'say', text,
    ...(say.voice === undefined ? {} : { voice: say.voice }),
    ...(say.language === undefined ? {} : { language: say.language }),
  })
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
    fallback: [
      spoken(say.fallback),
      // All at once instead of in hunt order: the verb after a Dial also runs when a call with the first human is over,
      // and it must not ring the second.
      ...(escalation === null ? [] : [{
        verb: 'dial' as const, numbers: escalation.numbers, timeoutS: escalation.timeoutS,
        ...(escalation.callerId === undefined ? {} : { callerId: escalation.callerId }),
      }]),
      { verb: 'hangup' },
    ],
    afterCall: [
      ...(afterCall.say === undefined ? [] : [spoken(afterCall.say)]),
      ...(afterCall.hangup ? [{ verb: 'hangup' as const }] : []),
    ],
  }
}
