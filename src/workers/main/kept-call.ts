import { budgetSnapshot } from '../../backends/call-snapshot.js'
import type { CallCheckpoint } from '../../call/documents/checkpoint.js'
import type { CallResult, KeptCall, KeptEscalation, KeptState } from '../../call/documents/kept-call.js'
import { isOpenEnd } from '../../call/tools/tool-ledger.js'
import { noUsage } from '../../call/usage.js'
import type { ResumedRecord } from '../../call/documents/record.js'
import { parseCallSid } from '../../core/ids.js'
import { CALL_PARTS_MAX, HEARD_STREAM_MS_MIN, RESUMES_MAX } from '../../core/limits.js'
import { sameNumber } from '../../sautikit/phone.js'
import { keptCallBack } from '../../telemetry/archive/redaction.js'
import type { TranscriptPolicy } from '../../telemetry/archive/redaction.js'
import type { NewCall } from './live-call.js'

/**
 * Who goes on with a kept call on another node:
 * - `agent`: the conversation goes on, with a new stream. No human was asked for; or the escalation has failed; or the
 *   caller was being asked about a call back, which counts as no answer: the agent goes on and they may ask again;
 * - `human`: no agent speaks to this caller again. A human was being rung or is on the line (`pending`, `dialing`,
 *   `bridged`), or the caller still has to hear that nobody came. Only the escalation goes on, without a stream;
 * - `outcome`: the call was ending, and a tool still waits for its outcome, or its outcome has not gone out yet: it goes into
 *   the record and out as a message;
 * - `nobody`: the call was ending.
 */
export function continuationOf({
  escalation,
  session,
  result,
  waits,
}: KeptCall): 'agent' | 'human' | 'outcome' | 'nobody' {
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
  if (!ending && session?.state !== 'closing' && session?.state !== 'bridged') return 'agent'
  return waits.some(({ phase, told, sent }) => phase !== 'settled' || (!told && !sent)) ? 'outcome' : 'nobody'
}

/** The parts of a call that goes on, the newest last. */
export function partsOf({ how, kept }: Pick<KeptState, 'how' | 'kept'>): readonly ResumedRecord[] {
  const { resumed, node, moves, streamMs, recording } = kept
  const why = how === 'call-back' ? 'called-back' : moves ? 'moved' : (how ?? 'node-lost')
  const file = recording.announced ? recording.file : null
  return [...resumed, { node, why, streamMs: Math.round(streamMs), recording: file }]
}

/** How long a call lasted without the one that was cut off before it, which has a record of its own. @param durationMs  of both */
export function ownDurationMs(durationMs: number, parts: readonly ResumedRecord[]): number {
  return durationMs - (parts.findLast(({ why }) => why === 'called-back')?.streamMs ?? 0)
}

/**
 * True if a call with these parts may have another. Only lost nodes count against it: a node that is stopped, or a network,
 * does not fail because of the call. One whose streams are over before anybody has heard anything ends all the same.
 */
export function mayGoOn(parts: readonly ResumedRecord[]): boolean {
  const counted = parts.filter(({ why, streamMs }, i) => {
    return why === 'node-lost' || streamMs - (parts[i - 1]?.streamMs ?? 0) < HEARD_STREAM_MS_MIN
  })
  return counted.length <= RESUMES_MAX && parts.length < CALL_PARTS_MAX
}

/** A call of which only what its tools wait for goes on; null where they wait for nothing. */
export function withoutAgent(state: KeptState): KeptState | null {
  const { kept } = state
  const ended = { ...kept, escalation: null, result: kept.result ?? lostResult(kept, 'outcome') }
  return continuationOf(ended) === 'outcome' ? { ...state, kept: { ...ended, escalation: kept.escalation } } : null
}

/** Result of a session that ended with its node. @param goesOn  the part that went on without it */
export function lostResult({ streamMs, session, sessions }: KeptCall, goesOn: 'human' | 'outcome'): CallResult {
  return {
    type: 'result',
    ...(goesOn === 'human'
      ? {
          outcome: 'escalated',
          endReason: 'escalated',
          endDetail: 'its node was lost while a human was being reached',
        }
      : { outcome: 'failed', endReason: 'process-died', endDetail: 'its node was lost while a tool waited' }),
    backend: sessions.at(-1)?.backend ?? 'none',
    durationMs: streamMs,
    greetingMs: session?.greetingMs ?? null,
    language: session?.language ?? null,
    usage: session?.usage ?? noUsage(),
    report: { failover: null, irregular: {}, cost: null, budget: null },
    toolCallsRefused: 0,
    framesIn: 0,
    framesConcealed: 0,
    framesDropped: 0,
    agentFramesDropped: 0,
    dtmf: 0,
  }
}

/**
 * The call to give to `CallDirectory.prepare` with the state.
 * @param nowMs  of the clock that is monotonic here
 * @throws GatewayError WEBHOOK_MALFORMED for a bad SID
 */
export function callOf({ callSid, rootSid, agent, from, to, direction, placed }: KeptCall, nowMs: number): NewCall {
  return {
    callSid: parseCallSid(callSid),
    agent,
    from,
    to,
    direction,
    ...(rootSid === callSid ? {} : { rootSid: parseCallSid(rootSid) }),
    ...(placed === null ? {} : { placed: { ...placed, agent, from, to, orderedAtMs: nowMs - placed.orderedMs } }),
  }
}

/**
 * A call as it waits, for days perhaps, until its caller is rung back: without words where they want none kept. The note
 * of the call back stays, because they have asked for it; with the policy `none` no words are kept of anybody.
 */
export function promisedCall(state: KeptState, policy: TranscriptPolicy): KeptState {
  const { log, marks } = state
  const kept = { ...state.kept, session: state.kept.session === null ? null : withoutCaller(state.kept.session) }
  if (!kept.recording.refused && policy !== 'none') return { ...state, kept }
  const { session, escalation } = kept
  // The arguments are the key by which what may have taken effect is not done again. Without them all calls count.
  const toolCalls = log.toolCalls.some(isOpenEnd) ? log.toolCalls.map((call) => ({ ...call, result: null })) : []
  const dropped = { ...log.dropped, toolCalls: log.dropped.toolCalls + log.toolCalls.length - toolCalls.length }
  return {
    ...state,
    kept: {
      ...kept,
      session: session === null ? null : withoutWords(session),
      backendState: null,
      escalation:
        escalation === null
          ? null
          : { ...escalation, packet: null, machine: null, history: onlyCallback(escalation, policy) },
      waits: [],
      result: null,
    },
    log: {
      ...log,
      transcript: [],
      toolCalls,
      claims: log.claims.map((claim) => ({ ...claim, phrase: '' })),
      stages: log.stages.map(({ summary: _, ...stage }) => stage),
      facts: [],
      handovers: log.handovers.map((handover) => ({ ...handover, summary: '' })),
      dropped,
    },
    marks: marks.map(({ name, atMs }) => ({ name, atMs })),
  }
}

/** The new call looks its caller up itself: personal fields and memory do not lie about for days. */
function withoutCaller({ caller: _, ...session }: CallCheckpoint): CallCheckpoint {
  return session
}

function withoutWords({ openClaims: _, waits: __, handover, ...session }: CallCheckpoint): CallCheckpoint {
  const promised = handover === undefined ? {} : { handover: { ...handover, summary: '' } }
  return {
    ...session,
    ...promised,
    identity: null,
    openTranscript: [],
    toolsRunning: [],
    ending: null,
    escalation: null,
  }
}

function onlyCallback({ history }: KeptEscalation, policy: TranscriptPolicy): KeptEscalation['history'] {
  if (history === null) return null
  const { callback } = history
  return {
    ...history,
    reason: '',
    attempts: [],
    callback: callback === null ? null : keptCallBack(callback, policy),
  }
}

/**
 * A call as the agent that rings its caller back gets it: the log goes on, but it is not known who will answer. So the
 * new call knows no identity and no state of the backend, and asks before it says anything of the other. At another number
 * than the caller had, nothing counts that is known of that number. Where the caller wants no words kept, none are kept of the
 * new call either: it has those from before.
 * @param call  the new call
 */
export function calledBack({ how, kept, log, marks }: KeptState, call: NewCall): KeptState {
  const { callSid, direction, from, to } = call
  const atOwnNumber = sameNumber(kept.direction === 'inbound' ? kept.from : kept.to, to)
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
      moves: false,
      streamOpenedMs: null,
      afterStreamUrl: null,
      humanUrl: null,
      recording: { ...kept.recording, announced: false },
      session: kept.session === null ? null : { ...sessionCalledBack(kept.session, atOwnNumber), callSid },
      // A call whose stream was lost ends with a record; that of a lost node has no cost of its models.
      backendState: budgetSnapshot(kept.backendState, how === 'stream-lost'),
      escalation: null,
      result: null,
      // Their outcomes go to the call that asked for them.
      waits: [],
      rehomes: 0,
      recoveredFrom: kept.callSid,
      wrongAnswers: atOwnNumber ? kept.wrongAnswers : 0,
    },
  }
}

function sessionCalledBack(
  { amd: _, silent: __, caller, ...session }: CallCheckpoint,
  atOwnNumber: boolean,
): CallCheckpoint {
  return {
    ...session,
    ...(caller !== undefined && atOwnNumber ? { caller } : {}),
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
    waits: [],
    callBack: 'asks',
  }
}
