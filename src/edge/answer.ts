import type { CallSid } from '../core/ids.js'
import type { VoiceAction } from '../sautikit/actions.js'
import { roomOf } from '../workers/live-call.js'
import type { AgentFacts } from '../workers/live-call.js'
import type { CallPapers } from './call-papers.js'

/** Where a call's URLs lead: `https://gw-3.example.com`, or `http://127.0.0.1:8080` on a developer's machine. */
export type Origin = string & { readonly origin: unique symbol }

const ORIGIN =
  /^https?:\/\/[A-Za-z0-9.-]{1,253}(?::\d{1,5})?(?:\/[\w/-]*)?$|^https?:\/\/\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?$/

/** An origin from settings or from a request's Host; null when it cannot stand in a URL. A slash at the end goes. */
export function parseOrigin(text: string): Origin | null {
  const origin = text.replace(/\/+$/, '')
  return ORIGIN.test(origin) ? (origin as Origin) : null
}

/** Webhooks of a call may lead to any process that shares its port; its audio socket, to the one that carries it. */
export interface Origins {
  readonly webhooks: Origin
  readonly audio: Origin
}

export interface StreamAnswer {
  readonly actions: readonly VoiceAction[]
  /** Where the carrier may ask how the call goes on, token included. */
  readonly afterStreamUrl: string
  /** Where the leg of a human gets its document; null when the call is in no room. */
  readonly humanUrl: string | null
}

/**
 * The answer to a call's first webhook: what the carrier says first, the stream, and the way on when the stream is
 * over. The trailing Redirect is harmless where the carrier does not follow it; docs/PROTOCOL.md.
 */
export function streamAnswer(agent: AgentFacts, callSid: CallSid, origins: Origins, papers: CallPapers): StreamAnswer {
  const origin = origins.webhooks
  const stream = agent.stream
  const statusCallback = statusUrl(
    stream.statusCallback,
    () => `${origin}/stream-status?t=${papers.mint(callSid, 'stream-status')}`,
  )
  // The agent's name travels along: whoever answers may not be the process that had the call.
  const afterStreamUrl = `${origin}/after-stream?t=${papers.mint(callSid, 'after-stream')}&agent=${agent.name}`
  const actions: VoiceAction[] = agent.say === null ? [] : [agent.say]
  actions.push({
    verb: 'stream',
    // The carrier's URL parser wants a path before the query.
    url: `${origins.audio.replace(/^http/, 'ws')}/audio?t=${papers.mint(callSid, 'audio')}`,
    track: stream.track,
    // With a room it is the room that answers, and the stream runs beside it.
    connect: !agent.conference,
    samplingRateHz: stream.samplingRateHz,
    name: stream.name,
    ...(Object.keys(stream.headerMetadata).length === 0 ? {} : { headerMetadata: stream.headerMetadata }),
    ...(stream.openMetadata === null ? {} : { openMetadata: stream.openMetadata }),
    ...(statusCallback === null || stream.statusEvents.length === 0
      ? {}
      : { statusCallback, statusEvents: stream.statusEvents }),
  })
  if (agent.conference) {
    // The caller is alone in it until a human is called in, and leaves it when they do.
    actions.push({ verb: 'conference', name: roomOf(callSid), startOnEnter: true, endOnExit: false, beep: false })
  }
  actions.push({ verb: 'redirect', method: 'POST', url: afterStreamUrl })
  const humanUrl = agent.conference ? `${origin}/human?t=${papers.mint(callSid, 'human')}` : null
  return { actions, afterStreamUrl, humanUrl }
}

/** Where stream events go: to us, to nobody, or to a URL of the agent's own. */
function statusUrl(setting: boolean | string, ours: () => string): string | null {
  if (typeof setting === 'string') return setting
  return setting ? ours() : null
}

/** True when the document rings somebody, so that the next busy or no-answer speaks of that leg. */
export function dials(actions: readonly VoiceAction[]): boolean {
  return actions.some(action => action.verb === 'dial' || action.verb === 'conference')
}
