import { createHash } from 'node:crypto'
import type { AgentDefinition } from '../agents/definition.js'
import type { KeptCall, KeptState } from '../call/documents/kept-call.js'
import { parseCallSid } from '../core/ids.js'
import type { NewCall } from './live-call.js'

const hashes = new WeakMap<AgentDefinition, string>()

/** Tells two definitions of an agent apart. */
export function agentHash(definition: AgentDefinition): string {
  let hash = hashes.get(definition)
  if (hash === undefined) {
    hash = createHash('sha256').update(JSON.stringify(definition)).digest('base64url').slice(0, 16)
    hashes.set(definition, hash)
  }
  return hash
}

/**
 * Who goes on with a kept call on another node:
 * - `agent`: the conversation goes on, with a new stream. No human was asked for; or the escalation has failed; or the
 *   caller was being asked about a call back, which counts as no answer: the agent goes on and they may ask again;
 * - `human`: no agent speaks to this caller again. A human was being rung or is on the line (`pending`, `dialing`,
 *   `bridged`), or the caller still has to hear that nobody came. Only the escalation goes on, without a stream;
 * - `nobody`: the call was ending.
 */
export function goesOnWith({ escalation, session, result }: KeptCall): 'agent' | 'human' | 'nobody' {
  const machine = escalation?.machine ?? null
  switch (machine?.state) {
    case 'pending':
    case 'dialing':
    case 'bridged':
      return 'human'
    case 'failed':
      if (machine.owesFarewell && !machine.terminal) return 'human'
      break
    default:
  }
  const ending = result !== null || machine?.terminal === true || (session !== null && session.ending !== null)
  return ending || session?.state === 'closing' || session?.state === 'bridged' ? 'nobody' : 'agent'
}

/** The call to give to `CallDirectory.prepare` with the state. @throws GatewayError WEBHOOK_MALFORMED for a bad SID */
export function callOf({ callSid, agent, from, to, direction }: KeptCall): NewCall {
  return { callSid: parseCallSid(callSid), agent, from, to, direction }
}

/**
 * A call as the agent that rings its caller back gets it: the log goes on, but it is not known who will answer. So the
 * new call knows no identity and no state of the backend, and asks before it says anything of the other.
 * @param call  the new call
 */
export function calledBack({ kept, log, marks }: KeptState, call: NewCall): KeptState {
  const { callSid, direction, from, to } = call
  return {
    how: 'call-back',
    log,
    marks,
    kept: {
      ...kept,
      callSid,
      direction,
      from,
      to,
      placed: null,
      streamOpenedMs: null,
      afterStreamUrl: null,
      humanUrl: null,
      recording: { ...kept.recording, announced: false },
      session:
        kept.session === null
          ? null
          : {
              ...kept.session,
              callSid,
              state: 'live',
              greeted: false,
              greetingMs: null,
              owed: 'nothing',
              heard: null,
              silencePrompts: 0,
              identity: null,
              escalation: null,
              ending: null,
              openTranscript: [],
              toolsRunning: [],
              callBack: 'asks',
            },
      backendState: null,
      escalation: null,
      result: null,
      rehomes: 0,
      recoveredFrom: kept.callSid,
    },
  }
}
