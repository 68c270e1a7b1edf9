import { budgetSnapshot } from '../../backends/call-snapshot.js'
import type { CallCheckpoint } from '../../call/documents/checkpoint.js'
import type { CallResult, KeptCall, KeptEscalation, KeptState } from '../../call/documents/kept-call.js'
import { earlierPart } from '../../call/earlier-call.js'
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
 * Side that continues a kept call on another node:
 * - `agent`: the conversation continues with a new stream. The call asked for no human, the escalation has failed, or
 *   the caller was being asked about a call back. The caller may ask again.
 * - `human`: the agent does not speak to this caller again. A human was being rung or is on the line (`pending`,
 *   `dialing`, `bridged`), or the caller must still hear that no human came. Only the escalation continues, without a
 *   stream.
 * - `outcome`: the call was ending while a tool awaited its outcome, or before the outcome was sent. The outcome goes
 *   into the record and is sent as a message.
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

/** The parts of a continued call, the newest last. */
export function partsOf({ how, kept }: Pick<KeptState, 'how' | 'kept'>): readonly ResumedRecord[] {
  const { resumed, node, moves, streamMs, recording } = kept
  const why = how === 'call-back' ? 'called-back' : moves ? 'moved' : (how ?? 'node-lost')
  const file = recording.announced ? recording.file : null
  return [...resumed, { node, why, streamMs: Math.round(streamMs), recording: file }]
}

/**
 * Duration in ms of a call without the earlier call that was cut off; the earlier call has its own record. @param
 * durationMs  duration in ms of both calls together
 */
export function ownDurationMs(durationMs: number, parts: readonly ResumedRecord[]): number {
  return durationMs - (parts.findLast(({ why }) => why === 'called-back')?.streamMs ?? 0)
}

/**
 * True if a call with these parts may continue once more. Only a few parts may end by a lost node, or before the caller
 * could hear anything. A part with a longer stream does not count, because the call did not cause the end of its
 * stream.
 */
export function mayGoOn(parts: readonly ResumedRecord[]): boolean {
  const counted = parts.filter(({ why, streamMs }, i) => {
    return why === 'node-lost' || streamMs - (parts[i - 1]?.streamMs ?? 0) < HEARD_STREAM_MS_MIN
  })
  return counted.length <= RESUMES_MAX && parts.length < CALL_PARTS_MAX
}

/** State that contains only the call's waiting tools; null if no tool waits. */
export function withoutAgent(state: KeptState): KeptState | null {
  const { kept } = state
  const ended = { ...kept, escalation: null, result: kept.result ?? lostResult(kept, 'outcome') }
  return continuationOf(ended) === 'outcome' ? { ...state, kept: { ...ended, escalation: kept.escalation } } : null
}

/**
 * Makes the result of a session that ended with its node.
 * @param goesOn  the side that continues the call without this session
 */
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
 * Makes the call for `CallDirectory.prepare` from its state.
 * @param nowMs  time of this node's monotonic clock
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
 * State of a call that waits, perhaps for days, until its caller is rung back. If the caller refused the storing of
 * words, the state does not contain words. The note of the call back stays, because the caller asked for the call back.
 * With the policy `none` all words are removed.
 */
export function promisedCall(state: KeptState, policy: TranscriptPolicy): KeptState {
  const { log, marks } = state
  const kept = { ...state.kept, session: state.kept.session === null ? null : withoutCaller(state.kept.session) }
  if (!kept.recording.refused && policy !== 'none') return { ...state, kept }
  const { session, escalation } = kept
  // The arguments are part of the key that prevents a repeated effect. If they were removed, all calls would have the
  // same key.
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

/** Personal fields and memory must not stay stored for days. The new call looks its caller up again. */
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
 * State of a call for the agent that rings its caller back. The log continues, but any person may answer. So the new
 * call starts without an identity and without the backend's state, and asks before it mentions the earlier call. If
 * another number is rung, facts about the earlier number do not count. If the caller refused the storing of words, the
 * new call does not store words either; earlier words stay.
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
      session:
        kept.session === null
          ? null
          : {
              ...sessionCalledBack(kept.session, atOwnNumber),
              callSid,
              earlier: earlierPart(log, kept.session, atOwnNumber),
            },
      // If the call's stream was lost, the call gets a record of its own, with the cost of its models. The record of a
      // lost node's call lacks this cost.
      backendState: budgetSnapshot(kept.backendState, how === 'stream-lost'),
      escalation: null,
      result: null,
      // The outcomes of these tools are sent as messages of the earlier call.
      waits: [],
      rehomes: 0,
      recoveredFrom: kept.callSid,
      wrongAnswers: atOwnNumber ? kept.wrongAnswers : 0,
    },
  }
}

function sessionCalledBack(
  { amd: _, silent: __, handover: ___, openClaims: ____, caller, ...session }: CallCheckpoint,
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
